"""Journal of answers of a server: a JSON Lines file that survives `kill -9`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel

from medalpaca_data.core.errors import UserError
from medalpaca_data.core.files import parse_json
from medalpaca_data.core.typed import check_type

FORMAT = 1
REMEDY = "remove the file and run the command again"


class Line(BaseModel):
    """One answer of a server."""

    key: str
    answer: Any


class Journal:
    """Answers by key, appended to `path` at once. The first line has `identity`, the settings of the run.

    A last line that was not finished is removed. Raises UserError if the file has other settings.
    """

    def __init__(self, path: Path, identity: Mapping[str, Any]) -> None:
        self.answers: dict[str, Any] = {}
        path.parent.mkdir(parents=True, exist_ok=True)
        head = {"format": FORMAT, **identity}
        data = path.read_bytes() if path.is_file() else b""
        whole = data[: data.rfind(b"\n") + 1]
        lines = [_parse_line(path, n, line) for n, line in enumerate(whole.splitlines(), 1)]
        if lines and lines[0] != head:
            changed = [name for name in head if lines[0].get(name) != head[name]]
            raise UserError(
                f"{path}: an unfinished run with another {', '.join(changed)}; "
                "run its command again, or choose another --out"
            )
        for n, line in enumerate(lines[1:], 2):
            check_type(Line, line, f"{path} line {n}", REMEDY)
            self.answers[line["key"]] = line["answer"]
        self._file = path.open("r+b" if path.is_file() else "x+b")
        self._file.truncate(len(whole))
        self._file.seek(len(whole))
        if not lines:
            self._write(head)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def append(self, key: str, answer: Any) -> None:
        """Store one answer; it is in the file when this method returns."""
        self.answers[key] = answer
        self._write({"key": key, "answer": answer})

    def _write(self, line: Any) -> None:
        self._file.write(json.dumps(line, ensure_ascii=False).encode("utf-8", "replace") + b"\n")
        self._file.flush()


def _parse_line(path: Path, number: int, line: bytes) -> dict[str, Any]:
    try:
        value = parse_json(line.decode(), f"{path} line {number}")
    except UnicodeDecodeError:
        raise UserError(f"{path} line {number}: not UTF-8; {REMEDY}") from None
    if not isinstance(value, dict):
        raise UserError(f"{path} line {number}: not a JSON object; {REMEDY}")
    return value
