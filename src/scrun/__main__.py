"""The program: parse the command line, perform the command, and print its error."""

from __future__ import annotations

import os
import sys

from scrun import argv, dispatch, interrupts
from scrun.errors import ScrunError
from scrun.log import Log

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from scrun.grammar import Call


def main(blocked: set[int] | None = None) -> NoReturn:
    """Run the command line, and exit with runc's status.

    Args:
        blocked: the signals that the caller blocks, if the launcher has blocked all signals (:mod:`scrun.interrupts`).
    """
    if "scrun-blocked" in sys._xoptions:
        from scrun import front

        blocked = front.took_over()
    call = argv.parse(sys.argv[1:])
    try:
        interrupts.settle(call.command if call else "", blocked)
    except KeyboardInterrupt:  # one that came while the launcher blocked it; nothing is done yet
        os._exit(130)
    if call:
        status = execute(call)
    else:
        try:
            from scrun import cli
        except ImportError as missing:
            sys.exit(f"scrun: {missing}: install scrun with what it depends on (pip install scrun)")
        except KeyboardInterrupt:
            sys.exit(130)
        status = cli.main(sys.argv[1:], execute)
        _flush()
    # Ending the interpreter would take a quarter of a short call's time.
    os._exit(status)


def _flush() -> None:
    """Flush click's output, which may have no reader any more."""
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream:
                stream.flush()
        except OSError:
            pass


def execute(call: Call) -> int:
    """Perform a call; return the exit status."""
    logger = Log()
    try:
        logger = dispatch.logger(call)
        status = dispatch.perform(call, logger)
        if sys.stdout:  # None if the caller closed stdout
            sys.stdout.flush()
    except ScrunError as error:
        logger.say("fatal", str(error))
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # the reader of our output has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 1
    except Exception as error:
        import traceback

        logger.debug(traceback.format_exc())
        logger.say("fatal", f"internal error: {type(error).__name__}: {error}: run it with --debug, and report it")
        return 1
    return status


if __name__ == "__main__":
    main()
