"""The connections that nodes open to this host, what is sent over them, and slurm.conf's ports."""

from __future__ import annotations

import contextlib
import os
import resource
import socket
import threading
import time
from typing import TYPE_CHECKING

import pytest

from scrun.slurm import slurm_conf
from scrun.staging.arrivals import _MOST_STRANGERS, Arrivals, proof
from scrun.staging.feed import Feed, fed_by_each

if TYPE_CHECKING:
    from pathlib import Path


def connected(feed: Arrivals) -> tuple[socket.socket, str]:
    """A connection to the feed, and what it was asked."""
    connection = socket.create_connection(("127.0.0.1", feed.port))
    return connection, line_of(connection)


def line_of(connection: socket.socket) -> str:
    """The next line; empty where the feed has hung up."""
    line = b""
    while not line.endswith(b"\n") and (more := connection.recv(1)):
        line += more
    return line.decode().strip()


def come(feed: Arrivals, node: str, token: str = "") -> tuple[socket.socket, bool]:
    """Connect as a node does; whether the feed has shown that it knows the token."""
    connection, nonce = connected(feed)
    connection.sendall(f"{node} mine {proof(token or feed.token, nonce, 'mine', node, 'node')}\n".encode())
    return connection, line_of(connection) == proof(feed.token, nonce, "mine", node, "login")


def sent_by(feed: Feed, nodes: list[str], data: bytes) -> None:
    """Have the feed send that, while what it sends is read."""
    read_end, write_end = os.pipe()
    feed.send(read_end, nodes)

    def write() -> None:
        with open(write_end, "wb") as file:
            file.write(data)

    threading.Thread(target=write).start()


def test_a_feed_streams_everything_to_all_token_holders() -> None:
    data = os.urandom(3_000_000)
    feed = Feed()
    (one, knows_one), (other, knows_other) = come(feed, "node1"), come(feed, "node2")
    assert knows_one
    assert knows_other
    assert feed.wait_for(["node1", "node2"])
    sent_by(feed, ["node1", "node2"], data)
    got = [b"", b""]

    def read(index: int, connection: socket.socket) -> None:
        got[index] = connection.makefile("rb").read()

    readers = [threading.Thread(target=read, args=arguments) for arguments in enumerate((one, other))]
    for thread in readers:
        thread.start()
    for thread in readers:
        thread.join()
    feed.close()
    one.close()
    other.close()
    assert got == [data, data]
    assert (feed.sent, feed.failed) == (len(data), "")


def test_a_feed_gives_strangers_nothing() -> None:
    feed = Feed()
    heard, nonce = connected(feed)
    shown = proof(feed.token, nonce, "mine", "node1", "node")
    replayed, _ = connected(feed)
    replayed.sendall(f"node1 mine {shown}\n".encode())
    guessed, _ = come(feed, "node1", "guess")
    token, _ = connected(feed)
    token.sendall(f"{feed.token} node1\n".encode())
    empty, _ = connected(feed)
    empty.sendall(b"\n")
    chatty, _ = connected(feed)
    chatty.sendall(b"x" * 1000)
    wild, _ = connected(feed)
    wild.sendall("node1 mine \ud800\n".encode("utf-8", "surrogatepass"))
    strangers = (replayed, guessed, token, empty, chatty, wild)
    for stranger in strangers:
        with contextlib.suppress(ConnectionResetError):  # with something unread
            assert line_of(stranger) == ""
    heard.sendall(f"node1 mine {shown}\n".encode())
    assert feed.wait_for(["node1"])
    second, knows = come(feed, "node1")
    assert not knows, "a node that is connected is not replaced by who comes later"
    sent_by(feed, ["node1"], b"stream")
    assert line_of(heard) == proof(feed.token, nonce, "mine", "node1", "login")
    assert heard.makefile("rb").read() == b"stream"
    feed.close()
    for connection in (heard, second, *strangers):
        connection.close()


def test_however_many_strangers_come_a_node_is_heard() -> None:
    feed = Feed()
    first, _ = connected(feed)
    first.sendall(b"slow")
    strangers = [connected(feed)[0] for _ in range(_MOST_STRANGERS + 10)]
    node, knows = come(feed, "node1")
    assert knows
    assert feed.wait_for(["node1"])
    assert line_of(first) == "", "the longest there has made room"
    assert len(feed._strangers) <= _MOST_STRANGERS
    assert feed.visits == _MOST_STRANGERS + 12, "so that it is no firewall's fault where a node is kept out"
    feed.close()
    for connection in (first, node, *strangers):
        connection.close()


