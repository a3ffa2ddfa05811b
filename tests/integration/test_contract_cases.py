"""Cases that a runtime meets seldom: odd names and words, several calls at once, signals by every name."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from . import slurm
from .conftest import MakeContainer
from .oci import Container
from .rootfs import Config
from .users import Done, User
from .waiting import PATIENCE, wait_until

TRAP = "trap 'exit 42' TERM; echo ready; while :; do sleep 0.1; done"
STATUSES = ("creating", "created", "running", "paused", "stopped")

slurms_own = pytest.mark.slurm_only("in words of its own")


@pytest.fixture
def running(container: MakeContainer) -> Container:
    """A container that ends with 42 when it is told to."""
    one = container("sh", "-c", TRAP).started()
    one.wait_for_output(b"ready\n")
    return one


def execute(one: Container, *words: str, options: tuple[str, ...] = ()) -> Done:
    """``exec [OPTIONS] ID WORDS``."""
    return one.runtime.run("exec", *options, one.id, *words)


def together(one: Container, *calls: tuple[str, ...]) -> list[int]:
    """The exit statuses of calls that begin at the same time."""
    started = [one.runtime.user.start(*one.runtime.argv(*call)) for call in calls]
    return [process.wait(PATIENCE) for process in started]


# --- several calls at once


def test_of_two_starts_at_once_one_succeeds(container: MakeContainer) -> None:
    one = container("sh", "-c", "echo ran; sleep 1000").created()
    assert sorted(together(one, *[("start", one.id)] * 4))[:2] == [0, 1]
    one.wait_for_output(b"ran\n")
    assert one.output == b"ran\n"


def test_concurrent_deletes_of_a_created_container_never_hang(container: MakeContainer) -> None:
    one = container("sleep", "1000").created()
    assert 0 in together(one, *[("delete", "--force", one.id)] * 4)
    assert not one.path.exists()


def test_of_many_kills_at_once_each_is_answered(running: Container) -> None:
    statuses = together(running, *[("kill", running.id, "KILL")] * 6)
    assert statuses.count(0) >= 1
    assert set(statuses) <= {0, 1}
    running.wait_for("stopped")


def test_state_during_a_delete_is_whole(running: Container) -> None:
    deleting = running.runtime.user.start(*running.runtime.argv("delete", "--force", running.id))
    answers = []
    while deleting.poll() is None:
        answers.append(running.call("state"))
    assert deleting.wait() == 0
    answers.append(running.call("state"))
    for done in answers:
        if done.status:
            assert "does not exist" in done.stderr
            assert (done.stdout, len(done.stderr.splitlines())) == ("", 1)
        else:
            assert json.loads(done.output)["status"] in STATUSES
    assert answers[-1].status == 1


def test_an_exec_in_what_is_killed_meanwhile_ends(running: Container, directory: Path) -> None:
    with open(directory / "output", "wb") as output:
        several = [
            running.runtime.user.start(
                *running.runtime.argv("exec", running.id, "sh", "-c", "echo ready; sleep 600"),
                stdin=subprocess.DEVNULL,
                stdout=output,
            )
            for _ in range(3)
        ]
    wait_until(lambda: (directory / "output").read_bytes().count(b"ready") >= 1, "one of them runs")
    running.call("kill", "KILL").ok()
    assert 0 not in [process.wait(PATIENCE) for process in several]
    running.wait_for("stopped")


# --- signals


@slurms_own
@pytest.mark.parametrize("name", ["34", "37", "64", "RTMIN", "SIGRTMIN", "RTMIN+3", "SIGRTMIN+3", "RTMAX-2", "rtmax"])
def test_every_form_of_a_real_time_signal_works(container: MakeContainer, name: str) -> None:
    one = container(
        "sh", "-c", 'for n in $(seq 34 64); do trap "exit $n" $n; done; echo ready; while :; do sleep 0.1; done'
    )
    one.started().wait_for_output(b"ready\n")
    one.call("kill", name).ok()
    first, last = signal.SIGRTMIN, signal.SIGRTMAX
    numbers = {"RTMIN": first, "RTMIN+3": first + 3, "RTMAX-2": last - 2, "RTMAX": last}
    assert one.ended() == int(numbers.get(name.upper().removeprefix("SIG"), name if name.isdigit() else -1))


@slurms_own
@pytest.mark.parametrize(
    "name", ["RTMIN+31", "RTMAX-31", "RTMIN-1", "RTMAX+1", "RTMIN+", "RTMIN+x", "RTMIN+-1", "SIGSIGTERM"]
)
def test_invalid_real_time_signal_is_refused(running: Container, name: str) -> None:
    done = running.call("kill", name)
    assert done.status == 1
    assert "unknown signal" in done.stderr


def test_signal_0_asks_whether_it_runs(container: MakeContainer) -> None:
    one = container("sh", "-c", TRAP).started()
    if not one.runtime.is_scrun:
        pytest.skip("crun: has no name for 0")
    one.call("kill", "0").ok()
    assert one.status() == "running"
    one.call("kill", "KILL").ok()
    one.ended()
    assert "container not running" in one.call("kill", "0").stderr


# --- exec


@slurms_own
def test_exec_in_a_missing_directory_is_reported(running: Container) -> None:
    done = execute(running, "true", options=("--cwd", "/nosuch"))
    assert done.status == 255
    assert "/nosuch" in done.stderr
    assert "no such file or directory" in done.stderr.lower()
    assert len(done.stderr.splitlines()) == 1


def test_an_exec_has_a_home(running: Container) -> None:
    assert execute(running, "sh", "-c", "echo $HOME").ok().stdout.strip() == "/"  # of /etc/passwd, as with any runtime


def test_an_exec_as_another_user_has_their_home(container: MakeContainer, root: User, directory: Path) -> None:
    passwd = directory / "passwd"
    passwd.write_text("root:x:0:0::/root:/bin/sh\nguest:x:1000:1000::/guest:/bin/sh\n", encoding="ascii")
    mount = {"destination": "/etc/passwd", "type": "bind", "source": str(passwd), "options": ["bind"]}
    one = container("sh", "-c", TRAP, user=root, change=lambda config: config["mounts"].append(mount))
    one.started().wait_for_output(b"ready\n")
    assert execute(one, "sh", "-c", "echo $HOME").ok().stdout == "/root\n"
    assert execute(one, "sh", "-c", "echo $HOME", options=("--user", "1000")).ok().stdout == "/guest\n"
    assert execute(one, "sh", "-c", "echo $HOME", options=("--user", "1000", "--env", "HOME=/x")).ok().stdout == "/x\n"


STATUS = ("grep", "-e", "NoNewPrivs", "-e", "CapEff", "-e", "Groups", "-e", "Uid", "-e", "Gid", "/proc/self/status")


def status(one: Container, *options: str) -> dict[str, list[str]]:
    """What the kernel says of a process that was run so."""
    lines = execute(one, *STATUS, options=options).ok().stdout.splitlines()
    return {name: rest.split() for name, _, rest in (line.partition(":") for line in lines)}


@pytest.mark.parametrize(
    ("options", "key", "value"),
    [
        ((), "NoNewPrivs", ["0"]),
        (("--no-new-privs",), "NoNewPrivs", ["1"]),
        ((), "CapEff", ["0000000000000020"]),
        (("--cap", "CAP_NET_ADMIN"), "CapEff", ["0000000000001020"]),
        (("-c", "net_admin"), "CapEff", ["0000000000001020"]),
        (("--user", "1000"), "Uid", ["1000"] * 4),
        (("--user", "1000:2000"), "Gid", ["2000"] * 4),
        (("-g", "10", "--additional-gids", "20"), "Groups", ["10", "20"]),
    ],
)
def test_exec_identity_is_as_requested_for_root(
    container: MakeContainer, root: User, options: tuple[str, ...], key: str, value: list[str]
) -> None:
    one = container("sh", "-c", TRAP, user=root, change=lambda config: config["process"].pop("noNewPrivileges"))
    one.started().wait_for_output(b"ready\n")
    if not one.runtime.is_scrun and key != "Uid":
        pytest.skip("crun: names and sums them otherwise")
    assert status(one, *options)[key] == value


@slurms_own
@pytest.mark.parametrize("options", [("--user", "1000:1000"), ("-g", "10"), ("--cap", "CAP_NET_ADMIN")], ids=str)
def test_exec_accepts_an_unmapped_user(running: Container, options: tuple[str, ...]) -> None:
    assert status(running, *options)["Uid"] == ["0"] * 4


@pytest.mark.parametrize("size", [100_000, 400_000, 800_000])
def test_an_exec_with_much_environment(container: MakeContainer, size: int) -> None:
    env = [f"V{number}={'x' * 1000}" for number in range(size // 1000)]
    one = container("sh", "-c", TRAP, env=env).started()
    one.wait_for_output(b"ready\n")
    done = execute(one, "sh", "-c", "env | grep -c ^V.*=x")
    assert (done.status, done.stdout.strip()) == (0, str(size // 1000)), done.stderr[-300:]


ODD = (
    "two words",
    "a\nb",
    "",
    "'",
    '"',
    "$HOME `id` $(id)",
    "\\n%s%n%t",
    "ü€😀",
    "*",
    "-x",
    "--",
    "a=b;c|d&e",
    "\t",
    "\x01",
)


def test_words_arrive_as_they_are_through_exec(running: Container) -> None:
    done = execute(running, "sh", "-c", 'for word; do printf "%s\\0" "$word"; done', "sh", *ODD).ok()
    assert done.output.split(b"\0")[:-1] == [word.encode() for word in ODD]


def test_words_and_variables_arrive_as_they_are(container: MakeContainer) -> None:
    script = 'for word; do printf "%s\\0" "$word"; done; printf "%s\\0" "$LINES_OF_IT" "$EMPTY"'
    one = container("sh", "-c", script, "sh", *ODD, env=["LINES_OF_IT=one\ntwo\n'\"$x`", "EMPTY="]).started()
    assert one.ended() == 0
    assert one.output.split(b"\0")[:-1] == [*[word.encode() for word in ODD], b"one\ntwo\n'\"$x`", b""]


@slurms_own
def test_undecodable_bytes_are_refused_in_one_line(running: Container) -> None:
    # JSON has no form for them.
    done = execute(running, "echo", os.fsdecode(b"a\xffb"))
    assert done.status == 255
    assert len(done.stderr.splitlines()) == 1
    assert "internal error" not in done.stderr


# --- bundles and configurations


@pytest.mark.parametrize(
    "name", ["two words", "ünïcode-😀", "quote'\"s", "per%cent %n %b", "$HOME `id`", "back\\slash", "a,b;c:d"]
)
def test_a_bundle_of_any_name(container: MakeContainer, name: str) -> None:
    one = container("sh", "-c", "echo ran; echo made >/made; exit 7")
    kept, moved = one.bundle, one.bundle / name
    moved.mkdir()
    for entry in ("rootfs", "config.json"):
        (kept / entry).rename(moved / entry)
    one.bundle = moved
    try:
        one.pid_file = one.directory / f"{name}.pid"
        assert one.started().ended() == 7
        assert one.output == b"ran\n"
        assert (moved / "rootfs/made").read_text() == "made\n"
        one.call("delete").ok()
    finally:
        for entry in ("rootfs", "config.json"):
            (moved / entry).rename(kept / entry)
        moved.rmdir()


@pytest.mark.parametrize("kind", ["absolute", "relative", "dotted", "symlink"])
def test_a_rootfs_wherever_it_is(container: MakeContainer, kind: str) -> None:
    one = container("sh", "-c", "echo made >/made; cat /made").created
    path = one.__self__.bundle  # type: ignore[attr-defined]
    config = json.loads((path / "config.json").read_text())
    config["root"]["path"] = {
        "absolute": str(path / "rootfs"),
        "relative": "rootfs",
        "dotted": f"./../{path.name}/rootfs/",
        "symlink": "etc/link",
    }[kind]
    if kind == "symlink":
        (path / "rootfs/tmp/link").symlink_to(path / "rootfs")
        config["root"]["path"] = "rootfs/tmp/link"
    (path / "config.json").write_text(json.dumps(config))
    container_ = one()
    container_.call("start").ok()
    assert container_.ended() == 0, container_.errors
    assert container_.output == b"made\n"
    assert (path / "rootfs/made").exists()


def test_a_configuration_of_a_megabyte(container: MakeContainer) -> None:
    def change(config: Config) -> None:
        config["annotations"] = {f"org.example.{number}": "ü" * 1000 for number in range(500)}

    one = container("sh", "-c", "exit 7", change=change).started()
    assert one.ended() == 7
    assert len(one.state()["annotations"]) == 500


@pytest.mark.parametrize("cwd", ["/two words", "/ü", "/quote'\"s", "/per%cent"])
def test_a_working_directory_of_any_name(container: MakeContainer, cwd: str) -> None:
    one = container("pwd", change=lambda config: config["process"].update(cwd=cwd))
    (one.bundle / "rootfs" / cwd[1:]).mkdir()
    os.chown(one.bundle / "rootfs" / cwd[1:], one.runtime.user.uid, one.runtime.user.gid)
    assert one.started().ended() == 0
    assert one.output.decode() == f"{cwd}\n"


@pytest.mark.parametrize("hostname", ["box", "a-b.example.org", "x" * 64])
def test_a_host_name(container: MakeContainer, hostname: str) -> None:
    one = container("hostname", change=lambda config: config.update(hostname=hostname)).started()
    assert one.ended() == 0
    assert one.output.decode() == f"{hostname}\n"


@pytest.mark.parametrize("size", [100, 125])
def test_an_argument_of_many_kilobytes(container: MakeContainer, size: int) -> None:
    one = container("sh", "-c", "echo ${#1}; exit 7", "sh", "x" * (size << 10)).started()
    assert one.ended() == 7
    assert int(one.output) == size << 10


def test_many_arguments(container: MakeContainer) -> None:
    one = container("sh", "-c", "echo $#; exit 7", "sh", *["x" * 100] * 4000).started()
    assert one.ended() == 7, one.errors[-300:]
    assert int(one.output) == 4000


# --- what is there is not overwritten, nor lost


def test_existing_pid_file_is_replaced_as_a_whole(container: MakeContainer) -> None:
    one = container("true")
    one.runtime.user.write(one.pid_file, "12345678901234567890\n")
    one.created()
    assert int(one.pid_file.read_text()) == one.state()["pid"]


@slurms_own
def test_kill_and_delete_take_a_pattern(container: MakeContainer) -> None:
    several = [container("sh", "-c", TRAP) for _ in range(3)]
    base = several[0].id
    for number, one in enumerate(several):
        one.id = f"{base}-{'ab'[number // 2]}{number}"
        one.started().wait_for_output(b"ready\n")
    pattern = f"^{base}-a.$"
    several[0].runtime.run("kill", "--regex", pattern, "TERM").ok()
    assert [one.ended() for one in several[:2]] == [42, 42]
    assert several[2].status() == "running"
    several[0].runtime.run("delete", "-r", "-f", pattern).ok()
    wait_until(lambda: not (several[0].path.exists() or several[1].path.exists()), "those two have gone")
    assert several[2].path.exists()
    assert slurm.jobs() >= {several[2].record["job"]}


@slurms_own
@pytest.mark.parametrize("length", [256, 1024])
def test_a_too_long_id_is_refused(container: MakeContainer, length: int) -> None:
    one = container("true")
    done = one.runtime.run("create", "--bundle", str(one.bundle), "x" * length)
    assert done.status == 1
    assert "choose a shorter id" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert "does not exist" in one.runtime.run("state", "x" * length).stderr


def test_container_outlives_a_caller_with_pdeathsig(container: MakeContainer) -> None:
    # go-runc calls with PDEATHSIG=KILL, and threads of Go's come and go.
    one = container("sh", "-c", TRAP)
    words = one.runtime.argv("create", "--bundle", str(one.bundle), "--pid-file", str(one.pid_file), one.id)
    one.runtime.user.run("sh", "-c", 'setpriv --pdeathsig KILL "$@"; exit $?', "sh", *words).ok()
    assert one.status() == "created"
    one.runtime.user.run("setpriv", "--pdeathsig", "KILL", *one.runtime.argv("start", one.id)).ok()
    assert execute(one, "true").status == 0
    assert one.status() == "running"
