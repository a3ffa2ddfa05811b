"""scrun doctor."""

from __future__ import annotations

import os
import sys

from scrun import fastjson, signal, verbs
from scrun.digits import is_number
from scrun.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scrun.doctor.finding import Finding
    from scrun.grammar import Call
    from scrun.log import Log


def perform(call: Call, _logger: Log) -> int:
    """Print one line for each check, as soon as it is made; return 1 if something is broken."""
    from scrun.doctor import cluster, examine, report
    from scrun.doctor.finding import BROKEN
    from scrun.doctor.site import Site

    form = verbs.form(call)
    seconds = _seconds(call.options["wait"])
    wanted = cluster.wanted(call.options["node"])
    if wanted and call.options["all_nodes"]:
        raise UsageError("--node and --all-nodes exclude each other: use one of them")
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:  # nohup's
            signal.signal(number, _end)
    host = os.uname().nodename
    names, hosts = max(map(len, examine.NAMES)), max(map(len, (host, *wanted)))
    found: list[Finding] = []

    def tell(finding: Finding) -> None:
        found.append(finding)
        if form == "table":
            sys.stdout.write(report.line(finding, names, hosts) + "\n")
            sys.stdout.flush()

    with Site(verbs.root(call), os.environ) as site:
        examine.login(site, host, tell)
        if wanted or call.options["all_nodes"]:
            examine.nodes(site, wanted, tell, seconds)
    if form == "json":
        sys.stdout.write(fastjson.dumps(report.document(found)) + "\n")
    else:
        asked = "" if wanted or call.options["all_nodes"] else "; nodes are asked with --node NAME or --all-nodes"
        sys.stdout.write(f"{report.summary(found)}{asked}\n")
    return int(report.status(found) == BROKEN)


def _seconds(text: str | None) -> float:
    from scrun.doctor import nodes

    if text is None:
        return nodes.PATIENCE
    if not (is_number(text) and 0 < int(text) <= 3600):
        raise UsageError(f"--wait {text!r} is not a number of seconds from 1 to 3600")
    return float(text)


def _end(number: int, _frame: object) -> None:
    """Leave in order, so that no job and no directory stays; what follows is the clean-up."""
    signal.signal(number, signal.SIG_IGN)
    sys.exit(128 + number)
