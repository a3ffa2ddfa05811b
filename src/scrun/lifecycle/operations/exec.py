"""exec: run a further process in a container, on its node (runc-exec(8)).

The process runs in a step of one task in the container's job, beside the container's own step. The step's task calls
the node's runtime.
"""

from __future__ import annotations

import os
import signal
import time

from scrun.errors import BundleError, ScrunError, UsageError, WrongStatus
from scrun.lifecycle.container import messages, network, status
from scrun.lifecycle.exec import exec_script
from scrun.lifecycle.node import overlap
from scrun.lifecycle.process import fork, installed, wire
from scrun.lifecycle.process.pid_file import write_pid_file
from scrun.lifecycle.terminal.console import open_terminal
from scrun.slurm import srun

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from scrun.lifecycle.container.directory import Container
    from scrun.lifecycle.container.record import Record
    from scrun.lifecycle.exec.session import Order
    from scrun.oci import Config, Process

NODE = "SCRUN_NODE"  # a variable of the process that names the node, for docker exec --env
STARTING = 20.0  # seconds to wait for a container that is being started; start itself has no longer
_LOOK_AGAIN = 0.02  # seconds
_LONGEST = exec_script.PIECE * exec_script.MOST_PIECES  # bytes of a process object


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
        raise UsageError("exec needs a command, or a process object with --process, and not both")
    check(container, options)
    config = bundle_config.load(container.record["bundle"], container.record["config_file"])
    process = _process(config, options)
    terminal = bool(process.get("terminal"))
    if options.console_socket and not terminal:
        raise UsageError("--console-socket is given but the process wants no terminal: give --tty")
    if options.detach and terminal and not options.console_socket:
        raise UsageError("a process that is detached has no terminal of the caller's: give --console-socket")
    if terminal and not options.console_socket and not os.isatty(0):
        raise UsageError(
            "a terminal is wanted (--tty) and standard input is none: call it at a terminal, leave --tty out, or give "
            "--detach and --console-socket"
        )
    watch = options.detach and not _is_there(config, process, container.record)
    order = _order(container, config, process, options, watch=watch, note=note)
    stdio = [0, 1, 2]
    if options.console_socket:
        size = process.get("consoleSize")
        stdio = [open_terminal(options.console_socket, [size["height"], size["width"]] if size else None)] * 3
    return (
        _detached(container, order, stdio, options) if options.detach else _attached(container, order, stdio, options)
    )


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
        raise _not_running(container, f"its job {container.record.get('job')} is queued")
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


def _order(
    container: Container,
    config: Config,
    process: Process,
    options: ExecOptions,
    *,
    watch: bool,
    note: Callable[[str], None],
) -> Order:
    from scrun import fastjson
    from scrun.bundle import exec_process

    record = container.record
    keep_user = record["runtime"]["kind"] == "crun"
    adapted = exec_process.adapted(
        *(process, config),
        uid=record["uid"],
        note=note,
        keep_user=keep_user,
        nodes_network=record.get("network") in (network.NODE, network.LATER),
    )
    env = adapted.pop("env", [])
    where = _node(record, options.node or dict(entry.partition("=")[::2] for entry in env).get(NODE, ""))
    changed, missing = exec_process.differs(env, config["process"].get("env", ()))
    # For crun and runc the last entry of a name counts; the node adds the task's own variables behind these.
    jobs = (*record["job_environment"], f"SLURMD_NODENAME={where}")  # slurmstepd adds the last one
    adapted["env"] = [*env, *(v for v in jobs if v.partition("=")[0] not in changed)]
    text = fastjson.dumps(adapted)
    if len(text) > _LONGEST:
        raise UsageError(f"the process object has {len(text)} bytes; {_LONGEST} at most: give it less environment")
    return {
        "token": os.urandom(16).hex(),
        "node": where,
        "environment": {**overlap.environment(record), **exec_script.variables(text, changed | missing)},
        "watch": watch,
        "terminal": bool(process.get("terminal")),
        "own_terminal": bool(options.console_socket),
    }


def _node(record: Record, wanted: str) -> str:
    nodes = srun.expand_nodes(record["nodes"])
    if wanted and wanted not in nodes:
        raise UsageError(f"node {wanted!r} is none of the container's: it runs on {record['nodes']}")
    return wanted or nodes[0]


def _is_there(config: Config, process: Process, record: Record) -> bool:
    """Whether the program and the working directory are visible on this host, so that the process can be run.

    If they aren't, they may still be on the node, where the container's files change. Then another step asks the node.
    """
    from scrun.bundle import executable

    try:
        executable.find_program({**config, "process": process}, record["rootfs"], bundle=record["bundle"])
    except BundleError:
        return False
    return os.path.isdir(f"{record['rootfs']}/{process['cwd']}")


def _attached(container: Container, order: Order, stdio: list[int], options: ExecOptions) -> int:
    """Run the process; this process is its stand-in."""
    from scrun.lifecycle.exec import session

    here, there = wire.pair()
    _fork_session(container, order, stdio, there, None)
    os.close(there)
    if options.pid_file:
        write_pid_file(options.pid_file, os.getpid())
    return session.stand_in(here)


def _detached(container: Container, order: Order, stdio: list[int], options: ExecOptions) -> int:
    """Run the process with a stand-in that stays; the caller reads the stand-in's pid from the pid file."""
    here, there = wire.pair()
    pid = fork.child(lambda: _be_stand_in(container, order, stdio, there), session=True)
    os.close(there)
    message = wire.Reader(here).next(messages.to_exec_caller)
    if message is None:
        raise ScrunError(f"internal error: the session ended without an answer: see {container.path}/anchor.log")
    wire.raise_failure(message)
    if options.pid_file:
        try:
            write_pid_file(options.pid_file, pid)
        except ScrunError:
            os.kill(pid, signal.SIGKILL)  # then the session ends the process, which nobody could know
            raise
    return 0


def _be_stand_in(container: Container, order: Order, stdio: list[int], caller: int) -> int:
    from scrun.lifecycle.exec import session

    installed.hold()
    here, there = wire.pair()
    _fork_session(container, order, stdio, there, caller)
    fork.keep_only((fork.QUIET,) * 3, (here,))
    try:
        return session.stand_in(here)
    except ScrunError:  # the session has told the caller
        return exec_script.CODE


def _fork_session(container: Container, order: Order, stdio: list[int], stand_in: int, caller: int | None) -> None:
    """Fork the session, the process that runs srun.

    Args:
        container, order: see :class:`scrun.lifecycle.exec.session.Session`.
        stdio: descriptors of the process's standard input, output and error.
        stand_in: the session's end of the connection to the stand-in.
        caller: the session's end of the connection to the caller, if the caller waits.
    """
    from scrun.lifecycle.container import log_crash
    from scrun.lifecycle.exec import session
    from scrun.lifecycle.process import loop

    def be_session() -> None:
        installed.hold()
        os.chdir("/")  # because srun would use this process's directory on the node
        events = loop.Loop()
        session.Session(events, container, order, stdio=stdio, stand_in=stand_in, caller=caller)
        events.run()

    # The stand-in gets these signals and passes them on; a write shows what SIGPIPE would tell.
    ignored = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)
    fork.child(
        be_session,
        keep=(*stdio, stand_in, container.descriptor, *(() if caller is None else (caller,))),
        session=order["own_terminal"] or not order["terminal"],  # otherwise srun uses the caller's terminal
        ignored=(*ignored, signal.SIGPIPE),
        failed=lambda: log_crash.write(container),
    )
