"""A container on its engine's network, when a process or a node fails, or the site doesn't want it."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from . import slurm
from .engines import Engine
from .processes import is_running, parent
from .test_engine_networks import fetched, server
from .test_network import addresses, has_the_nodes
from .waiting import wait_until

pytestmark = pytest.mark.slurm_only("there is no node")

HOOKS = "DisableHooks=createContainer\n"


def helpers() -> list[int]:
    """The pids of scrun-network on this host."""
    found = []
    for path in Path("/proc").glob("[0-9]*/comm"):
        try:
            found += [int(path.parent.name)] if path.read_text() == "scrun-network\n" else []
        except OSError:
            continue
    return found


class Served:
    """A container with a published port that answers, and what serves it."""

    def __init__(self, engine: Engine, port: int) -> None:
        before, jobs = {*helpers()}, slurm.jobs()
        self.engine, self.address = engine, f"127.0.0.1:{port}"
        self.name = server(engine, "-p", f"{port}:80")
        assert fetched(self.address) == "hello\n"
        (self.helper,) = {*helpers()} - before
        (self.job,) = slurm.jobs() - jobs

    def ended(self) -> int:
        """Wait until it has ended, and nothing is left of it; its exit code."""
        code = self.engine.exit_code(self.name)
        wait_until(lambda: self.helper not in helpers(), "scrun-network has ended")
        wait_until(lambda: self.job not in slurm.jobs(), "the job has ended")
        wait_until(lambda: not slurm.files_on_nodes(self.job), "nothing is left on the nodes")
        assert slurm.on_nodes("ls -d /tmp/scrun-agent-* 2>/dev/null; :") == []
        return code


@pytest.fixture
def served(main_engine: Engine) -> Served:
    return Served(main_engine, 18190 if main_engine.is_podman else 18191)


def test_nothing_is_left_when_it_is_removed(served: Served) -> None:
    served.engine.call("kill", served.name).ok()
    assert served.ended() == 137


def test_another_scrun_network_takes_over(served: Served) -> None:
    os.kill(served.helper, signal.SIGKILL)
    wait_until(lambda: not is_running(served.helper), "it is gone")
    (served.helper,) = wait_until(lambda: [pid for pid in helpers() if pid != served.helper], "there is another one")
    assert fetched(served.address) == "hello\n"
    assert served.engine.is_running(served.name)
    served.engine.call("kill", served.name).ok()
    assert served.ended() == 137


def test_all_ends_with_the_anchor(served: Served) -> None:
    os.kill(parent(served.helper), signal.SIGKILL)
    served.ended()


def test_all_ends_with_the_job(served: Served) -> None:
    slurm.cancel(served.job)
    assert served.ended()


def test_a_suspended_container_answers_when_it_goes_on(served: Served) -> None:
    subprocess.run(["scontrol", "suspend", str(served.job)], check=True)
    try:
        url = f"http://{served.address}/a"
        wait_until(
            lambda: subprocess.run(["busybox", "wget", "-T", "1", "-q", "-O", "-", url], check=False).returncode,
            "it answers no longer",
        )
    finally:
        subprocess.run(["scontrol", "resume", str(served.job)], check=True)
    assert fetched(served.address) == "hello\n"


def test_a_restarted_container_has_its_network_again(served: Served) -> None:
    done = served.engine.call("restart", "--time=0", served.name)
    if served.engine.has_old_pasta and "Address already in use" in done.stderr:
        done = served.engine.call("start", served.name)
    done.ok()
    assert fetched(served.address) == "hello\n"


class Unfit(NamedTuple):
    """What nodes lack, in scrun's words, and what takes it from them and gives it back."""

    lack: str
    take: str
    give: str


_LIMIT = "/proc/sys/user/max_net_namespaces"  # the kernel's own number is the machine's, and not the nodes' alone
UNFIT = (
    Unfit("it has no /dev/net/tun that its users may open", "chmod 600 /dev/net/tun", "chmod 666 /dev/net/tun"),
    Unfit(
        "user.max_net_namespaces is 0 on it",
        f"echo 0 >/tmp/none && mount --bind /tmp/none {_LIMIT}",
        f"umount {_LIMIT}; rm /tmp/none",
    ),
)


@pytest.fixture(params=UNFIT, ids=["tun", "namespaces"])
def unfit(request: pytest.FixtureRequest) -> Iterator[Unfit]:
    """Nodes that can't have an engine's network, and nobody remembers that they could."""
    kind: Unfit = request.param
    slurm.on_nodes(kind.take)
    for path in Path("/run/user").glob("*/scrun/.seen-by-nodes.json"):
        path.unlink()
    yield kind
    slurm.on_nodes(kind.give)


@pytest.mark.parametrize("unfit", UNFIT[:1], indirect=True, ids=["tun"])
def test_on_unfit_nodes_their_network_is_said(podman: Engine, unfit: Unfit) -> None:
    """With the other kind no container runs at all: crun mounts no /proc where something is mounted over the node's."""
    done = podman.run("ip", "-o", "-4", "addr", options=("--rm", "-p", "18192:80")).ok()
    assert "10.77.0.10" in done.stdout
    assert done.stderr.count("the container uses its node's network, and not the engine's: node") == 1
    assert unfit.lack in done.stderr


def test_on_unfit_nodes_the_engines_network_is_refused(podman: Engine, unfit: Unfit) -> None:
    done = podman.run("true", options=("--rm", "-e", "SCRUN_NET=engine"))
    assert done.status == 126
    assert "can't be on the engine's network (SCRUN_NET=engine): node" in done.stderr
    assert f"{unfit.lack}: SCRUN_NET=node uses" in done.stderr


def test_without_hooks_it_is_the_nodes_network(main_engine: Engine, oci_conf: Callable[[str], None]) -> None:
    oci_conf(Path("/etc/slurm/oci.conf").read_text() + HOOKS)
    done = main_engine.run("ip", "-o", "-4", "addr", options=("--rm", "-p", "18193:80")).ok()
    assert "10.77.0.10" in done.stdout
    assert "and not the engine's: oci.conf disables hooks" in done.stderr
    done = main_engine.run("true", options=("--rm", "-e", "SCRUN_NET=engine"))
    assert done.status
    assert "(SCRUN_NET=engine): oci.conf disables hooks" in done.stderr


def test_a_site_can_forbid_it(main_engine: Engine, oci_conf: Callable[[str], None]) -> None:
    oci_conf(Path("/etc/slurm/oci.conf").read_text() + "#scrun: NetAllowed=node\n")
    assert has_the_nodes(addresses(main_engine, "-p", "18194:80"))
    done = main_engine.run("true", options=("--rm", "-e", "SCRUN_NET=engine"))
    assert done.status
    assert "SCRUN_NET=engine: this site's oci.conf allows node only (NetAllowed)" in done.stderr


def test_a_site_can_make_it_the_rule(main_engine: Engine, oci_conf: Callable[[str], None]) -> None:
    oci_conf(Path("/etc/slurm/oci.conf").read_text() + "#scrun: Net=engine\n")
    assert not has_the_nodes(addresses(main_engine))
    assert has_the_nodes(addresses(main_engine, "-e", "SCRUN_NET=node"))


def test_several_tasks_are_on_their_nodes_network(main_engine: Engine) -> None:
    done = main_engine.run("ip", "-o", "-4", "addr", options=("--rm", "-p", "18195:80", "-e", "SCRUN_NTASKS=2")).ok()
    assert done.stdout.count("10.77.0.10") == 2
    assert "not the engine's: it has 2 tasks" in done.stderr
