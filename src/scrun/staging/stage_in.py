"""stage_in: give the job a bundle that its nodes can read."""

from __future__ import annotations

import binascii
import os

from scrun import fastjson, small_file
from scrun.errors import StagingError
from scrun.mount import is_below
from scrun.node_hooks import shell_hook, with_hooks
from scrun.staging import copy_up, mount_points, mounts, node_directory, node_root, traces, trees
from scrun.staging.children import Interruption
from scrun.staging.known import Known, forget, require_containers
from scrun.staging.layered_root import OVERLAY, LayeredRoot
from scrun.staging.layers import find_layers
from scrun.staging.look import look
from scrun.staging.model import Copy, Part, Staged, Text
from scrun.staging.mountinfo import MountTable
from scrun.staging.spool import Spool, encode
from scrun.staging.stage_options import StagingOptions

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import TypeVar

    from scrun.oci import Config, Hook
    from scrun.staging.carry import Carrier
    from scrun.staging.model import Beside, ContainerFiles, FitContent, LogCall, NodeSteps
    from scrun.staging.mounts import Bind
    from scrun.staging.traces import Traces

    Result = TypeVar("Result")


def stage_in(
    container: ContainerFiles,
    step: NodeSteps,
    *,
    adapt: Callable[[Config], Config],
    log: LogCall,
    options: object = None,
    variants: Mapping[str, Callable[[Config], Config]] | None = None,
    fit: FitContent | None = None,
    spool_mount: str = "",
    beside: Callable[[], Beside | None] = lambda: None,
    hooks: bool = True,
    programs: Callable[[], dict[str, bytes]] = dict,
) -> Staged:
    """Make the container's files available on all nodes of the job. SIGTERM and SIGINT take effect after the clean-up.

    Args:
        container: the container.
        step: runs commands on the nodes.
        adapt: adapts a config to a node's unprivileged runtime.
        log: is called with a level and a message.
        options: the options of ``scrun.stage_in{…}``.
        variants: functions by name; each makes a further config.json of the first, in a directory of that name.
        fit: changes the content of the small files that it names.
        spool_mount: where in the container slurmstepd mounts its own files, with oci.conf's %-letters; "" for nowhere.
        beside: returns a further file of the bundle, and how config.json tells of it; is called when that is adapted.
        hooks: whether the nodes' runtime runs hooks that are added to config.json.
        programs: returns further files of the bundle by name; is called when the config is adapted.

    Raises:
        StagingError: the files could not be made available; nothing is left on this host or on the nodes.
    """
    chosen = StagingOptions.for_stage_in(options)
    config = adapt(fastjson.copied(container.config))
    config.setdefault("mounts", []).extend(fastjson.copied([*chosen.mounts]))
    with Interruption() as interruption:
        staging = _StageIn(
            container, step, chosen, config, log, interruption, variants or {}, fit, spool_mount, beside()
        )
        staging.programs, staging.hooks = programs, hooks
        try:
            staged = staging.run()
            interruption.check()
        except OSError as error:
            staging.undo()
            raise StagingError(f"staging container {container.id}: {error}") from error
        except BaseException as error:
            staging.undo()
            if isinstance(error, StagingError) and container.memory:
                forget(container.memory)  # a node may have changed
            raise
        finally:
            staging.let_go()
        return staged


# A createContainer hook's, whose runtime has mounted the root filesystem on itself: the options, the path.
_REMOUNT = 'PATH=/usr/sbin:/usr/bin:/sbin:/bin exec mount -o "$1" -- "$2"'


