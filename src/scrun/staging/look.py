"""Find out which of a container's files the nodes see."""

from __future__ import annotations

from scrun.staging.mountinfo import MountTable, Visibility

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from scrun.staging.children import Interruption
    from scrun.staging.known import Known
    from scrun.staging.model import ContainerFiles, LogCall, NodeSteps
    from scrun.staging.mounts import Bind
    from scrun.staging.spool import Spool
    from scrun.staging.stage_options import StagingOptions


def look(
    container: ContainerFiles,
    step: NodeSteps,
    options: StagingOptions,
    mounts: MountTable | None,
    known: Known,
    spool: Spool,
    rootfs: Sequence[str],
    binds: Sequence[Bind],
    interruption: Interruption,
    log: LogCall,
) -> tuple[set[str], bool, bool | None]:
    """Find out which paths the nodes see, and ask the nodes about paths that nothing is known of.

    The spool is made, because its witness shows that the nodes see the bundle.

    Args:
        container, step, options, mounts, known, spool, interruption, log: those of stage_in.
        rootfs: the root filesystem, or its layers.
        binds: the bind mounts.

    Returns:
        The paths, the bundle's among them; whether the nodes were asked; and whether their runtimes mount something at
        ``/`` (None: not known).
    """
    visibility = Visibility(options.shared, mounts, MountTable.of("1"))
    hosts = step.nodes
    bundle = container.bundle
    seen: set[str] = set()
    ask: dict[str, str] = {}
    if not visibility.is_private(bundle) and not known.denies(bundle, hosts) and spool.create():
        if visibility.is_shared(bundle) or known.says(bundle, hosts):
            seen.add(bundle)
        else:
            ask[bundle] = spool.witness
    places = (place for bind in binds if not _is_ephemeral(bind, visibility) for place in bind.asked)
    for path in (*rootfs, *places):
        if visibility.is_private(path) or known.denies(path, hosts):
            continue
        if visibility.is_shared(path) or known.says(path, hosts):
            seen.add(path)
        else:
            ask[path] = path
    binds_at_root = None
    if ask:
        from scrun.staging.probe import probe

        fence = container.fence
        trial = fence if fence and known.mounts_at_root(hosts, fence) is None else None
        answers, binds_at_root = probe(step, list(ask.values()), interruption, trial)
        if fence and binds_at_root is not None:
            known.learn_mounts_at_root(hosts, fence, binds_at_root)
        seen_now = [path for path, answer in zip(ask, answers, strict=True) if answer]
        known.learn(seen_now, ask.keys() - seen_now, hosts)
        known.learn_run_containers(hosts)
        seen.update(seen_now)
    log("debug", f"{', '.join(hosts)} see {', '.join(sorted(seen)) or 'none of the files'}")
    return seen, bool(ask), binds_at_root


def _is_ephemeral(bind: Bind, visibility: Visibility) -> bool:
    """Whether a bind is of a small file in this host's memory (podman's hosts, resolv.conf), which is always copied."""
    return bind.is_small and visibility.is_memory(bind.source)
