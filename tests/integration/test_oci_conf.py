"""Sites' own oci.conf: other runtimes on the nodes, other ways to call them, and the keys that concern scrun."""

from __future__ import annotations

import glob
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from . import slurm
from .conftest import MakeBundle, MakeContainer
from .engines import Engine
from .test_bad_hooks import STAGE_OUT, with_script
from .waiting import wait_until

pytestmark = pytest.mark.slurm_only("asks no Slurm")

Put = Callable[[str], None]
Configure = Callable[..., Path]

EXCLUDE = 'EnvExclude="^(SLURM_CONF|SLURM_CONF_SERVER|HIDDEN.*)="\n'
# As Slurm's own documentation has it for runc.
RUNC = EXCLUDE + "".join(
    f'{key}="runc --rootless=true --root=/run/user/%U/ {verb}"\n'
    for key, verb in {
        "RunTimeQuery": "state %n.%u.%j.%s.%t",
        "RunTimeKill": "kill -a %n.%u.%j.%s.%t",
        "RunTimeDelete": "delete --force %n.%u.%j.%s.%t",
        "RunTimeRun": "run %n.%u.%j.%s.%t -b %b",
    }.items()
)
CRUN = "crun --rootless=true --cgroup-manager=disabled --root=/run/user/%U/crun"
NAME = "%n.%u.%j.%s.%t"
# A runtime that only the pattern of run names, and wrappers for the rest.
RUN_ONLY = f"""RunTimeQuery="sh -c '{CRUN} state {NAME}'"
RunTimeKill="sh -c '{CRUN} kill -a {NAME}'"
RunTimeDelete="sh -c '{CRUN} delete --force {NAME}'"
RunTimeRun="mkdir -p /run/user/%U/crun; exec {CRUN} run --bundle=%b {NAME}"
"""
# Nothing that can be understood, and the line that says it.
TOLD = f"""RunTimeQuery="sh -c '{CRUN} state {NAME}'"
RunTimeKill="sh -c '{CRUN} kill -a {NAME}'"
RunTimeDelete="sh -c '{CRUN} delete --force {NAME}'"
RunTimeRun="sh -c 'exec {CRUN} run --bundle=%b {NAME}'"
"""
THE_LINE = f'#scrun: NodeRuntime="{CRUN}" NodeContainer="{NAME}"\n'
# One whose every word takes its time, long after it was done.
SLOW = f'#scrun: NodeRuntime="slow() {{ {CRUN} $@ && sleep 3; }}; slow" NodeContainer="{NAME}"\n'
TRAP = ("sh", "-c", "trap 'exit 42' USR1; echo up; while :; do sleep 0.1; done")


@pytest.mark.parametrize("text", [RUNC, RUN_ONLY, TOLD + THE_LINE], ids=["runc", "run alone", "a line of scrun's"])
def test_status_signal_and_output_work_with_any_runtime(container: MakeContainer, oci_conf: Put, text: str) -> None:
    oci_conf(text)
    one = container(*TRAP).started()
    one.wait_for_output(b"up")
    one.call("kill", "USR1").ok()
    assert one.ended() == 42
    assert one.errors == b""


@pytest.mark.parametrize("text", [RUNC, RUN_ONLY], ids=["runc", "run alone"])
def test_kill_ends_the_container_and_leaves_nothing_behind(container: MakeContainer, oci_conf: Put, text: str) -> None:
    oci_conf(text)
    one = container("sh", "-c", "echo up; sleep 1000").started()
    one.wait_for_output(b"up")
    one.call("kill", "KILL").ok()
    assert one.ended() == 137
    job = one.record["job"]
    one.call("delete").ok()
    listed = f"ls -d /run/user/*/*.{job}.*.* /run/user/*/crun/*.{job}.*.* 2>/dev/null; :"
    wait_until(lambda: slurm.on_nodes(listed) == [], "the node's runtime has forgotten it")


def test_a_signal_counts_when_it_ended_the_container(container: MakeContainer, oci_conf: Put) -> None:
    oci_conf(TOLD + SLOW)
    one = container(*TRAP).started()
    one.wait_for_output(b"up")
    one.call("kill", "USR1").ok()
    assert one.ended() == 42


def test_an_unclear_oci_conf_is_told_when_needed(container: MakeContainer, oci_conf: Put) -> None:
    oci_conf(TOLD)
    one = container(*TRAP).started()
    one.wait_for_output(b"up")
    done = one.call("kill", "USR1")
    assert done.status == 1
    assert "#scrun: NodeRuntime=" in done.stderr
    one.call("kill", "KILL").ok()
    assert one.ended() == 137


def test_engines_run_on_nodes_with_runc(main_engine: Engine, oci_conf: Put) -> None:
    oci_conf(RUNC)
    done = main_engine.run("sh", "-c", "echo $((6 * 7)); exit 7")
    assert (done.status, done.stdout, done.stderr) == (7, "42\n", "")


def test_another_users_container_runs_as_root_under_runc(podman: Engine, oci_conf: Put) -> None:
    # runc can't make the user namespace otherwise; crun can, so there the user stays.
    assert podman.run("id", "-u", options=("--user=1000",)).ok().stdout == "1000\n"
    oci_conf(RUNC)
    assert podman.run("id", "-u", options=("--user=1000",)).ok().stdout == "0\n"


