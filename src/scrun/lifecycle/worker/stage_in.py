"""Run the site's slurm_scrun_stage_in, which makes the container's files available on the nodes of its job.

What loads the script is imported at once, the rest while the job is asked for.
"""

from __future__ import annotations

import os
import time

from scrun.errors import HookError, NodeRuntimeError, ScrunError, StagingError
from scrun.lifecycle.container import latest, network, worker_messages
from scrun.lifecycle.container.directory import SPOOL
from scrun.lifecycle.node import overlap
from scrun.lifecycle.process import wire
from scrun.lifecycle.worker.host import Host, Job, variables
from scrun.lua_hooks import Hooks, StageInCall
from scrun.lua_hooks.hooks import read_script, version_of
from scrun.lua_hooks.runtime import preload
from scrun.slurm import conf_paths, oci_conf, slurm_conf
from scrun.staging.known import Known, memory, require_containers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from scrun.lifecycle.container.directory import Container
    from scrun.lifecycle.container.record import Record
    from scrun.lifecycle.container.staging_plan import StagingPlan
    from scrun.lifecycle.container.worker_messages import FromStageIn
    from scrun.lifecycle.container.worker_messages import Staged as StagedMessage
    from scrun.lifecycle.worker.host import Options
    from scrun.staging.model import Staged
    from scrun.staging.summing import Summing


STAY = 10.0  # seconds; the worker has twice the anchor's memory
_LOOK_AGAIN = 0.5  # seconds
NETWORKED = "networked"  # the bundle within the bundle, for a container that has the node's network after all


def run(channel: int, container: Container) -> None:
    """Serve two orders: the first has the script loaded, the second the hook called."""
    reader = wire.Reader(channel)
    preload(_likely_version())
    if not (order := reader.next(worker_messages.to_stage_in)):
        return
    plan = order["staging"]

    def log(level: str, text: str) -> None:
        if level == "progress":
            _say(channel, {"progress": text})
        else:
            _say(channel, {"log": level, "message": text})

    host = Host(log)
    hooks = Hooks.load(order["script"], host, lua=order["lua"])
    _say(channel, {"loaded": order["script"]})
    import subprocess  # noqa: F401  for host and staging, which run commands: now it costs nobody time

    from scrun.bundle import adapt  # noqa: F401  the same
    from scrun.bundle import config as bundle_config
    from scrun.staging import probe, stage_in  # noqa: F401  the same

    config = bundle_config.load(order["bundle"], plan["config_file"])
    if plan.get("host_name"):  # that of the container whose uts namespace it shares
        config.setdefault("hostname", plan["host_name"])
    try:
        os.makedirs(container.child(SPOOL), 0o700, exist_ok=True)
    except OSError as error:
        raise ScrunError(f"can't write {container.path}: {error.strerror}") from error
    # While the job is asked for. Where slurmd leaves config.json alone nobody else gets the container's variables.
    plan["keeps_apart"] = "env_exclude" not in plan and (
        plan["task_programs"] or slurm_conf.has_task_programs(os.environ)
    )
    if then := reader.next(worker_messages.to_stage_in_then):
        record = then["record"]
        host.environment = variables(record, plan, container.path)
        host.memory = memory()
        host.job = Job(record, plan["srun"], host.environment)
        later: list[Summing] = []
        staged = _stage_in(hooks, host, record, plan, config, later)
        if not staged["staged"]:  # the script has done it by itself
            try:
                require_containers(host.job, Known(host.memory, None))
            except StagingError as error:
                _say(channel, wire.failure(error))
                _say(channel, staged)  # so that stage_out is owed
                return
        _say(channel, staged)
        _stay(reader, channel, container, host.job, later)
        host.job.wait()


def _say(channel: int, message: FromStageIn) -> None:
    wire.send(channel, message)


def _stay(reader: wire.Reader, channel: int, container: Container, job: Job, later: list[Summing]) -> None:
    """Do what was left for later, and run stage_out as well, for a container that ends soon: it is all imported.

    The script is loaded anew, as it is in a worker of its own: what it remembers must not depend on how long that took.
    """
    import select

    from scrun.lifecycle.worker import ending, release, stage_out  # noqa: F401  while nobody waits

    for summing in later:
        summing.begin()
    until = time.monotonic() + STAY
    while not (is_asked := bool(select.select([channel], [], [], _LOOK_AGAIN)[0])) and (
        time.monotonic() < until or any(summing.is_busy for summing in later)
    ):
        job.reap()
    order = reader.next(worker_messages.to_stage_out) if is_asked else None
    if is_asked and not order:
        return  # the anchor has gone
    for summing in later:
        summing.finish()  # before stage_out, which changes the files
    if order:
        ending.serve(order, reader, channel, container)


def _likely_version() -> str:
    """Of Lua; the script is read before anybody says which it is."""
    try:
        source = read_script(conf_paths.lua_script(os.environ))
    except HookError:
        source = b""
    return version_of(source, os.environ.get("SCRUN_LUA"))


