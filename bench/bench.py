"""Time scrun beside the C scrun and the local runtimes, in one run; `make bench` runs it on the cluster's login host.

With the argument `memory` it measures the memory of containers that run, and nothing else (`make bench-memory`); with
`networks` what the engine's own network costs (`make bench-networks`).

Each round runs every candidate once, in turn, so that what the machine does meanwhile falls on all of them. No round
begins while a job is COMPLETING, because the next one would wait for its node. What is printed are medians in
milliseconds, of the time from the call to its end and of the processor time that the cluster has used until
:data:`SETTLED` seconds later, and their ratios to the C scrun's. docs/performance.md keeps what was measured when.
"""

from __future__ import annotations

import json
import os
import pwd
import select
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import IO

from idle_networks import idle
from networks import networks

ROUNDS = int(os.environ.get("ROUNDS", "25"))
AT_ONCE = 20
CONTAINERS = int(os.environ.get("CONTAINERS", "50"))  # whose memory is measured, where the nodes have so many CPUs
LIMIT = 60  # seconds; the C scrun hangs now and then
SETTLED = 0.5  # seconds in which a container's job is given back
CPU_STAT = int(os.environ.get("CPU_STAT", "-1"))  # a descriptor of the file cpu.stat of the cluster's cgroup
USER = pwd.getpwnam("alice")
SCRUN, C_SCRUN = "/usr/bin/scrun", "/usr/local/bin/cscrun"
C_PODMAN = {"CONTAINERS_CONF": "/etc/containers/cscrun.conf"}  # no namespaces made by podman: the C scrun can't do more
BUNDLE = f"{USER.pw_dir}/bench"
Command = Callable[[], None]


def run(argv: Sequence[str], user: pwd.struct_passwd | None = None, **more: str) -> None:
    """Run to the end, quietly; one of ours that fails ends the benchmark.

    What it prints goes to a file: a pipe would be the container's standard output too, and stay open while that runs.
    """
    with tempfile.TemporaryFile() as printed:
        done = ended(start(argv, user, printed, **more))
        if done:
            printed.seek(0)
            words = f"{' '.join(argv)} failed with status {done}: {printed.read().decode().strip()}"
            if not any("cscrun" in word for word in argv):
                sys.exit(f"bench: {words}")
            print(f"  (the C scrun: {words})")  # which it does now and then; its time counts all the same


def start(
    argv: Sequence[str], user: pwd.struct_passwd | None, output: IO[bytes] | int, **more: str
) -> subprocess.Popen[bytes]:
    """Start a command as that user (None: root)."""
    ids = (user.pw_uid, user.pw_gid) if user else (0, 0)
    return subprocess.Popen(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        env=environment(user, **more),
        cwd="/",
        user=ids[0],
        group=ids[1],
        extra_groups=[],
    )


def ended(child: subprocess.Popen[bytes]) -> int:
    """The exit status of a child; one that hangs is ended."""
    descriptor = os.pidfd_open(child.pid)  # wait(timeout) looks now and then, and so measures its own pauses
    if not select.select([descriptor], [], [], LIMIT)[0]:
        child.kill()
    os.close(descriptor)
    return child.wait()


def environment(user: pwd.struct_passwd | None, **more: str) -> dict[str, str]:
    """A login's."""
    name, home, uid = (user.pw_name, user.pw_dir, user.pw_uid) if user else ("root", "/root", 0)
    return {
        "PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
        "HOME": home,
        "USER": name,
        "XDG_RUNTIME_DIR": f"/run/user/{uid}",
        "LANG": "C.UTF-8",
        **more,
    }


class Cost:
    """What a command takes, in milliseconds."""

    def __init__(self, time_: float, processor: float) -> None:
        self.time, self.processor = time_, processor


