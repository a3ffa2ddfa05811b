"""Compile the modules of a copy of scrun, because users can't write there, and calls would take ten times as long."""

from __future__ import annotations

import ast
import compileall
import os

from scrun import precompiled
from scrun.installation import lean

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import CodeType


def compile_copy(copy: str, path: str) -> None:
    """Compile all modules, and write those of scrun itself into one file (:mod:`scrun.precompiled`).

    Args:
        copy: where the copy is.
        path: where it will be.

    Raises:
        OSError: the file can't be written.
    """
    compileall.compile_dir(copy, quiet=2, stripdir=copy, prependdir=path)
    place = os.path.join(copy, precompiled.NAME)
    fresh = f"{place}.{os.getpid()}"
    with open(fresh, "wb") as file:
        file.write(precompiled.content(_modules(copy, path)))
    os.chmod(fresh, 0o644)
    os.rename(fresh, place)


def _modules(copy: str, path: str) -> Iterator[tuple[str, bool, CodeType, list[str]]]:
    """The modules of scrun's own package, as :func:`scrun.precompiled.content` takes them."""
    for directory, directories, files in os.walk(os.path.join(copy, "scrun")):
        directories.sort()
        inside = os.path.relpath(directory, copy)
        for name in sorted(files):
            if not name.endswith(".py"):
                continue
            package = inside.replace(os.sep, ".")
            is_package = name == "__init__.py"
            module = package if is_package else f"{package}.{name.removesuffix('.py')}"
            with open(os.path.join(directory, name), "rb") as file:
                tree = ast.parse(file.read())
            lean.strip(tree)
            code = compile(tree, os.path.join(path, inside, name), "exec", dont_inherit=True)
            yield module, is_package, code, lean.needs(module, tree)
