"""Check Slurm on this host: its programs, files and daemons, and scrun's own part of libslurm."""

from __future__ import annotations

import importlib.util
import os
import re
import socket
import sys
from typing import TYPE_CHECKING, Any

import scrun
from scrun.doctor.finding import broken, ok, unchecked, warning
from scrun.errors import ScrunError, SlurmError
from scrun.lifecycle.operations import lua_check, version
from scrun.lifecycle.recovery import sweep
from scrun.lifecycle.worker import ask_slurm
from scrun.slurm import conf_paths, conf_text, node_runtime, oci_conf, slurm_conf, srun

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scrun.doctor.finding import Result
    from scrun.doctor.site import Site

_PATIENCE = 20.0  # seconds that Slurm or a script has to answer
_FEW_PORTS = 20  # srun listens on about four ports for each step
_REBUILD = "build scrun for this Slurm: pip install --force-reinstall --no-cache-dir, from its source"
# With auth/slurm the first of these that exists is used (sack_api.c).
_SACK = ("/run/slurm/sack.socket", "/run/slurmctld/sack.socket", "/run/slurmdbd/sack.socket")
_IN_MEMORY = "slurm.conf is slurmctld's, and in libslurm's memory only"
_MUNGE = "/run/munge/munge.socket.2"


def installation(_site: Site) -> Result:
    """Whether scrun is installed completely; its version and Python."""
    where = os.path.dirname(os.path.abspath(scrun.__file__))
    python = ".".join(map(str, sys.version_info[:3]))
    missing = [name for name in ("click", "jsonschema", "lupa") if not importlib.util.find_spec(name)]
    if missing:
        return broken(f"{where}: {', '.join(missing)} can't be found", "pip install scrun, with what it depends on")
    if not importlib.util.find_spec("scrun.slurm._allocation"):
        return broken(f"{where}: scrun was built without its part of libslurm", _REBUILD)
    return ok(f"scrun {scrun.__version__} with Python {python} in {where}")


def program(site: Site) -> Result:
    """Which scrun is on PATH, because Slurm has a program of that name too."""
    path = site.which("scrun")
    if not path:
        return warning("no scrun on PATH", "scrun install, by the path of the one that you have, puts it there")
    if said := site.is_not_ours(path):
        return warning(
            f"scrun on PATH is {path}, which {said}", "name scrun by its path, or put its directory first in PATH"
        )
    return ok(path)


def slurm_version(site: Site) -> Result:
    """Whether Slurm's version here is the one that scrun was built for."""
    try:
        major, minor, micro = ask_slurm.ask(_built_for, _PATIENCE)
    except ScrunError as error:
        return broken(f"scrun's part of libslurm can't be loaded: {error}", _REBUILD)
    here = _version_here(site)
    said = f"srun is {here}, scrun was built for {major}.{minor:02}.{micro}"
    if here != "?" and _release(here) != [major, minor]:
        return broken(said, _REBUILD)
    return ok(said)


def _version_here(site: Site) -> str:
    try:
        printed = site.run_program(srun.srun_command(site.oci or {}, site.environment)[0], "--version")[1]
    except ScrunError:
        return "?"
    return printed.split()[-1] if re.fullmatch(r"slurm\S* \d+\.\d+\S*\s*", printed) else "?"


def _built_for() -> list[int]:
    try:
        from scrun.slurm import _control  # type: ignore[attr-defined]  # built at installation
    except ImportError as missing:
        raise SlurmError(str(missing)) from missing
    version: list[int] = _control.built_for()
    return version


def _release(text: str) -> list[int]:
    """The release of a version: 26 and 5 of 26.05.3."""
    return [int(part) for part in text.split(".")[:2] if part.isdigit()]


def job_description(site: Site) -> Result:
    """What describes a job to Slurm: pyslurm, or scrun itself."""
    return ok(version.describe_bridge(site.environment))


def configuration(site: Site) -> Result:
    """Which slurm.conf is used, and whether it can be read."""
    oci_conf.check_slurm_conf(site.environment)
    if path := site.conf:
        cluster = conf_text.settings(path).get("clustername", "")
        if not os.access(path, os.R_OK):
            return broken(f"{path} can't be read", "chmod o+r, or name another one with -f or SLURM_CONF")
        return ok(f"{path}, cluster {cluster or '?'}")
    cluster = ask_slurm.ask(_cluster, _PATIENCE)
    return ok(f"libslurm gets it from slurmctld, cluster {cluster}")


def _cluster() -> str:
    from scrun.slurm import control

    return control.cluster()


