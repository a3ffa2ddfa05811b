"""A scrun.lua that is missing, broken or says no: create says where in one line, and the job is cancelled."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from . import slurm
from .conftest import MakeBundle, MakeContainer
from .oci import Container
from .test_bad_bundle import assert_refused
from .waiting import wait_until

pytestmark = pytest.mark.slurm_only("has no scrun.lua")

STAGE_OUT = "function slurm_scrun_stage_out() scrun.stage_out() return slurm.SUCCESS end\n"
STAGE_IN = "function slurm_scrun_stage_in() return slurm.SUCCESS end\n"
GOOD = STAGE_OUT + "function slurm_scrun_stage_in() scrun.stage_in() return slurm.SUCCESS end\n"

Configure = Callable[..., Path]


def with_script(slurm_conf: Configure, script: str | None) -> list[str]:
    """Global options for a configuration with that scrun.lua."""
    conf = slurm_conf()
    lua = conf.with_name("scrun.lua")
    lua.unlink()
    if script is not None:
        lua.write_text(script)
    return ["-f", str(conf)]


def assert_create_fails(one: Container, options: list[str], *words: str) -> None:
    """With these words; its job is gone when create returns, or was never asked for."""
    assert_refused(one.create(global_options=options), *words)
    assert not one.path.exists()


def test_a_script_of_ones_own_is_used(container: MakeContainer, slurm_conf: Configure) -> None:
    # The failures below mean something only because such a configuration works as long as the script does.
    one = container("echo", "ran")
    options = with_script(slurm_conf, GOOD + 'slurm.log_info("loaded")\n')
    one.created(global_options=options).call("start").ok()
    assert one.ended() == 0
    assert one.output == b"ran\n"


@pytest.mark.parametrize(
    ("script", "words"),
    [
        (None, ["scrun.lua: No such file"]),
        ("", ["slurm_scrun_stage_in is not defined"]),
        (STAGE_IN, ["slurm_scrun_stage_out is not defined"]),
        ("function (", ["scrun.lua:1:"]),
        ("\n\nerror('by intent')", ["scrun.lua:3:", "by intent"]),
        ("return slurm.ERROR", ["slurm.ERROR"]),
    ],
    ids=["missing", "empty", "no stage_out", "syntax", "error", "returns ERROR"],
)
def test_unloadable_script_is_refused_without_a_job(
    container: MakeContainer, slurm_conf: Configure, script: str | None, words: list[str]
) -> None:
    newest = newest_job()
    assert_create_fails(container("true"), with_script(slurm_conf, script), *words)
    assert newest_job() == newest


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("return slurm.ERROR", ["stage_in", "scrun.lua", "slurm.ERROR"]),
        ("return slurm.ERROR, 'no room here'", ["no room here"]),
        ("error('by intent')", ["scrun.lua:2:", "by intent"]),
        ("return nil + 1", ["scrun.lua:2:", "arithmetic"]),
        ("", ["nothing, not slurm.SUCCESS"]),
        ("slurm.nosuch()", ["scrun.lua:2:", "nosuch"]),
        ("scrun.stage_in({nosuch = true}) return slurm.SUCCESS", ["nosuch"]),
    ],
    ids=["ERROR", "ERROR with words", "error()", "arithmetic", "nothing", "unknown function", "unknown option"],
)
def test_a_failed_stage_in_cancels_the_job(
    container: MakeContainer, slurm_conf: Configure, body: str, words: list[str]
) -> None:
    script = STAGE_OUT + f"function slurm_scrun_stage_in() {body} end\n"
    newest = newest_job()
    assert_create_fails(container("true"), with_script(slurm_conf, script), *words)
    job = newest_job()
    assert job > newest
    wait_until(lambda: slurm.job_fields(job)["JobState"].startswith("CANCELLED"), "the job is cancelled")


def test_failed_stage_in_removes_what_it_carried(container: MakeContainer, slurm_conf: Configure) -> None:
    script = STAGE_OUT + "function slurm_scrun_stage_in() scrun.stage_in() error('after all') end\n"
    one = container("true")
    before = set(one.bundle.iterdir())
    assert_create_fails(one, with_script(slurm_conf, script), "after all")
    assert set(one.bundle.iterdir()) == before


FAILING_STAGE_OUT = GOOD.replace(STAGE_OUT, "function slurm_scrun_stage_out() error('no way back') end\n")


def test_missing_bundle_named_by_the_script_is_reported(container: MakeContainer, slurm_conf: Configure) -> None:
    script = STAGE_OUT + "function slurm_scrun_stage_in() slurm.set_bundle_path('/nosuch') return slurm.SUCCESS end\n"
    done = container("true").created(global_options=with_script(slurm_conf, script)).call("start")
    assert done.status == 1
    assert "see a bundle at /nosuch, which scrun.lua named (slurm.set_bundle_path)?" in done.stderr


def test_failed_stage_out_is_reported_as_a_failure(container: MakeContainer, slurm_conf: Configure) -> None:
    # The container did its work, but what it made may be lost.
    one = container("true").created(global_options=with_script(slurm_conf, FAILING_STAGE_OUT))
    one.call("start").ok()
    assert one.ended() != 0
    (line,) = one.errors.decode().splitlines()
    assert "no way back" in line


def test_delete_removes_files_of_a_failed_stage_out(
    container: MakeContainer, private_bundle: MakeBundle, slurm_conf: Configure
) -> None:
    one = container(at=private_bundle("touch", "/made"))
    one.created(global_options=with_script(slurm_conf, FAILING_STAGE_OUT)).call("start").ok()
    assert one.ended() != 0
    job = one.record["job"]
    one.call("delete").ok()
    assert slurm.files_on_nodes(job) == []


def test_a_failed_stage_out_is_only_logged(container: MakeContainer, slurm_conf: Configure) -> None:
    # As with the shipped script where nothing comes back: the container's end is told before stage_out has run.
    script = FAILING_STAGE_OUT.replace("scrun.stage_in()", "scrun.stage_in{hold = false}")
    one = container("true").created(global_options=with_script(slurm_conf, script))
    one.call("start").ok()
    assert one.ended() == 0
    wait_until(lambda: "no way back" in (one.path / "anchor.log").read_text(), "it is in the container's log")


def test_slow_stage_in_can_be_interrupted(container: MakeContainer, slurm_conf: Configure) -> None:
    script = (
        STAGE_OUT + 'function slurm_scrun_stage_in() slurm.allocator_command("sleep 1000") return slurm.SUCCESS end\n'
    )
    one = container("true")
    one.begin_create(global_options=with_script(slurm_conf, script))
    job = one.wait_until_queued()
    one.call("delete").ok()
    assert one.end_create().status == 1
    assert not one.path.exists()
    wait_until(lambda: slurm.job_fields(job)["JobState"].startswith("CANCELLED"), "the job is cancelled")


def test_script_output_never_reaches_the_container(container: MakeContainer, slurm_conf: Configure) -> None:
    script = 'print("printed")\nio.stderr:write("written\\n")\nslurm.log_info("logged")\n' + GOOD
    one = container("echo", "ran").created(global_options=with_script(slurm_conf, script))
    one.call("start").ok()
    one.ended()
    assert one.output == b"ran\n"
    assert b"printed" not in one.errors


def test_world_writable_script_is_not_run(container: MakeContainer, slurm_conf: Configure) -> None:
    options = with_script(slurm_conf, GOOD)
    Path(options[1]).with_name("scrun.lua").chmod(0o666)
    assert_create_fails(container("true"), options, "may be written by anyone")


def newest_job() -> int:
    """The highest id that slurmctld remembers."""
    return max(slurm.known_jobs(), default=0)


def test_scancel_ends_a_stage_out_without_end(container: MakeContainer, slurm_conf: Configure) -> None:
    one = container("true")
    begun = one.directory / "begun"
    body = f'slurm.allocator_command("touch {begun}") while true do end'
    script = GOOD.replace(STAGE_OUT, f"function slurm_scrun_stage_out() {body} end\n")
    before = set(one.bundle.iterdir())
    one.created(global_options=with_script(slurm_conf, script)).call("start").ok()
    job = one.record["job"]
    wait_until(begun.exists, "stage_out has begun")
    slurm.cancel(job)
    one.runtime.user.run(*one.runtime.argv("delete", one.id), timeout=150).ok()
    assert one.ended() == 125
    assert f"stage_out was given up, since job {job} has ended" in one.errors.decode()
    assert set(one.bundle.iterdir()) == before
