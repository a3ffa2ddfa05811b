"""Do what docs/compatibility.md's table of commands says, with scrun and with the C scrun, and print both.

Run it on the cluster's login host, as root; it takes some minutes, most of them the C scrun's:

    devcluster/devcluster exec -- sh -c 'cd /src && /opt/scrun/bin/python -B bench/compatibility.py [RUNTIME…] [ROW…]'

Each row is a function that does what a person would, and then says what of it was right. ✗: not the first of these, or
it took too long; (✓): something after that was not, and is named. Where the page's sign is another, it ends the line.
The C scrun gets what its documentation asks for (tests/integration/engines.py). Its containers may outlive the script:
`devcluster/devcluster down` ends them.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))
from integration import dockerd, engines  # noqa: E402
from integration.engines import IMAGE, Engine  # noqa: E402
from integration.users import Done, User  # noqa: E402
from integration.waiting import wait_until  # noqa: E402

RUNTIMES = {"scrun": "/usr/bin/scrun", "cscrun": "/usr/local/bin/cscrun"}
PATIENCE = 25.0  # seconds for one call
YES, PARTLY, NO, NONE = "✓", "(✓)", "✗", "\N{EN DASH}"
READY = "echo ready; "
TRAP = f"trap 'echo bye; exit 42' TERM; {READY}while :; do sleep 0.1; done"

Said = Iterator[tuple[str, bool]]
ROWS: dict[str, Callable[[Engine], Said]] = {}
ONLY: dict[str, str] = {}  # rows of one engine


def row(name: str, only: str = "") -> Callable[[Callable[[Engine], Said]], Callable[[Engine], Said]]:
    """Makes a function a row of the table, by the first words of the page's."""

    def add(function: Callable[[Engine], Said]) -> Callable[[Engine], Said]:
        ROWS[name] = function
        if only:
            ONLY[name] = only
        return function

    return add


def sh(engine: Engine, script: str, *options: str, stdin: bytes | None = None) -> Done:
    return engine.run("/bin/sh", "-c", script, options=options, stdin=stdin, timeout=PATIENCE)


def background(engine: Engine, script: str, *options: str) -> str:
    return engine.detached("/bin/sh", "-c", script, options=options, ready="ready" if READY in script else "")


def ended(engine: Engine, name: str) -> int:
    return int(engine.call("wait", name, timeout=PATIENCE).ok().stdout)


def by_default(engine: Engine) -> None:
    """Without what the C scrun asks for of networks."""
    engine.always = tuple(option for option in engine.always if not option.startswith("--network"))
    engine.env = None


def there(engine: Engine) -> tuple[str, ...]:
    """Options for node2; by itself everything is on node1. The C scrun takes none of a container's variables."""
    return ("-e", "SCRUN_JOB_NODELIST=node2") if engine.runtime == "scrun" else ()


def made(engine: Engine, script: str, *options: str) -> str:
    """A container that was created and not started."""
    name = engine.name()
    engine.call("create", *engine.words(*options, command=("/bin/sh", "-c", script), name=name)[1:]).ok()
    return name


def logs(engine: Engine, name: str) -> str:
    return engine.call("logs", name).stdout


@row("run")
def _run(engine: Engine) -> Said:
    done = engine.run("/bin/sh", "-c", "echo out; echo err >&2; exit 7", timeout=PATIENCE)
    yield "output", (done.stdout, "err\n" in done.stderr) == ("out\n", True)
    yield "status", done.status == 7
    yield "PATH", engine.run("echo", "hi", timeout=PATIENCE).stdout == "hi\n"


@row("run, of a command that is not there")
def _run_nosuch(engine: Engine) -> Said:
    yield "127", engine.run("nosuch", timeout=PATIENCE).status == 127
    yield "126", engine.run("/etc", timeout=PATIENCE).status == 126


