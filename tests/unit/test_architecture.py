"""Imports point one way, foreign libraries have one door each, and what is resident stays small."""

from __future__ import annotations

import ast
import functools
import subprocess
import sys
from pathlib import Path

import pytest

import scrun
from scrun.dispatch import VERBS
from scrun.grammar import COMMANDS, NOT_SUPPORTED

SOURCE = Path(scrun.__file__).parents[1]
FILES = sorted((SOURCE / "scrun").rglob("*.py"))
PARTS = {"bundle", "lua_hooks", "slurm", "staging"}
# What anybody may import: no part of scrun imports less than these.
COMMON = {"digits", "errors", "fastjson", "identity", "interrupts", "links", "log", "marks", "mount", "named_tuple"}
COMMON |= {"program"}
COMMON |= {
    "digest",
    "front",
    "listening",
    "native",
    "network",
    "node_hooks",
    "node_scripts",
    "oci",
    "precompiled",
    "signal",
    "small_file",
    "wait",
    "",
}
TOP = {"__main__", "argv", "cli", "completion", "dispatch", "grammar", "installation", "manual", "verbs"}


def _module(path: Path) -> str:
    names = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(names[:-1] if names[-1] == "__init__" else names)


@functools.cache
def _modules() -> set[str]:
    return {_module(file) for file in FILES}


