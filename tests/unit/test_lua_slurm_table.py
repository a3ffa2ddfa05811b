"""The functions and constants of the `slurm` table, as scrun(1) has them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scrun.errors import HookError, SlurmError
from scrun.lua_hooks.fake import FakeHost
from scrun.lua_hooks.hooks import Hooks

pytestmark = pytest.mark.parametrize("lua", ["5.1", "5.4"])

Run = Callable[..., FakeHost]


@pytest.fixture
def run(tmp_path: Path, lua: str) -> Run:
    """Run the lines as the top level of a script."""

    def run(lines: str, **host: Any) -> FakeHost:
        path = tmp_path / "s.lua"
        path.write_text(f"{lines}\nfunction slurm_scrun_stage_in() end function slurm_scrun_stage_out() end return 0")
        path.chmod(0o644)
        fake = FakeHost(**host)
        Hooks.load(str(path), fake, lua=lua)
        return fake

    return run


def test_the_constants_are_those_of_slurm(run: Run) -> None:
    run("assert(slurm.SUCCESS == 0 and slurm.ERROR == -1 and slurm.FAILURE == -1)")
    run("assert(slurm.INFINITE == 2^32 - 1 and slurm.NO_VAL == 2^32 - 2)")


def test_every_name_of_the_page_is_there(run: Run) -> None:
    names = "set_bundle_path set_root_path remote_command allocator_command log error log_error log_info log_verbose"
    names += " log_debug log_debug2 log_debug3 log_debug4 time_str2mins from_json to_json"
    for name in names.split():
        run(f"assert(type(slurm.{name}) == 'function')")


@pytest.mark.parametrize(
    ("call", "level"),
    [
        ("slurm.error('m')", "error"),
        ("slurm.log_error('m')", "error"),
        ("slurm.log_info('m')", "info"),
        ("slurm.log_verbose('m')", "verbose"),
        ("slurm.log_debug('m')", "debug"),
        ("slurm.log_debug2('m')", "debug2"),
        ("slurm.log_debug3('m')", "debug3"),
        ("slurm.log_debug4('m')", "debug4"),
        ("slurm.log('m', 0)", "info"),
        ("slurm.log('m', 1)", "verbose"),
        ("slurm.log('m', 2)", "debug"),
        ("slurm.log('m', 3)", "debug2"),
        ("slurm.log('m', 4)", "debug3"),
        ("slurm.log('m', 9)", "debug4"),
        ("slurm.log(2, 'm')", "debug"),
        ("slurm.log('m', '2')", "debug"),
        ("slurm.log('m')", "info"),
        ("slurm.log('m', -1)", "info"),
        ("slurm.log('m', 'x')", "info"),
    ],
)
def test_each_way_to_log_has_its_level(run: Run, call: str, level: str) -> None:
    assert run(call).logged == [(level, "m")]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("'%s is %d', 'x', 3", "x is 3"),
        ("'100% of %s'", "100% of %s"),
        ("'100%%'", "100%"),
        ("'100%%d'", "100%d"),
        ("'a', 'b'", "a"),
        ("5", "5"),
        ("nil", "nil"),
        ("'two\\nlines\\n'", "two\nlines"),
        ("'é\\255'", "é\\xff"),
    ],
)
def test_messages_are_formatted_as_by_printf(run: Run, arguments: str, message: str) -> None:
    assert run(f"slurm.log_info({arguments})").logged == [("info", message)]


def test_a_wrong_format_is_the_scripts_error(run: Run) -> None:
    with pytest.raises(HookError, match=r"s\.lua:2: bad argument #2 to 'format'"):
        run("\nslurm.log_info('%d', 'x')")


def test_commands_run_where_told_giving_status_and_output(run: Run) -> None:
    host = run(
        """local status, output = slurm.allocator_command("id -un 2000")
        output = string.gsub(output, "%s+", "")
        assert(status == 0 and output == "alice")
        status, output = slurm.remote_command("false")
        assert(status == 3 and output == "" and string.format("%u", status) == "3")""",
        answers={"id -un 2000": (0, "alice\n"), "false": (3, "")},
    )
    assert host.commands == [("allocator", "id -un 2000"), ("remote", "false")]


def test_a_commands_output_may_be_any_bytes(run: Run) -> None:
    output = bytes(range(256)) + "é".encode()
    run(
        """local _, output = slurm.allocator_command("dump")
        assert(#output == 258)
        for i = 0, 255 do assert(output:byte(i + 1) == i) end""",
        answers={"dump": (0, output.decode("utf-8", "surrogateescape"))},
    )


def test_a_commands_script_may_hold_all_but_nul(run: Run) -> None:
    host = run("slurm.allocator_command('rm /\\255\\195\\169')")
    assert host.commands[0][1].encode("utf-8", "surrogateescape") == b"rm /\xff\xc3\xa9"


@pytest.mark.parametrize(
    ("argument", "why"),
    [("nil", "not nil"), ("{}", "not table"), ("", "not nil"), ("'a\\0b'", "the string has a NUL byte in it")],
)
@pytest.mark.parametrize("name", ["allocator_command", "remote_command"])
def test_an_invalid_command_is_refused_with_its_line(run: Run, name: str, argument: str, why: str) -> None:
    with pytest.raises(HookError, match=rf"s\.lua:1: slurm\.{name}: .*{why}"):
        run(f"slurm.{name}({argument})")


class BrokenHost(FakeHost):
    """Its commands raise what they are told to."""

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error = error

    def remote_command(self, script: str) -> tuple[int, str]:
        raise self.error


def test_a_command_failing_to_start_gives_its_sentence(tmp_path: Path, lua: str) -> None:
    error = SlurmError("job 7 has ended")
    (tmp_path / "s.lua").write_text("slurm.remote_command('x')")
    with pytest.raises(HookError, match=r"^job 7 has ended$") as caught:
        Hooks.load(str(tmp_path / "s.lua"), BrokenHost(error), lua=lua)
    assert caught.value.__cause__ is error


def test_a_script_may_catch_a_command_not_started(tmp_path: Path, lua: str) -> None:
    (tmp_path / "s.lua").write_text("""local ok, why = pcall(slurm.remote_command, 'x')
      assert(not ok) return slurm.ERROR, 'because ' .. why""")
    with pytest.raises(HookError, match=r"returned -1 \(slurm.ERROR\): because job 7 has ended$"):
        Hooks.load(str(tmp_path / "s.lua"), BrokenHost(SlurmError("job 7 has ended")), lua=lua)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3), RuntimeError("a bug"), TypeError("a bug")])
def test_an_interruption_ends_a_hook_that_catches_everything(tmp_path: Path, lua: str, error: BaseException) -> None:
    (tmp_path / "s.lua").write_text("for i = 1, 3 do pcall(slurm.remote_command, 'x') end")
    with pytest.raises(type(error)) as caught:
        Hooks.load(str(tmp_path / "s.lua"), BrokenHost(error), lua=lua)
    assert caught.value is error


@pytest.mark.parametrize(
    ("text", "minutes"),
    [
        ("'30'", 30),
        ("'0'", 0),
        ("'1:30'", 2),
        ("'0:00'", 0),
        ("'0:01'", 1),
        ("'90:00'", 90),
        ("'1:02:03'", 63),
        ("'00:30:00'", 30),
        ("'1-'", 1440),
        ("'1-2'", 1560),
        ("'1-2:30'", 1590),
        ("'1-02:30:01'", 1591),
        ("'365-0'", 525600),
        ("30", 30),
        ("'-1'", -1),
        ("-1", -1),
        ("'INFINITE'", -1),
        ("'infinite'", -1),
        ("'UNLIMITED'", -1),
        ("'Unlimited'", -1),
        ("''", -2),
        ("nil", -2),
        ("{}", -2),
        ("'soon'", -2),
        ("'5m'", -2),
        ("' 5'", -2),
        ("'5:'", -2),
        ("':5'", -2),
        ("'1:2:'", -2),
        ("'1:2:3:4'", -2),
        ("'1-2:'", -2),
        ("'1--2'", -2),
        ("'1-2-3'", -2),
        ("'-5'", -2),
        ("'1:2-3'", -2),
        ("'1-:5'", -2),
    ],
)
def test_times_become_minutes_rounded_up(run: Run, text: str, minutes: int) -> None:
    assert run(f"print(string.format('%d', slurm.time_str2mins({text})))").logged == [("info", str(minutes))]
    if minutes >= 0:
        run(f"assert(tostring(slurm.time_str2mins({text})) == '{minutes}')")
