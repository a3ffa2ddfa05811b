"""Slurm's configuration from libslurm, if no slurm.conf is here."""

from __future__ import annotations

import os
import signal
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scrun.errors import SlurmError
from scrun.lifecycle.worker import fetch_conf


def test_the_path_that_libslurm_knows_is_the_answer(tmp_path: Path) -> None:
    assert fetch_conf.fetch(str(tmp_path / "conf"), lambda: {"slurm.conf": "/opt/slurm.conf"}) == "/opt/slurm.conf"
    assert not (tmp_path / "conf").exists()


def test_configuration_in_memory_is_written_for_its_user(tmp_path: Path) -> None:
    found = {"slurm.conf": "", "oci.conf": "x" * (1 << 20), "scrun.lua": None}
    assert fetch_conf.fetch(str(tmp_path / "conf"), lambda: found) == ""
    (file,) = (tmp_path / "conf").iterdir()
    assert (file.name, file.stat().st_mode & 0o777) == ("oci.conf", 0o600)
    assert file.read_text() == found["oci.conf"]


def _dies() -> dict[str, Any]:
    os.write(2, b"x: error: y\nx: fatal: Could not establish a configuration source\n")
    os._exit(1)


def _fails() -> dict[str, Any]:
    raise SlurmError("not built")


def _waits() -> dict[str, Any]:
    signal.pause()
    return {}


@pytest.mark.parametrize(
    ("find", "patience", "why"),
    [
        (_dies, 30.0, "Slurm: Could not establish a configuration source"),
        (_fails, 30.0, "not built"),
        (_waits, 0.1, "slurmctld doesn't answer within 0 s: scontrol ping tells whether it is up"),
    ],
)
def test_where_it_finds_none_the_error_says_why(
    tmp_path: Path, find: Callable[[], dict[str, Any]], patience: float, why: str
) -> None:
    with pytest.raises(SlurmError, match=f"no slurm.conf is here: {why}: name one"):
        fetch_conf.fetch(str(tmp_path), find, patience)
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, 0)


def _libslurm(monkeypatch: pytest.MonkeyPatch, conf_path: Callable[[str], str]) -> None:
    """Have libslurm know these paths; it isn't here itself."""
    monkeypatch.setitem(sys.modules, "scrun.slurm.control", types.SimpleNamespace(conf_path=conf_path))


def test_a_file_named_by_libslurm_stays_in_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "slurm.conf").touch()
    _libslurm(monkeypatch, lambda name: f"{tmp_path}/{name}")
    assert fetch_conf.fetch(str(tmp_path / "conf")) == f"{tmp_path}/slurm.conf"


@pytest.mark.parametrize("slurm_conf", ["/proc/self/fd/{}", "/nosuch/slurm.conf"])
def test_libslurms_own_memory_is_read_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, slurm_conf: str) -> None:
    held = {name: os.memfd_create(name) for name in ("slurm.conf", "oci.conf")}
    os.write(held["oci.conf"], b"RunTimeRun=x")
    paths = {"slurm.conf": slurm_conf.format(held["slurm.conf"]), "oci.conf": f"/proc/self/fd/{held['oci.conf']}"}
    _libslurm(monkeypatch, lambda name: paths.get(name, "/nosuch"))
    assert fetch_conf.fetch(str(tmp_path / "conf")) == ""
    assert {file.name: file.read_text() for file in (tmp_path / "conf").iterdir()} == {"oci.conf": "RunTimeRun=x"}
    for descriptor in held.values():
        os.close(descriptor)
