"""The Debian package, by which scrun is installed here: upgraded and removed while containers run, and on a node."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from . import slurm
from .conftest import MakeBundle
from .engines import IMAGE, Engine
from .users import PATH, Done, User
from .versions import ENDS, make_another
from .waiting import PATIENCE, wait_until

pytestmark = pytest.mark.slurm_only("comes with another package")

PROGRAM, SLURMS = Path("/usr/bin/scrun"), Path("/usr/bin/scrun.slurm")
COPIES, HOOKS = Path("/usr/lib/scrun"), Path("/etc/slurm/scrun.lua")


def dpkg(*words: str) -> str:
    """Call dpkg or what belongs to it, with root's path; all that it says."""
    done = subprocess.run(
        words,
        env={**os.environ, "PATH": PATH},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def package() -> Path:
    """The file that the devcluster has installed."""
    (path,) = Path("/var/lib/scrun-build/debs").glob("*.deb")
    return path


@pytest.fixture
def installed(package: Path) -> Iterator[Path]:
    """The same; it is installed as before when the test has done something else."""
    before = slurm.jobs()
    yield package
    for job in slurm.jobs() - before:  # of a test that failed
        slurm.cancel(job)
    dpkg("dpkg", "--install", str(package))
    dpkg("dpkg", "--install", str(package))  # without the version that was current until the first


@pytest.fixture
def upgrade(package: Path, tmp_path: Path) -> Path:
    """The file of a later version, whose containers could not end."""
    tree, staged = tmp_path / "tree", tmp_path / "staged"
    dpkg("dpkg-deb", "--raw-extract", str(package), str(tree))
    source = tree / "usr/lib/scrun/dist"
    make_another(source / "scrun")
    stage = ["/usr/bin/python3", "-BPm", "scrun", "install", "--prefix=/usr", "--python=/usr/bin/python3"]
    subprocess.run([*stage, f"--destdir={staged}"], env={"PYTHONPATH": str(source)}, cwd="/", check=True)
    shutil.copy(staged / "usr/bin/scrun", tree / "usr/bin/scrun")
    control = tree / "DEBIAN/control"
    control.write_text(control.read_text().replace("Version: ", "Version: 9."))
    dpkg("dpkg-deb", "-Znone", "--build", str(tree), str(tmp_path / "upgrade.deb"))
    return tmp_path / "upgrade.deb"


def current() -> Path:
    """The copy that the program runs."""
    return (COPIES / "current").resolve(strict=True)


def test_what_dpkg_has_unpacked_is_there_unchanged() -> None:
    assert dpkg("dpkg", "--verify", "scrun") == ""
    assert "diversion by scrun to: /usr/bin/scrun.slurm" in dpkg("dpkg", "--search", str(PROGRAM)).splitlines()
    assert dpkg("dpkg-query", "--show", "--showformat=${Conffiles}", "scrun").split()[0] == str(HOOKS)
    assert f"'{current()}'" in PROGRAM.read_text()


def test_slurms_own_scrun_can_still_be_called(alice: User) -> None:
    assert "\ncommit: " in alice.run(str(PROGRAM), "--version").ok().stdout
    slurms = alice.run("srun", "--version").ok().stdout.split()[-1]
    assert alice.run(str(SLURMS), "--version").ok().stdout.startswith(f"scrun version {slurms}\n")
    assert alice.run("man", "--where", "scrun.slurm").ok().stdout.strip() == "/usr/share/man/man1/scrun.slurm.1.gz"


def test_containers_end_rightly_after_an_upgrade(
    installed: Path, upgrade: Path, private_bundle: MakeBundle, alice: User, directory: Path
) -> None:
    name, bundle = f"test-{uuid.uuid4().hex[:12]}", private_bundle("sh", "-c", ENDS)
    before = current()
    with open(directory / "out", "wb") as out:
        run = alice.start("scrun", "run", "--bundle", str(bundle), name, stdout=out)
    wait_until(lambda: (directory / "out").read_bytes() == b"up\n", "it is up")
    podman = Engine("podman", alice, "scrun")
    detached = podman.detached("sh", "-c", ENDS, ready="up")
    dpkg("dpkg", "--install", str(upgrade))
    assert alice.run("scrun", "--version").ok().stdout.startswith("scrun version 9.")
    assert current().name.startswith(f"9.{before.name.partition('-')[0]}-")
    assert before.is_dir()
    alice.run("scrun", "kill", name, "TERM").ok()
    assert run.wait(PATIENCE) == 6
    assert (bundle / "rootfs/made").read_text() == "made\n"
    podman.call("stop", detached).ok()
    assert podman.exit_code(detached) == 6
    podman.remove(detached).ok()


def test_removal_spares_containers_and_restores_slurms_scrun(
    installed: Path, private_bundle: MakeBundle, alice: User, directory: Path
) -> None:
    name, bundle = f"test-{uuid.uuid4().hex[:12]}", private_bundle("sh", "-c", ENDS)
    with open(directory / "out", "wb") as out:
        run = alice.start("scrun", "run", "--bundle", str(bundle), name, stdout=out)
    wait_until(lambda: (directory / "out").read_bytes() == b"up\n", "it is up")
    said = dpkg("dpkg", "--remove", "scrun")
    assert "stays: containers that run need it" in said
    assert not SLURMS.exists()
    assert b"ELF" in PROGRAM.read_bytes()[:4]
    assert "slurm-client: /usr/bin/scrun" in dpkg("dpkg", "--search", str(PROGRAM)).splitlines()
    assert HOOKS.exists(), "a purge removes what a site may have changed, a removal doesn't"
    run.terminate()
    assert run.wait(PATIENCE) == 6
    assert (bundle / "rootfs/made").read_text() == "made\n"
    (lock,) = COPIES.glob("*-*/lock")
    with lock.open() as held:
        fcntl.flock(held, fcntl.LOCK_SH)
        assert f"{lock.parent} stays: containers that run need it" in dpkg("dpkg", "--purge", "scrun")
    assert not HOOKS.exists()
    dpkg("dpkg", "--install", str(installed))
    dpkg("dpkg", "--purge", "scrun")
    assert not COPIES.exists()


def test_purge_spares_containers_and_takes_the_sites_script(
    installed: Path, private_bundle: MakeBundle, alice: User, directory: Path
) -> None:
    name, bundle = f"test-{uuid.uuid4().hex[:12]}", private_bundle("sh", "-c", ENDS)
    with open(directory / "out", "wb") as out:
        run = alice.start("scrun", "run", "--bundle", str(bundle), name, stdout=out)
    wait_until(lambda: (directory / "out").read_bytes() == b"up\n", "it is up")
    assert "stays: containers that run need it" in dpkg("dpkg", "--purge", "scrun")
    assert not HOOKS.exists()
    run.terminate()
    assert run.wait(PATIENCE) == 6
    assert (bundle / "rootfs/made").read_text() == "made\n"
    dpkg("dpkg", "--install", str(installed))
    dpkg("dpkg", "--purge", "scrun")
    assert not COPIES.exists()


def test_package_removal_unregisters_scrun_from_its_engine(installed: Path, root: User) -> None:
    fragment = Path("/etc/containers/containers.conf.d/scrun.conf")
    root.run("scrun", "install", "--engines", "podman").ok()
    assert f'scrun = ["{PROGRAM}"]' in fragment.read_text()
    assert dpkg("dpkg", "--verify", "scrun") == ""
    dpkg("dpkg", "--remove", "scrun")
    assert not fragment.exists()


def test_user_installs_scrun_below_their_own_directory(alice: User, directory: Path) -> None:
    def call(*words: str, prefix: Path) -> Done:
        environment = {"PYTHONPATH": str(COPIES / "dist"), "SLURM_CONF": "/etc/nosuch/slurm.conf"}
        return alice.run("/usr/bin/python3", "-Bm", "scrun", *words, f"--prefix={prefix}", env=environment)

    said = call("install", prefix=directory).ok().stdout
    assert "/etc/nosuch/scrun.lua isn't there, and containers need it: an administrator has to write it\n" in said
    assert alice.run(str(directory / "bin/scrun"), "--version").ok().stdout.startswith("scrun version ")
    call("uninstall", prefix=directory).ok()
    assert [path for path in directory.rglob("*") if path.is_file()] == []
    refused = call("install", prefix=Path("/usr/local"))
    assert refused.stderr == (
        "scrun: can't write in /usr/local/bin: nothing was installed: become root, or name a --prefix of your own\n"
    )
    assert refused.status == 1


@pytest.fixture
def node(package: Path, root: User, directory: Path) -> Iterator[str]:
    """A node that the package is installed on, too."""
    copy = directory / package.name
    shutil.copy(package, copy)
    there = ("srun", "--nodelist=node1", "--job-name=of-the-tests", "dpkg")
    root.run(*there, "--install", str(copy)).ok()
    yield "node1"
    root.run(*there, "--purge", "scrun").ok()


def test_podman_in_a_batch_script_uses_its_job(node: str, alice: User, directory: Path) -> None:
    script, out = directory / "script", directory / "out"
    inside = "echo job $SLURM_JOB_ID step $SLURM_STEP_ID on $SLURMD_NODENAME; exit 6"
    words = f"podman --transient-store --runtime scrun run --rm {IMAGE} sh -c '{inside}'"
    alice.write(script, f"#!/bin/sh\necho job $SLURM_JOB_ID\n{words}\necho status $?\n", 0o755)
    alice.run("sbatch", "--wait", f"--nodelist={node}", "--job-name=of-the-tests", f"--output={out}", str(script)).ok()
    assert re.fullmatch(rf"job (\d+)\njob \1 step \d+ on {node}\nstatus 6\n", out.read_text()), out.read_text()
