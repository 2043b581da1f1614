"""Command-line framework of all packages of the project: argument parsers, exit codes, consoles, shell completion.

Exit codes: 0 success; 1 a check failed, or an unexpected exception; 2 bad input, or an error of the file system; 130
interrupted; 141 the reader of the output has ended. shtab writes the completion script as text, so no Python process
starts when a user presses Tab.
"""

from __future__ import annotations

import argparse
import hashlib
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
from .untrusted import json_text, printable

if TYPE_CHECKING:
    from rich.console import Console


INTERRUPTED = 130
# 128 + SIGPIPE, as shells report it: the output is incomplete because its reader has ended (`| head`).
BROKEN_PIPE = 141


class Parser(argparse.ArgumentParser):
    """Argument parser that raises UserError for an invalid call, instead of printing the usage text and exiting."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{self.prog}: {message} (see `{self.prog} --help`)")


def run(main: Callable[[Sequence[str]], int | None]) -> NoReturn:
    """Call `main` with the command-line arguments and exit with its code, None as 0, or the code of its error.

    Before the call, telemetry and kernel downloads of libraries are switched off. Sealed mode is switched on if
    `MEDALPACA_SEALED` is on. UserError, OSError and an interrupt are printed to standard error in one line. Other
    exceptions propagate.
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
        print(f"error: {printable(where)}{error.strerror or one_line(error)}", file=sys.stderr)  # noqa: T201
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
ROWS = (
    "file of rows (.json, .jsonl, .ndjson, .csv, .tsv or .parquet; text also with .gz), or a Meadow directory "
    "(written by `data build`)"
)
# Line width for pipes and files, so that no line of usual length is wrapped or cut there.
UNLIMITED_WIDTH = 10_000

# The type that add_subparsers returns has no public name.
Commands = argparse._SubParsersAction


class Command(Parser):
    """Parser of a command or sub-command whose help ends with `examples`.

    `settings` are keyword arguments of `argparse.ArgumentParser`; they replace the epilog and the help formatter.
    """

    def __init__(
        self, prog: str, description: str = "", examples: Sequence[str] = (), **settings: Any
    ) -> None:
        shown = "\n".join(
            ("examples:" if len(examples) > 1 else "example:", *(f"  {one}" for one in examples))
        )
        settings = {"epilog": shown if examples else None, "formatter_class": _Help} | settings
        super().__init__(prog=prog, description=description, **settings)

    def add_json(self) -> None:
        """Add the option `--json`, which sets `args.json` to true."""
        self.add_argument("--json", action="store_true", help="print the result as one JSON document")

    def add_common(self, member: str, completed: Callable[[], Command] | None = None) -> None:
        """Add `--version`, which prints the version of the distribution `member`, and `--print-completion`.

        `completed` returns the parser whose arguments the shell completes; None stands for this parser.
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
    """Add a sub-command to `commands` and return its parser.

    `help` is a phrase without a full stop, for the list of commands. The help of the sub-command begins with this
    phrase as a sentence, followed by `more`.
    """
    description = f"{help[0].upper()}{help[1:]}." + (f" {more}" if more else "")
    return commands.add_parser(name, help=help, description=description, examples=examples)


def device_name(text: str) -> str:
    """Return the name of a torch device: the type of an argument. Raises ArgumentTypeError for another text."""
    if re.fullmatch(r"cpu|(?:cuda|mps)(?::\d+)?", text):
        return text
    raise argparse.ArgumentTypeError(f"{text!r} is not a device; allowed: cpu, cuda, cuda:N, mps")


def split_keys(overrides: Sequence[str], defaults: dict[str, str]) -> tuple[dict[str, str], list[str]]:
    """Return `defaults`, updated with the `key=value` texts that have one of its keys, and all other texts in order.

    If a key is repeated, its last value is used.
    """
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
    """Return a rich console for standard output, or for standard error, without markup and emoji.

    Text is printed as `printable` returns it, so that a row cannot send commands to the terminal. For a pipe or file,
    its width is `UNLIMITED_WIDTH`, unless the variable COLUMNS is set. `settings` are keyword arguments of
    `rich.console.Console` and take precedence.
    """
    from rich.console import Console
    from rich.segment import Segment

    class PlainConsole(Console):
        # Not `render`, whose results are cut to a width that is measured before.
        def _render_buffer(self, buffer: Iterable[Segment]) -> str:
            return super()._render_buffer(
                Segment(text if control else printable(text), style, control)
                for text, style, control in buffer
            )

    console = PlainConsole(stderr=stderr, **{"markup": False, "emoji": False} | settings)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = UNLIMITED_WIDTH
    return console


def wrapped(text: str, width: int | None = None, hang: int = 0) -> str:
    """Return `text` with lines wrapped at spaces to `width` characters, or to `hang` + 20 if that is more.

    The default is the width of the terminal or the variable COLUMNS, and `UNLIMITED_WIDTH` for a pipe or file.
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
    """Write `value` to standard output as indented JSON with a final newline."""
    sys.stdout.write(json_text(value) + "\n")


def print_text(*lines: str) -> None:
    """Write `lines` to standard output at once, as `printable` returns them, also into a pipe."""
    sys.stdout.write("".join(printable(line) + "\n" for line in lines))
    sys.stdout.flush()


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
    """Argument type for which the shell completes words and file names.

    `words` returns the words, and `read` converts the text of the argument. Any text is accepted.
    """

    words: Callable[[], Iterable[str]] = tuple
    read: Callable[[str], Any] = str

    def __call__(self, text: str) -> Any:
        return self.read(text)


# Additions for bash: no space after a key such as `out=`, and file names after "=" and where no word fits.
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
    """Return the completion script of `parser` for `shell` (bash, zsh or fish).

    Sets the attribute `complete`, which shtab reads, of the arguments of type `CompletedArgument` or `Path`.
    """
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
    """Return the value of shtab's attribute `complete` that offers `words` and files, or only files without words."""
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
