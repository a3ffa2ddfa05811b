"""syslog, the levels of a site's oci.conf, and that no log has what may be a secret."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .conftest import MakeContainer
from .engines import Engine
from .oci import Container
from .syslog import Syslog
from .waiting import wait_until

pytestmark = pytest.mark.slurm_only("logs otherwise")

Configure = Callable[..., Path]
LINE = r"<(\d+)>[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d scrun\[\d+\]: (.*)"
SECRET = "Xyzzy-8271"


@pytest.fixture
def syslog() -> Iterator[Syslog]:
    """What the host's syslog would get."""
    one = Syslog()
    yield one
    one.close()


def messages(syslog: Syslog) -> list[tuple[int, str]]:
    """Priority and text of each line."""
    found = [re.fullmatch(LINE, line) for line in syslog.lines]
    assert all(found)
    return [(int(match[1]), match[2]) for match in found if match]


def with_levels(slurm_conf: Configure, *lines: str) -> list[str]:
    """Global options for a configuration with these lines in oci.conf."""
    conf = slurm_conf()
    with conf.with_name("oci.conf").open("a") as file:
        file.write("\n".join(lines) + "\n")
    return ["-f", str(conf)]


def test_nothing_goes_to_syslog_unless_somebody_says_so(container: MakeContainer, syslog: Syslog) -> None:
    one = container("true").started()
    one.ended()
    one.call("start")
    one.call("delete").ok()
    assert syslog.lines == []


def test_an_error_of_a_command_goes_there(container: MakeContainer, syslog: Syslog) -> None:
    one = container("true")
    one.call("state", env={"SCRUN_SYSLOG_DEBUG": "error"})
    ((priority, text),) = messages(syslog)
    assert priority == 10  # user.crit, as Slurm has it for what is fatal
    assert f"container does not exist: no '{one.id}'" in text


@pytest.mark.parametrize("name", ["SCRUN_SYSLOG_DEBUG", "SCRUN_DEBUG"])
def test_the_anchors_messages_go_there(container: MakeContainer, syslog: Syslog, name: str) -> None:
    one = container("true").created(env={name: "debug", "SCRUN_STDERR_DEBUG": "error"})
    one.call("start").ok()
    assert one.ended() == 0
    lines = messages(syslog)
    assert any(priority == 31 and text.startswith(f"container {one.id}: ") for priority, text in lines)
    assert not any(priority & 7 < 6 for priority, _text in lines)


def test_a_site_sets_the_level_in_oci_conf(
    container: MakeContainer, slurm_conf: Configure, syslog: Syslog, directory: Path
) -> None:
    options = with_levels(slurm_conf, "SyslogDebug=debug", "FileDebug=info", "StdIODebug=quiet")
    one = container("true").created("--no-pivot", global_options=[*options, "--log", str(directory / "log")])
    assert any(text.startswith(f"container {one.id}: ") for _, text in messages(syslog))
    assert "level=debug" not in (directory / "log").read_text()
    one.call("start").ok()
    one.ended()
    log = one.path / "anchor.log"
    assert not log.exists() or "level=debug" not in log.read_text()


def test_a_users_variable_wins_over_oci_conf(container: MakeContainer, slurm_conf: Configure, syslog: Syslog) -> None:
    options = with_levels(slurm_conf, "SyslogDebug=debug")
    container("true").created(global_options=options, env={"SCRUN_SYSLOG_DEBUG": "error"})
    assert syslog.lines == []


def test_an_error_is_there_once(container: MakeContainer, slurm_conf: Configure, syslog: Syslog) -> None:
    options = with_levels(slurm_conf, "SyslogDebug=error")
    one = container("true")
    one.create(global_options=options, env={"SCRUN_PARTITION": "nosuch"})
    ((_, text),) = messages(syslog)
    assert "partition" in text


def test_a_stage_out_that_fails_unnoticed_is_there(
    container: MakeContainer, slurm_conf: Configure, syslog: Syslog
) -> None:
    options = with_levels(slurm_conf, "SyslogDebug=error")
    script = Path(options[1]).with_name("scrun.lua")
    text = script.read_text().replace("    scrun.stage_out()\n", "    error('no way back')\n")
    script.unlink()
    script.write_text(text)
    one = container("true").started(global_options=options)
    assert one.ended() == 0
    wait_until(lambda: any("no way back" in text for _, text in messages(syslog)), "the error is in syslog")


def drop(config: dict[str, object], entry: object) -> None:
    """Add an entry to the container's environment."""
    process = config["process"]
    assert isinstance(process, dict)
    process["env"].append(entry)


@pytest.mark.parametrize(
    ("words", "change", "env"),
    [
        (("sh", "-c", "exit 3"), None, {}),
        (("nosuch",), None, {}),
        (("true",), lambda config: drop(config, [SECRET]), {}),
        (("true",), lambda config: drop(config, f"{SECRET}\0"), {}),
        (("true",), lambda config: config["process"].update(env=SECRET), {}),
        (("true",), lambda config: config["process"].pop("cwd"), {}),
        (("true",), None, {"SCRUN_PARTITION": "nosuch"}),
        (("true",), None, {"SCRUN_PARTITION": "down", "SCRUN_CREATE_TIMEOUT": "1"}),
    ],
    ids=["runs", "not found", "env of lists", "NUL", "env a string", "bad config", "refused", "queued"],
)
def test_no_log_has_a_value_of_an_environment(
    container: MakeContainer,
    syslog: Syslog,
    directory: Path,
    words: tuple[str, ...],
    change: Callable[[dict[str, object]], object] | None,
    env: dict[str, str],
) -> None:
    log = directory / "log"
    one = container(*words, env=[f"TOKEN={SECRET}"], change=change)
    one.create(
        global_options=["--log", str(log), "--log-level", "debug2"],
        env={"SCRUN_DEBUG": "debug2", "PASSWORD": SECRET, **env},
    )
    anchor_log = run_to_its_end(one)
    said = b"".join([log.read_bytes(), one.errors, anchor_log, "".join(syslog.lines).encode()])
    assert said
    assert SECRET.encode() not in said


def run_to_its_end(one: Container) -> bytes:
    """Start it, signal it, delete it, as far as there is one, all at level debug2; what its anchor has logged."""
    env = {"SCRUN_DEBUG": "debug2"}
    one.call("start", env=env)
    one.call("kill", "USR1", env=env)
    log = one.path / "anchor.log"
    said = log.read_bytes() if log.exists() else b""
    one.call("delete", env=env)
    return said


def test_logs_omit_variables_given_to_an_engine(podman: Engine, syslog: Syslog, directory: Path) -> None:
    log = directory / "log"
    flags = (f"--runtime-flag=log={log}", "--runtime-flag=log-level=debug2")
    done = podman.call(*flags, *podman.words(f"--env=TOKEN={SECRET}", command=("sh", "-c", "exit 3")))
    assert done.status == 3
    assert log.read_bytes()
    assert SECRET.encode() not in log.read_bytes() + done.errors + "".join(syslog.lines).encode()
