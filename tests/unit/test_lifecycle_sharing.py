"""Whose namespace a config names: found among the records, by a stand-in's pid or by a namespace's file."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from scrun.errors import ScrunError
from scrun.lifecycle.caller import sharing
from scrun.lifecycle.container import network, origin
from scrun.lifecycle.container.directory import Container
from scrun.lifecycle.process import processes
from scrun.slurm import job

FILE = "/run/netns/netns-of-nobody"
MakeOther = Callable[..., Container]


@pytest.fixture
def other(container: Container) -> Iterator[MakeOther]:
    """Makes further containers of the same root directory, which live as long as this process."""
    made: list[Container] = []

    def make(name: str, **record: Any) -> Container:
        one = Container.claim(os.path.dirname(container.path), name)
        one.record = {**container.record, "id": name, "status": "running", "job": 7, "job_owned": True, **record}  # type: ignore[typeddict-item]
        one.save()
        made.append(one)
        return one

    yield make
    for one in made:
        os.close(one.descriptor)


def config(*paths: tuple[str, str], **more: Any) -> Any:
    return {
        "linux": {"namespaces": [{"type": "mount"}, *({"type": kind, "path": path} for kind, path in paths)]},
        **more,
    }


def ours(kind: str) -> tuple[str, str]:
    """A namespace of the process that stands in for the other containers."""
    return kind, f"/proc/{os.getpid()}/ns/{'net' if kind == 'network' else kind}"


def shared_job(container: Container, wanted: Any) -> tuple[int, str, str] | None:
    found = sharing.find_shared(container, wanted).job()
    return (found.job, found.container, found.kind) if found else None


@pytest.mark.parametrize("kind", ["network", "ipc", "uts", "pid", "user", "cgroup", "mount"])
def test_a_paths_pid_tells_whose_it_is(container: Container, other: MakeOther, kind: str) -> None:
    other("one")
    assert shared_job(container, config(ours(kind))) == (7, "one", kind)


def test_a_file_tells_it_too(container: Container, other: MakeOther) -> None:
    other("one", network_namespace=FILE)
    assert shared_job(container, config(("network", FILE))) == (7, "one", "network")


def test_a_new_namespace_or_nobodys_is_nobodys(container: Container, other: MakeOther) -> None:
    other("one", network_namespace=FILE)
    assert shared_job(container, {}) is None
    assert shared_job(container, config()) is None
    assert shared_job(container, config(("network", f"{FILE}-other"), ("ipc", "/proc/1/ns/ipc"))) is None
    assert shared_job(container, config(("ipc", FILE))) is None


def test_the_hosts_own_network_is_nobodys(container: Container, other: MakeOther, tmp_path: Path) -> None:
    # docker names one file for all the containers that have it.
    path = tmp_path / "default"
    path.symlink_to("/proc/self/ns/net")
    other("one", network_namespace=str(path))
    assert shared_job(container, config(("network", str(path)))) is None


@pytest.mark.parametrize(
    "gone", [{"status": "stopped"}, {"pid_started": 1}, {"pid": 1, "pid_started": 1}], ids=["ended", "dead", "another"]
)
def test_what_has_ended_is_not_shared_with(container: Container, other: MakeOther, gone: Any) -> None:
    other("one", **gone)
    assert shared_job(container, config(ours("network"))) is None


def test_a_container_does_not_share_with_itself(container: Container) -> None:
    container.record.update({"job": 7})
    container.save()
    assert shared_job(container, config(ours("network"))) is None


def test_the_network_counts_before_the_rest(container: Container, other: MakeOther) -> None:
    other("two", pid=os.getppid(), pid_started=processes.start_time(os.getppid()), job=8)
    other("one")
    parents = f"/proc/{os.getppid()}/ns"
    assert shared_job(container, config(ours("ipc"), ("network", f"{parents}/net"))) == (8, "two", "network")


def test_sharing_without_a_job_depends_on_the_path(container: Container, other: MakeOther) -> None:
    other("one", job=0, network_namespace=FILE)
    with pytest.raises(ScrunError, match=r"^container 'one', whose ipc namespace this one shares, has no job yet"):
        shared_job(container, config(ours("ipc")))
    assert shared_job(container, config(("network", FILE))) is None


def test_the_network_is_the_others_if_already_known(container: Container, other: MakeOther) -> None:
    said: list[str] = []
    wanted = config(ours("network"))
    for its in (network.NODE, network.NONE):
        one = other(f"with-{its}", network=its)
        assert sharing.find_shared(container, wanted).network(wanted, said.append) == its
        one.remove()
    assert said == ["container with-none has no network: the two have a loopback each, and can't reach each other"]
    other("later", network=network.LATER)  # whose stand-in's is this machine's, by now
    assert sharing.find_shared(container, wanted).network(wanted, said.append) == network.HOST


def test_the_configs_host_name_precedes_the_others(container: Container, other: MakeOther) -> None:
    other("one", host_name="pod")
    for wanted, name in (
        (config(ours("uts")), "pod"),
        (config(ours("uts"), hostname="mine"), "mine"),
        (config(ours("network")), ""),
        (config(), ""),
    ):
        assert sharing.find_shared(container, wanted).host_name(wanted) == name


def recorded(shared: sharing.Shared) -> Any:
    """What it writes into a record."""
    record: Any = {}
    shared.add_to(record, {}, "node")
    return record


def test_a_joining_container_is_the_job_owners_guest(container: Container, other: MakeOther) -> None:
    host = other("host")
    other(
        "guest", job_owned=False, guest_of=host.path, pid=os.getppid(), pid_started=processes.start_time(os.getppid())
    )
    shared = sharing.find_shared(container, config(("network", f"/proc/{os.getppid()}/ns/net")))
    shared.join(container, job.request({}, {}, shared=shared.job()))
    assert recorded(shared) == {"network": "node", "guest_of": host.path}
    assert os.readlink(f"{host.path}/guests/box") == container.path


def test_who_does_not_want_to_is_nobodys_guest(container: Container, other: MakeOther) -> None:
    host = other("host")
    shared = sharing.find_shared(container, config(ours("network")))
    shared.join(container, job.request({}, {"SCRUN_SHARE_JOB": "no"}, shared=shared.job()))
    assert recorded(shared) == {"network": "node"}
    assert not os.path.exists(f"{host.path}/guests")


def test_a_job_others_give_back_has_no_guests(container: Container, other: MakeOther) -> None:
    host = other("host", job_owned=False, host=str(origin.here()))  # in a shell of salloc's
    shared = sharing.find_shared(container, config(ours("network")))
    shared.join(container, job.request({}, {}, shared=shared.job()))
    assert not os.path.exists(f"{host.path}/guests")


def test_joining_an_ending_container_is_an_error(container: Container, other: MakeOther) -> None:
    host = other("host")
    shared = sharing.find_shared(container, config(ours("network")))
    host.record["status"] = "stopped"
    host.save()
    with pytest.raises(
        ScrunError, match=r"^container 'host', in whose job this one was to run, has ended meanwhile: try again$"
    ):
        shared.join(container, job.request({}, {}, shared=shared.job()))
