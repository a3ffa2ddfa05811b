"""Loading scrun.lua, calling its hooks, and what a person is told when one fails."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from scrun.errors import HookError
from scrun.lifecycle.process import fork
from scrun.lua_hooks import Paths, StageInCall, StageOutCall
from scrun.lua_hooks.fake import FakeHost
from scrun.lua_hooks.hooks import Hooks

LUAS = ["5.1", "5.2", "5.3", "5.4"]
STAGE_IN = StageInCall(
    "box", "/run/b", "/run/spool", "/run/b/config.json", 42, 2000, 2001, {"SLURM_JOB_ID": "42", "A": "b=c"}
)
STAGE_OUT = StageOutCall(
    "box", "/new", "/run/b", None, "/run/b/rootfs", "/run/spool", "/run/b/config.json", 42, 2000, 2001
)
NO_OUT = "\nfunction slurm_scrun_stage_out() return slurm.SUCCESS end\nreturn slurm.SUCCESS\n"

Write = Callable[[str], str]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(text: str) -> str:
        path = tmp_path / "s.lua"
        path.write_text(text)
        path.chmod(0o644)
        return str(path)

    return write


@pytest.fixture
def stage_in(write: Write) -> Callable[..., Paths]:
    """Run a stage_in of that body, whose first line is the file's first."""

    def run(body: str, host: FakeHost | None = None, lua: str = "5.4", call: StageInCall = STAGE_IN) -> Paths:
        names = "id, bundle, spool_dir, config_file, job_id, user_id, group_id, job_env"
        path = write(f"function slurm_scrun_stage_in({names}) {body}\nend{NO_OUT}")
        return Hooks.load(path, host or FakeHost(), lua=lua).stage_in(call)

    return run


Run = Callable[..., Paths]


def failure(run: Callable[[], object]) -> str:
    with pytest.raises(HookError) as caught:
        run()
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize("lua", LUAS)
def test_a_hook_gets_documented_arguments_and_whole_numbers(stage_in: Run, lua: str) -> None:
    host = FakeHost()
    body = """local ids = string.format("%d %d %d", job_id, user_id, group_id)
      print(string.format("%s %s %s %s ", id, bundle, spool_dir, config_file) .. ids)
      print(user_id .. "/" .. math.floor(group_id)) return slurm.SUCCESS"""
    stage_in(body, host, lua)
    assert host.logged == [
        ("info", "box /run/b /run/spool /run/b/config.json 42 2000 2001"),
        ("info", "2000/2001"),
    ]


def test_stage_out_gets_the_documented_arguments(write: Write) -> None:
    host = FakeHost()
    path = write("""function slurm_scrun_stage_in() return 0 end
      function slurm_scrun_stage_out(...) print(select("#", ...), ...) return 0 end return 0""")
    Hooks.load(path, host).stage_out(STAGE_OUT)
    expected = "10 box /new /run/b nil /run/b/rootfs /run/spool /run/b/config.json 42 2000 2001"
    assert host.logged == [("info", expected.replace(" ", "\t"))]


@pytest.mark.parametrize("lua", LUAS)
def test_job_env_is_a_list_and_a_map(stage_in: Run, lua: str) -> None:
    host = FakeHost()
    body = """for _, v in ipairs(job_env) do print(v) end
      local n = 0 for _ in pairs(job_env) do n = n + 1 end
      print(n, #job_env, job_env.A, job_env["SLURM_JOB_ID"], job_env[0], job_env.none)
      print(slurm.to_json(job_env)) return slurm.SUCCESS"""
    stage_in(body, host, lua)
    assert [message for _, message in host.logged] == [
        "SLURM_JOB_ID=42",
        "A=b=c",
        "2\t2\tb=c\t42\tSLURM_JOB_ID=42\tnil",
        '["SLURM_JOB_ID=42","A=b=c"]',
    ]


