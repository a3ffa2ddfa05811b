"""scrun doctor: a healthy cluster has no broken line, and each fault that is put in has its line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from . import slurm
from .conftest import RUNTIME, MakeContainer
from .test_bad_slurm import install_without
from .test_noise import _noisy_site as noisy_site  # noqa: F401  a fixture
from .test_noise import everywhere
from .users import Done, User, Variables
from .waiting import wait_until

pytestmark = pytest.mark.slurm_only("has no doctor")

NODE = "node1"
SECRET = "Xyzzy-8271"
HANGS = "3"  # seconds for a node that never answers
Configure = Callable[..., Path]
Line = tuple[str, str, str]  # status, what was found, advice


def call(
    user: User, *words: str, env: Variables | None = None, options: Sequence[str] = (), runtime: str = RUNTIME
) -> Done:
    """``scrun OPTIONS doctor WORDS``; it says nothing on standard error, whatever it finds."""
    done = user.run(runtime, *options, "doctor", *words, env=env)
    assert done.errors == b""
    return done


def report(user: User, *words: str, **more: Any) -> dict[str, Any]:
    """The report as JSON; the exit status says whether something is broken."""
    done = call(user, *words, "--format=json", **more)
    document: dict[str, Any] = json.loads(done.output)
    assert done.status == (document["status"] == "broken")
    return document


def lines(user: User, *words: str, where: str = "", **more: Any) -> dict[str, Line]:
    """What the checks of one host say: of this one, or of a node."""
    document = report(user, *words, **more)
    there = where or document["host"]
    return {
        one["check"]: (one["status"], one["found"], one["advice"])
        for one in document["checks"]
        if one["where"] == there
    }


def of_node(user: User, *words: str, node: str = NODE, **more: Any) -> dict[str, Line]:
    return lines(user, f"--node={node}", *words, where=node, **more)


def broken(found: dict[str, Line]) -> set[str]:
    return {check for check, line in found.items() if line[0] == "broken"}


def warned(found: dict[str, Line]) -> set[str]:
    """But for what is so on this cluster, without a fault."""
    return {check for check, line in found.items() if line[0] == "warning"} - usual()


@cache
def usual() -> set[str]:
    """The devcluster's podman has vfs; and crun mounts no overlay at / before 1.28."""
    return {"podman-storage"} | (set() if slurm.mounts_at_root(NODE) else {"node-mounts"})


@cache
def slurms_own() -> str:
    """The program of the same name that comes with Slurm; it may have been moved out of the way."""
    for path in ("/usr/bin/scrun.slurm", "/usr/bin/scrun"):
        if os.path.exists(path) and b"commit:" not in subprocess.run([path, "--version"], capture_output=True).stdout:
            return path
    pytest.fail("this cluster has no scrun of Slurm's own")


@contextmanager
def fault(do: str, undo: str, node: str = NODE) -> Iterator[None]:
    """A shell script on a node, run by root, and one that mends it: it has to work without what was broken."""
    slurm.on_node(node, do)
    try:
        yield
    finally:
        slurm.on_node(node, undo)


@contextmanager
def replaced(path: Path, text: str) -> Iterator[None]:
    """A file of this host with another content."""
    was = path.read_bytes()
    path.write_text(text)
    try:
        yield
    finally:
        path.write_bytes(was)


# A healthy cluster


@pytest.mark.parametrize("name", ["alice", "root"])
def test_a_healthy_cluster_has_no_broken_line(name: str) -> None:
    document = report(User(name), "--all-nodes")
    wrong = {(one["check"], one["status"]) for one in document["checks"] if one["status"] in ("broken", "warning")}
    assert wrong == {(check, "warning") for check in usual()}
    assert {one["where"] for one in document["checks"]} == {"login", "node1", "node2"}
    unchecked = {one["check"] for one in document["checks"] if one["status"] == "not checked"}
    assert unchecked <= {"node-container"}, "root's home directory isn't the nodes'"
    if name == "alice":
        assert not unchecked


