"""The command line for people: click commands made from the grammar; each makes a Call and performs it."""

from __future__ import annotations

import functools
import sys
import textwrap
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem, get_completion_class

from scrun import __version__, completion, version_text
from scrun.grammar import COMMANDS, FOR_PEOPLE, GLOBAL_OPTIONS, NOT_SUPPORTED, Call, Command, Option

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_CONTEXT = {"help_option_names": ["-h", "-?", "--help", "--usage"], "max_content_width": 100}
_GROUPS = {"lua": "Commands for authors of hook scripts."}
_COMPLETE = "_SCRUN_COMPLETE"  # the variable by which a shell asks for completions; click derives the name


def main(argv: Sequence[str], perform: Callable[[Call], int]) -> int:
    """Parse the command line with click, and perform the call; return the exit status.

    Args:
        argv: the words after the program's name.
        perform: performs a call; :func:`scrun.__main__.execute`.
    """
    try:
        return int(program(perform).main(list(argv), "scrun", standalone_mode=False) or 0)
    except _NothingSaid as error:
        sys.stderr.write(error.help)
        return 1
    except click.UsageError as error:
        where = error.ctx.command_path if error.ctx else "scrun"
        what, _, meant = error.format_message().rstrip(".").partition(". Did you mean ")
        hint = f"did you mean {meant} see" if meant else "see"
        sys.stderr.write(f"scrun: {what[:1].lower()}{what[1:]}: {hint} {where} --help\n")
        return 1
    except click.Abort:
        return 130


class _NothingSaid(click.UsageError):
    """A command line without a command; ``help`` is the help text."""

    def __init__(self, ctx: click.Context) -> None:
        super().__init__("no command is named", ctx)
        self.help = f"{ctx.get_help()}\n"


class _Group(click.Group):
    """A group of commands, each of which is made when it is asked for: to make all of them takes 3 ms more.

    Without a command it prints the help on standard error; for click 8.1 that is a success.
    """

    def __init__(self, name: str, **settings: Any) -> None:
        super().__init__(name, **settings)
        self._makers: dict[str, Callable[[], click.Command]] = {}

    def offer(self, name: str, make: Callable[[], click.Command]) -> None:
        """Add a command, which is made when it is asked for."""
        self._makers[name] = make

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names of all commands."""
        return sorted({*self._makers, *super().list_commands(ctx)})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name, if there is one."""
        # If there is none, click looks among all of them for what may be meant.
        for name in [cmd_name] if cmd_name in {*self._makers, *self.commands} else [*self._makers]:
            if make := self._makers.pop(name, None):
                self.add_command(make(), name)
        return super().get_command(ctx, cmd_name)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the words, or raise _NothingSaid."""
        if not args and not ctx.resilient_parsing:
            raise _NothingSaid(ctx)
        return super().parse_args(ctx, args)


def program(perform: Callable[[Call], int]) -> click.Group:
    """Make the click program."""
    group = _Group(
        "scrun",
        help="Run OCI containers as Slurm jobs: an OCI runtime for docker, podman and the shell.",
        epilog=f"{_said_once(GLOBAL_OPTIONS)}Not supported: {', '.join(NOT_SUPPORTED)}.",
        params=_options(GLOBAL_OPTIONS),
        context_settings=_CONTEXT,
        callback=_remember_globals,
    )
    group.params.append(click.Option(["-v", "verbose"], count=True, help=FOR_PEOPLE[0].help))
    group = click.version_option(__version__, "--version", "-V", message=version_text())(group)
    for name, command in COMMANDS.items():
        first, _, second = name.rpartition(" ")
        owner = _group(group, first) if first else group
        owner.offer(second, functools.partial(_command, name, command, perform))
    for name in NOT_SUPPORTED:
        group.offer(name, functools.partial(_not_supported, name, perform))
    return group


def completion_script(shell: str) -> str:
    """The script that makes a shell complete scrun's command lines; the shell then asks scrun itself."""
    kind = get_completion_class(shell)
    assert kind is not None
    if shell == "bash":  # click's would ask bash for its version
        kind = type("Bash", (kind,), {"_check_version": staticmethod(lambda: None)})
    return kind(program(lambda _call: 0), {}, "scrun", _COMPLETE).source() + "\n"


