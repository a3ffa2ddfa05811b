"""lua check: what is wrong with a hook script, found without a job."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping


def default_script(environment: Mapping[str, str]) -> str:
    """The script that a container here would get: see :func:`scrun.slurm.conf_paths.lua_script`."""
    from scrun.slurm import conf_paths

    return conf_paths.lua_script(environment)


def shipped_script() -> bytes:
    """The script that comes with scrun, for a site that has none."""
    import os

    import scrun

    with open(os.path.join(os.path.dirname(scrun.__file__), "lua_hooks", "scrun.lua"), "rb") as file:
        return file.read()


def run(path: str, environment: Mapping[str, str]) -> list[str]:
    """One line a problem; SCRUN_LUA chooses the Lua, as for a container."""
    from scrun.lua_hooks.check import problems_of

    return problems_of(path, environment.get("SCRUN_LUA"))
