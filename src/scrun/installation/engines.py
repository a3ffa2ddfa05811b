"""Configure podman and docker for ``--runtime scrun``, if --engines asks for that."""

from __future__ import annotations

import json
import os

from scrun.errors import InstallationError, UsageError
from scrun.installation.files import OURS, SHARED, File, content_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypedDict

    class DaemonJson(TypedDict, total=False):
        """docker's daemon.json; it keeps its other members."""

        runtimes: dict[str, dict[str, str]]

    from collections.abc import Mapping
    from typing import Any

NAMES = ("podman", "docker")
_FRAGMENT = """# Written by scrun install --engines podman, for podman --runtime scrun.
[engine.runtimes]
scrun = [{program}]
"""


def chosen(words: str) -> list[str]:
    """The engines in a value of --engines, which are separated by commas.

    Raises:
        UsageError: scrun doesn't know an engine.
    """
    names = [name for name in words.replace(" ", "").split(",") if name]
    for name in names:
        if name not in NAMES:
            raise UsageError(f"engine {name!r} is unknown: name {' or '.join(NAMES)}, or both: {','.join(NAMES)}")
    return names


def configuration(engine: str, program: str, environment: Mapping[str, str]) -> File:
    """The configuration file that makes an engine call ``program`` for ``--runtime scrun``.

    root gets the file of the host, another user the user's own file.

    Args:
        engine: podman or docker.
        program: the path of the launcher.
        environment: the caller's environment.

    Raises:
        InstallationError: docker couldn't read its file, or the file has another runtime called scrun.
        OSError: the file can't be read.
    """
    path = _path(engine, environment)
    if engine == "podman":
        return File(path, _FRAGMENT.format(program=json.dumps(program)).encode(), owner=OURS)
    document = _docker(path)
    runtimes = document.setdefault("runtimes", {})
    wanted = {"path": program}
    if runtimes.get("scrun", wanted) != wanted:
        raise InstallationError(
            f"{path} has another runtime called scrun, {json.dumps(runtimes['scrun'])}: nothing was installed: "
            "remove it, and install again"
        )
    if runtimes.get("scrun") == wanted:
        return File(path, content_of(path) or b"", owner=SHARED)
    runtimes["scrun"] = wanted
    return File(path, _text(document), _mode(path), SHARED)


def without(program: str, environment: Mapping[str, str]) -> File | None:
    """docker's file without the runtime scrun, with empty content if nothing else is in it.

    Returns:
        None if the file doesn't name ``program``.

    Raises:
        InstallationError: docker couldn't read the file.
        OSError: the file can't be read.
    """
    path = _path("docker", environment)
    document = _docker(path)
    runtimes = document.get("runtimes", {})
    if runtimes.get("scrun") != {"path": program}:
        return None
    del runtimes["scrun"]
    if not runtimes:
        del document["runtimes"]
    return File(path, _text(document) if document else b"", _mode(path), SHARED)


def _path(engine: str, environment: Mapping[str, str]) -> str:
    home = environment.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    below = "/etc" if os.geteuid() == 0 else home
    name = "containers/containers.conf.d/scrun.conf" if engine == "podman" else "docker/daemon.json"
    return os.path.join(below, name)


def _docker(path: str) -> DaemonJson:
    content = content_of(path)
    try:
        document: Any = json.loads(content) if content and content.strip() else {}
    except ValueError as error:
        raise InstallationError(f"{path} is no JSON: {error}: mend it first") from error
    if not isinstance(document, dict) or not isinstance(document.get("runtimes", {}), dict):
        raise InstallationError(f'{path} is not as docker reads it ({{"runtimes": {{…}}}}): mend it first')
    return document  # type: ignore[return-value]  # the member that scrun uses was checked


def _text(document: Mapping[str, Any]) -> bytes:
    return (json.dumps(document, indent=4, ensure_ascii=False) + "\n").encode()


def _mode(path: str) -> int:
    try:
        return os.stat(path).st_mode & 0o777
    except FileNotFoundError:
        return 0o644
