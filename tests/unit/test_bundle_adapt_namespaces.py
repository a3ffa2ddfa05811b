"""Users and namespaces of a config that is adapted to a job."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from bundle_samples import as_root, changed, engine, kinds, minimal, without

from scrun.bundle.adapt import adapt
from scrun.errors import BundleError

MAPPED = {"containerID": 0, "hostID": 100000, "size": 65536}


def test_only_unprivileged_jobs_lose_additional_groups() -> None:
    value = minimal()
    value["process"]["user"]["additionalGids"] = [4, 5]
    adapted, [note] = changed(value)
    assert adapted["process"]["user"] == {"uid": 0, "gid": 0}
    assert note.startswith("additional groups 4, 5 left out")
    assert as_root(value) == (value, [])


def test_an_engine_s_own_mapping_is_replaced() -> None:
    adapted, _ = changed(engine("podman-5-keep-id-privileged"))
    assert adapted["linux"]["uidMappings"] == [{"containerID": 2000, "hostID": 2000, "size": 1}]


def test_user_becomes_root_where_only_root_is_mapped() -> None:
    adapted, notes = changed(engine("docker-28-it"), keep_user=False)
    assert (adapted["process"]["user"]["uid"], adapted["process"]["user"]["gid"]) == (0, 0)
    assert adapted["linux"]["uidMappings"] == [{"containerID": 0, "hostID": 2000, "size": 1}]
    assert any(note.startswith("user 5:6 becomes root of the container") for note in notes)


@pytest.mark.parametrize("user", [[], [{"containerID": 1, "hostID": 100001, "size": 65535}]])
def test_root_job_keeps_a_mapping_user_namespace(user: Any) -> None:
    mapping = [{"containerID": 0, "hostID": 0, "size": 1}, *user]
    value = minimal(uidMappings=mapping, gidMappings=mapping)
    value["linux"]["namespaces"].append({"type": "user"})
    assert as_root(value) == (value, [])


def test_root_is_no_other_user_on_a_node() -> None:
    value = minimal(uidMappings=[MAPPED], gidMappings=[MAPPED])
    value["linux"]["namespaces"].append({"type": "user"})
    with pytest.raises(BundleError, match=r"^root of the container is to be user 100000 .*: leave out --uidmap"):
        as_root(value)
    assert changed(value)[0]["linux"]["uidMappings"] == [{"containerID": 0, "hostID": 2000, "size": 1}]


@pytest.mark.parametrize("half", [{}, {"uidMappings": [MAPPED]}, {"gidMappings": [MAPPED]}])
def test_root_job_drops_an_unmapped_user_namespace(half: Any) -> None:
    value = minimal(**half)
    value["linux"]["namespaces"].append({"type": "user"})
    adapted, notes = as_root(value)
    assert adapted == minimal()
    assert notes[0] == "user namespace left out: nothing is mapped in it"


@pytest.mark.parametrize(
    ("kind", "stays"),
    [
        ("network", False),
        ("cgroup", False),
        ("time", False),
        ("pid", True),
        ("ipc", True),
        ("uts", True),
        ("mount", True),
    ],
)
def test_login_node_namespace_is_never_joined(kind: str, stays: bool) -> None:
    value = without(minimal(), kind)
    value["linux"]["namespaces"].append({"type": kind, "path": "/run/ns/x"})
    adapted, notes = as_root(value)
    assert (kind in kinds(adapted)) == stays
    assert notes[0] == f"{kind} namespace /run/ns/x isn't joined: the container gets " + (
        "a new one" if stays else "the job's"
    )


def test_login_node_user_namespace_goes_with_its_mappings() -> None:
    mapping = [{"containerID": 0, "hostID": 1, "size": 1}]
    value = minimal(uidMappings=mapping, gidMappings=mapping)
    value["linux"]["namespaces"].append({"type": "user", "path": "/proc/1/ns/user"})
    adapted, _ = as_root(value)
    assert adapted == minimal()


def test_a_new_network_namespace_stays_new() -> None:
    assert "network" in kinds(changed(engine("docker-28"))[0])
    assert "network" not in kinds(changed(engine("podman-5-rootless"))[0])


def test_a_container_without_a_mount_namespace_gets_one() -> None:
    adapted, notes = as_root(without(minimal(), "mount"))
    assert "mount" in kinds(adapted)
    assert notes == ["mount namespace added: the container needs its own on the node"]


def test_time_offsets_stay_with_a_time_namespace() -> None:
    value = minimal(timeOffsets={"boottime": {"secs": 1}})
    value["linux"]["namespaces"].append({"type": "time"})
    assert as_root(value) == (value, [])


def test_a_host_name_needs_a_uts_namespace() -> None:
    value = minimal() | {"hostname": "h", "domainname": "d"}
    assert as_root(value) == (value, [])
    adapted, notes = as_root(without(copy.deepcopy(value), "uts"))
    assert not {"hostname", "domainname"} & adapted.keys()
    assert len(notes) == 2


def test_docker_domainname_moves_from_sysctl_to_member() -> None:
    value = minimal(sysctl={"kernel.domainname": "example.org"})
    adapted, notes = changed(value)
    assert adapted["domainname"] == "example.org"
    assert adapted["linux"]["sysctl"] == {}
    assert notes == ["sysctl kernel.domainname becomes the domainname example.org"]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("net.core.somaxconn", "network"),
        ("kernel.msgmax", "ipc"),
        ("kernel.shm_rmid_forced", "ipc"),
        ("kernel.sem", "ipc"),
        ("fs.mqueue.msg_max", "ipc"),
        ("kernel.domainname", "uts"),
    ],
)
def test_sysctl_is_dropped_with_its_namespace(name: str, kind: str) -> None:
    adapted, notes = as_root(without(minimal(sysctl={name: "1"}), kind))
    assert adapted["linux"]["sysctl"] == {}
    assert notes == [f"sysctl {name}=1 left out: the container has the node's {kind} namespace"]
    if name != "kernel.domainname":
        assert as_root(minimal(sysctl={name: "1"})) == (minimal(sysctl={name: "1"}), [])


def test_ping_is_for_the_one_mapped_group() -> None:
    name = "net.ipv4.ping_group_range"
    value = minimal(sysctl={name: "0 2147483647"})
    value["process"]["user"]["gid"] = 6
    adapted, notes = changed(value)
    assert adapted["linux"]["sysctl"] == {name: "6 6"}
    assert notes == [f"sysctl {name}=0 2147483647 becomes 6 6: no other group is mapped"]
    assert as_root(value) == (value, [])
    assert changed(minimal(sysctl={name: "0\t0"}))[1] == []


def test_the_nodes_network_in_place_of_the_engines() -> None:
    value = minimal()
    value["linux"]["namespaces"] = [{"type": "network", "path": "/run/netns/x"}, {"type": "mount"}]
    value["linux"]["sysctl"] = {"net.ipv4.ip_forward": "1"}
    notes: list[str] = []
    adapted = adapt(value, uid=0, gid=0, note=notes.append, nodes_network=True)
    assert kinds(adapted) == ["mount"]
    assert adapted["linux"]["sysctl"] == {}
    assert notes[0] == "network namespace /run/netns/x isn't joined: the container uses the node's network"


def test_without_a_network_the_namespace_is_new() -> None:
    value = minimal()
    value["linux"]["namespaces"] = [{"type": "network", "path": "/run/netns/x"}, {"type": "mount"}]
    adapted = adapt(value, uid=0, gid=0, note=lambda line: None, nodes_network=False)
    assert adapted["linux"]["namespaces"] == [{"type": "network"}, {"type": "mount"}]


def test_no_network_can_become_the_nodes_network() -> None:
    value = engine("docker-28")
    isolated = adapt(value, uid=2000, gid=2000, note=lambda line: None, nodes_network=False)
    again = adapt(isolated, uid=2000, gid=2000, note=lambda line: None, nodes_network=True)
    assert again == adapt(value, uid=2000, gid=2000, note=lambda line: None, nodes_network=True)
    assert "network" not in kinds(again)


def test_a_joined_network_brings_its_user_namespace() -> None:
    config = engine("podman-5-rootless")
    config["linux"]["namespaces"].append({"type": "network", "path": "/proc/7/ns/net"})
    config["linux"]["sysctl"] = {"net.ipv4.ip_forward": "1", "kernel.msgmax": "1"}
    notes: list[str] = []
    adapted = adapt(config, uid=1000, gid=1000, note=notes.append, nodes_network=False, joined=("/tmp/l", (7, 8)))
    paths = {one["type"]: one.get("path") for one in adapted["linux"]["namespaces"]}
    assert (paths["network"], paths["user"]) == ("/tmp/l/net", "/tmp/l/user")
    assert adapted["linux"]["uidMappings"] == [{"containerID": 7, "hostID": 1000, "size": 1}], "crun wants it"
    assert adapted["linux"]["gidMappings"] == [{"containerID": 8, "hostID": 1000, "size": 1}]
    assert (adapted["process"]["user"]["uid"], adapted["process"]["user"]["gid"]) == (7, 8)
    assert adapted["linux"]["sysctl"] == {"kernel.msgmax": "1"}
    assert any("becomes 7:8" in note for note in notes)


def test_nothing_is_mapped_where_root_joins_another_network() -> None:
    config = engine("podman-5-rootless")
    adapted = adapt(config, uid=1000, gid=1000, note=lambda _: None, nodes_network=False, joined=("/tmp/l", (0, 0)))
    assert not {"uidMappings", "gidMappings"} & adapted["linux"].keys(), "runc refuses them"


def test_root_joins_another_containers_network_alone() -> None:
    config = engine("podman-5-rootless")
    adapted = adapt(config, uid=0, gid=0, note=lambda _: None, nodes_network=False, joined=("/tmp/l", (7, 8)))
    assert {"type": "network", "path": "/tmp/l/net"} in adapted["linux"]["namespaces"]
    assert adapted["process"]["user"] == config["process"]["user"]
