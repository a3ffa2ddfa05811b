"""Lua's own library: all there, but for what would harm scrun."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from open_files import descriptors

from scrun.errors import HookError
from scrun.lua_hooks.fake import FakeHost
from scrun.lua_hooks.hooks import Hooks

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
def test_stdout_goes_to_the_log_by_lines(run: Run, capfd: pytest.CaptureFixture[str], write: str) -> None:
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


def test_an_open_file_is_written_at_the_end(run: Run, tmp_path: Path) -> None:
    run(f"""local f = io.open('{tmp_path}/one', 'w') f:write('1')
      kept = io.open('{tmp_path}/two', 'w') kept:write('2') io.output('{tmp_path}/three') io.write('3')
      assert(io.open('{tmp_path}/none/x') == nil)""")
    assert [(tmp_path / name).read_text() for name in ("one", "two", "three")] == list("123")


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("true", (True, "exit", 0)),
        ("exit 3", (None, "exit", 3)),
        ("kill -9 $$", (None, "signal", 9)),
        # a writer dies of SIGPIPE, which Python ignores
        ("{ yes; test $? -gt 128 || kill -9 $$; } 2>/dev/null | head -1 >/dev/null", (True, "exit", 0)),
    ],
)
def test_os_execute_tells_how_the_command_ended(
    run: Run, lua: str, command: str, expected: tuple[object, str, int]
) -> None:
    ok, what, number = expected
    if lua == "5.1":  # the wait status
        assert run(f"print(os.execute('{command}'))") == [str(number if what == "signal" else number * 256)]
    else:
        assert run(f"print(os.execute('{command}'))") == [f"{'true' if ok else 'nil'}\t{what}\t{number}"]


def test_os_execute_without_a_command_reports_a_shell(run: Run) -> None:
    run("local there = os.execute() assert(there == true or there == 1)")


def test_io_popen_reads_what_a_command_writes(run: Run) -> None:
    assert run("""local p = io.popen("printf 'a\\nb\\n'; exit 3")
      assert(io.type(p) == 'file')
      for line in p:lines() do print(line) end
      p:close() print(io.type(p))""") == ["a", "b", "closed file"]


def test_io_popen_waits_for_the_commands_end(run: Run, tmp_path: Path) -> None:
    run(f"""local p = assert(io.popen('sleep 0.1; cat > {tmp_path}/out', 'w'))
      p:write('x', 1) io.close(p)
      assert(io.open('{tmp_path}/out'):read('*a') == 'x1')""")


def test_io_popen_ends_with_the_commands_status(run: Run, lua: str) -> None:
    expected = ["true"] if lua == "5.1" else ["nil\texit\t3"]
    assert run("print(io.popen('exit 3'):close())") == expected
    assert run("print(io.popen('kill -15 $$'):close())") == (["true"] if lua == "5.1" else ["nil\tsignal\t15"])


def test_an_open_command_ends_with_the_script(run: Run, tmp_path: Path) -> None:
    run(f"io.popen('sleep 0.1; cat > {tmp_path}/out', 'w'):write('4')")
    assert (tmp_path / "out").read_text() == "4"
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def test_no_descriptors_stay_open_after_commands(run: Run) -> None:
    before = len(descriptors())
    run("for i = 1, 10 do os.execute('true') io.popen('true'):close() io.popen('cat', 'w') io.popen('true') end")
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize(
    ("call", "why"),
    [
        ("os.execute({})", "os.execute: a string is expected, not table"),
        ("io.popen()", "io.popen: a string is expected, not nil"),
        ("io.popen('a\\0b')", "io.popen: the string has a NUL byte in it"),
        ("io.popen('true', 'x')", "io.popen: the mode is 'r' or 'w'"),
        ("local p = io.popen('true') p:close() p:close()", "attempt to use a closed file"),
    ],
)
def test_a_wrong_use_of_commands_is_an_error(run: Run, call: str, why: str) -> None:
    with pytest.raises(HookError, match=why):
        run(call)


def test_os_exit_is_a_catchable_error(run: Run) -> None:
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


def test_modules_are_not_searched_in_the_working_directory(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "planted.lua").write_text("return 'planted'")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(HookError, match="module 'planted' not found"):
        run("require 'planted'")
    assert run("package.path = '?.lua' print((require 'planted'))") == ["planted"]


def test_modules_that_debian_installs_are_looked_for(run: Run, lua: str) -> None:
    assert run("print(package.path)")[0].endswith(f";/usr/share/lua/{lua}/?.lua;/usr/share/lua/{lua}/?/init.lua")


def test_json_is_always_there_but_not_a_global(run: Run) -> None:
    run("assert(json == nil) local json = require 'json' assert(json.encode(json.decode('[1]')) == '[1]')")
    run("assert(require 'json' == require 'json')")


def test_no_foreign_module_is_imported_before_a_script(lua: str) -> None:
    code = "import sys, scrun.lua_hooks; sys.exit(any(n.split('.')[0] in ('lupa', 'json') for n in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": ":".join(sys.path)}).returncode == 0


@pytest.mark.parametrize(
    ("call", "text"),
    [
        ("('%u', 7)", "7"),
        ("('a%%u%3u|%-3u|', 7, 8)", "a%u  7|8  |"),
        ("('%s %d %q %%', 'u', 7, 'x')", 'u 7 "x" %'),
        ("('100%% up')", "100% up"),
    ],
)
def test_string_format_accepts_the_documented_unsigned_number(run: Run, call: str, text: str) -> None:
    assert run(f"print(string.format{call})") == [text]
    assert run("print(('%u'):format(3)) print(pcall(string.format, '%y', 1) == false, pcall(string.format))")[0] == "3"


VERSION = "print(_VERSION)"


@pytest.mark.parametrize("line", ["-- lua: {}", "#!/usr/bin/lua\n\n-- A site's script.\n  --- Lua:{}  "])
def test_a_script_names_its_own_lua(tmp_path: Path, lua: str, line: str) -> None:
    path = tmp_path / "s.lua"
    hooks = "function slurm_scrun_stage_in() end function slurm_scrun_stage_out() end"
    path.write_text(f"{line.format(lua)}\n{VERSION} {hooks}")
    path.chmod(0o644)
    host = FakeHost()
    Hooks.load(str(path), host)
    assert host.logged == [("info", f"Lua {lua}")]
    Hooks.load(str(path), host, lua="5.4" if lua == "5.1" else "5.1")  # who asks for another gets it
    assert host.logged[1] == ("info", "Lua 5.4" if lua == "5.1" else "Lua 5.1")


@pytest.mark.parametrize("line", ["", "-- lua: see the manual", "local a = 1\n-- lua: 5.1", "x = [[\n-- lua: 5.1\n]]"])
def test_without_such_a_line_it_is_5_4(tmp_path: Path, lua: str, line: str) -> None:
    del lua
    path = tmp_path / "s.lua"
    path.write_text(f"{line}\n{VERSION} function slurm_scrun_stage_in() end function slurm_scrun_stage_out() end")
    path.chmod(0o644)
    host = FakeHost()
    Hooks.load(str(path), host)
    assert host.logged == [("info", "Lua 5.4")]


def test_an_unavailable_lua_is_answered_with_a_list(tmp_path: Path, lua: str) -> None:
    del lua
    path = tmp_path / "s.lua"
    path.write_text("-- lua: 5.9\n")
    path.chmod(0o644)
    with pytest.raises(HookError, match=r"lua version 5\.9 is unknown: use one of 5\.1, 5\.2, 5\.3, 5\.4"):
        Hooks.load(str(path), FakeHost())
