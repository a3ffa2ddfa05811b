"""list: the containers of a root directory, from their records, and what Slurm says of the jobs of those that live."""

from __future__ import annotations

import os
from datetime import UTC, datetime

from scrun import OCI_VERSION
from scrun.errors import ContainerNotFound, DamagedRecord, InvalidId, ScrunError
from scrun.identity import real_uid
from scrun.lifecycle.container import owed, status
from scrun.lifecycle.container.directory import STATE, Container
from scrun.lifecycle.operations import state
from scrun.lifecycle.worker import ask_slurm
from scrun.slurm import srun

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    Entry = dict[str, Any]

DAMAGED = "damaged"  # in the place of a status, where the record can't be read
# Seconds, for what Slurm says of queued jobs, or of others alone; the list is shown without it then.
_PATIENCE, _SHORT_PATIENCE = 5.0, 1.0
# Where engines and their users put the image's name, if they do: cri-o and podman kube play, containerd's cri, and the
# image-spec's own (annotations.md).
_IMAGE = (
    "io.kubernetes.cri-o.ImageName",
    "io.kubernetes.cri.image-name",
    "org.opencontainers.image.ref.name",
    "org.opencontainers.image.title",
)
_TITLES = ("ID", "STATUS", "JOB", "NODES (REASON)", "PARTITION", "ELAPSED", "IMAGE OR COMMAND")


def run(root: str, *, briefly: bool = False) -> list[Entry]:
    """What there is, the youngest first: runc's fields of each (see :func:`state.run`), and these.

    ``job`` (None where there is none yet), ``nodes`` (their names), ``partition``, ``queued`` (None, or with Slurm's
    ``reason`` and ``since`` when), ``suspended`` (whether Slurm has suspended its job; the status is ``running`` all
    the same, as ``paused`` is what somebody has paused through the runtime), ``changes`` (empty, "coming back", or what
    of them is lost and where it is), ``started`` and ``finished`` (RFC 3339, or empty), ``elapsed`` (seconds since the
    start, or in the queue), ``exitStatus`` (None until it has ended), ``image`` and ``command``. One with a damaged
    record has the fields empty and an ``error``. ``briefly``: without asking Slurm.
    """
    try:
        names = os.listdir(root)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise ScrunError(f"can't read {root}: {error.strerror}") from error
    now = datetime.now(UTC).timestamp()
    entries = [found for found in (_entry(root, name, now) for name in names) if found]
    if not briefly and (alive := [found for found in entries if found["job"] and found["exitStatus"] is None]):
        _ask_slurm(alive, now)
    return sorted(entries, key=lambda found: (found["created"], found["id"]), reverse=True)


def _entry(root: str, name: str, now: float) -> Entry | None:
    try:
        container = Container.open(root, name, deleted=True, anybodys=True)
    except DamagedRecord as error:
        return _damaged(root, name, str(error))
    except (ContainerNotFound, InvalidId):  # only being made, just removed, or no container's directory
        return None
    except ScrunError as error:
        return _damaged(root, name, str(error))
    try:
        return _of_record(container, now)
    except ValueError as error:  # nodes or a time that can't be read
        return _damaged(root, name, str(DamagedRecord(name, f"{container.path}/{STATE}", str(error))))
    finally:
        os.close(container.descriptor)


def _of_record(container: Container, now: float) -> Entry:
    record, document = container.record, state.run(container)
    variables = dict(entry.partition("=")[::2] for entry in record.get("job_environment", ()))
    started, finished = record.get("started", ""), record.get("finished", "")
    ended = document["status"] == status.STOPPED
    until = seconds(finished) if ended and finished else None if ended else now
    return {
        **document,
        "job": record.get("job"),
        "nodes": srun.expand_nodes(record.get("nodes", "")),
        "partition": variables.get("SLURM_JOB_PARTITION", ""),
        "queued": None if ended or record.get("nodes") else {"reason": "", "since": document["created"]},
        "suspended": False,
        "changes": "coming back" if ended and owed.is_owed(container) else record.get("lost", ""),
        "started": started,
        "finished": finished,
        "elapsed": int(until - seconds(started)) if started and until else 0,
        "exitStatus": record.get("exit_status") if ended else None,
        "image": next((document["annotations"][key] for key in _IMAGE if document["annotations"].get(key)), ""),
        "command": record.get("command", []),
    }


def _damaged(root: str, name: str, why: str) -> Entry:
    empty = dict.fromkeys(
        ("changes", "bundle", "rootfs", "created", "owner", "partition", "started", "finished", "image"), ""
    )
    return {
        "ociVersion": OCI_VERSION,
        "id": name,
        "pid": 0,
        "status": DAMAGED,
        **empty,
        "created": _changed(os.path.join(root, name)),
        "annotations": {},
        "job": None,
        "nodes": [],
        "queued": None,
        "suspended": False,
        "elapsed": 0,
        "exitStatus": None,
        "command": [],
        "error": why,
    }


def _changed(path: str) -> str:
    try:
        return datetime.fromtimestamp(os.stat(path).st_mtime, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f000Z")
    except OSError:
        return ""


def _ask_slurm(alive: Sequence[Entry], now: float) -> None:
    """Say of those that wait why and since when, and which are suspended, as far as Slurm can be asked."""

    def question() -> Entry:
        from scrun.slurm import jobs

        return {str(job): found for job, found in jobs.of_user(real_uid()).items()}

    try:
        known = ask_slurm.ask(question, _PATIENCE if any(entry["queued"] for entry in alive) else _SHORT_PATIENCE)
    except ScrunError:
        known = {}
    for entry in alive:
        job = known.get(str(entry["job"]), {})
        entry["suspended"] = job.get("state") == status.SUSPENDED
        if job and entry["queued"]:
            since = datetime.fromtimestamp(job["submitted"], UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            entry["queued"] = {"reason": job["reason"], "since": since}
            entry["partition"] = job["partition"]
            entry["elapsed"] = max(0, int(now - job["submitted"]))


def seconds(timestamp: str) -> float:
    """Seconds since 1970 of an RFC 3339 timestamp."""
    return datetime.fromisoformat(timestamp).timestamp()


def table(entries: Sequence[Entry], width: int = 0) -> str:
    """The entries as people read them, in aligned columns; lines are cut to the width, if there is one."""
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


def _status(entry: Mapping[str, Any]) -> str:
    if entry["exitStatus"] is not None:
        left = {"": "", "coming back": ", coming back"}.get(entry["changes"], ", not all is back")
        return f"{entry['status']} ({entry['exitStatus']}){left}"
    return f"{entry['status']}{', queued' if entry['queued'] else ', suspended' if entry['suspended'] else ''}"


def _short(nodes: Sequence[str]) -> str:
    return ",".join(nodes) if len(nodes) <= 2 else f"{nodes[0]},...{len(nodes) - 1} more"


def printable(text: str) -> str:
    """On one line, without what a terminal would obey."""
    return "".join(character if character.isprintable() else " " for character in text)


def clock(elapsed: int) -> str:
    """Seconds as squeue writes them: [days-][hours:]minutes:seconds."""
    minutes, second = divmod(elapsed, 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    if days:
        return f"{days}-{hour:02d}:{minute:02d}:{second:02d}"
    return f"{hour}:{minute:02d}:{second:02d}" if hour else f"{minute}:{second:02d}"
