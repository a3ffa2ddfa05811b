"""run: create a container, start it, stay until it ends, and delete it, as runc's run does.

People call it: their signals and their terminal become the container's. The anchor knows that this process stays
(``attached``). When this process is killed, at whatever moment, the container ends, and no job is left.
"""

from __future__ import annotations

import _socket
import os

from scrun import signal
from scrun.errors import ExecutableNotFound, ExecutableNotPermitted, ScrunError
from scrun.lifecycle.container.directory import Container
from scrun.lifecycle.operations import create, delete, start
from scrun.lifecycle.process.loop import exit_status

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scrun.lifecycle.caller.options import Options, Output
    from scrun.lifecycle.container.plan import Plan
    from scrun.lifecycle.terminal.relay import Relay
    from scrun.lifecycle.terminal.terminal import Terminal

CONSOLE = "console.sock"  # a socket in the container's directory, to which the anchor sends the terminal's master
NOT_RUN, NOT_EXECUTABLE, NOT_FOUND = 125, 126, 127  # exit statuses of docker run if nothing could be run
# Signals that aren't passed on: those that can't be caught, those for this process, and those that its faults raise.
_OURS = {
    *(signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD, signal.SIGPIPE, signal.SIGURG, signal.SIGTTIN, signal.SIGTTOU),
    *(signal.SIGWINCH, signal.SIGCONT, signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL),
}


def run_container(root: str, container_id: str, options: Options, output: Output, *, detach: bool, keep: bool) -> int:
    """Run a container.

    Args:
        root: the directory of the containers.
        container_id: the new container's id.
        options: the options of the command line.
        output: where messages go.
        detach: whether to return when the container runs.
        keep: whether the container's directory stays when the container has ended.

    Returns:
        The container's exit status; 0 if detached.

    Raises:
        ScrunError: the container could not be run, and nothing of it is left; ``exit_code`` is that of docker run.
        SystemExit: a signal came before the container ran; nothing of it is left.
    """
    options.attached = not detach
    stdin = _Stdin() if not detach else None
    try:
        with create.Creation(root, container_id) as creation:
            if stdin:
                stdin.was_inherited()
            plan = creation.plan(options, output)
            plan["attached"], plan["keep"] = True, keep
            if stdin:
                return _stay(creation, plan, output, stdin)
            creation.carry_out(plan)
            creation.wait(output)
            creation.container.load()
            start.start_container(creation.container)
            creation.leave_it_alone()
            return 0
    except ScrunError as error:
        error.exit_code = _status_of(error)
        raise


def _status_of(error: ScrunError) -> int:
    if isinstance(error, ExecutableNotFound):
        return NOT_FOUND
    return NOT_EXECUTABLE if isinstance(error, ExecutableNotPermitted) else NOT_RUN


class _Stdin:
    """This process's standard input, and what the container gets instead of it.

    A container without a terminal doesn't get this process's terminal, because it would go on reading it when the shell
    has put the job into the background. It gets a pipe, and this process copies.
    """

    def __init__(self) -> None:
        self.source, self.pipe = 0, -1
        if os.isatty(0):
            self.source = os.dup(0)
            read_end, self.pipe = os.pipe2(os.O_CLOEXEC)
            os.dup2(read_end, 0)
            os.close(read_end)
            os.set_blocking(self.pipe, False)

    def was_inherited(self) -> None:
        """Take the terminal back after the fork.

        The anchor has the pipe's read end now. Another one here would hide that nobody reads any more.
        """
        if self.pipe >= 0:
            os.dup2(self.source, 0)

    def may_be_read(self) -> bool:
        """Whether this process may read: not while the terminal belongs to another job of the shell."""
        from scrun.lifecycle.terminal.terminal import in_foreground

        return self.pipe < 0 or in_foreground(self.source)


def _stay(creation: create.Creation, plan: Plan, output: Output, stdin: _Stdin) -> int:
    """Carry out the plan, stay until everything about the container is done, and return its exit status."""
    terminal = console = None
    if plan["terminal"]:
        from scrun.lifecycle.terminal.terminal import Terminal

        terminal = Terminal.of_this_process()
        console = _Console(creation.container)
        plan["console_socket"] = os.path.join(creation.container.path, CONSOLE)
    plan["patience"] = 0  # wait for the job as long as it takes
    creation.carry_out(plan)
    creation.wait(output)
    container = creation.reopen()
    standin = os.pidfd_open(container.record["pid"])
    _pass_signals_on(standin)
    if terminal and console:
        master = console.receive()
        terminal.give_size_to(master)
        start.start_container(container)
        _at_the_terminal(terminal, master, stdin, standin)
    else:
        start.start_container(container)
        _without_terminal(stdin, standin)
    status = exit_status(os.waitpid(container.record["pid"], 0)[1])
    creation.wait_for_the_end()
    if not plan["keep"] and os.path.exists(container.path):  # the anchor was killed, or couldn't give the job back
        try:
            delete.delete_container(container, output.say)
        except ScrunError as error:
            output.say("error", str(error))
    return status


def _pass_signals_on(standin: int) -> None:
    """Send this process's signals to the container, through its stand-in (a pidfd)."""

    def forward(number: int, _frame: object) -> None:
        try:
            signal.pidfd_send_signal(standin, number)
        except ProcessLookupError:
            pass  # the container has ended

    for number in signal.valid_signals() - _OURS:
        signal.signal(number, forward)


class _Console:
    """A console socket of this process, to which the anchor sends the terminal's master."""

    def __init__(self, container: Container) -> None:
        self._path = container.child(CONSOLE)
        self._socket = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
        self._socket.bind(self._path)
        self._socket.listen(1)

    def receive(self) -> int:
        """Receive the master, which the anchor has sent before the container is created."""
        import socket

        with socket.socket(fileno=self._socket.detach()) as listening:
            connection, _address = listening.accept()
        with connection:
            _name, (master, *_more), _flags, _sender = socket.recv_fds(connection, 4096, 1)
        os.set_inheritable(master, False)
        os.set_blocking(master, False)
        return master


def _without_terminal(stdin: _Stdin, standin: int) -> None:
    from scrun.lifecycle.terminal.relay import Relay, carry

    relays = []
    if stdin.pipe >= 0:
        relays.append(Relay(stdin.source, stdin.pipe, may_read=stdin.may_be_read, ended=lambda: os.close(stdin.pipe)))
    carry(relays, standin)


def _at_the_terminal(terminal: Terminal, master: int, stdin: _Stdin, standin: int) -> None:
    """Connect this process's terminal with the container's until the container ends.

    If this terminal hangs up, the container's hangs up too.
    """
    from scrun.lifecycle.terminal.relay import Relay, carry, drain

    relays: list[Relay] = []

    def hang_up() -> None:
        if relays:
            relays.clear()
            signal.signal(signal.SIGWINCH, signal.SIG_IGN)
            os.close(master)

    def input_ended() -> None:
        if os.isatty(stdin.source) or stdin.pipe >= 0:  # the end of a file or pipe ends no container, as with runc
            hang_up()

    relays.append(Relay(stdin.source, master, may_read=stdin.may_be_read, ended=input_ended))
    relays.append(Relay(master, 1, ended=hang_up))
    if stdin.pipe >= 0:
        os.close(stdin.pipe)
    with terminal:
        signal.signal(signal.SIGWINCH, lambda _number, _frame: terminal.give_size_to(master))
        signal.signal(signal.SIGCONT, lambda _number, _frame: terminal.make_raw())
        terminal.give_size_to(master)  # the size may have changed since the start
        carry(relays, standin)
        if relays:
            drain(master, 1)
