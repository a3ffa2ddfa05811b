"""Read scrun.lua: its text, the version of Lua that it is for, and whether it is the one that scrun ships."""

from __future__ import annotations

import os
import stat

from scrun.errors import HookError
from scrun.lua_hooks.values import readable, to_bytes

DEFAULT = "5.4"


def is_shipped(source: bytes) -> bool:
    """Whether that is the script that scrun ships, unchanged."""
    with open(os.path.join(os.path.dirname(__file__), "scrun.lua"), "rb") as file:
        return file.read() == source


def shown(text: str) -> str:
    """A text for people, with bytes that aren't UTF-8 as ``\\xff``."""
    return readable(to_bytes(text))


def version_of(source: bytes, chosen: str | None = None) -> str:
    """The version of Lua for a script: ``chosen``, else the one in a line ``-- lua: 5.1``, else :data:`DEFAULT`.

    Only comments at the beginning of the script count.
    """
    if chosen:
        return chosen
    for line in source.splitlines():
        words = line.strip()
        if words and not words.startswith((b"--", b"#")):
            break
        name, colon, version = words.lstrip(b"-# \t").partition(b":")
        if colon and name.strip().lower() == b"lua" and version.strip()[:1].isdigit():
            return readable(version.strip())
    return DEFAULT


def read_script(path: str) -> bytes:
    """Read a script.

    Raises:
        HookError: the script can't be read, or others than its owner and group may change it.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise HookError(f"can't read {shown(path)}: {error.strerror}: install etc/scrun.lua there") from error
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise HookError(f"{shown(path)} is not a regular file: install etc/scrun.lua there")
        if status.st_mode & stat.S_IWOTH:
            raise HookError(
                f"{shown(path)} may be written by anyone (mode {stat.S_IMODE(status.st_mode):04o}), so it is not run: "
                f"chmod o-w {shown(path)}"
            )
        with open(descriptor, "rb", closefd=False) as file:
            return file.read()
    finally:
        os.close(descriptor)
