"""Time how a root filesystem gets to the nodes, beside the C scrun; `make bench-staging` runs it on the login host.

600 MB in 16,000 files of a bundle, which the nodes don't see. Ours carries them to the nodes; the C scrun runs the
script of its man page, which rsyncs them to what the hosts share. The devcluster's nodes have one disk between them,
the machine's, to which two nodes write all files twice; their /tmp is in memory, so that is timed too. (An engine's
layers stay on the nodes: bench/images.py.)

Timed is from calling create to the container's first word. Each round runs every candidate once, in turn; before each
of them, untimed, what is to be written is written (sync). Printed are medians and their ratio to the C scrun's;
docs/performance.md keeps what was measured when.
"""

from __future__ import annotations

import json
import os
import pwd
import random
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

ROUNDS = int(os.environ.get("ROUNDS", "5"))
FILES, BYTES = 16_000, 600_000_000
USER = pwd.getpwnam("alice")
PRIVATE = "/var/tmp/bench-staging"  # noqa: S108
SHARED = f"{USER.pw_dir}/bench-staging"
ON_DISK = "/var/tmp/bench-staging-node"  # noqa: S108
CONFIGURATION = f"{USER.pw_dir}/bench-staging.conf"
ENVIRONMENT = {
    "PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
    "HOME": USER.pw_dir,
    "USER": USER.pw_name,
    "XDG_RUNTIME_DIR": f"/run/user/{USER.pw_uid}",
    "LANG": "C.UTF-8",
}

# scrun(1)'s example with its own rsync lines, but for JSON, which the C scrun needs a module for that Debian has not:
# the config is edited as text.
PAGE = """
local root = "SHARED/staged/"
local rsync = "/usr/bin/env rsync --exclude sys --exclude proc --numeric-ids --delete-after --ignore-errors --stats " ..
    "-a --"
local function read(path) local f = assert(io.open(path)); local text = f:read("*a"); f:close(); return text end
local function write(path, text) local f = assert(io.open(path, "w")); f:write(text); f:close() end
function slurm_scrun_stage_in(id, bundle, spool_dir, config_file, job_id, user_id, group_id, job_env)
    local to = root .. id
    local status, output = slurm.allocator_command("mkdir -p " .. to .. "/rootfs")
    if status ~= 0 then return slurm.ERROR end
    status, output = slurm.allocator_command(rsync .. " " .. bundle .. "/rootfs/ " .. to .. "/rootfs/")
    if status ~= 0 then slurm.log_info("rsync failed: " .. output) end
    slurm.set_bundle_path(to .. "/")
    slurm.set_root_path(to .. "/rootfs/")
    write(to .. "/config.json", (read(config_file):gsub('"path": "rootfs"', '"path": "' .. to .. '/rootfs/"')))
    return slurm.SUCCESS
end
function slurm_scrun_stage_out(id, bundle, orig_bundle, root_path, orig_root_path)
    local status = slurm.allocator_command(rsync .. " " .. root_path .. "/ " .. orig_root_path .. "/")
    slurm.allocator_command("/usr/bin/rm --preserve-root=all --one-file-system -dr -- " .. bundle)
    return slurm.SUCCESS
end
return slurm.SUCCESS
"""


def as_user(*argv: str, output: str = os.devnull, **more: str) -> int:
    """Run a command as the user; what it says goes to a file, which the container may hold open."""
    with open(output, "ab") as file:
        return subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            env={**ENVIRONMENT, **more},
            cwd="/",
            user=USER.pw_uid,
            group=USER.pw_gid,
            extra_groups=[],
            check=False,
        ).returncode


def make_tree(path: str) -> None:
    """A bundle with sizes of files as they are in an image: many small ones, a few large; random content."""
    shutil.rmtree(path, ignore_errors=True)
    chance = random.Random(1)  # noqa: S311
    weights = [min(200.0, chance.paretovariate(1.1)) for _ in range(FILES)]
    content = chance.randbytes(1 << 22)
    for index, weight in enumerate(weights):
        directory = f"{path}/rootfs/usr/lib/{index // 40}"
        if not index % 40:
            os.makedirs(directory)
        left, start = int(BYTES * weight / sum(weights)), chance.randrange(1 << 20)
        with open(f"{directory}/{index}", "wb") as file:
            while left > 0:
                left -= file.write(content[start : start + min(left, 3 << 20)])
    for name in ("bin", "proc", "dev"):
        os.makedirs(f"{path}/rootfs/{name}")
    shutil.copy("/bin/busybox", f"{path}/rootfs/bin/")
    os.symlink("busybox", f"{path}/rootfs/bin/echo")
    ids = {"uidMappings": USER.pw_uid, "gidMappings": USER.pw_gid}
    config = {
        "ociVersion": "1.0.2",
        "root": {"path": "rootfs"},
        "process": {"cwd": "/", "args": ["/bin/echo", "up"], "env": ["PATH=/bin"], "user": {"uid": 0, "gid": 0}},
        "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"}],
        "linux": {
            "namespaces": [{"type": "mount"}, {"type": "pid"}, {"type": "user"}],
            **{key: [{"containerID": 0, "hostID": own, "size": 1}] for key, own in ids.items()},
        },
    }
    with open(f"{path}/config.json", "w", encoding="utf-8") as file:
        json.dump(config, file)
    subprocess.run(["chown", "-hR", f"{USER.pw_uid}:{USER.pw_gid}", path], check=True)