def test_sending_little_by_little_gains_no_time() -> None:
    feed = Feed(patience=0.5)
    slow, _ = connected(feed)
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        while True:
            slow.sendall(b"x")
            time.sleep(0.02)
    assert not feed._strangers
    feed.close()
    slow.close()


def test_many_nodes_may_come_at_once() -> None:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (400, limits[1]))
    try:
        arrivals = Arrivals(nodes=200)
        comers = [come(arrivals, f"node{number}") for number in range(200)]
        assert all(knows for _, knows in comers)
        assert arrivals.wait_for([f"node{number}" for number in range(200)])
        connection = arrivals.of("node7")
        assert connection.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE), "else a link that is cut isn't noticed"
        arrivals.close()
        for one, _ in comers:
            one.close()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def test_a_feed_that_nobody_came_to_ends() -> None:
    Feed().close()
    feed = Feed()
    silent, _ = connected(feed)
    gone, _ = connected(feed)
    gone.close()
    feed.close()
    assert line_of(silent) == "", "it was hung up on"
    silent.close()


TREE = {
    "node0": "take 2 -",
    "node1": "take 1 -",
    "node2": "take 0 127.0.0.1 4000",
    "node4": "",  # was hung up on
    "node5": "take 0 127.0.0.1 4000",
    "node6": "take 0 127.0.0.1 4001",
}
ROW = {
    "node0": "take 1 -",
    "node1": "take 1 127.0.0.1 4000",
    "node2": "take 1 127.0.0.1 4001",
    "node4": "",
    "node5": "take 1 127.0.0.1 4002",
    "node6": "take 0 127.0.0.1 4005",
}


@pytest.mark.parametrize(("few", "from_here", "orders"), [(2, ["node0", "node1"], TREE), (1, ["node0"], ROW)])
def test_relays_are_told_who_feeds_whom(few: int, from_here: list[str], orders: dict[str, str]) -> None:
    feed = Feed()
    nodes = [f"node{number}" for number in range(7)]
    comers = {node: come(feed, node)[0] for node in nodes}
    assert feed.wait_for(nodes)
    for number, node in enumerate(nodes):
        comers[node].sendall({3: b"", 4: b"listening on 4\n"}.get(number, b"relay %d\n" % (4000 + number)))
    comers["node3"].close()
    assert feed.plant(nodes, few) == from_here
    told = {node: line_of(comers[node]) for node in nodes if node != "node3"}
    feed.close()
    for connection in comers.values():
        connection.close()
    assert told == orders


def test_only_many_nodes_are_fed_by_two() -> None:
    assert [fed_by_each(count) for count in (1, 2, 16, 17, 1000)] == [1, 1, 1, 2, 2]


def test_a_feed_whose_source_says_nothing_ends() -> None:
    """A disk may hang, or tar be stopped."""
    feed = Feed()
    node, _ = come(feed, "node1")
    assert feed.wait_for(["node1"])
    read_end, write_end = os.pipe()
    feed.send(read_end, ["node1"])
    feed.close()
    os.close(write_end)
    node.close()


@pytest.mark.parametrize(
    ("text", "ports"),
    [
        ("SrunPortRange=60001-63000 # firewall\n", (60001, 63000)),
        ("ClusterName=c\n", (0, 0)),
        ("SrunPortRange=x\n", (0, 0)),
    ],
)
def test_reachable_ports_are_those_of_srun(tmp_path: Path, text: str, ports: tuple[int, int]) -> None:
    (tmp_path / "slurm.conf").write_text(text)
    assert slurm_conf.srun_ports({"SLURM_CONF": str(tmp_path / "slurm.conf")}) == ports
    assert slurm_conf.srun_ports({"SLURM_CONF": str(tmp_path / "none")}) == (0, 0)


def test_a_free_port_of_the_range_is_taken() -> None:
    with socket.create_server(("", 0)) as taken:
        port = taken.getsockname()[1]
        feed = Feed((port, port + 20))
        assert port < feed.port <= port + 20
        feed.close()
        with pytest.raises(OSError, match="in use"):
            Feed((port, port))
