"""The start of a container's step: its small files as they are by now, the bundle that fits its network, srun."""

from __future__ import annotations

from scrun import identity
from scrun.errors import SlurmError, UsageError
from scrun.lifecycle.anchor.worker import Worker
from scrun.lifecycle.connection.agent import TASK
from scrun.lifecycle.container.plan import tasks
from scrun.lifecycle.container.worker_messages import from_renew
from scrun.lifecycle.node.step import Step
from scrun.lifecycle.process import fork
from scrun.lifecycle.terminal.console import set_console_size
from scrun.slurm import srun

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from scrun.lifecycle.anchor.node_side import NodeSide
    from scrun.lifecycle.container.directory import Container
    from scrun.lifecycle.container.plan import Plan
    from scrun.lifecycle.container.record import Record
    from scrun.lifecycle.container.worker_messages import FromRenew
    from scrun.lifecycle.node.step import StepState
    from scrun.lifecycle.process.loop import Loop

    Say = Callable[[str, str], None]


def is_rootfs_here(record: Record) -> bool:
    """Whether the container runs on the very root filesystem that is here, and not on a copy of the node's."""
    return bool(record["staged"].get("spool")) and record["job_rootfs"] == record["rootfs"]


def check(plan: Plan, record: Record) -> None:
    """Check that the step can be run as the plan has it.

    Raises:
        UsageError: several tasks would have one terminal, or srun can't pass the program's arguments.
    """
    if record["unconnected"] and plan["args_error"]:
        raise UsageError(f"{plan['args_error']} (srun has to pass them: {record['unconnected']})")
    if plan["terminal"] and (number := tasks(plan, record)) > 1:
        raise UsageError(
            f"{number} tasks can't share a terminal: leave -t out, or ask for one task "
            "(SCRUN_NTASKS=1, SCRUN_JOB_NUM_NODES=1)"
        )


def not_started(record: Record, error: SlurmError) -> SlurmError:
    """srun's words, with what they may mean: slurmd doesn't tell it what was wrong with a bundle."""
    bundle, nodes = record["job_bundle"], record["nodes"]
    if "Unspecified error" not in str(error):
        return error
    if bundle in (record["bundle"], record["staged"].get("bundle")):
        return SlurmError(f"{error}: slurmd's log on {nodes} says why; see scrun doctor --node {nodes}")
    return SlurmError(f"{error}: does {nodes} see a bundle at {bundle}, which scrun.lua named (slurm.set_bundle_path)?")


def forget_what_nodes_see() -> None:
    """Have the nodes asked anew: perhaps one doesn't see any more what it was found to see."""
    from scrun.staging import known

    known.forget(known.memory())


def renew_files(
    loop: Loop,
    container: Container,
    plan: Plan,
    nodes: NodeSide | None = None,
    *,
    log: Say,
    done: Callable[[], None],
) -> None:
    """Have the node's copies of small files be as the files are by now; ``done`` is called at once where they are.

    With the engine's network some always change, because the engine writes addresses into them when it has set the
    network up. They go the way of the network then, which saves a job step.
    """
    from scrun.lifecycle.container import latest

    record = container.record
    is_machines_root = identity.is_machines_root()
    if not latest.renew(record, plan["staging"], write=record["uid"] == 0 or not is_machines_root):
        done()
        return
    if nodes:
        changed = latest.changed(record["staged"], latest.fit(plan["staging"]))
        if nodes.renew(dict(changed.values())):
            import binascii

            for index, (_path, data) in changed.items():
                record["staged"]["texts"][index][3] = binascii.crc32(data)
            done()
            return
    answered = False

    def said(message: FromRenew) -> None:
        nonlocal answered
        if answered:
            return
        answered = True
        if "error" in message:
            log("info", f"files that have changed since create stay as they were: {message['message']}")
        else:
            for index, crc in message["renewed"].items():
                record["staged"]["texts"][int(index)][3] = crc
        done()

    def ended() -> None:
        if not answered:
            done()

    Worker(loop, container, "renew", from_renew, said=said, ended=ended).send({"record": record, "plan": plan})


def step(
    loop: Loop,
    container: Container,
    plan: Plan,
    stdio: list[int],
    nodes: NodeSide | None,
    *,
    log: Say,
    started: Callable[[SlurmError | None], None],
    ended: Callable[[int], None],
    failed: Callable[[str], None],
) -> Step:
    """Run srun for the container; the callbacks are :class:`Step`'s."""
    record = container.record
    bundle = _bundle(record, log)
    is_srun_s = nodes is None or nodes.stdio == TASK  # the input and output
    terminal = plan["terminal"] and is_srun_s

    def command(stderr: int | None) -> list[str]:
        return srun.container_step(
            record["srun"],
            job=record["job"],
            bundle=bundle,
            container_id=container.id,
            args=[record["init"]] if nodes else plan["args"],
            pty=terminal,
            stderr=stderr,
            open_mode=plan["step_environment"].get("SLURM_OPEN_MODE", "append"),
            node=record["nodes"] if plan["job"].get("first_node") else "",
        )

    if terminal and record["job_bundle"] != record["bundle"]:
        set_console_size(bundle, stdio[0])
    return Step(
        loop,
        command=command,
        environment={
            **plan["environment"],
            "SLURM_NTASKS": str(record["tasks"]),
            **dict(entry.partition("=")[::2] for entry in record["job_environment"]),
            **plan["step_environment"],
            **({"SLURM_TASK_PROLOG": prolog} if (prolog := record.get("task_prolog")) else {}),
        },
        stdio=stdio if nodes is None or is_srun_s else [fork.QUIET, fork.QUIET, nodes.words],
        terminal=terminal,
        started=started,
        ended=ended,
        log=lambda line: log("debug", line),
        failed=failed,
    )


def woken_step(
    kept: StepState, loop: Loop, *, log: Say, ended: Callable[[int], None], failed: Callable[[str], None]
) -> Step:
    """The step of a container that runs, after scrun-wait."""
    return Step(
        loop,
        command=lambda _stderr: (),
        environment={},
        stdio=(),
        terminal=False,
        started=lambda _error: None,
        ended=ended,
        log=lambda line: log("debug", line),
        failed=failed,
        kept=kept,
    )


def _bundle(record: Record, log: Say) -> str:
    """The job's bundle: the one with the node's network, where the engine has led a way out of its own."""
    if networked := record.get("networked"):
        from scrun.lifecycle.container import network

        if network.leads_out(f"/proc/{record['pid']}/net"):
            log("info", "the container uses its node's network: ports that are published are open there")
            return str(networked)
    return str(record.get("step_bundle") or record["job_bundle"])
