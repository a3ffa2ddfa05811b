"""End a container from its record alone, because its anchor is gone."""

from __future__ import annotations

import os
import time

from scrun import interrupts, log, signal, small_file
from scrun.errors import ContainerNotFound, DamagedRecord, ScrunError
from scrun.lifecycle.container import status
from scrun.lifecycle.container.directory import JOB, LOG, PAID
from scrun.lifecycle.process import processes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from scrun.lifecycle.container.directory import Container
    from scrun.lifecycle.container.record import Record

_AGENTS_END_IT, _LOOK_AGAIN = 2.0, 0.02  # seconds
NOT_BACK = 125  # the exit status if the container's changes are lost and its own exit status would be 0


def end(container: Container) -> None:
    """Pay what is owed for a locked container: end its srun, bring its changes back, cancel its job.

    After an orderly end nothing is owed; then nothing is imported either.

    Raises:
        ScrunError: Slurm can't be reached, or something can't be cleaned up.
    """
    try:
        container.load()
    except ContainerNotFound:  # create was killed before there was a record, and so before there was a job
        return
    except DamagedRecord:
        if job := read_job(container):  # nothing else is known; a job that has ended is no error
            from scrun.slurm import control

            control.cancel(job)
        return
    if container.is_marked(PAID):
        return
    record = container.record
    if not record.get("job") and (job := read_job(container)):
        record.update({"job": job, "job_owned": True})
    step = (record.get("step_pid", 0), record.get("step_started", 0))
    if record["status"] in (status.RUNNING, status.PAUSED) and record.get("unconnected") == "":
        _await_end(*step)
    processes.signal_if_alive(*step, signal.SIGKILL)
    if record["status"] != status.STOPPED and record.get("staged"):
        from scrun.lifecycle.container import left_by_slurm

        left_by_slurm.remove(record)
    if record.get("stage_out_owed"):
        _bring_back(container)
    if record.get("job_owned") and not record.get("released"):
        _prepare_for_slurm(record["environment"])
        from scrun.lifecycle.worker import release
        from scrun.slurm import control

        release.end_guests(container, record["job"])
        control.cancel(record["job"])
        record["released"] = True
    elif not record.get("job_owned") and record.get("job") and _has_a_step(record):
        _prepare_for_slurm(record["environment"])
        from scrun.slurm import control

        control.cancel_step(record["job"], int(record["step"]))
    if record["status"] != status.STOPPED:
        record.setdefault("exit_status", status.KILLED)
        record.update({"status": status.STOPPED, "finished": log.timestamp()})
        if record.get("history"):
            from scrun.lifecycle.container import history

            history.leave(container)
    _save(container)


def _await_end(pid: int, started: int) -> None:
    """Give the nodes' agents the time to end the container, as they do when its anchor has gone, and srun to tell.

    The node's runtime tidies up after itself then; a job that is cancelled meanwhile kills it before it has.
    """
    until = time.monotonic() + _AGENTS_END_IT
    while processes.is_alive(pid, started) and time.monotonic() < until:
        time.sleep(_LOOK_AGAIN)


def _bring_back(container: Container) -> None:
    """Bring the container's changes back, as its anchor would have done; the record tells which are lost."""
    from scrun.lifecycle.worker import stage_out_hook

    record = container.record
    if record.get("owed"):
        _prepare_for_slurm(record["environment"])
        if _has_a_step(record) and "exit_status" not in record:
            from scrun.slurm import control

            control.cancel_step(record["job"], int(record["step"]))
        try:
            stage_out_hook.run_stage_out(container, record, record["owed"], _log(container))
        except ScrunError as error:
            _log(container)("error", str(error))
            record["lost"] = str(error)
            record["exit_status"] = record.get("exit_status", status.KILLED) or NOT_BACK
    else:
        stage_out_hook.give_up(record)
    record["stage_out_owed"] = False
    _save(container)


def _log(container: Container) -> Callable[[str, str], None]:
    return lambda level, text: log.append(container.child(LOG), level, text)


def _save(container: Container) -> None:
    try:
        container.save()
    except OSError:
        pass  # the disk is full; without a stand-in the container counts as stopped anyway


def read_job(container: Container) -> int:
    """The id of a job that a worker got and of which the anchor may not have heard (worker/allocate.py); 0 for none."""
    try:
        return int(small_file.read(JOB, dir_fd=container.descriptor, follow=False))
    except (OSError, ValueError):
        return 0


def _has_a_step(record: Record) -> bool:
    return record["status"] in (status.RUNNING, status.PAUSED) and bool(record.get("step"))


def _prepare_for_slurm(variables: dict[str, str]) -> None:
    """Prepare this process for libslurm.

    Set create's variables, because podman's delete gets no PATH, HOME or SLURM_CONF. Let signals through, because
    libslurm waits a minute for a slurmctld that is down.
    """
    os.environ.update(variables)
    interrupts.let_through()
