"""Ports and names for programs that call an engine by its API or a file: testcontainers, compose, kube play."""

from __future__ import annotations

import json
import signal
import subprocess
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .engine_api import Api
from .engines import IMAGE, Compose, Engine
from .test_engine_networks import fetched
from .test_network import addresses, has_the_nodes
from .users import User
from .waiting import PATIENCE, wait_until

pytestmark = pytest.mark.slurm_only("there is no node")

SERVE = "sleep 1; mkdir -p /tmp/w; echo hello >/tmp/w/a; echo is ready; exec httpd -f -p {port} -h /tmp/w"

# The web server is started once the database's healthcheck, a process of exec on its node, has succeeded.
HEALTHY = f"""
name: {{name}}
services:
  db:
    image: {IMAGE}
    runtime: scrun
    stop_grace_period: 1s
    command: ["sh", "-c", "sleep 2; mkdir -p /w; echo a row >/w/a; exec httpd -f -p 5432 -h /w"]
    healthcheck: {{{{test: [CMD, wget, -q, -O, "-", "http://127.0.0.1:5432/a"], interval: 1s, retries: 60}}}}
  client:
    image: {IMAGE}
    runtime: scrun
    stop_grace_period: 1s
    depends_on: {{{{db: {{{{condition: service_healthy}}}}}}}}
    ports: ["{{port}}:80"]
    command:
      - sh
      - -c
      - mkdir -p /w && wget -q -O /w/a http://db:5432/a && echo hello && exec httpd -f -p 80 -h /w
"""

KUBE = f"""
apiVersion: v1
kind: Pod
metadata: {{name: THE-POD}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: db
    image: {IMAGE}
    imagePullPolicy: Never
    command: ["sh", "-c", "{SERVE.format(port=5432)}"]
  - name: web
    image: {IMAGE}
    imagePullPolicy: Never
    command:
    - sh
    - -c
    - until wget -q -O /tmp/a http://127.0.0.1:5432/a; do sleep 0.2; done; exec httpd -f -p 80 -h /tmp
    ports: [{{containerPort: 80, hostPort: 18301}}]
"""


class Client(Api):
    """What docker-py and so testcontainers do by it."""

    def start(self, script: str, **more: Any) -> str:
        """Start a container whose port 8080 is published where the engine likes; its id."""
        host = {"Runtime": "scrun", "PortBindings": {"8080/tcp": [{"HostIp": "", "HostPort": ""}]}}
        made = {
            "Image": IMAGE,
            "Cmd": ["sh", "-c", script],
            "ExposedPorts": {"8080/tcp": {}},
            "HostConfig": host,
            **more,
        }
        identity: str = self.read("POST", f"/containers/create?name=test-{uuid.uuid4().hex[:8]}", made)["Id"]
        self.ask("POST", f"/containers/{identity}/start")
        return identity

    def port(self, identity: str) -> str:
        """The host's port that leads to the container's 8080."""
        ports = self.read("GET", f"/containers/{identity}/json")["NetworkSettings"]["Ports"]
        return str(ports["8080/tcp"][0]["HostPort"])

    def said(self, identity: str) -> bytes:
        """What the container has printed, in frames."""
        return self.ask("GET", f"/containers/{identity}/logs?stdout=1&stderr=1")


@pytest.fixture(params=["docker", "podman"])
def api(request: pytest.FixtureRequest, directory: Path, alice: User) -> Iterator[Client]:
    """Root's docker by its own socket, and alice's podman by a service that ends with the test."""
    if request.param == "docker":
        one = Client("/var/run/docker.sock")
        yield one
    else:
        path = directory / "podman.sock"
        service = alice.start("podman", "--runtime=scrun", "system", "service", "--time=0", f"unix://{path}")
        wait_until(path.exists, "the service listens")
        one = Client(str(path))
        yield one
    ours = json.dumps({"name": ["test-"]})
    for container in one.read("GET", f"/containers/json?all=1&filters={ours}".replace(" ", "").replace('"', "%22")):
        one.ask("DELETE", f"/containers/{container['Id']}?force=1")
    if request.param == "podman":
        service.send_signal(signal.SIGTERM)
        service.wait(PATIENCE)


