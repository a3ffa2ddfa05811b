"""While files come back anything may be killed, and engines lose patience: nothing is lost, nobody hangs."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from . import slurm
from .conftest import RUNTIME, MakeBundle, MakeContainer
from .dockerd import docker_whose_runc_is
from .engines import Engine
from .oci import Container
from .processes import descendants, is_running, parent, program
from .users import User
from .waiting import wait_until

pytestmark = pytest.mark.slurm_only("runs where the files are")

# In the place of srun: the step that sends changes waits for a file, and none stands by to do it.
SRUN = """#!/bin/sh
case " $* $SCRUN_SCRIPT " in
    *"= fetch ]"*) srun "$@" | sed -u '/ ok$/q'; exit ;;
    *"say unchanged"*)
        echo $$ >>{0}/transfers
        while [ ! -e {0}/go ]; do sleep 0.05; done
        ;;
esac
exec srun "$@"
"""


class Slow:
    """Containers whose files come back when they are told to."""

    def __init__(self, conf: Path, directory: Path) -> None:
        self.options = ("-f", str(conf))
        self._directory = directory

    def transfers(self) -> list[int]:
        """The processes of the transfers so far."""
        path = self._directory / "transfers"
        return [int(line) for line in path.read_text().split()] if path.exists() else []

    def wait(self, count: int = 1) -> int:
        """Wait for so many transfers to have begun; the last one's process."""
        return wait_until(
            lambda: len(self.transfers()) >= count and self.transfers()[-1], f"transfer {count} has begun"
        )

    def go(self) -> None:
        """Let all of them go on."""
        (self._directory / "go").touch()


@pytest.fixture
def slow(slurm_conf: Callable[..., Path], directory: Path, alice: User) -> Iterator[Slow]:
    """Slow transfers."""
    conf = slurm_conf()
    srun = alice.write(directory / "srun", SRUN.format(directory), 0o755)
    with open(conf.with_name("oci.conf"), "a") as file:
        file.write(f'SrunPath="{srun}"\n')
    made = Slow(conf, directory)
    yield made
    made.go()


MAKE = "echo made >/made; exit 7"
LARGE = "yes of $SLURMD_NODENAME | dd of=/$SLURMD_NODENAME bs=1M count={} iflag=fullblock"

# In the place of srun: lets little through of what the step says, or tells the nodes a port where nobody listens.
WAYS = {
    "connections": 'srun "$@" | dd bs=1 count=200000 status=none; exit "${PIPESTATUS[0]}"',
    "srun": 'sed -u "s/^reach [0-9]*/reach 1/" | srun "$@"; exit "${PIPESTATUS[1]}"',
}


@pytest.mark.parametrize("who", ["anchor", "worker", "transfer", "anchor and stand-in"])
def test_a_kill_loses_neither_status_nor_files(
    container: MakeContainer, private_bundle: MakeBundle, slow: Slow, who: str
) -> None:
    one = container(at=private_bundle("sh", "-c", MAKE)).started(global_options=slow.options)
    transfer, record = slow.wait(), one.record
    assert record["exit_status"] == 7
    if who == "worker":
        os.killpg(parent(transfer), signal.SIGKILL)
    elif who == "transfer":
        os.kill(transfer, signal.SIGKILL)
    elif who == "anchor":
        os.kill(record["anchor"], signal.SIGKILL)
    else:
        os.kill(record["pid"], signal.SIGSTOP)
        os.kill(record["anchor"], signal.SIGKILL)
        os.kill(record["pid"], signal.SIGKILL)
        wait_until(lambda: not is_running(record["pid"]), "the stand-in has gone")
        assert one.status() == "stopped"
        one.runtime.run("delete", one.id).ok()
    slow.wait(2)
    wait_until(lambda: not is_running(transfer), "the first transfer has ended")
    slow.go()
    assert one.ended() == (7 if who != "anchor and stand-in" else -9)
    wait_until(lambda: (one.bundle / "rootfs/made").exists(), "the files are here")
    assert (one.bundle / "rootfs/made").read_text() == "made\n"
    wait_until(lambda: record["job"] not in slurm.jobs(), "the job is given back")
    one.call("delete", options=["--force"]).ok()
    assert slurm.files_on_nodes(record["job"]) == []


