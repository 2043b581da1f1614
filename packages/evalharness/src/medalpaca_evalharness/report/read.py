"""Read a report back from its page or its JSON, check that it is complete, and that the two agree."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jinja2 import TemplateError

from medalpaca_data.core.errors import UserError
from medalpaca_data.core.files import parse_json, read_text

from ..stress.figures import find_differences
from .figures import FORMAT, OLDER_FORMATS
from .page import read_page, render_page

PAGE_SUFFIXES = (".html", ".htm")
ITEM_TEXTS = ("item", "key", "prompt_sha256")
# What a damaged report raises when its page is rendered.
RENDER_ERRORS = (
    AttributeError,
    IndexError,
    KeyError,
    TemplateError,
    TypeError,
    ValueError,
    ZeroDivisionError,
)


def other_file(path: Path) -> Path | None:
    """Return the JSON beside the page at `path`, or the page beside the JSON; None if there is none."""
    suffixes = (".json",) if path.suffix.lower() in PAGE_SUFFIXES else PAGE_SUFFIXES
    return next((file for suffix in suffixes if (file := path.with_suffix(suffix)).is_file()), None)


def find_contradiction(other: Path, path: Path, report: dict[str, Any]) -> str | None:
    """Return how the file `other` contradicts the report of `path`; None if it holds the same report."""
    try:
        content, page_matches = read_report(other)
    except UserError as error:
        return str(error)
    if content != report:
        differences = list(find_differences(content, report))
        more = f" (and {len(differences) - 1} more)" if len(differences) > 1 else ""
        difference = differences[0].replace("recomputed", f"in {path.name}") if differences else "its keys"
        return f"{other.name} does not hold the report of {path.name}: {difference}{more}"
    if page_matches is False:
        return f"{other.name} does not show the data inside it: it was edited"
    return None


def read_report(path: Path) -> tuple[dict[str, Any], bool | None]:
    """Return a report of this format or of an older one, and whether its page shows the data inside it.

    The second value is None where this is not compared: for JSON, and for an older format. Raises UserError if
    the file is not a report, has another format, or lacks a part.
    """
    is_html = path.suffix.lower() in PAGE_SUFFIXES
    content = read_text(path)
    report = read_page(content, str(path)) if is_html else parse_json(content, str(path))
    stored = report.get("format") if isinstance(report, dict) else None
    if stored not in (FORMAT, *OLDER_FORMATS):
        stated = "no format" if stored is None else f"the format {stored!r}"
        raise UserError(
            f"{path}: not an exam report: it has {stated}; readable: {', '.join((FORMAT, *OLDER_FORMATS))}; "
            "create the report again with `exam report`"
        )
    try:
        expected = render_page(report)
    except RENDER_ERRORS as error:
        raise UserError(
            f"{path}: the report lacks a part, or a part has the wrong type ({error!r}); "
            "create the report again with `exam report`"
        ) from None
    _require_complete(path, report)
    return report, expected == content if is_html and stored == FORMAT else None


def _require_complete(path: Path, report: dict[str, Any]) -> None:
    """Raise UserError if a part is missing that the verification needs and rendering does not."""
    for name in ("task", "filter"):
        if not isinstance(report["exam"].get(name), str):
            raise UserError(f"{path}: exam.{name} is not a text")
    for side in report["sides"]:
        files = report["files"].get(side)
        if not isinstance(files, list) or not files:
            raise UserError(f"{path}: files.{side} is empty or not a list")
        if not all(isinstance(file[name], str) for file in files for name in ("path", "sha256")):
            raise UserError(f"{path}: an entry of files.{side} lacks its path or sha256")
    if not isinstance(report.get("items"), list):
        raise UserError(f"{path}: items is missing or not a list")
    for entry in report["items"]:
        _require_complete_item(path, entry, list(report["sides"]))
    stress_files = report.get("stress_at")
    if not isinstance(stress_files, list) or not all(isinstance(file, str) for file in stress_files):
        raise UserError(f"{path}: stress_at is not a list of paths")
    if not isinstance(report["stress"], list) or len(stress_files) != len(report["stress"]):
        raise UserError(f"{path}: stress_at does not name one file for every stress result")
    if not all(isinstance(one.get("sha256"), str) for one in report["stress"]):
        raise UserError(f"{path}: an entry of stress lacks its sha256")
    for name in ("rows", "exam_at"):
        if name not in report or not isinstance(report[name], str | None):
            raise UserError(f"{path}: {name} is not a path")


def _require_complete_item(path: Path, entry: Any, sides: list[str]) -> None:
    if not isinstance(entry, dict):
        raise UserError(f"{path}: an entry of items is not an object")
    for name in ITEM_TEXTS:
        if not isinstance(entry.get(name), str):
            raise UserError(f"{path}: an entry of items lacks {name!r}")
    for side in sides:
        answer = entry["answers"].get(side) if isinstance(entry.get("answers"), dict) else None
        if not isinstance(answer, dict) or not isinstance(answer.get("sample_sha256"), str):
            raise UserError(f"{path}: item {entry['item']} lacks the answer of {side}")
