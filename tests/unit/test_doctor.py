"""scrun doctor: what nodes answer is read by type, what files say is judged, and nothing that a check meets ends it."""

from __future__ import annotations

import base64
import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import shellcheck
from hypothesis import given
from hypothesis import strategies as st

from scrun import marks
from scrun.bundle import adapt
from scrun.doctor import (
    cluster,
    examine,
    login_engines,
    login_host,
    login_slurm,
    node_checks,
    node_script,
    report,
    scratch,
    tools,
)
from scrun.doctor.finding import (
    BROKEN,
    OK,
    UNCHECKED,
    WARNING,
    Finding,
    Result,
    broken,
    named,
    ok,
    printable,
    warning,
    worst,
)
from scrun.doctor.node_answer import Answer
from scrun.doctor.node_checks import Asked
from scrun.doctor.nodes import Node
from scrun.doctor.site import Site
from scrun.doctor.trial import FAILED, NAMED, STARTED, make_bundle, outcome
from scrun.errors import ScrunError, UsageError
from scrun.lifecycle.container import origin

ROOT = Path(__file__).parents[2]
OCI = """EnvExclude="^A="
RunTimeKill="crun --root=/run/user/%U/crun kill %n.%j"
RunTimeDelete="crun --root=/run/user/%U/crun delete %n.%j"
RunTimeRun="crun --root=/run/user/%U/crun run --bundle %b %n.%j"
"""


class Elsewhere(Site):
    """A site of a test's: alice's, with directories of its own and programs that say what they are told to say."""

    def __init__(self, home: Path, says: dict[str, str] | None = None, uid: int = 2000, **environment: str) -> None:
        self.root, self.environment = str(home / "run/scrun"), environment
        self.uid, self.user, self._fetched = uid, "alice", ""
        self.home = str(home)
        self.says = {"podman": "", "docker": ""} if says is None else says
        conf = home / "slurm.conf"
        if not conf.exists():
            conf.write_text("ClusterName=test\n")
            conf.with_name("oci.conf").write_text(OCI)
        self.environment["SLURM_CONF"] = str(conf)

    def which(self, name: str) -> str:
        return f"/usr/bin/{name}" if name in self.says else ""

    def run_program(self, *argv: str, seconds: float = 10) -> tuple[int, str]:
        name = Path(argv[0]).name
        return (0, self.says[name]) if name in self.says else (-1, "No such file or directory")


def answer(*lines: str) -> Answer:
    """What a node has said, whole lines and no end unless it is among them."""
    found = Answer()
    found.take(lines, time.time())
    return found


def asked(*lines: str, noise: tuple[int, int] = (0, 0), alive: frozenset[int] | None = frozenset()) -> Asked:
    return Asked("node1", answer(*lines, "end"), time.time(), noise, alive)


def oci_lines(text: str) -> list[str]:
    whole = base64.b64encode(text.encode()).decode()
    return [f"oci {whole[at : at + 76]}" for at in range(0, len(whole), 76)] + ["oci-read yes", "oci-lacks -"]


# The node's script and its answer


def test_the_shell_and_scrun_understand_the_script() -> None:
    subprocess.run(["sh", "-n", "-c", node_script.SCRIPT], check=True)
    done = subprocess.run(
        ["sh", "-c", node_script.SCRIPT, "sh", "printf %s\\\\n 1.2 #", "", "", "/", "", "/etc/passwd"],
        capture_output=True,
        check=True,
        env={"PATH": "/usr/bin:/bin", "SLURM_CONF": "/nonexistent/slurm.conf"},
    )
    found = Answer()
    found.take(marks.texts(done.stdout), time.time())
    assert found.is_complete
    assert found.text("runtime") == "yes 1.2"
    assert found.flag("bundle") is True
    assert isinstance(found.number("most-user"), int)
    assert found.tools["sed"] == "yes"
    assert found.rooms["/tmp"][0] > 0
    assert abs((found.number("clock") or 0) - time.time()) < 3600
    said = {line.partition(" ")[0] for line in marks.texts(done.stdout)}
    assert said - {"tool", "room", "left", "oci", "end"} <= {*found.values}, "each value has a type"


