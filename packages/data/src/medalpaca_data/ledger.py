"""The ledger of a build: rows read = rows kept + rows rejected, for every source and stage."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .core.files import read_json, sha256_file
from .shard import Shard, read_account, total

if TYPE_CHECKING:
    from .exams.exam import Exam
    from .recipe import Recipe

LEDGER = "ledger.json"
FORMAT = 3
# Format number -> the rule that it changed. The oldest format that can be read is the one before the first of these.
CHANGED_RULES = {
    3: "a de-identification record no longer counts as passed; its counts are the detector's own, and they are not "
    "independently checked"
}


class UnbalancedError(RuntimeError):
    """The counts of a build are inconsistent: an error of the program, not of the data."""


@dataclass(slots=True)
class Stage:
    """Counts of one stage for one source: rows read, rows kept, rejected rows by reason, and other counts.

    `counts` are numbers of changes or of identifiers found, by kind.
    """

    name: str
    read: int = 0
    kept: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    counts: Counter[str] = field(default_factory=Counter)

    @property
    def rejected(self) -> int:
        return self.reasons.total()

    def as_json(self) -> dict[str, Any]:
        return {
            "stage": self.name,
            "read": self.read,
            "kept": self.kept,
            "rejected": self.rejected,
            "reasons": dict(sorted(self.reasons.items())),
            **({"changed": dict(sorted(self.counts.items()))} if self.counts else {}),
        }


@dataclass(slots=True)
class Account:
    """Counts of one source in all stages, in order."""

    source: str
    stages: list[Stage] = field(default_factory=list)

    def open(self, stage: str) -> Stage:
        """Add a stage with counts of zero and return it."""
        self.stages.append(Stage(stage))
        return self.stages[-1]

    def balance(self) -> None:
        """Raise UnbalancedError if rows are missing within a stage or between two stages."""
        for stage in self.stages:
            if stage.read != stage.kept + stage.rejected:
                raise UnbalancedError(
                    f"{self.source}/{stage.name}: read {stage.read}, kept {stage.kept}, rejected {stage.rejected}"
                )
        for before, after in zip(self.stages, self.stages[1:], strict=False):
            if before.kept != after.read:
                raise UnbalancedError(
                    f"{self.source}: {before.name} kept {before.kept}, {after.name} read {after.read}"
                )

    @property
    def read(self) -> int:
        return self.stages[0].read

    @property
    def kept(self) -> int:
        return self.stages[-1].kept

    @property
    def rejected(self) -> int:
        return sum(stage.rejected for stage in self.stages)


def make_ledger(
    recipe: Recipe,
    fingerprint: str,
    inputs: Mapping[str, Sequence[tuple[Path, str]]],
    exams: Sequence[Exam],
    trail: Sequence[tuple[str, Sequence[Shard]]],
    written: Mapping[str, Any],
    contradictions: Sequence[Mapping[str, Any]],
    deidentified: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    """Return the ledger of a build. Raises UnbalancedError if counts and written rows are inconsistent."""
    sources = []
    for source in recipe.used:
        account = _account(source.name, trail)
        account.balance()
        splits = written["sources"][source.name]
        if account.kept != sum(splits.values()):
            raise UnbalancedError(f"{source.name}: kept {account.kept}, wrote {splits}")
        read = [read_account(shard) or {} for shard in trail[0][1] if shard.source == source.name]
        context = total(read, "context")
        sources.append(
            {
                "name": source.name,
                "kind": source.kind,
                "licence": source.licence,
                "attribution": source.attribution,
                "url": source.url,
                "patient_text": source.private,
                "published": source.published,
                "files": [{"name": file.name, "sha256": digest} for file, digest in inputs[source.name]],
                **({"context": dict(sorted(context.items()))} if context else {}),
                "read": account.read,
                "kept": account.kept,
                "rejected": account.rejected,
                "rows": splits,
                "stages": [stage.as_json() for stage in account.stages],
            }
        )
    return {
        "format": FORMAT,
        "name": recipe.name,
        "fingerprint": fingerprint,
        "recipe": recipe.model_dump(mode="json"),
        "sources": sources,
        "skipped": list(recipe.skip),
        "exams": [{"name": exam.name, "sha256": exam.sha256, "items": len(exam.items)} for exam in exams],
        "contradictions": {
            "questions": len(contradictions),
            "rows": sum(len(c["rows"]) for c in contradictions),
        },
        "deidentification": list(deidentified),
        "rows": written["rows"],
        "licences": written["licences"],
        "attributions": written["attributions"],
        "files": written["files"],
    }


def _account(source: str, trail: Sequence[tuple[str, Sequence[Shard]]]) -> Account:
    account = Account(source)
    for name, shards in trail:
        stage = account.open(name)
        for shard in shards:
            if shard.source == source:
                found = read_account(shard) or {}
                stage.read += found["read"]
                stage.kept += found["kept"]
                stage.reasons.update(found["reasons"])
                stage.counts.update(found["counts"])
    return account


def read_ledger(directory: Path) -> dict[str, Any] | None:
    """Return the content of ledger.json in a directory, or None if the file is missing or no JSON object."""
    file = directory / LEDGER
    value = read_json(file) if file.is_file() else None
    return value if isinstance(value, dict) else None


def in_current_form(ledger: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return a ledger with its de-identification records in the form of `FORMAT`; None for an unknown format.

    `format` stays the number that the ledger was written with.
    """
    match ledger.get("format"):
        case 3:
            return dict(ledger)
        case 2:
            records = [_record_of_format_2(record) for record in ledger.get("deidentification", ())]
            return {**ledger, "deidentification": records}
        case _:
            return None


def _record_of_format_2(record: Mapping[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in record.items() if key != "passed"}
    return {
        **kept,
        "profile": "precise",
        "within_limit": record.get("passed") is True,
        "counted_by": "same detector",
        "independent_check": None,
    }


def changed_rules(written: int) -> str:
    """Return one line with the rules that have changed since the ledger format `written`, or "" if none has."""
    rules = [rule for number, rule in CHANGED_RULES.items() if number > written]
    if not rules:
        return ""
    return f"ledger of format {written}, now {FORMAT}; changed since: {'; '.join(rules)}"


def same_files(directory: Path, ledger: Mapping[str, Any]) -> bool:
    """Return whether all files that the ledger lists are in the directory, with the same SHA-256."""
    files = {directory / name: digest for name, digest in ledger["files"].items()}
    return all(file.is_file() and sha256_file(file) == digest for file, digest in files.items())
