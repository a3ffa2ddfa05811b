"""A container of ``run --rm``: its root filesystem goes with it, so that only its volumes come back."""

from __future__ import annotations

import json
import uuid
from pathlib import Path

import pytest

from . import slurm
from .engines import Engine
from .waiting import wait_until

pytestmark = pytest.mark.slurm_only("nothing is carried")


def brings_back(engine: Engine, name: str) -> dict[str, bool]:
    """The parts of a running container that were carried, each with whether its changes come back."""
    identity = engine.inspect(name)["Id"]
    own = "/run" if engine.user.name == "root" else f"/run/user/{engine.user.uid}"
    record = Path(own) / "docker/runtime-runc/moby" / identity / "state.json"
    parts = json.loads(record.read_text())["staged"].get("parts", ())
    return {part[0]: part[3] for part in parts}


@pytest.mark.parametrize("removed", [True, False])
def test_volumes_come_back_and_only_a_kept_root(engine: Engine, *, removed: bool) -> None:
    if engine.is_podman:
        pytest.skip("this storage is in place; test_layers.py has podman's overlay")
    volume = f"test-{uuid.uuid4().hex[:8]}"
    script = "echo of the volume >/volume/file; echo of the root >/file; echo up; "
    script += "while [ ! -e /volume/go ]; do sleep 0.1; done"
    there = "ls -d /tmp/scrun-*/* 2>/dev/null || :"
    before = {*slurm.on_nodes(there)}  # what other tests had kept there
    options = (f"--volume={volume}:/volume", *(["--rm"] if removed else []))
    try:
        name = engine.detached("sh", "-c", script, options=options, ready="up")
        carried = brings_back(engine, name)
        assert carried.pop("rootfs") is not removed
        assert True in carried.values()
        engine.call("exec", name, "touch", "/volume/go").ok()
        if removed:
            wait_until(lambda: engine.call("inspect", name).status != 0, "the engine has removed it")
        else:
            assert engine.exit_code(name) == 0
        look = ("cat", "/volume/file")
        said = engine.run(*look, options=(f"--volume={volume}:/volume", "--rm")).ok().stdout
        assert said == "of the volume\n"
        if not removed:
            assert engine.call("diff", name).ok().stdout.splitlines().count("A /file") == 1
    finally:
        engine.clean_up()
        engine.made.clear()
        engine.call("volume", "rm", "--force", volume)
    assert {*slurm.on_nodes(there)} <= before
