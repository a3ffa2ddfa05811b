"""Small files that an engine writes between create and start reach the nodes as they are at the start."""

from __future__ import annotations

import binascii
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from test_staging_node import FakeStep, Notes, as_it_is, bind, bundle, make_container, needs_mounts

from scrun import identity
from scrun.lifecycle.container import latest, network
from scrun.staging import mount_points, node_directory
from scrun.staging.model import Staged
from scrun.staging.stage_in import stage_in
from scrun.staging.stage_out import stage_out

if TYPE_CHECKING:
    from scrun.oci import Config

__all__ = ["bundle"]

pytestmark = needs_mounts

PLAN: Any = {"network": network.LATER, "host_name": "box", "login": "10.77.0.10", "gateways": []}
NOWHERE = "/nonexistent"  # a machine without /etc/hosts, whatever this one has
AS_THEY_ARE: Any = {**PLAN, "network": network.HOST}


@pytest.fixture
def hosts(tmp_path: Path) -> Path:
    path = tmp_path / "engine" / "hosts"
    path.parent.mkdir()
    path.write_text("127.0.0.1\tlocalhost\n")
    return path


def record_of(staged: Staged) -> Any:
    """As the anchor has it."""
    record: Any = json.loads(json.dumps({"staged": staged.to_dict()}))
    return record


def test_a_copy_in_the_spool_is_made_again(tmp_path: Path, bundle: Path, hosts: Path) -> None:
    step, notes = FakeStep(tmp_path, hidden=[hosts.parent]), Notes()
    container = make_container(bundle, step, mounts=[bind(hosts, "/etc/hosts"), bind(hosts, "/other", "ro")])
    staged = stage_in(container, step, adapt=as_it_is, log=notes, fit=latest.fit(PLAN, NOWHERE))
    paths = [text.path for text in staged.texts]
    assert [Path(path).read_text() for path in paths] == [
        "127.0.0.1\tlocalhost\n127.0.0.1\tbox\n",
        "127.0.0.1\tlocalhost\n",
    ]
    record = record_of(staged)
    hosts.write_text("127.0.0.1\tlocalhost\n1.2.3.4\ta\n172.17.0.2\tbox\n")
    assert not latest.renew(record, PLAN, machine=NOWHERE)
    assert [Path(path).read_text() for path in paths] == [
        "127.0.0.1\tlocalhost\n1.2.3.4\ta\n127.0.0.1\tbox\n",
        hosts.read_text(),
    ]
    assert latest.changed(record["staged"], latest.fit(PLAN, NOWHERE)) == {}
    before = hosts.read_text()
    stage_out(container, Staged.from_dict(record["staged"]), step, log=notes)
    assert hosts.read_text() == before, "the container changed nothing"


def test_on_the_hosts_network_only_the_gateway_changes(tmp_path: Path, bundle: Path, hosts: Path) -> None:
    plan: Any = {**AS_THEY_ARE, "gateways": ["gate"]}
    hosts.write_text("127.0.0.1\tlocalhost\n172.17.0.1\tgate\n1.2.3.4\tbox\n")
    step = FakeStep(tmp_path, hidden=[hosts.parent])
    container = make_container(bundle, step, mounts=[bind(hosts, "/etc/hosts"), bind(hosts, "/etc/resolv.conf")])
    staged = stage_in(container, step, adapt=as_it_is, log=Notes(), fit=latest.fit(plan, NOWHERE))
    assert [Path(text.path).read_text() for text in staged.texts] == [
        "127.0.0.1\tlocalhost\n10.77.0.10\tgate\n1.2.3.4\tbox\n",
        hosts.read_text(),
    ]
    assert latest.fit(AS_THEY_ARE) is None


def test_what_the_container_then_changes_comes_back(tmp_path: Path, bundle: Path, hosts: Path) -> None:
    step, notes = FakeStep(tmp_path, hidden=[hosts.parent]), Notes()
    container = make_container(bundle, step, mounts=[bind(hosts, "/etc/hosts")])
    record = record_of(stage_in(container, step, adapt=as_it_is, log=notes))
    hosts.write_text("written by the engine\n")
    latest.renew(record, AS_THEY_ARE)
    path = Path(record["staged"]["texts"][0][0])
    path.write_text(path.read_text() + "and by the container\n")
    stage_out(container, Staged.from_dict(record["staged"]), step, log=notes)
    assert hosts.read_text() == "written by the engine\nand by the container\n"


