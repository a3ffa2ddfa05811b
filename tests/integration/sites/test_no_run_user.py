"""Nodes without /run/user/UID: a Prolog makes the directory that oci.conf names, and a node without one is named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from integration import slurm
from integration.conftest import MakeContainer
from integration.waiting import wait_until

CLUSTERS_OWN = Path("/src/devcluster/etc/slurm/oci.conf")  # with --root=/run/user/%U/crun


def test_runtime_keeps_state_where_the_prolog_made_it(container: MakeContainer) -> None:
    one = container("sleep", "1000").started()
    job = one.record["job"]
    assert slurm.on_nodes("ls /run/user") == []
    assert any(path.startswith(f"/run/oci/{one.runtime.user.uid}/") for path in slurm.containers_on_nodes(job))
    one.call("kill", "KILL").ok()
    assert one.ended() == 137


def test_cancelled_job_leaves_nothing_there(container: MakeContainer) -> None:
    one = container("sh", "-c", "trap '' TERM; echo up; sleep 1000").started()
    job = one.record["job"]
    one.wait_for_output(b"up")
    slurm.cancel(job)
    one.ended()
    wait_until(lambda: job not in slurm.jobs(), f"job {job} has gone")
    wait_until(lambda: slurm.containers_on_nodes(job) == [], "nothing is left on the nodes")


def test_an_oci_conf_for_other_nodes_is_told(container: MakeContainer, oci_conf: Callable[[str], None]) -> None:
    oci_conf(CLUSTERS_OWN.read_text())
    one = container("true").created()
    node, uid = one.record["nodes"], one.runtime.user.uid
    said = one.call("start").stderr
    assert one.ended() == 125
    assert f"scrun: the container's process was not run: {node}: create directory `/run/user/{uid}`" in said
    assert "Prolog" in said
