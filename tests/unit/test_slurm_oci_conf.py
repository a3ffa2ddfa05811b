"""oci.conf: read as Slurm reads it, each key with its type, and each fault named with its file and line."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from scrun.errors import SlurmError
from scrun.slurm import conf_text, oci_conf

if TYPE_CHECKING:
    from scrun.slurm.oci_conf import Settings

# The names in oci.conf(5) of Slurm 26.05.
KEYS = (
    *("ContainerPath", "CreateEnvFile", "DebugFlags", "DisableCleanup", "DisableHooks", "EnvExclude", "MountSpoolDir"),
    *("RunTimeEnvExclude", "FileDebug", "IgnoreFileConfigJson", "RunTimeCreate", "RunTimeDelete", "RunTimeKill"),
    *("RunTimeQuery", "RunTimeRun", "RunTimeStart", "SrunPath", "SrunArgs", "StdIODebug", "SyslogDebug"),
)
RUN = "RunTimeRun=a\nRunTimeKill=b\nRunTimeDelete=c\n"


def test_the_keys_are_those_of_the_manual_page() -> None:
    assert set(oci_conf.KEYS) == set(KEYS)


@pytest.mark.parametrize(
    ("text", "settings"),
    [
        ("RunTimeKill=crun", {"RunTimeKill": "crun"}),
        ("  RunTimeKill  =  crun  ", {"RunTimeKill": "crun"}),
        ('RunTimeQuery="crun state %n.%u"', {"RunTimeQuery": "crun state %n.%u"}),
        ('RunTimeQuery=""', {"RunTimeQuery": ""}),
        ("RUNTIMERUN=a", {"RunTimeRun": "a"}),
        ("RunTimeRun=a\nRunTimeRun=b", {"RunTimeRun": "b"}),
        ("RunTimeRun=a RunTimeKill=b", {"RunTimeRun": "a", "RunTimeKill": "b"}),
        ('RunTimeRun="a b" RunTimeKill=b', {"RunTimeRun": "a b", "RunTimeKill": "b"}),
        ("RunTimeRun=a=b", {"RunTimeRun": "a=b"}),
        ("# RunTimeRun=a", {}),
        ("", {}),
        ("\r\n \t\r\n", {}),
        ("RunTimeRun=a # a comment", {"RunTimeRun": "a"}),
        (r"RunTimeRun=a\#b", {"RunTimeRun": "a#b"}),
        (r"RunTimeRun=a\\b", {"RunTimeRun": r"a\b"}),
        (r"RunTimeRun=a\\#b", {"RunTimeRun": "a\\"}),
        ('RunTimeRun="a \\\n b"', {"RunTimeRun": "a  b"}),
        ("RunTimeRun=a\\", {"RunTimeRun": "a"}),
        ("SrunArgs=--a\nSrunArgs=--b", {"SrunArgs": ["--a", "--b"]}),
        ('SrunArgs="--a b"', {"SrunArgs": ["--a b"]}),
        ("DisableHooks=prestart,poststop", {"DisableHooks": ["prestart", "poststop"]}),
        ("IgnoreFileConfigJson=TRUE", {"IgnoreFileConfigJson": True}),
        ("DisableCleanup=no", {"DisableCleanup": False}),
        ("CreateEnvFile=true", {"CreateEnvFile": "null"}),
        ("CreateEnvFile=Newline", {"CreateEnvFile": "newline"}),
        ("CreateEnvFile=false", {"CreateEnvFile": "disabled"}),
        ("FileDebug=Debug2", {"FileDebug": "debug2"}),
        ("SyslogDebug=3", {"SyslogDebug": "info"}),
        ('EnvExclude="^(SLURM_CONF|SLURM_CONF_SERVER)="', {"EnvExclude": "^(SLURM_CONF|SLURM_CONF_SERVER)="}),
        ('EnvExclude="^[[:alnum:]()]+[]x][^]y]"', {"EnvExclude": "^[[:alnum:]()]+[]x][^]y]"}),
        ('#scrun: NodeRuntime="crun --root=/r"', {"NodeRuntime": "crun --root=/r"}),
        ("  # scrun: NodeContainer=%n", {"NodeContainer": "%n"}),
        ("# scrun is a runtime: NodeRuntime=x", {}),
    ],
)
def test_a_line_is_read_by_slurms_rules(text: str, settings: dict[str, Any]) -> None:
    assert oci_conf.parse(text) == settings


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("\nRunTimeRum=a", "o:2: oci.conf has no RunTimeRum: see man oci.conf"),
        (
            "RunTimeRun=crun run",
            "o:1: 'RunTimeRun=crun run' is not NAME=VALUE: put a value with blanks in double quotes",
        ),
        ("RunTimeRun='crun run'", "double quotes"),
        ('RunTimeRun="never closed', "o:1: "),
        ('RunTimeRun="a # b"', "o:1: "),
        ('RunTimeRun="a"b', "o:1: "),
        ("no setting", "o:1: "),
        ("=value", "o:1: "),
        ("a\\\nb\nNo=1", "o:1: "),
        ("\n\nRunTimeRun=a\\\n\n  Nosuch=1", "o:5: oci.conf has no Nosuch"),
        ("FileDebug=loud", "o:1: FileDebug='loud' is not one of quiet, fatal, error"),
        ("SyslogDebug=10", "SyslogDebug='10'"),
        ("IgnoreFileConfigJson=maybe", "IgnoreFileConfigJson='maybe' is not true or false"),
        ("CreateEnvFile=zero", "CreateEnvFile='zero' is not null, newline or disabled"),
        ('EnvExclude="^(A="', "EnvExclude='^(A=' is not an extended regular expression"),
        ('RunTimeEnvExclude="^[A="', "not an extended regular expression: a [ without ]"),
        ("#scrun: Nosuch=1", "o:1: oci.conf has no Nosuch"),
    ],
)
def test_an_error_names_file_and_line(text: str, message: str) -> None:
    with pytest.raises(SlurmError) as raised:
        oci_conf.parse(text, "o")
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_it_is_read_from_beside_slurm_conf(tmp_path: Path) -> None:
    (tmp_path / "oci.conf").write_bytes(b"RunTimeRun=crun\xff RunTimeKill=k RunTimeDelete=d\n")
    found = oci_conf.read_file(str(tmp_path / "oci.conf"))
    assert found["RunTimeRun"] == "crun\udcff"


def test_included_files_are_read_and_named_in_errors(tmp_path: Path) -> None:
    (tmp_path / "oci.conf").write_text("Include more.conf\nRunTimeKill=k\n")
    (tmp_path / "more.conf").write_text("RunTimeRun=r\nRunTimeDelete=d\n")
    assert oci_conf.read_file(str(tmp_path / "oci.conf")) == {
        "RunTimeRun": "r",
        "RunTimeDelete": "d",
        "RunTimeKill": "k",
    }
    (tmp_path / "more.conf").write_text("\nNosuch=r\n")
    with pytest.raises(SlurmError, match=r"more\.conf:2: oci\.conf has no Nosuch"):
        oci_conf.read_file(str(tmp_path / "oci.conf"))


def test_a_missing_included_file_is_named_with_line(tmp_path: Path) -> None:
    (tmp_path / "oci.conf").write_text("\nInclude more.conf\n")
    with pytest.raises(SlurmError, match=r"oci\.conf:2: can't read .*more\.conf: No such file"):
        oci_conf.read_file(str(tmp_path / "oci.conf"))


def test_files_that_include_each_other_are_refused(tmp_path: Path) -> None:
    (tmp_path / "oci.conf").write_text("Include more.conf\n")
    (tmp_path / "more.conf").write_text("Include oci.conf\n")
    with pytest.raises(SlurmError, match=r"oci\.conf:1: files include each other"):
        oci_conf.read_file(str(tmp_path / "oci.conf"))


def test_an_unreadable_or_missing_oci_conf_is_named(tmp_path: Path) -> None:
    with pytest.raises(SlurmError, match=r"oci\.conf does not exist"):
        oci_conf.read_file(str(tmp_path / "oci.conf"))
    (tmp_path / "oci.conf").mkdir()
    with pytest.raises(SlurmError, match=r"can't read .*oci\.conf: Is a directory"):
        oci_conf.read_file(str(tmp_path / "oci.conf"))


@pytest.mark.parametrize(
    ("text", "good"),
    [
        (RUN, True),
        (RUN + "RunTimeQuery=q", True),
        ("RunTimeCreate=a RunTimeStart=b RunTimeQuery=c RunTimeKill=d RunTimeDelete=e", True),
        ("IgnoreFileConfigJson=true RunTimeRun=a", True),
        ("", False),
        ("RunTimeRun=a RunTimeKill=b", False),
        (RUN + "RunTimeCreate=x RunTimeStart=y RunTimeQuery=z", False),
        ("RunTimeCreate=a RunTimeStart=b RunTimeKill=d RunTimeDelete=e", False),
    ],
)
def test_patterns_that_slurmd_would_refuse_are_refused_here(text: str, good: bool, tmp_path: Path) -> None:
    (tmp_path / "oci.conf").write_text(text)
    if good:
        assert oci_conf.read_file(str(tmp_path / "oci.conf"))
    else:
        with pytest.raises(SlurmError, match="Slurm would run no container with it"):
            oci_conf.read_file(str(tmp_path / "oci.conf"))


def test_a_slurm_conf_is_read_with_its_includes(tmp_path: Path) -> None:
    (tmp_path / "slurm.conf").write_text("ClusterName=c # it\nSrunPortRange=6-9\nFlags+=a\nInclude nodes.conf\n")
    (tmp_path / "nodes.conf").write_text("NodeName=n[1-2] CPUs=1\n")
    found = conf_text.settings(str(tmp_path / "slurm.conf"))
    assert found["srunportrange"] == "6-9"
    assert found["nodename"] == "n[1-2]"
    assert conf_text.settings(str(tmp_path / "nosuch")) == {}


@pytest.mark.parametrize(
    ("settings", "line", "pattern"),
    [
        ({"MountSpoolDir": "/spool/%n/x"}, "", "/spool/%n/x"),
        ({"MountSpoolDir": "/spool/of/slurm", "ContainerPath": "/c"}, "SlurmdSpoolDir=/other", "/spool/of/slurm"),
        ({"ContainerPath": "/c/%u"}, "SlurmdSpoolDir=/other", "/c/%u/oci-job%j-%s"),
        ({}, "SlurmdSpoolDir = /other/d  # where", "/other/d/oci-job%j-%s"),
        ({}, "slurmdspooldir=/var/spool/slurmd.%n", "/var/spool/slurmd.%n/oci-job%j-%s"),
        ({"MountSpoolDir": "%m/x"}, "ClusterName=c", "/var/spool/slurmd/x"),
        ({"IgnoreFileConfigJson": True, "MountSpoolDir": "/spool"}, "", ""),
    ],
)
def test_where_slurmstepd_mounts_its_files_is_told(tmp_path: Path, settings: Settings, line: str, pattern: str) -> None:
    (tmp_path / "slurm.conf").write_text(f"# SlurmdSpoolDir=/no\n{line}\n")
    environment = {"SLURM_CONF": str(tmp_path / "slurm.conf")}
    found = oci_conf.spool_mounts(settings)
    assert oci_conf.spool_mount(found, [25, 5], environment) == pattern
    before = pattern if "MountSpoolDir" in settings or not pattern else "/var/run/slurm/"
    assert oci_conf.spool_mount(found, [24, 11], environment) == before


def test_the_spool_directory_has_a_default() -> None:
    environment = {"SLURM_CONF": "/nosuch/slurm.conf"}
    assert oci_conf.spool_mount(("%m/x", ""), [26, 5], environment) == "/var/spool/slurmd/x"
