"""Where the nodes see the same files nothing is copied, and what they don't see is told apart from what they do."""

from __future__ import annotations

import json
import os
import socket
from typing import TYPE_CHECKING, Any

import pytest
from test_staging_node import FakeStep, Notes, as_it_is, bind, bundle, make_container, needs_mounts

from scrun.errors import StagingError
from scrun.staging.facts import Facts
from scrun.staging.model import Beside, Staged
from scrun.staging.probe import _same
from scrun.staging.spool import short_name
from scrun.staging.stage_in import stage_in
from scrun.staging.stage_out import discard, stage_out

if TYPE_CHECKING:
    from scrun.oci import Config

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["bundle"]

pytestmark = needs_mounts


def config_of(staged: Staged) -> Any:
    with open(f"{staged.bundle}/config.json") as file:
        return json.load(file)


def test_shared_bundle_is_used_where_it_is(tmp_path: Path, bundle: Path) -> None:
    step, notes = FakeStep(tmp_path), Notes()
    container = make_container(bundle, step)
    staged = stage_in(container, step, adapt=as_it_is, log=notes)
    assert staged.bundle == f"{bundle}/.scrun-web"
    assert config_of(staged)["root"]["path"] == staged.rootfs == str(bundle / "rootfs")
    assert os.stat(staged.bundle).st_mode & 0o777 == 0o700
    assert os.listdir(staged.bundle) == ["config.json"]
    assert len(step.started) == 1, "the probe is the only step"
    stage_out(container, staged, step, log=notes)
    assert sorted(os.listdir(bundle)) == ["config.json", "rootfs"]
    assert len(step.started) == 1, "stage_out is on the critical path and needs no step"


def test_every_config_knows_the_file_beside_it(tmp_path: Path, bundle: Path) -> None:
    beside = Beside(
        "note", lambda homes: b"text" + "".join(homes).encode(), lambda config, where: {**config, "hostname": where}
    )
    step = FakeStep(tmp_path)

    def other(config: Config) -> Config:
        return {**config, "domainname": "other"}

    container = make_container(bundle, step)
    staged = stage_in(container, step, adapt=as_it_is, log=Notes(), beside=lambda: beside, variants={"other": other})
    with open(f"{staged.bundle}/note", "rb") as file:
        assert file.read() == b"text"
    assert config_of(staged)["hostname"] == staged.bundle
    with open(f"{staged.bundle}/other/config.json") as text:
        varied = json.load(text)
    assert (varied["hostname"], varied["domainname"]) == (staged.bundle, "other")


def test_given_config_is_not_changed(tmp_path: Path, bundle: Path) -> None:
    step = FakeStep(tmp_path)
    container = make_container(bundle, step, mounts=[bind("relative", "/data")])
    before = json.dumps(container.config)
    stage_in(container, step, adapt=as_it_is, log=Notes())
    assert json.dumps(container.config) == before


def test_staged_survives_the_state_file(tmp_path: Path, bundle: Path) -> None:
    (tmp_path / "hosts").write_text("")
    volume = tmp_path / "volume"
    volume.mkdir()
    step = FakeStep(tmp_path, hidden=[volume])
    container = make_container(bundle, step, mounts=[bind(volume, "/data")])
    staged = stage_in(container, step, adapt=as_it_is, log=Notes())
    again: Any = json.loads(json.dumps(staged.to_dict()))
    assert Staged.from_dict(again) == staged
    again["of another version"] = 1
    assert Staged.from_dict(again) == staged


def test_an_empty_directory_is_not_the_rootfs(tmp_path: Path, bundle: Path) -> None:
    step = FakeStep(tmp_path, hidden=[bundle / "rootfs"])
    staged = stage_in(make_container(bundle, step), step, adapt=as_it_is, log=Notes())
    assert staged.bundle == f"{bundle}/.scrun-web", "the bundle is seen nevertheless"
    assert config_of(staged)["root"]["path"] == f"{step.node_dir}/scrun-{os.getuid()}/7-web/rootfs"


def test_a_node_that_cannot_see_decides_for_all(tmp_path: Path, bundle: Path) -> None:
    class OneBlind(FakeStep):
        def _command(self, node: str, argv: Any) -> list[str]:
            self._hidden = [bundle] if node == "node2" else []
            return super()._command(node, argv)

    step = OneBlind(tmp_path, ["node1", "node2"])
    staged = stage_in(make_container(bundle, step), step, adapt=as_it_is, log=Notes())
    assert staged.spool == ""
    assert sorted(os.listdir(bundle)) == ["config.json", "rootfs"]


