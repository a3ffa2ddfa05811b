"""What only docker does: it configures the network of the pid it is given, and the nodes don't see its storage."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from . import slurm
from .engines import Engine, network
from .waiting import wait_until


@pytest.mark.parametrize("kind", ["host", "none"])
def test_the_hosts_network_comes_to_no_harm(docker: Engine, kind: str) -> None:
    before = network()
    done = docker.run("sh", "-c", "ip -o link; exit 7", options=("--rm", f"--network={kind}"))
    assert done.status == 7
    assert "lo" in done.stdout
    assert network() == before


@pytest.mark.parametrize("kind", ["host", "none"])
def test_killed_container_does_not_harm_the_hosts_network(docker: Engine, kind: str) -> None:
    before = network()
    name = docker.detached("sleep", "1000", options=(f"--network={kind}",))
    docker.call("kill", name).ok()
    assert docker.exit_code(name) == 137
    assert network() == before


def test_dockers_pid_has_its_own_network_namespace(docker: Engine) -> None:
    name = docker.detached("sleep", "1000", options=("--network=none",))
    pid = docker.inspect(name)["State"]["Pid"]
    assert os.readlink(f"/proc/{pid}/ns/net") != os.readlink("/proc/self/ns/net")


def test_network_none_has_a_loopback_only(docker: Engine) -> None:
    done = docker.run("ip", "-o", "link", options=("--rm", "--network=none"))
    assert [line.split(":")[1].strip() for line in done.stdout.splitlines()] == ["lo"]


def test_invisible_volume_is_carried_both_ways(docker: Engine, tmp_path: Path) -> None:
    volume = tmp_path / "volume"
    volume.mkdir()
    (volume / "given").write_text("given\n")
    done = docker.run(
        "sh", "-c", "cat /x/given; echo made >/x/made; rm /x/given", options=("--rm", "--volume", f"{volume}:/x")
    )
    assert done.stdout == "given\n"
    assert {path.name: path.read_text() for path in volume.iterdir()} == {"made": "made\n"}


def test_large_file_survives_the_round_trip(docker: Engine, tmp_path: Path) -> None:
    volume = tmp_path / "volume"
    volume.mkdir()
    (volume / "zeros").write_bytes(b"\0" * (30 << 20))
    script = "sha256sum </x/zeros; cat /x/zeros /x/zeros >/x/twice"
    done = docker.run("sh", "-c", script, options=("--rm", "--volume", f"{volume}:/x"))
    assert done.status == 0
    assert (volume / "twice").stat().st_size == 60 << 20


@pytest.mark.slurm_only("there is no job")
def test_what_was_changed_before_a_kill_is_there(docker: Engine) -> None:
    name = docker.detached("sh", "-c", "echo made >/made; echo ready; sleep 1000", ready="ready")
    docker.call("kill", name).ok()
    docker.exit_code(name)
    assert "A /made" in docker.call("diff", name).ok().stdout.split("\n")


def test_stats_and_top_do_not_harm(docker: Engine) -> None:
    name = docker.detached("sleep", "1000")
    docker.call("stats", "--no-stream", name)
    docker.call("top", name)
    assert docker.is_running(name)


@pytest.mark.slurm_only("there is no job")
def test_docker_rm_ends_the_containers_job(docker: Engine) -> None:
    before = slurm.jobs()
    name = docker.detached("sleep", "1000")
    (job,) = slurm.jobs() - before
    docker.call("rm", "--force", name).ok()
    wait_until(lambda: job not in slurm.jobs(), "the job has gone")


def test_error_is_exactly_one_whole_sentence(docker: Engine) -> None:
    done = docker.run("nosuch")
    assert done.status == 127
    assert "OCI runtime create failed" in done.stderr
    assert "Traceback" not in done.stderr
    assert "unable to retrieve OCI runtime error" not in done.stderr
