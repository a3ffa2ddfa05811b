"""What is made in a root filesystem for mounts, and what of it is removed."""

from __future__ import annotations

from pathlib import Path

import pytest

from scrun.staging import mount_points

PLACE = "/var/spool/slurmd"


@pytest.fixture
def rootfs(tmp_path: Path) -> Path:
    made = tmp_path / "rootfs"
    made.mkdir()
    return made


def _names(rootfs: Path) -> set[str]:
    return {str(path.relative_to(rootfs)) for path in rootfs.rglob("*")}


def _run(rootfs: Path, step: str = "7-0") -> str:
    """What a node's runtime does for slurmstepd's mount; and what was missing before."""
    missing = mount_points.missing(str(rootfs), PLACE)
    (rootfs / f"var/spool/slurmd/oci-job{step}").mkdir(parents=True)
    return missing


def test_what_is_within_another_mount_is_not_made(rootfs: Path) -> None:
    mounts = [{"destination": name} for name in ("/dev", "/dev/pts", "/sys/fs/cgroup", "/device")]
    mount_points.make_missing({"mounts": mounts}, str(rootfs))
    assert _names(rootfs) == {"dev", "sys", "sys/fs", "sys/fs/cgroup", "device"}


@pytest.mark.parametrize(
    ("there", "first"), [((), "/var"), (("var",), "/var/spool"), (("var/spool",), PLACE), (("var/spool/slurmd",), "")]
)
def test_what_was_made_for_slurmstepds_mount_is_removed(rootfs: Path, there: tuple[str, ...], first: str) -> None:
    for name in there:
        (rootfs / name).mkdir(parents=True)
    before = _names(rootfs)
    missing = _run(rootfs)
    assert missing == first
    mount_points.unmake(str(rootfs), PLACE, missing, "7-0")
    assert _names(rootfs) == before


def test_what_the_container_has_made_there_stays(rootfs: Path) -> None:
    missing = _run(rootfs)
    (rootfs / "var/spool/mail").mkdir()
    mount_points.unmake(str(rootfs), PLACE, missing, "7-0")
    assert _names(rootfs) == {"var", "var/spool", "var/spool/mail"}


def test_what_another_step_mounts_there_stays(rootfs: Path) -> None:
    missing = _run(rootfs, "7-1")
    mount_points.unmake(str(rootfs), PLACE, missing, "7-0")
    assert "var/spool/slurmd/oci-job7-1" in _names(rootfs)


@pytest.mark.parametrize("link", ["var", "var/spool", "var/spool/slurmd"])
def test_no_link_is_followed(rootfs: Path, tmp_path: Path, link: str) -> None:
    outside = tmp_path / "outside"
    for name in ("oci-job7-0", "slurmd/oci-job7-0", "spool/slurmd/oci-job7-0"):
        (outside / name).mkdir(parents=True)
    (rootfs / link).parent.mkdir(parents=True, exist_ok=True)
    (rootfs / link).symlink_to(outside)
    before = _names(outside)
    assert mount_points.missing(str(rootfs), PLACE) == ""
    mount_points.unmake(str(rootfs), PLACE, "/var", "7-0")
    assert _names(outside) == before


def test_nothing_is_missing_where_there_is_no_root_filesystem(tmp_path: Path) -> None:
    assert mount_points.missing(str(tmp_path / "nosuch"), PLACE) == ""
    mount_points.unmake(str(tmp_path / "nosuch"), PLACE, "/var", "7-0")
