"""scrun uninstall."""

from __future__ import annotations

import os

from scrun.errors import InstallationError
from scrun.installation import install

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scrun.grammar import Call
    from scrun.log import Log


def perform(call: Call, _logger: Log) -> None:
    """Remove scrun, and print one line for each file that was removed or stays."""
    wanted = install.Wanted(call.options["prefix"] or "", dry_run=call.options["dry_run"])
    try:
        for line in install.uninstall(wanted, os.environ):
            print(line)
    except OSError as error:
        raise InstallationError(install.unwritable(error)) from error
