"""exec: run a further process in a container, on its node (runc-exec(8)).

The container's anchor has the agent on the node call the node's runtime (docs/protocol.md). This process stays, or
leaves one behind, as what the caller sees of the new one: it passes on signals and ends with the exit status.
"""

from __future__ import annotations

import os
import time

from scrun import signal
from scrun.errors import NodeRuntimeError, ScrunError, UsageError, WrongStatus
from scrun.lifecycle.container import messages, network, node_client, status
from scrun.lifecycle.process import fork, installed, wire
from scrun.lifecycle.process.pid_file import write_pid_file
from scrun.lifecycle.standin import standin
from scrun.lifecycle.terminal.console import open_terminal
from scrun.lifecycle.terminal.terminal import Terminal, window_size
from scrun.slurm import srun

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from scrun.lifecycle.container.directory import Container
    from scrun.lifecycle.container.messages import Exec, Resize
    from scrun.lifecycle.container.record import Record
    from scrun.oci import Config, Process

NODE = "SCRUN_NODE"  # names the node where the command line has no place for it: docker exec --env
STARTING = 20.0  # seconds; start has no longer for it
CODE = 255  # the exit status of exec itself where the process can't be run; runc's
_LOOK_AGAIN = 0.02  # seconds
_OF_A_RANK = "PMI"  # what makes a task a rank of an MPI program; a further process is none


class ExecOptions:
    """The options of the command line (grammar.py); an option that isn't given is None or empty."""

    def __init__(
        self,
        words: Sequence[str] = (),
        *,
        process: str | None = None,
        tty: bool = False,
        detach: bool = False,
        env: Sequence[str] = (),
        cwd: str | None = None,
        user: str | None = None,
        additional_gids: Sequence[str] = (),
        node: str | None = None,
        console_socket: str | None = None,
        pid_file: str | None = None,
        cap: Sequence[str] = (),
        no_new_privs: bool = False,
        ignore_paused: bool = False,
    ) -> None:
        self.words, self.process, self.tty, self.detach = words, process, tty, detach
        self.env, self.cwd, self.user, self.additional_gids = env, cwd or "", user or "", additional_gids
        self.node, self.console_socket, self.pid_file = node or "", console_socket or "", pid_file or ""
        self.cap, self.no_new_privs, self.ignore_paused = cap, no_new_privs, ignore_paused


def run_in_container(container: Container, options: ExecOptions, note: Callable[[str], None]) -> int:
    """Run a process in a container, and wait for the process unless it is detached.

    Args:
        container: the container.
        options: the options of the command line.
        note: is called with one line for each change to the process object that the node needs.

    Returns:
        The exit status of the process; 0 if it is detached.

    Raises:
        WrongStatus: the container isn't running.
        ScrunError: the process can't be run.
    """
    from scrun.bundle import config as bundle_config

    if bool(options.process) == bool(options.words):
        raise UsageError("exec needs either a command or --process, and not both")
    check(container, options)
    config = bundle_config.load(container.record["bundle"], container.record["config_file"])
    process = _process(config, options)
    terminal = bool(process.get("terminal"))
    if options.console_socket and not terminal:
        raise UsageError("--console-socket is given, but the process has no terminal: add --tty")
    if options.detach and terminal and not options.console_socket:
        raise UsageError("a detached process can't use this terminal: add --console-socket")
    if terminal and not options.console_socket and not os.isatty(0):
        raise UsageError(
            "--tty needs a terminal, and standard input is none: call scrun at a terminal, leave --tty out, or add "
            "--detach and --console-socket"
        )
    where = _node(container.record, options.node or _variables(process.get("env", ())).get(NODE, ""))
    data = _encode(container, config, process, where, note)
    stdio = [0, 1, 2]
    if options.console_socket:
        size = process.get("consoleSize")
        stdio = [open_terminal(options.console_socket, [size["height"], size["width"]] if size else None)] * 3
    request: Exec = {
        "do": "exec",
        "node": where,
        "program": process["args"][0] if process["args"] else "",
        "terminal": terminal,
        "own_terminal": bool(options.console_socket),
        "size": list(window_size(0)) if terminal and not options.console_socket else [0, 0],
    }
    channel = node_client.open_request(container, request, data, stdio)
    return _leave_standin(channel, options) if options.detach else _stand_in(channel, request, options)


def check(container: Container, options: ExecOptions) -> None:
    """Check that a process can be run in the container; wait for a container that is being started.

    Raises:
        WrongStatus: the container isn't running, or doesn't start within :data:`STARTING`.
    """
    until = time.monotonic() + STARTING
    while not _can_run(container, options):
        if time.monotonic() > until:
            raise _not_running(container, "it is starting")
        time.sleep(_LOOK_AGAIN)
        container.load()


def _can_run(container: Container, options: ExecOptions) -> bool:
    """Whether a process can be run in the container now; False while the container's step is about to begin.

    Raises:
        WrongStatus: no process can be run in the container.
    """
    now = container.phase()
    if not status.can_exec(now) and not (now == status.PAUSED and options.ignore_paused):
        raise _not_running(container, f"it is {now}")
    if not container.record.get("nodes"):
        raise _not_running(container, status.why_no_nodes(container.record.get("job")))
    return bool(container.record.get("step"))


