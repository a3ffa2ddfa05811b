"""The hot path's JSON says what the json package says."""

from __future__ import annotations

import json
import math
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import scrun
from scrun import fastjson

TEXT = st.text(st.sampled_from('aZ"\\/\b\n\t\x00\x1f\x7fé☃😀\udfff '), max_size=12)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4), max_leaves=12
)

BROKEN = ["", " ", "{", "[1", '{"a":}', "[1,]", '"a', '"\n"', "nul", "1 2", "{'a': 1}", '{"a" 1}', "\ufeff1", "[1] x"]


@given(VALUES)
def test_a_document_is_written_as_json_writes_it(value: Any) -> None:
    assert fastjson.dumps(value) == json.dumps(value)


@given(VALUES)
def test_a_value_survives_the_way_there_and_back(value: Any) -> None:
    assert fastjson.loads(fastjson.dumps(value)) == value


@given(VALUES, st.sampled_from([None, 0, 2]), st.text(" \t\n\r", max_size=3))
def test_a_document_is_read_as_json_reads_it(value: Any, indent: int | None, around: str) -> None:
    text = around + json.dumps(value, indent=indent, ensure_ascii=False) + around
    assert fastjson.loads(text) == json.loads(text)


@pytest.mark.parametrize(
    "text", ["1", "-0", "1.5e3", "1E400", '"\\ud83d\\ude00"', '"\\ud800"', "[]", "{}", '{"a":1,"a":2}']
)
def test_grammar_corners_are_read_as_json_does(text: str) -> None:
    assert fastjson.loads(text) == json.loads(text)


@pytest.mark.parametrize("text", BROKEN)
def test_invalid_document_is_an_error_with_position(text: str) -> None:
    with pytest.raises(json.JSONDecodeError) as ours:
        fastjson.loads(text)
    with pytest.raises(json.JSONDecodeError) as theirs:
        json.loads(text)
    assert (str(ours.value), ours.value.pos) == (str(theirs.value), theirs.value.pos)


def test_bad_json_is_an_error_without_json_too() -> None:
    program = f"import sys; sys.path.insert(0, {str(Path(scrun.__file__).parents[1])!r})\n"
    program += f"from scrun import fastjson\nassert 'json' not in sys.modules\nfor text in {BROKEN!r}:\n"
    program += "    sys.modules.pop('json', None), sys.modules.pop('json.decoder', None)\n"
    program += "    try: fastjson.loads(text)\n    except ValueError as error: print(type(error).__name__)\n"
    done = subprocess.run([sys.executable, "-ISc", program], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert done.stdout.split() == ["JSONDecodeError"] * len(BROKEN)


@pytest.mark.parametrize("value", [math.inf, -math.inf])
def test_an_infinity_survives_the_way_there_and_back(value: float) -> None:
    assert fastjson.loads(fastjson.dumps(value)) == value


def test_a_nan_survives_the_way_there_and_back() -> None:
    assert math.isnan(fastjson.loads(fastjson.dumps(math.nan)))


def test_enumeration_member_is_written_as_its_number() -> None:
    assert fastjson.dumps({"signal": signal.SIGTERM}) == '{"signal": 15}'


@pytest.mark.parametrize("value", [b"bytes", {1}, object(), [object()], {"a": {b"": 1}}])
def test_what_has_no_form_in_json_is_refused(value: object) -> None:
    with pytest.raises(TypeError):
        fastjson.dumps(value)


def test_a_tuple_is_an_array() -> None:
    assert fastjson.dumps((1, (2,))) == "[1, [2]]"
