"""How a node's own runtime is called, found in oci.conf's patterns."""

from __future__ import annotations

from typing import Any

import pytest

from scrun.errors import NodeRuntimeError
from scrun.slurm import node_runtime

VALUES = {"n": "node1", "u": "alice", "U": "2000", "j": "42", "s": "3", "t": "0"}


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        ("", ""),
        ("plain", "plain"),
        ("%n.%u.%j.%s.%t", "node1.alice.42.3.0"),
        ("/run/user/%U/", "/run/user/2000/"),
        ("100%%", "100%"),
        ("%%n", "%n"),
        ("%%%n", "%node1"),
    ],
)
def test_a_pattern_is_expanded(pattern: str, text: str) -> None:
    assert node_runtime.expand(pattern, VALUES) == text


@pytest.mark.parametrize(("pattern", "letter"), [("%p", "%p"), ("%n %z %u", "%z"), ("%m/a", "%m"), ("%", "%")])
def test_a_letter_that_only_nodes_know_is_named(pattern: str, letter: str) -> None:
    with pytest.raises(NodeRuntimeError, match=f"{letter} is known on the node only"):
        node_runtime.expand(pattern, VALUES)


@pytest.mark.parametrize(
    ("settings", "command", "name"),
    [
        ({"RunTimeQuery": "crun --root=/r/%U state %n.%j"}, "crun --root=/r/2000", "node1.42"),
        ({"RunTimeKill": "runc kill -a %n.%j.%s"}, "runc", "node1.42.3"),
        ({"RunTimeKill": "runc kill -a %n.%j SIGTERM"}, "runc", "node1.42"),
        ({"RunTimeQuery": "crun state %n", "RunTimeKill": "runc kill %j"}, "crun", "node1"),
        ({"RunTimeQuery": "custom-script %n", "RunTimeKill": "runc kill %j"}, "runc", "42"),
        ({"RunTimeQuery": "/opt/state/bin/crun  state  %n"}, "/opt/state/bin/crun", "node1"),
        ({"RunTimeDelete": "crun delete --force %n.%t 2>/dev/null || true"}, "crun", "node1.0"),
        ({"RunTimeStart": "exec crun start %n"}, "crun", "node1"),
        ({"RunTimeRun": "exec crun run --bundle %b %n.%s"}, "crun", "node1.3"),
        (
            {"RunTimeRun": "runc --rootless=true --root=/run/user/%U/ run %n.%u -b %b"},
            *("runc --rootless=true --root=/run/user/2000/", "node1.alice"),
        ),
        (
            {"RunTimeRun": "mkdir -p /run/%U; exec crun --root /run/%U run --bundle=%b %n"},
            *("mkdir -p /run/2000; crun --root /run/2000", "node1"),
        ),
        ({"RunTimeCreate": "crun create --console-socket /s --no-pivot -b %b %n"}, "crun", "node1"),
        ({"RunTimeQuery": "sh -c 'crun state %n'", "RunTimeKill": "crun kill %n"}, "crun", "node1"),
        (
            {"RunTimeQuery": "crun --root=%m state %n", "ContainerPath": "/var/%U"},
            "crun --root=/var/2000/oci-job42-3",
            "node1",
        ),
        (
            {"NodeRuntime": "crun --root=/r/%U", "RunTimeQuery": "custom %n"},
            "crun --root=/r/2000",
            "node1.alice.42.3.0",
        ),
        ({"NodeRuntime": "crun", "NodeContainer": "%j-%t"}, "crun", "42-0"),
    ],
)
def test_a_pattern_yields_command_and_container_name(settings: dict[str, str], command: str, name: str) -> None:
    assert node_runtime.command(node_runtime.derive(settings), VALUES) == (command, name)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"RunTimeQuery": "crun state"},
        {"RunTimeQuery": "state %n"},
        {"RunTimeQuery": "crun state ;"},
        {"RunTimeQuery": "crun --root=%b state %n"},
        {"RunTimeQuery": "crun --root=%m state %n"},
        {"RunTimeRun": "singularity exec --userns %r %@", "RunTimeKill": "kill -s SIGTERM %p"},
        {"RunTimeRun": "sh -c 'crun run %n'"},
    ],
)
def test_an_oci_conf_without_a_runtime_is_advised(settings: dict[str, str]) -> None:
    found = node_runtime.derive(settings)
    with pytest.raises(NodeRuntimeError, match="add a line like #scrun: NodeRuntime="):
        node_runtime.command(found, VALUES)


@pytest.mark.parametrize(
    ("settings", "kind"),
    [
        ({"RunTimeRun": "exec /usr/bin/crun --root=/runc run %n"}, "crun"),
        ({"RunTimeRun": "runc run %n"}, "runc"),
        ({"RunTimeRun": "nvidia-container-runtime run %n"}, "other"),
        ({"RunTimeRun": "/opt/wrapper run %n", "NodeRuntime": "crun"}, "crun"),
    ],
)
def test_a_runtimes_name_tells_its_kind(settings: dict[str, str], kind: str) -> None:
    assert node_runtime.derive(settings)["kind"] == kind


@pytest.mark.parametrize(
    ("settings", "hooks"),
    [
        ({"RunTimeRun": "exec crun run %n"}, True),
        ({"RunTimeRun": "/usr/bin/runc run %n", "DisableHooks": ["prestart"]}, True),
        ({"RunTimeRun": "crun run %n", "DisableHooks": ["prestart", "poststart"]}, True),
        ({"RunTimeRun": "crun run %n", "DisableHooks": ["createContainer"]}, False),
        ({"RunTimeRun": "crun run %n", "DisableHooks": ["prestart", "poststop"]}, False),
        ({"RunTimeRun": "crun run %n", "DisableHooks": ["createRuntime"]}, False),
        ({"RunTimeRun": "/opt/site/run %n"}, False),
    ],
)
def test_whether_hooks_run_is_known_of_some_runtimes(settings: dict[str, Any], hooks: bool) -> None:
    made = node_runtime.derive(settings)
    assert made["hooks"] is hooks
    assert made["disabled"] == settings.get("DisableHooks", [])


@pytest.mark.parametrize(
    "option",
    ["-b", "--bundle", "-f", "--config", "--console-socket", "--pid-file", "--preserve-fds", "--pidfd-socket"],
)
def test_an_options_value_is_no_container_name(option: str) -> None:
    settings = {"RunTimeRun": f"crun run {option} value --no-pivot %n"}
    assert node_runtime.command(node_runtime.derive(settings), VALUES) == ("crun", "node1")