@row("run, of a job that Slurm refuses")
def _run_refused(engine: Engine) -> Said:
    done = sh(engine, "true", "-e", "SCRUN_PARTITION=nosuch")
    yield "Slurm's words", done.status != 0 and "partition" in done.stderr


@row("run -i")
def _run_input(engine: Engine) -> Said:
    data = bytes(range(256)) * 1000
    done = engine.run("/bin/sh", "-c", "cat; exit 7", options=("-i",), stdin=data, timeout=PATIENCE)
    yield "unharmed", done.output == data
    yield "status", done.status == 7


@row("run -it")
def _run_terminal(engine: Engine) -> Said:
    words = engine.words("-i", "-t", command=("/bin/sh", "-c", "tty && echo ready; read x; echo got $x; exit 7"))
    status, screen = engine.at_a_terminal(*words, typed={"ready": b"hello\n"}, timeout=PATIENCE)
    yield "terminal", "got hello" in screen
    yield "status", status == 7


@row("run -d")
def _run_detached(engine: Engine) -> Said:
    name = background(engine, f"{READY}exit 7")
    yield "runs", True
    yield "status", ended(engine, name) == 7


@row("run --rm")
def _run_removed(engine: Engine) -> Said:
    name = engine.name()
    engine.call(*engine.words("--rm", command=("/bin/true",), name=name), timeout=PATIENCE).ok()
    yield "gone", engine.call("inspect", name).status != 0


@row("run, with the network of the default")
def _run_network(engine: Engine) -> Said:
    by_default(engine)
    yield "the node's", "10.77." in engine.run("/bin/sh", "-c", "ip -o addr", timeout=PATIENCE).ok().stdout
    yield "its own", False


@row("run --network host")
def _run_host(engine: Engine) -> Said:
    found = engine.run("/bin/sh", "-c", "ip -o addr", options=("--network=host",), timeout=PATIENCE)
    yield "the node's", "10.77." in found.ok().stdout
    yield "this host's", False


@row("run --network none")
def _run_none(engine: Engine) -> Said:
    found = engine.run("/bin/sh", "-c", "ip -o link; exit 7", options=("--network=none",), timeout=PATIENCE)
    yield "ran", "lo:" in found.stdout
    yield "none", found.stdout.count("\n") == 1
    yield "status", found.status == 7


@row("run --network container:NAME")
def _run_shared_network(engine: Engine) -> Said:
    serve = f"mkdir /w; echo hello >/w/a; {READY}exec httpd -f -p 8069 -h /w"
    server = background(engine, serve, *there(engine))
    ask = "for i in 1 2 3 4 5 6 7 8 9; do wget -q -O - http://127.0.0.1:8069/a && exit; sleep 0.2; done"
    yield "localhost", sh(engine, ask, f"--network=container:{server}").stdout == "hello\n"


@row("run --ipc container:NAME")
def _run_shared_ipc(engine: Engine) -> Said:
    options = ("--ipc=shareable", *there(engine))
    other = background(engine, f"echo here >/dev/shm/a; echo $SLURM_JOB_ID; {READY}exec sleep 60", *options)
    found = sh(engine, "echo $SLURM_JOB_ID; cat /dev/shm/a", f"--ipc=container:{other}").stdout.split()
    yield "same job", found[:1] == logs(engine, other).split()[:1]
    yield "shared memory", found[1:] == ["here"]


@row("run -p, port")
def _run_port(engine: Engine) -> Said:
    by_default(engine)
    name = background(engine, f"{READY}exec sleep 60", "-p", "18057:80")
    yield "port", "18057" in engine.call("port", name).ok().stdout
    yield "open here", False  # it is open on the node


@row("run -v, --mount")
def _run_volume(engine: Engine) -> Said:
    name = f"test-{uuid.uuid4().hex[:8]}"
    try:
        sh(engine, "echo made >/v/a", "-v", f"{name}:/v")
        yield "kept", sh(engine, "cat /v/a", "-v", f"{name}:/v").stdout == "made\n"
    finally:
        for one in engine.made:
            engine.remove(one)
        engine.call("volume", "rm", name)


