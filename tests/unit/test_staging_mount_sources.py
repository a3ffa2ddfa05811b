"""Where a source is that an engine has mounted for one container: found while its mount is there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from test_staging_node import FakeStep, Notes, as_it_is, bind, bundle, make_container, needs_mounts

import scrun
from scrun.errors import StagingError
from scrun.staging.mount_sources import MountSource, find_sources
from scrun.staging.stage_in import stage_in

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["bundle"]

# Says what find_sources() finds of the paths in its arguments.
_LOOK = """
import json, sys
sys.path.insert(0, sys.argv[1])
from scrun.staging.mount_sources import find_sources
binds = [{"destination": "/x", "type": "bind", "source": path} for path in sys.argv[2:]]
print(json.dumps({path: list(source) for path, source in find_sources({"mounts": binds}, "/").items()}))
"""


def _found(script: str, *paths: Path) -> dict[str, MountSource]:
    """What find_sources() says of the paths after a script has mounted something."""
    look = [sys.executable, "-c", _LOOK, os.path.dirname(os.path.dirname(scrun.__file__)), *map(str, paths)]
    line = ["unshare", "-rm", "sh", "-ec", f'{script}\nexec "$@"', "sh", *look]
    printed = subprocess.run(line, stdout=subprocess.PIPE, check=True).stdout
    return {path: MountSource(*source) for path, source in json.loads(printed).items()}


@needs_mounts
def test_other_paths_of_what_is_mounted_are_found(tmp_path: Path) -> None:
    for name in ("volume/with space/sub", "engine/sub path 1", "engine/read-only", "engine/whole"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "volume/file").touch()
    (tmp_path / "engine/subpath2").touch()
    found = _found(
        f"""cd {tmp_path}
        mount --bind "volume/with space/sub" "engine/sub path 1"
        mount --bind volume/file engine/subpath2
        mount --bind volume engine/read-only && mount -o remount,bind,ro engine/read-only
        """,
        *(tmp_path / "engine" / name for name in ("sub path 1", "subpath2", "read-only", "whole")),
    )
    top = f"{tmp_path}/engine"
    assert found.keys() == {f"{top}/sub path 1", f"{top}/subpath2", f"{top}/read-only"}
    assert f"{tmp_path}/volume/with space/sub" in found[f"{top}/sub path 1"].places
    assert f"{tmp_path}/volume/file" in found[f"{top}/subpath2"].places
    assert found[f"{top}/subpath2"].inode == (tmp_path / "volume/file").stat().st_ino
    assert [path for path, one in found.items() if one.read_only] == [f"{top}/read-only"]


@needs_mounts
def test_hidden_or_unique_sources_have_no_other_path(tmp_path: Path) -> None:
    for name in ("volume/sub", "memory", "engine/subpath1", "engine/subpath2"):
        (tmp_path / name).mkdir(parents=True)
    found = _found(
        f"""cd {tmp_path}
        mount --bind volume/sub engine/subpath1 && mount -t tmpfs hides volume
        mount -t tmpfs none memory && mkdir memory/sub && mount --bind memory/sub engine/subpath2 && umount -l memory
        """,
        *(tmp_path / "engine" / name for name in ("subpath1", "subpath2")),
    )
    paths = [f"{tmp_path}/engine/subpath{number}" for number in (1, 2)]
    assert {path: one.places for path, one in found.items()} == {path: [path] for path in paths}


def test_what_stays_mounted_is_left_as_it_is() -> None:
    assert find_sources({"mounts": [bind("/proc", "/x"), bind("/", "/y"), bind("/nosuch", "/z")]}, "/") == {}


@needs_mounts
def test_a_source_an_engine_removed_is_an_error(tmp_path: Path, bundle: Path) -> None:
    (tmp_path / "subpath1").mkdir()  # podman leaves the directory
    step = FakeStep(tmp_path)
    container = make_container(bundle, step, mounts=[bind(tmp_path / "subpath1", "/x")])
    container = container._replace(mounted={f"{tmp_path}/subpath1": MountSource([f"{tmp_path}/gone"], 1, 2, False)})
    with pytest.raises(StagingError, match=r"mount /x: what was at .*subpath1 when the container was created isn't"):
        stage_in(container, step, adapt=as_it_is, log=Notes())
