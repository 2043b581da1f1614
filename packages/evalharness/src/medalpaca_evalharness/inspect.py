"""Statistics of an exam before it is used (`exam inspect`), and conversion to JSONL (`exam import`)."""

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

# The letter of another option, or a line about a question, inside an option: the options were not separated.
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
# An option with more characters than this probably contains another text.
LONG_OPTION = 400


def inspect_exam(exam: Exam, other: Exam | None = None) -> dict[str, Any]:
    """Return the statistics of an exam by name, as `exam inspect --json` prints them.

    `read` is `scorable` plus the number of all `excluded` ids, which are grouped by reason. `chance` is the mean of 1/k
    over items with k options. `key_is_longest` is the share of items whose correct option is longer than all others.
    `swallowed` lists items of which an option seems to contain other options, `suspected_images` scorable items that
    may need an image. `overlap` is None without `other`. Else it lists the items with half or more of the question's
    word 13-grams in the question of one item of `other`.
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
    """Return the result of `inspect_exam` as text, with ids of excluded items, without any text of an item."""
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
        ("swallowed", "options may contain the texts of other options"),
        ("suspected_images", "scored, but may need an image"),
    ):
        if ids := report[name]:
            lines.append(f"suspect   {len(ids)} ({what}): {', '.join(ids)}")
    if (overlap := report["overlap"]) is not None:
        lines.append(f"overlap   {len(overlap['items'])} of {report['scorable']} with {overlap['exam']}")
        lines += [
            f"  {entry['item']} {100 * entry['coverage']:.0f} % in {entry['in']}"
            for entry in overlap["items"]
        ]
    lines += [f"warning   {warning}" for warning in report["warnings"]]
    return "\n".join(lines)


def _find_overlap(exam: Exam, other: Exam) -> dict[str, Any]:
    coverages = coverage(exam, (item.question for item in other.items))
    return {
        "exam": other.name,
        "sha256": other.sha256,
        "threshold": HALF,
        "items": [
            {"item": entry.item_id, "coverage": entry.coverage, "in": other.items[entry.text_index].id}
            for entry in coverages
            if entry.text_index is not None and entry.coverage >= HALF
        ],
    }


def _key_is_longest(item: Item) -> bool:
    key = len(item.options[item.answer])
    return all(len(text) < key for letter, text in item.options.items() if letter != item.answer)


def _holds_other_options(item: Item) -> bool:
    return any(_OTHER_OPTION.search(text) or len(text) > LONG_OPTION for text in item.options.values())


# Number of ids per reason in the text of an import.
MAX_LISTED = 20


@dataclass(frozen=True, slots=True)
class ImportResult:
    """The exam written to `out`, and the rejected records as (id or location, exam step if known, reason)."""

    exam: Exam
    rejects: tuple[tuple[str, int | None, str], ...]
    out: Path
    rejects_file: Path


def import_exam(source: str, out: Path, *, images: str = "exclude") -> ImportResult:
    """Write the scorable items of `source` to the JSONL file `out`; the SHA-256 of the exam stays the same.

    `source` is a path or the name of a bundled exam. `images` ("exclude" or "keep") applies to items that need an
    image. Excluded items and invalid records are listed in NAME.rejects.jsonl beside `out`, which is written even if
    empty. Raises UserError if nothing can be scored, or if one of the files exists.
    """
    if out.suffix.lower() != ".jsonl":
        raise UserError(f"--out {out}: the file name must end in .jsonl")
    rejects_file = out.with_name(f"{out.stem}.rejects.jsonl")
    for file in (out, rejects_file):
        if file.exists():
            raise UserError(f"{file}: file exists; choose another --out or remove the file")
    broken: list[tuple[str, str]] = []
    raw = raw_exam(source if source in BUNDLED else Path(source).expanduser(), broken)
    exam = exclude_unscorable(raw, images=images)
    rejects = (
        *((entry.id, entry.step, entry.reason) for entry in exam.excluded),
        *((location, None, reason) for location, reason in broken),
    )
    write_text(out, _json_lines(_record(item, raw.images) for item in exam.items))
    write_text(
        rejects_file,
        _json_lines({"id": name, "step": step, "reason": reason} for name, step, reason in rejects),
    )
    return ImportResult(exam, rejects, out, rejects_file)


def import_as_json(result: ImportResult) -> dict[str, Any]:
    """Return the result of an import as `exam import --json` prints it."""
    return {
        "out": str(result.out),
        "items": len(result.exam.items),
        "sha256": result.exam.sha256,
        "source_sha256": result.exam.source_sha256,
        "rejects": [{"id": name, "step": step, "reason": reason} for name, step, reason in result.rejects],
        "warnings": list(result.exam.warnings),
    }


def import_as_text(result: ImportResult) -> str:
    """Return the result of an import as text, without any text of an item."""
    lines = [
        f"written   {result.out}",
        f"items     {len(result.exam.items)}",
        f"sha256    {result.exam.sha256}",
        f"rejected  {len(result.rejects)} (listed in {result.rejects_file})",
    ]
    reasons: dict[str, list[str]] = {}
    for name, _, reason in result.rejects:
        reasons.setdefault(reason, []).append(name)
    for reason, names in reasons.items():
        more = ", ..." if len(names) > MAX_LISTED else ""
        lines.append(f"  {len(names)} ({reason}): {', '.join(names[:MAX_LISTED])}{more}")
    lines += [f"warning   {warning}" for warning in result.exam.warnings]
    return "\n".join(lines)


def _record(item: Item, images: frozenset[str]) -> dict[str, Any]:
    record: dict[str, Any] = {"id": item.id, "step": item.step, "subject": item.subject}
    record |= {"question": item.question, "options": dict(item.options), "answer": item.answer}
    # Items with images were kept on request; the mark makes later reads exclude or keep them likewise.
    if item.id in images:
        record["image"] = item.image or "listed"
    return {name: value for name, value in record.items() if value is not None}


def _json_lines(records: Any) -> str:
    return "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
