"""The command lines that docker's shim, podman's conmon and buildah send (CONTRACT 1, 2 and 4)."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from .conftest import MakeContainer
from .oci import Container, Runtime
from .waiting import wait_until

pytestmark = pytest.mark.slurm_only("has its own tests of its command line")

GLOBALS = {
    "containerd": ("--root", "{root}", "--log", "{log}", "--log-format", "json"),
    "containerd with systemd": ("--root", "{root}", "--log", "{log}", "--log-format", "json", "--systemd-cgroup"),
    "go-runc": ("--debug", "--root", "{root}", "--log", "{log}", "--log-format", "json", "--rootless=true"),
    "podman": ("--log-format=json", "--log", "{log}", "--root={root}"),
    "podman with cgroups off": ("--cgroup-manager", "disabled", "--log-format=json", "--log={log}", "--root={root}"),
    "crun's": ("--log=file:{log}", "--log-level=debug", "--cgroup-manager=cgroupfs", "--root={root}"),
    "runc's": (
        "--root",
        "{root}",
        "--log",
        "{log}",
        "--criu",
        "/usr/sbin/criu",
        "--rootless",
        "auto",
        "--log-format",
        "text",
    ),
}
CREATE = {
    "docker": ("create", "--bundle", "{bundle}", "--pid-file", "{pid_file}", "{id}"),
    "docker in a ramdisk": ("create", "--bundle", "{bundle}", "--pid-file", "{pid_file}", "--no-pivot", "{id}"),
    "docker without a keyring": (
        "create",
        "--bundle",
        "{bundle}",
        "--pid-file",
        "{pid_file}",
        "--no-new-keyring",
        "{id}",
    ),
    "runc 1.3": ("create", "--bundle={bundle}", "--pid-file={pid_file}", "--preserve-fds", "0", "{id}"),
    "podman": ("create", "--bundle", "{bundle}", "--pid-file", "{pid_file}", "{id}"),
    "podman with everything": (
        *("create", "--bundle", "{bundle}", "--pid-file", "{pid_file}", "--no-pivot", "--no-new-keyring"),
        *("--preserve-fds", "3", "{id}"),
    ),
    "crun": ("create", "-b", "{bundle}", "--pid-file", "{pid_file}", "--no-subreaper", "{id}"),
    "crun with its config": (
        "create",
        "--bundle",
        "{bundle}",
        "--config",
        "{bundle}/config.json",
        "--pid-file={pid_file}",
        "{id}",
    ),
    "a person": ("create", "-b", "{bundle}", "--pid-file", "{pid_file}", "--pidfd-socket=", "{id}"),
}
END: dict[str, list[tuple[str, ...]]] = {
    "docker stop": [("kill", "{id}", "15"), ("delete", "{id}")],
    "docker kill": [("kill", "--all", "{id}", "9"), ("delete", "{id}")],
    "docker rm -f": [("kill", "{id}", "9"), ("delete", "--force", "{id}")],
    "podman": [("kill", "{id}", "9"), ("delete", "--force", "{id}")],
    "podman kill --all": [("kill", "--all", "{id}", "9"), ("delete", "--force", "{id}")],
    "buildah": [("kill", "{id}", "SIGKILL"), ("delete", "{id}")],
    "crun": [("kill", "-a", "{id}", "KILL"), ("delete", "-f", "{id}")],
    "runc": [("kill", "{id}"), ("delete", "-f", "{id}")],
}


def call(one: Container, log: Path, *words: str) -> None:
    """Call the runtime with the placeholders filled in; it must succeed."""
    values = {"root": one.runtime.root, "log": log, "bundle": one.bundle, "pid_file": one.pid_file, "id": one.id}
    one.runtime.user.run(one.runtime.path, *(word.format(**values) for word in words)).ok()


@pytest.mark.parametrize("engine", GLOBALS)
def test_global_options(container: MakeContainer, directory: Path, engine: str) -> None:
    one = container("true")
    for words in (CREATE["docker"], ("kill", "{id}", "0"), ("start", "{id}"), ("state", "{id}"), ("delete", "{id}")):
        call(one, directory / "log", *GLOBALS[engine], *words)
    wait_until(lambda: not one.path.exists(), "its anchor has done what was owed")


@pytest.mark.parametrize("engine", CREATE)
def test_create_as_sent_by(container: MakeContainer, directory: Path, engine: str) -> None:
    one = container("true")
    call(one, directory / "log", *GLOBALS["containerd"], *CREATE[engine])
    assert one.state()["pid"] == int(one.pid_file.read_text())


@pytest.mark.parametrize("engine", END)
def test_the_end_as_asked_for_by(container: MakeContainer, directory: Path, engine: str) -> None:
    one = container("sleep", "1000").started()
    for words in END[engine]:
        call(one, directory / "log", *GLOBALS["containerd"], *words)
    wait_until(lambda: not one.path.exists(), "its anchor has done what was owed")


@pytest.mark.parametrize("words", [("--version",), ("-V",), ("--root", "/x", "--version")])
def test_version_output_has_version_and_commit_lines(runtime: Runtime, words: tuple[str, ...]) -> None:
    lines = runtime.run(*words).ok().stdout.splitlines()
    assert "version" in lines[0]
    assert any(line.startswith("commit: ") for line in lines)
    assert any(line.startswith("spec: 1.") for line in lines)


@pytest.mark.parametrize("verb", ["checkpoint", "restore"])
@pytest.mark.parametrize("options", [["--help"], ["x"]])
def test_checkpoints_are_not_supported(runtime: Runtime, verb: str, options: list[str]) -> None:
    # podman takes exit status 0 of `checkpoint --help` for support.
    done = runtime.run(verb, *options)
    assert done.status != 0
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("verb", ["create", "start", "state", "kill", "delete", ""])
@pytest.mark.parametrize("option", ["--help", "-h"])
def test_help_is_there(runtime: Runtime, verb: str, option: str) -> None:
    assert "Usage:" in runtime.run(*([verb] if verb else []), option).ok().stdout


@pytest.mark.parametrize(
    "words",
    [
        ["nosuch"],
        ["state"],
        ["start"],
        ["delete"],
        ["kill"],
        ["create"],
        ["state", "a", "b"],
        ["create", "--nosuch", "a"],
    ],
    ids=" ".join,
)
def test_invalid_command_line_is_a_one_line_error(runtime: Runtime, words: list[str]) -> None:
    done = runtime.run(*words)
    assert done.status == 1
    assert len(done.stderr.splitlines()) == 1
    assert done.stdout == ""


def test_engine_calls_work_with_their_minimal_environment(container: MakeContainer) -> None:
    # podman: start, kill and state get PATH and XDG_RUNTIME_DIR, delete nothing; HOME and SLURM_* never.
    one = container("sh", "-c", "trap 'exit 42' TERM; echo ready; while :; do sleep 0.1; done")
    conf = {"SLURM_CONF": "/etc/slurm/slurm.conf"}
    one.created(env=conf)
    nothing = dict.fromkeys(one.runtime.user.environment({}))
    one.call("start", env=nothing).ok()
    one.wait_for_output(b"ready\n")
    one.call("state", env=nothing).ok()
    one.call("kill", "TERM", env=nothing).ok()
    assert one.ended() == 42
    one.call("delete", options=["--force"], env=nothing).ok()


def test_the_console_socket_as_docker_names_it(container: MakeContainer, directory: Path) -> None:
    one = container("true", terminal=True)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(directory / "s"))
        (directory / "s").chmod(0o777)
        listening.listen()
        words = (*CREATE["docker"][:-1], "--console-socket", str(directory / "s"), "{id}")
        call(one, directory / "log", *GLOBALS["containerd"], *words)
