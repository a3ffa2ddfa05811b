"""What a job tells of its container: image and command, found where each engine has them."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scrun.bundle import accounting

CONFIG: dict[str, Any] = {"process": {"args": ["sh", "-c", "echo $HOME"]}}


def test_podman_has_the_image_in_its_storage(tmp_path: Path) -> None:
    of = {name: {"image-name": f"localhost/{name}:latest", "name": "x"} for name in ("one", "two")}
    listed = [
        {"id": name, "names": [name], "metadata": json.dumps(data, separators=(",", ":"))} for name, data in of.items()
    ]
    (tmp_path / "containers.json").write_text(json.dumps(listed[:1], separators=(",", ":")))
    (tmp_path / "volatile-containers.json").write_text(json.dumps(listed[1:], separators=(",", ":")))
    assert accounting.image("one", CONFIG, str(tmp_path / "one/userdata")) == "localhost/one:latest"
    assert accounting.image("two", CONFIG, str(tmp_path / "two/userdata")) == "localhost/two:latest"
    assert accounting.image("three", CONFIG, str(tmp_path / "three/userdata")) == ""


@pytest.mark.parametrize("text", ['{"Config": {"Image": "busybox"}}', "{", '{"Config": 1}', "[]"])
def test_docker_image_is_found_beside_the_mounted_files(tmp_path: Path, text: str) -> None:
    (tmp_path / "box").mkdir()
    (tmp_path / "box/config.v2.json").write_text(text)
    mounts = [{"destination": "/proc"}, {"destination": "/etc/hostname", "source": str(tmp_path / "box/hostname")}]
    found = accounting.image("box", {**CONFIG, "mounts": mounts}, "/run/box")
    assert found == ("busybox" if "busybox" in text else "")
    assert accounting.image("another", {**CONFIG, "mounts": mounts}, "/run/box") == ""


def test_a_cri_has_it_in_an_annotation() -> None:
    annotations = {"io.kubernetes.cri.image-name": "docker.io/library/busybox:1"}
    assert accounting.image("box", {**CONFIG, "annotations": annotations}, "/run/box") == "docker.io/library/busybox:1"


def test_accounting_texts_are_one_line_that_slurm_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/usr/local/bin/scrun", "create", "--bundle", "/a b", "box"])
    told = accounting.told("box", CONFIG, "/run/box")
    assert told == {
        "comment": "sh -c 'echo $HOME' (container box)",
        "submit_line": "scrun create --bundle '/a b' box",
    }
    odd = {"process": {"args": ["sh", "-c", "one\ntwo\x1b[0m\udcff" + "é" * 2000]}}
    comment = accounting.told("box", odd, "/run/box")["comment"]
    assert comment.isprintable() or "\ufffd" in comment
    assert "\n" not in comment
    assert 990 < len(comment.encode()) <= 1000
    assert comment.endswith("é… (container box)")
    assert len(accounting.told("b" * 1024, odd, "/run/box")["comment"].encode()) <= 1000


@given(st.lists(st.text(max_size=20), max_size=5))
def test_words_are_quoted_as_a_shell_takes_them(words: list[str]) -> None:
    assert shlex.split(accounting._join(words)) == words
