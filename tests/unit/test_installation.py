"""scrun install and uninstall: what is written runs, isolated, and nobody else's files are touched."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from builds import built
from installations import Installation

import scrun

pytestmark = pytest.mark.slow
PAGES = {
    "share/man/man1/scrun.1",
    "share/bash-completion/completions/scrun",
    "share/zsh/site-functions/_scrun",
    "share/fish/vendor_completions.d/scrun.fish",
}


@pytest.fixture
def installation(tmp_path: Path) -> Installation:
    return Installation(tmp_path)


def _run(*argv: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(argv, env={}, cwd="/", capture_output=True, text=True, check=False)


def test_the_program_runs_without_an_environment(installation: Installation) -> None:
    said = installation.call("install")
    assert said[-1] == f"scrun {scrun.__version__} is installed: {installation.program}"
    done = _run(str(installation.program), "--version")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"scrun version {scrun.__version__}\n")


def test_a_hot_command_reports_its_error_through_it(installation: Installation, tmp_path: Path) -> None:
    installation.call("install")
    done = _run(str(installation.program), "--root", str(tmp_path / "root"), "state", "nosuch")
    assert (done.returncode, done.stdout) == (1, "")
    assert "does not exist" in done.stderr


def test_it_starts_this_python_isolated_and_without_site(installation: Installation) -> None:
    installation.call("install")
    assert installation.program.read_text().splitlines()[0] == f"#!{sys.executable} -IS"


@pytest.fixture(scope="module")
def front() -> Path:
    """A scrun-front."""
    return built("front")


@pytest.fixture
def with_front(installation: Installation, front: Path) -> Installation:
    """An installation of a package with which scrun-front was built."""
    shutil.copy(front, installation.source / "scrun/front")
    return installation


def test_a_built_scrun_front_comes_before_python(with_front: Installation, tmp_path: Path) -> None:
    # pytest's directories are too long for a first line.
    with tempfile.TemporaryDirectory(prefix="n") as directory:
        with_front.prefix = Path(directory)
        with_front.program = with_front.prefix / "bin/scrun"
        with_front.call("install")
        (version,) = with_front.versions()
        line = f"#!{version}/scrun/front/scrun-front {sys.executable}"
        assert with_front.program.read_text().splitlines()[0] == line
        assert with_front.says() == scrun.__version__
        done = _run(str(with_front.program), "--root", str(tmp_path / "root"), "state", "nosuch")
        assert (done.returncode, done.stdout) == (1, "")
        assert "does not exist" in done.stderr
        assert with_front.call("uninstall")
        assert with_front.files() == set()


@pytest.mark.parametrize("name", ["with a blank", "x" * 120])
def test_a_path_unfit_for_a_shebang_uses_python(with_front: Installation, name: str) -> None:
    with_front.prefix = with_front.prefix / name
    with_front.program = with_front.prefix / "bin/scrun"
    with_front.call("install")
    assert with_front.program.read_text().splitlines()[0] == f"#!{sys.executable} -IS"
    assert with_front.says() == scrun.__version__


def test_a_scrun_front_that_cannot_run_is_omitted(with_front: Installation) -> None:
    (with_front.source / "scrun/front/scrun-front").write_bytes(b"\x7fELF of another machine")
    with_front.call("install")
    assert with_front.program.read_text().splitlines()[0] == f"#!{sys.executable} -IS"


def test_everybody_can_read_manual_pages_and_shell_completions(installation: Installation) -> None:
    installation.call("install")
    assert installation.files() == {"bin/scrun", *PAGES}
    assert (installation.prefix / "share/man/man1/scrun.1").read_text().startswith(".TH SCRUN 1 ")
    for name in PAGES:
        assert (installation.prefix / name).stat().st_mode & 0o777 == 0o644
    assert installation.program.stat().st_mode & 0o777 == 0o755
    assert subprocess.run(["bash", "-n", installation.prefix / "share/bash-completion/completions/scrun"], check=True)


def test_a_dry_run_tells_everything_and_writes_nothing(installation: Installation) -> None:
    said = installation.call("install", "--dry-run", "--engines", "podman,docker")
    assert not installation.prefix.exists()
    assert not installation.slurm.exists()
    assert not installation.config.exists()
    done = installation.call("install", "--engines", "podman,docker")
    assert f'+scrun = ["{installation.program}"]' in said
    assert {line.removeprefix("would write ") for line in said if line.startswith("would write ")} == {
        line.removeprefix("wrote ") for line in done if line.startswith("wrote ")
    }


def test_a_second_time_changes_nothing(installation: Installation) -> None:
    installation.call("install", "--engines", "podman,docker")
    assert [line for line in installation.call("install", "--engines", "podman,docker") if "wrote" in line] == []


DIES = """
from scrun.installation import files
write = files.write
def dies(file, below=""):
    if file.path.endswith("/scrun.1"):
        os._exit(9)  # when the program has been written, and its page not yet
    write(file, below)