@pytest.mark.parametrize("lua", LUAS)
def test_an_empty_job_env_is_an_empty_list(stage_in: Run, lua: str) -> None:
    stage_in(
        "for _ in ipairs(job_env) do error('?') end return slurm.SUCCESS", lua=lua, call=STAGE_IN._replace(job_env={})
    )


def test_the_paths_are_those_that_were_set(stage_in: Run) -> None:
    assert stage_in("slurm.set_bundle_path('/x/') slurm.set_root_path('/x/rootfs') return 0") == Paths(
        "/x/", "/x/rootfs"
    )


def test_an_unset_bundle_path_leaves_the_bundle_there(stage_in: Run) -> None:
    assert stage_in("return slurm.SUCCESS") == Paths("/run/b", None)


@pytest.mark.parametrize("lua", LUAS)
def test_a_bundle_path_outside_utf8_keeps_its_bytes(stage_in: Run, lua: str) -> None:
    path = os.fsdecode(b"/run/b\xff\xe9\xc3\xa9")
    body = "assert(#bundle == 10) slurm.set_bundle_path(bundle .. '/n') return slurm.SUCCESS"
    assert stage_in(body, lua=lua, call=STAGE_IN._replace(bundle=path)).bundle == path + "/n"


@pytest.mark.parametrize("value", ["'x/y'", "''", "nil", "{}", "'/a\\0b'"])
def test_a_path_unfit_for_a_bundle_is_refused(stage_in: Run, value: str) -> None:
    message = failure(lambda: stage_in(f"slurm.set_bundle_path({value}) return 0"))
    assert "s.lua:1: slurm.set_bundle_path: " in message


@pytest.mark.parametrize("lua", LUAS)
@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("\n local a = x.y", "s.lua:2: attempt to index "),
        ("error('boo')", "s.lua:1: boo"),
        ("\nerror('boo', 0)", "s.lua:2: boo"),
        ("error({})", "s.lua:1: error with a table for a message"),
        ("error({message = 'told'})", "s.lua:1: told"),
        ("error(setmetatable({}, {__tostring = function() return 'named' end}))", "s.lua:1: named"),
        (
            "error(setmetatable({}, {__tostring = function() error('x') end}))",
            "s.lua:1: error with a table for a message",
        ),
        ("error(print)", "s.lua:1: error with a function for a message"),
        ("error(7)", "s.lua:1: 7"),
        ("error()", "s.lua:1: error without a message"),
        ("error('two\\n\\nlines')", "s.lua:1: two; lines"),
        ("local function f() return 1 + f() end f()", "stack overflow"),
        ("coroutine.yield()", "yield"),
        ("coroutine.wrap(function() error('inner') end)()", "inner"),
        ("\nos.exit(0)", "s.lua:2: os.exit would end scrun itself"),
        ("os.exit(true, true)", "os.exit would end scrun itself"),
        ("string.rep()", "s.lua:1: bad argument #1 to 'rep'"),
        ("local s = setmetatable({}, {__index = function(t, k) return t[k] end}) local x = s.y", "overflow"),
        ("assert(false, 'asserted')", "s.lua:1: asserted"),
        ("assert(io.open('/nonexistent/x'))", "s.lua:1: /nonexistent/x: No such file or directory"),
        ("require 'no.such.module'", "module 'no.such.module' not found"),
    ],
)
def test_any_hook_error_is_one_line_with_place(stage_in: Run, lua: str, body: str, expected: str) -> None:
    message = failure(lambda: stage_in(body, lua=lua))
    assert expected in message
    assert "/s.lua:" in message


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ("slurm.ERROR", "returned -1 (slurm.ERROR)"),
        ("-1.0", "returned -1 (slurm.ERROR)"),
        ("3", "returned 3"),
        ("1.5", "returned 1.5"),
        ("true", "returned true"),
        ("'no'", "returned no"),
        ("nil", "returned nothing, not slurm.SUCCESS"),
        ("", "returned nothing, not slurm.SUCCESS"),
        ("slurm.ERROR, 'no space in /scratch'", "returned -1 (slurm.ERROR): no space in /scratch"),
        ("slurm.ERROR, 'a\\n b\\n\\255'", "returned -1 (slurm.ERROR): a; b; \\xff"),
        ("setmetatable({}, {__tostring = error})", "returned a table"),
        ("0/0", "returned "),
        ("slurm.ERROR, 5", "returned -1 (slurm.ERROR): 5"),
    ],
)
def test_a_hook_not_returning_success_has_failed(stage_in: Run, values: str, expected: str) -> None:
    message = failure(lambda: stage_in(f"return {values}"))
    assert message.startswith("stage_in in /")
    assert f"s.lua {expected}" in message


