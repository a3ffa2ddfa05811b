"""What a site's script can reach: the log, commands here and on the nodes, the SCRUN_* variables, staging."""

from __future__ import annotations

import os

from scrun.errors import ScrunError
from scrun.lifecycle.container.directory import SCRIPT
from scrun.program import QUIET

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from scrun.lifecycle.container.directory import Container
    from scrun.lifecycle.container.record import Record
    from scrun.lifecycle.container.staging_plan import StagingPlan
    from scrun.lifecycle.worker.job_steps import JobSteps

_MOST_ANNOTATIONS = 64 << 10  # characters of all annotations; execve(2) takes 128 KiB for one variable


def variables(record: Record, plan: StagingPlan, directory: str) -> dict[str, str]:
    """The SCRUN_* variables that hooks, their commands and the job get (scrun(1), OUTPUT ENVIRONMENT VARIABLES)."""
    named = {
        "OCI_VERSION": plan["oci_version"],
        "CONTAINER_ID": record["id"],
        "PID": record["pid"],
        "BUNDLE": record.get("job_bundle") or record["bundle"],  # as it is after stage_in, in stage_out
        "SUBMISSION_BUNDLE": record["bundle"],
        "PID_FILE": plan["pid_file"],
        "SOCKET": os.path.join(directory, "anchor.sock"),
        "SPOOL_DIR": plan["spool_dir"],
        "SUBMISSION_CONFIG_FILE": plan["config_file"],
        "USER": record["user"],
        "USER_ID": record["uid"],
        "GROUP": record["group"],
        "GROUP_ID": record["gid"],
        "ROOT": os.path.dirname(directory),
        "ROOTFS_PATH": record.get("job_rootfs") or record["rootfs"],
        "SUBMISSION_ROOTFS_PATH": record["rootfs"],
        "LOG_FILE": plan["log_file"],
        "LOG_FORMAT": plan["log_format"],
    }
    annotations = {f"ANNOTATION_{name}": value for name, value in _passable(record["annotations"])}
    return {f"SCRUN_{name}": str(value) for name, value in (named | annotations).items() if value not in ("", None)}


def _passable(annotations: dict[str, str]) -> Iterator[tuple[str, str]]:
    """The annotations that an environment can hold; whoever writes a container's YAML chooses their names and sizes."""
    left = _MOST_ANNOTATIONS
    for name, value in annotations.items():
        size = len(name) + len(value)
        if size <= left and "=" not in name and "\0" not in name + value:
            left -= size
            yield name, value


def site_script(container: Container, path: str, log: Callable[[str, str], None]) -> str:
    """The site's script at ``path`` or, when that has gone with a package (apt purge), the copy of create's worker.

    Whoever runs a hook later, after a queue or at the end, uses the script as it is then.
    """
    if os.path.exists(path) or not container.is_marked(SCRIPT):
        return path
    log("info", f"{path} has gone: the script is used as it was when container {container.id} was created")
    return container.child(SCRIPT)


class Host:
    """What a site's script can reach (:class:`scrun.lua_hooks.calls.ScriptHost`).

    Args:
        log: is called with a level's name and a message.
    """

    def __init__(self, log: Callable[[str, str], None]) -> None:
        self.log = log
        self.stage_in: Callable[[object], None] = _refuse
        self.stage_out: Callable[[object], None] = _refuse
        # The script gets these two once, when it is loaded; what they do changes with the hook that runs.
        self.extras: dict[str, Callable[..., object]] = {
            "stage_in": lambda options=None: self.stage_in(options),
            "stage_out": lambda options=None: self.stage_out(options),
        }
        self.job: JobSteps | None = None
        self.memory = ""  # the file in which staging remembers what the nodes see
        self.environment: dict[str, str] = {}

    @property
    def steps(self) -> JobSteps:
        """The job's nodes.

        Raises:
            ScrunError: the script's top level runs, when there is no job yet.
        """
        if not self.job:
            raise ScrunError("there is no job yet: call this in a hook, not at the script's top level")
        return self.job

    def allocator_command(self, script: str) -> tuple[int, str]:
        """Run a shell script here; return its exit status, and its stdout and stderr together."""
        return _output(["/bin/sh", "-c", script], os.environ | self.environment)

    def remote_command(self, script: str) -> tuple[int, str]:
        """Run a shell script in a new step on every node of the job; return the same as :meth:`allocator_command`."""
        read_end, write_end = os.pipe2(os.O_CLOEXEC)
        with open(read_end, "rb") as output:
            try:
                step = self.steps.start(
                    ["/bin/sh", "-c", script], name="hook", stdin=QUIET, stdout=write_end, stderr=write_end
                )
            finally:
                os.close(write_end)
            said = output.read()
        return _status(step.wait()), said.decode("utf-8", "surrogateescape")


def _refuse(_options: object) -> None:
    raise ScrunError("scrun.stage_in is for slurm_scrun_stage_in, and scrun.stage_out for slurm_scrun_stage_out")


def _output(argv: list[str], environment: dict[str, str]) -> tuple[int, str]:
    import subprocess

    command = subprocess.run(
        argv, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )
    return _status(command.returncode), command.stdout.decode("utf-8", "surrogateescape")


def _status(returncode: int) -> int:
    """An exit status as a shell gives it: 128 + n for signal n."""
    return returncode if returncode >= 0 else 128 + abs(returncode)
