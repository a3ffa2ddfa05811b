"""The shell scripts that run a further process in a container on its node, and reach the process there.

A token names the process; the token is no secret. As long as the process runs, a directory below the user's own in
/tmp or /dev/shm (:mod:`scrun.staging.own_directory`) holds the pid that the node's runtime gave it. If the process
could not be run, the directory has the reason until it was read. The directory's name has the job, the pid and the
start time of the shell that made it, and the token. If the shell was killed, the next exec in that job or a site's
Epilog removes the directory.

A pid in a file may belong to another process when it is read. So a signal is sent only while that shell runs, and only
to a descendant of the shell.
"""

from __future__ import annotations

from scrun.lifecycle.node import overlap
from scrun.staging.own_directory import GO_TO

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from scrun.lifecycle.container.record import Record


PROCESS = "SCRUN_EXEC_PROCESS"
# /dev/shm is in memory, and used if /tmp has no room. Other users' files there aren't touched (own_directory.py).
_PARENTS = "/tmp /dev/shm"  # noqa: S108
_LEFT_OUT = "SCRUN_EXEC_LEFT_OUT"
PIECE, MOST_PIECES = 120 << 10, 8  # bytes in a variable, and variables: execve(2) takes 128 KiB each, 2 MB in all
# Exit statuses of the script of :func:`watch`: the process could not be run; it has ended, or has not begun yet.
NOT_RUN, NOT_SEEN = 3, 4
CODE = 255  # the exit status of exec if the process could not be run, as with runc
_APPEARS_WITHIN = 50  # tenths of a second that the container has to appear on the node
_READ_WITHIN = 100  # tenths of a second that the directory waits for its reader


# Put the environment of the container's own task into $task_env, in JSON, each variable behind a comma. It is in the
# config.json that slurmstepd wrote for the node's runtime, one variable on each line. /proc/PID/environ would have the
# changes that the program has made since.
_TASK_ENV = r"""bundle=${state#*'"bundle":'}; bundle=${bundle#*'"'}; bundle=${bundle%%'"'*}
read bundle <<END
$bundle
END
task_env=$(sed -En '/^ *"env": *\[/,/^ *\]/{
    /^ *"('"$@LEFT_OUT@"')=/d
    s/^ *("[^=]+=.*"),?$/,\1/p
}' "$bundle/config.json" 2>/dev/null)
""".replace("@LEFT_OUT@", _LEFT_OUT)
# `look_at PID` sets $parent and $started (proc_pid_stat(5)); the process's name ends at the last parenthesis.
_LOOK = (
    GO_TO
    + r"""
look_at() {
    parent= started=
    stat=
    while IFS= read -r line || [ -n "$line" ]; do stat=$stat$line; done 2>/dev/null <"/proc/$1/stat"
    set -- ${stat##*) }
    parent=$2 started=${20}
}
shell_of() {  # the pid of the shell that made the directory $1, and $its, when that started
    its=${1##*exec-@JOB@-}; shell=${its%%-*}; its=${its#*-}; its=${its%%-*}
}
shell_runs() { look_at "$shell"; [ -n "$started" ] && [ "$started" = "$its" ]; }
is_below() {  # whether process $1 is a descendant of $shell
    look_at "$1"
    while [ "${parent:-0}" -gt 1 ]; do
        [ "$parent" != "$shell" ] || return 0
        look_at "$parent"
    done
    return 1
}
"""
)
_MPI = "PMI[^=]*"  # variables that make a task a rank of an MPI program, which a process of exec is not


def variables(process: str, left_out: Iterable[str] = ()) -> dict[str, str]:
    """The environment variables in which the script of :func:`run` finds the process object.

    Args:
        process: JSON in ASCII of at most PIECE * MOST_PIECES bytes; its last member is ``env``, which isn't empty.
        left_out: the names of variables that the process does not get from the container's own task.
    """
    opened = process.removesuffix("]}")
    pieces = [opened[start : start + PIECE] for start in range(0, len(opened), PIECE)]
    # slurmstepd adds no other names, and other names might have a meaning for sed(1).
    names = sorted(name for name in left_out if name.isidentifier() and name.isascii())
    return {f"{PROCESS}{number or ''}": piece for number, piece in enumerate(pieces)} | {
        _LEFT_OUT: "|".join([_MPI, *names])
    }


