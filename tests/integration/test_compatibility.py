"""docker's and podman's other commands that touch a runtime: docs/compatibility.md's table names these tests."""

from __future__ import annotations

import io
import json
import tarfile
import time
import uuid
from typing import Any

import pytest

from .engines import IMAGE, Engine
from .users import Done
from .waiting import wait_until

LOOP = ("sh", "-c", "trap 'echo bye; exit 42' TERM; echo ready; while :; do sleep 0.1; done")


def test_restart_runs_it_again(main_engine: Engine) -> None:
    name = main_engine.detached(*LOOP, ready="ready")
    main_engine.call("restart", "--time=10", name).ok()
    assert main_engine.is_running(name)
    wait_until(lambda: main_engine.call("logs", name).stdout == "ready\nbye\nready\n", "it has begun again")


def test_attach_gives_input_and_has_the_exit_status(main_engine: Engine) -> None:
    # What attach itself prints, both engines lose now and then when their input ends, with runc too: the log has it.
    script = "echo ready; read line; echo got $line; sleep 1; exit 7"
    name = main_engine.detached("sh", "-c", script, options=("-i",), ready="ready")
    done = main_engine.call("attach", name, stdin=b"hello\n")
    assert main_engine.exit_code(name) == 7
    assert "got hello" in main_engine.call("logs", name).stdout.splitlines()
    assert done.status == 7 or main_engine.is_podman  # podman's client goes when its input ends


def test_a_terminal_is_left_and_attached_to_again(docker: Engine) -> None:
    # podman takes both keys for input when they arrive at once, with crun too.
    name = docker.name()
    script = "echo ready; read one; echo got $one; read two; exit 7"
    words = docker.words("-i", "-t", command=("sh", "-c", script), name=name)
    docker.at_a_terminal(*words, typed={"ready": b"\x10\x11"})
    assert docker.is_running(name)
    status, screen = docker.at_a_terminal("attach", name, typed={"": b"hello\n", "got hello": b"\n"})
    assert status == 7, screen


def test_rename_changes_nothing_else(main_engine: Engine) -> None:
    name, other = main_engine.detached(*LOOP, ready="ready"), main_engine.name()
    main_engine.call("rename", name, other).ok()
    main_engine.call("stop", other).ok()
    assert main_engine.exit_code(other) == 42


def test_commit_makes_an_image_of_what_it_changed(engine: Engine) -> None:
    name, image = engine.name(), f"localhost/test-{uuid.uuid4().hex[:8]}"
    engine.call(*engine.words(command=("sh", "-c", "echo made >/made"), name=name)).ok()
    engine.call("commit", name, image).ok()
    try:
        words = engine.words("--rm", command=("cat", "/made"))
        assert engine.call(*[image if word == IMAGE else word for word in words]).ok().stdout == "made\n"
    finally:
        engine.call("rmi", image).ok()


def test_export_has_what_it_changed(main_engine: Engine) -> None:
    name = main_engine.name()
    main_engine.call(*main_engine.words(command=("sh", "-c", "echo made >/made"), name=name)).ok()
    with tarfile.open(fileobj=io.BytesIO(main_engine.call("export", name).ok().output)) as archive:
        file = archive.extractfile("made")
        assert file
        assert file.read() == b"made\n"


def test_a_file_is_copied_in_before_the_start(engine: Engine) -> None:
    name = engine.name()
    engine.call("create", *engine.words(command=("cat", "/copied"), name=name)[1:]).ok()
    engine.call("cp", "/etc/hostname", f"{name}:/copied").ok()
    assert engine.call("start", "--attach", name).ok().stdout == "login\n"


@pytest.mark.slurm_only("crun's stats are of this host, as they should be")
def test_stats_is_no_error(main_engine: Engine) -> None:
    name = main_engine.detached(*LOOP, ready="ready")
    assert name in main_engine.call("stats", "--no-stream", name).ok().stdout


def test_events_tell_its_life(main_engine: Engine) -> None:
    name = main_engine.name()
    main_engine.call(*main_engine.words(command=("sh", "-c", "exit 7"), name=name))

    def events() -> dict[str, dict[str, Any]]:
        if main_engine.is_podman:
            ending = ("--stream=false", "--format=json")
        else:
            ending = (f"--until={int(time.time()) + 1}", "--format={{json .}}")  # whole seconds
        words = ("events", "--since=10m", *ending, f"--filter=container={name}")
        found = [json.loads(line) for line in main_engine.call(*words).ok().stdout.splitlines()]
        return {(event.get("Status") or event["Action"]).replace("died", "die"): event for event in found}

    # docker answers `run` a moment before it writes down the end.
    wait_until(lambda: "die" in events(), "the end is an event")
    found = events()
    assert "start" in found
    assert str(found["die"].get("ContainerExitCode") or found["die"]["Actor"]["Attributes"]["exitCode"]) == "7"


def test_ps_tells_what_runs_and_what_has_ended(main_engine: Engine) -> None:
    running, ended = main_engine.detached(*LOOP, ready="ready"), main_engine.detached("sh", "-c", "exit 7")
    main_engine.exit_code(ended)
    listed = main_engine.call("ps", "--all", "--format", "{{.Names}} {{.Status}}").ok().stdout.splitlines()
    states = dict(line.split(" ", 1) for line in listed)
    assert states[running].startswith("Up")
    assert states[ended].startswith("Exited (7)")


def test_init_makes_it_ready_to_start(podman: Engine) -> None:
    name = podman.name()
    podman.call("create", *podman.words(command=("sh", "-c", "exit 7"), name=name)[1:]).ok()
    podman.call("init", name).ok()
    assert podman.inspect(name)["State"]["Status"] == "initialized"
    assert podman.call("start", "--attach", name).status == 7


def test_checkpoint_is_refused(podman: Engine) -> None:
    name = podman.detached(*LOOP, ready="ready")
    done: Done = podman.call("container", "checkpoint", name)
    assert done.status != 0
    assert podman.is_running(name)


def test_prune_takes_what_has_ended_only(podman: Engine) -> None:
    running, ended = podman.detached(*LOOP, ready="ready"), podman.detached("true")
    podman.exit_code(ended)
    podman.call("container", "prune", "--force").ok()
    assert podman.call("inspect", ended).status != 0
    assert podman.is_running(running)


def test_cleanup_and_run_of_an_ended_container(podman: Engine) -> None:
    name = podman.detached("sh", "-c", "exit 7")
    podman.exit_code(name)
    podman.call("container", "cleanup", name).ok()
    assert podman.call("start", "--attach", name).status == 7


def test_a_clone_runs_as_its_model(podman: Engine) -> None:
    name, other = podman.name(), podman.name()
    podman.call(*podman.words(command=("sh", "-c", "exit 7"), name=name))
    podman.call("container", "clone", name, other).ok()
    assert podman.call("start", "--attach", other).status == 7