def _stage_in(
    hooks: Hooks, host: Host, record: Record, plan: StagingPlan, config: dict[str, Any], later: list[Summing]
) -> StagedMessage:
    from scrun.bundle import adapt, adapt_privilege, adapt_process, adapt_start, withheld
    from scrun.staging import root_mounts
    from scrun.staging.model import PROGRAM, Beside, ContainerFiles
    from scrun.staging.mount_sources import MountSource
    from scrun.staging.stage_in import stage_in
    from scrun.staging.stage_out import discard

    uid, gid = record["uid"], record["gid"]
    job_env = dict(line.partition("=")[::2] for line in record["job_environment"])
    made: list[Staged] = []
    waits: list[bool] = []

    kind = plan["network"]

    def adapted(given: dict[str, Any], nodes_network: bool | None = None) -> dict[str, Any]:
        # Only crun can make a user namespace without a user 0; of a runtime that isn't known that isn't hoped.
        keep_user = record["runtime"]["kind"] == "crun"
        note = lambda text: host.log("debug", text)  # noqa: E731
        shares_memory = plan["mpi"] and record["tasks"] > len(host.step.nodes)
        fit = adapt.adapt(
            given,
            uid=uid,
            gid=gid,
            note=note,
            engine=config,
            keep_user=keep_user,
            gpus=record.get("gpus", ()),
            nodes_network=nodes_network,
            shared_memory=shares_memory,
        )
        if "env_exclude" in plan:  # slurmd leaves the config alone
            adapt_process.own_environment(fit, job_env | host.environment, plan["env_exclude"])
        return fit

    def first(given: dict[str, Any]) -> dict[str, Any]:
        # In doubt without a network; a container that may have the node's after all finds a config for that beside it.
        fit = adapted(given, None if kind == network.HOST else kind == network.NODE)
        if plan.get("keeps_apart"):
            given_apart[:], lost = withheld.take(fit)
            if lost:
                host.log("info", f"{', '.join(lost)} left out: they have several lines, which no task prolog can set")
        return fit

    given_apart: list[str] = []

    variants = {NETWORKED: lambda given: adapted(given, nodes_network=True)} if kind == network.LATER else {}

    beside = None
    if record["runtime"].get("hooks"):
        beside = Beside(adapt_start.FILE, adapt_start.CONTENT, adapt_start.tell)

    ignore = lambda _note: None  # noqa: E731
    devices = uid == 0 and adapt_privilege.allows_all_devices(config)

    def tried(mount: str) -> root_mounts.Trial | None:
        try:
            runtime, _ = overlap.runtime(record)
        except NodeRuntimeError:  # then nothing can be tried, and nothing is hoped
            return None
        return root_mounts.trial(mount, runtime, lambda given: adapt.adapt(given, uid=uid, gid=gid, note=ignore))

    def stage(options: Options) -> None:
        container = ContainerFiles(
            *(record["id"], record["bundle"], record["rootfs"], config, record["job"], uid, gid),
            memory=host.memory,
            images=os.path.join(os.path.dirname(host.memory), ".images") if host.memory else "",
            # Several tasks on a node can't have one upper directory.
            overlay=tried(root_mounts.OVERLAY) if record["tasks"] <= len(host.step.nodes) else None,
            devices=devices,
            fence=tried(root_mounts.BIND) if uid == 0 and not devices else None,
            mounted={path: MountSource(*source) for path, source in plan["mounted"].items()},
        )
        waits.append(bool((options or {}).get("hold", True)))
        made.append(
            stage_in(
                container,
                host.step,
                adapt=first,
                log=host.log,
                options=options or None,
                variants=variants,
                fit=latest.fit(plan),
                later=later.append,
                beside=beside,
                spool_mount=oci_conf.spool_mount(plan["spool_mounts"], record["slurm"], os.environ),
                programs=lambda: ({PROGRAM: withheld.prolog(given_apart, plan["task_prolog"])} if given_apart else {}),
            )
        )

    host.stage_in = stage
    call = StageInCall(
        id=record["id"],
        bundle=record["bundle"],
        spool_dir=plan["spool_dir"],
        config_file=plan["config_file"],
        job_id=record["job"],
        user_id=uid,
        group_id=gid,
        job_env=job_env | host.environment,
    )
    try:
        paths = hooks.stage_in(call)
    except BaseException:
        for staged in made:  # the hook failed after that
            discard(staged, host.job, log=host.log)
        raise
    ours = bool(made) and paths.bundle == record["bundle"]
    bundle, rootfs = (made[-1].bundle, made[-1].rootfs) if ours else (paths.bundle, paths.root_path or record["rootfs"])
    if not ours and bundle != record["bundle"]:
        _leave_engine(bundle, config, host, uid)
    return {
        "staged": made[-1].to_dict() if made else {},
        "bundle": bundle,
        "networked": f"{bundle}/{NETWORKED}" if ours and variants else "",
        "task_prolog": f"{bundle}/{PROGRAM}" if ours and given_apart else "",
        "rootfs": rootfs,
        # Whether the container's end has to wait for stage_out: what the script did by itself isn't known here.
        "hold": not ours or any(waits),
    }


def _leave_engine(bundle: str, original: dict[str, Any], host: Host, uid: int) -> None:
    """Take from a bundle of the script's own making what it took over from the engine and no node can use."""
    from scrun import fastjson
    from scrun.bundle import adapt
    from scrun.bundle import config as bundle_config
    from scrun.errors import BundleError

    try:
        config = bundle_config.load(bundle)
    except BundleError:
        return  # it is on the nodes only, say: the node's runtime will tell what is wrong with it
    if not (notes := adapt.leave_engine(config, original, uid=uid)):
        return
    for note in notes:
        host.log("debug", note)
    path = os.path.join(bundle, "config.json")
    fresh = os.path.join(bundle, f".config.json.{os.getpid()}")
    try:
        with open(fresh, "x", encoding="utf-8") as file:
            os.fchmod(file.fileno(), os.stat(path).st_mode & 0o777)
            file.write(fastjson.dumps(config))
        os.rename(fresh, path)
    except OSError as error:  # the script had it made by somebody else
        host.log("info", f"{path} is left as it is: {error.strerror}: it has what no node can use")
