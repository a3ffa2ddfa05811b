"""What Slurm's own mount leaves in a root filesystem is removed, and nothing else."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from scrun.lifecycle.container import left_by_slurm as of_a_record
from scrun.staging import traces
from scrun.staging.traces import Traces

PATTERN = "/var/spool/slurmd/oci-job%j-%s"
RECORD: Any = {"job": 7, "step": "3", "user": "alice", "uid": 2000, "nodes": "node[1-2]"}


@pytest.fixture
def rootfs(tmp_path: Path) -> Path:
    made = tmp_path / "rootfs"
    (made / "var").mkdir(parents=True)
    os.utime(made / "var", ns=(10**18, 10**18))
    return made


def below(rootfs: Path) -> set[str]:
    return {str(path.relative_to(rootfs)) for path in rootfs.rglob("*")}


def record_of(rootfs: Path, found: Traces | None, **staged: Any) -> Any:
    return RECORD | {"rootfs": str(rootfs), "staged": {"traces": list(found or ()), "parts": [], **staged}}


def test_missing_directories_are_made_and_removed(rootfs: Path) -> None:
    found = traces.foresee({}, str(rootfs), PATTERN, make=True)
    assert found is not None
    assert found.made == ("var/spool", "var/spool/slurmd")
    (rootfs / "var/spool/slurmd/oci-job7-3").mkdir()
    of_a_record.remove(record_of(rootfs, found))
    assert below(rootfs) == {"var"}
    assert (rootfs / "var").stat().st_mtime_ns == 10**18


def test_files_made_there_stay_and_mark_their_directory(rootfs: Path) -> None:
    found = traces.foresee({}, str(rootfs), PATTERN, make=True)
    (rootfs / "var/spool/slurmd/oci-job7-3").mkdir()
    (rootfs / "var/spool/mail").mkdir()
    (rootfs / "var/lib").mkdir()
    of_a_record.remove(record_of(rootfs, found))
    assert below(rootfs) == {"var", "var/lib", "var/spool", "var/spool/mail"}
    assert (rootfs / "var").stat().st_mtime_ns != 10**18


def test_existing_files_and_other_steps_traces_stay(rootfs: Path) -> None:
    for job in ("7-3", "7-4"):
        (rootfs / f"var/spool/slurmd/oci-job{job}").mkdir(parents=True)
    found = traces.foresee({}, str(rootfs), PATTERN, make=True)
    assert found == Traces("var/spool/slurmd", "oci-job%j-%s")
    of_a_record.remove(record_of(rootfs, found))
    assert below(rootfs) == {"var", "var/spool", "var/spool/slurmd", "var/spool/slurmd/oci-job7-4"}


def test_a_container_that_never_ran_leaves_nothing(rootfs: Path) -> None:
    found = traces.foresee({}, str(rootfs), PATTERN, make=True)
    of_a_record.remove({**record_of(rootfs, found), "step": None})  # type: ignore[typeddict-item]
    assert below(rootfs) == {"var"}


def test_traces_in_a_copy_are_the_nodes(rootfs: Path) -> None:
    found = traces.foresee({}, str(rootfs), PATTERN, make=False)
    assert below(rootfs) == {"var"}
    record = record_of(rootfs, found, node_parent="/tmp", parts=[["rootfs", str(rootfs), True, True]])
    assert of_a_record.names(record) == ["var/spool/slurmd/oci-job7-3", "var/spool/slurmd", "var/spool"]
    (rootfs / "var/spool").mkdir()
    of_a_record.remove(record)
    assert below(rootfs) == {"var", "var/spool"}


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("/run/slurm/", ["run/slurm", "run"]),
        (
            "/run/%n/%j/x",
            ["run/node1/7/x", "run/node1/7", "run/node1", "run/node2/7/x", "run/node2/7", "run/node2", "run"],
        ),
        ("/run/slurm/%b/x", ["run/slurm", "run"]),
    ],
)
def test_a_sites_pattern_is_expanded_here(rootfs: Path, pattern: str, expected: list[str]) -> None:
    found = traces.foresee({}, str(rootfs), pattern, make=False)
    assert of_a_record.names(record_of(rootfs, found)) == expected


def test_links_of_the_image_are_followed_within_it(rootfs: Path) -> None:
    (rootfs / "run").mkdir()
    (rootfs / "var/run").symlink_to("/run")
    found = traces.foresee({}, str(rootfs), "/var/run/slurm", make=True)
    assert found is not None
    assert (found.place, found.made) == ("run/slurm", ("run/slurm",))
    (rootfs / "loop").symlink_to("loop")
    assert traces.foresee({}, str(rootfs), "/loop/slurm", make=True) is None


@pytest.mark.parametrize("destination", ["/var", "/var/", "/var/spool/slurmd"])
def test_what_lies_in_a_mount_leaves_no_traces(rootfs: Path, destination: str) -> None:
    assert traces.foresee({"mounts": [{"destination": destination}]}, str(rootfs), PATTERN, make=True) is None
    assert below(rootfs) == {"var"}


def test_no_link_made_by_the_container_leads_out(rootfs: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    (outside / "slurmd/oci-job7-3").mkdir(parents=True)
    found = traces.foresee({}, str(rootfs), PATTERN, make=True)
    (rootfs / "var/spool/slurmd").rmdir()
    (rootfs / "var/spool").rmdir()
    (rootfs / "var/spool").symlink_to(outside)
    of_a_record.remove(record_of(rootfs, found))
    assert (outside / "slurmd/oci-job7-3").is_dir()


def test_the_nodes_own_root_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "mkdir", lambda *_args, **_kwargs: pytest.fail("it made a directory"))
    assert traces.foresee({}, "/", "/nosuch/place", make=True) is None