def test_nodes_are_asked_once_for_containers(tmp_path: Path, bundle: Path) -> None:
    step = FakeStep(tmp_path)
    container = make_container(bundle, step)._replace(memory=str(tmp_path / "memory"))
    for _ in range(2):
        staged = stage_in(container, step, adapt=as_it_is, log=Notes(), options={"shared": [str(tmp_path)]})
        assert staged.bundle == f"{bundle}/.scrun-web"
        assert len(step.started) == 1


ASK: Any = {"root_squash": "ask"}


def test_under_squashed_root_only_the_bundle_is_carried(tmp_path: Path, bundle: Path) -> None:
    step, notes = FakeStep(tmp_path), Notes()
    step.root_reads = False
    container = make_container(bundle, step)._replace(memory=str(tmp_path / "memory"))
    for _ in range(2):
        staged = stage_in(container, step, adapt=as_it_is, log=notes, options=ASK)
        assert staged.bundle == f"{step.node_dir}/scrun-{os.getuid()}/7-web"
        assert (staged.rootfs, staged.parts, staged.spool) == (f"{bundle}/rootfs", (), "")
        assert sorted(os.listdir(bundle)) == ["config.json", "rootfs"]
    assert step.tried == [f"{bundle}/.scrun-web/try"]  # once: it is remembered
    assert f"root of node1 can't read {bundle}/.scrun-web" in notes.at("info")


@pytest.mark.parametrize("reads", [True, None], ids=["it reads", "nobody knows"])
def test_where_root_reads_the_bundle_stays(tmp_path: Path, bundle: Path, reads: bool | None) -> None:
    step = FakeStep(tmp_path)
    step.root_reads = reads
    container = make_container(bundle, step)._replace(memory=str(tmp_path / "memory"))
    for _ in range(2):
        staged = stage_in(container, step, adapt=as_it_is, log=Notes(), options=ASK)
        assert staged.bundle == f"{bundle}/.scrun-web"
        assert not (bundle / ".scrun-web/try").exists()
    assert len(step.tried) == (1 if reads else 2)


@pytest.mark.parametrize(
    ("options", "place"), [({}, "here"), ({"root_squash": False}, "here"), ({"root_squash": True}, "node")]
)
def test_a_sites_declared_servers_are_not_tried(tmp_path: Path, bundle: Path, options: Any, place: str) -> None:
    step = FakeStep(tmp_path)
    staged = stage_in(make_container(bundle, step), step, adapt=as_it_is, log=Notes(), options=options)
    assert (staged.spool != "") == (place == "here")
    assert step.tried == []  # nor on a disk, where root reads everything


class Bare(FakeStep):
    """One of whose nodes has Slurm's configuration, but no oci.conf."""

    def __init__(self, scratch: Path, *arguments: Any, **options: Any) -> None:
        super().__init__(scratch, ["node1", "node2"], *arguments, **options)
        self.conf = scratch / "conf"
        self.conf.mkdir()
        (self.conf / "slurm.conf").touch()
        self.bare = "node2"

    def _command(self, node: str, argv: Any) -> list[str]:
        conf = [f"SLURM_CONF={self.conf}/slurm.conf"] if node == self.bare else []
        return super()._command(node, ["env", *conf, *argv])


@pytest.mark.parametrize("options", [{}, {"shared": "all"}, {"remember": 0}])
def test_a_node_without_oci_conf_gets_no_container(tmp_path: Path, bundle: Path, options: Any) -> None:
    step = Bare(tmp_path)
    container = make_container(bundle, step)._replace(memory=str(tmp_path / "memory"))
    if "shared" in options:
        options = {"shared": [str(tmp_path)]}
    with pytest.raises(StagingError, match=f"^node2 has no {step.conf}/oci.conf: .*SCRUN_JOB_NODELIST"):
        stage_in(container, step, adapt=as_it_is, log=Notes(), options=options)
    assert sorted(os.listdir(bundle)) == ["config.json", "rootfs"]
    (step.conf / "oci.conf").touch()
    stage_in(container, step, adapt=as_it_is, log=Notes(), options=options)


def test_nothing_goes_to_a_node_without_oci_conf(tmp_path: Path, bundle: Path) -> None:
    step = Bare(tmp_path, hidden=[bundle])
    step.bare = ""
    container = make_container(bundle, step)._replace(memory=str(tmp_path / "memory"))
    stage_in(container, step, adapt=as_it_is, log=Notes())
    step.bare = "node2"
    with pytest.raises(StagingError, match=f"^node2 has no {step.conf}/oci.conf: "):
        stage_in(container, step, adapt=as_it_is, log=Notes())
    assert not os.path.exists(tmp_path / "memory"), "the nodes are asked again"


