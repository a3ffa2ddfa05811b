"""docker top and podman top: never this host's processes; podman cp: the container's files, or none."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import shutil
import signal
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from . import engines, processes, slurm
from .conftest import RUNTIME, MakeContainer
from .engines import IMAGE, Engine
from .users import User
from .waiting import wait_until

pytestmark = pytest.mark.slurm_only("the processes are here")

# What runs on this host and in no container; that of a host's own ps(1) these would be.
OF_THE_HOST = ("dockerd", "conmon", "munged", "containerd", "slurmctld", "/srun ", "sleep infinity")


@pytest.mark.parametrize("name", ["docker", "rootless docker"])
@pytest.mark.parametrize("options", [(), ("-o", "pid,args")], ids=["plain", "options"])
def test_docker_top_says_what_to_use_instead(
    name: str, options: tuple[str, ...], request: pytest.FixtureRequest
) -> None:
    users = (request.getfixturevalue("alice"), request.getfixturevalue("root"))
    engine = engines.make(name, RUNTIME, *users)
    try:
        done = engine.call("top", engine.detached("sleep", "1000"), *options)
        assert (done.status, done.stdout) == (1, "")
        assert "this host's ps can't show the container's processes" in done.stderr
        assert "use docker exec CONTAINER ps, or scrun ps" in done.stderr
        # docker 26 adds ": unknown", a word of containerd's, on a line of its own.
        assert len(done.stderr.removesuffix("\n: unknown\n").splitlines()) == 1
    finally:
        engine.clean_up()


@pytest.fixture(params=["alice", "root"])
def either_podman(request: pytest.FixtureRequest) -> Iterator[Engine]:
    """podman, rootless and not."""
    engine = Engine("podman", request.getfixturevalue(request.param), "scrun")
    yield engine
    engine.clean_up()


def _tells_where_to_look(engine: Engine, name: str, row: str) -> bool:
    container_id = engine.inspect(name)["Id"]
    return f"scrun ps {container_id}" in row and f"podman exec {container_id[:12]} ps" in row


def test_podman_top_says_where_to_look(either_podman: Engine) -> None:
    name = either_podman.detached("sleep", "1000")
    header, row = either_podman.call("top", name).ok().stdout.splitlines()
    assert header.split()[-1] == "COMMAND"
    assert _tells_where_to_look(either_podman, name, row)
    (_, other) = either_podman.call("top", name, "pid", "comm", "hpid").ok().stdout.splitlines()
    assert not [word for word in OF_THE_HOST if word in row + other]


@pytest.mark.parametrize("options", [("-o", "pid,comm,args"), ("-ef",)], ids=["columns", "all"])
def test_podman_top_with_options_says_where_to_look(either_podman: Engine, options: tuple[str, ...]) -> None:
    # podman runs this host's ps in the pid namespace of the pid file's process then.
    name = either_podman.detached("sleep", "1000")
    (_, row) = either_podman.call("top", name, *options).ok().stdout.splitlines()
    assert "1" in row.split()[:2]
    assert _tells_where_to_look(either_podman, name, row)
    assert not [word for word in OF_THE_HOST if word in row]


def test_roots_copy_into_a_container_spares_this_host(root: User, tmp_path: Path) -> None:
    # podman joins the mount namespace of the pid file's process for it. The nodes have copies of what root stores.
    engine = Engine("podman", root, "scrun")
    target = Path(f"/tmp/scrun-test-{uuid.uuid4().hex[:8]}")
    source = root.write(tmp_path / "secret", "secret\n")
    try:
        name = engine.detached("sleep", "1000")
        for where in (str(target), "/made-by-cp"):
            done = engine.call("cp", str(source), f"{name}:{where}")
            assert done.status != 0
            assert not Path(where).exists()
        assert engine.call("cp", f"{name}:{source}", str(tmp_path / "copy")).status != 0
        assert engine.call("cp", f"{name}:/etc/passwd", str(tmp_path / "copy")).status != 0
        assert not (tmp_path / "copy").exists()
    finally:
        engine.clean_up()


@pytest.fixture
def private(alice: User) -> Iterator[Path]:
    """A directory of alice's that the nodes don't see."""
    path = alice.mkdir(Path(f"/tmp/scrun-test-{uuid.uuid4().hex[:8]}"))
    yield path
    shutil.rmtree(path)


@pytest.fixture(params=["alice", "root"])
def sharing(request: pytest.FixtureRequest) -> Iterator[Engine]:
    """podman whose containers' files are seen by the nodes too, for one and the other."""
    user = request.getfixturevalue(request.param)
    with _root_with_shared_storage(user) if user.uid == 0 else contextlib.nullcontext() as env:
        engine = Engine("podman", user, "scrun", env)
        try:
            yield engine
        finally:
            engine.clean_up()


