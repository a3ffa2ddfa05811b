"""pause: stop every process of a container, on all its nodes.

The node's own runtime does it where it can, with the freezer of the container's cgroup. Elsewhere (a job without
cgroups of its own, or without the right to them) it is done by SIGSTOP.
"""

from __future__ import annotations

from scrun.errors import NodeRuntimeError, ScrunError, WrongStatus
from scrun.lifecycle import members, node, status, wire
from scrun.lifecycle.control import ask
from scrun.slurm import srun

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from scrun.lifecycle.anchor import Anchor
    from scrun.lifecycle.container import Container
    from scrun.lifecycle.wire import Message

    Answer = Callable[[Message], None]

# A process's state and the signals that are pending for it, into $state, and its parent, into $parent. One whose child
# was stopped between vfork(2) and execve(2) waits for that, in D, with its own SIGSTOP (bit 18) pending: it does
# nothing more.
_LOOK = r"""
look_at() {
    state= parent=
    while read -r key value rest; do
        case $key in
            State:) state=$value ;;
            PPid:) parent=$value ;;
            ShdPnd:) state=$state$value; break ;;
        esac
    done 2>/dev/null <"/proc/$1/status"
}
send() {  # signal $1 to process $2, at which we have looked, unless the pid has gone to a process of somebody else's
    for init in $inits; do
        for kind in pid mnt; do
            [ "/proc/$init/ns/$kind" -ef "/proc/$$/ns/$kind" ] ||
                [ ! "/proc/$2/ns/$kind" -ef "/proc/$init/ns/$kind" ] || { kill -s "$1" "$2"; return; }
        done
        [ "$2" != "$init" ] || { kill -s "$1" "$2"; return; }
    done
    case " $members " in *" $parent "*) kill -s "$1" "$2" ;; esac
}
"""

# Just after the start the node's runtime may not know the container yet.
# kill(2) of -1 within a pid namespace reaches all in it but the first process, at once: no fork escapes it. It may be
# sent only into a namespace of the container's own. The loop is for the rest, and for nodes without nsenter(1): it ends
# when twice in a row every process that is found has stopped; one that is gone meanwhile may have left a child.
STOP = (
    _LOOK
    + r"""
tries=0
until [ -n "$here" ]; do
    if [ $tries -ge 40 ]; then
        say "the runtime of $SLURMD_NODENAME doesn't know it"
        exit 1
    fi
    tries=$((tries + 1))
    sleep 0.1
    find_here
done
each pause && exit 0
for init in $inits; do
    [ "/proc/$init/ns/pid" -ef "/proc/$$/ns/pid" ] && continue
    user='--user --preserve-credentials'
    [ "/proc/$init/ns/user" -ef "/proc/$$/ns/user" ] && user=
    nsenter --target "$init" $user --pid sh -c 'kill -s STOP -1' 2>/dev/null
done
quiet=0 round=0
while [ $quiet -lt 2 ]; do
    find_members
    quiet=$((quiet + 1))
    for pid in $members; do
        look_at "$pid"
        case $state in
            [TtZX]*|D*[4567cdef]????) ;;
            *) send STOP "$pid" 2>/dev/null; quiet=0 last=$pid ;;
        esac
    done
    round=$((round + 1))
    [ $round -lt 20 ] || sleep 0.05
    if [ $round -ge 150 ]; then
        say "process $last on $SLURMD_NODENAME doesn't stop"
        exit 1
    fi
done
"""
)

# Those that were stopped: a process may have a handler for SIGCONT, and see that it was sent one.
CONTINUE = (
    _LOOK
    + r"""
each resume
for task in $here; do
    case $(@PROGRAM@ state "@NAME@" 2>/dev/null) in
        *'"status": "paused"'*) say "its cgroup on $SLURMD_NODENAME stays frozen"; exit 1 ;;
    esac
done
find_members
for pid in $members; do
    look_at "$pid"
    case $state in
        T*|D*[4567cdef]????) send CONT "$pid" ;;
    esac
done
exit 0
"""
)


def run(container: Container) -> None:
    """Pause the container; return when all its processes have stopped.

    Raises:
        WrongStatus: it doesn't run.
        NodeRuntimeError: its nodes can't be asked, or a process doesn't stop; it runs on then.
    """
    # Whether it can be the anchor knows: its record could perhaps not be written (a full disk).
    if ask(container, {"do": "pause"}) is None:
        now = container.phase()
        raise _not_running(container, "without its anchor" if status.can_pause(now) else now)


def deliver(anchor: Anchor, answer: Answer) -> None:
    """The anchor's side of it."""
    container, record = anchor.container, anchor.record
    now = container.phase()
    if anchor.is_turning or not status.can_pause(now):
        answer(wire.failure(_not_running(container, "being paused or resumed" if anchor.is_turning else now)))
        return
    if not anchor.step or not anchor.step.progress.started:
        what = "starting" if record.get("nodes") else f"waiting for job {record.get('job')}"
        answer(wire.failure(_not_running(container, what)))
        return

    def stopped(exit_status: int, said: str) -> None:
        anchor.log("debug", f"pause: {exit_status}: {said}")
        if exit_status and "exit_status" not in record:
            why = node.reason(said, exit_status)
            error = NodeRuntimeError(f"container {container.id!r} could not be paused: {why}")
            go_on(anchor, lambda _exit_status, _said: answer(wire.failure(error)))
        elif "exit_status" in record:
            answer(wire.failure(_not_running(container, status.STOPPED)))
        else:
            anchor.set_status(status.PAUSED)
            answer({"paused": True})

    try:
        turn(anchor, STOP, stopped)
    except ScrunError as error:
        answer(wire.failure(error))


def turn(anchor: Anchor, script: str, done: Callable[[int, str], None]) -> None:
    """Run the script on the nodes; meanwhile the container is neither paused nor resumed.

    Raises:
        NodeRuntimeError: oci.conf doesn't say how the node's runtime is asked.
    """

    def ended(exit_status: int, said: str) -> None:
        anchor.is_turning = False
        done(exit_status, said)

    record = anchor.record
    left = anchor.step.progress.left() if anchor.step else {}
    nodes = [*left] or srun.expand_nodes(record["nodes"])
    command = node.argv(record, "pause" if script is STOP else "resume", members.script(record, script), nodes=nodes)
    node.start(anchor.loop, command, anchor.plan["environment"], ended)
    anchor.is_turning = True


def go_on(anchor: Anchor, done: Callable[[int, str], None]) -> None:
    """Let all processes of the container go on.

    Raises:
        NodeRuntimeError: oci.conf doesn't say how the node's runtime is asked.
    """
    turn(anchor, CONTINUE, done)


def _not_running(container: Container, now: str) -> WrongStatus:
    return WrongStatus(f"cannot pause container {container.id!r}: container not running: it is {now}")
