"""Several containers at once: docker compose, podman-compose, pods, kube play."""

from __future__ import annotations

from pathlib import Path

import pytest

from . import slurm
from .engines import IMAGE, Engine
from .users import Done, User
from .waiting import wait_until

pytestmark = pytest.mark.slurm_only("there is no node")

# The client asks the server at its node: services find each other by the cluster's names, not by their own.
SERVICES = f"""
name: {{name}}
services:
  server:
    image: {IMAGE}
    runtime: scrun
    network_mode: host
    stop_grace_period: 1s
    command: ["sh", "-c", "mkdir -p /w; echo hello >/w/a; exec httpd -f -p {{port}} -h /w"]
  client:
    image: {IMAGE}
    runtime: scrun
    network_mode: host
    depends_on: [server]
    command:
      - sh
      - -c
      - until wget -q -O - http://node1:{{port}}/a || wget -q -O - http://node2:{{port}}/a; do sleep 0.2; done
"""

POD = f"""
apiVersion: v1
kind: Pod
metadata: {{name: THE-POD}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: one
    image: {IMAGE}
    imagePullPolicy: Never
    command: ["sh", "-c", "echo on $SLURMD_NODENAME; trap 'exit 0' TERM; while :; do sleep 0.1; done"]
"""


def compose(user: User, directory: Path, *words: str) -> Done:
    """docker compose for root, podman-compose for alice."""
    program = ["docker", "compose"] if user.name == "root" else ["podman-compose", "--podman-args=--runtime scrun"]
    return user.run(*program, *words, cwd=directory, timeout=120)


@pytest.mark.parametrize("who", ["root", "alice"], ids=["docker compose", "podman-compose"])
def test_two_services_on_the_hosts_network(
    request: pytest.FixtureRequest, who: str, directory: Path, alice: User
) -> None:
    user: User = request.getfixturevalue(who)
    port = 8071 if who == "root" else 8072
    alice.write(directory / "compose.yaml", SERVICES.format(name=f"test-{who}", port=port))
    before = slurm.jobs()
    compose(user, directory, "up", "--detach").ok()
    try:
        wait_until(lambda: "hello" in compose(user, directory, "logs", "client").stdout, "the client was served")
        assert slurm.jobs() - before
        assert compose(user, directory, "exec", "-T", "server", "cat", "/w/a").ok().stdout == "hello\n"
        assert "server" in compose(user, directory, "ps").ok().stdout
    finally:
        compose(user, directory, "down").ok()


def test_a_pod_and_a_container_in_it(podman: Engine) -> None:
    pod = podman.name()
    podman.call("--runtime", podman.runtime, "pod", "create", "--name", pod).ok()
    try:
        done = podman.run("sh", "-c", "echo $SLURMD_NODENAME; exit 7", options=("--rm", "--pod", pod))
        assert done.status == 7
        assert done.stdout.strip() in ("node1", "node2")
        podman.call("pod", "stop", "--time=0", pod).ok()
    finally:
        podman.call("pod", "rm", "--force", "--time=0", pod).ok()


def test_kube_play_and_down(podman: Engine, alice: User, directory: Path) -> None:
    name = podman.name()
    file = str(alice.write(directory / "pod.yaml", POD.replace("THE-POD", name)))
    podman.call("--runtime", podman.runtime, "kube", "play", file).ok()
    try:
        wait_until(lambda: "on node" in podman.call("logs", f"{name}-one").ok().stdout, "its container runs")
    finally:
        podman.call("kube", "down", file).ok()
