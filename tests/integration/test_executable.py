"""process.args[0]: found in the container's PATH and not the host's, and the words when it isn't there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from .conftest import MakeContainer
from .oci import Container
from .rootfs import Config
from .test_bad_bundle import assert_refused, setting


def test_relative_command_only_the_container_has_is_found(container: MakeContainer) -> None:
    # /usr/bin/echo is on the host's PATH; this container has no /usr.
    one = container("echo", "hi").started()
    assert one.ended() == 0
    assert one.output == b"hi\n"


def test_containers_own_path_is_searched_in_order(container: MakeContainer) -> None:
    one = container("tool", env=["PATH=/second:/first:/bin"])
    for name in ("first", "second"):
        (one.bundle / "rootfs" / name).mkdir()
        script = one.bundle / "rootfs" / name / "tool"
        script.write_text(f"#!/bin/sh\necho {name}\n")
        script.chmod(0o755)
    one.started()
    assert one.ended() == 0
    assert one.output == b"second\n"


def test_a_path_relative_to_the_working_directory(container: MakeContainer) -> None:
    one = container("./tool", "x", change=setting("process", "cwd", value="/tmp"))
    script = one.bundle / "rootfs/tmp/tool"
    script.write_text('#!/bin/sh\necho "$PWD" "$@"\n')
    script.chmod(0o755)
    one.started()
    assert one.ended() == 0
    assert one.output == b"/tmp x\n"


def test_a_linked_command_keeps_its_name(container: MakeContainer) -> None:
    # /bin/true is a link to busybox, which looks at argv[0].
    assert container("/bin/false").started().ended() == 1
    assert container("/bin/true").started().ended() == 0


def test_a_link_is_followed_within_the_container_only(container: MakeContainer) -> None:
    one = container("/tool")
    os.symlink("/bin/echo", one.bundle / "rootfs/tool2")
    os.symlink("/tool2", one.bundle / "rootfs/tool")
    (one.bundle / "rootfs/config.json").symlink_to("../config.json")
    one.started()
    assert one.ended() in (0, 127)  # busybox called as "tool" knows no such applet


def test_arguments_arrive_as_they_are(container: MakeContainer) -> None:
    words = ["a b", "", "'", '"', "$HOME", "\\", "*", "--", "-x", "ü", "a\nb", "%n", ";", "`id`"]
    one = container("printf", "[%s]", *words).started()
    assert one.ended() == 0
    assert one.output.decode() == "".join(f"[{word}]" for word in words)


def test_lone_colon_is_an_ordinary_argument(container: MakeContainer) -> None:
    # srun separates the components of a heterogeneous step by it.
    words = ["a b", "", ":", "'", "\\", "$HOME", "a\nb", ":", "-x"]
    one = container("printf", "[%s]", *words).started()
    assert one.ended() == 0
    assert one.output.decode() == "".join(f"[{word}]" for word in words)
    assert container("sh", "-c", ":").started().ended() == 0


def test_a_megabyte_of_arguments_arrives(container: MakeContainer) -> None:
    longest, words = 131071, 12
    one = container("sh", "-c", "cat /proc/$$/cmdline | wc -c", *["x" * longest] * words).started()
    assert one.ended() == 0
    assert int(one.output) > words * longest


def test_more_arguments_than_the_kernel_takes_are_refused(container: MakeContainer) -> None:
    one = container("true", "x" * 131072).created()
    assert "argument list too long" in one.call("start").stderr
    assert one.ended() == 126


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("nosuch", 'exec: "nosuch": executable file not found in $PATH'),
        ("/nosuch", "no such file or directory"),
        ("/bin/nosuch", "no such file or directory"),
        ("./nosuch", "no such file or directory"),
        ("/bin/busybox/x", "not a directory"),
        ("", "executable file not found"),
    ],
)
def test_what_is_missing_is_127_for_docker(container: MakeContainer, name: str, words: str) -> None:
    _refuses(container(name), words)


def _refuses(one: Container, words: str) -> None:
    """scrun has words that engines read; what another runtime says is its own business."""
    done = one.create()
    if one.runtime.is_scrun:
        assert_refused(done, words)
    else:
        assert done.status != 0


@pytest.mark.parametrize(("name", "words"), [("/etc/passwd", "permission denied"), ("/etc", "is a directory")])
def test_what_cannot_be_executed_is_126_for_docker(container: MakeContainer, name: str, words: str) -> None:
    _refuses(container(name), words)


def test_a_command_from_a_bind_mount(container: MakeContainer, directory: Path) -> None:
    script = directory / "tool"
    script.write_text("#!/bin/sh\necho from the mount\n")
    script.chmod(0o755)

    def mount(config: Config) -> None:
        config["mounts"].append(
            {"destination": "/mnt", "type": "bind", "source": str(directory), "options": ["rbind", "ro"]}
        )
        config["process"]["env"] = ["PATH=/mnt:/bin"]

    one = container("tool", change=mount).started()
    assert one.ended() == 0
    assert one.output == b"from the mount\n"


@pytest.mark.slurm_only("the kernel's own word")
def test_file_the_kernel_cannot_execute_fails(container: MakeContainer) -> None:
    one = container("/tool")
    tool = one.bundle / "rootfs/tool"
    tool.write_text("#!/nosuch/interpreter\n")
    tool.chmod(0o755)
    one.create().ok()
    done = one.call("start")
    assert done.status or one.ended() in (1, 126, 127)
    one.wait_for("stopped")
    assert one.record["exit_status"] != 0
