"""Containers that share a namespace with another one are steps of that one's job, and end with it."""

from __future__ import annotations

import json
import subprocess
import uuid
from collections.abc import Callable
from typing import Any

import pytest

from . import slurm
from .conftest import MakeContainer
from .oci import Container, Runtime
from .users import User
from .waiting import wait_until

pytestmark = pytest.mark.slurm_only("there is no job to share")

WAIT = ("sh", "-c", "echo $SLURM_JOB_ID $SLURMD_NODENAME; exec sleep 1000")
WHERE = "echo $SLURM_JOB_ID $SLURMD_NODENAME $(hostname)"
LIMITS = {"cpu": {"quota": 200000, "period": 100000}, "memory": {"limit": 100 << 20}}


def sharing(other: Container, *kinds: str, more: dict[str, Any] | None = None) -> Callable[[dict[str, Any]], None]:
    """Makes a config one that shares these namespaces with another container, as engines write it."""
    pid = other.record["pid"]
    names = {"network": "net"}

    def change(config: dict[str, Any]) -> None:
        config.pop("hostname", None)
        kept = [entry for entry in config["linux"]["namespaces"] if entry["type"] not in kinds]
        paths = [{"type": kind, "path": f"/proc/{pid}/ns/{names.get(kind, kind)}"} for kind in kinds]
        config["linux"]["namespaces"] = kept + paths
        config |= more or {}

    return change


def place(container: Container) -> list[str]:
    """The job and the node that it says, and what it says after that."""
    container.wait_for_output(b"\n")
    return container.output.decode().split()


@pytest.fixture
def host(container: MakeContainer) -> Container:
    """A container on node2, where nothing runs by itself."""
    return container(*WAIT).started(env={"SCRUN_JOB_NODELIST": "node2", "SCRUN_CPUS_PER_TASK": "2"})


@pytest.mark.parametrize("kind", ["network", "ipc", "pid", "uts"])
def test_whatever_is_shared_they_are_in_one_job(container: MakeContainer, host: Container, kind: str) -> None:
    guest = container("sh", "-c", WHERE, change=sharing(host, kind)).started()
    assert guest.ended() == 0
    assert place(guest)[:2] == place(host)
    guest.call("delete").ok()
    assert host.status() == "running"
    assert slurm.job_fields(host.record["job"])["JobState"] == "RUNNING"


def test_they_reach_each_other_at_localhost(container: MakeContainer, host: Container) -> None:
    serve = "echo hello >/tmp/a; exec busybox httpd -f -p 8061 -h /tmp"
    server = container("sh", "-c", serve, change=sharing(host, "network")).started()
    ask = "until busybox wget -q -O - http://127.0.0.1:8061/a; do sleep 0.1; done"
    client = container("sh", "-c", ask, change=sharing(server, "network")).started()
    assert client.ended() == 0
    assert client.output == b"hello\n"
    assert {server.record["job"], client.record["job"]} == {host.record["job"]}


def test_guest_sees_the_job_as_sallocs_shell_does(container: MakeContainer, host: Container) -> None:
    guest = container("env", change=sharing(host, "network")).started()
    assert guest.ended() == 0
    found = dict(line.split("=", 1) for line in guest.output.decode().splitlines())
    assert found["SLURM_JOB_NAME"] == "scrun"
    assert found["SLURM_CPUS_ON_NODE"] == "2"
    assert found["SLURM_STEP_ID"] != "0"


def test_shared_uts_namespace_brings_the_others_host_name(container: MakeContainer) -> None:
    host = container(*WAIT, change=lambda config: config.update(hostname="the-pod")).started()
    guest = container("sh", "-c", "hostname; exec sleep 1000", change=sharing(host, "uts", "network")).started()
    third = container("hostname", change=sharing(guest, "uts")).started()
    assert (third.ended(), third.output) == (0, b"the-pod\n")
    assert guest.output == b"the-pod\n"


def test_a_host_name_of_ones_own_stays(container: MakeContainer) -> None:
    host = container(*WAIT, change=lambda config: config.update(hostname="the-pod")).started()
    guest = container("hostname", change=sharing(host, "network", more={"hostname": "mine"})).started()
    assert (guest.ended(), guest.output) == (0, b"mine\n")