def test_shellcheck_has_nothing_to_say_of_it() -> None:
    assert shellcheck.complaints("--shell=dash", "--exclude=SC1007,SC2046", "-", text=node_script.SCRIPT) == ""


@given(st.lists(st.text() | st.from_regex(r"(clock|overlay|tool|room|left|oci|root|back) .*", fullmatch=True)))
def test_a_nodes_words_are_typed_or_dropped(lines: list[str]) -> None:
    found = answer(*lines)
    assert isinstance(found.number("clock"), int | None)
    assert found.flag("overlay") in (True, False, None)
    assert all(isinstance(job, int) for job in found.left)
    assert all(printable(said) == " ".join(said.split()) for said in found.tools.values())
    for check in node_checks.CHECKS.values():
        site = Site("/nonexistent/scrun", {"SLURM_CONF": "/nonexistent/slurm.conf"})
        result = check(site, Asked("n", found, 0.0, (0, 0), frozenset()))
        assert isinstance(result, Result)


@pytest.mark.parametrize(
    "line",
    ["clock 12x", "clock -1", "clock " + "9" * 40, "overlay maybe", "left 1 2", "back \x1b[2J", "room /tmp 1 2", "tun"],
)
def test_a_value_of_another_type_is_no_value(line: str) -> None:
    found = answer(line)
    assert (found.values, found.left, found.rooms) == ({}, [], {})


def test_only_first_words_before_the_end_count() -> None:
    found = answer("overlay yes", "overlay no", "end", "bind yes")
    assert (found.flag("overlay"), found.flag("bind"), found.is_complete) == (True, None, True)


# What it means


@pytest.mark.parametrize(
    ("lines", "status", "words"),
    [
        (oci_lines(OCI), OK, ""),
        (oci_lines(OCI + '# a remark\n#scrun: History="syslog"\n'), OK, ""),
        (oci_lines(OCI.replace("kill %n", "kill -a %n")), BROKEN, "differs from this host's in RunTimeKill"),
        (oci_lines(OCI + "Nonsense=1\n"), BROKEN, "oci.conf has no Nonsense"),
        (["oci-lacks /etc/slurm/oci.conf"], BROKEN, "node1 has no /etc/slurm/oci.conf"),
        (["oci-lacks -", "oci-read no"], UNCHECKED, "can't read"),
    ],
)
def test_oci_conf_of_a_node(tmp_path: Path, lines: list[str], status: str, words: str) -> None:
    found = node_checks.configuration(Elsewhere(tmp_path), asked(*lines))
    assert found.status == status
    assert words in found.found


@pytest.mark.parametrize("there", ["none", "closed"])
def test_a_site_without_engines_networks_wants_no_tun(tmp_path: Path, there: str) -> None:
    site = Elsewhere(tmp_path)
    (tmp_path / "oci.conf").write_text(f"{OCI}#scrun: NetAllowed=node\n")
    assert node_checks.tun(site, asked("tun yes")).found == "/dev/net/tun can be opened"
    found = node_checks.tun(site, asked(f"tun {there}"))
    assert found.status == OK
    assert "the node's network only" in found.found


