"""Much through a container's pipes: every byte once, whoever is slow makes the other wait, and nobody hangs."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from . import slurm
from .conftest import MakeBundle
from .engines import Engine
from .oci import Runtime
from .processes import descendants
from .users import User
from .waiting import PATIENCE, read_until, wait_until

MEGABYTE = 1 << 20
MUCH_PATIENCE = 400.0  # seconds for 100 MB; srun carries some 10 MB/s, on a busy machine less
RECIPE = Path("/src/etc/run-unbuffered")
UNBUFFERED = {"SCRUN_UNBUFFEREDIO": "1"}

slurms_own = pytest.mark.slurm_only("there is no srun between")


@pytest.fixture(scope="module")
def data() -> bytes:
    """100 MB: every byte value, and 40 MB without a newline."""
    noise = random.Random(11)
    return bytes(range(256)) + noise.randbytes(30 * MEGABYTE) + b"\0" * (40 * MEGABYTE) + noise.randbytes(30 * MEGABYTE)


def digest(content: bytes) -> str:
    """Compared instead of the content, which nobody wants to see when it differs."""
    return f"{len(content)} {hashlib.sha256(content).hexdigest()}"


def test_a_hundred_megabytes_pass_through_run(
    runtime: Runtime, bundle: MakeBundle, unique_id: str, data: bytes
) -> None:
    argv = runtime.argv("run", "--bundle", str(bundle("cat")), unique_id)
    done = runtime.user.run(*argv, stdin=data, timeout=MUCH_PATIENCE)
    assert (done.status, done.errors) == (0, b"")
    assert digest(done.output) == digest(data)


def test_a_hundred_megabytes_pass_through_the_engine(main_engine: Engine, data: bytes) -> None:
    done = main_engine.run("cat", options=("--rm", "-i"), stdin=data, timeout=MUCH_PATIENCE)
    assert done.status == 0
    assert digest(done.output) == digest(data)


@slurms_own
def test_slow_reader_delays_the_container_without_any_growth(
    runtime: Runtime, bundle: MakeBundle, unique_id: str
) -> None:
    path = bundle("sh", "-c", "while head -c 100000 /dev/zero; do echo x >>/written; done")
    process = runtime.user.start(
        *runtime.argv("run", "--bundle", str(path), unique_id), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert process.stdout
    written = path / "rootfs" / "written"

    def lines() -> int:
        return len(written.read_text()) // 2 if written.exists() else 0

    seen: list[int] = []

    def has_stopped() -> bool:  # the same for a second; it writes tens of these in one
        seen.append(lines())
        return seen[-1] > 0 and len(seen) > 50 and seen[-50] == seen[-1]

    wait_until(has_stopped, "the container waits for its reader")
    assert lines() < 50  # times 100 kB that are somewhere between the container and us
    memory = {pid: peak_memory(pid) for pid in descendants(process.pid) | {process.pid}}
    assert all(kilobytes < 40 << 10 for kilobytes in memory.values()), memory
    before = lines()
    read = 0
    while read < 20 * MEGABYTE:
        read += len(os.read(process.stdout.fileno(), MEGABYTE))
    wait_until(lambda: lines() > before, "it goes on when it is read again")
    assert all(peak_memory(pid) < 40 << 10 for pid in memory)
    process.stdout.close()  # the reader goes away: head gets SIGPIPE, and the loop ends
    assert process.wait(PATIENCE) == 0
    wait_until(lambda: not (runtime.root / unique_id).exists(), "nothing is left")


def peak_memory(pid: int) -> int:
    """The most resident memory that the process ever had, in KiB; 0 when it is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("VmHWM")), 0)


def test_a_reader_that_has_enough_ends_it(runtime: Runtime, bundle: MakeBundle, unique_id: str) -> None:
    path = bundle("sh", "-c", "while echo more; do :; done")
    words = " ".join(runtime.argv("run", "--bundle", str(path), unique_id))
    done = runtime.user.run("sh", "-c", f"{words} | head -n 1")
    assert (done.status, done.output) == (0, b"more\n")
    assert not (runtime.root / unique_id).exists()


def test_a_writer_that_never_ends_is_no_obstacle(runtime: Runtime, bundle: MakeBundle, unique_id: str) -> None:
    words = " ".join(runtime.argv("run", "--bundle", str(bundle("head", "-c", "10")), unique_id))
    done = runtime.user.run("bash", "-c", f"yes | {words}; exit ${{PIPESTATUS[1]}}")
    assert (done.status, done.output) == (0, b"y\ny\ny\ny\ny\n")


@pytest.fixture
def unbuffered_nodes(root: User) -> Iterator[None]:
    """The nodes' oci.conf as docs/configuration.md has it for output at once."""
    program = Path("/home") / f"run-unbuffered-{os.getpid()}"  # which the nodes see
    shutil.copy(RECIPE, program)
    program.chmod(0o755)
    there = "/etc/slurm/oci.conf"
    slurm.on_nodes(f"cp {there} {there}.before && sed -i 's|RunTimeRun=\"exec |&{program} |' {there}")
    assert slurm.on_nodes(f"grep -c {program} {there}") == ["1", "1"]
    yield
    slurm.on_nodes(f"mv {there}.before {there}")
    program.unlink()


@slurms_own
@pytest.mark.usefixtures("unbuffered_nodes")
class TestOutputAtOnce:
    """With the recipe and SCRUN_UNBUFFEREDIO=1."""

    def test_a_part_of_a_line_is_seen(self, runtime: Runtime, bundle: MakeBundle, unique_id: str) -> None:
        path = bundle("sh", "-c", "test -t 1 && echo a terminal; printf 'name? '; read name; echo hello $name; exit 7")
        argv = runtime.argv("run", "--bundle", str(path), unique_id)
        process = runtime.user.start(*argv, env=UNBUFFERED, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert process.stdout
        assert process.stdin
        assert read_until(process.stdout.fileno(), b"name? ") == b"name? "
        rest, _ = process.communicate(b"world\n", PATIENCE)
        assert (process.returncode, rest) == (7, b"hello world\n")

    def test_every_byte_is_as_it_was(self, runtime: Runtime, bundle: MakeBundle, unique_id: str, data: bytes) -> None:
        some = data[: 3 * MEGABYTE] + data[-MEGABYTE:]
        argv = runtime.argv("run", "--bundle", str(bundle("sh", "-c", "cat; echo error >&2; exit 3")), unique_id)
        done = runtime.user.run(*argv, env=UNBUFFERED, stdin=some, timeout=MUCH_PATIENCE)
        assert (done.status, done.errors) == (3, b"error\n")
        assert digest(done.output) == digest(some)

    @pytest.mark.parametrize("cancel", [True, False], ids=["scancel", "kill"])
    def test_an_orderly_end_keeps_its_status(
        self, runtime: Runtime, bundle: MakeBundle, unique_id: str, cancel: bool
    ) -> None:
        path = bundle("sh", "-c", "trap 'exit 42' TERM; echo $SLURM_JOB_ID; while :; do sleep 0.1; done")
        argv = runtime.argv("run", "--bundle", str(path), unique_id)
        process = runtime.user.start(*argv, env=UNBUFFERED, stdout=subprocess.PIPE)
        assert process.stdout
        job = int(read_until(process.stdout.fileno(), b"\n"))
        if cancel:
            slurm.cancel(job)
        else:
            runtime.run("kill", unique_id).ok()
        process.communicate(timeout=PATIENCE)
        assert process.returncode == 42