def test_a_grown_or_replaced_file_stays_as_copied(tmp_path: Path, bundle: Path, hosts: Path) -> None:
    step = FakeStep(tmp_path, hidden=[hosts.parent])
    container = make_container(bundle, step, mounts=[bind(hosts, "/etc/hosts")])
    record = record_of(stage_in(container, step, adapt=as_it_is, log=Notes()))
    os.truncate(hosts, 1 << 42)  # more than anybody's memory
    assert latest.changed(record["staged"], None) == {}
    hosts.unlink()
    os.mkfifo(hosts)
    assert latest.changed(record["staged"], None) == {}


def test_nothing_is_written_where_we_may_not(tmp_path: Path, bundle: Path, hosts: Path) -> None:
    step = FakeStep(tmp_path, hidden=[hosts.parent])
    staged = stage_in(
        make_container(bundle, step, mounts=[bind(hosts, "/etc/hosts")]), step, adapt=as_it_is, log=Notes()
    )
    hosts.write_text("other\n")
    assert latest.renew(record_of(staged), AS_THEY_ARE, write=False)
    assert Path(staged.texts[0].path).read_text() == "127.0.0.1\tlocalhost\n"


def test_a_link_in_the_spool_is_not_followed(tmp_path: Path, bundle: Path, hosts: Path) -> None:
    step = FakeStep(tmp_path, hidden=[hosts.parent])
    staged = stage_in(
        make_container(bundle, step, mounts=[bind(hosts, "/etc/hosts")]), step, adapt=as_it_is, log=Notes()
    )
    victim = tmp_path / "victim"
    victim.write_text("mine\n")
    os.unlink(staged.texts[0].path)
    os.symlink(victim, staged.texts[0].path)
    hosts.write_text("other\n")
    assert latest.renew(record_of(staged), AS_THEY_ARE)
    assert victim.read_text() == "mine\n"


def test_a_pipe_replacing_a_file_delays_nothing(tmp_path: Path, bundle: Path, hosts: Path) -> None:
    step = FakeStep(tmp_path, hidden=[hosts.parent])
    container = make_container(bundle, step, mounts=[bind(hosts, "/etc/hosts")])
    staged = stage_in(container, step, adapt=as_it_is, log=Notes(), fit=latest.fit(PLAN, NOWHERE))
    hosts.unlink()
    os.mkfifo(hosts)
    assert not latest.renew(record_of(staged), PLAN, machine=NOWHERE)
    assert Path(staged.texts[0].path).read_text().startswith("127.0.0.1")


def test_a_file_that_is_gone_stays_as_copied(tmp_path: Path, bundle: Path, hosts: Path) -> None:
    step = FakeStep(tmp_path, hidden=[hosts.parent])
    staged = stage_in(
        make_container(bundle, step, mounts=[bind(hosts, "/etc/hosts")]), step, adapt=as_it_is, log=Notes()
    )
    hosts.unlink()
    assert not latest.renew(record_of(staged), AS_THEY_ARE)
    assert Path(staged.texts[0].path).read_text() == "127.0.0.1\tlocalhost\n"


