"""Files of somebody else than the job's user: what podman has given to the container's user, and a project's."""

from __future__ import annotations

import os
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from . import slurm
from .engines import IMAGE, Engine
from .test_mounts import local
from .users import User
from .waiting import wait_until

USER = "--user=1000:2000"
LOOK = "stat -c '%u %g %n' /v /v/*"
_CONTAINERFILE = f"""
FROM {IMAGE}
RUN mkdir /home/files /v && echo given | tee /home/files/file >/v/file && chown -R 1000:2000 /home/files /v
USER 1000:2000
VOLUME /v
"""


@pytest.fixture
def image(podman: Engine) -> Iterator[str]:
    """An image whose user owns files in it and in a volume."""
    name = f"localhost/test-{uuid.uuid4().hex[:8]}"
    podman.call("build", "-q", "--runtime=crun", "-t", name, "-", stdin=_CONTAINERFILE.encode()).ok()
    yield name
    podman.clean_up()
    podman.made.clear()
    podman.call("rmi", name).ok()


@pytest.fixture
def volume(podman: Engine) -> Iterator[str]:
    """A volume's name; podman makes it at the first run, and removes it at the end."""
    name = podman.name()
    yield name
    podman.made.remove(name)
    podman.call("volume", "rm", name).ok()


@pytest.mark.parametrize("user", [1000, 65534])
def test_the_containers_user_writes_to_its_volume(podman: Engine, volume: str, user: int) -> None:
    """Twice, and what is in it is that user's for the local runtime too. 65534 is also what unknown users look like."""
    options = ("--rm", f"--user={user}:{user}", f"--volume={volume}:/v")
    local(podman).run("chmod", "775", "/v", options=options).ok()
    for script in ("touch /v/one", "echo more >>/v/one && touch /v/two"):
        podman.run("sh", "-c", script, options=options).ok()
    done = local(podman).run("sh", "-c", f"{LOOK}; cat /v/one", options=("--rm", f"--volume={volume}:/v")).ok()
    assert done.stdout == "".join(f"{user} {user} {name}\n" for name in ("/v", "/v/one", "/v/two")) + "more\n"


def test_a_directory_given_to_the_user_is_writable(podman: Engine, directory: Path) -> None:
    given = podman.user.mkdir(directory / "given")
    done = podman.run("sh", "-c", f"touch /v/one; {LOOK}", options=("--rm", USER, f"--volume={given}:/v:U"))
    assert done.ok().stdout == "1000 2000 /v\n1000 2000 /v/one\n"
    assert (given / "one").stat().st_uid == given.stat().st_uid != podman.user.uid
    podman.user.run("podman", "unshare", "rm", "-r", str(given)).ok()


def test_an_images_user_writes_to_its_own_files(podman: Engine, image: str) -> None:
    script = "cd /home/files; echo more >>file; touch new; echo more >>/v/file; cat file /v/file"
    name = podman.name()
    words = podman.words(command=("sh", "-c", script), name=name)
    done = podman.call(*[image if word == IMAGE else word for word in words])
    assert done.ok().stdout == "given\nmore\n" * 2
    assert {"C /home/files/file", "A /home/files/new"} <= {*podman.call("diff", name).ok().stdout.splitlines()}


@pytest.fixture
def project(alice: User) -> Iterator[Path]:
    """A directory on shared storage that is open to a group which alice has besides her own."""
    group = f"test{os.getpid()}"
    add = f"groupadd -g 47110 {group}; usermod -a -G {group} {alice.name}"
    subprocess.run(["sh", "-c", add], check=True)
    slurm.on_nodes(add)
    subprocess.run(["scontrol", "reconfigure"], timeout=60, check=True)  # slurmctld keeps each user's groups
    made = Path(f"/home/{group}")
    made.mkdir()
    os.chown(made, 0, 47110)
    made.chmod(0o2770)
    wait_until(lambda: "47110" in alice.run("srun", "id", "-G").stdout, "her jobs have the group")
    yield made
    subprocess.run(["rm", "-r", made], check=True)
    subprocess.run(["groupdel", group], check=True)
    slurm.on_nodes(f"groupdel {group}")
    subprocess.run(["scontrol", "reconfigure"], timeout=60, check=True)
    wait_until(lambda: "47110" not in alice.run("srun", "id", "-G").stdout, "her jobs have it no more")


@pytest.mark.slurm_only("crun leaves the group out here")
def test_a_projects_directory_is_used_in_place(podman: Engine, project: Path) -> None:
    """It may have terabytes, and others write to it at the same time."""
    (project / "given").write_text("given\n")
    script = "cat /p/given; touch /p/made; cat >/dev/null; ls /p"
    words = podman.words("--rm", "-i", f"--volume={project}:/p", command=("sh", "-c", script))
    running = podman.user.start("podman", *words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    wait_until((project / "made").exists, "what it writes is there at once")
    (project / "others").touch()
    assert running.communicate()[0] == b"given\ngiven\nmade\nothers\n"