def _offer(what: str | tuple[str, ...], incomplete: str) -> list[CompletionItem]:
    if isinstance(what, str):
        return [CompletionItem(incomplete, type=what)]
    return [CompletionItem(word) for word in what if word.startswith(incomplete)]


def _group(program: click.Group, name: str) -> _Group:
    """The click group for commands of two words, e.g. ``lua check``."""
    if name not in program.commands:
        program.add_command(_Group(name, help=_GROUPS[name], context_settings=_CONTEXT))
    group = program.commands[name]
    assert isinstance(group, _Group)
    return group


def _remember_globals(verbose: int, **options: Any) -> None:
    import os

    if verbose:
        os.environ["SCRUN_STDERR_DEBUG"] = ("info", "verbose", "debug", "debug2", "debug3", "debug4", "debug5")[
            min(verbose, 7) - 1
        ]
    click.get_current_context().obj = options


def _command(name: str, command: Command, perform: Callable[[Call], int]) -> click.Command:
    arguments = [word.strip("[.]").replace("-", "_") for word in command.arguments]

    def callback(**options: Any) -> int:
        words: tuple[str, ...] = ()
        for value in (options.pop(argument) for argument in arguments):
            words += value if isinstance(value, tuple) else () if value is None else (value,)
        return perform(Call(name, click.get_current_context().find_root().obj, options, words))

    parameters: list[click.Parameter] = [*_options(command.options)]
    parameters += [
        click.Argument(
            [argument],
            required=not word.startswith("["),
            nargs=-1 if "..." in word else 1,
            metavar=word.upper(),
            shell_complete=_complete_argument,
        )
        for argument, word in zip(arguments, command.arguments, strict=True)
    ]
    takes_the_rest = any("..." in word for word in command.arguments)
    settings: dict[str, Any] = {**_CONTEXT, "allow_interspersed_args": not takes_the_rest}
    return click.Command(
        name,
        help=command.help,
        epilog=_said_once(command.options),
        params=parameters,
        callback=callback,
        context_settings=settings,
    )


def _not_supported(name: str, perform: Callable[[Call], int]) -> click.Command:
    """A hidden command that takes all words, also --help, as arguments."""

    def callback(words: tuple[str, ...]) -> int:
        return perform(Call(name, click.get_current_context().find_root().obj, {}, words))

    words = click.Argument(["words"], nargs=-1, type=click.UNPROCESSED)
    settings: dict[str, Any] = {"help_option_names": [], "ignore_unknown_options": True}
    return click.Command(name, params=[words], callback=callback, context_settings=settings, hidden=True)


def _complete_argument(context: click.Context, argument: click.Parameter, incomplete: str) -> list[CompletionItem]:
    name = str(argument.name).replace("_", "-")
    return _offer(completion.of_argument(name, context.find_root().params), incomplete)


def _alike(options: Sequence[Option]) -> dict[str, list[Option]]:
    """Group options that share one help text, by that text, if there are more than two."""
    by_help: dict[str, list[Option]] = {}
    for option in options:
        by_help.setdefault(option.help, []).append(option)
    return {text: alike for text, alike in by_help.items() if len(alike) > 2}


def _said_once(options: Sequence[Option]) -> str:
    """Paragraphs below the table of options, for options that share one help text and aren't in the table."""
    paragraphs = (
        f"{text[:1].upper()}{text[1:]}: {', '.join(option.spellings[0] for option in alike)}."
        for text, alike in _alike(options).items()
    )
    # \b: otherwise click breaks lines at the hyphens of an option.
    return "".join(f"\b\n{textwrap.fill(text, 76, break_on_hyphens=False)}\n\n" for text in paragraphs)


def _options(options: Sequence[Option]) -> list[click.Option]:
    alike = _alike(options)
    return [_option(option, hidden=option.help in alike) for option in options]


def _option(option: Option, *, hidden: bool) -> click.Option:
    words = [option.name, *option.spellings]
    if option.metavar:
        known = completion.of_option(option.metavar)
        return click.Option(
            words,
            metavar=option.metavar,
            help=option.help,
            multiple=option.repeats,
            hidden=hidden,
            shell_complete=lambda _context, _option, incomplete: _offer(known, incomplete),
        )
    return click.Option(words, is_flag=True, help=option.help, hidden=hidden)
