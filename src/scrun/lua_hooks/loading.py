"""Load scrun.lua, with Lua or, if it is the one that scrun ships, without."""

from __future__ import annotations

from scrun.errors import HookError
from scrun.lua_hooks.script import is_shipped, read_script, version_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scrun.lua_hooks.calls import ScriptHost, SiteHooks


def load(path: str, host: ScriptHost, *, lua: str | None = None) -> SiteHooks:
    """Read and run the script at ``path``, with the version ``lua`` of Lua or the script's own choice.

    Nothing is run for the script that scrun ships, because scrun knows what it does: that saves the import of lupa.

    Raises:
        HookError: the script can't be read, fails, or doesn't define both hooks.
    """
    source = read_script(path)
    if is_shipped(source) and not lua:
        from scrun.lua_hooks.shipped import ShippedHooks

        return ShippedHooks(source, host)
    from scrun.lua_hooks.hooks import Hooks

    hooks = Hooks(path, host, version_of(source, lua))
    hooks.begin(source)
    return hooks


def preload(path: str, lua: str | None) -> None:
    """Import what :func:`load` will need, as far as it can be known; load itself raises the error of a failure.

    Args:
        path: the script, unless another one is used in the end.
        lua: the version of Lua that somebody asks for.
    """
    try:
        source = read_script(path)
    except HookError:
        source = b""
    if is_shipped(source) and not lua:
        from scrun.lua_hooks import shipped  # noqa: F401
    else:
        from scrun.lua_hooks import hooks, runtime  # noqa: F401

        runtime.preload(version_of(source, lua))
