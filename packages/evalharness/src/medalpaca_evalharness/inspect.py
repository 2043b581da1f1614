"""Statistics of an exam before it is used (`exam inspect`), and conversion to JSONL (`exam import`)."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medalpaca_data.check import HALF
from medalpaca_data.core.errors import UserError
from medalpaca_data.core.files import write_text
from medalpaca_data.exams.contamination import coverage
from medalpaca_data.exams.exam import BUNDLED, Exam, exclude_unscorable, load_exam, raw_exam
from medalpaca_data.exams.item import Item
from medalpaca_data.exams.item_checks import look_at

# What `look_at` finds, in the text of `exam inspect` and `exam import`.
LOOK_AT = {
    "contradictions": "the same question with different answers",
    "repeated_questions": "the same question again",
    "doubled_distractors": "two wrong options have the same text",
    "letters_as_options": "the letter of the answer is also the text of another option",
    "missing_cases": "no case, but the row above has one",
    "placeholder_questions": "the question is a placeholder",
    "placeholder_options": "an option is empty, nan or N/A",
    "self_lettered_options": "options begin with their own letters",
    "swallowed": "options may contain the texts of other options",
    "suspected_images": "scored, but may need an image",
}
# Number of ids per line in the text of an inspection or import.
MAX_LISTED = 20


def inspect_file(
    exam: str, *, overlap: str | None = None, images: str = "exclude", fields: Any = None
) -> dict[str, Any]:
    """Return the result of `inspect_exam` for an exam and, with `overlap`, another exam; both are paths or names.

    An exam without scorable items is inspected as well.
    """
    other = load_exam(overlap, images="keep") if overlap else None
    return inspect_exam(load_exam(exam, images=images, fields=fields, allow_empty=True), other)


def require_scorable(report: dict[str, Any]) -> None:
    """Raise UserError, with the reasons of exclusion, if no item of an inspected exam can be scored."""
    if not report["scorable"]:
        reasons = "; ".join(report["excluded"])
        raise UserError(f"{report['exam']}: none of the {report['read']} items can be scored ({reasons})")


def inspect_exam(exam: Exam, other: Exam | None = None) -> dict[str, Any]:
    """Return the statistics of an exam by name, as `exam inspect --json` prints them.

    `read` is `scorable` plus the number of all `excluded` ids, which are grouped by reason. An item without an id of
    its own has its line or row after the id. `chance` is the mean of 1/k over items with k options. `key_is_longest`
    is the share of items whose correct option is longer than all others. `look_at` lists scorable items that a person
    should look at, by the keys of `LOOK_AT`; two of them are also keys of the result.
    `places` has the line or row of items without an id of their own. `unread` counts the values of
    columns that were not read, `changes` the items whose text was joined or cut. `overlap` is None without `other`.
    Else it lists the items with half or more of the question's word 13-grams in the question of one item of `other`.
    """
    found = look_at(exam.items)
    excluded: dict[str, list[str]] = {}
    for entry in exam.excluded:
        excluded.setdefault(entry.reason, []).append(entry.name)
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
        "chance": sum(item.chance for item in exam.items) / max(1, len(exam.items)),
        "key": dict(sorted(Counter(item.answer for item in exam.items).items())),
        "key_is_longest": len(longest) / max(1, len(exam.items)),
        "swallowed": found["swallowed"],
        "suspected_images": found["suspected_images"],
        "look_at": found,
        "places": _places(exam),
        "unread": dict(exam.unread),
        "changes": dict(exam.changes),
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
    if set(report["scorable_by_step"]) - {"none"}:
        lines += [f"  step {step}: {n}" for step, n in report["scorable_by_step"].items()]
    if report["subjects"]:
        lines.append("subjects  " + ", ".join(f"{name} {n}" for name, n in report["subjects"].items()))
    lines += [
        f"excluded  {len(ids)} ({reason}): {_list_ids(ids)}" for reason, ids in report["excluded"].items()
    ]
    if report["scorable"]:
        lines += [
            "options   " + ", ".join(f"{n} items with {k}" for k, n in report["options"].items()),
            f"chance    {100 * report['chance']:.1f} %",
            "key       " + ", ".join(f"{letter} {n}" for letter, n in report["key"].items()),
            f"          the longest option in {100 * report['key_is_longest']:.1f} %",
        ]
    lines += _look_at_lines(report["look_at"], report["places"])
    lines += _column_lines(report["unread"], report["changes"])
    if (overlap := report["overlap"]) is not None:
        lines.append(f"overlap   {len(overlap['items'])} of {report['scorable']} with {overlap['exam']}")
        lines += [
            f"  {entry['item']} {100 * entry['coverage']:.0f} % in {entry['in']}"
            for entry in overlap["items"][:MAX_LISTED]
        ]
        if len(overlap["items"]) > MAX_LISTED:
            lines.append(f"  ... {len(overlap['items']) - MAX_LISTED} more, see --json")
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


def _look_at_lines(found: dict[str, list[Any]], places: dict[str, str]) -> list[str]:
    """Return one line per finding: number of items, what was found, and ids, those of one question joined by "=".

    An item without an id of its own has its line or row after the id.
    """
    lines = []
    for name, what in LOOK_AT.items():
        if not found[name]:
            continue
        groups = [[entry] if isinstance(entry, str) else entry for entry in found[name]]
        ids = [" = ".join(_with_place(item_id, places) for item_id in group) for group in groups]
        n = sum(1 if isinstance(entry, str) else len(entry) for entry in found[name])
        lines.append(f"look at   {n} ({what}): {_list_ids(ids)}")
    return lines


def _places(exam: Exam) -> dict[str, str]:
    """Return the line or row of the items without an id of their own, by the id that was computed."""
    return {item.id: item.place for item in exam.items if item.place}


def _with_place(item_id: str, places: dict[str, str]) -> str:
    return f"{item_id} ({places[item_id]})" if item_id in places else item_id


def _column_lines(unread: dict[str, int], changes: dict[str, int]) -> list[str]:
    lines = [f"changed   {n} ({change})" for change, n in sorted(changes.items())]
    if unread:
        lines.append("unread    " + ", ".join(f"{column} {n}" for column, n in sorted(unread.items())))
    return lines


def _list_ids(ids: list[str], rest: str = "--json") -> str:
    more = f", ... {len(ids) - MAX_LISTED} more, see {rest}" if len(ids) > MAX_LISTED else ""
    return ", ".join(ids[:MAX_LISTED]) + more


@dataclass(frozen=True, slots=True)
class ImportResult:
    """The exam written to `out`, and the rejected records as (name or location, exam step if known, reason).

    The name is the id. It includes the line or row if the item has no id of its own.
    """

    exam: Exam
    rejects: tuple[tuple[str, int | None, str], ...]
    out: Path
    rejects_file: Path


def import_exam(source: str, out: Path, *, images: str = "exclude", fields: Any = None) -> ImportResult:
    """Write the scorable items of `source` to the JSONL file `out`; the SHA-256 of the exam stays the same.

    `source` is a path or the name of a bundled exam. `images` ("exclude" or "keep") applies to items that need an
    image, `fields` names the columns of a file in an unknown layout. Excluded items and invalid records are listed in
    NAME.rejects.jsonl beside `out`, which is written even if empty. Raises UserError if nothing can be scored, or if
    one of the files exists.
    """
    if out.suffix.lower() != ".jsonl":
        raise UserError(f"--out {out}: the file name must end in .jsonl")
    rejects_file = out.with_name(f"{out.stem}.rejects.jsonl")
    for file in (out, rejects_file):
        if file.exists():
            raise UserError(f"{file}: file exists; choose another --out or remove the file")
    raw = raw_exam(source if source in BUNDLED else Path(source).expanduser(), fields)
    exam = exclude_unscorable(raw, images=images)
    rejects = tuple((entry.name, entry.step, entry.reason) for entry in exam.excluded)
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
        "look_at": look_at(result.exam.items),
        "unread": dict(result.exam.unread),
        "changes": dict(result.exam.changes),
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
        lines.append(f"  {len(names)} ({reason}): {_list_ids(names, str(result.rejects_file))}")
    lines += _look_at_lines(look_at(result.exam.items), _places(result.exam))
    lines += _column_lines(dict(result.exam.unread), dict(result.exam.changes))
    lines += [f"warning   {warning}" for warning in result.exam.warnings]
    return "\n".join(lines)


def _record(item: Item, images: frozenset[str]) -> dict[str, Any]:
    record: dict[str, Any] = {"id": item.id, "step": item.step, "subject": item.subject}
    record |= {"group": item.group} if item.group is not None else {}
    record |= {"question": item.question, "options": dict(item.options), "answer": item.answer}
    # Items with images were kept on request; the mark makes later reads exclude or keep them likewise.
    if item.id in images:
        record["image"] = item.image or "listed"
    return {name: value for name, value in record.items() if value is not None}


def _json_lines(records: Any) -> str:
    return "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
