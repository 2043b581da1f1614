"""What an exam holds, before anybody is asked: counts, exclusions, chance, and how balanced the key is."""

from __future__ import annotations

from collections import Counter
from typing import Any

from medalpaca_data.exam import Exam


def inspect(exam: Exam) -> dict[str, Any]:
    """Counts by name. `read` is `scorable` plus all `excluded`; `chance` the mean of 1/k over items."""
    excluded: dict[str, list[str]] = {}
    for entry in exam.excluded:
        excluded.setdefault(entry.reason, []).append(entry.id)
    steps: Counter[int | None] = Counter(item.step for item in exam.items)
    return {
        "exam": exam.name,
        "sha256": exam.sha256,
        "source_sha256": exam.source_sha256,
        "read": exam.read,
        "scorable": len(exam.items),
        "scorable_by_step": {
            "none" if step is None else str(step): steps[step] for step in sorted(steps, key=str)
        },
        "excluded": excluded,
        "options": dict(sorted(Counter(len(item.options) for item in exam.items).items())),
        "chance": sum(1 / len(item.options) for item in exam.items) / len(exam.items),
        "key": dict(sorted(Counter(item.answer for item in exam.items).items())),
        "warnings": list(exam.warnings),
    }


def as_text(report: dict[str, Any]) -> str:
    """The report for people, ids of excluded items included, item texts never."""
    lines = [
        f"exam      {report['exam']}",
        f"sha256    {report['sha256']}",
        f"read      {report['read']}",
        f"scorable  {report['scorable']}",
    ]
    if list(report["scorable_by_step"]) != ["none"]:
        lines += [f"  step {step}: {n}" for step, n in report["scorable_by_step"].items()]
    lines += [
        f"excluded  {len(ids)} ({reason}): {', '.join(ids)}" for reason, ids in report["excluded"].items()
    ]
    lines += [
        "options   " + ", ".join(f"{n} items with {k}" for k, n in report["options"].items()),
        f"chance    {100 * report['chance']:.1f} %",
        "key       " + ", ".join(f"{letter} {n}" for letter, n in report["key"].items()),
    ]
    lines += [f"warning   {warning}" for warning in report["warnings"]]
    return "\n".join(lines)
