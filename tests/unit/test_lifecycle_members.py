"""Which processes are a container's, found by the shell script that runs on its node: here it runs beside the test."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from binascii import b2a_base64
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scrun.errors import NodeRuntimeError, WrongStatus
from scrun.lifecycle.container.directory import Container
from scrun.lifecycle.node import members, pause_script
from scrun.lifecycle.node.members import Answer
from scrun.lifecycle.operations import ps
from scrun.marks import MARK
from scrun.slurm import srun

Script = Callable[..., str]
Record = Any

# A first process with a child and a grandchild, which say that they are there.
TREE = "sh -c 'sleep 1000 & echo $!; wait' & echo $!; wait"


@pytest.fixture
def tree() -> Iterator[list[int]]:
    """A process, its child and its grandchild, none of them in namespaces of their own."""
    first = subprocess.Popen(["sh", "-c", TREE], stdout=subprocess.PIPE, start_new_session=True)
    assert first.stdout
    pids = [first.pid, *(int(first.stdout.readline()) for _ in range(2))]
    yield sorted(pids)
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    first.stdout.close()


@pytest.fixture
def node(script: Script) -> Callable[..., Record]:
    """Makes the record of a container whose node is this machine: ``node(pid, verbs="resume", nodes=("n1",))``.

    Its srun runs the command here, once for each node; its runtime says that pid, and can do the verbs.
    """

    def make(pid: int, *, verbs: str = "", nodes: tuple[str, ...] = ("n1",)) -> Record:
        state = f'{{"ociVersion": "1.0", "id": "c", "pid": {pid}, "annotations": {{"pid": "7"}}}}'
        runtime = script(
            f'echo "$1" >>"$0.log"; case " {verbs} state " in *" $1 "*) ;; *) exit 1 ;; esac; echo \'{state}\'', "crun"
        )
        names = " ".join(nodes)
        srun = script(
            f'while [ "$1" != -- ]; do shift; done; shift; for n in {names}; do SLURMD_NODENAME=$n "$@"; done; exit 0'
        )
        return {
            "job": 1,
            "step": "0",
            "user": "alice",
            "uid": 2000,
            "tasks": 1,
            "nodes": ",".join(nodes),
            "srun": [srun],
            "runtime": {"kind": "crun", "command": runtime, "name": "%n.%t"},
            "environment": {},
        }

    return make


def found(record: Record) -> list[int]:
    (answer,) = members.ask_nodes(record, "test", 'find_members; echo "$members"').values()
    return sorted(int(pid) for pid in answer.text.split())


def test_the_first_process_and_its_descendants_are_the_containers(node: Callable[..., Record], tree: list[int]) -> None:
    assert found(node(min(tree))) == tree


def test_a_namespace_that_is_the_nodes_own_makes_nobody_a_member(node: Callable[..., Record], tree: list[int]) -> None:
    # This test is in the same pid and mount namespace as they are, and not one of them.
    assert os.getpid() not in found(node(min(tree)))


@pytest.mark.parametrize("pid", [0, 2**22 + 1])
def test_a_container_that_has_ended_has_no_processes(node: Callable[..., Record], pid: int) -> None:
    assert found(node(pid)) == []


def test_each_node_answers_for_itself(node: Callable[..., Record], tree: list[int]) -> None:
    record = node(min(tree), nodes=("n2", "n1"))
    answers = members.ask_nodes(record, "test", 'echo "$SLURMD_NODENAME $1"; exit 3', "one word")
    assert answers == {"n1": Answer(3, "n1 one word\n"), "n2": Answer(3, "n2 one word\n")}
    assert list(answers) == ["n1", "n2"]


def test_a_step_that_fails_is_an_error_with_its_last_words(node: Callable[..., Record], script: Script) -> None:
    record = node(1)
    record["srun"] = [script("echo 'srun: error: Node n1 is down' >&2; exit 1", "failing")]
    with pytest.raises(NodeRuntimeError, match=r"can't ask the nodes of job 1 \(n1\): Node n1 is down"):
        members.ask_nodes(record, "test", "true")


def test_a_node_that_says_nothing_is_an_error(node: Callable[..., Record], script: Script) -> None:
    record = node(1)
    record["srun"] = [script("exit 0", "silent")]
    with pytest.raises(NodeRuntimeError, match="can't ask the nodes of job 1"):
        members.ask_nodes(record, "test", "true")


NOISE = ["Welcome\n", "n1 d2VsY29tZQ==\n", "\n", "half a line", "0\r\n", f"{MARK}\n", f"{MARK} n1 eA==\n"]


@given(st.dictionaries(st.sampled_from(["n1", "n2", "gpu-7"]), st.text(max_size=3000), min_size=1), st.randoms())
def test_what_nodes_say_is_put_together_however_their_lines_come(said: dict[str, str], random: Any) -> None:
    lines: dict[str, list[str]] = {}
    for name, text in said.items():
        encoded = b2a_base64(f"0\n{text}".encode("utf-8", "replace"), newline=False).decode()
        pieces = [f"{MARK}> {name} {encoded[at : at + 900]}\n" for at in range(0, len(encoded), 900)]
        # A TaskProlog before it, and a TaskEpilog's word behind, which may lack the end of its line.
        lines[name] = [*random.sample(NOISE, 2), *pieces, *random.sample(NOISE, 1)]
    mixed = []
    while any(lines.values()):
        mixed.append(lines[random.choice([name for name in lines if lines[name]])].pop(0))
    expected = {name: Answer(0, text.encode("utf-8", "replace").decode()) for name, text in sorted(said.items())}
    assert members.decode("".join(mixed).encode()) == expected


def test_a_container_whose_job_is_queued_has_no_processes_yet() -> None:
    with pytest.raises(WrongStatus, match="container 'box' has no processes yet: job 7 is queued"):
        members.check_there({"job": 7}, "box")  # type: ignore[typeddict-item]


def test_on_a_node_without_ps_the_table_is_made_from_proc(
    node: Callable[..., Record], tree: list[int], container: Container, tmp_path: Path
) -> None:
    for program in ("sh", "grep", "base64", "sed", "tr", "cat"):
        path = shutil.which(program)
        assert path
        (tmp_path / "bin" / program).parent.mkdir(exist_ok=True)
        (tmp_path / "bin" / program).symlink_to(path)
    container.record.update({**node(min(tree)), "status": "running", "environment": {"PATH": str(tmp_path / "bin")}})  # type: ignore[typeddict-item]
    header, *rows = ps.table(container, ()).splitlines()
    assert header.split() == ["PID", "PPID", "S", "CMD"]
    assert sorted(int(row.split()[0]) for row in rows) == tree
    assert sorted(row.split(maxsplit=3)[3] for row in rows)[-1] == "sleep 1000"


# --- pause and resume: what they do on the node


def run(record: Record, script: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", "-c", members.script(record, script)],
        env={**os.environ, "SLURMD_NODENAME": "n1"},
        capture_output=True,
        text=True,
        check=False,
    )


def states(pids: list[int]) -> str:
    out = ""
    for pid in pids:
        with open(f"/proc/{pid}/stat", encoding="ascii") as stat:
            out += stat.read().rpartition(")")[2].split()[0]
    return out


def test_a_node_whose_runtime_cannot_pause_stops_every_process_by_signals(
    node: Callable[..., Record], tree: list[int]
) -> None:
    record = node(min(tree))
    done = run(record, pause_script.STOP)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert states(tree) == "TTT"
    done = run(record, pause_script.CONTINUE)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert "T" not in states(tree)


def test_a_node_whose_runtime_can_pause_is_left_to_it(node: Callable[..., Record], tree: list[int]) -> None:
    done = run(node(min(tree), verbs="pause"), pause_script.STOP)
    assert done.returncode == 0
    assert "T" not in states(tree)


def test_a_process_that_was_not_stopped_is_sent_no_continue(node: Callable[..., Record]) -> None:
    program = "import signal, time; signal.signal(18, lambda *_: print('continued', flush=True)); print(1, flush=True)"
    process = subprocess.Popen(["python3", "-c", f"{program}; time.sleep(1000)"], stdout=subprocess.PIPE)
    assert process.stdout
    process.stdout.readline()
    assert run(node(process.pid, verbs="resume"), pause_script.CONTINUE).returncode == 0
    process.kill()
    assert process.stdout.read() == b""
    process.wait()
    process.stdout.close()


FORKING = "while :; do (sleep 0.01 &); done"


def test_no_fork_escapes_the_signals(node: Callable[..., Record]) -> None:
    first = subprocess.Popen(["sh", "-c", f"({FORKING}) & ({FORKING}) & {FORKING}"], start_new_session=True)
    try:
        record = node(first.pid)
        assert run(record, pause_script.STOP).returncode == 0
        assert set(states(found(record))) <= {"T", "Z"}
    finally:
        os.killpg(first.pid, signal.SIGKILL)
        first.wait()


# The shell's own kill, which first does nothing a few times, as a process does that can't be stopped at the moment.
SLOW_TO_STOP = 'times=0; kill() { times=$((times + 1)); [ $times -lt 5 ] || command kill "$@"; }\n'


def test_a_process_that_is_slow_to_stop_is_looked_at_until_it_has(node: Callable[..., Record], tree: list[int]) -> None:
    done = run(node(min(tree)), SLOW_TO_STOP + pause_script.STOP)
    assert (done.returncode, states(tree)) == (0, "TTT")


def test_no_script_shows_the_mark_as_an_answer_has_it(node: Callable[..., Record], script: Script) -> None:
    record = node(1)
    record["srun"] = [script(f'printf \'%s\\n\' "$@" "${srun.SCRIPT}"', "showing")]
    with pytest.raises(NodeRuntimeError):  # a TaskProlog that shows arguments and variables is no answer
        members.ask_nodes(record, "test", "true")
