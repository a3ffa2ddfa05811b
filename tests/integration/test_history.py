"""What ran is kept: a line for each container, however it was called and however it ended; nobody waits for it."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .conftest import MakeContainer
from .engines import Engine
from .syslog import Syslog
from .users import User
from .waiting import wait_until

pytestmark = pytest.mark.slurm_only("keeps nothing")


def kept(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def one_line(path: Path) -> dict[str, Any]:
    (found,) = wait_until(lambda: kept(path), f"{path} has a line")
    return found


def test_line_records_what_ran_and_how_it_ended(container: MakeContainer, directory: Path) -> None:
    path = directory / "state/history.jsonl"
    one = container("sh", "-c", "exit 7", env=["TOKEN=Xyzzy-8271"]).started(env={"SCRUN_HISTORY": str(path)})
    record = one.record
    assert one.ended() == 7
    found = one_line(path)
    assert (found["id"], found["exitStatus"], found["job"], found["user"]) == (one.id, 7, record["job"], "alice")
    assert found["nodes"][0].startswith("node")
    assert found["created"] < found["started"] < found["finished"]
    assert found["command"] == ["sh", "-c", "exit 7"]
    assert "Xyzzy" not in path.read_text()
    assert (path.stat().st_uid, path.stat().st_mode & 0o777) == (one.runtime.user.uid, 0o600)


def test_rootless_podman_keeps_it_in_the_home_directory(podman: Engine, alice: User) -> None:
    path = alice.home / f".history-{os.getpid()}"
    podman.env = {"SCRUN_HISTORY": f"%h/{path.name}"}
    podman.run("true", options=("--rm",)).ok()
    found = one_line(path)
    assert path.stat().st_uid == alice.uid
    path.unlink()
    assert (found["uid"], found["exitStatus"]) == (alice.uid, 0)


def test_a_site_keeps_everybodys_in_syslog(container: MakeContainer, slurm_conf: Callable[..., Path]) -> None:
    conf = slurm_conf()
    with conf.with_name("oci.conf").open("a") as file:
        file.write('#scrun: History="syslog"\n')
    syslog = Syslog()
    try:
        one = container("true").created(global_options=["-f", str(conf)], env={"SCRUN_HISTORY": "no"})
        one.call("start").ok()
        assert one.ended() == 0
        lines = wait_until(lambda: [line for line in syslog.lines if one.id in line], "syslog has it")
    finally:
        syslog.close()
    assert lines[0].startswith("<30>")  # info, of a daemon
    assert json.loads(lines[0].partition("]: ")[2])["exitStatus"] == 0


def test_container_with_killed_anchor_is_recorded_too(container: MakeContainer, directory: Path) -> None:
    path = directory / "history.jsonl"
    one = container("sleep", "1000").started(env={"SCRUN_HISTORY": str(path)})
    os.kill(one.record["anchor"], signal.SIGKILL)
    assert one.ended() == 137
    assert one_line(path)["exitStatus"] == 137


def test_unwritable_history_is_logged_and_ends_nothing(container: MakeContainer, directory: Path) -> None:
    path = directory / "history.jsonl"
    path.symlink_to("/etc/passwd")
    one = container("sh", "-c", "exit 7").started(env={"SCRUN_HISTORY": str(path)})
    assert one.ended() == 7
    wait_until(lambda: "what ran can't be kept" in (one.path / "anchor.log").read_text(), "it is in the log")


def test_a_pipe_in_its_place_keeps_nobody_waiting(container: MakeContainer, directory: Path, alice: User) -> None:
    path = directory / "history.jsonl"
    os.mkfifo(path)
    os.chown(path, alice.uid, alice.gid)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        one = container("true").started(env={"SCRUN_HISTORY": str(path)})
        assert one.ended() == 0
        one.call("delete").ok()
        assert os.read(reader, 1) == b""
    finally:
        os.close(reader)


@pytest.mark.parametrize("value", ["history", "~/history"])
def test_a_place_that_is_none_is_refused(container: MakeContainer, value: str) -> None:
    done = container("true").create(env={"SCRUN_HISTORY": value})
    assert done.status == 1
    assert b"is not syslog, no or a file's absolute path" in done.errors


def test_an_image_cannot_name_a_file(container: MakeContainer) -> None:
    done = container("true", env=["SCRUN_HISTORY=/home/alice/x"]).create()
    assert done.status == 1
    assert b"SCRUN_HISTORY" in done.errors
    assert not Path("/home/alice/x").exists()
