"""Check podman and docker on this host: whether they know scrun, and where podman keeps its images."""

from __future__ import annotations

import glob
import json
import os
import tomllib
from typing import TYPE_CHECKING, Any

from scrun.doctor.finding import broken, ok, unchecked, warning
from scrun.staging.filesystems import LOCAL_TYPES
from scrun.staging.mountinfo import MountTable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from scrun.doctor.finding import Result
    from scrun.doctor.site import Site

_CONTAINERS = ("/usr/share/containers/containers.conf", "/etc/containers/containers.conf")
_STORAGE = ("/etc/containers/storage.conf", "/usr/share/containers/storage.conf")
_LARGEST = 1 << 20  # bytes of a configuration file
_PODMAN, _DOCKER = "scrun install --engines podman", "scrun install --engines docker"  # as root


class Unreadable(Exception):
    """A configuration file exists, but can't be understood; the text has the file and the reason."""


def podman(site: Site) -> Result:
    """Whether podman's configuration names scrun, by a path that leads to it."""
    if not site.which("podman"):
        return unchecked("podman is not installed")
    paths: list[str] = []
    try:
        for file in containers_files(site):
            runtimes = _table(_table(_toml(file), "engine"), "runtimes")
            if "scrun" in runtimes:
                named = runtimes["scrun"]
                paths = [one for one in named if isinstance(one, str)] if isinstance(named, list) else []
    except Unreadable as error:
        return broken(str(error), "podman reads it too: see containers.conf(5)")
    if paths:
        return _leads_to_scrun(site, "podman", next((path for path in paths if os.path.exists(path)), paths[0]))
    # podman looks on PATH only if its configuration names paths and none of them exists.
    return warning("no containers.conf names scrun: podman --runtime scrun doesn't find it", _PODMAN)


def containers_files(site: Site) -> Iterator[str]:
    """The existing files that podman reads, in podman's order (containers.conf(5))."""
    if named := site.environment.get("CONTAINERS_CONF"):
        files = [named]
    else:
        files = [one for path in _CONTAINERS for one in (path, *sorted(glob.glob(f"{path}.d/*.conf")))]
        if site.uid:
            own = os.path.join(_config_home(site), "containers/containers.conf")
            files += [own, *sorted(glob.glob(f"{glob.escape(own)}.d/*.conf"))]
    if override := site.environment.get("CONTAINERS_CONF_OVERRIDE"):
        files.append(override)
    return (path for path in files if os.path.exists(path))


def _config_home(site: Site) -> str:
    return site.environment.get("XDG_CONFIG_HOME") or os.path.join(site.home, ".config")


def _leads_to_scrun(site: Site, engine: str, path: str) -> Result:
    if not os.path.exists(path):
        return broken(
            f"{engine}'s runtime scrun is {path}, which doesn't exist", f"install scrun there, or: {_ADVICE[engine]}"
        )
    if not os.access(path, os.X_OK) or os.path.isdir(path):
        return broken(f"{engine}'s runtime scrun is {path}, which can't be executed", f"chmod a+rx {path}")
    if text := site.is_not_ours(path):
        return broken(f"{engine}'s runtime scrun is {path}, which {text}", f"name this scrun: {_ADVICE[engine]}")
    return ok(f"{engine}'s runtime scrun is {path}")


_ADVICE = {"podman": _PODMAN, "docker": _DOCKER}


def docker(site: Site) -> Result:
    """Whether docker's configuration names scrun, by a path that leads to it."""
    if not site.which("dockerd") and not site.which("docker"):
        return unchecked("docker is not installed")
    files = ["/etc/docker/daemon.json"]
    if site.uid:
        files.insert(0, os.path.join(_config_home(site), "docker/daemon.json"))
    there = [file for file in files if os.path.exists(file)]
    for file in there:
        try:
            daemon = json.loads(_text(file))
        except (ValueError, RecursionError) as error:
            return broken(f"{file}: {error}", "dockerd doesn't start with it")
        except Unreadable as error:
            return unchecked(str(error))
        runtimes = _table(daemon, "runtimes")
        if isinstance(path := _table(runtimes, "scrun").get("path"), str):
            return _leads_to_scrun(site, "docker", path)
    return unchecked(f"{there[0] if there else files[-1]} names no runtime scrun, so docker doesn't use it: {_DOCKER}")


