"""The cluster's nodes, by sinfo, and the options and environment of doctor's own steps."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, NamedTuple

from scrun.errors import ScrunError, SlurmError, UsageError
from scrun.slurm import parsers, srun

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from scrun.doctor.site import Site

_PATIENCE = 20.0  # seconds
# States of sinfo in which a node runs no job, or takes no new one.
_AWAY = re.compile(r"down|drain|fail|maint|power|reboot|unk|future|no_respond|inval|reserved|block")
_NAME = re.compile(r"[A-Za-z0-9._][A-Za-z0-9._-]*")
# srun's options, and the variables in which the caller sets them for containers; doctor's jobs use them too.
_ASKED = {"partition": "PARTITION", "account": "ACCOUNT", "qos": "QOS", "reservation": "RESERVATION"}
_KEPT = ("SLURM_CONF", "SLURM_CONF_SERVER", "SLURM_SACK_SOCKET", "SLURM_JWT")
_MOST = 1 << 16  # nodes


class Place(NamedTuple):
    """A node as sinfo knows it, and a partition that leads there; ``away`` is its state where it can't be asked."""

    partition: str
    away: str


def wanted(words: Sequence[str]) -> list[str]:
    """The names of nodes in the values of ``--node``, which may be lists such as ``node[1-4]``.

    Raises:
        UsageError: a value is no list of nodes.
    """
    names: list[str] = []
    for word in words:
        try:
            expanded = srun.expand_nodes(parsers.node_list(word)) if _count(word) <= _MOST else []
        except ValueError:
            expanded = []
        if not expanded or not all(map(_NAME.fullmatch, expanded)):
            raise UsageError(f"--node {word!r} is no list of nodes: write it as in node1,other[3-5]")
        names += expanded
    return [*dict.fromkeys(names)]


def _count(word: str) -> int:
    """The largest number of nodes that a list may stand for, without expanding the list."""
    count = 1
    for ranges in re.findall(r"\[([^\]]*)\]", word):
        sizes = (item.partition("-") for item in ranges.split(","))
        count *= sum(int(high or low) - int(low) + 1 for low, _, high in sizes)
    return count


def nodes(site: Site) -> dict[str, Place]:
    """All nodes of the cluster, by name.

    Raises:
        SlurmError: sinfo fails.
    """
    command = beside_srun(site, "sinfo")
    options = ("--noheader", "--Node", "--all", "--format=%N|%P|%a|%T")
    status, printed = site.run_program(command, *options, seconds=_PATIENCE)
    if status:
        words = printed.strip().splitlines()
        raise SlurmError(f"{command} doesn't tell the nodes: {words[-1] if words else f'status {status}'}")
    places: dict[str, Place] = {}
    for line in printed.splitlines():
        name, _, rest = line.strip().partition("|")
        partition, _, rest = rest.partition("|")
        available, _, state = rest.partition("|")
        if not _NAME.fullmatch(name):
            continue
        place = Place(partition.rstrip("*"), state if _AWAY.search(state) or state.endswith("*") else "")
        # An asterisk marks the default partition. A partition that is down takes no job.
        if available == "up" and (name not in places or partition.endswith("*")):
            places[name] = place
    return places


def asked(environment: Mapping[str, str]) -> dict[str, str]:
    """The options of srun that the caller has set for containers' jobs, by name."""
    values = {option: environment.get(f"SCRUN_{name}", "") for option, name in _ASKED.items()}
    return {option: value for option, value in values.items() if value}


def environment(of: Mapping[str, str]) -> dict[str, str]:
    """The caller's environment without srun's options, because doctor asks for a job of its own."""
    return {name: value for name, value in of.items() if name in _KEPT or not name.startswith(srun.OPTIONS)}


def beside_srun(site: Site, name: str) -> str:
    """The path of another program of Slurm's: beside srun, or else by its name on PATH."""
    try:
        beside = os.path.join(os.path.dirname(srun.srun_command(site.oci or {}, site.environment)[0]), name)
    except ScrunError:
        return name
    return beside if os.access(beside, os.X_OK) else name
