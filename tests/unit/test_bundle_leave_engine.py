"""A bundle of the site's own making: what it took over from the engine and no node can use is taken out, no more."""

from __future__ import annotations

from typing import Any

import pytest

from scrun.bundle.adapt import leave_engine

Config = Any
MOUNTS = [{"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["ro"]}]
PING = "net.ipv4.ping_group_range"


def config(*namespaces: Config, **more: Any) -> Config:
    linux = {"namespaces": [{"type": "mount"}, {"type": "user"}, *namespaces], **more.pop("linux", {})}
    return {"process": {"user": {"uid": 0, "gid": 0}}, "linux": linux, **more}


def test_bundle_that_needs_no_change_is_unchanged() -> None:
    mine = config({"type": "network"}, linux={"sysctl": {"net.a": "1"}}, mounts=MOUNTS, hooks={"prestart": []})
    before = repr(mine)
    assert leave_engine(mine, config({"type": "network", "path": "/run/netns/x"}), uid=2000) == []
    assert repr(mine) == before


def test_the_engines_namespaces_are_not_joined() -> None:
    network = {"type": "network", "path": "/run/user/1/netns/x"}
    original = config(dict(network), {"type": "ipc", "path": "/proc/7/ns/ipc"})
    mine = config(
        dict(network),
        {"type": "ipc", "path": "/proc/7/ns/ipc"},
        linux={"sysctl": {PING: "0 0", "kernel.msgmax": "1"}},
        mounts=MOUNTS,
    )
    assert leave_engine(mine, original, uid=2000)
    assert mine["linux"]["namespaces"] == [{"type": "mount"}, {"type": "user"}, {"type": "ipc"}]
    assert mine["linux"]["sysctl"] == {"kernel.msgmax": "1"}
    assert mine["mounts"][0]["type"] == "bind"


@pytest.mark.parametrize(
    "mine",
    [
        config({"type": "network", "path": "/run/netns/on-the-node"}),
        config(hooks={"prestart": [{"path": "/site/hook"}]}),
        config(process={"apparmorProfile": "of the site"}),
        config(linux={"sysctl": {PING: "1 9"}, "gidMappings": [{"containerID": 0, "hostID": 1, "size": 1}]}),
    ],
)
def test_what_the_script_wrote_itself_stays(mine: Config) -> None:
    original = config(
        {"type": "network", "path": "/run/netns/x"},
        hooks={"prestart": [{"path": "/usr/bin/dockerd"}]},
        process={"apparmorProfile": "docker-default"},
        linux={"sysctl": {PING: "0 2147483647"}},
    )
    before = repr(mine)
    assert leave_engine(mine, original, uid=2000) == []
    assert repr(mine) == before


def test_engines_hooks_labels_and_ping_groups_are_removed() -> None:
    def made() -> Config:
        return config(
            hooks={"prestart": [{"path": "/usr/bin/dockerd"}]},
            process={"apparmorProfile": "docker-default", "selinuxLabel": "a:b:c"},
            linux={"sysctl": {PING: "0 2147483647"}, "gidMappings": [{"containerID": 0, "hostID": 1, "size": 1}]},
        )

    mine = made()
    assert len(leave_engine(mine, made(), uid=2000)) == 4
    assert "hooks" not in mine
    assert mine["process"] == {}
    assert mine["linux"]["sysctl"] == {PING: "0 0"}