def test_a_terminal_works_with_runc(podman: Engine, oci_conf: Put) -> None:
    oci_conf(RUNC)
    words = podman.words("--interactive", "--tty", command=("sh", "-c", "echo ready; read a; test -t 0; exit 5"))
    status, screen = podman.at_a_terminal(*words, typed={"ready": b"x\n"})
    assert status == 5, screen


def test_variables_excluded_by_the_site_are_absent(container: MakeContainer, oci_conf: Put) -> None:
    oci_conf(RUNC)
    one = container("env", env=["HIDDEN_VALUE=x", "SHOWN=y"]).started()
    assert one.ended() == 0
    assert b"SHOWN=y\n" in one.output
    assert b"HIDDEN" not in one.output


def test_ignored_config_still_yields_slurmds_environment(container: MakeContainer, oci_conf: Put) -> None:
    oci_conf(RUNC.replace("RunTimeRun", "IgnoreFileConfigJson=true\nRunTimeRun"))
    one = container("sh", "-c", "env; exit 7", env=["HIDDEN_VALUE=x", "SHOWN=y"]).started()
    assert one.ended() == 7
    assert b"SHOWN=y\n" in one.output
    assert f"SLURM_JOB_ID={one.record['job']}\n".encode() in one.output
    assert b"HIDDEN" not in one.output


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("RunTimeRum=x", "oci.conf:1: oci.conf has no RunTimeRum"),
        ("RunTimeRun=crun run", "oci.conf:1: "),
        ("FileDebug=loud", "oci.conf:1: FileDebug='loud' is not one of quiet"),
        ("DisableCleanup=maybe", "oci.conf:1: DisableCleanup='maybe' is not true or false"),
        ("RunTimeStart=x", "Slurm would run no container with it"),
    ],
)
def test_faulty_oci_conf_is_refused_with_the_place(
    container: MakeContainer, slurm_conf: Configure, line: str, words: str
) -> None:
    conf = slurm_conf()
    file = conf.with_name("oci.conf")
    file.write_text(f"{line}\n{file.read_text()}")
    one = container("true")
    done = one.create(global_options=["-f", str(conf)])
    assert done.status == 1
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not one.path.exists()


def test_sruns_arguments_are_one_a_line(container: MakeContainer, slurm_conf: Configure) -> None:
    conf = slurm_conf()
    with conf.with_name("oci.conf").open("a") as file:
        file.write('SrunPath=/usr/bin/srun\nSrunArgs=--comment\nSrunArgs="two words"\n')
    one = container("true").created(global_options=["-f", str(conf)])
    assert one.record["srun"] == ["/usr/bin/srun", "--comment", "two words"]
    one.call("start").ok()
    assert one.ended() == 0


# --- a node without the file: slurmd would run the program on the node itself


@pytest.fixture
def bare_nodes() -> Iterator[Callable[[bool], None]]:
    """Takes the nodes' oci.conf away, and gives it back; the login host keeps its own."""

    def take(bare: bool) -> None:
        moves = ("oci.conf", "oci.conf.away") if bare else ("oci.conf.away", "oci.conf")
        slurm.on_nodes("cd /etc/slurm && [ ! -e {0} ] || mv {0} {1}".format(*moves))

    yield take
    take(False)


BARE = "node1 has no /etc/slurm/oci.conf"


def test_a_node_without_oci_conf_runs_nothing(
    container: MakeContainer,
    private_bundle: MakeBundle,
    docker: Engine,
    directory: Path,
    slurm_conf: Configure,
    bare_nodes: Callable[[bool], None],
) -> None:
    mark = directory / "ran"
    slurm.on_nodes("rm -f /run/scrun-ran-bare")
    bare_nodes(True)
    for memory in glob.glob("/run/**/.seen-by-nodes.json", recursive=True):
        os.unlink(memory)
    # Docker's files are carried; there the node's root would run it.
    done = docker.run("touch", "/run/scrun-ran-bare")
    assert done.status == 125
    assert BARE in done.stderr
    assert slurm.on_nodes("ls /run/scrun-ran-bare 2>/dev/null; :") == []
    for at in (None, private_bundle("touch", str(mark))):
        one = container("touch", str(mark), at=at)
        failed = one.create()
        assert failed.status == 1
        assert BARE in failed.stderr
    # By a script that shares all, and by one that stages by itself.
    for stage_in in (f'scrun.stage_in{{ shared = {{ "{directory.parent}" }} }}', "slurm.set_bundle_path(bundle)"):
        script = f"{STAGE_OUT}function slurm_scrun_stage_in(id, bundle) {stage_in} return slurm.SUCCESS end\n"
        failed = container("touch", str(mark)).create(global_options=with_script(slurm_conf, script))
        assert BARE in failed.stderr, stage_in
    assert not mark.exists()
    bare_nodes(False)
    assert container("true").started().ended() == 0


def test_node_that_lost_its_oci_conf_is_detected(container: MakeContainer, bare_nodes: Callable[[bool], None]) -> None:
    assert container("true").started().ended() == 0  # the node is known now
    bare_nodes(True)
    one = container("true").created()
    assert "it has no oci.conf, and would have run the program on the node itself" in one.call("start").stderr
    assert one.ended() == 125
    failed = container("true").create()
    assert BARE in failed.stderr
