"""A tmpfs is as a local runtime makes it, and a secret can be read, whoever owns what lies under it in the image."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest

from .engines import IMAGE, Engine
from .test_mounts import local, same
from .users import User

# Directories and files of several users: in a job there is one, and the others' can't be given to anybody.
_CONTAINERFILE = f"""
FROM {IMAGE}
RUN mkdir -p /tmp /closed /mixed/sub && chmod 1777 /tmp && chmod 750 /closed && echo one >/tmp/one \\
    && ln -s one /tmp/link && echo two >/closed/two && echo three >/mixed/sub/three && chown 5:5 /tmp/one \\
    && chown 1000:1000 /closed && chown -R 33:33 /mixed/sub && chmod 2700 /mixed/sub && ln -s /mixed /led
"""


@pytest.fixture(scope="module")
def image(alice: User) -> Iterator[str]:
    """An image of alice's podman."""
    name = f"localhost/test-{uuid.uuid4().hex[:8]}"
    alice.run("podman", "build", "-q", "--runtime=crun", "-t", name, "-", stdin=_CONTAINERFILE.encode()).ok()
    yield name
    alice.run("podman", "rmi", name).ok()


def _same(podman: Engine, image: str, *options: str, script: str) -> str:
    """:func:`same`, with an image of ours."""
    printed = []
    for one in (local(podman), podman):
        words = one.words("--rm", *options, command=("sh", "-c", script))
        done = one.call(*[image if word == IMAGE else word for word in words])
        printed.append((done.status, done.stdout))
    assert printed[1] == printed[0], done.stderr
    return printed[1][1]


def test_tmpfs_starts_with_the_images_files_there(podman: Engine, image: str) -> None:
    # podman has /tmp, /run and /var/tmp begin as the image's where the rest is read-only, as cwltool asks for.
    options = ("--read-only", "--tmpfs=/closed", "--tmpfs=/led:size=1m,mode=700")
    script = """
        for one in /tmp /run /closed /mixed; do stat -c '%a %n' $one; df $one | tail -n 1 | cut -d' ' -f1; done
        cat /tmp/link /closed/two /mixed/sub/three; stat -c %a /mixed/sub
        touch /tmp/new /closed/new /mixed/sub/new /new; df /mixed | tail -n 1 | tr -s ' ' | cut -d' ' -f2
    """
    assert "one\ntwo\nthree\n2700\n1024\n" in _same(podman, image, *options, script=script)


@pytest.mark.parametrize(
    ("how", "script"),
    [
        ("--tmpfs=/closed:notmpcopyup", "stat -c %a /closed; ls /closed"),
        ("--tmpfs=/closed:mode=1777", "stat -c %a /closed; ls /closed"),
        ("--read-only-tmpfs=false", "stat -c %a /closed /tmp /dev/shm; touch /dev/shm/new"),
    ],
)
def test_tmpfs_over_a_closed_directory_is_as_requested(podman: Engine, image: str, how: str, script: str) -> None:
    assert _same(podman, image, "--read-only", how, script=script)


def test_a_new_tmpfs_is_everybodys_unless_asked_otherwise(main_engine: Engine) -> None:
    options = ["--tmpfs=/a", "--tmpfs=/b/c:size=1m,noexec", "--tmpfs=/d:mode=750", "--mount=type=tmpfs,dst=/e"]
    options += ["--mount=type=tmpfs,dst=/f,tmpfs-mode=0770,tmpfs-size=1m", "--tmpfs=/g:ro"]
    script = "stat -c '%a %n' /a /b/c /d /e /f /g; grep -o ' /[a-g][c/]* tmpfs [^ ]*' /proc/mounts | sort"
    printed = same(main_engine, *options, script=script)
    assert printed.startswith("1777 /a\n1777 /b/c\n750 /d\n1777 /e\n770 /f\n")


def test_secret_is_readable_by_its_intended_user(podman: Engine) -> None:
    secret = podman.name()
    podman.call("secret", "create", secret, "-", stdin=b"word").ok()
    try:
        options = [
            f"--secret={secret},uid=1000,mode=0400,target=/deep/er",
            f"--secret={secret},type=env,target=SECRET",
            "--user=1000",
        ]
        script = "stat -c '%a %u' /deep/er; cat /deep/er; echo $SECRET"
        assert same(podman, *options, script=script) == "400 1000\nwordword\n"
    finally:
        podman.call("secret", "rm", secret).ok()


def test_volume_closed_to_the_jobs_user_is_usable(podman: Engine, image: str) -> None:
    # Only root of podman's user namespace may look into it.
    volume = podman.name()
    try:
        script = "sort -u /closed/two; echo more >>/closed/two; touch /closed/new; ls /closed; stat -c %a /closed"
        words = podman.words("--rm", f"--volume={volume}:/closed", command=("sh", "-c", script))
        for expected in ("two\n", "more\ntwo\n"):
            done = podman.call(*[image if word == IMAGE else word for word in words]).ok()
            assert done.stdout == f"{expected}new\ntwo\n750\n"
    finally:
        podman.call("volume", "rm", volume).ok()
