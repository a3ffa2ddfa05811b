"""Builds scrun's part of libslurm where pyslurm, Cython and Slurm's headers are; elsewhere scrun installs without it.

Without these extensions `scrun create` says in one line what is missing; all else, the unit tests too, works.
SLURM_INCLUDE_DIR and SLURM_LIB_DIR say where Slurm is, as they do for pyslurm.
"""

import importlib.util
import os
import sys
import sysconfig

from setuptools import Extension, setup


def extensions() -> list[Extension]:
    """The extensions, or nothing and a line that says what they lack."""
    try:
        from Cython.Build import cythonize

        # Found, not imported: where no slurm.conf is, libslurm ends the process that loads it.
        pyslurm = importlib.util.find_spec("pyslurm")
        if pyslurm is None or pyslurm.origin is None:
            raise ImportError("pyslurm is not installed")
    except ImportError as missing:
        print(f"scrun: building without its part of libslurm: {missing}", file=sys.stderr)
        return []
    packages = os.path.dirname(os.path.dirname(pyslurm.origin))  # its .pxd files name headers from there
    debians = f"/usr/lib/{sysconfig.get_config_var('MULTIARCH')}"
    library = os.environ.get("SLURM_LIB_DIR", debians if os.path.isdir(debians) else "/usr/lib64")
    private = [
        path for path in (f"{library}/slurm", f"{library}/slurm-wlm") if os.path.exists(f"{path}/libslurmfull.so")
    ]
    made = [
        Extension(
            f"scrun.slurm.{name}",
            [f"src/scrun/slurm/{name}.pyx"],
            include_dirs=[os.environ.get("SLURM_INCLUDE_DIR", "/usr/include"), packages],
            libraries=["slurmfull"],
            library_dirs=[*private, library],
            runtime_library_dirs=private,
        )
        for name in ("_allocation", "_control", "_jobs")
    ]
    return cythonize(made, build_dir="build/cython", include_path=["src"])


setup(ext_modules=extensions())
