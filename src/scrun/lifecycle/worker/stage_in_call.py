"""Call slurm_scrun_stage_in, and do what it asks of scrun.stage_in.

The worker imports this module while Slurm is asked for the job, because it needs most of staging.
"""

from __future__ import annotations

import os

from scrun.bundle import adapt, adapt_namespaces, adapt_privilege, adapt_process, agents, withheld
from scrun.bundle.removal import is_removed_at_end
from scrun.errors import NodeRuntimeError, StagingError
from scrun.lifecycle.connection import addresses
from scrun.lifecycle.container import latest, network
from scrun.lifecycle.node import runtime_words
from scrun.lifecycle.worker import joined_network, script_bundle
from scrun.lua_hooks import StageInCall
from scrun.native import PROGRAM as NODE_PROGRAM_HERE
from scrun.network import PROGRAM as NETWORK_PROGRAM
from scrun.slurm import oci_conf
from scrun.staging import root_mounts, tun
from scrun.staging.known import Known
from scrun.staging.model import NODE_PROGRAM, PROGRAM, Beside, ContainerFiles
from scrun.staging.mount_sources import MountSource
from scrun.staging.stage_in import stage_in
from scrun.staging.stage_options import StagingOptions
from scrun.staging.stage_out import discard

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from scrun.lifecycle.container.record import Record
    from scrun.lifecycle.container.staging_plan import StagingPlan
    from scrun.lifecycle.container.worker_messages import ConnectionSettings
    from scrun.lifecycle.container.worker_messages import Staged as StagedMessage
    from scrun.lifecycle.worker.host import Host
    from scrun.lua_hooks import Paths, SiteHooks
    from scrun.oci import Config
    from scrun.staging.model import Staged
    from scrun.staging.root_mounts import Trial

_ASKED = 8  # nodes for which the way to them is looked up
NETWORKED = "networked"  # the bundle within the bundle, for a container that has the node's network after all