def test_a_line_a_check_for_a_person(alice: User) -> None:
    done = call(alice, f"--node={NODE}")
    *checks, summary = done.stdout.splitlines()
    assert done.status == 0
    assert summary.startswith(f"0 broken, {len(usual())} warning, ")
    assert sum(line.startswith("ok ") for line in checks) == len(checks) - len(usual())
    assert len(checks) == len(report(alice, f"--node={NODE}")["checks"])


def test_where_it_is_called_is_no_matter(alice: User) -> None:
    done = alice.run(RUNTIME, "doctor", f"--node={NODE}", cwd=Path("/src")).ok()
    assert done.stdout.count("\nwarning") == len(usual()), "the node has no such directory"


def test_a_host_without_a_slurm_conf(alice: User, directory: Path) -> None:
    (directory / "scrun.lua").write_bytes(Path("/etc/slurm/scrun.lua").read_bytes())
    script = f'mount --bind {directory} /etc/slurm && exec setpriv --reuid=alice --regid=alice --init-groups "$@"'
    words = ["sh", RUNTIME, "doctor", f"--node={NODE}", "--format=json"]
    env = {"SLURM_CONF_SERVER": "login", "HOME": str(alice.home)}
    before = {*Path("/tmp").glob("scrun-doctor-*")}
    done = User("root").run("unshare", "--mount", "sh", "-c", script, *words, env=env).ok()
    checks = {one["check"]: one["status"] for one in json.loads(done.output)["checks"]}
    assert [check for check, status in checks.items() if status == "not checked"] == ["authentication", "srun-ports"]
    assert {*Path("/tmp").glob("scrun-doctor-*")} == before


def test_without_nodes_no_job_is_asked_for(alice: User) -> None:
    before = slurm.known_jobs()
    done = call(alice)
    assert "nodes are asked with --node" in done.stdout
    assert slurm.known_jobs() == before


def test_no_secret_is_in_the_report(alice: User, slurm_conf: Configure) -> None:
    conf = slurm_conf()
    with conf.with_name("oci.conf").open("a") as file:
        file.write(f'MountSpoolDir="/{SECRET}"\n')
    containers = conf.with_name("containers.conf")
    containers.write_text(f'[containers]\nenv = ["TOKEN={SECRET}"]\n')
    env = {"TOKEN": SECRET, "SCRUN_JOB_NAME": SECRET, "CONTAINERS_CONF": str(containers)}
    document = report(alice, "--all-nodes", env=env, options=["-f", str(conf)])
    assert SECRET not in json.dumps(document)
    assert "MountSpoolDir" in json.dumps(document), "where it differs is said by name"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--node=n["], "is not a list of nodes"),
        (["--node=-x"], "is not a list of nodes"),
        (["--node=node1", "--all-nodes"], "exclude each other"),
        (["--wait=soon"], "is not a number of seconds"),
        (["--format=xml"], "format 'xml' is unknown"),
    ],
)
def test_a_wrong_call_is_one_line(alice: User, words: list[str], said: str) -> None:
    done = alice.run(RUNTIME, "doctor", *words)
    assert (done.status, done.stderr.count("\n"), said in done.stderr) == (1, 1, True)


# This host


def test_slurmctld_away(alice: User, slurm_conf: Configure) -> None:
    found = lines(alice, options=["-f", str(slurm_conf(SlurmctldPort="1", MessageTimeout="2"))])
    assert broken(found) == {"slurmctld"}
    assert "can't be reached" in found["slurmctld"][1]


def test_munge_dead(alice: User, slurm_conf: Configure) -> None:
    conf = slurm_conf(AuthInfo="socket=/nonexistent/munge.socket", MessageTimeout="2")
    found = lines(alice, options=["-f", str(conf)])
    assert broken(found) == {"authentication", "slurmctld"}
    assert "/nonexistent/munge.socket: No such file" in found["authentication"][1]


def test_unreachable_slurmctld_leaves_the_node_unchecked(alice: User, slurm_conf: Configure) -> None:
    found = of_node(alice, options=["-f", str(slurm_conf(SlurmctldPort="1", MessageTimeout="1"))])
    assert {check: line[0] for check, line in found.items()} == {"node-answer": "not checked"}