@row("run --restart")
def _run_restart(engine: Engine) -> Said:
    def again(policy: str, script: str) -> bool:
        name = background(engine, script, f"--restart={policy}")
        try:
            wait_until(lambda: logs(engine, name).count("again") > 1, "it runs again", 10)
        except BaseException:  # pytest's Failed
            return False
        finally:
            engine.remove(name)
        return True

    yield "always", again("always", "echo again; exit 0")
    yield "on-failure", again("on-failure:3", "echo again; exit 7")


@row("run --health-cmd")
def _run_health(engine: Engine) -> Said:
    options = ("--health-cmd", "true", "--health-interval", "1s", "--health-retries", "1")
    name = background(engine, f"{READY}exec sleep 60", *options)

    def health() -> str:
        if engine.is_podman:
            engine.call("healthcheck", "run", name)
        return str(engine.inspect(name)["State"].get("Health", {}).get("Status"))

    wait_until(lambda: health() in ("healthy", "unhealthy"), "the check has run", 15)
    yield "healthy", health() == "healthy"


@row("create, start, start --attach")
def _create(engine: Engine) -> Said:
    done = engine.call("start", "--attach", made(engine, "echo ran; exit 7"), timeout=PATIENCE)
    yield "runs", done.stdout == "ran\n"
    yield "status", done.status == 7


@row("init", only="podman")
def _init(engine: Engine) -> Said:
    name = made(engine, "echo ran")
    engine.call("init", name).ok()
    yield "not yet", logs(engine, name) == ""
    yield "runs", engine.call("start", "--attach", name, timeout=PATIENCE).stdout == "ran\n"


@row("start, of what has ended")
def _start_again(engine: Engine) -> Said:
    name = background(engine, "cat /made; echo made >/made")
    ended(engine, name)
    engine.call("start", "--attach", name, timeout=PATIENCE)
    yield "its changes", "made\n" in logs(engine, name)


@row("stop")
def _stop(engine: Engine) -> Said:
    name, begun = background(engine, TRAP), time.monotonic()
    engine.call("stop", "--time=5", name, timeout=PATIENCE).ok()
    yield "by SIGTERM", "bye" in logs(engine, name) and time.monotonic() - begun < 4
    yield "status", engine.inspect(name)["State"]["ExitCode"] == 42


@row("restart")
def _restart(engine: Engine) -> Said:
    name, begun = background(engine, TRAP), time.monotonic()
    engine.call("restart", "--time=5", name, timeout=PATIENCE).ok()
    yield "by SIGTERM", "bye" in logs(engine, name) and time.monotonic() - begun < 4
    wait_until(lambda: logs(engine, name).count("ready") == 2, "it has begun again", 10)
    yield "begins again", True


@row("kill")
def _kill(engine: Engine) -> Said:
    name = background(engine, f"{READY}exec sleep 60")
    engine.call("kill", name, timeout=PATIENCE).ok()
    status = ended(engine, name)
    yield "ended", True
    yield "status", status == 137


@row("wait")
def _wait(engine: Engine) -> Said:
    yield "status", ended(engine, background(engine, f"{READY}sleep 1; exit 7")) == 7


@row("logs")
def _logs(engine: Engine) -> Said:
    yield "output", "ready" in logs(engine, background(engine, f"{READY}exec sleep 60"))


@row("attach")
def _attach(engine: Engine) -> Said:
    name = background(engine, f"{READY}read line; echo got $line; sleep 1; exit 7", "-i")
    engine.call("attach", name, stdin=b"hello\n", timeout=PATIENCE)
    status = ended(engine, name)
    yield "input", "got hello" in logs(engine, name)
    yield "status", status == 7


