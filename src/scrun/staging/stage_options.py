"""The options of ``scrun.stage_in{…}`` and ``scrun.stage_out{…}`` in scrun.lua."""

from __future__ import annotations

from scrun.errors import StagingError
from scrun.staging.known import SECONDS

TYPE_CHECKING = False  # importing typing would double what this costs (scrun.named_tuple)
if TYPE_CHECKING:
    from typing import Any, NamedTuple

    from scrun.oci import Mount
else:
    from scrun.named_tuple import NamedTuple


ASK = "ask"


class StagingOptions(NamedTuple):
    """The checked options of both calls; docs/scrun-lua.md and etc/scrun.lua explain them."""

    shared: tuple[str, ...] = ()
    on_nodes: tuple[str, ...] = ()
    node_dir: str = ""
    mounts: tuple[Mount, ...] = ()
    bring_back: bool = True
    remember: int = SECONDS
    root_squash: bool | str = ""  # "ask" or "": see root_squash.py
    hold: bool = True
    cache: bool = True
    cache_dir: str = "/var/tmp"  # noqa: S108  the same as for node_dir
    cache_size: int = -1  # bytes; -1: what fits the disk
    overlay: bool = True

    @classmethod
    def for_stage_in(cls, options: object) -> StagingOptions:
        """Check the options of stage_in."""
        return cls._of("scrun.stage_in", options, _OF_STAGE_IN)

    @classmethod
    def for_stage_out(cls, options: object) -> StagingOptions:
        """Check the options of stage_out."""
        return cls._of("scrun.stage_out", options, ("bring_back",))

    @classmethod
    def _of(cls, call: str, options: object, known: tuple[str, ...]) -> StagingOptions:
        if options is not None and not isinstance(options, dict):
            raise StagingError(f"{call}: it takes a table of {', '.join(known)}")
        values: dict[str, object] = {}
        for name, value in (options or {}).items():
            if name not in known:
                raise StagingError(f"{call}: option {name!r} is unknown: use {', '.join(known)}")
            values[name] = _CHECKS[name](f"{call}: {name}", value)
        return cls(**values)  # type: ignore[arg-type]  # _CHECKS has checked the types


def _path(where: str, value: Any) -> str:
    if not isinstance(value, str) or not value.startswith("/") or "\0" in value:
        raise StagingError(f"{where}: {value!r} is not an absolute path")
    return "/" + value.strip("/")


def _list(where: str, value: Any) -> list[Any]:
    # An empty Lua table may be a list or a map.
    if value == {}:
        return []
    if not isinstance(value, list | tuple):
        raise StagingError(f"{where}: {value!r} is not a list")
    return list(value)


def _paths(where: str, value: Any) -> tuple[str, ...]:
    return tuple(_path(where, path) for path in _list(where, value))


def _mounts(where: str, value: Any) -> tuple[Mount, ...]:
    mounts: list[Mount] = []
    for mount in _list(where, value):
        if not isinstance(mount, dict) or not {"source", "destination"} <= set(mount) <= _MOUNT_KEYS:
            raise StagingError(f"{where}: {mount!r} needs source and destination, and may have options")
        options = _list(f"{where}: options", mount.get("options", []))
        if not all(isinstance(option, str) for option in options):
            raise StagingError(f"{where}: options: {options!r} are not all strings")
        mounts.append(
            {
                "destination": _path(f"{where}: destination", mount["destination"]),
                "type": "bind",
                "source": _path(f"{where}: source", mount["source"]),
                "options": ["rbind", *options],
            }
        )
    return tuple(mounts)


def _seconds(where: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
        raise StagingError(f"{where}: {value!r} is not a number of seconds")
    return int(value)


def _flag(where: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise StagingError(f"{where}: {value!r} is neither true nor false")
    return value


def _flag_or_ask(where: str, value: Any) -> bool | str:
    if value != ASK and not isinstance(value, bool):
        raise StagingError(f'{where}: {value!r} is neither true nor false nor "ask"')
    return value  # type: ignore[no-any-return]


def _size(where: str, value: Any) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    number, unit = (value[:-1], value[-1:].upper()) if isinstance(value, str) else ("", "")
    if not number.isdecimal() or unit not in _UNITS:
        raise StagingError(f'{where}: {value!r} is not a size: say e.g. "500M", "20G" or "1T"')
    return int(number) * _UNITS[unit]


_UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_OF_STAGE_IN = (
    *("shared", "on_nodes", "node_dir", "mounts", "remember", "root_squash", "hold"),
    *("cache", "cache_dir", "cache_size", "overlay"),
)
_MOUNT_KEYS = {"source", "destination", "options"}
_CHECKS = {
    "shared": _paths,
    "on_nodes": _paths,
    "node_dir": _path,
    "mounts": _mounts,
    "bring_back": _flag,
    "remember": _seconds,
    "root_squash": _flag_or_ask,
    "hold": _flag,
    "cache": _flag,
    "cache_dir": _path,
    "cache_size": _size,
    "overlay": _flag,
}
