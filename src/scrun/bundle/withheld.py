"""Keep a container's variables from the task programs that a site or a caller has slurmstepd run on the node.

slurmstepd adds the environment of config.json to its task's environment. TaskProlog and TaskEpilog run on the node
itself with that environment, so an image's LD_PRELOAD or BASH_ENV would run code of the image there, as root under
root's docker. Where there are such programs, the variables come by a task prolog of scrun's instead. That prolog runs
after the site's, and only the container's process gets the variables that the prolog prints (srun(1), --task-prolog).
"""

from __future__ import annotations

from scrun.bundle.arguments import quoted

TYPE_CHECKING = False  # importing typing takes 6 ms beside json; type checkers know this name
if TYPE_CHECKING:
    from collections.abc import Sequence

    from scrun.oci import Config


# Variables that a shell sets itself, so that a script can't tell whether they were set before.
_SHELLS_OWN = ("IFS", "OLDPWD", "OPTIND", "PATH", "PPID", "PS1", "PS2", "PS4", "PWD", "SHLVL", "_")
# A prolog prints lines, so variables of several lines stay in config.json, except these, which an interpreter or the
# loader may obey.
_OBEYED = (
    *("BASH", "ENV", "GCONV", "GLIBC", "IFS", "LD_", "LMOD", "LUA", "MODULE", "NODE", "PATH", "PERL", "PS4"),
    *("PYTHON", "RUBY", "SHELLOPTS", "SLURM", "TCL"),
    # These name options, files or directories of options, or commands.
    *("CURL_", "GIT_CONFIG", "GIT_EXEC", "GIT_SSH_COMMAND", "HOME", "JAVA", "JDK_", "KRB5", "LESS", "OPENSSL_CONF"),
    *("PAGER", "R_", "SCRUN", "SSL_CERT_", "TMP", "XDG_", "_JAVA"),
)


def take(config: Config) -> tuple[list[str], list[str]]:
    """Take the variables out of the config.

    Returns:
        The entries for the process, and the names of variables that the process can't get.
    """
    entries = config["process"].get("env", [])
    one_line = [entry for entry in entries if "\n" not in entry]
    harmless = [entry for entry in entries if "\n" in entry and _is_harmless(entry.partition("=")[0])]
    config["process"]["env"] = harmless
    lost = [entry.partition("=")[0] for entry in entries if "\n" in entry and entry not in harmless]
    return one_line, lost


def prolog(entries: Sequence[str], then: str) -> bytes:
    """The task prolog that sets the entries; it then runs ``then``, the caller's own prolog, if there is one.

    Variables that Slurm or the site's prolog has set stay, as they do where slurmstepd adds config.json's environment.
    """
    lines = ["#!/bin/sh"]
    for entry in entries:
        name = entry.partition("=")[0]
        unless = f'[ "${{{name}+x}}" ] || ' if _is_name(name) and name not in _SHELLS_OWN else ""
        lines.append(f"{unless}printf '%s\\n' {quoted(f'export {entry}')}")
    lines.append(f"exec {quoted(then)}" if then else "exit 0")
    return "\n".join([*lines, ""]).encode("utf-8", "surrogateescape")


def _is_harmless(name: str) -> bool:
    return _is_name(name) and not name.startswith(_OBEYED)


def _is_name(name: str) -> bool:
    return name.isascii() and name.isidentifier()