def in_turn(candidates: dict[str, Command], rounds: int = ROUNDS) -> dict[str, Cost]:
    """The median of each cost, the candidates taking turns after one round that isn't counted."""
    costs: dict[str, list[Cost]] = {name: [] for name in candidates}
    idle = idle_rate()
    for number in range(rounds + 1):
        for name, command in candidates.items():
            await_nodes()
            begin, used = time.perf_counter(), processor_time()
            command()
            taken = time.perf_counter() - begin
            time.sleep(SETTLED)
            used = processor_time() - used - idle * (time.perf_counter() - begin)
            if number:
                costs[name].append(Cost(1000 * taken, 1000 * used))
    return {
        name: Cost(statistics.median(one.time for one in each), statistics.median(one.processor for one in each))
        for name, each in costs.items()
    }


def processor_time() -> float:
    """Seconds of processor time that the cluster's processes have used (cgroup-v2: cpu.stat, usage_usec)."""
    if CPU_STAT < 0:
        return 0.0
    return int(os.pread(CPU_STAT, 4096, 0).split()[1]) / 1e6


def idle_rate() -> float:
    """Seconds of processor time that the cluster uses in a second in which nothing is asked of it."""
    begin, used = time.perf_counter(), processor_time()
    time.sleep(1.0)
    return (processor_time() - used) / (time.perf_counter() - begin)


def await_nodes() -> None:
    """Wait until no job is COMPLETING; the C scrun's are for a while when it has been killed."""
    deadline = time.monotonic() + LIMIT
    while subprocess.run(["squeue", "--noheader", "--states=CG"], capture_output=True, check=True).stdout:
        if time.monotonic() > deadline:
            sys.exit(f"bench: after {LIMIT} s a job is still COMPLETING: see squeue")
        time.sleep(0.05)


def table(title: str, rows: dict[str, Cost], reference: str) -> None:
    """Print one measurement."""
    print(f"\n{title}\n{'':<36}{'time':>11}{'processor':>22}")
    for name, cost in rows.items():
        print(f"  {name:<34}{cost.time:8.1f} ms{cost.time / rows[reference].time:8.2f} x", end="")
        if CPU_STAT >= 0:
            ratio = cost.processor / rows[reference].processor
            print(f"{cost.processor:8.1f} ms{ratio:8.2f} x", end="")
        print(flush=True)


def podman(runtime: str, *options: str, **more: str) -> Command:
    """`podman run` of true, rootless."""
    argv = ["podman", "--runtime", runtime, "run", "--rm", *options, "localhost/busybox", "/bin/true"]
    return lambda: run(argv, USER, **more)


def docker(runtime: str, *options: str) -> Command:
    """`docker run` of true, as root."""
    return lambda: run(["docker", "run", "--rm", "--runtime", runtime, *options, "localhost/busybox", "/bin/true"])


def make_bundle() -> None:
    """A bundle on what the hosts share."""
    shutil.rmtree(BUNDLE, ignore_errors=True)
    for directory in ("bin", "proc", "dev"):
        os.makedirs(f"{BUNDLE}/rootfs/{directory}")
    shutil.copy("/bin/busybox", f"{BUNDLE}/rootfs/bin/")
    for applet in ("true", "sleep", "sh", "head", "cat"):
        os.symlink("busybox", f"{BUNDLE}/rootfs/bin/{applet}")
    config = {
        "ociVersion": "1.0.2",
        "root": {"path": "rootfs"},
        "process": {
            "cwd": "/",
            "args": ["/bin/sh", "-c", ": >/ran; exec /bin/sleep 600"],
            "env": ["PATH=/bin"],
            "user": {"uid": 0, "gid": 0},
        },
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs"},
        ],
        "linux": {
            "namespaces": [{"type": "mount"}, {"type": "pid"}, {"type": "user"}],
            "uidMappings": [{"containerID": 0, "hostID": USER.pw_uid, "size": 1}],
            "gidMappings": [{"containerID": 0, "hostID": USER.pw_gid, "size": 1}],
        },
    }
    with open(f"{BUNDLE}/config.json", "w", encoding="utf-8") as file:
        json.dump(config, file)
    for directory, _directories, files in os.walk(BUNDLE):
        for name in ("", *files):
            os.chown(os.path.join(directory, name), USER.pw_uid, USER.pw_gid, follow_symlinks=False)