@row("attach, after the detach keys")
def _attach_again(engine: Engine) -> Said:
    name = engine.name()
    # One after the other: podman takes both for input when they arrive at once, with crun too.
    script = "tty >&2 && echo ready && sleep 1 && echo now; read one; echo got $one; read two; exit 7"
    words = engine.words("-i", "-t", command=("/bin/sh", "-c", script), name=name)
    engine.at_a_terminal(*words, typed={"ready": b"\x10", "now": b"\x11"}, timeout=PATIENCE)
    yield "left", engine.is_running(name)
    status, screen = engine.at_a_terminal("attach", name, typed={"": b"hello\n", "got hello": b"\n"}, timeout=PATIENCE)
    yield "input", "got hello" in screen
    yield "status", status == 7 or engine.is_podman  # which has lost it by now, with crun too


@row("exec, exec -it, exec -d")
def _exec(engine: Engine) -> Said:
    name = background(engine, f"{READY}exec sleep 60")
    done = engine.call("exec", name, "sh", "-c", "echo $SLURMD_NODENAME; exit 7", timeout=PATIENCE)
    yield "on its node", done.stdout.startswith("node")
    yield "status", done.status == 7


@row("pause, unpause")
def _pause(engine: Engine) -> Said:
    name = background(engine, TRAP)
    yield "paused", engine.call("pause", name).status == 0 and engine.inspect(name)["State"]["Status"] == "paused"
    yield "goes on", engine.call("unpause", name).status == 0


@row("top")
def _top(engine: Engine) -> Said:
    done = engine.call("top", background(engine, f"{READY}exec sleep 61"))
    yield "its processes", [line.endswith("sleep 61") for line in done.stdout.splitlines()] == [False, True]


@row("update")
def _update(engine: Engine) -> Said:
    name = background(engine, f"{READY}exec sleep 60")
    yield "restart policy", engine.call("update", "--restart=no", name).status == 0
    # The devcluster's docker drops limits before anybody hears of them: it sees no cgroup controllers.
    yield "limits", engine.is_podman and engine.call("update", "--cpu-shares=512", name).status == 0


@row("stats")
def _stats(engine: Engine) -> Said:
    name = background(engine, f"{READY}dd if=/dev/zero bs=20M count=1 | sleep 60")
    yield "no error", name in engine.call("stats", "--no-stream", name, timeout=PATIENCE).ok().stdout
    yield "its memory", False  # the processes aren't here


@row("ps, inspect")
def _ps(engine: Engine) -> Said:
    runs, done = background(engine, f"{READY}exec sleep 60"), background(engine, f"{READY}exit 7")
    ended(engine, done)
    listed = engine.call("ps", "--all", "--format", "{{.Names}} {{.Status}}").ok().stdout.splitlines()
    states = dict(line.split(" ", 1) for line in listed)
    yield "states", states[runs].startswith("Up") and states[done].startswith("Exited")
    yield "status", engine.inspect(done)["State"]["ExitCode"] == 7


@row("events")
def _events(engine: Engine) -> Said:
    name = background(engine, f"{READY}exit 7")
    ended(engine, name)
    until = ("--stream=false",) if engine.is_podman else (f"--until={int(time.time()) + 1}",)
    text = engine.call("events", "--since=10m", *until, f"--filter=container={name}", "--format={{json .}}").stdout
    yield "its life", "start" in text and "die" in text
    yield "status", bool(re.search(r'"(exitCode|ContainerExitCode)": ?"?7', text))


@row("cp, before the start")
def _copy_in(engine: Engine) -> Said:
    name = made(engine, "cat /copied")
    engine.call("cp", "/etc/hostname", f"{name}:/copied").ok()
    yield "there", engine.call("start", "--attach", name, timeout=PATIENCE).stdout == "login\n"


def changed(engine: Engine) -> str:
    name = background(engine, "echo made >/made")
    ended(engine, name)
    return name


