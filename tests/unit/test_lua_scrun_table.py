"""The `scrun` table: functions of ours, called with Lua's values."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from scrun.errors import HookError, StagingError
from scrun.lua_hooks.fake import FakeHost
from scrun.lua_hooks.hooks import Hooks

pytestmark = pytest.mark.parametrize("lua", ["5.1", "5.4"])

Extra = Callable[..., object]
Run = Callable[..., FakeHost]


@pytest.fixture
def run(tmp_path: Path, lua: str) -> Run:
    """Run the lines as the top level of a script, with the given functions in the `scrun` table."""

    def run(lines: str, **extras: Extra) -> FakeHost:
        path = tmp_path / "s.lua"
        path.write_text(f"{lines}\nfunction slurm_scrun_stage_in() end function slurm_scrun_stage_out() end return 0")
        path.chmod(0o644)
        host = FakeHost(extras)
        Hooks.load(str(path), host, lua=lua)
        return host

    return run


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("nil", None),
        ("true", True),
        ("7", 7),
        ("0.5", 0.5),
        ("'é'", "é"),
        ("'\\255'", "\udcff"),
        ("{}", []),
        ("{'/a', '/b'}", ["/a", "/b"]),
        ("{a = 1, b = {c = {}}}", {"a": 1, "b": {"c": []}}),
        ("slurm.from_json('{}')", {}),
        ("slurm.from_json('[null, {\"x\": null}]')", [None, {}]),
        ("require 'json'.null", None),
    ],
)
def test_arguments_become_python_values(run: Run, value: str, expected: object) -> None:
    got: list[object] = []
    run(f"scrun.take({value})", take=got.append)
    assert got == [expected]
    assert type(got[0]) is type(expected)


@pytest.mark.parametrize(
    ("result", "text"),
    [
        (None, "null"),
        (False, "false"),
        (7, "7"),
        (2**63, "9.223372036854776e+18"),
        (0.5, "0.5"),
        ("é\udcff", '"é\\xff"'),
        ("\ud800", '"\\ud800"'),
        ([], "[]"),
        ({}, "{}"),
        ({"z": 1, "a": [1, None, {"n": None}]}, '{"z":1,"a":[1,null,{}]}'),
    ],
)
def test_results_become_lua_values(run: Run, result: object, text: str) -> None:
    assert run("print(slurm.to_json(scrun.give()))", give=lambda: result).logged == [("info", text)]


def test_a_result_may_be_given_back(run: Run) -> None:
    value = {"paths": ["/a", "/b"], "empty": {}, "n": 2**53, "deep": [[[]]]}
    got: list[object] = []
    run("scrun.take(scrun.give())", give=lambda: value, take=got.append)
    assert got == [value]


def test_an_error_of_ours_is_the_whole_message(run: Run) -> None:
    def stage_in() -> None:
        raise StagingError("node2: no space left in /tmp")

    with pytest.raises(HookError, match=r"^node2: no space left in /tmp$") as caught:
        run("scrun.stage_in()", stage_in=stage_in)
    assert isinstance(caught.value.__cause__, StagingError)


def test_a_system_error_is_the_whole_message(run: Run) -> None:
    with pytest.raises(HookError, match=r"^\[Errno 2\] No such file or directory: '/nonexistent'$"):
        run("scrun.read()", read=lambda: Path("/nonexistent").read_bytes())


def test_a_script_can_catch_an_error_of_ours(run: Run) -> None:
    def stage_in() -> None:
        raise StagingError("no space")

    host = run("print(select(2, pcall(scrun.stage_in)))", stage_in=stage_in)
    assert host.logged == [("info", "no space")]


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        ("scrun.take(print)", "scrun.take: a function is of no use here"),
        ("scrun.take({1, a = 2})", "scrun.take: json: the value: has the key"),
        ("local t = {} t[1] = t scrun.take(t)", "scrun.take: a table contains itself, or is nested too deep"),
        ("scrun.take()", "scrun.take: .*missing 1 required positional argument: 'value'"),
        ("scrun.other()", "attempt to call"),
    ],
)
def test_a_wrong_call_names_the_scripts_line(run: Run, call: str, expected: str) -> None:
    def take(value: object) -> None:
        pass

    with pytest.raises(HookError, match=rf"s\.lua:2: {expected}"):
        run(f"\n{call}", take=take)


def test_an_internal_error_is_not_hidden(run: Run) -> None:
    with pytest.raises(ZeroDivisionError):
        run("pcall(scrun.bug)", bug=lambda: 1 // 0)


def test_the_table_is_there_without_any_function(run: Run) -> None:
    run("assert(type(scrun) == 'table' and next(scrun) == nil)")
