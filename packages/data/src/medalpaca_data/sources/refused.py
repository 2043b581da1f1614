"""A part of a published mix that is refused: it stands in the recipe and in the account, and brings no row."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar, Literal

from .base import About, BaseSource, Record


class Refused(BaseSource):
    """`why` is told wherever the mix is shown."""

    about: ClassVar[About] = About(
        title="a part of a published mix that must not be trained on, named so that the account is complete",
        format="none",
        get="nothing to get",
        licence="none",
        size="0",
        rows="0",
        default=False,
    )

    kind: Literal["refused"] = "refused"
    why: str

    def files(self, root: Path) -> list[Path]:
        return []

    def records(self, root: Path, seed: int = 0) -> Iterator[Record]:
        return iter(())