@row("cp, after the end")
def _copy_out(engine: Engine) -> Said:
    yield "what was made", b"made\n" in engine.call("cp", f"{changed(engine)}:/made", "-").output


@row("diff")
def _diff(engine: Engine) -> Said:
    yield "what was made", "A /made" in engine.call("diff", changed(engine)).stdout


@row("commit")
def _commit(engine: Engine) -> Said:
    image = f"localhost/test-{uuid.uuid4().hex[:8]}"
    engine.call("commit", changed(engine), image).ok()
    words = engine.words("--rm", command=("/bin/cat", "/made"))
    done = engine.call(*[image if word == IMAGE else word for word in words], timeout=PATIENCE)
    engine.call("rmi", image)
    yield "what was made", done.stdout == "made\n"


@row("export")
def _export(engine: Engine) -> Said:
    yield "what was made", b"made\n" in engine.call("export", changed(engine)).output


@row("rename")
def _rename(engine: Engine) -> Said:
    name, other = background(engine, f"{READY}exec sleep 60"), engine.name()
    engine.call("rename", name, other).ok()
    yield "the name", engine.is_running(other)


@row("rm, rm --force")
def _remove(engine: Engine) -> Said:
    name = background(engine, f"{READY}exec sleep 60")
    yield "gone", engine.call("rm", "--force", name, timeout=PATIENCE).status == 0
    yield "really", engine.call("inspect", name).status != 0


@row("container clone, cleanup, prune", only="podman")
def _clone(engine: Engine) -> Said:
    name, other = background(engine, f"{READY}exit 7"), engine.name()
    ended(engine, name)
    yield "cleanup", engine.call("container", "cleanup", name).status == 0
    engine.call("container", "clone", name, other)
    yield "clone", "ready" in engine.call("start", "--attach", other, timeout=PATIENCE).stdout
    engine.call("container", "prune", "--force").ok()
    yield "prune", engine.call("inspect", name).status != 0


@row("build")
def _build(engine: Engine) -> Said:
    with tempfile.TemporaryDirectory(dir="/home") as directory:
        Path(directory).chmod(0o755)
        (Path(directory) / "Dockerfile").write_text(f'FROM {IMAGE}\nRUN echo "ran in $SLURM_JOB_ID"\n')
        words = ("--runtime", engine.runtime, "build") if engine.is_podman else ("build", "--progress=plain")
        done = engine.call(*words, "--no-cache", directory, timeout=60)
        yield "on a node", bool(re.search(r"ran in \d", done.stdout + done.stderr))
        (Path(directory) / "Dockerfile").write_text(f"FROM {IMAGE}\nRUN exit 7\n")
        yield "status", engine.call(*words, "--no-cache", directory, timeout=60).status != 0


@row("build, by a dockerd whose runc is scrun", only="docker")
def _build_as_runc(engine: Engine) -> Said:
    runtime = RUNTIMES[engine.runtime]
    with dockerd.docker_whose_runc_is(runtime, engine.user) as other, tempfile.TemporaryDirectory() as directory:
        for builder in ("1", "0"):
            other.env = {**(other.env or {}), "DOCKER_BUILDKIT": builder}
            (Path(directory) / "Dockerfile").write_text(f'FROM {IMAGE}\nRUN test -n "$SLURM_JOB_ID"\n')
            words = ("build", "--network=host", "--no-cache", directory)
            yield ("classic", "BuildKit")[int(builder)], other.call(*words, timeout=60).status == 0


@row("buildah build, buildah run", only="podman")
def _buildah(engine: Engine) -> Said:
    runtime = RUNTIMES[engine.runtime]
    name = engine.user.run("buildah", "from", IMAGE).ok().stdout.strip()
    words = ("buildah", "run", f"--runtime={runtime}", name, "sh", "-c", "echo $SLURM_JOB_ID; exit 7")
    done = engine.user.run(*words, timeout=PATIENCE)
    engine.user.run("buildah", "rm", name)
    yield "on a node", done.stdout.strip().isdigit()
    yield "status", done.status == 7


