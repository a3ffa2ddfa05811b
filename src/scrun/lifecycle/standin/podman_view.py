"""What podman top and podman cp find of a container on this host.

Both ask no runtime. They enter the namespaces of the pid file's process, and read /proc or copy files there
(containers/psgo; libpod, podmanTopInner, joinMountAndExec). In this host's namespaces they would find all of this
host's processes and files. So podman's stand-in is alone in a pid namespace, and in a mount namespace with this root:

- the container's root filesystem with its mounts, if the nodes run the container from the very files that are here;
- otherwise an empty directory, read-only.

/proc there has one process, whose command line tells where the container's processes are. The stand-in itself still
sees this host's files. The reason: a process that enters the namespace sees the mount on top of /, and a process whose
root directory is below that mount doesn't.
"""

from __future__ import annotations

import errno
import os
import stat

from scrun import fastjson, log
from scrun.errors import ScrunError
from scrun.lifecycle.process import fork
from scrun.lifecycle.standin.namespaces import CLONE_NEWNS, unshare
from scrun.mount import copies_link, is_bind, is_within, is_within_any

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scrun.lifecycle.container.directory import Container
    from scrun.lifecycle.standin.mounting import Mounting
    from scrun.oci import Mount
    from scrun.staging.model import StagedData


NAME = "on-a-slurm-node"  # a command's name has at most 15 characters (proc_pid_comm(5))
_MARK = "these files are on the node only, use podman exec"
_ARGUMENTS = 45  # arg_start and arg_end in /proc/PID/stat, counted behind the command's closing parenthesis
_KERNELS = ("/proc", "/sys", "/dev")


def show(container: Container, *, rootfs: bool) -> str:
    """Move this process, the stand-in, into such a mount namespace, if that is allowed.

    Args:
        container: the container.
        rootfs: whether the root is the container's root filesystem, if that can be mounted.

    Returns:
        The command line that podman is to find of this process; empty where podman can't look into it.
    """
    words = f"scrun: on a node of Slurm; see: podman exec {container.id[:12]} ps, or: scrun ps {container.id}"
    try:
        processes = _fake_processes(words)
        unshare(CLONE_NEWNS)
    except (OSError, StopIteration):
        return ""

    def mount() -> None:
        if not (rootfs and _try(container, processes, rootfs=True)):
            _try(container, processes, rootfs=False)

    os.waitpid(fork.child(mount), 0)  # in a child, because ctypes would stay in memory: a megabyte
    set_command_line(words)
    return words


def _try(container: Container, processes: dict[str, str], *, rootfs: bool) -> bool:
    try:
        _mount(container, processes, rootfs=rootfs)
    except (OSError, ImportError, ValueError, KeyError, ScrunError) as error:
        log.append(container.child("anchor.log"), "debug", f"podman's view of the container: {error}")
        return False
    return True


def _fields() -> list[str]:
    with open("/proc/self/stat", encoding="utf-8", errors="replace") as file:
        return file.read().rpartition(")")[2].split()


def set_command_line(words: str) -> None:
    """Make ps(1) show ``words`` as this process's command line; root's podman top -o runs ps in the pid namespace."""
    start, end = map(int, _fields()[_ARGUMENTS : _ARGUMENTS + 2])
    try:
        with open("/proc/self/mem", "r+b", buffering=0) as memory:
            memory.seek(start)
            memory.write(words.encode()[: end - start - 1].ljust(end - start, b"\0"))
        with open("/proc/self/comm", "w", encoding="utf-8") as file:
            file.write(NAME)
    except OSError:
        pass  # some kernels let nobody write to /proc/PID/mem


def _fake_processes(words: str) -> dict[str, str]:
    """The files of a /proc with one process, by path; only those that psgo reads."""
    fields = _fields()
    with open("/proc/stat", encoding="utf-8") as file:
        boot = next(line for line in file if line.startswith("btime"))
    return {
        "stat": boot,
        "1/stat": f"1 ({NAME}) {fields[0]} 0 {' '.join(fields[2:])}\n",
        "1/status": f"Name: {NAME}\nState: S\nPid: 1\nPPid: 0\nUid: 0 0 0 0\nGid: 0 0 0 0\n",
        "1/cmdline": words,
        "1/attr/current": "",
    }


def _mount(container: Container, processes: dict[str, str], *, rootfs: bool) -> None:
    from scrun.lifecycle.standin.mounting import Mounting

    mounting = Mounting()
    place = container.path  # a directory that nobody needs by its path meanwhile
    mounting.keep_to_ourselves()
    mounting.new_memory(place)
    try:
        _fill(place, processes, rootfs=rootfs)
        mounting.make_memory_read_only(place)
        if rootfs:
            _cover(mounting, container, place)
        mounting.move(place, "/")
    finally:
        mounting.unmount_all(place)


