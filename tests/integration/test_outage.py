"""slurmctld that doesn't answer for a while: what was owed to it is paid as soon as it does."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from . import slurm
from .conftest import MakeContainer
from .oci import Container
from .processes import descendants, is_running
from .rootfs import new_network
from .waiting import PATIENCE, wait_until

pytestmark = pytest.mark.slurm_only("has no Slurm")


SLURMCTLD = ("login", 6817)
AFTERWARDS = 2 * PATIENCE  # seconds; the pause between two attempts grows to a minute


class Outage:
    """A way to slurmctld that can be cut, for those who have its ``conf``; the cluster itself goes on."""

    def __init__(self, make_conf: Callable[..., Path]) -> None:
        self._listening = socket.create_server((SLURMCTLD[0], 0))
        self._port = self._listening.getsockname()[1]
        self._may_answer = threading.Event()
        self._may_answer.set()
        self._serve()
        self.conf = make_conf(MessageTimeout="2", SlurmctldPort=str(self._port))

    def begin(self) -> None:
        """Nobody reaches slurmctld from now on."""
        self._listening.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listening.close()

    def end(self) -> None:
        """All is as it was."""
        self._listening = socket.create_server((SLURMCTLD[0], self._port))
        self._serve()

    @contextlib.contextmanager
    def unanswered(self) -> Iterator[None]:
        """slurmctld does what it is asked, and its answers come when this ends."""
        self._may_answer.clear()
        try:
            yield
        finally:
            self._may_answer.set()

    def _serve(self) -> None:
        self._thread = threading.Thread(target=self._accept, args=[self._listening])
        self._thread.start()

    def _accept(self, listening: socket.socket) -> None:
        while True:
            try:
                there, _address = listening.accept()
            except OSError:  # shut down
                return
            with contextlib.suppress(OSError), there, socket.create_connection(SLURMCTLD) as slurmctld:
                self._carry(there, slurmctld)

    def _carry(self, one: socket.socket, other: socket.socket) -> None:
        """Until either ends: one question and its answer."""
        ways = {one: other, other: one}
        while True:
            for source in select.select(list(ways), [], [])[0]:
                if not (data := source.recv(65536)):
                    return
                if source is other:
                    self._may_answer.wait()
                ways[source].sendall(data)


@pytest.fixture
def outage(slurm_conf: Callable[..., Path]) -> Iterator[Outage]:
    """For containers that are created with ``-f`` and its ``conf``."""
    one = Outage(slurm_conf)
    yield one
    one.begin()


def gave_up(one: Container) -> bool:
    """Whether the anchor has found that it can't give the job back."""
    return "slurmctld can't be reached" in (one.path / "anchor.log").read_text()


def test_killed_containers_job_is_released_after_the_outage(container: MakeContainer, outage: Outage) -> None:
    one = container("sleep", "1000").created(global_options=["-f", str(outage.conf)])
    job = one.record["job"]
    outage.begin()
    one.call("kill", "KILL").ok()
    one.wait_for("stopped")
    wait_until(lambda: gave_up(one), "the anchor has tried")
    assert one.ended() == 137, "who waits for the container needn't wait for slurmctld"
    assert job in slurm.jobs()
    outage.end()
    wait_until(lambda: job not in slurm.jobs(), "its job has gone", AFTERWARDS)
    assert one.status() == "stopped"
    one.call("delete").ok()


def test_what_was_deleted_meanwhile_goes_afterwards(container: MakeContainer, outage: Outage) -> None:
    one = container("sleep", "1000").created(global_options=["-f", str(outage.conf)])
    job = one.record["job"]
    outage.begin()
    refused = one.call("delete", options=["--force"])
    assert refused.status == 1
    assert b"slurmctld can't be reached" in refused.errors
    assert one.path.exists()
    outage.end()
    wait_until(lambda: job not in slurm.jobs(), "its job has gone", AFTERWARDS)
    wait_until(lambda: not one.path.exists(), "its directory has gone", AFTERWARDS)


