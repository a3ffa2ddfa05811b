"""Run the engine's hook that configures the new network namespace of a container.

Only the stand-ins of containers with such a hook import this module.
"""

from __future__ import annotations

import os
import select

from scrun import fastjson, signal
from scrun.lifecycle.process import fork

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scrun.lifecycle.container.network import Hook

_PATIENCE = 30  # seconds for a hook without a timeout; create waits no longer
_WORDS = 4096  # bytes of the hook's output, whose first line an error message has


def run(hook: Hook, container_id: str) -> str:
    """Run the hook with the container's state on its standard input (runtime-spec, config.md, Prestart).

    The state has this process's pid, whose network namespace the hook configures.

    Returns:
        Empty, or why the namespace isn't configured.
    """
    state = {
        "ociVersion": hook["oci_version"],
        "id": container_id,
        "status": "creating",
        "pid": os.getpid(),
        "bundle": hook["bundle"],
    }
    told, output = os.memfd_create("state"), os.memfd_create("output")
    try:
        os.write(told, fastjson.dumps(state).encode())
        os.lseek(told, 0, os.SEEK_SET)
        failure = _wait(fork.child(lambda: _execute(hook), stdio=(told, output, output), keep=()), hook["timeout"])
        words = os.pread(output, _WORDS, 0).decode(errors="replace").split("\n")[0].strip()
    finally:
        os.close(told)
        os.close(output)
    if not failure:
        return ""
    return f"the engine's {hook['args'][0]} hook, which configures the network, {failure}{words and f': {words}'}"


def _execute(hook: Hook) -> int:
    try:
        os.execve(hook["path"], hook["args"], {})
    except OSError as error:
        os.write(2, f"can't execute {hook['path']}: {error.strerror}\n".encode())
        return 127


def _wait(pid: int, seconds: int) -> str:
    """Wait for the hook, and kill it after so many seconds; return how it failed, or an empty text."""
    descriptor = os.pidfd_open(pid)
    ended = select.select([descriptor], [], [], seconds or _PATIENCE)[0]
    os.close(descriptor)
    if not ended:
        os.kill(pid, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if not ended:
        return f"took more than {seconds or _PATIENCE} s"
    return f"failed with exit status {code}" if code else ""
