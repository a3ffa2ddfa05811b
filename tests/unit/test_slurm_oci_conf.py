"""oci.conf: read as Slurm reads it, and its patterns expanded as slurmstepd expands them."""

from __future__ import annotations

from pathlib import Path

import pytest

from scrun.errors import NodeRuntimeError, SlurmError
from scrun.slurm import oci_conf

VALUES = {"n": "node1", "u": "alice", "U": "2000", "j": "42", "s": "3", "t": "0", "m": ""}


@pytest.mark.parametrize(
    ("line", "settings"),
    [
        ("RunTimeKill=crun kill %n", {"runtimekill": "crun kill %n"}),
        ("  RunTimeKill =  crun kill  ", {"runtimekill": "crun kill"}),
        ('RunTimeQuery="crun state %n.%u"', {"runtimequery": "crun state %n.%u"}),
        ("RunTimeQuery='crun state'", {"runtimequery": "crun state"}),
        ('EnvExclude="^(SLURM_CONF|A=B)="', {"envexclude": "^(SLURM_CONF|A=B)="}),
        ('RunTimeRun="crun # run" # comment', {"runtimerun": "crun # run"}),
        ("RunTimeRun=crun run # comment", {"runtimerun": "crun run"}),
        ('RunTimeRun="never closed', {"runtimerun": '"never closed'}),
        ("RUNTIMERUN=a", {"runtimerun": "a"}),
        ("RunTimeRun=a\nRunTimeRun=b", {"runtimerun": "b"}),
        ("# RunTimeRun=a", {}),
        ("", {}),
        ("no setting", {}),
        ("=value", {}),
        ("Empty=", {"empty": ""}),
    ],
)
def test_a_line_is_a_name_and_a_value_that_may_be_quoted(line: str, settings: dict[str, str]) -> None:
    assert oci_conf.parse(line) == settings


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
        ("a%mb", "ab"),
    ],
)
def test_a_pattern_is_expanded(pattern: str, text: str) -> None:
    assert oci_conf.expand(pattern, VALUES) == text


@pytest.mark.parametrize(("pattern", "letter"), [("%p", "%p"), ("%n %z %u", "%z"), ("%", "%")])
def test_a_letter_that_only_the_node_knows_is_an_error_that_names_it(pattern: str, letter: str) -> None:
    with pytest.raises(NodeRuntimeError, match=f"{letter} is known on the node only"):
        oci_conf.expand(pattern, VALUES)


@pytest.mark.parametrize(
    ("settings", "program", "name"),
    [
        ({"runtimequery": "crun --root=/r/%U state %n.%j"}, "crun --root=/r/2000", "node1.42"),
        ({"runtimekill": "runc kill -a %n.%j.%s"}, "runc", "node1.42.3"),
        ({"runtimequery": "crun state %n", "runtimekill": "runc kill %j"}, "crun", "node1"),
        ({"runtimequery": "custom-script %n", "runtimekill": "runc kill %j"}, "runc", "42"),
        ({"runtimequery": "/opt/state/bin/crun  state  %n"}, "/opt/state/bin/crun", "node1"),
    ],
)
def test_the_nodes_runtime_and_the_containers_name_come_from_the_query_or_the_kill_pattern(
    settings: dict[str, str], program: str, name: str
) -> None:
    assert oci_conf.runtime_command(settings, VALUES) == (program, name)


@pytest.mark.parametrize("settings", [{}, {"runtimequery": "crun state"}, {"runtimerun": "crun run %n"}])
def test_an_oci_conf_that_names_no_runtime_to_ask_says_what_to_set(settings: dict[str, str]) -> None:
    with pytest.raises(NodeRuntimeError, match="set RunTimeQuery"):
        oci_conf.runtime_command(settings, VALUES)


@pytest.mark.parametrize(
    ("environment", "path"),
    [
        ({}, "/etc/slurm/oci.conf"),
        ({"SLURM_CONF": ""}, "/etc/slurm/oci.conf"),
        ({"SLURM_CONF": "/opt/cluster/slurm.conf"}, "/opt/cluster/oci.conf"),
    ],
)
def test_it_lies_beside_slurm_conf(environment: dict[str, str], path: str) -> None:
    assert oci_conf.path(environment) == path


def test_it_is_read_from_there(tmp_path: Path) -> None:
    (tmp_path / "oci.conf").write_bytes(b"RunTimeRun=crun \xff\n")
    assert oci_conf.read({"SLURM_CONF": str(tmp_path / "slurm.conf")}) == {"runtimerun": "crun \udcff"}


def test_one_that_is_missing_or_unreadable_is_an_error_that_names_it(tmp_path: Path) -> None:
    environment = {"SLURM_CONF": str(tmp_path / "slurm.conf")}
    with pytest.raises(SlurmError, match=r"oci\.conf does not exist"):
        oci_conf.read(environment)
    (tmp_path / "oci.conf").mkdir()
    with pytest.raises(SlurmError, match=r"can't read .*oci\.conf: Is a directory"):
        oci_conf.read(environment)