@functools.cache
def _imports(path: Path) -> set[str]:
    """Every module that the file imports anywhere in it, for type checkers alone too."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: a relative import"
            assert node.module is not None
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


@functools.cache
def _libraries_imported(path: Path) -> set[str]:
    """The libraries that a file imports, by name or by a name that it makes when it runs."""
    tree = ast.parse(path.read_text())
    found = _imports(path)
    names = {getattr(node, "attr", getattr(node, "id", "")) for node in ast.walk(tree)}
    if names & {"import_module", "__import__"}:
        found |= {n.value for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str)}
    return {name.split(".")[0] for name in found}


def _part(module: str) -> str:
    """The part of scrun that a module belongs to: errors, lifecycle, staging…"""
    return module.split(".")[1] if "." in module else ""


@functools.cache
def _parts_imported(path: Path) -> set[str]:
    there = _modules()
    parts = set()
    for name in _imports(path):
        if name.split(".")[0] == "scrun":
            module = name if name in there else name.rpartition(".")[0]
            parts.add(_part(module))
    return parts


def test_imports_point_from_cli_through_lifecycle_to_parts() -> None:
    upward = {_module(path): _parts_imported(path) - _allowed(_part(_module(path))) for path in FILES}
    assert {module: parts for module, parts in upward.items() if parts} == {}


def _allowed(part: str) -> set[str]:
    """The parts that this one may import."""
    allowed = COMMON | {part}
    if part in TOP:
        allowed |= TOP | {"lifecycle"}
        if part == "verbs":
            allowed |= {"doctor"}
        if part == "manual":  # it prints the table of the job's variables
            allowed |= {"slurm"}
    elif part == "doctor":
        allowed |= PARTS | {"lifecycle"}
    elif part == "lifecycle":
        allowed |= PARTS
    else:
        assert part in PARTS | COMMON
    return allowed


# The rooms of lifecycle, from the ground up: each may import itself and those before it.
ROOMS = ["process", "terminal", "container", "connection", "node", "worker", "recovery", "anchor", "standin"]
ROOMS += ["spawn", "caller", "operations"]


def test_a_room_of_lifecycle_imports_none_above_it() -> None:
    there, upward = _modules(), {}
    for path in FILES:
        _, part, room, *_ = (*_module(path).split("."), "", "")
        if part == "lifecycle" and room:  # and not the package itself
            imported = {name if name in there else name.rpartition(".")[0] for name in _imports(path)}
            rooms = {name.split(".")[2] for name in imported if name.startswith("scrun.lifecycle.")}
            upward[_module(path)] = rooms - set(ROOMS[: ROOMS.index(room) + 1])
    assert len(upward) > 100
    assert {module: rooms for module, rooms in upward.items() if rooms} == {}


def test_no_module_imports_itself_in_a_circle() -> None:
    there = _modules()
    graph = {}
    for path in FILES:
        names = {name if name in there else name.rpartition(".")[0] for name in _imports(path)}
        graph[_module(path)] = {name for name in names if name in there and path.name != "__init__.py"}
    seen: set[str] = set()

    def visit(module: str, way: tuple[str, ...]) -> None:
        assert module not in way, " -> ".join((*way[way.index(module) :], module))
        if module not in seen:
            for name in sorted(graph[module]):
                visit(name, (*way, module))
            seen.add(module)

    for module in sorted(graph):
        visit(module, ())


def test_only_the_programs_own_modules_import_the_cli() -> None:
    knowing = {
        _module(path) for path in FILES if _parts_imported(path) & {"cli", "argv", "grammar", "dispatch", "verbs"}
    }
    assert {_part(module) for module in knowing} <= {
        "__main__",
        "argv",
        "cli",
        "installation",
        "manual",
        "dispatch",
        "verbs",
    }


def test_each_command_of_the_grammar_has_a_verb() -> None:
    assert VERBS.keys() == COMMANDS.keys() | {*NOT_SUPPORTED}
    assert {path.stem for path in (SOURCE / "scrun" / "verbs").glob("*.py")} - {"__init__", "handed_on"} == {
        *VERBS.values()
    }


@pytest.mark.parametrize(
    ("library", "door"),
    [
        ("click", "scrun.cli"),
        ("jsonschema", "scrun.bundle.complain"),
        ("lupa", "scrun.lua_hooks.runtime"),
        ("pyslurm", "scrun.slurm.pyslurm_parts"),
    ],
)
def test_a_foreign_library_is_imported_by_one_module(library: str, door: str) -> None:
    importing = {_module(path) for path in FILES if library in _libraries_imported(path)}
    assert importing == {door}


def _in_a_fresh_interpreter(program: str) -> list[str]:
    """What the program prints, without site and without anything imported."""
    start = f"import sys; before = set(sys.modules); sys.path.insert(0, {str(SOURCE)!r})\n"
    done = subprocess.run([sys.executable, "-ISc", start + program], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    return done.stdout.split()


# Modules of the standard library that the anchor and the stand-in may keep in memory as long as a container lives.
# signal brings enum, and that the rest of the second line; each costs every container on a login node.
RESIDENT = {
    *(
        "__future__",
        "_collections_abc",
        "_json",
        "_socket",
        "_stat",
        "errno",
        "fcntl",
        "gc",
        "genericpath",
        "os",
        "os.path",
    ),
    *("_operator", "posixpath", "select", "stat", "termios", "time"),
    *("_sha256", "_sha2"),  # without OpenSSL, which hashlib loads
}
# The rooms whose modules the anchor and the stand-in may keep. What they seldom need they import when they need it.
RESIDENT_ROOMS = {"anchor", "connection", "container", "node", "process", "standin", "terminal", "spawn"}
RESIDENT_OTHERS = {
    "scrun",
    "scrun.digest",
    "scrun.errors",
    "scrun.fastjson",
    "scrun.identity",
    "scrun.front",
    "scrun.log",
    "scrun.listening",
    "scrun.signal",
    "scrun.small_file",
    "scrun.wait",
} | {
    "scrun.lifecycle.worker.child",
    "scrun.lifecycle.worker.cancel",
    "scrun.slurm.node_runtime",
    "scrun.slurm.srun",
}


ANCHOR = "import scrun.lifecycle.spawn, scrun.lifecycle.anchor.anchor\n"  # what it has when it begins


def test_only_resident_rooms_stay_in_memory() -> None:
    loaded = set(_in_a_fresh_interpreter(f"{ANCHOR}print(*set(sys.modules) - before)"))
    packages = {"scrun.lifecycle", "scrun.lifecycle.worker", "scrun.slurm"}
    ours = {name for name in loaded if name.startswith("scrun")} - packages - RESIDENT_OTHERS
    assert {name.split(".")[2] for name in ours if name.startswith("scrun.lifecycle.")} == RESIDENT_ROOMS
    assert all(name.startswith("scrun.lifecycle.") for name in ours), ours
    assert {name for name in loaded if not name.startswith("scrun")} <= RESIDENT


def test_create_and_stand_in_load_no_anchor_code() -> None:
    loaded = set(_in_a_fresh_interpreter("import scrun.lifecycle.spawn\nprint(*set(sys.modules) - before)"))
    rooms = {name.split(".")[2] for name in loaded if name.startswith("scrun.lifecycle.") and name.count(".") > 2}
    assert rooms == {"container", "process", "standin"}


def test_seldom_needed_modules_do_not_stay_in_memory() -> None:
    loaded = set(_in_a_fresh_interpreter(f"{ANCHOR}print(*set(sys.modules) - before)"))
    seldom = {"anchor.freeze", "anchor.overtime", "node.runtime_words"}
    seldom |= {
        "connection.addresses",
        "container.node_client",
        "standin.podman_view",
        "standin.namespaces",
        "standin.mounting",
    }
    seldom |= {
        "standin.engine_hook",
        "container.guests",
        "container.holders",
        "container.latest",
        "container.network",
        "container.client",
    }
    assert not {f"scrun.lifecycle.{name}" for name in seldom} & loaded


def test_modules_imported_before_creates_fork_are_resident_too() -> None:
    # The anchor is forked from create: what is imported before that stays in it.
    program = "import scrun.__main__, scrun.lifecycle.operations.create\nprint(*set(sys.modules) - before)"
    loaded = set(_in_a_fresh_interpreter(program))
    assert {name for name in loaded if not name.startswith("scrun")} <= RESIDENT
    assert not {_part(name) for name in loaded if name.startswith("scrun.")} & {"bundle", "lua_hooks", "staging", "cli"}


def test_the_connection_to_the_node_brings_nothing_heavy() -> None:
    names = ["agent", "connection", "failures", "window"]
    program = "".join(f"import scrun.lifecycle.connection.{name}\n" for name in names)
    loaded = set(_in_a_fresh_interpreter(program + "print(*set(sys.modules) - before)"))
    assert {name for name in loaded if not name.startswith("scrun")} <= RESIDENT | {"_sha2", "_sha256"}
    ours = {name.split(".")[2] for name in loaded if name.count(".") == 3 and name.startswith("scrun.lifecycle.")}
    assert ours == {"connection", "process", "terminal"}


def test_the_resident_code_fits_in_12_megabytes() -> None:
    program = ANCHOR + "print(*[line.split()[1] for line in open('/proc/self/status') if line.startswith('VmRSS')])"
    (kilobytes,) = _in_a_fresh_interpreter(program)
    assert int(kilobytes) < 12 << 10


# scrun state is called ten times a second by buildah; what it imports is most of what it costs.
SLOW = {
    "json",
    "re",
    "enum",
    "typing",
    "click",
    "subprocess",
    "logging",
    "pathlib",
    "dataclasses",
    "collections",
    "signal",
}


@pytest.mark.parametrize(
    ("line", "never"),
    [
        ("state c", SLOW),
        ("start c", SLOW),
        ("delete --force c", SLOW - {"signal", "enum", "collections"}),
        ("delete c", SLOW - {"signal", "enum", "collections"}),
        ("kill c 9", SLOW - {"signal", "enum", "collections"}),
    ],
)
def test_a_hot_command_imports_nothing_slow(line: str, never: set[str], tmp_path: Path) -> None:
    record = (
        '{"status": "stopped", "pid": 0, "pid_started": 0, "bundle": "", "rootfs": "", "created": "", "owner": "", '
    )
    record += '"annotations": {}, "environment": {}}'
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "state.json").write_text(record)
    program = f"sys.argv[1:] = ['--root', {str(tmp_path)!r}, *{line.split()!r}]\nimport os\nout = os.dup(1)\n"
    program += "null = os.open('/dev/null', os.O_WRONLY); os.dup2(null, 1); os.dup2(null, 2)\n"
    program += "from scrun.__main__ import argv, execute\ncall = argv.parse(sys.argv[1:])\nexecute(call)\n"
    program += "os.write(out, ' '.join(set(sys.modules) - before).encode())"
    loaded = set(_in_a_fresh_interpreter(program))
    assert "scrun.dispatch" in loaded
    assert loaded & never == set()
    assert not {_part(name) for name in loaded if name.startswith("scrun.")} & {"cli", "bundle", "lua_hooks", "staging"}
