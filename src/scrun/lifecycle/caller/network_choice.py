"""Decide whether a container is on the engine's network, with its ports and names, or on its node's.

``auto`` takes the engine's where somebody asked for what only that has: a published port, or a network by its name. The
engine's own words tell it (:mod:`scrun.lifecycle.caller.engine_words`); where they don't, it is the node's.
"""

from __future__ import annotations

from scrun import identity
from scrun.errors import UsageError
from scrun.lifecycle.caller import engine_words
from scrun.lifecycle.container import network, network_programs

TYPE_CHECKING = False  # importing typing takes 6 ms beside json; type checkers know this name
if TYPE_CHECKING:
    from typing import NamedTuple

    from scrun.lifecycle.container.plan import NetworkPlan
    from scrun.oci import Config
    from scrun.slurm.oci_conf import Settings
else:
    from scrun.named_tuple import NamedTuple

AUTO, BY_ENGINE, BY_NODE = "auto", "engine", "node"
_NOTHING: NetworkPlan = {"namespace": "", "resolv_conf": "", "ports": [], "near": False}


class Choice(NamedTuple):
    """What a container is given.

    ``kind`` is one of :mod:`network`'s, ``otherwise`` the kind where the node can't have the engine's (empty: it must),
    ``is_new`` whether the stand-in makes the namespace, ``why`` a line for the log.
    """

    kind: str
    otherwise: str
    is_new: bool
    plan: NetworkPlan
    why: str


def choose(
    kind: str,
    said: str,
    settings: Settings,
    config: Config,
    container_id: str,
    *,
    is_guest: bool = False,
    in_its_job: bool = False,
) -> Choice:
    """Choose the network of a container.

    Args:
        kind: what its config asks for (:func:`network.wanted`).
        said: its SCRUN_NET; empty where nobody says.
        settings: oci.conf's.
        config: its config.
        container_id: its id.
        is_guest: whether the network is another container's.
        in_its_job: whether the container runs in that one's job.

    Raises:
        UsageError: oci.conf doesn't allow what was said; or the network has to be the engine's, and isn't its alone.
    """
    allowed = settings.get("NetAllowed") or [AUTO, BY_ENGINE, BY_NODE]
    default = settings.get("Net") or (AUTO if AUTO in allowed else allowed[0])
    if said and said not in allowed:
        raise UsageError(f"SCRUN_NET={said}: this site's oci.conf allows {' and '.join(allowed)} only (NetAllowed)")
    mode = said or default
    is_new = kind == network.LATER and not is_guest

    def nodes(why: str) -> Choice:
        return Choice(kind, "", is_new, _NOTHING, f"the container's network is its node's, or none: {why}")

    if is_guest and kind == network.JOINED and not in_its_job:
        return Choice(network.NODE, "", False, _NOTHING, "the container is in a job of its own, on its node's network")
    if is_guest:
        return nodes("it is another container's")
    if kind == network.HOST:
        return nodes("it has no network namespace")
    if mode == BY_NODE:
        return nodes("SCRUN_NET=node" if said else "oci.conf has Net=node")
    why = "SCRUN_NET=engine" if said else "oci.conf has Net=engine"
    if mode == AUTO:
        asked = engine_words.asked(config, container_id)
        if not asked.for_engine:
            return nodes(asked.why)
        why = asked.why
    if engine_words.is_anothers(config):
        if mode == AUTO:
            return nodes("it is that of a container which another runtime runs, and which would lose it")
        raise UsageError(
            f"{why}: the network is that of a container which another runtime runs, and which would lose it: have "
            "scrun run that one too, or use the node's network (SCRUN_NET=node)"
        )
    otherwise = kind if mode == AUTO else ""
    return Choice(network.ENGINE, otherwise, is_new, _plan(config), f"the container is on the engine's network: {why}")


def _plan(config: Config) -> NetworkPlan:
    is_near, path = engine_words.is_podmans(config) and not identity.is_machines_root(), engine_words.namespace(config)
    return {
        "namespace": path,
        "resolv_conf": engine_words.source(config, "/etc/resolv.conf"),
        "ports": network_programs.pastas_ports(network_programs.serving(path)) if is_near else [],
        "near": is_near,
    }
