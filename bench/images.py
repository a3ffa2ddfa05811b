"""Time how quickly images start; `make bench-images` runs it on the login host of the devcluster.

``large`` has four layers, which are made of this host's own files, and so of Debian packages; ``more`` has one small
layer above these; ``small`` is busybox. Timed is from calling ``podman run --rm`` or ``docker run --rm`` to the
container's first byte. Each candidate runs once for its first start; then each round runs every candidate once, in
turn. Printed are the first start and the later ones' median. The machine's one disk holds all storages, and /home is
the nodes' too.
"""

from __future__ import annotations

import os
import pwd
import statistics
import subprocess
import sys
import time

ROUNDS = int(os.environ.get("ROUNDS") or "5")
USER = pwd.getpwnam("alice")
SHARED, PRIVATE = f"{USER.pw_dir}/bench-images", "/var/tmp/bench-images"  # noqa: S108
KEPT = (f"/var/tmp/scrun-{USER.pw_uid}", "/var/tmp/scrun-0")  # noqa: S108
LAYERS = ("usr/bin usr/sbin", "usr/lib", "usr/share usr/include", "opt")
SMALL, LARGE, MORE = "localhost/busybox", "localhost/large", "localhost/more"
STORAGES = {  # driver, graphroot, imagestore
    "layers": ("overlay", f"{PRIVATE}/layers", f"{SHARED}/images"),
    "carried": ("overlay", f"{PRIVATE}/carried", ""),
    "vfs": ("vfs", f"{SHARED}/vfs", ""),
}
NAMES = {SMALL: "small", LARGE: "large", MORE: "more"}
DOCKER = "docker"
CANDIDATES = [
    ("crun, here", "crun", "layers", SMALL),
    ("crun, here", "crun", "layers", LARGE),
    ("scrun, layers in place", "scrun", "layers", SMALL),
    ("scrun, layers in place", "scrun", "layers", LARGE),
    ("scrun, podman's layers carried", "scrun", "carried", SMALL),
    ("scrun, podman's layers carried", "scrun", "carried", LARGE),
    ("scrun, podman's layers carried", "scrun", "carried", MORE),
    ("runc, here", "runc", DOCKER, SMALL),
    ("runc, here", "runc", DOCKER, LARGE),
    ("scrun, docker's layers carried", "scrun", DOCKER, SMALL),
    ("scrun, docker's layers carried", "scrun", DOCKER, LARGE),
    ("scrun, vfs on /home", "scrun", "vfs", SMALL),
    ("scrun, vfs on /home", "scrun", "vfs", LARGE),
]


def as_user(*argv: str, storage: str) -> subprocess.Popen[bytes]:
    """Start a command as the user, with one of the storages; or as root for docker."""
    if storage == DOCKER:
        return subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, cwd="/")
    return subprocess.Popen(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        env={
            "PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
            "HOME": USER.pw_dir,
            "XDG_RUNTIME_DIR": f"/run/user/{USER.pw_uid}",
            "CONTAINERS_STORAGE_CONF": f"{SHARED}/{storage}.conf",
        },
        cwd="/",
        user=USER.pw_uid,
        group=USER.pw_gid,
        extra_groups=[],
    )


def call(*argv: str, storage: str) -> None:
    """Run a command to its end."""
    process = as_user(*argv, storage=storage)
    process.communicate()
    if process.returncode:
        sys.exit(f"{' '.join(argv)}: exit status {process.returncode}")


def prepare(storage: str) -> None:
    """Write a storage's configuration, and load or build the images in it."""
    driver, graph, images = STORAGES[storage]
    with open(f"{SHARED}/{storage}.conf", "w", encoding="utf-8") as conf:
        conf.write(f'[storage]\ndriver = "{driver}"\ngraphroot = "{graph}"\nrunroot = "{PRIVATE}/run-{storage}"\n')
        conf.write(f'imagestore = "{images}"\n' if images else "")
    if storage == "layers":
        call("podman", "load", "--quiet", "--input=/usr/share/devcluster/busybox.tar", storage=storage)
        files = f"{PRIVATE}/files"
        call("mkdir", "-p", files, storage=storage)
        steps = [f"FROM {SMALL}"]
        for number, names in enumerate(LAYERS):
            # What only root may read is left out.
            made = f"{files}/{number}.tar"
            pack = f"tar -C / --ignore-failed-read -cf {made} {names} 2>/dev/null; test -s {made}"
            call("sh", "-c", pack, storage=storage)
            steps.append(f"ADD {number}.tar /debian/")
        with open(f"{files}/Dockerfile", "w", encoding="utf-8") as file:
            file.write("\n".join(steps))
        call("podman", "build", "--quiet", "--layers", "--tag", LARGE, files, storage=storage)
        with open(f"{files}/Dockerfile", "w", encoding="utf-8") as file:
            file.write(f"FROM {LARGE}\nADD Dockerfile /\n")
        call("podman", "build", "--quiet", "--layers", "--tag", MORE, files, storage=storage)
        for image, name in NAMES.items():
            call("podman", "save", "--quiet", f"--output={PRIVATE}/{name}.tar", image, storage=storage)
    else:
        for name in NAMES.values():
            call("podman", "load", "--quiet", f"--input={PRIVATE}/{name}.tar", storage=storage)


def first_byte(runtime: str, storage: str, image: str) -> float:
    """Run a container; return the seconds to its first byte."""
    begun = time.monotonic()
    words = ["podman", "--runtime", runtime, "run", "--rm", "--network=none" if runtime == "crun" else "--network=host"]
    if storage == DOCKER:
        words = ["docker", "run", "--rm", f"--runtime={runtime}", "--network=none"]
    process = as_user(*words, image, "echo", "here", storage=storage)
    assert process.stdout
    byte = process.stdout.read(1)
    seconds = time.monotonic() - begun
    process.communicate()
    if not byte or process.returncode:
        sys.exit(f"{runtime} with {image}: exit status {process.returncode}")
    return seconds


def main() -> None:
    """Make the images, time all candidates in turn, print a table, and remove what was made."""
    for directory in (SHARED, PRIVATE):
        os.makedirs(directory, mode=0o700)
        os.chown(directory, USER.pw_uid, USER.pw_gid)
    try:
        subprocess.run(["srun", "--quiet", "--nodes=2", "--chdir=/", "rm", "-rf", *KEPT], check=True)
        for storage in STORAGES:
            prepare(storage)
        call("docker", "load", "--quiet", f"--input={PRIVATE}/large.tar", storage=DOCKER)
        first = {candidate: first_byte(*candidate[1:]) for candidate in CANDIDATES}
        times: dict[tuple[str, str, str, str], list[float]] = {candidate: [] for candidate in CANDIDATES}
        for _ in range(ROUNDS):
            for candidate in CANDIDATES:
                times[candidate].append(first_byte(*candidate[1:]))
        print("| | image | first, s | later, s |\n| --- | --- | --- | --- |")
        for candidate, seconds in times.items():
            name, _, _, image = candidate
            print(f"| {name} | {image.partition('/')[2]} | {first[candidate]:.2f} | {statistics.median(seconds):.2f} |")
    finally:
        subprocess.run(["docker", "rmi", "--force", LARGE], check=False, stdout=subprocess.DEVNULL)
        for storage in STORAGES:
            as_user("podman", "system", "migrate", storage=storage).communicate()
        subprocess.run(["rm", "-rf", "--one-file-system", SHARED, PRIVATE], check=False)


if __name__ == "__main__":
    main()
