"""Which slurm.conf, oci.conf and scrun.lua are used: the order is libslurm's."""

from __future__ import annotations

from pathlib import Path

import pytest

from scrun.slurm import sources


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "DIRECTORY", str(tmp_path / "etc"))
    monkeypatch.setattr(sources, "CACHE", str(tmp_path / "run"))
    (tmp_path / "etc").mkdir()
    (tmp_path / "run").mkdir()


def make(path: Path) -> str:
    path.write_text("")
    return str(path)


def test_what_the_environment_names_wins_though_it_is_not_there(tmp_path: Path) -> None:
    make(tmp_path / "etc/slurm.conf")
    named = {"SLURM_CONF": "/nosuch/slurm.conf"}
    assert sources.slurm_conf(named) == "/nosuch/slurm.conf"
    assert sources.oci_conf(named) == "/nosuch/oci.conf"
    assert sources.script(named) == "/nosuch/scrun.lua"


@pytest.mark.parametrize("environment", [{}, {"SLURM_CONF": ""}])
def test_the_hosts_own_wins_over_a_cache(tmp_path: Path, environment: dict[str, str]) -> None:
    cached = make(tmp_path / "run/slurm.conf")
    assert sources.slurm_conf(environment) == cached
    assert sources.oci_conf(environment) == str(tmp_path / "run/oci.conf")
    assert sources.slurm_conf(environment | {"SLURM_CONF_SERVER": "ctl"}) == cached
    own = make(tmp_path / "etc/slurm.conf")
    assert sources.slurm_conf(environment) == own


def test_the_script_may_lie_in_etc_where_a_cache_has_none(tmp_path: Path) -> None:
    make(tmp_path / "run/slurm.conf")
    assert sources.script({}) == str(tmp_path / "etc/scrun.lua")
    cached = make(tmp_path / "run/scrun.lua")
    assert sources.script({}) == cached


def test_without_any_there_is_none(tmp_path: Path) -> None:
    assert sources.slurm_conf({}) == ""
    assert sources.oci_conf({}) == str(tmp_path / "etc/oci.conf")