def test_a_nodes_oci_conf_includes_no_local_file(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("password\n")
    lines = oci_lines(f"{OCI}Include {tmp_path}/secret\n")
    found = node_checks.configuration(Elsewhere(tmp_path), asked(*lines))
    assert found.status == UNCHECKED
    assert f"includes {tmp_path}/secret" in found.found
    assert "password" not in found.found


NodeCheck = Callable[[Site, Asked], Result]


@pytest.mark.parametrize(
    ("check", "lines", "status"),
    [
        (node_checks.runtime, ["runtime yes crun version 1.28"], OK),
        (node_checks.runtime, ["runtime no sh: crun: not found"], BROKEN),
        (node_checks.run_directory, ["root yes /run/user/2000", "root-owner 2000 700"], OK),
        (node_checks.run_directory, ["root no /run/user", "root-owner 0 755"], BROKEN),
        (node_checks.mounts, ["overlay yes"], OK),
        (node_checks.mounts, ["overlay no"], WARNING),
        (node_checks.mounts, ["overlay yes", "bind no"], WARNING),
        (node_checks.namespaces, ["most-user 9000", "most-net 9000", "user-namespace yes", "net-namespace yes"], OK),
        (node_checks.namespaces, ["most-user 0"], BROKEN),
        (node_checks.namespaces, ["most-net 0"], WARNING),
        (node_checks.namespaces, ["user-namespace no"], BROKEN),
        (node_checks.namespaces, ["user-namespace yes", "net-namespace no"], WARNING),
        (node_checks.namespaces, ["most-net 3", "user-namespace yes", "net-namespace yes"], WARNING),
        (node_checks.programs, ["tool tar tar (GNU tar) 1.35", "tool stat stat (GNU coreutils) 9.4"], BROKEN),
        (node_checks.tun, ["tun yes"], OK),
        (node_checks.tun, ["tun closed"], WARNING),
        (node_checks.tun, ["tun none"], WARNING),
        (node_checks.tun, [], UNCHECKED),
        (node_checks.connection, ["back yes"], OK),
        (node_checks.connection, ["back dropped"], WARNING),
        (node_checks.connection, ["back unknown"], UNCHECKED),
        (node_checks.space, ["room /tmp 1 1024 1000000 2000000"], BROKEN),
        (node_checks.space, ["room /tmp 100000 1024 1000000 2000000"], WARNING),
        (node_checks.space, ["room /tmp 9000000 1024 3 9", "room /var/tmp 9000000 1024 9000 9000"], BROKEN),
        (node_checks.space, ["room /tmp 9000000 1024 9000 9000"], OK),
        (node_checks.space, ["room /tmp 9000000 1024 0 0"], OK),
        (node_checks.leftovers, ["own yes", "left 7"], WARNING),
        (node_checks.leftovers, ["own taken"], WARNING),
        (node_checks.leftovers, ["own none"], OK),
    ],
)
def test_what_an_answer_means(tmp_path: Path, check: NodeCheck, lines: list[str], status: str) -> None:
    found = check(Elsewhere(tmp_path), asked(*lines))
    assert (found.status, bool(found.advice)) == (status, status in (WARNING, BROKEN)), found


@pytest.mark.parametrize("check", node_checks.CHECKS.values())
def test_what_a_node_left_unsaid_is_not_checked(tmp_path: Path, check: NodeCheck) -> None:
    if check is not node_checks.noise:
        assert check(Elsewhere(tmp_path), asked()).status == UNCHECKED


def test_a_clock_that_differs_is_a_warning(tmp_path: Path) -> None:
    for offset, status in ((0, OK), (-100, WARNING), (100, WARNING)):
        found = node_checks.clock(Elsewhere(tmp_path), asked(f"clock {int(time.time()) + offset}"))
        assert found.status == status
    assert "ahead of" in found.found


def test_files_of_a_living_job_are_no_leftovers(tmp_path: Path) -> None:
    one = asked("own yes", "left 7", alive=frozenset({7}))
    assert node_checks.leftovers(Elsewhere(tmp_path), one).status == OK
    unknown = asked("own yes", "left 7", alive=None)
    assert node_checks.leftovers(Elsewhere(tmp_path), unknown).status == UNCHECKED


def test_noise_is_counted_and_not_repeated(tmp_path: Path) -> None:
    found = node_checks.noise(Elsewhere(tmp_path), asked(noise=(2, 1)))
    assert (found.status, "2 lines" in found.found) == (WARNING, True)


@pytest.mark.parametrize(
    ("words", "root"),
    [
        ("crun --root=/run/user/1/crun", "/run/user/1/crun"),
        ("runc --rootless=true --root /run/x/", "/run/x"),
        ("crun", ""),
        ("crun --root=$HOME/x", ""),
        ("crun --root", ""),
        ("crun --root=x", ""),
    ],
)
def test_the_runtimes_directory(words: str, root: str) -> None:
    assert node_checks.runtime_root(words) == root


def test_a_node_without_an_answer_is_one_line(tmp_path: Path) -> None:
    lines: list[Finding] = []
    node = Node("node1", "debug")
    node.is_late = True
    examine._tell(Elsewhere(tmp_path), node, frozenset(), lines.append)
    assert [(line.check, line.status) for line in lines] == [(examine.ANSWER, BROKEN)]
    node.is_queued = True
    assert examine.answered(node).status == UNCHECKED
    node.answer = answer("clock 1")
    assert "stopped answering" in examine.answered(node).found


@pytest.mark.parametrize(("how", "status"), [(NAMED, OK), (STARTED, BROKEN), (FAILED, BROKEN), ("", UNCHECKED)])
def test_how_far_a_container_came(how: str, status: str) -> None:
    node = Node("node1", "debug")
    node.container = how
    assert examine.contained(node).status == status


LAUNCHED = b"""srun: launching StepId=1.0 on host node1, 1 tasks: 0
srun: Node node1, 1 tasks started
"""


@pytest.mark.parametrize(
    ("out", "err", "how"),
    [
        (b"executable file `/x-y` not found", LAUNCHED, NAMED),
        (b"", LAUNCHED + b'level=error msg="exec: \\"/x-y\\": stat /x-y: no such file"', NAMED),
        (b"", LAUNCHED + b"mkdir: Permission denied", STARTED),
        (b"", b"srun: error: Task launch for StepId=1.0 failed on node node1: Unspecified error", FAILED),
        (b"", b"", FAILED),
    ],
)
def test_output_shows_how_far_a_container_came(out: bytes, err: bytes, how: str) -> None:
    assert outcome("/x-y", out, err) == how


def test_the_tried_bundle_belongs_to_its_user_alone(tmp_path: Path) -> None:
    path = Path(make_bundle(Elsewhere(tmp_path), "/x-y"))
    assert (path.parent, path.stat().st_mode & 0o777) == (tmp_path, 0o700)
    assert (path / "config.json").stat().st_mode & 0o777 == 0o600
    assert json.loads((path / "config.json").read_text())["process"]["args"] == ["/x-y"]


def test_the_next_doctor_removes_a_killed_ones_bundle(tmp_path: Path) -> None:
    program = "import sys; from scrun.doctor import scratch; print(scratch.make(sys.argv[1]))"
    died = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=True)
    left, own = Path(died.stdout.strip()), Path(scratch.make(str(tmp_path)))
    assert not left.exists()
    another_hosts = own.with_name(own.name.replace("-doctor-", "-doctor-0"))
    rebooted = own.with_name(own.name.replace(f".{origin.here().boot}.", ".000000000000."))
    nobodys = [own.with_name(name) for name in (".scrun-doctor-abc", ".scrun-doctor-a.b.c-d", ".scrun")]
    linked = own.with_name(rebooted.name + "x")
    for made in (another_hosts, rebooted, *nobodys, tmp_path / "elsewhere"):
        made.mkdir()
    (tmp_path / "elsewhere/file").touch()
    linked.symlink_to("elsewhere")
    scratch.make(str(tmp_path))
    there = [path for path in (own, another_hosts, rebooted, *nobodys, linked) if path.is_dir()]
    assert there == [own, another_hosts, *nobodys, linked]
    assert (tmp_path / "elsewhere/file").exists()


