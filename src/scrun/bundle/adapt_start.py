"""A hook that tells whether the node's runtime has run the container's process at all.

What the runtime refuses there (a limit above the job's own, a mount whose source is gone) ends the step with a status
of the runtime's, 1 mostly, which a process may have as well. A file in the bundle has something in it until the hook
empties it, a poststart one: it runs, in the runtime's own namespaces, once the process does (runtime-spec, config.md).
It may not fail: crun and runc kill the container then. To empty a file takes no room in a quota, and no program but sh,
by which slurmstepd runs the runtime itself.

At a terminal it is a createRuntime hook, which runs before the process does, when the mounts are made and the limits
set: of what is refused only the very last isn't told there. Where a process ends before crun (1.28) has begun to wait
for it, which is later with a poststart hook, crun prints what is left on the terminal in red, with the time before it.
"""

from __future__ import annotations

from scrun.node_hooks import shell_hook, with_hooks

TYPE_CHECKING = False  # importing typing takes 6 ms beside json; type checkers know this name
if TYPE_CHECKING:
    from typing import Any

    Config = dict[str, Any]

FILE, CONTENT = "not-run", b"the container's process has not been run\n"
_SCRIPT = '{ true >"$1"; } 2>/dev/null || true'


def tell(config: Config, bundle: str) -> Config:
    """The config with that hook, for a bundle of that path on the nodes."""
    when = "createRuntime" if config["process"].get("terminal") else "poststart"
    return with_hooks(config, when, [shell_hook(_SCRIPT, f"{bundle}/{FILE}")])
