"""What the installation leaves out of a module, and how the modules that it needs are imported."""

from __future__ import annotations

import ast
import importlib.util
import marshal
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from open_files import descriptors

from scrun import precompiled
from scrun.installation import lean


def stripped(text: str) -> str:
    """What is left of a module."""
    tree = ast.parse(text)
    lean.strip(tree)
    compile(tree, "module", "exec")
    return ast.unparse(tree)


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ('"""Words."""\nA = 1', "A = 1"),
        ('"""Words."""', "pass"),
        ('def f(a: int, *b: str, c: int = 1, **d: str) -> int:\n    """Words."""\n    return a', None),
        ('def f():\n    """Words."""', "def f():\n    pass"),
        ("A: int = 1\nB: str", "A = 1"),
        ("class C:\n    def f(self):\n        self.a: int = 1", "class C:\n\n    def f(self):\n        self.a = 1"),
        ("if TYPE_CHECKING:\n    import typing", "pass"),
        ("if TYPE_CHECKING:\n    import a\nelif B:\n    import b\nelse:\n    import c", None),
        ("try:\n    if TYPE_CHECKING:\n        import a\nfinally:\n    pass", "try:\n    pass\nfinally:\n    pass"),
    ],
)
def test_what_never_runs_is_left_out(text: str, left: str | None) -> None:
    expected = {
        "def f(a:": "def f(a, *b, c=1, **d):\n    return a",
        "if TYPE_": "if B:\n    import b\nelse:\n    import c",
    }
    assert stripped(text) == (expected[text[:8]] if left is None else left)


@pytest.mark.parametrize(
    "text",
    [
        'class C:\n    """Words."""\n    a: int\n    b: str = \'\'',
        "def f():\n    a: int\n    return a",
        'A = """Words."""',
        'f()\n"""Words."""',
        "if not TYPE_CHECKING:\n    import a",
    ],
)
def test_what_may_matter_stays(text: str) -> None:
    assert stripped(text) == text.replace('A = """Words."""', "A = 'Words.'").replace(
        'f()\n"""Words."""', "f()\n'Words.'"
    )


def test_lines_stay_those_of_the_source() -> None:
    tree = ast.parse('"""Words\n\nof many lines."""\n\ndef f():\n    """Words."""\n    return 1')
    lean.strip(tree)
    (function,) = tree.body
    assert isinstance(function, ast.FunctionDef)
    assert (function.lineno, function.body[0].lineno) == (5, 7)


def test_needs_are_what_is_imported_always() -> None:
    text = """import os
import made.d
from made import a
from made.b import c, d as e
try:
    from made import f
except ImportError:
    f = None
def later():
    from made import g
if os:
    from made import h
"""
    wanted = ["made", "made.x", "os", "made.d", "made.a", "made.b", "made.b.c", "made.b.d"]
    assert lean.needs("made.x.y", ast.parse(text)) == wanted
    assert lean.needs("made", ast.parse(text)) == ["os"]


class Package:
    """A package `made` whose modules are in one file; ``ran`` are those that have run, in their order."""

    def __init__(self, home: Path, monkeypatch: pytest.MonkeyPatch, modules: dict[str, str]) -> None:
        self.ran: list[str] = []
        monkeypatch.setattr(sys, "made_ran", self.ran, raising=False)
        self.home, given = home, []
        for name, text in modules.items():
            tree = ast.parse(f"import sys\nsys.made_ran.append(__name__)\n{text}")
            is_package = any(other.startswith(f"{name}.") for other in modules)
            given.append((name, is_package, compile(tree, name, "exec"), lean.needs(name, tree)))
        content = precompiled.content(given)
        (home / precompiled.NAME).write_bytes(content)
        size = int.from_bytes(content[len(precompiled._TAG) :][:8], "little")
        start = len(precompiled._TAG) + 8
        identity = precompiled._identity(os.stat(home / precompiled.NAME))
        found = precompiled.Precompiled(str(home), marshal.loads(content[start:]), start + size, identity)
        monkeypatch.setattr(sys, "meta_path", [found, *sys.meta_path])


@pytest.fixture(autouse=True)
def no_module_stays() -> Iterator[None]:
    """Other tests have packages of the same name."""
    yield
    for name in [name for name in sys.modules if name.partition(".")[0] == "made"]:
        del sys.modules[name]


def test_what_a_module_needs_runs_before_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = Package(
        tmp_path,
        monkeypatch,
        {
            "made": "",
            "made.top": "from made.low import one\nfrom made import side\nVALUE = one.VALUE + side.VALUE",
            "made.side": "from made.low.one import VALUE",
            "made.low": "",
            "made.low.one": "VALUE = 2",
        },
    )
    before = descriptors()
    assert importlib.util.find_spec("made.top")
    assert package.ran == ["made"]  # to look for a module imports no more than its package, as ever
    top = __import__("made.top", fromlist=["VALUE"])
    assert top.VALUE == 4
    assert package.ran == ["made", "made.low", "made.low.one", "made.side", "made.top"]
    made = sys.modules["made"]
    assert (made.low.one.__spec__.name, made.side.__package__) == ("made.low.one", "made")
    assert (made.low.__path__, made.low.__package__) == ([str(tmp_path / "made/low")], "made.low")
    assert len(os.listdir("/proc/self/fd")) == len(before)


def test_a_failed_import_leaves_no_half_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    modules = {
        "made": "",
        "made.top": "from made import low",
        "made.low": "from made import one\n1 / 0",
        "made.one": "",
    }
    package = Package(tmp_path, monkeypatch, modules)
    before = descriptors()
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            __import__("made.top")
        assert {name for name in sys.modules if name.startswith("made")} == {"made", "made.one"}
    assert package.ran == ["made", "made.one", "made.low", "made.low"]
    assert len(os.listdir("/proc/self/fd")) == len(before)


def test_a_module_imported_meanwhile_runs_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module that is needed imports the next one in a way that the list doesn't show."""
    modules = {
        "made": "",
        "made.top": "from made import early, late",
        "made.early": "if sys:\n    from made import late",
        "made.late": "",
    }
    package = Package(tmp_path, monkeypatch, modules)
    __import__("made.top")
    assert package.ran == ["made", "made.early", "made.late", "made.top"]
