"""A Slurm that refuses, that isn't there, or that isn't installed: one line that says so, and nothing left."""

from __future__ import annotations

import ast
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from . import slurm
from .conftest import MakeContainer
from .oci import Container
from .test_bad_bundle import assert_refused
from .users import User, Variables

pytestmark = pytest.mark.slurm_only("has no Slurm")

BOUND = 60.0  # seconds; libslurm tries a slurmctld that doesn't answer several times

Configure = Callable[..., Path]


def assert_create_fails(
    one: Container, *words: str, options: list[str] | None = None, env: Variables | None = None
) -> None:
    """With these words, in bounded time."""
    assert_refused(one.create(global_options=options or [], env=env, timeout=BOUND), *words)
    assert not one.path.exists()


@pytest.mark.parametrize(
    ("env", "words"),
    [
        ({"SCRUN_PARTITION": "nosuch"}, "partition"),
        ({"SCRUN_JOB_NODELIST": "nosuch7"}, "node"),
        ({"SCRUN_GRES": "nosuch:1"}, "Slurm refused the job"),
        ({"SCRUN_NTASKS": "many"}, "SCRUN_NTASKS='many' is not a whole number"),
        ({"SCRUN_TIMELIMIT": "soon"}, "SCRUN_TIMELIMIT='soon' is not"),
        ({"SCRUN_CREATE_TIMEOUT": "soon"}, "SCRUN_CREATE_TIMEOUT='soon' is not"),
        ({"SLURM_JOB_ID": "99999999"}, "job 99999999"),
        ({"SLURM_JOB_ID": "x"}, "SLURM_JOB_ID='x'"),
        ({"SCRUN_DEBUG": "nosuch"}, "log level 'nosuch' is unknown"),
        ({"SCRUN_LUA": "9.9"}, "9.9"),
    ],
    ids=lambda value: "=".join(*value.items()) if isinstance(value, dict) else "",
)
def test_what_slurm_refuses_is_said_in_its_words(container: MakeContainer, env: Variables, words: str) -> None:
    assert_create_fails(container("true"), words, env=env)


@pytest.mark.parametrize(
    "env",
    [{"SCRUN_PARTITION": "down"}, {"SCRUN_PARTITION": "short", "SCRUN_TIMELIMIT": "60"}],
    ids=["partition down", "beyond the partition's time"],
)
def test_job_that_must_wait_can_be_given_up(container: MakeContainer, env: Variables) -> None:
    one = container("true").created(env={**env, "SCRUN_CREATE_TIMEOUT": "1"})
    assert slurm.job_fields(one.wait_until_queued())["JobState"] == "PENDING"
    one.call("delete").ok()


@pytest.mark.parametrize(
    ("env", "option"),
    [({"SCRUN_CPUS_PER_TASK": "1000"}, "--cpus-per-task=1000"), ({"SCRUN_JOB_NUM_NODES": "1000"}, "--nodes=1000")],
    ids=["more CPUs than there are", "more nodes than there are"],
)
def test_excessive_request_waits_or_fails_like_salloc(
    container: MakeContainer, alice: User, env: Variables, option: str
) -> None:
    # Slurm 26.05 lets it wait, 24.11 refuses it.
    refusal = "Requested node configuration is not available"
    salloc = alice.run("salloc", "--immediate=1", option, "true")
    assert salloc.status == 1
    if refusal in salloc.stderr:
        assert_create_fails(container("true"), refusal, env=env)
        return
    one = container("true").created(env={**env, "SCRUN_CREATE_TIMEOUT": "1"})
    assert slurm.job_fields(one.wait_until_queued())["JobState"] == "PENDING"
    one.call("delete").ok()


def test_slurmctld_that_cannot_be_reached(container: MakeContainer, slurm_conf: Configure) -> None:
    conf = slurm_conf(SlurmctldPort="1")
    assert_create_fails(container("true"), "slurmctld", options=["-f", str(conf)])


def test_munge_that_is_not_there(container: MakeContainer, slurm_conf: Configure) -> None:
    conf = slurm_conf(AuthInfo="socket=/nonexistent/munge.socket")
    assert_create_fails(container("true"), "munge", options=["-f", str(conf)])