def test_guest_shares_a_network_that_leads_nowhere(container: MakeContainer, alice: User) -> None:
    # As podman writes it: a file, of which it is seen that no way leads out of it; the stand-in stays in this host's.
    name = f"test-{uuid.uuid4().hex[:8]}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:

        def change(config: dict[str, Any]) -> None:
            config["linux"]["namespaces"].append({"type": "network", "path": f"/run/netns/{name}"})

        host = container(*WAIT, change=change).started()
        guest = container("ip", "-o", "link", change=sharing(host, "network")).started(
            env={"SCRUN_STDERR_DEBUG": "info"}
        )
        assert guest.ended() == 0
        assert guest.output.count(b"\n") == guest.output.count(b"lo:") == 1
        said = f"container {host.id} has no network: the two have a loopback each, and can't reach each other"
        assert said in guest.errors.decode()
        by_file = container("sh", "-c", WHERE, change=change).started()
        assert by_file.ended() == 0
        assert place(by_file)[0] == place(host)[0]
    finally:
        subprocess.run(["ip", "netns", "del", name], check=True)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"env": ["SCRUN_PARTITION=short"]}, "SCRUN_PARTITION"),
        ({"more": {"annotations": {"slurm.gpus": "1"}}}, "annotation slurm.gpus"),
    ],
)
def test_guest_that_requests_a_job_gets_its_own(
    container: MakeContainer, host: Container, given: dict[str, Any], said: str
) -> None:
    change = sharing(host, "network", more=given.get("more"))
    guest = container("sh", "-c", WHERE, env=given.get("env", ()), change=change)
    guest.started(env={"SCRUN_STDERR_DEBUG": "info"})
    assert guest.ended() == 0
    assert place(guest)[0] != place(host)[0]
    job = f"job {host.record['job']} of container {host.id}, whose network namespace it shares"
    assert f"{said} asks for a job of its own: the container isn't in {job}" in guest.errors.decode()


def test_callers_environment_is_no_request_for_another_job(container: MakeContainer) -> None:
    said = {"SCRUN_PARTITION": "short", "SCRUN_CPUS_PER_TASK": "2"}
    host = container(*WAIT).started(env=said)
    change = sharing(host, "network", more={"annotations": {"slurm.partition": "short"}})
    guest = container("sh", "-c", f"{WHERE} $SLURM_CPUS_ON_NODE", change=change).started(env=said)
    assert guest.ended() == 0
    assert place(guest)[0] == place(host)[0]
    assert place(guest)[-1] == "2"


@pytest.mark.parametrize("how", ["caller", "container", "annotation"])
def test_it_can_be_switched_off(container: MakeContainer, host: Container, how: str) -> None:
    change = sharing(host, "network", more={"annotations": {"slurm.share-job": "no"} if how == "annotation" else {}})
    guest = container("sh", "-c", WHERE, env=["SCRUN_SHARE_JOB=no"] if how == "container" else (), change=change)
    guest.started(env={"SCRUN_SHARE_JOB": "no"} if how == "caller" else {})
    assert guest.ended() == 0
    assert place(guest)[0] != place(host)[0]


def test_a_job_that_is_named_wins(container: MakeContainer, host: Container, alice: User) -> None:
    job = slurm.allocate(alice)
    try:
        guest = container("sh", "-c", WHERE, change=sharing(host, "network")).started(env={"SLURM_JOB_ID": str(job)})
        assert guest.ended() == 0
        assert place(guest)[0] == str(job)
    finally:
        slurm.release(job)


def test_guests_own_limits_are_reported_as_without_effect(container: MakeContainer, host: Container) -> None:
    def change(config: dict[str, Any]) -> None:
        sharing(host, "network")(config)
        config["linux"]["resources"] = LIMITS

    guest = container("sh", "-c", f"{WHERE} $SLURM_CPUS_ON_NODE", change=change)
    guest.started(env={"SCRUN_STDERR_DEBUG": "info"})
    assert guest.ended() == 0
    assert place(guest)[0] == place(host)[0]
    assert "the container's limits (cpus, memory) have no effect: it runs in job" in guest.errors.decode()


def test_guest_waits_with_its_host_for_their_job(container: MakeContainer, held_node: int) -> None:
    patience = {"SCRUN_CREATE_TIMEOUT": "1"}
    host = container(*WAIT).started(env={"SCRUN_JOB_NODELIST": "node2", **patience})
    guest = container("sh", "-c", WHERE, change=sharing(host, "network")).started(env=patience)
    assert guest.record["job"] == host.record["job"]
    slurm.release(held_node)
    assert guest.ended(60) == 0
    assert place(guest)[:2] == place(host)


