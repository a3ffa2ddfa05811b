"""What ran, a line of JSON a container, in a file or in syslog: the container's own log goes with its directory.

Who wants it says where (SCRUN_HISTORY, or ``#scrun: History=`` in oci.conf). The line is written by a process of its
own when the container has ended, because a file server that hangs must not keep a container from its end.

In a directory that others may write to, a name may be anybody's: a file counts only if it is a regular one of the
caller's own, with one name, that nobody else can write; no link is followed to it, and nobody else may be able to
change a directory above it.
"""

from __future__ import annotations

import fcntl
import os
import stat

from scrun import fastjson, identity, log, signal
from scrun.errors import ScrunError, UsageError
from scrun.lifecycle.container.directory import LOG
from scrun.lifecycle.process import fork
from scrun.slurm import srun

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from scrun.lifecycle.container.directory import Container

VARIABLE = "SCRUN_HISTORY"
SYSLOG, NOWHERE = "syslog", "no"
LARGEST = 10 << 20  # bytes of a file; then it becomes NAME.1, in the place of the one that was called so before
_LONGEST_COMMAND = 2000  # characters, of all words together: a line is written, and sent to syslog, as one piece
_FIRST_USER = 1000  # login.defs(5), UID_MIN
_PATIENCE = 60  # seconds for the process that writes


def places(environment: Mapping[str, str], settings: Mapping[str, Any]) -> list[str]:
    """SYSLOG, and paths of files, as the caller and the site want it.

    Args:
        environment: the caller's.
        settings: of oci.conf.

    Raises:
        UsageError: what is wanted is neither.
    """
    found = []
    for where, value in ((VARIABLE, environment.get(VARIABLE, "")), ("oci.conf: History", settings.get("History", ""))):
        if value in ("", NOWHERE):
            continue
        path = _expanded(value)
        if value != SYSLOG and not path.startswith("/"):
            raise UsageError(f"{where}={value!r} is not {SYSLOG}, {NOWHERE} or a file's absolute path")
        found.append(path)
    return [*dict.fromkeys(found)]


def _expanded(value: str) -> str:
    """With %U, %u and %h replaced: the user's number, name and home directory."""
    if "%" not in value:
        return value
    import pwd

    uid = identity.real_uid()
    try:
        account = pwd.getpwuid(uid)
        name, home = account.pw_name, account.pw_dir
    except KeyError:
        name, home = str(uid), "/"
    return value.replace("%U", str(uid)).replace("%u", name).replace("%h", home)


def leave(container: Container) -> None:
    """Have the line of a container that has ended written by a process that is left behind."""
    wanted = container.record.get("history")
    if not wanted:
        return
    text, own_log = line(container.record), os.path.join(container.path, LOG)
    ignored = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGCHLD)
    fork.left_alone(
        lambda: _write(wanted, text, own_log),
        stdio=(fork.QUIET,) * 3,
        keep=(),
        session=True,
        default=(signal.SIGALRM,),
        ignored=ignored,
    )


def line(record: Mapping[str, Any]) -> str:
    """The container as one JSON object."""
    variables = dict(entry.partition("=")[::2] for entry in record.get("job_environment", ()))
    return fastjson.dumps(
        {
            "id": record.get("id", ""),
            "user": record.get("owner", ""),
            "uid": identity.real_uid(),
            "host": str(record.get("host", "")).partition("/")[0],
            "job": record.get("job"),
            "step": record.get("step") or None,
            "nodes": srun.expand_nodes(record.get("nodes", "")),
            "partition": variables.get("SLURM_JOB_PARTITION", ""),
            "account": variables.get("SLURM_JOB_ACCOUNT", ""),
            "created": record.get("created", ""),
            "started": record.get("started", ""),
            "finished": record.get("finished", ""),
            "exitStatus": record.get("exit_status"),
            "bundle": record.get("bundle", ""),
            "command": _short(record.get("command", [])),
            "lost": record.get("lost", ""),
        }
    )


def _short(words: list[str]) -> list[str]:
    kept, left = list[str](), _LONGEST_COMMAND
    for word in words:
        if len(word) > left:
            return [*kept, f"{word[:left]}…"]
        kept.append(word)
        left -= len(word) + 1
    return kept


