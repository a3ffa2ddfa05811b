"""Make scrun's own hooks, which the node's runtime runs (runtime-spec, config.md, "POSIX-platform Hooks").

A runtime writes the container's state to each hook's standard input. If a hook ends without reading it, the runtime
gets a SIGPIPE. crun (1.21 to 1.28) passes that on to the container, whose program dies of it if it isn't the first
process of its pid namespace (``--init``, ``--pid=host``). So each of scrun's hooks reads its standard input first.
"""

from __future__ import annotations

TYPE_CHECKING = False  # importing typing takes 6 ms beside json; type checkers know this name
if TYPE_CHECKING:
    from scrun.oci import Config, Hook


_READ_STATE = "while read -r _; do :; done\n"  # by the shell alone, because a node may have no cat(1)


def shell_hook(script: str, *arguments: str) -> Hook:
    """A hook that runs a shell script with arguments ``$1`` and so on."""
    return {"path": "/bin/sh", "args": ["sh", "-c", _READ_STATE + script, "sh", *arguments]}


def with_hooks(config: Config, when: str, added: list[Hook]) -> Config:
    """Return the config with further hooks of a kind (``poststart``, ``createContainer``, …) after its own."""
    if not added:
        return config
    hooks = config.get("hooks", {})
    return {**config, "hooks": {**hooks, when: [*hooks.get(when, ()), *added]}}
