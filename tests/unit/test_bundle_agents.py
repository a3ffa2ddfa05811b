"""Which containers can have an agent on their node, where its init goes, and what their config becomes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest
from bundle_samples import CONFIGS, changed, engine, minimal

from scrun.bundle import agents
from scrun.bundle.agents import Place
from scrun.bundle.config import check_config

if TYPE_CHECKING:
    from scrun.oci import Config

Runtime = dict[str, Any]

CRUN: Runtime = {"kind": "crun", "command": "crun", "name": "%n"}
DEV = {"destination": "/dev", "type": "tmpfs", "source": "tmpfs"}
PTS = {"destination": "/dev/pts", "type": "devpts", "source": "devpts"}


def bind(destination: str) -> dict[str, Any]:
    return {"destination": destination, "type": "bind", "source": destination, "options": ["rbind"]}


def tmpfs(destination: str, *options: str) -> dict[str, Any]:
    return {"destination": destination, "type": "tmpfs", "source": "tmpfs", "options": [*options]}


def rule(action: str, names: str, *args: dict[str, Any]) -> dict[str, Any]:
    return {"names": names.split(), "action": f"SCMP_ACT_{action}", "args": [*args]}


NEEDED = "socket connect recvmsg write fcntl dup3 lseek mmap execve"
AUDIT = {"index": 2, "value": 9}  # NETLINK_AUDIT
PODMANS_SOCKET = [
    rule("ERRNO", "socket", {"index": 0, "value": 16, "op": "SCMP_CMP_EQ"}, {**AUDIT, "op": "SCMP_CMP_EQ"}),
    rule("ALLOW", "socket", {**AUDIT, "op": "SCMP_CMP_NE"}),
    rule("ALLOW", "socket", {"index": 0, "value": 16, "op": "SCMP_CMP_NE"}),
]


def place(
    config: dict[str, Any],
    settings: dict[str, Any] | None = None,
    runtime: Runtime = CRUN,
    machines: tuple[str, ...] = (),
) -> Place:
    return agents.place(cast("Config", config), settings or {}, runtime, machines)


def mounted(*mounts: dict[str, Any], **linux: Any) -> dict[str, Any]:
    return {**minimal(**linux), "mounts": [*mounts]}


@pytest.mark.parametrize(
    ("path", "uid"),
    # Root's podman knows no keep-id.
    [(path, uid) for path in CONFIGS for uid in (0, 2000) if uid or "keep-id" not in path.stem],
    ids=lambda one: getattr(one, "stem", str(one)),
)
def test_what_engines_write_has_a_place_in_dev(path: Path, uid: int) -> None:
    config, _notes = changed(engine(path.stem), uid=uid)
    if "seccomp" in config["linux"]:  # of which the samples have a part only
        config["linux"]["seccomp"]["syscalls"].append(rule("ALLOW", NEEDED.replace("socket", "")))
        config["linux"]["seccomp"]["syscalls"] += PODMANS_SOCKET
    where = place(config)
    assert where == Place("/dev/.scrun")
    assert where.init == "/dev/.scrun/init"
    made = agents.adapted(config, "/spool/b", where)
    check_config(made)
    assert made["process"]["args"] == ["/dev/.scrun/init", *config["process"]["args"]]
    assert made["process"]["terminal"] is False
    assert "consoleSize" not in made["process"]
    assert made["mounts"][:-1] == config["mounts"]
    assert made["mounts"][-1]["destination"] == "/dev/.scrun"
    assert {"nosuid", "nodev"} <= {*made["mounts"][-1]["options"]}
    assert "noexec" not in made["mounts"][-1]["options"]


def test_agent_hooks_come_after_the_configs_own() -> None:
    config = {**mounted(DEV), "hooks": {"createRuntime": [{"path": "/own"}], "poststart": [{"path": "/other"}]}}
    before = repr(config)
    made = agents.adapted(cast("Config", config), "/b", Place("/dev/.scrun"))
    assert repr(config) == before
    assert made["hooks"] == {
        "createRuntime": [
            {"path": "/own"},
            {"path": "/b/scrun-node", "args": ["scrun-node", "agent", "/b/connection"]},
        ],
        "createContainer": [{"path": "/b/scrun-node", "args": ["scrun-node", "inside", "/b/connection"]}],
        "poststart": [{"path": "/other"}],
        "poststop": [{"path": "/b/scrun-node", "args": ["scrun-node", "flush", "/b/connection"]}],
    }


@pytest.mark.parametrize(
    ("mounts", "directory"),
    [
        ([bind("/dev"), tmpfs("/run", "noexec")], "/run/.scrun"),
        ([bind("/dev"), tmpfs("/run", "ro"), tmpfs("/tmp")], "/tmp/.scrun"),
        ([bind("/dev"), tmpfs("/dev/shm")], "/dev/shm/.scrun"),
        ([DEV, bind("/dev"), tmpfs("/tmp/")], "/tmp/.scrun"),
        ([DEV, bind("/dev/.scrun"), bind("/dev/.scrun~/file")], "/dev/.scrun~~"),
        ([tmpfs("/dev/shm"), bind("/dev")], ""),
        ([DEV, bind("/")], ""),
        ([bind("/dev"), bind("/run")], ""),
        ([tmpfs("/dev", "bind")], ""),
        ([], ""),
    ],
)
def test_init_goes_into_a_container_owned_tmpfs(mounts: list[dict[str, Any]], directory: str) -> None:
    where = place(mounted(*mounts))
    assert where.directory == directory
    assert bool(where.why_not) == (not directory)


def test_init_may_use_rootfs_dev_without_a_tmpfs() -> None:
    def in_dev(config: dict[str, Any], **changes: bool) -> str:
        config = {**config, "root": {**config["root"], **changes}}
        return agents.place(cast("Config", config), {}, CRUN, in_dev=".scrun-1").directory

    assert in_dev(mounted()) == "/dev/.scrun-1"
    assert in_dev(mounted(), readonly=True) == ""
    assert in_dev(mounted(bind("/dev"))) == ""
    assert in_dev(mounted(bind("/"))) == ""


def test_the_init_is_called_as_the_program_is() -> None:
    def name(program: str) -> str:
        config = cast("Config", mounted(tmpfs("/run")))
        return agents.place(config, {}, CRUN, program=program).init.removeprefix("/run/.scrun/")

    assert [name(program) for program in ("env", "/bin/my tool", "./x:y")] == ["env", "my tool", "x:y"]
    odd = ("", "/", "/..", ".socket", ":", "a\nb", "a" * 101, "\udcff")
    assert {name(program) for program in odd} == {"init"}


def test_without_a_place_the_reason_names_dev() -> None:
    assert place(mounted(bind("/dev"))).why_not.startswith("the container's /dev is a bind mount, and it has no other")
    assert place(mounted()).why_not.startswith("the container's /dev is no tmpfs")


@pytest.mark.parametrize(
    ("settings", "runtime", "why"),
    [
        ({"DisableHooks": ["poststart"]}, CRUN, ""),
        (
            {"DisableHooks": ["poststop", "prestart"]},
            CRUN,
            "oci.conf disables hooks that scrun needs (DisableHooks=poststop)",
        ),
        ({}, {"kind": "other", "command": "x", "name": "n"}, "the node's runtime is not known to be crun or runc"),
        ({}, {"kind": "runc", "why": "oci.conf names no runtime"}, "oci.conf names no runtime"),
    ],
)
def test_what_the_site_has_set_counts(settings: dict[str, Any], runtime: Runtime, why: str) -> None:
    where = place(mounted(DEV), settings, runtime)
    assert where.why_not.startswith(why)
    assert bool(where.directory) == (not why)


def test_a_machine_without_a_program_has_none() -> None:
    where = place(mounted(DEV), machines=("riscv64",))
    assert where == Place("", "this scrun has no scrun-node for riscv64")


def test_terminal_needs_a_container_owned_devpts() -> None:
    config = mounted(DEV, PTS)
    config["process"]["terminal"] = True
    assert place(config).directory
    config["mounts"] = [DEV]
    assert "/dev/pts" in place(config).why_not
    config["mounts"] = [DEV, PTS, bind("/dev/pts")]
    assert "/dev/pts" in place(config).why_not


@pytest.mark.parametrize(
    ("default", "rules", "forbidden"),
    [
        ("ALLOW", [], ""),
        ("ERRNO", [rule("ALLOW", NEEDED)], ""),
        ("ERRNO", [rule("LOG", NEEDED)], ""),
        ("ERRNO", [rule("ALLOW", "read write fcntl dup3 lseek mmap execve")], "socket, connect, recvmsg"),
        ("ALLOW", [rule("ERRNO", "socket")], "socket"),
        ("ALLOW", [rule("KILL", "socket", {"index": 0, "value": 1, "op": "SCMP_CMP_EQ"})], "socket"),
        ("ALLOW", [rule("KILL", "socket", {"index": 0, "value": 40, "op": "SCMP_CMP_EQ"})], ""),
        ("ALLOW", [rule("KILL", "connect", {"index": 0, "value": 40, "op": "SCMP_CMP_EQ"})], "connect"),
        ("ERRNO", [rule("ALLOW", NEEDED), rule("KILL", "recvmsg")], "recvmsg"),
        (
            "ERRNO",
            [
                rule("ALLOW", "connect recvmsg write fcntl dup3 lseek mmap execve"),
                rule("ALLOW", "socket", {"index": 0, "value": 40, "op": "SCMP_CMP_NE"}),
            ],
            "",
        ),
        (
            "ERRNO",
            [
                rule("ALLOW", "socket recvmsg write fcntl dup3 lseek mmap execve"),
                rule("ALLOW", "connect", {"index": 2, "value": 1, "op": "SCMP_CMP_EQ"}),
            ],
            "connect",
        ),
        (
            "ALLOW",
            [rule("ERRNO", "socket", {"index": 0, "value": 0xFF, "valueTwo": 1, "op": "SCMP_CMP_MASKED_EQ"})],
            "socket",
        ),
    ],
)
def test_the_containers_seccomp_profile_counts(default: str, rules: list[dict[str, Any]], forbidden: str) -> None:
    where = place(mounted(DEV, seccomp={"defaultAction": f"SCMP_ACT_{default}", "syscalls": rules}))
    assert where.why_not == (
        f"the container's seccomp profile forbids {forbidden}, which its init needs" if forbidden else ""
    )
