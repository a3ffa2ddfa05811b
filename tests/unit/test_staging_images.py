"""How a tree differs from one that was carried before; the connections it is carried over; slurm.conf's ports."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import socket
import subprocess
import threading
import time
from typing import TYPE_CHECKING

import pytest

from scrun.slurm import slurm_conf
from scrun.staging.arrivals import _MOST_STRANGERS, Arrivals, proof
from scrun.staging.children import Children
from scrun.staging.content import Hashing
from scrun.staging.feed import Feed
from scrun.staging.images import Delta, ListedTree, holes, parse_listing, scan, settled
from scrun.staging.kept import Images
from scrun.staging.summing import Summing

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from scrun.staging.content import Checksums


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A directory with files that are old enough to have an identity."""
    root = tmp_path / "root"
    (root / "etc/deep").mkdir(parents=True)
    for name in ("etc/passwd", "etc/deep/file", "plain", "new\nline"):
        (root / name).write_text(name * 10_000)
    (root / "link").symlink_to("plain")
    (root / "big").write_bytes(bytes(1_000_000))
    wait_a_tick()
    return root


def wait_a_tick() -> None:
    """Until what was changed up to now can't change unseen."""
    end = time.time() + 0.05
    while time.time() < end:
        pass


@pytest.fixture
def images(tmp_path: Path) -> Images:
    """The memory of what was carried."""
    return Images(str(tmp_path / "images"))


def listed(root: Path) -> ListedTree:
    """The directory's listing."""
    with Children() as children:
        return scan(children, str(root), devices=False)


def delta(root: Path, images: Images, base: ListedTree) -> Delta:
    """How the directory differs from the one that was kept."""
    name, found = images.closest(listed(root))
    assert name == base.name
    return found


def test_the_same_tree_has_one_name_without_delta(root: Path, images: Images) -> None:
    tree = listed(root)
    files = ("etc/passwd", "etc/deep/file", "plain", "new\nline")
    assert (tree.size, tree.files) == (1_000_000 + sum(10_000 * len(name) for name in files), 9)
    images.keep(tree)
    assert images.closest(listed(root)) == (tree.name, Delta())


def test_holes_take_no_room(root: Path) -> None:
    with open(root / "sparse", "wb") as file:
        file.truncate(1 << 30)
        file.write(bytes(5000))
    assert 0.9 * (1 << 30) < holes(str(root), listed(root)) <= 1 << 30


def test_an_unknown_tree_is_its_own_image(root: Path, images: Images) -> None:
    tree = listed(root)
    assert images.closest(tree) == (tree.name, Delta())


def test_changed_files_come_with_the_directories_above_them(root: Path, images: Images) -> None:
    images.keep(base := listed(root))
    (root / "etc/deep/file").write_text("other")
    assert delta(root, images, base) == Delta((b"", b"etc", b"etc/deep", b"etc/deep/file"), (), 5)


def test_a_change_hidden_by_restored_times_is_noticed(root: Path, images: Images) -> None:
    images.keep(base := listed(root))
    path = root / "plain"
    before = path.stat()
    path.write_text("PLAIN" * 10_000)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size
    assert b"plain" in delta(root, images, base).changed


def test_a_tree_includes_modes_links_and_kinds(root: Path, images: Images) -> None:
    images.keep(base := listed(root))
    (root / "plain").chmod(0o600)
    (root / "link").unlink()
    (root / "link").symlink_to("elsewhere")
    os.link(root / "etc/passwd", root / "etc/hard")
    found = delta(root, images, base)
    assert {b"plain", b"link", b"etc/passwd", b"etc/hard", b"etc"} <= set(found.changed)
    assert b"new\nline" not in found.changed


def test_only_the_top_of_a_removal_is_named(root: Path, images: Images) -> None:
    images.keep(base := listed(root))
    (root / "etc/deep/file").unlink()
    (root / "etc/deep").rmdir()
    found = delta(root, images, base)
    assert found.gone == (b"etc/deep",)
    assert {b"", b"etc"} <= set(found.changed)


def test_a_directory_turned_file_is_replaced_not_gone(root: Path, images: Images) -> None:
    images.keep(base := listed(root))
    (root / "etc/deep/file").unlink()
    (root / "etc/deep").rmdir()
    (root / "etc/deep").write_text("")
    found = delta(root, images, base)
    assert found.gone == ()
    assert b"etc/deep" in found.changed


