"""The hooks of the scrun.lua that scrun ships, without Lua.

A site that has the script as it is needs no interpreter for what it does: one call of scrun.stage_in and one of
scrun.stage_out. A test holds this module to the script.
"""

from __future__ import annotations

from scrun.errors import HookError, ScrunError
from scrun.lua_hooks.calls import Paths, ScriptHost, StageInCall, StageOutCall
from scrun.lua_hooks.values import one_line, to_bytes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

OPTIONS = {"hold": False}  # the script's options


class ShippedHooks:
    """The shipped script's hooks (:class:`scrun.lua_hooks.calls.SiteHooks`).

    Args:
        source: the script's text.
        host: the functions outside Lua that the script calls.
    """

    def __init__(self, source: bytes, host: ScriptHost) -> None:
        self.source = source
        self._host = host

    def stage_in(self, call: StageInCall) -> Paths:
        """Stage the container's files; return its paths, which stay as they are."""
        _call(lambda: self._host.extras["stage_in"]({**OPTIONS}))
        return Paths(call.bundle, None)

    def stage_out(self, _what: StageOutCall) -> None:
        """Bring back what the container changed."""
        _call(lambda: self._host.extras["stage_out"]())


def _call(function: Callable[[], object]) -> None:
    """Call a function of the host, whose errors are the script's as if Lua had called it."""
    try:
        function()
    except (ScrunError, OSError) as error:
        raise HookError(one_line(to_bytes(str(error)))) from error
