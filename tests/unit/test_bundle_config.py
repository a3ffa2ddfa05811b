"""Reading config.json and saying what is wrong with it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from scrun.bundle import config
from scrun.errors import BundleError

MINIMAL: Any = {
    "ociVersion": "1.0.2",
    "process": {"args": ["sh"], "cwd": "/"},
    "root": {"path": "rootfs"},
}


def write(bundle: Path, text: str | bytes) -> str:
    (bundle / "config.json").write_bytes(text.encode() if isinstance(text, str) else text)
    return str(bundle)


def refusal(bundle: Path, text: str | bytes) -> str:
    with pytest.raises(BundleError) as caught:
        config.load(write(bundle, text))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def complaint(**changes: Any) -> str:
    with pytest.raises(BundleError) as caught:
        config.check_config(MINIMAL | changes)
    return str(caught.value)


def test_a_config_is_read_as_it_is(tmp_path: Path) -> None:
    assert config.load(write(tmp_path, json.dumps(MINIMAL))) == MINIMAL


def test_null_members_count_as_absent_wherever_they_are(tmp_path: Path) -> None:
    text = '{"mounts": null, "linux": {"seccomp": {"syscalls": [{"names": ["x"], "args": null}]}}, "list": [null]}'
    assert config.load(write(tmp_path, text)) == {
        "linux": {"seccomp": {"syscalls": [{"names": ["x"]}]}},
        "list": [None],
    }


def test_a_missing_bundle_is_named(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"^bundle .*/nowhere is not a directory: name one with --bundle$"):
        config.load(str(tmp_path / "nowhere"))


def test_bundle_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BundleError, match=r"/file is not a directory"):
        config.load(str(tmp_path / "file"))


def test_bundle_without_config_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"^bundle .* holds no config\.json: name"):
        config.load(str(tmp_path))


def test_directory_in_place_of_the_config_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").mkdir()
    with pytest.raises(BundleError, match=r"config\.json is not a regular file$"):
        config.load(str(tmp_path))


def test_fifo_is_refused_without_waiting_for_a_writer(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "config.json")
    with pytest.raises(BundleError, match="is not a regular file"):
        config.load(str(tmp_path))


def test_path_readable_only_once_is_detected(tmp_path: Path) -> None:
    fifo, plain = tmp_path / "fifo", tmp_path / "plain"
    os.mkfifo(fifo)
    plain.touch()
    once = ["/dev/fd/63", "/dev/stdin", "/proc/self/fd/0", "/tmp/../dev/fd/3", str(fifo)]
    assert [path for path in (*once, str(plain), str(tmp_path / "none")) if config.is_read_once(path)] == once


def test_looping_link_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "config.json").symlink_to("config.json")
    with pytest.raises(BundleError, match=r"can't read .*: too many levels of symbolic links$"):
        config.load(str(tmp_path))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{\n  "a": 1,\n}', "is not JSON: "),
        ("", "is not JSON: Expecting value at line 1 column 1"),
        ('{"a": 1} x', "is not JSON: Extra data at line 1 column 10"),
        ("[1]", "is not a container's configuration: it holds no JSON object"),
        ('{"a": NaN}', "is not JSON: NaN is no JSON number"),
        ('{"a": ' + "9" * 5000 + "}", "is not JSON: "),
        (b'{"a": "\xff"}', "is not JSON: byte 8 is not UTF-8"),
        ("[" * 200_000, "it is nested too deeply"),
        ('{"a": "x\\u0000y"}', "is not JSON: a string holds a NUL character"),
    ],
)
def test_non_object_is_refused_in_one_line(tmp_path: Path, text: str | bytes, message: str) -> None:
    assert message in refusal(tmp_path, text)


def test_a_json_error_names_line_and_column(tmp_path: Path) -> None:
    assert refusal(tmp_path, '{\n  "a" 1\n}').endswith("Expecting ':' delimiter at line 2 column 7")


def test_a_huge_file_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path, " " * (config.MAX_SIZE + 1)).endswith(
        "is larger than 10 MiB: not a container's configuration"
    )


def test_lone_surrogate_is_replaced_as_in_go(tmp_path: Path) -> None:
    text = '{"args": ["\\ud800", "\\ud83d\\ude00", "ü"]}'
    read: Any = config.load(write(tmp_path, text))
    assert read == {"args": ["\N{REPLACEMENT CHARACTER}", "\N{GRINNING FACE}", "ü"]}


def test_minimum_required_by_the_spec_is_enough() -> None:
    config.check_config(MINIMAL)


@pytest.mark.parametrize("version", ["1.0.0", "1.0.2-dev", "1.1.0+dev", "1.2.1-rc.1+x.y", "1.3.0"])
def test_every_version_1_of_the_spec_is_taken(version: str) -> None:
    config.check_config(MINIMAL | {"ociVersion": version})


@pytest.mark.parametrize("version", ["2.0.0", "0.9.0", "1.0", "1.0.0.0", "v1.0.0", "1.01.0", "", "1.0.0\n", 1])
def test_other_versions_are_refused(version: Any) -> None:
    assert complaint(ociVersion=version) == (
        "config.json: ociVersion: expected a version 1.x.y of the OCI runtime specification, "
        f"found {json.dumps(version)}"
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"process": {"args": "sh", "cwd": "/"}}, 'process.args: expected a non-empty array of strings, found "sh"'),
        (
            {"process": {"args": [], "cwd": "/"}},
            "process.args: expected a non-empty array of strings, found an empty array",
        ),
        ({"process": {"cwd": "/"}}, "process.args: is missing, expected a non-empty array of strings"),
        ({"process": {"args": ["sh"], "cwd": "x"}}, 'process.cwd: expected an absolute path, found "x"'),
        ({"process": {"args": ["sh", 1], "cwd": "/"}}, "process.args[1]: expected a string, found 1"),
        (
            {"process": {"args": ["sh"], "cwd": "/", "env": ["A=b", 12345]}},
            "process.env[1]: expected a string, found a number",  # not which: it may be a secret
        ),
        ({"root": {}}, "root.path: is missing, expected a non-empty string"),
        ({"root": {"path": ""}}, 'root.path: expected a non-empty string, found ""'),
        ({"mounts": {}}, "mounts: expected an array of objects, found an object"),
        ({"mounts": [{"destination": "/a"}, {}]}, "mounts[1].destination: is missing, expected a non-empty string"),
        ({"annotations": {"a.b/c": True}}, 'annotations["a.b/c"]: expected a string, found true'),
        ({"annotations": "x" * 90}, f'annotations: expected an object of strings, found "{"x" * 58}…'),
        (
            {"linux": {"namespaces": [{"type": "moon"}]}},
            'linux.namespaces[0].type: expected one of pid, network, mount, ipc, uts, user, cgroup, time, found "moon"',
        ),
        (
            {"linux": {"uidMappings": [{"containerID": -1, "hostID": 0, "size": 1}]}},
            "linux.uidMappings[0].containerID: expected an integer from 0 to 4294967295, found -1",
        ),
    ],
)
def test_complaint_names_place_expectation_and_finding(changes: Any, message: str) -> None:
    assert complaint(**changes) == f"config.json: {message}"


def test_outermost_complaint_comes_first_with_a_count() -> None:
    wrong = {"hostname": 1, "mounts": [{"destination": 1, "options": "ro"}], "root": []}
    assert complaint(**wrong) == "config.json: hostname: expected a string, found 1 (and 3 more)"


def test_everything_that_is_missing_is_counted() -> None:
    with pytest.raises(BundleError) as caught:
        config.check_config({})
    assert str(caught.value) == (
        "config.json: ociVersion: is missing, expected a version 1.x.y of the OCI runtime specification (and 2 more)"
    )


@pytest.mark.parametrize("platform", ["windows", "solaris", "zos", "freebsd", "vm"])
def test_another_platform_s_container_is_refused_by_name(platform: str) -> None:
    assert f"for the platform {platform}" in complaint(**{platform: {}})
    config.check_config(MINIMAL | {platform: {}, "linux": {}})


def test_lone_process_is_checked_under_its_own_filename() -> None:
    config.check_process({"args": ["sh"], "cwd": "/"})
    with pytest.raises(BundleError, match=r"^p\.json: cwd: is missing, expected an absolute path$"):
        config.check_process({"args": ["sh"]}, "p.json")
    with pytest.raises(BundleError, match=r"^process\.json: expected an object, found an array$"):
        config.check_process(["sh"])


def test_the_rootfs_is_relative_to_the_bundle(tmp_path: Path) -> None:
    (tmp_path / "rootfs").mkdir()
    assert config.rootfs_path(MINIMAL, str(tmp_path)) == str(tmp_path / "rootfs")
    assert config.rootfs_path({"root": {"path": str(tmp_path)}}, "/elsewhere") == str(tmp_path)


def test_missing_or_file_rootfs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"root\.path: .*/rootfs can't be used as rootfs: no such file or directory$"):
        config.rootfs_path(MINIMAL, str(tmp_path))
    (tmp_path / "rootfs").touch()
    with pytest.raises(BundleError, match=r"/rootfs can't be used as rootfs: it is not a directory$"):
        config.rootfs_path(MINIMAL, str(tmp_path))


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is unreadable to root")
def test_invisible_rootfs_is_taken_on_trust(tmp_path: Path) -> None:
    (tmp_path / "hidden").mkdir(mode=0)
    rootfs = str(tmp_path / "hidden/rootfs")
    assert config.rootfs_path({"root": {"path": rootfs}}, "/") == rootfs


def bare_interpreter(code: str) -> str:
    """What ``code`` prints without site-packages, so without jsonschema, in a fresh interpreter."""
    source = str(Path(config.__file__).parents[2])
    command = [sys.executable, "-I", "-S", "-c", f"import sys; sys.path.insert(0, {source!r}); {code}"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_valid_config_is_checked_without_slow_imports() -> None:
    slow = ("jsonschema", "typing", "subprocess", "logging", "dataclasses", "pathlib", "copy")
    code = (
        "from scrun.bundle import adapt, config, executable;"
        f"config.check_config({MINIMAL!r});"
        f"print([module for module in {slow!r} if module in sys.modules])"
    )
    assert bare_interpreter(code) == "[]\n"


def test_wrong_config_is_refused_without_jsonschema_too() -> None:
    code = """
from scrun.bundle import config
from scrun.errors import BundleError
try:
    config.check_config({})
except BundleError as error:
    print(error)"""
    expected = "config.json violates the OCI runtime-spec: install jsonschema to learn where\n"
    assert bare_interpreter(code) == expected
