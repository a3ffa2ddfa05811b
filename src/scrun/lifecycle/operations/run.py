"""run: create a container, start it, stay with it to its end, and delete it: what runc's run does.

It is for people: their signals and their terminal are the container's. The anchor knows that somebody stays with it
(``attached``): when that process is killed, at whatever moment, the container ends, and no job is left.
"""

from __future__ import annotations

import _socket
import os
import signal

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

CONSOLE = "console.sock"  # in the container's directory: where the anchor sends the terminal's master
NOT_RUN, NOT_EXECUTABLE, NOT_FOUND = 125, 126, 127  # exit statuses of what could not be run, those of docker run
# Signals that aren't passed on: what can't be caught, what is meant for us, and what a fault of our own raises.
_OURS = {
    *(signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD, signal.SIGPIPE, signal.SIGURG, signal.SIGTTIN, signal.SIGTTOU),
    *(signal.SIGWINCH, signal.SIGCONT, signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL),
}


def run(root: str, container_id: str, options: Options, output: Output, *, detach: bool, keep: bool) -> int:
    """Run the container; the result is its exit status, or 0 when it goes on without us.

    Raises:
        ScrunError: it could not be run, and nothing is left; its exit status is docker's for that.
        SystemExit: interrupted by a signal before it ran; nothing is left then either.
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
            start.run(creation.container)
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
    """Our standard input, and what the container gets for it.

    A terminal isn't given to a container that has none: it would go on reading, from a job in the background too. It
    gets a pipe, and we copy.
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
        """The anchor has the pipe's other end; here it would hide from us that nobody reads it any more."""
        if self.pipe >= 0:
            os.dup2(self.source, 0)

    def may_be_read(self) -> bool:
        """Not while the terminal is another job's."""
        from scrun.lifecycle.terminal.terminal import in_foreground

        return self.pipe < 0 or in_foreground(self.source)


def _stay(creation: create.Creation, plan: Plan, output: Output, stdin: _Stdin) -> int:
    """Run the container that is planned, to its end and beyond; its exit status."""
    terminal = console = None
    if plan["terminal"]:
        from scrun.lifecycle.terminal.terminal import Terminal

        terminal = Terminal.of_this_process()
        console = _Console(creation.container)
        plan["console_socket"] = os.path.join(creation.container.path, CONSOLE)
    plan["patience"] = 0  # whoever stays has all the patience that there is
    creation.carry_out(plan)
    creation.wait(output)
    container = creation.have_it_opened_anew()
    standin = os.pidfd_open(container.record["pid"])
    _pass_signals_on(standin)
    if terminal and console:
        master = console.receive()
        terminal.give_size_to(master)
        start.run(container)
        _at_the_terminal(terminal, master, stdin, standin)
    else:
        start.run(container)
        _without_terminal(stdin, standin)
    status = exit_status(os.waitpid(container.record["pid"], 0)[1])
    creation.wait_for_the_end()
    if not plan["keep"] and os.path.exists(container.path):  # its anchor was killed, or couldn't give the job back
        try:
            delete.run(container, output.say)
        except ScrunError as error:
            output.say("error", str(error))
    return status


def _pass_signals_on(standin: int) -> None:
    """Send the signals that we get to the container, through the process that stands in for it (a pidfd)."""

    def forward(number: int, _frame: object) -> None:
        try:
            signal.pidfd_send_signal(standin, number)
        except ProcessLookupError:
            pass  # it has ended

    for number in signal.valid_signals() - _OURS:
        signal.signal(number, forward)


class _Console:
    """A console socket of our own, for the anchor to send the terminal's master to."""

    def __init__(self, container: Container) -> None:
        self._path = container.child(CONSOLE)
        self._socket = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
        self._socket.bind(self._path)
        self._socket.listen(1)

    def receive(self) -> int:
        """The master, which was sent before the container was created."""
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
    """The terminal is the container's until it ends; one that hangs up hangs up the container's."""
    from scrun.lifecycle.terminal.relay import Relay, carry, drain

    relays: list[Relay] = []

    def hang_up() -> None:
        if relays:
            relays.clear()
            signal.signal(signal.SIGWINCH, signal.SIG_IGN)
            os.close(master)

    def input_ended() -> None:
        if os.isatty(stdin.source) or stdin.pipe >= 0:  # what is piped in may end, as with runc
            hang_up()

    relays.append(Relay(stdin.source, master, may_read=stdin.may_be_read, ended=input_ended))
    relays.append(Relay(master, 1, ended=hang_up))
    if stdin.pipe >= 0:
        os.close(stdin.pipe)
    with terminal:
        signal.signal(signal.SIGWINCH, lambda _number, _frame: terminal.give_size_to(master))
        signal.signal(signal.SIGCONT, lambda _number, _frame: terminal.make_raw())
        terminal.give_size_to(master)  # it may have changed meanwhile
        carry(relays, standin)
        if relays:
            drain(master, 1)
