"""What conmon and containerd's shim do: create a container, and reap the process that its pid file names.

``shim.py REPORT PID-FILE CMD…``: REPORT is a descriptor that gets a line ``created STATUS`` when CMD (a create) has
ended and, if it succeeded, ``ended STATUS`` when the container's process was reaped (-n when signal n ended it). Run as
a program of its own, by the container's user; standard input, output and error are the container's.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_CHILD_SUBREAPER = 36  # prctl(2)


def main() -> None:
    """The program."""
    report, (pid_file, *command) = int(sys.argv[1]), sys.argv[2:]
    os.set_inheritable(report, False)
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    if ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        sys.exit("prctl failed")
    created = reap(os.spawnvp(os.P_NOWAIT, command[0], command))
    os.write(report, f"created {created}\n".encode())
    if created == 0:
        with open(pid_file, encoding="ascii") as file:
            pid = int(file.read())
        os.write(report, f"ended {reap(pid)}\n".encode())


def reap(pid: int) -> int:
    """The exit status of a descendant; whoever else is left to us is reaped as well."""
    while True:
        ended, status = os.waitpid(-1, 0)
        if ended == pid:
            return os.waitstatus_to_exitcode(status)


main()