def _created(engine: Engine, tree: Path, *options: str) -> str:
    """A container whose image has those files too."""
    words = engine.words(*options, command=("sleep", "1000"))
    engine.call("create", *words[1:]).ok()
    engine.call("cp", f"{tree}/.", f"{engine.made[-1]}:/").ok()
    return engine.made[-1]


@contextlib.contextmanager
def _root_with_shared_storage(root: User) -> Iterator[dict[str, str]]:
    directory = root.mkdir(root.shared / f"scrun-storage-{uuid.uuid4().hex[:8]}")
    conf = root.write(
        directory / "storage.conf",
        f'[storage]\ndriver = "vfs"\ngraphroot = "{directory}/graph"\nrunroot = "/run/{directory.name}"\n',
    )
    env = {"CONTAINERS_STORAGE_CONF": str(conf)}
    try:
        root.run("podman", "save", "--output", f"{directory}/image", IMAGE).ok()
        root.run("podman", "load", "--input", f"{directory}/image", env=env).ok()
        yield env
        root.run("podman", "rmi", "--force", "--all", env=env).ok()
    finally:
        shutil.rmtree(directory)
        shutil.rmtree(f"/run/{directory.name}", ignore_errors=True)


def test_files_are_copied_into_and_out_of_containers(sharing: Engine, private: Path) -> None:
    name = sharing.detached("sleep", "1000")
    word = uuid.uuid4().hex
    source = sharing.user.write(private / word, f"in {word}\n")
    for where in (f"/{word}", f"/tmp/{word}"):
        sharing.call("cp", str(source), f"{name}:{where}").ok()
        assert not Path(where).exists()
        assert sharing.call("exec", name, "cat", where).ok().stdout == f"in {word}\n"
    sharing.call("exec", name, "sh", "-c", f"mkdir /made; echo out {word} > /made/file").ok()
    done = sharing.call("cp", f"{name}:/made/file", "-").ok()
    assert f"out {word}\n" in done.stdout


def test_visible_mounts_can_be_copied(alice: User, directory: Path, podman: Engine, private: Path) -> None:
    (here, writable, read_only) = [alice.mkdir(directory / name) for name in ("here", "writable", "read-only")]
    source = alice.write(here / "file", "copied\n")
    options = (
        *("-v", f"{writable}:/writable", "-v", f"{read_only}:/read-only:ro"),
        *("-v", f"{private}:/carried", "--tmpfs", "/memory", "-v", "/dev/shm:/nodes"),
    )
    name = podman.detached("sleep", "1000", options=options)
    podman.call("cp", str(source), f"{name}:/writable/file").ok()
    assert (writable / "file").read_text() == "copied\n"
    for where in ("/read-only", "/carried", "/memory", "/nodes", "/proc", "/sys", "/dev"):
        done = podman.call("cp", str(source), f"{name}:{where}/file")
        assert "read-only file system" in done.stderr, where
    assert not [*read_only.iterdir(), *private.iterdir()]
    assert podman.call("cp", f"{name}:/carried/file", "-").status != 0
    # Who copies all that is there gets no empty directory, but is told.
    assert "on the node only" in podman.call("cp", f"{name}:/memory", "-").ok().stdout


def test_a_containers_links_lead_nowhere_outside_it(podman: Engine, alice: User, private: Path) -> None:
    source = alice.write(private / "file", "copied\n")
    name = podman.detached("sleep", "1000")
    podman.call("exec", name, "ln", "-s", str(private), "/link").ok()
    assert podman.call("cp", f"{name}:/link/file", "-").status != 0
    podman.call("cp", str(source), f"{name}:/link/other")
    assert [path.name for path in private.iterdir()] == ["file"]


