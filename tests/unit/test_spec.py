"""spec: a config.json to begin with, which is valid and never in place of another."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from scrun.bundle import adapt, config
from scrun.errors import BundleError
from scrun.lifecycle.operations import spec


def test_it_is_valid_and_read_back_unchanged(tmp_path: Path) -> None:
    spec.write_config(str(tmp_path), "config.json")
    read = config.load(str(tmp_path))
    config.check_config(read)
    assert read == spec.document()
    assert read["process"]["terminal"] is True


def test_an_unprivileged_node_has_to_leave_nothing_out() -> None:
    notes: list[str] = []
    adapt.adapt(spec.document(), uid=2000, gid=2000, note=notes.append)
    assert [note for note in notes if "left out" in note] == []


@pytest.mark.parametrize("file", ["config.json", "other.json"])
def test_a_file_that_is_there_is_not_replaced(tmp_path: Path, file: str) -> None:
    (tmp_path / file).write_text("mine")
    with pytest.raises(BundleError, match=f"{file} exists: remove it first"):
        spec.write_config(str(tmp_path), file)
    assert (tmp_path / file).read_text() == "mine"


def test_it_follows_no_link_to_a_place_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "config.json").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BundleError, match="exists"):
        spec.write_config(str(tmp_path), "config.json")
    assert not (tmp_path / "elsewhere").exists()


def test_another_file_can_be_named(tmp_path: Path) -> None:
    spec.write_config(str(tmp_path), str(tmp_path / "other.json"))
    assert json.loads((tmp_path / "other.json").read_text()) == spec.document()


def test_a_missing_bundle_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"can't write .*/nosuch/config\.json: No such file or directory"):
        spec.write_config(str(tmp_path / "nosuch"), "config.json")
