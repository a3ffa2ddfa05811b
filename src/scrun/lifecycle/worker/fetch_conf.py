"""Fetch Slurm's configuration from libslurm, in a child: the process that calls never loads libslurm."""

from __future__ import annotations

from scrun.errors import ScrunError, SlurmError
from scrun.lifecycle.worker import ask_slurm
from scrun.slurm import libslurm_conf

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_PATIENCE = 30.0  # seconds; libslurm gives up after 10, but several servers may take longer


def fetch(
    directory: str,
    read_files: Callable[[], dict[str, str | None]] = libslurm_conf.read_files,
    patience: float = _PATIENCE,
) -> str:
    """Ask libslurm for slurm.conf, which takes about 50 ms.

    Args:
        directory: gets oci.conf and scrun.lua if libslurm has them in memory; made if need be.
        read_files: asks libslurm, in the child.
        patience: seconds that the child has.

    Returns:
        The path of slurm.conf; empty if libslurm has the file in memory.

    Raises:
        SlurmError: libslurm found no slurm.conf, or not in time.
    """
    try:
        files = ask_slurm.ask(read_files, patience)
    except ScrunError as error:
        raise SlurmError(f"no slurm.conf is here: {error}: name one with -f or SLURM_CONF") from error
    return libslurm_conf.write_files(files, directory)
