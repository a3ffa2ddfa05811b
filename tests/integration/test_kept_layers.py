"""Layers that the nodes don't see are carried once: a later container of the image, or of its base, finds them."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from . import layered_image, slurm
from .conftest import RUNTIME
from .dockerd import docker_in
from .engines import IMAGE, Engine
from .storages import LAYERS, Storage, kept, private_storage
from .users import User
from .waiting import PATIENCE, wait_until

pytestmark = [pytest.mark.slurm_only("runs where the bundle is"), pytest.mark.usefixtures("_no_layers")]

Configure = Callable[..., Path]
SCRIPT = """
function slurm_scrun_stage_in() scrun.stage_in{{ {options} }} return slurm.SUCCESS end
function slurm_scrun_stage_out() scrun.stage_out() return slurm.SUCCESS end
"""
IMAGES = {
    # Each of the layers changes what the others have; some of it belongs to other users, or is closed to all others.
    "peculiar": r"""FROM localhost/busybox
RUN mkdir -p /gone/deep /anew/old /files /links && echo 1 >/gone/deep/file && echo old >/anew/old/file && \
    echo one >/files/changed && echo two >/files/removed && echo x >/links/a && ln /links/a /links/b
RUN rm -r /gone /files/removed && rm -r /anew && mkdir /anew && echo new >/anew/file && echo more >>/files/changed
RUN mkdir -p /theirs/closed/in && echo secret >/theirs/closed/in/file && chown -R 33:33 /theirs && \
    chmod 700 /theirs/closed && echo group >/files/group && chown 0:42 /files/group && chmod 640 /files/group
