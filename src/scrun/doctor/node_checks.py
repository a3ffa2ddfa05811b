"""Check a node by its answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from scrun.doctor import login_host, tools
from scrun.doctor.finding import broken, ok, unchecked, warning, worst
from scrun.errors import SlurmError
from scrun.slurm import oci_conf
from scrun.staging import node_directory

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scrun.doctor.finding import Result
    from scrun.doctor.node_answer import Answer
    from scrun.doctor.site import Site

_CLOCKS = 2  # seconds by which two hosts' clocks may differ
_FEW_NAMESPACES = 100
_NO_ANSWER = "the node did not say"
_NO_PORTS = "containers there have no published port, and no network of docker's or podman's"


class Asked(NamedTuple):
    """A node that was asked, and its answer."""

    name: str
    answer: Answer
    asked: float  # seconds since 1970
    noise: tuple[int, int]  # the numbers of other programs' lines on standard output and on standard error
    alive: frozenset[int] | None  # the ids of the user's jobs that run or wait; None if unknown


def configuration(site: Site, asked: Asked) -> Result:
    """Whether the node has an oci.conf with the same settings as this host's."""
    lacks = asked.answer.text("oci-lacks")
    if lacks and lacks != "-":
        return broken(node_directory.runs_none(asked.name, lacks), "copy this host's oci.conf there")
    text = asked.answer.oci()
    if text is None:
        return unchecked("the user can't read the node's oci.conf")
    try:
        theirs = oci_conf.parse(text, f"{asked.name}: oci.conf", _include)
    except _Includes as error:
        return unchecked(f"the node's oci.conf includes {error}, which was not asked for: compare it by hand")
    except SlurmError as error:
        return broken(str(error), "copy this host's oci.conf there")
    if site.oci is None:
        return unchecked("this host's oci.conf can't be read")
    # scrun's own settings are in comments, and only this host's count.
    differ = sorted(key for key in oci_conf.KEYS if theirs.get(key) != site.oci.get(key))
    if differ:
        return broken(
            f"oci.conf differs from this host's in {', '.join(differ)}",
            "copy this host's oci.conf there: signals and exec go by this host's",
        )
    return ok("oci.conf says what this host's says")


class _Includes(Exception):
    """A node's file includes another one, by that path."""


def _include(path: str) -> str:
    """Read nothing: the path is the node's word, and a file of this host would be read, by root perhaps."""
    raise _Includes(path)


def runtime(site: Site, asked: Asked) -> Result:
    """Whether the node's OCI runtime runs, and its version."""
    if not site.runtime:
        return unchecked("oci.conf doesn't say how the runtime is called")
    text = asked.answer.text("runtime")
    if text is None:
        return unchecked(_NO_ANSWER)
    works, _, words = text.partition(" ")
    program = site.runtime.split()[0]
    if works == "no" and (asked.answer.text("root") or "").startswith("no"):
        return unchecked("the runtime's directory can't be made: see node-run-directory")  # crun 1.21 says no more
    if works == "no":
        return broken(
            f"{program} doesn't run: {words or 'no word'}",
            f"install {program} on the node, or name another in oci.conf",
        )
    return ok(words or program)


def run_directory(site: Site, asked: Asked) -> Result:
    """Whether the node's runtime can make the directory of its state (--root), mostly /run/user/UID."""
    text, root = asked.answer.text("root"), runtime_root(site.runtime)
    if not root:
        return unchecked("oci.conf gives the runtime no --root")
    if text is None:
        return unchecked(_NO_ANSWER)
    works, _, there = text.partition(" ")
    owner, _, mode = (asked.answer.text("root-owner") or " ").partition(" ")
    if works == "no" or (owner != str(site.uid) and there != root and not mode.startswith("1")):
        return broken(
            f"{root} can't be made: {there} is the nearest directory, and not {site.user}'s to write",
            "have a Prolog make it with the user as its owner, or choose another --root in oci.conf",
        )
    return ok(f"{there} can be written")


def mounts(site: Site, asked: Asked) -> Result:
    """Whether the node's runtime mounts an overlay at a container's /, and for root's containers a bind mount."""
    if (asked.answer.text("runtime") or "").startswith("no"):
        return unchecked("the runtime makes no container: see node-runtime and node-run-directory")
    overlay, bind = asked.answer.flag("overlay"), asked.answer.flag("bind")
    if overlay is None:
        return unchecked(_NO_ANSWER if site.runtime else "oci.conf doesn't say how the runtime is called")
    if not overlay:
        return warning(
            "the runtime mounts no overlay at /", "crun 1.28 does; until then each container has a copy of its image"
        )
    if bind is False:
        return warning(
            "the runtime makes no bind mount at /",
            "crun 1.28 does; until then a hook hides device nodes of root's images, if oci.conf lets it",
        )
    return ok("the runtime mounts an overlay at /")


