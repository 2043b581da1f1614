"""What all commands have in common: help that shows examples, `--json`, `--version`, and words for the shell."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import textwrap
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from .ground.command import Parser

if TYPE_CHECKING:
    from rich.console import Console

SHELLS = ("bash", "zsh", "fish")
WIDE = 10_000  # characters of a line where nobody looks: a pipe or a file is never cut

Commands = argparse._SubParsersAction  # private in name only: it is what add_subparsers returns


class Command(Parser):
    """A command, or one of its sub-commands; its help ends with examples."""

    def __init__(
        self, prog: str, description: str = "", examples: Sequence[str] = (), **settings: Any
    ) -> None:
        shown = "\n".join(
            ("examples:" if len(examples) > 1 else "example:", *(f"  {one}" for one in examples))
        )
        settings = {"epilog": shown if examples else None, "formatter_class": _Help} | settings
        super().__init__(prog=prog, description=description, **settings)

    def add_json(self) -> None:
        """`--json`, for scripts."""
        self.add_argument("--json", action="store_true", help="print one JSON document, and nothing else")

    def add_common(self, member: str, completed: Callable[[], Command] | None = None) -> None:
        """`--version`, of the package `member`, and `--print-completion`.

        The shell completes what `completed` makes, where that is not this command itself.
        """
        self.add_argument(
            "--version", action=_Version, nargs=0, const=member, help="print the version and exit"
        )
        self.add_argument(
            "--print-completion",
            action=_PrintCompletion,
            choices=SHELLS,
            const=completed,
            metavar="SHELL",
            help=f"print what makes a shell complete this command ({', '.join(SHELLS)}) and exit",
        )


def add_command(
    commands: Commands[Command], name: str, help: str, examples: Sequence[str], more: str = ""
) -> Command:
    """One more sub-command. `help` is a phrase; `more` is said of it only in its own help."""
    description = f"{help[0].upper()}{help[1:]}." + (f" {more}" if more else "")
    return commands.add_parser(name, help=help, description=description, examples=examples)


def screen(*, stderr: bool = False, **settings: Any) -> Console:
    """A console on which nothing is taken for markup or a picture, and nothing is wrapped where nobody looks at it."""
    from rich.console import Console

    made = Console(stderr=stderr, **{"markup": False, "emoji": False} | settings)
    if not made.is_terminal and "COLUMNS" not in os.environ:
        made.width = WIDE
    return made


def wrapped(text: str, width: int | None = None, hang: int = 0) -> str:
    """The text's lines, each broken at blanks to fit `width` (default: the terminal's), and what follows set in.

    A word that is longer, such as a path, stays whole.
    """
    if width is None:
        looked_at = sys.stdout.isatty() or "COLUMNS" in os.environ
        width = shutil.get_terminal_size().columns if looked_at else WIDE
    wrapper = textwrap.TextWrapper(
        max(width, hang + 20),
        break_long_words=False,
        break_on_hyphens=False,
        replace_whitespace=False,
        subsequent_indent=" " * hang,
    )
    return "\n".join(wrapper.fill(line) if len(line) > width else line for line in text.splitlines())


def print_json(value: Any) -> None:
    """The document that `--json` promises."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


class _Help(argparse.HelpFormatter):
    """Prose is wrapped; a paragraph of several lines, such as examples, stands as it is."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        paragraphs = text.strip("\n").split("\n\n")
        return "\n\n".join(
            one if "\n" in one else super(_Help, self)._fill_text(one, width, indent) for one in paragraphs
        )


class _Version(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        from importlib.metadata import version

        print(f"{parser.prog} {version(str(self.const))}")  # noqa: T201
        raise SystemExit(0)


class _PrintCompletion(argparse.Action):
    def __call__(
        self, parser: argparse.ArgumentParser, _: object, values: object, option: object = None
    ) -> NoReturn:
        from .completion import script

        sys.stdout.write(script(self.const() if self.const else parser, str(values)))
        raise SystemExit(0)
