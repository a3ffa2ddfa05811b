"""The image and the command of a container, for an administrator who reads sacct or ``scontrol show job``.

config.json doesn't name the image, but each engine keeps the name: a CRI among the annotations, podman in its storage's
containers.json, docker in config.v2.json of the container's directory, which also holds the files that docker mounts.
"""

from __future__ import annotations

import os
import sys

from scrun import fastjson, small_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

_CRI = "io.kubernetes.cri.image-name"
_LONGEST_COMMENT = 1000  # bytes; slurmctld takes 1024
_LONGEST_LINE = 4000  # bytes
_PLAIN = frozenset("%+,-./0123456789:=@ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz")
_LONGEST_ID = 200  # characters of an id in the comment; an id may have 1024, and the submit line has all of them


def told(container_id: str, config: Mapping[str, Any], bundle: str) -> dict[str, str]:
    """Fields ``comment`` and ``submit_line`` of Slurm's job_desc_msg_t."""
    named = image(container_id, config, bundle)
    # The id comes last, because sacct and squeue show the beginning of a comment.
    identity = f" (container {container_id[:_LONGEST_ID]})"
    what = f"{f'{named}: ' if named else ''}{_join(config['process']['args'])}"
    comment = _fit(what, _LONGEST_COMMENT - len(identity)) + identity
    called = _join(["scrun", *sys.argv[1:]])
    return {"comment": comment, "submit_line": _fit(called, _LONGEST_LINE)}


def image(container_id: str, config: Mapping[str, Any], bundle: str) -> str:
    """The image's name as the engine knows it; empty where no engine tells it."""
    if named := (config.get("annotations") or {}).get(_CRI):
        return str(named)
    own, last = os.path.split(bundle)
    if last == "userdata" and os.path.basename(own) == container_id:
        for name in ("containers.json", "volatile-containers.json"):
            if name_in_storage := _of_podman(_read(os.path.join(os.path.dirname(own), name)), container_id):
                return name_in_storage
    for mount in config.get("mounts") or ():
        directory = os.path.dirname(str(mount.get("source") or ""))
        if mount.get("destination") == "/etc/hostname" and os.path.basename(directory) == container_id:
            return _of_docker(_read(os.path.join(directory, "config.v2.json")))
    return ""


def _of_podman(storage: bytes, container_id: str) -> str:
    """The image's name in podman's containers.json.

    The file describes all containers, so it is searched and not parsed. The name is in JSON that is a string in JSON.
    """
    entry = storage.partition(b'"id":"%s"' % container_id.encode())[2].partition(b'{"id":"')[0]
    return entry.partition(b'\\"image-name\\":\\"')[2].partition(b'\\"')[0].decode("utf-8", "replace")


def _of_docker(text: bytes) -> str:
    try:
        return str(fastjson.loads(text.decode("utf-8", "replace"))["Config"]["Image"])
    except (ValueError, KeyError, TypeError):
        return ""


def _read(path: str) -> bytes:
    try:
        return small_file.read(path)
    except OSError:
        return b""


def _join(words: Iterable[str]) -> str:
    """What shlex.join() returns; importing shlex takes 8 ms."""
    return " ".join(
        word if word and _PLAIN.issuperset(word) else "'" + word.replace("'", "'\"'\"'") + "'" for word in words
    )


def _fit(text: str, most: int) -> str:
    """One line of printable characters, cut to ``most`` bytes."""
    shown = "".join(letter if letter.isprintable() else "\ufffd" for letter in text)
    data = shown.encode("utf-8", "replace")
    return data.decode() if len(data) <= most else data[: most - 3].decode("utf-8", "ignore") + "…"
