"""What a hook script reaches of this host."""

from __future__ import annotations

from typing import Any

import pytest

from scrun.lifecycle.worker.host import Host, variables


@pytest.mark.parametrize(
    ("script", "answer"),
    [("echo out; echo error >&2; exit 7", (7, "out\nerror\n")), ("kill -9 $$", (137, "")), ("kill -15 $$", (143, ""))],
)
def test_a_command_reports_its_end_as_shells_do(script: str, answer: tuple[int, str]) -> None:
    assert Host(lambda _level, _text: None).allocator_command(script) == answer


def test_hooks_get_annotations_that_fit_an_environment() -> None:
    record: Any = dict.fromkeys(("id", "pid", "bundle", "user", "uid", "group", "gid", "rootfs"), "x")
    record["annotations"] = {"good": "yes", "a=b": "c", "nul": "\0", "n\0": "x", "long": "x" * 200_000, "later": "yes"}
    plan = dict.fromkeys(("oci_version", "pid_file", "spool_dir", "config_file", "log_file", "log_format"), "")
    given = variables(record, plan, "/run/scrun/x")  # type: ignore[arg-type]
    assert {name for name in given if "ANNOTATION" in name} == {"SCRUN_ANNOTATION_good", "SCRUN_ANNOTATION_later"}
