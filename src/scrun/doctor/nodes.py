"""Asks nodes: a job of one step on each, several at a time, each with a time limit of its own.
A second step tries a container, where that can do no harm (:mod:`scrun.doctor.trial`).
"""

from __future__ import annotations

import os
import selectors
import socket
import subprocess
import time
from typing import TYPE_CHECKING

from scrun import marks
from scrun.bundle import adapt
from scrun.doctor import cluster, node_script, scratch, trial
from scrun.doctor.node_answer import Answer
from scrun.doctor.node_checks import Asked, runtime_root
from scrun.slurm import slurm_conf, srun
from scrun.staging import feed, root_mounts

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from scrun.doctor.site import Site

PATIENCE = 30.0  # seconds that a node has for each of its two steps
AT_ONCE = 32  # nodes
_PORTS = 8  # that an srun may take of SrunPortRange, with some to spare
_GRACE = 3.0  # seconds between SIGTERM and SIGKILL
_MOST = 1 << 20  # bytes that are kept of what a step prints


class Node:
    """One node, what it has said, and the step that runs there now."""

    def __init__(self, name: str, partition: str) -> None:
        self.name, self.partition = name, partition
        self.answer = Answer()
        self.asked = 0.0
        self.noise = (0, 0)
        self.words = ""  # srun's, where there is no answer
        self.is_late = False
        self.is_stopping = False
        self.is_queued = False
        self.container = ""  # one of trial.OUTCOMES; empty: not tried
        self.container_words = ""
        self.process: subprocess.Popen[bytes] | None = None
        self.is_trial = False
        self.until = 0.0
        self.out, self.err = bytearray(), bytearray()

    def of(self, alive: frozenset[int] | None) -> Asked:
        """What the checks look at."""
        return Asked(self.name, self.answer, self.asked, self.noise, alive)


