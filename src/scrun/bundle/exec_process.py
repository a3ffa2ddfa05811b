"""The process object (runtime-spec, config.md) of an exec, from a file or from a command line."""

from __future__ import annotations

import os

from scrun.bundle import adapt_privilege, adapt_process, config
from scrun.digits import is_number
from scrun.errors import BundleError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Literal

    from scrun.oci import Config, Process, User


_CAPABILITY_SETS = ("bounding", "effective", "permitted")


def from_file(path: str) -> Process:
    """Read the file of ``exec --process``, which may be a pipe (a shell's ``<(…)``).

    Raises:
        BundleError: the file can't be read, or holds no valid process object.
    """
    if not os.path.exists(path):
        raise BundleError(f"there is no process object {path}: name a file with --process")
    return config.load_process(path)


def from_words(
    container: Process,
    args: Sequence[str],
    *,
    env: Sequence[str],
    cwd: str,
    user: str,
    additional_gids: Sequence[str],
    capabilities: Sequence[str],
    no_new_privileges: bool,
    terminal: bool,
) -> Process:
    """Return the container's process with the changes of a person's command line; an empty option changes nothing.

    Raises:
        UsageError: the option or the word that can't be understood.
    """
    variables = [*filter(None, map(_variable, env))]
    for word in (*args, *variables, cwd):
        try:
            word.encode()
        except UnicodeEncodeError:
            raise UsageError(f"{word!r} is not UTF-8, and JSON can't hold it: use UTF-8") from None
    process: Process = {**container, "args": list(args), "terminal": terminal}
    process["env"] = [*container.get("env", ()), *variables]
    if cwd:
        process["cwd"] = cwd
    if user or additional_gids:
        groups = [_number(gid, "--additional-gids") for gid in additional_gids]
        process["user"] = {**container.get("user", {}), **_user(user), "additionalGids": groups}
    if no_new_privileges:
        process["noNewPrivileges"] = True
    if capabilities:
        names = [name.upper() if name.upper().startswith("CAP_") else f"CAP_{name.upper()}" for name in capabilities]
        before = container.get("capabilities", {})
        merged = {key: [*dict.fromkeys([*before.get(key, ()), *names])] for key in _CAPABILITY_SETS}
        process["capabilities"] = {**before, **merged}
    if "consoleSize" in process:
        del process["consoleSize"]
    return process


def adapted(
    process: Process,
    engine: Config,
    *,
    uid: int,
    note: Callable[[str], None],
    keep_user: bool = True,
    nodes_network: bool = False,
) -> Process:
    """Return a copy that the node's runtime can run in a container that :mod:`scrun.bundle.adapt` has adapted.

    Args:
        process: the checked process object.
        engine: the container's config, as the engine wrote it.
        uid: the job's user.
        note: is called with one line for each change.
        keep_user: what ``adapt`` was called with for the container.
        nodes_network: whether the container uses its node's network, or may do so.
    """
    changed = process.copy()
    key: Literal["apparmorProfile", "selinuxLabel"]
    for key in ("apparmorProfile", "selinuxLabel"):
        if label := changed.pop(key, ""):
            note(f"process.{key} {label} left out: it is known on the machine of the engine only")
    if uid == 0:
        if "capabilities" in changed:
            changed["capabilities"] = dict(changed["capabilities"])
        for line in adapt_privilege.capabilities(changed, engine, nodes_network=nodes_network):
            note(line)
        return changed
    container = engine["process"]
    mapped_user = container.get("user", {}) if keep_user else {}
    mapped = (mapped_user.get("uid", 0), mapped_user.get("gid", 0))
    asked_user = changed.get("user", {})
    asked = (asked_user.get("uid", mapped[0]), asked_user.get("gid", mapped[1]))
    if asked != mapped:
        note(f"user {asked[0]}:{asked[1]} becomes {mapped[0]}:{mapped[1]}: no other is mapped on the node")
    changed["user"] = {**asked_user, "uid": mapped[0], "gid": mapped[1]}
    for rule in adapt_process.UNPRIVILEGED:
        for line in rule({"process": changed}):
            note(line)
    return changed


def differs(env: Sequence[str], container: Sequence[str]) -> tuple[set[str], set[str]]:
    """Compare the environment of an exec with the container's, which engines repeat in it.

    Returns:
        The names of variables that are new or changed, and the names of variables that the exec doesn't have.
    """
    names = {entry.partition("=")[0] for entry in env}
    changed = {entry.partition("=")[0] for entry in {*env}.difference(container)}
    return changed, {entry.partition("=")[0] for entry in container} - names


def _variable(text: str) -> str:
    """The environment entry for an --env; NAME alone takes the caller's value, and "" means that there is none."""
    if not text.partition("=")[0]:
        raise UsageError(f"--env {text!r} names no variable: use NAME=VALUE")
    if "=" in text:
        return text
    return f"{text}={os.environ[text]}" if text in os.environ else ""


def _user(text: str) -> User:
    if not text:
        return {}
    uid, colon, gid = text.partition(":")
    user: User = {"uid": _number(uid, "--user")}
    if colon:
        user["gid"] = _number(gid, "--user")
    return user


def _number(text: str, option: str) -> int:
    if not (is_number(text) and int(text) < 1 << 32):
        raise UsageError(f"{option} {text!r} is not a number: give UID or UID:GID, because scrun looks up no names")
    return int(text)