def authentication(site: Site) -> Result:
    """Whether the daemon answers by which Slurm knows users: munged, or sackd with auth/slurm."""
    if not site.conf:
        return unchecked(_IN_MEMORY)
    settings = conf_text.settings(site.conf)
    kind = settings.get("authtype", "auth/munge").lower()
    if kind == "auth/munge":
        path = _option(settings.get("authinfo", ""), "socket") or _MUNGE
        if said := _no_answer(path):
            return broken(f"munge: {path}: {said}", "start munged (systemctl start munge), with the cluster's key")
        return ok(f"munge answers at {path}")
    if kind == "auth/slurm":
        named = site.environment.get("SLURM_SACK_SOCKET")
        answers = [(path, _no_answer(path)) for path in ([named] if named else _SACK)]
        if path := next((path for path, said in answers if not said), ""):
            return ok(f"auth/slurm: sackd, or another of Slurm's daemons, answers at {path}")
        return broken(f"auth/slurm: {answers[0][0]}: {answers[0][1]}", "start sackd, with the cluster's slurm.key")
    return unchecked(f"{kind} is not known here")


def _option(text: str, name: str) -> str:
    """An option of AuthInfo: socket=/run/munge/munge.socket.2,ttl=300."""
    options = dict(word.partition("=")[::2] for word in text.split(","))
    return options.get(name, "")


def _no_answer(path: str) -> str:
    """The reason why nobody answers at the socket; empty if somebody does."""
    with socket.socket(socket.AF_UNIX) as channel:
        channel.settimeout(5)
        try:
            channel.connect(path)
        except OSError as error:
            return error.strerror or str(error)
    return ""


def slurmctld(site: Site) -> Result:
    """Whether slurmctld answers this user, as it does when a container asks for its job."""
    try:
        count = sum(job["state"] in sweep.LIVES for job in site.jobs().values())
    except ScrunError as error:
        return broken(str(error), "a firewall, or another cluster's key, looks the same from here")
    return ok(f"answers; {site.user} has {count} jobs")


def srun_program(site: Site) -> Result:
    """How srun is called: the program, and the options that oci.conf adds to each call."""
    return ok(" ".join(srun.srun_command(site.oci or {}, site.environment)))


def oci_configuration(site: Site) -> Result:
    """Whether oci.conf can be understood, and how it calls the nodes' runtime."""
    path = site.beside(conf_paths.OCI_CONF)
    try:
        settings = oci_conf.read_file(path)
    except SlurmError as error:
        return broken(str(error), "docs/configuration.md has patterns that work; each node needs the same file")
    runtime = node_runtime.derive(settings)
    if "command" not in runtime:
        return warning(f"{path}: no signals but KILL, no exec: {runtime['why']}", "see docs/configuration.md")
    if "RunTimeRun" not in settings and not settings.get("IgnoreFileConfigJson"):
        return warning(
            f"{path}: RunTimeCreate and RunTimeStart are used, with which slurmstepd may wait for ever",
            "use RunTimeRun: docs/configuration.md has the patterns",
        )
    return ok(f"{path}: {runtime['kind']}, called as {runtime['command']}")


def script(site: Site) -> Result:
    """Whether scrun.lua loads, and its hooks run for a made-up job."""
    path = site.beside(conf_paths.SCRIPT)
    problems = ask_slurm.ask(lambda: lua_check.problems_in(path, site.environment), _PATIENCE)
    if problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        return broken(f"{problems[0]}{more}", f"scrun lua check {path}")
    return ok(path)


def ports(site: Site) -> Result:
    """Whether enough ports of SrunPortRange are free, on which srun listens and which nodes must reach."""
    if not site.conf:
        return unchecked(_IN_MEMORY)
    first, last = slurm_conf.srun_ports(site.environment)
    if not first:
        return ok("any port: no SrunPortRange is set; nodes must reach all ports of this host")
    free = sum(_is_free(port) for port in range(first, last + 1))
    said = f"SrunPortRange={first}-{last}: {free} of {last - first + 1} are free"
    if free < _FEW_PORTS:
        return warning(said, "srun takes some four for each container and each exec: widen the range in slurm.conf")
    return ok(said)


def _is_free(port: int) -> bool:
    with socket.socket() as one:
        try:
            one.bind(("", port))
        except OSError:
            return False
    return True


def leftovers(site: Site) -> Result:
    """Whether containers or jobs are left that have ended or were killed."""
    from scrun.doctor import left

    return left.check(site)


CHECKS: Mapping[str, Any] = {
    "installation": installation,
    "program": program,
    "slurm-version": slurm_version,
    "job-description": job_description,
    "slurm-conf": configuration,
    "authentication": authentication,
    "slurmctld": slurmctld,
    "oci-conf": oci_configuration,
    "srun": srun_program,
    "scrun-lua": script,
    "srun-ports": ports,
    "leftovers": leftovers,
}
