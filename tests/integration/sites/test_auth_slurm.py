"""auth/slurm and cred/slurm, without munge: nothing speaks of munge when Slurm can't tell who somebody is."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

from integration.conftest import RUNTIME, MakeContainer
from integration.oci import Container
from integration.test_bad_bundle import assert_refused
from integration.users import User


def test_there_is_no_munge() -> None:
    assert subprocess.run(["pgrep", "-x", "munged"], check=False).returncode == 1


def swept(one: Container) -> None:
    """Have what a reboot left looked for: once in a boot, by a process that waits for Slurm and nobody for it."""
    assert one.started().ended() == 0


def test_unreachable_controller_is_reported_without_munge(
    container: MakeContainer, slurm_conf: Callable[..., Path]
) -> None:
    swept(container("true"))
    done = container("true").create(global_options=["-f", str(slurm_conf(SlurmctldPort="1"))])
    assert_refused(done, "slurmctld can't be reached", "sackd here?")
    assert "munge" not in done.stderr


def test_without_a_sackd_the_error_says_so(container: MakeContainer, root: User, directory: Path) -> None:
    swept(container("true", user=root))
    one = container("true", user=root)
    empty, program = directory / "empty", directory / "scrun"
    empty.mkdir()
    hide = " && ".join(f"mount --bind {empty} {path}" for path in ("/run/slurm", "/run/slurmctld"))
    program.write_text(f'#!/bin/sh\nexec unshare --mount sh -c \'{hide} && exec {RUNTIME} "$@"\' sh "$@"\n')
    program.chmod(0o755)
    one.runtime.path = str(program)
    done = one.create()
    assert_refused(done, "sackd here?")
    assert "munge" not in done.stderr
    assert not one.path.exists()