COMPOSE = """
name: test-{name}
services:
  server:
    image: {image}
    runtime: {runtime}
    {server}
    {options}
    stop_grace_period: 1s
    command: ["/bin/sh", "-c", "mkdir -p /w; echo hello >/w/a; exec httpd -f -p {port} -h /w"]
  client:
    image: {image}
    runtime: {runtime}
    {client}
    {options}
    stop_grace_period: 1s
    depends_on: [server]
    command: ["/bin/sh", "-c", "until {ask}; do sleep 0.2; done; exec sleep 60"]
"""


NODES = ["node1", "node2", "10.77.0.101", "10.77.0.102"]  # the C scrun's containers don't know the cluster's names


def compose(engine: Engine, server: str, client: str, hosts: list[str], port: int) -> Said:
    with tempfile.TemporaryDirectory(dir="/home") as directory:
        Path(directory).chmod(0o755)
        ask = " || ".join(f"wget -q -O - http://{host}:{port}/a" for host in hosts)
        said = [option.partition("=")[2] for option in engine.always if option.startswith("--security-opt=")]
        options = f"security_opt: [{', '.join(said)}]"
        more = {"server": server, "client": client, "options": options, "ask": ask, "port": port}
        (Path(directory) / "compose.yaml").write_text(
            COMPOSE.format(name=uuid.uuid4().hex[:6], image=IMAGE, runtime=engine.runtime, **more)
        )
        program = (
            ["podman-compose", f"--podman-args=--runtime {engine.runtime}"]
            if engine.is_podman
            else ["docker", "compose"]
        )

        def call(*words: str) -> Done:
            return engine.user.run(*program, *words, env=engine.env, cwd=Path(directory), timeout=60)

        call("up", "--detach").ok()
        try:
            wait_until(lambda: "hello" in call("logs", "client").stdout, "the client was served", 20)
            yield "served", True
            yield "exec", call("exec", "-T", "server", "cat", "/w/a").stdout == "hello\n"
        finally:
            begun = time.monotonic()
            call("down", "--timeout=1")
            down = time.monotonic() - begun
        yield "down at once", down < 10


@row("compose up, logs, exec, ps, down")
def _compose(engine: Engine) -> Said:
    yield from compose(engine, "network_mode: host", "network_mode: host", NODES, 8073)


@row("compose, network_mode: service:NAME")
def _compose_shared(engine: Engine) -> Said:
    server = "environment: [SCRUN_JOB_NODELIST=node2]" if there(engine) else "network_mode: host"
    yield from compose(engine, server, "network_mode: service:server", ["127.0.0.1"], 8074)


def pod(engine: Engine) -> tuple[str, Done]:
    name = f"pod-{uuid.uuid4().hex[:8]}"
    engine.call("--runtime", engine.runtime, "pod", "create", "--name", name).ok()
    return name, engine.run("/bin/sh", "-c", "hostname; exit 7", options=("--rm", "--pod", name), timeout=PATIENCE)


@row("pod create, stop, rm", only="podman")
def _pod(engine: Engine) -> Said:
    name, done = pod(engine)
    stopped = engine.call("pod", "stop", "--time=1", name, timeout=PATIENCE)
    engine.call("pod", "rm", "--force", "--time=0", name, timeout=PATIENCE)
    yield "runs", bool(done.stdout) and stopped.status == 0
    yield "status", done.status == 7
    yield "host name", done.stdout.strip() == name


KUBE = """
apiVersion: v1
kind: Pod
metadata: {{name: {name}}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: one
    image: {image}
    imagePullPolicy: Never
    command: [/bin/sh, -c, "mkdir /w; echo hello >/w/a; exec httpd -f -p 8075 -h /w"]
  - name: two
    image: {image}
    imagePullPolicy: Never
    command: [/bin/sh, -c, "until wget -q -O - http://127.0.0.1:8075/a; do sleep 0.2; done; exec sleep 60"]
"""