def first_word(runtime: list[str], bundle: str, nodes: int) -> float:
    """Seconds from create to the first word of each node's container; then it is deleted."""
    os.sync()
    said = f"{SHARED}.out"
    with open(said, "wb"):
        os.chown(said, USER.pw_uid, USER.pw_gid)
    begin = time.perf_counter()
    more = {"SCRUN_JOB_NUM_NODES": str(nodes)}
    if as_user(*runtime, "create", "--bundle", bundle, "bench", output=said, **more):
        fail(said)
    if as_user(*runtime, "start", "bench"):
        fail(said)
    while True:
        with open(said, "rb") as file:
            if file.read().split().count(b"up") >= nodes:
                break
        if time.perf_counter() - begin > 120:
            fail(said)
        time.sleep(0.002)
    taken = time.perf_counter() - begin
    as_user(*runtime, "delete", "--force", "bench")
    return taken


def fail(said: str) -> None:
    """End the benchmark with what was said."""
    with open(said, encoding="utf-8", errors="replace") as file:
        sys.exit(f"bench: {file.read()}")


def on_nodes(*command: str) -> None:
    """Run a command on both nodes."""
    subprocess.run(["srun", "--quiet", "--nodes=2", "--chdir=/", *command], check=True)


def carried(nodes: int, *options: str) -> Callable[[], float]:
    """A start on so many nodes."""
    return lambda: first_word(["/usr/bin/scrun", *options], PRIVATE, nodes)


def configure(path: str, like: str, script: str) -> list[str]:
    """Options for a copy of a configuration with another scrun.lua."""
    shutil.copytree(like, path, dirs_exist_ok=True)
    with open(f"{path}/scrun.lua", "w", encoding="utf-8") as file:
        file.write(script)
    return ["-f", f"{path}/slurm.conf"]


def c_scrun() -> float:
    """The C scrun with the page's script, which copies each time."""
    return first_word(["/usr/bin/scrun", "-f", f"{CONFIGURATION}/slurm.conf"], PRIVATE, 1)


def main() -> None:
    """Measure and print everything."""
    print(f"{ROUNDS} rounds, {os.cpu_count()} CPUs, load {os.getloadavg()[0]:.2f}", flush=True)
    make_tree(PRIVATE)
    make_tree(SHARED)
    configure(CONFIGURATION, "/etc/slurm-cscrun", PAGE.replace("SHARED", SHARED))
    with open("/etc/slurm/scrun.lua", encoding="utf-8") as file:
        shipped = file.read()
    on_disk = configure(f"{CONFIGURATION}.ours", "/etc/slurm", shipped.replace("{", f'{{ node_dir = "{ON_DISK}",', 1))
    on_nodes("install", "-d", "-m", "1777", ON_DISK)
    candidates: dict[str, Callable[[], float]] = {
        "C scrun, the page's rsync, 1 node": c_scrun,
        "scrun, carried to 1 node": carried(1, *on_disk),
        "scrun, carried to 2 nodes": carried(2, *on_disk),
        "scrun, carried to 2 nodes, into /tmp": carried(2),
        "scrun, shared storage, 1 node": lambda: first_word(["/usr/bin/scrun"], SHARED, 1),
    }
    taken: dict[str, list[float]] = {name: [] for name in candidates}
    try:
        for _ in range(ROUNDS):
            for name, measure in candidates.items():
                taken[name].append(measure())
    finally:
        on_nodes("rm", "-rf", ON_DISK)
        for path in (PRIVATE, SHARED, CONFIGURATION, f"{CONFIGURATION}.ours"):
            shutil.rmtree(path, ignore_errors=True)
        os.unlink(f"{SHARED}.out")
    reference = statistics.median(taken["C scrun, the page's rsync, 1 node"])
    print(f"\nfrom create to the container's first word{'median':>15}{'ratio':>8}   all")
    for name, times in taken.items():
        median = statistics.median(times)
        every = " ".join(f"{one:.2f}" for one in sorted(times))
        print(f"  {name:<44}{median:8.2f} s{median / reference:8.2f}   {every}")


if __name__ == "__main__":
    main()
