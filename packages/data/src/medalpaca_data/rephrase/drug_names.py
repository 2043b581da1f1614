"""Names of drugs in a text, by their stems and from a list: enough to see one that was made up, not a dictionary."""

from __future__ import annotations

import re
from importlib.resources import files

import yaml

_TABLE = yaml.safe_load(files(__package__).joinpath("drug_names.yaml").read_text(encoding="utf-8"))
NAMES = frozenset(_TABLE["names"])
# Three letters before a stem, so that April is no ACE inhibitor.
NAME = re.compile(rf"[a-z]{{3,}}(?:{'|'.join(_TABLE['ends'])})s?|(?:{'|'.join(_TABLE['begins'])})[a-z]{{3,}}")
WORD = re.compile(r"[a-z]+")


def drug_names(text: str) -> set[str]:
    """The words that are, or look like, names of drugs; lower case, without the s of a plural."""
    return {
        word.removesuffix("s")
        for word in set(WORD.findall(text.lower()))
        if word.removesuffix("s") in NAMES or NAME.fullmatch(word)
    }
