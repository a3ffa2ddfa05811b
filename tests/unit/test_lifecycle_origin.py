"""A job's mark: which container of which boot of which host it belongs to, and whether that is gone."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scrun.lifecycle.container import origin
from scrun.lifecycle.container.origin import Host, Mark
from scrun.lifecycle.process import processes

HERE = Host("login", "5f2c81aa", "c0ffee12a3b4", "effffffc", "f0000001")
OURS = Mark("box", HERE, os.getpid(), processes.start_time(os.getpid()), "1b2c3d4e")


def other(left: Mark = OURS, **changes: Any) -> Mark:
    """The mark with another host, or another process."""
    for_host = {name: value for name, value in changes.items() if name in HERE._fields}
    host = Host(**(left.host._asdict() | for_host))
    rest = {name: value for name, value in changes.items() if name not in for_host}
    return Mark(**(left._asdict() | {"host": host} | rest))


@pytest.fixture
def dead() -> Mark:
    """The mark of a container of this host whose anchor has ended."""
    with subprocess.Popen(["sleep", "1000"]) as process:
        started = processes.start_time(process.pid)
        process.kill()
    return other(pid=process.pid, started=started)


def test_a_mark_is_read_as_it_was_written() -> None:
    text = origin.mark("box", "/run/user/1/scrun", os.getpid())
    read = origin.parse(text)
    assert read == (
        *("box", origin.here(), os.getpid(), processes.start_time(os.getpid())),
        origin.checksum("/run/user/1/scrun"),
    )
    assert text.startswith(f"box@{os.uname().nodename}/")
    assert text.isascii()
    assert " " not in text


def test_a_long_id_is_cut() -> None:
    read = origin.parse(origin.mark("x" * 1024, "/r", os.getpid()))
    assert read is not None
    assert read.container == "x" * 128


@pytest.mark.parametrize(
    "text", ["", "box", "box@login", "box@login/a.b", "box@login/m.b.p.n.x.1.r", "box@login/m.b.p.n.1.1.r.more", "@/"]
)
def test_a_foreign_mark_is_left_alone(text: str) -> None:
    assert origin.parse(text) is None


@given(st.text())
def test_parsing_any_container_id_never_fails(text: str) -> None:
    origin.parse(text)


def test_a_container_whose_anchor_lives_is_there() -> None:
    assert not origin.is_gone(OURS, HERE, 0)


def test_a_container_whose_anchor_has_ended_is_gone(dead: Mark) -> None:
    assert origin.is_gone(dead, HERE, time.time())


def test_another_process_with_its_pid_is_no_anchor() -> None:
    assert origin.is_gone(other(started=OURS.started - 1), HERE, 0)


@pytest.mark.parametrize("changes", [{"name": "login2"}, {"machine": "0badcafe"}, {"machine": ""}])
def test_only_the_same_host_decides(changes: dict[str, str], dead: Mark) -> None:
    assert not origin.is_gone(other(dead, **changes), HERE, 0)
    assert not origin.is_gone(other(dead, boot="f00d", **changes), HERE, 0)


def test_a_host_that_nothing_identifies_decides_nothing(dead: Mark) -> None:
    nameless = Host(*HERE[:1], "", *HERE[2:])
    assert not origin.is_gone(other(dead, machine=""), nameless, 0)


def test_what_precedes_this_boot_is_gone() -> None:
    assert origin.is_gone(other(boot="f00d"), HERE, 1000.0)


def test_a_job_younger_than_the_boot_is_foreign() -> None:
    assert not origin.is_gone(other(boot="f00d"), HERE, time.time() + 1000)


def test_an_invisible_pid_proves_nothing(dead: Mark) -> None:
    unseen = Host(*HERE[:3], "0", HERE.network)
    assert not origin.is_gone(other(dead, pids="0"), unseen, 0)
    assert not origin.is_gone(dead, unseen, 0)
    assert not origin.is_gone(other(dead, pids="f00d"), HERE, 0), "a container on this host may share its network"


@pytest.mark.parametrize(
    ("owner", "began", "gone"), [(0, 1000.0, True), (0, 1.0, False), (2000, 1000.0, False), (-1, 0.0, False)]
)
def test_a_host_in_a_container_may_have_restarted(
    owner: int, began: float, gone: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(origin, "_first_process", lambda: (owner, began))
    left = other(pids="f00d", network="f00e", started=500 * os.sysconf("SC_CLK_TCK"))
    assert origin.is_gone(left, HERE, 0) is gone


def test_the_first_process_began_after_the_boot() -> None:
    owner, began = origin._first_process()
    assert owner >= 0
    assert began >= 0
    assert origin._boot_time() + began < time.time()


def test_a_machines_id_or_network_cards_identify_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_MACHINE_ID", "_TRANSIENT", "_NETWORK_DEVICES"):
        monkeypatch.setattr(origin, name, str(tmp_path / name))
    assert origin._machine() == ""
    card = tmp_path / "_NETWORK_DEVICES" / "eth0"
    card.mkdir(parents=True)
    (card / "address").write_text("02:00:00:00:00:01\n")
    assert origin._machine() == "", "a bridge is no card"
    (card / "device").mkdir()
    by_card = origin._machine()
    assert by_card == origin.checksum("02:00:00:00:00:01")
    (tmp_path / "_MACHINE_ID").write_text("uninitialized\n")
    assert origin._machine() == by_card
    (tmp_path / "_MACHINE_ID").write_text("89adfcb9bcb0479ba4942bc5d51f5170\n")
    assert origin._machine() == origin.checksum("89adfcb9bcb0479ba4942bc5d51f5170")
    (tmp_path / "_TRANSIENT").touch()
    assert origin._machine() == by_card, "the id is of this boot only"
