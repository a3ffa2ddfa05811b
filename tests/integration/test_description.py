"""A job's description is the same, whether pyslurm or scrun has filled it in."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec

import pytest

from .test_job_variables import IN_THE_STEP, RECEIVED, SHOWN

pytestmark = pytest.mark.slurm_only("it asks no scheduler for anything")

# In a process of its own: libslurm reads its configuration once, and stays loaded.
COMPARE = """
import json, os, sys
from scrun.slurm import job_changes, description, job

def differences(call, *arguments, whole=True):
    found = []
    for os.environ["SCRUN_PYSLURM"] in ("yes", "no"):
        assert bool(description._pyslurm()) == (os.environ["SCRUN_PYSLURM"] == "yes")
        found.append(call(*arguments).fields())
    (one, others), (other, more) = found
    return {name: [one[name], other[name]] for name in one if one[name] != other[name]} or (whole and others != more)

wrong = {}
for given in json.load(sys.stdin):
    environment = {f"SCRUN_{name}": value for name, _, value in (word.partition("=") for word in given.split())}
    described = job.request(environment, {}, {}).job["request"]
    wrong[given] = differences(description.of_new_job, described["attributes"], described["fields"])
for name, attribute in job_changes.CHANGES.items():
    for value in ([5, "UNLIMITED"] if name == "TIMELIMIT" else ["x"]):
        wrong[f"change {name}={value}"] = differences(description.of_changes, {attribute: value}, whole=False)
print(json.dumps(wrong))
"""


@pytest.mark.skipif(not find_spec("pyslurm"), reason="there is no pyslurm for this cluster's Slurm to compare with")
def test_pyslurm_and_scrun_describe_the_same() -> None:
    given = ["", *(variables for variables, _ in (*SHOWN, *RECEIVED, *IN_THE_STEP))]
    done = subprocess.run(
        [sys.executable, "-c", COMPARE], input=json.dumps(given), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    wrong = json.loads(done.stdout)
    assert len(wrong) > len(set(given))
    assert {name: what for name, what in wrong.items() if what} == {}
