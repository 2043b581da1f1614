"""Names that nobody bears, made of syllables: what they replace cannot be guessed from them, and a check knows them."""

from __future__ import annotations

import re

HEADS = [
    "Bralv", "Cromd", "Drelk", "Fruv", "Glanv", "Jorv", "Krolb", "Lurd", "Morv", "Nelv", "Plav", "Quilb", "Rolv",
    "Sorb", "Trolv", "Vulb", "Wrenv", "Yolv", "Zelb", "Skelv",
]  # fmt: skip
TAILS = [
    "ado", "ambrix", "anto", "eddo", "elno", "emlo", "endix", "erno", "iddo", "ilmo", "imbo", "inno", "orro",
    "oddo", "ombix", "ulvo", "undo", "urno",
]  # fmt: skip
COINED = re.compile(rf"(?:(?:{'|'.join(HEADS)})(?:{'|'.join(TAILS)}))+", re.IGNORECASE)


def coin(draw: int) -> str:
    """The name of that number; from 360 on they have two parts, and so on without end."""
    draw, tail = divmod(draw, len(TAILS))
    more, head = divmod(draw, len(HEADS))
    name = HEADS[head] + TAILS[tail]
    return name + coin(more - 1).lower() if more else name


FEW = len(HEADS) * len(TAILS)


def is_coined(word: str) -> bool:
    """Whether a word is such a name, in capitals or not."""
    return COINED.fullmatch(word) is not None