def test_a_link_leaving_a_declared_path_is_unshared(tmp_path: Path, bundle: Path) -> None:
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared" / "link").symlink_to(bundle)
    step = FakeStep(tmp_path, hidden=[bundle])
    container = make_container(tmp_path / "shared" / "link", step)
    options = {"shared": [str(tmp_path / "shared")]}
    assert stage_in(container, step, adapt=as_it_is, log=Notes(), options=options).spool == ""


def test_stale_spool_of_a_killed_create_is_replaced(tmp_path: Path, bundle: Path) -> None:
    (bundle / ".scrun-web" / "mounts").mkdir(parents=True)
    (bundle / ".scrun-web" / "config.json").write_text("stale")
    step = FakeStep(tmp_path)
    staged = stage_in(make_container(bundle, step), step, adapt=as_it_is, log=Notes())
    assert config_of(staged)["process"]["args"] == ["true"]


def test_spool_replaced_by_a_link_takes_nothing_along(tmp_path: Path, bundle: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").touch()
    (bundle / ".scrun-web").symlink_to(precious)
    step = FakeStep(tmp_path)
    staged = stage_in(make_container(bundle, step), step, adapt=as_it_is, log=Notes())
    assert not os.path.islink(staged.bundle)
    discard(staged, None, log=Notes())
    assert (precious / "file").exists()


def test_mounts_the_nodes_see_unchanged_are_told(tmp_path: Path, bundle: Path) -> None:
    (here, carried) = (tmp_path / "here", tmp_path / "carried")
    for path in (here, carried):
        path.mkdir()
    (tmp_path / "small").write_text("")
    step = FakeStep(tmp_path, hidden=[carried])
    mounts = [bind(path, f"/{path.name}") for path in (here, carried, tmp_path / "small")]
    container = make_container(bundle, step, mounts=mounts)
    staged = stage_in(container, step, adapt=as_it_is, log=Notes())
    assert staged.seen == (str(here), str(tmp_path / "small"))
    assert Staged.from_dict(json.loads(json.dumps(staged.to_dict()))) == staged


def test_a_small_file_is_copied_and_back(tmp_path: Path, bundle: Path) -> None:
    private = tmp_path / "private"
    private.mkdir()
    for name in ("hosts", "resolv.conf"):
        (private / name).write_text("before\n")
    (private / "hosts").chmod(0o644)
    step = FakeStep(tmp_path, hidden=[private])
    mounts = [bind(private / "hosts", "/etc/hosts"), bind(private / "resolv.conf", "/etc/resolv.conf", "ro")]
    container = make_container(bundle, step, mounts=mounts)
    staged = stage_in(container, step, adapt=as_it_is, log=Notes())
    hosts, resolv = (mount["source"] for mount in config_of(staged)["mounts"])
    assert (hosts, resolv) == (f"{staged.spool}/mounts/0", f"{staged.spool}/mounts/1")
    assert os.stat(hosts).st_mode & 0o777 == 0o644
    for path in (hosts, resolv):
        with open(path, "w") as file:
            file.write("by the container\n")
    inode = (private / "hosts").stat().st_ino
    stage_out(container, staged, step, log=Notes())
    assert (private / "hosts").read_text() == "by the container\n"
    assert (private / "hosts").stat().st_ino == inode, "it may be mounted in other containers"
    assert (private / "resolv.conf").read_text() == "before\n"
    assert len(step.started) == 1


def test_copy_replaced_by_a_link_is_not_followed(tmp_path: Path, bundle: Path) -> None:
    private = tmp_path / "private"
    private.mkdir()
    (private / "hosts").write_text("before\n")
    secret = tmp_path / "secret"
    secret.write_text("secret\n")
    step = FakeStep(tmp_path, hidden=[private])
    container = make_container(bundle, step, mounts=[bind(private / "hosts", "/etc/hosts")])
    staged = stage_in(container, step, adapt=as_it_is, log=Notes())
    for replace in (os.symlink, os.link):
        os.unlink(staged.copies[0].path)
        replace(secret, staged.copies[0].path)
        stage_out(container, staged._replace(spool=""), step, log=Notes())
        assert (private / "hosts").read_text() == "before\n"


def test_nodes_own_paths_are_left_alone(tmp_path: Path, bundle: Path) -> None:
    private = tmp_path / "private"
    private.mkdir()
    step = FakeStep(tmp_path, hidden=[private])
    mounts = [bind("/proc/cpuinfo", "/a"), bind("/dev/null", "/b"), bind(private, "/c"), bind("/no/such", "/d")]
    options = {
        "on_nodes": [str(private)],
        "mounts": [{"source": "/opt/apps", "destination": "/apps", "options": ["ro"]}],
    }
    container = make_container(bundle, step, mounts=mounts)
    staged = stage_in(container, step, adapt=as_it_is, log=Notes(), options=options)
    config = config_of(staged)
    assert staged.seen == (), "they may be others there"
    sources = [mount["source"] for mount in config["mounts"]]
    assert sources == ["/proc/cpuinfo", "/dev/null", str(private), "/no/such", "/opt/apps"]
    assert config["mounts"][-1]["options"] == ["rbind", "ro"]


def test_a_socket_unseen_by_nodes_is_refused(tmp_path: Path, bundle: Path) -> None:
    private = tmp_path / "private"
    private.mkdir()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(private / "docker.sock"))
        step = FakeStep(tmp_path, hidden=[private])
        container = make_container(bundle, step, mounts=[bind(private / "docker.sock", "/var/run/docker.sock")])
        with pytest.raises(
            StagingError, match=r"mount /var/run/docker.sock: the socket .*docker.sock can't be carried"
        ):
            stage_in(container, step, adapt=as_it_is, log=Notes())
    assert sorted(os.listdir(bundle)) == ["config.json", "rootfs"]