RUN echo begin >/files/hole
""",
    "other": "FROM localhost/busybox\nRUN echo other >/other\n",
}
LOOK = """cd /; find gone anew files links theirs 2>/dev/null | sort; cat files/changed anew/file theirs/closed/in/file
[ links/a -ef links/b ] && stat -c %h links/a; busybox getfattr -n user.colour files/changed | grep colour
ls -ld theirs/closed files/group | cut -c1-10; stat -c %s files/hole
[ $(du -k files/hole | cut -f1) -lt 100 ] && echo hole"""


@pytest.fixture
def _no_layers() -> Iterator[None]:
    """The nodes keep none before the test, and none after it."""
    slurm.on_nodes("rm -rf /var/tmp/scrun-*")
    yield
    slurm.on_nodes("rm -rf /var/tmp/scrun-*")


@pytest.fixture(scope="module")
def private(alice: User) -> Iterator[Storage]:
    """A storage on a disk of the login host alone."""
    with private_storage(alice) as storage:
        home = storage.home
        for name, text in IMAGES.items():
            directory = alice.mkdir(home / name)
            alice.write(directory / "Dockerfile", text)
            words = ("--runtime=crun", "build", "--layers", "--network=none", "--tag", name, str(directory))
            storage.engine.call(*words, timeout=240).ok()
        storage.load(layered_image.many())
        # What the engine's tools and busybox don't make.
        colour = "import os, sys; [os.setxattr(path, 'user.colour', b'red') for path in sys.argv[1:]]"
        files = map(str, (home / "graph/overlay").glob("*/diff/files/changed"))
        alice.run("podman", "unshare", "python3", "-c", colour, *files).ok()
        (hole,) = (home / "graph/overlay").glob("*/diff/files/hole")
        alice.run("podman", "unshare", "truncate", "--size=500000", str(hole)).ok()
        yield storage


@pytest.fixture
def storage(private: Storage) -> Iterator[Storage]:
    yield private
    private.engine.env = {key: value for key, value in (private.engine.env or {}).items() if key != "SLURM_CONF"}
    private.engine.clean_up()
    private.engine.made.clear()


def configured(engine: Engine, slurm_conf: Configure, options: str) -> None:
    """Give the engine's containers a scrun.lua with these options of scrun.stage_in's."""
    path = slurm_conf()
    path.with_name("scrun.lua").write_text(SCRIPT.format(options=options))
    engine.env = {**(engine.env or {}), "SLURM_CONF": str(path)}


@pytest.fixture(params=["overlay", "copy"])
def way(request: pytest.FixtureRequest, storage: Storage, slurm_conf: Configure) -> str:
    """The layers as the container's overlay, and where a runtime can't mount one, a copy of what it shows."""
    if request.param == "copy":
        configured(storage.engine, slurm_conf, "overlay = false")
    elif not slurm.mounts_at_root("node1"):
        pytest.skip("the nodes' runtime mounts no overlay at /")
    return str(request.param)


def made() -> list[str]:
    """What is being made, or was put aside."""
    return slurm.on_nodes(f"ls -d {LAYERS}/.[no]* 2>/dev/null; :")


def run(storage: Storage, image: str, script: str, *options: str) -> str:
    """What a script says in a container on node1 (if not said otherwise)."""
    on = () if any("SCRUN_JOB" in option for option in options) else ("--env=SCRUN_JOB_NODELIST=node1",)
    return storage.run(image, script, *on, *options, runtime=RUNTIME).ok().stdout


def test_a_container_sees_what_it_sees_here(storage: Storage, way: str) -> None:
    here = storage.run("peculiar", LOOK, "--rm", runtime="crun").ok().stdout
    on = "grep -c '^overlay / ' /proc/mounts"
    for _ in range(2):
        assert run(storage, "peculiar", f"{on}; {LOOK}", "--rm") == f"{int(way == 'overlay')}\n{here}"


def test_a_later_container_carries_nothing(storage: Storage) -> None:
    run(storage, "peculiar", "true", "--rm")
    before = kept()
    assert len(before) == 5
    run(storage, "peculiar", "true", "--rm")
    assert kept() == before


def test_a_second_image_brings_its_own_layers_alone(storage: Storage) -> None:
    run(storage, IMAGE, "true", "--rm")
    before = kept()
    assert len(before) == 1
    assert run(storage, "other", "cat /other", "--rm") == "other\n"
    assert len(kept()) == 2
    assert before < kept()


def test_a_persons_own_tree_may_change_between_containers(storage: Storage, alice: User) -> None:
    """podman lays an overlay over it, but it is no engine's layer."""
    tree = alice.mkdir(Path(f"/var/tmp/tree-{uuid.uuid4().hex[:8]}"))
    make = """cd "$1" && mkdir -p bin deep/in proc dev sys etc tmp run var && cp "$(command -v busybox)" bin/cat
        for number in $(seq 100); do echo old >deep/in/$number; done"""
    try:
        alice.run("sh", "-c", make, "sh", str(tree)).ok()
        for content in ("old\n", "new\n"):
            alice.write(tree / "deep/in/7", content)
            words = (f"--runtime={RUNTIME}", "run", "--rm", "--env=SCRUN_JOB_NODELIST=node1")
            assert storage.engine.call(*words, "--rootfs", f"{tree}:O", "/bin/cat", "/deep/in/7").ok().stdout == content
        assert kept() == set()
    finally:
        alice.run("rm", "-rf", str(tree)).ok()


def test_another_storage_has_the_same_layers(storage: Storage, alice: User) -> None:
    run(storage, IMAGE, "true", "--rm")
    before = kept()
    with private_storage(alice) as another:
        run(another, IMAGE, "true", "--rm")
        assert kept() == before


def test_sixty_layers_are_carried_at_once(storage: Storage) -> None:
    for _ in range(2):
        assert run(storage, "many", "echo /f*", "--rm") == "/f57 /f58\n"
    assert len(kept()) == 60


