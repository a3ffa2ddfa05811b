"""A stream that nodes hand on to each other, and what becomes of it when one of them fails."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest
from builds import built
from layered_storage import Storage, carried, contents, kept
from test_staging_kept_layers import SHOWN, storage
from test_staging_node import FakeStep, needs_mounts, on_node

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["storage"]  # a fixture
pytestmark = [pytest.mark.slow, needs_mounts]
NODES = [f"node{number}" for number in range(1, 8)]
SIZE = 10 << 20  # bytes, more than has been handed on when 2 MB are unpacked: a relay is 4 MiB ahead at most


@pytest.fixture(autouse=True)
def _native_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = shutil.copy(built("native"), tmp_path / "program")  # some tests break it
    monkeypatch.setattr("scrun.staging.transfer.NODE_PROGRAM", str(program))


def big(storage: Storage) -> None:
    """Add a layer that doesn't fit into the buffers on the way."""
    storage.layer("big", {"big": "x" * SIZE})
    storage.use("big", "above", "base")


def feeding(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What each stream's nodes are that this host feeds."""
    found: list[list[str]] = []
    from scrun.staging.feed import Feed

    send = Feed.send

    def noting(self: Feed, source: int, nodes: list[str], **options: bool) -> None:
        found.append(list(nodes))
        send(self, source, nodes, **options)

    monkeypatch.setattr(Feed, "send", noting)
    return found


@pytest.fixture
def in_a_tree(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each host feeds two nodes, as if they were many."""
    monkeypatch.setattr("scrun.staging.feed._ROW", 1)


def test_two_nodes_are_a_row(tmp_path: Path, storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    step = FakeStep(tmp_path, nodes=NODES[:2], hidden=[storage.path.parent])
    fed = feeding(monkeypatch)
    storage.stage(step)
    assert fed == [NODES[:1]]
    assert all(contents(on_node(step, node) / "rootfs") == SHOWN for node in NODES[:2])


@pytest.mark.usefixtures("in_a_tree")
def test_this_host_feeds_two_nodes_of_many(
    tmp_path: Path,
    storage: Storage,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    step = FakeStep(tmp_path, nodes=NODES, hidden=[storage.path.parent])
    fed = feeding(monkeypatch)
    big(storage)
    notes = storage.stage(step)
    assert len(carried(notes)) == 1
    assert fed == [NODES[:2]]
    for node in NODES:
        shown = contents(on_node(step, node) / "rootfs")
        assert len(shown.pop("big")) == SIZE
        assert shown == SHOWN
        assert len(kept(step, node)) == 3


# The node's tar gives up, which concerns this node alone; or its relay is killed, on which those below it depend.
TAR = "exit 1"
RELAY = """for process in /proc/[0-9]*; do
    [ "$(cat $process/comm)" = scrun-node ] && grep -qs TMP_PATH $process/environ &&
        tr '\\0' '\\n' <$process/environ | grep -qx SLURMD_NODENAME=$SLURMD_NODENAME && kill -9 ${process#/proc/}
done 2>/dev/null"""


@pytest.mark.parametrize(
    ("row", "broken", "how", "cut"),
    [
        (1, "node1", TAR, {"node1"}),
        (1, "node1", RELAY, {"node1", "node3", "node4", "node7"}),
        (1, "node3", RELAY, {"node3", "node7"}),
        (16, "node1", RELAY, {*NODES}),
        (16, "node5", RELAY, {*NODES[4:]}),
        (16, "node7", RELAY, {"node7"}),
    ],
)
def test_a_failing_nodes_children_are_fed_by_another(
    tmp_path: Path, storage: Storage, monkeypatch: pytest.MonkeyPatch, row: int, broken: str, how: str, cut: set[str]
) -> None:
    monkeypatch.setattr("scrun.staging.feed._ROW", row)
    step = FakeStep(tmp_path, nodes=NODES, hidden=[storage.path.parent])
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/tar").write_text(f"""#!/bin/sh
if [ "$SLURMD_NODENAME" = {broken} ] && [ ! -e {tmp_path}/was-killed ]; then
    : >{tmp_path}/was-killed
    head -c 2000000 >/dev/null
    {how.replace("TMP_PATH", str(tmp_path))}
fi
exec /usr/bin/tar "$@"
""")
    (tmp_path / "bin/tar").chmod(0o755)
    step.path = f"{tmp_path}/bin:{step.path}"
    streams = feeding(monkeypatch)
    big(storage)
    (said,) = [line for line in storage.stage(step).at("info").split("\n") if "the stream was cut off" in line]
    assert {*said.partition(":")[0].split(", ")} == cut
    assert (tmp_path / "was-killed").exists()
    assert len(streams) == 2
    assert all(len(kept(step, node)) == 3 for node in NODES)
    assert all(len(contents(on_node(step, node) / "rootfs")["big"]) == SIZE for node in NODES)


def test_a_node_without_the_relay_makes_a_star(
    tmp_path: Path,
    storage: Storage,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "program").write_text("this is no program of this machine")
    step = FakeStep(tmp_path, nodes=NODES[:4], hidden=[storage.path.parent])
    fed = feeding(monkeypatch)
    storage.stage(step)
    assert fed == [NODES[:4]]
    assert all(contents(on_node(step, node) / "rootfs") == SHOWN for node in NODES[:4])


def test_a_tree_without_any_relay_becomes_a_star(
    tmp_path: Path, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "program").write_text("#!/bin/sh\nexit 1\n")
    step = FakeStep(tmp_path, nodes=NODES[:4], hidden=[storage.path.parent])
    fed = feeding(monkeypatch)
    storage.stage(step)
    assert [sorted(nodes) for nodes in fed] == [[], NODES[:4]]
    assert all(contents(on_node(step, node) / "rootfs") == SHOWN for node in NODES[:4])
