"""scrun.lua: the site's hooks, run by lupa.

Nothing here imports lupa before :meth:`Hooks.load`.
"""

from scrun.lua_hooks.calls import Host, Paths, StageIn, StageOut
from scrun.lua_hooks.hooks import Hooks

__all__ = ["Hooks", "Host", "Paths", "StageIn", "StageOut"]
