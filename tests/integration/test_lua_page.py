"""scrun(1)'s own examples of a scrun.lua run as they are there: the page's of today, and that of January 2024."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from . import pages, slurm
from .conftest import MakeContainer
from .engines import Engine
from .oci import Container
from .users import User

pytestmark = pytest.mark.slurm_only("has no scrun.lua")

Configure = Callable[..., Path]
SITE = Path("/etc/slurm/scrun.lua")
SIMPLE = """
function slurm_scrun_stage_in(id, bundle, spool_dir, config_file, job_id, user_id, group_id, job_env)
    return slurm.SUCCESS
end
function slurm_scrun_stage_out(id, bundle, orig_bundle, root_path, orig_root_path, spool_dir, config_file, jobid,
                               user_id, group_id)
    return slurm.SUCCESS
end
return slurm.SUCCESS
"""


@pytest.fixture(params=[pages.current, pages.older], ids=["today's", "January 2024"])
def example(request: pytest.FixtureRequest) -> str:
    """Each full example."""
    if request.param is pages.older and slurm.version() < (26, 5):
        pytest.skip("the older example is known as what has changed in the page of Slurm 26.05 since")
    return str(request.param())


@pytest.fixture(params=["5.4", "5.1"])
def lua(request: pytest.FixtureRequest) -> str:
    """The default, and what Debian builds Slurm with."""
    return str(request.param)


@pytest.fixture
def scratch() -> Iterator[Path]:
    """A directory that every user can write to and every host sees."""
    path = Path("/home/.scrun-tests-scratch")
    path.mkdir()
    path.chmod(0o1777)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def as_the_sites() -> Iterator[Callable[[str], None]]:
    """Puts a script in the place of the site's own, for engines, whose calls take no -f of ours."""
    was = SITE.read_text()
    yield _put
    _put(was)


def _put(text: str) -> None:
    SITE.write_text(text)


SERVES = "trap 'exit 7' TERM; echo ran; while :; do sleep 0.1; done"


def assert_all_works(one: Container) -> None:
    """What goes over the connection to the node; then the end by a signal, and nothing of ours is left."""
    one.wait_for_output(b"ran\n")
    assert one.runtime.run("exec", one.id, "sh", "-c", "printf half").ok().output == b"half"
    assert "while :" in one.call("ps").ok().stdout
    job = one.record["job"]
    one.call("kill", "TERM").ok()
    assert one.ended() == 7
    one.call("delete").ok()
    assert sorted(path.name for path in one.bundle.iterdir()) == ["config.json", "rootfs"]
    assert slurm.files_on_nodes(job) == []


def test_simple_example_runs_a_bundle_in_place(container: MakeContainer, slurm_conf: Configure, lua: str) -> None:
    conf = slurm_conf()
    conf.with_name("scrun.lua").unlink()
    conf.with_name("scrun.lua").write_text(SIMPLE)
    one = container("sh", "-c", SERVES).started(global_options=["-f", str(conf)], env={"SCRUN_LUA": lua})
    assert_all_works(one)


def test_script_bundle_without_agent_place_runs_without_one(container: MakeContainer, slurm_conf: Configure) -> None:
    conf = slurm_conf()
    conf.with_name("scrun.lua").unlink()
    make = "cd ' .. bundle .. ' && mkdir two && cp config.json two && ln -s ../rootfs two/rootfs"
    both = f"scrun.stage_in() slurm.allocator_command('{make}') slurm.set_bundle_path(bundle .. '/two')"
    script = SIMPLE.replace("    return", f"    {both} return", 1)
    conf.with_name("scrun.lua").write_text(script.replace("    return", "    scrun.stage_out() return", 1))
    one = container("sh", "-c", SERVES).started(global_options=["-f", str(conf)])
    one.wait_for_output(b"ran\n")
    done = one.runtime.run("exec", one.id, "true")
    assert done.status == 255
    assert "called scrun.stage_in, and has named another bundle too" in done.stderr
    one.call("kill", "KILL").ok()
    assert one.ended() == 137
    one.call("delete").ok()
    shutil.rmtree(one.bundle / "two")


def test_full_example_stages_a_bundle_through_scratch(
    container: MakeContainer, slurm_conf: Configure, scratch: Path, example: str, lua: str
) -> None:
    conf = slurm_conf()
    conf.with_name("scrun.lua").unlink()
    conf.with_name("scrun.lua").write_text(pages.with_scratch(example, scratch))
    one = container("sh", "-c", "echo $SLURM_JOB_ID; echo made >/made; exit 7")
    one.started(global_options=["-f", str(conf)], env={"SCRUN_LUA": lua})
    assert one.record["job_bundle"].startswith(f"{scratch}/")
    assert one.ended() == 7
    assert one.output == f"{one.record['job']}\n".encode()  # the example merges the job's environment in
    assert (one.bundle / "rootfs/made").read_text() == "made\n"
    one.call("delete").ok()
    assert list(scratch.glob("*/slurm/scrun/*")) == []
    assert not [*one.bundle.glob(".scrun-*")]


def test_the_full_example_has_signals_exec_and_ps(
    container: MakeContainer, slurm_conf: Configure, scratch: Path, example: str
) -> None:
    conf = slurm_conf()
    conf.with_name("scrun.lua").unlink()
    conf.with_name("scrun.lua").write_text(pages.with_scratch(example, scratch))
    assert_all_works(container("sh", "-c", SERVES).started(global_options=["-f", str(conf)]))


def test_full_example_runs_an_engines_container(
    engine: Engine, as_the_sites: Callable[[str], None], scratch: Path, example: str, directory: Path, alice: User
) -> None:
    # With the engines' default networks and mounts, which the example leaves in the bundle that it makes.
    as_the_sites(pages.with_scratch(example, scratch))
    file = alice.write(directory / "file", "bound\n")
    name = engine.name()
    script = "cat /file; echo $VALUE; echo made >/made; exit 7"
    options = (f"--volume={file}:/file", "--env=VALUE=of the engine")
    done = engine.call(*engine.words(*options, command=("sh", "-c", script), name=name))
    assert (done.status, done.stdout, done.stderr) == (7, "bound\nof the engine\n", "")
    assert "A /made" in engine.call("diff", name).ok().stdout.splitlines()
    assert list(scratch.glob("*/slurm/scrun/*")) == []


def test_documented_variables_name_the_old_and_new_bundle(
    container: MakeContainer, slurm_conf: Configure, scratch: Path
) -> None:
    conf = slurm_conf()
    conf.with_name("scrun.lua").unlink()
    told = 'local told = select(2, slurm.allocator_command("echo $SCRUN_BUNDLE $SCRUN_SUBMISSION_BUNDLE"))'
    script = pages.with_scratch(pages.current(), scratch)
    for hook in ("stage_in", "stage_out"):
        name = f"function slurm_scrun_{hook}("
        start, found, rest = script.partition(name)
        arguments, bracket, body = rest.partition(")\n")
        assert found
        script = f'{start}{name}{arguments}{bracket}{told} slurm.log_info("%s in %s", "{hook}", told)\n{body}'
    conf.with_name("scrun.lua").write_text(script)
    one = container("true").started(global_options=["-f", str(conf)])
    there = one.record["job_bundle"]
    assert one.ended() == 0
    log = one.path / "anchor.log"
    assert f"stage_in in {one.bundle} {one.bundle}" in log.read_text()
    assert f"stage_out in {there} {one.bundle}" in log.read_text()
