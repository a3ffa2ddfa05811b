"""What of a module a running program needs: not the words for people and type checkers, and which modules it imports.

Of all that a process of scrun's reads to import its modules this leaves out a third (docs/decisions.md).
"""

from __future__ import annotations

import ast

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_TYPES = "TYPE_CHECKING"
_Function = (ast.FunctionDef, ast.AsyncFunctionDef)


def strip(tree: ast.Module) -> None:
    """Leave out what never runs: the docstrings of functions and modules, their annotations, and imports for types.

    What classes say stays: a named tuple is made of its annotations, and the manual page tells the errors' docstrings.
    """
    for node in ast.walk(tree):
        for name in ("body", "orelse", "finalbody"):
            if isinstance(statements := getattr(node, name, None), list):
                setattr(node, name, [*_of_block(statements, node)])
        if isinstance(node, _Function):
            node.returns = None
            given = node.args
            for argument in (*given.posonlyargs, *given.args, *given.kwonlyargs, given.vararg, given.kwarg):
                if argument:
                    argument.annotation = None
    ast.fix_missing_locations(tree)


def _of_block(statements: list[ast.stmt], owner: ast.AST) -> Iterator[ast.stmt]:
    left = 0
    for number, statement in enumerate(statements):
        for one in _of_statement(statement, owner, is_first=not number):
            yield one
            left += 1
    if statements and not left:  # a body may not be empty
        yield ast.copy_location(ast.Pass(), statements[0])


def _of_statement(statement: ast.stmt, owner: ast.AST, *, is_first: bool) -> Iterator[ast.stmt]:
    if is_first and isinstance(owner, (ast.Module, *_Function)) and _is_text(statement):
        return
    if isinstance(statement, ast.If) and _is_for_types(statement):
        yield from statement.orelse
    elif isinstance(statement, ast.AnnAssign) and not isinstance(owner, ast.ClassDef):
        if statement.value:
            yield ast.copy_location(ast.Assign([statement.target], statement.value), statement)
        elif isinstance(owner, _Function):  # it makes the name a local one
            yield statement
    else:
        yield statement


def _is_text(statement: ast.stmt) -> bool:
    return (
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
    )


def _is_for_types(statement: ast.If) -> bool:
    return isinstance(statement.test, ast.Name) and statement.test.id == _TYPES


def needs(module: str, tree: ast.Module) -> list[str]:
    """The modules that a module imports whenever it is imported, and its package, in the order of their beginnings.

    Args:
        module: its name.
        tree: what :func:`strip` has left of it.
    """
    found = dict.fromkeys(_with_packages(module.rpartition(".")[0]))
    for statement in tree.body:
        if isinstance(statement, ast.Import):
            for alias in statement.names:
                found.update(dict.fromkeys(_with_packages(alias.name)))
        elif isinstance(statement, ast.ImportFrom) and statement.module and not statement.level:
            found.update(dict.fromkeys(_with_packages(statement.module)))
            found.update({f"{statement.module}.{alias.name}": None for alias in statement.names})
    # Its own modules come after a package has begun, and need it.
    return [one for one in found if one != module and not one.startswith(f"{module}.")]


def _with_packages(module: str) -> Iterator[str]:
    parts = module.split(".")
    return (".".join(parts[: count + 1]) for count in range(len(parts))) if module else iter(())
