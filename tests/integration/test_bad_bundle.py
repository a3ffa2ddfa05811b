"""A bundle or a config.json that can't be run: one line that says what is wrong, before any job is asked for."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .conftest import MakeBundle, MakeContainer
from .oci import Container, Runtime
from .rootfs import Config
from .users import Done, User

Damage = Callable[[Path], object]


def assert_refused(done: Done, *words: str) -> None:
    """An error as a person should see it: one line, no traceback, runc's exit status, these words."""
    assert done.status == 1, done.stderr
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert "internal error" not in done.stderr
    for word in words:
        assert word in done.stderr


def refuse(one: Container, *words: str) -> None:
    """Its create is refused so, and leaves nothing."""
    assert_refused(one.create(), *(words if one.runtime.is_scrun else ()))
    assert not one.path.exists()
    assert not one.pid_file.exists()


def replace(bundle: Path, make: Damage) -> None:
    """Put something else in config.json's place."""
    (bundle / "config.json").unlink()
    make(bundle / "config.json")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: None, "no config.json"),
        (lambda path: path.write_text(""), "is not JSON"),
        (lambda path: path.write_text('{"ociVersion": "1.0.2",}'), "is not JSON"),
        (lambda path: path.write_bytes(b"\xff\xfe\x00garbage"), "is not JSON"),
        (lambda path: path.write_text("[" * 100000), "config.json"),
        (lambda path: path.write_text("[]"), "no JSON object"),
        (lambda path: path.write_text("7"), "no JSON object"),
        (lambda path: path.mkdir(), "not a regular file"),
        (os.mkfifo, "not a regular file"),
        (lambda path: path.symlink_to("/dev/zero"), "not a regular file"),
        (lambda path: (path.write_text("{}"), path.chmod(0)), "config.json: permission denied"),
        (lambda path: path.symlink_to("config.json"), "config.json"),
    ],
    ids=[
        "missing",
        "empty",
        "comma",
        "binary",
        "deep",
        "array",
        "number",
        "directory",
        "fifo",
        "device",
        "unreadable",
        "loop",
    ],
)
@pytest.mark.slurm_only("opens a FIFO and waits, and says little of some")
def test_a_config_that_is_none_is_refused(container: MakeContainer, make: Damage, words: str) -> None:
    one = container("true")
    replace(one.bundle, make)
    refuse(one, words)


def setting(*path: str | int, value: Any) -> Callable[[Config], None]:
    """A change that puts the value at that place in the config; None takes the member out."""

    def change(config: Any) -> None:
        for step in path[:-1]:
            config = config[step]
        config[path[-1]] = value

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (setting("process", value=None), "config.json: process: is missing"),
        (setting("process", value=[]), "config.json: process: expected an object"),
        (setting("process", "args", value="true"), "config.json: process.args: expected a non-empty array of strings"),
        (setting("process", "args", value=[]), "config.json: process.args: expected a non-empty array of strings"),
        (setting("process", "args", 0, value=7), "config.json: process.args[0]: expected a string, found 7"),
        (setting("process", "env", value={}), "config.json: process.env: expected an array of strings"),
        (setting("process", "cwd", value="relative"), "config.json: process.cwd: expected an absolute path"),
        (setting("process", "terminal", value="yes"), "config.json: process.terminal: expected true or false"),
        (setting("process", "user", "uid", value=-1), "config.json: process.user.uid: expected an integer from 0"),
        (setting("root", value=None), "config.json: root: is missing"),
        (setting("root", "path", value=None), "config.json: root.path: is missing"),
        (setting("root", "path", value="nosuch"), "no such file or directory"),
        (setting("root", "path", value="config.json"), "it is not a directory"),
        (setting("mounts", 0, value="x"), "config.json: mounts[0]: expected an object"),
        (setting("ociVersion", value=None), "config.json: ociVersion: is missing"),
        (setting("ociVersion", value="2.0.0"), "config.json: ociVersion: expected a version 1.x.y"),
        (setting("hostname", value=7), "config.json: hostname: expected a string, found 7"),
        (setting("linux", "namespaces", value={}), "config.json: linux.namespaces: expected an array"),
        (setting("annotations", value={"a": 1}), "config.json: annotations.a: expected a string, found 1"),
        (
            setting("process", "rlimits", value=[{"type": "RLIMIT_TEST", "soft": 1, "hard": 1}]),
            "config.json: process.rlimits[0].type: expected one of RLIMIT_AS, ",
        ),
        (setting("hooks", value={"poststop": [{"path": "/x", "timeout": -1}]}), "timeout: expected an integer from 1"),
        (setting("windows", value={}), None),
    ],
    ids=lambda value: value and str(value).removeprefix("config.json: ") if isinstance(value, str) else "",
)
@pytest.mark.slurm_only("takes most of them, or says it without the path")
def test_config_mistake_is_named_by_its_path(container: MakeContainer, change: Any, words: str | None) -> None:
    one = container("true", change=change)
    if words is None:
        one.created()  # beside "linux" another platform's section is nobody's business
    else:
        refuse(one, words)