def _write(wanted: list[str], text: str, own_log: str) -> None:
    """The process that is left: it holds nothing that somebody may wait for."""
    signal.alarm(_PATIENCE)
    os.chdir("/")
    for place in wanted:
        try:
            if place == SYSLOG:
                log.to_syslog("info", text, log.DAEMON)
            else:
                append(place, text)
        except ScrunError as error:
            log.append(own_log, "error", str(error))


def append(path: str, text: str) -> None:
    """Add a line to the file, which is made if need be, with the directories above it.

    Raises:
        ScrunError: it can't be written, or isn't the caller's own.
    """
    try:
        descriptor = _open(path)
    except OSError as error:
        raise ScrunError(
            f"{path}: what ran can't be kept: {error.strerror}: name another file in {VARIABLE}"
        ) from error
    try:
        if os.fstat(descriptor).st_size >= LARGEST and _rotate(path, descriptor):
            full, descriptor = descriptor, _open(path)
            os.close(full)
        os.write(descriptor, text.encode("utf-8", "backslashreplace") + b"\n")
    except OSError as error:
        raise ScrunError(f"{path}: what ran can't be kept: {error.strerror}") from error
    finally:
        os.close(descriptor)


def check(path: str) -> None:
    """See whether a file that is there, or is to be made, would do; nothing is made.

    Raises:
        ScrunError: it would not.
    """
    if os.path.lexists(path):
        try:
            os.close(_open(path))
        except OSError as error:
            raise ScrunError(f"{path}: what ran can't be kept: {error.strerror}") from error
        return
    above = os.path.dirname(path)
    for way in (above, os.path.realpath(above)):
        _check_above(way, path)
    while not os.path.exists(above):
        above = os.path.dirname(above)
    if not os.access(above, os.W_OK | os.X_OK):
        raise ScrunError(f"{path}: what ran can't be kept: {above} can't be written: name another file in {VARIABLE}")


def _open(path: str) -> int:
    """The caller's own file, to be appended to.

    Raises:
        ScrunError: it is something else, or others can write it.
    """
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    directory, name = os.path.split(path)
    above = os.path.realpath(directory)
    for way in (directory, above):  # by links as they are, and without any
        _check_above(way, path)
    os.makedirs(above, 0o700, exist_ok=True)
    descriptor = os.open(os.path.join(above, name), flags, 0o600)
    facts = os.fstat(descriptor)
    if (
        not stat.S_ISREG(facts.st_mode)
        or facts.st_uid != os.geteuid()
        or facts.st_nlink != 1
        or facts.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    ):
        os.close(descriptor)
        raise ScrunError(f"{path}: what ran can't be kept: it is no file that its user alone can write: remove it")
    return descriptor


def _check_above(directory: str, path: str) -> None:
    """See that nobody else can put another directory or a link in the way.

    Raises:
        ScrunError: somebody can.
    """
    while True:
        try:
            facts = os.stat(directory)
        except FileNotFoundError:
            pass  # to be made
        else:
            # In a user namespace another owner is root, or nobody can tell who; a service's account is the site's.
            is_anothers = facts.st_uid not in (0, os.geteuid()) and facts.st_uid >= _FIRST_USER
            if (is_anothers and identity.real_uid() == os.geteuid()) or (
                facts.st_mode & (stat.S_IWOTH | stat.S_ISVTX) == stat.S_IWOTH
            ):
                raise ScrunError(
                    f"{path}: what ran can't be kept: others can change what is in {directory}: name a file in a "
                    "directory of your own"
                )
        if directory == os.path.dirname(directory):
            return
        directory = os.path.dirname(directory)


def _rotate(path: str, descriptor: int) -> bool:
    """Give the full file its second name, unless another process does; whether there is to be a new one."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        there = os.stat(path, follow_symlinks=False)
        if (there.st_dev, there.st_ino) == ((own := os.fstat(descriptor)).st_dev, own.st_ino):
            os.rename(path, f"{path}.1")
    except OSError:
        return False
    return True
