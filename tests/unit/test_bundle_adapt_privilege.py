"""What root's jobs are not given on a node, because there is no device cgroup and the network is the node's."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import pytest
from bundle_samples import as_root, changed, engine, minimal, mount, without

from scrun.bundle import exec_process
from scrun.bundle.adapt import adapt, leave_engine
from scrun.bundle.adapt_privilege import allows_all_devices

if TYPE_CHECKING:
    from scrun.oci import Process

SETS = ("bounding", "effective", "inheritable", "permitted", "ambient")
FULL = ["CAP_CHOWN", "CAP_MKNOD", "CAP_NET_RAW", "CAP_NET_ADMIN", "CAP_SYS_ADMIN"]
ALL = {"allow": True, "access": "rwm"}


def with_capabilities(*devices: Any) -> Any:
    value = minimal(resources={"devices": [*devices]})
    value["process"]["capabilities"] = {key: [*FULL] for key in SETS}
    return value


def kept(value: Any) -> list[str]:
    (found,) = {tuple(names) for names in value["process"]["capabilities"].values()}
    return [*found]


@pytest.mark.parametrize(
    ("rules", "everything"),
    [
        ([], False),
        ([{"allow": False, "access": "rwm"}], False),
        ([ALL], True),
        ([{"allow": True}], True),
        ([{"allow": True, "type": "a", "major": -1, "minor": -1, "access": "rwm"}], True),
        ([{"allow": False, "access": "rwm"}, {"allow": True, "type": "c", "major": 1, "access": "rwm"}], False),
        ([{"allow": True, "type": "c", "access": "rwm"}], False),
        ([{"allow": True, "access": "rw"}], False),
        ([ALL, {"allow": False, "access": "rwm"}], False),
        ([{"allow": False}, {"allow": False, "type": "c", "major": 10, "minor": 229}, ALL], True),
    ],
)
def test_container_allowing_all_devices_is_privileged(rules: list[Any], everything: bool) -> None:
    value = with_capabilities(*rules)
    value["annotations"] = {"io.podman.annotations.privileged": "TRUE"}  # which is anybody's to say
    assert allows_all_devices(value) == everything
    assert ("CAP_MKNOD" in kept(as_root(value)[0])) == everything


def test_only_privileged_engine_containers_are_detected() -> None:
    found = {name: allows_all_devices(engine(name)) for name in ("docker-28", "podman-5-rootful", "runc-spec")}
    assert not any(found.values())
    assert allows_all_devices(engine("docker-28-privileged"))


def test_devices_cannot_be_made_without_a_device_fence() -> None:
    adapted, notes = as_root(with_capabilities())
    assert "CAP_MKNOD" not in kept(adapted)
    assert "CAP_MKNOD left out: the node has no device cgroup" in notes
    assert kept(changed(with_capabilities())[0]) == FULL  # of a user namespace's they are no capabilities over devices


def test_container_cannot_change_or_read_the_nodes_network() -> None:
    value = with_capabilities(ALL)

    def of(config: Any, *, nodes_network: bool) -> list[str]:
        return kept(adapt(config, uid=0, gid=0, note=lambda _line: None, nodes_network=nodes_network))

    assert of(value, nodes_network=False) == FULL
    assert of(value, nodes_network=True) == ["CAP_CHOWN", "CAP_MKNOD", "CAP_SYS_ADMIN"]
    hosts = without(copy.deepcopy(value), "network")
    assert kept(as_root(hosts)[0]) == FULL  # --network host, as with docker


def test_device_nodes_in_mounts_do_not_work() -> None:
    value = with_capabilities()
    bind = {"type": "bind", "options": ["rbind", "dev"]}
    value["mounts"] = [
        {"destination": "/volume", "source": "/var/lib/volume", **bind},
        {"destination": "/dev/volume", "source": "/var/lib/volume", **bind},
        {"destination": "/elsewhere", "source": "/dev", **bind},
        {"destination": "/dev", "source": "/dev", **bind},
        {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs"},
    ]
    adapted = as_root(value)[0]
    for destination in ("/volume", "/dev/volume", "/elsewhere"):
        assert mount(adapted, destination)["options"] == ["rbind", "nodev"]
    for destination in ("/dev", "/tmp"):
        assert mount(adapted, destination) == mount(value, destination)
    value["linux"]["resources"]["devices"] = [ALL]
    assert as_root(value)[0]["mounts"] == value["mounts"]


def test_further_process_gets_no_more_than_the_container() -> None:
    def of(config: Any, *, nodes_network: bool = False) -> Any:
        process: Process = {"args": ["sh"], "cwd": "/", "capabilities": {key: [*FULL] for key in SETS}}
        made = exec_process.adapted(process, config, uid=0, note=lambda _line: None, nodes_network=nodes_network)
        assert process["capabilities"] == dict.fromkeys(SETS, FULL)
        return made

    assert kept({"process": of(with_capabilities())}) == [name for name in FULL if name != "CAP_MKNOD"]
    assert kept({"process": of(with_capabilities(ALL))}) == FULL
    assert "CAP_NET_ADMIN" not in kept({"process": of(with_capabilities(ALL), nodes_network=True)})


def test_site_script_bundle_makes_no_devices_either() -> None:
    mine, original = with_capabilities(), with_capabilities()
    assert leave_engine(copy.deepcopy(mine), original, uid=2000) == []
    assert leave_engine(mine, original, uid=0) == ["CAP_MKNOD left out: the node has no device cgroup"]
    assert "CAP_MKNOD" not in kept(mine)