def test_no_slurm_conf(alice: User) -> None:
    found = lines(alice, options=["-f", "/nonexistent/slurm.conf"])
    assert {"slurm-conf", "oci-conf", "slurmctld"} <= broken(found)
    assert "/nonexistent/slurm.conf" in found["slurm-conf"][1]


@pytest.mark.parametrize(
    ("text", "status", "said"),
    [
        (None, "broken", "does not exist"),
        ("Nonsense=1\n", "broken", "oci.conf:1: oci.conf has no Nonsense"),
        ("", "broken", "would run no container"),
        ('RunTimeKill="/x"\nRunTimeDelete="/x"\nRunTimeRun="/x"\n', "warning", "NodeRuntime"),
    ],
)
def test_oci_conf_here(alice: User, slurm_conf: Configure, text: str | None, status: str, said: str) -> None:
    conf = slurm_conf()
    conf.with_name("oci.conf").unlink()
    if text is not None:
        conf.with_name("oci.conf").write_text(text)
    found = lines(alice, options=["-f", str(conf)])["oci-conf"]
    assert (found[0], said in found[1]) == (status, True)


@pytest.mark.parametrize(
    "text", ["function slurm_scrun_stage_in( end\n", "error('no')\n", "while os.execute('sleep 1') do end\n"]
)
def test_a_bad_script(alice: User, slurm_conf: Configure, text: str) -> None:
    conf = slurm_conf()
    conf.with_name("scrun.lua").write_text(text)
    found = lines(alice, options=["-f", str(conf)])
    assert broken(found) == {"scrun-lua"}


def test_slurms_own_scrun_on_the_path(alice: User, directory: Path) -> None:
    (directory / "scrun").symlink_to(slurms_own())
    found = lines(alice, env={"PATH": f"{directory}:/usr/bin:/bin"})
    assert found["program"][0] == "warning"
    assert "is Slurm's own" in found["program"][1]


def test_an_installation_without_libslurms_part(alice: User, container: MakeContainer, directory: Path) -> None:
    one = container("true")
    install_without(one, directory, "scrun/slurm/_allocation")
    assert "installation" in broken(lines(alice, runtime=one.runtime.path))


def test_podmans_runtime_is_nowhere(alice: User, directory: Path) -> None:
    conf = alice.write(directory / "containers.conf", '[engine.runtimes]\nscrun = ["/opt/nosuch/scrun"]\n')
    found = lines(alice, env={"CONTAINERS_CONF": str(conf)})
    assert broken(found) == {"podman"}
    assert "/opt/nosuch/scrun, which doesn't exist" in found["podman"][1]


def test_podman_would_call_slurms_own(alice: User, directory: Path) -> None:
    conf = alice.write(directory / "containers.conf", f'[engine.runtimes]\nscrun = ["{slurms_own()}"]\n')
    assert "is Slurm's own" in lines(alice, env={"CONTAINERS_CONF": str(conf)})["podman"][1]


def test_dockers_runtime_is_nowhere(root: User) -> None:
    text = '{"runtimes": {"scrun": {"path": "/opt/nosuch/scrun"}}}'
    with replaced(Path("/etc/docker/daemon.json"), text):
        found = lines(root)
    assert broken(found) == {"docker"}


def test_podmans_storage_that_nobody_can_read(alice: User, directory: Path) -> None:
    conf = alice.write(directory / "storage.conf", "[storage")
    assert broken(lines(alice, env={"CONTAINERS_STORAGE_CONF": str(conf)})) == {"podman-storage"}


def test_no_subordinate_ids(alice: User) -> None:
    path = Path("/etc/subuid")
    with replaced(path, "bob:165536:65536\n"):
        found = lines(alice)
    assert warned(found) == {"subordinate-ids"}


def test_missing_or_world_writable_root_is_reported(alice: User, directory: Path) -> None:
    found = lines(alice, options=["--root", "/nonexistent/root"])
    assert broken(found) == {"run-directory"}
    directory.chmod(0o777)
    assert "may be written by others" in lines(alice, options=["--root", str(directory / "x")])["run-directory"][1]


