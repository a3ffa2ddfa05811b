"""A container's own socket and record: whatever is written to them, the container ends as its program does."""

from __future__ import annotations

import json
import socket
import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from .conftest import MakeContainer
from .oci import Container
from .users import Done

pytestmark = pytest.mark.slurm_only("it has neither")

MESSAGES = {
    "infinite": b'{"do":"kill","signal":1e400}\n',
    "deep": b"[" * 200_000 + b"\n",
    "above": b'{"do":"kill","signal":99999}\n',
    "below": b'{"do":"kill","signal":-100}\n',
    "wrong types": b'{"do":{"a":1},"signal":[]}\n',
    "no object": b"7\n",
    "no text": b"\xff\xfe\n",
    "two": b'{"do":"pause"}\n{"do":"kill","signal":9}\n',
    "no end": b'{"do":"kill",' * 1000,
}


def said_to(one: Container, data: bytes) -> bytes:
    """What its anchor answers, as root, whom it lets in as well; it hangs up."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(30)
        connection.connect(str(one.path / "anchor.sock"))
        try:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            return b"".join(iter(lambda: connection.recv(65536), b""))
        except (BrokenPipeError, ConnectionResetError):
            return b""


def test_bad_messages_are_refused_without_effect(container: MakeContainer) -> None:
    one = container("sh", "-c", "trap 'exit 7' TERM; echo ready; while :; do sleep 0.1; done").started()
    one.wait_for_output(b"ready")
    for name, data in MESSAGES.items():
        answer = said_to(one, data)
        assert not answer or json.loads(answer)["error"] == "UsageError", name
        assert one.state()["status"] == "running", name
    silent = [socket.socket(socket.AF_UNIX) for _ in range(300)]
    for connection in silent:
        connection.connect(str(one.path / "anchor.sock"))
    one.call("kill", "TERM").ok()
    assert one.ended() == 7
    for connection in silent:
        connection.close()
    assert one.record["exit_status"] == 7


def one_line(done: Done) -> str:
    """The error, as a person should see it."""
    assert done.status in (1, 255)  # the latter of exec
    assert done.stderr.count("\n") == 1
    assert "internal error" not in done.stderr
    return done.stderr


CHANGES: list[Callable[[Any], Any]] = [
    lambda record: {**record, "pid": "1"},
    lambda record: {**record, "annotations": [], "status": 7},
    lambda record: {**record, "created": "yesterday"},
    lambda record: {**record, "nodes": "node[", "started": record["created"]},
    lambda record: [record],
]


def test_record_of_wrong_types_harms_no_other_container(container: MakeContainer) -> None:
    good = container("true").created()
    bad = container("sleep", "1000").started()
    job = bad.record["job"]
    text = json.dumps(bad.record)
    for change in CHANGES:
        (bad.path / "state.json").write_text(json.dumps(change(json.loads(text))))
        entries = {entry["id"]: entry for entry in json.loads(good.runtime.run("list", "--format=json").ok().stdout)}
        assert entries[good.id]["status"] == "created"
        assert entries[bad.id]["status"] == "damaged"
        assert entries[bad.id]["error"].startswith(f"can't read {bad.path}/state.json: ")
        good.runtime.run("list").ok()
    (bad.path / "state.json").write_text(json.dumps({**json.loads(text), "pid": "1"}))
    for verb in (("state",), ("start",), ("ps",), ("exec", "true"), ("pause",), ("kill", "TERM")):
        assert "it is no container's record: pid is not what it should be" in one_line(bad.call(*verb))
    bad.call("delete", "--force").ok()
    assert not bad.path.exists()
    jobs = subprocess.run(["squeue", "--noheader", "--format=%i %t"], capture_output=True, text=True, check=True)
    assert f"{job} R" not in jobs.stdout.splitlines()
    good.call("start").ok()
    assert good.ended() == 0
