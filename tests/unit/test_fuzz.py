"""Whatever is in a request, a config.json, a record or a command line: an answer or one clear error, never a crash."""

from __future__ import annotations

import json
import os
import socket
import string
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from examples import examples
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scrun import argv, cli
from scrun.bundle import adapt_gpus, config, container_limits
from scrun.bundle.adapt import adapt
from scrun.errors import DamagedRecord, ScrunError
from scrun.grammar import COMMANDS, GLOBAL_OPTIONS, Call
from scrun.lifecycle.anchor import server
from scrun.lifecycle.container import network
from scrun.lifecycle.container.directory import Container
from scrun.lifecycle.operations import list as listing
from scrun.lifecycle.operations import state
from scrun.lifecycle.process.loop import Loop
from scrun.slurm import job

Message = dict[str, Any]

TEXTS = st.text(max_size=8) | st.sampled_from(["", "/", "-1", "1e400", "a=b", "\x00", "\udcff", "9" * 40, "[1-", "%n"])
NUMBERS = st.integers() | st.sampled_from([-1, 0, 1, 2**31, 2**32, 2**63, 2**64, 10**400]) | st.floats()
LEAVES = st.none() | st.booleans() | NUMBERS | TEXTS
VALUES = st.recursive(LEAVES, lambda below: st.lists(below, max_size=3) | st.dictionaries(TEXTS, below, max_size=3))

# The fixtures stay as they are from example to example.
SHARED = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


def is_one_line(error: Exception) -> None:
    """What a person sees."""
    assert str(error)
    assert "\n" not in str(error)


# --- the control socket


class Anchor:
    """Takes note of what reaches it."""

    def __init__(self) -> None:
        self.signals: list[Any] = []
        self.ends: list[Any] = []

    def start(self, answer: Callable[[Message], None]) -> None:
        answer({"started": True})

    def kill(self, number: int, answer: Callable[[Message], None]) -> None:
        self.signals.append(number)
        answer({"sent": number})

    def waits_for(self) -> str:
        return ""

    def delete(self, answer: Callable[[Message], None]) -> None:
        answer({"ended": True})
        self.ends.append(True)


REQUESTS = st.fixed_dictionaries(
    {"do": st.sampled_from(["start", "ping", "kill", "delete", "dance"]) | VALUES},
    optional={"signal": st.integers(-2, 70) | VALUES, "pid": VALUES},
)
LINES = st.one_of(
    REQUESTS.map(lambda value: json.dumps(value).encode()),
    VALUES.map(lambda value: json.dumps(value).encode()),
    st.binary(max_size=40),
)


@SHARED
@given(lines=st.lists(LINES, min_size=1, max_size=3), ends=st.booleans())
def test_socket_input_is_carried_out_or_refused(loop: Loop, lines: list[bytes], ends: bool) -> None:
    anchor, closed = Anchor(), list[Any]()
    here, there = socket.socketpair()
    connection = server._Connection(loop, anchor, there.detach(), closed.append)  # type: ignore[arg-type]
    with here:
        here.sendall(b"\n".join(lines) + b"\n" * ends)
        here.shutdown(socket.SHUT_WR)
        for _ in range(4):
            if not closed:
                connection._readable()
        assert closed == [connection]
        answers = here.makefile().read().splitlines()
    assert len(answers) <= 1
    assert all(isinstance(json.loads(answer), dict) for answer in answers)
    assert all(type(number) is int and 0 <= number <= 64 for number in anchor.signals)
    assert anchor.ends in ([], [True])


# --- config.json