def test_a_bundle_that_cannot_be_made_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_config: object, **_more: object) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(adapt, "adapt", full)
    with pytest.raises(OSError, match="No space left"):
        make_bundle(Elsewhere(tmp_path), "/x-y")
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == []


# Programs


def test_programs_that_are_missing_or_old() -> None:
    assert tools.judge({"tar": "1.35", "stat": "9.4"}, tools.HERE).status == OK
    assert tools.judge({"tar": "1.28", "stat": "9.4"}, tools.HERE).found == "tar 1.28, which is too old"
    assert tools.judge({"tar": "1.35", "stat": "-"}, tools.HERE).found == "no stat"
    there = dict.fromkeys(tools.NODE, "9.9") | dict.fromkeys(tools.WANTED, "yes")
    assert tools.judge(there, tools.NODE, tools.WANTED).status == OK
    assert tools.judge({**there, "flock": "-"}, tools.NODE, tools.WANTED).status == WARNING


@pytest.mark.parametrize(
    ("said", "version"),
    [("tar (GNU tar) 1.35\nmore", "1.35"), ("", ""), ("BusyBox v1.36.1 (x)", "0.0"), ("-", "-"), ("nothing", "")],
)
def test_a_version_is_read_from_the_first_line(said: str, version: str) -> None:
    assert tools.version(said) == version


