"""All errors that scrun shows to a person.

::

    ScrunError                      every error of scrun's own
    ├── UsageError                  the command line can't be understood
    ├── ContainerError              an error about a container, named by its id
    │   ├── InvalidId               not an id that runc would take
    │   ├── ContainerNotFound       no such container
    │   ├── ContainerExists         the id is taken
    │   ├── DamagedRecord           its state.json can't be read
    │   ├── AnchorSilent            its anchor exists, but doesn't answer
    │   └── WrongStatus             the operation isn't allowed in this status
    ├── BundleError                 an error in the bundle or its config.json
    │   ├── ExecutableNotFound      process.args[0] doesn't exist in the container
    │   └── ExecutableNotPermitted  process.args[0] can't be executed
    ├── HookError                   an error of scrun.lua
    ├── InstallationError           scrun can't be installed, or removed, as asked
    ├── StagingError                the files couldn't be carried to or from the nodes
    └── SlurmError                  an error of Slurm, or on the way to Slurm
        ├── SlurmMissing            libslurm or srun isn't installed, or doesn't fit
        ├── SlurmUnreachable        slurmctld doesn't answer, but may later
        ├── JobRefused              slurmctld refuses the job
        └── NodeRuntimeError        the node's own OCI runtime can't be called

The message is the whole sentence that a person sees: lower case, no full stop, with the id, the path or the job, and
with the remedy. It is printed once, at the top (:mod:`scrun.__main__`). Alike errors have one form::

    can't read PATH: REASON: REMEDY                         also: write, make, run, remove
    NAME 'x' is unknown: use a, b or c
    NAME 'x' is not a THING: use EXAMPLE
    --one and --other exclude each other: use one of them
    cannot VERB container 'ID': container not running: it is STATUS

docker and podman look for words in these messages, so these words are part of the interface: "does not exist" and
"container not running" (containerd's shim), "executable file not found" (docker's exit status 127) and "permission
denied" (docker's exit status 126).
"""

from __future__ import annotations


class ScrunError(Exception):
    """An error that scrun shows to a person.

    ``exit_code`` is scrun's exit status, 1 for every error, as runc's.
    """

    exit_code = 1


class UsageError(ScrunError):
    """The command line can't be understood."""


class ContainerError(ScrunError):
    """An error about a container, named by its id."""


class InvalidId(ContainerError):
    """An id that runc would not take; no container was looked up."""

    def __init__(self, container_id: str) -> None:
        super().__init__(
            f"invalid container id {container_id!r}: use 1 to 1024 letters, digits and _+-. with no leading '.'"
        )


class ContainerNotFound(ContainerError):
    """No container of that id under the root directory."""

    def __init__(self, container_id: str) -> None:
        super().__init__(
            f"container does not exist: no {container_id!r} here: see scrun list (each --root has its own)"
        )


class ContainerExists(ContainerError):
    """The id is taken."""

    def __init__(self, container_id: str) -> None:
        super().__init__(
            f"container with id {container_id} already exists: "
            f"choose another id, or remove it with scrun delete {container_id}"
        )


class DamagedRecord(ContainerError):
    """The container's state.json can't be read."""

    def __init__(self, container_id: str, path: str, why: str) -> None:
        super().__init__(
            f"can't read {path}: {why}: scrun delete {container_id} removes it; look with squeue for its job"
        )


class AnchorSilent(ContainerError):
    """The container's anchor exists, but doesn't answer: it was stopped, or hangs."""

    def __init__(self, container_id: str) -> None:
        super().__init__(
            f"the anchor of container {container_id!r} doesn't answer: it is stopped or hangs: "
            f"scrun delete --force {container_id} ends it all the same"
        )


class WrongStatus(ContainerError):
    """The operation isn't allowed in the container's status."""


class BundleError(ScrunError):
    """An error in the bundle or its config.json."""


class ExecutableNotFound(BundleError):
    """process.args[0] doesn't exist in the container (exit status 127 in docker and podman)."""


class ExecutableNotPermitted(BundleError):
    """process.args[0] exists, but can't be executed (exit status 126 in docker and podman)."""


class HookError(ScrunError):
    """scrun.lua is missing or broken, or a hook didn't return slurm.SUCCESS."""


class InstallationError(ScrunError):
    """scrun can't be installed, or removed, as asked."""


class StagingError(ScrunError):
    """The container's files couldn't be carried to or from the nodes."""


class SlurmError(ScrunError):
    """An error of Slurm, or on the way to Slurm."""


class SlurmMissing(SlurmError):
    """libslurm or srun isn't installed, or its version doesn't fit."""


class SlurmUnreachable(SlurmError):
    """slurmctld doesn't answer, but may later."""


class JobRefused(SlurmError):
    """slurmctld refuses the job."""


class NodeRuntimeError(SlurmError):
    """The node's own OCI runtime can't be called."""