def test_a_very_different_tree_is_another_image(root: Path, images: Images) -> None:
    images.keep(listed(root))
    (root / "plain").write_bytes(bytes(4 << 20))
    tree = listed(root)
    assert images.closest(tree) == (tree.name, Delta())


def test_recent_changes_are_carried_each_time(root: Path, images: Images) -> None:
    def soon() -> ListedTree:
        with Children() as children:
            return scan(children, str(root / "etc"), devices=False, tick=3600)

    images.keep(base := soon())
    assert soon().name != base.name
    assert settled(base, listed(root / "etc")) == (base, [])
    assert images.closest(soon())[0] != base.name, "all of it may have changed unseen"


def test_a_change_during_the_transfer_is_noticed(root: Path) -> None:
    before = listed(root)
    assert settled(before, listed(root)) == (before, [])
    (root / "new").touch()
    assert settled(before, listed(root))[1] == [b"new"]
    before = listed(root)
    (root / "plain").write_text("other")
    assert settled(before, listed(root))[1] == [b"plain"]


def test_a_directorys_own_change_goes_along_each_time(root: Path, images: Images) -> None:
    before = listed(root)
    (root / "etc").chmod(0o700)
    base, others = settled(before, listed(root))
    assert others == []
    images.keep(base)
    (root / "etc").chmod(0o755)
    assert b"etc" in delta(root, images, base).changed


@pytest.fixture
def copy(root: Path, images: Images, tmp_path: Path) -> Path:
    """A copy of a tree that was carried, with all that cp(1) can keep; it is old enough as well."""
    os.link(root / "plain", root / "hard")
    os.setxattr(root / "etc/passwd", "user.colour", b"red")
    wait_a_tick()
    tree = listed(root)
    images.keep(tree)
    images.add_sums(tree, checksums(root)(list(parse_listing(tree.listing))))
    subprocess.run(["cp", "-a", root, tmp_path / "copy"], check=True)
    wait_a_tick()
    return tmp_path / "copy"


def checksums(root: Path, asked: list[bytes] | None = None) -> Checksums:
    """Takes them, and notes of what."""

    def take(names: Sequence[bytes]) -> Mapping[bytes, bytes]:
        if asked is not None:
            asked.extend(names)
        hashing = Hashing(str(root), names, "user.*", threads=2)
        while not hashing.has_ended:
            pass
        hashing.end()
        return hashing.checksums

    return take


def test_a_copied_tree_is_recognized_by_its_content(root: Path, copy: Path, images: Images) -> None:
    asked: list[bytes] = []
    assert images.closest(listed(copy), checksums(copy, asked)) == (listed(root).name, Delta())
    assert {b"big", b"etc", b"etc/passwd"} <= set(asked)
    asked.clear()
    assert images.closest(listed(copy), checksums(copy, asked)) == (listed(root).name, Delta())
    assert images.closest(listed(root), checksums(root, asked)) == (listed(root).name, Delta())
    assert asked == []


def test_without_checksums_a_copy_is_another_tree(copy: Path, images: Images, tmp_path: Path) -> None:
    assert images.closest(listed(copy)) == (listed(copy).name, Delta())
    for path in (tmp_path / "images").glob(".*.sums"):
        path.write_bytes(path.read_bytes()[:-1])
    assert images.closest(listed(copy), checksums(copy)) == (listed(copy).name, Delta())


def unseen_byte(copy: Path) -> list[bytes]:
    path = copy / "etc/deep/file"
    before = path.stat()
    path.write_bytes(b"X" + path.read_bytes()[1:])
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size
    return [b"etc/deep/file"]


def an_attribute(copy: Path) -> list[bytes]:
    os.setxattr(copy / "etc/passwd", "user.colour", b"blue")
    return [b"etc/passwd"]


def an_attribute_of_a_directory(copy: Path) -> list[bytes]:
    os.setxattr(copy / "etc", "user.colour", b"blue")
    return [b"etc"]


def a_link_that_is_a_copy(copy: Path) -> list[bytes]:
    subprocess.run(["cp", "-a", copy / "plain", copy / "new"], check=True)
    before = copy.stat()
    (copy / "hard").unlink()
    (copy / "new").rename(copy / "hard")
    os.utime(copy, ns=(before.st_atime_ns, before.st_mtime_ns))
    return [b"hard", b"plain"]


