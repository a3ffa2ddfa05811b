"""What is read of slurm.conf without libslurm."""

from __future__ import annotations

from pathlib import Path

import pytest

from scrun.slurm import slurm_conf


@pytest.mark.parametrize(
    ("line", "daemon"),
    [
        ("", "munged"),
        ("AuthType=auth/munge", "munged"),
        ("authtype=auth/slurm # no munge", "sackd"),
        ("AuthType=auth/none", ""),
    ],
)
def test_who_tells_slurmctld_who_a_user_is(tmp_path: Path, line: str, daemon: str) -> None:
    (tmp_path / "slurm.conf").write_text(f"ClusterName=c\n{line}\n")
    assert slurm_conf.authenticator({"SLURM_CONF": str(tmp_path / "slurm.conf")}) == daemon
