"""A Slurm that refuses, that isn't there, or that isn't installed: one line that says so, and nothing left."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from .conftest import MakeContainer
from .oci import PYTHON, Container, Runtime
from .test_bad_bundle import assert_refused
from .users import Variables

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
        ({"SCRUN_ACCOUNT": "a" * 2000}, ""),
        ({"SCRUN_JOB_NODELIST": "nosuch7"}, "node"),
        ({"SCRUN_JOB_NUM_NODES": "1000"}, "Slurm refused the job"),
        ({"SCRUN_CPUS_PER_TASK": "1000"}, "Slurm refused the job"),
        ({"SCRUN_GRES": "nosuch:1"}, "Slurm refused the job"),
        ({"SCRUN_NTASKS": "many"}, "SCRUN_NTASKS='many' is not a whole number"),
        ({"SCRUN_TIMELIMIT": "soon"}, "SCRUN_TIMELIMIT='soon' is not"),
        ({"SCRUN_TIMELIMIT": "60", "SCRUN_PARTITION": "short", "SCRUN_CREATE_TIMEOUT": "1"}, None),
        ({"SCRUN_CREATE_TIMEOUT": "soon"}, "SCRUN_CREATE_TIMEOUT='soon' is not"),
        ({"SLURM_JOB_ID": "99999999"}, "job 99999999"),
        ({"SLURM_JOB_ID": "x"}, "SLURM_JOB_ID='x'"),
        ({"SCRUN_DEBUG": "nosuch"}, "log level 'nosuch' is unknown"),
        ({"SCRUN_LUA": "9.9"}, "9.9"),
    ],
    ids=lambda value: next(iter(value.items()))[0] if isinstance(value, dict) else "",
)
def test_what_slurm_refuses_is_said_in_its_words(container: MakeContainer, env: Variables, words: str | None) -> None:
    one = container("true")
    if words is None:
        one.created(env=env)  # beyond the partition's limit the job waits, as sbatch's does
    elif "SCRUN_ACCOUNT" in env:
        one.create(env=env)  # without accounting any name will do; it must not crash
    else:
        assert_create_fails(one, words, env=env)


def test_a_job_that_waits_for_a_partition_that_is_down_can_be_given_up(container: MakeContainer) -> None:
    one = container("true").created(env={"SCRUN_PARTITION": "down", "SCRUN_CREATE_TIMEOUT": "1"})
    assert one.status() == "created"
    one.call("delete").ok()


def test_slurmctld_that_cannot_be_reached(container: MakeContainer, slurm_conf: Configure) -> None:
    conf = slurm_conf(SlurmctldPort="1")
    assert_create_fails(container("true"), "slurmctld", options=["-f", str(conf)])


def test_slurmctld_on_a_host_that_does_not_exist(container: MakeContainer, slurm_conf: Configure) -> None:
    conf = slurm_conf(SlurmctldHost="nosuchhost")
    assert_create_fails(container("true"), options=["-f", str(conf)])


def test_munge_that_is_not_there(container: MakeContainer, slurm_conf: Configure) -> None:
    conf = slurm_conf(AuthInfo="socket=/nonexistent/munge.socket")
    assert_create_fails(container("true"), "munge", options=["-f", str(conf)])


@pytest.mark.parametrize("content", [None, "Nonsense=1\n", "\0\1\2", ""], ids=["missing", "unknown key", "binary", "empty"])
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


def test_no_pyslurm(container: MakeContainer, directory: Path, runtime: Runtime) -> None:
    """The launcher's own lines, with an interpreter that can't find pyslurm."""
    one = container("true")
    without(one, directory, "pyslurm")
    assert_create_fails(one, "pyslurm", "pip install")


def test_a_pyslurm_that_does_not_fit(container: MakeContainer, directory: Path) -> None:
    one = container("true")
    without(one, directory, "pyslurm", "ImportError('libslurm.so.99: cannot open shared object file')")
    assert_create_fails(one, "pyslurm", "libslurm.so.99", "pip install")


def test_no_allocation_module(container: MakeContainer, directory: Path) -> None:
    one = container("true")
    without(one, directory, "scrun.slurm._allocation")
    assert_create_fails(one, "libslurm", "pip install")


def test_no_lupa(container: MakeContainer, directory: Path) -> None:
    one = container("true")
    without(one, directory, "lupa")
    assert_create_fails(one, "lupa")


def without(one: Container, directory: Path, module: str, error: str = "") -> None:
    """Have the container's runtime be one that can't import that module."""
    lines = Path(one.runtime.path).read_text().splitlines(keepends=True)
    assert lines[0] == f"#!{PYTHON} -IS\n"
    error = error or f"ModuleNotFoundError('No module named {module}', name={module!r})"
    block = (
        "import sys\n"
        "class Blocked:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name == {module!r} or name.startswith({module!r} + '.'):\n"
        f"            raise {error}\n"
        "sys.meta_path.insert(0, Blocked())\n"
    )
    one.runtime.path = str(directory / "scrun")
    one.runtime.user.write(directory / "scrun", "".join([lines[0], block, *lines[1:]]), 0o755)
