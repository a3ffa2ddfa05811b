"""A dockerd of the tests' own, on a machine that has cgroup controllers and NVIDIA's hook, as far as it can tell.

The devcluster's own sees no controllers, and refuses or drops limits before any runtime hears of them. This one is
shown a list of them, and what NVIDIA installs beside docker by name; so it passes on what docker writes on a machine
that has both.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .engines import IMAGE, Engine
from .users import PATH, User
from .waiting import wait_until

START = """
mount --bind "$1/controllers" /sys/fs/cgroup/cgroup.controllers &&
exec dockerd --bridge=docker0 --iptables=false --ip6tables=false --config-file="$1/daemon.json" \
    --host="unix://$1/sock" --data-root=/var/lib/docker/of-the-tests --exec-root="$1/exec" --pidfile="$1/pid" \
    --add-runtime="scrun=$2"
"""


@contextmanager
def docker_with_limits(runtime: str, root: User) -> Iterator[Engine]:
    """It, with the image that the others have; the runtime under test is called ``scrun`` there."""
    home = Path(tempfile.mkdtemp(prefix="dockerd-", dir="/run"))
    (home / "controllers").write_text("cpuset cpu io memory hugetlb pids\n")
    (home / "daemon.json").write_text("{}")
    (home / "bin").mkdir()
    hook = home / "bin/nvidia-container-runtime-hook"
    hook.symlink_to("/usr/bin/true")
    command = ["unshare", "--mount", "sh", "-c", START, "sh", str(home), runtime]
    with open(home / "log", "wb") as log:
        path = f"{home}/bin:{PATH}"
        daemon = root.start(*command, env={"PATH": path}, stdout=log, stderr=log)
    engine = Engine("docker", root, "scrun", {"DOCKER_HOST": f"unix://{home}/sock"})
    try:
        wait_until(lambda: engine.call("info").status == 0, f"dockerd answers: {(home / 'log').read_text()}", 60)
        image = subprocess.run(["docker", "save", IMAGE], capture_output=True, check=True, timeout=60).stdout
        engine.call("load", stdin=image).ok()
        yield engine
        engine.clean_up()
    finally:
        daemon.terminate()
        daemon.wait(30)
        shutil.rmtree("/var/lib/docker/of-the-tests", ignore_errors=True)
        shutil.rmtree(home, ignore_errors=True)
