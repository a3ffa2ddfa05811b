"""The engines' plain calls are answered without Python, also where the directory of containers is the user's own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from .conftest import MakeContainer
from .users import User

pytestmark = pytest.mark.slurm_only("is scrun-front's")

FIRST_LINE = Path("/usr/bin/scrun").read_text().partition("\n")[0] if os.path.exists("/usr/bin/scrun") else ""
# As the kernel calls it, but with a Python that fails.
WITHOUT_PYTHON = (FIRST_LINE.removeprefix("#!").split(" ")[0], "/bin/false", "/usr/bin/scrun")


def test_the_package_has_it() -> None:
    assert FIRST_LINE == "#!/usr/lib/scrun/dist/scrun/front/scrun-front /usr/bin/python3"


def test_a_containers_life_without_python(container: MakeContainer) -> None:
    one = container("sh", "-c", "trap 'exit 9' TERM; echo ready; while :; do sleep 0.1; done").created()
    call = one.runtime.user.run

    def state() -> str:
        said = call(*WITHOUT_PYTHON, "state", one.id).ok().stdout
        assert said == call("/usr/bin/scrun", "--log-level=error", "state", one.id).ok().stdout  # which is Python's
        return said

    assert '"status": "created"' in state()
    call(*WITHOUT_PYTHON, "start", one.id).ok()
    one.wait_for_output(b"ready\n")
    assert '"status": "running"' in state()
    call(*WITHOUT_PYTHON, "kill", one.id).ok()
    assert one.ended() == 9
    assert '"pid": 0, "status": "stopped"' in state()
    call(*WITHOUT_PYTHON, "delete", "--force", one.id).ok()
    assert "does not exist" in call("/usr/bin/scrun", "state", one.id).stderr


def test_user_namespace_root_finds_its_users_containers(container: MakeContainer, alice: User) -> None:
    one = container("sleep", "100").created()
    said = alice.run("podman", "unshare", *WITHOUT_PYTHON, "state", one.id).ok().stdout
    assert said == one.call("state").ok().stdout


def test_without_its_anchor_the_call_is_pythons(container: MakeContainer) -> None:
    one = container("sleep", "100").created()
    os.kill(one.record["anchor"], 9)
    assert one.runtime.user.run(*WITHOUT_PYTHON, "start", one.id).status == 1
    assert "cannot start container" in one.call("start").stderr
    one.call("delete", "--force").ok()
