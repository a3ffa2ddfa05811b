"""The manual page scrun(1) in man(7)'s format, made from the program's own tables.

``python -m scrun.manual`` prints the page; ``scrun install`` installs it.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from scrun import __version__, errors, grammar, log
from scrun.lifecycle.caller.options import PATIENCE, QUEUED_PATIENCE
from scrun.lifecycle.operations import run
from scrun.slurm import variables

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_DESCRIPTION = (
    "scrun is an OCI runtime. docker, podman or a person calls it where they would call runc or crun, and the "
    "container runs as a Slurm job, on a compute node, with its input and output, terminal, signals and exit status "
    "brought back.",
    "The job is described by annotations (slurm.partition=gpu), by the variables below in the environment of the "
    "container or of scrun, and by docker's options for resources (--cpus, --memory, --gpus). If two of them "
    "contradict, the first in this order wins. In an allocation (SLURM_JOB_ID is set) the container is a step of that "
    "job. A container that sets a variable which only scrun's environment may set is refused.",
    "A container uses its node's network, or none if none was asked for. A container with a published port, or on a "
    "network of the user's own, is on the engine's network, as it would be on the login host. On several nodes, or "
    "with several tasks, the container runs once for each task.",
)
_OWN_VARIABLES = {
    "SCRUN_CREATE_TIMEOUT": f"seconds that create and run --detach wait for the job's nodes and the hooks (default: "
    f"{PATIENCE:.0f}, and {QUEUED_PATIENCE:.0f} while Slurm queues the job; 0: for ever); run without --detach always "
    "waits",
    "SCRUN_NET": "engine: the container is on docker's or podman's own network, with its ports and names; node: it is "
    "on its node's network; auto (default): the engine's where a port is published or a network named, else the node's",
    "SCRUN_NODE_TIMEOUT": "seconds that a container runs on when its node can't reach the login host (default: 300); "
    "then it ends, and its job",
    "SCRUN_NOTICES": "no: don't write to the container's standard error that its job is queued, that it got its nodes, "
    "and what the site's job_submit plugin says (default: yes)",
    "SCRUN_RESOURCES": "ignore: don't ask Slurm for docker's limits; use (default)",
    "SCRUN_SHARE_JOB": "no: a container that shares a namespace with another one (a pod, --network container:NAME) has "
    "a job of its own; yes (default): it is a step of the other's job, on the same node",
    "SCRUN_NODE": "in the environment of a process of exec: the node to run it on, for a container on several nodes",
    "SCRUN_LUA": "the version of Lua for scrun.lua: 5.1, 5.2, 5.3 or 5.4 (default: the version in a line -- lua: 5.1 "
    "at the script's top, else 5.4)",
    "SCRUN_PYSLURM": "no: scrun describes the job to Slurm without pyslurm, even where pyslurm is installed",
    "SCRUN_HISTORY": "where to keep a line of JSON for each ended container: syslog, or the absolute path of a file of "
    "yours, in which %h, %u and %U are your home directory, name and number (default: no)",
    "SCRUN_DEBUG": f"the level of messages: {', '.join(log.LEVELS)} (default: error)",
    "SCRUN_STDERR_DEBUG": "the level of standard error only",
    "SCRUN_FILE_DEBUG": "the level of the --log file only",
    "SCRUN_SYSLOG_DEBUG": "the level of syslog only (default: quiet)",
}
_FILES = {
    "/etc/slurm/slurm.conf": "the cluster; -f or SLURM_CONF names another file",
    "oci.conf": "beside slurm.conf: how the nodes run containers, see oci.conf(5)",
    "scrun.lua": "beside slurm.conf: the site's hooks, which bring files to the nodes",
    "/run/user/UID/scrun/ID/": "a container, until it is deleted; anchor.log in it has the messages of Slurm and of "
    "the hooks",
}
_STATUSES = {
    "0": "the command succeeded; run without --detach: the container succeeded",
    "1": "the command failed; one line on standard error tells why. doctor: something is broken; lua check: something "
    "is wrong",
    str(run.NOT_RUN): "run: the container could not be run",
    str(run.NOT_EXECUTABLE): "run: the container's program can't be executed",
    str(run.NOT_FOUND): "run: the container's program doesn't exist",
    "255": "exec: the process could not be run",
    "128+n": "signal n ended scrun, or run's container",
}
_EXAMPLES = (
    ("A shell in a directory with a root filesystem, on a node:", ("scrun spec", "scrun run box")),
    ("The same, on a partition, for five minutes at most:", ("SCRUN_PARTITION=short SCRUN_TIMELIMIT=5 scrun run box",)),
    (
        "With podman and with docker:",
        ("podman --runtime scrun run -it busybox sh", "docker run --runtime scrun busybox"),
    ),
    ("A task on each of two nodes:", ("podman --runtime scrun run -e SCRUN_JOB_NUM_NODES=2 busybox hostname",)),
    ("The containers, and another process in one:", ("scrun list", "scrun exec -t box sh")),
    ("The containers of docker:", ("scrun --root /run/docker/runtime-runc/moby list",)),
)
_SEE_ALSO = "srun(1), sbatch(1), squeue(1), scancel(1), oci.conf(5), runc(8), crun(1), podman-run(1)"


def page() -> str:
    """The text of the page."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    yield f'.TH SCRUN 1 "" "scrun {__version__}" "User Commands"'
    yield from _section("NAME", ["scrun \\- run OCI containers as Slurm jobs"])
    yield from _section(
        "SYNOPSIS", [_bold("scrun"), "[" + _italic("global options") + "] " + _italic("command") + " \\&..."]
    )
    yield ".SH DESCRIPTION"
    for paragraph in _DESCRIPTION:
        yield ".PP"
        yield _text(paragraph)
    yield ".SH GLOBAL OPTIONS"
    yield from _options((*grammar.GLOBAL_OPTIONS, *grammar.FOR_PEOPLE))
    yield ".SH COMMANDS"
    for name, command in grammar.COMMANDS.items():
        yield from _command(name, command)
    yield ".SH ENVIRONMENT"
    yield from _terms(_OWN_VARIABLES)
    yield ".SS The job"
    yield from _terms(job_variables())
    yield ".SH EXIT STATUS"
    yield from _terms(_STATUSES)
    yield ".SH FILES"
    yield from _terms(_FILES)
    yield ".SH DIAGNOSTICS"
    yield _text("Every error is one line that says what is wrong, where, and what to do. The kinds of errors:")
    yield from _terms(dict(_errors()))
    yield ".SH EXAMPLES"
    for what, lines in _EXAMPLES:
        yield from (".PP", _text(what), ".PP", ".RS", ".nf", *(_bold(f"$ {line}") for line in lines), ".fi", ".RE")
    yield from _section("SEE ALSO", [_text(_SEE_ALSO)])


