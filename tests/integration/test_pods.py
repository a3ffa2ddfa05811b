"""What engines put together, a pod or the network of another container, is in one job on one node."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from . import slurm
from .engines import IMAGE, Compose, Engine, make
from .test_engine_networks import fetched
from .users import User
from .waiting import wait_until

pytestmark = pytest.mark.slurm_only("there is no job to share")

# By itself a small job is on node1: what is on node2 is there because the first container was sent there.
THERE = {"SCRUN_JOB_NODELIST": "node2"}
WHERE = "echo $SLURM_JOB_ID $SLURMD_NODENAME $(hostname)"
SERVE = "mkdir /w; echo hello >/w/a; exec httpd -f -p {port} -h /w"
ASK = "until wget -q -O - http://127.0.0.1:{port}/a; do sleep 0.1; done"

KUBE = f"""
apiVersion: v1
kind: Pod
metadata: {{name: THE-POD}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: server
    image: {IMAGE}
    imagePullPolicy: Never
    command: ["sh", "-c", "{SERVE.format(port=8064)}"]
    resources: {{limits: {{cpu: "2", memory: 100Mi}}}}
  - name: client
    image: {IMAGE}
    imagePullPolicy: Never
    command: ["sh", "-c", "{WHERE}; {ASK.format(port=8064)}; exec sleep 1000"]
"""

SERVICES = f"""
name: {{name}}
services:
  server:
    image: {IMAGE}
    runtime: scrun
    stop_grace_period: 1s
    environment: [SCRUN_JOB_NODELIST=node2]
    command: ["sh", "-c", "{SERVE}"]
  client:
    image: {IMAGE}
    runtime: scrun
    network_mode: service:server
    stop_grace_period: 1s
    depends_on: [server]
    command: ["sh", "-c", "{WHERE.replace("$", "$$")}; {ASK}; exec sleep 1000"]
"""


@pytest.fixture(params=["node", "engine"])
def mode(request: pytest.FixtureRequest) -> str:
    """What SCRUN_NET says: whose network the containers share."""
    return str(request.param)


@pytest.fixture(params=["podman", "root's podman", "docker", "rootless docker"])
def one(request: pytest.FixtureRequest, alice: User, root: User) -> Iterator[Engine]:
    """Each engine for each user."""
    runtime = os.environ.get("SCRUN_RUNTIME", "/usr/bin/scrun")
    if request.param == "root's podman":
        engine = Engine("podman", root, Path(runtime).name)
    else:
        engine = make(request.param, runtime, alice, root)
        if request.param == "rootless docker":
            request.getfixturevalue("_rootless_docker")
            engine.always = ("--network=host",)  # it has no other
    yield engine
    engine.made.reverse()  # guests first: podman removes no container that another depends on
    engine.clean_up()


Pod = Callable[..., str]


@pytest.fixture
def pod() -> Iterator[Pod]:
    """Makes pods; they are removed after the test."""
    made: list[tuple[Engine, str]] = []

    def create(engine: Engine, *options: str) -> str:
        name = f"pod-{uuid.uuid4().hex[:12]}"
        made.append((engine, name))
        engine.call("--runtime", engine.runtime, "pod", "create", "--name", name, *options).ok()
        return name

    yield create
    for engine, name in made:
        engine.call("pod", "rm", "--force", "--time=0", name).ok()


def said(engine: Engine, name: str, words: int = 3) -> list[str]:
    """What a container says first, word by word."""
    return wait_until(
        lambda: found[:words] if len(found := engine.call("logs", name).stdout.split()) >= words else [],
        f"{name} has said it",
        30,
    )


def there(engine: Engine) -> Engine:
    """The same engine, whose caller asks for node2."""
    other = Engine(engine.program, engine.user, engine.runtime, {**(engine.env or {}), **THERE})
    other.made, other.always = engine.made, engine.always
    return other


def test_another_containers_network_is_at_localhost(one: Engine, mode: str) -> None:
    before = slurm.jobs()
    place = ("-e", "SCRUN_JOB_NODELIST=node2", "-e", f"SCRUN_NET={mode}")
    server = one.detached("sh", "-c", f"{WHERE}; {SERVE.format(port=8065)}", options=place)
    job, node, _name = said(one, server)
    done = one.run(
        "sh", "-c", f"{WHERE}; {ASK.format(port=8065)}", options=("--rm", f"--network=container:{server}")
    ).ok()
    assert done.stdout.split()[:2] == [job, node]
    assert node == "node2"
    assert done.stdout.split()[-1] == "hello"
    assert slurm.jobs() - before == {int(job)}


@pytest.mark.parametrize("user", [0, 1000])
def test_a_guest_has_the_networks_user(podman: Engine, user: int) -> None:
    server = podman.detached("sleep", "1000", options=("-e", "SCRUN_NET=engine", "--user=1000"))
    done = podman.run("id", "-u", options=("--rm", f"--network=container:{server}", f"--user={user}"))
    assert done.ok().stdout == "1000\n"
    guest = podman.detached("sleep", "1000", options=(f"--network=container:{server}", f"--user={user}"))
    assert podman.call("exec", guest, "id", "-u").ok().stdout == "1000\n"
    podman.remove(guest).ok()  # before the one that it depends on


def test_a_pods_port_for_who_keeps_the_id(podman: Engine, pod: Pod) -> None:
    name = pod(podman, "--userns=keep-id", "-p", "18069:8069")
    podman.detached("sh", "-c", SERVE.format(port=8069).replace("/w", "/tmp/w"), options=("--pod", name))
    for host in ("127.0.0.1", *([] if podman.has_old_pasta else ["[::1]"])):
        assert fetched(f"{host}:18069") == "hello\n"


def test_exec_keeps_its_user_on_anothers_network(docker: Engine) -> None:
    """root's containers have no user namespace that they would share."""
    server = docker.detached("sleep", "1000", options=("-e", "SCRUN_NET=engine"))
    guest = docker.detached("sleep", "1000", options=(f"--network=container:{server}", "--user=1000"))
    assert docker.call("exec", guest, "id", "-u").ok().stdout == "1000\n"
    assert docker.call("exec", "--user=0", guest, "id", "-u").ok().stdout == "0\n"


def test_another_containers_ipc_namespace_brings_them_together(one: Engine) -> None:
    options = ("--ipc=shareable", "-e", "SCRUN_JOB_NODELIST=node2")
    other = one.detached("sh", "-c", f"{WHERE}; exec sleep 1000", options=options)
    done = one.run("sh", "-c", WHERE, options=("--rm", f"--ipc=container:{other}")).ok()
    assert done.stdout.split()[:2] == said(one, other)[:2]


def test_restarted_container_rejoins_the_job(main_engine: Engine) -> None:
    options = ("-e", "SCRUN_JOB_NODELIST=node2")
    other = main_engine.detached("sh", "-c", f"{WHERE}; exec sleep 1000", options=options)
    name = main_engine.detached("sh", "-c", WHERE, options=(f"--network=container:{other}",))
    main_engine.made.reverse()
    assert main_engine.exit_code(name) == 0
    main_engine.call("start", name).ok()
    words = said(main_engine, name, 6)
    assert {*words[0:2], *words[3:5]} == {*said(main_engine, other)[:2]}


def test_guest_ends_when_its_host_container_ends(main_engine: Engine) -> None:
    other = main_engine.detached("sleep", "1000")
    ignore = "trap '' TERM; echo ready; while :; do sleep 0.1; done"
    name = main_engine.detached("sh", "-c", ignore, options=(f"--network=container:{other}",), ready="ready")
    main_engine.made.reverse()
    main_engine.call("kill", other).ok()
    assert main_engine.exit_code(other) == 137
    assert main_engine.exit_code(name) == 137
    assert not main_engine.is_running(name)


@pytest.fixture(scope="session")
def _storage() -> Iterator[dict[str, str]]:
    """A storage of root's on a tmpfs: podman makes an overlay for a pod's own container, and can't on another one."""
    home = Path(tempfile.mkdtemp(prefix="podman-", dir="/run"))
    conf = home / "storage.conf"
    conf.write_text(f'[storage]\ndriver = "vfs"\ngraphroot = "{home}/graph"\nrunroot = "{home}/run"\n')
    image = subprocess.run(["podman", "save", IMAGE], capture_output=True, check=True, timeout=60).stdout
    env = {"CONTAINERS_STORAGE_CONF": str(conf)}
    subprocess.run(["podman", "load"], input=image, capture_output=True, check=True, timeout=60, env=os.environ | env)
    yield env
    shutil.rmtree(home)


@pytest.fixture(params=["alice", "root"])
def its_podman(request: pytest.FixtureRequest) -> Iterator[Engine]:
    """podman, rootless and not."""
    user: User = request.getfixturevalue(request.param)
    env = request.getfixturevalue("_storage") if request.param == "root" else None
    engine = Engine("podman", user, Path(os.environ.get("SCRUN_RUNTIME", "scrun")).name, env)
    yield engine
    engine.clean_up()


def test_a_pods_containers_share_a_job(its_podman: Engine, pod: Pod, mode: str) -> None:
    before = slurm.jobs()
    its_podman.env = {**(its_podman.env or {}), "SCRUN_NET": mode}
    name = pod(its_podman)
    options = ("--pod", name)
    server = there(its_podman).detached("sh", "-c", f"{WHERE}; {SERVE.format(port=8066)}", options=options)
    client = its_podman.run("sh", "-c", f"{WHERE}; {ASK.format(port=8066)}; exit 7", options=("--rm", *options))
    assert client.status == 7
    found = client.stdout.split()
    assert found[:3] == said(its_podman, server)
    assert found[1:] == ["node2", name, "hello"]
    assert slurm.jobs() - before == {int(found[0])}
    its_podman.call("pod", "stop", "--time=0", name).ok()
    assert its_podman.exit_code(server) == 137
    wait_until(lambda: not slurm.jobs() - before, "the job has ended with the pod")


def test_pod_container_may_end_early_and_start_again(podman: Engine, pod: Pod) -> None:
    name = pod(podman)
    one, two = (podman.detached("sh", "-c", f"{WHERE}; exec sleep 1000", options=("--pod", name)) for _ in range(2))
    assert said(podman, one) == said(podman, two)
    podman.call("kill", one).ok()
    assert podman.exit_code(one) == 137
    assert podman.is_running(two)
    podman.call("start", one).ok()
    assert said(podman, one, 6)[3:] == said(podman, two)


def test_a_queued_pods_containers_are_on_its_network(its_podman: Engine, pod: Pod, held_node: int, mode: str) -> None:
    """When they are created it isn't known yet where that is, nor whether its node can have it."""
    its_podman.env = {**(its_podman.env or {}), "SCRUN_NET": mode, "SCRUN_CREATE_TIMEOUT": "1"}
    name = pod(its_podman)
    options = ("--pod", name)
    server = there(its_podman).detached("sh", "-c", f"{WHERE}; {SERVE.format(port=8068)}", options=options)
    client = its_podman.detached("sh", "-c", f"{ASK.format(port=8068)}; exec sleep 1000", options=options)
    slurm.release(held_node)
    assert said(its_podman, server)[1] == "node2"
    assert said(its_podman, client, 1) == ["hello"]


def test_a_pod_of_another_runtime_keeps_its_network(podman: Engine) -> None:
    """Its containers would lose it to the first one of scrun's."""
    name, network = (f"test-{uuid.uuid4().hex[:12]}" for _ in range(2))
    podman.call("network", "create", network).ok()
    try:
        podman.call("--runtime=crun", "pod", "create", "--name", name, "--network", network).ok()
        theirs = Engine("podman", podman.user, "crun")
        theirs.made = podman.made
        other = theirs.detached("sleep", "1000", options=("--pod", name))
        before = podman.call("exec", other, "ip", "-o", "-4", "addr").ok().stdout
        ours = podman.detached("sleep", "1000", options=("--pod", name))
        assert "scope global" in podman.call("exec", ours, "ip", "-o", "-4", "addr").ok().stdout
        assert podman.call("exec", other, "ip", "-o", "-4", "addr").ok().stdout == before
        refused = podman.run("true", options=("--rm", "--pod", name, "-e", "SCRUN_NET=engine"))
        assert "which another runtime runs, and which would lose it" in refused.stderr
    finally:
        podman.call("pod", "rm", "--force", "--time=0", name).ok()
        podman.call("network", "rm", network).ok()


def test_a_pods_containers_end_with_its_infra_container(podman: Engine, pod: Pod) -> None:
    name = pod(podman)
    inside = podman.detached("sh", "-c", f"{WHERE}; exec sleep 1000", options=("--pod", name))
    job = int(said(podman, inside)[0])
    infra = podman.call("pod", "inspect", "--format", "{{.InfraContainerID}}", name).ok().stdout.strip()
    podman.call("kill", infra).ok()
    assert podman.exit_code(infra) == 137
    assert podman.exit_code(inside) == 137
    wait_until(lambda: job not in slurm.jobs(), "its job has ended")
    assert slurm.containers_on_nodes(job) == []
    assert slurm.files_on_nodes(job) == []


def test_kube_play_of_two_containers(its_podman: Engine, alice: User, directory: Path, mode: str) -> None:
    before = slurm.jobs()
    its_podman.env = {**(its_podman.env or {}), "SCRUN_NET": mode}
    name = f"pod-{uuid.uuid4().hex[:12]}"
    file = str(alice.write(directory / "pod.yaml", KUBE.replace("THE-POD", name)))
    there(its_podman).call("--runtime", its_podman.runtime, "kube", "play", file).ok()
    try:
        job, node, host_name, hello = said(its_podman, f"{name}-client", 4)
        assert (node, host_name, hello) == ("node2", name, "hello")
        assert slurm.jobs() - before == {int(job)}
    finally:
        its_podman.call("kube", "down", file).ok()


def test_a_service_with_the_network_of_another(compose: Compose) -> None:
    before = slurm.jobs()
    compose.serve(SERVICES, port=8067)
    (job,) = slurm.jobs() - before
    assert f"{job} node2 " in compose.said_by_client()
