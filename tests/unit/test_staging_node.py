"""A job of fake nodes: commands run here, each in a mount namespace where the node's own directories are mounted."""

from __future__ import annotations

import contextlib
import json
import os
import stat
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from scrun.staging.child import Standing
from scrun.staging.model import ContainerFiles

if TYPE_CHECKING:
    from scrun.oci import Config, Mount

if TYPE_CHECKING:
    from collections.abc import Sequence

# Over each hidden directory an empty one is mounted, over the nodes' directory that node's own.
_ENTER = r"""
while [ "$1" != -- ]; do mount --bind "$1" "$2" || exit 99; shift 2; done
shift
exec "$@"
"""
# $1: a scratch directory; then the nodes' commands, each ended by an argument ";;". All get all of stdin.
_FAN_OUT = r"""
scratch=$1; shift
fifos= pids= count=0
while [ $# -gt 0 ]; do
    command=()
    while [ "$1" != ';;' ]; do command+=("$1"); shift; done
    shift
    mkfifo "$scratch/$count"
    "${command[@]}" <"$scratch/$count" & pids="$pids $!"
    fifos="$fifos $scratch/$count"; count=$((count + 1))
done
tee -p $fifos >/dev/null
status=0
for pid in $pids; do wait $pid || status=$?; done
exit $status
"""


is_root = os.geteuid() == 0


def can_mount() -> bool:
    """Whether this user may make a mount namespace."""
    return subprocess.run([*_unshare(), "true"], capture_output=True, check=False).returncode == 0


def _unshare() -> list[str]:
    return ["unshare", "-m"] if os.geteuid() == 0 else ["unshare", "-U", "--map-current-user", "--keep-caps", "-m"]


needs_mounts = pytest.mark.skipif(not can_mount(), reason="no mount namespaces for this user")


class _Process(subprocess.Popen[bytes]):
    """Somebody may have heard all that he wanted before it has ended, and not wait for it."""

    def __del__(self, *_: Any) -> None:
        self.wait()


class FakeStep:
    """Nodes for which ``hidden`` directories are empty, and ``node_dir`` is their own."""

    def __init__(self, scratch: Path, nodes: Sequence[str] = ("node1",), hidden: Sequence[Path] = ()) -> None:
        self.standing: Standing | None = None
        self.early: Standing | None = None
        self.nodes = list(nodes)
        self.ports = (0, 0)
        self.node_dir = scratch / "node-dir"
        self.node_dir.mkdir()
        self.started: list[list[str]] = []
        self.tried: list[str] = []  # the bundles that root of the nodes was to read
        self.root_reads: bool | None = True
        self.path = os.environ["PATH"]
        self.login = "127.0.0.1"  # where the nodes connect to
        self.prefix: list[str] = []  # before each command on a node
        self.most_said = 0  # bytes after which a step's output is cut off; 0: never
        self._scratch = scratch
        self._hidden = list(hidden)
        (scratch / "nothing").mkdir()
        for node in nodes:
            self.own_dir(node).mkdir(mode=0o700)

    def end_early(self) -> None:
        """What a worker does that has needed no step."""
        if self.early:
            self.early.close()
            self.early = None

    def end_standing(self) -> None:
        """What the end of a worker does."""
        self.end_early()
        if self.standing:
            self.standing.close()
            self.standing = None

    __del__ = end_standing

    def own_dir(self, node: str) -> Path:
        """What a node has at node_dir, seen from here."""
        return self._scratch / f"dir-of-{node}"

    def start(
        self,
        argv: Sequence[str],
        *,
        name: str,
        stdin: int,
        stdout: int,
        stderr: int,
        nodes: Sequence[str] | None = None,
    ) -> subprocess.Popen[bytes]:
        self.started.append(list(argv))
        chosen = self.nodes if nodes is None else list(nodes)
        commands = [self._command(node, argv) for node in chosen]
        if len(commands) == 1:
            line = commands[0]
        else:
            scratch = self._scratch / f"step-{len(self.started)}"
            scratch.mkdir()
            line = ["bash", "-c", _FAN_OUT, "bash", str(scratch)]
            for command in commands:
                line += [*command, ";;"]
        if self.most_said:
            line = [
                "bash",
                "-c",
                '"${@:2}" | dd bs=1 count="$1" status=none; exit "${PIPESTATUS[0]}"',
                "bash",
                f"{self.most_said}",
                *line,
            ]
        return _Process(line, stdin=stdin, stdout=stdout, stderr=stderr)

    def launches(self, bundle: str, args: Sequence[str]) -> bool | None:
        assert json.loads(Path(bundle, "config.json").read_text())["process"]["args"] == args
        self.tried.append(bundle)
        return self.root_reads

    def _command(self, node: str, argv: Sequence[str]) -> list[str]:
        mounts = [str(self.own_dir(node)), str(self.node_dir)]
        for path in self._hidden:
            mounts += [str(self._scratch / "nothing"), str(path)]
        environment = ["env", f"SLURMD_NODENAME={node}", f"PATH={self.path}", f"SLURM_SRUN_COMM_HOST={self.login}"]
        return [*_unshare(), "sh", "-c", _ENTER, "sh", *mounts, "--", *environment, *self.prefix, *argv]


