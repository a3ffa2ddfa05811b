"""scrun.lua: the site's hooks, run by lupa.

Nothing imports lupa before a script is loaded, and nothing does for the script that scrun ships.
"""

from scrun.lua_hooks.calls import Paths, ScriptHost, SiteHooks, StageInCall, StageOutCall
from scrun.lua_hooks.loading import load, preload

__all__ = ["Paths", "ScriptHost", "SiteHooks", "StageInCall", "StageOutCall", "load", "preload"]