@pytest.mark.parametrize("killed", [False, True], ids=["anchor goes on", "anchor is killed"])
def test_delete_of_what_stopped_waits_for_no_job(killed: bool, container: MakeContainer, outage: Outage) -> None:
    one = container("sleep", "1000").created(global_options=["-f", str(outage.conf)])
    record = one.record
    outage.begin()
    one.call("kill", "KILL").ok()
    assert one.ended() == 137
    assert not gave_up(one), "its anchor still tries"
    assert one.runtime.run("delete", one.id).ok().errors == b""
    assert b"does not exist" in one.call("state").errors
    assert record["job"] in slurm.jobs()
    if killed:
        for pid in (record["anchor"], *descendants(record["anchor"])):
            os.kill(pid, signal.SIGKILL)
    outage.end()
    again = Container(one.runtime, one.id, one.bundle, one.directory)
    try:
        assert again.create(global_options=["-f", str(outage.conf)]).ok().errors == b""
        assert again.record["job"] != record["job"]
        wait_until(lambda: record["job"] not in slurm.jobs(), "the first one's job has gone", AFTERWARDS)
    finally:
        again.clean_up()


def test_repeated_delete_tries_again_at_once(container: MakeContainer, outage: Outage) -> None:
    one = container("sleep", "1000").created(global_options=["-f", str(outage.conf)])
    job = one.record["job"]
    outage.begin()
    assert one.call("delete").status == 1
    assert one.call("delete").status == 1
    outage.end()
    one.call("delete").ok()
    assert not one.path.exists()
    wait_until(lambda: job not in slurm.jobs(), "its job has gone", AFTERWARDS)


@pytest.mark.parametrize("change", [None, new_network], ids=["machine's network", "new network"])
def test_killed_anchors_job_ends_after_the_outage(container: MakeContainer, outage: Outage, change: object) -> None:
    one = container("sleep", "1000", change=change).created(global_options=["-f", str(outage.conf)])
    record = one.record
    outage.begin()
    os.kill(record["anchor"], signal.SIGKILL)
    assert one.ended() == 137, "who waits for the container needn't wait for slurmctld"
    assert record["job"] in slurm.jobs()
    outage.end()
    wait_until(lambda: record["job"] not in slurm.jobs(), "its job has gone", AFTERWARDS)
    wait_until(lambda: not is_running(one.record["debtor"][0]), "who stayed for it has gone", AFTERWARDS)
    assert one.status() == "stopped"


def test_deleted_container_without_processes_goes_after_the_outage(container: MakeContainer, outage: Outage) -> None:
    one = container("sleep", "1000").created(global_options=["-f", str(outage.conf)])
    record = one.record
    os.kill(record["pid"], signal.SIGSTOP)  # so that it doesn't see the anchor's end
    outage.begin()
    os.kill(record["anchor"], signal.SIGKILL)
    os.kill(record["pid"], signal.SIGKILL)
    refused = one.call("delete", options=["--force"])
    assert refused.status == 1
    assert b"slurmctld can't be reached" in refused.errors
    debtor = one.record["debtor"][0]
    outage.end()
    wait_until(lambda: record["job"] not in slurm.jobs(), "its job has gone", AFTERWARDS)
    wait_until(lambda: not is_running(debtor), "who stayed for it has gone", AFTERWARDS)
    assert not one.path.exists()


def test_a_job_granted_to_nobody_is_given_back(container: MakeContainer, outage: Outage) -> None:
    one = container("sleep", "1000")
    before = set(slurm.jobs())
    with outage.unanswered():
        creating = one.runtime.user.start(
            *one.runtime.argv("-f", str(outage.conf), "create", "--bundle", str(one.bundle), one.id)
        )
        wait_until(lambda: set(slurm.jobs()) > before, "Slurm has made a job")
        record = one.record
        for pid in (creating.pid, record["anchor"], record["pid"]):
            os.kill(pid, signal.SIGKILL)
        creating.wait()
        deleting = one.runtime.user.start(*one.runtime.argv("delete", one.id))
    assert deleting.wait(PATIENCE) == 0
    assert not one.path.exists()
    wait_until(lambda: set(slurm.jobs()) <= before, "the job has gone")
