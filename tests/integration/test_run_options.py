"""What docker run and podman run take: each option does on a node what it does here, or is left out without harm."""

from __future__ import annotations

import resource

import pytest

from .engines import IMAGE, Engine
from .slurm import jobs
from .users import User
from .waiting import wait_until

_MOST_FILES = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
# What one container is given together, on all three engines: the options, what is run, and what that prints.
EVERYWHERE = {
    "user": [
        ("--user=1000:1000", "id -u; id -g", "1000\n1000"),
        ("--group-add=44", "id -u", "1000"),
        ("--workdir=/tmp", "pwd", "/tmp"),
        ("--env=A=b", "echo $A", "b"),
        ("--hostname=named", "hostname", "named"),
        ("--add-host=a:1.2.3.4", "grep -c '1.2.3.4.a' /etc/hosts", "1"),
        ("--ulimit=nofile=100:200", "ulimit -n; ulimit -Hn", "100\n200"),
        ("--ulimit=core=0", "ulimit -c", "0"),
        ("--oom-score-adj=100", "cat /proc/self/oom_score_adj", "100"),
        ("--security-opt=no-new-privileges", "grep NoNewPrivs /proc/self/status | tr -dc 0-9", "1"),
        ("--ipc=none", "ls /dev/shm 2>/dev/null || echo none", "none"),
    ],
    "root": [
        ("--userns=host", "id -u", "0"),
        ("--cap-drop=ALL", "grep CapEff /proc/self/status | cut -f2", "0000000000000000"),
        ("--tmpfs=/x:size=1m,mode=700", "df /x | tail -n 1 | tr -s ' ' | cut -d' ' -f2; stat -c %a /x", "1024\n700"),
        ("--tmpfs=/y", "touch /y/a && grep -c ' /y tmpfs' /proc/mounts", "1"),
        ("--shm-size=5m", "df /dev/shm | tail -n 1 | tr -s ' ' | cut -d' ' -f2", "5120"),
        ("--init", "tr '\\0' '\\n' </proc/1/cmdline | head -n 1 | grep -c init", "1"),
        ("--sysctl=kernel.msgmax=1000", "cat /proc/sys/kernel/msgmax", "1000"),
        ("--uts=host", 'test "$(hostname)" = $SLURMD_NODENAME && echo nodes', "nodes"),
        ("--device=/dev/null:/dev/other", "test -c /dev/other && echo there", "there"),
        ("--device=/dev/fuse", "test -c /dev/fuse && echo there", "there"),
        ("--security-opt=seccomp=unconfined", "grep Seccomp: /proc/self/status | tr -dc 0-9", "0"),
        ("--security-opt=apparmor=unconfined", "", ""),
        ("--security-opt=label=disable", "", ""),
        ("--read-only", "touch /z 2>/dev/null || echo not", "not"),
        ("--volume=/v", "touch /v/a && ls /v", "a"),
        ("--mount=type=tmpfs,target=/e", "touch /e/x; ls /e", "x"),
        (
            "--mount=type=bind,source=/etc/hostname,target=/f,readonly",
            "cat /f; touch /f 2>/dev/null || echo not",
            "login\nnot",
        ),
    ],
    "accepted": [
        ("--user=nobody", "id -u", "65534"),
        ("--ipc=shareable", "touch /dev/shm/x && echo there", "there"),
        ("--cgroupns=private", "", ""),
        ("--label=a=b --annotation=c=d", "", ""),
        ("--stop-signal=INT --stop-timeout=3", "", ""),
        ("--restart=no --pull=never --quiet", "", ""),
        ("--memory=100m --memory-swap=-1 --cpu-shares=100 --pids-limit=100 --blkio-weight=100", "", ""),
        ("--no-healthcheck", "", ""),
        ("--platform=linux/amd64", "", ""),
    ],
    "low limits": [
        ("--ulimit=fsize=0", "ulimit -f; ulimit -Hf", "0\n0"),
        ("--ulimit=nofile=8", "ulimit -n; ulimit -Hn", "8\n8"),
        ("--ulimit=data=1000000", "grep 'Max data size' /proc/self/limits | tr -s ' ' | cut -d' ' -f4", "1000000"),
    ],
    "no limit": [("--ulimit=core=-1", "ulimit -c; ulimit -Hc", "unlimited\nunlimited")],
    "privileged": [("--privileged", "id -u", "0")],
    "caps": [
        ("--cap-add=ALL", "grep -c '^CapEff.*0000$' /proc/self/status || :", "0"),
        ("--pid=host", "test $$ != 1 && echo other", "other"),
        ("--ipc=host", "ls -d /dev/shm", "/dev/shm"),
        (f"--ulimit=nofile=512:{_MOST_FILES}", "ulimit -n", "512"),
        ("--cgroupns=host", "", ""),
        ("--log-driver=none", "", ""),
        ("--user=0", "id -u", "0"),
    ],
    "user without group": [("--user=1000", "id -u", "1000")],
}