def test_a_port_of_the_engines_choice_answers(api: Client) -> None:
    identity = api.start(SERVE.format(port=8080))
    wait_until(lambda: b"is ready" in api.said(identity), "it says that it is ready")
    assert fetched(f"127.0.0.1:{api.port(identity)}") == "hello\n"


def test_nobody_answers_before_the_server_listens(api: Client) -> None:
    """testcontainers waits for a port until somebody answers by HTTP: a connection that ends at once is no answer."""
    identity = api.start("sleep 3; " + SERVE.format(port=8080))
    port = int(api.port(identity))
    answers, deadline = set[str](), time.monotonic() + PATIENCE
    while "hello\n" not in answers and time.monotonic() < deadline:
        ask = ["busybox", "wget", "-T", "2", "-q", "-O", "-", f"http://127.0.0.1:{port}/a"]
        answers.add(subprocess.run(ask, capture_output=True, check=False).stdout.decode())
        time.sleep(0.1)
    assert answers == {"", "hello\n"}


def test_a_healthcheck_tells_when_it_is_ready(api: Client) -> None:
    if "podman" in api.path:
        pytest.skip("podman has systemd call its healthchecks, which isn't here")
    second = 1_000_000_000
    check = {"Test": ["CMD", "wget", "-q", "-O", "-", "http://127.0.0.1:8080/a"], "Interval": second, "Retries": 60}
    identity = api.start(SERVE.format(port=8080), Healthcheck=check)

    def state() -> dict[str, Any]:
        found: dict[str, Any] = api.read("GET", f"/containers/{identity}/json")["State"]
        return found

    wait_until(lambda: state()["Health"]["Status"] == "healthy", "it is healthy")
    assert fetched(f"127.0.0.1:{api.port(identity)}") == "hello\n"


@pytest.mark.parametrize("compose", ["root"], indirect=True, ids=["docker compose"])
def test_a_service_waits_for_a_healthy_one(compose: Compose) -> None:
    """podman has systemd call its healthchecks, which isn't here."""
    compose.serve(HEALTHY, port=18300)
    assert fetched("127.0.0.1:18300") == "a row\n"


def test_a_pods_port_on_the_host(podman: Engine, alice: User, directory: Path) -> None:
    name = f"pod-{uuid.uuid4().hex[:12]}"
    file = str(alice.write(directory / "pod.yaml", KUBE.replace("THE-POD", name)))
    podman.call("--runtime", podman.runtime, "kube", "play", file).ok()
    try:
        assert fetched("127.0.0.1:18301") == "hello\n"
    finally:
        podman.call("kube", "down", file).ok()


@pytest.mark.parametrize("network", ["slirp4netns", "slirp4netns:port_handler=slirp4netns"])
def test_a_port_with_slirp4netns(podman: Engine, network: str) -> None:
    options = (f"--network={network}", "-p", "18302:8080")
    podman.detached("sh", "-c", SERVE.format(port=8080), options=options)
    assert fetched("127.0.0.1:18302") == "hello\n"


@pytest.mark.parametrize("network", ["pasta", "slirp4netns", "bridge"])
def test_a_port_with_the_users_own_id(podman: Engine, network: str) -> None:
    """podman sets the network up only after create then."""
    options = ("--userns=keep-id", f"--network={network}", "-p", "18303:8080")
    name = podman.detached("sh", "-c", SERVE.format(port=8080), options=options)
    for host in ("127.0.0.1", *([] if podman.has_old_pasta or network == "slirp4netns" else ["[::1]"])):
        assert fetched(f"{host}:18303") == "hello\n"
    assert podman.call("exec", name, "id", "-u").ok().stdout == f"{podman.user.uid}\n"


def test_without_a_port_it_is_the_nodes(podman: Engine) -> None:
    assert has_the_nodes(addresses(podman, "--userns=keep-id"))
