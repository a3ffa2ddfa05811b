"""Whether the process was run: the config's hook on the node, and what is concluded from its file afterwards."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from scrun.bundle import adapt_start
from scrun.lifecycle.anchor import refusal
from scrun.lifecycle.process.loop import Loop

if TYPE_CHECKING:
    from scrun.oci import Config

RUNS = 'while [ "$1" != -- ]; do shift; done; shift; exec "$@"'  # an srun whose nodes are this host


def run_hook(config: Any, state: bytes = b"{}") -> int:
    """As a runtime does, which writes the container's state and gets EPIPE when nobody reads that."""
    *_, hook = config["hooks"]["createRuntime" if config["process"].get("terminal") else "poststart"]
    with subprocess.Popen(hook["args"], executable=hook["path"], stdin=subprocess.PIPE, env={}) as process:
        assert process.stdin
        process.stdin.write(state)
        process.stdin.close()
        return process.wait()


@pytest.mark.parametrize(("process", "when"), [({}, "poststart"), ({"terminal": True}, "createRuntime")])
def test_the_hook_empties_the_file_beside_the_config(process: Any, when: str, tmp_path: Path) -> None:
    bundle = tmp_path / "a 'b' $c"
    bundle.mkdir()
    (bundle / adapt_start.FILE).write_bytes(adapt_start.CONTENT)
    given: Config = {"process": process, "hooks": {when: [{"path": "/x"}], "prestart": []}}
    told = adapt_start.tell(given, str(bundle))
    assert told["hooks"].keys() == {when, "prestart"}
    assert told["hooks"][when][0] == {"path": "/x"}
    assert given["hooks"] == {when: [{"path": "/x"}], "prestart": []}
    assert run_hook(told) == 0
    assert (bundle / adapt_start.FILE).read_bytes() == b""


def test_a_hook_that_cannot_say_so_is_no_failure(tmp_path: Path) -> None:
    assert run_hook(adapt_start.tell({"process": {}}, str(tmp_path / "nosuch"))) == 0


def test_a_hook_reads_all_of_the_state(tmp_path: Path) -> None:
    larger_than_a_pipe = b"{\n" + 200_000 * b"a" + b"}"
    assert run_hook(adapt_start.tell({"process": {}}, str(tmp_path)), larger_than_a_pipe) == 0


@pytest.fixture
def found(loop: Loop, script: Callable[..., str], tmp_path: Path) -> Iterator[Callable[..., str]]:
    """The conclusion; the node is this host, unless it can't be reached."""

    def find(
        content: str | None,
        *,
        status: int = 1,
        shared: bool = True,
        srun: str = RUNS,
        patience: float = 50,
        **record: Any,
    ) -> str:
        file = tmp_path / adapt_start.FILE
        if content is not None:
            file.write_text(content)
        staged = {"bundle": str(tmp_path), "spool": str(tmp_path) if shared else "", "beside": str(file)}
        answers: list[str] = []

        def done(refused: str) -> None:
            answers.append(refused)
            loop.stop()

        filled = {
            "job": 1,
            "nodes": "node1",
            "srun": [script(srun, "srun")],
            "job_bundle": str(tmp_path),
            "staged": staged,
            **record,
        }
        refusal.find(loop, filled, {"PATH": os.defpath}, status, done, patience)  # type: ignore[arg-type]
        if not answers:
            loop.run()
        return answers[0]

    yield find
    while True:  # a step that nobody waited for any more
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            break


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize(("content", "refused"), [("x", True), ("", False), (None, False)])
def test_it_was_refused_when_the_file_is_as_it_was(
    found: Callable[..., str], content: str | None, refused: bool, shared: bool
) -> None:
    assert bool(found(content, shared=shared)) is refused


def test_nodes_are_not_asked_about_a_success(found: Callable[..., str]) -> None:
    assert found("x", status=0, shared=True)
    assert not found("x", status=0, shared=False)


@pytest.mark.parametrize("record", [{"staged": {}}, {"staged": None}, {"job_bundle": "/the/sites/own"}])
def test_of_a_bundle_that_has_no_such_file_nothing_is_concluded(found: Callable[..., str], record: Any) -> None:
    assert found("x", **record) == ""


@pytest.mark.parametrize("files", [["slurm.conf"], ["slurm.conf", "oci.conf"], []])
def test_a_node_without_oci_conf_is_named(found: Callable[..., str], tmp_path: Path, files: list[str]) -> None:
    for name in files:
        (tmp_path / name).touch()
    said = found("x", status=0, srun=f"export SLURMD_NODENAME=node1 SLURM_CONF={tmp_path}/slurm.conf; {RUNS}")
    assert said.startswith(f"node1 has no {tmp_path}/oci.conf: " if len(files) == 1 else "the container's process was")


def test_nor_when_the_node_cannot_be_asked(found: Callable[..., str]) -> None:
    assert found("x", srun="exit 1") == ""


def test_nor_when_the_node_does_not_answer(found: Callable[..., str], tmp_path: Path) -> None:
    waits = f"timeout 30 sh -c 'until [ -e {tmp_path}/now ]; do sleep 0.05; done'"
    assert found("x", srun=waits, patience=0.1) == ""
    (tmp_path / "now").touch()
    os.wait()
