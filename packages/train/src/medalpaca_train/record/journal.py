"""`metrics.jsonl`: one line per step and per validation, as it happens. Numbers and row ids, never text."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from medalpaca_data.ground.files import write_text

from .trackers import Tracker


class Journal:
    """Appends to a run's `metrics.jsonl`, after cutting off what lies beyond `step` (work that a kill undid)."""

    def __init__(self, file: Path, step: int, trackers: Sequence[Tracker] = ()) -> None:
        self._trackers = trackers
        # From step 0 everything is done again, also the validation before the first step.
        kept = [line for line in read_journal(file) if line["step"] <= step] if step else []
        write_text(file, "".join(json.dumps(line) + "\n" for line in kept))
        self._stream = file.open("a", encoding="utf-8", buffering=1)

    def write(self, kind: str, **values: Any) -> None:
        """Add a line of `kind` (train, validation, stopped) with the time in Unix seconds."""
        self._stream.write(json.dumps({"kind": kind, **values, "time": round(time.time(), 3)}) + "\n")
        numbers = {f"{kind}/{key}": float(v) for key, v in values.items() if isinstance(v, int | float)}
        for track in self._trackers:
            track(values["step"], numbers)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stream.close()


class Unwritten:
    """The journal of a process that is not the first: nothing is kept."""

    def write(self, kind: str, **values: Any) -> None:
        """Nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing."""


def read_journal(file: Path) -> list[dict[str, Any]]:
    """The lines of a journal; a last line that a kill cut in half is left out. Empty when there is no file."""
    lines: list[dict[str, Any]] = []
    if not file.is_file():
        return lines
    for text in file.read_text(encoding="utf-8").splitlines():
        try:
            lines.append(json.loads(text))
        except json.JSONDecodeError:
            break
    return lines


def validation_at(file: Path, step: int) -> float | None:
    """The validation loss that the journal holds for `step`."""
    for line in read_journal(file):
        if line["kind"] == "validation" and line["step"] == step:
            return float(line["loss"])
    return None
