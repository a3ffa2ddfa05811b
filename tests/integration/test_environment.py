"""The two environments: the container's, and the caller's, which asks Slurm for things."""

from __future__ import annotations

import pytest

from . import slurm
from .conftest import MakeContainer
from .oci import Container

slurms_own = pytest.mark.slurm_only("there is no job")


def environment(one: Container) -> dict[str, str]:
    """What the container printed with ``env -0``-like clarity: one variable a line."""
    assert one.ended() == 0, one.errors
    return dict(line.partition("=")[::2] for line in one.output.decode().splitlines())


def test_a_container_has_the_environment_of_its_config(container: MakeContainer) -> None:
    one = container("env", env=["PLAIN=value", "EMPTY=", "EQUALS=a=b", "SPACES= a  b ", "UNICODE=ü"])
    found = environment(one.started())
    expected = {
        "PLAIN": "value",
        "EMPTY": "",
        "EQUALS": "a=b",
        "SPACES": " a  b ",
        "UNICODE": "ü",
        "PATH": "/sbin:/bin",
    }
    assert {name: found.get(name) for name in expected} == expected


def test_entries_that_are_no_variables_do_no_harm(container: MakeContainer) -> None:
    found = environment(container("env", env=["=x", "", "NOTHING", "A=b"]).started())
    assert found["A"] == "b"
    assert "NOTHING" not in found


def test_nothing_of_the_callers_environment_reaches_the_container(container: MakeContainer) -> None:
    one = container("env").started(env={"SECRET": "1", "LD_PRELOAD": "", "HOME": "/home/alice"})
    found = environment(one)
    assert "SECRET" not in found
    assert "XDG_RUNTIME_DIR" not in found
    assert found.get("PATH") == "/sbin:/bin"
    assert "/home/alice" not in {**found, "SLURM_SUBMIT_DIR": ""}.values()  # that one salloc gives too


@slurms_own
def test_a_container_knows_its_job(container: MakeContainer) -> None:
    one = container("env").created()
    job = one.record["job"]
    one.call("start").ok()
    found = environment(one)
    assert found["SLURM_JOB_ID"] == str(job)
    assert found["SLURM_JOB_NODELIST"] in ("node1", "node2")
    assert found["SLURM_JOB_PARTITION"] == "debug"
    assert found["SLURM_JOB_USER"] == "alice"


@slurms_own
def test_the_containers_own_variables_win_over_slurms(container: MakeContainer) -> None:
    one = container("env", env=["SLURM_CLUSTER_NAME=mine", "HOSTNAME=mine"])
    found = environment(one.started())
    assert found["HOSTNAME"] == "mine"


@slurms_own
def test_container_request_wins_over_the_caller(container: MakeContainer) -> None:
    one = container("true", env=["SCRUN_PARTITION=short"]).created(
        env={"SCRUN_PARTITION": "debug", "SCRUN_JOB_NAME": "hers"}
    )
    fields = slurm.job_fields(one.record["job"])
    assert (fields["Partition"], fields["JobName"]) == ("short", "hers")


@slurms_own
def test_requested_gpu_is_named_to_the_container(container: MakeContainer) -> None:
    found = environment(container("env", env=["SCRUN_GRES=gpu:1"]).started())
    assert found["CUDA_VISIBLE_DEVICES"] in ("0", "1", "2", "3")
