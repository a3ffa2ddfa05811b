"""Ask nodes, several at a time, by a job with one step on each, which has a time limit of its own.

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
from scrun.listening import listen
from scrun.slurm import slurm_conf, srun
from scrun.staging import root_mounts

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from scrun.doctor.site import Site

PATIENCE = 30.0  # seconds that a node has for each of its two steps
AT_ONCE = 32  # nodes that are asked at the same time
_PORTS = 8  # ports of SrunPortRange that an srun may use, with some to spare
_GRACE = 3.0  # seconds between SIGTERM and SIGKILL
_MOST = 1 << 20  # bytes that are kept of what a step prints


class Node:
    """One node, its answer, and the step that runs there now."""

    def __init__(self, name: str, partition: str) -> None:
        self.name, self.partition = name, partition
        self.answer = Answer()
        self.asked = 0.0
        self.noise = (0, 0)
        self.words = ""  # srun's last errors
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
        """The data for the checks."""
        return Asked(self.name, self.answer, self.asked, self.noise, alive)


class Asking:
    """A context manager that asks nodes; at its end no step runs, and nothing of it is left."""

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
            self._listener = socket.socket(fileno=listen(slurm_conf.srun_ports(self._site.environment)))
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

    def ask_all(self, nodes: Sequence[Node], tell: Callable[[Node], None]) -> None:
        """Ask all nodes; ``tell`` gets each node as soon as its steps have ended.

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
        """The name of the node's job, which no other job has."""
        return f"{self._job}-{node.name}"

    def _question(self) -> list[str]:
        runtime, uid, gid = self._site.runtime, self._site.uid, os.getgid()

        def config(kind: str) -> str:
            trial = root_mounts.trial(kind, runtime, lambda bare: adapt.adapt(bare, uid=uid, gid=gid, note=_ignore))
            return trial.config

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
            cwd="/",  # slurmstepd complains about a directory that the node doesn't have
            start_new_session=True,  # so that a Ctrl-C reaches only this process, which ends srun
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
        """Accept a connection of a node or of anybody else, and close it."""
        assert self._listener
        try:
            self._listener.accept()[0].close()
        except OSError:
            pass  # the other end is gone

    def _is_over(self, node: Node) -> bool:
        """Whether the node's step has ended, or its time is over."""
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
        """Keep the output of the step; return whether another step is to begin."""
        if node.is_trial:
            # Lines of a site's plugins are not shown, because nobody knows what is in them.
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
        """End a step, and cancel its job, because the job might outlive an srun that is killed."""
        assert node.process
        if node.process.poll() is not None:
            return
        node.process.terminate()
        if self._can_cancel:
            argv = [cluster.beside_srun(self._site, "scancel"), f"--name={self._name(node)}"]
            # If slurmctld doesn't answer, it isn't asked again.
            self._can_cancel = self._site.run_program(*argv, seconds=_GRACE)[0] == 0

    def _wait(self, node: Node, seconds: float) -> None:
        """Wait so many seconds for srun's end; then kill it."""
        assert node.process
        try:
            node.process.wait(seconds)
        except subprocess.TimeoutExpired:
            node.process.kill()
            node.process.wait()
        self._close(node)


def _take(node: Node) -> None:
    """Parse the whole answer again, because it is short."""
    heard = node.answer.heard_clock
    answer = Answer()
    answer.take(marks.texts(bytes(node.out)), time.time())
    answer.heard_clock = heard or answer.heard_clock
    node.answer = answer


def _ignore(_note: str) -> None:
    """Drop a remark about a change to the trial's config."""


def _lines(printed: bytes) -> int:
    """The number of lines that neither a script of scrun's nor Slurm has printed."""
    lines = printed.decode("utf-8", "replace").splitlines()
    return sum(bool(line.strip()) and marks.MARK not in line and not _is_slurms(line) for line in lines)


def _is_slurms(line: str) -> bool:
    return line.startswith(("srun: ", "slurmstepd: "))


def _errors(printed: bytes, *, others: bool) -> str:
    """Slurm's last two lines about errors; with ``others`` the last line of the runtime before them."""
    lines = [line.strip() for line in printed.decode("utf-8", "replace").splitlines() if line.strip()]
    shown = [line for line in lines if _is_slurms(line) and "error: " in line][-2:]
    if others:
        shown = [line for line in lines if not _is_slurms(line)][-1:] + shown
    return "; ".join(line.removeprefix("srun: ").removeprefix("error: ") for line in shown)
