"""`--print-completion`: what makes bash, zsh or fish complete a command.

shtab writes it once, as text: at a Tab no Python starts.
"""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Iterator
from pathlib import Path
from shlex import join

import shtab

from .offered import Offered

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
