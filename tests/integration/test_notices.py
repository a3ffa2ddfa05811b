"""What a container's standard error tells of its job: that it is queued, and what the site's job_submit plugin says."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator

import pytest

from . import slurm
from .conftest import MakeContainer
from .engines import Engine
from .waiting import wait_until

pytestmark = pytest.mark.slurm_only("has no Slurm")

PLUGIN = """
function slurm_job_submit(job, partitions, uid)
  if job.name == "refused" then
    slurm.log_user("jobs of that name are not taken:\\nsee https://hpc.example.org/names")
    return slurm.ERROR
  end
  if job.name == "noticed" then slurm.log_user("your project ends tomorrow") end
  return slurm.SUCCESS
end
function slurm_job_modify() return slurm.SUCCESS end
return slurm.SUCCESS
"""


def test_podmans_user_learns_that_the_job_is_queued(podman: Engine, held_node: int) -> None:
    env = {"SCRUN_JOB_NODELIST": "node2"}
    quiet = podman.user.start("podman", *podman.words(command=("true",)), env=env | {"SCRUN_NOTICES": "no"})
    words = podman.words("--rm", command=("echo", "runs"))
    running = podman.user.start("podman", *words, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert running.stderr
    queued = running.stderr.readline().decode()
    assert queued, running.communicate()
    slurm.release(held_node)
    output, errors = running.communicate(timeout=60)
    assert (running.returncode, output) == (0, b"runs\n")
    assert re.fullmatch(r"scrun: job \d+ is queued and waiting for resources \(\w+\)\n", queued)  # Slurm's own reason
    job = queued.split()[2]
    assert errors.decode() == f"scrun: job {job} has been allocated resources: node2\n"
    assert quiet.wait(60) == 0
    assert podman.call("logs", podman.made[0]).ok().stderr == ""


@pytest.fixture
def job_submit() -> Iterator[None]:
    """The cluster has that job_submit plugin."""
    conf, script = slurm.CONFIG / "slurm.conf", slurm.CONFIG / "job_submit.lua"
    was = conf.read_text()
    script.write_text(PLUGIN)
    conf.write_text(f"{was}\nJobSubmitPlugins=lua\n")
    reconfigure("lua")
    yield
    conf.write_text(was)
    script.unlink()
    reconfigure("(null)")


def reconfigure(plugins: str) -> None:
    """Have slurmctld read its configuration, which begins anew for that."""
    subprocess.run(["scontrol", "reconfigure"], timeout=60, check=True)

    def is_read() -> bool:
        done = subprocess.run(["scontrol", "show", "config"], capture_output=True, text=True, timeout=60, check=False)
        return any(line.split() == ["JobSubmitPlugins", "=", plugins] for line in done.stdout.splitlines())

    wait_until(is_read, f"slurmctld has the plugins {plugins}")


@pytest.mark.usefixtures("job_submit")
def test_what_a_job_submit_plugin_says_is_shown(container: MakeContainer, podman: Engine) -> None:
    refused = container("true").create(env={"SCRUN_JOB_NAME": "refused"})
    assert refused.status == 1
    words = "jobs of that name are not taken; see https://hpc.example.org/names"
    assert refused.stderr == f"scrun: Slurm refused the job: {words}\n"
    noticed = container("true").started(env={"SCRUN_JOB_NAME": "noticed"})
    assert noticed.ended() == 0
    assert noticed.errors == b"scrun: your project ends tomorrow\n"
    assert "not taken" in podman.run("true", options=("-e", "SCRUN_JOB_NAME=refused")).stderr
    shown = podman.run("true", options=("-e", "SCRUN_JOB_NAME=noticed", "--rm")).ok()
    assert shown.stderr in ("", "scrun: your project ends tomorrow\n"), "said before podman has attached itself"
