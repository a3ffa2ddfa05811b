"""Fixtures: users, bundles, containers, and the rule that no test leaves anything behind.

Run inside the devcluster, on its host login, as root::

    devcluster/devcluster exec -- sh -c 'cd /src && /opt/scrun/bin/python -m pytest tests/integration'

SCRUN_RUNTIME names the executable under test. With crun (``SCRUN_RUNTIME=/usr/bin/crun``) the tests of what any OCI
runtime does prove themselves; those of what only scrun does are skipped, each with its reason.
"""

from __future__ import annotations

import os
import shutil
import signal
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from . import engines, leftovers, rootfs, slurm
from .claims import Claims
from .engines import Compose, Engine
from .oci import Container, Runtime
from .users import User
from .waiting import wait_until

RUNTIME = os.environ.get("SCRUN_RUNTIME", "/usr/bin/scrun")

LONGEST = 600  # seconds that a test has; none takes a fifth of it

CLAIMS = Claims.inherited()

MakeBundle = Callable[..., Path]
MakeContainer = Callable[..., Container]


def pytest_configure(config: pytest.Config) -> None:
    """Say where this runs, rather than have everything fail."""
    config.addinivalue_line("markers", "slurm_only(reason): a runtime without Slurm does otherwise")
    config.addinivalue_line("markers", "waits: most of the time that it takes, it uses no processor")
    if os.geteuid() or not shutil.which("squeue"):
        pytest.exit(
            "the integration tests run as root on the devcluster's host login: see tests/integration/conftest.py", 4
        )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what only scrun can be measured by.

    Where several runs share the tests, the files come first whose tests wait, and then those of most tests.
    """
    if CLAIMS.are_shared:
        sizes = Counter(item.path for item in items)  # the last run to end has a small file then
        items.sort(key=lambda item: (not item.get_closest_marker("waits"), -sizes[item.path]))
    if Path(RUNTIME).name in ("scrun", "cscrun"):
        return
    for item in items:
        if mark := item.get_closest_marker("slurm_only"):
            item.add_marker(pytest.mark.skip(reason=f"{Path(RUNTIME).name}: {mark.args[0]}"))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> bool | None:
    """Leave out what the other run has claimed."""
    return None if CLAIMS.is_ours(item.path.name) else True


@pytest.fixture(scope="session")
def _there() -> set[str]:
    """What there was when the last test had ended: asking squeue once a test takes time enough."""
    return leftovers.survey()


@pytest.fixture(scope="session", autouse=True)
def default_signals() -> None:
    """Children get the signals that users' commands get, also where nohup or a script's & has these ignored."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_DFL)


@pytest.fixture(autouse=True)
def not_for_ever() -> Iterator[None]:
    """A test that hangs fails, so that the others are still run."""

    def give_up(_number: int, _frame: FrameType | None) -> None:
        pytest.fail(f"the test has not ended within {LONGEST} s")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(LONGEST)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture(autouse=True)
def nothing_left(_there: set[str]) -> Iterator[None]:
    """No test leaves a job, a container's directory or a process of the runtime."""
    yield
    now = {*_there}
    try:
        now = leftovers.assert_nothing_left(_there)
    except pytest.fail.Exception:
        now = leftovers.survey()  # one test's fault is not the next one's
        raise
    finally:
        _there.clear()
        _there.update(now)


@pytest.fixture(scope="session")
def alice() -> User:
    """A plain user."""
    return User("alice")


@pytest.fixture(scope="session")
def bob() -> User:
    """Another plain user."""
    return User("bob")


@pytest.fixture(scope="session")
def root() -> User:
    """The superuser, as whom dockerd calls."""
    return User("root")


@pytest.fixture(scope="session")
def _user_directories() -> Iterator[Callable[[User], Path]]:
    """A directory of each user's that the nodes see too, with a busybox in it."""
    made: dict[str, Path] = {}

    def directory(user: User) -> Path:
        if user.name not in made:
            made[user.name] = user.mkdir(user.shared / f"scrun-tests-{user.name}-{os.getpid()}")
            rootfs.copy_busybox(made[user.name], user)
        return made[user.name]

    yield directory
    for path in made.values():
        shutil.rmtree(path)


@pytest.fixture
def directory(alice: User, _user_directories: Callable[[User], Path]) -> Iterator[Path]:
    """An empty directory of alice's on /home."""
    path = alice.mkdir(_user_directories(alice) / f"files-{uuid.uuid4().hex[:8]}")
    yield path
    shutil.rmtree(path)


@pytest.fixture
def bundle(alice: User, _user_directories: Callable[[User], Path]) -> Iterator[MakeBundle]:
    """Makes bundles that can be run; after the test only their rootfs may differ from what it was.

    ``bundle("sh", "-c", "exit 7", user=alice, env=["A=b"], terminal=False, change=lambda config: …)``
    """
    made: list[tuple[Path, set[str]]] = []

    def make(
        *args: str,
        user: User = alice,
        env: Sequence[str] = (),
        terminal: bool = False,
        change: rootfs.Change | None = None,
    ) -> Path:
        home = _user_directories(user)
        path = user.mkdir(home / f"bundle-{uuid.uuid4().hex[:8]}")
        rootfs.make_rootfs(path / "rootfs", user, home / "busybox")
        content = rootfs.config(args or ["true"], user, env=env, terminal=terminal)
        if change:
            change(content)
        rootfs.write_config(path, content, user)
        made.append((path, set(os.listdir(path))))
        return path

    yield make
    extra = {str(path / name) for path, names in made for name in set(os.listdir(path)) - names}
    for path, _ in made:
        shutil.rmtree(path)
    assert not extra, "left in the bundle"


