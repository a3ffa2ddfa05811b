"""Call all checks, one after the other. An error in one check doesn't end the others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from scrun.doctor import cluster, login_engines, login_host, login_slurm, node_checks
from scrun.doctor.finding import Finding, broken, named, ok, unchecked
from scrun.doctor.nodes import Asking, Node
from scrun.doctor.trial import NAMED, STARTED
from scrun.errors import ScrunError
from scrun.lifecycle.recovery import sweep

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from scrun.doctor.finding import Result
    from scrun.doctor.site import Site

    Tell = Callable[[Finding], None]

LOGIN: Mapping[str, Any] = {**login_slurm.CHECKS, **login_host.CHECKS, **login_engines.CHECKS}
ANSWER, CONTAINER = "node-answer", "node-container"
NODE: Mapping[str, Any] = {ANSWER: None, **node_checks.CHECKS, CONTAINER: None}
NAMES = (*LOGIN, *NODE)


def login(site: Site, host: str, tell: Tell) -> None:
    """Check this host; ``tell`` gets each finding at once."""
    for name, check in LOGIN.items():
        tell(named(name, host, _attempt(check, site)))


def nodes(site: Site, wanted: Sequence[str], tell: Tell, patience: float) -> None:
    """Check nodes.

    Args:
        site: the site.
        wanted: the names of the nodes; empty for all nodes.
        tell: gets each finding at once.
        patience: seconds that a node has for each of its two steps.
    """
    try:
        there = cluster.nodes(site)
    except ScrunError as error:
        for name in wanted or ("",):
            tell(named(ANSWER, name or "nodes", unchecked(str(error))))
        return
    asked = []
    for name in wanted or there:
        place = there.get(name)
        if not place:
            tell(
                named(
                    ANSWER, name, broken("sinfo knows no such node in a partition that is up", "see sinfo --Node --all")
                )
            )
        elif place.away:
            tell(named(ANSWER, name, unchecked(f"the node is {place.away}: it was not asked")))
        else:
            asked.append(Node(name, place.partition))
    alive = _alive(site)
    try:
        with Asking(site, patience) as asking:
            asking.ask_all(asked, lambda node: _tell(site, node, alive, tell))
    except (ScrunError, OSError) as error:
        tell(named(ANSWER, "nodes", broken(f"the nodes can't be asked: {error}", "see the checks of this host")))


def _tell(site: Site, node: Node, alive: frozenset[int] | None, tell: Tell) -> None:
    tell(named(ANSWER, node.name, answered(node)))
    if not node.answer.began:
        return  # one line is enough for a node that says nothing
    for name, check in node_checks.CHECKS.items():
        tell(named(name, node.name, _attempt(check, site, node.of(alive))))
    tell(named(CONTAINER, node.name, contained(node)))


def answered(node: Node) -> Result:
    """Whether the node ran the step that asks it, and answered in time."""
    if node.answer.is_complete:
        return ok("a job ran there and answered")
    text = f": {node.words}" if node.words else ""
    if node.is_late and node.is_queued and not node.answer.began:
        return unchecked(f"the node is busy: a job for it was queued too long{text}")
    if node.is_late:
        how = "stopped answering" if node.answer.began else "didn't answer in time"
        return broken(f"the node {how}{text}", "look at slurmd's log there, and at its Prolog")
    return broken(f"no job ran there{text or ': srun said nothing'}", "srun --nodelist= and its name says the same")


def contained(node: Node) -> Result:
    """Whether slurmstepd reads a bundle in the user's home directory, and calls the runtime with it."""
    if not node.container:
        if node.answer.flag("bundle") is False:
            return unchecked("the node doesn't see this user's home directory: bundles are carried there")
        return unchecked("no container was tried, since the node answers no or not enough above")
    if node.container == NAMED:
        return ok("slurmstepd reads a bundle in the user's home directory, and the runtime is called with it")
    text = node.container_words or ("no answer in time" if node.is_late else "without a word")
    if node.container == STARTED:
        return broken(
            f"the node's runtime makes no container: {text}", "srun --container with such a bundle says the same"
        )
    return broken(
        f"slurmstepd starts no container whose bundle is in the user's home directory: {text}",
        "slurmd's log there says why: oci.conf (node-oci-conf), or root can't read a home of mode 0700 (root_squash)",
    )


def _attempt(check: Callable[..., Result], *of: object) -> Result:
    """The result of a check; an error becomes a result."""
    try:
        return check(*of)
    except ScrunError as error:
        return broken(str(error), "") if _says_what_is_wrong(error) else unchecked(str(error))
    except OSError as error:
        return unchecked(f"{error.filename or 'it'}: {error.strerror or error}")
    except Exception as error:
        return unchecked(f"internal error: {type(error).__name__}: {error}: report it")


def _says_what_is_wrong(error: ScrunError) -> bool:
    """Whether an error names what is wrong and what to do; all do, but internal errors."""
    return not str(error).startswith("internal error")


def _alive(site: Site) -> frozenset[int] | None:
    """The ids of the user's jobs that run or wait; None if Slurm doesn't answer."""
    try:
        jobs = site.jobs()
    except ScrunError:
        return None
    return frozenset(number for number, job in jobs.items() if job["state"] in sweep.LIVES)
