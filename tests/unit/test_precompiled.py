"""The installed program imports its modules from one file, and does without it when it has to."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from installations import Installation

import scrun
from scrun import precompiled

pytestmark = pytest.mark.slow
USE = """import sys
sys.path.insert(0, {home!r})
from scrun import precompiled
precompiled.use()
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of scrun as an installation makes it; tests leave it as it is."""
    installation = Installation(tmp_path_factory.mktemp("installed"), compiles=True)
    installation.call("install")
    (version,) = installation.versions()
    return version


@pytest.fixture
def copy(installed: Path, tmp_path: Path) -> Path:
    """Another one, which a test may spoil."""
    home = tmp_path / "copy"
    subprocess.run(["cp", "-a", installed, home], check=True)
    return home


def run(home: Path, program: str) -> list[str]:
    """What a program prints that imports scrun as the launcher does."""
    done = subprocess.run(
        [sys.executable, "-IS", "-c", USE.format(home=str(home)) + program], capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
    return done.stdout.split()


def loader_of(home: Path, module: str = "scrun.errors", before: str = "pass") -> str:
    """The name of the class that imports a module."""
    return run(home, f"{before}\nimport {module} as module\nprint(type(module.__loader__).__name__)")[0]


def test_all_modules_are_in_the_file(installed: Path) -> None:
    program = """import importlib.util
from scrun.installation import compiling
stripped = {name: code for name, _, code, _ in compiling._modules(home, home)}
for path in map(str, sorted(__import__("pathlib").Path(home).glob("scrun/**/*.py"))):
    name = path[len(home) + 1:-3].replace("/", ".").removesuffix(".__init__")
    found = precompiled.Precompiled.find_spec(sys.meta_path[0], name)
    usual = importlib.util.spec_from_file_location(name, path)
    assert found.origin == usual.origin == path, (found, usual)
    assert found.submodule_search_locations == usual.submodule_search_locations, (found, usual)
    assert found.parent == usual.parent and found.has_location
    code = found.loader.get_code(name)
    assert code == stripped[name]
    assert code.co_filename == path
    print(name)
"""
    names = run(installed, f"home = {str(installed)!r}\n{program}")
    assert {"scrun", "scrun.errors", "scrun.lifecycle.anchor", "scrun.lifecycle.anchor.anchor"} <= {*names}
    assert len(names) == len([*Path(scrun.__file__).parent.rglob("*.py")])


IMPORT_EACH = """import os
from pathlib import Path
for path in map(str, sorted(Path(home).glob("scrun/**/*.py"))):
    name = path[len(home) + 1:-3].replace("/", ".").removesuffix(".__init__")
    if name in ("scrun.__main__", "scrun.wait.wake"):
        continue  # programs
    if pid := os.fork():
        os.waitpid(pid, 0)
        continue
    try:
        __import__(name)
        said = "fine"
    except BaseException as error:
        said = type(error).__name__
    wrong = [one for one, module in [*sys.modules.items()] if one.startswith("scrun.") and (
        getattr(sys.modules[one.rpartition(".")[0]], one.rpartition(".")[2], None) is not module
        or module.__spec__.name != module.__name__ or bool(module.__spec__.parent != module.__package__)
        or module.__spec__.origin != module.__file__ or hasattr(module, "__path__") != (module.__package__ == one))]
    there = sorted(one for one in sys.modules if one.startswith("scrun") and one != "scrun.precompiled")
    print(name, said, ",".join(wrong) or "-", ",".join(there) if said == "fine" else "-", flush=True)
    os._exit(0)
"""


def test_an_import_does_what_the_usual_does(installed: Path, copy: Path) -> None:
    """It imports the same modules, and no others, and fails where it would fail."""
    (copy / precompiled.NAME).unlink()
    words = run(installed, f"home = {str(installed)!r}\n{IMPORT_EACH}")
    assert words == run(copy, f"home = {str(copy)!r}\n{IMPORT_EACH}")
    assert {*words[1::4]} >= {"fine"}
    assert {*words[2::4]} == {"-"}


def test_the_programs_modules_come_from_the_file(installed: Path) -> None:
    assert loader_of(installed) == "Precompiled"
    assert loader_of(installed, "scrun.lifecycle.anchor") == "Precompiled"
    assert loader_of(installed, "json") == "SourceFileLoader"


def test_the_installed_program_uses_it(tmp_path: Path) -> None:
    installation = Installation(tmp_path, compiles=True)
    installation.call("install")
    text = installation.program.read_text()
    assert text.index("precompiled.use()") < text.index("from scrun.__main__")
    assert installation.says() == scrun.__version__


def test_other_modules_are_found_as_ever(copy: Path) -> None:
    (copy / "scrun/slurm/made_in_c.py").write_text("")
    assert loader_of(copy, "scrun.slurm.made_in_c") == "SourceFileLoader"


def _spoil_tag(file: Path) -> None:
    file.write_bytes(b"?" + file.read_bytes()[1:])


def _shorten(file: Path) -> None:
    os.truncate(file, 50)


@pytest.mark.parametrize("spoil", [os.unlink, _spoil_tag, _shorten])
def test_a_file_for_another_python_is_ignored(copy: Path, spoil: Callable[[Path], None]) -> None:
    spoil(copy / precompiled.NAME)
    assert loader_of(copy) == "SourceFileLoader"


@pytest.mark.parametrize("change", ["os.unlink(file)", "os.truncate(file, 50)", "os.rename(other, file)"])
def test_a_process_does_without_its_file(copy: Path, change: str) -> None:
    """An update has removed or replaced it."""
    file, other = copy / precompiled.NAME, copy / "other"
    other.write_bytes(file.read_bytes().replace(b"ScrunError", b"OtherError"))
    before = f"import os; file, other = {str(file)!r}, {str(other)!r}; {change}"
    says = "print(type(errors.__loader__).__name__, errors.ScrunError.__name__)"
    assert run(copy, f"{before}\nfrom scrun import errors; {says}") == ["Precompiled", "ScrunError"]


def test_a_missing_module_is_an_import_error(copy: Path) -> None:
    before = f"import os; os.unlink({str(copy / precompiled.NAME)!r}); os.unlink({str(copy / 'scrun/errors.py')!r})"
    words = run(copy, f"{before}\ntry:\n    import scrun.errors\nexcept ImportError as error:\n    print(error)")
    assert words[0] == "scrun.errors"
    assert str(copy / "scrun/errors.py:") in words


def test_an_error_shows_its_line_of_the_source(installed: Path) -> None:
    words = run(
        installed,
        "import traceback\nfrom scrun import digits\n"
        "try:\n    digits.is_number(object())\nexcept Exception:\n    print(traceback.format_exc())",
    )
    assert f'"{installed}/scrun/digits.py",' in words


def test_an_installation_by_another_python_compiles_anew(tmp_path: Path) -> None:
    installation = Installation(tmp_path, compiles=True)
    installation.call("install")
    (version,) = installation.versions()
    _spoil_tag(version / precompiled.NAME)
    assert not precompiled.fits(str(version))
    installation.call("install")
    assert installation.versions() == [version]
    assert precompiled.fits(str(version))
    assert loader_of(version) == "Precompiled"