def test_paths_of_any_bytes_reach_the_nodes(tmp_path: Path) -> None:
    odd = tmp_path / "a 'b' \"c\"\n$(touch hacked) * \\ \udcff\udc81 -x;é"
    (odd / "rootfs").mkdir(parents=True)
    step = FakeStep(tmp_path)
    staged = stage_in(make_container(odd, step), step, adapt=as_it_is, log=Notes())
    assert staged.rootfs == str(odd / "rootfs")
    assert staged.spool.startswith(str(odd))


def test_a_failed_step_is_told_with_its_node(tmp_path: Path, bundle: Path) -> None:
    step = FakeStep(tmp_path)
    step.path = "/nowhere"
    with pytest.raises(StagingError, match=r"node1 .*status 127: .*env.*No such file"):
        stage_in(make_container(bundle, step), step, adapt=as_it_is, log=Notes())
    assert sorted(os.listdir(bundle)) == ["config.json", "rootfs"]


def test_discard_can_be_repeated_and_needs_no_step(tmp_path: Path, bundle: Path) -> None:
    step = FakeStep(tmp_path)
    staged = stage_in(make_container(bundle, step), step, adapt=as_it_is, log=Notes())
    for _ in range(2):
        discard(staged, None, log=Notes())
    assert sorted(os.listdir(bundle)) == ["config.json", "rootfs"]


ROOT = Facts("boot-a", False, "123.45", 40, 1234, 0o40755, 4096, "1700000000.000000001")


@pytest.mark.parametrize(
    ("theirs", "same"),
    [
        (ROOT, True),
        (ROOT._replace(inode=99), False),
        (ROOT._replace(boot="boot-b", device=7), True),
        (ROOT._replace(boot="boot-b", mtime="1"), True),
        (ROOT._replace(boot="boot-b", names="9.9"), True),
        (ROOT._replace(boot="boot-b", mtime="1", names="9.9"), False),
        (ROOT._replace(boot="boot-b", inode=99), False),
        (ROOT._replace(boot="boot-b", mode=0o100755), False),
        (None, False),
    ],
    ids=[
        "one kernel, one file",
        "one kernel, two files",
        "two clients of one server",
        "a client that is behind in the time",
        "a client that is behind in the names",
        "another directory with that number",
        "another number",
        "a file there",
        "nothing there",
    ],
)
def test_same_directory_is_told_from_another(theirs: Facts | None, same: bool) -> None:
    assert _same(ROOT, theirs) is same


def test_disks_of_cloned_machines_are_never_the_same() -> None:
    ours = ROOT._replace(is_local=True)
    assert not _same(ours, ours._replace(boot="boot-b"))
    assert _same(ours, ours._replace(boot="boot-b", is_local=False)), "one may be the other's NFS server"


def test_a_long_id_has_a_short_name() -> None:
    assert short_name("x" * 200) == "x" * 200
    one, other = (short_name("x" * 300 + last) for last in "ab")
    assert len(one) == len(other) == 200
    assert one != other
