"""Dockerds of the tests' own, each for what the devcluster's can't show."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .engines import IMAGE, Engine
from .users import PATH, User
from .waiting import PATIENCE, wait_until

START = """
%s
exec dockerd --bridge=docker0 --iptables=false --ip6tables=false --config-file="$1/daemon.json" \
    --host="unix://$1/sock" --data-root="$3" --exec-root="$1/exec" --pidfile="$1/pid" \
    --add-runtime="scrun=$2"
"""


@contextmanager
def docker_with_limits(runtime: str, root: User) -> Iterator[Engine]:
    """One on a machine that has cgroup controllers and NVIDIA's hook, as far as it can tell.

    The devcluster's own sees no controllers, and refuses or drops limits before any runtime hears of them. This one is
    shown a list of them, and what NVIDIA installs beside docker by name; so it passes on what docker writes on a
    machine that has both.
    """
    with _directory() as home:
        (home / "controllers").write_text("cpuset cpu io memory hugetlb pids\n")
        (home / "bin/nvidia-container-runtime-hook").symlink_to("/usr/bin/true")
        with _running(home, 'mount --bind "$1/controllers" /sys/fs/cgroup/cgroup.controllers &&', runtime, root) as one:
            yield one


@contextmanager
def docker_whose_runc_is(runtime: str, root: User) -> Iterator[Engine]:
    """One that finds the runtime under test by runc's name, which is all that BuildKit asks for."""
    with _directory() as home:
        (home / "bin/runc").symlink_to(runtime)
        with _running(home, "", runtime, root) as one:
            yield one


@contextmanager
def docker_in(data: Path, runtime: str, root: User, *, by_containerd: bool) -> Iterator[Engine]:
    """One with its images in that directory, in layers of the overlay2 driver or of containerd's snapshotter."""
    settings = {
        "storage-driver": "overlayfs" if by_containerd else "overlay2",
        "features": {"containerd-snapshotter": by_containerd},
    }
    with _directory() as home:
        (home / "daemon.json").write_text(json.dumps(settings))
        with _running(home, "", runtime, root, str(data)) as one:
            yield one


@contextmanager
def _directory() -> Iterator[Path]:
    home = Path(tempfile.mkdtemp(prefix="dockerd-", dir="/run"))
    (home / "daemon.json").write_text("{}")
    (home / "bin").mkdir()
    yield home
    shutil.rmtree(home, ignore_errors=True)


@contextmanager
def _running(
    home: Path, before: str, runtime: str, root: User, data: str = "/var/lib/docker/of-the-tests"
) -> Iterator[Engine]:
    """With the image that the others have; the runtime under test is called ``scrun`` there, too."""
    command = ["unshare", "--mount", "sh", "-c", START % before, "sh", str(home), runtime, data]
    with open(home / "log", "wb") as log:
        path = f"{home}/bin:{PATH}"
        daemon = root.start(*command, env={"PATH": path}, stdout=log, stderr=log)
    engine = Engine("docker", root, "scrun", {"DOCKER_HOST": f"unix://{home}/sock"})
    try:
        wait_until(lambda: engine.call("info").status == 0, f"dockerd answers: {(home / 'log').read_text()}")
        image = subprocess.run(["docker", "save", IMAGE], capture_output=True, check=True, timeout=60).stdout
        engine.call("load", stdin=image).ok()
        yield engine
        engine.clean_up()
    finally:
        daemon.terminate()
        daemon.wait(PATIENCE)
        shutil.rmtree(data, ignore_errors=True)
