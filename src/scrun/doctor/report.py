"""The report: one line for each check, or one JSON document for a bug report.

The document is::

    {"doctor": 1, "scrun": "0.2.0", "host": "login", "user": "alice", "time": "2026-…Z", "status": "broken",
     "checks": [{"check": "slurmctld", "where": "login", "status": "broken", "found": "…", "advice": "…"}, …]}

``doctor`` is the version of this form: names may be added without changing it. ``status`` is the worst of all checks
(``ok``, ``warning``, ``broken``); a check may be ``not checked`` as well. Neither form has a token in it, a variable's
value other than a path, or a file's content other than a line of oci.conf or scrun.lua that can't be understood.
"""

from __future__ import annotations

import os
import pwd
from typing import TYPE_CHECKING

from scrun import __version__, identity, log
from scrun.doctor.finding import BROKEN, OK, STATUSES, UNCHECKED, WARNING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scrun.doctor.finding import Finding

FORM = 1


def line(finding: Finding, names: int, hosts: int) -> str:
    """The line of a finding; ``names`` and ``hosts`` are the widths of the columns of checks and of hosts."""
    colon = " " if finding.found.endswith("?") else ": "
    text = f"{finding.found}{colon}{finding.advice}" if finding.advice else finding.found
    return f"{finding.status:<{max(map(len, STATUSES))}}  {finding.where:<{hosts}}  {finding.check:<{names}}  {text}"


def summary(findings: Sequence[Finding]) -> str:
    """The number of findings of each status, as a sentence."""
    counts = {status: sum(finding.status == status for finding in findings) for status in reversed(STATUSES)}
    return ", ".join(f"{counts[status]} {status}" for status in (BROKEN, WARNING, OK, UNCHECKED))


def document(findings: Sequence[Finding]) -> dict[str, object]:
    """The report as a JSON document."""
    return {
        "doctor": FORM,
        "scrun": __version__,
        "host": os.uname().nodename,
        "user": user(),
        "time": log.timestamp(),
        "status": status(findings),
        "checks": [finding._asdict() for finding in findings],
    }


def status(findings: Sequence[Finding]) -> str:
    """The worst status of the findings: BROKEN, WARNING or OK."""
    there = {finding.status for finding in findings}
    return BROKEN if BROKEN in there else WARNING if WARNING in there else OK


def user() -> str:
    """The caller's user name, or the uid if there is no name."""
    try:
        return pwd.getpwuid(identity.real_uid()).pw_name
    except KeyError:
        return str(identity.real_uid())
