"""A program's arguments as they can be given to srun, on whose command line they travel to the node."""

from __future__ import annotations

from scrun.bundle import executable
from scrun.errors import BundleError

TYPE_CHECKING = False  # importing typing takes 6 ms beside json; type checkers know this name
if TYPE_CHECKING:
    from typing import Any

# Bytes of one argument (Linux, MAX_ARG_STRLEN without the final zero), and of all, which slurmctld takes with srun's
# own options as one string of 1 MiB at most.
LONGEST, ALL = (128 << 10) - 1, (1 << 20) - 8192
_SEPARATOR = ":"
_SHELL = "/bin/sh"


def fit(config: dict[str, Any], rootfs: str, bundle: str) -> list[str]:
    """process.args of a config that has been checked, the program by its path in the container.

    Raises:
        BundleError: the program isn't there, or can't be executed; the arguments are too long, or one can't be passed.
    """
    args = [executable.resolve(config, rootfs, bundle=bundle), *config["process"]["args"][1:]]
    if _SEPARATOR in args:
        args = _through_a_shell(args, config, rootfs, bundle)
    sizes = [len(arg.encode("utf-8", "surrogateescape")) + 1 for arg in args]
    if max(sizes) > LONGEST + 1:
        raise BundleError(
            f"process.args: an argument has {max(sizes) - 1} bytes, {LONGEST} at most can be passed: put it into a file"
        )
    if sum(sizes) > ALL:
        raise BundleError(
            f"process.args: {sum(sizes)} bytes, Slurm takes {ALL} of a step's command line: put them into a file"
        )
    return args


def _through_a_shell(args: list[str], config: dict[str, Any], rootfs: str, bundle: str) -> list[str]:
    """The same program run by the container's shell, which has all the arguments in one.

    srun takes a colon that stands alone for the end of a command and the beginning of another component's, even
    behind ``--``.
    """
    try:
        executable.resolve({**config, "process": {**config["process"], "args": [_SHELL]}}, rootfs, bundle=bundle)
    except BundleError as error:
        raise BundleError(
            f"process.args: srun can't pass an argument that is just {_SEPARATOR!r}, and the container has no {_SHELL} "
            "to do it"
        ) from error
    return [_SHELL, "-c", f"exec {' '.join(map(quoted, args))}"]


def quoted(word: str) -> str:
    """A word as a shell reads it back, whatever is in the word."""
    return "'" + word.replace("'", "'\\''") + "'"