class Notes:
    """A log that remembers."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str]] = []

    def __call__(self, level: str, message: str) -> None:
        self.lines.append((level, message))

    def at(self, level: str) -> str:
        """All that was said at a level."""
        return "\n".join(message for said, message in self.lines if said == level)


def make_container(
    bundle: Path, step: FakeStep, *, mounts: Sequence[Any] = (), readonly: bool = False
) -> ContainerFiles:
    """A container of this user's, with its rootfs in the bundle."""
    rootfs = bundle / "rootfs"
    config: Config = {
        "ociVersion": "1.2.0",
        "root": {"path": "rootfs", "readonly": readonly},
        "process": {"args": ["true"], "cwd": "/"},
        "mounts": list(mounts),
    }
    return ContainerFiles(
        "web", str(bundle), str(rootfs), config, 7, os.getuid(), os.getgid(), node_dir=str(step.node_dir)
    )


def bind(source: Path | str, destination: str, *options: str) -> Mount:
    """A bind mount as docker writes it."""
    return {"destination": destination, "type": "bind", "source": str(source), "options": ["rbind", *options]}


def as_it_is(config: Config) -> Config:
    """An ``adapt`` that has nothing to do."""
    return config


def on_node(step: FakeStep, node: str = "node1") -> Path:
    """The container's directory on a node."""
    return step.own_dir(node) / f"scrun-{os.getuid()}" / "7-web"


def describe(root: Path) -> dict[bytes, tuple[object, ...]]:
    """Everything about a tree that has to arrive."""
    found: dict[bytes, tuple[object, ...]] = {}
    names: dict[tuple[int, int], bytes] = {}
    for directory, directories, files in os.walk(os.fsencode(root)):
        for name in sorted(directories + files):
            path = os.path.join(directory, name)
            status = os.lstat(path)
            short = os.path.relpath(path, os.fsencode(root))
            content: object = None
            if stat.S_ISLNK(status.st_mode):
                content = os.readlink(path)
            elif stat.S_ISREG(status.st_mode):
                try:
                    with open(path, "rb") as file:
                        content = file.read()
                except PermissionError:
                    content = "not ours to read"
            first = names.setdefault((status.st_dev, status.st_ino), short)
            attributes = {key: os.getxattr(path, key) for key in os.listxattr(path, follow_symlinks=False)}
            found[short] = (oct(status.st_mode), status.st_mtime_ns, content, first, str(attributes))
    return found


def fill(root: Path) -> None:
    """All kinds of files, with names of all kinds."""
    for name in (
        "plain",
        "with space",
        "new\nline",
        "quote'\"",
        "-n",
        "$(id)",
        "\udcff\udc80bytes",
        "é" * 90,
        ".hidden",
    ):
        (root / name).write_text(name.encode("utf-8", "surrogateescape").hex())
    deep = root.joinpath(*["d" * 60] * 4)
    deep.mkdir(parents=True)
    (deep / "file").write_text("deep")
    (root / "setuid").write_text("x")
    (root / "setuid").chmod(0o4755)
    (root / "nothing").touch(0o000)
    os.link(root / "plain", root / "hard link")
    for name, target in (("abs", "/etc/passwd"), ("rel", "../x"), ("dangling", "no/such"), ("dot", "."), ("up", "..")):
        (root / name).symlink_to(target)
    with open(root / "sparse", "wb") as file:
        file.write(b"start")
        file.seek(50 << 20)
        file.write(b"end")
    os.mkfifo(root / "pipe", 0o640)
    os.utime(root / "plain", ns=(1, 1_234_567_890_123_456_789))
    os.utime(root / "abs", ns=(1, 1_000_000_000_000_000_000), follow_symlinks=False)
    with contextlib.suppress(OSError):  # a filesystem without any
        os.setxattr(root / "plain", "user.scrun", b"\x00\xff=\n")
    closed = root / "closed"
    closed.mkdir()
    (closed / "inside").touch()
    closed.chmod(0o555)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A bundle with a small rootfs."""
    bundle = tmp_path / "bundle"
    (bundle / "rootfs" / "etc").mkdir(parents=True)
    (bundle / "rootfs" / "etc" / "passwd").write_text("root:x:0:0::/:/bin/sh\n")
    (bundle / "config.json").write_text("{}")
    return bundle


@needs_mounts
def test_fake_nodes_hide_paths_and_all_get_stdin(tmp_path: Path) -> None:
    private = tmp_path / "private"
    private.mkdir()
    (private / "file").touch()
    step = FakeStep(tmp_path, ["node1", "node2"], hidden=[private])
    read_end, write_end = os.pipe()
    os.write(write_end, b"hello\n")
    os.close(write_end)
    out = tmp_path / "out"
    with open(out, "wb") as file:
        script = 'read -r word; echo "$SLURMD_NODENAME $word $(ls "$1")"; touch "$2/made"'
        argv = ["sh", "-c", script, "sh", str(private), str(step.node_dir)]
        step.start(argv, name="test", stdin=read_end, stdout=file.fileno(), stderr=2).wait()
    os.close(read_end)
    assert sorted(out.read_text().splitlines()) == ["node1 hello ", "node2 hello "]
    assert (step.own_dir("node1") / "made").exists()
    assert (step.own_dir("node2") / "made").exists()
