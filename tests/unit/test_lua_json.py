"""JSON in scrun.lua: what was read is written again, unless the script changed it."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path
from typing import Any

import pytest

from scrun.errors import HookError
from scrun.lua_hooks import StageInCall
from scrun.lua_hooks.fake import FakeHost
from scrun.lua_hooks.hooks import Hooks
from scrun.lua_hooks.values import to_bytes, to_text

pytestmark = pytest.mark.parametrize("lua", ["5.1", "5.2", "5.3", "5.4"])

RLIM_INFINITY = 18446744073709551615  # what docker writes for --ulimit nofile=-1


def change(tmp_path: Path, lua: str, source: str, body: str = "") -> str:
    """Decode the source as `config`, run the body, answer what is then encoded, byte for byte."""
    (tmp_path / "in.json").write_bytes(to_bytes(source))
    (tmp_path / "s.lua").write_text(f"""
local json = require "json"
function slurm_scrun_stage_in(id, bundle, spool_dir, config_file)
  local f = assert(io.open(config_file, "rb")) local config = json.decode(f:read("*a")) f:close()
  {body}
  local f = assert(io.open(bundle .. "/out.json", "wb")) f:write(json.encode(config)) f:close()
  return slurm.SUCCESS
end
function slurm_scrun_stage_out() end
return slurm.SUCCESS""")
    (tmp_path / "s.lua").chmod(0o644)
    hooks = Hooks.load(str(tmp_path / "s.lua"), FakeHost(), lua=lua)
    hooks.stage_in(StageInCall("x", str(tmp_path), "/s", str(tmp_path / "in.json"), 1, 0, 0, {}))
    return to_text((tmp_path / "out.json").read_bytes())


def refusal(tmp_path: Path, lua: str, source: str, body: str = "") -> str:
    with pytest.raises(HookError) as caught:
        change(tmp_path, lua, source, body)
    place, message = str(caught.value).split("json: ", 1)
    assert "s.lua:" in place
    return message


@pytest.mark.parametrize(
    "source",
    [
        "{}",
        "[]",
        '{"a":[],"o":{},"aa":[[],{}],"oo":{"x":[]}}',
        '{"z":1,"a":2,"m":{"y":1,"b":2}}',
        '{"null":null,"list":[null,1,null],"deep":{"x":null}}',
        "[null]",
        "null",
        "true",
        "[true,false]",
        "9007199254740993",
        "[0,-0,1,-1,65536,2147483648,4294967295,9007199254740991,9007199254740992]",
        "[-1,9223372036854775807,-9223372036854775808]",
        '{"hard":18446744073709551615,"soft":123456789012345678901234567890}',
        "[1.0,0.1,-1.5,1e5,1E+5,2.50,1e-7,1e300,1e999,-0.0]",
        '["","\\u0000","\\u0001\\u001f","\\"\\\\/","\\b\\f\\n\\r\\t"]',
        '["é","€","😀","\x7f","\u2028"]',
        '["\\ud800","\\udc00x","\\udfff\\ud800"]',
        '["\udcff\udcfe","a\udce9b"]',
        '{"":1," ":2,"a b":3,"1":4,"é":5,"\\u0000":6}',
        '{"__jsontype":"array","keys":1,"raw":2}',
    ],
)
def test_what_was_read_is_written_byte_for_byte(tmp_path: Path, lua: str, source: str) -> None:
    if source == "9007199254740993":  # nothing remembers the spelling of a number that is in no table
        source = f"[{source}]"
    assert change(tmp_path, lua, source) == source


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (' {\n "a" : [ 1 ,\t2 ] ,\r\n "b" : { } } \n', '{"a":[1,2],"b":{}}'),
        ('["\\u00e9\\u20ac\\ud83d\\ude00\\/"]', '["é€😀/"]'),
        ('{"a":1,"b":2,"a":3}', '{"a":3,"b":2}'),
        ('{"a":null,"a":1}', '{"a":1}'),
        ('{"a":1,"a":null}', '{"a":null}'),
    ],
)
def test_spelling_without_a_meaning_is_not_kept(tmp_path: Path, lua: str, source: str, expected: str) -> None:
    assert change(tmp_path, lua, source) == expected


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("config.new = {}", '{"o":{"k":1},"l":[1,2],"n":null,"new":[]}'),
        ("config.new = json.object()", '{"o":{"k":1},"l":[1,2],"n":null,"new":{}}'),
        ("config.new = json.array()", '{"o":{"k":1},"l":[1,2],"n":null,"new":[]}'),
        ("config.new = json.object({b = 1, a = 2})", '{"o":{"k":1},"l":[1,2],"n":null,"new":{"a":2,"b":1}}'),
        (
            "config.z, config.b = 'x', {{type = 'user'}}",
            '{"o":{"k":1},"l":[1,2],"n":null,"b":[{"type":"user"}],"z":"x"}',
        ),
        ("config.o.k = nil", '{"o":{},"l":[1,2],"n":null}'),
        ("config.l = {}", '{"o":{"k":1},"l":[],"n":null}'),
        ("table.remove(config.l) table.remove(config.l)", '{"o":{"k":1},"l":[],"n":null}'),
        ("table.insert(config.l, 3)", '{"o":{"k":1},"l":[1,2,3],"n":null}'),
        ("table.insert(config.l, 1, {type = 'user'})", '{"o":{"k":1},"l":[{"type":"user"},1,2],"n":null}'),
        ("config.l = json.null config.o = nil", '{"l":null,"n":null}'),
        ("config.n = 5", '{"o":{"k":1},"l":[1,2],"n":5}'),
        ("assert(config.n == nil)", '{"o":{"k":1},"l":[1,2],"n":null}'),
        ("config.o = {[1] = 'a', [2] = 'b'}", '{"o":["a","b"],"l":[1,2],"n":null}'),
        ("config.l = config.l[1] / 2", '{"o":{"k":1},"l":0.5,"n":null}'),
        ("config.l = 1000 / 2", '{"o":{"k":1},"l":500,"n":null}'),
        (
            "config.l = {2^53, -2^62, 0.1, 1e300}",
            '{"o":{"k":1},"l":[9007199254740992,-4611686018427387904,0.1,1e+300],"n":null}',
        ),
        ("config = 'text'", '"text"'),
        ("config = nil", "null"),
    ],
)
def test_the_scripts_changes_are_written(tmp_path: Path, lua: str, body: str, expected: str) -> None:
    assert change(tmp_path, lua, '{"o":{"k":1},"l":[1,2],"n":null}', body) == expected


def test_a_null_in_a_list_keeps_its_place(tmp_path: Path, lua: str) -> None:
    body = """assert(#config == 2 and config[1] == json.null and tostring(config[1]) == 'null')
      for _ in ipairs(config[1]) do error('?') end assert(config[1].x == nil)
      assert(not pcall(function() config[1].x = 1 end))"""
    assert change(tmp_path, lua, "[null,1]", body) == "[null,1]"


def test_a_changed_number_loses_its_old_spelling(tmp_path: Path, lua: str) -> None:
    source = f'{{"hard":{RLIM_INFINITY},"soft":1.0}}'
    assert change(tmp_path, lua, source, "config.hard = 1024 config.soft = 2") == '{"hard":1024,"soft":2}'


def test_a_moved_table_keeps_what_it_holds(tmp_path: Path, lua: str) -> None:
    source = f'[{{"hard":{RLIM_INFINITY},"none":null,"b":{{}},"a":1}}]'
    assert change(tmp_path, lua, source, "config = {moved = config[1]}") == f'{{"moved":{source[1:-1]}}}'


def test_a_copy_with_its_metatables_keeps_its_content(tmp_path: Path, lua: str) -> None:
    body = """local function copy(t)
        if type(t) ~= "table" then return t end
        local c = {} for k, v in pairs(t) do c[k] = copy(v) end
        return setmetatable(c, getmetatable(t))
      end config = copy(config)"""
    source = f'{{"z":{RLIM_INFINITY},"a":{{}},"n":null}}'
    assert change(tmp_path, lua, source, body) == source


def test_a_table_may_be_there_twice(tmp_path: Path, lua: str) -> None:
    assert change(tmp_path, lua, '{"a":[1]}', "config.b = config.a") == '{"a":[1],"b":[1]}'


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("", "line 1, column 1: there is no value"),
        ("  \n", "line 2, column 1: there is no value"),
        ('{\n "a": x}', "line 2, column 7: a value is expected"),
        ('{"a" 1}', "line 1, column 6: ':' is expected"),
        ('{"a":1 "b":2}', "line 1, column 8: ',' or '}' is expected"),
        ('{"a":1,}', "line 1, column 8: a key in double quotes is expected"),
        ("{a:1}", "line 1, column 2: a key in double quotes is expected"),
        ("[1 2]", "line 1, column 4: ',' or ']' is expected"),
        ("[1,]", "line 1, column 4: a value is expected"),
        ("[1] x", "line 1, column 5: there is more after the value"),
        ('["abc', "line 1, column 2: a string doesn't end"),
        ('["a\\x"]', "line 1, column 4: no such escape in a string"),
        ('["\\u12g4"]', "line 1, column 3: \\u wants four hexadecimal digits"),
        ('["a\nb"]', "line 1, column 4: a control character in a string must be escaped"),
        ("[01]", "line 1, column 2: a number can't begin with 0"),
        ("[1.]", "line 1, column 3: ',' or ']' is expected"),
        ("[.5]", "line 1, column 2: a value is expected"),
        ("[+1]", "line 1, column 2: a value is expected"),
        ("[1e]", "line 1, column 3: ',' or ']' is expected"),
        ("nul", "line 1, column 1: a value is expected"),
        ("[" * 600, "line 1, column 513: nested too deep"),
    ],
)
def test_invalid_json_is_refused_with_its_place(tmp_path: Path, lua: str, source: str, expected: str) -> None:
    assert refusal(tmp_path, lua, source) == expected


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("config.a.b[1].f = print", "/a/b/0/f: JSON has no function"),
        ("config.x = io.stderr", "/x: JSON has no userdata"),
        ("config.x = 0/0", "/x: JSON has no "),
        ("config.x = 1/0", "/x: JSON has no inf"),
        ("config.a.b[1].up = config", "/a/b/0/up: the table contains itself"),
        ("config.a = {1, 2, x = 3}", '/a: has the key "x" beside numbered ones: neither an array nor an object'),
        ("config.a[1] = 3", '/a: has the key "b" beside numbered ones: neither an array nor an object'),
        ("config.a.b[1] = nil config.a.b[3] = 1", "/a/b: an array with holes: 1 values, the last numbered 3"),
        ("config.a = {[0] = 1}", "/a: a key that is the number 0"),
        ("config.a = {[1.5] = 1}", "/a: a key that is the number 1.5"),
        ("config.a = {[true] = 1}", "/a: a key that is a boolean"),
        ("config.a = json.array({x = 1})", '/a: is an array, and has the key "x"'),
        ("config.a = json.object({1})", "/a: is an object, and has numbered keys"),
        ("config = print", "the value: JSON has no function"),
        ("for i = 1, 600 do config = {config} end", "nested too deep"),
        ("json.decode(nil)", "a string is expected, not nil"),
    ],
)
def test_values_unfit_for_json_are_refused_with_place(tmp_path: Path, lua: str, body: str, expected: str) -> None:
    assert expected in refusal(tmp_path, lua, '{"a":{"b":[{}]}}', body)


def test_encoding_works_again_after_a_refusal(tmp_path: Path, lua: str) -> None:
    body = "assert(not pcall(json.encode, {a = print})) assert(not pcall(json.decode, '[1')) "
    assert change(tmp_path, lua, '{"a":1}', body) == '{"a":1}'


def test_slurm_offers_the_same_codec_by_other_names(tmp_path: Path, lua: str) -> None:
    body = "assert(slurm.to_json(slurm.from_json('[1,{}]')) == '[1,{}]')"
    assert change(tmp_path, lua, "{}", body) == "{}"


def random_value(chance: random.Random, depth: int = 0) -> Any:
    pick = chance.randrange(9 if depth < 5 else 7)
    if pick == 0:
        return None
    if pick == 1:
        return chance.random() < 0.5
    if pick == 2:
        return chance.choice([0, 1, -1, 2**31, 2**53 + 1, 2**63 - 1, -(2**63), 2**64 - 1, chance.getrandbits(80)])
    if pick == 3:
        return chance.choice([1.0, 0.1, 1e100, -2.5e-9, chance.random(), math.pi])
    if pick < 7:
        return "".join(
            chr(chance.choice([0, 9, 34, 47, 92, 65, 127, 233, 0xD800, 0xFFFF, 0x1F600])) for _ in range(pick)
        )
    count = chance.randrange(5)
    if pick == 7:
        return [random_value(chance, depth + 1) for _ in range(count)]
    return {chance.choice("abcdé\0") * n: random_value(chance, depth + 1) for n in range(count)}


def test_any_json_survives_with_its_types_and_order(tmp_path: Path, lua: str) -> None:
    chance = random.Random(20240117)
    values = [random_value(chance) for _ in range(300)]
    for ascii_only in (True, False):
        source = json.dumps(values, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
        got = json.loads(change(tmp_path, lua, to_text(source)))
        if not ascii_only:
            # two halves written apart as bytes are still two, escaped: JSON readers join them
            got = json.loads(json.dumps(got))
        assert repr(got) == repr(json.loads(source.decode("utf-8", "surrogatepass")))