def operations() -> None:
    """The life of one container: as a whole, because the C one runs the process in create, and then call by call."""
    runtimes = {"scrun": SCRUN, "C scrun": C_SCRUN}
    table("create, start, it runs, kill, delete", in_turn({n: whole(r) for n, r in runtimes.items()}), "C scrun")
    times: dict[str, dict[str, list[float]]] = {}
    for number in range(ROUNDS + 1):
        for name, runtime in runtimes.items():
            await_nodes()
            for verb in ("create --bundle {} bench", "start bench", "state bench", "kill bench KILL", "delete bench"):
                begin = time.perf_counter()
                run([runtime, *verb.format(BUNDLE).split()], USER)
                if number:
                    operation = times.setdefault(verb.split()[0], {})
                    operation.setdefault(name, []).append(1000 * (time.perf_counter() - begin))
    print(f"\noperations{'scrun':>24}{'C scrun':>14}{'ratio':>8}")
    for verb, taken in times.items():
        ours, theirs = (statistics.median(taken[name]) for name in runtimes)
        print(f"  {verb:<24}{ours:8.1f} ms{theirs:11.1f} ms{ours / theirs:8.2f}")


def whole(runtime: str) -> Command:
    """A container from create until it is deleted, whose process has run meanwhile."""
    ran = f"{BUNDLE}/rootfs/ran"

    def command() -> None:
        if os.path.exists(ran):
            os.unlink(ran)
        run([runtime, "create", "--bundle", BUNDLE, "bench"], USER)
        run([runtime, "start", "bench"], USER)
        deadline = time.monotonic() + LIMIT
        while not os.path.exists(ran):
            if time.monotonic() > deadline:
                sys.exit(f"bench: the process of a container of {runtime} has not run for {LIMIT} s")
            time.sleep(0.001)
        run([runtime, "kill", "bench", "KILL"], USER)
        run([runtime, "delete", "bench"], USER)

    return command


def connection() -> None:
    """What goes over the connection to the node, in a container that runs: exec, kill, and its output."""
    run([SCRUN, "run", "--detach", "--bundle", BUNDLE, "bench"], USER)
    with open(f"/run/user/{USER.pw_uid}/scrun/bench/state.json", encoding="utf-8") as file:
        job = json.load(file)["job"]
    step = ["srun", f"--jobid={job}", "--overlap", "--ntasks=1", "--mpi=none", "/bin/true"]
    table(
        "exec",
        in_turn(
            {"scrun exec": lambda: run([SCRUN, "exec", "bench", "/bin/true"], USER), "srun": lambda: run(step, USER)}
        ),
        "srun",
    )
    table(
        "a signal",
        in_turn(
            {
                "scrun kill bench CONT": lambda: run([SCRUN, "kill", "bench", "CONT"], USER),
                "scrun state bench": lambda: run([SCRUN, "state", "bench"], USER),
            },
            ROUNDS * 2,
        ),
        "scrun state bench",
    )
    run([SCRUN, "delete", "--force", "bench"], USER)
    table(
        "the first bytes of a line that never ends (podman run -i; printf MARK; sleep 6)",
        in_turn({"scrun": lambda: first_bytes("scrun"), "crun, on this host": lambda: first_bytes("crun")}, 5),
        "crun, on this host",
    )
    costs = in_turn({"scrun": lambda: output("scrun"), "runc, on this host": lambda: output("runc")}, 5)
    table(f"{OUTPUT >> 20} MB of output to a pipe (docker run)", costs, "runc, on this host")
    more = (costs["scrun"].processor - costs["runc, on this host"].processor) / (OUTPUT >> 20)
    print(f"  {'scrun beyond runc, for each MB':<34}{more:34.2f} ms")