class Asking:
    """A look at some nodes. As a context manager it ends what still runs, and removes what it has made."""

    def __init__(self, site: Site, patience: float) -> None:
        self._site, self._patience = site, patience
        self._job = f"scrun-doctor-{os.urandom(4).hex()}"
        self._program = f"/{self._job}"
        self._selector = selectors.DefaultSelector()
        self._running: list[Node] = []
        self._listener: socket.socket | None = None
        self._bundle = ""
        self._can_cancel = True

    def __enter__(self) -> Asking:
        try:
            self._listener = feed.listen(slurm_conf.srun_ports(self._site.environment))
            self._listener.setblocking(False)
            self._selector.register(self._listener, selectors.EVENT_READ)
        except OSError:
            self._listener = None
        try:
            self._bundle = trial.make_bundle(self._site, self._program)
        except OSError:
            self._bundle = ""
        return self

    def __exit__(self, *_: object) -> None:
        for node in self._running:
            self._end(node)
        until = time.monotonic() + _GRACE
        try:
            for node in self._running:
                self._wait(node, max(0.0, until - time.monotonic()))
        finally:
            self._selector.close()
            if self._listener:
                self._listener.close()
            if self._bundle:
                scratch.remove(self._bundle)

    def run(self, nodes: Sequence[Node], tell: Callable[[Node], None]) -> None:
        """Ask them all; ``tell`` gets each as soon as it is done with.

        Raises:
            SlurmMissing: there is no srun.
        """
        command = srun.srun_command(self._site.oci or {}, self._site.environment)
        first, last = slurm_conf.srun_ports(self._site.environment)
        at_once = min(AT_ONCE, max(1, (last - first) // _PORTS)) if first else AT_ONCE
        waiting = list(nodes)
        while waiting or self._running:
            while waiting and len(self._running) < at_once:
                node = waiting.pop(0)
                self._start(node, [*command, *self._options(node), *self._question()])
            self._read()
            for node in [*self._running]:
                if self._is_over(node):
                    self._running.remove(node)
                    if self._next(node):
                        container = ["-v", f"--container={self._bundle}", "--", self._program]
                        self._start(node, [*command, *self._options(node), *container])
                    else:
                        tell(node)

    def _options(self, node: Node) -> list[str]:
        asked = {"partition": node.partition, **cluster.asked(self._site.environment)}
        return [
            *(f"--job-name={self._name(node)}", f"--nodelist={node.name}", "--nodes=1", "--ntasks=1"),
            *(
                f"--time={int(self._patience) // 60 + 2}",
                "--mpi=none",
                "--export=ALL",
                *(f"--{name}={value}" for name, value in asked.items() if value),
            ),
        ]

    def _name(self, node: Node) -> str:
        """The job's, which nobody else's has."""
        return f"{self._job}-{node.name}"

    def _question(self) -> list[str]:
        runtime, uid, gid = self._site.runtime, self._site.uid, os.getgid()

        def config(kind: str) -> str:
            made = root_mounts.trial(kind, runtime, lambda given: adapt.adapt(given, uid=uid, gid=gid, note=_ignore))
            return made.config

        overlay = config(root_mounts.OVERLAY) if runtime else ""
        bind = config(root_mounts.BIND) if runtime and not uid else ""
        port = str(self._listener.getsockname()[1]) if self._listener else ""
        bundle = f"{self._bundle}/config.json" if self._bundle else ""
        words = [runtime, overlay, bind, runtime_root(runtime), port, bundle]
        return ["--", "/bin/sh", "-c", node_script.SCRIPT, "sh", *words]

    def _start(self, node: Node, argv: Sequence[str]) -> None:
        node.out, node.err = bytearray(), bytearray()
        node.is_stopping = False
        node.until, node.asked = time.monotonic() + self._patience, node.asked or time.time()
        # So that a doctor that is killed leaves no job: srun ends with it.
        ends_too = ["setpriv", "--pdeathsig=TERM"] if self._site.which("setpriv") else []
        node.process = subprocess.Popen(
            [*ends_too, *argv],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=cluster.environment(self._site.environment),
            cwd="/",  # a directory that the node hasn't got has slurmstepd complain
            start_new_session=True,  # a Ctrl-C is ours, and srun is told once
        )
        for pipe, buffer in ((node.process.stdout, node.out), (node.process.stderr, node.err)):
            assert pipe
            self._selector.register(pipe, selectors.EVENT_READ, (node, buffer))
        self._running.append(node)

    def _read(self) -> None:
        left = min((node.until for node in self._running), default=0.0) - time.monotonic()
        for key, _ in self._selector.select(max(0.0, min(left, 0.2))):
            if key.data is None:
                self._accept()
                continue
            node, buffer = key.data
            data = os.read(key.fd, 65536)
            buffer += data[: max(0, _MOST - len(buffer))]
            if not data:
                self._selector.unregister(key.fileobj)
            elif not node.is_trial and buffer is node.out:
                _take(node)

    def _accept(self) -> None:
        """A node has connected, or somebody else: nothing is said."""
        assert self._listener
        try:
            self._listener.accept()[0].close()
        except OSError:
            pass  # it has gone again

    def _is_over(self, node: Node) -> bool:
        """Whether its step has ended, or its time has."""
        assert node.process
        pipes = {key.fileobj for key in self._selector.get_map().values()}
        if node.process.stdout not in pipes and node.process.stderr not in pipes and node.process.poll() is not None:
            self._close(node)
            return True
        if time.monotonic() < node.until:
            return False
        if not node.is_stopping:
            node.is_late, node.is_stopping = node.is_trial or not node.answer.is_complete, True
            self._end(node)
            node.until = time.monotonic() + _GRACE
            return False
        self._wait(node, 0.0)
        return True

    def _next(self, node: Node) -> bool:
        """Keep what the step has said; whether there is another one to begin."""
        if node.is_trial:
            # What a site's plugins print is shown nowhere: nobody knows what it is.
            words = _errors(bytes(node.err), others=not node.noise[1])
            node.container = trial.outcome(self._program, bytes(node.out), bytes(node.err))
            node.container_words = words
            return False
        node.words = _errors(bytes(node.err), others=False)
        node.is_queued = b"queued and waiting for resources" in node.err
        node.noise = (_lines(bytes(node.out)), _lines(bytes(node.err)))
        answer = node.answer
        # Without the user's own /run/user/UID slurmstepd, as root, would have the runtime make one that is root's.
        may = answer.text("oci-lacks") == "-" and not (answer.text("root") or "").startswith("no")
        node.is_trial = answer.is_complete and bool(answer.flag("bundle")) and may
        return node.is_trial

    def _close(self, node: Node) -> None:
        assert node.process
        watched = {key.fileobj for key in self._selector.get_map().values()}
        for pipe in filter(None, (node.process.stdout, node.process.stderr)):
            if pipe in watched:
                self._selector.unregister(pipe)
            pipe.close()

    def _end(self, node: Node) -> None:
        """Tell a step to end, and Slurm to end its job, which might outlive an srun that is killed."""
        assert node.process
        if node.process.poll() is not None:
            return
        node.process.terminate()
        if self._can_cancel:
            argv = [cluster.beside_srun(self._site, "scancel"), f"--name={self._name(node)}"]
            self._can_cancel = self._site.run(*argv, seconds=_GRACE)[0] == 0  # else nobody answers: not again

    def _wait(self, node: Node, seconds: float) -> None:
        """Wait for srun's end that long; then it is killed."""
        assert node.process
        try:
            node.process.wait(seconds)
        except subprocess.TimeoutExpired:
            node.process.kill()
            node.process.wait()
        self._close(node)


def _take(node: Node) -> None:
    """Read the answer anew, as far as it has come: it is short."""
    heard = node.answer.heard_clock
    answer = Answer()
    answer.take(marks.texts(bytes(node.out)), time.time())
    answer.heard_clock = heard or answer.heard_clock
    node.answer = answer


def _ignore(_note: str) -> None:
    """What was adapted is of no interest."""


def _lines(printed: bytes) -> int:
    """How many lines are neither a script's nor Slurm's own."""
    lines = printed.decode("utf-8", "replace").splitlines()
    return sum(bool(line.strip()) and marks.MARK not in line and not _is_slurms(line) for line in lines)


def _is_slurms(line: str) -> bool:
    return line.startswith(("srun: ", "slurmstepd: "))


def _errors(printed: bytes, *, others: bool) -> str:
    """What Slurm said of an error, in its last two lines; before it, with ``others``, what the runtime said last."""
    lines = [line.strip() for line in printed.decode("utf-8", "replace").splitlines() if line.strip()]
    said = [line for line in lines if _is_slurms(line) and "error: " in line][-2:]
    if others:
        said = [line for line in lines if not _is_slurms(line)][-1:] + said
    return "; ".join(line.removeprefix("srun: ").removeprefix("error: ") for line in said)
