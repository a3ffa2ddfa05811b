"""The Lua state. Only this module imports lupa.

Lua strings are bytes in Python (``encoding=None``). No Python exception passes through Lua: Lua sees an error instead,
and an exception that the script can't handle is raised again when Lua has returned.
"""

from __future__ import annotations

import os.path

from scrun.errors import HookError, ScrunError
from scrun.lua_hooks import shell
from scrun.lua_hooks.interruptions import Interruptions
from scrun.lua_hooks.values import Converter, one_line, to_bytes, to_text

TYPE_CHECKING = False  # importing typing would double what this costs (scrun.named_tuple)
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any, NamedTuple, NoReturn

    Function = Callable[..., object]
else:
    from scrun.named_tuple import NamedTuple

VERSIONS = ("5.1", "5.2", "5.3", "5.4")
SHARE = "/usr/share/lua/"  # where Debian and others install Lua modules

SHELL: Mapping[str, Function] = {
    "execute": shell.execute,
    "popen": shell.popen,
    "release": shell.release,
    "wait": shell.wait,
}


class Returned(NamedTuple):
    """The result of a function of the script: a whole number, or the word for another value; and a message."""

    value: object
    message: str


class Interpreter:
    """A Lua state with the tables ``slurm`` and ``scrun``, and one script.

    Args:
        version: the version of Lua.
        host: the functions from which slurm.lua builds the table ``slurm``; a tuple is several results.
        extras: the functions of the table ``scrun``.
    """

    def __init__(self, version: str, host: Mapping[str, Function], extras: Mapping[str, Function]) -> None:
        module = _lupa(version)
        self._state = module.LuaRuntime(
            encoding=None,
            unpack_returned_tuples=True,
            register_eval=False,
            register_builtins=False,
            attribute_filter=_no_attributes,
        )
        self._type = module.lua_type
        self._raised: list[Exception] = []
        self._interrupted: BaseException | None = None
        self._interruptions = Interruptions()
        self._path = self._shown_path = b""
        json = self._ours("json_encode")
        decode = self._ours("json_decode", json[b"null"])
        self._values = Converter(self._state.table, json[b"kind"], json[b"object"], json[b"null"])
        functions = self._offer("slurm", host)
        self._call = self._ours("call", self._guarded("beat", tuple))
        self._ours("guard", functions[b"log"], self._call, to_bytes(SHARE + version))
        self._pretend = self._ours("shell", self._offer("io", SHELL), self._call)
        self._job_env = self._ours("slurm", functions, self._offer("scrun", extras), json, decode, self._call)

    def load(self, source: bytes, path: str) -> Returned:
        """Compile the script and run its top level.

        Raises:
            HookError: the script can't be compiled, or fails.
        """
        if source.startswith(b"#"):
            source = b"--" + source  # "#!/usr/bin/lua", which Lua skips only when it reads a file itself
        self._path = to_bytes(path)
        chunk, name = self._call[b"load"](source, self._path)
        if chunk is None:
            self._shown_path = name.split(b":", 1)[0]
            self._fail(name)
        self._shown_path = name
        return self._run(chunk)

    def defines(self, name: str) -> bool:
        """Whether the script has a global function of that name."""
        return bool(self._type(self._state.globals()[to_bytes(name)]) == "function")

    def call(self, name: str, *args: object, job_env: Mapping[str, str] | None = None) -> Returned:
        """Call a function of the script.

        Raises:
            HookError: the function failed.
            BaseException: an exception of a host's function, other than ScrunError and OSError.
        """
        values = [self._values.to_lua(value) for value in args]
        if job_env is not None:
            by_name = {to_bytes(key): to_bytes(value) for key, value in job_env.items()}
            table = self._state.table_from
            values.append(self._job_env(table([b"=".join(pair) for pair in by_name.items()]), table(by_name)))
        return self._run(self._state.globals()[to_bytes(name)], *values)

    def names_in(self, table: str) -> set[str]:
        """The names in a global Lua table."""
        return {to_text(key) for key in self._state.globals()[to_bytes(table)] if isinstance(key, bytes)}

    def run_no_commands(self) -> None:
        """Make os.execute and io.popen pretend from now on."""
        self._pretend()

    def _ours(self, name: str, *args: object) -> Any:
        with open(os.path.join(os.path.dirname(__file__), f"{name}.lua"), "rb") as file:
            return self._state.compile(file.read(), f"=scrun/{name}.lua".encode())(*args)

    def _run(self, function: Any, *args: object) -> Returned:
        with self._interruptions:
            ok, value, message = self._call[b"run"](function, *args)
        if self._interrupted is not None:
            raise self._interrupted
        if not ok:
            self._fail(value)
        if isinstance(value, bytes):
            value = one_line(value)
        return Returned(value, one_line(message or b""))

    def _fail(self, message: bytes) -> NoReturn:
        """Raise a HookError with Lua's message, in which the script's path is whole again, because Lua shortens it."""
        text = one_line(message.replace(self._shown_path + b":", self._path + b":"))
        cause = next((error for error in self._raised if one_line(_sentence(error)) == text), None)
        raise HookError(text) from cause

    def _offer(self, table: str, functions: Mapping[str, Function]) -> Any:
        return self._state.table_from(
            {to_bytes(name): self._guarded(f"{table}.{name}", f) for name, f in functions.items()}
        )

    def _guarded(self, name: str, function: Function) -> Function:
        """Wrap a function for call.result in Lua.

        It returns True and results, False and an error message, or None and a mistake of the script.
        """

        def guarded(*args: object) -> tuple[object, ...]:
            try:
                self._interruptions.begin()
                return answer(*args)
            except BaseException as error:  # a bug of scrun's or a signal, which Lua must not catch
                self._interrupted = error
            finally:
                self._interruptions.waits = True
            return False, b"scrun was interrupted"

        def answer(*args: object) -> tuple[object, ...]:
            if self._interrupted is not None:
                return False, b"scrun was interrupted"
            try:
                values = [self._values.from_lua(value) for value in args]
            except HookError as error:
                return None, to_bytes(f"{name}: {error}")
            try:
                result = function(*values)
                results = result if isinstance(result, tuple) else (result,)
                return True, *(self._values.to_lua(value) for value in results)
            except (ScrunError, OSError) as error:
                self._raised.append(error)
                return False, _sentence(error)
            except TypeError as error:
                if error.__traceback__ is not None and error.__traceback__.tb_next is None:  # raised by the call itself
                    return None, to_bytes(f"{name}: {error}")
                raise

        return guarded


def preload(version: str) -> None:
    """Import lupa for :class:`Interpreter` in advance; Interpreter itself raises the error of a failure."""
    try:
        _lupa(version)
    except HookError:
        pass


def _lupa(version: str) -> Any:
    if version not in VERSIONS:
        raise HookError(f"lua version {version} is unknown: use one of {', '.join(VERSIONS)}")
    module = f"lupa.lua{version.replace('.', '')}"
    try:
        return __import__(module, fromlist=["LuaRuntime"])
    except ImportError as error:
        raise HookError(f"scrun.lua can't be run: {error}: install lupa 2.1 or later with Lua {version}") from error


def _no_attributes(_object: object, _name: object, _setting: bool) -> NoReturn:
    raise AttributeError("Python is out of a script's reach")


def _sentence(error: Exception) -> bytes:
    return to_bytes(str(error))
