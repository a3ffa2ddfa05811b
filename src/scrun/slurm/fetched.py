"""Slurm's configuration where there is no file of it in the usual places: what libslurm says.

It may have been built for another directory, or get the files from a slurmctld (SLURM_CONF_SERVER, or a DNS SRV record)
and hold them in its own memory. A child asks it, for some 50 ms, so that libslurm stays out of create itself.
"""

from __future__ import annotations

import os

from scrun import fastjson
from scrun.errors import SlurmError
from scrun.slurm.sources import OCI_CONF, SCRIPT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def fetch(directory: str) -> str:
    """The slurm.conf that libslurm found; or empty when it has it in memory: then the others are in ``directory`` now.

    Raises:
        SlurmError: it found none.
    """
    answer = _ask()
    if answer["slurm.conf"]:
        return str(answer["slurm.conf"])
    os.makedirs(directory, 0o700, exist_ok=True)
    for name in (OCI_CONF, SCRIPT):
        if (text := answer.get(name)) is not None:
            with open(os.path.join(directory, name), "w", encoding="utf-8", errors="surrogateescape") as file:
                file.write(text)
            os.chmod(file.name, 0o600)
    return ""


def _ask() -> dict[str, Any]:
    reading, writing = os.pipe()
    printed = os.memfd_create("libslurm")
    pid = os.fork()
    if not pid:
        _answer(writing, printed)
    os.close(writing)
    with open(reading, encoding="ascii") as pipe:
        text = pipe.read()
    os.waitpid(pid, 0)
    said = os.pread(printed, 65536, 0).decode("utf-8", "replace").strip().splitlines()
    os.close(printed)
    if not text:
        why = said[-1].rpartition("fatal: ")[2] if said else "libslurm ended without a word"
        raise SlurmError(f"no slurm.conf is here: {why}: name one with -f or SLURM_CONF")
    answer: dict[str, Any] = fastjson.loads(text)
    return answer


def _answer(writing: int, printed: int) -> None:
    """The child's side; never returns."""
    try:
        os.dup2(printed, 1)
        os.dup2(printed, 2)
        from scrun.slurm import control

        path = control.conf_path("slurm.conf")
        if path.startswith("/proc/") or not os.path.exists(path):
            answer = {"slurm.conf": "", **{name: _content(control.conf_path(name)) for name in (OCI_CONF, SCRIPT)}}
        else:
            answer = {"slurm.conf": path}
        with open(writing, "w", encoding="ascii") as pipe:
            pipe.write(fastjson.dumps(answer))
    except Exception as error:
        os.write(2, f"{error}\n".encode("utf-8", "backslashreplace"))
    finally:
        os._exit(0)


def _content(path: str) -> str | None:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read()
    except OSError:
        return None
