"""Get Slurm's configuration from libslurm if there is no file in the usual places.

libslurm may have been built for another directory. Or it gets the files from a slurmctld (SLURM_CONF_SERVER, or a DNS
SRV record) and keeps them in its memory. A child process asks libslurm (:mod:`scrun.lifecycle.worker.fetch_conf`).
"""

from __future__ import annotations

import os

from scrun.slurm.conf_paths import OCI_CONF, SCRIPT

SLURM_CONF = "slurm.conf"


def read_files() -> dict[str, str | None]:
    """Ask libslurm for the path of slurm.conf or, if libslurm has the files in memory, for their content.

    Returns:
        ``slurm.conf``: its path; or ``slurm.conf``: "", with the content of oci.conf and of scrun.lua, None for a
        file that doesn't exist.

    Raises:
        SlurmError: libslurm's part of scrun isn't built. libslurm itself ends the process if it finds no slurm.conf.
    """
    from scrun.slurm import control

    path = control.conf_path(SLURM_CONF)
    if path.startswith("/proc/") or not os.path.exists(path):
        return {SLURM_CONF: "", **{name: _content(control.conf_path(name)) for name in (OCI_CONF, SCRIPT)}}
    return {SLURM_CONF: path}


def write_files(files: dict[str, str | None], directory: str) -> str:
    """Write files that libslurm had in memory into ``directory``, which is made if need be, readable by us alone.

    Args:
        files: the result of :func:`read_files`.
        directory: gets oci.conf and scrun.lua.

    Returns:
        The path of slurm.conf; empty if libslurm has it in memory, and only then something is written.

    Raises:
        OSError: a file can't be written.
    """
    if path := files[SLURM_CONF]:
        return path
    os.makedirs(directory, 0o700, exist_ok=True)
    for name in (OCI_CONF, SCRIPT):
        if (text := files.get(name)) is not None:
            with open(os.path.join(directory, name), "w", encoding="utf-8", errors="surrogateescape") as file:
                file.write(text)
            os.chmod(file.name, 0o600)
    return ""


def _content(path: str) -> str | None:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read()
    except OSError:
        return None
