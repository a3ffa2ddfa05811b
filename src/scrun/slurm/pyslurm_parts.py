"""Import only the module of pyslurm that describes a job.

``import pyslurm`` also loads its database and its deprecated interface, which takes 40 ms of every container's start;
the module that describes a job takes 12 ms. So the packages above that module are put into sys.modules empty, and the
module is imported. If a pyslurm has other modules, all of it is imported.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys

from scrun.errors import SlurmMissing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

NO = ("no", "0", "false")  # values of SCRUN_PYSLURM that switch pyslurm off
_BRIDGE = "scrun.slurm._pyslurm"
_PACKAGES = ("pyslurm", "pyslurm.core", "pyslurm.core.job")


def is_bridged() -> bool:
    """Whether scrun was built with pyslurm, and a pyslurm is installed."""
    is_there = "pyslurm" in sys.modules or importlib.util.find_spec("pyslurm")
    return bool(is_there and importlib.util.find_spec(_BRIDGE))


def pyslurm_version() -> str:
    """The version of the installed pyslurm, without importing it; empty if it isn't known.

    A copy of pyslurm by a Debian package or ``scrun install`` has no metadata of pip's, so version.py is read.
    """
    from importlib import metadata

    try:
        return metadata.version("pyslurm")
    except metadata.PackageNotFoundError:
        spec = importlib.util.find_spec("pyslurm")
    for directory in (spec.submodule_search_locations or ()) if spec else ():
        try:
            with open(os.path.join(directory, "version.py"), encoding="utf-8") as file:
                said = [line.partition("=")[2].strip(" \"'\n") for line in file if line.startswith("__version__")]
        except OSError:
            continue
        if said:
            return said[0]
    return ""


def part(module: str, name: str) -> Any:
    """Import ``name`` of a module of pyslurm, e.g. ``part("pyslurm.core.job.submission", "JobSubmitDescription")``.

    Raises:
        SlurmMissing: no pyslurm is installed, or none that fits this Slurm.
    """
    try:
        _put_packages_in_place()
        try:
            return getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError):
            for package in _PACKAGES:
                sys.modules.pop(package, None)
            return getattr(importlib.import_module("pyslurm"), name)
    except Exception as missing:  # ImportError, or any exception of a pyslurm that was built for another Slurm
        raise SlurmMissing(
            f"pyslurm can't be used ({missing}): install the one whose version is that of this Slurm "
            "(scontrol --version), e.g. pip install 'pyslurm==25.11.*'"
        ) from missing


def _put_packages_in_place() -> None:
    if "pyslurm" in sys.modules:
        return
    spec = importlib.util.find_spec("pyslurm")
    if spec is None or spec.origin is None:
        raise ImportError("it is not installed")
    top = os.path.dirname(os.path.dirname(spec.origin))
    for package in _PACKAGES:
        shell = type(sys)(package)
        shell.__path__ = [os.path.join(top, *package.split("."))]
        sys.modules[package] = shell
        parent, _, child = package.rpartition(".")
        if parent:
            setattr(sys.modules[parent], child, shell)
