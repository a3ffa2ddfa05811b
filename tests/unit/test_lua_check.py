"""`scrun lua check`: what it finds, and that it does nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from test_lua_hooks import write

import scrun as scrun_package
from scrun.lua_hooks.check import problems_of

__all__ = ["write"]

Write = Callable[[str], str]

# Of the same constructs as the examples of scrun(1).
GOOD = r"""
local json = require 'json'
local function read_file(path)
  local file = io.open(path, "rb")
  if not file then return nil end
  local content = file:read "*all"
  file:close()
  return content
end
function slurm_scrun_stage_in(id, bundle, spool_dir, config_file, job_id, user_id, group_id, job_env)
  local config = json.decode(read_file(config_file))
  local rc, user = slurm.allocator_command(string.format("id -un %d", user_id))
  user = string.gsub(user, "%s+", "")
  local new = spool_dir .. "/" .. math.floor(user_id) .. user
  os.execute("touch " .. config_file .. ".ran")
  assert(io.open(config_file .. ".ran") == nil)
  slurm.set_bundle_path(new)
  slurm.set_root_path(new .. "/rootfs")
  table.insert(config["linux"]["namespaces"], {type = "user"})
  for _, mount in ipairs(config["mounts"]) do
    local opts = {}
    for _, opt in ipairs(mount["options"]) do
      if string.sub(opt, 1, 4) ~= "gid=" then table.insert(opts, opt) end
    end
    mount["options"] = opts
  end
  for _, env in ipairs(job_env) do table.insert(config["process"]["env"], env) end
  config["process"]["rlimits"] = nil
  assert(#json.encode(config) > 100)
  return slurm.SUCCESS -- see slurm.conf
end
function slurm_scrun_stage_out(id, bundle, orig_bundle)
  assert(bundle ~= orig_bundle)
  slurm.log_info("see /etc/slurm.d or slurm.schedmd")
  return slurm.SUCCESS
end
return slurm.SUCCESS
"""


@pytest.mark.parametrize("lua", ["5.1", "5.2", "5.3", "5.4"])
def test_checking_a_good_script_finds_and_runs_nothing(write: Write, lua: str) -> None:
    assert problems_of(write(GOOD), lua) == []


@pytest.mark.parametrize("lua", ["5.1", "5.4"])
def test_commands_outside_slurm_pretend_to_succeed(write: Write, tmp_path: Path, lua: str) -> None:
    text = f"""assert(os.execute('touch {tmp_path}/ran')) local p = io.popen('touch {tmp_path}/ran')
      assert(p:read('*a') == '') p:close() io.popen('cat', 'w'):write('x')
      """
    assert problems_of(write(text + GOOD), lua) == []
    assert not (tmp_path / "ran").exists()


def test_a_script_that_cannot_load_is_one_problem(write: Write, tmp_path: Path) -> None:
    path = write("x = = 1")
    assert problems_of(path) == [f"{path}:1: unexpected symbol near '='"]
    assert len(problems_of(f"{tmp_path}/none.lua")) == 1


def test_both_hooks_are_tried_though_the_first_fails(write: Write) -> None:
    path = write("""function slurm_scrun_stage_in() return slurm.ERROR end
      function slurm_scrun_stage_out() error("out") end""")
    assert problems_of(path) == [f"stage_in in {path} returned -1 (slurm.ERROR)", f"{path}:2: out"]


def test_unknown_names_are_found_in_unreached_code(write: Write) -> None:
    path = write(
        GOOD + "\nlocal function never()\n  slurm.log_inof('x') -- slurm.nothing\n  scrun.stagein('slurm.no')\nend"
    )
    path = write(
        GOOD.replace("return slurm.SUCCESS -- see", "if false then slurm.log_inof('x') scrun.stagein() end return 0 --")
    )
    line = 1 + GOOD[: GOOD.index("return slurm.SUCCESS -- see")].count("\n")
    assert problems_of(path) == [
        f"{path}:{line}: there is no slurm.log_inof",
        f"{path}:{line}: there is no scrun.stagein",
    ]


def test_comments_strings_and_assignments_are_no_problem(write: Write) -> None:
    path = write(f"""--[[ slurm.a
      slurm.b ]] --[==[ slurm.c ]] ]==] print([==[ slurm.d ]] ]==])
      local function never() slurm.yours = 1 end slurm.mine = 1
      local x = {{slurm = {{x = 1}}}} print(x.slurm.x, 'slurm.d', "a\\"slurm.e", [[slurm.f]], slurm.mine)
      {GOOD}""")
    assert problems_of(path) == []


def test_an_error_the_script_logged_is_a_problem(write: Write) -> None:
    path = write("slurm.log_error('no rsync')" + GOOD)
    assert problems_of(path) == [f"{path} logged the error: no rsync"]


def test_scrun_table_functions_are_known_and_extensible(write: Write) -> None:
    assert problems_of(write("scrun.stage_in() scrun.stage_out()" + GOOD)) == []
    path = write("assert(scrun.more(1) == 2)" + GOOD)
    assert problems_of(path, extras={"more": lambda value: value + 1}) == []


def scrun(*words: str, conf: Path | None = None) -> tuple[int, str, str]:
    """Run the program."""
    environment = {"PATH": os.defpath, "PYTHONPATH": str(Path(scrun_package.__file__).parents[1])}
    if conf:
        environment["SLURM_CONF"] = str(conf)
    command = [sys.executable, "-m", "scrun", *words]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


def test_the_command_says_ok_and_exits_with_0(write: Write) -> None:
    path = write(GOOD)
    assert scrun("lua", "check", path) == (0, f"{path}: ok\n", "")


def test_the_command_prints_problems_and_exits_with_1(write: Write) -> None:
    path = write("function slurm_scrun_stage_in() return nil + 1 end function slurm_scrun_stage_out() end")
    status, output, errors = scrun("lua", "check", path)
    assert (status, errors) == (1, "")
    first, second = output.splitlines()
    assert first.startswith(f"{path}:1: ")
    assert "stage_out" in second


def test_the_command_checks_the_sites_script_by_default(write: Write, tmp_path: Path) -> None:
    os.rename(write(GOOD), tmp_path / "scrun.lua")
    assert scrun("lua", "check", conf=tmp_path / "slurm.conf") == (0, f"{tmp_path}/scrun.lua: ok\n", "")
    assert scrun("-f", str(tmp_path / "slurm.conf"), "lua", "check")[0] == 0
    status, output, _ = scrun("lua", "check", conf=tmp_path / "elsewhere/slurm.conf")
    assert (status, output.count("\n")) == (1, 1)
    assert f"{tmp_path}/elsewhere/scrun.lua" in output
