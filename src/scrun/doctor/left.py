"""Find what is left of containers that have ended or whose processes were killed. Nothing is changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scrun.doctor.finding import ok, unchecked, warning
from scrun.errors import ScrunError
from scrun.lifecycle.container import origin, status
from scrun.lifecycle.operations import list as listing
from scrun.lifecycle.recovery import sweep

if TYPE_CHECKING:
    from scrun.doctor.finding import Result
    from scrun.doctor.site import Site


def check(site: Site) -> Result:
    """Look for damaged records, and for containers and jobs without processes on this host."""
    entries = listing.list_containers(site.root, briefly=True)
    damaged = [entry["id"] for entry in entries if entry["status"] == listing.DAMAGED]
    if damaged:
        return warning(
            f"{site.root}: the record of {', '.join(damaged[:3])} can't be read", "scrun delete --force, and its id"
        )
    lost = sweep.lost(site.root)
    try:
        jobs = site.jobs()
    except ScrunError as error:
        return unchecked(f"jobs of containers that are gone: {error}")
    now, orphans = origin.here(), list[int]()
    for number, job in jobs.items():
        mark = origin.parse(job["container"])
        ours = mark and mark.root == origin.checksum(site.root) and job["state"] in sweep.LIVES
        if mark and ours and origin.is_gone(mark, now, job["submitted"]):
            orphans.append(number)
    if lost or orphans:
        named = [f"container {one}" for one in lost[:3]] + [f"job {job}" for job in orphans[:3]]
        return warning(
            f"{', '.join(named)}: all processes here are gone", f"scrun --root {site.root} list ends the jobs"
        )
    ended = sum(entry["status"] == status.STOPPED for entry in entries)
    return ok(f"{len(entries)} containers in {site.root}, {ended} of them ended; no job without its container")