@pytest.mark.parametrize("lua", LUAS)
@pytest.mark.parametrize("value", ["slurm.SUCCESS", "0.0", "0, 'all is well'"])
def test_zero_is_success(stage_in: Run, lua: str, value: str) -> None:
    stage_in(f"return {value}", lua=lua)


def test_stage_out_fails_by_its_own_name(write: Write) -> None:
    hooks = Hooks.load(
        write("function slurm_scrun_stage_in() end function slurm_scrun_stage_out() return -1 end"), FakeHost()
    )
    assert failure(lambda: hooks.stage_out(STAGE_OUT)).startswith("stage_out in ")


def test_a_failed_hook_may_be_called_again(write: Write) -> None:
    path = write("n = 0 function slurm_scrun_stage_in() n = n + 1 return n == 1 and -1 or 0 end" + NO_OUT)
    hooks = Hooks.load(path, FakeHost())
    failure(lambda: hooks.stage_in(STAGE_IN))
    assert hooks.stage_in(STAGE_IN) == Paths("/run/b", None)


@pytest.mark.parametrize("name", ["slurm_scrun_stage_in", "slurm_scrun_stage_out"])
@pytest.mark.parametrize("value", ["nil", "5"])
def test_a_missing_hook_is_named_with_its_script(write: Write, name: str, value: str) -> None:
    path = write(
        "function slurm_scrun_stage_in() end function slurm_scrun_stage_out() end " + f"{name} = {value} return 0"
    )
    assert failure(lambda: Hooks.load(path, FakeHost())) == (
        f"{path}: function {name} is not defined: define it, or return to the shipped etc/scrun.lua"
    )


@pytest.mark.parametrize("lua", LUAS)
def test_a_script_with_bad_syntax_names_its_line(write: Write, lua: str) -> None:
    path = write("local x\nlocal = 3\n")
    assert failure(lambda: Hooks.load(path, FakeHost(), lua=lua)).startswith(f"{path}:2: ")


@pytest.mark.parametrize("lua", LUAS)
def test_a_long_path_is_shown_whole(tmp_path: Path, lua: str) -> None:
    directory = tmp_path / ("long" * 20)
    directory.mkdir()
    path = directory / "s.lua"
    for text in ("x.y = 1\n", "x = = 1\n"):
        path.write_text(text)
        assert failure(lambda: Hooks.load(str(path), FakeHost(), lua=lua)).startswith(f"{path}:1: ")


def test_a_top_level_that_fails_is_one_line(write: Write) -> None:
    path = write("\n\nslurm.no_such_function()\n")
    assert failure(lambda: Hooks.load(path, FakeHost())).startswith(f"{path}:3: attempt to call a nil value")


def test_an_error_returned_at_top_level_is_refused(write: Write) -> None:
    path = write("return slurm.ERROR, 'not on this host'")
    assert failure(lambda: Hooks.load(path, FakeHost())) == (
        f"the top level in {path} returned -1 (slurm.ERROR): not on this host"
    )


