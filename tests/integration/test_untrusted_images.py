"""What an image, a pod's YAML or a container's options say has no effect outside the container."""

from __future__ import annotations

import os
import shutil
import subprocess
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from . import slurm
from .conftest import MakeContainer
from .engines import IMAGE, Engine
from .users import User
from .waiting import wait_until

pytestmark = pytest.mark.slurm_only("it takes nothing from an image")

PROGRAMS = ("PROLOG", "EPILOG", "TASK_PROLOG", "TASK_EPILOG")
REFUSED = "may set SCRUN_"

YAML = """
apiVersion: v1
kind: Pod
metadata:
  name: {name}
  annotations: {{{annotation}}}
spec:
  restartPolicy: Never
  containers:
  - name: one
    image: {image}
    imagePullPolicy: Never
    command: ["true"]
    env: [{{name: HELLO, value: there}}{env}]
"""


@pytest.fixture
def trap(bob: User) -> Iterator[tuple[Path, Callable[[], list[str]]]]:
    """A program of bob's, and who has run it where."""
    yield from _trap(bob)


def _trap(user: User) -> Iterator[tuple[Path, Callable[[], list[str]]]]:
    place = user.mkdir(user.shared / f"trap-{uuid.uuid4().hex[:8]}")
    ran = user.mkdir(place / "ran")
    ran.chmod(0o1777)
    program = user.write(place / "program", f"#!/bin/sh\n: >{ran}/$(id -un)-on-$(hostname)\n", 0o755)
    yield program, lambda: sorted(os.listdir(ran))
    subprocess.run(["rm", "-rf", place], check=True)


Trap = tuple[Path, Callable[[], list[str]]]


def test_an_images_programs_are_not_run_for_docker(docker: Engine, trap: Trap) -> None:
    program, ran = trap
    known, made, image = slurm.known_jobs(), docker.name(), f"localhost/evil-{uuid.uuid4().hex[:8]}"
    docker.call("create", "--name", made, IMAGE).ok()
    instructions = [f"ENV SCRUN_{name}={program}" for name in PROGRAMS]
    docker.call("commit", *(f"--change={line}" for line in instructions), made, image).ok()
    try:
        run = ("run", "--rm", f"--runtime={docker.runtime}")
        done = docker.call(*run, image, "echo", "hello")
        assert done.status == 125
        assert f"{REFUSED}PROLOG" in done.stderr
        assert done.stdout == ""
        assert slurm.known_jobs() <= known
        taken_back = [word for name in PROGRAMS for word in ("-e", f"SCRUN_{name}=")]
        assert docker.call(*run, *taken_back, image, "echo", "hello").ok().stdout == "hello\n"
        assert ran() == []
    finally:
        docker.call("image", "rm", "--force", image).ok()


def test_a_containers_options_run_no_programs(main_engine: Engine, trap: Trap) -> None:
    program, ran = trap
    known = slurm.known_jobs()
    said = [("-e", f"SCRUN_{name}={program}") for name in PROGRAMS]
    said += [("--annotation", f"slurm.{name.lower()}={program}") for name in ("prolog", "TASK-EPILOG")]
    for options in said:
        done = main_engine.run("true", options=("--rm", *options))
        assert done.status in (125, 126)
        assert REFUSED in done.stderr
        assert main_engine.user.name == "root" or done.stderr.count("\n") == 1
    assert ran() == []
    assert slurm.known_jobs() <= known


@pytest.mark.parametrize("where", ["annotation", "env"])
def test_a_pods_yaml_runs_no_programs(podman: Engine, trap: Trap, directory: Path, where: str) -> None:
    program, ran = trap
    said = {"annotation": f'slurm.prolog: "{program}"', "env": f", {{name: SCRUN_TASK_PROLOG, value: {program}}}"}
    name = f"pod-{uuid.uuid4().hex[:12]}"
    given = {"annotation": "", "env": ""} | {where: said[where]}
    pod = podman.user.write(directory / "pod.yaml", YAML.format(name=name, image=IMAGE, **given))
    try:
        done = podman.call("--runtime", podman.runtime, "kube", "play", str(pod))
        assert REFUSED in done.stderr + done.stdout
        assert ran() == []
    finally:
        podman.call("pod", "rm", "--force", "--time=0", name)


@pytest.fixture
def own(podman: Engine) -> Iterator[Trap]:
    """The same of the user's own, whose home others can't enter."""
    yield from _trap(podman.user)


def test_the_callers_own_programs_are_run_for_podman(podman: Engine, own: Trap) -> None:
    program, ran = own
    podman.env = {"SCRUN_PROLOG": str(program), "SCRUN_TASK_PROLOG": str(program), "SCRUN_JOB_NODELIST": "node2"}
    podman.run("true", options=("--rm",)).ok()
    assert ran() == ["alice-on-node2", "root-on-login"]  # here within podman's user namespace
    podman.run("true", options=("--rm", "--env-host")).ok()  # what is handed on is the caller's own


