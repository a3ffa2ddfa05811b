"""Run the site's slurm_scrun_stage_in, which makes the container's files available on the nodes of its job.

What loads the script is imported at once, the rest while the job is asked for.
"""

from __future__ import annotations

import os

from scrun.lifecycle import wire
from scrun.lifecycle.work.host import Host, Job, variables
from scrun.lua_hooks import Hooks, StageIn
from scrun.lua_hooks.runtime import preload
from scrun.staging.known import memory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from scrun.lifecycle.container import Container
    from scrun.lifecycle.wire import Message
    from scrun.lifecycle.work.host import Options, Record
    from scrun.staging.model import Staged


def run(channel: int, container: Container) -> None:
    """Serve ``{"script": …}``, which loads it, and then ``{"record": …}``, which calls the hook."""
    reader = wire.Reader(channel)
    preload(os.environ.get("SCRUN_LUA", "5.4"))
    if not (message := reader.next()):
        return
    plan = message["staging"]

    def log(level: str, text: str) -> None:
        wire.send(channel, {"progress": text} if level == "progress" else {"log": level, "message": text})

    host = Host(log)
    hooks = Hooks.load(message["script"], host, lua=message["lua"])
    wire.send(channel, {"loaded": message["script"]})
    import subprocess  # noqa: F401  for host and staging, which run commands: now it costs nobody time

    from scrun.bundle import adapt  # noqa: F401  the same
    from scrun.bundle import config as bundle_config
    from scrun.staging import probe, stage_in  # noqa: F401

    config = bundle_config.load(message["bundle"], plan["config_file"])
    os.makedirs(container.child("spool"), 0o700, exist_ok=True)
    if message := reader.next():
        record = message["record"]
        host.environment = variables(record, plan, container.path)
        host.memory = memory()
        host.job = Job(record, plan["srun"], host.environment)
        wire.send(channel, _stage_in(hooks, host, record, plan, config))
        host.job.wait()


def _stage_in(hooks: Hooks, host: Host, record: Record, plan: Message, config: dict[str, Any]) -> Message:
    from scrun.bundle import adapt
    from scrun.staging.model import Container as StagedContainer
    from scrun.staging.stage_in import stage_in
    from scrun.staging.stage_out import discard

    uid, gid = record["uid"], record["gid"]
    made: list[Staged] = []
    waits: list[bool] = []

    def adapted(given: dict[str, Any]) -> dict[str, Any]:
        return adapt.adapt(given, uid=uid, gid=gid, note=lambda text: host.log("debug", text))

    def stage(options: Options) -> None:
        container = StagedContainer(
            *(record["id"], record["bundle"], record["rootfs"], config, record["job"], uid, gid),
            memory=host.memory,
            images=os.path.join(os.path.dirname(host.memory), ".images") if host.memory else "",
            overlay=_mounts_overlays(record["runtime"]),
        )
        waits.append(bool((options or {}).get("hold", True)))
        made.append(stage_in(container, host.step, adapt=adapted, log=host.log, options=options or None))

    host.stage_in = stage
    job_env = dict(line.partition("=")[::2] for line in record["job_environment"])
    call = StageIn(
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
    return {
        "staged": made[-1].to_dict() if made else {},
        "bundle": bundle,
        "rootfs": rootfs,
        # Whether the container's end has to wait for stage_out: what the script did by itself isn't known here.
        "hold": not ours or any(waits),
    }


def _mounts_overlays(settings: dict[str, str]) -> bool:
    """Whether the nodes' runtime takes an overlay for the root of its mounts: crun does, runc refuses it (1.3)."""
    return any("crun" in os.path.basename(word) for value in settings.values() for word in value.split()[:2])
