"""Run the site's slurm_scrun_stage_in, which makes the container's files available on the nodes of its job.

What the script's load needs is imported at once. The rest is imported while Slurm is asked for the job.
"""

from __future__ import annotations

import os
import time

from scrun.errors import HookError, ScrunError, StagingError
from scrun.lifecycle.container import worker_messages
from scrun.lifecycle.container.directory import SCRIPT, SPOOL
from scrun.lifecycle.process import wire
from scrun.lifecycle.worker.host import Host, variables
from scrun.lifecycle.worker.job_steps import JobSteps
from scrun.lua_hooks import Hooks
from scrun.lua_hooks.hooks import read_script, version_of
from scrun.lua_hooks.runtime import preload
from scrun.slurm import conf_paths, slurm_conf
from scrun.staging.known import Known, memory, require_containers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scrun.lifecycle.container.directory import Container
    from scrun.lifecycle.container.staging_plan import StagingPlan
    from scrun.lifecycle.container.worker_messages import FromStageIn
    from scrun.oci import Config


STAY = 10.0  # seconds; the worker has twice the anchor's memory
_LOOK_AGAIN = 0.5  # seconds


def serve(channel: int, container: Container) -> None:
    """Serve two orders: the first has the script loaded, the second has its hook called.

    Raises:
        ScrunError: what went wrong; :mod:`scrun.lifecycle.worker.child` sends it to the anchor.
    """
    reader = wire.Reader(channel)
    preload(_likely_version())
    if not (order := reader.next(worker_messages.to_stage_in)):
        return

    def log(level: str, text: str) -> None:
        if level == "progress":
            _tell(channel, {"progress": text})
        else:
            _tell(channel, {"log": level, "message": text})

    host = Host(log)
    hooks = Hooks.load(order["script"], host, lua=order["lua"])
    _tell(channel, {"loaded": order["script"]})
    plan = order["staging"]
    config, keeps_apart = _prepare(container, plan, order["bundle"], hooks.source)
    if not (then := reader.next(worker_messages.to_stage_in_then)):
        return
    from scrun.lifecycle.worker.stage_in_call import StageIn

    record = then["record"]
    host.environment = variables(record, plan, container.path)
    host.memory = memory()
    steps = host.job = JobSteps(record, plan["srun"], host.environment)
    call = StageIn(hooks, host, record, plan, config, then["connection"], keeps_apart=keeps_apart)
    answer = call.run()
    if not answer["staged"]:  # the script made everything available by itself, and no node was asked for containers
        try:
            require_containers(steps, Known(host.memory, None))
        except StagingError as error:
            _tell(channel, wire.failure(error))
            _tell(channel, answer)  # so that stage_out is owed
            return
    _tell(channel, answer)
    _stay(reader, channel, container, steps)
    steps.wait()


def _tell(channel: int, message: FromStageIn) -> None:
    wire.send(channel, message)


def _prepare(container: Container, plan: StagingPlan, bundle: str, script: bytes) -> tuple[Config, bool]:
    """Do what needs no job, while Slurm is asked for one: import, read the config, keep the script, make the spool.

    Returns:
        The config, and whether the container's variables are kept out of config.json: where slurmstepd reads it, the
        site's task programs would get them (:mod:`scrun.bundle.withheld`).

    Raises:
        ScrunError: the config can't be read, or the directory can't be made.
    """
    import subprocess  # noqa: F401  for host and staging, which run commands

    from scrun.bundle import config as bundle_config
    from scrun.lifecycle.worker import stage_in_call  # noqa: F401
    from scrun.staging import probe  # noqa: F401

    config = bundle_config.load(bundle, plan["config_file"])
    if plan.get("host_name"):  # the name of the container whose uts namespace this one shares
        config.setdefault("hostname", plan["host_name"])
    try:
        container.keep(SCRIPT, script)
        os.makedirs(container.child(SPOOL), 0o700, exist_ok=True)
    except OSError as error:
        raise ScrunError(f"can't write {container.path}: {error.strerror}") from error
    has_task_programs = plan["task_programs"] or slurm_conf.has_task_programs(os.environ)
    return config, "env_exclude" not in plan and has_task_programs


def _stay(reader: wire.Reader, channel: int, container: Container, steps: JobSteps) -> None:
    """Run stage_out if the container ends within :data:`STAY`.

    This saves such a container the imports of another worker. stage_out loads the script anew, as another worker would,
    because what a script remembers must not depend on how long its container ran.
    """
    import select

    from scrun.lifecycle.worker import ending, release, stage_out_hook  # noqa: F401  while nobody waits

    until = time.monotonic() + STAY
    while not (is_asked := bool(select.select([channel], [], [], _LOOK_AGAIN)[0])) and time.monotonic() < until:
        steps.reap()
    if is_asked and (order := reader.next(worker_messages.to_stage_out)):  # else the anchor has gone
        ending.stage_out_and_release(order, reader, channel, container)


def _likely_version() -> str:
    """The version of Lua to preload: the one that the script in the usual place asks for."""
    try:
        source = read_script(conf_paths.lua_script(os.environ))
    except HookError:
        source = b""
    return version_of(source, os.environ.get("SCRUN_LUA"))
