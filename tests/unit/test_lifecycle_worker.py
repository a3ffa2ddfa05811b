"""Workers: a child each, whose messages, words and end the anchor gets, however it ends."""

from __future__ import annotations

import functools
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from unchecked import anything

import scrun
from scrun.lifecycle.anchor.worker import Worker
from scrun.lifecycle.container.directory import Container
from scrun.lifecycle.process import processes, wire
from scrun.lifecycle.process.loop import Loop
from scrun.lifecycle.worker import child

Message = Any  # as a test makes it
HOOKS = """
function slurm_scrun_stage_in() return slurm.SUCCESS end
function slurm_scrun_stage_out() return slurm.SUCCESS end
"""


CONFIG = Path(__file__).parent / "configs" / "docker-28.json"


def _load(script: Path) -> Message:
    """The first message of the anchor to the worker that stages."""
    staging = {"config_file": str(CONFIG), "task_programs": False}
    return {"script": str(script), "lua": "5.4", "bundle": "/b", "staging": staging}


def _group(pid: int) -> int:
    """The process group of a process that lives."""
    try:
        return os.getpgid(pid) if processes.start_time(pid) else 0
    except ProcessLookupError:
        return 0


class Watched:
    """A worker and what became of it."""

    def __init__(self, loop: Loop, container: Container, work: str) -> None:
        self.said: list[Message] = []
        self.ends = 0
        self._loop = loop
        self.worker = Worker(loop, container, work, anything, said=self.hear, ended=self.end)

    def hear(self, message: Message) -> None:
        self.said.append(message)
        if "loaded" in message:
            self.worker.cancel()

    def end(self) -> None:
        self.ends += 1
        self._loop.stop()


def test_a_workers_fault_is_one_message(loop: Loop, container: Container, capfd: pytest.CaptureFixture[str]) -> None:
    watched = Watched(loop, container, "nosuchwork")
    loop.run()
    assert watched.said == [{"error": "ScrunError", "message": "internal error in nosuchwork: ValueError: nosuchwork"}]
    assert watched.ends == 1
    assert watched.worker.output.startswith("Traceback")
    assert capfd.readouterr() == ("", "")


def test_an_error_for_a_person_arrives_unchanged(loop: Loop, container: Container, tmp_path: Path) -> None:
    watched = Watched(loop, container, "prepare")
    watched.worker.send(_load(tmp_path / "nosuch.lua"))
    loop.run()
    (message,) = watched.said
    assert message["error"] == "HookError"
    assert "nosuch.lua" in message["message"]
    assert (watched.ends, watched.worker.output) == (1, "")


def test_a_cancelled_worker_ends_without_a_word(loop: Loop, container: Container, tmp_path: Path) -> None:
    (tmp_path / "scrun.lua").write_text(HOOKS)
    watched = Watched(loop, container, "prepare")
    watched.worker.send(_load(tmp_path / "scrun.lua"))
    loop.run()  # it is cancelled as soon as it says that it has loaded the script
    assert watched.said == [{"loaded": str(tmp_path / "scrun.lua")}]
    assert (watched.ends, watched.worker.output) == (1, "")
    watched.worker.cancel()  # it has gone: no error


@pytest.mark.parametrize("endless", ["while true do end", "os.execute('exec sleep 1000')"])
def test_cancelling_ends_an_endless_script(
    loop: Loop, container: Container, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, endless: str
) -> None:
    monkeypatch.setattr("scrun.lifecycle.anchor.worker._HEARS", 0.5)
    (tmp_path / "scrun.lua").write_text(f"io.open('{tmp_path}/begun', 'w'):close() {endless}")
    watched = Watched(loop, container, "prepare")
    watched.worker.send(_load(tmp_path / "scrun.lua"))

    def cancel() -> None:
        if (tmp_path / "begun").exists():
            watched.worker.cancel()
        else:
            loop.after(0.02, cancel)

    cancel()
    loop.run()
    assert (watched.said, watched.ends) == ([], 1)
    while any(_group(pid) == watched.worker.pid for pid in map(int, filter(str.isdigit, os.listdir("/proc")))):
        os.sched_yield()  # what it has started is killed too, and takes its time


def test_a_worker_cancelled_immediately_ends(loop: Loop, container: Container) -> None:
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)  # as the anchor has it
    try:
        watched = Watched(loop, container, "prepare")
        watched.worker.cancel()
        loop.run()
    finally:
        signal.signal(signal.SIGTERM, before)
    assert (watched.said, watched.ends) == ([], 1)


def test_a_killed_worker_has_ended(loop: Loop, container: Container) -> None:
    watched = Watched(loop, container, "prepare")
    os.kill(watched.worker.pid, 9)
    loop.run()
    assert (watched.said, watched.ends) == ([], 1)


def test_a_workers_child_keeps_nobody_waiting(
    loop: Loop, container: Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    held, hold = os.pipe()

    def leave_a_child(_work: str, channel: int, _container: Container) -> None:
        if not os.fork():
            os.read(held, 1)  # with the worker's channel, until the test has seen the worker's end
            os._exit(0)
        wire.send(channel, {"done": True})

    # A worker lets go of all descriptors but its own.
    os.dup2(held, container.descriptor, inheritable=False)
    held = container.descriptor
    monkeypatch.setattr(child, "do_work", leave_a_child)
    watched = Watched(loop, container, "leave a child")
    loop.run()
    assert (watched.said, watched.ends) == ([{"done": True}], 1)
    os.close(hold)


def test_many_workers_at_once_each_end_once(loop: Loop, container: Container) -> None:
    ended: list[int] = []

    def end(number: int) -> None:
        ended.append(number)
        if len(ended) == 20:
            loop.stop()

    for number in range(20):
        said: list[Message] = []
        Worker(loop, container, "nosuchwork", anything, said=said.append, ended=functools.partial(end, number))
    loop.run()
    assert sorted(ended) == list(range(20))


@pytest.mark.parametrize("kept", [(), (0,), (0, 1, 2), (5, 3), (40,), (3, 3)])
def test_every_descriptor_but_the_kept_ones_is_closed(kept: tuple[int, ...]) -> None:
    program = f"import sys; sys.path.insert(0, {str(Path(scrun.__file__).parents[1])!r})\n"
    program += "import os; from scrun.lifecycle.process.fork import close_all_but\n"
    program += "said = os.dup2(2, 60)\nfor number in (3, 5, 7, 40): os.dup2(0, number)\n"
    program += f"close_all_but(60, *{kept!r})\n"
    # To list them a descriptor is needed: the lowest free one, so it is told apart by its name.
    program += "there = [int(n) for n in os.listdir('/proc/self/fd')]\n"
    program += "there = [n for n in there if os.path.exists(f'/proc/self/fd/{n}')]\nos.write(60, repr(there).encode())"
    done = subprocess.run([sys.executable, "-ISc", program], stdin=subprocess.DEVNULL, capture_output=True, check=False)
    assert done.stderr.decode() == repr(sorted({*kept, 60}))


def test_a_worker_is_there_until_it_has_gone(loop: Loop, container: Container) -> None:
    watched = Watched(loop, container, "prepare")
    assert watched.worker.is_there
    watched.worker.kill()
    loop.run()
    assert not watched.worker.is_there
