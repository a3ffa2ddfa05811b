"""A copy of the package, as pip has it, that ``scrun install`` is called of, and a prefix of the test's own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import scrun


class Installation:
    """One below a scratch directory; the hooks' directory is there too."""

    def __init__(self, scratch: Path, *, compiles: bool = False) -> None:
        """Unless it compiles, a copy of the package has no bytecode, which costs half a second of processor time."""
        self.compiles = compiles
        self.source, self.prefix, self.slurm = scratch / "source", scratch / "prefix", scratch / "slurm"
        self.program, self.hooks = self.prefix / "bin" / "scrun", self.slurm / "scrun.lua"
        self.config, self.path = scratch / "config", os.environ["PATH"]
        shutil.copytree(Path(scrun.__file__).parent, self.source / "scrun")

    def run(self, *words: str, before: str = "") -> subprocess.CompletedProcess[str]:
        """Run the package's command line, by a user without privileges as far as /etc is concerned.

        ``before`` is Python that runs first.
        """
        environment = {
            "PATH": self.path,
            "PYTHONPATH": str(self.source),
            "PYTHONDONTWRITEBYTECODE": "1",
            "SLURM_CONF": str(self.slurm / "slurm.conf"),
            "XDG_CONFIG_HOME": str(self.config),
        }
        # root's engines are configured in /etc, which is the machine's.
        if not self.compiles:
            before += "\nfrom scrun.installation import compiling; compiling.compile_copy = lambda *_: None"
        program = f"import os, sys\n{before}\nos.geteuid = lambda: 1000; from scrun.__main__ import main; main()"
        command = [sys.executable, "-c", program, *words]
        return subprocess.run(command, env=environment, cwd="/", capture_output=True, text=True, check=False)

    def call(self, *words: str) -> list[str]:
        """Run a verb on the prefix, which succeeds; the lines that it prints."""
        done = self.run(*words, "--prefix", str(self.prefix))
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout.splitlines()

    def refused(self, *words: str) -> str:
        """Run a verb on the prefix, which fails with one line; the line."""
        done = self.run(*words, "--prefix", str(self.prefix))
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.count("\n") == 1
        return done.stderr.strip()

    def upgrade(self, version: str) -> Path:
        """Replace the package by another version, and install that; its directory."""
        text = (self.source / "scrun/__init__.py").read_text()
        (self.source / "scrun/__init__.py").write_text(text.replace("__version__ =", f"__version__ = {version!r} or"))
        self.call("install")
        (path,) = [path for path in self.versions() if path.name.startswith(f"{version}-")]
        return path

    def versions(self) -> list[Path]:
        """The copies that there are."""
        home = self.prefix / "lib/scrun"
        return sorted(path.parent for path in home.glob("*/lock") if path.parent.name != "current")

    def says(self) -> str:
        """The version of the program."""
        done = subprocess.run([self.program, "--version"], env={}, capture_output=True, text=True, check=True)
        return done.stdout.split()[2]

    def files(self) -> set[str]:
        """What is in the prefix, but for the copies."""
        paths = (path.relative_to(self.prefix) for path in self.prefix.rglob("*") if path.is_file())
        return {str(path) for path in paths if path.parts[:2] != ("lib", "scrun")}
