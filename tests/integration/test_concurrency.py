"""Several containers at once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from .conftest import MakeContainer
from .oci import Container

MANY = 10


def test_two_containers_run_side_by_side(container: MakeContainer) -> None:
    script = ("sh", "-c", "trap 'exit 42' TERM; echo ready; while :; do sleep 0.1; done")
    one, other = (container(*script).started() for _ in range(2))
    for each in (one, other):
        each.wait_for_output(b"ready\n")
    one.call("kill", "TERM").ok()
    assert one.ended() == 42
    assert other.status() == "running"
    other.call("kill", "KILL").ok()
    other.wait_for("stopped")


def test_many_concurrent_containers_keep_output_and_status(container: MakeContainer) -> None:
    several = [container("sh", "-c", f"cat; echo {number}; exit {number}") for number in range(MANY)]

    def live(one: Container) -> int:
        one.started()
        return one.ended()

    with ThreadPoolExecutor(MANY) as pool:
        assert list(pool.map(live, several)) == list(range(MANY))
    assert [one.output for one in several] == [b"%d\n" % number for number in range(MANY)]


def test_one_bundle_serves_several_containers_at_once(container: MakeContainer) -> None:
    first = container("sh", "-c", "echo ready; cat /proc/sys/kernel/hostname; sleep 1000")
    second = container(at=first.bundle)
    for one in (first, second):
        one.started()
        one.wait_for_output(b"ready\n")
    first.call("delete", options=["--force"]).ok()
    assert second.status() == "running"
