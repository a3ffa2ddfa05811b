"""The shipped scrun.lua does the same without Lua as in Lua, and is the only script that needs none."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from test_lua_hooks import STAGE_IN, STAGE_OUT

import scrun.lua_hooks
from scrun.errors import HookError, StagingError
from scrun.lua_hooks import SiteHooks, load
from scrun.lua_hooks.fake import FakeHost
from scrun.lua_hooks.hooks import Hooks
from scrun.lua_hooks.shipped import ShippedHooks

SHIPPED = Path(scrun.lua_hooks.__file__).with_name("scrun.lua")
Load = Callable[[FakeHost], SiteHooks]


@pytest.fixture
def script(tmp_path: Path) -> Path:
    """A site's copy of the shipped script."""
    return Path(shutil.copy(SHIPPED, tmp_path / "site.lua"))


def both(path: Path) -> list[Load]:
    """Ways to load the script: without Lua, and in Lua."""
    return [lambda host: load(str(path), host), lambda host: Hooks.load(str(path), host)]


def test_it_calls_the_same_with_the_same(script: Path) -> None:
    def told(loaded: Load) -> tuple[object, ...]:
        calls: list[tuple[str, object]] = []
        host = FakeHost(
            {
                "stage_in": lambda *args: calls.append(("stage_in", args)),
                "stage_out": lambda *args: calls.append(("stage_out", args)),
            }
        )
        hooks = loaded(host)
        paths = hooks.stage_in(STAGE_IN)
        hooks.stage_out(STAGE_OUT)
        assert [name for name, _ in calls] == ["stage_in", "stage_out"]
        return paths, hooks.source, calls, host.logged

    without, with_lua = map(told, both(script))
    assert without == with_lua


@pytest.mark.parametrize(
    "error", [StagingError("two lines,\n and \udcff no UTF-8"), FileNotFoundError(2, "No such file", "/x")]
)
def test_it_fails_with_the_same_words(script: Path, error: Exception) -> None:
    def fail(*_: object) -> None:
        raise error

    words = []
    for loaded in both(script):
        hooks = loaded(FakeHost({"stage_in": fail, "stage_out": fail}))
        with pytest.raises(HookError) as from_stage_in:
            hooks.stage_in(STAGE_IN)
        with pytest.raises(HookError) as from_stage_out:
            hooks.stage_out(STAGE_OUT)
        words.append([(str(raised.value), raised.value.__cause__) for raised in (from_stage_in, from_stage_out)])
    assert words[0] == words[1]


def test_an_interruption_is_not_its_error(script: Path) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    for loaded in both(script):
        with pytest.raises(KeyboardInterrupt):
            loaded(FakeHost({"stage_in": interrupt, "stage_out": interrupt})).stage_in(STAGE_IN)


def test_a_script_that_was_edited_runs_in_lua(script: Path) -> None:
    assert isinstance(load(str(script), FakeHost()), ShippedHooks)
    script.write_bytes(script.read_bytes() + b"\n")
    assert isinstance(load(str(script), FakeHost()), Hooks)


def test_a_requested_version_of_lua_is_used(script: Path) -> None:
    assert isinstance(load(str(script), FakeHost(), lua="5.1"), Hooks)
    with pytest.raises(HookError, match=r"9\.9"):
        load(str(script), FakeHost(), lua="9.9")


@pytest.mark.parametrize("edit", ["", "\n"])
def test_lupa_is_imported_only_for_an_edited_script(script: Path, edit: str) -> None:
    script.write_text(script.read_text() + edit)
    code = f"""import sys; from scrun.lua_hooks import load, preload; from scrun.lua_hooks.fake import FakeHost
preload({str(script)!r}, None)
before = "lupa" in sys.modules
load({str(script)!r}, FakeHost())
print(before, "lupa" in sys.modules)"""
    done = subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": ":".join(sys.path)}, capture_output=True)
    assert done.stdout.decode().split() == [str(bool(edit))] * 2, done.stderr
