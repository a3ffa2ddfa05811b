"""The launcher that docker and podman call: what it writes runs, isolated, and imports scrun from where it is."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import scrun
from scrun import launcher


def _run(*argv: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(argv, env={}, cwd="/", capture_output=True, text=True, check=False)


def test_what_it_writes_runs_without_an_environment(tmp_path: Path) -> None:
    path = tmp_path / "scrun"
    launcher.install(str(path))
    done = _run(str(path), "--version")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"scrun version {scrun.__version__}\n")


def test_a_hot_command_reports_its_error_through_it(tmp_path: Path) -> None:
    path = tmp_path / "scrun"
    launcher.install(str(path))
    done = _run(str(path), "--root", str(tmp_path / "root"), "state", "nosuch")
    assert (done.returncode, done.stdout) == (1, "")
    assert "does not exist" in done.stderr


def test_it_starts_this_python_isolated_and_without_site() -> None:
    assert launcher.program().splitlines()[0] == f"#!{sys.executable} -IS"


def test_it_replaces_a_file_as_a_whole_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "scrun"
    path.write_text("old")
    with path.open() as old:
        launcher.install(str(path))
        assert old.read() == "old"
    assert path.stat().st_mode & 0o777 == 0o755
    assert list(tmp_path.iterdir()) == [path]


def test_its_command_line_takes_one_path_and_says_so(tmp_path: Path) -> None:
    program = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(Path(scrun.__file__).parents[1])!r})\n"]
    program[2] += "from scrun.launcher import main; main()"
    assert _run(*program).stderr == "usage: python -m scrun.launcher [--remove] PATH\n"
    assert _run(*program, str(tmp_path / "written")).returncode == 0
    assert (tmp_path / "written").read_text().endswith("main(blocked)\n")
    failed = _run(*program, str(tmp_path / "no" / "where"))
    assert failed.returncode == 1
    assert failed.stderr.startswith("scrun: can't write ")


def test_beside_a_programs_directory_it_writes_what_man_and_the_shells_look_for(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    launcher.install(str(tmp_path / "bin" / "scrun"))
    shared = tmp_path / "share"
    written = {str(path.relative_to(shared)) for path in shared.rglob("*") if path.is_file()}
    assert written == set(launcher.SHARED)
    assert (shared / "man/man1/scrun.1").read_text().startswith(".TH SCRUN 1 ")
    for path in shared.rglob("*scrun*"):
        assert path.stat().st_mode & 0o777 == 0o644
    assert subprocess.run(["bash", "-n", str(shared / "bash-completion/completions/scrun")], check=True)
