"""Get Slurm's configuration from libslurm if there is no file in the usual places.

libslurm may have been built for another directory. Or it gets the files from a slurmctld (SLURM_CONF_SERVER, or a DNS
SRV record) and keeps them in its memory. A child process asks libslurm, for about 50 ms, so that create itself never
loads libslurm.
"""

from __future__ import annotations

import os
import select
import signal

from scrun import fastjson
from scrun.errors import SlurmError
from scrun.slurm.conf_paths import OCI_CONF, SCRIPT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Message = dict[str, Any]


_PATIENCE = 30.0  # seconds; libslurm gives up after 10, but several servers may take longer


def fetch(directory: str, find: Callable[[], Message] | None = None, patience: float = _PATIENCE) -> str:
    """Ask libslurm for the path of slurm.conf.

    Args:
        directory: a directory for oci.conf and scrun.lua if libslurm has them in memory; made if need be.
        find: asks libslurm, in the child.
        patience: seconds that the child has.

    Returns:
        The path; empty if libslurm has the file in memory.

    Raises:
        SlurmError: libslurm found no slurm.conf, or not in time.
    """
    answer = _ask(find or _ask_libslurm, patience)
    if answer["slurm.conf"]:
        return str(answer["slurm.conf"])
    os.makedirs(directory, 0o700, exist_ok=True)
    for name in (OCI_CONF, SCRIPT):
        if (text := answer.get(name)) is not None:
            with open(os.path.join(directory, name), "w", encoding="utf-8", errors="surrogateescape") as file:
                file.write(text)
            os.chmod(file.name, 0o600)
    return ""


def _ask(find: Callable[[], Message], patience: float) -> Message:
    reading, writing = os.pipe()
    printed = os.memfd_create("libslurm")
    pid = os.fork()
    if not pid:
        _answer(find, writing, printed)
    os.close(writing)
    with open(reading, encoding="ascii") as pipe:
        in_time, _, _ = select.select([pipe], [], [], patience)
        if not in_time:
            os.kill(pid, signal.SIGKILL)
        text = pipe.read() if in_time else ""  # libslurm's own child may still hold the pipe
    os.waitpid(pid, 0)
    said = os.pread(printed, 65536, 0).decode("utf-8", "replace").strip().splitlines()
    os.close(printed)
    if not text:
        why = said[-1].rpartition("fatal: ")[2] if said else "libslurm ended without a word"
        if not in_time:
            why = f"libslurm found none within {patience:.0f} s"
        raise SlurmError(f"no slurm.conf is here: {why}: name one with -f or SLURM_CONF")
    answer: Message = fastjson.loads(text)
    return answer


def _answer(find: Callable[[], Message], writing: int, printed: int) -> None:
    """Write the result of ``find`` in the child; this never returns."""
    try:
        os.dup2(printed, 1)
        os.dup2(printed, 2)
        with open(writing, "w", encoding="ascii") as pipe:
            pipe.write(fastjson.dumps(find()))
    except Exception as error:
        os.write(2, f"{error}\n".encode("utf-8", "backslashreplace"))
    finally:
        os._exit(0)


def _ask_libslurm() -> Message:
    from scrun.slurm import control

    path = control.conf_path("slurm.conf")
    if path.startswith("/proc/") or not os.path.exists(path):
        return {"slurm.conf": "", **{name: _content(control.conf_path(name)) for name in (OCI_CONF, SCRIPT)}}
    return {"slurm.conf": path}


def _content(path: str) -> str | None:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read()
    except OSError:
        return None