SAMPLES = [json.loads(path.read_text()) for path in sorted((Path(__file__).parent / "configs").glob("*.json"))]


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths of all that is in it."""
    below = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, member in below for place in places(member, (*path, key)))]


def replaced(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    """A copy with something else in that place."""
    if not path:
        return new
    if isinstance(value, dict):
        return {**value, path[0]: replaced(value[path[0]], path[1:], new)}
    return [replaced(member, path[1:], new) if index == path[0] else member for index, member in enumerate(value)]


PLACES = [places(sample) for sample in SAMPLES]


@st.composite
def damaged_configs(draw: st.DrawFn) -> str:
    which = draw(st.integers(0, len(SAMPLES) - 1))
    value = SAMPLES[which]
    for _ in range(draw(st.integers(1, 3))):
        candidates = PLACES[which] if value is SAMPLES[which] else places(value)
        value = replaced(value, candidates[draw(st.integers(0, len(candidates) - 1))], draw(VALUES))
    return json.dumps(value)


@settings(max_examples=examples(300))
@given(text=damaged_configs() | VALUES.map(json.dumps) | st.text(max_size=30))
def test_configs_are_adapted_or_refused_in_one_line(text: str) -> None:
    try:
        found = config.load_text(text, "config.json")
        config.check_config(found)
    except ScrunError as error:
        is_one_line(error)
        return
    environment = dict(entry.partition("=")[::2] for entry in found["process"].get("env") or ())
    network.wanted(found)
    adapt_gpus.numbered(found)
    for uid in (0, 2000):
        config.check_config(adapt(found, uid=uid, gid=uid, note=lambda _line: None))
    try:
        job.request({}, environment, found.get("annotations"), container_limits.limits(found))
    except ScrunError as error:
        is_one_line(error)


# --- the record

FULL: Any = {
    "id": "box",
    "status": "running",
    "bundle": "/b",
    "rootfs": "/b/r",
    "owner": "alice",
    "annotations": {"a": "b"},
    **dict.fromkeys(("created", "started", "finished"), "2026-01-02T03:04:05.000000006Z"),
    "environment": {},
    "pid": os.getpid(),
    "pid_started": 1,
    "job": 7,
    "job_owned": True,
    "nodes": "node[1-2]",
    "job_environment": ["SLURM_JOB_PARTITION=debug"],
    "command": ["true"],
    "tasks": 2,
    "exit_status": 3,
    "step": "0",
    "staged": {},
    "runtime": {"kind": "crun"},
    "srun": ["srun"],
    "asked": {},
    "gpus": [0],
}


@SHARED
@given(changes=st.dictionaries(st.sampled_from(sorted(FULL)), VALUES, min_size=1, max_size=3), left_out=st.booleans())
def test_a_damaged_record_fails_clearly_harming_no_others(
    container: Container, tmp_path: Path, changes: Message, left_out: bool
) -> None:
    root = str(tmp_path / "root")
    if not os.path.exists(f"{root}/good"):
        good = Container.claim(root, "good")
        good.record = FULL | {"status": "stopped"}
        good.save()
        os.close(good.descriptor)
    record = {name: value for name, value in FULL.items() if name not in changes} if left_out else {**FULL, **changes}
    (Path(container.path) / "state.json").write_text(json.dumps(record))
    found = {entry["id"]: entry for entry in listing.list_containers(root, briefly=True)}
    assert found["good"]["status"] == "stopped"
    listing.table([*found.values()])
    json.dumps([*found.values()])
    try:
        opened = Container.open(root, "box")
    except DamagedRecord as error:
        is_one_line(error)
        assert found["box"]["status"] == "damaged"
        return
    state.state_of(opened)
    os.close(opened.descriptor)


WRONG: dict[str, list[Any]] = {
    "pid": ["1", None, -1, 1.0, True, 2**32, [1]],
    "status": ["dancing", 7, ["running"]],
    "created": ["yesterday", 7, "2026-01-02T03:04:05Z", "2026-01-02Txx:04:05.000000006Z"],
    "annotations": [[], {"a": 1}, "a"],
    "job": ["7", -1, 2**40],
    "runtime": [{}, [], {"kind": 1}],
    "step": [0, "x", "٣"],
    "nodes": [["node1"], 7],
    "srun": ["srun"],
    "debtor": [[1]],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in WRONG.items() for value in values])
def test_a_record_of_wrong_types_names_the_member(container: Container, name: str, value: Any) -> None:
    (Path(container.path) / "state.json").write_text(json.dumps({**FULL, name: value}))
    with pytest.raises(DamagedRecord, match=rf"it is no container's record: {name} is not what it should be: "):
        container.load()
    (Path(container.path) / "state.json").write_text(json.dumps(FULL))
    container.load()


# --- the command line

SPELLINGS = [
    *(spelling for option in GLOBAL_OPTIONS for spelling in option.spellings),
    *(spelling for command in COMMANDS.values() for option in command.options for spelling in option.spellings),
]
WORDS = st.one_of(
    st.sampled_from([*COMMANDS, *SPELLINGS, "--", "-", "box", "--log-format=json", "7"]),
    st.builds("{}={}".format, st.sampled_from(SPELLINGS), TEXTS),
    st.text(string.printable, max_size=6),
    TEXTS,
)


@settings(max_examples=examples(300))
@given(words=st.lists(WORDS, max_size=6))
def test_a_command_line_is_understood_or_refused(words: list[str]) -> None:
    calls: list[Call] = []

    def perform(call: Call) -> int:
        calls.append(call)
        return 0

    quick = argv.parse(words)
    exit_status = cli.main(words, perform)
    assert 0 <= exit_status < 256
    if quick:
        assert calls
        assert (calls[0].command, calls[0].arguments) == (quick.command, quick.arguments)
