"""The process object (runtime-spec, config.md) of a further process in a container: from a file, or made of words."""

from __future__ import annotations

import os

from scrun.bundle import adapt_privilege, adapt_process, config
from scrun.errors import BundleError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    Process = dict[str, Any]
    Config = dict[str, Any]

_CAPABILITY_SETS = ("bounding", "effective", "permitted")


def from_file(path: str) -> Process:
    """What --process names: an engine's file, or a person's, which may be a pipe (a shell's ``<(…)``).

    Raises:
        BundleError: it can't be read, or is no process object.
    """
    if not os.path.exists(path):
        raise BundleError(f"the process object {path} is not there: name a file with --process")
    process = config.load(os.path.dirname(os.path.abspath(path)), os.path.basename(path), once=True)
    config.check_process(process, os.path.basename(path))
    return process


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
    """The container's own process with other words: what a person's command line says, empty where it says nothing.

    Raises:
        UsageError: one of them can't be understood; it is named.
    """
    variables = [*filter(None, map(_variable, env))]
    for word in (*args, *variables, cwd):
        try:
            word.encode()
        except UnicodeEncodeError:
            raise UsageError(
                f"{word!r} is not UTF-8: in JSON, as runtimes are told of a process, it has no form"
            ) from None
    process = {**container, "args": list(args), "terminal": terminal}
    process["env"] = [*container.get("env", ()), *variables]
    if cwd:
        process["cwd"] = cwd
    if user or additional_gids:
        process["user"] = {**container.get("user", {}), **_user(user)}
        process["user"]["additionalGids"] = [_number(gid, "--additional-gids") for gid in additional_gids]
    if no_new_privileges:
        process["noNewPrivileges"] = True
    if capabilities:
        names = [name.upper() if name.upper().startswith("CAP_") else f"CAP_{name.upper()}" for name in capabilities]
        before = container.get("capabilities", {})
        merged = {key: [*dict.fromkeys([*before.get(key, ()), *names])] for key in _CAPABILITY_SETS}
        process["capabilities"] = {**before, **merged}
    process.pop("consoleSize", None)
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
    """A copy that the node's runtime can run in a container that :mod:`scrun.bundle.adapt` made fit for it.

    Args:
        process: the further process, checked.
        engine: the container's config, as the engine wrote it.
        uid: the job's user.
        note: is called with one line for each thing that was changed.
        keep_user: as it was for the container.
        nodes_network: whether the container uses its node's network, or may do so.
    """
    made = dict(process)
    for key in ("apparmorProfile", "selinuxLabel"):
        if label := made.pop(key, ""):
            note(f"process.{key} {label} left out: it is known on the machine of the engine only")
    if uid == 0:
        if "capabilities" in made:
            made["capabilities"] = dict(made["capabilities"])
        for line in adapt_privilege.capabilities(made, engine, nodes_network=nodes_network):
            note(line)
        return made
    container = engine["process"]
    mapped = container.get("user", {}) if keep_user else {}
    there = {"uid": mapped.get("uid", 0), "gid": mapped.get("gid", 0)}
    asked = made.get("user", {})
    wanted = (asked.get("uid", there["uid"]), asked.get("gid", there["gid"]))
    if wanted != (there["uid"], there["gid"]):
        note(f"user {wanted[0]}:{wanted[1]} becomes {there['uid']}:{there['gid']}: no other is mapped on the node")
    made["user"] = {**asked, **there}
    for rule in adapt_process.UNPRIVILEGED:
        for line in rule({"process": made}):
            note(line)
    return made


def differs(env: Sequence[str], container: Sequence[str]) -> tuple[set[str], set[str]]:
    """Where the environment of a further process is another than the container's own, which engines repeat for it.

    The names of the variables that were said for the process, and of those that it shall not have.
    """
    there = {entry.partition("=")[0] for entry in env}
    said = {entry.partition("=")[0] for entry in {*env}.difference(container)}
    return said, {entry.partition("=")[0] for entry in container} - there


def _variable(text: str) -> str:
    """An entry of the environment; NAME alone is the caller's own, and nothing where they have none."""
    if not text.partition("=")[0]:
        raise UsageError(f"--env {text!r} names no variable: use NAME=VALUE")
    if "=" in text:
        return text
    return f"{text}={os.environ[text]}" if text in os.environ else ""


def _user(text: str) -> dict[str, int]:
    if not text:
        return {}
    uid, colon, gid = text.partition(":")
    return {"uid": _number(uid, "--user"), **({"gid": _number(gid, "--user")} if colon else {})}


def _number(text: str, option: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) < 1 << 32):
        raise UsageError(f"{option} {text!r} is not a number: names are looked up by the engines, here it is uid[:gid]")
    return int(text)
