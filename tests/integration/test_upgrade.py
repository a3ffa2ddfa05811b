"""scrun's own files are replaced, and removed, while containers run: each is ended by the version that began it."""

from __future__ import annotations

import os
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from . import slurm
from .conftest import RUNTIME, MakeBundle, MakeContainer
from .dockerd import docker_whose_runc_is
from .engines import Engine
from .oci import Runtime
from .users import User
from .versions import ENDS, make_another
from .waiting import PATIENCE, wait_until

pytestmark = pytest.mark.slurm_only("imports nothing")

PYTHON = "/opt/scrun/bin/python"


class Installation:
    """One of the test's own, in a prefix of its own."""

    def __init__(self, home: Path) -> None:
        self.source, self.program = home / "source", home / "bin" / "scrun"
        self.program.parent.mkdir(parents=True)
        shutil.copytree("/usr/lib/scrun/dist/scrun", self.source / "scrun")

    def call(self, verb: str) -> str:
        """Install or uninstall; what it says."""
        command = [PYTHON, "-m", "scrun", verb, "--prefix", str(self.program.parents[1])]
        environment = {"PYTHONPATH": str(self.source)}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=True)
        return done.stdout

    def upgrade(self) -> None:
        """Another version is installed, in place of the first."""
        make_another(self.source / "scrun")
        self.call("install")

    def is_awake(self) -> bool:
        """Whether some process of its containers is Python, and not scrun-wait."""
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                line = Path(f"/proc/{pid}/cmdline").read_bytes()
            except OSError:
                continue
            if f"-IS\0{self.program}\0".encode() in line:
                return True
        return False

    def versions(self) -> list[str]:
        """Those that are there."""
        return sorted(path.name.partition("-")[0] for path in (self.program.parents[1] / "lib/scrun").glob("*-*"))


@pytest.fixture
def installation() -> Iterator[Installation]:
    home = Path(f"/opt/scrun-tests-{uuid.uuid4().hex[:8]}")
    made = Installation(home)
    made.call("install")
    yield made
    shutil.rmtree(home)


@pytest.fixture
def docker(installation: Installation, root: User) -> Iterator[Engine]:
    with docker_whose_runc_is(str(installation.program), root) as engine:
        yield engine


@pytest.mark.parametrize("is_asleep", [False, True], ids=["awake", "asleep"])
def test_containers_end_rightly_after_an_upgrade(
    is_asleep: bool,
    installation: Installation,
    docker: Engine,
    container: MakeContainer,
    private_bundle: MakeBundle,
    alice: User,
    directory: Path,
) -> None:
    before, one = slurm.jobs(), container(at=private_bundle("sh", "-c", ENDS))
    one.runtime = Runtime(str(installation.program), alice)
    one.started().wait_for_output(b"up\n")
    engines = (Engine("podman", alice, str(installation.program)), docker)
    names = [engine.detached("sh", "-c", ENDS, ready="up") for engine in engines]
    jobs = slurm.jobs() - before
    assert len(jobs) == 3
    if is_asleep:
        wait_until(lambda: not installation.is_awake(), "scrun-wait waits for all of them")
    installation.upgrade()
    old, new = installation.versions()
    assert new == f"9.{old}"
    one.call("kill", "TERM").ok()
    assert one.ended() == 6, one.errors
    assert (one.bundle / "rootfs/made").read_text() == "made\n"
    one.call("delete").ok()
    for engine, name in zip(engines, names, strict=True):
        engine.call("stop", name).ok()
        assert engine.exit_code(name) == 6
        engine.call("cp", f"{name}:/made", str(directory)).ok()
        assert (directory / "made").read_text() == "made\n"
        (directory / "made").unlink()
        engine.remove(name).ok()
    wait_until(lambda: not slurm.jobs() & jobs, "their jobs have been given back")
    wait_until(lambda: installation.call("install") and installation.versions() == [new], "what nobody uses goes")


def test_container_ends_rightly_after_scruns_removal(
    installation: Installation, private_bundle: MakeBundle, alice: User, directory: Path
) -> None:
    name, bundle = f"test-{uuid.uuid4().hex[:12]}", private_bundle("sh", "-c", ENDS)
    with open(directory / "out", "wb") as out:
        run = alice.start(str(installation.program), "run", "--bundle", str(bundle), name, stdout=out)
    wait_until(lambda: (directory / "out").read_bytes() == b"up\n", "it is up")
    assert "stays: containers that run need it" in installation.call("uninstall")
    shutil.rmtree(installation.source)
    assert not installation.program.exists()
    Runtime(RUNTIME, alice).run("kill", name, "TERM").ok()
    assert run.wait(PATIENCE) == 6
    assert (bundle / "rootfs/made").read_text() == "made\n"
