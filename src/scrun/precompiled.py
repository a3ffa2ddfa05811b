"""Import scrun's modules from one file, which the installation has written beside the package.

Python looks for each module in several directories, compares the time of its source with the compiled one's, and opens
that. This takes a quarter of what an import takes, and a container imports 250 modules in four processes: 14 ms of
processor time (docs/decisions.md). In this file all modules are together, compiled.

The file is a list of the modules' names and places, and their code (:func:`content`). It serves only a Python that has
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

NAME = "precompiled"
_SIZE = 8  # bytes of the number that says how long the list is
_Spec: type[ModuleSpec] = type(sys.__spec__)  # without importing importlib


_TAG = f"{sys.implementation.cache_tag} {MAGIC_NUMBER.hex()}\n".encode()  # what the file begins with


def fits(home: str) -> bool:
    """Whether there is such a file for this Python in the directory of the package."""
    try:
        with open(f"{home}/{NAME}", "rb", buffering=0) as file:
            return file.read(len(_TAG)) == _TAG
    except OSError:
        return False


def content(modules: Iterable[tuple[str, bool, CodeType]]) -> bytes:
    """The content of the file.

    Args:
        modules: the name of each module, whether it is a package, and its code.
    """
    places, code = {}, bytearray()
    for name, is_package, compiled in modules:
        data = marshal.dumps(compiled)
        places[name] = (is_package, len(code), len(data))
        code += data
    head = marshal.dumps(places)
    return _TAG + len(head).to_bytes(_SIZE, "little") + head + code


def use() -> None:
    """Import scrun's modules from the file beside the package from now on, if there is one for this Python."""
    home = os.path.dirname(os.path.dirname(__file__))
    try:
        with open(f"{home}/{NAME}", "rb", buffering=0) as file:
            if file.read(len(_TAG)) != _TAG:
                return
            size = int.from_bytes(file.read(_SIZE), "little")
            places = marshal.loads(file.read(size))  # noqa: S302  as much ours as the package
            status = os.fstat(file.fileno())
    except (OSError, EOFError, ValueError, TypeError):
        return
    sys.meta_path.insert(0, Precompiled(home, places, len(_TAG) + _SIZE + size, _identity(status)))


def _identity(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_dev, status.st_ino, status.st_mtime_ns


class Precompiled:
    """The modules of one file (importlib.abc.MetaPathFinder, importlib.abc.InspectLoader).

    Args:
        home: the directory that has the file and the package.
        places: whether each module is a package, and where its code is: the offset and the size in bytes.
        start: where the code of all modules begins.
        identity: the file's device, inode and time, which tell whether it is still the same.
    """

    def __init__(
        self, home: str, places: dict[str, tuple[bool, int, int]], start: int, identity: tuple[int, int, int]
    ) -> None:
        self._home, self._places, self._start, self._identity = home, places, start, identity

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The spec of a module that is in the file; None for another one."""
        del path, target
        if name not in self._places:
            return None
        is_package, origin = self._places[name][0], self._path(name)
        spec = _Spec(name, self, origin=origin, is_package=is_package)  # type: ignore[arg-type]
        if is_package:
            spec.submodule_search_locations = [os.path.dirname(origin)]  # for modules that a compiler of C has made
        spec.has_location = True  # it becomes __file__
        return spec

    def create_module(self, _spec: ModuleSpec) -> None:
        """Have Python make an ordinary module."""

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
        _, offset, size = self._places[name]
        try:
            descriptor = os.open(f"{self._home}/{NAME}", os.O_RDONLY | os.O_CLOEXEC)
            try:
                if _identity(os.fstat(descriptor)) == self._identity:
                    code: CodeType = marshal.loads(os.pread(descriptor, size, self._start + offset))  # noqa: S302
                    return code
            finally:
                os.close(descriptor)
        except (OSError, EOFError, ValueError, TypeError):
            pass
        path = self._path(name)
        try:
            with open(path, "rb") as file:
                return compile(file.read(), path, "exec", dont_inherit=True)
        except OSError as error:
            raise ImportError(f"{name} can't be read: {path}: {error.strerror}", name=name, path=path) from error

    def _path(self, name: str) -> str:
        inside = name.replace(".", "/")
        return f"{self._home}/{inside}/__init__.py" if self._places[name][0] else f"{self._home}/{inside}.py"

    def is_package(self, name: str) -> bool:
        """Whether a module that is in the file is a package."""
        return self._places[name][0]
