"""What docker run and podman run take: each option does on a node what it does here, or is left out without harm."""

from __future__ import annotations

import pytest

from .engines import IMAGE, Engine
from .slurm import jobs
from .users import User
from .waiting import wait_until

# On all three engines: the options, what is run, and what that prints.
EVERYWHERE = [
    ("--user=1000", "id -u", "1000"),
    ("--user=1000:1000", "id -u; id -g", "1000\n1000"),
    ("--user=nobody", "id -u", "65534"),
    ("--group-add=44", "id -u", "0"),
    ("--privileged", "id -u", "0"),
    ("--cap-add=ALL", "grep -c '^CapEff.*0000$' /proc/self/status || :", "0"),
    ("--cap-drop=ALL", "grep CapEff /proc/self/status | cut -f2", "0000000000000000"),
    ("--userns=host", "id -u", "0"),
    ("--pid=host", "test $$ != 1 && echo other", "other"),
    ("--ipc=host", "ls -d /dev/shm", "/dev/shm"),
    ("--ipc=none", "ls /dev/shm 2>/dev/null || echo none", "none"),
    ("--ipc=shareable", "touch /dev/shm/x && echo there", "there"),
    ("--cgroupns=host", "echo ran", "ran"),
    ("--cgroupns=private", "echo ran", "ran"),
    ("--tmpfs=/x", "touch /x/a && grep -c ' /x tmpfs' /proc/mounts", "1"),
    ("--tmpfs=/x:size=1m,mode=700", "df /x | tail -n 1 | tr -s ' ' | cut -d' ' -f2; stat -c %a /x", "1024\n700"),
    ("--shm-size=5m", "df /dev/shm | tail -n 1 | tr -s ' ' | cut -d' ' -f2", "5120"),
    ("--read-only", "touch /x 2>/dev/null || echo not", "not"),
    ("--init", "tr '\\0' ' ' </proc/1/cmdline | grep -c init", "1"),
    ("--hostname=named", "hostname", "named"),
    ("--uts=host", 'test "$(hostname)" = $SLURMD_NODENAME && echo nodes', "nodes"),
    ("--add-host=a:1.2.3.4", "grep -c '1.2.3.4.a' /etc/hosts", "1"),
    ("--ulimit=nofile=100:200", "ulimit -n; ulimit -Hn", "100\n200"),
    ("--ulimit=core=0", "ulimit -c", "0"),
    ("--oom-score-adj=100", "cat /proc/self/oom_score_adj", "100"),
    ("--device=/dev/null:/dev/other", "test -c /dev/other && echo there", "there"),
    ("--device=/dev/fuse", "test -c /dev/fuse && echo there", "there"),
    ("--security-opt=no-new-privileges", "grep NoNewPrivs /proc/self/status | tr -dc 0-9", "1"),
    ("--security-opt=seccomp=unconfined", "grep Seccomp: /proc/self/status | tr -dc 0-9", "0"),
    ("--security-opt=apparmor=unconfined", "echo ran", "ran"),
    ("--security-opt=label=disable", "echo ran", "ran"),
    ("--sysctl=kernel.msgmax=1000", "cat /proc/sys/kernel/msgmax", "1000"),
    ("--workdir=/tmp", "pwd", "/tmp"),
    ("--env=A=b", "echo $A", "b"),
    ("--label=a=b --annotation=c=d", "echo ran", "ran"),
    ("--stop-signal=INT --stop-timeout=3", "echo ran", "ran"),
    ("--restart=no --pull=never --quiet", "echo ran", "ran"),
    ("--volume=/v", "touch /v/a && ls /v", "a"),
    ("--mount=type=tmpfs,target=/e", "touch /e/x; ls /e", "x"),
    (
        "--mount=type=bind,source=/etc/hostname,target=/e,readonly",
        "cat /e; touch /e 2>/dev/null || echo not",
        "login\nnot",
    ),
    ("--log-driver=none", "echo ran", "ran"),
    ("--memory=100m --memory-swap=-1 --cpu-shares=100 --pids-limit=100 --blkio-weight=100", "echo ran", "ran"),
    ("--no-healthcheck", "echo ran", "ran"),
    ("--platform=linux/amd64", "echo ran", "ran"),
]

PODMANS = [
    ("--userns=keep-id", "id -u; touch /tmp/x && stat -c %u /tmp/x", "2000\n2000"),
    ("--userns=auto", "id -u", "0"),
    ("--userns=nomap", "id -u", "0"),
    ("--uidmap=0:1:1000", "id -u", "0"),
    ("--systemd=always", "echo ran", "ran"),
    ("--umask=077", "umask", "0077"),
    ("--tz=UTC", "date +%Z", "UTC"),
    ("--unsetenv=PATH", "echo ran", "ran"),
    ("--env-host", "echo $USER", "alice"),
    ("--no-hosts", "test -e /etc/hosts || echo none", "none"),
    ("--image-volume=tmpfs", "echo ran", "ran"),
    ("--sdnotify=ignore --cgroups=no-conmon", "echo ran", "ran"),
    ("--cgroup-parent=elsewhere", "echo ran", "ran"),
    ("--read-only --read-only-tmpfs=false", "touch /tmp/x 2>/dev/null || echo not", "not"),
    ("--group-add=keep-groups", "id -u", "0"),
    ("--personality=LINUX32", "uname -m", "i686"),
    ("--rdt-class=some", "echo ran", "ran"),
]

