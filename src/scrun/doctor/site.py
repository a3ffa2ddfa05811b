"""The data that several checks use: the caller, the environment, the containers' directory, and oci.conf."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from functools import cached_property
from typing import TYPE_CHECKING

from scrun import identity
from scrun.doctor import report, scratch
from scrun.doctor.finding import printable
from scrun.errors import ScrunError
from scrun.lifecycle.worker import ask_slurm, fetch_conf
from scrun.slurm import conf_paths, node_runtime, oci_conf

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scrun.slurm.answers import JobState
    from scrun.slurm.oci_conf import Settings

_PATIENCE = 20.0  # seconds for an answer of slurmctld's


class Site:
    """A site as one user sees it; a context manager that removes its temporary files.

    Args:
        root: the directory of the user's containers.
        environment: the user's environment variables.
    """

    def __init__(self, root: str, environment: Mapping[str, str]) -> None:
        self.root, self.environment = root, environment
        self.uid = identity.real_uid()
        self.user = report.user()
        self._fetched = ""  # a temporary directory for files that libslurm has in memory

    def __enter__(self) -> Site:
        return self

    def __exit__(self, *_: object) -> None:
        if self._fetched:
            scratch.remove(self._fetched)

    @cached_property
    def conf(self) -> str:
        """The path of slurm.conf; empty if libslurm gets it from slurmctld and has it in memory.

        Raises:
            SlurmError: there is no slurm.conf.
        """
        if path := conf_paths.slurm_conf(self.environment):
            return path
        self._fetched = scratch.make(tempfile.gettempdir())
        return fetch_conf.fetch(self._fetched)

    def beside(self, name: str) -> str:
        """The path of oci.conf or of scrun.lua, as create finds it.

        Raises:
            SlurmError: there is no slurm.conf.
        """
        conf = self.conf
        if not conf and os.path.exists(path := os.path.join(self._fetched, name)):
            return path
        environment = {**self.environment, "SLURM_CONF": conf} if conf and self._fetched else self.environment
        return conf_paths.lua_script(environment) if name == conf_paths.SCRIPT else conf_paths.oci_conf(environment)

    @cached_property
    def oci(self) -> Settings | None:
        """The settings of oci.conf; None if they can't be read."""
        try:
            return oci_conf.read_file(self.beside(conf_paths.OCI_CONF))
        except ScrunError:
            return None

    @cached_property
    def runtime(self) -> str:
        """The shell words that call the nodes' runtime; empty if oci.conf doesn't tell."""
        values = {"n": "$SLURMD_NODENAME", "u": self.user, "U": str(self.uid), "j": "$SLURM_JOB_ID", "s": "0", "t": "0"}
        try:
            return node_runtime.command(node_runtime.derive(self.oci or {}), values)[0] if self.oci else ""
        except ScrunError:
            return ""

    @cached_property
    def home(self) -> str:
        """The user's home directory."""
        import pwd

        try:
            return pwd.getpwuid(self.uid).pw_dir
        except KeyError:
            return self.environment.get("HOME", "/")

    def jobs(self) -> dict[int, JobState]:
        """The user's jobs (:func:`scrun.slurm.jobs.of_user`); Slurm is asked only once.

        Raises:
            ScrunError: slurmctld can't be reached.
        """
        answer = self._jobs
        if isinstance(answer, ScrunError):
            raise answer
        return answer

    @cached_property
    def _jobs(self) -> dict[int, JobState] | ScrunError:
        try:
            answer = ask_slurm.ask(self._ask_for_jobs, _PATIENCE)
        except ScrunError as error:
            return error
        return {int(number): job for number, job in answer.items()}

    def _ask_for_jobs(self) -> dict[str, JobState]:
        from scrun.slurm import jobs

        return {str(number): job for number, job in jobs.of_user(self.uid).items()}

    def which(self, name: str) -> str:
        """The path of a program on the caller's PATH; empty if there is none."""
        return shutil.which(name, path=self.environment.get("PATH", os.defpath)) or ""

    def run_program(self, *argv: str, seconds: float = 10) -> tuple[int, str]:
        """Run a program; return its exit status and output, or -1 and the reason if it can't be run or is too slow."""
        try:
            program = subprocess.run(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=seconds,
                check=False,
                env=dict(self.environment),
            )
        except (OSError, subprocess.SubprocessError) as error:
            return -1, getattr(error, "strerror", "") or f"no answer within {seconds:.0f} s"
        return program.returncode, program.stdout.decode("utf-8", "replace")

    def is_not_ours(self, path: str) -> str:
        """What a program is, if it isn't this scrun; empty if it is."""
        status, printed = self.run_program(path, "--version")
        first = printed.splitlines()[0] if printed.splitlines() else ""
        if status == 0 and first.startswith("scrun version "):
            if "\ncommit:" in printed:  # Slurm's scrun prints no such line
                return ""
            return f"is Slurm's own ({printable(first, 40)})"
        return f"doesn't answer --version as scrun does (status {status}: {printable(first, 80) or 'no word'})"
