"""Ids, and the directory that containers are kept in."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from .conftest import MakeContainer
from .oci import Runtime
from .test_bad_bundle import assert_refused
from .users import User
from .waiting import PATIENCE

ILLEGAL = [
    "../../evil",
    "..",
    ".",
    ".hidden",
    "a/b",
    "/absolute",
    "",
    "a b",
    "ü",
    "a\nb",
    "x" * 1025,
    "a:b",
    "$(id)",
    "*",
]
OPERATIONS = ["create", "start", "state", "kill", "delete"]


@pytest.mark.slurm_only("takes some of them")
@pytest.mark.parametrize("illegal", ILLEGAL, ids=lambda name: repr(name)[:14])
def test_an_illegal_id_is_refused_by_every_operation(runtime: Runtime, illegal: str, tmp_path: Path) -> None:
    for operation in OPERATIONS:
        done = runtime.run("--root", str(tmp_path / "root"), operation, illegal)
        assert_refused(done, "invalid container id")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("legal", ["a", "A_b+c-d.e", "_", "+", "-x", "x" * 200])
def test_what_runc_takes_for_an_id_is_taken(container: MakeContainer, legal: str) -> None:
    one = container("true")
    one.id = legal
    words = ["--", legal] if legal.startswith("-") else [legal]
    if not one.runtime.is_scrun and legal != "a":
        pytest.skip("crun: takes fewer, and no --")
    one.runtime.run("create", "--bundle", str(one.bundle), *words).ok()
    one.runtime.run("delete", "--force", *words).ok()


def test_id_in_use_is_refused_without_side_effects(container: MakeContainer) -> None:
    one = container("sleep", "1000").started()
    done = one.runtime.run("create", "--bundle", str(one.bundle), one.id)
    assert_refused(done, *(["already exists", one.id] if one.runtime.is_scrun else ["already"]))
    assert one.status() == "running"


@pytest.mark.slurm_only("one of them gets it, too, in words of its own")
def test_only_one_of_many_same_id_creates_succeeds(container: MakeContainer) -> None:
    one = container("sleep", "1000")
    argv = one.runtime.argv("create", "--bundle", str(one.bundle), one.id)
    several = [one.runtime.user.start(*argv) for _ in range(5)]
    assert sorted(process.wait(PATIENCE) for process in several) == [0, 1, 1, 1, 1]
    assert one.status() == "created"


@pytest.mark.slurm_only("runs as alice without a root of hers")
@pytest.mark.parametrize("place", ["/proc/nosuch", "/root/below", "/etc/passwd", "/dev/null/below"])
def test_a_root_that_cannot_be_written_is_refused(container: MakeContainer, place: str) -> None:
    one = container("true")
    done = one.runtime.run("--root", place, "create", "--bundle", str(one.bundle), one.id)
    assert_refused(done, place, "--root")


@pytest.mark.slurm_only("follows it")
def test_symlinked_container_directory_is_refused(container: MakeContainer, directory: Path) -> None:
    one = container("sleep", "1000").started()
    runtime = one.runtime
    link = runtime.root / "test-link"
    os.symlink(one.path, link)
    try:
        for operation in OPERATIONS:
            done = runtime.run(
                operation, *(["--bundle", str(one.bundle)] if operation == "create" else []), "test-link"
            )
            assert_refused(done)
        assert one.status() == "running"
    finally:
        link.unlink()


@pytest.mark.slurm_only("looks at permissions only")
@pytest.mark.parametrize("operation", ["state", "start", "kill", "delete"])
def test_nobody_commands_another_users_container(
    container: MakeContainer, bob: User, root: User, operation: str
) -> None:
    one = container("sleep", "1000").created()
    theirs = Runtime(one.runtime.path, bob)
    assert_refused(theirs.run("--root", str(one.runtime.root), operation, one.id), "ermission denied")
    assert one.status() == "created"


@pytest.mark.slurm_only("its modes are its own")
def test_container_files_belong_to_their_user_alone(container: MakeContainer) -> None:
    one = container("sleep", "1000").started()
    for path in (one.path, *one.path.iterdir()):
        status = path.lstat()
        assert status.st_uid == one.runtime.user.uid
        assert path.is_socket() or status.st_mode & 0o077 == 0, path


def test_containers_under_another_root_are_separate(container: MakeContainer, directory: Path) -> None:
    one = container("true")
    elsewhere = Runtime(one.runtime.path, one.runtime.user)
    elsewhere.root = directory / ("long-" * 30 + "name")  # longer than a socket's path may be (unix(7))
    elsewhere.argv = lambda *words: [one.runtime.path, "--root", str(elsewhere.root), *words]  # type: ignore[method-assign]
    if not one.runtime.is_scrun:
        pytest.skip("crun: would want --cgroup-manager too")
    one.runtime = elsewhere
    assert one.started().ended() == 0
    assert one.status() == "stopped"
    assert Runtime(one.runtime.path, one.runtime.user).run("state", one.id).status == 1
    one.call("delete").ok()
    assert list(elsewhere.root.glob("[!.]*")) == []