DOCKERS = [
    ("--domainname=site.example --hostname=named", "hostname; cat /proc/sys/kernel/domainname", "named\nsite.example"),
    ("--oom-kill-disable --memory-swappiness=10 --cpuset-cpus=0", "echo ran", "ran"),
    ("--cgroup-parent=elsewhere", "echo ran", "ran"),
    ("--isolation=default --sig-proxy=false", "echo ran", "ran"),
    ("--group-add=44", "id -G", "0 44"),
]


def _check(engine: Engine, options: str, script: str, printed: str) -> None:
    done = engine.run("sh", "-c", script, options=("--rm", *options.split()))
    assert (done.status, done.stdout.strip()) == (0, printed), done.stderr


@pytest.mark.slurm_only("there is no node")
@pytest.mark.parametrize(("options", "script", "printed"), EVERYWHERE, ids=[case[0] for case in EVERYWHERE])
def test_option_works_on_a_node_as_here(engine: Engine, options: str, script: str, printed: str) -> None:
    _check(engine, options, script, printed)


@pytest.mark.slurm_only("there is no node")
@pytest.mark.parametrize("option", ["--init", "--pid=host"])
def test_hooks_send_no_signal_to_the_program(engine: Engine, option: str) -> None:
    # crun passes on the SIGPIPE that it gets from a hook which doesn't read; so long a state needs a reader.
    annotation = f"--annotation=long={70_000 * 'a'}"
    done = engine.run("sh", "-c", "sleep 1; echo hello", options=("--rm", option, annotation))
    assert (done.status, done.stdout, done.stderr) == (0, "hello\n", "")


@pytest.mark.slurm_only("there is no node")
@pytest.mark.parametrize(("options", "script", "printed"), PODMANS, ids=[case[0] for case in PODMANS])
def test_an_option_of_podmans_own_does_too(podman: Engine, options: str, script: str, printed: str) -> None:
    _check(podman, options, script, printed)


@pytest.mark.slurm_only("there is no node")
@pytest.mark.parametrize(("options", "script", "printed"), DOCKERS, ids=[case[0] for case in DOCKERS])
def test_an_option_of_dockers_own_does_too(docker: Engine, options: str, script: str, printed: str) -> None:
    _check(docker, options, script, printed)


def test_another_entrypoint(engine: Engine) -> None:
    words = engine.words("--rm", "--entrypoint=/bin/echo", command=("hello",))
    assert engine.call(*words).ok().stdout == "hello\n"


def test_missing_directory_is_handled_as_the_engine_does(main_engine: Engine) -> None:
    done = main_engine.run("pwd", options=("--rm", "--workdir=/nosuch"))
    if main_engine.is_podman:
        assert (done.status, 'workdir "/nosuch" does not exist' in done.stderr) == (126, True)
    else:
        assert (done.status, done.stdout) == (0, "/nosuch\n")


def test_file_as_directory_is_an_engine_error(main_engine: Engine) -> None:
    done = main_engine.run("pwd", options=("--rm", "--workdir=/etc/passwd"))
    assert done.status == (126 if main_engine.is_podman else 125)
    assert "not a directory" in done.stderr


def test_a_missing_user_has_the_engines_words(main_engine: Engine) -> None:
    done = main_engine.run("id", options=("--rm", "--user=nosuch"))
    assert done.status == (126 if main_engine.is_podman else 125)
    assert "unable to find user nosuch: no matching entries in passwd file" in done.stderr


@pytest.mark.parametrize("verb", ["start", "stop", "kill", "inspect", "exec", "pause"])
def test_a_missing_container_has_the_engines_words(main_engine: Engine, verb: str) -> None:
    done = main_engine.call(verb, "nosuch", *(["true"] if verb == "exec" else []))
    assert done.status in ((125,) if main_engine.is_podman else (1,))
    assert "no such" in done.stderr.lower()


def test_named_volume_is_shared_through_volumes_from(main_engine: Engine) -> None:
    volume, name = main_engine.name(), main_engine.name()
    words = main_engine.words(f"--volume={volume}:/v", command=("sh", "-c", "echo kept >/v/a"), name=name)
    main_engine.call(*words).ok()
    try:
        done = main_engine.run("cat", "/v/a", options=("--rm", f"--volumes-from={name}"))
        assert done.ok().stdout == "kept\n"
    finally:
        main_engine.remove(name)
        main_engine.call("volume", "rm", volume).ok()


def test_a_restart_policy_starts_it_again(main_engine: Engine) -> None:
    # docker's client says nothing of the later runs; podman's does.
    name = main_engine.detached("sh", "-c", "echo run; exit 3", options=("--restart=on-failure:2",))
    wait_until(lambda: main_engine.call("logs", name).stdout == "run\n" * 3, "it has run three times")
    wait_until(lambda: not main_engine.is_running(name), "it has ended")
    assert main_engine.inspect(name)["State"]["ExitCode"] == 3


def test_an_id_file(main_engine: Engine, directory: object) -> None:
    path = f"{directory}/cid"
    main_engine.run("true", options=(f"--cidfile={path}",)).ok()
    with open(path, encoding="ascii") as file:
        assert len(file.read().strip()) == 64


@pytest.mark.slurm_only("crun's own containers have no node")
def test_roots_containers_get_no_shifted_users(root: User) -> None:
    """Whoever is root there couldn't enter the node's directories, which are root's alone."""
    done = root.run("podman", "--runtime=scrun", "run", "--rm", "--uidmap=0:100000:65536", IMAGE, "true")
    assert (done.status, done.stdout) == (126, "")
    assert "scrun: root of the container is to be user 100000 (linux.uidMappings)" in done.stderr
    assert root.run("podman", "ps", "--all", "--quiet").ok().stdout == ""
    assert jobs(root) == set()