def test_a_full_disk_here(alice: User, directory: Path) -> None:
    place = alice.mkdir(directory / "small")
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size=64k,mode=700,uid={alice.uid}", "tmpfs", place], check=True)
    try:
        assert broken(lines(alice, options=["--root", str(place)])) == {"disk-space"}
    finally:
        subprocess.run(["umount", place], check=True)


def test_a_container_whose_processes_were_killed(alice: User, container: MakeContainer) -> None:
    one = container("sleep", "1000").created()
    for pid in (one.record["anchor"], one.record["pid"]):
        os.kill(pid, signal.SIGSTOP)
    for pid in (one.record["anchor"], one.record["pid"]):
        os.kill(pid, signal.SIGKILL)
    found = wait_until(lambda: warned(lines(alice)), "they are dead")
    assert found == {"leftovers"}
    alice.run(RUNTIME, "list").ok()
    wait_until(lambda: not warned(lines(alice)), "list has ended its job")


def test_a_damaged_record(alice: User, container: MakeContainer) -> None:
    one = container("true").created()
    was = (one.path / "state.json").read_bytes()
    (one.path / "state.json").write_bytes(b"{")
    found = lines(alice)
    (one.path / "state.json").write_bytes(was)
    assert warned(found) == {"leftovers"}
    assert one.id in found["leftovers"][1]


# A node


def test_a_node_without_oci_conf(alice: User) -> None:
    with fault("mv /etc/slurm/oci.conf /etc/slurm/oci.gone", "mv /etc/slurm/oci.gone /etc/slurm/oci.conf"):
        found = of_node(alice)
    assert broken(found) == {"node-oci-conf"}
    assert f"{NODE} has no /etc/slurm/oci.conf" in found["node-oci-conf"][1]
    assert found["node-container"][0] == "not checked", "it would have run on the node itself"


def test_a_node_with_another_oci_conf(alice: User) -> None:
    change = "sed -i.was '/^RunTimeKill/s/kill -a/kill/' /etc/slurm/oci.conf"
    with fault(change, "cd /etc/slurm && cat oci.conf.was >oci.conf && rm oci.conf.was"):
        found = of_node(alice)
    assert broken(found) == {"node-oci-conf"}
    assert "RunTimeKill" in found["node-oci-conf"][1]


def test_a_node_without_a_runtime(alice: User) -> None:
    with fault("mv /usr/bin/crun /usr/bin/crun.gone", "mv /usr/bin/crun.gone /usr/bin/crun"):
        found = of_node(alice)
    assert broken(found) == {"node-runtime", "node-container"}
    assert "crun" in found["node-runtime"][1]
    assert found["node-mounts"][0] == "not checked"


def test_a_node_without_the_users_run_directory(alice: User) -> None:
    with fault("mv /run/user/2000 /run/gone", "mv /run/gone /run/user/2000"):
        found = of_node(alice)
    assert broken(found) == {"node-run-directory"}
    assert found["node-container"][0] == "not checked", "the runtime would make a directory of root's there"
    assert "/run/user is the nearest directory" in found["node-run-directory"][1]


def test_a_node_whose_disk_is_full(alice: User) -> None:
    full = "mount -t tmpfs -o size=64k,mode=1777 tmpfs /tmp && ! head -c 1000000 /dev/zero >/tmp/full"
    with fault(full, "cd / && umount --lazy /tmp"):
        assert broken(of_node(alice)) == {"node-space"}


def test_a_node_without_tar(alice: User) -> None:
    with fault("mv /usr/bin/tar /usr/bin/tar.gone", "mv /usr/bin/tar.gone /usr/bin/tar"):
        found = of_node(alice)
    assert broken(found) == {"node-tools"}
    assert found["node-tools"][1] == "no tar"


def test_a_node_whose_clock_is_behind(alice: User) -> None:
    script = '#!/bin/sh\\nexec /usr/bin/date.gone -d -100seconds \\"\\$@\\"\\n'
    change = f'mv /usr/bin/date /usr/bin/date.gone; printf "{script}" >/usr/bin/date; chmod 755 /usr/bin/date'
    with fault(change, "mv /usr/bin/date.gone /usr/bin/date"):
        found = of_node(alice)
    assert warned(found) == {"node-clock"}
    assert "behind this host's" in found["node-clock"][1]


