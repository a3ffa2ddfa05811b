"""lua check: find the faults of a site's scrun.lua without a job."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping


def default_script(environment: Mapping[str, str]) -> str:
    """The path of the script that a container would use here (:func:`scrun.slurm.conf_paths.lua_script`)."""
    from scrun.slurm import conf_paths

    return conf_paths.lua_script(environment)


def shipped_script() -> bytes:
    """The content of the script that comes with scrun."""
    import os

    import scrun

    with open(os.path.join(os.path.dirname(scrun.__file__), "lua_hooks", "scrun.lua"), "rb") as file:
        return file.read()


def problems_in(path: str, environment: Mapping[str, str]) -> list[str]:
    """Check the script at ``path``; return one line for each problem. SCRUN_LUA chooses the version of Lua."""
    from scrun.lua_hooks.check import problems_of

    return problems_of(path, environment.get("SCRUN_LUA"))