@pytest.mark.parametrize("change", [unseen_byte, an_attribute, an_attribute_of_a_directory, a_link_that_is_a_copy])
def test_files_merely_looking_the_same_go_along(
    root: Path, copy: Path, images: Images, change: Callable[[Path], list[bytes]]
) -> None:
    names = change(copy)
    wait_a_tick()
    for _ in range(2):
        name, found = images.closest(listed(copy), checksums(copy))
        assert name == listed(root).name
        above = {os.path.dirname(one) for one in names} | {b"", *({b"etc"} if b"etc/deep/file" in names else set())}
        assert set(found.changed) == {*names, *above}
        assert found.gone == ()


def test_two_files_that_have_become_one_go_along(root: Path, copy: Path, images: Images) -> None:
    (root / "other").write_bytes((root / "plain").read_bytes())
    shutil.copystat(root / "plain", root / "other")
    wait_a_tick()
    images.keep(base := listed(root))
    images.add_sums(base, checksums(root)(list(parse_listing(base.listing))))
    os.link(copy / "plain", copy / "other")
    shutil.copystat(root, copy)
    wait_a_tick()
    name, found = images.closest(listed(copy), checksums(copy))
    assert (name, found.changed) == (base.name, (b"", b"hard", b"other", b"plain"))


def test_a_file_without_identity_has_no_usable_checksum(root: Path, images: Images, tmp_path: Path) -> None:
    with Children() as children:
        base = scan(children, str(root), devices=False, tick=3600)
    images.keep(base)
    images.add_sums(base, checksums(root)(list(parse_listing(base.listing))))
    subprocess.run(["cp", "-a", root, tmp_path / "copy"], check=True)
    wait_a_tick()
    tree = listed(tmp_path / "copy")
    assert images.closest(tree, checksums(tmp_path / "copy")) == (tree.name, Delta())


def summed_later(root: Path, images: Images, change: Callable[[], object] = lambda: None) -> None:
    """What the stager does when the container runs: ``change`` comes in between."""
    tree = listed(root)
    images.keep(tree)
    summing = Summing(images, str(root), tree, xattrs="user.*", devices=False)
    change()
    summing.begin()
    summing.finish()
    assert not summing.is_busy


def test_checksums_that_are_taken_later_serve_as_well(root: Path, images: Images, tmp_path: Path) -> None:
    summed_later(root, images)
    subprocess.run(["cp", "-a", root, tmp_path / "copy"], check=True)
    wait_a_tick()
    assert images.closest(listed(tmp_path / "copy"), checksums(tmp_path / "copy")) == (listed(root).name, Delta())


def test_a_file_changed_before_summing_has_no_checksum(root: Path, images: Images, tmp_path: Path) -> None:
    was = listed(root)
    summed_later(root, images, lambda: unseen_byte(root))
    subprocess.run(["cp", "-a", root, tmp_path / "copy"], check=True)
    wait_a_tick()
    name, found = images.closest(listed(tmp_path / "copy"), checksums(tmp_path / "copy"))
    assert name == was.name
    assert b"etc/deep/file" in found.changed  # the nodes have the other one


def test_a_tree_that_is_gone_gets_no_checksums(root: Path, images: Images) -> None:
    summed_later(root, images, lambda: shutil.rmtree(root))


def test_recent_copies_are_remembered_along_with_their_image(
    root: Path, copy: Path, images: Images, tmp_path: Path
) -> None:
    kept = tmp_path / "images"
    for number in range(10):
        subprocess.run(["cp", "-a", root, tmp_path / f"copy-{number}"], check=True)
        wait_a_tick()
        assert images.closest(listed(tmp_path / f"copy-{number}"), checksums(tmp_path / f"copy-{number}"))[1] == Delta()
    assert len(list(kept.glob("*.*"))) == 8 + 1
    images.forget(listed(root).name)
    assert list(kept.iterdir()) == []


def test_only_the_last_used_trees_are_remembered(root: Path, images: Images, tmp_path: Path) -> None:
    first = listed(root)
    images.keep(first)
    for number in range(10):
        images.keep(ListedTree(f"{number:040}", b"", 0, 0))
        images.used(first.name)
    assert len(os.listdir(tmp_path / "images")) == 8
    assert images.closest(first) == (first.name, Delta())


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


def _changed_later(name: bytes, identity: bytes) -> tuple[ListedTree, ListedTree]:
    """A tree of one file before it was carried, and after: the same but for its inode and ctime."""
    was = b"f 644 0 0 4 1.0 \0"
    before, after = (ListedTree(one.decode(), name + b"\0" + was + one + b"\0", 4, 1) for one in (b"1.0 7", identity))
    return before, after


