"""What a stress run has done so far, so that it goes on there after a kill. One line per item."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from medalpaca_data.ground.errors import UserError

Scores = tuple[tuple[float, ...], ...]


class Journal:
    """The items that one model has answered. `key` names the model and the way of asking.

    Raises UserError when the file at `path` is another model's.
    """

    def __init__(self, path: Path, key: str) -> None:
        self._path = path
        self._done: dict[str, Scores] = {}
        path.parent.mkdir(parents=True, exist_ok=True)
        whole = self._whole_lines()
        if whole and whole[0] != {"key": key}:
            raise UserError(
                f"{path}: belongs to an unfinished run of another model or with other settings; finish that one, "
                "remove the file, or give another --out"
            )
        if not whole:
            path.write_text(json.dumps({"key": key}) + "\n", encoding="utf-8")
        for line in whole[1:]:
            self._done[line["asked"]] = tuple(map(tuple, line["scores"]))

    def _whole_lines(self) -> list[dict[str, Any]]:
        """The lines of the file; what a kill left of a last one is cut off."""
        if not self._path.exists():
            return []
        content = self._path.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        if len(whole) < len(content):
            self._path.write_bytes(whole)
        try:
            return [dict(json.loads(line)) for line in whole.splitlines()]
        except (ValueError, TypeError):
            raise UserError(
                f"{self._path}: not the journal of a stress run; remove it or give another --out"
            ) from None

    def get(self, asked: str) -> Scores | None:
        """The scores of the item whose prompts and choices have the hash `asked`, if it was answered."""
        return self._done.get(asked)

    def add(self, found: Mapping[str, Scores]) -> None:
        """Write down answered items, by the hash of what was asked."""
        with self._path.open("a", encoding="utf-8") as file:
            for asked, scores in found.items():
                file.write(json.dumps({"asked": asked, "scores": scores}) + "\n")
        self._done |= found

    def remove(self) -> None:
        """When its run stands elsewhere, whole."""
        self._path.unlink()
