"""The prompts: Markdown files with a head that says what is asked for, a system part and a user part."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field

from ..config import Config, load_config
from ..ground.errors import UserError, nearest
from ..ground.files import read_text, sha256_bytes
from ..row import TEXTS

PLACE = re.compile(r"\{(" + "|".join(TEXTS) + r")\}")
RULE = re.compile(r"^---[ \t]*$", re.MULTILINE)

Texts = Mapping[str, str]  # instruction, input, output


class Head(Config):
    """What stands between a prompt's first two rules."""

    asks: tuple[Literal["question", "answer"], ...] = Field(min_length=1)  # keys of the answer
    keeps_input: bool  # whether a row's input stays below the new question


@dataclass(frozen=True, slots=True)
class Prompt:
    """A published prompt; its SHA-256 is in the generator of every row that came of it."""

    name: str
    asks: tuple[str, ...]
    keeps_input: bool
    system: str
    user: str
    sha256: str

    def messages(self, texts: Texts) -> list[dict[str, str]]:
        """The chat that asks for one row."""
        asked = PLACE.sub(lambda place: texts[place[1]], self.user)
        return [{"role": "system", "content": self.system}, {"role": "user", "content": asked}]

    def response_format(self) -> dict[str, Any]:
        """The schema of the answer, as servers with structured output take it."""
        schema = {
            "type": "object",
            "properties": {name: {"type": "string"} for name in self.asks},
            "required": list(self.asks),
            "additionalProperties": False,
        }
        return {"type": "json_schema", "json_schema": {"name": "row", "strict": True, "schema": schema}}

    def applied(self, texts: Texts, answer: Mapping[str, str]) -> dict[str, str]:
        """The row's three texts with what a model answered."""
        return {
            "instruction": answer.get("question", texts["instruction"]),
            "input": texts["input"] if self.keeps_input else "",
            "output": answer.get("answer", texts["output"]),
        }


def builtin_prompts() -> list[str]:
    """Names of the prompts that come with the package."""
    entries = files(__package__).joinpath("prompts").iterdir()
    return sorted(entry.name.removesuffix(".md") for entry in entries if entry.name.endswith(".md"))


def load_prompt(name_or_path: str, root: Path) -> Prompt:
    """A prompt by its built-in name, or from a file (a relative path is taken from `root`)."""
    known = builtin_prompts()
    if name_or_path in known:
        path = Path(str(files(__package__).joinpath("prompts", f"{name_or_path}.md")))
        return _parse(name_or_path, read_text(path), f"prompt {name_or_path}")
    path = root / Path(name_or_path).expanduser()
    if not path.is_file():
        guess = nearest(name_or_path, known)
        hint = f"did you mean {guess!r}?" if guess else f"known: {', '.join(known)}"
        raise UserError(f"{name_or_path}: neither a prompt's name nor a file; {hint}")
    return _parse(path.name, read_text(path), str(path))


def _parse(name: str, text: str, where: str) -> Prompt:
    parts = [part.strip() for part in RULE.split(text.replace("\r\n", "\n"), maxsplit=3)]
    if len(parts) != 4 or parts[0]:
        raise UserError(f"{where}: a prompt is three parts under `---` each: head, system, user")
    _, head, system, user = parts
    try:
        value = yaml.safe_load(head)
    except yaml.YAMLError:
        value = None
    if not isinstance(value, dict):
        raise UserError(f"{where}: its head is not a mapping of keys to values")
    found = load_config(Head, value, where=where)
    if set(PLACE.findall(user)).isdisjoint(("instruction", "input")) or "{output}" not in user:
        raise UserError(f"{where}: its user part needs {{output}}, and {{instruction}} or {{input}}")
    return Prompt(name, found.asks, found.keeps_input, system, user, sha256_bytes("\n".join(parts).encode()))
