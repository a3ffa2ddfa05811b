"""What doesn't reach another host is said, and nothing else is."""

from __future__ import annotations

import os

import pytest

from scrun import log
from scrun.errors import UsageError
from scrun.verbs import handed_on


@pytest.mark.parametrize(
    ("options", "environment", "said"),
    [
        ({}, {}, []),
        ({"preserve_fds": "0", "no_pivot": True, "cgroup": "/x"}, {"LISTEN_FDS": "0"}, []),
        ({"preserve_fds": "3"}, {}, ["--preserve-fds 3"]),
        (
            {"pidfd_socket": "/s", "process_label": "l", "apparmor": "a"},
            {},
            ["--pidfd-socket", "--process-label", "--apparmor"],
        ),
        ({}, {"LISTEN_FDS": "2"}, ["LISTEN_FDS"]),
        ({}, {"LISTEN_FDS": "2", "LISTEN_PID": str(os.getpid())}, ["LISTEN_FDS"]),
        ({}, {"LISTEN_FDS": "2", "LISTEN_PID": "1"}, []),  # its parent's, as of a dockerd that systemd started
        ({}, {"LISTEN_FDS": "x"}, []),
    ],
)
def test_what_is_lost_is_said(
    options: dict[str, object], environment: dict[str, str], said: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    handed_on.warn(options, environment, log.Log())
    lines = capfd.readouterr().err.splitlines()
    assert [line.removeprefix("scrun: warning: ").partition(" has no effect: ")[0] for line in lines] == said


@pytest.mark.parametrize("text", ["many", "-1", "1.5", "\u0663", " 1"])
def test_a_number_of_descriptors_is_one(text: str) -> None:
    with pytest.raises(UsageError, match="is no number of descriptors"):
        handed_on.warn({"preserve_fds": text}, {}, log.Log())