@pytest.mark.parametrize("way", WAYS)
def test_files_of_two_nodes_return_by_either_way(
    way: str,
    container: MakeContainer,
    private_bundle: MakeBundle,
    slurm_conf: Callable[..., Path],
    directory: Path,
    alice: User,
) -> None:
    conf = slurm_conf()
    srun = alice.write(
        directory / "srun",
        f'#!/bin/bash\ncase " $* " in *scrun-fetch*)\n{WAYS[way]}\nesac\nexec srun "$@"\n',
        0o755,
    )
    with open(conf.with_name("oci.conf"), "a") as file:
        file.write(f'SrunPath="{srun}"\n')
    path = private_bundle("sh", "-c", LARGE.format(20), env=["SCRUN_JOB_NUM_NODES=2"])
    (path / "rootfs/bin/yes").symlink_to("busybox")
    one = container(at=path).started(global_options=("-f", str(conf)))
    job = one.record["job"]
    assert one.ended() == 0, one.errors
    for name in ("node1", "node2"):
        data = (path / "rootfs" / name).read_bytes()
        assert (len(data), set(data.split(b"\n")[:-1])) == (20 << 20, {b"of " + name.encode()})
    one.call("delete").ok()
    assert slurm.files_on_nodes(job) == []


@pytest.mark.parametrize("who", ["anchor", "worker", "transfer"])
def test_a_kill_of_what_stands_by_loses_nothing(container: MakeContainer, private_bundle: MakeBundle, who: str) -> None:
    path = private_bundle("sh", "-c", f"{LARGE.format(300)}; exit 7")
    (path / "rootfs/bin/yes").symlink_to("busybox")
    one = container(at=path).started()
    record = one.record
    wait_until(lambda: [*(path / "rootfs").glob(".scrun-*")], "a part of the file is here")
    (transfer,) = [pid for pid in descendants(record["anchor"]) if program(pid) == "srun" != program(parent(pid))]
    os.kill({"anchor": record["anchor"], "worker": parent(transfer), "transfer": transfer}[who], signal.SIGKILL)
    assert one.ended() == 7
    wait_until(lambda: (path / "rootfs" / record["nodes"]).exists(), "the file is here")
    assert (path / "rootfs" / record["nodes"]).stat().st_size == 300 << 20
    wait_until(lambda: record["job"] not in slurm.jobs(), "the job is given back")
    one.call("delete", options=["--force"]).ok()
    assert slurm.files_on_nodes(record["job"]) == []


def step_called(name: str, job: int) -> str:
    """The id of the job's step with that name, or empty."""
    steps = [line.split() for line in slurm.squeue("--steps", f"--jobs={job}", "--format=%i %j")]
    return next((number for number, called in steps if called == name), "")


@pytest.mark.parametrize("stands", [True, False], ids=["that stood by", "of its own"])
def test_cancelled_fetch_step_is_run_again(stands: bool, container: MakeContainer, private_bundle: MakeBundle) -> None:
    path = private_bundle("sh", "-c", f"read line; {LARGE.format(300)}")
    (path / "rootfs/bin/yes").symlink_to("busybox")
    read_end, write_end = os.pipe()
    one = container(at=path).started(stdin=read_end)
    os.close(read_end)
    job, node = one.record["job"], one.record["nodes"]
    name = "scrun-stage" if stands else "scrun-fetch"
    if not stands:
        subprocess.run(["scancel", step_called("scrun-stage", job)], check=True)
        wait_until(lambda: not step_called("scrun-stage", job), "the step that stood by has ended")
    os.write(write_end, b"go\n")
    os.close(write_end)
    wait_until(lambda: [*(path / "rootfs").glob(".scrun-*")], "a part of the file is here")
    subprocess.run(["scancel", step_called(name, job)], check=True)
    assert one.ended() == 0, one.errors
    assert (path / "rootfs" / node).stat().st_size == 300 << 20
    assert not [*(path / "rootfs").glob(".scrun-*")]
    one.call("delete").ok()
    assert slurm.files_on_nodes(job) == []