@row("kube play, kube down", only="podman")
def _kube(engine: Engine) -> Said:
    name = f"pod-{uuid.uuid4().hex[:8]}"
    with tempfile.NamedTemporaryFile("w", dir="/home", suffix=".yaml") as file:
        file.write(KUBE.format(name=name, image=IMAGE))
        file.flush()
        Path(file.name).chmod(0o644)
        engine.call("--runtime", engine.runtime, "kube", "play", file.name, timeout=PATIENCE)
        try:
            wait_until(lambda: "hello" in logs(engine, f"{name}-two"), "they talk", 15)
            yield "localhost", True
        finally:
            engine.call("kube", "down", "--force", file.name, timeout=60)


def verdict(name: str, engine: Engine) -> str:
    """The sign of a row, and what was not right."""
    if ONLY.get(name, engine.program) != engine.program:
        return NONE
    missing: list[str] = []
    first = True
    try:
        for what, right in ROWS[name](engine):
            if first and not right:
                return f"{NO} {what}"
            first = False
            missing += [] if right else [what]
    except BaseException as error:  # an assertion, a call that took too long, pytest's own failure
        if isinstance(error, KeyboardInterrupt):
            raise
        why = re.sub(r"\s+", " ", str(error))
        why = why if len(why) < 100 else f"…{why[-90:]}"
        return f"{NO} {why}" if first else f"{PARTLY} {', '.join(missing)} {why}"
    finally:
        for one in reversed(engine.made):  # what shares something with another one first
            try:
                engine.remove(one)
            except BaseException as error:  # it hangs: the C scrun's do now and then
                print(f"  ({one} could not be removed: {error})", flush=True)
    return f"{PARTLY} {', '.join(missing)}" if missing else YES


def page() -> dict[str, dict[str, list[str]]]:
    """The signs of docs/compatibility.md: by row, by runtime, docker's and podman's."""
    found = {}
    table = (ROOT / "docs/compatibility.md").read_text().partition("## Commands")[2].partition("\n## ")[0]
    for line in table.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        if len(cells) == 5:
            signs = re.findall(r"\(✓\)|✓|✗", cells[4].partition("<!--")[0])
            found[cells[0].strip("| ")] = {"scrun": [cell.split(" ")[0] for cell in cells[1:3]], "cscrun": signs[:2]}
    return found


def main(words: list[str]) -> None:
    """Each row that one of the words begins, or all, with each runtime that is named, or both."""
    runtimes = [name for name in RUNTIMES if name in words] or [*RUNTIMES]
    wanted = [word for word in words if word not in RUNTIMES]
    known = page()
    alice, root = User("alice"), User("root")
    for name in ROWS:
        if wanted and not any(name.startswith(word) for word in wanted):
            continue
        said = next((signs for title, signs in known.items() if title.startswith(name)), {})
        for runtime in runtimes:
            found = [
                verdict(name, engines.make(engine, RUNTIMES[runtime], alice, root)) for engine in ("docker", "podman")
            ]
            signs = [one.split(" ")[0] for one in found]
            theirs = [sign for sign in said.get(runtime, []) if sign != NONE or runtime == "scrun"]
            ours = [sign for sign in signs if sign != NONE or runtime == "scrun"][: len(theirs)]
            differs = (
                ""
                if ours == theirs or "".join(theirs).isdigit()
                else f"   <- the page: {' '.join(theirs) or 'no such row'}"
            )
            print(f"| {name} | {runtime} | {found[0]} | {found[1]} |{differs}", flush=True)


if __name__ == "__main__":
    subprocess.run(["sinfo", "--noheader"], check=True, stdout=subprocess.DEVNULL)
    main(sys.argv[1:])
