"""scrun install."""

from __future__ import annotations

import os

from scrun.errors import InstallationError
from scrun.installation import install

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scrun.grammar import Call
    from scrun.log import Log


def perform(call: Call, _logger: Log) -> None:
    """Install scrun, and print one line for each file."""
    given = call.options
    wanted = install.Wanted(
        given["prefix"] or "", given["destdir"] or "", given["python"] or "", given["engines"] or "", given["dry_run"]
    )
    os.umask(0o022)  # because the installed files are for all users
    try:
        for line in install.install(wanted, os.environ):
            print(line)
    except OSError as error:
        raise InstallationError(install.unwritable(error)) from error
