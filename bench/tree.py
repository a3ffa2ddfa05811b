"""Model how long layers take to many nodes, if the login host sends all of it, and if nodes hand it on to each other.

Nothing is measured here. The numbers are computed from the assumptions below, chunk by chunk, as `native/relay.c`
works: a node writes each chunk to its own tar and to the nodes that it feeds, and takes no further one while the
slowest of them is a ring behind. For your site's assumptions: `python3 bench/tree.py nodes=4000 network=3.1e9`.
"""

from __future__ import annotations

import sys

ASSUMED = {
    "nodes": 1000.0,
    "size": 600e6,  # bytes of all layers together
    "network": 1.25e9,  # bytes/s that each host can send, and can receive too (10 Gb/s); no switch is slower
    "unpack": 0.5e9,  # bytes/s that tar and the node's disk take
    "hop": 0.5e-3,  # seconds from one host to the next: the network, and waking the relay
    "start": 0.1,  # seconds before the stream: srun's order, all connections, the relays' handshakes
    "chunk": 1e6,  # bytes that are handed on in one piece
    "ring": 4e6,  # bytes that a relay keeps
}


def feeders(nodes: int, fed: int) -> list[int]:
    """For each node who feeds it, -1 for the login host: as staging/feed.py plants them."""
    return [index // fed - 1 if index >= fed else -1 for index in range(nodes)]


def seconds(fed: int, assumed: dict[str, float]) -> float:
    """How long it takes until the last node has unpacked all, if each host feeds ``fed`` nodes."""
    nodes, chunk = int(assumed["nodes"]), assumed["chunk"]
    feeds = feeders(nodes, fed)
    chunks, kept = int(assumed["size"] / chunk), max(1, int(assumed["ring"] / chunk))
    unpacked = [0.0] * nodes
    sends_until = [0.0] * (nodes + 1)  # the last is the login host
    # slowest[k % kept][n]: when all that node n feeds, and its tar, have taken chunk k.
    slowest = [[0.0] * nodes for _ in range(kept)]
    for number in range(chunks):
        has = [0.0] * (nodes + 1)
        has[-1] = assumed["start"]
        row = slowest[number % kept]
        free = row[:]
        row[:] = [0.0] * nodes
        for node, feeder in enumerate(feeds):
            begin = max(has[feeder], sends_until[feeder], free[node])
            sends_until[feeder] = begin + chunk / assumed["network"]
            has[node] = sends_until[feeder] + assumed["hop"]
            unpacked[node] = max(unpacked[node], has[node]) + chunk / assumed["unpack"]
            row[node] = max(row[node], unpacked[node])
            if feeder >= 0:
                row[feeder] = max(row[feeder], has[node])
    return max(unpacked)


def main() -> None:
    """Print what the model says, for the assumptions and those on the command line."""
    assumed = dict(ASSUMED)
    for word in sys.argv[1:]:
        name, _, value = word.partition("=")
        if name not in assumed or not value:
            sys.exit(f"{word}: say one of {', '.join(assumed)}, as in nodes=4000")
        assumed[name] = float(value)
    print(", ".join(f"{name}={value:g}" for name, value in assumed.items()))
    print("\n| who feeds whom | the last node is ready after | the login host sends |\n| --- | --- | --- |")
    size, nodes = assumed["size"], int(assumed["nodes"])
    for fed in sorted({1, 2, 3, 4, 8, nodes}):
        what = "the login host feeds all" if fed == nodes else f"each host feeds {fed}"
        print(f"| {what} | {seconds(fed, assumed):.1f} s | {min(fed, nodes) * size / 1e9:.1f} GB |")


if __name__ == "__main__":
    main()