@pytest.fixture
def private_bundle(alice: User, bundle: MakeBundle) -> Iterator[MakeBundle]:
    """Makes bundles of alice's where no node sees them; as :func:`bundle` otherwise."""
    home = alice.mkdir(Path(f"/var/tmp/scrun-tests-{uuid.uuid4().hex[:8]}"))

    def make(*args: str, **more: Any) -> Path:
        shared = bundle(*args, **more)
        path = shutil.copytree(shared, home / shared.name, symlinks=True)
        for below in (path, *path.rglob("*")):
            os.chown(below, alice.uid, alice.gid, follow_symlinks=False)
        return path

    yield make
    shutil.rmtree(home)


@pytest.fixture
def runtime(alice: User) -> Runtime:
    """The executable under test, as alice calls it."""
    return Runtime(RUNTIME, alice)


@pytest.fixture
def unique_id() -> str:
    """A container id that nobody has."""
    return f"test-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def container(
    alice: User, directory: Path, bundle: MakeBundle, _user_directories: Callable[[User], Path]
) -> Iterator[MakeContainer]:
    """Makes containers (not created yet), with the arguments of :func:`bundle`; deletes them after the test.

    It asks for ``directory`` so that what is in there, a slurm.conf say, is there as long as they are.
    """
    made: list[Container] = []

    def make(*args: str, user: User = alice, at: Path | None = None, **more: Any) -> Container:
        path = at or bundle(*args, user=user, **more)
        files = user.mkdir(_user_directories(user) / f"output-{uuid.uuid4().hex[:8]}")
        made.append(Container(Runtime(RUNTIME, user), f"test-{uuid.uuid4().hex[:12]}", path, files))
        return made[-1]

    yield make
    for one in made:
        one.clean_up()
        shutil.rmtree(one.directory)


@pytest.fixture
def slurm_conf(directory: Path) -> Callable[..., Path]:
    """Makes a copy of the cluster's configuration, for -f: ``slurm_conf(SlurmctldPort="1")``."""
    return lambda **settings: slurm.copy_config(directory, **settings)


@pytest.fixture
def held_node(alice: User) -> Iterator[int]:
    """node2 is taken as long as the job lasts, whose id this is: a container that asks for it is queued."""
    job = slurm.allocate(alice, "--exclusive", "--nodelist=node2")
    yield job
    if job in slurm.jobs():
        slurm.release(job)


@pytest.fixture(scope="session")
def _rootless_docker(alice: User, root: User) -> None:
    """A rootless dockerd on the login's own network refuses --network=host, with any runtime, until it has made some
    networks of its own: it can't enter the namespace that it is in."""
    one = engines.make("rootless docker", RUNTIME, alice, root)
    version = one.call("--version").ok().stdout.split()[2]  # asked for its own version, this dockerd panics
    if int(version.split(".")[0]) < 27:
        pytest.skip(f"a rootless docker {version} can't run anything on the login's own network (setns: EPERM)")

    def takes_host() -> bool:
        one.run("true", options=("--rm", "--network=none")).ok()
        return not one.run("true", options=("--rm", "--network=host")).status

    wait_until(takes_host, "a rootless docker takes --network=host")


@pytest.fixture(params=engines.NAMES)
def engine(request: pytest.FixtureRequest, alice: User, root: User) -> Iterator[Engine]:
    """Each engine in turn; the containers that a test names are removed after it."""
    if request.param == "rootless docker":
        request.getfixturevalue("_rootless_docker")
    one = engines.make(request.param, RUNTIME, alice, root)
    yield one
    one.clean_up()


@pytest.fixture(params=engines.NAMES[:2])
def main_engine(request: pytest.FixtureRequest, alice: User, root: User) -> Iterator[Engine]:
    """podman and docker, for what a rootless docker does as the other does it."""
    one = engines.make(request.param, RUNTIME, alice, root)
    yield one
    one.clean_up()


@pytest.fixture(params=["root", "alice"], ids=["docker compose", "podman-compose"])
def compose(request: pytest.FixtureRequest, directory: Path) -> Iterator[Compose]:
    """Each of the programs for several services; they are ended after the test."""
    one = Compose(request.getfixturevalue(request.param), directory)
    yield one
    one.call("down").ok()


@pytest.fixture
def podman(alice: User, root: User) -> Iterator[Engine]:
    """alice's rootless podman."""
    one = engines.make("podman", RUNTIME, alice, root)
    yield one
    one.clean_up()


@pytest.fixture
def docker(alice: User, root: User) -> Iterator[Engine]:
    """The machine's docker, as root."""
    one = engines.make("docker", RUNTIME, alice, root)
    yield one
    one.clean_up()


@pytest.fixture
def oci_conf() -> Iterator[Callable[[str], None]]:
    """Gives every host that oci.conf; the hosts have their own again after the test.

    slurmstepd reads it anew for each step, so no daemon has to be told.
    """
    path, kept = Path("/etc/slurm/oci.conf"), Path("/etc/slurm/oci.conf.of-the-devcluster")
    was = path.read_text()
    slurm.on_nodes(f"cp {path} {kept}")

    def put(text: str) -> None:
        path.write_text(text)
        slurm.on_nodes(f"cat >{path} <<'END'\n{text}\nEND")

    yield put
    path.write_text(was)
    slurm.on_nodes(f"mv {kept} {path}")
