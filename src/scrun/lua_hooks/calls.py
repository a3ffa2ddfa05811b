"""What goes into the hooks, what comes out, and what they may reach."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import NamedTuple, Protocol
else:
    from scrun.named_tuple import NamedTuple

    Protocol = object


class StageIn(NamedTuple):
    """The arguments of slurm_scrun_stage_in, in scrun(1)'s order."""

    id: str
    bundle: str
    spool_dir: str
    config_file: str
    job_id: int
    user_id: int
    group_id: int
    job_env: dict[str, str]


class StageOut(NamedTuple):
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
    """Where the container is after stage_in; ``root_path`` is None when the script named none."""

    bundle: str
    root_path: str | None


class Host(Protocol):
    """What a script reaches outside Lua.

    Strings may hold bytes that aren't UTF-8, as surrogates (``surrogateescape``), except what is logged.
    A ScrunError or OSError raised here is a Lua error with the same message.
    """

    def log(self, level: str, message: str) -> None:
        """Level: error, info, verbose, debug, debug2, debug3 or debug4; the message may have several lines."""

    def allocator_command(self, script: str) -> tuple[int, str]:
        """Run a shell script on the submitting host: its exit status, and stdout with stderr."""

    def remote_command(self, script: str) -> tuple[int, str]:
        """Run a shell script in a new step on all nodes of the job: as above."""

    @property
    def extras(self) -> Mapping[str, Callable[..., object]]:
        """The ``scrun`` table: arguments and results are None, bool, int, float, str, dict or list."""
