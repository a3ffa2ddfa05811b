"""Finding process.args[0] in a rootfs, without ever leaving it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from scrun.bundle import executable
from scrun.errors import ExecutableNotFound, ExecutableNotPermitted

if TYPE_CHECKING:
    from scrun.oci import Config

BUSYBOX_PATH = "PATH=/usr/local/bin:/usr/bin:/bin"


@pytest.fixture
def rootfs(tmp_path: Path) -> Path:
    """As busybox's image: one program, and links to it."""
    root = tmp_path / "rootfs"
    for directory in ("bin", "usr/bin", "etc", "tmp", "app", "dev"):
        (root / directory).mkdir(parents=True)
    program(root / "bin/busybox")
    (root / "bin/sh").symlink_to("busybox")
    (root / "bin/echo").symlink_to("/bin/busybox")
    (root / "usr/bin/env").symlink_to("../../bin/busybox")
    (root / "etc/passwd").write_text("root:x:0:0\n")
    return root


def program(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!\n")
    path.chmod(0o755)
    return path


def resolve(root: Path, name: str, *mounts: Any, cwd: str = "/", env: str = BUSYBOX_PATH, **more: Any) -> str:
    config: Config = {"process": {"args": [name], "cwd": cwd, "env": [env]}, "mounts": list(mounts)}
    return executable.find_program(config, str(root), **more)


def bind(source: Path, destination: str) -> Any:
    return {"destination": destination, "source": str(source), "type": "bind", "options": ["rbind"]}


def tmpfs(destination: str) -> Any:
    return {"destination": destination, "type": "tmpfs", "source": "tmpfs"}


def test_plain_name_is_found_along_the_containers_path(rootfs: Path) -> None:
    assert resolve(rootfs, "busybox") == "/bin/busybox"


def test_an_applet_keeps_its_own_name(rootfs: Path) -> None:
    assert resolve(rootfs, "sh") == "/bin/sh"
    assert resolve(rootfs, "echo") == "/bin/echo"
    assert resolve(rootfs, "env") == "/usr/bin/env"


def test_the_host_s_own_programs_are_not_found(rootfs: Path) -> None:
    assert os.path.exists("/usr/bin/tail")
    with pytest.raises(ExecutableNotFound, match=r'^exec: "tail": executable file not found in \$PATH$'):
        resolve(rootfs, "tail", env="PATH=/usr/bin:/bin")


def test_an_absolute_path_is_answered_as_it_is(rootfs: Path) -> None:
    assert resolve(rootfs, "/bin/sh", env="PATH=") == "/bin/sh"


def test_slashed_path_is_relative_to_the_working_directory(rootfs: Path) -> None:
    program(rootfs / "app/run.sh")
    assert resolve(rootfs, "./run.sh", cwd="/app") == "/app/run.sh"
    assert resolve(rootfs, "app/run.sh") == "/app/run.sh"
    assert resolve(rootfs, "../bin/sh", cwd="/app") == "/app/../bin/sh"


def test_relative_path_entries_mean_the_working_directory(rootfs: Path) -> None:
    program(rootfs / "app/tools/a")
    program(rootfs / "app/b")
    assert resolve(rootfs, "a", cwd="/app", env="PATH=tools:/bin") == "/app/tools/a"
    assert resolve(rootfs, "b", cwd="/app", env="PATH=/bin:") == "/app/b"


def test_the_last_of_several_paths_counts(rootfs: Path) -> None:
    config: Config = {"process": {"args": ["sh"], "cwd": "/", "env": ["PATH=/bin", "PATH=/usr/bin"]}}
    with pytest.raises(ExecutableNotFound):
        executable.find_program(config, str(rootfs))


def test_without_a_path_the_usual_one_is_searched(rootfs: Path) -> None:
    assert executable.find_program({"process": {"args": ["sh"], "cwd": "/"}}, str(rootfs)) == "/bin/sh"


def test_only_executable_files_on_path_count(rootfs: Path) -> None:
    (rootfs / "usr/bin/sh").mkdir()
    assert resolve(rootfs, "sh") == "/bin/sh"
    with pytest.raises(ExecutableNotFound, match="executable file not found in"):
        resolve(rootfs, "passwd", env="PATH=/etc")


def test_an_empty_name_is_not_found(rootfs: Path) -> None:
    with pytest.raises(ExecutableNotFound, match=r'^exec: "": executable file not found in \$PATH$'):
        resolve(rootfs, "")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("/no/such", 'exec: "/no/such": stat /no/such: no such file or directory'),
        ("./such", 'exec: "./such": stat ./such: no such file or directory'),
        ("/etc/passwd/x", 'exec: "/etc/passwd/x": stat /etc/passwd/x: not a directory'),
        ("/etc/passwd/..", 'exec: "/etc/passwd/..": stat /etc/passwd/..: not a directory'),
        ("/bin/loop", 'exec: "/bin/loop": stat /bin/loop: too many levels of symbolic links'),
        ("/bin/dangling", 'exec: "/bin/dangling": stat /bin/dangling: no such file or directory'),
    ],
)
def test_missing_command_is_reported_in_dockers_words(rootfs: Path, name: str, message: str) -> None:
    (rootfs / "bin/loop").symlink_to("loop")
    (rootfs / "bin/dangling").symlink_to("/nowhere")
    with pytest.raises(ExecutableNotFound) as caught:
        resolve(rootfs, name)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("/etc/passwd", 'exec: "/etc/passwd": permission denied'),
        ("/tmp", 'exec: "/tmp": is a directory: permission denied'),
        ("/", 'exec: "/": is a directory: permission denied'),
        ("/tmp/pipe", 'exec: "/tmp/pipe": permission denied'),
    ],
)
def test_unexecutable_command_is_reported_in_dockers_words(rootfs: Path, name: str, message: str) -> None:
    os.mkfifo(rootfs / "tmp/pipe", 0o777)
    with pytest.raises(ExecutableNotPermitted) as caught:
        resolve(rootfs, name)
    assert str(caught.value) == message


