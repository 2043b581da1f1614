"""Command-line framework of all members: argument parsers, exit codes, consoles, shell completion.

Exit codes: 0 done, 1 a check failed, 2 bad input, 130 interrupted, 141 the reader of a pipe has ended. shtab writes
the completion script as text, so no Python process starts when a user presses Tab.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
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
from .offline import no_hub_kernels, seal_if_requested

if TYPE_CHECKING:
    from rich.console import Console


INTERRUPTED = 130
# 128 + SIGPIPE, as shells report it: the output is incomplete because its reader has ended (`| head`).
BROKEN_PIPE = 141


class Parser(argparse.ArgumentParser):
    """Argument parser that reports an invalid call in one line, without the usage text."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{self.prog}: {message} (see `{self.prog} --help`)")


def run(main: Callable[[Sequence[str]], int | None]) -> NoReturn:
    """Call `main` with the command-line arguments and exit with one of the exit codes above.

    Telemetry and kernel downloads of libraries are switched off, and sealed mode is switched on if it is requested,
    before `main` imports any library.
    """
    no_hub_kernels()
    try:
        seal_if_requested()
        code = main(sys.argv[1:]) or 0
        sys.stdout.flush()
    except UserError as error:
        print(f"error: {one_line(error)}", file=sys.stderr)  # noqa: T201
        code = error.exit_code
    except BrokenPipeError:
        code = _discard_output()
    except SystemExit as error:
        # rich turns a broken pipe into SystemExit.
        if not isinstance(error.__context__, BrokenPipeError):
            raise
        code = _discard_output()
    except OSError as error:
        # A full disk, a missing permission, a file where a directory is needed: not an error of the program.
        where = f"{error.filename}: " if error.filename else ""
        print(f"error: {where}{error.strerror or one_line(error)}", file=sys.stderr)  # noqa: T201
        code = UserError.exit_code
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)  # noqa: T201
        code = INTERRUPTED
    sys.exit(code)


def _discard_output() -> int:
    # Python flushes its buffers at exit; without this it would report the broken pipe again.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return BROKEN_PIPE


SHELLS = ("bash", "zsh", "fish")
# Help text of an argument that takes rows.
ROWS = "rows as .json, .jsonl, .csv or .parquet, or a Meadow directory (written by `data build`)"
# Line width for pipes and files, so that lines are never wrapped or cut there.
UNLIMITED_WIDTH = 10_000

# The type that add_subparsers returns has no public name.
Commands = argparse._SubParsersAction