def namespaces(site: Site, asked: Asked) -> Result:
    """Whether the user can make user and network namespaces on the node, and how many."""
    most = {kind: asked.answer.number(f"most-{kind}") for kind in ("user", "net")}
    if most["user"] == 0 and site.uid:
        return broken("max_user_namespaces is 0", "sysctl user.max_user_namespaces=65536 on the node")
    can = {kind: asked.answer.flag(f"{kind}-namespace") for kind in ("user", "net")}
    if can["user"] is False and site.uid:
        return broken("the user can't make a user namespace", "see kernel.unprivileged_userns_clone, AppArmor, SELinux")
    if most["net"] == 0 or can["net"] is False:
        return warning(
            "max_net_namespaces is 0" if most["net"] == 0 else "the user can't make a network namespace",
            f"sysctl user.max_net_namespaces=65536 on the node; until then {_NO_PORTS}, and those that are to have no "
            "network can't run",
        )
    if few := [
        f"max_{kind}_namespaces is {number}"
        for kind, number in most.items()
        if number is not None and number < _FEW_NAMESPACES
    ]:
        return warning(", ".join(few), "raise it: each container takes one")
    if None in can.values():
        return unchecked("there is no unshare(1) on the node to try it with")
    return ok(f"can be made, {most['user']} and {most['net']} of them")


def noise(_site: Site, asked: Asked) -> Result:
    """Whether a TaskProlog, a SPANK plugin or another program of the site's prints in every task."""
    out, err = asked.noise
    if out or err:
        return warning(
            f"{out} lines on standard output and {err} on standard error that no program wrote",
            "TaskProlog, TaskEpilog or a SPANK plugin prints them; they are in the containers' output too",
        )
    return ok("nothing but what was asked for is printed")


def programs(_site: Site, asked: Asked) -> Result:
    """Whether the node has the programs that scrun's scripts call: tar and others."""
    if not asked.answer.tools:
        return unchecked(_NO_ANSWER)
    there = {
        name: text if text in (tools.ABSENT, "yes") else tools.version(text)
        for name, text in asked.answer.tools.items()
    }
    return tools.judge(there, tools.NODE, tools.WANTED)


def tun(site: Site, asked: Asked) -> Result:
    """Whether the user can open the node's /dev/net/tun, which a container on its engine's network needs."""
    there = asked.answer.text("tun")
    if there is None:
        return unchecked(_NO_ANSWER)
    if there == "yes":
        return ok("/dev/net/tun can be opened")
    lack = "there is no /dev/net/tun" if there == "none" else f"{site.user} may not open /dev/net/tun"
    if (site.oci or {}).get("NetAllowed") == ["node"]:
        return ok(f"{lack}, and oci.conf allows the node's network only (NetAllowed)")
    return warning(
        f"{lack}: {_NO_PORTS}",
        "load the kernel's module tun, and give the device mode 0666, as udev does; or set NetAllowed=node in oci.conf",
    )


def clock(_site: Site, asked: Asked) -> Result:
    """Whether the node's clock agrees with this host's."""
    theirs = asked.answer.number("clock")
    if theirs is None:
        return unchecked(_NO_ANSWER)
    apart = max(asked.asked - theirs - 1, theirs - asked.answer.heard_clock, 0)
    if apart > _CLOCKS:
        which = "ahead of" if theirs > asked.asked else "behind"
        return warning(
            f"the clock is {apart:.0f} s {which} this host's", "chronyc tracking, on both; munge refuses 300 s"
        )
    return ok(f"the clock agrees within {_CLOCKS} s")


def connection(_site: Site, asked: Asked) -> Result:
    """Whether the node connects to this host, as it does for files that are carried."""
    text = asked.answer.text("back")
    if text == "yes":
        return ok("the node connects to this host")
    if text in ("dropped", "refused"):
        return warning(
            f"connections from the node are {text}",
            "open SrunPortRange to the nodes, or each container's files go through srun, a tenth as fast",
        )
    return unchecked("there is no bash or timeout on the node to try it with" if text else _NO_ANSWER)


def space(_site: Site, asked: Asked) -> Result:
    """Whether the node has room in /tmp and /var/tmp, where files and images are kept."""
    rooms = asked.answer.rooms
    return worst([login_host.room(path, *free) for path, free in rooms.items()]) if rooms else unchecked(_NO_ANSWER)


def leftovers(site: Site, asked: Asked) -> Result:
    """Whether files of ended jobs are left in the node's /tmp/scrun-UID."""
    own, place = asked.answer.text("own"), f"/tmp/scrun-{site.uid}"  # noqa: S108  nothing is opened
    if own == "taken":
        return warning(
            f"{place} is not {site.user}'s own",
            "remove it: until then a name made at random takes its place",
        )
    if own is None:
        return unchecked(_NO_ANSWER)
    if asked.alive is None:
        return unchecked("slurmctld doesn't say which jobs are alive")
    dead = sorted({*asked.answer.left} - asked.alive)
    if dead:
        return warning(
            f"{place} has files of {len(dead)} jobs that have ended ({', '.join(map(str, dead[:3]))} …)",
            "set Epilog in slurm.conf to a script like etc/epilog, and remove them",
        )
    return ok("nothing is left of jobs that have ended")


def runtime_root(words: str) -> str:
    """The runtime's --root in its command line; empty if there is none, or the shell has to expand it."""
    given = words.split()
    for position, word in enumerate(given):
        name, equals, value = word.partition("=")
        if name == "--root":
            value = value if equals else given[position + 1] if position + 1 < len(given) else ""
            value = value.strip("\"'")
            return value.rstrip("/") if value.startswith("/") and not set(value) & set("$`*?[") else ""
    return ""


CHECKS: Mapping[str, Any] = {
    "node-oci-conf": configuration,
    "node-runtime": runtime,
    "node-run-directory": run_directory,
    "node-mounts": mounts,
    "node-namespaces": namespaces,
    "node-noise": noise,
    "node-tools": programs,
    "node-tun": tun,
    "node-clock": clock,
    "node-connection": connection,
    "node-space": space,
    "node-leftovers": leftovers,
}
