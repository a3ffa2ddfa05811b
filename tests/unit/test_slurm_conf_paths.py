"""Which slurm.conf, oci.conf and scrun.lua are used: the order is libslurm's."""

from __future__ import annotations

from pathlib import Path

import pytest

from scrun.slurm import conf_paths


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conf_paths, "DIRECTORY", str(tmp_path / "etc"))
    monkeypatch.setattr(conf_paths, "CACHE", str(tmp_path / "run"))
    (tmp_path / "etc").mkdir()
    (tmp_path / "run").mkdir()


def make(path: Path) -> str:
    path.write_text("")
    return str(path)


def test_a_path_from_the_environment_wins_though_missing(tmp_path: Path) -> None:
    make(tmp_path / "etc/slurm.conf")
    named = {"SLURM_CONF": "/nosuch/slurm.conf"}
    assert conf_paths.slurm_conf(named) == "/nosuch/slurm.conf"
    assert conf_paths.oci_conf(named) == "/nosuch/oci.conf"
    assert conf_paths.lua_script(named) == "/nosuch/scrun.lua"


@pytest.mark.parametrize("environment", [{}, {"SLURM_CONF": ""}])
def test_the_hosts_own_wins_over_a_cache(tmp_path: Path, environment: dict[str, str]) -> None:
    cached = make(tmp_path / "run/slurm.conf")
    assert conf_paths.slurm_conf(environment) == cached
    assert conf_paths.oci_conf(environment) == str(tmp_path / "run/oci.conf")
    assert conf_paths.slurm_conf(environment | {"SLURM_CONF_SERVER": "ctl"}) == cached
    own = make(tmp_path / "etc/slurm.conf")
    assert conf_paths.slurm_conf(environment) == own


def test_etc_provides_a_script_the_cache_lacks(tmp_path: Path) -> None:
    make(tmp_path / "run/slurm.conf")
    assert conf_paths.lua_script({}) == str(tmp_path / "etc/scrun.lua")
    cached = make(tmp_path / "run/scrun.lua")
    assert conf_paths.lua_script({}) == cached


def test_without_any_there_is_none(tmp_path: Path) -> None:
    assert conf_paths.slurm_conf({}) == ""
    assert conf_paths.oci_conf({}) == str(tmp_path / "etc/oci.conf")