def test_a_script_may_begin_with_a_shebang(write: Write) -> None:
    path = write("#!/usr/bin/lua\nfunction slurm_scrun_stage_in() error('two') end" + NO_OUT)
    hooks = Hooks.load(path, FakeHost())
    assert f"{path}:2: two" in failure(lambda: hooks.stage_in(STAGE_IN))


def test_a_script_writable_by_anyone_is_not_run(write: Write) -> None:
    path = write("error('ran')")
    Path(path).chmod(0o646)
    assert failure(lambda: Hooks.load(path, FakeHost())) == (
        f"{path} may be written by anyone (mode 0646), so it is not run: chmod o-w {path}"
    )


def test_a_script_that_is_missing_is_named(tmp_path: Path) -> None:
    message = failure(lambda: Hooks.load(f"{tmp_path}/none.lua", FakeHost()))
    assert message == f"can't read {tmp_path}/none.lua: No such file or directory: install etc/scrun.lua there"


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo])
def test_a_script_that_is_no_file_is_refused(tmp_path: Path, make: Callable[[str], None]) -> None:
    path = f"{tmp_path}/odd.lua"
    make(path)
    assert "is not a regular file" in failure(lambda: Hooks.load(path, FakeHost()))


def test_an_unknown_lua_is_answered_with_known_ones(write: Write) -> None:
    message = failure(lambda: Hooks.load(write(NO_OUT), FakeHost(), lua="6"))
    assert message == "lua version 6 is unknown: use one of 5.1, 5.2, 5.3, 5.4"


@pytest.mark.parametrize("lua", LUAS)
def test_the_lua_that_was_asked_for_runs(stage_in: Run, lua: str) -> None:
    stage_in(f"assert(_VERSION == 'Lua {lua}') return 0", lua=lua)


def test_a_script_does_nothing_more_after_an_interruption(write: Write) -> None:
    class Interrupted(FakeHost):
        def allocator_command(self, script: str) -> tuple[int, str]:
            super().allocator_command(script)
            raise KeyboardInterrupt

    host = Interrupted()
    script = 'pcall(slurm.allocator_command, "one") pcall(slurm.allocator_command, "two") pcall(slurm.log_info, "said")'
    with pytest.raises(KeyboardInterrupt):
        Hooks.load(write(f"{script}\n{NO_OUT}"), host)
    assert (host.commands, host.logged) == ([("allocator", "one")], [])


class Stopped(BaseException):
    """What the handler of a signal raises."""


@pytest.fixture
def signal_while_lua_computes(tmp_path: Path) -> Iterator[str]:
    """Lua during which SIGTERM comes while no line of Python's runs; its handler raises Stopped."""

    def stop(_number: int, _frame: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise Stopped

    def send() -> None:
        while not (tmp_path / "begun").exists():
            time.sleep(0.005)
        os.kill(os.getppid(), signal.SIGTERM)
        (tmp_path / "sent").touch()

    before = signal.signal(signal.SIGTERM, stop)
    pid = fork.child(send)
    yield f"io.open('{tmp_path}/begun', 'w'):close() while not io.open('{tmp_path}/sent') do end "
    os.waitpid(pid, 0)
    signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize(
    "then", ["pcall(slurm.log_info, 'said')", "os.execute(':')", "error('another')", "", "while true do end"]
)
def test_a_signal_is_not_the_scripts_error(write: Write, signal_while_lua_computes: str, then: str) -> None:
    """The script can't catch what the handler raises, whatever it does next."""
    host = FakeHost()
    with pytest.raises(Stopped):
        Hooks.load(write(f"{signal_while_lua_computes}{then}\n{NO_OUT}"), host)
    assert host.logged == []
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_IGN  # as the handler has left it


def test_a_script_leaves_the_handlers_as_they_were(write: Write) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    host = FakeHost()
    Hooks.load(write(f"slurm.log_info('said') function slurm_scrun_stage_in() return 0 end {NO_OUT}"), host)
    assert host.logged
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