def test_container_settings_never_reach_srun_or_the_runtime(main_engine: Engine, trap: Trap) -> None:
    program, ran = trap
    directory = program.parent
    for name in ("crun", "srun", "sh"):
        (directory / name).symlink_to(program)
    variables = [f"PATH={directory}:/bin", f"LD_PRELOAD={directory}/none.so", f"ENV={program}", f"BASH_ENV={program}"]
    variables += [f"SLURM_{name}={program}" for name in PROGRAMS]
    variables += ["SLURM_CONF=/nowhere", "SLURM_PARTITION=down", "SLURM_EXPORT_ENV=ALL", "SLURM_CHDIR=/nowhere"]
    options = [word for variable in variables for word in ("-e", variable)]
    options += ["--annotation", "line\nbreak=line\nbreak", "--workdir=/"]
    done = main_engine.run("/bin/sh", "-c", "echo $PATH", options=("--rm", *options)).ok()
    assert done.stdout == f"{directory}:/bin\n"
    assert ran() == []


def test_annotation_unfit_for_an_environment_is_harmless(container: MakeContainer) -> None:
    def change(config: dict[str, object]) -> None:
        config["annotations"] = {"a=b": "c", "": "empty", "long": "x" * 200_000, "good": "yes"}

    one = container("true", change=change).started()
    assert one.ended() == 0


CONF = Path("/etc/slurm/slurm.conf")


@pytest.fixture
def programs_around_tasks() -> Iterator[Path]:
    """A site's TaskProlog and TaskEpilog, which write down their environment in that directory."""
    place = Path(f"/home/.programs-{uuid.uuid4().hex[:8]}")
    place.mkdir()
    place.chmod(0o1777)
    for name in ("prolog", "epilog"):
        program = place / name
        program.write_text(f"#!/bin/sh\nenv >{place}/{name}-of-$SLURM_JOB_ID-$SLURM_STEP_ID\necho export FROM_SITE=1\n")
        program.chmod(0o755)
    slurm.on_nodes(f"cp {CONF} {CONF}.kept; printf 'TaskProlog={place}/prolog\nTaskEpilog={place}/epilog\n' >>{CONF}")
    CONF.with_suffix(".kept").write_text(CONF.read_text())
    with CONF.open("a") as file:
        file.write(f"TaskProlog={place}/prolog\nTaskEpilog={place}/epilog\n")
    subprocess.run(["scontrol", "reconfigure"], timeout=60, check=True)

    def is_read() -> bool:
        subprocess.run(["srun", "--nodes=2", "true"], timeout=60, check=True)
        return len([*place.glob("epilog-of-*")]) > 0

    wait_until(is_read, "the nodes have read it")
    yield place
    CONF.write_text(CONF.with_suffix(".kept").read_text())
    CONF.with_suffix(".kept").unlink()
    slurm.on_nodes(f"mv {CONF}.kept {CONF}")
    subprocess.run(["scontrol", "reconfigure"], timeout=60, check=True)
    shutil.rmtree(place)


VALUES = {
    "LD_LIBRARY_PATH": "/nowhere",
    "BASH_ENV": "/nowhere",
    "PATH": "/nowhere:/bin",
    "QUOTED": """a 'b' "c" $HOME `x` \\ %s ; ä""",
    "LINES": "one\ntwo",
    "EMPTY": "",
    "with.dot": "yes",
}


def test_sites_own_programs_see_no_container_variables(
    container: MakeContainer, docker: Engine, alice: User, programs_around_tasks: Path
) -> None:
    mine = alice.write(programs_around_tasks / "mine", "#!/bin/sh\nenv >$0-ran\necho export FROM_CALLER=1\n", 0o755)
    one = container("env", "-0", env=[f"{name}={value}" for name, value in VALUES.items()])
    one.started(env={"SCRUN_TASK_PROLOG": str(mine)})
    assert one.ended() == 0, one.errors
    seen = dict(entry.partition("=")[::2] for entry in one.output.decode().split("\0"))
    assert {name: seen.get(name) for name in VALUES} == VALUES
    assert (seen["FROM_SITE"], seen["FROM_CALLER"]) == ("1", "1")

    options = [word for name in ("LD_LIBRARY_PATH", "BASH_ENV") for word in ("-e", f"{name}=/nowhere")]
    done = docker.run("sh", "-c", "echo $BASH_ENV; exit 7", options=("--rm", "--network=none", *options))
    assert (done.status, done.stdout) == (7, "/nowhere\n"), done.stderr
    written = [path.read_text() for path in programs_around_tasks.glob("*-of-*")] + [Path(f"{mine}-ran").read_text()]
    assert len(written) > 4
    assert [text for text in written if "/nowhere" in text] == []
