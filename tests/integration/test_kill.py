"""kill: a signal to the container's process (runtime-spec, runtime.md, Kill)."""

from __future__ import annotations

import pytest

from .conftest import MakeContainer
from .oci import Container

TRAP = "trap 'exit 42' TERM; trap 'echo got hup' HUP; echo ready; while :; do sleep 0.1; done"


def trapping(container: MakeContainer) -> Container:
    """A container that has set its traps."""
    one = container("sh", "-c", TRAP).started()
    one.wait_for_output(b"ready\n")
    return one


@pytest.mark.parametrize("name", ["TERM", "SIGTERM", "15", "sigterm", "term"])
def test_a_signal_may_be_named_in_every_way(container: MakeContainer, name: str) -> None:
    one = trapping(container)
    if not one.runtime.is_scrun and name.islower():
        pytest.skip("crun: knows the names in upper case")
    one.call("kill", name).ok()
    assert one.ended() == 42


def test_term_is_the_signal_when_none_is_named(container: MakeContainer) -> None:
    one = trapping(container)
    one.call("kill").ok()
    assert one.ended() == 42


def test_handled_signal_leaves_the_container_running(container: MakeContainer) -> None:
    one = trapping(container)
    one.call("kill", "HUP").ok()
    one.wait_for_output(b"got hup\n")
    assert one.status() == "running"
    one.call("kill", "1").ok()
    one.wait_for_output(b"got hup\ngot hup\n")


def test_first_process_ignores_signals_without_a_handler(container: MakeContainer) -> None:
    # pid_namespaces(7): it gets only what it has a handler for; docker stop's KILL comes later.
    one = container("sh", "-c", "trap 'echo usr1' USR1; echo ready; while :; do sleep 0.1; done").started()
    one.wait_for_output(b"ready\n")
    one.call("kill", "TERM").ok()
    one.call("kill", "USR1").ok()
    one.wait_for_output(b"usr1\n")
    assert one.status() == "running"


@pytest.mark.slurm_only("reports what ended the process itself, which is the container's")
@pytest.mark.parametrize("name", ["KILL", "9", "SIGKILL"])
def test_kill_ends_the_container_with_137(container: MakeContainer, name: str) -> None:
    one = trapping(container)
    one.call("kill", name).ok()
    assert one.ended() == 137
    assert one.status() == "stopped"


def test_kill_ends_the_containers_process(container: MakeContainer) -> None:
    one = trapping(container)
    one.call("kill", "KILL").ok()
    assert one.ended() in (137, -9)
    one.wait_for("stopped")


@pytest.mark.parametrize("options", [["--all"], ["-a"]])
def test_all_is_accepted(container: MakeContainer, options: list[str]) -> None:
    one = trapping(container)
    if not one.runtime.is_scrun:
        pytest.skip("crun: --all needs a cgroup of the container's own")
    one.call("kill", "TERM", options=options).ok()
    assert one.ended() == 42


@pytest.mark.slurm_only("waits for start with SIGTERM pending, and has no child yet that could be ended by one")
@pytest.mark.parametrize(("name", "status"), [("TERM", 143), ("INT", 130), ("KILL", 137), ("HUP", 129)])
def test_created_container_ends_with_signal_status_without_running(
    container: MakeContainer, name: str, status: int
) -> None:
    one = container("sh", "-c", "echo ran").created()
    one.call("kill", name).ok()
    assert one.ended() == status
    assert one.status() == "stopped"
    assert one.output == b""


@pytest.mark.parametrize("name", ["0", "WINCH", "CHLD", "CONT"])
@pytest.mark.slurm_only("the process that waits for start is its own business")
def test_a_created_container_survives_what_ends_no_process(container: MakeContainer, name: str) -> None:
    one = container("true").created()
    one.call("kill", name).ok()
    assert one.status() == "created"
    one.call("start").ok()
    assert one.ended() == 0


@pytest.mark.parametrize("name", ["NOSUCH", "SIGNOSUCH", "65", "-1", "999999", "", "TERM "])
def test_an_unknown_signal_is_refused_and_changes_nothing(container: MakeContainer, name: str) -> None:
    one = trapping(container)
    done = one.call("kill", *(["--"] if name.startswith("-") else []), name)
    if not one.runtime.is_scrun and not done.status:
        pytest.skip("crun: takes any number, and no name for 0")
    assert done.status == 1
    assert len(done.stderr.splitlines()) == 1
    assert one.status() == "running"


@pytest.mark.slurm_only("the engine signals the process itself")
@pytest.mark.parametrize(("number", "status"), [(15, 42), (9, 137)])
def test_signal_to_the_pid_files_process_reaches_container(container: MakeContainer, number: int, status: int) -> None:
    # docker does so when the runtime's kill doesn't help, conmon when its --timeout is over.
    one = trapping(container)
    one.runtime.user.run("kill", f"-{number}", one.pid_file.read_text()).ok()
    assert one.ended() == (-9 if number == 9 else status)
    one.wait_for("stopped")


def test_container_can_be_killed_right_after_start(container: MakeContainer) -> None:
    one = container("sleep", "1000").started()
    one.call("kill", "KILL").ok()
    assert one.ended() in (137, -9)


@pytest.mark.slurm_only("microseconds lie between")
def test_a_signal_right_after_start_is_not_lost(container: MakeContainer) -> None:
    one = container("sh", "-c", "trap 'exit 42' HUP; while :; do sleep 0.1; done").created()
    one.call("start").ok()
    one.call("kill", "KILL").ok()
    assert one.ended() == 137