# The engines' files


@pytest.fixture(autouse=True)
def _no_files_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(login_engines, "_CONTAINERS", ())
    monkeypatch.setattr(login_engines, "_STORAGE", ())


OURS, THEIRS = "scrun version 0.1.0\ncommit: 0.1.0\nspec: 1.2.1\n", "scrun version 26.05.5\nspec: 1.0.0\n"


@pytest.mark.parametrize(
    ("text", "status", "words"),
    [
        ('[engine.runtimes]\nscrun = ["{ours}"]', OK, "{ours}"),
        ('[engine.runtimes]\nscrun = ["/nonexistent/scrun", "{ours}"]', OK, "{ours}"),
        ('[engine.runtimes]\nscrun = ["/nonexistent/scrun"]', BROKEN, "doesn't exist"),
        ('[engine.runtimes]\nscrun = ["{theirs}"]', BROKEN, "is Slurm's own (scrun version 26.05.5)"),
        ('[engine.runtimes]\nscrun = ["{plain}"]', BROKEN, "can't be executed"),
        ('[engine.runtimes]\nscrun = "{ours}"', WARNING, "no containers.conf names scrun"),
        ("[engine]\nruntimes = 3", WARNING, "no containers.conf names scrun"),
        ("[engine", BROKEN, "containers.conf: "),
    ],
)
def test_podmans_runtime(tmp_path: Path, text: str, status: str, words: str) -> None:
    paths = {name: tmp_path / name for name in ("ours", "theirs", "plain")}
    for name, path in paths.items():
        path.write_text("")
        path.chmod(0o644 if name == "plain" else 0o755)
    conf = tmp_path / ".config/containers/containers.conf"
    conf.parent.mkdir(parents=True)
    conf.write_text(text.format(**paths))
    found = login_engines.podman(Elsewhere(tmp_path, {"podman": "", "ours": OURS, "theirs": THEIRS}))
    assert found.status == status, found
    assert words.format(**paths) in found.found


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ('{"runtimes": {"scrun": {"path": "/nonexistent/scrun"}}}', BROKEN),
        ("{", BROKEN),
        ("[]", UNCHECKED),
        ('{"runtimes": {"scrun": 1}}', UNCHECKED),
    ],
)
def test_dockers_runtime(tmp_path: Path, text: str, status: str) -> None:
    conf = tmp_path / ".config/docker/daemon.json"
    conf.parent.mkdir(parents=True)
    conf.write_text(text)
    assert login_engines.docker(Elsewhere(tmp_path)).status == status