def _not_running(container: Container, why: str) -> WrongStatus:
    return WrongStatus(f"cannot exec in container {container.id!r}: container not running: {why}")


def _process(config: Config, options: ExecOptions) -> Process:
    from scrun.bundle import exec_process

    if options.process:
        return exec_process.from_file(options.process)
    return exec_process.from_words(
        config["process"],
        options.words,
        env=options.env,
        cwd=options.cwd,
        user=options.user,
        additional_gids=options.additional_gids,
        capabilities=options.cap,
        no_new_privileges=options.no_new_privs,
        terminal=options.tty,
    )


def _encode(container: Container, config: Config, process: Process, node: str, note: Callable[[str], None]) -> bytes:
    """The process object for the node's runtime, with the variables that Slurm gave the container's own process."""
    from scrun import fastjson
    from scrun.bundle import exec_process

    record = container.record
    made = exec_process.adapted(
        *(process, config),
        uid=record["uid"],
        note=note,
        keep_user=record["runtime"]["kind"] == "crun",
        nodes_network=record.get("network") in (network.NODE, network.LATER),
    )
    if record.get("network") == network.JOINED and record["uid"] != 0:  # its user namespace is another container's
        uid, gid = record["network_user"]
        made["user"] = {**made.get("user", {}), "uid": uid, "gid": gid}
    env = made.pop("env", [])
    changed, missing = exec_process.differs(env, config["process"].get("env", ()))
    answer = node_client.run(container, "@environ", node=node).get(node)
    given = answer.text.split("\0") if answer and not answer.status else ()
    # Where a name is there twice the last entry counts, with crun and runc.
    values = _variables(env)
    # HOME is what the runtime has found for the container's own user in /etc/passwd: another user has another one.
    kept = {*changed, *missing, *(() if _is_same_user(record, made, config) else ("HOME",))}
    for name, value in _variables((*record["job_environment"], *given)).items():
        if name and name not in kept and not name.startswith(_OF_A_RANK):
            values[name] = value
    made["env"] = [f"{name}={value}" for name, value in values.items()]
    return fastjson.dumps(made).encode("ascii")


def _is_same_user(record: Record, process: Process, config: Config) -> bool:
    """Whether an exec's user is that of the container's own process; only root's containers have others on a node."""
    own = config["process"].get("user", {}).get("uid", 0)
    return record["uid"] != 0 or process.get("user", {}).get("uid", 0) == own


def _variables(entries: Iterable[str]) -> dict[str, str]:
    return dict(entry.partition("=")[::2] for entry in entries)


def _node(record: Record, wanted: str) -> str:
    nodes = srun.expand_nodes(record["nodes"])
    if wanted and wanted not in nodes:
        raise UsageError(f"node {wanted!r} isn't one of the container's: use one of {record['nodes']}")
    return wanted or nodes[0]


def _stand_in(channel: int, request: Exec, options: ExecOptions) -> int:
    """Be what the caller sees of the process: pass signals on, and end with its exit status."""
    if options.pid_file:
        write_pid_file(options.pid_file, os.getpid())
    if not request["terminal"] or request["own_terminal"]:
        return _wait(channel)
    with Terminal(0):
        return _wait(channel, window=0, size=request["size"])


def _wait(channel: int, window: int | None = None, size: Sequence[int] = ()) -> int:
    """Pass signals on, and the size of the terminal ``window``, until the process has ended; its exit status.

    ``size`` is what the process was given: the terminal may have got another one since then.

    Raises:
        ScrunError: it could not be run.
    """
    standin.forward_signals(channel)

    def resize(_number: int, _frame: object) -> None:
        if window is not None:
            rows, columns = window_size(window)
            message: Resize = {"do": "resize", "rows": rows, "columns": columns}
            wire.send(channel, message)

    signal.signal(signal.SIGWINCH, resize)
    if window is not None and window_size(window) != (*size,):
        resize(signal.SIGWINCH, None)
    reader = wire.Reader(channel)
    while message := reader.next(messages.node_answer):
        wire.raise_failure(message)
        if "do" in message:
            return message["status"]
    return status.KILLED  # the anchor was killed, and the container with it


def _leave_standin(channel: int, options: ExecOptions) -> int:
    """Leave a stand-in behind, whose pid the caller reads from the pid file."""
    here, there = wire.pair()
    pid = fork.child(lambda: _be_standin(channel, there), keep=(channel, there), session=True)
    os.close(there)
    os.close(channel)
    message = wire.Reader(here).next(messages.node_answer)
    if message is None:
        raise ScrunError("the process's stand-in ended without an answer")
    wire.raise_failure(message)
    if options.pid_file:
        try:
            write_pid_file(options.pid_file, pid)
        except ScrunError:
            os.kill(pid, signal.SIGKILL)  # nobody would know of the process, which ends with its stand-in
            raise
    return 0


def _be_standin(channel: int, caller: int) -> int:
    installed.hold()
    standin.forward_signals(channel)
    reader = wire.Reader(channel)
    message = reader.next(messages.node_answer)
    wire.send(caller, message or wire.failure(NodeRuntimeError("the container has ended")))
    os.close(caller)
    fork.keep_only((fork.QUIET,) * 3, (channel,))
    while message and "error" not in message:
        if "do" in message:
            return message["status"]
        message = reader.next(messages.node_answer)
    return CODE if message else status.KILLED
