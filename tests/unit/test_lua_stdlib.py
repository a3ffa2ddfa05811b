"""Lua's own library: all there, but for what would harm scrun."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from scrun.errors import HookError
from scrun.lua_hooks import Hooks
from scrun.lua_hooks.fake import FakeHost

pytestmark = pytest.mark.parametrize("lua", ["5.1", "5.2", "5.3", "5.4"])

Run = Callable[[str], list[str]]


@pytest.fixture
def run(tmp_path: Path, lua: str) -> Run:
    """Run the lines as the top level of a script; answers what it logged."""

    def run(lines: str) -> list[str]:
        path = tmp_path / "s.lua"
        path.write_text(f"{lines}\nfunction slurm_scrun_stage_in() end function slurm_scrun_stage_out() end return 0")
        path.chmod(0o644)
        host = FakeHost()
        Hooks.load(str(path), host, lua=lua)
        assert {level for level, _ in host.logged} <= {"info"}
        return [message for _, message in host.logged]

    return run


@pytest.mark.parametrize(
    "name",
    ["io", "os", "string", "table", "math", "coroutine", "debug", "package", "require", "load", "dofile", "pcall"],
)
def test_the_standard_library_is_there(run: Run, name: str) -> None:
    run(f"assert({name})")


def test_print_goes_to_the_log(run: Run, capfd: pytest.CaptureFixture[str]) -> None:
    assert run("print('a', 1, nil, true) print() print('x\\ny')") == ["a\t1\tnil\ttrue", "", "x\ny"]
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("write", ["io.write(", "io.stdout:write(", "io.output():write("])
def test_what_is_written_to_stdout_goes_to_the_log_by_lines(
    run: Run, capfd: pytest.CaptureFixture[str], write: str
) -> None:
    assert run(f"{write}'a', 1, '\\n\\nb') {write}'c\\nrest')") == ["a1", "", "bc", "rest"]
    assert capfd.readouterr() == ("", "")


def test_stdout_looks_like_a_file(run: Run) -> None:
    run("""assert(io.type(io.stdout) == 'file' and io.type(5) == nil and io.stdout:write('') == io.stdout)
      assert(io.stdout:flush() and io.stdout:setvbuf('no') and io.stdout:close() and io.close(io.stdout) and io.close())
      assert(not io.stdout:seek() and not io.stdout:read())""")


def test_output_to_a_file_goes_there(run: Run, tmp_path: Path) -> None:
    script = f"io.output('{tmp_path}/out') io.write('in file') io.close() io.output(io.stdout) io.write('in log')"
    assert run(script) == ["in log"]
    assert (tmp_path / "out").read_text() == "in file"


def test_a_file_that_was_left_open_is_written_when_the_script_is_done(run: Run, tmp_path: Path) -> None:
    run(f"""local f = io.open('{tmp_path}/one', 'w') f:write('1')
      kept = io.open('{tmp_path}/two', 'w') kept:write('2') io.output('{tmp_path}/three') io.write('3')
      assert(io.open('{tmp_path}/none/x') == nil)""")
    assert [(tmp_path / name).read_text() for name in ("one", "two", "three")] == ["1", "2", "3"]


def test_os_exit_is_an_error_that_can_be_caught(run: Run) -> None:
    assert "os.exit would end scrun itself" in run("print(select(2, pcall(os.exit, 3)))")[0]


@pytest.mark.parametrize(
    "expression",
    [
        "python",
        "package.loaded.python",
        "_G.python",
        "select(2, pcall(require, 'python')).eval",
    ],
)
def test_python_is_out_of_reach(run: Run, expression: str) -> None:
    run(f"assert(({expression}) == nil)")


def test_functions_of_ours_have_no_attributes(run: Run) -> None:
    run("""local found = 0
      local function try(f)
        for i = 1, 20 do
          local name, value = debug.getupvalue(f, i)
          if not name then break end
          if type(value) == 'table' then for _, v in pairs(value) do
            if type(v) == 'userdata' and io.type(v) == nil then
              found = found + 1
              assert(not pcall(function() return v.__globals__ end))
              assert(not pcall(function() return v['__globals__'] end))
              assert(not pcall(function() v.__name__ = 'x' end))
            end
          end end
        end
      end
      try(slurm.allocator_command) assert(found > 0)""")


def test_modules_are_not_looked_for_in_the_working_directory(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "planted.lua").write_text("return 'planted'")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(HookError, match="module 'planted' not found"):
        run("require 'planted'")
    assert run("package.path = '?.lua' print((require 'planted'))") == ["planted"]


def test_modules_that_debian_installs_are_looked_for(run: Run, lua: str) -> None:
    assert run("print(package.path)")[0].endswith(f";/usr/share/lua/{lua}/?.lua;/usr/share/lua/{lua}/?/init.lua")


def test_json_is_there_on_a_bare_machine_and_is_no_global(run: Run) -> None:
    run("assert(json == nil) local json = require 'json' assert(json.encode(json.decode('[1]')) == '[1]')")
    run("assert(require 'json' == require 'json')")


def test_nothing_foreign_is_imported_before_a_script_is_loaded(lua: str) -> None:
    code = "import sys, scrun.lua_hooks; sys.exit(any(n.split('.')[0] in ('lupa', 'json') for n in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": ":".join(sys.path)}).returncode == 0