class StageIn:
    """One call of the site's slurm_scrun_stage_in, and the scrun.stage_in that the site's script calls in it.

    Args:
        hooks: the script.
        host: what the script can reach; it has the job's steps by now.
        record, plan: the container's.
        config: the container's config, as the engine wrote it.
        connection: what the anchor knows of the connection to the nodes.
        keeps_apart: whether the container's variables are kept out of config.json (:mod:`scrun.bundle.withheld`).
    """

    def __init__(
        self,
        hooks: SiteHooks,
        host: Host,
        record: Record,
        plan: StagingPlan,
        config: Config,
        connection: ConnectionSettings,
        *,
        keeps_apart: bool,
    ) -> None:
        self._hooks, self._host, self._record, self._plan, self._config = hooks, host, record, plan, config
        self._keeps_apart, self._connection = keeps_apart, connection
        self._place = agents.Place("", connection["why"])
        self._in_dev = f"{agents.DIRECTORY}-{os.urandom(8).hex()}"
        self._steps = host.steps
        self._uid, self._gid = record["uid"], record["gid"]
        self._job_env = dict(line.partition("=")[::2] for line in record["job_environment"])
        # A container may get its node's network only when it is started: then it needs a second config for that.
        self._network = plan["network"]
        self._network_links, self._network_user = "", [0, 0]  # of the container whose network it is
        self._remark = ""  # for who reads the container's standard error
        self._made: list[Staged] = []  # what each call of scrun.stage_in has made
        self._holds = False  # whether the script asked for one call to be waited for at the container's end
        self._kept_apart: list[str] = []  # the container's variables, NAME=VALUE
        self._own: list[str] | None = None  # this host's addresses, as soon as they have been looked up
        self._limits: list[tuple[int, int, int | None]] = []  # of the container's program; the agent sets them

    def run(self) -> StagedMessage:
        """Call the hook; return the message for the anchor that says where the container's files are.

        Raises:
            ScrunError: the hook failed; what it had staged is removed.
        """
        record = self._record
        self._host.stage_in = self._stage
        call = StageInCall(
            id=record["id"],
            bundle=record["bundle"],
            spool_dir=self._plan["spool_dir"],
            config_file=self._plan["config_file"],
            job_id=record["job"],
            user_id=self._uid,
            group_id=self._gid,
            job_env=self._job_env | self._host.environment,
        )
        try:
            paths = self._hooks.stage_in(call)
        except BaseException:
            for staged in self._made:
                discard(staged, self._steps, log=self._host.log)
            raise
        return self._answer(paths)

    def _answer(self, paths: Paths) -> StagedMessage:
        """The message for the anchor, given the paths that the script has set."""
        record, made, step_bundle = self._record, self._made, ""
        is_ours = bool(made) and paths.bundle == record["bundle"]  # whether the bundle is the one that staging made
        if is_ours:
            bundle, rootfs = made[-1].bundle, made[-1].rootfs
        else:
            bundle, rootfs = paths.bundle, paths.root_path or record["rootfs"]
            step_bundle = self._connect(bundle)
        return {
            "staged": made[-1].to_dict() if made else {},
            "bundle": bundle,
            "step_bundle": step_bundle,
            "networked": f"{bundle}/{NETWORKED}" if is_ours and self._network == network.LATER else "",
            "task_prolog": f"{bundle}/{PROGRAM}" if is_ours and self._kept_apart else "",
            "rootfs": rootfs,
            # The end waits for stage_out also if the script made the bundle, because it is unknown what comes back.
            "hold": not is_ours or self._holds,
            "init": self._place.init if not self._place.why_not else "",
            "network": self._network,
            "network_links": self._network_links,
            "login": self._login(),
            "network_user": self._network_user,
            "remark": self._remark,
            "unconnected": self._place.why_not,
        }

    def _connect(self, bundle: str) -> str:
        """Give a container whose bundle the site's script has made an agent; return the bundle for its step, or ""."""
        if self._network == network.ENGINE:
            self._use_other_network("scrun.lua has named another bundle")
        is_new = bundle != self._record["bundle"]
        config = script_bundle.read(bundle, self._config, self._host, self._uid) if is_new else self._config
        if self._connection["why"]:
            return ""
        if isinstance(config, str):
            self._place = agents.Place("", config)
        elif self._made:
            self._place = agents.Place("", "scrun.lua has called scrun.stage_in, and has named another bundle too")
        else:
            self._place = self._placed(config)
        if self._place.why_not or isinstance(config, str):
            return ""
        self._limits = adapt_process.agent_limits(config, self._config, uid=self._uid)
        container = self._container()._replace(config=config, overlay=None, fence=None, mounted={})
        log, hooks = self._host.log, bool(self._record["runtime"].get("hooks"))
        try:
            staged = script_bundle.stage(
                container, bundle, self._steps, log=log, beside=self._agent, programs=self._programs, hooks=hooks
            )
        except StagingError as error:
            self._place = agents.Place("", str(error))
            return ""
        self._made.append(staged)
        return staged.bundle

    def _stage(self, options: object) -> None:
        """Do what ``scrun.stage_in{…}`` asks for."""
        self._holds = StagingOptions.for_stage_in(options).hold or self._holds
        self._settle_network()
        staged = stage_in(
            self._container(),
            self._steps,
            adapt=self._adapt_first,
            log=self._host.log,
            options=options,
            variants={NETWORKED: self._adapt_networked} if self._network == network.LATER else {},
            fit=latest.fit(self._plan | {"network": self._network, "login": self._login()}),
            beside=self._agent,
            hooks=bool(self._record["runtime"].get("hooks")),
            spool_mount=oci_conf.spool_mount(self._plan["spool_mounts"], self._record["slurm"], os.environ),
            programs=self._programs,
        )
        self._made.append(staged)

    def _container(self) -> ContainerFiles:
        record, memory = self._record, self._host.memory
        devices = self._uid == 0 and adapt_privilege.allows_all_devices(self._config)
        return ContainerFiles(
            *(record["id"], record["bundle"], record["rootfs"], self._config, record["job"], self._uid, self._gid),
            memory=memory,
            lists=os.path.join(os.path.dirname(memory), ".layers") if memory else "",
            # Several tasks on a node can't have one upper directory.
            overlay=self._trial(root_mounts.OVERLAY) if record["tasks"] <= len(self._steps.nodes) else None,
            devices=devices,
            fence=self._trial(root_mounts.BIND) if self._uid == 0 and not devices else None,
            removed=is_removed_at_end(record["id"], self._config, record["bundle"]),
            mounted={path: MountSource(*source) for path, source in self._plan["mounted"].items()},
        )

    def _trial(self, mount: str) -> Trial | None:
        """The trial of a mount at ``/``; None if it isn't known how the node's runtime is called."""
        try:
            runtime, _ = runtime_words.call(self._record)
        except NodeRuntimeError:
            return None
        uid, gid = self._uid, self._gid
        return root_mounts.trial(
            mount, runtime, lambda config: adapt.adapt(config, uid=uid, gid=gid, note=lambda _note: None)
        )

    def _adapt_first(self, config: Config) -> Config:
        """Adapt the config of the bundle that staging makes. A container has no network as long as that is in doubt."""
        kind = self._network
        fit = self._adapt(config, None if kind == network.HOST else kind == network.NODE)
        if kind == network.ENGINE:
            self._network_user = list(adapt_namespaces.process_ids(fit))
        if not self._connection["why"]:
            self._place = self._placed(fit, self._in_dev if _is_writable(self._record["rootfs"], "dev") else "")
        self._limits = adapt_process.agent_limits(fit, self._config, uid=self._uid)
        if self._keeps_apart:
            self._kept_apart, lost = withheld.take(fit)
            if lost:
                self._host.log(
                    "info", f"{', '.join(lost)} left out: they have several lines, which no task prolog can set"
                )
        return fit

    def _settle_network(self) -> None:
        """Find out whether the container can be on the engine's network, and give it the other kind if not.

        Raises:
            StagingError: it can't be, and has to be; or the container whose network it joins has ended.
        """
        if self._network == network.JOINED and not self._network_links:
            found = joined_network.await_it(self._plan["network_of"], self._config, self._host.log)
            self._network, self._network_links, self._network_user = found
        if self._network == network.ENGINE and (why := self._connection["why"] or self._unfit_for_engine()):
            self._use_other_network(why)

    def _use_other_network(self, why: str) -> None:
        if not self._plan["otherwise"]:
            raise StagingError(
                f"the container can't be on the engine's network (SCRUN_NET=engine): {why}: SCRUN_NET=node uses its "
                "node's network"
            )
        has = "has no network" if self._plan["otherwise"] == network.NONE else "uses its node's network"
        self._remark = f"the container {has}, and not the engine's: {why}"
        self._host.log("info", self._remark)
        self._network = self._plan["otherwise"]

    def _unfit_for_engine(self) -> str:
        if self._record["tasks"] > 1:
            return f"it has {self._record['tasks']} tasks, which need their nodes' network"
        if self._plan["mpi"]:
            return "it is an MPI program, which needs its nodes' network"
        if not os.access(NETWORK_PROGRAM, os.X_OK):
            return "this scrun was built without scrun-network"
        trial = adapt.adapt(self._config, uid=self._uid, gid=self._gid, note=lambda _note: None, nodes_network=False)
        place = self._placed(trial, self._in_dev if _is_writable(self._record["rootfs"], "dev") else "")
        return place.why_not or tun.why_not(self._steps, Known(self._host.memory, None))

    def _placed(self, config: Config, in_dev: str = "") -> agents.Place:
        runtime = self._record["runtime"]
        settings = {"DisableHooks": runtime.get("disabled", ())}
        return agents.place(config, settings, runtime, in_dev=in_dev, program=self._record["command"][0])

    def _adapt_networked(self, config: Config) -> Config:
        """Adapt the further config, for a container that has its node's network after all."""
        return self._adapt(config, nodes_network=True)

    def _adapt(self, config: Config, nodes_network: bool | None) -> Config:
        record, plan = self._record, self._plan
        fit = adapt.adapt(
            config,
            uid=self._uid,
            gid=self._gid,
            note=lambda text: self._host.log("debug", text),
            engine=self._config,
            # Only crun can make a user namespace without a user 0. A runtime that isn't known is assumed unable.
            keep_user=record["runtime"]["kind"] == "crun",
            gpus=record.get("gpus", ()),
            nodes_network=nodes_network,
            joined=(self._network_links, self._network_user) if self._network == network.JOINED else None,
            shared_memory=plan["mpi"] and record["tasks"] > len(self._steps.nodes),
        )
        if "env_exclude" in plan:  # slurmd doesn't change the config
            adapt_process.own_environment(fit, self._job_env | self._host.environment, plan["env_exclude"])
        return fit

    def _programs(self) -> dict[str, bytes]:
        """Further files of the bundle, by name: the agent, and what sets the variables that were kept apart."""
        programs = {}
        if not self._place.why_not:
            with open(NODE_PROGRAM_HERE, "rb") as file:
                programs[NODE_PROGRAM] = file.read()
        if self._kept_apart:
            programs[PROGRAM] = withheld.prolog(self._kept_apart, self._plan["task_prolog"])
        return programs

    def _towards_nodes(self) -> list[str]:
        """This host's addresses as the nodes reach it."""
        if self._own is None:
            nodes, own = self._steps.nodes[:_ASKED], [os.uname().nodename]
            self._own = addresses.towards(nodes) or addresses.towards(own)
        return self._own

    def _login(self) -> str:
        """The address of them that the container's /etc/hosts names: more programs know what to do with IPv4."""
        own = self._towards_nodes()
        return next((address for address in own if ":" not in address), own[0] if own else "")

    def _agent(self) -> Beside | None:
        """The bundle's file that tells the agent where the anchor is, and how config.json has the agent started."""
        place = self._place
        if place.why_not:
            return None
        runtime, _ = runtime_words.call(self._record)
        own = self._towards_nodes()
        lines = (
            *(f"address {address} {self._connection['port']}" for address in own),
            f"runtime {runtime}",
            f"init {place.init}",
        )
        lines += ("network engine",) if self._network == network.ENGINE else ()
        lines += tuple(
            f"limit {kind} {soft:016x}" + ("" if hard is None else f" {hard:016x}") for kind, soft, hard in self._limits
        )
        text = self._connection["settings"] + "".join(f"{line}\n" for line in lines)

        def content(homes: Sequence[str]) -> bytes:
            return (text + "".join(f"carried {home}\n" for home in homes if "\n" not in home)).encode()

        return Beside(agents.SETTINGS, content, lambda config, bundle: agents.adapted(config, bundle, place))


def _is_writable(rootfs: str, name: str) -> bool:
    """Whether we can make something in that directory of the root filesystem, or the directory itself."""
    path = os.path.join(rootfs, name)
    return not os.path.islink(path) and os.access(path if os.path.isdir(path) else rootfs, os.W_OK)
