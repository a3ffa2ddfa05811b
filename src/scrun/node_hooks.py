"""Hooks of scrun's own, that the node's runtime runs (runtime-spec, config.md, "POSIX-platform Hooks").

A runtime writes the container's state to each hook's standard input. One that ends without reading it sends the runtime
a SIGPIPE: crun (1.21 to 1.28) passes that on to the container, whose program then dies of it when it isn't the first of
its pid namespace (``--init``, ``--pid=host``). So each hook of ours reads to the end first.
"""

from __future__ import annotations

TYPE_CHECKING = False  # importing typing takes 6 ms beside json; type checkers know this name
if TYPE_CHECKING:
    from typing import Any

    Config = dict[str, Any]

_READ_STATE = "while read -r _; do :; done\n"  # by the shell alone: a node need have no cat(1) for it


def shell_hook(script: str, *arguments: str) -> dict[str, Any]:
    """A hook that runs a script of sh(1)'s; the arguments are its ``$1`` and so on."""
    return {"path": "/bin/sh", "args": ["sh", "-c", _READ_STATE + script, "sh", *arguments]}


def with_hooks(config: Config, when: str, added: list[dict[str, Any]]) -> Config:
    """The config with these hooks after its own of that kind (``poststart``, ``createContainer``, …)."""
    if not added:
        return config
    hooks = config.get("hooks", {})
    return {**config, "hooks": {**hooks, when: [*hooks.get(when, ()), *added]}}
