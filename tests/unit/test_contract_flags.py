"""Every option that a caller of runc or crun may give is understood."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from scrun import argv, cli
from scrun.grammar import COMMANDS, NOT_SUPPORTED, Call

# Each with a value that a caller gives. Written out here, not taken from the grammar: that is what is measured.
GLOBAL = (
    *("--debug", "--log=/l", "--log=file:/l", "--log-format=text", "--log-format=json", "--log-level=debug"),
    *("--root=/r", "--rootless=auto", "--rootless=true", "--systemd-cgroup", "--cgroup-manager=disabled"),
    *("--cgroup-manager=systemd", "--criu=/usr/sbin/criu", "-f /etc/slurm/slurm.conf", "-v", "-v -v"),
)
CREATE = (
    *("-b /b", "--bundle=/b", "--console-socket=/s", "--pidfd-socket=/s", "--pid-file=/p", "--no-pivot"),
    *("--no-new-keyring", "--preserve-fds=3", "-f c.json", "--config=c.json", "--no-subreaper"),
)
OPTIONS = {
    "create c": CREATE,
    "run c": (*CREATE, "-d", "--detach", "--keep"),
    "exec c true": (
        *("--console-socket=/s", "--pidfd-socket=/s", "--cwd=/", "-e A=1", "--env=A=1", "-t", "--tty", "-u 0:0"),
        *("--user=0", "-g 10", "--additional-gids=10", "-p /p", "--process=/p", "-d", "--detach", "--pid-file=/p"),
        *("--process-label=l", "--apparmor=a", "--no-new-privs", "-c CAP_KILL", "--cap=CAP_KILL", "--preserve-fds=1"),
        *("--cgroup=/c", "--ignore-paused"),
    ),
    "kill c 9": ("-a", "--all", "-r", "--regex"),
    "delete c": ("-f", "--force", "-r", "--regex"),
    "list": ("-f json", "--format=table", "-q", "--quiet"),
    "ps c": ("-f json", "--format=json", "--format=table"),
    "events c": ("--interval=5s", "--stats"),
    "spec": ("-b /b", "--bundle=/b", "--rootless", "-f c.json", "--file=c.json"),
    "update c": (
        *("-r -", "--resources=-", "--resources=/r", "--blkio-weight=1", "--cpu-period=1", "--cpu-quota=1"),
        *("--cpu-burst=1", "--cpu-share=1", "--cpu-rt-period=1", "--cpu-rt-runtime=1", "--cpuset-cpus=0"),
        *("--cpuset-mems=0", "--cpu-idle=1", "--memory=1", "--memory-reservation=1", "--memory-swap=1"),
        *("--kernel-memory=1", "--kernel-memory-tcp=1", "--pids-limit=1", "--l3-cache-schema=x", "--mem-bw-schema=x"),
    ),
    **{f"{name} c": () for name in ("start", "state", "pause", "resume")},
    "features": (),
    "version": (),
}
# Of what can't be done, whatever is written: each ends in a call whose answer is a refusal.
REFUSED = (
    *("checkpoint c", "checkpoint --help", "checkpoint --image-path /i --work-path=/w --leave-running c"),
    *("checkpoint --tcp-established --file-locks --pre-dump c", "restore c", "restore --help"),
    *("restore --bundle /b --pid-file /p --image-path /i --detach -no-subreaper c", "restore --lsm-mount-context x c"),
)


def lines() -> Iterator[str]:
    """Each option of each command, and each global one in front of each command."""
    for line, options in OPTIONS.items():
        name, _, arguments = line.partition(" ")
        yield line
        for option in options:
            yield f"{name} {option} {arguments}".strip()
        for option in GLOBAL:
            yield f"{option} {line}"


def understood(words: list[str]) -> Call | None:
    """The call that a command line is, by whichever parser takes it; None when it is refused."""
    calls: list[Call] = []
    cli.main(words, lambda call: calls.append(call) or 0)  # type: ignore[func-returns-value]
    fast = argv.parse(words)
    assert fast is None or [fast] == calls
    return calls[0] if calls else None


@pytest.mark.parametrize("line", list(lines()))
def test_an_option_is_accepted(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCRUN_STDERR_DEBUG", "")  # -v sets it
    call = understood(line.split())
    assert call is not None
    assert call.command in line.split()
    assert call.arguments[:1] in ((), ("c",))


@pytest.mark.parametrize("line", REFUSED)
def test_unsupported_command_with_any_option_is_a_call(line: str) -> None:
    call = understood(line.split())
    assert call is not None
    assert call.command == line.split()[0]


def test_every_listed_command_is_in_the_table() -> None:
    named = {line.split()[0] for line in OPTIONS}
    assert named <= set(COMMANDS)
    assert {line.split()[0] for line in REFUSED} == set(NOT_SUPPORTED)


@pytest.mark.parametrize("words", [["--help"], ["-h"], ["-?"], ["--usage"], ["--version"], ["-V"]])
def test_help_and_version_are_neither_call_nor_error(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(words, lambda _call: 1) == 0
    assert capsys.readouterr().out
