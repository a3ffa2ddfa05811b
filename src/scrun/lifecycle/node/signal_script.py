"""The script that makes a node's own runtime send a signal to a container's processes there."""

from __future__ import annotations

from scrun.lifecycle.node import overlap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from scrun.lifecycle.container.record import Record

TRIES = 40  # the node's runtime may not know the container yet, just after start
_PAUSE = 0.1  # seconds between two tries
_MISSED, _WHY = "missed", "why"  # the first words of what a node says


def script(record: Record, number: int, tasks: Mapping[str, Sequence[int]], tries: int = TRIES) -> str:
    """The shell script that makes a node's runtime send a signal to each of the container's tasks on that node.

    The script fails if it can't reach a task, and prints which one (:func:`missed`).

    Args:
        record: the container's.
        number: the signal's number.
        tasks: the local numbers of tasks (oci.conf's %t), by node.
        tries: how often the runtime is called, because just after the start it may not know the container.

    Raises:
        NodeRuntimeError: oci.conf doesn't tell how the runtime is called.
    """
    program, name = overlap.runtime(record)
    alike: dict[str, list[str]] = {}  # a big job's nodes mostly have as many tasks each
    for where, numbers in tasks.items():
        alike.setdefault(" ".join(map(str, numbers)), []).append(where)
    cases = " ".join(f'{"|".join(names)}) todo="{numbers}" ;;' for numbers, names in alike.items())
    return (
        f"case $SLURMD_NODENAME in {cases} esac; try=0; while [ $try -lt {tries} ]; do left=; "
        f'for task in $todo; do said=$({program} kill "{name}" {number} 2>&1) || left="$left $task" why=$said; done; '
        f'todo=$left; [ -n "$todo" ] || exit 0; try=$((try + 1)); sleep {_PAUSE}; done; '
        f'say "{_MISSED} $SLURMD_NODENAME$todo"; say "{_WHY} $SLURMD_NODENAME: $why"; exit 1'
    )


def missed(said: str) -> tuple[list[tuple[str, int]], str]:
    """The tasks that :func:`script` didn't reach, as node and local number, and the reasons in one line."""
    lines = said.splitlines()
    missed = [line.split()[1:] for line in lines if line.startswith(f"{_MISSED} ")]
    why = [line.removeprefix(f"{_WHY} ") for line in lines if line and not line.startswith(f"{_MISSED} ")]
    return [(where, int(task)) for where, *tasks in missed for task in tasks], "; ".join(why[:3])
