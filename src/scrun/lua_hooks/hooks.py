"""Run a scrun.lua in Lua, and call its two hooks."""

from __future__ import annotations

from scrun.errors import HookError
from scrun.lua_hooks.calls import Paths, ScriptHost, StageInCall, StageOutCall
from scrun.lua_hooks.runtime import Interpreter, Returned
from scrun.lua_hooks.script import read_script, shown, version_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

STAGE_IN = "slurm_scrun_stage_in"
STAGE_OUT = "slurm_scrun_stage_out"
SUCCESS = 0
ERROR = -1


class Hooks:
    """A script. :meth:`load` it, then call its hooks, each any number of times."""

    def __init__(self, path: str, host: ScriptHost, lua: str) -> None:
        self.path, self.source = path, b""
        self._shown = shown(path)
        self._bundle: str | None = None
        self._root_path: str | None = None
        functions: dict[str, Callable[..., object]] = {
            "log": lambda level, message: host.log(level, shown(message.rstrip("\n"))),
            "allocator_command": host.allocator_command,
            "remote_command": host.remote_command,
            "set_bundle_path": self._set_bundle_path,
            "set_root_path": self._set_root_path,
        }
        self._lua = Interpreter(lua, functions, host.extras)

    @classmethod
    def load(cls, path: str, host: ScriptHost, *, lua: str | None = None) -> Hooks:
        """Read and run the script at ``path``, with the version ``lua`` or the script's own choice.

        Raises:
            HookError: the script can't be read, fails, or doesn't define both hooks.
        """
        source = read_script(path)
        hooks = cls(path, host, version_of(source, lua))
        hooks.begin(source)
        return hooks

    def begin(self, source: bytes) -> None:
        """Run the top level of the script, once.

        Raises:
            HookError: the script fails, or doesn't define both hooks.
        """
        self.source = source
        returned = self._lua.load(source, self.path)
        if returned.value is not None:  # no return value is success, as in the C scrun
            self._expect_success("the top level", returned)
        for name in (STAGE_IN, STAGE_OUT):
            if not self._lua.defines(name):
                raise HookError(
                    f"{self._shown}: function {name} is not defined: define it, or return to the shipped etc/scrun.lua"
                )

    def run_no_commands(self) -> None:
        """Make os.execute and io.popen pretend from now on, for a check."""
        self._lua.run_no_commands()

    def names_in(self, table: str) -> set[str]:
        """The names in a global Lua table, for example ``slurm``."""
        return self._lua.names_in(table)

    def stage_in(self, call: StageInCall) -> Paths:
        """Call slurm_scrun_stage_in; return the container's new paths.

        Raises:
            HookError: the hook failed.
        """
        returned = self._lua.call(STAGE_IN, *call[:-1], job_env=call.job_env)
        self._expect_success("stage_in", returned)
        return Paths(self._bundle or call.bundle, self._root_path)

    def stage_out(self, call: StageOutCall) -> None:
        """Call slurm_scrun_stage_out.

        Raises:
            HookError: the hook failed.
        """
        self._expect_success("stage_out", self._lua.call(STAGE_OUT, *call))

    def _expect_success(self, what: str, returned: Returned) -> None:
        if returned.value == SUCCESS:
            return
        name = " (slurm.ERROR)" if returned.value == ERROR else ""
        value = "nothing, not slurm.SUCCESS" if returned.value is None else f"{returned.value}{name}"
        text = f"{what} in {self._shown} returned {value}"
        raise HookError(f"{text}: {returned.message}" if returned.message else text)

    def _set_bundle_path(self, path: str) -> None:
        self._bundle = path

    def _set_root_path(self, path: str) -> None:
        self._root_path = path
