"""list: the containers of a root directory, from their records, and what Slurm says of their jobs."""

from __future__ import annotations

import os
from datetime import UTC, datetime

from scrun import OCI_VERSION, small_file
from scrun.errors import ContainerNotFound, DamagedRecord, InvalidId, ScrunError
from scrun.identity import is_valid_id, real_uid
from scrun.lifecycle.container import owed, status
from scrun.lifecycle.container.directory import STATE, Container
from scrun.lifecycle.operations import state
from scrun.lifecycle.worker import ask_slurm
from scrun.slurm import srun

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NotRequired, TypedDict

    from scrun.lifecycle.operations.state import State
    from scrun.slurm.answers import JobState

    class Queued(TypedDict):
        """Why and since when a container's job waits."""

        reason: str  # squeue's word; empty if Slurm wasn't asked, or doesn't answer
        since: str  # RFC 3339

    class Entry(State):
        """A container in the list. If its record is damaged, it has ``error``, and the other members are empty."""

        job: int | None  # None if there is none yet
        nodes: list[str]
        partition: str
        queued: Queued | None  # None if the job has nodes
        suspended: bool  # whether Slurm has suspended the job; the status is "running" all the same
        changes: str  # empty, COMING_BACK, or which changes are lost and where they are
        started: str  # RFC 3339, or empty, as the next
        finished: str
        elapsed: int  # seconds since the start, or in the queue
        exitStatus: int | None  # None until the container has ended
        image: str
        command: list[str]
        error: NotRequired[str]


DAMAGED = "damaged"  # instead of a status, if the record can't be read
COMING_BACK = "coming back"
# Seconds to wait for Slurm, if some job is queued, and otherwise. Then the list is shown without Slurm's answer.
_PATIENCE, _SHORT_PATIENCE = 5.0, 1.0
# Annotations with the image's name: of cri-o and podman kube play, of containerd's cri, and the image-spec's own
# (annotations.md).
_IMAGE = (
    "io.kubernetes.cri-o.ImageName",
    "io.kubernetes.cri.image-name",
    "org.opencontainers.image.ref.name",
    "org.opencontainers.image.title",
)
_TITLES = ("ID", "STATUS", "JOB", "NODES (REASON)", "PARTITION", "ELAPSED", "IMAGE OR COMMAND")


def ids(root: str) -> list[str]:
    """The ids of the containers, the youngest first, with a third of the work: only a record's time is used.

    Raises:
        ScrunError: the directory can't be read.
    """
    found = []
    for name in filter(is_valid_id, _names(root)):
        path = os.path.join(root, name)
        try:
            record = small_file.read(f"{path}/{STATE}", follow=False)
        except FileNotFoundError:
            continue  # it is being made or removed
        except OSError:
            record = b""  # list says what is wrong
        # No text in the record has this in it: JSON puts a backslash before each quotation mark.
        created = record.partition(b'"created": "')[2].partition(b'"')[0].decode("utf-8", "replace")
        found.append((created or _changed_at(path), name))
    return [name for _created, name in sorted(found, reverse=True)]


def list_containers(root: str, *, briefly: bool = False) -> list[Entry]:
    """List the containers, the youngest first.

    Args:
        root: the directory of the containers.
        briefly: whether Slurm is not asked.

    Raises:
        ScrunError: the directory can't be read.
    """
    now = datetime.now(UTC).timestamp()
    entries = [entry for entry in (_entry(root, name, now) for name in _names(root)) if entry]
    if not briefly and (alive := [entry for entry in entries if entry["job"] and entry["exitStatus"] is None]):
        _add_job_states(alive, now)
    return sorted(entries, key=lambda entry: (entry["created"], entry["id"]), reverse=True)


def _names(root: str) -> list[str]:
    try:
        return os.listdir(root)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise ScrunError(f"can't read {root}: {error.strerror}") from error


def _entry(root: str, name: str, now: float) -> Entry | None:
    """The entry of a directory; None if there is no container in it, because it is being made or removed."""
    try:
        container = Container.open(root, name, deleted=True, anybodys=True)
    except DamagedRecord as error:
        return _damaged(root, name, str(error))
    except (ContainerNotFound, InvalidId):
        return None
    except ScrunError as error:
        return _damaged(root, name, str(error))
    try:
        return _of_record(container, now)
    except ValueError as error:  # a node list or a time that can't be parsed
        return _damaged(root, name, str(DamagedRecord(name, f"{container.path}/{STATE}", str(error))))
    finally:
        os.close(container.descriptor)