OUTPUT = 500 << 20  # bytes


def first_bytes(runtime: str) -> None:
    """Until the container's first bytes are here; then it is ended."""
    words = [
        "podman",
        "--runtime",
        runtime,
        "run",
        "--rm",
        "-i",
        "localhost/busybox",
        "sh",
        "-c",
        "printf MARK; sleep 6",
    ]
    child = start(words, USER, subprocess.PIPE)
    assert child.stdout
    if os.read(child.stdout.fileno(), 4) != b"MARK":
        sys.exit("bench: podman run printed something else")
    child.kill()
    child.wait()
    child.stdout.close()


def output(runtime: str) -> None:
    """All of it, counted."""
    words = ["docker", "run", "--rm", "--runtime", runtime, "--network=host", "localhost/busybox", "head", "-c"]
    child = start([*words, str(OUTPUT), "/dev/zero"], None, subprocess.PIPE)
    assert child.stdout
    total = 0
    while data := os.read(child.stdout.fileno(), 1 << 20):
        total += len(data)
    if child.wait() or total != OUTPUT:
        sys.exit(f"bench: docker run printed {total} bytes of {OUTPUT}")
    child.stdout.close()


def memory() -> None:
    """What stays while containers run: just started, and when their processes sleep."""
    idle = subprocess.run(["sinfo", "-h", "-p", "debug", "-o", "%C"], capture_output=True, text=True, check=True).stdout
    count = min(CONTAINERS, int(idle.split("/")[1]))
    names, records = [f"bench{number}" for number in range(count)], []
    for name in names:
        run([SCRUN, "create", "--bundle", BUNDLE, name], USER)
        run([SCRUN, "start", name], USER)
        with open(f"/run/user/{USER.pw_uid}/scrun/{name}/state.json", encoding="utf-8") as file:
            records.append(json.load(file))
        if len(records) == 1:  # while there is a CPU for the step that looks
            agent = [on_node(records[0]["nodes"], what) for what in ("Rss", "Pss")]
    print(f"\nmemory of {count} containers that run, in MB for each (RSS, and PSS: its share of what is shared)")
    show_memory("just started", records)
    until = time.monotonic() + LIMIT
    while not all(sleeps(record[who]) for record in records for who in ("anchor", "pid")):
        if time.monotonic() > until:
            sys.exit("bench: not all of the containers' processes sleep")
        time.sleep(0.5)
    show_memory("asleep", records)
    print(f"  {'agent, on the node':<34}{agent[0] / 1024:8.2f}{agent[1] / 1024:8.2f}")
    for name in names:
        run([SCRUN, "delete", "--force", name], USER)
    run([C_SCRUN, "create", "--bundle", BUNDLE, "bench"], USER)
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                if file.read().rstrip(b"\0") == b"scrun: bench":
                    rss, pss = kilobytes(int(pid), "Rss"), kilobytes(int(pid), "Pss")
                    print(f"  {'anchor of the C scrun':<34}{rss / 1024:8.1f}{pss / 1024:8.1f}")
        except OSError:
            continue
    run([C_SCRUN, "delete", "--force", "bench"], USER)


def sleeps(pid: int) -> bool:
    """Whether scrun-wait is in the process's place."""
    return os.readlink(f"/proc/{pid}/exe").endswith("/scrun-wait")


def show_memory(when: str, records: Sequence[dict[str, int]]) -> None:
    """The means over all containers."""
    for who, member in (("anchor", "anchor"), ("stand-in", "pid"), ("srun, which is Slurm's", "step_pid")):
        rss, pss = (
            sum(kilobytes(record[member], what) for record in records) / len(records) / 1024 for what in ("Rss", "Pss")
        )
        print(f"  {f'{who}, {when}':<34}{rss:8.2f}{pss:8.2f}")