PODMANS = {
    "keep-id": [
        ("--userns=keep-id", "id -u; touch /tmp/x && stat -c %u /tmp/x", "2000\n2000"),
        ("--systemd=always", "", ""),
        ("--tz=UTC", "date +%Z", "UTC"),
        ("--env-host", "echo $USER", "alice"),
        ("--image-volume=tmpfs", "", ""),
        ("--sdnotify=ignore --cgroups=no-conmon", "", ""),
    ],
    "auto": [
        ("--userns=auto", "id -u", "0"),
        ("--unsetenv=PATH", "", ""),
        ("--cgroup-parent=elsewhere", "", ""),
        ("--rdt-class=some", "", ""),
    ],
    "nomap": [
        ("--ulimit=core=-1", "ulimit -c", "unlimited"),
        ("--userns=nomap", "id -u", "0"),
        ("--umask=077", "umask", "0077"),
        ("--no-hosts", "test -e /etc/hosts || echo none", "none"),
    ],
    "uidmap": [
        ("--uidmap=0:1:1000", "id -u", "0"),
        ("--read-only --read-only-tmpfs=false", "touch /tmp/x 2>/dev/null || echo not", "not"),
    ],
    "groups": [("--group-add=keep-groups", "id -u", "0"), ("--personality=LINUX32", "uname -m", "i686")],
}

DOCKERS = {
    "named": [
        (
            "--domainname=site.example --hostname=named",
            "hostname; cat /proc/sys/kernel/domainname",
            "named\nsite.example",
        ),
        ("--oom-kill-disable --memory-swappiness=10 --cpuset-cpus=0", "", ""),
        ("--cgroup-parent=elsewhere", "", ""),
        ("--isolation=default --sig-proxy=false", "", ""),
        ("--group-add=44", "id -G", "0 44"),
    ]
}
Cases = list[tuple[str, str, str]]


def _check(engine: Engine, cases: Cases) -> None:
    """Each script prints between two lines of its own, so that a failure names the option."""
    script = "".join(f"echo '== {options}'\n{script}\n" for options, script, _ in cases)
    every = [option for options, _, _ in cases for option in options.split()]
    done = engine.run("sh", "-c", script, options=("--rm", *every))
    said = dict(part.partition("\n")[::2] for part in done.stdout.split("== ")[1:])
    assert {options: text.strip() for options, text in said.items()} == {case[0]: case[2] for case in cases}, (
        done.stderr
    )
    assert done.status == 0, done.stderr


@pytest.mark.slurm_only("there is no node")
@pytest.mark.parametrize("cases", EVERYWHERE.values(), ids=EVERYWHERE)
def test_options_work_on_a_node_as_here(engine: Engine, cases: Cases) -> None:
    _check(engine, cases)


@pytest.mark.slurm_only("there is no node")
@pytest.mark.parametrize("option", ["--init", "--pid=host"])
def test_hooks_send_no_signal_to_the_program(engine: Engine, option: str) -> None:
    # crun passes on the SIGPIPE that it gets from a hook which doesn't read; so long a state needs a reader.
    annotation = f"--annotation=long={70_000 * 'a'}"
    done = engine.run("sh", "-c", "sleep 1; echo hello", options=("--rm", option, annotation))
    assert (done.status, done.stdout, done.stderr) == (0, "hello\n", "")


@pytest.mark.slurm_only("there is no node")
@pytest.mark.parametrize("cases", PODMANS.values(), ids=PODMANS)
def test_options_of_podmans_own_do_too(podman: Engine, cases: Cases) -> None:
    _check(podman, cases)


@pytest.mark.slurm_only("there is no node")
@pytest.mark.parametrize("cases", DOCKERS.values(), ids=DOCKERS)
def test_options_of_dockers_own_do_too(docker: Engine, cases: Cases) -> None:
    _check(docker, cases)


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