def test_nobody_who_loses_patience_hangs_or_loses(
    container: MakeContainer, private_bundle: MakeBundle, slow: Slow
) -> None:
    one = container(
        at=private_bundle("sh", "-c", "trap 'echo made >/made; exit 7' TERM; echo up; while :; do sleep 0.1; done")
    )
    one.started(global_options=slow.options)
    one.wait_for_output(b"up\n")
    one.call("kill", "TERM").ok()
    slow.wait()
    one.call("kill", "KILL").ok()
    assert one.ended() == 7, "what the program said, though it was to be killed"
    assert one.status() == "stopped"
    assert entry(one)["changes"] == "coming back"
    one.runtime.run("delete", one.id).ok()
    assert "does not exist" in one.call("state").stderr
    assert entry(one)["status"] == "stopped"
    assert "coming back" in one.runtime.run("list").ok().stdout
    one.runtime.run("delete", one.id).ok()
    record = one.record
    two = container(at=one.bundle)
    two.id = one.id
    two.begin_create()
    assert not (one.bundle / "rootfs/made").exists()
    slow.go()
    two.end_create().ok()
    assert (one.bundle / "rootfs/made").read_text() == "made\n"
    assert two.record["job"] != record["job"]
    assert slurm.files_on_nodes(record["job"]) == []


def entry(one: Container) -> dict[str, object]:
    """What list says of it."""
    entries = json.loads(one.runtime.run("list", "--format", "json").ok().stdout)
    return next(found for found in entries if found["id"] == one.id)


@pytest.fixture(params=["podman", "docker"])
def engine(request: pytest.FixtureRequest, slow: Slow, directory: Path, alice: User, root: User) -> Iterator[Engine]:
    """An engine whose containers' files come back when they are told to."""
    program = alice.write(directory / "scrun", f'#!/bin/sh\nexec {RUNTIME} {" ".join(slow.options)} "$@"\n', 0o755)
    if request.param == "docker":
        with docker_whose_runc_is(str(program), root) as made:
            yield made
            slow.go()
    else:
        made = Engine("podman", alice, str(program))
        yield made
        slow.go()
        made.clean_up()


@pytest.fixture
def volume(engine: Engine) -> Iterator[Path]:
    """A directory that no node sees."""
    path = engine.user.mkdir(Path(f"/var/tmp/scrun-tests-{uuid.uuid4().hex[:8]}"))
    yield path
    shutil.rmtree(path)


def test_engine_gets_the_status_despite_a_killed_anchor(engine: Engine, slow: Slow, volume: Path) -> None:
    ends = "trap 'exit 6' TERM; echo made >/v/made; echo made >/made; echo up; while :; do sleep 0.1; done"
    before = slurm.jobs()
    name = engine.detached("sh", "-c", ends, options=("-v", f"{volume}:/v"), ready="up")
    engine.call("kill", "--signal=TERM", name).ok()
    os.kill(parent(parent(slow.wait())), signal.SIGKILL)
    slow.wait(2)
    slow.go()
    assert engine.exit_code(name) == 6
    assert (volume / "made").read_text() == "made\n"
    wait_until(lambda: not slurm.jobs() - before, "the job is given back")
    engine.call("start", name).ok()
    assert engine.call("exec", name, "cat", "/made").ok().stdout == "made\n", "in the root filesystem as well"
    engine.remove(name).ok()