def test_leftovers_of_ended_jobs_are_reported(alice: User) -> None:
    own = "/tmp/scrun-2000"
    change = f"install -d -m 700 -o alice {own} && install -d -o alice {own}/99999999-x {own}/kept-7-x"
    with fault(change, f"rm -r {own}/99999999-x {own}/kept-7-x; rmdir --ignore-fail-on-non-empty {own}"):
        found = of_node(alice)
    assert warned(found) == {"node-leftovers"}
    assert "of 1 jobs" in found["node-leftovers"][1]


@pytest.mark.parametrize(
    ("change", "lack"),
    [("chmod 600 /dev/net/tun", "alice may not open"), ("mv /dev/net/tun /dev/net/gone", "there is no")],
)
def test_a_node_whose_tun_is_not_for_users(alice: User, change: str, lack: str) -> None:
    with fault(change, "mv /dev/net/gone /dev/net/tun 2>/dev/null; chmod 666 /dev/net/tun"):
        found = of_node(alice)
    assert (broken(found), warned(found)) == (set(), {"node-tun"})
    assert found["node-tun"][1].startswith(f"{lack} /dev/net/tun: containers there have no published port")


def test_a_node_without_network_namespaces(alice: User) -> None:
    # The kernel's own number is this machine's, and not the node's alone: only what can be read there is another one.
    # Over such a /proc crun mounts none, so that no container runs there meanwhile.
    limit = "/proc/sys/user/max_net_namespaces"
    with fault(f"echo 0 >/tmp/no-more && mount --bind /tmp/no-more {limit}", f"umount {limit}; rm /tmp/no-more"):
        found = of_node(alice)
    assert "node-namespaces" in warned(found)
    assert found["node-namespaces"][1] == "max_net_namespaces is 0"
    assert "until then containers there have no published port" in found["node-namespaces"][2]


def test_name_taken_by_another_user_is_reported(alice: User) -> None:
    with fault(
        "mv /tmp/scrun-2000 /tmp/kept; mkdir /tmp/scrun-2000", "rmdir /tmp/scrun-2000; mv /tmp/kept /tmp/scrun-2000; :"
    ):
        assert warned(of_node(alice)) == {"node-leftovers"}


RUNC = "runc --rootless=true --root=/run/user/%U/"


def test_a_runtime_that_mounts_nothing_at_the_root(alice: User, oci_conf: Callable[[str], None]) -> None:
    name = "%n.%u.%j.%s.%t"
    oci_conf(
        f'EnvExclude="^(SLURM_CONF|SLURM_CONF_SERVER)="\nRunTimeQuery="{RUNC} state {name}"\n'
        f'RunTimeKill="{RUNC} kill -a {name}"\nRunTimeDelete="{RUNC} delete --force {name}"\n'
        f'RunTimeRun="{RUNC} run {name} -b %b"\n'
    )
    found = of_node(alice)
    assert (broken(found), warned(found) | usual()) == (set(), usual() | {"node-mounts"})
    assert found["node-mounts"][0] == "warning"
    assert found["node-runtime"][1].startswith("runc version")


@pytest.mark.usefixtures("noisy_site")
def test_a_site_that_prints_in_every_task(alice: User) -> None:
    found = of_node(alice)
    assert (broken(found), warned(found)) == (set(), {"node-noise"})
    assert "Welcome" not in found["node-noise"][1]


# alice's own mount in user space, which not even root may enter: what root_squash does with a home of mode 0700. It is
# made when the job begins, because it shows the directory as it was then.
SQUASH = """#!/bin/sh
[ "$SLURM_JOB_UID" = 2000 ] && ! grep -q " /home/alice fuse" /proc/mounts || exit 0
install -d -o alice /var/tmp/squash /var/tmp/squash/upper /var/tmp/squash/work
exec setpriv --reuid=alice --regid=alice --clear-groups fuse-overlayfs \\
    -o lowerdir=/home/alice,upperdir=/var/tmp/squash/upper,workdir=/var/tmp/squash/work /home/alice
"""


