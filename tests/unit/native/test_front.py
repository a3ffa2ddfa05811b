"""scrun-front, with the sanitizers: it answers as Python does what it answers itself, and leaves the rest to Python."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from builds import SANITIZED, built

import scrun
from scrun import argv, fastjson
from scrun.errors import DamagedRecord, ScrunError
from scrun.installation import launcher
from scrun.lifecycle.container import record as records
from scrun.lifecycle.container.directory import Container
from scrun.lifecycle.operations import kill, state
from scrun.lifecycle.recovery import sweep

from . import front_table

pytestmark = pytest.mark.slow
SOURCES = Path(scrun.__file__).parent / "front"
ENDED = b'{"ended": true, "lost": ""}\n'
# What docker, podman, buildah and people send, with the container's place in it.
PLAIN = [
    "--root {root} --log {log} --log-format json {verb} box",
    "--root={root} --log-format=json --log {log} {verb} box",
    "--root {root} --systemd-cgroup {verb} box",
    "--rootless=true --criu /c --cgroup-manager disabled --root /elsewhere --root {root} {verb} box",
    "--log= --root {root}/ {verb} box",
]


@pytest.fixture(scope="session")
def program() -> Path:
    """The program with AddressSanitizer and UndefinedBehaviorSanitizer."""
    return built("front", *SANITIZED)


class Done(NamedTuple):
    """How a call has ended."""

    status: int
    stdout: str
    stderr: str
    log: list[str]
    asked: list[bytes]  # what the anchor was sent
    is_there: bool  # whether the container's directory is


class Place:
    """A directory of containers with one, `box`, whose stand-in is this process; and perhaps an anchor."""

    def __init__(self, path: Path, program: Path, record: records.Record) -> None:
        self.root, self.log, self.program = path / "root", path / "log", program
        self.box, self.record, self.path = self.root / "box", record, path
        self.launcher = path / "scrun"
        self.launcher.write_text(launcher.program(str(self.launcher), sys.executable, [str(SOURCES.parents[1])]))
        self.launcher.chmod(0o755)
        self.python = path / "python"  # tells that it was called
        self.python.write_text(f'#!/bin/sh\n: >{path}/called\nexec {sys.executable} "$@"\n')
        self.python.chmod(0o755)
        self.answer: Callable[[socket.socket], None] | None = None
        self.end: Callable[[], None] = lambda: None
        self.swept = ""  # what says in which boot Slurm was asked for jobs that were left; empty: nothing does

    def make(self) -> int:
        """Make it anew; a descriptor of the container's directory."""
        shutil.rmtree(self.root, ignore_errors=True)
        self.box.mkdir(0o700, parents=True)
        self.save()
        if self.swept:
            (self.root / sweep.SWEPT).write_text(self.swept)
        return os.open(self.box, os.O_RDONLY)

    def save(self, **changed: object) -> None:
        """Write the record."""
        (self.box / "state.json").write_text(fastjson.dumps({**self.record, **changed}) + "\n")

    def call(self, *words: str, front: bool, environment: dict[str, str] | None = None) -> Done:
        """Call the program, or Python's, in a place that was made for it."""
        descriptor, asked = self.make(), list[bytes]()
        self.log.unlink(missing_ok=True)
        (self.path / "called").unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX)
        anchor = threading.Thread(target=self._serve, args=(listener, asked, descriptor), daemon=True)
        if self.answer:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            listener.bind(f"/proc/self/fd/{descriptor}/anchor.sock")
            listener.listen()
            anchor.start()
        first = [str(self.program), str(self.python)] if front else [sys.executable, "-IS"]
        done = subprocess.run(
            [*first, str(self.launcher), *words],
            env={"ASAN_OPTIONS": "detect_leaks=0", **(environment or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if self.answer:
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)  # it may wait for a call still
            anchor.join()  # what it does at the end isn't for the next call
        else:
            os.close(descriptor)
        listener.close()
        lines = self.log.read_text().splitlines() if self.log.exists() else ["no log"]
        log = [line.partition('"time"')[0] for line in lines]
        return Done(done.returncode, done.stdout, done.stderr, log, asked, self.box.exists())

    def _serve(self, listener: socket.socket, asked: list[bytes], descriptor: int) -> None:
        assert self.answer
        try:
            connection, _ = listener.accept()
            with connection:
                asked.append(connection.recv(1000))
                self.answer(connection)
        except OSError:
            pass
        listener.close()
        self.end()
        os.close(descriptor)  # and the lock with it

    @property
    def is_python(self) -> bool:
        """Whether the last call was Python's."""
        return (self.path / "called").exists()

    def same(self, *words: str, environment: dict[str, str] | None = None) -> Done:
        """Call both; what they do, which is the same."""
        by_python = self.call(*words, front=False, environment=environment)
        by_front = self.call(*words, front=True, environment=environment)
        assert by_front == by_python
        return by_front


@pytest.fixture
def place(program: Path, container: Container, tmp_path: Path) -> Place:
    """One whose container has been created."""
    path = tmp_path / "place"
    path.mkdir()
    return Place(path, program, container.record)


def says(data: bytes) -> Callable[[socket.socket], None]:
    return lambda connection: connection.sendall(data)


def test_its_table_is_the_grammars() -> None:
    remedy = "PYTHONPATH=src:tests/unit python -m native.front_table >src/scrun/front/table.c"
    assert (SOURCES / "table.c").read_text() == front_table.text(), remedy


def test_it_is_small_and_static() -> None:
    program = built("front")
    said = subprocess.run(["readelf", "-hld", program], capture_output=True, text=True, check=True).stdout
    assert "INTERP" not in said
    assert program.stat().st_size <= 40_000
    done = subprocess.run([program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("scrun-front: it is named in the first line of scrun's program")


@pytest.mark.parametrize("line", PLAIN)
@pytest.mark.parametrize("verb", ["state", "start", "kill", "kill -a", "delete", "delete --force", "delete -f"])
def test_engines_calls_need_no_python(place: Place, line: str, verb: str) -> None:
    place.answer = says({"start": b'{"started": true}\n', "kill": b'{"sent": 15}\n'}.get(verb.split()[0], ENDED))
    place.end = lambda: place.save(status="stopped")
    words = line.format(root=place.root, log=place.log, verb=verb).split()
    done = place.same(*words)
    assert not place.is_python
    assert (done.status, done.stderr) == (0, "")
    assert done.is_there == (not verb.startswith("delete"))


@pytest.mark.parametrize("name", ["9", "0", "64", "KILL", "sigkill", "SigTerm", "term", "CLD", "015"])
def test_signals_by_number_and_name(place: Place, name: str) -> None:
    place.answer = says(b'{"sent": %d}\n' % kill.signal_number(name))
    done = place.same("--root", str(place.root), "kill", "box", name)
    assert not place.is_python
    assert done.status == 0


@pytest.mark.parametrize(
    "name", ["65", "SIGSIGTERM", "", "-1", "1 ", "x" * 30, "0" * 18 + "9", "RTMIN+1", "DFL", "\u0131nt"]
)
def test_signals_that_python_has_to_look_at(place: Place, name: str) -> None:
    place.answer = says(b'{"sent": 35}\n')
    place.same("--root", str(place.root), "kill", "box", name)
    assert place.is_python


@pytest.mark.parametrize("status", ["creating", "created", "running", "paused", "stopped"])
@pytest.mark.parametrize("verb", ["state", "start", "kill", "kill --all"])
@pytest.mark.parametrize("more", [{}, {"pid_started": 1}, {"ending": True}], ids=str)
def test_every_status(place: Place, status: str, verb: str, more: records.Record) -> None:
    place.record.update({"status": status})
    place.record.update(more)
    if "pid_started" not in more:  # else its processes have gone, and hold no lock
        place.answer = says(b'{"started": true}\n' if verb == "start" else b'{"sent": 15}\n')
    place.same("--root", str(place.root), *verb.split(), "box")


ODD = [
    b'{"error": "WrongStatus", "message": "cannot do it: \\u00e9\\n\\"quoted\\""}\n',
    b'{"error": "NoSuchError", "message": "of a later version"}\n',
    b'{"ended": true}\n',
    b'{"later": true}\n',
    b'{"ended": true, "lost": "all is lost"}\n',
    b'{"deleted": true, "lost": "more than is known here"}\n',
    b'{"what": 1}\n',
    b"no json\n",
    b'{"started": true}',
    b'{"sent": 15}\n{"sent": 15}\n',
    b'{"error": "WrongStatus", "message": "%s"}\n' % (b"x" * 3000),
    b"",
]


@pytest.mark.parametrize("answer", ODD, ids=range(len(ODD)))
@pytest.mark.parametrize("verb", ["start", "kill", "delete"])
def test_other_answers_are_pythons_without_asking_twice(place: Place, answer: bytes, verb: str) -> None:
    place.answer = says(answer)
    if verb == "delete":
        place.end = lambda: place.save(status="stopped")
    done = place.same("--root", str(place.root), "--log", str(place.log), "--log-format", "json", verb, "box")
    assert len(done.asked) == 1


@pytest.mark.parametrize("lost", ["all is lost", ""])
def test_container_removed_by_its_anchor_is_deleted(place: Place, lost: str) -> None:
    """Python is told what is lost, when the directory has gone already."""

    def answer(connection: socket.socket) -> None:
        shutil.rmtree(place.box)
        connection.sendall(b'{"ended": true, "lost": "%s"}\n' % lost.encode())

    place.answer = answer
    place.end = lambda: None
    done = place.same("--root", str(place.root), "--log", str(place.log), "--log-format", "json", "delete", "box")
    assert (done.status, len(done.asked)) == (0, 1)
    assert any("all is lost" in line for line in (done.stderr, *done.log)) == bool(lost)


def test_an_anchor_that_deletes_is_not_waited_for(place: Place) -> None:
    place.answer = says(b'{"deleted": true}\n')
    place.end = lambda: None  # it holds the lock, and the directory stays
    done = place.same("--root", str(place.root), "delete", "box")
    assert (done.status, done.stderr, len(done.asked)) == (0, "", 1)
    assert place.box.exists()


def test_slow_anchor_is_waited_for(place: Place) -> None:
    """Python takes over after some seconds, and goes on with the same connection."""
    told = threading.Event()

    def answer(connection: socket.socket) -> None:
        deadline = 600
        while not place.is_python and deadline:
            told.wait(0.05)
            deadline -= 1
        connection.sendall(b'{"started": true}\n')

    place.answer = answer
    done = place.call("--root", str(place.root), "start", "box", front=True)
    assert place.is_python
    assert (done.status, done.stderr, done.asked) == (0, "", [b'{"do": "start"}\n'])


@pytest.mark.parametrize(
    ("changed", "files"),
    [
        ({"stage_out_owed": True}, []),
        ({"lost": "some files"}, []),
        ({"debtor": [1, 2]}, []),
        ({"job_owned": True, "job": 5, "released": True}, []),
        ({"job": 5}, []),
        ({"step_pid": 1, "step_started": 1}, []),
        ({}, ["paid"]),
        ({}, ["deleted"]),
        ({}, ["spool/a/b", "spool/link", "anchor.log"]),
    ],
    ids=str,
)
@pytest.mark.parametrize("has_anchor", [True, False])
def test_what_is_owed_is_pythons(place: Place, changed: dict[str, object], files: list[str], has_anchor: bool) -> None:
    place.record.update({"status": "stopped", **changed})  # type: ignore[typeddict-item]
    answer = {"ended": True, "lost": changed.get("lost", "")}
    place.answer = says(fastjson.dumps(answer).encode() + b"\n") if has_anchor else None
    make = place.make

    def make_with_files() -> int:
        descriptor = make()
        for name in files:
            (place.box / name).parent.mkdir(exist_ok=True, parents=True)
            if name.endswith("link"):
                (place.box / name).symlink_to("/")
            else:
                (place.box / name).write_text("")
        return descriptor

    place.make = make_with_files  # type: ignore[method-assign]
    place.same("--root", str(place.root), "delete", "box")
    is_owed = {*changed} & {"stage_out_owed", "lost", "debtor"} or "paid" in files
    assert place.is_python == bool(is_owed)


def test_an_owned_job_without_an_anchor_is_pythons(place: Place) -> None:
    place.record.update({"status": "stopped", "job_owned": True, "job": 5})
    place.call("--root", str(place.root), "delete", "box", front=True)
    assert place.is_python


def test_a_gone_container_is_deleted_by_force(place: Place) -> None:
    """containerd's shim deletes each container twice."""
    place.swept = sweep._boot()
    done = place.same(*f"--root {place.root} --log {place.log} --log-format json delete --force nosuch".split())
    assert done == (0, "", "", [], [], True)
    assert not place.is_python


@pytest.mark.parametrize(
    "swept",
    [
        lambda now: "",
        lambda now: now.strip(),
        lambda now: now + now,
        lambda now: "0" + now[1:] if now[0] != "0" else "1" + now[1:],
        lambda now: now.replace(".", ".1"),
    ],
    ids=["none", "short", "long", "another boot", "another pid namespace"],
)
def test_a_container_of_another_boot_is_pythons(place: Place, swept: Callable[[str], str]) -> None:
    place.swept = swept(sweep._boot())
    place.call(*f"--root {place.root} delete --force nosuch".split(), front=True)
    assert place.is_python


@pytest.mark.parametrize("words", ["delete nosuch", "kill nosuch", "state nosuch", "delete --force nosuch box"])
def test_other_calls_for_gone_containers_are_pythons(place: Place, words: str) -> None:
    place.swept = sweep._boot()
    done = place.same(*f"--root {place.root} {words}".split())
    assert done.status
    assert place.is_python


@pytest.mark.parametrize(
    "line",
    [
        "--root {root} state nosuch",
        "--root {root} delete --force nosuch",
        "--root {root} kill nosuch",
        "--root {root}/../root state box",
        "--root {root}/nowhere state box",
        "--root {root} --debug state box",
        "--root {root} --log-format xml state box",
        "--root {root} --log {root}/no/where state box",
        "--root {root} state .box",
        "--root {root} state box/",
        "--root {root} kill -r b.x",
        "state",
        "state box box",
        "--nosuch state box",
        "start --help",
    ],
)
def test_forms_that_are_pythons(place: Place, line: str) -> None:
    place.same(*line.format(root=place.root).split())
    assert place.is_python


@pytest.mark.parametrize("name", ["SCRUN_DEBUG", "SCRUN_FILE_DEBUG", "SCRUN_STDERR_DEBUG", "SCRUN_SYSLOG_DEBUG"])
def test_a_log_level_is_pythons(place: Place, name: str) -> None:
    place.same("--root", str(place.root), "state", "box", environment={name: "debug"})
    assert place.is_python
    place.same("--root", str(place.root), "state", "box", environment={name: ""})
    assert not place.is_python


def test_a_relative_root_is_the_working_directorys(place: Place) -> None:
    place.make()
    command = [str(place.program), "/bin/false", str(place.launcher), "--root", "root", "state", "box"]
    done = subprocess.run(command, cwd=place.path, capture_output=True, text=True, check=False)
    assert json.loads(done.stdout)["id"] == "box"


def test_output_that_cannot_be_written_is_pythons_error(place: Place) -> None:
    place.make()
    words = ["--root", str(place.root), "state", "box"]
    for first in ([str(place.program), sys.executable], [sys.executable, "-IS"]):
        with open("/dev/full", "wb") as full:
            done = subprocess.run(
                [*first, str(place.launcher), *words], stdout=full, stderr=subprocess.PIPE, text=True, check=False
            )
        assert done.returncode == 1
        assert "No space left on device" in done.stderr


def test_closed_descriptor_is_not_mistaken_for_a_file(place: Place) -> None:
    place.make()
    command = [str(place.program), str(place.python), str(place.launcher), "--root", str(place.root), "state", "box"]
    script = 'exec "$@" 2>&-'
    done = subprocess.run(["sh", "-c", script, "sh", *command], capture_output=True, text=True, check=False)
    assert json.loads(done.stdout)["id"] == "box"
    assert place.is_python


def test_a_python_that_is_gone_is_named(place: Place) -> None:
    done = subprocess.run([place.program, "/no/python", "scrun", "list"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (127, "")
    assert done.stderr == "scrun: can't run /no/python: No such file or directory: install scrun again\n"


def test_what_its_caller_blocks_python_is_told(place: Place) -> None:
    show = "import sys; print(sys._xoptions['scrun-blocked'], open('/proc/self/status').read())"
    script = place.path / "show"
    script.write_text(show)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})
    try:
        command = [str(place.program), sys.executable, str(script), "list"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    blocked, now = done.stdout.split()[0], done.stdout.partition("SigBlk:")[2].split()[0]
    assert int(blocked) & 0xFFFF == 1 << signal.SIGUSR2 - 1
    assert int(now, 16) | 3 << 31 | 1 << signal.SIGKILL - 1 | 1 << signal.SIGSTOP - 1 == (1 << 64) - 1


TOKENS = [
    "state",
    "start",
    "kill",
    "delete",
    "list",
    "box",
    "nosuch",
    "--",
    "-",
    "=",
    "",
    "9",
    "--root=",
    "-fx",
    "--force=1",
]
TOKENS += ["{root}", "{root}", "/nowhere", "json", "text", "TERM", "--root={root}", "--log-format=json", "--rootless=1"]


def test_words_in_any_order(place: Place) -> None:
    """What it answers itself is a call that Python takes in the same way; the words that it leaves are unchanged."""
    draw = random.Random(1)
    spellings = [row.split('"')[1] for row in front_table.text().splitlines() if row.startswith('    {"-')]
    place.make()
    words_of_state = (
        json.dumps(json.loads(fastjson.dumps(state.state_of(Container.open(str(place.root), "box"))))) + "\n"
    )
    answered = 0
    for _ in range(400):
        pool = draw.choice(
            [
                TOKENS,
                TOKENS + spellings,
                ["--root={root}", "--rootless=1", "--systemd-cgroup", "--systemd-cgroup=1", "state", "box"],
            ]
        )
        words = [draw.choice(pool).format(root=place.root) for _ in range(draw.randrange(7))]
        if draw.random() < 0.5:
            words = ["--root", str(place.root), *words]
        if draw.random() < 0.3:
            words += ["state", "box"]
        if "start" in words or "kill" in words or "delete" in words:
            words = [word if word != "box" else "nosuch" for word in words]
        done = subprocess.run(
            [place.program, "/bin/echo", "scrun", *words],
            cwd=place.path,
            env={"ASAN_OPTIONS": "detect_leaks=0"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, ""), words
        if done.stdout.startswith("-X "):
            assert done.stdout.partition(" -IS scrun")[2].removeprefix(" ") == " ".join(words) + "\n", words
            continue
        answered += 1
        call = argv.parse(words)
        assert call, words
        assert (call.command, call.arguments) == ("state", ("box",)), words
        assert os.path.abspath(call.globals["root"]) == str(place.root), words
        assert done.stdout == words_of_state
    assert answered > 5


def _in_unicode(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _escaped(value: object) -> str:
    return json.dumps(value).replace("li", "\\u006ci").replace("\\n", "\\u000a")


def damaged(draw: random.Random, record: dict[str, object]) -> bytes:
    """A record in which something is changed."""
    values: list[object] = [
        None,
        True,
        False,
        0,
        1,
        -1,
        2**32,
        2**63,
        1.5,
        "",
        "x",
        'é\x7f\u2028😀\n\\"',
        [],
        {},
        ["a"],
    ]
    values += [
        {"a": 1},
        {"a": "\ud800"},
        "running",
        "stopped",
        "2026-01-02T03:04:05.000000006Z",
        {"a": {"b": [[[{}]]]}},
    ]
    changed = dict(record)
    names = [*record, "ending", "job", "job_owned", "lost", "version", "released", "another"]
    for _ in range(draw.randrange(3)):
        changed[draw.choice(names)] = draw.choice(values)
    if draw.random() < 0.2:
        changed.pop(draw.choice([*changed]))
    writes: list[Callable[[object], str]] = [fastjson.dumps, fastjson.dumps, json.dumps, _in_unicode, _escaped]
    text = draw.choice(writes)
    data = bytearray((text(changed) + draw.choice(["\n", "\n", "", " \n"])).encode("utf-8", "surrogatepass"))
    for _ in range(draw.choice([0, 0, 1, 3])):
        at = draw.randrange(len(data))
        data[at : at + draw.randrange(2)] = draw.choice(
            [b"", b"\\", b'"', b"\0", b"{", b"]", b",", b"9", b"\xff", b" "]
        )
    return bytes(data)


def test_a_record_in_any_form(place: Place) -> None:
    """What is printed of a record is what Python prints of it."""
    draw, answered = random.Random(2), 0
    used = re.findall(r'\[[A-Z_]+\] = "(\w+)"', (SOURCES / "record.c").read_text())
    assert len(used) == 19
    place.make()
    for _ in range(400):
        data = damaged(draw, dict(place.record))
        (place.box / "state.json").write_bytes(data)
        done = subprocess.run(
            [place.program, "/bin/echo", "scrun", "--root", place.root, "state", "box"],
            env={"ASAN_OPTIONS": "detect_leaks=0"},
            capture_output=True,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, b""), data
        if done.stdout.startswith(b"-X "):
            continue
        answered += 1
        try:
            expected = fastjson.dumps(state.state_of(Container.open(str(place.root), "box"))) + "\n"
        except ScrunError as error:
            if not isinstance(error, DamagedRecord) or any(f" {name} is " in str(error) for name in used):
                pytest.fail(f"{error}: {data!r}")
            continue  # the member that is damaged is none that scrun-front uses
        assert done.stdout.decode() == expected, data
    assert answered > 25
