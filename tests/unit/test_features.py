"""features: valid by the runtime-spec's features.md and features-linux.md, of the version that it says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

import scrun
from scrun.lifecycle.operations import features

STRINGS = {"type": "array", "items": {"type": "string"}, "uniqueItems": True}
ENABLED = {"type": "object", "properties": {"enabled": {"type": "boolean"}}, "additionalProperties": False}
# The properties that the two documents have in version 1.2; both say that others must not be there.
SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["ociVersionMin", "ociVersionMax"],
    "additionalProperties": False,
    "properties": {
        "ociVersionMin": {"type": "string", "pattern": r"^\d+\.\d+\.\d+"},
        "ociVersionMax": {"type": "string", "pattern": r"^\d+\.\d+\.\d+"},
        "hooks": {
            **STRINGS,
            "items": {
                "enum": ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"]
            },
        },
        "mountOptions": STRINGS,
        "annotations": {"type": "object", "additionalProperties": {"type": "string"}},
        "potentiallyUnsafeConfigAnnotations": STRINGS,
        "linux": {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "namespaces": {
                    **STRINGS,
                    "items": {"enum": ["cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts"]},
                },
                "capabilities": {**STRINGS, "items": {"pattern": "^CAP_[A-Z_]+$"}},
                "cgroup": {
                    "type": "object",
                    "additionalProperties": False,
                    "properties": {
                        name: {"type": "boolean"} for name in ("v1", "v2", "systemd", "systemdUser", "rdma")
                    },
                },
                "seccomp": {
                    "type": "object",
                    "additionalProperties": False,
                    "properties": {
                        "enabled": {"type": "boolean"},
                        "actions": {**STRINGS, "items": {"pattern": "^SCMP_ACT_[A-Z_]+$"}},
                        "operators": {**STRINGS, "items": {"pattern": "^SCMP_CMP_[A-Z_]+$"}},
                        "archs": {**STRINGS, "items": {"pattern": "^SCMP_ARCH_[A-Z0-9_]+$"}},
                        "knownFlags": STRINGS,
                        "supportedFlags": STRINGS,
                    },
                },
                "apparmor": ENABLED,
                "selinux": ENABLED,
                "intelRdt": ENABLED,
                "mountExtensions": {
                    "type": "object",
                    "properties": {"idmap": ENABLED},
                    "additionalProperties": False,
                },
            },
        },
    },
}


@pytest.fixture
def environment(script: Callable[..., str], tmp_path: Path) -> dict[str, str]:
    """One with an oci.conf and an srun."""
    _configure(tmp_path, script("echo slurm-wlm 26.05.5"))
    return {"SLURM_CONF": str(tmp_path / "slurm.conf"), "PATH": str(tmp_path)}


def _configure(directory: Path, srun: str) -> None:
    (directory / "slurm.conf").touch()
    patterns = "".join(f'RunTime{verb}="crun {verb.lower()} %n"\n' for verb in ("Kill", "Delete", "Run"))
    (directory / "oci.conf").write_text(f"SrunPath={srun}\n{patterns}")


def test_it_is_valid(environment: dict[str, str]) -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    jsonschema.validate(features.features_document(environment), SCHEMA)


def test_the_versions_are_those_that_we_take(environment: dict[str, str]) -> None:
    document: Any = features.features_document(environment)
    assert (document["ociVersionMin"], document["ociVersionMax"]) == ("1.0.0", scrun.OCI_VERSION)


def test_what_every_config_loses_is_not_claimed(environment: dict[str, str]) -> None:
    # bundle/adapt.py takes these out: hooks, cgroups, labels, resctrl.
    document: Any = features.features_document(environment)
    assert document["hooks"] == []
    assert not any(document["linux"]["cgroup"].values())
    assert not any(document["linux"][name]["enabled"] for name in ("apparmor", "selinux", "intelRdt"))


def test_slurms_version_is_among_the_annotations(environment: dict[str, str]) -> None:
    document: Any = features.features_document(environment)
    annotations = document["annotations"]
    assert annotations == {"org.scrun.version": scrun.__version__, "org.scrun.slurm.version": "26.05.5"}


@pytest.mark.parametrize("text", ["exit 1", "true", "kill $$"])
def test_an_srun_without_an_answer_is_no_error(text: str, script: Callable[..., str], tmp_path: Path) -> None:
    _configure(tmp_path, script(text))
    document: Any = features.features_document({"SLURM_CONF": str(tmp_path / "slurm.conf")})
    assert list(document["annotations"]) == ["org.scrun.version"]
    jsonschema.validate(document, SCHEMA)


def test_without_slurm_it_is_valid_too(tmp_path: Path) -> None:
    document: Any = features.features_document({"SLURM_CONF": str(tmp_path / "nosuch" / "slurm.conf")})
    assert list(document["annotations"]) == ["org.scrun.version"]