def test_guest_runs_once_on_the_first_node(container: MakeContainer) -> None:
    host = container(*WAIT).started(env={"SCRUN_JOB_NUM_NODES": "2", "SCRUN_NTASKS": "4"})
    wait_until(lambda: host.output.count(b"\n") == 4, "all its tasks say where they are")
    guest = container("sh", "-c", WHERE, change=sharing(host, "network")).started()
    assert guest.ended() == 0
    assert guest.output.count(b"\n") == 1
    assert place(guest)[:2] == [str(host.record["job"]), "node1"]
    listed = json.loads(guest.runtime.run("list", "--format=json").ok().stdout)
    assert {one["id"]: one["nodes"] for one in listed} == {host.id: ["node1", "node2"], guest.id: ["node1"]}


def test_another_users_container_is_not_shared_with(container: MakeContainer, host: Container, root: User) -> None:
    guest = container("true", user=root, change=sharing(host, "network"))
    done = guest.create(global_options=["--root", str(host.runtime.root)])
    assert done.status == 1
    words = "others can change what is in it: name a directory of yours with --root"
    assert done.stderr == f"scrun: {host.runtime.root}: {words}\n"


def test_a_process_that_is_no_containers_changes_nothing(container: MakeContainer, host: Container) -> None:
    other = subprocess.Popen(["unshare", "--net", "sleep", "1000"])
    try:
        change = sharing(host, "network")

        def theirs(config: dict[str, Any]) -> None:
            change(config)
            config["linux"]["namespaces"][-1]["path"] = f"/proc/{other.pid}/ns/net"

        guest = container("sh", "-c", WHERE, change=theirs).started()
        assert guest.ended() == 0
        assert place(guest)[0] != place(host)[0]
    finally:
        other.kill()
        other.wait()


@pytest.fixture
def both(container: MakeContainer, host: Container) -> tuple[Container, Container, Container]:
    """A host, a guest that ends itself when it is asked to, and one that isn't to be asked."""
    polite = "trap 'echo bye; exit 3' TERM; echo ready; while :; do sleep 0.1; done"
    guests = [container("sh", "-c", script) for script in (polite, "trap '' TERM; echo ready; exec sleep 1000")]
    for guest in guests:
        change_config(guest, sharing(host, "network", "ipc", "uts"))
        guest.started().wait_for_output(b"ready\n")
    return host, guests[0], guests[1]


def change_config(container: Container, change: Callable[[dict[str, Any]], None]) -> None:
    path = container.bundle / "config.json"
    config = json.loads(path.read_text())
    change(config)
    path.write_text(json.dumps(config))


@pytest.mark.parametrize("how", ["ends", "delete", "anchor", "scancel"])
def test_guests_end_before_the_job(both: tuple[Container, Container, Container], how: str) -> None:
    host, polite, stubborn = both
    job = host.record["job"]
    if how == "ends":
        host.call("kill", "KILL").ok()
    elif how == "delete":
        host.call("delete", options=["--force"]).ok()
    elif how == "anchor":
        host.runtime.user.run("kill", "-9", str(host.record["anchor"])).ok()
    else:
        slurm.cancel(job)
    if how == "scancel":  # Slurm's own way to end steps
        assert polite.ended() in (3, 137, 143)
    else:
        assert polite.ended() == 3
        assert b"bye\n" in polite.output
    assert stubborn.ended() in ((137, 143) if how == "scancel" else (137,))
    wait_until(lambda: job not in slurm.jobs(), "the job has gone")
    if how != "scancel":
        assert slurm.containers_on_nodes(job) == []


def test_guest_may_end_without_ending_the_others(both: tuple[Container, Container, Container]) -> None:
    host, polite, stubborn = both
    polite.call("kill", "TERM").ok()
    assert polite.ended() == 3
    polite.call("delete").ok()
    assert {host.status(), stubborn.status()} == {"running"}


def test_guest_that_is_only_created_ends_too(container: MakeContainer, host: Container) -> None:
    guest = container("true", change=sharing(host, "network")).created()
    host.call("delete", options=["--force"]).ok()
    assert guest.ended() == 143
    assert guest.status() == "stopped"


def test_a_guest_of_an_ended_container(container: MakeContainer, runtime: Runtime, host: Container) -> None:
    change = sharing(host, "network")
    host.call("kill", "KILL").ok()
    assert host.ended() == 137
    guest = container("sh", "-c", WHERE, change=change).started()
    assert guest.ended() == 0
    assert place(guest)[0] != str(host.record["job"])
