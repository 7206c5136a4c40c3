"""The argument parser in the user's language, and the texts generated from it."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from importlib import import_module
from itertools import pairwise
from typing import Any, NoReturn

from chatui import __version__
from chatui.cli.commands import COMMANDS, GENERAL, TOP, Option
from chatui.cli.exit_codes import SUCCESS, WRONG_USAGE, run_command
from chatui.cli.output import prepare_streams, write, write_stderr
from chatui.errors import ChatuiError
from chatui.locales import LANGUAGES, say, set_language
from chatui.settings import load_settings

_ARGPARSE_KEYS = {
    "usage: ": "usage",
    "options": "options",
    "positional arguments": "positional",
    "show this help message and exit": "help",
    "argument %(argument_name)s: %(message)s": "argument",
    "unrecognized arguments: %s": "unrecognized",
    "the following arguments are required: %s": "required",
    "expected one argument": "one",
    "expected at least one argument": "at_least_one",
    "invalid choice: %(value)r (choose from %(choices)s)": "choice",
    "ignored explicit argument %r": "explicit",
    "not allowed with argument %s": "conflict",
}


class _HelpFormatter(argparse.HelpFormatter):
    """Breaks lines by terminal cells and the rules of Chinese, and keeps the breaks of the text."""

    def _split_lines(self, text: str, width: int) -> list[str]:
        from chatui.tui.wrapping import row_starts

        return [
            line[start:end].rstrip()
            for line in text.strip().splitlines()
            for start, end in pairwise((0, *row_starts(line, width), len(line)))
        ]

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return "\n".join(indent + line for line in self._split_lines(text, width))


class Parser(argparse.ArgumentParser):
    """Reports wrong usage in one sentence that names ``--help``."""

    def __init__(self, **options: Any) -> None:
        super().__init__(formatter_class=_HelpFormatter, allow_abbrev=False, **options)

    def format_help(self) -> str:
        # argparse puts an ASCII colon behind the Chinese headings.
        return re.sub(r"(?m)(?<=[\u3400-\u9fff）]):$", "：", super().format_help())

    def error(self, message: str) -> NoReturn:
        write_stderr(say("cli.wrong_usage", prog=self.prog, message=message.rstrip(" .。")))
        self.exit(WRONG_USAGE)


def run(argv: Sequence[str] | None = None) -> int:
    """Run the command line ``argv`` (default: ``sys.argv``) and return the exit code."""
    prepare_streams()
    argv = sys.argv[1:] if argv is None else argv
    _choose_language(argv)
    try:
        args = build(argv).parse_args(argv)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else SUCCESS
    where = COMMANDS[args.command].run if args.command else "start_app.run"
    module, _, name = where.partition(".")

    def action() -> int:
        code: int = getattr(import_module(f"chatui.cli.{module}"), name)(args)
        return code

    return run_command(action, debug=args.debug)


def build(argv: Iterable[str]) -> argparse.ArgumentParser:
    """Build the parser for ``argv``; only the commands in it get their options."""
    # argparse translates its own sentences through gettext only.
    setattr(argparse, "_", _translate)  # noqa: B010
    parser = Parser(
        prog="chatui",
        description=say("cli.description"),
        epilog=say("cli.epilog"),
    )
    parser.add_argument(
        "--version",
        action="version",
        version=f"chatui {__version__}",
        help=say("cli.argparse.version"),
    )
    _add_options(parser, TOP)
    commands = parser.add_subparsers(
        dest="command", metavar=say("cli.command"), title=say("cli.commands"), parser_class=Parser
    )
    # The app starts without the parsers of the commands.
    for name, command in COMMANDS.items() if argv else ():
        child = commands.add_parser(
            name,
            help=say(f"commands.{name}.help"),
            description=say(f"commands.{name}.description"),
        )
        _add_options(child, (*GENERAL, *(command.options if name in argv else ())), name)
    return parser


def _add_options(
    parser: argparse.ArgumentParser, options: Iterable[Option], command: str = ""
) -> None:
    groups: dict[str, argparse._ActionsContainer] = {"": parser}
    for option in options:
        if option.group not in groups:
            title = say(f"cli.group.{option.group}")
            groups[option.group] = parser.add_argument_group(title)
        # Without the option after the command, its value from before the command is kept.
        kept: dict[str, Any] = {}
        if command and option in TOP:
            kept["default"] = argparse.SUPPRESS
        words = option.words
        text = say(f"cli.option.{words}" if option.is_shared else f"commands.{command}.{words}")
        groups[option.group].add_argument(*option.names, help=text, **option.more, **kept)


def _translate(text: str) -> str:
    key = _ARGPARSE_KEYS.get(text)
    return say(f"cli.argparse.{key}") if key else text


def _choose_language(argv: Sequence[str]) -> None:
    """Choose the language of ``--lang``, else of the settings, before anything is reported."""
    peek = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    peek.add_argument("--lang", choices=LANGUAGES)
    chosen = None
    with suppress(argparse.ArgumentError):
        chosen = peek.parse_known_args(argv)[0].lang
    if chosen is None:
        # Errors in the settings are reported by the command that needs them.
        with suppress(ChatuiError):
            chosen = load_settings().language
    set_language(chosen or "auto")


def man(_: argparse.Namespace) -> int:
    """Write the man page."""
    from argparse_manpage.manpage import Manpage

    facts = {
        "project_name": "chatui",
        "version": __version__,
        "description": say("cli.man.summary"),
        "manual_section": "1",
        "manual_title": "chatui",
    }
    page = str(Manpage(build(COMMANDS), facts))
    # The library recognises the word before a usage in English only.
    write(page.replace(say("cli.argparse.usage"), "") + "\n")
    return SUCCESS


def completion(args: argparse.Namespace) -> int:
    """Write a script that completes commands, options, models and files in a shell."""
    import shtab

    from chatui.catalog import library

    presets = sorted(preset.name for preset in library.load().listed)

    def add_values(parser: argparse.ArgumentParser) -> None:
        """Mark the arguments that take a preset or a file, in the attributes that shtab reads."""
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                for child in action.choices.values():
                    add_values(child)
            elif action.metavar in ("FILE", "PATH[@SCALE]"):
                action.complete = shtab.FILE  # type: ignore[attr-defined]
            elif action.metavar in ("REF", "NAME") and action.dest in ("model", "name"):
                action.choices = presets

    parser = build(COMMANDS)
    add_values(parser)
    write(shtab.complete(parser, shell=args.shell) + "\n")
    return SUCCESS
