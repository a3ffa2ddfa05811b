"""ps: list a container's processes on its nodes."""

from __future__ import annotations

import time

from scrun.errors import NodeRuntimeError, UsageError, WrongStatus
from scrun.lifecycle.container import messages, node_client, status
from scrun.node_scripts import read_script

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from scrun.lifecycle.container.directory import Container

_OPTIONS = ("-ef",)  # the options of ps(1) if there are none, as with runc
STARTING = 20.0  # seconds; start has no longer for it
_LOOK_AGAIN = 0.02  # seconds
_TABLE = read_script("process_table")


def pids(container: Container) -> list[int]:
    """The pids of the container's processes, on all its nodes together.

    Raises:
        WrongStatus: the container isn't running.
        NodeRuntimeError: its nodes can't be asked.
    """
    _check(container)
    answers = node_client.run(container, "/bin/echo", messages.MEMBERS).values()
    return [int(pid) for answer in answers for pid in answer.text.split() if pid.isdecimal()]


def table(container: Container, options: Sequence[str]) -> str:
    """The lines that ps(1) prints on the nodes for the container's processes.

    If the container is on several nodes, each line begins with the name of its node.

    Args:
        container: the container.
        options: options of ps(1).

    Raises:
        WrongStatus: the container isn't running.
        UsageError: ps on a node doesn't know the options, or prints no column PID with them.
        NodeRuntimeError: the nodes can't be asked.
    """
    _check(container)
    answers = node_client.run(container, *messages.script(_TABLE), *(options or _OPTIONS))
    tables = {}
    for name, answer in answers.items():
        ours, _, printed = answer.text.partition("\n")
        if answer.status:
            why = next((line for line in printed.splitlines() if line.strip()), f"status {answer.status}")
            raise UsageError(f"ps on node {name}: {why.removeprefix('error: ')}")
        tables[name] = choose(printed.splitlines(), {*ours.split()})
    return "\n".join(join(tables)) + "\n"


def choose(lines: Sequence[str], ours: set[str]) -> list[str]:
    """The header of ps(1)'s table, and the lines with a pid of the container's in the column PID.

    Raises:
        UsageError: there is no such column.
    """
    titles = lines[0].split() if lines else []
    if "PID" not in titles:
        raise UsageError("ps prints no column PID with these options: add -o pid")
    column = titles.index("PID")
    return [lines[0], *(line for line in lines[1:] if ours & {*line.split()[column : column + 1]})]


def join(tables: dict[str, list[str]]) -> list[str]:
    """Join the tables of several nodes; each line begins with its node's name. A single table stays as it is."""
    if len(tables) == 1:
        return next(iter(tables.values()))
    width = max(len("NODE"), *(len(name) for name in tables))
    lines: list[str] = []
    for name, (header, *rows) in tables.items():
        if not lines:
            lines.append(f"{'NODE':{width}} {header}")
        lines += [f"{name:{width}} {row}" for row in rows]
    return lines


def _check(container: Container) -> None:
    """Wait for a container that is being started: it has no processes before its program runs.

    Raises:
        WrongStatus: the container isn't running, or doesn't start within :data:`STARTING`.
    """
    until = time.monotonic() + STARTING
    while not _has_step(container):
        if time.monotonic() > until:
            raise WrongStatus(f"container {container.id!r} has no processes yet: it is starting")
        time.sleep(_LOOK_AGAIN)
        container.load()


def _has_step(container: Container) -> bool:
    """Whether the container's program runs; False while it is being started.

    Raises:
        WrongStatus: the container isn't running.
    """
    now = container.status()
    if not status.can_ps(now):
        raise WrongStatus(
            f"cannot list the processes of container {container.id!r}: container not running: it is {now}"
        )
    if not container.record.get("nodes"):
        why = status.why_no_nodes(container.record.get("job"))
        raise WrongStatus(f"container {container.id!r} has no processes yet: {why}")
    return bool(container.record.get("step"))


def refuse_engine() -> None:
    """Refuse a call of docker top, because docker would take the nodes' pids for pids of this host.

    Raises:
        NodeRuntimeError: always.
    """
    raise NodeRuntimeError(
        "this host's ps can't show the container's processes, because they run on a node: "
        "use docker exec CONTAINER ps, or scrun ps"
    )