def test_engines_get_the_status_and_remove_in_time(engine: Engine, slow: Slow, volume: Path) -> None:
    ends = "trap 'exit 6' TERM; echo made >/v/$0; echo made >/made; echo up; while :; do sleep 0.1; done"
    before = slurm.jobs()
    options = ("-v", f"{volume}:/v")
    stopped, removed = (engine.detached("sh", "-c", ends, n, options=options, ready="up") for n in "ab")
    engine.call("stop", "--time=1", stopped).ok()
    assert engine.exit_code(stopped) == 6
    engine.remove(removed).ok()
    assert removed not in engine.call("ps", "--all").ok().stdout
    assert not list(volume.iterdir())
    slow.go()
    wait_until(lambda: len(list(volume.iterdir())) == 2, "the volume's files are back")
    wait_until(lambda: not slurm.jobs() - before, "the jobs are given back")
    engine.call("start", stopped).ok()
    assert engine.call("exec", stopped, "cat", "/made").ok().stdout == "made\n", "in the root filesystem as well"
    engine.remove(stopped).ok()
    wait_until(lambda: not slurm.jobs() - before, "the last job is given back")


@pytest.fixture
def small(alice: User) -> Iterator[Path]:
    """A disk of 64 KB that no node sees, with a file on it."""
    path = Path(f"/mnt/scrun-tests-{uuid.uuid4().hex[:8]}")
    path.mkdir()
    options = f"size=64k,uid={alice.uid},gid={alice.gid}"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", path], check=True)
    alice.mkdir(path / "volume")
    alice.write(path / "file", "old\n")
    yield path
    wait_until(lambda: not subprocess.run(["umount", path]).returncode, f"{path} is free")
    path.rmdir()


def test_full_disk_keeps_changes_and_fails_the_container(container: MakeContainer, small: Path) -> None:
    def bind(config: dict[str, Any]) -> None:
        for name in ("volume", "file"):
            mount = {"destination": f"/{name}", "source": str(small / name), "type": "bind", "options": ["bind", "rw"]}
            config["mounts"].append(mount)

    script = "dd if=/dev/zero bs=1k count=100 | tee /volume/big >/file"
    one = container("sh", "-c", script, change=bind).started()
    job = one.record["job"]
    assert one.ended() == 125
    said = one.errors.decode()
    assert (small / "file").read_text() == "old\n"
    (kept,) = re.findall(r"file: its change is not brought back: No space left on device: it is kept as (\S+?);", said)
    assert Path(kept).stat().st_size == 102400
    shutil.rmtree(Path(kept).parent)
    ((node, path),) = re.findall(
        rf"changes: {small}/volume/big: No space left on device: they are still in (\S+?):(\S+)", said
    )
    one.call("delete").ok()
    wait_until(lambda: job not in slurm.jobs(), "the job has ended, and its Epilog has removed what it knows of")
    assert slurm.on_node(node, f"stat -c %s {path}/mounts/*/big && rm -r {path}") == "102400\n"


def test_failing_script_leaves_files_on_the_node(
    container: MakeContainer, private_bundle: MakeBundle, slurm_conf: Callable[..., Path]
) -> None:
    conf = slurm_conf()
    one = container(at=private_bundle("sh", "-c", "echo made >/made; echo ready; read line; true"))
    reader, writer = os.pipe()
    one.started(global_options=("-f", str(conf)), stdin=reader)
    wait_until(lambda: b"ready" in one.output, "the process runs")
    broken = "function slurm_scrun_stage_in() end function slurm_scrun_stage_out() error('broken') end\n"
    conf.with_name("scrun.lua").write_text(broken)
    os.close(writer)
    os.close(reader)
    assert one.ended() == 125
    found = re.search(rb"broken.*: what the container changed is kept in (\S+):(\S+)\n", one.errors)
    assert found, one.errors
    node, path = (word.decode() for word in found.groups())
    try:
        assert slurm.on_node(node, f"cat {path}/rootfs/made") == "made\n"
    finally:
        slurm.on_node(node, f"rm -rf {path}")
