"""Whose containers, where, and which ids they may have."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from scrun import identity

RUNC = re.compile(r"[a-zA-Z0-9_+-][a-zA-Z0-9_+.-]*")  # runc, libcontainer: idRegex, matched as a whole


@given(st.text("aZ09_+-./\\ \n\0éß٣", max_size=8))
@example("a\n")
@example("é")
@example("٣")
@example("..")
@example("../../evil")
def test_an_id_is_one_that_runc_takes(text: str) -> None:
    assert identity.is_valid_id(text) == bool(RUNC.fullmatch(text))


@pytest.mark.parametrize(("length", "valid"), [(0, False), (1, True), (1024, True), (1025, False)])
def test_an_id_has_at_most_1024_characters(length: int, valid: bool) -> None:
    assert identity.is_valid_id("a" * length) is valid


def test_real_uid_is_outside_the_user_namespace() -> None:
    inside, outside, count = map(int, Path("/proc/self/uid_map").read_text().split()[:3])
    if not inside <= os.getuid() < inside + count:
        pytest.skip("this process has a user namespace with several ranges")
    assert identity.real_uid() == os.getuid() - inside + outside


def test_namespace_uid_stands_for_the_user_outside(tmp_path: Path) -> None:
    import subprocess
    import sys

    import scrun

    program = f"import sys; sys.path.insert(0, {str(Path(scrun.__file__).parents[1])!r})\n"
    program += "import os; from scrun import identity; print(os.getuid(), identity.real_uid(), identity.default_root())"
    done = subprocess.run(
        ["unshare", "--user", "--map-user=1234", sys.executable, "-ISc", program],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode and "unshare" in done.stderr:
        pytest.skip(f"no user namespace can be made here: {done.stderr.strip()}")
    uid = identity.real_uid()
    assert done.stdout.split() == ["1234", str(uid), f"/run/user/{uid}/scrun"]


def test_containers_are_kept_in_the_users_runtime_directory() -> None:
    assert identity.default_root() == f"/run/user/{identity.real_uid()}/scrun"


@pytest.mark.parametrize(
    ("effective", "real", "is_root"), [(0, 0, True), (0, 1000, False), (1000, 1000, False), (1000, 0, False)]
)
def test_machines_root_is_not_a_user_namespaces_root(
    effective: int, real: int, is_root: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: effective)
    monkeypatch.setattr(identity, "real_uid", lambda: real)
    assert identity.is_machines_root() is is_root
