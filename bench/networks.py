"""Time a container's engine's network beside its node's, and beside pasta and slirp4netns on this host.

`make bench` runs it on the cluster's login host, as alice, with podman. What is printed are the medians of some rounds:
how much goes through in a second, and what a round trip of one byte takes.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import time
import uuid
from collections.abc import Callable
from pathlib import Path

ROUNDS = int(os.environ.get("ROUNDS", "5"))
AMOUNT, TRIPS = 500, 2000  # MB that are sent, and round trips, in a round
IMAGE = "localhost/busybox"
TRAFFIC = r"""
#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
static char bytes[1 << 17];
static double now(void) { struct timespec t; clock_gettime(CLOCK_MONOTONIC, &t); return t.tv_sec + t.tv_nsec / 1e9; }
static int serve(int port) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port)};
    int yes = 1, fd = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (bind(fd, (void *)&at, sizeof at) || listen(fd, 8)) return 1;
    for (int peer; (peer = accept(fd, 0, 0)) >= 0; close(peer)) {
        setsockopt(peer, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
        if (read(peer, bytes, 1) != 1) continue;
        if (*bytes == 'e') while (read(peer, bytes, 1) == 1 && write(peer, bytes, 1) == 1) {}
        if (*bytes == 's') { while (read(peer, bytes, sizeof bytes) > 0) {} if (write(peer, "k", 1)) {} }
    }
    return 1;
}
int main(int count, char **words) { /* serve PORT | HOST PORT send MB | HOST PORT echo TRIPS */
    if (count == 3) return serve(atoi(words[2]));
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(atoi(words[2]))};
    struct hostent *host = gethostbyname(words[1]);
    int yes = 1, fd = socket(AF_INET, SOCK_STREAM, 0), n = atoi(words[4]);
    if (!host) return 2;
    memcpy(&at.sin_addr, host->h_addr_list[0], 4);
    if (connect(fd, (void *)&at, sizeof at)) return 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    double begun = now();
    if (*words[3] == 's') {
        if (write(fd, "s", 1) != 1) return 1;
        for (long more, left = n * 1000000L; left > 0; left -= more)
            if ((more = write(fd, bytes, sizeof bytes)) < 0) return 1;
        shutdown(fd, SHUT_WR);
        if (read(fd, bytes, 1) != 1) return 1;
        printf("%f\n", n * 8 / (now() - begun));
    } else {
        if (write(fd, "e", 1) != 1) return 1;
        for (int i = 0; i < n; i++) if (write(fd, "x", 1) != 1 || read(fd, bytes, 1) != 1) return 1;
        printf("%f\n", (now() - begun) / n * 1e6);
    }
    return 0;
}
"""
Ask = Callable[..., float]


class Servers:
    """Containers that serve, and are removed."""

    def __init__(self, user: str) -> None:
        self.user, self.made = user, list[str]()
        self.home = Path(f"/home/{user}/bench-networks-{uuid.uuid4().hex[:8]}")
        self.call("mkdir", str(self.home))
        self.program = self.home / "traffic"
        compile_ = ["gcc", "-O2", "-w", "-static", "-x", "c", "-o", str(self.program), "-"]
        subprocess.run(compile_, input=TRAFFIC.encode(), check=True, stderr=subprocess.DEVNULL)

    def call(self, *words: str) -> str:
        """A command of the user's; what it prints."""
        argv = [
            "runuser",
            "-u",
            self.user,
            "--",
            "env",
            f"XDG_RUNTIME_DIR=/run/user/{os.stat('/home/' + self.user).st_uid}",
        ]
        return subprocess.run([*argv, *words], cwd="/tmp", check=True, capture_output=True, text=True).stdout  # noqa: S108

    def start(self, runtime: str, port: int, *options: str) -> str:
        """A container that serves at that port; its name."""
        self.made.append(f"bench-{uuid.uuid4().hex[:8]}")
        mount = f"{self.program}:/traffic:ro"
        words = ("run", "-d", "--name", self.made[-1], "-v", mount, *options, IMAGE, "/traffic", "serve", str(port))
        self.call("podman", "--runtime", runtime, *words)
        return self.made[-1]

    def end(self) -> None:
        """Remove all."""
        for name in self.made:
            self.call("podman", "rm", "--force", "--time=0", name)
        self.made.clear()

    def here(self, host: str, port: int, what: str, amount: int) -> float:
        """A client on this host."""
        return float(
            subprocess.run([self.program, host, str(port), what, str(amount)], check=True, capture_output=True).stdout
        )

    def inside(self, name: str, host: str, port: int, what: str, amount: int) -> float:
        """A client in a container."""
        return float(self.call("podman", "exec", name, "/traffic", host, str(port), what, str(amount)))


def measure(rows: dict[str, Ask]) -> None:
    """Print a row for each, taken in turn."""
    took: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in rows}
    for name, ask in rows.items():
        for _ in range(50):  # until it serves
            try:
                ask("echo", 1)
                break
            except subprocess.CalledProcessError:
                time.sleep(0.2)
        else:
            raise SystemExit(f"bench: {name}: nobody answers")
    for _ in range(ROUNDS):
        for name, ask in rows.items():
            took[name][0].append(ask("send", AMOUNT))
            took[name][1].append(ask("echo", TRIPS))
    for name, (sent, trips) in took.items():
        print(f"  {name:<58}{statistics.median(sent) / 1000:8.2f}{statistics.median(trips):10.0f}", flush=True)


def networks(user: str) -> None:
    """Measure and print."""
    servers = Servers(user)
    name = f"bench-{uuid.uuid4().hex[:8]}"
    servers.call("podman", "network", "create", name)
    print(f"\nnetworks (podman; {AMOUNT} MB, {TRIPS} round trips)                         Gbit/s     µs a trip")
    try:
        node = ("-e", "SCRUN_JOB_NODELIST=node2", "-e", "SCRUN_NET=node")
        servers.start("scrun", 7101, "-p", "17101:7101")
        servers.start("scrun", 7102, *node)
        servers.start("crun", 7103, "-p", "17103:7103")
        servers.start("crun", 7104, "--network=slirp4netns", "-p", "17104:7104")
        print(" from the login host:")
        measure(
            {
                "scrun, a published port": lambda *asked: servers.here("127.0.0.1", 17101, *asked),
                "scrun, the node's network": lambda *asked: servers.here("node2", 7102, *asked),
                "crun on this host, pasta": lambda *asked: servers.here("127.0.0.1", 17103, *asked),
                "crun on this host, slirp4netns": lambda *asked: servers.here("127.0.0.1", 17104, *asked),
            }
        )
        servers.end()
        servers.start("scrun", 7105, f"--network={name}", "--network-alias=far", "-e", "SCRUN_JOB_NODELIST=node2")
        near = servers.start("scrun", 7106, f"--network={name}", "-e", "SCRUN_JOB_NODELIST=node1")
        servers.start("scrun", 7107, *node)
        on_node = servers.start("scrun", 7108, "-e", "SCRUN_JOB_NODELIST=node1", "-e", "SCRUN_NET=node")
        print(" between two containers on two nodes:")
        measure(
            {
                "scrun, a network of podman's": lambda *asked: servers.inside(near, "far", 7105, *asked),
                "scrun, the nodes' network": lambda *asked: servers.inside(on_node, "10.77.0.102", 7107, *asked),
            }
        )
    finally:
        servers.end()
        servers.call("podman", "network", "rm", name)
        servers.call("rm", "-r", str(servers.home))


if __name__ == "__main__":
    networks("alice")