def test_links_never_lead_out_of_the_rootfs(rootfs: Path, tmp_path: Path) -> None:
    outside = program(tmp_path / "outside/evil")
    (rootfs / "bin/absolute").symlink_to(outside)
    (rootfs / "bin/upwards").symlink_to("../../../../../.." + str(outside))
    (rootfs / "escape").symlink_to("..")
    for name in ("/bin/absolute", "/bin/upwards", "/escape/outside/evil", "/../outside/evil"):
        with pytest.raises(ExecutableNotFound):
            resolve(rootfs, name)
    assert resolve(rootfs, "/escape/bin/sh") == "/escape/bin/sh"


def test_links_between_directories_are_followed_within_the_rootfs(rootfs: Path) -> None:
    (rootfs / "lib64").symlink_to("/opt/lib")
    (rootfs / "opt").symlink_to("usr")
    program(rootfs / "usr/lib/tool")
    assert resolve(rootfs, "/lib64/tool") == "/lib64/tool"


def test_bound_file_is_found_like_dockers_init(rootfs: Path, tmp_path: Path) -> None:
    init = program(tmp_path / "host/docker-init")
    assert resolve(rootfs, "/sbin/docker-init", bind(init, "/sbin/docker-init")) == "/sbin/docker-init"


def test_bound_directory_hides_the_images_files(rootfs: Path, tmp_path: Path) -> None:
    program(tmp_path / "tools/mine")
    mounts = [bind(tmp_path / "tools", "/usr/bin")]
    assert resolve(rootfs, "mine", *mounts) == "/usr/bin/mine"
    with pytest.raises(ExecutableNotFound):
        resolve(rootfs, "env", *mounts)


def test_a_bind_by_option_alone_counts(rootfs: Path, tmp_path: Path) -> None:
    program(tmp_path / "tools/mine")
    mount = {"destination": "/usr/bin", "source": str(tmp_path / "tools"), "options": ["bind"]}
    assert resolve(rootfs, "mine", mount) == "/usr/bin/mine"
    with pytest.raises(ExecutableNotFound):  # not just a guess
        resolve(rootfs, "other", mount)


def test_bound_directorys_links_lead_to_container_files(rootfs: Path, tmp_path: Path) -> None:
    (tmp_path / "tools").mkdir()
    (tmp_path / "tools/shell").symlink_to("/bin/busybox")
    (tmp_path / "tools/escape").symlink_to("../outside")
    program(tmp_path / "outside")
    mount = bind(tmp_path / "tools", "/data")
    assert resolve(rootfs, "/data/shell", mount) == "/data/shell"
    with pytest.raises(ExecutableNotFound):
        resolve(rootfs, "/data/escape", mount)


def test_innermost_mount_decides_unless_a_later_hides_it(rootfs: Path, tmp_path: Path) -> None:
    program(tmp_path / "outer/a")
    program(tmp_path / "inner/b")
    (tmp_path / "outer/sub").mkdir()
    outer, inner = bind(tmp_path / "outer", "/app"), bind(tmp_path / "inner", "/app/sub")
    assert resolve(rootfs, "/app/sub/b", outer, inner) == "/app/sub/b"
    with pytest.raises(ExecutableNotFound):
        resolve(rootfs, "/app/sub/b", inner, outer)