class _StageIn:
    """A run of stage_in: ask the nodes, carry the files that they don't see, and write the config last."""

    def __init__(
        self,
        container: ContainerFiles,
        step: NodeSteps,
        options: StagingOptions,
        config: Config,
        log: LogCall,
        interruption: Interruption,
        variants: Mapping[str, Callable[[Config], Config]],
        fit: FitContent | None,
        spool_mount: str,
        beside: Beside | None,
    ) -> None:
        self.spool = Spool(container)
        self._container = container
        self._step = step
        self._options = options
        self._config = config
        self._log = log
        self._interruption = interruption
        self._mounts = MountTable.of("self")
        self._known = Known(container.memory, self._mounts, options.remember)
        self._asked = False  # whether the nodes have said that they run containers
        self._is_in_place = False  # whether the nodes see the root filesystem
        self._binds_at_root: bool | None = None  # whether the nodes' runtimes mount something at /; None: not known
        self._parent = options.node_dir or container.node_dir
        self._node_path = node_directory.node_path(container, self._parent)
        self._variants = variants
        self._fit = fit
        self._spool_mount = spool_mount
        self._traces: Traces | None = None
        self._beside = beside
        self.programs: Callable[[], dict[str, bytes]] = dict
        self.hooks = True
        self._copies: list[Copy] = []
        self._texts: list[Text] = []
        self._kept: list[str] = []
        self._fitted: dict[str, bytes] = {}  # new contents of parts, by name
        self._parts: list[Part] = []
        self._held: dict[str, int] = {}  # descriptors of the parts that are mounts, by name
        self._hooks: list[Hook] = []  # createContainer hooks of the container
        self._carrier: Carrier | None = None
        self._layered: LayeredRoot | None = None  # the root filesystem's layers, if an engine has mounted some
        self._home = ""  # the name in place of scrun-UID on the nodes

    def undo(self) -> None:
        """Remove everything that this run has made."""
        try:
            self.spool.remove()
        except StagingError as error:
            self._log("info", str(error))
        if self._carrier is not None:
            self._carrier.undo()
        if self._traces and self._traces.times:
            traces.remove_traces(self._container.rootfs, self._traces)

    def let_go(self) -> None:
        """Close the descriptors that were held open."""
        while self._held:
            os.close(self._held.popitem()[1])

    def run(self) -> Staged:
        if mount_points.is_needed():
            mount_points.make_missing(self._config, self._container.rootfs)
        own = [*self._options.on_nodes, *(mount["source"] for mount in self._options.mounts)]
        binds = mounts.binds(self._config, self._container.bundle, own, self._container.mounted)
        layers = find_layers(self._container.rootfs, self._mounts)
        self._layered = layered = LayeredRoot.of(layers, self._container, self._parent)
        usable = layered.layers.one_of_each(layered.usable(), self._mounts) if layered else {}
        roots = (*{*usable.values()},) if layered else (self._container.rootfs,)
        looked = look(
            *(self._container, self._step, self._options, self._mounts, self._known, self.spool),
            *(roots, binds, self._interruption, self._log),
        )
        seen, self._asked, self._binds_at_root = looked
        if layered:
            layered.in_place = frozenset(path for path, asked in usable.items() if asked in seen)
        if self._container.bundle in seen:
            from scrun.staging import root_squash

            if root_squash.closes(self.spool, self._step, self._options, self._known, self._log):
                seen.remove(self._container.bundle)
        for bind in binds:
            bind.use_one_of(seen)
        if self._container.bundle not in seen:
            self.spool.remove()
        left = [bind for bind in binds if bind.source not in seen or bind.is_closed or self._is_to_fit(bind)]
        self._kept = [bind.source for bind in binds if bind not in left]
        for index, bind in enumerate(left):
            self._replace(bind, index)
        root = self._config.setdefault("root", {})
        root["path"] = self._container.rootfs
        self._is_in_place = is_in_place = self._container.rootfs in seen and not self._has_the_users_files()
        if is_in_place and mount_points.is_needed():
            self._hooks = copy_up.prepare_tmpfs(self._config, self._container.rootfs, self.spool, hooks=self.hooks)
        if self._spool_mount:
            self._traces = traces.foresee(self._config, self._container.rootfs, self._spool_mount, make=is_in_place)
        if not is_in_place:
            if os.path.realpath(self._container.rootfs) == "/":
                raise StagingError(
                    f"root.path: / of this host can't be carried to {', '.join(self._step.nodes)}, nor what changed "
                    "be brought back into it: name a directory with an image's files"
                )
            root["path"] = f"{self._node_path}/rootfs"
            is_writable = not root.get("readonly", False) and not self._container.removed
            rootfs = self._container.rootfs
            self._parts.append(Part("rootfs", rootfs, True, is_writable, *_read(rootfs, trees.identity)))
        return self._write()

    def _has_the_users_files(self) -> bool:
        """Whether files of the root filesystem are the container's user's, who is somebody else than the job's user.

        On a node they would be nobody's, and closed to the container. In a copy they are the job's user's.
        """
        if not mount_points.is_needed() or self._config["root"].get("readonly", False):
            return False
        from scrun.staging import foreign, ownership

        uid, _gid = ownership.new_owner(self._container) or (0, 0)
        rootfs, check = self._container.rootfs, self._interruption.check
        return uid != os.geteuid() and foreign.has_files_of(uid, rootfs, check)

    def _replace(self, bind: Bind, index: int) -> None:
        """Make the mount use a copy of its source."""
        name = f"mounts/{index}"
        if bind.is_small:
            data = self._content(bind)
            path = f"{self.spool.path if self.spool.exists else self._node_path}/{name}"
            self._texts.append(Text(path, bind.source, bind.mount["destination"], binascii.crc32(data)))
            if self.spool.exists:
                made = self.spool.copy(os.path.realpath(bind.source), name, data)
                bind.use(made.path)
                if bind.writable:
                    self._copies.append(made)
                return
            if self._is_to_fit(bind):
                self._fitted[name] = data
        if bind.is_link:
            if self.spool.exists:
                bind.use(self.spool.link(name, os.readlink(bind.source)))
            else:
                bind.use(f"{self._node_path}/{name}")
                self._parts.append(Part(name, bind.source, is_directory=False, writable=False))
            return
        if bind.source == "/" or not (bind.is_regular or bind.is_directory):
            raise StagingError(
                f"mount {bind.mount.get('destination')}: the {bind.kind} {bind.source} can't be carried to "
                f"{', '.join(self._step.nodes)}: leave the mount out, or name it in on_nodes in scrun.lua to use theirs"
            )
        bind.use(f"{self._node_path}/{name}")
        source = os.path.realpath(bind.source)
        self._held[name] = held = _read(source, trees.open_place)
        status = os.fstat(held)
        if (status.st_dev, status.st_ino) != bind.identity:
            raise StagingError(
                f"mount {bind.mount.get('destination')}: {source} is being replaced by something else: try again"
            )
        kept = trees.identity(held)
        self._parts.append(Part(name, source, bind.is_directory, bind.writable, *kept, bind.recursive))

    def _is_to_fit(self, bind: Bind) -> bool:
        return self._fit is not None and bind.is_small and bind.mount["destination"] in self._fit.files

    def _content(self, bind: Bind) -> bytes:
        data = small_file.read(bind.source)
        return self._fit(bind.mount["destination"], data) if self._fit and self._is_to_fit(bind) else data

    def _configs(self, mode: str) -> dict[str, bytes]:
        """The contents of config.json, its variants, and the bundle's further files, by name."""
        made = {f"{name}/config.json": change(self._config) for name, change in self._variants.items()}
        configs = {
            name: with_hooks(self._on_nodes(mode, config), "createContainer", self._hooks)
            for name, config in {**made, "config.json": self._config}.items()
        }
        if not self._beside:
            return {**self.programs(), **{name: encode(config) for name, config in configs.items()}}
        bundle = self.spool.path if self.spool.exists else self._node_path
        homes = [os.path.dirname(self._node_path)] if mode or not self.spool.exists else []
        if mode == OVERLAY:
            homes.append(f"{self._options.cache_dir.rstrip('/')}/scrun-{self._container.user_id}")
        told = {name: encode(self._beside.tell(config, bundle)) for name, config in configs.items()}
        return {self._beside.name: self._beside.content(homes), **self.programs(), **told}

    def _write(self) -> Staged:
        """Carry the parts, and write the config last: into the spool, or with the parts."""
        mode = ""
        self._fence()
        if self._parts or not self.spool.exists:
            mode = self._carry()
        elif not self._asked:
            require_containers(self._step, self._known, self._interruption)
        rootfs = self._on_nodes(mode, self._config)["root"]["path"]
        staged = Staged(self._container.bundle, rootfs, texts=tuple(self._texts), seen=tuple(self._kept))
        staged = staged._replace(traces=self._traces)
        if self.spool.exists:
            staged = staged._replace(bundle=self.spool.path, spool=self.spool.path, copies=tuple(self._copies))
            self.spool.finish(self._configs(mode))
        if mode:
            staged = staged._replace(
                bundle=staged.spool or self._node_path,
                node_parent=self._parent,
                node_home=self._carrier.home if self._carrier else "",
                node_name=node_directory.node_name(self._container),
                nodes=tuple(self._step.nodes),
                parts=tuple(self._parts),
            )
        return staged

    def _fence(self) -> None:
        """Find out whether the nodes can disable device nodes of a root filesystem in place, if that is needed."""
        if not self._container.fence or not self._is_in_place:
            return
        if self._binds_at_root is None:
            trial = self._container.fence
            self._binds_at_root = require_containers(self._step, self._known, self._interruption, trial)
            self._asked = True
        if self._binds_at_root:
            return
        if not self.hooks:
            where = ", ".join(self._step.nodes)
            self._log("info", f"device nodes in the root filesystem work: the runtime of {where} mounts nothing at /")
            return
        # A runtime that makes it read-only itself does so later, and with none of the other options (runc 1.1).
        root = self._config["root"]
        options = "remount,bind,nodev" + (",ro" if root.pop("readonly", False) else "")
        self._hooks.append(shell_hook(_REMOUNT, options, root["path"]))

    def _on_nodes(self, mode: str, config: Config) -> Config:
        """The config with the root filesystem that the nodes have; ``mode`` is :meth:`Carrier.carry`'s."""
        fenced = bool(self._container.fence)
        if mode == OVERLAY and self._layered:
            return node_root.over(config, self._node_path, self._layered.options(self._home), fenced=fenced)
        return node_root.in_place(config) if fenced and self._is_in_place and self._binds_at_root else config

    def _move(self, home: str) -> None:
        """Change all paths of the nodes' directory, because it has another name than planned."""
        before, self._node_path = self._node_path, node_directory.node_path(self._container, self._parent, home)

        def moved(path: str) -> str:
            return self._node_path + path[len(before) :] if is_below(path, before) else path

        for mount in self._config.get("mounts") or ():
            if mount.get("source"):
                mount["source"] = moved(mount["source"])
        self._config["root"]["path"] = moved(self._config["root"]["path"])
        self._texts = [text._replace(path=moved(text.path)) for text in self._texts]

    def _carry(self) -> str:
        from scrun.staging.carry import Carrier  # not needed where the nodes see all files

        carrier = Carrier(self._container, self._step, self._parent, self._log, self._interruption, self._options)

        def files(mode: str, home: str) -> dict[str, bytes]:
            if home:
                self._home = home
                self._move(home)
            return {**({} if self.spool.exists else self._configs(mode)), **self._fitted}

        mode = carrier.carry(self._parts, files, self._held, self._layered)
        self._known.learn_run_containers(self._step.nodes)
        self._carrier = carrier  # before this, a failing carrier cleans up by itself
        return mode


def _read(path: str, call: Callable[[str], Result]) -> Result:
    try:
        return call(path)
    except OSError as error:
        raise StagingError(f"can't read {path}: {error.strerror}") from error
