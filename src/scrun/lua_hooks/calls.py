"""The arguments and results of the hooks, and the functions that hooks may call."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import NamedTuple, Protocol
else:
    from scrun.named_tuple import NamedTuple

    Protocol = object


class StageInCall(NamedTuple):
    """The arguments of slurm_scrun_stage_in, in scrun(1)'s order."""

    id: str
    bundle: str
    spool_dir: str
    config_file: str
    job_id: int
    user_id: int
    group_id: int
    job_env: dict[str, str]


class StageOutCall(NamedTuple):
    """The arguments of slurm_scrun_stage_out, in scrun(1)'s order."""

    id: str
    bundle: str
    orig_bundle: str
    root_path: str | None
    orig_root_path: str | None
    spool_dir: str
    config_file: str
    job_id: int
    user_id: int
    group_id: int


class Paths(NamedTuple):
    """Paths of the container after stage_in; ``root_path`` is None if the script named none."""

    bundle: str
    root_path: str | None


class ScriptHost(Protocol):
    """The functions outside Lua that a script may call.

    Strings may have bytes that aren't UTF-8, as surrogates (``surrogateescape``), except logged messages. A ScrunError
    or OSError of a function is a Lua error with the same message.
    """

    def log(self, level: str, message: str) -> None:
        """Log a message, which may have several lines, at error, info, verbose, debug, debug2, debug3 or debug4."""

    def allocator_command(self, script: str) -> tuple[int, str]:
        """Run a shell script on the submitting host; return its exit status, and its stdout and stderr together."""

    def remote_command(self, script: str) -> tuple[int, str]:
        """Run a shell script in a new step on all nodes of the job; return the same as allocator_command."""

    @property
    def extras(self) -> Mapping[str, Callable[..., object]]:
        """The functions of the ``scrun`` table; arguments and results are None, bool, int, float, str, dict or list."""


class SiteHooks(Protocol):
    """A loaded scrun.lua; each hook can be called any number of times."""

    source: bytes

    def stage_in(self, call: StageInCall) -> Paths:
        """Call slurm_scrun_stage_in; return the container's new paths.

        Raises:
            HookError: the hook failed.
        """

    def stage_out(self, call: StageOutCall) -> None:
        """Call slurm_scrun_stage_out.

        Raises:
            HookError: the hook failed.
        """
