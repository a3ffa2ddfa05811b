"""The scripts that stop every process of a container on a node, and let them go on."""

from __future__ import annotations

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
