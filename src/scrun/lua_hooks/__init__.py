"""scrun.lua: the site's hooks, run by lupa.

Nothing imports lupa before :meth:`Hooks.load`.
"""

from scrun.lua_hooks.calls import Paths, ScriptHost, StageInCall, StageOutCall
from scrun.lua_hooks.hooks import Hooks

__all__ = ["Hooks", "Paths", "ScriptHost", "StageInCall", "StageOutCall"]
