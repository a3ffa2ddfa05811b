"""stage_in: gives the job a bundle that its nodes can read."""

from __future__ import annotations

import copy
import os

from scrun.errors import StagingError
from scrun.staging import mounts, nodes
from scrun.staging.children import Interruption
from scrun.staging.known import Known
from scrun.staging.model import Copy, Part, Staged
from scrun.staging.mountinfo import MountTable, Visibility
from scrun.staging.options import Options
from scrun.staging.spool import Spool, encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from scrun.staging.carry import Carrier
    from scrun.staging.model import Container, Log, Step
    from scrun.staging.mounts import Bind


def stage_in(
    container: Container,
    step: Step,
    *,
    adapt: Callable[[dict[str, Any]], dict[str, Any]],
    log: Log,
    options: dict[str, Any] | None = None,
) -> Staged:
    """Make the container's files available on all nodes of the job.

    ``adapt`` makes the config fit for a node's unprivileged runtime; ``options`` are those of ``scrun.stage_in{…}``.
    SIGTERM and SIGINT are acted on after cleaning up.

    Raises:
        StagingError: nothing is left then, here or on the nodes.
    """
    chosen = Options.for_stage_in(options)
    config = adapt(copy.deepcopy(container.config))
    config.setdefault("mounts", []).extend(copy.deepcopy(chosen.mounts))
    with Interruption() as interruption:
        staging = _StageIn(container, step, chosen, config, log, interruption)
        try:
            staged = staging.run()
            interruption.check()
        except OSError as error:
            staging.undo()
            raise StagingError(f"staging container {container.id}: {error}") from error
        except BaseException:
            staging.undo()
            raise
        return staged