@pytest.mark.parametrize(("identity", "others"), [(b"1.0 7", []), (b"2.0 7", [b"file"]), (b"1.0 8", [b"file"])])
def test_a_file_written_meanwhile_is_told_by_ctime(identity: bytes, others: list[bytes]) -> None:
    assert settled(*_changed_later(b"file", identity))[1] == others


def _listing(*names: str, size: int = 100_000) -> ListedTree:
    """A tree of files, each of its own identity."""
    fields = [f"{name}\0f 644 0 0 {size} 1.0 \0{hash(name)}.0 {number}\0" for number, name in enumerate(names)]
    return ListedTree(f"tree{len(names)}", "".join(fields).encode(), size * len(names), len(names))


def test_a_tree_with_few_files_is_not_near(images: Images) -> None:
    many = [f"file{number}" for number in range(3000)]
    images.keep(_listing(*many, size=1))
    tree = _listing(*many[:1600], size=1)
    assert images.closest(tree) == (tree.name, Delta())


def test_checksums_unlike_the_listing_count_for_nothing(root: Path, copy: Path, images: Images, tmp_path: Path) -> None:
    sums = tmp_path / "images" / f".{listed(root).name}.sums"
    sums.write_bytes(sums.read_bytes()[:-1])
    assert images.closest(listed(copy), checksums(copy)) == (listed(copy).name, Delta())


def test_a_used_copy_keeps_its_image_remembered(root: Path, copy: Path, images: Images, tmp_path: Path) -> None:
    image = tmp_path / "images" / listed(root).name
    images.closest(listed(copy), checksums(copy))
    os.utime(image, ns=(0, 0))
    images.closest(listed(copy), checksums(copy))
    assert image.stat().st_mtime > 0


def test_a_files_label_is_not_its_content(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = {"security.selinux": b"one", "security.capability": b"none"}
    monkeypatch.setattr(os, "listxattr", lambda _descriptor: [*values])
    monkeypatch.setattr(os, "getxattr", lambda _descriptor, key: values[key])

    def checksum() -> bytes:
        hashing = Hashing(str(root), [b"plain"], "*")
        hashing.wait(60)
        return hashing.checksums[b"plain"]

    before = checksum()
    values["security.selinux"] = b"two"
    assert checksum() == before
    values["security.capability"] = b"all"
    assert checksum() != before


def test_summing_a_hole_of_terabytes_takes_no_time(root: Path) -> None:
    contents = [b"", b"begin", b"began", b"begin"]
    sums = []
    for index, content in enumerate(contents):
        file = root / f"sparse{index}"
        file.write_bytes(content)
        os.truncate(file, 1 << 42)
        hashing = Hashing(str(root), [os.fsencode(file.name)], "*")
        hashing.wait(60)
        sums.append(hashing.checksums[os.fsencode(file.name)])
    assert sums[1] == sums[3]
    assert len({*sums}) == 3


def test_what_sums_too_slowly_has_no_checksum(root: Path) -> None:
    (root / "large").write_bytes(b"x" * (64 << 20))
    hashing = Hashing(str(root), [b"large"] * 1000, "*")
    hashing.wait(0)
    assert hashing.has_ended
    assert len(hashing.checksums) <= 1


@pytest.mark.parametrize("last_used", ["near", "far"])
def test_the_image_that_needs_least_is_taken(root: Path, images: Images, last_used: str) -> None:
    images.keep(far := listed(root))
    (root / "etc/deep/file").write_text("other" * 20_000)
    wait_a_tick()
    images.keep(near := listed(root))
    (root / "plain").write_text("other")
    wait_a_tick()
    images.used({"near": near, "far": far}[last_used].name)
    assert delta(root, images, near).changed == (b"", b"plain")


def test_reading_costs_less_than_carrying(root: Path, copy: Path, images: Images) -> None:
    images.keep(listed(copy))
    for name in ("etc/deep/file", "etc/passwd"):  # 230 KB, which are another file's now
        subprocess.run(["cp", "-a", root / name, copy / "new"], check=True)
        (copy / "new").rename(copy / name)
    for name in ("etc/deep", "etc", "."):
        shutil.copystat(root / name, copy / name)
    wait_a_tick()
    found = images.closest(listed(copy), checksums(copy))
    assert found == (listed(root).name, Delta()), "all of 1.3 MB was read"
