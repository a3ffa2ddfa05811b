"""Read a bundle's config.json, and check it against our schema of the OCI runtime-spec.

Both raise :class:`~scrun.errors.BundleError` with one sentence. jsonschema is imported only to explain a config that
:mod:`scrun.bundle.accept` has rejected.
"""

from __future__ import annotations

import os
import stat

from scrun import fastjson
from scrun.bundle.accept import accepts
from scrun.errors import BundleError

TYPE_CHECKING = False  # importing typing takes 6 ms beside json; type checkers know this name
if TYPE_CHECKING:
    from typing import Any

    from scrun.bundle.accept import Schema
    from scrun.oci import Config, Process

NAME = "config.json"

MAX_SIZE = 10 * 1024 * 1024
"""Bytes of a config.json. Real ones have 3 to 12 KB; the limit keeps a stray file out of the login node's memory."""

_PLATFORMS = ("windows", "solaris", "zos", "freebsd", "vm")


def load(bundle: str, name: str = NAME) -> Config:
    """Read BUNDLE/config.json, or another file of the bundle, without its null members.

    Go writes null for an absent pointer, slice or map. Null members are removed here, so that no reader has to handle
    them. The content is not checked; :func:`check_config` does that.

    Args:
        bundle: the bundle's directory.
        name: the name of the file.

    Raises:
        BundleError: the file can't be read, or holds no JSON object.
    """
    path = os.path.join(bundle, name)
    return load_text(_read(bundle, path, once=False), path)


def load_process(path: str) -> Process:
    """Read the process object of ``exec --process`` as :func:`load` does a config, and check it.

    Args:
        path: the file, which is read only once: it may be a pipe (a shell's ``<(…)``).

    Raises:
        BundleError: the file can't be read, or holds no valid process object.
    """
    directory, name = os.path.split(os.path.abspath(path))
    process: Process = _parse(_read(directory, os.path.join(directory, name), once=True), path)
    check_process(process, name)
    return process


def load_text(text: str, path: str) -> Config:
    """Parse a text as :func:`load` does; error messages call it ``path``."""
    config: Config = _parse(text, path)
    return config


def is_read_once(path: str) -> bool:
    """Whether only this process, or only once, can read the file: a pipe, or a path that leads to a descriptor."""
    if os.path.abspath(path).startswith(("/dev/fd/", "/dev/std", "/proc/")):
        return True
    try:
        return stat.S_ISFIFO(os.stat(path).st_mode)
    except OSError:
        return False


def read_once(path: str) -> str:
    """Read the text of such a file; a pipe is waited for.

    Raises:
        BundleError: the file can't be read.
    """
    return _read(os.path.dirname(path), path, once=True)


def _parse(text: str, path: str) -> Any:
    try:
        config = fastjson.loads(text, object_hook=_without_nulls, parse_constant=_refuse_constant)
        if "\\u" in text:
            config = _mend(config)
    except RecursionError:
        raise BundleError(f"{path} is not a container's configuration: it is nested too deeply") from None
    except ValueError as error:
        raise BundleError(f"{path} is not JSON: {_where(error)}") from None
    if not isinstance(config, dict):
        raise BundleError(f"{path} is not a container's configuration: it holds no JSON object")
    return config


def _where(error: ValueError) -> str:
    """The message of a JSON error, with line and column.

    json is not imported here, so its error class is recognized by its attributes.
    """
    line, column = getattr(error, "lineno", 0), getattr(error, "colno", 0)
    return f"{getattr(error, 'msg', '')} at line {line} column {column}" if line else str(error)


def check_config(config: Config) -> None:
    """Check a config against the runtime-spec.

    Raises:
        BundleError: the member that violates the runtime-spec, or the platform that scrun doesn't run.
    """
    if "linux" not in config:
        for platform in _PLATFORMS:
            if platform in config:
                raise BundleError(f"config.json is for the platform {platform}: scrun runs Linux containers only")
    rules = schema()
    if not accepts(config, rules, rules):
        _complain("config.json", config, rules)


