"""What is planned for a container, from the bundle, the environment and Slurm's configuration, without a job."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scrun.errors import ScrunError
from scrun.lifecycle.caller import planning as lifecycle_plan
from scrun.lifecycle.caller.options import PATIENCE, QUEUED_PATIENCE, Options, Output
from scrun.lifecycle.container.directory import Container
from scrun.log import Log

Plan = Callable[..., dict[str, Any]]


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A bundle whose program is there, and a Slurm configuration beside it."""
    path = tmp_path / "bundle"
    (path / "rootfs/bin").mkdir(parents=True)
    (path / "rootfs/bin/true").write_text("")
    (path / "rootfs/bin/true").chmod(0o755)
    (tmp_path / "slurm.conf").write_text("ClusterName=c\n")
    run, rest = 'RunTimeRun="crun run --bundle=%b %n.%j"', 'RunTimeKill="crun kill %n.%j 9"\nRunTimeDelete="true"'
    (tmp_path / "oci.conf").write_text(f"{run}\n{rest}\n")
    return path


@pytest.fixture
def plan(container: Container, bundle: Path, script: Callable[..., str], tmp_path: Path) -> Plan:
    """Plan a container with these members of the config's process, options, and SCRUN_ variables."""
    program = os.path.dirname(script("exit 1"))

    def make(
        process: dict[str, Any] | None = None,
        options: dict[str, Any] | None = None,
        slurm: dict[str, str] | None = None,
        **scrun: str,
    ) -> Any:
        config = {
            "ociVersion": "1.2.0",
            "root": {"path": "rootfs"},
            "process": {"args": ["true"], "cwd": "/", **(process or {})},
            "linux": {},
        }
        (bundle / "config.json").write_text(json.dumps(config))
        environment = {"PATH": program, "SLURM_CONF": str(tmp_path / "slurm.conf"), "SLURM_STEP_ID": "1"}
        environment |= {f"SCRUN_{name}": value for name, value in scrun.items()} | (slurm or {})
        given = Options(str(bundle), **(options or {}))
        return lifecycle_plan.make_plan(container, given, environment, Output(Log()))  # type: ignore[arg-type]

    return make


@pytest.mark.parametrize(
    ("said", "patience", "queued"), [({}, PATIENCE, QUEUED_PATIENCE), ({"CREATE_TIMEOUT": "7"}, 7, 7)]
)
def test_create_waits_as_long_as_asked(said: dict[str, str], patience: float, queued: float, plan: Plan) -> None:
    made = plan(**said)
    assert (made["patience"], made["queued_patience"]) == (patience, queued)


def test_nothing_is_no_limit_to_the_wait(plan: Plan) -> None:
    assert plan(CREATE_TIMEOUT="0")["patience"] == 0


def test_engines_holding_a_lock_do_not_wait_long() -> None:
    assert 0 < PATIENCE <= 60  # podman gives create 240 s, and its ps waits as long as create does


TERMINAL = {"terminal": True}
SOCKET = {"console_socket": "/s"}
ATTACHED = {"attached": True}


@pytest.mark.parametrize(
    ("process", "options", "why"),
    [
        (TERMINAL, {}, "process.terminal is true: name the socket that gets the terminal with --console-socket"),
        ({}, SOCKET, "--console-socket is given, but process.terminal is false"),
        (TERMINAL, SOCKET | ATTACHED, "--console-socket can only be used with --detach"),
    ],
)
def test_a_terminal_and_its_socket_go_together(
    process: dict[str, Any], options: dict[str, Any], why: str, plan: Plan
) -> None:
    with pytest.raises(ScrunError, match=why):
        plan(process, options)


@pytest.mark.parametrize(
    ("options", "console"), [(SOCKET, "/s"), (ATTACHED, ""), ({"console_socket": "s"}, os.path.abspath("s"))]
)
def test_where_the_terminal_goes_is_an_absolute_path(options: dict[str, Any], console: str, plan: Plan) -> None:
    found = plan({**TERMINAL, "consoleSize": {"height": 24, "width": 80}}, options)
    assert (found["terminal"], found["console_socket"], found["console_size"]) == (True, console, [24, 80])


def test_the_program_is_found_in_the_container(plan: Plan, tmp_path: Path) -> None:
    found = plan({"args": ["true", "x"]})
    assert found["args"] == ["/bin/true", "x"]
    assert found["environment"]["SLURM_CONF"] == str(tmp_path / "slurm.conf")
    assert "SLURM_STEP_ID" not in found["environment"]
    assert found["record"]["environment"].keys() == {"PATH", "SLURM_CONF"}
    assert found["record"]["srun"] == [str(tmp_path / "srun")]


IN_A_JOB = {"SLURM_JOB_ID": "7", "SLURM_JOB_NODELIST": "n1"}


@pytest.mark.parametrize(
    ("slurm", "scrun", "prolog", "some"),
    [
        ({}, {}, "", False),
        ({}, {"TASK_PROLOG": "/p"}, "/p", True),
        ({}, {"TASK_EPILOG": "/e"}, "", True),
        ({"SLURM_TASK_PROLOG": "/p"}, {}, "", False),  # srun doesn't hear of it
        ({**IN_A_JOB, "SLURM_TASK_PROLOG": "/p"}, {}, "/p", True),
        ({**IN_A_JOB, "SLURM_TASK_PROLOG": "/p"}, {"TASK_PROLOG": "/q"}, "/q", True),
    ],
)
def test_a_callers_programs_around_tasks_are_known(
    slurm: dict[str, str], scrun: dict[str, str], prolog: str, some: bool, plan: Plan
) -> None:
    staging = plan(slurm=slurm, **scrun)["staging"]
    assert (staging["task_prolog"], staging["task_programs"]) == (prolog, some)
