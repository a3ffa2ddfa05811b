"""A job_submit plugin that refuses jobs with words, and changes one with a notice (devcluster/profiles/job-submit)."""

from __future__ import annotations

import pytest

from integration import slurm
from integration.conftest import MakeContainer
from integration.engines import Engine
from integration.test_bad_bundle import assert_refused


def test_its_words_are_the_error(container: MakeContainer) -> None:
    one = container("true")
    done = one.create(env={"SCRUN_ACCOUNT": "unpaid"})
    assert_refused(
        done,
        "account unpaid may not be used any more: ask your group for another one; see https://site.example/accounts",
    )
    assert "Unspecified error" not in done.stderr
    assert not one.path.exists()


def test_its_words_come_beside_slurms(container: MakeContainer) -> None:
    done = container("true").create(env={"SCRUN_ACCOUNT": "frozen"})
    assert_refused(done, "Invalid account", "account frozen has no hours left this year")


@pytest.mark.parametrize("name", ["podman", "docker"])
def test_an_engine_shows_its_words(request: pytest.FixtureRequest, name: str) -> None:
    engine: Engine = request.getfixturevalue(name)
    done = engine.run("true", options=("--rm", "--env=SCRUN_ACCOUNT=unpaid"))
    assert done.status in (125, 126)
    assert "account unpaid may not be used any more" in done.stderr


def test_a_notice_is_on_the_containers_standard_error(container: MakeContainer) -> None:
    one = container("true").started(env={"SCRUN_JOB_NAME": "greedy"})
    job = one.record["job"]
    assert one.ended() == 0
    assert one.errors == b"scrun: greedy jobs are renamed to modest\n"
    assert slurm.job_fields(job)["JobName"] == "modest"


def test_a_notice_can_be_silenced(container: MakeContainer) -> None:
    one = container("true").started(env={"SCRUN_JOB_NAME": "greedy", "SCRUN_NOTICES": "0"})
    assert one.ended() == 0
    assert one.errors == b""
