"""Check this host: directories, disks, user namespaces, and the programs that scrun runs here."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Any

from scrun import log
from scrun.doctor import tools
from scrun.doctor.finding import broken, ok, unchecked, warning, worst
from scrun.doctor.node_answer import MANY
from scrun.errors import ScrunError
from scrun.lifecycle.container import history

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scrun.doctor.finding import Result
    from scrun.doctor.site import Site

_LINGER, _LOGIND = "/var/lib/systemd/linger", "/run/systemd/seats"
_USER_NAMESPACES = "/proc/sys/user/max_user_namespaces"
# Free bytes below which nothing works, and below which it soon may not work: for records, and for files.
RECORDS, FILES = (1 << 20, 16 << 20), (10 << 20, 1 << 30)


def run_directory(site: Site) -> Result:
    """Whether containers' records can be written, below /run/user/UID or --root."""
    above, advice = site.root, "systemd-logind makes it at login (ssh, machinectl shell); or use --root"
    while not os.path.exists(above):
        above = os.path.dirname(above)
    if above != site.root and not os.access(above, os.W_OK | os.X_OK):
        return broken(f"{site.root} can't be made: {above} is the nearest directory, and not {site.user}'s", advice)
    there = os.stat(above)
    if above == site.root and there.st_uid not in (os.getuid(), 0):
        return broken(f"{above} is user {there.st_uid}'s, not {site.user}'s", advice)
    if there.st_mode & (stat.S_IWOTH | stat.S_ISVTX) == stat.S_IWOTH:  # create refuses it too
        mode = stat.S_IMODE(there.st_mode)
        return broken(f"{above} may be written by others (mode {mode:04o})", f"chmod o-w {above}")
    if not os.access(above, os.W_OK | os.X_OK):
        return broken(f"{above} can't be written", "is its file system mounted read-only?")
    return ok(site.root)


def linger(site: Site) -> Result:
    """Whether the user's processes and /run/user/UID outlive a logout."""
    if site.uid == 0:
        return ok("root needs none")
    if not os.path.isdir(_LOGIND):
        return ok("no systemd-logind here, which would end the user's processes at logout")
    if os.path.exists(os.path.join(_LINGER, site.user)):
        return ok(f"on for {site.user}")
    return warning(
        f"off for {site.user}: detached containers end at the last logout",
        f"loginctl enable-linger {site.user}, where they are to go on",
    )


def user_namespaces(site: Site) -> Result:
    """Whether this user can make user namespaces here, as rootless podman and docker do."""
    most = _number(_USER_NAMESPACES)
    if most == 0:
        return broken(f"{_USER_NAMESPACES} is 0", "sysctl user.max_user_namespaces=65536; rootless engines need them")
    if not site.which("unshare"):
        return unchecked("there is no unshare(1) to try it with")
    status, printed = site.run_program("unshare", "--user", "--map-root-user", "true")
    if status:
        words = printed.strip() or f"status {status}"
        return broken(
            f"can't be made: {words}",
            "see kernel.unprivileged_userns_clone, kernel.apparmor_restrict_unprivileged_userns, SELinux",
        )
    return ok(f"can be made, {most} of them")


def _number(path: str) -> int:
    try:
        with open(path, encoding="ascii") as file:
            return int(file.read())
    except (OSError, ValueError):
        return -1


def disk_space(site: Site) -> Result:
    """Whether there is room for records, for engines' images, and for staged files."""
    places = {site.root: RECORDS, "/tmp": FILES, site.home: FILES}  # noqa: S108
    return worst([result for path, limits in places.items() if (result := _room(path, limits))])


def _room(path: str, limits: tuple[int, int]) -> Result | None:
    while not os.path.isdir(path) and path != "/":
        path = os.path.dirname(path) or "/"
    try:
        there = os.statvfs(path)
    except OSError as error:
        return unchecked(f"{path}: {error.strerror}")
    return room(path, there.f_bavail * there.f_frsize, there.f_favail if there.f_files else MANY, limits)


def room(path: str, free: int, inodes: int, limits: tuple[int, int] = FILES) -> Result:
    """Judge the free bytes and inodes of a directory; ``limits`` are the bytes for broken and for a warning."""
    least, few = limits
    said = f"{path}: {size(free)} free" + ("" if inodes >= MANY else f", {inodes} files")
    if free < least or inodes < 16:
        return broken(said, "make room there")
    if free < few or inodes < 256:
        return warning(said, "make room there")
    return ok(said)


def size(number: int) -> str:
    """A number of bytes for a person."""
    value, unit = float(number), "B"
    for bigger in ("KB", "MB", "GB", "TB"):
        if value < 1024:
            break
        value, unit = value / 1024, bigger
    return f"{value:.0f} {unit}"


def kept_history(site: Site) -> Result:
    """Where the history of ended containers is kept (SCRUN_HISTORY, oci.conf's History), and whether it can be."""
    places = history.places(site.environment, site.oci or {})
    for place in places:
        if place != history.SYSLOG:
            try:
                history.check(place)
            except ScrunError as error:
                return warning(str(error), "see docs/configuration.md, What ran")
    if not places:
        return ok("not kept: see SCRUN_HISTORY")
    if history.SYSLOG in places and not os.path.exists(log.SYSLOG):
        return warning(f"{log.SYSLOG} is not there", "start a syslog daemon, or name a file")
    return ok(f"kept in {', '.join(places)}")


def programs(site: Site) -> Result:
    """Whether this host has the programs that scrun runs to carry files: tar and others."""
    versions = {name: site.run_program(name, "--version")[1] if site.which(name) else "-" for name in tools.HERE}
    return tools.judge({name: tools.version(printed) for name, printed in versions.items()}, tools.HERE)


CHECKS: Mapping[str, Any] = {
    "run-directory": run_directory,
    "linger": linger,
    "user-namespaces": user_namespaces,
    "disk-space": disk_space,
    "tools": programs,
    "history": kept_history,
}