def test_mount_below_a_link_is_found_by_cp(sharing: Engine, alice: User, directory: Path, private: Path) -> None:
    # What the link names is within the root filesystem, where the place of the mount isn't there yet.
    source = sharing.user.write(private / "file", "copied\n")
    (tree, below) = [alice.mkdir(directory / name) for name in ("tree", "below")]
    (tree / "link").symlink_to("/tmp")
    name = _created(sharing, tree, "-v", f"{below}:/link/{private.name}/below")
    sharing.call("start", name).ok()
    sharing.call("cp", str(source), f"{name}:/tmp/{private.name}/below/copy").ok()
    assert (below / "copy").read_text() == "copied\n"
    assert [path.name for path in private.iterdir()] == ["file"]
    assert sharing.call("exec", name, "cat", f"/link/{private.name}/below/copy").ok().stdout == "copied\n"


def test_files_of_a_queued_container_are_copied_later(
    podman: Engine, held_node: int, alice: User, private: Path
) -> None:
    source = alice.write(private / "file", "copied\n")
    queued = ("--env=SCRUN_JOB_NODELIST=node2", "--env=SCRUN_CREATE_TIMEOUT=1")
    name = podman.detached("sh", "-c", "echo runs; sleep 1000", options=queued)
    assert podman.call("cp", str(source), f"{name}:/file").status != 0
    slurm.release(held_node)
    wait_until(lambda: "runs" in podman.call("logs", name).stdout, "the container runs")
    podman.call("cp", str(source), f"{name}:/file").ok()
    assert podman.call("exec", name, "cat", "/file").ok().stdout == "copied\n"


@pytest.mark.parametrize("killed", ["anchor", "stand-in"])
@pytest.mark.parametrize("options", [(), ("--network=none",)], ids=["", "no network"])
@pytest.mark.parametrize("conmon", [True, False], ids=["", "no conmon"])
def test_podmans_anchor_and_stand_in_guard_each_other(
    either_podman: Engine, killed: str, options: tuple[str, ...], conmon: bool
) -> None:
    # The stand-in has namespaces of its own, and must still find what ends a job; or the guard that it has outside.
    # conmon would have the container deleted, but they need none for it.
    name = either_podman.detached("sleep", "1000", options=options)
    record, state = _record(either_podman, name), either_podman.inspect(name)["State"]
    assert record["pid"] == state["Pid"]
    if not conmon:
        os.kill(state["ConmonPid"], signal.SIGKILL)
    os.kill(record["anchor" if killed == "anchor" else "pid"], signal.SIGKILL)
    if conmon:
        assert either_podman.exit_code(name) == 137
    _assert_all_ends(record)


def _record(engine: Engine, name: str) -> dict[str, Any]:
    directory = Path(f"/run/user/{engine.user.uid}/scrun") / engine.inspect(name)["Id"]
    return dict(json.loads((directory / "state.json").read_bytes()))


def _assert_all_ends(record: dict[str, Any]) -> None:
    wait_until(lambda: record["job"] not in slurm.jobs(), "the job has gone")
    for pid in (record["step_pid"], record["anchor"], record["pid"]):
        wait_until(functools.partial(_has_gone, pid), "no process is left")


def _has_gone(pid: int) -> bool:
    return not processes.is_running(pid)


def test_signals_and_statuses_pass_podmans_stand_in(either_podman: Engine) -> None:
    # It is the first process of its pid namespace, which gets only the signals that it has asked for.
    script = "trap 'exit 42' TERM; trap 'echo told' USR1; echo ready; while :; do sleep 0.1; done"
    name = either_podman.detached("sh", "-c", script, ready="ready")
    pid = either_podman.inspect(name)["State"]["Pid"]
    os.kill(pid, signal.SIGUSR1)
    wait_until(lambda: "told" in either_podman.call("logs", name).stdout, "the signal has come")
    os.kill(pid, signal.SIGTERM)
    assert either_podman.exit_code(name) == 42


def test_engine_call_finds_the_refusal_in_its_log(container: MakeContainer) -> None:
    one = container("sleep", "1000").started()
    log = one.directory / "log.json"
    done = one.runtime.run("--log", str(log), "--log-format", "json", "ps", "--format", "json", one.id)
    assert (done.status, done.stdout) == (1, "")
    (entry,) = [json.loads(line) for line in log.read_text().splitlines()]
    assert entry["level"] == "error"
    assert "use docker exec CONTAINER ps" in entry["msg"]
