"""The hot path's parser and click understand a command line in the same way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scrun import argv, cli
from scrun.grammar import COMMANDS, GLOBAL_OPTIONS, Call, Option

DOCKER_GLOBALS = "--root /run/docker/runtime-runc/moby --log /run/b/log.json --log-format json"
PODMAN_GLOBALS = "--log-format=json --log /run/user/2000/log"

# Each is understood without click: what docker, podman, buildah and the shell send.
HOT = [
    # dockerd → containerd-shim-runc-v2 → go-runc
    f"{DOCKER_GLOBALS} create --bundle /run/b --pid-file /run/b/init.pid abc123",
    f"{DOCKER_GLOBALS} --systemd-cgroup create --bundle /run/b --pid-file /run/b/pid --console-socket /tmp/s abc123",
    f"{DOCKER_GLOBALS} create --bundle /run/b --pid-file /p --no-pivot --no-new-keyring --preserve-fds 3 abc123",
    f"{DOCKER_GLOBALS} create --bundle /run/b --pid-file /p --pidfd-socket /tmp/pidfd abc123",
    f"{DOCKER_GLOBALS} start abc123",
    f"{DOCKER_GLOBALS} state abc123",
    f"{DOCKER_GLOBALS} kill abc123 15",
    f"{DOCKER_GLOBALS} kill --all abc123 9",
    f"{DOCKER_GLOBALS} delete abc123",
    f"{DOCKER_GLOBALS} delete --force abc123",
    "--debug --rootless=true --root /r start abc123",
    # podman → conmon
    f"{PODMAN_GLOBALS} create --bundle /b --pid-file /b/pidfile --no-pivot --no-new-keyring abc123",
    f"--systemd-cgroup {PODMAN_GLOBALS} create --bundle /b --pid-file /p --console-socket /c abc123",
    "--cgroup-manager disabled create --bundle /b --pid-file /p --preserve-fds 1 abc123",
    f"{PODMAN_GLOBALS} start abc123",
    f"{PODMAN_GLOBALS} kill abc123 15",
    f"{PODMAN_GLOBALS} kill --all abc123 9",
    f"{PODMAN_GLOBALS} delete --force abc123",
    f"{DOCKER_GLOBALS} exec --process /tmp/p --console-socket /s --detach --pid-file /b/1.pid abc123",
    f"{PODMAN_GLOBALS} exec --pid-file /b/pid --process /b/process --detach abc123",
    f"{DOCKER_GLOBALS} pause abc123",
    f"{PODMAN_GLOBALS} resume abc123",
    # buildah
    "create --bundle /tmp/buildah1 --pid-file /tmp/buildah1/pid --no-new-keyring buildah-buildah1",
    "start buildah-buildah1",
    "state buildah-buildah1",
    "kill buildah-buildah1 KILL",
    "delete buildah-buildah1",
    # people
    "create box",
    "create -b . box",
    "create --bundle=. --pid-file=p box",
    "kill box",
    "kill box SIGUSR1",
    "kill -a box TERM",
    "delete -f box",
    "-f /etc/slurm/other.conf state box",
    "--root= state box",
    "--root /a --root /b state box",
    "--log-level debug --criu /usr/bin/criu state box",
    "state +a_b.c",
    "create --bundle --pid-file box",  # the word behind an option is its value, whatever it looks like
    "create --no-subreaper box",
    "exec box ls",
    "exec -t -e A=1 --env B=2 box sh",
    "list",
    "list -q",
    "--root /r list --format json",
    "list -f table",
    "run box",
    "run --bundle . --keep box",
    "run -d --pid-file p --console-socket s box",
    "run --bundle /run/b --no-pivot abc123",  # buildkit
]

# Each is click's: it is an error, a request for help, or a form that only people write. Do not move one here for
# convenience: what docker and podman send must not cost them click.
LEFT_TO_CLICK = [
    "",
    "--help",
    "--version",
    "-V",
    "-v state box",  # scrun(1)'s verbosity, which is counted
    "features",
    "nosuch",
    "state",
    "state a b",
    "state --help",
    "state -- box",
    "-- state box",
    "start --force box",
    "create -b",
    "create -b=. box",
    "create -b. box",
    "create --no-pivot=1 box",
    "create --bundl . box",
    "kill box --all",
    "kill box -9",
    "kill box 9 1",
    "delete box --force",
    "delete -",
    "list box",
    "list -qf json",
    "ls",
    "exec box ls -l",
    "exec -- box ls",
    "--root",
    "--nosuch state box",
    "--debug=1 state box",
]


def by_click(words: Sequence[str]) -> Call | int:
    """What click makes of it: the call, or the exit status of its refusal."""
    calls: list[Call] = []

    def perform(call: Call) -> int:
        calls.append(call)
        return 0

    status = cli.main(words, perform)
    return calls[0] if calls else status


@pytest.mark.parametrize("line", HOT)
def test_engines_lines_are_parsed_as_click_does(line: str) -> None:
    words = line.split()
    call = argv.parse(words)
    assert call is not None
    assert call == by_click(words)


@pytest.mark.parametrize("line", LEFT_TO_CLICK)
def test_anything_else_is_left_to_click(line: str) -> None:
    assert argv.parse(line.split()) is None


@pytest.mark.parametrize(
    ("line", "options", "arguments"),
    [
        ("create --bundle /b --pid-file /p c", {"bundle": "/b", "pid_file": "/p", "no_pivot": False}, ("c",)),
        ("create --bundle=/b=c c", {"bundle": "/b=c", "console_socket": None}, ("c",)),
        ("delete c", {"force": False}, ("c",)),
        ("delete -f c", {"force": True}, ("c",)),
        ("kill c", {"all": False}, ("c",)),
        ("kill -a c 9", {"all": True}, ("c", "9")),
    ],
)
def test_the_call_carries_the_options_and_the_arguments(
    line: str, options: dict[str, Any], arguments: tuple[str, ...]
) -> None:
    call = argv.parse(line.split())
    assert call is not None
    assert call.arguments == arguments
    assert {name: call.options[name] for name in options} == options


def test_an_empty_word_is_an_argument_to_both() -> None:
    assert argv.parse(["state", ""]) == by_click(["state", ""]) == argv.parse(["state", ""])


def test_every_hot_command_has_a_table_row() -> None:
    assert {word for line in HOT for word in line.split() if word in COMMANDS} == set(argv.HOT)


def _written(option: Option) -> st.SearchStrategy[list[str]]:
    """Every way to write an option that the hot path has to understand."""
    if not option.metavar:
        return st.sampled_from(option.spellings).map(lambda spelling: [spelling])
    apart = st.tuples(st.sampled_from(option.spellings), VALUES).map(list)
    long = [spelling for spelling in option.spellings if spelling.startswith("--")]
    if not long:
        return apart
    return apart | st.tuples(st.sampled_from(long), VALUES).map(lambda pair: [f"{pair[0]}={pair[1]}"])


def _options(known: Sequence[Option]) -> st.SearchStrategy[list[str]]:
    if not known:
        return st.just([])
    one = st.one_of([_written(option) for option in known])
    return st.lists(one, max_size=5).map(lambda lists: [word for words in lists for word in words])


VALUES = st.text("ab9/=-. é\udcff", max_size=6)
PLAIN = VALUES.filter(lambda word: not word.startswith("-"))


@st.composite
def hot_lines(draw: st.DrawFn) -> list[str]:
    """A well-formed command line of a hot command."""
    name = draw(st.sampled_from(argv.HOT))
    command = COMMANDS[name]
    most = 4 if any("..." in word for word in command.arguments) else len(command.arguments)
    least = sum(not word.startswith("[") for word in command.arguments)
    arguments = draw(st.lists(PLAIN, min_size=least, max_size=most))
    return [*draw(_options(GLOBAL_OPTIONS)), name, *draw(_options(command.options)), *arguments]


@given(hot_lines())
def test_both_parsers_return_the_same_call(words: list[str]) -> None:
    call = argv.parse(words)
    assert call is not None
    assert call == by_click(words)


_SPELLINGS = sorted(
    {s for option in GLOBAL_OPTIONS for s in option.spellings}
    | {s for command in COMMANDS.values() for option in command.options for s in option.spellings}
)
_TOKENS = st.sampled_from(
    [*argv.HOT, *_SPELLINGS, "--", "-", "--root=", "--force=1", "-b=x", "-fx", "box", "9", "", "="]
)


@given(st.lists(_TOKENS, max_size=7))
def test_hot_parser_never_contradicts_click(words: list[str]) -> None:
    call = argv.parse(words)
    if call is not None:
        assert call == by_click(words)
