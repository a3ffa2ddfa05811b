"""Images built with steps that run on a node: buildah, podman and, where its runc is ours, docker."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from . import slurm
from .conftest import RUNTIME
from .dockerd import docker_whose_runc_is
from .engines import IMAGE, Engine
from .users import User

pytestmark = pytest.mark.slurm_only("there is no node")

STEPS = f"""FROM {IMAGE}
RUN test -n "$SLURM_JOB_ID" && echo $SLURMD_NODENAME >/node && id -u >/user
WORKDIR /work
COPY given .
RUN cat given >copy; pwd >>copy
"""


@pytest.fixture
def context(alice: User, directory: Path) -> Path:
    """What is to be built."""
    alice.write(directory / "Dockerfile", STEPS)
    alice.write(directory / "given", "given\n")
    return directory


@pytest.fixture
def image(alice: User) -> Iterator[str]:
    """A name for an image, which is removed after the test."""
    name = f"localhost/test-{uuid.uuid4().hex[:8]}"
    yield name
    alice.run("podman", "image", "exists", name)
    alice.run("podman", "rmi", "--force", name).ok()


def check(podman: Engine, image: str) -> None:
    """What the steps have made is in the image."""
    words = podman.words("--rm", command=("cat", "/node", "/user", "/work/copy"))
    node, user, *copy = podman.call(*[image if word == IMAGE else word for word in words]).ok().stdout.split()
    assert node in ("node1", "node2")
    assert user == "0"
    assert copy == ["given", "/work"]
    words = podman.words("--rm", command=("sh", "-c", "find / -xdev -name '*oci-job*' -o -xdev -name 'slurm*'"))
    found = podman.call(*["--runtime=crun" if word.startswith("--runtime") else word for word in words])
    assert found.ok().stdout == ""  # nothing of Slurm's is in it


def test_podman_build_runs_its_steps_on_a_node(podman: Engine, context: Path, image: str) -> None:
    podman.call("--runtime", podman.runtime, "build", "--no-cache", "--tag", image, str(context), timeout=120).ok()
    check(podman, image)


def test_buildah_build_runs_its_steps_on_a_node(alice: User, podman: Engine, context: Path, image: str) -> None:
    words = ("--runtime=/usr/bin/scrun", "--no-cache", f"--tag={image}", str(context))
    alice.run("buildah", "build", *words, timeout=120).ok()
    check(podman, image)


def test_failing_step_ends_the_build_with_its_status(podman: Engine, alice: User, directory: Path) -> None:
    alice.write(directory / "Dockerfile", f"FROM {IMAGE}\nRUN exit 7\n")
    done = podman.call("--runtime", podman.runtime, "build", "--no-cache", str(directory))
    assert done.status == 7
    assert "exit status 7" in done.stderr


@pytest.fixture
def working(alice: User) -> Iterator[str]:
    """A container of buildah's."""
    name = alice.run("buildah", "from", IMAGE).ok().stdout.strip()
    yield name
    alice.run("buildah", "rm", name).ok()


def test_buildah_run_has_input_output_and_status(alice: User, working: str) -> None:
    script = "cat; echo error >&2; echo $SLURMD_NODENAME; exit 7"
    words = ("--runtime=/usr/bin/scrun", working, "sh", "-c", script)
    done = alice.run("buildah", "run", *words, stdin=b"given\n")
    assert done.status == 7
    given, node = done.stdout.split()
    assert (given, node in ("node1", "node2")) == ("given", True)
    assert "error\n" in done.stderr


def test_buildah_run_reports_a_missing_command(alice: User, working: str) -> None:
    done = alice.run("buildah", "run", "--runtime=/usr/bin/scrun", working, "nosuch")
    assert done.status != 0
    assert 'exec: "nosuch": executable file not found in $PATH' in done.stderr


DOCKERFILE = f"""FROM {IMAGE}
RUN echo "job=$SLURM_JOB_ID"; ip -o -4 addr; echo made >/made
RUN cat /made
"""


@pytest.mark.parametrize("builder", ["buildx", "classic"])
def test_docker_build_runs_steps_locally_with_runc(docker: Engine, tmp_path: Path, builder: str) -> None:
    # The classic builder takes the daemon's default runtime; BuildKit has one of its own, runc, whatever is configured.
    (tmp_path / "Dockerfile").write_text(DOCKERFILE)
    docker.env = {"DOCKER_BUILDKIT": "0" if builder == "classic" else "1", "BUILDKIT_PROGRESS": "plain"}
    before = slurm.known_jobs()
    done = docker.call("build", "--network=none", "--no-cache", str(tmp_path)).ok()
    assert "job=\n" in done.stdout + done.stderr
    assert slurm.known_jobs() <= before


@pytest.fixture(scope="module")
def docker_builder(root: User) -> Iterator[Engine]:
    """A dockerd that finds scrun by runc's name."""
    with docker_whose_runc_is(RUNTIME, root) as engine:
        yield engine


@pytest.mark.parametrize("builder", ["buildx", "classic"])
def test_dockerd_with_scrun_as_runc_builds_on_nodes(docker_builder: Engine, tmp_path: Path, builder: str) -> None:
    assert docker_builder.env
    env = {**docker_builder.env, "DOCKER_BUILDKIT": "0" if builder == "classic" else "1", "BUILDKIT_PROGRESS": "plain"}
    engine = Engine("docker", docker_builder.user, "scrun", env)
    (tmp_path / "Dockerfile").write_text(DOCKERFILE)
    before = slurm.known_jobs()
    done = engine.call("build", "--network=host", "--no-cache", "--tag=built", str(tmp_path)).ok()
    (job,) = re.findall(r"job=(\d+)\n", done.stdout + done.stderr)
    assert int(job) in slurm.known_jobs() - before
    assert "10.77.0.101/24" in done.stdout + done.stderr  # node1's
    assert engine.call("run", "--rm", "--network=none", "built", "cat", "/made").ok().stdout == "made\n"
    (tmp_path / "Dockerfile").write_text(f"FROM {IMAGE}\nRUN exit 7\n")
    done = engine.call("build", "--network=none", "--no-cache", str(tmp_path))
    assert done.status != 0
    assert re.search("returned a non-zero code: 7|exit code: 7", done.stderr)