def kilobytes(pid: int, what: str) -> int:
    """A line of /proc/PID/smaps_rollup."""
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
        return next(int(line.split()[1]) for line in file if line.startswith(f"{what}:"))


def on_node(node: str, what: str) -> int:
    """The same of the one agent that runs there."""
    script = f"grep {what}: /proc/$(pgrep -xo scrun-node)/smaps_rollup"
    argv = ["srun", "--quiet", f"--nodelist={node}", "sh", "-c", script]
    return int(subprocess.run(argv, capture_output=True, check=True).stdout.split()[1])


def at_once(runtime: str, **more: str) -> Command:
    """That many `podman run` at the same time."""
    argv = ["podman", "--runtime", runtime, "run", "--rm", "localhost/busybox", "/bin/true"]

    def command() -> None:
        children = [start(argv, USER, subprocess.DEVNULL, **more) for _ in range(AT_ONCE)]
        failed = [status for child in children if (status := ended(child))]
        if failed:  # said, and not the end of it: the C scrun is known for it
            print(f"  {runtime}: {len(failed)} of {AT_ONCE} containers at once failed: {failed}")

    return command


def start_of_networks() -> None:
    """What a published port takes of a container's start and end, by whose network the container is on."""
    for title, engine in (("podman run -p (rootless)", podman), ("docker run -p", docker)):
        kinds = {"its node's": "node", "the engine's": "engine"}
        commands = {name: engine("scrun", "-p", "17000:80", "-e", f"SCRUN_NET={kind}") for name, kind in kinds.items()}
        table(f"{title}, by whose network it is on", in_turn(commands), "its node's")


def main() -> None:
    """Measure and print everything."""
    print(f"medians of {ROUNDS} rounds, {os.cpu_count()} CPUs, load {os.getloadavg()[0]:.2f}", flush=True)
    if sys.argv[1:] == ["networks"]:
        start_of_networks()
        networks(USER.pw_name)
        for engine in ("podman", "docker"):
            idle(engine, CONTAINERS)
        return
    make_bundle()
    if sys.argv[1:] == ["memory"]:
        memory()
        shutil.rmtree(BUNDLE)
        return
    bare = [os.path.realpath(sys.executable), "-IS", "-c", "pass"]
    run([SCRUN, "create", "--bundle", BUNDLE, "bench"], USER)
    table(
        "start-up",
        in_turn(
            {
                "python3 -IS -c pass": lambda: run(bare, USER),
                "scrun state": lambda: run([SCRUN, "state", "bench"], USER),
            },
            ROUNDS * 2,
        ),
        "python3 -IS -c pass",
    )
    run([SCRUN, "delete", "bench"], USER)
    table(
        "podman run (rootless, no namespaces of podman's, as the C scrun needs)",
        in_turn(
            {
                "scrun": podman("scrun", **C_PODMAN),
                "C scrun": podman("cscrun", **C_PODMAN),
                "crun, on this host": podman("crun", **C_PODMAN),
            }
        ),
        "C scrun",
    )
    table(
        "podman run (rootless, podman's defaults)",
        in_turn({"scrun": podman("scrun"), "crun, on this host": podman("crun")}),
        "crun, on this host",
    )
    table(
        "docker run (rootful; the root filesystem is not on the nodes, and carried there)",
        in_turn(
            {
                "scrun": docker("scrun", "--network=host"),
                "C scrun": docker("cscrun", "--network=host"),
                "runc, on this host": docker("runc", "--network=host"),
            }
        ),
        "C scrun",
    )
    start_of_networks()
    operations()
    connection()
    networks(USER.pw_name)
    memory()
    table(
        f"{AT_ONCE} at once (podman run)",
        in_turn({"scrun": at_once("scrun", **C_PODMAN), "C scrun": at_once("cscrun", **C_PODMAN)}, 2),
        "C scrun",
    )
    print(f"\nload {os.getloadavg()[0]:.2f}")
    shutil.rmtree(BUNDLE)


if __name__ == "__main__":
    main()