def test_a_mounts_destination_follows_the_images_links(rootfs: Path, tmp_path: Path) -> None:
    program(tmp_path / "tools/mine")
    (rootfs / "var").mkdir()
    (rootfs / "var/run").symlink_to("/run")
    assert resolve(rootfs, "/run/t/mine", bind(tmp_path / "tools", "/var/run/t")) == "/run/t/mine"


def test_bind_below_a_tmpfs_or_nothing_is_seen(rootfs: Path, tmp_path: Path) -> None:
    tool = program(tmp_path / "tool")
    assert resolve(rootfs, "/tmp/a/tool", tmpfs("/tmp"), bind(tool, "/tmp/a/tool")) == "/tmp/a/tool"
    assert resolve(rootfs, "/new/dir/tool", bind(tool, "/new/dir/tool")) == "/new/dir/tool"
    with pytest.raises(ExecutableNotPermitted, match="is a directory"):
        resolve(rootfs, "/new/dir", bind(tool, "/new/dir/tool"))


def test_a_relative_bind_source_is_the_bundle_s(rootfs: Path, tmp_path: Path) -> None:
    program(tmp_path / "tools/mine")
    mount = {"destination": "/usr/bin", "source": "tools", "type": "bind"}
    assert resolve(rootfs, "mine", mount, bundle=str(tmp_path)) == "/usr/bin/mine"
    with pytest.raises(ExecutableNotFound):  # not just a guess
        resolve(rootfs, "other", mount, bundle=str(tmp_path))


def test_moved_source_is_searched_in_its_new_place(rootfs: Path, tmp_path: Path) -> None:
    program(tmp_path / "now/mine")
    sources = {"/engine/only": str(tmp_path / "now")}
    mount = bind(Path("/engine/only"), "/usr/bin")
    assert resolve(rootfs, "mine", mount, sources=sources) == "/usr/bin/mine"
    with pytest.raises(ExecutableNotFound):  # not just a guess
        resolve(rootfs, "other", mount, sources=sources)


def test_node_decides_on_mounts_that_cannot_be_seen(rootfs: Path) -> None:
    assert resolve(rootfs, "/tmp/x", tmpfs("/tmp")) == "/tmp/x"
    assert resolve(rootfs, "/data/x", bind(Path("/only/on/the/node"), "/data")) == "/data/x"
    (rootfs / "bin/late").symlink_to("/tmp/x")
    assert resolve(rootfs, "/bin/late", tmpfs("/tmp")) == "/bin/late"


def test_certain_name_goes_before_a_possible_one(rootfs: Path) -> None:
    assert resolve(rootfs, "sh", tmpfs("/usr/local/bin")) == "/bin/sh"
    assert resolve(rootfs, "other", tmpfs("/usr/bin")) == "/usr/bin/other"


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is unreadable to root")
def test_an_unreadable_rootfs_is_left_to_the_node(rootfs: Path) -> None:
    rootfs.chmod(0)
    try:
        assert resolve(rootfs, "anything") == "/bin/anything"
        assert resolve(rootfs, "/opt/x") == "/opt/x"
    finally:
        rootfs.chmod(0o755)


def test_bin_is_the_guess_for_invisible_paths(rootfs: Path) -> None:
    hidden = [tmpfs("/usr"), tmpfs("/bin")]
    assert resolve(rootfs, "anything", *hidden) == "/bin/anything"
    assert resolve(rootfs, "anything", *hidden, env="PATH=/usr/sbin:/usr/bin") == "/usr/sbin/anything"


def test_visible_bind_below_an_invisible_mount_is_searched(rootfs: Path, tmp_path: Path) -> None:
    tool = program(tmp_path / "tools/tool")
    mounts = [tmpfs("/app"), bind(tool.parent, "/app/deep/bin")]
    assert resolve(rootfs, "/app/deep/bin/tool", *mounts) == "/app/deep/bin/tool"
    assert resolve(rootfs, "/app/deep/lib/tool", *mounts) == "/app/deep/lib/tool", "the node has the last word"
    with pytest.raises(ExecutableNotFound):
        resolve(rootfs, "/app/deep/bin/nosuch", *mounts)
    with pytest.raises(ExecutableNotPermitted, match="is a directory"):
        resolve(rootfs, "/app/deep", *mounts)