class Command(Parser):
    """Parser of a command or sub-command whose help ends with examples."""

    def __init__(
        self, prog: str, description: str = "", examples: Sequence[str] = (), **settings: Any
    ) -> None:
        shown = "\n".join(
            ("examples:" if len(examples) > 1 else "example:", *(f"  {one}" for one in examples))
        )
        settings = {"epilog": shown if examples else None, "formatter_class": _Help} | settings
        super().__init__(prog=prog, description=description, **settings)

    def add_json(self) -> None:
        """Add the option `--json`."""
        self.add_argument("--json", action="store_true", help="print the result as one JSON document")

    def add_common(self, member: str, completed: Callable[[], Command] | None = None) -> None:
        """Add `--version`, of the distribution `member`, and `--print-completion`.

        `completed` returns the parser that the shell completes, if it is not this one.
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
            help=f"print the completion script of this command for a shell ({', '.join(SHELLS)}) and exit",
        )


def add_command(
    commands: Commands[Command], name: str, help: str, examples: Sequence[str], more: str = ""
) -> Command:
    """Add and return a sub-command. `help` is a phrase; `more` is added to the description of its own help."""
    description = f"{help[0].upper()}{help[1:]}." + (f" {more}" if more else "")
    return commands.add_parser(name, help=help, description=description, examples=examples)


def device_name(text: str) -> str:
    """Return the name of a torch device: the type of an argument. Raises ArgumentTypeError for another text."""
    if re.fullmatch(r"cpu|(?:cuda|mps)(?::\d+)?", text):
        return text
    raise argparse.ArgumentTypeError(f"{text!r} is not a device; allowed: cpu, cuda, cuda:N, mps")


def split_keys(overrides: Sequence[str], defaults: dict[str, str]) -> tuple[dict[str, str], list[str]]:
    """Return the values of the `key=value` texts whose key is in `defaults`, and all other texts."""
    values = dict(defaults)
    others = []
    for text in overrides:
        key, equals, value = text.partition("=")
        if equals and key in defaults:
            values[key] = value
        else:
            others.append(text)
    return values, others


def screen(*, stderr: bool = False, **settings: Any) -> Console:
    """Return a rich console without markup and emoji, and without line breaks if it writes to a pipe or file."""
    from rich.console import Console

    console = Console(stderr=stderr, **{"markup": False, "emoji": False} | settings)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = UNLIMITED_WIDTH
    return console


def wrapped(text: str, width: int | None = None, hang: int = 0) -> str:
    """Return `text` with lines wrapped at spaces to `width` (default: the width of the terminal).

    Continuation lines are indented by `hang` spaces. Longer words, such as paths, are not broken.
    """
    if width is None:
        is_terminal = sys.stdout.isatty() or "COLUMNS" in os.environ
        width = shutil.get_terminal_size().columns if is_terminal else UNLIMITED_WIDTH
    wrapper = textwrap.TextWrapper(
        max(width, hang + 20),
        break_long_words=False,
        break_on_hyphens=False,
        replace_whitespace=False,
        subsequent_indent=" " * hang,
    )
    return "\n".join(wrapper.fill(line) if len(line) > width else line for line in text.splitlines())


def print_json(value: Any) -> None:
    """Write `value` to standard output as indented JSON."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


class _Help(argparse.HelpFormatter):
    """Help formatter that wraps prose and keeps paragraphs of several lines, such as examples."""

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
        sys.stdout.write(completion_script(self.const() if self.const else parser, str(values)))
        raise SystemExit(0)


@dataclass(frozen=True)
class CompletedArgument:
    """Argument type: a file or one of some words, which the shell offers as completions."""

    words: Callable[[], Iterable[str]] = tuple
    read: Callable[[str], Any] = str

    def __call__(self, text: str) -> Any:
        return self.read(text)


# Additions for bash: no space after `out=`, whose value is a file, and files where no words are known.
BASH_SCRIPT = """

_medalpaca_{name}() {{
  if [[ "${{COMP_WORDS[COMP_CWORD]}}" == "=" || "${{COMP_WORDS[COMP_CWORD-1]}}" == "=" ]]; then
    COMPREPLY=()
    return 0
  fi
  _shtab_{name} "$@"
  if [[ ${{#COMPREPLY[@]}} == 1 && "${{COMPREPLY[0]}}" == *= ]]; then
    # Without this, bash would put a backslash before the =.
    compopt -o nospace +o filenames 2>/dev/null
  fi
  return 0
}}

complete -o bashdefault -o default -F _medalpaca_{name} {name}
"""


def completion_script(parser: argparse.ArgumentParser, shell: str) -> str:
    """Return the completion script of `parser` for `shell` (bash, zsh or fish)."""
    for action in _actions(parser):
        match action.type:
            case CompletedArgument() as name:
                action.complete = _words(list(name.words()))  # type: ignore[attr-defined]
            case kind if kind is Path:
                action.complete = shtab.FILE  # type: ignore[attr-defined]
    script = shtab.complete(parser, shell)
    return script + (BASH_SCRIPT.format(name=parser.prog) if shell == "bash" else "\n")


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    for action in parser._actions:
        yield action
        if isinstance(action, argparse._SubParsersAction):
            for inner in action.choices.values():
                yield from _actions(inner)


def _words(words: list[str]) -> dict[str, str | dict[str, str]]:
    """Return shtab's completion of `words` and files for each shell."""
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