files.write = dies
"""


def test_installing_works_after_a_killed_installation(installation: Installation) -> None:
    installation.upgrade("1.0")
    text = (installation.source / "scrun/__init__.py").read_text()
    (installation.source / "scrun/__init__.py").write_text(text.replace("'1.0'", "'1.1'"))
    prefix = ("--prefix", str(installation.prefix))
    assert installation.run("install", *prefix, before=DIES).returncode == 9
    assert installation.says() == "1.1"
    installation.upgrade("1.2")
    assert installation.says() == "1.2"
    installation.call("uninstall")
    assert installation.files() == set()


def test_a_running_program_is_replaced_as_a_whole(installation: Installation) -> None:
    installation.call("install")
    with installation.program.open() as old:
        installation.upgrade("1.0")
        assert scrun.__version__ in old.read()
    assert installation.says() == "1.0"
    assert [path.name for path in installation.program.parent.iterdir()] == ["scrun"]


@pytest.mark.parametrize("name", ["bin/scrun", "share/man/man1/scrun.1"])
def test_files_of_others_stay_and_nothing_is_installed(installation: Installation, name: str) -> None:
    path = installation.prefix / name
    path.parent.mkdir(parents=True)
    path.write_text("the site's own")
    assert installation.refused("install").startswith(f"scrun: {path} exists, and isn't scrun's or was changed: ")
    assert installation.files() == {name}
    assert path.read_text() == "the site's own"


def test_what_was_changed_since_is_left_alone(installation: Installation) -> None:
    installation.call("install")
    page = installation.prefix / "share/man/man1/scrun.1"
    page.write_text("changed")
    installation.refused("install")
    page.unlink()
    installation.call("install")
    page.write_text("changed")
    assert f"{page} stays: it was changed" in installation.call("uninstall")
    assert installation.files() == {"share/man/man1/scrun.1"}


def test_pips_own_script_is_replaced(installation: Installation, tmp_path: Path) -> None:
    script = tmp_path / "venv-scrun"
    script.write_text(f"#!{sys.executable}\nimport sys\nfrom scrun.__main__ import main\nsys.exit(main())\n")
    installation.program.parent.mkdir(parents=True)
    installation.program.symlink_to(script)
    installation.call("install")
    assert not installation.program.is_symlink()
    assert script.read_text().startswith(f"#!{sys.executable}\nimport sys\n")


def test_the_sites_hooks_are_written_once(installation: Installation) -> None:
    installation.call("install")
    assert installation.hooks.read_text() == (Path(scrun.__file__).parent / "lua_hooks/scrun.lua").read_text()
    installation.hooks.write_text("-- the site's own")
    assert f"{installation.hooks} stays: it is not as scrun wrote it" in installation.call("install")
    installation.call("uninstall")
    assert installation.hooks.read_text() == "-- the site's own"


def test_hooks_that_nobody_changed_follow_the_version(installation: Installation) -> None:
    installation.call("install")
    shipped = installation.source / "scrun/lua_hooks/scrun.lua"
    shipped.write_text(shipped.read_text() + "-- of the next version\n")
    assert f"wrote {installation.hooks}" in installation.call("install")
    assert installation.hooks.read_text() == shipped.read_text()
    installation.call("uninstall")
    assert not installation.hooks.exists()


def test_an_engine_that_is_named_finds_the_program(installation: Installation) -> None:
    docker = installation.config / "docker/daemon.json"
    docker.parent.mkdir(parents=True)
    docker.write_text('{"data-root": "/data", "runtimes": {"other": {"path": "/other"}}}')
    docker.chmod(0o640)
    installation.call("install", "--engines", "docker,podman")
    fragment = installation.config / "containers/containers.conf.d/scrun.conf"
    assert f'scrun = ["{installation.program}"]\n' in fragment.read_text()
    document = json.loads(docker.read_text())
    assert document["runtimes"] == {"other": {"path": "/other"}, "scrun": {"path": str(installation.program)}}
    assert document["data-root"] == "/data"
    assert docker.stat().st_mode & 0o777 == 0o640
    installation.call("uninstall")
    assert not fragment.exists()
    assert json.loads(docker.read_text()) == {"data-root": "/data", "runtimes": {"other": {"path": "/other"}}}


def test_a_docker_runtime_written_by_hand_stays(installation: Installation) -> None:
    docker = installation.config / "docker/daemon.json"
    docker.parent.mkdir(parents=True)
    text = json.dumps({"runtimes": {"scrun": {"path": str(installation.program)}}})
    docker.write_text(text)
    installation.call("install", "--engines", "docker")
    assert docker.read_text() == text
    installation.call("uninstall")
    assert docker.read_text() == text


def test_uninstalling_removes_dockers_file_when_it_is_empty(installation: Installation) -> None:
    installation.call("install", "--engines", "docker")
    assert (installation.config / "docker/daemon.json").exists()
    installation.call("uninstall")
    assert not (installation.config / "docker/daemon.json").exists()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{", "is not JSON"),
        ("[]", "is not a configuration that docker can read"),
        ('{"runtimes": []}', "is not a configuration that docker can read"),
        ('{"runtimes": {"scrun": {"path": "/usr/bin/other"}}}', "has another runtime called scrun"),
    ],
)
def test_a_docker_file_scrun_cannot_change_is_kept(installation: Installation, text: str, why: str) -> None:
    docker = installation.config / "docker/daemon.json"
    docker.parent.mkdir(parents=True)
    docker.write_text(text)
    assert why in installation.refused("install", "--engines", "docker")
    assert docker.read_text() == text
    assert not installation.prefix.exists()


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("--engines", "podman,rocker"), "engine 'rocker' is unknown: use podman or docker, or both: podman,docker"),
        (("--engines", "podman", "--destdir", "/d"), "--engines configures this host, and --destdir stages a package"),
        (("--python", "/nowhere/python"), "can't run /nowhere/python"),
        (("--python", "/no where/python"), "/no where/python can't be named in a program's first line"),
        (("--python", f"/{'x' * 200}/python"), "/python can't be named in a program's first line"),
    ],
)
def test_options_that_make_no_sense_are_refused(installation: Installation, words: tuple[str, ...], why: str) -> None:
    assert why in installation.refused("install", *words)
    assert not installation.prefix.exists()


@pytest.mark.parametrize("name", ['with "quotes"', "with {braces}", "with 'one' blank", "back\\slash"])
def test_a_prefix_may_have_any_name(installation: Installation, name: str) -> None:
    installation.prefix = installation.prefix / name
    installation.program = installation.prefix / "bin/scrun"
    installation.call("install")
    assert installation.says() == scrun.__version__
    shutil.rmtree(installation.prefix / "lib")
    done = _run(str(installation.program), "list")
    assert done.stderr.endswith(f"install it again, or remove {installation.program}\n")


def test_an_interpreter_may_be_named_without_its_path(installation: Installation) -> None:
    name = Path(sys.executable).name
    installation.path = f"{Path(sys.executable).parent}:{installation.path}"
    installation.call("install", "--python", name)
    assert installation.program.read_text().startswith(f"#!{sys.executable} -IS\n")


def test_a_place_that_cannot_be_written_is_named(installation: Installation) -> None:
    installation.prefix.write_text("a file")
    assert f"{installation.prefix}/lib" in installation.refused("install")


def test_uninstalling_without_an_installation_is_an_error(installation: Installation) -> None:
    assert (
        installation.refused("uninstall") == f"scrun: no scrun is installed in {installation.prefix}: name its --prefix"
    )


def test_a_program_without_its_parts_says_so(installation: Installation) -> None:
    installation.call("install")
    shutil.rmtree(installation.prefix / "lib")
    done = _run(str(installation.program), "list")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("scrun: No module named 'scrun")
    assert done.stderr.endswith(f"install it again, or remove {installation.program}\n")
    assert done.stderr.count("\n") == 1


def test_scripts_copy_a_package_that_is_staged_whole(installation: Installation, tmp_path: Path) -> None:
    root = tmp_path / "root"
    installation.call("install", "--destdir", str(root), "--python", sys.executable)
    staged = {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}
    prefix = str(installation.prefix).lstrip("/")
    dist = f"{prefix}/lib/scrun/dist/"
    assert {name for name in staged if not name.startswith(dist)} == {
        *(f"{prefix}/{name}" for name in ("bin/scrun", *PAGES)),
        "etc/slurm/scrun.lua",
    }
    assert f"{dist}scrun/__main__.py" in staged
    assert not [name for name in staged if "__pycache__" in name]
    # dpkg unpacks it: the program works before the copy is made, and runs the copy afterwards.
    shutil.copytree(root / prefix, installation.prefix)
    shutil.rmtree(installation.source)
    assert installation.says() == scrun.__version__
    done = _run(str(installation.program), "install")
    assert done.stdout == f"scrun {scrun.__version__} is installed: {installation.program}\n"
    (version,) = installation.versions()
    assert str(version) in installation.program.read_text()
    shutil.rmtree(installation.prefix / "lib/scrun/dist/scrun")
    assert installation.says() == scrun.__version__
    assert _run(str(installation.program), "uninstall").stdout == ""
    assert installation.versions() == []
    assert "bin/scrun" in installation.files(), "it is the package's, which removes it"


def test_a_package_is_staged_from_what_runs(installation: Installation, tmp_path: Path) -> None:
    other = installation.prefix / "lib/scrun/dist/scrun"
    other.mkdir(parents=True)
    (other / "__init__.py").write_text("raise ImportError('of another version')")
    installation.call("install", "--destdir", str(tmp_path / "root"))
    staged = tmp_path / "root" / str(other).lstrip("/") / "__init__.py"
    assert staged.read_text() == Path(scrun.__file__).read_text()


def test_uninstalling_one_of_two_keeps_shared_hooks(installation: Installation, tmp_path: Path) -> None:
    installation.call("install")
    other = installation.run("install", "--prefix", str(tmp_path / "other"))
    assert (other.returncode, other.stderr) == (0, "")
    gone = installation.run("uninstall", "--prefix", str(tmp_path / "other"))
    assert (gone.returncode, gone.stderr) == (0, "")
    assert installation.hooks.exists()
    assert installation.says() == scrun.__version__
