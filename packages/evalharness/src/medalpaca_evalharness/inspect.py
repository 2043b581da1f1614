"""What an exam holds, before anybody is asked: counts, exclusions, chance, balance of the key, and what looks wrong.

`exam import`: an exam in any layout becomes the project's own JSONL, and what cannot be scored is listed.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medalpaca_data.check import HALF
from medalpaca_data.core.errors import UserError
from medalpaca_data.core.files import write_text
from medalpaca_data.exams.contamination import coverage
from medalpaca_data.exams.exam import BUNDLED, Exam, exclude_unscorable, raw_exam
from medalpaca_data.exams.item import Item

# An option's letter in the middle of a text, as files have it whose options were not told apart.
_OTHER_OPTION = re.compile(
    r"(?:\banswer\s+|\boption\s+|\n\s*\(?)[A-Z]\s*[:.)]\s*\S|\n.*\bquestions?\b", re.IGNORECASE
)
_REFERS_TO_IMAGE = re.compile(
    r"\b(?:(?:shown|seen|depicted|marked|labell?ed|indicated|displayed)\b[^.?]{0,60}\b(?:image|figure|photograph|picture|"
    r"diagram|graph|drawing|tracing|pedigree|micrograph|arrows?|radiograph|scan|letter)"
    r"|(?:image|figure|photograph|photomicrograph|picture|diagram|graph|drawing|tracing|pedigree|arrow|exhibit|"
    r"electrocardiogram|ecg|radiograph|x-ray|scan|specimen)s?\b(?:[^.?]{0,60}\b(?:is|are))?\s+(?:shown|depicted|displayed)"
    r"|\b(?:following|accompanying)\s+(?:image|figure|photograph|picture|diagram|graph|exhibit))\b",
    re.IGNORECASE,
)
LONG_OPTION = 400  # characters: more than an option ever has


def inspect_exam(exam: Exam, other: Exam | None = None) -> dict[str, Any]:
    """Counts by name. `read` is `scorable` plus all `excluded`; `chance` the mean of 1/k over items.

    With `other`, the items of which half or more of the question's word 13-grams stand in one item of it.
    """
    excluded: dict[str, list[str]] = {}
    for entry in exam.excluded:
        excluded.setdefault(entry.reason, []).append(entry.id)
    steps: Counter[int | None] = Counter(item.step for item in exam.items)
    longest = [item.id for item in exam.items if _key_is_longest(item)]
    return {
        "exam": exam.name,
        "sha256": exam.sha256,
        "source_sha256": exam.source_sha256,
        "read": exam.read,
        "scorable": len(exam.items),
        "scorable_by_step": {
            "none" if step is None else str(step): steps[step] for step in sorted(steps, key=str)
        },
        "subjects": dict(sorted(Counter(item.subject for item in exam.items if item.subject).items())),
        "excluded": excluded,
        "options": dict(sorted(Counter(len(item.options) for item in exam.items).items())),
        "chance": sum(item.chance for item in exam.items) / len(exam.items),
        "key": dict(sorted(Counter(item.answer for item in exam.items).items())),
        "key_is_longest": len(longest) / len(exam.items),
        "swallowed": [item.id for item in exam.items if _holds_other_options(item)],
        "suspected_images": [
            item.id for item in exam.items if item.image or _REFERS_TO_IMAGE.search(item.question)
        ],
        "overlap": _find_overlap(exam, other) if other else None,
        "warnings": list(exam.warnings),
    }


def inspection_as_text(report: dict[str, Any]) -> str:
    """The report for people, ids of excluded items included, item texts never."""
    lines = [
        f"exam      {report['exam']}",
        f"sha256    {report['sha256']}",
        f"read      {report['read']}",
        f"scorable  {report['scorable']}",
    ]
    if list(report["scorable_by_step"]) != ["none"]:
        lines += [f"  step {step}: {n}" for step, n in report["scorable_by_step"].items()]
    if report["subjects"]:
        lines.append("subjects  " + ", ".join(f"{name} {n}" for name, n in report["subjects"].items()))
    lines += [
        f"excluded  {len(ids)} ({reason}): {', '.join(ids)}" for reason, ids in report["excluded"].items()
    ]
    lines += [
        "options   " + ", ".join(f"{n} items with {k}" for k, n in report["options"].items()),
        f"chance    {100 * report['chance']:.1f} %",
        "key       " + ", ".join(f"{letter} {n}" for letter, n in report["key"].items()),
        f"          the longest option in {100 * report['key_is_longest']:.1f} %",
    ]
    for name, what in (
        ("swallowed", "options may hold other options' texts"),
        ("suspected_images", "scored, but may need a picture"),
    ):
        if ids := report[name]:
            lines.append(f"look at   {len(ids)} ({what}): {', '.join(ids)}")
    if (overlap := report["overlap"]) is not None:
        lines.append(f"overlap   {len(overlap['items'])} of {report['scorable']} with {overlap['exam']}")
        lines += [
            f"  {entry['item']} {100 * entry['coverage']:.0f} % in {entry['in']}"
            for entry in overlap["items"]
        ]
    lines += [f"warning   {warning}" for warning in report["warnings"]]
    return "\n".join(lines)


def _find_overlap(exam: Exam, other: Exam) -> dict[str, Any]:
    found = coverage(exam, (item.question for item in other.items))
    return {
        "exam": other.name,
        "sha256": other.sha256,
        "threshold": HALF,
        "items": [
            {"item": entry.item_id, "coverage": entry.coverage, "in": other.items[entry.text_index].id}
            for entry in found
            if entry.text_index is not None and entry.coverage >= HALF
        ],
    }


def _key_is_longest(item: Item) -> bool:
    key = len(item.options[item.answer])
    return all(len(text) < key for letter, text in item.options.items() if letter != item.answer)


def _holds_other_options(item: Item) -> bool:
    return any(_OTHER_OPTION.search(text) or len(text) > LONG_OPTION for text in item.options.values())


MAX_LISTED = 20  # ids of one reason in the text


@dataclass(frozen=True, slots=True)
class ImportResult:
    """The exam as written, and what was left out: (id or place, step or None, reason)."""

    exam: Exam
    rejects: tuple[tuple[str, int | None, str], ...]
    out: Path
    rejects_file: Path


def import_exam(source: str, out: Path, *, images: str = "exclude") -> ImportResult:
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
    exam = exclude_unscorable(raw, images=images)
    rejects = (
        *((entry.id, entry.step, entry.reason) for entry in exam.excluded),
        *((place, None, reason) for place, reason in broken),
    )
    write_text(out, _json_lines(_record(item, raw.images) for item in exam.items))
    write_text(beside, _json_lines({"id": name, "step": step, "reason": why} for name, step, why in rejects))
    return ImportResult(exam, rejects, out, beside)


def import_as_json(found: ImportResult) -> dict[str, Any]:
    """For programs."""
    return {
        "out": str(found.out),
        "items": len(found.exam.items),
        "sha256": found.exam.sha256,
        "source_sha256": found.exam.source_sha256,
        "rejects": [{"id": name, "step": step, "reason": why} for name, step, why in found.rejects],
        "warnings": list(found.exam.warnings),
    }


def import_as_text(found: ImportResult) -> str:
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
        more = ", ..." if len(names) > MAX_LISTED else ""
        lines.append(f"  {len(names)} ({why}): {', '.join(names[:MAX_LISTED])}{more}")
    lines += [f"warning   {warning}" for warning in found.exam.warnings]
    return "\n".join(lines)


def _record(item: Item, images: frozenset[str]) -> dict[str, Any]:
    record: dict[str, Any] = {"id": item.id, "step": item.step, "subject": item.subject}
    record |= {"question": item.question, "options": dict(item.options), "answer": item.answer}
    if item.id in images:  # kept on request: read back, it needs a picture still
        record["image"] = item.image or "listed"
    return {name: value for name, value in record.items() if value is not None}


def _json_lines(records: Any) -> str:
    return "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