@pytest.mark.parametrize(
    ("text", "status", "words"),
    [
        ('[storage]\ndriver = "vfs"\ngraphroot = "$HOME/images"', WARNING, "driver vfs in {home}/images"),
        ('[storage]\ndriver = "vfs"', WARNING, "copies the whole image for each container"),
        ('[storage]\ndriver = "overlay"', OK, "nodes that see {home}/.local/share/containers/storage use its images"),
        (
            '[storage]\ndriver = "overlay"\nimagestore = "/home/images"\n'
            '[storage.options]\nadditionalimagestores = ["/all"]',
            *(OK, "nodes that see /home/images or /all use its images"),
        ),
        ('[storage.options]\nadditionalimagestores = "wrong"', OK, "driver overlay in {home}/.local/share/"),
        ("", OK, "driver overlay in {home}/.local/share/containers/storage"),
        ("[storage", BROKEN, "storage.conf: "),
    ],
)
def test_podmans_storage(tmp_path: Path, text: str, status: str, words: str) -> None:
    conf = tmp_path / ".config/containers/storage.conf"
    conf.parent.mkdir(parents=True)
    conf.write_text(text)
    found = login_engines.podman_storage(Elsewhere(tmp_path))
    assert found.status == status
    assert words.format(home=tmp_path) in found.found


def test_an_engine_not_installed_is_not_checked(tmp_path: Path) -> None:
    for check in login_engines.CHECKS.values():
        assert check(Elsewhere(tmp_path, {})).status == UNCHECKED


# This host


def test_the_directory_of_the_records(tmp_path: Path) -> None:
    site = Elsewhere(tmp_path)
    assert login_host.run_directory(site).status == OK, "it can be made"
    if os.geteuid():  # root can write everywhere
        tmp_path.chmod(0o500)
        assert login_host.run_directory(site).status == BROKEN
        tmp_path.chmod(0o700)
    (tmp_path / "run").mkdir(mode=0o700)
    assert login_host.run_directory(site).status == OK
    (tmp_path / "run").chmod(0o777)
    assert "may be written by others" in login_host.run_directory(site).found


def test_where_what_ran_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "history"
    assert login_host.kept_history(Elsewhere(tmp_path, SCRUN_HISTORY=str(path))) == ok(f"kept in {path}")
    path.symlink_to("/etc/passwd")
    assert login_host.kept_history(Elsewhere(tmp_path, SCRUN_HISTORY=str(path))).status == WARNING
    assert login_host.kept_history(Elsewhere(tmp_path)).status == OK


def test_room_for_a_person() -> None:
    assert [login_host.size(number) for number in (7, 2048, 3 << 20, 5 << 30)] == ["7 B", "2 KB", "3 MB", "5 GB"]


# Slurm


