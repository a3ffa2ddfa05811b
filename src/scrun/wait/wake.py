"""Go on as a Python process: scrun-wait executes this file with the descriptor of what :func:`scrun.wait.become` kept.

It runs as a program, beside the modules that the process had before.
"""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Call the module's ``wake``, and exit with the status that it returns."""
    status = 137  # of a stand-in that fails: its container is lost
    try:
        descriptor = int(sys.argv[1])
        sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
        from scrun import fastjson

        _name()
        kept = fastjson.loads(os.pread(descriptor, os.fstat(descriptor).st_size, 0).decode("ascii"))
        os.close(descriptor)
        sys.path[:] = kept["path"]
        status = __import__(kept["module"], fromlist=["wake"]).wake(kept["state"])
    finally:
        os._exit(status)


def _name() -> None:
    """Be called for ps(1) what the process before was called."""
    try:
        with open("/proc/self/comm", "w", encoding="utf-8") as file:
            file.write("scrun")
    except OSError:
        pass


main()