def test_what_changed_comes_back(storage: Storage, way: str) -> None:
    script = """cd /; echo more >>files/changed; rm -r anew; mkdir anew; echo mine >anew/mine; rm files/group
echo mine >theirs/closed/mine; mv links/a links/c; mkdir -p made/deep; echo m >made/deep/file"""
    run(storage, "peculiar", script)
    name = storage.engine.made[-1]
    assert storage.diff(name) >= {
        *("C /files", "C /files/changed", "D /files/group", "C /anew", "D /anew/file", "A /anew/mine", "C /links"),
        *("D /links/a", "A /links/c", "C /theirs", "C /theirs/closed", "A /theirs/closed/mine"),
        *("A /made", "A /made/deep", "A /made/deep/file"),
    }
    assert "can't remove 'files/group'" in storage.again(name).ok().stderr
    assert storage.engine.call("cp", f"{name}:/anew/mine", "-").ok().output[:9] == b"mine\0\0\0\0\0"
    before = kept()
    run(storage, "peculiar", "[ ! -e /made ] && cat /files/group", "--rm")
    assert kept() == before


def test_two_nodes_get_the_layers_at_once(storage: Storage) -> None:
    script = "cat /anew/file; echo $SLURMD_NODENAME >/$SLURMD_NODENAME; rm /files/changed"
    assert run(storage, "peculiar", script, "--env=SCRUN_JOB_NUM_NODES=2") == "new\nnew\n"
    assert storage.diff(storage.engine.made[-1]) == {"A /node1", "A /node2", "C /files", "D /files/changed"}
    names = [line.split(":") for line in kept()]
    assert sorted(node for node, *_ in names) == ["node1"] * 5 + ["node2"] * 5
    assert len({name for _, name, _ in names}) == 5


def test_a_node_that_lacks_some_gets_those(storage: Storage) -> None:
    run(storage, IMAGE, "true", "--rm")
    before = kept()
    run(storage, "other", "true", "--rm", "--env=SCRUN_JOB_NUM_NODES=2")
    assert before < kept()
    assert len(kept()) == 4