@pytest.mark.parametrize(
    "content", [None, "Nonsense=1\n", "\0\1\2", ""], ids=["missing", "unknown key", "binary", "empty"]
)
def test_a_slurm_conf_that_is_none(container: MakeContainer, slurm_conf: Configure, content: str | None) -> None:
    conf = slurm_conf()
    conf.unlink()
    if content is not None:
        conf.write_text(content)
    assert_create_fails(container("true"), options=["-f", str(conf)])


def test_a_slurm_conf_that_may_not_be_read(container: MakeContainer, slurm_conf: Configure) -> None:
    conf = slurm_conf()
    conf.chmod(0)
    assert_create_fails(container("true"), options=["-f", str(conf)])


def test_no_oci_conf(container: MakeContainer, slurm_conf: Configure) -> None:
    conf = slurm_conf()
    conf.with_name("oci.conf").unlink()
    assert_create_fails(container("true"), str(conf.with_name("oci.conf")), "does not exist", options=["-f", str(conf)])


def test_an_srun_path_that_is_wrong(container: MakeContainer, slurm_conf: Configure) -> None:
    conf = slurm_conf()
    with conf.with_name("oci.conf").open("a") as file:
        file.write("SrunPath=/nosuch/srun\n")
    assert_create_fails(container("true"), "/nosuch/srun", "SrunPath", options=["-f", str(conf)])


def test_no_srun_on_the_path(container: MakeContainer) -> None:
    assert_create_fails(container("true"), "srun is not on PATH", env={"PATH": "/nosuch"})


@pytest.mark.parametrize(
    ("module", "words"),
    [
        ("scrun/slurm/_allocation", ["libslurm", "pip install"]),
        ("lupa", ["lupa"]),
    ],
)
def test_something_that_is_not_installed(
    container: MakeContainer, slurm_conf: Configure, directory: Path, module: str, words: list[str]
) -> None:
    conf = slurm_conf()
    with conf.with_name("scrun.lua").open("a") as file:
        file.write("\n-- edited\n")
    one = container("true")
    install_without(one, directory, module)
    assert_create_fails(one, *words, options=["-f", str(conf)])


def test_the_shipped_script_needs_no_lupa(container: MakeContainer, directory: Path) -> None:
    one = container("sh", "-c", "exit 3")
    install_without(one, directory, "lupa")
    assert one.started().ended() == 3


@pytest.mark.parametrize("broken", [False, True], ids=["absent", "for another Slurm"])
def test_without_pyslurm_scrun_describes_the_job(container: MakeContainer, directory: Path, broken: bool) -> None:
    one = container("true")
    packages = install_without(one, directory, "pyslurm")
    if broken:
        (packages / "pyslurm").mkdir()
        (packages / "pyslurm/__init__.py").write_text("raise ImportError('libslurm.so.99: no such file')\n")
    one.created()
    assert slurm.job_fields(one.record["job"])["JobName"] == "scrun"
    one.call("delete", "--force").ok()


def install_without(one: Container, directory: Path, module: str) -> Path:
    """Have the container's runtime be a copy of the installation without that module; where its packages are."""
    launcher = Path(one.runtime.path).read_text()
    match = re.search(r"sys\.path \+= (\[.*?\])", launcher)
    assert match
    packages = directory / "packages"
    packages.mkdir()
    for path in (path for home in ast.literal_eval(match[1]) for path in Path(home).glob("*")):
        if path.name == "scrun":
            if not (packages / "scrun").exists():
                shutil.copytree(path, packages / "scrun")
        elif not (packages / path.name).is_symlink():
            (packages / path.name).symlink_to(path)
    found = [*packages.glob(f"{module}"), *packages.glob(f"{module}.*")]
    assert found or module == "pyslurm", "there is none for each Slurm"
    for path in found:
        path.unlink()
    one.runtime.path = str(directory / "scrun")
    one.runtime.user.write(directory / "scrun", launcher.replace(match[1], repr([str(packages)])), 0o755)
    return packages