def job_variables() -> dict[str, str]:
    """The variables of a job, with their descriptions."""
    return {
        f"SCRUN_{row.name}": f"{row.help} (srun --{row.option})"
        + ("; from the environment of scrun alone" if row.who == variables.CALLER else "")
        for row in variables.TABLE
    }


def _command(name: str, command: grammar.Command) -> Iterator[str]:
    yield f".SS {_text(name)}"
    arguments = " ".join(_italic(word) for word in command.arguments)
    options = "[" + _italic("options") + "] " if command.options else ""
    yield f"{_bold(f'scrun {name}')} {options}{arguments}".rstrip()
    yield ".PP"
    yield _text(command.help)
    yield from _options(command.options)


def _options(options: Iterable[grammar.Option]) -> Iterator[str]:
    """Each option with its help; options with the same help are in one paragraph."""
    together: dict[str, list[str]] = {}
    for option in options:
        spellings = ", ".join(_bold(spelling) for spelling in sorted(option.spellings, key=len))
        value = f" {_italic(option.metavar)}" if option.metavar else ""
        help_text = option.help + ("; may be repeated" if option.repeats else "")
        together.setdefault(help_text, []).append(spellings + value)
    for help_text, called in together.items():
        yield from (".TP", "; ".join(called), _text(help_text))


def _errors(kind: type[Exception] = errors.ScrunError) -> Iterator[tuple[str, str]]:
    for below in kind.__subclasses__():
        yield below.__name__, (below.__doc__ or "").partition("\n")[0].rstrip(".")
        yield from _errors(below)


def _section(title: str, lines: Iterable[str]) -> Iterator[str]:
    yield f".SH {title}"
    yield from lines


def _terms(terms: dict[str, str]) -> Iterator[str]:
    for term, text in terms.items():
        yield from (".TP", _bold(term), _text(text))


def _bold(text: str) -> str:
    return f"\\fB{_escaped(text)}\\fR"


def _italic(text: str) -> str:
    return f"\\fI{_escaped(text)}\\fR"


def _text(text: str) -> str:
    """A line of text that roff doesn't take as a request."""
    escaped = _escaped(text)
    return f"\\&{escaped}" if escaped.startswith((".", "'")) else escaped


def _escaped(text: str) -> str:
    return text.replace("\\", "\\e").replace("-", "\\-").replace("…", "\\&...")


if __name__ == "__main__":
    sys.stdout.write(page())
