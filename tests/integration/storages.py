"""Storages of podman's of their own, with the overlay driver."""

from __future__ import annotations

import contextlib
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

from . import slurm
from .conftest import RUNTIME
from .engines import IMAGE, Engine
from .users import Done, User

LAYERS = "/var/tmp/scrun-*/layers"
IN_PLACE = "grep -q '^overlay / .*~l/' /proc/mounts || { echo the layers are not used; exit 99; }"


class Storage:
    """alice's podman with the overlay driver, and a storage of its own."""

    def __init__(self, alice: User, conf: str, home: Path) -> None:
        self.home, self._alice = home, alice
        alice.write(home / "storage.conf", conf)
        self.engine = Engine("podman", alice, RUNTIME, {"CONTAINERS_STORAGE_CONF": f"{home}/storage.conf"})

    def run(self, image: str, script: str, *options: str, runtime: str = "") -> Done:
        """Run a shell script in a container of an image, which fails on a node without an overlay of its layers."""
        script = script if runtime else f"{IN_PLACE}; {script}"
        words = self.engine.words(*options, command=("sh", "-c", script))
        words = [image if word == IMAGE else word for word in words]
        return self.engine.call(
            *[f"--runtime={runtime}" if runtime and word[:5] == "--run" else word for word in words]
        )

    def load(self, archive: bytes) -> None:
        """Load an image."""
        file = self.home / "image.tar"
        file.write_bytes(archive)
        self.engine.call("load", "--input", str(file)).ok()
        file.unlink()

    def again(self, name: str) -> Done:
        return self.engine.call("start", "--attach", name)

    def diff(self, name: str) -> set[str]:
        """What podman finds changed, without what every run changes."""
        lines = self.engine.call("diff", name).ok().stdout.splitlines()
        return {line for line in lines if line != "C /etc"}


def conf(graph: Path, run: str, stores: str = "") -> str:
    """A storage.conf, named by a variable; podman 5.4 takes no graphroot from it, 5.8 warns of the other."""
    version = subprocess.run(["podman", "--version"], capture_output=True, check=True, text=True).stdout
    key = "rootless_storage_path" if " 5.4." in version else "graphroot"
    text = f'[storage]\ndriver = "overlay"\n{key} = "{graph}"\nrunroot = "{run}"\n'
    return text + f"[storage.options]\nadditionalimagestores = [{stores}]\n"


@contextlib.contextmanager
def private_storage(user: User) -> Iterator[Storage]:
    """A storage with busybox alone, on a disk of the login host alone."""
    home = user.mkdir(Path(f"/var/tmp/layers-{uuid.uuid4().hex[:8]}"))
    storage = Storage(user, conf(home / "graph", f"/run/user/{user.uid}/{home.name}"), home)
    try:
        storage.engine.call("load", "--input", "/usr/share/devcluster/busybox.tar").ok()
        yield storage
    finally:
        storage.engine.call("rm", "--all", "--force", "--time=0")
        user.run("podman", "unshare", "rm", "-rf", str(home)).ok()


def kept() -> set[str]:
    """The nodes' complete layers, NODE:NAME:SEAL; one that is carried again has another seal (inode and ctime)."""
    script = f'for s in {LAYERS}/[!.]*/seal; do [ ! -e $s ] || stat -c "$SLURMD_NODENAME:%n:%i.%.Z" $s; done'
    return {line.replace("/seal", "") for line in slurm.on_nodes(script)}
