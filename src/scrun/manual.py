"""The manual page scrun(1) in man(7)'s format, made from the program's own tables.

``python -m scrun.manual`` prints the page; ``scrun install`` installs it.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from scrun import __version__, errors, grammar, log
from scrun.lifecycle.caller.options import PATIENCE
from scrun.lifecycle.operations import run
from scrun.slurm import variables

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_DESCRIPTION = (
    "scrun is an OCI runtime. docker, podman or a person calls it where they would call runc or crun, and the "
    "container runs as a Slurm job, on a compute node, with its input and output, terminal, signals and exit status "
    "brought back.",
    "What a job needs is said with annotations (slurm.partition=gpu), with the variables below in the environment of "
    "the container or of scrun, or with docker's own words for resources (--cpus, --memory, --gpus); where two speak "
    "of the same thing the first of these wins. Within an allocation (SLURM_JOB_ID is set) the container is a step of "
    "that job. A container that sets a variable which only the environment of scrun may set is refused.",
    "A container's network is its node's, or none where none was asked for. On several nodes, or with several tasks, "
    "the container is run once for each task.",
)
_OWN_VARIABLES = {
    "SCRUN_CREATE_TIMEOUT": f"seconds that create waits for the job's nodes and the hooks (default: "
    f"{PATIENCE:.0f}; 0: for ever); run, which stays, always waits",
    "SCRUN_NOTICES": "no: the container's standard error is not told that its job is queued, that it got its nodes, "
    "and what the site's job_submit plugin says (default: yes)",
    "SCRUN_RESOURCES": "ignore: docker's words for resources are not asked of Slurm; use (default)",
    "SCRUN_SHARE_JOB": "no: what shares a namespace with another container (a pod, --network container:NAME) has a job "
    "of its own; yes (default): it is a step of that one's job, on the same node",
    "SCRUN_NODE": "in the environment of a process that exec runs: the node to run it on, of a container on several",
    "SCRUN_LUA": "the Lua that scrun.lua is run with: 5.1, 5.2, 5.3 or 5.4; else what a line -- lua: 5.1 at the "
    "script's top says, else 5.4",
    "SCRUN_PYSLURM": "no: scrun describes the job to Slurm itself, and not through pyslurm, where there is one",
    "SCRUN_HISTORY": "where to keep a line of JSON for each container that has ended: syslog, or the absolute path of "
    "a file of yours, in which %h, %u and %U are your home directory, name and number (default: no)",
    "SCRUN_DEBUG": f"the level of messages: {', '.join(log.LEVELS)} (default: error)",
    "SCRUN_STDERR_DEBUG": "the same, of standard error alone",
    "SCRUN_FILE_DEBUG": "the same, of the --log file alone",
    "SCRUN_SYSLOG_DEBUG": "the same, of syslog alone (default: quiet)",
}
_FILES = {
    "/etc/slurm/slurm.conf": "which cluster; -f or SLURM_CONF names another",
    "oci.conf": "beside slurm.conf: how the nodes run containers, oci.conf(5)",
    "scrun.lua": "beside slurm.conf: the site's hooks, how files reach the nodes",
    "/run/user/UID/scrun/ID/": "a container, as long as it isn't deleted; anchor.log in it tells what Slurm and the "
    "hooks said",
}
_STATUSES = {
    "0": "the operation succeeded, or the container that run stayed with did",
    "1": "it failed; one line on standard error says why. doctor: something is broken; lua check: something is wrong",
    str(run.NOT_RUN): "run: the container could not be run",
    str(run.NOT_EXECUTABLE): "run: its program is there, but can't be executed",
    str(run.NOT_FOUND): "run: its program is nowhere in the container",
    "255": "exec: the process could not be run",
    "128+n": "scrun was ended by signal n, or run's container was",
}
_EXAMPLES = (
    ("A shell in a directory with a root filesystem, on a node:", ("scrun spec", "scrun run box")),
    ("The same, on a partition, for five minutes at most:", ("SCRUN_PARTITION=short SCRUN_TIMELIMIT=5 scrun run box",)),
    ("By podman and by docker:", ("podman --runtime scrun run -it busybox sh", "docker run --runtime scrun busybox")),
    ("A task on each of two nodes:", ("podman --runtime scrun run -e SCRUN_JOB_NUM_NODES=2 busybox hostname",)),
    ("What there is, and another process in it:", ("scrun list", "scrun exec -t box sh")),
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
    yield _text("Every error is one line that says what is wrong, where, and what to do about it. Their kinds:")
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