def check_process(process: Any, name: str = "process.json") -> None:
    """Check the process object in a file ``name`` of ``exec --process``; errors are those of :func:`check_config`."""
    rules = schema()
    if not accepts(process, rules["$defs"]["process"], rules):
        _complain(name, process, {**rules["$defs"]["process"], "$defs": rules["$defs"]})


def rootfs_path(config: Config, bundle: str) -> str:
    """The absolute path of root.path, which is relative to the bundle (runtime-spec, config.md, Root).

    A path that can't be looked at (EACCES) is accepted, because a node may be able to read it.

    Raises:
        BundleError: there is no directory at that path.
    """
    path = os.path.abspath(os.path.join(bundle, config["root"]["path"]))
    try:
        mode = os.stat(path).st_mode
    except PermissionError:
        return path
    except OSError as error:
        raise BundleError(f"config.json: root.path: {path} can't be used as rootfs: {_reason(error)}") from None
    if not stat.S_ISDIR(mode):
        raise BundleError(f"config.json: root.path: {path} can't be used as rootfs: it is not a directory")
    return path


def _read(bundle: str, path: str, *, once: bool) -> str:
    try:
        # O_NONBLOCK, because opening a FIFO must not hang; the check after fstat refuses the FIFO.
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | (0 if once else os.O_NONBLOCK))
    except (FileNotFoundError, NotADirectoryError):
        if not os.path.isdir(bundle):
            raise BundleError(f"bundle {bundle} is not a directory: name one with --bundle") from None
        raise BundleError(
            f"bundle {bundle} holds no {os.path.basename(path)}: name another with --bundle, or begin with scrun spec"
        ) from None
    except OSError as error:
        raise BundleError(f"can't read {path}: {_reason(error)}") from None
    try:
        mode = os.fstat(fd).st_mode
        if not (stat.S_ISREG(mode) or (once and stat.S_ISFIFO(mode))):
            why = ": it is read more than once" if stat.S_ISFIFO(mode) else ""
            raise BundleError(f"{path} is not a regular file{why}")
        with open(fd, "rb", closefd=False) as file:
            data = file.read(MAX_SIZE + 1)
    except OSError as error:
        raise BundleError(f"can't read {path}: {_reason(error)}") from None
    finally:
        os.close(fd)
    if len(data) > MAX_SIZE:
        raise BundleError(f"{path} is larger than {MAX_SIZE >> 20} MiB: not a container's configuration")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BundleError(f"{path} is not JSON: byte {error.start + 1} is not UTF-8") from None


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()


def _without_nulls(members: dict[str, Any]) -> dict[str, Any]:
    if None in members.values():
        return {key: value for key, value in members.items() if value is not None}
    return members


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")


def _mend(value: Any) -> Any:
    """Refuse NUL in texts, and replace a lone surrogate by U+FFFD as Go does, because no UTF-8 file can hold one."""
    if isinstance(value, str):
        if "\0" in value:
            raise ValueError("a string holds a NUL character (\\u0000)")  # the string may be a secret
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, list):
        return [_mend(member) for member in value]
    if isinstance(value, dict):
        return {_mend(key): _mend(member) for key, member in value.items()}
    return value


def schema() -> Schema:
    """Read our schema of the runtime-spec's config."""
    with open(os.path.join(os.path.dirname(__file__), "config.schema.json"), encoding="utf-8") as file:
        rules: Schema = fastjson.loads(file.read())
    return rules


def _complain(name: str, value: Any, schema: Schema) -> None:
    try:
        from scrun.bundle.complain import complaints  # imports jsonschema: 100 ms
    except ImportError:
        raise BundleError(f"{name} violates the OCI runtime-spec: install jsonschema to learn where") from None
    errors = complaints(value, schema)
    if errors:
        more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
        raise BundleError(f"{name}: {errors[0]}{more}")
