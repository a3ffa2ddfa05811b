"""What a person and an engine are told of a program that could not be run, and by which address a node comes."""

from __future__ import annotations

import errno
import socket

import pytest

from scrun.errors import ExecutableNotFound, ExecutableNotPermitted, NodeRuntimeError
from scrun.lifecycle.connection import addresses
from scrun.lifecycle.connection.failures import explain
from scrun.lifecycle.connection.processes import Failure


@pytest.mark.parametrize(
    ("number", "program", "kind", "words", "status"),
    [
        (errno.ENOENT, "nope", ExecutableNotFound, 'exec: "nope": executable file not found in $PATH', 127),
        (errno.ENOENT, "/nope", ExecutableNotFound, 'exec: "/nope": stat /nope: no such file or directory', 127),
        (errno.ENOTDIR, "/a/b", ExecutableNotFound, 'exec: "/a/b": stat /a/b: not a directory', 127),
        (errno.EACCES, "/etc/hosts", ExecutableNotPermitted, 'exec: "/etc/hosts": permission denied', 126),
        (errno.EISDIR, "/etc", ExecutableNotPermitted, 'exec: "/etc": is a directory: permission denied', 126),
        (errno.ENOEXEC, "/bin/x", ExecutableNotPermitted, "exec /bin/x: exec format error", 126),
        (errno.E2BIG, "/bin/x", ExecutableNotPermitted, "exec /bin/x: argument list too long", 126),
    ],
)
def test_words_are_runcs_and_status_a_shells(
    number: int, program: str, kind: type[Exception], words: str, status: int
) -> None:
    error, exit_status = explain(Failure("x", number, ""), program)
    assert (type(error), str(error), exit_status) == (kind, words, status)


@pytest.mark.parametrize(
    ("text", "kind", "words", "status"),
    [
        (
            "2026-01-02T03:04:05.678901Z: executable file `x` not found in $PATH: No such file or directory\n",
            ExecutableNotFound,
            "exec failed: executable file `x` not found in $PATH: No such file or directory",
            127,
        ),
        (
            "ERRO[0000] exec failed: exec: x: is not executable",
            ExecutableNotPermitted,
            "exec failed: exec: x: is not executable: permission denied",
            126,
        ),
        (
            "warning\nsetns failed: Operation not permitted\n\n",
            NodeRuntimeError,
            "exec failed: setns failed: Operation not permitted",
            125,
        ),
        ("", NodeRuntimeError, "exec failed: the node's runtime did not say why", 125),
    ],
)
def test_the_nodes_runtime_has_the_last_word(text: str, kind: type[Exception], words: str, status: int) -> None:
    error, exit_status = explain(Failure("r", 0, text), "x")
    assert (type(error), str(error), exit_status) == (kind, words, status)


def test_what_is_no_program_s_fault_is_125() -> None:
    terminal, status = explain(Failure("t", errno.ENOSPC, ""), "x")
    assert (str(terminal), status) == ("the container's terminal can't be made: no space left on device", 125)
    resources, status = explain(Failure("s", 0, "too many processes"), "x")
    assert (str(resources), status) == ("the node can't run the process: too many processes", 125)
    limit, status = explain(Failure("l", errno.EPERM, "7"), "x")
    assert (str(limit), status) == ("the node can't set RLIMIT_NOFILE: operation not permitted", 125)
    assert "can't set a limit: " in str(explain(Failure("l", errno.EPERM, "99"), "x")[0])
    assert "unknown reason" in str(explain(Failure("s", 0, ""), "x")[0])


def test_address_is_what_the_kernel_chooses() -> None:
    assert addresses.towards(["127.0.0.1", "127.0.0.1", "no-such-host.invalid"]) == ["127.0.0.1"]
    if socket.has_dualstack_ipv6():
        assert addresses.towards(["127.0.0.1", "::1"]) == ["127.0.0.1", "::1"]
    assert addresses.towards([]) == []


def test_loopback_is_the_last_resort(monkeypatch: pytest.MonkeyPatch) -> None:
    own = {"here": "127.0.0.1", "far": "10.1.2.3", "link": "fe80::1"}
    monkeypatch.setattr(addresses, "_addresses", lambda host: [(socket.AF_INET, (host,))])
    monkeypatch.setattr(addresses, "_own_towards", lambda _family, address: own[address[0]])
    assert addresses.towards(["here", "far", "here"]) == ["10.1.2.3", "127.0.0.1"]
