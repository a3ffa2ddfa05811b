"""The quick validator and jsonschema give the same verdict, on real configs and on every way to break them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from scrun.bundle import accept, config
from scrun.errors import BundleError

SCHEMA: dict[str, Any] = json.loads((Path(config.__file__).parent / "config.schema.json").read_text())
REFERENCE = jsonschema.Draft202012Validator(SCHEMA)
CONFIGS = sorted((Path(__file__).parent / "configs").glob("*.json"))

EVERYTHING: dict[str, Any] = {
    # What the spec names and no engine's default config has.
    "ociVersion": "1.3.0",
    "process": {
        "args": ["a"],
        "cwd": "/",
        "consoleSize": {"height": 1, "width": 2},
        "scheduler": {
            "policy": "SCHED_FIFO",
            "nice": -5,
            "priority": 1,
            "flags": ["SCHED_FLAG_RECLAIM"],
            "runtime": 1,
            "deadline": 2**64 - 1,
        },
        "ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 4},
        "execCPUAffinity": {"initial": "0", "final": "1-3, 5"},
        "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 1, "hard": 2}],
        "selinuxLabel": "s",
        "oomScoreAdj": -1000,
    },
    "root": {"path": "r", "readonly": False},
    "domainname": "d",
    "mounts": [{"destination": "a", "uidMappings": [{"containerID": 0, "hostID": 1, "size": 2}], "gidMappings": []}],
    "hooks": {
        name: [{"path": "/h", "args": ["h"], "env": ["A=b"], "timeout": 3}]
        for name in ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")
    },
    "linux": {
        "timeOffsets": {"monotonic": {"secs": -1, "nanosecs": 5}},
        "netDevices": {"eth0": {"name": "x"}, "eth1": {}},
        "mountLabel": "m",
        "intelRdt": {
            "closID": "c",
            "schemata": ["L3:0=1"],
            "l3CacheSchema": "",
            "memBwSchema": "MB:0=1",
            "enableCMT": True,
        },
        "memoryPolicy": {"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"]},
        "personality": {"domain": "LINUX32", "flags": []},
        "resources": {
            "memory": {"limit": -1, "swappiness": 0, "disableOOMKiller": True, "useHierarchy": True},
            "cpu": {"shares": 1, "quota": -1, "cpus": "0-1", "mems": "0", "idle": 1},
            "blockIO": {
                "weight": 10,
                "weightDevice": [{"major": 1, "minor": 2, "weight": 3, "leafWeight": 4}],
                "throttleReadBpsDevice": [{"major": 1, "minor": 2, "rate": 3}],
            },
            "hugepageLimits": [{"pageSize": "2MB", "limit": 1}],
            "network": {"classID": 1, "priorities": [{"name": "eth0", "priority": 1}]},
            "rdma": {"mlx": {"hcaHandles": 1, "hcaObjects": 2}},
            "unified": {"memory.high": "1"},
        },
        "seccomp": {"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/s", "listenerMetadata": "m"},
        "rootfsPropagation": "rslave",
        "devices": [{"path": "/dev/x", "type": "c", "fileMode": 511}],
    },
}

OTHERS: list[Any] = [None, True, -1, 2**70, 1.0, 1.5, "", "/", [], [1], {"a": 1}]


def accepted(value: Any) -> bool:
    return accept.accepts(value, SCHEMA, SCHEMA)


def corpus() -> Iterator[Any]:
    yield pytest.param(EVERYTHING, id="everything")
    for path in CONFIGS:
        yield pytest.param(config.load_text(path.read_text(), path.name), id=path.stem)


def subschemas(schema: Any) -> Iterator[dict[str, Any]]:
    yield schema
    for keyword in ("properties", "$defs"):
        for member in schema.get(keyword, {}).values():
            yield from subschemas(member)
    for keyword in ("items", "additionalProperties"):
        if keyword in schema:
            yield from subschemas(schema[keyword])


def variants(value: Any, others: list[Any]) -> Iterator[Any]:
    """``value`` with each of its parts replaced by each of ``others``, and with each member left out, one at a time."""
    yield from others
    if isinstance(value, dict):
        for key, member in value.items():
            yield {k: v for k, v in value.items() if k != key}
            for variant in variants(member, others):
                yield value | {key: variant}
        yield value | {"unknown": 1}
    elif isinstance(value, list):
        for index, member in enumerate(value):
            for variant in variants(member, others):
                yield [*value[:index], variant, *value[index + 1 :]]


def short(value: Any, length: int) -> Any:
    """The lists of a config cut to ``length``: what comes after is alike, and each variant costs a validation."""
    if isinstance(value, dict):
        return {key: short(member, length) for key, member in value.items()}
    return [short(member, length) for member in value[:length]] if isinstance(value, list) else value


def compare(value: Any, others: list[Any]) -> int:
    rejected = 0
    for variant in variants(value, others):
        verdict = accepted(variant)
        assert verdict == REFERENCE.is_valid(variant), variant
        rejected += not verdict
    return rejected


def test_the_schema_is_a_valid_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("value", list(corpus()))
def test_what_the_engines_write_is_accepted_by_both(value: Any) -> None:
    assert [error.message for error in REFERENCE.iter_errors(value)] == []
    assert accepted(value)


@pytest.mark.slow
@pytest.mark.parametrize("value", list(corpus())[1:])
def test_both_agree_on_every_broken_config(value: Any) -> None:
    assert compare(short(value, 1), [True, -1, "x", [], {}]) > 100


@pytest.mark.slow
def test_both_agree_on_every_kind_of_wrong_value() -> None:
    assert compare(short(EVERYTHING, 1), OTHERS) > 1000


# Where our schema was looser than the specification's, and rlimits, which no kernel knows whatever that one says.
STRICT: list[tuple[str, Any, Any]] = [
    ("hooks.poststop.0.timeout", 1, -1),
    ("hooks.prestart.0.timeout", 1, 0),
    *(("process.rlimits.0.type", "RLIMIT_CPU", wrong) for wrong in ("RLIMIT_TEST", "RLIMIT_cpu", "NOFILE", "")),
    ("process.scheduler.policy", "SCHED_IDLE", "SCHED_TEST"),
    ("process.scheduler.flags.0", "SCHED_FLAG_KEEP_POLICY", "F"),
    ("process.ioPriority.class", "IOPRIO_CLASS_IDLE", "IDLE"),
    ("process.ioPriority", {"class": "IOPRIO_CLASS_IDLE"}, {"priority": 1}),
    ("process.execCPUAffinity.initial", "", "a"),
    ("process.execCPUAffinity.final", "0-3,", "1\n"),
    ("process.user", {"username": "u"}, {"username": 1}),
    ("process.commandLine", "c", 1),
    ("linux.resources.pids", {"limit": -1}, {}),
    *(("linux.resources.hugepageLimits.0.pageSize", "64KB", wrong) for wrong in ("2M", "02MB", "MB", "1.5GB", "2MB\n")),
    *(("linux.rootfsPropagation", right, "test") for right in ("private", "shared", "slave", "unbindable", "rshared")),
    *(("linux.seccomp.architectures", ["SCMP_ARCH_RISCV64"], [wrong]) for wrong in ("SCMP_ARCH_TEST", "amd64", 1)),
    ("linux.seccomp.flags", ["SECCOMP_FILTER_FLAG_LOG"], ["F"]),
    ("linux.devices.0.fileMode", 512, 513),
    ("linux.intelRdt.memBwSchema", "MB:", "L3:0=1"),
    ("linux.intelRdt.memBwSchema", "MB:0=1;1=2", "MB:0\n"),
    ("linux.memoryPolicy.mode", "MPOL_LOCAL", "MPOL_TEST"),
    ("linux.memoryPolicy.flags.0", "MPOL_F_NUMA_BALANCING", "F"),
]


def with_value(whole: Any, path: str, value: Any) -> Any:
    """A copy of a config with another value at a path, which may be new."""
    if not path:
        return value
    key, _, rest = path.partition(".")
    if isinstance(whole, list):
        return [with_value(member, rest, value) if str(at) == key else member for at, member in enumerate(whole)]
    return {**whole, key: with_value(whole.get(key, {}), rest, value)}


@pytest.mark.parametrize(("path", "right", "wrong"), STRICT)
def test_what_the_specification_refuses_is_refused_by_both(path: str, right: Any, wrong: Any) -> None:
    good, bad = with_value(EVERYTHING, path, right), with_value(EVERYTHING, path, wrong)
    assert accepted(good)
    assert REFERENCE.is_valid(good)
    assert not accepted(bad)
    assert not REFERENCE.is_valid(bad)
    with pytest.raises(BundleError, match=r"^config\.json: (process|linux|hooks)\.[\w.\[\]]+: (expected|is missing)"):
        config.check_config(bad)


VERSIONS = [
    "1.0.0",
    "1.0.0-",
    "1.0.0+",
    "1.0.0-a+b",
    "1.0.0+a-b",
    "1.00.0",
    "1.0",
    "1.0.0-a+b+c",
    "1.0.0-ä",
    "1.0.٣",
    "11.0.0",
    "1.10.20-rc.1",
    "1.-1.0",
    "1.0.0-+",
    "1..0",
    "1.0.0.0",
    ".0.0",
    "1.0.0-_",
]


@pytest.mark.parametrize("version", [*VERSIONS, "1.0.0\n", "1.0.0+a\n", "1.0.0-a\n", " 1.0.0"])
def test_spelled_out_version_pattern_matches_the_schemas(version: str) -> None:
    value = EVERYTHING | {"ociVersion": version}
    assert accepted(value) == REFERENCE.is_valid(value)


@pytest.mark.parametrize(
    "schema",
    [
        {"maxLength": 3},
        {"type": "number"},
        {"type": ["string", "null"]},
        {"pattern": "^x"},
        {"$ref": "other.json"},
        {"properties": {}, "additionalProperties": {"type": "string"}},
    ],
)
def test_keyword_unknown_to_the_interpreter_raises(schema: dict[str, Any]) -> None:
    with pytest.raises(accept.UnknownKeyword):
        accept.accepts({}, schema, schema)


def test_interpreter_knows_the_whole_schema() -> None:
    for schema in subschemas(SCHEMA):
        for value in OTHERS:
            accept.accepts(value, schema, SCHEMA)
        # `value in enum` would take True for 1.
        assert all(isinstance(choice, str) for choice in schema.get("enum", []))
