"""Every error that scrun shows to a person.

::

    ScrunError                      anything scrun says itself
    ├── UsageError                  the command line can't be understood
    ├── ContainerError              the container named by its id
    │   ├── InvalidId               not an id that runc would take
    │   ├── ContainerNotFound       no such container
    │   ├── ContainerExists         the id is taken
    │   ├── DamagedRecord           its state.json can't be read
    │   ├── AnchorSilent            its anchor is there, and doesn't answer
    │   └── WrongStatus             the operation isn't allowed in this status
    ├── BundleError                 the bundle or its config.json
    │   ├── ExecutableNotFound      process.args[0] is nowhere in the container
    │   └── ExecutableNotPermitted  it is there, but can't be executed
    ├── HookError                   scrun.lua
    ├── InstallationError           scrun can't be installed, or removed, as asked
    ├── StagingError                the files couldn't be carried to or from the nodes
    └── SlurmError                  Slurm, or what reaches it
        ├── SlurmMissing            libslurm or srun isn't installed, or doesn't fit
        ├── SlurmUnreachable        slurmctld doesn't answer: it may later
        ├── JobRefused              slurmctld doesn't take the job
        └── NodeRuntimeError        the node's own OCI runtime can't be reached

The message is the whole sentence a person sees: lower case, no full stop, naming the id, the path or the
job, and what to do about it. It is printed once, at the top (:mod:`scrun.__main__`).

docker and podman read words in these messages (containerd's shim: "does not exist", "container not running";
docker: "executable file not found" means exit status 127, "permission denied" 126), so those words are part
of the interface.
"""

from __future__ import annotations


class ScrunError(Exception):
    """Something a person has to know.

    ``exit_code`` is the exit status of scrun itself; runc's is 1 whatever the cause.
    """

    exit_code = 1


class UsageError(ScrunError):
    """The command line can't be understood."""


class ContainerError(ScrunError):
    """The container named by its id."""


class InvalidId(ContainerError):
    """Not an id that runc would take; nothing was looked up."""

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
    """Its anchor is there, but answers nothing: it was stopped, or hangs."""

    def __init__(self, container_id: str) -> None:
        super().__init__(
            f"the anchor of container {container_id!r} doesn't answer: it is stopped or hangs: "
            f"scrun delete --force {container_id} ends it all the same"
        )


class WrongStatus(ContainerError):
    """The operation isn't allowed in the container's status."""


class BundleError(ScrunError):
    """The bundle or its config.json."""


class ExecutableNotFound(BundleError):
    """process.args[0] is nowhere in the container (exit status 127 in docker and podman)."""


class ExecutableNotPermitted(BundleError):
    """process.args[0] is there, but can't be executed (exit status 126 in docker and podman)."""


class HookError(ScrunError):
    """scrun.lua: missing, broken, or a hook that didn't return slurm.SUCCESS."""


class InstallationError(ScrunError):
    """scrun can't be installed, or removed, as asked."""


class StagingError(ScrunError):
    """The container's files couldn't be carried to or from the nodes."""


class SlurmError(ScrunError):
    """Slurm, or what reaches it."""


class SlurmMissing(SlurmError):
    """libslurm or srun isn't installed, or its version doesn't fit."""


class SlurmUnreachable(SlurmError):
    """slurmctld doesn't answer: it may later."""


class JobRefused(SlurmError):
    """slurmctld doesn't take the job."""


class NodeRuntimeError(SlurmError):
    """The node's own OCI runtime can't be reached."""