def test_carried_files_are_fitted_and_can_be_resent(tmp_path: Path, bundle: Path, hosts: Path) -> None:
    step, notes = FakeStep(tmp_path, hidden=[hosts.parent, bundle]), Notes()
    container = make_container(bundle, step, mounts=[bind(hosts, "/etc/hosts")])
    staged = stage_in(container, step, adapt=as_it_is, log=notes, fit=latest.fit(PLAN, NOWHERE))
    there = step.own_dir("node1") / Path(staged.texts[0].path).relative_to(step.node_dir)
    assert there.read_text() == "127.0.0.1\tlocalhost\n127.0.0.1\tbox\n"
    assert there.stat().st_mode & 0o777 == 0o644
    record = record_of(staged)
    hosts.write_text("1.2.3.4\ta\n")
    assert latest.renew(record, PLAN, machine=NOWHERE), "it isn't in the spool"
    ((path, data),) = latest.changed(record["staged"], latest.fit(PLAN, NOWHERE)).values()
    assert data == b"1.2.3.4\ta\n127.0.0.1\tbox\n"
    node_directory.write_again(
        step, staged.node_parent, staged.node_home, staged.node_name, {"/".join(path.split("/")[-2:]): data}
    )
    assert there.read_bytes() == data
    stage_out(container, staged, step, log=notes)
    assert hosts.read_text() == "1.2.3.4\ta\n", "that was no change of the container's"


def test_a_config_variant_lies_beside_the_first(tmp_path: Path, bundle: Path) -> None:
    def change(config: Any) -> Any:
        return {**config, "hostname": "other"}

    step = FakeStep(tmp_path)
    staged = stage_in(make_container(bundle, step), step, adapt=as_it_is, log=Notes(), variants={"networked": change})
    first = json.loads(Path(staged.bundle, "config.json").read_text())
    other = json.loads(Path(staged.bundle, "networked", "config.json").read_text())
    assert other == {**first, "hostname": "other"}


def test_a_variant_is_carried_too(tmp_path: Path, bundle: Path) -> None:
    step = FakeStep(tmp_path, hidden=[bundle])
    staged = stage_in(
        make_container(bundle, step), step, adapt=as_it_is, log=Notes(), variants={"networked": lambda config: config}
    )
    there = step.own_dir("node1") / Path(staged.bundle).relative_to(step.node_dir)
    assert (there / "networked/config.json").read_bytes() == (there / "config.json").read_bytes()


def test_the_checksum_is_of_what_is_there(tmp_path: Path, bundle: Path, hosts: Path) -> None:
    step = FakeStep(tmp_path, hidden=[hosts.parent])
    container = make_container(bundle, step, mounts=[bind(hosts, "/etc/hosts")])
    (text,) = stage_in(container, step, adapt=as_it_is, log=Notes(), fit=latest.fit(PLAN, NOWHERE)).texts
    assert text.crc == binascii.crc32(Path(text.path).read_bytes())


def test_mount_points_are_made_without_following_links(tmp_path: Path) -> None:
    rootfs, outside = tmp_path / "rootfs", tmp_path / "outside"
    rootfs.mkdir()
    outside.mkdir()
    (rootfs / "link").symlink_to(outside)
    (rootfs / "there").write_text("content")
    a_file = tmp_path / "file"
    a_file.touch()
    config: Config = {
        "mounts": [
            {"destination": "/proc", "type": "proc"},
            {"destination": "/a/b/c", "type": "tmpfs"},
            {"destination": "/a/b/c/d", "type": "tmpfs"},
            {"destination": "/proc/sys", "type": "proc"},
            bind(a_file, "/run/x/file"),
            bind(a_file, "/there"),
            bind(outside, "/volume"),
            bind(outside, "/link/below"),
            bind(outside, "/a/../../escaped"),
            bind(tmp_path / "nosuch", "/missing"),
        ]
    }
    mount_points.make_missing(config, str(rootfs))
    mount_points.make_missing(config, str(rootfs))
    found = {str(path.relative_to(rootfs)): path.is_dir() for path in rootfs.rglob("*")}
    directories = ("proc", "a", "a/b", "a/b/c", "run", "run/x", "volume", "link")
    assert found == {**dict.fromkeys(directories, True), "run/x/file": False, "there": False}
    assert (rootfs / "there").read_text() == "content"
    assert list(outside.iterdir()) == []
    assert not (tmp_path / "escaped").exists()


@pytest.mark.parametrize(("effective", "real", "needed"), [(0, 2000, True), (0, 0, False), (2000, 2000, False)])
def test_root_makes_the_users_mount_points(
    effective: int, real: int, needed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: effective)
    monkeypatch.setattr(identity, "real_uid", lambda: real)
    assert mount_points.is_needed() is needed