def run(record: Record, token: str, *, watched: bool) -> str:
    """The script that runs the process, in a step of one task.

    The process object (runtime-spec, config.md, Process) comes in variables (:func:`variables`), because it may have
    the container's secrets, and everybody can read a command line.

    Args:
        record: the container's.
        token: names the process.
        watched: whether the script of :func:`watch` runs at the same time and tells errors; otherwise standard error
            has them.

    Raises:
        NodeRuntimeError: oci.conf doesn't tell how the node's runtime is called.
    """
    program, name = overlap.runtime(record)
    job = record["job"]
    process = "".join(f"${{{PROCESS}{number or ''}}}" for number in range(MOST_PIECES))
    tell = ""
    if watched:
        # The text logs of crun and runc, without what is before the sentence. Both also print it on standard error.
        words = r"sed -n 's/^time=.* msg=\"\(.*\)\"$/\1/; s/^20[^ ]*Z: //; $s/^/exec failed: /p' $d/log"
        tell = f"{words} >$d/words; mv $d/words $d/failed; {_until('[ ! -d $d ]', _READ_WITHIN, 0.1)}; "
    return (
        "trap : TERM\n"  # when the job ends, the runtime gets the signal too, and this script cleans up
        # The user sees standard error, so only this script's own messages go there.
        "exec 8>&2 2>/dev/null\n"
        f"{_look(record)}"
        f"look_at $$; name=exec-{job}-$$-$started-{token}; d= whys=\n"
        f"for parent in {_PARENTS}; do\n"
        '  go_to_own $parent make || { whys="$whys; $why"; continue; }\n'
        f'  for old in exec-{job}-*; do [ ! -d "$old" ] || {{ shell_of "$old"; shell_runs; }} || rm -rf "$old"; done\n'
        "  if said=$(mkdir -m 700 $name 2>&1) && echo >$name/room; then : >$name/room; d=$own/$name; break; fi\n"
        '  rm -rf $name; whys="$whys; $own: ${said:-No space left on device}"\n'
        "done\n"
        f'[ "$d" ] || {{ echo "exec: $SLURMD_NODENAME: ${{whys#; }}" >&8; exit {CODE}; }}\n'
        "cd /\n"
        f"{_find_task(record, program, name)}"
        f"{_TASK_ENV}"
        "TMPDIR=$d\n"  # bash writes to a file there what a pipe can't hold
        "command exec 9<<END ||\n"
        f"{process}$task_env]}}\n"
        "END\n"
        f'{{ echo "exec: $SLURMD_NODENAME: $d: No space left on device" >&8; rm -rf $d; exit {CODE}; }}\n'
        f'({program} --log=$d/log exec --pid-file $d/pid --process /dev/fd/9 "{name}" 2>&8 8>&-)\n'
        "status=$?\n"
        f"[ -s $d/pid ] || {{ status={CODE}; {tell}}}\n"
        "rm -rf $d\n"
        "exit $status\n"
    )


def watch(record: Record, token: str) -> str:
    """The script that waits until the process runs.

    If the process can't be run, the script prints the reason and exits with :data:`NOT_RUN`. It exits with
    :data:`NOT_SEEN` if it sees no directory of the process for a second: the process has ended, or its step is slow to
    start.
    """
    return (
        f"{_look(record)}"
        f"{_until(_found(record, token, '-d $d'), 50, 0.02)}\n"  # the two steps start at the same time
        f"[ -d $d ] || exit {NOT_SEEN}\n"
        "while [ -d $d ] && [ ! -s $d/pid ]; do\n"
        f'  [ -e $d/failed ] && {{ say "$(cat $d/failed)"; rm -rf $d; exit {NOT_RUN}; }}\n'
        "  sleep 0.01\n"
        "done\n"
    )


def send(record: Record, token: str, number: int) -> str:
    """The script that sends a signal to the process.

    The script waits for a process that has not begun yet. It is no error if the process has ended.
    """
    return (
        f"{_look(record)}"
        f"{_until(_found(record, token, '-s $d/pid'), 50, 0.1)}\n"
        "read -r pid 2>/dev/null <$d/pid\n"
        'shell_of "$d"\n'
        f'[ -z "$pid" ] || ! shell_runs || ! is_below "$pid" || kill -{number} "$pid"\n'
    )


def _look(record: Record) -> str:
    """The shell functions with which the scripts look at directories and processes."""
    return f"uid={record['uid']}\n{_LOOK.replace('@JOB@', str(record['job']))}"


def _found(record: Record, token: str, test: str) -> str:
    """A shell condition: the process's directory exists and passes the test; it sets ``$d`` to the directory.

    The step that runs the process makes the user's own directory, perhaps later than this step looks.
    """
    return (
        f"{{ d=/dev/null; for parent in {_PARENTS}; do go_to_own $parent || continue; "
        f'set -- exec-{record["job"]}-*-{token}; [ ! -d "$1" ] || {{ d=$own/$1; break; }}; done; [ {test} ]; }}'
    )


def _until(condition: str, tries: int, pause: float) -> str:
    return f"tries=0; until {condition} || [ $tries -ge {tries} ]; do tries=$((tries + 1)); sleep {pause}; done"


def _find_task(record: Record, program: str, name: str) -> str:
    """Shell text that sets ``$task`` to a task whose container runs on this node, and ``$state`` to its state.

    Just after the start there may be none yet, so it waits for a while.
    """
    return (
        f'runs() {{ state=$({program} state "{name}" 2>/dev/null); status=${{state#*\'"status":\'}}; '
        "status=${status#*'\"'}; case ${status%%'\"'*} in running|paused) ;; *) false ;; esac; }\n"
        f"tries=0; task=; until [ $task ] || [ $tries -ge {_APPEARS_WITHIN} ]; do\n"
        f"for task in {overlap.tasks(record)}; do runs && break; task=; done\n"
        "[ $task ] || { tries=$((tries + 1)); sleep 0.1; }; done; : ${task:=0}\n"
    )
