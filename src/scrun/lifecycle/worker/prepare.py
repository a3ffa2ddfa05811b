"""Get the container its job, and run the site's slurm_scrun_stage_in, which makes its files available on the nodes.

One worker does both, because much of what both import is the same. It imports what the job needs while create still
reads the config. No job is asked for before the script is loaded, so a broken script costs nobody a job.
"""

from __future__ import annotations

import gc
import os
import time

from scrun import signal
from scrun.errors import JobRefused, ScrunError, SlurmError, SlurmMissing, StagingError
from scrun.lifecycle.container import worker_messages
from scrun.lifecycle.container.directory import SCRIPT, SPOOL
from scrun.lifecycle.process import wire
from scrun.lifecycle.worker.host import Host, site_script, variables
from scrun.lifecycle.worker.job_steps import JobSteps
from scrun.lua_hooks import load, preload
from scrun.slurm import conf_paths, slurm_conf
from scrun.staging.known import Known, memory, require_containers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scrun.lifecycle.container.directory import Container
    from scrun.lifecycle.container.staging_plan import StagingPlan
    from scrun.lifecycle.container.worker_messages import Allocate, FromPrepare, Staged
    from scrun.lifecycle.container.worker_messages import StageIn as StageInOrder
    from scrun.lua_hooks import SiteHooks
    from scrun.oci import Config


STAY = 10.0  # seconds; the worker has twice the anchor's memory
_LOOK_AGAIN = 0.5  # seconds


def serve(channel: int, container: Container) -> None:
    """Serve three orders: the script is loaded, a job is got, and the script's hook is called.

    While the job is queued no worker stays. When it has its nodes, another one serves the same orders.

    Raises:
        ScrunError: what went wrong; :mod:`scrun.lifecycle.worker.child` sends it to the anchor.
    """
    reader = wire.Reader(channel)
    _import_in_advance()
    if not (order := reader.next(worker_messages.to_load)):
        return

    def log(level: str, text: str) -> None:
        if level == "progress":
            _tell(channel, {"progress": text})
        else:
            _tell(channel, {"log": level, "message": text})

    host = Host(log)
    hooks = load(site_script(container, order["script"], log), host, lua=order["lua"])
    _tell(channel, {"loaded": order["script"]})
    plan = order["staging"]
    config, keeps_apart = _read(container, plan, order["bundle"], hooks.source)
    if not (asked := reader.next(worker_messages.to_allocate)):
        return
    if not _get_job(channel, container, asked):
        return  # the job is queued: a worker's memory is too much for that
    host.memory = memory()
    if not (then := reader.next(worker_messages.to_stage_in)):
        return
    record = then["record"]
    host.environment = variables(record, plan, container.path)
    steps = host.job = JobSteps(record, plan["srun"], host.environment)
    answer = _call_stage_in(hooks, host, steps, then, plan, config, keeps_apart=keeps_apart)
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


def _tell(channel: int, message: FromPrepare) -> None:
    wire.send(channel, message)


def _import_in_advance() -> None:
    """Import what the job of a usual container needs, while create still reads the config.

    Without a slurm.conf libslurm looks for one for a minute, and then ends the process. Nothing has to be tidied up
    yet, so SIGTERM ends it too.
    """
    preload(conf_paths.lua_script(os.environ), os.environ.get("SCRUN_LUA"))
    handler = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        from scrun.lifecycle.worker import allocate  # noqa: F401
        from scrun.slurm import description

        if "SLURM_JOB_ID" not in os.environ:  # otherwise the job is probably there
            description.preload()
    except SlurmMissing:
        pass  # raised again when the job is asked for
    finally:
        signal.signal(signal.SIGTERM, handler)


def _call_stage_in(
    hooks: SiteHooks,
    host: Host,
    steps: JobSteps,
    order: StageInOrder,
    plan: StagingPlan,
    config: Config,
    *,
    keeps_apart: bool,
) -> Staged:
    """Call the script's hook; return what the anchor is to know.

    If files were carried for the last such container, the step for that is started before anything else: Slurm needs
    as long for it as Python for the import of staging.

    Raises:
        ScrunError: the hook failed.
    """
    record, known = order["record"], Known(host.memory, None)
    where = record["id"], record["bundle"], steps.nodes
    if known.carries(*where):
        from scrun.staging import place

        place.start_early(steps)
    from scrun.lifecycle.worker.stage_in_call import StageIn

    gc.freeze()  # what was imported stays, and need not be looked through
    gc.enable()  # the anchor does so itself when it has imported its own modules
    try:
        return StageIn(hooks, host, record, plan, config, order["connection"], keeps_apart=keeps_apart).run()
    finally:
        if steps.early:
            known.forget_carries(*where)
            steps.end_early()


def _get_job(channel: int, container: Container, order: Allocate) -> bool:
    """Get the job, and tell the anchor of it, or that it is still queued; return whether it has its nodes.

    Raises:
        JobRefused: see :func:`scrun.lifecycle.worker.allocate.get_job`.
        SlurmError: the same; not for a job that was asked for already, which waits whether slurmctld answers or not.
    """
    from scrun.lifecycle.worker import allocate

    try:
        has_nodes = allocate.get_job(channel, container, order)
    except SlurmError as error:
        if isinstance(error, JobRefused) or not order["look_at"]:
            raise
        _tell(channel, {"log": "info", "message": f"{error}: looking again later"})
        has_nodes = False
    if not has_nodes:
        _tell(channel, {"still_queued": True})
    return has_nodes


def _read(container: Container, plan: StagingPlan, bundle: str, script: bytes) -> tuple[Config, bool]:
    """Read the config, keep the script, and make the spool.

    Returns:
        The config, and whether the container's variables are kept out of config.json: where slurmstepd reads it, the
        site's task programs would get them (:mod:`scrun.bundle.withheld`).

    Raises:
        ScrunError: the config can't be read, or the directory can't be made.
    """
    from scrun.bundle import config as bundle_config

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

    This saves such a container the imports of another worker, and a step (:class:`scrun.staging.child.Standing`).
    stage_out loads the script anew, as another worker would, because what a script remembers must not depend on how
    long its container ran.
    """
    import select

    from scrun.lifecycle.worker import ending, release, stage_out_hook  # noqa: F401  while nobody waits

    if steps.standing:
        from scrun.staging import bring_back  # noqa: F401

    until = time.monotonic() + STAY
    while not (is_asked := bool(select.select([channel], [], [], _LOOK_AGAIN)[0])) and time.monotonic() < until:
        steps.reap()
    if is_asked and (order := reader.next(worker_messages.to_stage_out)):  # else the anchor has gone
        standing, steps.standing = steps.standing, None
        ending.stage_out_and_release(order, reader, channel, container, standing)
        if standing:
            standing.close()
