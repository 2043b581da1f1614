"""An argument whose words a shell offers."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Offered:
    """The type of an argument that is a file, or one of some words, which a shell offers."""

    words: Callable[[], Iterable[str]] = tuple
    read: Callable[[str], Any] = str

    def __call__(self, text: str) -> Any:
        return self.read(text)
