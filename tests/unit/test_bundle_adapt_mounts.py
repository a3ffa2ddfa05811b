"""Mounts and devices of a config that is adapted to a job."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from bundle_samples import as_root, changed, engine, minimal, mount, without


def test_an_unmapped_tty_group_is_left_out() -> None:
    adapted, notes = changed(engine("docker-28"))
    assert mount(adapted, "/dev/pts")["options"] == ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]
    assert "option gid=5 of mount /dev/pts left out: that id isn't mapped" in notes
    value = engine("docker-28")
    value["process"]["user"]["gid"] = 5
    assert "gid=5" in mount(changed(value)[0], "/dev/pts")["options"]
    assert "gid=5" in mount(as_root(engine("docker-28"))[0], "/dev/pts")["options"]


def test_unmapped_tmpfs_owner_is_left_out() -> None:
    value = minimal()
    value["mounts"] = [{"destination": "/t", "type": "tmpfs", "source": "t", "options": ["uid=7", "gid=0", "mode=700"]}]
    assert mount(changed(value)[0], "/t")["options"] == ["gid=0", "mode=700"]


def test_an_owner_that_is_mapped_stays() -> None:
    value = minimal()
    value["process"]["user"]["uid"] = 7
    value["mounts"] = [{"destination": "/t", "type": "tmpfs", "source": "t", "options": ["uid=7"]}]
    assert changed(value)[1] == []
    assert mount(changed(value)[0], "/t")["options"] == ["uid=7"]


def test_bind_options_are_left_to_staging() -> None:
    value = minimal()
    value["mounts"] = [{"destination": "/d", "type": "bind", "source": "/s", "options": ["rbind", "uid=7"]}]
    assert changed(value)[0]["mounts"] == value["mounts"]


@pytest.mark.parametrize(
    ("kind", "destination", "namespace"),
    [("sysfs", "/sys", "network"), ("proc", "/proc", "pid")],
)
def test_kernel_file_system_of_node_namespace_is_bound(kind: str, destination: str, namespace: str) -> None:
    value = minimal()
    value["mounts"] = [{"destination": destination, "type": kind, "source": kind, "options": ["nosuid", "ro"]}]
    assert changed(value)[0]["mounts"] == value["mounts"]
    adapted, [note] = changed(without(value, namespace))
    assert adapted["mounts"] == [
        {"destination": destination, "type": "bind", "source": destination, "options": ["rbind", "nosuid", "ro"]}
    ]
    assert note == f"{destination} becomes a bind of the node's: its {namespace} namespace is the node's"
    assert as_root(value)[0]["mounts"] == value["mounts"]


def test_message_queues_of_node_namespace_are_left_out() -> None:
    value = minimal()
    value["mounts"] = [{"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue"}]
    assert changed(value)[0]["mounts"] == value["mounts"]
    adapted, [note] = changed(without(value, "ipc"))
    assert adapted["mounts"] == []
    assert note == "/dev/mqueue left out: the container has the node's ipc namespace"


def test_podmans_shared_memory_becomes_a_tmpfs_without_size() -> None:
    adapted, notes = changed(engine("podman-5-rootless"))
    assert mount(adapted, "/dev/shm") == {
        "destination": "/dev/shm",
        "type": "tmpfs",
        "source": "shm",
        "options": ["nosuid", "noexec", "nodev", "mode=1777"],
    }
    assert any(note.startswith("/dev/shm becomes a tmpfs") for note in notes)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs a right to mount")
def test_shared_memory_of_a_chosen_size_has_that(tmp_path: Path) -> None:
    value = engine("podman-5-rootless")
    for one in value["mounts"]:
        if one["destination"] == "/dev/shm":
            one["source"] = str(tmp_path)
    for size, option in ((5 << 20, [f"size={5 << 20}"]), (64_000 << 10, [])):
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "shm", tmp_path], check=True)
        try:
            options = mount(changed(value)[0], "/dev/shm")["options"]
        finally:
            subprocess.run(["umount", tmp_path], check=True)
        assert options == ["nosuid", "noexec", "nodev", "mode=1777", *option]


def test_host_or_tmpfs_shared_memory_stays() -> None:
    for name in ("docker-28-privileged", "docker-28"):
        assert mount(changed(engine(name))[0], "/dev/shm") == mount(engine(name), "/dev/shm")


def test_bind_mounts_of_files_are_left_to_staging() -> None:
    value = engine("podman-5-rootless-it")
    adapted, _ = changed(value)
    for destination in ("/data", "/etc/hosts", "/etc/resolv.conf"):
        assert mount(adapted, destination) == mount(value, destination)


def test_cgroup_mounts_stay_because_both_runtimes_make_them() -> None:
    assert mount(changed(engine("docker-28"))[0], "/sys/fs/cgroup") == mount(engine("docker-28"), "/sys/fs/cgroup")


def test_no_mount_is_id_mapped() -> None:
    mapping = [{"containerID": 0, "hostID": 1, "size": 1}]
    value = minimal()
    plain = {"destination": "/d", "type": "bind", "source": "/s"}
    value["mounts"] = [plain | {"options": ["rbind", "idmap"], "uidMappings": mapping, "gidMappings": mapping}]
    adapted, [note] = changed(value)
    assert adapted["mounts"] == [plain | {"options": ["rbind"]}]
    assert note == "mount /d isn't id-mapped: its files keep their owners"
    value["mounts"] = [plain | {"options": ["rbind", "ridmap=uids=0-1-1"]}]
    assert changed(value)[0]["mounts"] == [plain | {"options": ["rbind"]}]
    assert as_root(value)[0]["mounts"] == [plain | {"options": ["rbind", "nodev"]}]


def device(path: str) -> dict[str, Any]:
    major, minor = {"/dev/fuse": (10, 229)}.get(path, (1, 3))
    return {"path": path, "type": "c", "major": major, "minor": minor}


def test_a_device_that_was_asked_for_stays() -> None:
    adapted, notes = changed(minimal(devices=[device("/dev/null"), device("/dev/fuse")]))
    assert adapted["linux"]["devices"] == [device("/dev/fuse")]
    assert notes == ["device /dev/null left to the node's runtime, which always makes it"]


@pytest.mark.parametrize(
    ("numbers", "place"),
    [
        ((1, 3), "/dev/null"),
        ((1, 5), "/dev/zero"),
        ((10, 200), "/dev/net/tun"),
        ((10, 229), "/dev/fuse"),
        ((195, 3), "/dev/nvidia3"),
        ((195, 255), "/dev/nvidiactl"),
        ((226, 1), "/dev/dri/card1"),
        ((226, 128), "/dev/dri/renderD128"),
    ],
)
def test_a_renamed_device_is_bound(numbers: tuple[int, int], place: str) -> None:
    other = device("/dev/other") | {"major": numbers[0], "minor": numbers[1]}
    value = minimal(devices=[other])
    adapted, notes = changed(value)
    assert adapted["linux"]["devices"] == []
    assert mount(adapted, "/dev/other") == {
        "destination": "/dev/other",
        "type": "bind",
        "source": place,
        "options": ["bind", "nosuid", "noexec"],
    }
    assert notes == [f"device /dev/other becomes a bind of the node's {place}"]
    assert changed(adapted)[0] == adapted
    assert as_root(value)[0]["linux"]["devices"] == [other], "root makes it"


@pytest.mark.parametrize("numbers", [("b", 1, 3), ("p", 1, 3), ("c", 226, 100), ("c", 240, 0), ("c", None, None)])
def test_a_device_without_a_known_path_stays(numbers: tuple[str, int, int]) -> None:
    given = dict(zip(("type", "major", "minor"), numbers, strict=True))
    other = {"path": "/dev/other", **{key: value for key, value in given.items() if value is not None}}
    assert changed(minimal(devices=[other]))[0]["linux"]["devices"] == [other]


def test_a_privileged_container_lists_no_devices() -> None:
    adapted, notes = changed(engine("docker-28-privileged"))
    assert adapted["linux"]["devices"] == []
    assert sum(note.startswith("device /dev/fuse left out") for note in notes) == 1


def test_leave_for_a_few_devices_is_not_privileged() -> None:
    rules = [{"allow": False, "access": "rwm"}, {"allow": True, "type": "a", "major": 10, "access": "rwm"}]
    adapted, _ = changed(minimal(devices=[device("/dev/fuse")], resources={"devices": rules}))
    assert adapted["linux"]["devices"] == [device("/dev/fuse")]


def test_rootless_podmans_bound_devices_are_not_listed() -> None:
    value = engine("podman-5-keep-id-privileged")
    adapted, _ = changed(value)
    devices = [m["destination"] for m in adapted["mounts"] if m["destination"].startswith("/dev/")]
    assert devices == ["/dev/pts", "/dev/mqueue", "/dev/shm"]
    del value["annotations"]
    devices = [m["destination"] for m in changed(value)[0]["mounts"] if m["destination"].startswith("/dev/")]
    assert devices == ["/dev/fuse", "/dev/pts", "/dev/mqueue", "/dev/shm", "/dev/net/tun"]
