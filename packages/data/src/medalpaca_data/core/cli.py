"""How every command of ours is called and ends: one line for what is bad, an exit code that a script can trust.

What all commands have in common: help that shows examples, `--json`, `--version`, and words for the shell.

`--print-completion`: what makes bash, zsh or fish complete a command.

shtab writes it once, as text: at a Tab no Python starts.

An argument whose words a shell offers.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from shlex import join
from typing import TYPE_CHECKING, Any, NoReturn

import shtab

from .errors import UserError, one_line
from .offline import no_hub_kernels, seal_if_asked

if TYPE_CHECKING:
    from rich.console import Console


INTERRUPTED = 130
UNHEARD = 141  # 128 + SIGPIPE, as of any program whose reader leaves: whoever asks for it knows that not all was said


class Parser(argparse.ArgumentParser):
    """An argument parser that reports a bad call in one line instead of the whole usage."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{self.prog}: {message} (see `{self.prog} --help`)")


def run(main: Callable[[Sequence[str]], int | None]) -> NoReturn:
    """Call `main` with the command line and exit: 0 done, 1 check failed, 2 bad input, 130 interrupted, 141 when the
    reader of what is printed (`| head`) has left.

    Before `main` imports anything, libraries are told to report nothing and to fetch no kernels, and with
    `MEDALPACA_SEALED=1` the guard is on. An invalid value of that switch is bad input.
    """
    no_hub_kernels()
    try:
        seal_if_asked()
        code = main(sys.argv[1:]) or 0
        sys.stdout.flush()
    except UserError as error:
        print(f"error: {one_line(error)}", file=sys.stderr)  # noqa: T201 - the one place that speaks
        code = error.exit_code
    except BrokenPipeError:
        code = _unheard()
    except SystemExit as error:
        # What rich makes of the same.
        if not isinstance(error.__context__, BrokenPipeError):
            raise
        code = _unheard()
    except OSError as error:
        # A full disk, a missing permission, a file in a directory's place: the user's to put right, not ours.
        where = f"{error.filename}: " if error.filename else ""
        print(f"error: {where}{error.strerror or one_line(error)}", file=sys.stderr)  # noqa: T201
        code = UserError.exit_code
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)  # noqa: T201
        code = INTERRUPTED
    sys.exit(code)


def _unheard() -> int:
    """Nobody reads on: nothing more is said, not even by Python when it empties its buffers at the end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return UNHEARD


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

        sys.stdout.write(script(self.const() if self.const else parser, str(values)))
        raise SystemExit(0)


@dataclass(frozen=True)
class Offered:
    """The type of an argument that is a file, or one of some words, which a shell offers."""

    words: Callable[[], Iterable[str]] = tuple
    read: Callable[[str], Any] = str

    def __call__(self, text: str) -> Any:
        return self.read(text)


# bash: no blank behind `out=`, whose value is a file; and where nothing is known, files.
BASH = """

_medalpaca_{name}() {{
  if [[ "${{COMP_WORDS[COMP_CWORD]}}" == "=" || "${{COMP_WORDS[COMP_CWORD-1]}}" == "=" ]]; then
    COMPREPLY=()
    return 0
  fi
  _shtab_{name} "$@"
  if [[ ${{#COMPREPLY[@]}} == 1 && "${{COMPREPLY[0]}}" == *= ]]; then
    compopt -o nospace +o filenames 2>/dev/null  # else the = would get a backslash
  fi
  return 0
}}

complete -o bashdefault -o default -F _medalpaca_{name} {name}
"""


def script(parser: argparse.ArgumentParser, shell: str) -> str:
    """The script for `shell`, to be sourced or put where it looks."""
    for action in _actions(parser):
        match action.type:
            case Offered() as name:
                action.complete = _words(list(name.words()))  # type: ignore[attr-defined]
            case kind if kind is Path:
                action.complete = shtab.FILE  # type: ignore[attr-defined]
    made = shtab.complete(parser, shell)
    return made + (BASH.format(name=parser.prog) if shell == "bash" else "\n")


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    for action in parser._actions:
        yield action
        if isinstance(action, argparse._SubParsersAction):
            for inner in action.choices.values():
                yield from _actions(inner)


def _words(words: list[str]) -> dict[str, str | dict[str, str]]:
    """How each shell offers `words` beside files."""
    if not words:
        return shtab.FILE
    name = f"_medalpaca_words_or_file_{hashlib.sha256(repr(words).encode()).hexdigest()[:8]}"
    keys, others = [word for word in words if word.endswith("=")], [w for w in words if not w.endswith("=")]
    bash = f'{name}() {{\n  compgen -W {join([join(words)])} -- "$1"\n  compgen -f -- "$1"\n}}'
    zsh = [f"{name}() {{"]
    zsh += ["  if compset -P '*='; then", "    _files", "    return", "  fi"]
    zsh += [f"  compadd -S '' -- {join(keys)}"] if keys else []
    zsh += [f"  compadd -- {join(others)}"] if others else []
    zsh += ["  _files", "}"]
    return {
        "bash": name,
        "zsh": name,
        "fish": f"{join(words)} (__fish_complete_path (commandline -ct))",
        "preamble": {"bash": bash, "zsh": "\n".join(zsh)},
    }