def _fill(place: str, processes: dict[str, str], *, rootfs: bool) -> None:
    for name in ("proc/1/attr", "proc/1/ns", "dev/pts", *(["elsewhere"] if rootfs else [])):
        os.makedirs(f"{place}/{name}")
    for name, text in processes.items():
        with open(f"{place}/proc/{name}", "w", encoding="utf-8") as file:
            file.write(text)
    os.symlink(os.readlink("/proc/self/ns/pid"), f"{place}/proc/1/ns/pid")
    with open(f"{place}/{'elsewhere/' if rootfs else ''}{_MARK}", "w", encoding="utf-8"):
        pass
    if rootfs:
        os.mknod(f"{place}/socket", stat.S_IFSOCK | 0o600)  # nobody can open a socket


def _cover(mounting: Mounting, container: Container, place: str) -> None:
    """Mount the root filesystem with the container's mounts on ``place``, which has the files of :func:`_fill`.

    The container controls what the destinations of mounts lead to, so they are followed within the root filesystem
    only. Missing mount points are made, as the node's runtime would make them.
    """
    container.load()
    record = container.record
    with open(f"{record['job_bundle']}/config.json", encoding="utf-8") as file:
        config = fastjson.loads(file.read())
    outside = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    root = mounting.tree(record["rootfs"])
    here: list[tuple[str, int, bool | None]] = [
        (f"/{name}", mounting.tree(f"{place}/{name}"), True) for name in ("proc", "dev")
    ]
    directory, file_ = (os.open(f"{place}/{name}", os.O_PATH | os.O_CLOEXEC) for name in ("elsewhere", "socket"))
    for mount in config.get("mounts") or ():
        destination = os.path.normpath("/" + mount["destination"].lstrip("/"))  # "//" would stay
        if destination == "/":  # scrun's own, which disables device nodes on the node
            continue
        if copies_link(mount) and os.path.islink(mount["source"]):  # no mount: the node's runtime makes such a link
            continue
        if destination == "/sys" or not is_within_any(destination, _KERNELS):
            tree = tree_of_mount(mounting, mount, record["staged"])
            here.append((destination, tree, is_directory(mount, record["staged"])))
    mounting.attach(root, place)
    os.chroot(place)
    try:
        os.chdir("/")
        hidden: list[str] = []
        for destination, tree, is_one in here:
            if is_within_any(destination, hidden):
                continue
            _make_missing(destination, is_directory=is_one)
            if tree < 0:
                hidden.append(destination)
                tree = mounting.tree_of(directory if os.path.isdir(destination) else file_)
            mounting.attach(tree, destination)
    finally:
        os.fchdir(outside)
        os.chroot(".")
    if config["root"].get("readonly"):
        mounting.make_read_only(root)


def _make_missing(path: str, *, is_directory: bool | None) -> None:
    """Make a mount point, if it is missing.

    Args:
        path: the mount point.
        is_directory: whether a directory or a file is mounted; None if that isn't known.

    Raises:
        OSError: it can't be made, or it is missing and ``is_directory`` is None.
    """
    if os.path.exists(path):
        return
    if is_directory is None:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
    os.makedirs(path if is_directory else os.path.dirname(path), 0o755, exist_ok=True)
    if not is_directory:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644))


def tree_of_mount(mounting: Mounting, mount: Mount, staged: StagedData) -> int:
    """A descriptor of the mount's source, if this host has the same files as the node; otherwise -1."""
    options = mount.get("options") or ()
    if not is_bind(mount):
        return -1
    if mount["source"] not in staged["seen"] and not (staged["spool"] and is_within(mount["source"], staged["spool"])):
        return -1
    read_only = bool({"ro", "rro"} & set(options))
    try:
        return mounting.tree(mount["source"], recursive="rbind" in options, read_only=read_only)
    except OSError:
        return -1


def is_directory(mount: Mount, staged: StagedData) -> bool | None:
    """Whether a mount's source is a directory; None if that isn't known, because the source is on the node only."""
    if not is_bind(mount):
        return True
    for name, _source, is_one, *_ in staged["parts"]:
        if mount["source"].endswith(f"/{staged['node_name']}/{name}"):
            return bool(is_one)
    try:
        return stat.S_ISDIR(os.stat(mount["source"]).st_mode)
    except OSError:
        return None