DAMAGES = {
    "written to": "echo x >>{tree}/bin/busybox",
    "removed": "rm {tree}/bin/busybox",
    "added": "touch {tree}/etc/more",
    "mode": "chmod 777 {tree}/etc",
    "unseen": "f={tree}/bin/busybox; touch -r $f {tree}/../r; echo x >>$f; truncate -s -2 $f; touch -r {tree}/../r $f",
    "empty": "rm -r {tree}",
    "an empty seal": ": >{tree}/../seal",
    "without a seal": "rm {tree}/../seal",
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_a_damaged_layer_is_carried_again(storage: Storage, damage: str) -> None:
    run(storage, IMAGE, "true", "--rm")
    before = kept()
    slurm.on_nodes(f"for tree in {LAYERS}/[!l.]*/tree; do [ ! -d $tree ] || ({damage.format(tree='$tree')}); done")
    slurm.on_nodes(f"for c in {LAYERS}/[!l.]*/checked; do [ ! -e $c ] || echo 1 >$c; done")
    assert run(storage, IMAGE, "ls /etc/more; busybox true && stat -c %a /etc", "--rm") == "755\n"
    assert len(kept() - before) == 1
    assert len(kept()) == 1


def test_containers_that_race_for_layers_leave_one(storage: Storage) -> None:
    words = [
        storage.engine.words("--rm", "--env=SCRUN_JOB_NODELIST=node1", command=("cat", "/anew/file")) for _ in "1234"
    ]
    words = [["localhost/peculiar" if word == IMAGE else word for word in line] for line in words]
    several = [
        storage.engine.user.start("podman", *line, env=storage.engine.env, stdout=subprocess.PIPE) for line in words
    ]
    assert [one.communicate(timeout=PATIENCE)[0] for one in several] == [b"new\n"] * 4
    assert len(kept()) == 5
    wait_until(lambda: made() == [], "nothing else is left")


def test_only_the_longest_unused_layer_makes_room(storage: Storage, slurm_conf: Configure) -> None:
    """A busybox has 2 MB, and each of the two images a layer more of 1 MB."""
    user, home = storage.engine.user, storage.home
    for name in ("one", "two"):
        directory = user.mkdir(home / f"room-{name}")
        user.write(directory / "Dockerfile", "FROM localhost/busybox\nRUN head -c 1000000 /dev/urandom >/file\n")
        build = ("--runtime=crun", "build", "--no-cache", "--network=none", "--tag", name, str(directory))
        storage.engine.call(*build, timeout=240).ok()
    configured(storage.engine, slurm_conf, 'cache_size = "4M"')
    on = "--env=SCRUN_JOB_NODELIST=node1"
    words = storage.engine.words("--detach", on, command=("sh", "-c", "echo up; sleep 1000"))
    storage.engine.call(*["one" if word == IMAGE else word for word in words]).ok()
    name = storage.engine.made[-1]
    wait_until(lambda: "up" in storage.engine.call("logs", name).stdout, "the container runs")
    used = kept()
    assert len(used) == 2
    assert run(storage, "two", "ls /file", "--rm") == "/file\n"  # carried as a whole: both are used
    assert kept() == used
    storage.engine.call("rm", "--force", "--time=0", name).ok()
    run(storage, "two", "true", "--rm")
    assert len(kept()) == 2
    assert len(kept() & used) == 1, "the base stays"


def sent() -> int:
    """The bytes that this host has sent to others."""
    names = (path for path in Path("/sys/class/net").iterdir() if path.name != "lo")
    return sum(int((path / "statistics/tx_bytes").read_text()) for path in names)


def build_file(storage: Storage, name: str, size: int) -> None:
    """Make an image with a file of so many bytes, unless there is one."""
    if not storage.engine.call("image", "exists", name).status:
        return
    directory = storage.engine.user.mkdir(storage.home / name)
    text = f"FROM localhost/busybox\nRUN head -c {size} /dev/urandom >/file\n"
    storage.engine.user.write(directory / "Dockerfile", text)
    build = ("--runtime=crun", "build", "--network=none", "--tag", name, str(directory))
    storage.engine.call(*build, timeout=240).ok()


def test_layers_for_two_nodes_leave_this_host_once(storage: Storage) -> None:
    build_file(storage, "some", 40_000_000)
    before = sent()
    count = run(storage, "some", "stat -c %s /file", "--rm", "--env=SCRUN_JOB_NUM_NODES=2")
    assert count == "40000000\n" * 2
    assert 40_000_000 < sent() - before < 60_000_000


@pytest.mark.parametrize("ending", ["interrupted", "killed", "cancelled"])
def test_a_transfer_ended_half_way_leaves_nothing(storage: Storage, ending: str) -> None:
    user = storage.engine.user
    build_file(storage, "large", 300_000_000)
    known = slurm.jobs(user)
    words = storage.engine.words("--env=SCRUN_JOB_NUM_NODES=2", command=("true",))
    words = ["large" if word == IMAGE else word for word in words]
    process = user.start("podman", *words, env=storage.engine.env, stderr=subprocess.PIPE)
    stopped = wait_until(lambda: calls(b"tar", b"--create", b"--sparse"), "the layers are being sent")
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)
    wait_until(lambda: any("/.new" in name for name in made()), "the layers are being made")
    (job,) = slurm.jobs(user) - known
    if ending == "cancelled":
        slurm.cancel(job)
    else:
        number = signal.SIGTERM if ending == "interrupted" else signal.SIGKILL
        # Its anchor and its worker have the same command line, and are younger.
        several = [pid for pid in calls(b"create", os.fsencode(storage.home)) if "conmon" not in command(pid)]
        os.kill(min(several), number)
    for pid in stopped:
        os.kill(pid, signal.SIGCONT)
    process.communicate(timeout=PATIENCE)
    wait_until(lambda: job not in slurm.jobs(), "the job has gone")
    wait_until(lambda: made() == [], "nothing half is left in the cache")
    assert kept() == set()
    wait_until(lambda: slurm.files_on_nodes(job) == [], "nothing is left on the nodes")


def command(pid: int) -> str:
    """The name of the program that a process runs."""
    return Path(f"/proc/{pid}/comm").read_text()