def podman_storage(site: Site) -> Result:
    """Where podman keeps images: whether the nodes can use them in place, and several hosts share them."""
    if not site.which("podman"):
        return unchecked("podman is not installed")
    own = os.path.join(_config_home(site), "containers/storage.conf")
    named = site.environment.get("CONTAINERS_STORAGE_CONF")
    files = [named] if named else [*([own] if site.uid else []), *_STORAGE]
    file = next((path for path in files if os.path.exists(path)), "")
    try:
        storage = _table(_toml(file), "storage") if file else {}
    except Unreadable as error:
        return broken(str(error), "podman reads it too: see containers-storage.conf(5)")
    driver = str(storage.get("driver") or "overlay")
    graph = _graph(site, storage, is_own=file in (own, named))
    table = MountTable.of("self")
    mount = table.covering(os.path.realpath(graph)) if table else None
    kind = mount.fstype if mount else "?"
    text = f"{file or 'no storage.conf'}: driver {driver} in {graph} ({kind})"
    if driver == "overlay" and kind.startswith("nfs"):
        return warning(text, f"overlay can't write to NFS: use a graphroot on a local disk, and {_IMAGE_STORE}")
    if mount and kind not in LOCAL_TYPES and not storage.get("transient_store"):
        return warning(
            f"{text}, without transient_store",
            "set transient_store = true: with a second host on it podman takes running containers for ended ones",
        )
    if driver == "vfs":
        return warning(
            f"{text}: podman copies the whole image for each container, which takes seconds for each GB",
            f'driver = "overlay" copies nothing: with a graphroot on a local disk and {_IMAGE_STORE}',
        )
    stores = [str(storage["imagestore"])] if storage.get("imagestore") else [graph]
    further = _table(storage, "options").get("additionalimagestores")
    stores += [str(store) for store in further] if isinstance(further, list) else []
    return ok(f"{text}: nodes that see {' or '.join(stores)} use its images in place, to others images are carried")


_IMAGE_STORE = "an imagestore on a file system that the nodes share (README, docker and podman)"


def _graph(site: Site, storage: Mapping[str, Any], *, is_own: bool) -> str:
    default = "/var/lib/containers/storage" if site.uid == 0 else os.path.join(_data_home(site), "containers/storage")
    if site.uid and not is_own:
        path = storage.get("rootless_storage_path") or default
    else:
        path = storage.get("graphroot") or default
    for name, value in {"HOME": site.home, "UID": str(site.uid), "USER": site.user}.items():
        path = str(path).replace(f"${{{name}}}", value).replace(f"${name}", value)
    return str(path)


def _data_home(site: Site) -> str:
    return site.environment.get("XDG_DATA_HOME") or os.path.join(site.home, ".local/share")


def subordinate_ids(site: Site) -> Result:
    """Whether the user has subordinate ids, which a rootless engine's images with several users need."""
    if site.uid == 0:
        return ok("root needs none")
    if not site.which("podman"):
        return unchecked("podman is not installed")
    lacking = [name for name in ("/etc/subuid", "/etc/subgid") if not _has_range(site, name)]
    if lacking and not _uses_a_service():
        return warning(
            f"{' and '.join(lacking)}: no range for {site.user}",
            f"usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {site.user}: "
            "images with files of several users need it",
        )
    if absent := [name for name in ("newuidmap", "newgidmap") if not site.which(name)]:
        return warning(f"no {', no '.join(absent)}", "install uidmap (Debian), shadow-utils (EL)")
    return ok(f"{site.user} has ranges in /etc/subuid and /etc/subgid")


def _has_range(site: Site, file: str) -> bool:
    try:
        return any(line.split(":")[0] in (site.user, str(site.uid)) for line in _text(file).splitlines())
    except (Unreadable, FileNotFoundError):
        return False


def _uses_a_service() -> bool:
    """Whether the ranges come from elsewhere: nsswitch.conf(5), subid."""
    try:
        return any(line.split()[:1] == ["subid:"] for line in _text("/etc/nsswitch.conf").splitlines())
    except (Unreadable, FileNotFoundError):
        return False


def _toml(path: str) -> dict[str, object]:
    try:
        return tomllib.loads(_text(path))
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise Unreadable(f"{path}: {error}") from error


def _text(path: str) -> str:
    """Read a small file.

    Raises:
        Unreadable: the file can't be read.
        FileNotFoundError: there is no file.
    """
    try:
        with open(
            os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), encoding="utf-8", errors="replace"
        ) as file:
            return file.read(_LARGEST)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise Unreadable(f"{path}: {error.strerror}") from error


def _table(value: object, name: str) -> dict[str, object]:
    """A table in a table; empty if it isn't a table."""
    inner = value.get(name) if isinstance(value, dict) else None
    return inner if isinstance(inner, dict) else {}


CHECKS: Mapping[str, Any] = {
    "podman": podman,
    "podman-storage": podman_storage,
    "docker": docker,
    "subordinate-ids": subordinate_ids,
}
