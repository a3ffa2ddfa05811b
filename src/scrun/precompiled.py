"""Import scrun's modules from one file, which the installation has written beside the package.

Python looks for each module in several directories, compares the time of its source with the compiled one's, and opens
that; then its import system does some thirty things for each. In this file all modules are together, compiled, and
with each stand the modules that it needs. So what a module needs is run first, in its order, past Python's import
system, which finds it done. That halves what a process's imports cost (docs/decisions.md).

The file is a list of the modules (:data:`Entries`) and their code (:func:`content`). It serves only a Python that has
the bytecode of the one that has written it. Without it, or for a module that isn't in it, everything is as usual. If
the file is replaced, a process that has read the list compiles what it imports later.
"""

from __future__ import annotations

import marshal
import os
import sys
from _frozen_importlib_external import MAGIC_NUMBER

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from importlib.machinery import ModuleSpec
    from types import CodeType, ModuleType

    Entries = dict[str, tuple[bool, int, int, tuple[str, ...]]]
    """For each module whether it is a package, its code's offset and size in bytes, and the modules that it needs."""

NAME = "precompiled"
_SIZE = 8  # bytes of the number that says how long the list is
_Spec: type[ModuleSpec] = type(sys.__spec__)  # without importing importlib
_Module: type[ModuleType] = type(sys)


_TAG = f"{sys.implementation.cache_tag} {MAGIC_NUMBER.hex()}\n".encode()  # what the file begins with


def fits(home: str) -> bool:
    """Whether there is such a file for this Python in the directory of the package."""
    try:
        with open(f"{home}/{NAME}", "rb", buffering=0) as file:
            return file.read(len(_TAG)) == _TAG
    except OSError:
        return False


def content(modules: Iterable[tuple[str, bool, CodeType, Sequence[str]]]) -> bytes:
    """The content of the file.

    Args:
        modules: the name of each module, whether it is a package, its code, and the modules that it imports whenever it
            is imported, in this order; modules that aren't given here themselves don't count.
    """
    given = [*modules]
    names = {name for name, *_rest in given}
    entries: Entries = {}
    code = bytearray()
    for name, is_package, compiled, needs in given:
        data = marshal.dumps(compiled)
        entries[name] = is_package, len(code), len(data), tuple(one for one in needs if one in names)
        code += data
    head = marshal.dumps(entries)
    return _TAG + len(head).to_bytes(_SIZE, "little") + head + code


def use() -> None:
    """Import scrun's modules from the file beside the package from now on, if there is one for this Python."""
    home = os.path.dirname(os.path.dirname(__file__))
    try:
        with open(f"{home}/{NAME}", "rb", buffering=0) as file:
            if file.read(len(_TAG)) != _TAG:
                return
            size = int.from_bytes(file.read(_SIZE), "little")
            entries: Entries = marshal.loads(file.read(size))  # noqa: S302  beside the package, as safe as its modules
            status = os.fstat(file.fileno())
    except (OSError, EOFError, ValueError, TypeError):
        return
    sys.meta_path.insert(0, Precompiled(home, entries, len(_TAG) + _SIZE + size, _identity(status)))


def _identity(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_dev, status.st_ino, status.st_mtime_ns


class Precompiled:
    """The modules of one file (importlib.abc.MetaPathFinder, importlib.abc.InspectLoader).

    Args:
        home: the directory that has the file and the package.
        entries: the modules.
        start: where the code of all modules begins.
        identity: the file's device, inode and time, which tell whether it is still the same.
    """

    def __init__(self, home: str, entries: Entries, start: int, identity: tuple[int, int, int]) -> None:
        self._home, self._entries, self._start, self._identity = home, entries, start, identity

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The spec of a module that is in the file; None for another one."""
        del path, target
        return self._spec(name) if name in self._entries else None

    def _spec(self, name: str) -> ModuleSpec:
        is_package, origin = self._entries[name][0], self._path(name)
        spec = _Spec(name, self, origin=origin, is_package=is_package)  # type: ignore[arg-type]
        if is_package:
            spec.submodule_search_locations = [os.path.dirname(origin)]  # for modules that a compiler of C has made
        spec.has_location = True  # it becomes __file__
        return spec

    def create_module(self, spec: ModuleSpec) -> None:
        """Import all that a module needs, and have Python make an ordinary module."""
        missing = [needed for needed in self._entries[spec.name][3] if needed not in sys.modules]
        if missing:
            file = self._open()
            try:
                for needed in missing:
                    self._import(needed, file)
            finally:
                if file >= 0:
                    os.close(file)

    def _import(self, name: str, file: int) -> None:
        """Do what Python's import system does for a module, after those that it needs; its package is one of them."""
        modules = sys.modules
        for needed in self._entries[name][3]:
            if needed not in modules:
                self._import(needed, file)
        if name in modules:
            return
        spec = self._spec(name)
        parent, _, last = name.rpartition(".")
        module = _Module(name)
        about = {"__spec__": spec, "__loader__": self, "__file__": spec.origin, "__package__": spec.parent}
        module.__dict__.update(about)
        if spec.submodule_search_locations is not None:
            module.__path__ = spec.submodule_search_locations
        modules[name] = module
        try:
            exec(self._read(name, file), module.__dict__)  # noqa: S102  what an import is
        except BaseException:
            modules.pop(name, None)
            raise
        if parent:
            setattr(modules[parent], last, module)

    def exec_module(self, module: ModuleType) -> None:
        """Run a module's code.

        Raises:
            ImportError: neither the file nor the module's source can be read any more.
        """
        exec(self.get_code(module.__name__), module.__dict__)  # noqa: S102  what an import is

    def get_code(self, name: str) -> CodeType:
        """The code of a module that is in the file.

        Raises:
            ImportError: neither the file nor the module's source can be read any more.
        """
        file = self._open()
        try:
            return self._read(name, file)
        finally:
            if file >= 0:
                os.close(file)

    def _open(self) -> int:
        """A descriptor of the file; -1 if it isn't the same any more."""
        try:
            file = os.open(f"{self._home}/{NAME}", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return -1
        if _identity(os.fstat(file)) == self._identity:
            return file
        os.close(file)
        return -1

    def _read(self, name: str, file: int) -> CodeType:
        _is_package, offset, size, _needs = self._entries[name]
        try:
            code: CodeType = marshal.loads(os.pread(file, size, self._start + offset))  # noqa: S302
        except (OSError, EOFError, ValueError, TypeError):
            return self._compiled(name)
        return code

    def _compiled(self, name: str) -> CodeType:
        path = self._path(name)
        try:
            with open(path, "rb") as file:
                return compile(file.read(), path, "exec", dont_inherit=True)
        except OSError as error:
            raise ImportError(f"{name} can't be read: {path}: {error.strerror}", name=name, path=path) from error

    def _path(self, name: str) -> str:
        inside = name.replace(".", "/")
        return f"{self._home}/{inside}/__init__.py" if self.is_package(name) else f"{self._home}/{inside}.py"

    def is_package(self, name: str) -> bool:
        """Whether a module that is in the file is a package."""
        return name in self._entries and self._entries[name][0]
