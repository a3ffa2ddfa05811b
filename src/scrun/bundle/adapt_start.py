"""A hook that tells whether the node's runtime has run the container's process.

`crun run` and `runc run` exit with 1 both when they refuse a container (a limit above the job's, a mount without its
source) and when the program fails, so status 1 alone proves nothing. So a file in the bundle has content until a
poststart hook empties it, which runs in the runtime's namespaces once the process runs (runtime-spec, config.md). The
hook must not fail, because crun and runc would then kill the container. Emptying a file needs no quota, and no program
but sh, which slurmstepd itself uses to run the runtime.

At a terminal the hook is a createRuntime hook, which runs before the process, when the mounts are made and the limits
are set. A refusal after that moment is not recognized. The reason: if a process ends before crun (1.28) waits for it,
and a poststart hook delays that wait, crun prints the rest of the output on the terminal in red, behind a time stamp.
"""

from __future__ import annotations

from scrun.node_hooks import shell_hook, with_hooks

TYPE_CHECKING = False  # importing typing takes 6 ms beside json; type checkers know this name
if TYPE_CHECKING:
    from scrun.oci import Config


FILE, CONTENT = "not-run", b"the container's process has not been run\n"
_SCRIPT = '{ true >"$1"; } 2>/dev/null || true'


def tell(config: Config, bundle: str) -> Config:
    """Return the config with the hook, for a bundle at that path on the nodes."""
    when = "createRuntime" if config["process"].get("terminal") else "poststart"
    return with_hooks(config, when, [shell_hook(_SCRIPT, f"{bundle}/{FILE}")])