@pytest.fixture
def _squashing_server() -> Iterator[None]:
    path, conf = Path("/home/.squash"), "/etc/slurm/slurm.conf"
    path.write_text(SQUASH)
    path.chmod(0o755)
    everywhere(f"cp {conf} {conf}.kept; echo Prolog={path} >>{conf}")
    subprocess.run(["scontrol", "reconfigure"], timeout=60, check=True)
    yield
    path.write_text("#!/bin/sh\n")
    everywhere(f"mv {conf}.kept {conf}; umount /home/alice 2>/dev/null; rm -rf /var/tmp/squash; :")
    subprocess.run(["scontrol", "reconfigure"], timeout=60, check=True)
    wait_until(lambda: broken(of_node(User("alice"))) == set(), "all is as it was")
    path.unlink()


@pytest.mark.usefixtures("_squashing_server")
def test_a_home_directory_that_slurmstepds_root_cannot_read(alice: User) -> None:
    found = wait_until(lambda: broken(of_node(alice)), "the Prolog has run")
    assert found == {"node-container"}


def test_hanging_node_is_reported_and_leaves_no_job(alice: User) -> None:
    script = "#!/bin/sh\\nexec sleep 1000\\n"
    change = f'mv /usr/bin/crun /usr/bin/crun.gone; printf "{script}" >/usr/bin/crun; chmod 755 /usr/bin/crun'
    with fault(change, "mv /usr/bin/crun.gone /usr/bin/crun"):
        found = of_node(alice, f"--wait={HANGS}")
        assert broken(found) == {"node-answer"}
        assert "stopped answering" in found["node-answer"][1]
        wait_until(lambda: not slurm.jobs(alice), "its job has gone")


def test_a_node_that_is_busy_is_one_line(alice: User, held_node: int) -> None:
    found = of_node(alice, f"--wait={HANGS}", node="node2")
    assert {check: line[0] for check, line in found.items()} == {"node-answer": "not checked"}
    assert "busy" in found["node-answer"][1]
    wait_until(lambda: slurm.jobs(alice) == {held_node}, "the job that waited has gone")


def test_missing_and_drained_nodes_are_reported(alice: User) -> None:
    assert of_node(alice, node="nosuch7")["node-answer"][0] == "broken"
    for state in ("drain", "resume"):
        command = ["scontrol", "update", "nodename=node2", f"state={state}", "reason=test"]
        subprocess.run(command, check=True, timeout=30)
        if state == "drain":
            found = of_node(alice, node="node2")
    assert {check: line[0] for check, line in found.items()} == {"node-answer": "not checked"}


def test_killed_doctor_soon_leaves_no_job_or_file(alice: User, held_node: int) -> None:
    there = {*alice.home.glob(".scrun-doctor-*")}
    process = alice.start(RUNTIME, "doctor", "--node=node2")
    wait_until(lambda: slurm.jobs(alice) - {held_node}, "a job is queued")
    process.kill()
    process.wait()
    wait_until(lambda: slurm.jobs(alice) == {held_node}, "its job has gone")
    assert {*alice.home.glob(".scrun-doctor-*")} > there
    of_node(alice, f"--wait={HANGS}", node="node2")
    assert {*alice.home.glob(".scrun-doctor-*")} == there


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_interrupted_doctor_leaves_no_job_or_file(alice: User, held_node: int, number: signal.Signals) -> None:
    there = {*alice.home.glob(".scrun-doctor-*")}
    process = alice.start(RUNTIME, "doctor", "--node=node2")
    wait_until(lambda: slurm.jobs(alice) - {held_node}, "a job is queued")
    assert {*alice.home.glob(".scrun-doctor-*")} > there
    process.send_signal(number)
    assert process.wait(60) == 128 + number
    assert {*alice.home.glob(".scrun-doctor-*")} == there
    wait_until(lambda: slurm.jobs(alice) == {held_node}, "its job has gone")