class _StageIn:
    """One run: look, decide, carry what has to be, write the config last."""

    def __init__(
        self,
        container: Container,
        step: Step,
        options: Options,
        config: dict[str, Any],
        log: Log,
        interruption: Interruption,
    ) -> None:
        self.spool = Spool(container)
        self._container = container
        self._step = step
        self._options = options
        self._config = config
        self._log = log
        self._interruption = interruption
        self._parent = options.node_dir or container.node_dir
        self._node_path = nodes.node_path(container, self._parent)
        self._copies: list[Copy] = []
        self._parts: list[Part] = []
        self._recursive: set[str] = set()
        self._carrier: Carrier | None = None

    def undo(self) -> None:
        """Leave nothing behind."""
        try:
            self.spool.remove()
        except StagingError as error:
            self._log("info", str(error))
        if self._carrier is not None:
            self._carrier.undo()

    def run(self) -> Staged:
        own = [*self._options.on_nodes, *(mount["source"] for mount in self._options.mounts)]
        binds = []
        for bind in mounts.binds(self._config, self._container.bundle, own):
            if mounts.is_shm(bind):
                mounts.own_shm(bind)
            else:
                binds.append(bind)
        seen = self._look(binds)
        if self._container.bundle not in seen:
            self.spool.remove()
        for index, bind in enumerate(bind for bind in binds if bind.source not in seen):
            self._replace(bind, index)
        root = self._config.setdefault("root", {})
        root["path"] = self._container.rootfs
        if self._container.rootfs not in seen:
            root["path"] = f"{self._node_path}/rootfs"
            self._parts.append(Part("rootfs", self._container.rootfs, True, not root.get("readonly", False)))
        return self._write()

    def _look(self, binds: list[Bind]) -> set[str]:
        """The paths that the nodes have as well. Makes the spool, as that is how the bundle is recognized."""
        mounts = MountTable.of("self")
        visibility = Visibility(self._options.shared, mounts, MountTable.of("1"))
        known = Known(self._container.memory, mounts, self._options.remember)
        hosts = self._step.nodes
        bundle = self._container.bundle
        seen, ask = set(), {}
        if not visibility.is_private(bundle) and not known.denies(bundle, hosts) and self.spool.create():
            if visibility.is_shared(bundle) or known.says(bundle, hosts):
                seen.add(bundle)
            else:
                ask[bundle] = self.spool.witness
        for path in (self._container.rootfs, *(bind.source for bind in binds if not _is_ephemeral(bind, visibility))):
            if visibility.is_private(path) or known.denies(path, hosts):
                continue
            if visibility.is_shared(path) or known.says(path, hosts):
                seen.add(path)
            else:
                ask[path] = path
        if ask:
            from scrun.staging.probe import probe

            answers = probe(self._step, list(ask.values()), self._interruption)
            found = [path for path, answer in zip(ask, answers, strict=True) if answer]
            known.learn(found, ask.keys() - found, hosts)
            seen.update(found)
        self._log("debug", f"{', '.join(hosts)} see {', '.join(sorted(seen)) or 'none of the files'}")
        return seen

    def _replace(self, bind: Bind, index: int) -> None:
        """Have the mount take a copy of its source."""
        name = f"mounts/{index}"
        if self.spool.exists and bind.is_small:
            made = self.spool.copy(bind.source, name)
            bind.mount["source"] = made.path
            if bind.writable:
                self._copies.append(made)
            return
        if bind.source == "/" or not (bind.is_regular or bind.is_directory):
            raise StagingError(
                f"mount {bind.mount.get('destination')}: the {bind.kind} {bind.source} can't be carried to "
                f"{', '.join(self._step.nodes)}: leave the mount out, or name it in on_nodes in scrun.lua to use theirs"
            )
        bind.mount["source"] = f"{self._node_path}/{name}"
        self._parts.append(Part(name, os.path.realpath(bind.source), bind.is_directory, bind.writable))
        if bind.recursive:
            self._recursive.add(name)

    def _write(self) -> Staged:
        """Carry what has to be, and write the config last: to the spool, or with the rest."""
        mode = ""
        if self._parts or not self.spool.exists:
            mode = self._carry()
        config = self._config_for(mode)
        staged = Staged(self._container.bundle, config["root"]["path"])
        if self.spool.exists:
            staged = staged._replace(bundle=self.spool.path, spool=self.spool.path, copies=tuple(self._copies))
            self.spool.finish(config)
        if mode:
            staged = staged._replace(
                bundle=staged.spool or self._node_path,
                node_parent=self._parent,
                node_name=nodes.node_name(self._container),
                nodes=tuple(self._step.nodes),
                parts=tuple(self._parts),
            )
        return staged

    def _config_for(self, mode: str) -> dict[str, Any]:
        """The config, whose root filesystem is an overlay where the nodes have an image of it.

        The runtime mounts it, the first of the mounts, in the container's user namespace (Linux 5.11).
        """
        if mode != "overlay":
            return self._config
        layers = f"lowerdir={self._node_path}/lower,upperdir={self._node_path}/rootfs,workdir={self._node_path}/work"
        over = {
            "destination": "/",
            "type": "overlay",
            "source": "overlay",
            "options": ["userxattr", *layers.split(",")],
        }
        root = {**self._config["root"], "path": f"{self._node_path}/root"}
        return {**self._config, "root": root, "mounts": [over, *self._config["mounts"]]}

    def _carry(self) -> str:
        from scrun.staging.carry import Carrier  # not in the shared case

        carrier = Carrier(self._container, self._step, self._parent, self._log, self._interruption, self._options)

        def files(mode: str) -> dict[str, bytes]:
            return {} if self.spool.exists else {"config.json": encode(self._config_for(mode))}

        mode = carrier.carry(self._parts, files, frozenset(self._recursive))
        self._carrier = carrier  # before, it cleans up by itself
        return mode


def _is_ephemeral(bind: Bind, visibility: Visibility) -> bool:
    """A small file of the login host's memory (podman's hosts, resolv.conf) is copied even where a node sees it."""
    return bind.is_small and visibility.is_memory(bind.source)
