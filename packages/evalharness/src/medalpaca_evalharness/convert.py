"""`exam import`: an exam in any layout becomes the project's own JSONL, and what cannot be scored is listed."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medalpaca_data.exams.exam import BUNDLED, Exam, judge, raw_exam
from medalpaca_data.exams.item import Item
from medalpaca_data.ground.errors import UserError
from medalpaca_data.ground.files import write_text

SHOWN = 20  # ids of one reason in the text


@dataclass(frozen=True, slots=True)
class Imported:
    """The exam as written, and what was left out: (id or place, step or None, reason)."""

    exam: Exam
    rejects: tuple[tuple[str, int | None, str], ...]
    out: Path
    rejects_file: Path


def import_exam(source: str, out: Path, *, images: str = "exclude") -> Imported:
    """Write the scorable items of `source` to `out`, which is the same exam with the same SHA-256.

    Rejects go to a file beside it. Raises UserError when nothing can be scored, or `out` is there already.
    """
    if out.suffix.lower() != ".jsonl":
        raise UserError(f"{out}: name a .jsonl file; what cannot be scored is listed beside it")
    beside = out.with_name(f"{out.stem}.rejects.jsonl")
    for file in (out, beside):
        if file.exists():
            raise UserError(f"{file}: is there already; choose another --out or remove it first")
    broken: list[tuple[str, str]] = []
    raw = raw_exam(source if source in BUNDLED else Path(source).expanduser(), broken)
    exam = judge(raw, images=images)
    rejects = (
        *((entry.id, entry.step, entry.reason) for entry in exam.excluded),
        *((place, None, reason) for place, reason in broken),
    )
    write_text(out, _lines(_record(item, raw.images) for item in exam.items))
    write_text(beside, _lines({"id": name, "step": step, "reason": why} for name, step, why in rejects))
    return Imported(exam, rejects, out, beside)


def as_json(found: Imported) -> dict[str, Any]:
    """For programs."""
    return {
        "out": str(found.out),
        "items": len(found.exam.items),
        "sha256": found.exam.sha256,
        "source_sha256": found.exam.source_sha256,
        "rejects": [{"id": name, "step": step, "reason": why} for name, step, why in found.rejects],
        "warnings": list(found.exam.warnings),
    }


def as_text(found: Imported) -> str:
    """For people; no item's text."""
    lines = [
        f"written   {found.out}",
        f"items     {len(found.exam.items)}",
        f"sha256    {found.exam.sha256}",
        f"rejected  {len(found.rejects)} (listed in {found.rejects_file})",
    ]
    reasons: dict[str, list[str]] = {}
    for name, _, why in found.rejects:
        reasons.setdefault(why, []).append(name)
    for why, names in reasons.items():
        more = ", ..." if len(names) > SHOWN else ""
        lines.append(f"  {len(names)} ({why}): {', '.join(names[:SHOWN])}{more}")
    lines += [f"warning   {warning}" for warning in found.exam.warnings]
    return "\n".join(lines)


def _record(item: Item, images: frozenset[str]) -> dict[str, Any]:
    record: dict[str, Any] = {"id": item.id, "step": item.step, "subject": item.subject}
    record |= {"question": item.question, "options": dict(item.options), "answer": item.answer}
    if item.id in images:  # kept on request: read back, it needs a picture still
        record["image"] = item.image or "listed"
    return {name: value for name, value in record.items() if value is not None}


def _lines(records: Any) -> str:
    return "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