@pytest.mark.parametrize("kind", ["auth/munge", "auth/slurm"])
def test_who_tells_slurm_who_somebody_is(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "socket"
    site = Elsewhere(tmp_path, SLURM_SACK_SOCKET=str(path))
    Path(site.conf).write_text(f"AuthType={kind}\nAuthInfo=ttl=60,socket={path}\n")
    found = login_slurm.authentication(site)
    assert (found.status, f"{path}: No such file" in found.found) == (BROKEN, True)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        assert "Connection refused" in login_slurm.authentication(site).found
        listening.listen()
        assert login_slurm.authentication(site).status == OK
    assert ("munge" in found.found) == (kind == "auth/munge")


def test_ports_that_srun_may_use(tmp_path: Path) -> None:
    site = Elsewhere(tmp_path)
    assert login_slurm.ports(site).status == OK
    with socket.create_server(("", 0)) as taken:
        port = taken.getsockname()[1]
        Path(site.conf).write_text(f"SrunPortRange={port}-{port}\n")
        found = login_slurm.ports(site)
    assert (found.status, "0 of 1 are free" in found.found) == (WARNING, True)


# Nodes, by sinfo


def test_sinfo_gives_nodes_and_their_usable_partitions(tmp_path: Path) -> None:
    lines = ["n1|short|up|idle", "n1|debug*|up|idle", "n2|down|down|idle", "n3|short|up|down*", "n4|short|up|mixed"]
    found = cluster.nodes(Elsewhere(tmp_path, {"sinfo": "\n".join([*lines, "--x|short|up|idle", ""])}))
    assert found == {
        "n1": cluster.Place("debug", ""),
        "n3": cluster.Place("short", "down*"),
        "n4": cluster.Place("short", ""),
    }


@pytest.mark.parametrize(
    "word", ["", "a b", "-x", "n[", "n[a-b]", "n;true", "n[1-99999999]", "n[1-60000]x[1-60000]", "n[2-1]", "$(x)"]
)
def test_what_is_no_list_of_nodes_is_refused(word: str) -> None:
    with pytest.raises(UsageError, match="not a list of nodes"):
        cluster.wanted([word])


def test_lists_of_nodes_are_expanded_once() -> None:
    assert cluster.wanted(["n[1-2],x", "n2"]) == ["n1", "n2", "x"]


def test_only_our_own_options_shape_our_step() -> None:
    caller = {"SLURM_JOB_ID": "7", "SRUN_X": "1", "SLURM_CONF": "/x", "PATH": "/bin", "SCRUN_PARTITION": "gpu"}
    assert cluster.environment(caller) == {"SLURM_CONF": "/x", "PATH": "/bin", "SCRUN_PARTITION": "gpu"}
    assert cluster.asked(caller) == {"partition": "gpu"}


# The report


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ScrunError("x is wrong: mend it"), BROKEN),
        (PermissionError(13, "Permission denied", "/x"), UNCHECKED),
        (RuntimeError("a bug"), UNCHECKED),
        (RecursionError(), UNCHECKED),
    ],
)
def test_a_check_that_fails_is_a_line(error: Exception, status: str) -> None:
    def check() -> Result:
        raise error

    assert examine._attempt(check).status == status


def test_a_finding_is_a_bounded_printable_line() -> None:
    found = named("x", "node1", broken("a\n\x1b[31mb\u202e" + "c" * 1000, "d\te"))
    assert found.found.startswith("a [31mb c")
    assert len(found.found) == 300
    assert found.advice == "d e"


def test_the_worst_of_several_results_counts() -> None:
    assert worst([ok("a"), warning("b", "c"), warning("d", "c")]) == warning("b; d", "c")
    assert worst([ok("a"), ok("b")]) == ok("a; b")
    assert worst([]).status == UNCHECKED


def test_the_document_has_the_documented_shape() -> None:
    findings = [named("a", "login", ok("x")), named("b", "node1", broken("y", "z"))]
    document: dict[str, Any] = json.loads(json.dumps(report.document(findings)))
    assert set(document) == {"doctor", "scrun", "host", "user", "time", "status", "checks"}
    assert (document["doctor"], document["status"]) == (1, BROKEN)
    assert document["checks"][1] == {"check": "b", "where": "node1", "status": BROKEN, "found": "y", "advice": "z"}
    assert report.summary(findings) == "1 broken, 0 warning, 1 ok, 0 not checked"
    assert report.line(findings[1], 5, 6) == "broken       node1   b      y: z"


def test_each_check_is_on_the_page_of_symptoms() -> None:
    symptoms, _, table = (ROOT / "docs/symptoms.md").read_text().partition("## The checks")
    described = [line.split("`")[1] for line in table.splitlines() if line.startswith("| `")]
    assert described == [*examine.NAMES]
    lines = [line.split(" | ")[1] for line in symptoms.splitlines() if line.count(" | ") == 2][1:]
    known = {name for line in lines for name in re.findall(r"`([^`]*)`", line)}
    assert known <= {*examine.NAMES}
    without = {"job-description", "slurm-conf", "srun", "tools", "docker", "node-answer"}
    assert {*examine.NAMES} - known <= without, "each check is some symptom's, but for those that speak for themselves"
