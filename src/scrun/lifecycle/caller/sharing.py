"""Find the other container with which a config shares a namespace; then both run in one job, on one node.

A pod's containers, ``--network container:NAME`` and compose's ``network_mode: service:NAME`` all come as the path of a
namespace in the config. The path is ``/proc/PID/ns/net`` with the pid of the other container's stand-in, or a file that
the other container's config names too. No namespace reaches from this machine to a node. But on the same node both
containers have the node's network, and so reach each other at localhost.

This container also gets the other one's host name and network. The reasons: the config has no host name then, and the
stand-in's network namespace tells nothing about the container's network.
"""

from __future__ import annotations

import os

from scrun import fastjson, small_file
from scrun.errors import ScrunError
from scrun.lifecycle.container import network, status
from scrun.lifecycle.container.directory import STATE, Container
from scrun.slurm.shared_job import SharedJob

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from scrun.lifecycle.container.record import Record
    from scrun.oci import Config
    from scrun.slurm.job import Request


_FILE = "network_namespace"  # the record's name for a namespace's file
_FIRST = ("network", "ipc", "uts", "pid")  # if several containers share a namespace, the first kind counts


class Shared:
    """The other containers with which a container shares namespaces; most containers share none.

    Args:
        others: the other container for each kind of namespace.
        file: the network namespace's path, if docker gives it to several containers; otherwise empty.
    """

    def __init__(self, others: dict[str, Container], file: str) -> None:
        self._others, self._file = others, file
        self._kind = next((kind for kind in (*_FIRST, *others) if kind in others), "")
        self._host: Container | None = None

    def job(self) -> SharedJob | None:
        """The other container's job; None if no namespace is shared.

        Raises:
            ScrunError: the other container is another user's, or has no job yet.
        """
        if not self._kind:
            return None
        other, what = self._others[self._kind], f"whose {self._kind} namespace this one shares"
        if os.fstat(other.descriptor).st_uid != os.getuid():
            raise ScrunError(f"container {other.id!r}, {what}, is another user's: share one of yours")
        if not other.record.get("job"):
            raise ScrunError(f"container {other.id!r}, {what}, has no job yet: try again when it has")
        return SharedJob(
            other.record["job"],
            other.id,
            self._kind,
            other.record.get("asked") or {},
            dict(line.partition("=")[::2] for line in other.record.get("job_environment", ())),
        )

    def join(self, container: Container, request: Request) -> None:
        """Register ``container`` as a guest of the container whose job it joins, if it joins one.

        Raises:
            ScrunError: the other container has ended meanwhile.
        """
        if not request.shares:
            return
        other = self._others[self._kind]
        if other.record.get("job_owned"):
            self._host = other
        elif path := other.record.get("guest_of"):
            self._host = Container.open(*os.path.split(path))
        else:
            return  # a user's own job, which nobody here gives back
        from scrun.lifecycle.container import guests

        if not guests.register(self._host, container):
            raise ScrunError(
                f"container {self._host.id!r}, in whose job this one was to run, has ended meanwhile: try again"
            )

    @property
    def has_network(self) -> bool:
        """Whether the network is another container's."""
        return "network" in self._others

    @property
    def network_of(self) -> str:
        """The directory of the container on whose network this one is; empty where that is its node's, or none."""
        other = self._others.get("network")
        return other.path if other and self._is_engines(other) else ""

    @staticmethod
    def _is_engines(other: Container) -> bool:
        return other.record.get("network") in (network.ENGINE, network.JOINED)

    def network(self, config: Config, note: Callable[[str], None]) -> str:
        """The kind of the container's network (:func:`network.wanted`); ``note`` gets a remark for a person."""
        other = self._others.get("network")
        if not other:
            return network.wanted(config)
        its: str = other.record.get("network", network.LATER)
        if self._is_engines(other):
            return network.JOINED
        if its == network.LATER:
            its = network.wanted(config)
        if its == network.NONE:
            note(f"container {other.id} has no network: the two have a loopback each, and can't reach each other")
        return its

    def host_name(self, config: Config) -> str:
        """The container's host name; empty if there is none."""
        other = self._others.get("uts")
        return str(config.get("hostname") or (other.record.get("host_name") if other else "") or "")

    def add_to(self, record: Record, config: Config, its_network: str) -> None:
        """Add to the record what a container needs that will share with this one."""
        if its_network:
            record["network"] = its_network
        if host_name := self.host_name(config):
            record["host_name"] = host_name
        if self._file:
            record["network_namespace"] = self._file
        if self._host:
            record["guest_of"] = self._host.path


def find_shared(container: Container, config: Config) -> Shared:
    """Look for the containers to which the config's namespaces belong, below the same root directory."""
    others: dict[str, Container] = {}
    known: dict[str, Container | None] = {}
    file = ""
    for namespace in (config.get("linux") or {}).get("namespaces") or ():
        path, kind = namespace.get("path"), namespace["type"]
        if not path:
            continue
        parts = path.split("/")
        if parts[:2] == ["", "proc"] and parts[3:4] == ["ns"] and parts[2].isdigit():
            needle = f'"pid": {parts[2]},'
        elif kind == "network" and not network.is_ours(path):  # docker has one for all with the host's network
            needle = f'"{_FILE}": {fastjson.dumps(path)}'
            file = path
        else:
            continue
        if needle not in known:
            known[needle] = next(_with(container, needle.encode(), proc=needle.startswith('"pid"')), None)
        if other := known[needle]:
            others[kind] = other
    return Shared(others, file)


def _with(container: Container, needle: bytes, *, proc: bool) -> Iterator[Container]:
    """Yield the containers that haven't ended and whose record has the text ``needle``.

    Most records are only searched and not parsed.

    Args:
        container: the new container, which is skipped.
        needle: a part of the JSON.
        proc: whether a container without a job counts.
    """
    root = os.path.dirname(container.path)
    for name in os.listdir(root):
        try:
            if needle not in small_file.read(f"{root}/{name}/{STATE}", follow=False):
                continue
            other = Container.open(root, name)
        except (OSError, ScrunError):
            continue
        # If two containers with the same file are created at the same time, neither may wait for the other.
        if name != container.id and other.status() != status.STOPPED and (proc or other.record.get("job")):
            yield other
        else:
            os.close(other.descriptor)
