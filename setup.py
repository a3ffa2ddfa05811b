"""Builds scrun's part of libslurm, which needs Slurm's headers, a compiler and Cython, and the native programs.

SLURM_INCLUDE_DIR and SLURM_LIB_DIR say where Slurm is; otherwise pkg-config and the usual places are asked.
SCRUN_WITHOUT_SLURM=1 leaves that part out: unit tests and the documentation do without, `scrun create` doesn't.
"""

import glob
import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig

from setuptools import Extension, setup
from setuptools.command.build_py import build_py
from setuptools.command.sdist import sdist

PARTS = ("_allocation", "_control", "_jobs")
BRIDGE = "_pyslurm"  # built where pyslurm is; scrun fills in a job's description itself where it isn't
HEADER = "slurm/slurm.h"


def extensions() -> list[Extension]:
    """The extensions; none where they aren't wanted."""
    if _without_slurm():
        return []
    from Cython.Build import cythonize

    include = _include_dir()
    libraries = _library_dirs()
    made = [_extension(name, [include, "src"], libraries) for name in PARTS]
    if pyslurm := _pyslurm():
        made.append(_extension(BRIDGE, [include, "src", pyslurm], libraries))
    return cythonize(made, build_dir="build/cython", include_path=["src"])


def _without_slurm() -> bool:
    return os.environ.get("SCRUN_WITHOUT_SLURM", "") not in ("", "0", "no")


def _extension(name: str, include_dirs: list[str], library_dirs: list[str]) -> Extension:
    return Extension(
        f"scrun.slurm.{name}",
        [f"src/scrun/slurm/{name}.pyx"],
        include_dirs=include_dirs,
        define_macros=[("SLURM_BACKWARD_COMPAT", None)],  # see _slurm.h; pyslurm's headers include slurm.h first
        libraries=["slurmfull"],
        library_dirs=library_dirs,
        runtime_library_dirs=library_dirs,
        depends=["src/scrun/slurm/_slurm.h", "src/scrun/slurm/libslurm.pxd"],
    )


def _include_dir() -> str:
    places = ["/usr/include", "/usr/local/include", "/opt/slurm/include"]
    if said := os.environ.get("SLURM_INCLUDE_DIR"):
        places = [said]
    elif found := _pkg_config("includedir"):
        places.insert(0, found)
    for place in places:
        if os.path.exists(os.path.join(place, HEADER)):
            return place
    sys.exit(
        f"scrun: {HEADER} is not in {', '.join(places)}: install Slurm's headers (Debian: libslurm-dev, "
        "EL: slurm-devel), or name their directory in SLURM_INCLUDE_DIR; SCRUN_WITHOUT_SLURM=1 builds without Slurm"
    )


def _library_dirs() -> list[str]:
    """Where libslurmfull.so is: a private directory of Slurm's."""
    libraries = [f"/usr/lib/{sysconfig.get_config_var('MULTIARCH')}", "/usr/lib64", "/usr/lib", "/usr/local/lib"]
    libraries += ["/opt/slurm/lib64", "/opt/slurm/lib"]
    if said := os.environ.get("SLURM_LIB_DIR"):
        libraries = [said]
    elif found := _pkg_config("libdir"):
        libraries.insert(0, found)
    for library in libraries:
        found = [path for path in glob.glob(f"{library}/slurm*") if os.path.exists(f"{path}/libslurmfull.so")]
        if found:
            return sorted(found)
    sys.exit(
        f"scrun: slurm*/libslurmfull.so is not in {', '.join(libraries)}: install Slurm's programs (Debian: "
        "slurm-client, EL: slurm), or name their library directory in SLURM_LIB_DIR"
    )


def _pkg_config(variable: str) -> str:
    if not shutil.which("pkg-config"):
        return ""
    asked = ["pkg-config", f"--variable={variable}", "slurm"]
    return subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()


def _pyslurm() -> str:
    """Where pyslurm's package is, whose .pxd files name headers from there; empty where there is none."""
    # Found, not imported: where no slurm.conf is, libslurm ends the process that loads it.
    spec = importlib.util.find_spec("pyslurm")
    return os.path.dirname(os.path.dirname(spec.origin)) if spec and spec.origin else ""


def _write_commit(package: str) -> None:
    """Write down which commit this is, for scrun --version; an sdist has the file already, and no git."""
    asked = ["git", "-C", os.path.dirname(os.path.abspath(__file__)), "rev-parse", "--short=12", "HEAD"]
    try:
        done = subprocess.run(asked, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return
    if done.returncode == 0:
        with open(os.path.join(package, "commit.txt"), "w", encoding="ascii") as file:
            file.write(done.stdout)


def _build_needed(package: str) -> None:
    """Compile what scrun needs: scrun-node, which a container's bundle carries to its nodes, and scrun-wait."""
    for directory, program in (("native", "scrun-node"), ("wait", "scrun-wait")):
        if why := _compile(directory, os.path.join(package, directory, program)):
            line = (
                f"scrun: {program} can't be compiled ({why}): install gcc and libc's headers, or name a compiler in CC"
            )
            if not _without_slurm():
                sys.exit(line)
            print(f"{line}; SCRUN_WITHOUT_SLURM=1 does without it", file=sys.stderr)


def _build_front(package: str) -> None:
    """Compile scrun-front, which answers the engines' plain calls; without it Python answers all."""
    if why := _compile("front", os.path.join(package, "front", "scrun-front")):
        print(f"scrun: scrun-front can't be compiled ({why}): calls take some 30 ms longer without it", file=sys.stderr)


def _build_network(package: str) -> None:
    """Compile scrun-network, without which no container can be on its engine's network."""
    if why := _compile("network", os.path.join(package, "network", "scrun-network")):
        print(f"scrun: scrun-network can't be compiled ({why}): containers have their nodes' network", file=sys.stderr)


def _compile(directory: str, program: str) -> str:
    """Compile a native program; return why that failed, or an empty text."""
    try:
        done = subprocess.run(
            ["sh", f"src/scrun/{directory}/build", program], capture_output=True, text=True, check=False
        )
    except OSError as error:
        return str(error)
    if done.returncode == 0:
        return ""
    return next((line for line in done.stderr.splitlines() if "rror" in line), done.stderr.strip()) or "no reason given"


class BuildPackage(build_py):
    """The package, with its commit and the native programs."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            _write_commit(os.path.join(self.build_lib, "scrun"))
            _build_needed(os.path.join(self.build_lib, "scrun"))
            _build_front(os.path.join(self.build_lib, "scrun"))
            _build_network(os.path.join(self.build_lib, "scrun"))


class BuildSource(sdist):
    """The sdist, with its commit."""

    def make_release_tree(self, base_dir: str, files: list[str]) -> None:
        super().make_release_tree(base_dir, files)
        _write_commit(os.path.join(base_dir, "src", "scrun"))


setup(ext_modules=extensions(), cmdclass={"build_py": BuildPackage, "sdist": BuildSource})
