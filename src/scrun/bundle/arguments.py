"""The arguments of a container's program, prepared for srun's command line, which takes them to the node."""

from __future__ import annotations

from scrun.bundle import executable
from scrun.errors import BundleError

TYPE_CHECKING = False  # importing typing takes 6 ms beside json; type checkers know this name
if TYPE_CHECKING:
    from scrun.oci import Config

# Bytes of one argument (Linux, MAX_ARG_STRLEN without the final zero), and of all arguments: slurmctld takes them and
# srun's own options as one string of at most 1 MiB.
LONGEST, ALL = (128 << 10) - 1, (1 << 20) - 8192
_SEPARATOR = ":"
_SHELL = "/bin/sh"


def for_srun(program: str, config: Config, rootfs: str, bundle: str) -> list[str]:
    """Return process.args of a checked config, with the program as its path in the container.

    Raises:
        BundleError: the arguments are too long, or srun can't pass one.
    """
    args = [program, *config["process"]["args"][1:]]
    if _SEPARATOR in args:
        args = _through_a_shell(args, config, rootfs, bundle)
    sizes = [len(arg.encode("utf-8", "surrogateescape")) + 1 for arg in args]
    if max(sizes) > LONGEST + 1:
        raise BundleError(
            f"process.args: an argument has {max(sizes) - 1} bytes, and at most {LONGEST} can be passed: "
            "put it into a file"
        )
    if sum(sizes) > ALL:
        raise BundleError(
            f"process.args has {sum(sizes)} bytes in all, and Slurm takes at most {ALL}: put them into a file"
        )
    return args


def _through_a_shell(args: list[str], config: Config, rootfs: str, bundle: str) -> list[str]:
    """Run the program by the container's shell, with all arguments in one shell command.

    srun takes an argument that is a colon as the end of a job component's command, even after ``--``.
    """
    try:
        executable.find_program({**config, "process": {**config["process"], "args": [_SHELL]}}, rootfs, bundle=bundle)
    except BundleError as error:
        raise BundleError(
            f"process.args: srun can't pass an argument that is just {_SEPARATOR!r}, and the container has no {_SHELL} "
            "to do it"
        ) from error
    return [_SHELL, "-c", f"exec {' '.join(map(quoted, args))}"]


def quoted(word: str) -> str:
    """Quote a word for a shell."""
    return "'" + word.replace("'", "'\\''") + "'"
