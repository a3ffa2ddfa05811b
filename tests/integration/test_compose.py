"""Several containers at once: docker compose, podman-compose, pods, kube play."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from . import slurm
from .engines import IMAGE, Compose, Engine
from .users import User
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

# As people write it: a published port, and a service that is found by its name.
USUAL = f"""
name: {{name}}
services:
  db:
    image: {IMAGE}
    runtime: scrun
    stop_grace_period: 1s
    command: ["sh", "-c", "mkdir -p /w; echo a row >/w/a; exec httpd -f -p 5432 -h /w"]
  client:
    image: {IMAGE}
    runtime: scrun
    stop_grace_period: 1s
    depends_on: [db]
    ports: ["{{port}}:80"]
    command:
      - sh
      - -c
      - >-
        until wget -q -O - http://db:5432/a; do sleep 0.2; done; echo hello; mkdir -p /w; echo served >/w/a;
        exec httpd -f -p 80 -h /w
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


def test_two_services_on_the_hosts_network(compose: Compose) -> None:
    before = slurm.jobs()
    compose.serve(SERVICES, port=8071)
    assert slurm.jobs() - before
    assert compose.call("exec", "-T", "server", "cat", "/w/a").ok().stdout == "hello\n"
    assert "server" in compose.call("ps").ok().stdout


def test_services_resolve_names_and_publish_ports(compose: Compose) -> None:
    compose.serve(USUAL, port=8073)
    assert "a row" in compose.said_by_client()
    port = 8073 + (compose.user.name != "root")
    ask = ["busybox", "wget", "-T", "3", "-q", "-O", "-", f"http://10.77.0.10:{port}/a"]
    served = wait_until(lambda: subprocess.run(ask, capture_output=True, check=False).stdout, "the port answers")
    assert served == b"served\n"


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
