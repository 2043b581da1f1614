"""Read a report back, from its page or its JSON, and refuse what cannot be checked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from medalpaca_data.ground.errors import UserError
from medalpaca_data.ground.files import parse_json, read_text

from .figures import FORMAT
from .page import page, read_page

ITEM_TEXTS = ("item", "key", "prompt_sha256")


def read_report(path: Path) -> tuple[dict[str, Any], bool | None]:
    """The report at `path`, and whether its page is what the data inside it give (None: there is only JSON).

    Raises UserError when it is no report, one of another format, or lacks what the checks need.
    """
    html = path.suffix.lower() in (".html", ".htm")
    content = read_text(path)
    report = read_page(content, str(path)) if html else parse_json(content, str(path))
    if not isinstance(report, dict) or report.get("format") != FORMAT:
        older = isinstance(report, dict) and str(report.get("format")).startswith(FORMAT[:-1])
        hint = "; an older one has to be made again" if older else ""
        raise UserError(f"{path}: not an exam report of the format {FORMAT!r}{hint}")
    try:
        expected = page(report)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, ZeroDivisionError) as error:
        raise UserError(f"{path}: the report lacks a part or a part is of another kind ({error!r})") from None
    _refuse_incomplete(path, report)
    return report, expected == content if html else None


def _refuse_incomplete(path: Path, report: dict[str, Any]) -> None:
    """What the page does not show, or shows whatever it is, and the checks need."""
    for name in ("task", "filter"):
        if not isinstance(report["exam"].get(name), str):
            raise UserError(f"{path}: exam.{name} is not a text")
    for side in report["sides"]:
        files = report["files"].get(side)
        if not isinstance(files, list) or not files:
            raise UserError(f"{path}: names no files of {side}")
        if not all(isinstance(file[name], str) for file in files for name in ("path", "sha256")):
            raise UserError(f"{path}: a file of {side} lacks its path or hash")
    if not isinstance(report.get("items"), list):
        raise UserError(f"{path}: has no list of items")
    for entry in report["items"]:
        _refuse_incomplete_item(path, entry, list(report["sides"]))
    named = report.get("stress_at")
    if not isinstance(named, list) or not all(isinstance(at, str) for at in named):
        raise UserError(f"{path}: stress_at is not a list of paths")
    if not isinstance(report["stress"], list) or len(named) != len(report["stress"]):
        raise UserError(f"{path}: stress_at does not name the file of every stress result")
    if not all(isinstance(one.get("sha256"), str) for one in report["stress"]):
        raise UserError(f"{path}: a stress result lacks its hash")
    for name in ("rows", "exam_at"):
        if name not in report or not isinstance(report[name], str | None):
            raise UserError(f"{path}: {name} is not a path")


def _refuse_incomplete_item(path: Path, entry: Any, sides: list[str]) -> None:
    if not isinstance(entry, dict):
        raise UserError(f"{path}: an entry of items is no object")
    for name in ITEM_TEXTS:
        if not isinstance(entry.get(name), str):
            raise UserError(f"{path}: an entry of items lacks {name!r}")
    for side in sides:
        answer = entry["answers"].get(side) if isinstance(entry.get("answers"), dict) else None
        if not isinstance(answer, dict) or not isinstance(answer.get("sample_sha256"), str):
            raise UserError(f"{path}: item {entry['item']} lacks the answer of {side}")