def calls(*words: bytes) -> list[int]:
    """The pids of processes with all of these in their command lines."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes()
        except OSError:
            continue
        if all(word in line for word in words):
            found.append(int(path.parent.name))
    return found


def test_a_full_disk_is_one_clear_line(storage: Storage, slurm_conf: Configure) -> None:
    slurm.on_nodes("mkdir -p /mnt/small; mount -t tmpfs -o size=1m,mode=1777 none /mnt/small")
    try:
        configured(storage.engine, slurm_conf, 'node_dir = "/mnt/small", cache_dir = "/mnt/small", cache_size = "1G"')
        done = storage.run(IMAGE, "true", "--rm", "--env=SCRUN_JOB_NODELIST=node1", runtime=RUNTIME)
        assert done.status
        assert "node1: /mnt/small/scrun-2000/" in done.stderr
        assert "No space left on device" in done.stderr
        assert slurm.on_nodes("find /mnt/small -name '[!l]*' -type f") == []
    finally:
        slurm.on_nodes("umount /mnt/small; rmdir /mnt/small")


def test_nodes_with_one_cache_dir_share_layers(storage: Storage, slurm_conf: Configure) -> None:
    user = storage.engine.user
    directory = user.mkdir(user.home / f"scrun-tests-{uuid.uuid4().hex[:8]}", 0o700)
    try:
        configured(storage.engine, slurm_conf, f'cache_dir = "{directory}"')
        for _ in range(2):
            assert run(storage, "other", "cat /other", "--rm", "--env=SCRUN_JOB_NUM_NODES=2") == "other\nother\n"
        names = os.listdir(directory / "scrun-2000/layers")
        assert len(names) == 3
        assert "lock" in names
    finally:
        shutil.rmtree(directory)


def test_nodes_that_may_not_cache_do_not(storage: Storage, slurm_conf: Configure) -> None:
    configured(storage.engine, slurm_conf, "cache = false")
    for _ in range(2):
        assert run(storage, "other", "cat /other", "--rm") == "other\n"
    assert kept() == set()


def share_a_base(docker: Engine) -> None:
    for text in ("one", "two"):
        done = docker.run("sh", "-c", f"echo {text} >>/etc/passwd; tail -n 1 /etc/passwd; grep ' / ' /proc/mounts")
        assert done.stdout.splitlines()[0] == text
        assert done.stdout.splitlines()[1].startswith("overlay / overlay ") == slurm.mounts_at_root("node1")
        assert "C /etc/passwd" in docker.call("diff", docker.made[-1]).ok().stdout
    assert len({line.split(":")[1] for line in kept()}) == 1


def test_dockers_containers_share_a_base(docker: Engine) -> None:
    share_a_base(docker)


def test_containerds_containers_share_a_base(root: User) -> None:
    with docker_in(Path(f"/var/tmp/layers-{uuid.uuid4().hex[:8]}"), RUNTIME, root, by_containerd=True) as docker:
        share_a_base(docker)


def test_podmans_vfs_storage_is_carried_as_a_whole(alice: User) -> None:
    home = alice.mkdir(Path(f"/var/tmp/scrun-tests-{uuid.uuid4().hex[:8]}"))
    text = f'[storage]\ndriver = "vfs"\ngraphroot = "{home}/storage"\nrunroot = "{home}/run"\n'
    text += f'rootless_storage_path = "{home}/storage"\n'  # podman 5.4 takes no graphroot from a file that is named
    alice.write(home / "storage.conf", text)
    engine = Engine("podman", alice, RUNTIME, {"CONTAINERS_STORAGE_CONF": f"{home}/storage.conf"})
    try:
        engine.call("load", "--input", "/usr/share/devcluster/busybox.tar").ok()
        for text in ("one", "two"):
            done = engine.run("sh", "-c", f"echo {text} >>/etc/passwd; tail -n 1 /etc/passwd; grep ' / ' /proc/mounts")
            assert done.ok().stdout.splitlines()[0] == text
            assert not done.stdout.splitlines()[1].startswith("overlay")
            assert "C /etc/passwd" in engine.call("diff", engine.made[-1]).ok().stdout
        assert kept() == set()
    finally:
        engine.clean_up()
        alice.run("podman", "unshare", "rm", "-rf", str(home)).ok()