@pytest.mark.slurm_only("words of its own")
def test_many_mistakes_are_one_line_with_a_count(container: MakeContainer) -> None:
    one = container("true", change=lambda config: config.update(hostname=1, root=2, mounts=3))
    refuse(one, "(and 2 more)")


@pytest.mark.slurm_only("makes the directory")
def test_a_rootfs_that_is_gone_is_refused(container: MakeContainer) -> None:
    one = container("true")
    shutil.rmtree(one.bundle / "rootfs")
    refuse(one, str(one.bundle / "rootfs"), "no such file or directory")


@pytest.mark.parametrize("name", ["nosuch", "file", "file/below"])
def test_a_bundle_that_is_no_directory_is_refused(runtime: Runtime, unique_id: str, directory: Path, name: str) -> None:
    (directory / "file").touch()
    done = runtime.run("create", "--bundle", str(directory / name), unique_id)
    assert_refused(done, *(["not a directory"] if runtime.is_scrun else []))
    assert not (runtime.root / unique_id).exists()


def test_bundle_without_access_permission_is_refused(
    runtime: Runtime, bob: User, bundle: MakeBundle, unique_id: str
) -> None:
    path = bundle("true", user=bob)
    path.chmod(0o700)
    done = runtime.run("create", "--bundle", str(path), unique_id)
    assert_refused(done, *(["permission denied"] if runtime.is_scrun else []))


@pytest.mark.slurm_only("knows --console-socket as optional")
def test_terminal_and_console_socket_require_each_other(container: MakeContainer, directory: Path) -> None:
    refuse(container("true", terminal=True), "--console-socket")
    plain = container("true")
    done = plain.create("--console-socket", str(directory / "socket"))
    assert_refused(done, "--console-socket", "process.terminal")


def test_console_socket_without_listener_is_refused(container: MakeContainer, directory: Path) -> None:
    one = container("true", terminal=True)
    done = one.create("--console-socket", str(directory / "socket"))
    assert_refused(done, *([str(directory / "socket")] if one.runtime.is_scrun else []))
    assert not one.path.exists()


@pytest.mark.slurm_only("leaves the container there")
def test_unwritable_pid_file_is_refused(container: MakeContainer) -> None:
    one = container("true")
    done = one.runtime.run("create", "--bundle", str(one.bundle), "--pid-file", "/proc/nosuch", one.id)
    assert_refused(done, "pid file /proc/nosuch")
    assert not one.path.exists()


def test_the_sample_config_is_valid(container: MakeContainer) -> None:
    # The refusals above mean something only because this very config is accepted without the damage.
    one = container("true")
    json.loads((one.bundle / "config.json").read_text())
    one.created()


@pytest.mark.slurm_only("its own affair")
def test_a_refusal_never_hangs(container: MakeContainer) -> None:
    # It may come while the anchor's workers are only being forked.
    one = container("/nosuch")
    for _ in range(40):
        done = one.runtime.run("create", "--bundle", str(one.bundle), one.id)
        assert_refused(done, "no such file or directory")
