"""Run the site's slurm_scrun_stage_out, which brings back what the container changed and tidies up."""

from __future__ import annotations

from scrun.errors import ScrunError, StagingError
from scrun.lifecycle.container import left_by_slurm, owed
from scrun.lifecycle.container.directory import BACK
from scrun.lifecycle.worker.host import Host, site_script, variables
from scrun.lifecycle.worker.job_steps import JobSteps
from scrun.lua_hooks import StageOutCall, load
from scrun.staging import node_directory
from scrun.staging.known import memory
from scrun.staging.model import ContainerFiles, Staged
from scrun.staging.stage_out import discard, stage_out

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from scrun.lifecycle.container.directory import Container
    from scrun.lifecycle.container.record import Record
    from scrun.lifecycle.container.staging_plan import HookRequest, StagingPlan
    from scrun.lua_hooks import SiteHooks
    from scrun.oci import Config
    from scrun.staging.child import Standing


def run_stage_out(
    container: Container,
    record: Record,
    request: HookRequest,
    log: Callable[[str, str], None],
    files_back: Callable[[], object] = lambda: None,
    standing: Standing | None = None,
) -> None:
    """Run slurm_scrun_stage_out. If the process that runs it is killed, another one runs it again.

    Args:
        container: the container.
        record: the container's record, as it is after stage_in.
        request: the script, and what it is told.
        log: is called with a level and a message.
        files_back: is called when all files are back, before the nodes remove their copies.
        standing: the step that has carried the files, if it is there.

    Raises:
        ScrunError: what went wrong, and where the changes are that did not come back.
    """
    host = Host(log)
    host.environment = variables(record, request["staging"], container.path)
    host.job = JobSteps(record, request["staging"]["srun"], host.environment, standing)

    def are_back() -> None:
        container.mark(BACK)  # before the nodes remove their copies
        files_back()

    begun: list[bool] = []  # not empty if the script has called scrun.stage_out
    try:
        hooks = load(site_script(container, request["script"], log), host, lua=request["lua"])
        _stage_out(hooks, host, container, record, request["staging"], are_back, lambda: begun.append(True))
    except BaseException as error:
        if isinstance(error, ScrunError) and not begun and not container.is_marked(BACK):
            _keep_on_nodes(record, host.job, error)
        give_up(record)  # what could not be brought back stays on the node; the message says where
        raise


def _keep_on_nodes(record: Record, steps: JobSteps, error: ScrunError) -> None:
    """Keep the changes on the nodes, in a place that no Epilog cleans, and add the place to the error's message."""
    staged = Staged.from_dict(record["staged"]) if record["staged"] else None
    if not staged or not staged.node_parent:
        return
    where = f"{', '.join(staged.nodes)}:{staged.node_parent}"
    try:
        kept = node_directory.keep_changes(
            steps, staged.node_parent, staged.node_home, staged.node_name, hosts=staged.nodes
        )
        home = staged.node_home or f"scrun-{record['uid']}"
        error.args = (f"{error}: what the container changed is kept in {where}/{home}/{kept}",)
    except (StagingError, OSError) as failure:
        error.args = (f"{error}: what the container changed could not be kept in {where}: {failure}",)


def _stage_out(
    hooks: SiteHooks,
    host: Host,
    container: Container,
    record: Record,
    plan: StagingPlan,
    files_back: Callable[[], None],
    begin: Callable[[], None],
) -> None:
    staged = Staged.from_dict(record["staged"]) if record["staged"] else None

    def stage(options: object) -> None:
        begin()
        if not staged:
            return
        if container.is_marked(BACK):  # only the clean-up is left to do
            options = {"bring_back": False}
        stage_out(
            _container(record, plan, staged),
            staged,
            host.steps,
            log=host.log,
            options=options or None,
            files_back=files_back,
            left=left_by_slurm.names(record),
            leave_alone=owed.Patience(container),
        )

    host.stage_out = stage
    hooks.stage_out(
        StageOutCall(
            id=record["id"],
            bundle=record["job_bundle"],
            orig_bundle=record["bundle"],
            root_path=record["job_rootfs"],
            orig_root_path=record["rootfs"],
            spool_dir=plan["spool_dir"],
            config_file=plan["config_file"],
            job_id=record["job"],
            user_id=record["uid"],
            group_id=record["gid"],
        )
    )
    if staged and record.get("step_bundle"):  # the script doesn't know of it
        discard(staged, host.steps, log=host.log)


def _container(record: Record, plan: StagingPlan, staged: Staged) -> ContainerFiles:
    config: Config = {}
    if staged.node_parent or staged.copies:  # otherwise nothing comes back, and nothing asks for its owner
        from scrun.bundle import config as bundle_config

        config = bundle_config.load(record["bundle"], plan["config_file"])
    return ContainerFiles(
        *(record["id"], record["bundle"], record["rootfs"], config, record["job"], record["uid"], record["gid"]),
        memory=memory() if staged.node_parent else "",
    )


def give_up(record: Record) -> None:
    """Remove what stage_in made on this host, without bringing anything back."""
    if record.get("staged"):
        discard(Staged.from_dict(record["staged"]), None, log=lambda _level, _text: None)
