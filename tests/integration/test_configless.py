"""Hosts without a slurm.conf of their own: libslurm finds one all the same, and so does scrun."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from .conftest import RUNTIME, MakeContainer
from .oci import Container
from .test_bad_bundle import assert_refused
from .users import User
from .waiting import PATIENCE, wait_until

pytestmark = pytest.mark.slurm_only("needs no slurm.conf")

CACHE = Path("/run/slurm/conf")  # where slurmd and sackd put it
SCRIPT = Path("/etc/slurm/scrun.lua")


@pytest.fixture
def private(directory: Path) -> Iterator[Path]:
    """A directory that is /etc/slurm to :func:`hidden` containers; empty but for the site's scrun.lua."""
    path = directory / "etc-slurm"
    path.mkdir()
    shutil.copy(SCRIPT, path / "scrun.lua")
    yield path
    shutil.rmtree(path)


@pytest.fixture
def cache(directory: Path) -> Iterator[Path]:
    """A cache as a configless slurmd keeps it, which only :func:`hidden` containers see."""
    path = directory / "run-slurm-conf"
    path.mkdir()
    for file in Path("/etc/slurm").iterdir():
        if file.is_file() and file.name != "scrun.lua":
            shutil.copy(file, path / file.name)
    CACHE.mkdir(parents=True)
    yield path
    shutil.rmtree(path)
    CACHE.rmdir()
    CACHE.parent.rmdir()


@pytest.fixture
def sackd(directory: Path, private: Path, root: User) -> Iterator[None]:
    """The daemon of login hosts without a slurm.conf, which fetches one from slurmctld."""
    CACHE.parent.mkdir()
    script = f"mount --bind {private} /etc/slurm && exec sackd -D --conf-server login"
    with open(directory / "sackd.log", "wb") as log:
        daemon = root.start("unshare", "--mount", "sh", "-c", script, stdout=log, stderr=log)
    try:
        wait_until((CACHE / "oci.conf").exists, f"sackd has the files: {(directory / 'sackd.log').read_text()}")
        yield
    finally:
        daemon.terminate()
        daemon.wait(PATIENCE)
        shutil.rmtree(CACHE.parent)


def hidden(one: Container, private: Path, cache: Path | None = None) -> Container:
    """Have the container's runtime see that directory as /etc/slurm; root calls it, who may arrange that."""
    more = f"mount --bind {cache} {CACHE} && " if cache else ""
    program = one.directory / "scrun"
    text = f'mount --bind {private} /etc/slurm && {more}exec {RUNTIME} "$@"'
    program.write_text(f"#!/bin/sh\nexec unshare --mount sh -c '{text}' sh \"$@\"\n")
    program.chmod(0o755)
    one.runtime.path = str(program)
    return one


def runs(one: Container, env: dict[str, str | None] | None = None) -> None:
    """It does, with its status, its signals and its end; engines give no environment to the later calls."""
    one.created(env=env).call("start").ok()
    one.wait_for_output(b"up")
    one.call("kill", "USR1").ok()
    assert one.ended() == 42
    job = one.record["job"]
    one.call("delete").ok()
    assert job


TRAP = ("sh", "-c", "trap 'exit 42' USR1; echo up; while :; do sleep 0.1; done")


def test_cached_configuration_is_used_with_script_in_etc(
    container: MakeContainer, root: User, private: Path, cache: Path
) -> None:
    runs(hidden(container(*TRAP, user=root), private, cache))


@pytest.mark.usefixtures("sackd")
def test_what_sackd_has_fetched_is_used(container: MakeContainer, root: User, private: Path) -> None:
    runs(hidden(container(*TRAP, user=root), private))


def test_a_cached_script_wins(container: MakeContainer, root: User, private: Path, cache: Path) -> None:
    (cache / "scrun.lua").write_text("error('cached')\n")
    one = hidden(container("true", user=root), private, cache)
    assert_refused(one.create(), f"{CACHE}/scrun.lua:1: cached")


def test_without_a_cache_the_configuration_comes_from_slurmctld(
    container: MakeContainer, root: User, private: Path
) -> None:
    one = hidden(container(*TRAP, user=root), private)
    runs(one, {"SLURM_CONF_SERVER": "login"})


def test_without_any_the_error_says_so(container: MakeContainer, root: User, private: Path) -> None:
    one = hidden(container("true", user=root), private)
    assert_refused(one.create(), "no slurm.conf is here", "SLURM_CONF")
    assert not one.path.exists()