def _of_record(container: Container, now: float) -> Entry:
    record, document = container.record, state.state_of(container)
    variables = dict(entry.partition("=")[::2] for entry in record.get("job_environment", ()))
    started, finished = record.get("started", ""), record.get("finished", "")
    ended = document["status"] == status.STOPPED
    until = seconds(finished) if ended and finished else None if ended else now
    return {
        **document,  # type: ignore[typeddict-item]  # "error" stays away
        "job": record.get("job"),
        "nodes": srun.expand_nodes(record.get("nodes", "")),
        "partition": variables.get("SLURM_JOB_PARTITION", ""),
        "queued": None if ended or record.get("nodes") else {"reason": "", "since": document["created"]},
        "suspended": False,
        "changes": COMING_BACK if ended and owed.is_owed(container) else record.get("lost", ""),
        "started": started,
        "finished": finished,
        "elapsed": int(until - seconds(started)) if started and until else 0,
        "exitStatus": record.get("exit_status") if ended else None,
        "image": next((document["annotations"][key] for key in _IMAGE if document["annotations"].get(key)), ""),
        "command": record.get("command", []),
    }


def _damaged(root: str, name: str, why: str) -> Entry:
    return {
        "ociVersion": OCI_VERSION,
        "id": name,
        "pid": 0,
        "status": DAMAGED,
        "bundle": "",
        "rootfs": "",
        "created": _changed_at(os.path.join(root, name)),
        "owner": "",
        "annotations": {},
        "job": None,
        "nodes": [],
        "partition": "",
        "queued": None,
        "suspended": False,
        "changes": "",
        "started": "",
        "finished": "",
        "elapsed": 0,
        "exitStatus": None,
        "image": "",
        "command": [],
        "error": why,
    }


def _changed_at(path: str) -> str:
    """When the directory was last changed (RFC 3339); empty if it is gone."""
    try:
        return datetime.fromtimestamp(os.stat(path).st_mtime, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f000Z")
    except OSError:
        return ""


def _add_job_states(alive: Sequence[Entry], now: float) -> None:
    """Ask Slurm why and since when jobs wait, and which are suspended; nothing is added if Slurm doesn't answer."""

    def question() -> dict[str, JobState]:
        from scrun.slurm import jobs

        return {str(number): job for number, job in jobs.of_user(real_uid()).items()}

    try:
        jobs = ask_slurm.ask(question, _PATIENCE if any(entry["queued"] for entry in alive) else _SHORT_PATIENCE)
    except ScrunError:
        return
    for entry in alive:
        job = jobs.get(str(entry["job"]))
        entry["suspended"] = job is not None and job["state"] == status.SUSPENDED
        if job and entry["queued"]:
            since = datetime.fromtimestamp(job["submitted"], UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            entry["queued"] = {"reason": job["reason"], "since": since}
            entry["partition"] = job["partition"]
            entry["elapsed"] = max(0, int(now - job["submitted"]))


def seconds(timestamp: str) -> float:
    """Seconds since 1970 of an RFC 3339 timestamp.

    Raises:
        ValueError: it is no such timestamp.
    """
    return datetime.fromisoformat(timestamp).timestamp()


def table(entries: Sequence[Entry], width: int = 0) -> str:
    """The entries as people read them, in aligned columns.

    Args:
        entries: the result of :func:`run`.
        width: the number of characters to which lines are cut; 0 for no limit.
    """
    rows = [_TITLES, *(_row(entry) for entry in entries)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_TITLES) - 1)]
    lines = ["  ".join((*(cell.ljust(wide) for cell, wide in zip(row, widths, strict=False)), row[-1])) for row in rows]
    return "".join(f"{(line[:width] if width else line).rstrip()}\n" for line in lines)


def _row(entry: Entry) -> tuple[str, ...]:
    return (
        entry["id"],
        _status(entry),
        str(entry["job"] or "-"),
        f"({entry['queued']['reason'] or '?'})" if entry["queued"] else _short(entry["nodes"]) or "-",
        entry["partition"] or "-",
        clock(entry["elapsed"]) if entry["started"] or entry["queued"] else "-",
        printable(entry["image"] or " ".join(entry["command"]) or entry.get("error", "")),
    )


def _status(entry: Entry) -> str:
    if entry["exitStatus"] is not None:
        changes = {"": "", COMING_BACK: f", {COMING_BACK}"}.get(entry["changes"], ", not all is back")
        return f"{entry['status']} ({entry['exitStatus']}){changes}"
    return f"{entry['status']}{', queued' if entry['queued'] else ', suspended' if entry['suspended'] else ''}"


def _short(nodes: Sequence[str]) -> str:
    return ",".join(nodes) if len(nodes) <= 2 else f"{nodes[0]},...{len(nodes) - 1} more"


def printable(text: str) -> str:
    """The text on one line, without control characters, which a terminal would obey."""
    return "".join(character if character.isprintable() else " " for character in text)


def clock(elapsed: int) -> str:
    """A number of seconds as squeue writes it: [days-][hours:]minutes:seconds."""
    minutes, second = divmod(elapsed, 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    if days:
        return f"{days}-{hour:02d}:{minute:02d}:{second:02d}"
    return f"{hour}:{minute:02d}:{second:02d}" if hour else f"{minute}:{second:02d}"
