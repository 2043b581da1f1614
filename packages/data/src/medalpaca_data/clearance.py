"""The gate before training: whether rows may be used, given what is known about patient text in them.

A model can reproduce text that it was trained on. Therefore rows with patient text are used only if a ledger records
their de-identification, or if a named person accepts the risk. Rows without a ledger are searched for identifiers,
unless the training recipe declares that they have no patient text.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from .core.errors import UserError
from .core.files import sha256_file
from .core.row import SPLITS, Row
from .deid.settings import NOT_CHECKED, describe_record

# Kinds of source with dialogues. They need a de-identification record even if they are not marked as patient text.
DIALOGUES = frozenset({"chat", "patient_dialogues"})
# Kinds that read any file. If not marked, their rows are searched like those of a file without a ledger.
GENERIC = frozenset({"alpaca"})

# Largest number of identifiers per 1,000 rows in a search of rows without a ledger.
LIMIT = 1.0

Basis = Literal["ledger", "declared", "checked", "accepted"]


class NotCleared(UserError):
    """The rows may not be used for training. The message has counts and classes, but no text of the rows."""


@dataclass(frozen=True, slots=True)
class Clearance:
    """Reason why rows may be used for training.

    `statement` is a sentence for the model card, and `evidence` is for the manifest of the training run. `notes` are
    lines for the screen: rules that have changed since the ledger was written.
    """

    basis: Basis
    statement: str
    evidence: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Return the entry `patient_text` of the manifest of a training run."""
        return {"basis": self.basis, "said": self.statement, **self.evidence}


def clear(
    path: Path, rows: Sequence[Row], *, patient_text: bool | None = None, accepted: str | None = None
) -> Clearance:
    """Return the reason why `rows`, all rows of the file or Meadow directory `path`, may be used for training.

    `patient_text` is the value in the training recipe, or None if it is not set. True marks all sources as patient
    text. False omits the search for identifiers, and does not change the marks in the ledger. `accepted` is the person
    who accepts the risk of a refusal; the name is recorded.

    Raises NotCleared if a de-identification record is missing or above its limit, or identifiers were found.
    Raises UserError if the files of a Meadow directory are not those of its ledger.
    """
    ledger = _ledger(path)
    notes = _notes(path, ledger) if ledger else ()
    try:
        return replace(_decide(path, rows, patient_text, ledger), notes=notes)
    except NotCleared as refusal:
        if accepted is None:
            raise
        # One line, because the model card has it in a list.
        person = " ".join(accepted.split())
        return Clearance(
            "accepted", f"accepted by {person}, against: {refusal}", {"accepted_by": person}, notes
        )


def _ledger(path: Path) -> dict[str, Any] | None:
    from .dataset import require_meadow
    from .ledger import LEDGER

    return require_meadow(path) if path.is_dir() and (path / LEDGER).is_file() else None


def _notes(path: Path, ledger: Mapping[str, Any]) -> tuple[str, ...]:
    from .ledger import changed_rules

    changed = changed_rules(ledger["format"])
    return (f"{path}: {changed}",) if changed else ()


def _decide(
    path: Path, rows: Sequence[Row], patient_text: bool | None, ledger: Mapping[str, Any] | None
) -> Clearance:
    if ledger is not None:
        return _by_ledger(path, rows, patient_text, ledger)
    if patient_text:
        raise NotCleared(
            f"{path}: marked as patient text (patient_text=yes), but no ledger records its de-identification; "
            "build it with `data build` and deidentify.mode=replace"
        )
    if patient_text is False:
        return Clearance("declared", f"declared in the recipe: {path.name} has no patient text")
    return _search(path, rows)


def _by_ledger(
    path: Path, rows: Sequence[Row], patient_text: bool | None, ledger: Mapping[str, Any]
) -> Clearance:
    _refuse_other_rows(path, ledger["files"])
    sources = {source["name"]: source for source in ledger["sources"]}
    records = {record["source"]: record for record in ledger["deidentification"]}
    marked = [
        name
        for name, source in sources.items()
        if patient_text or source["patient_text"] or source["kind"] in DIALOGUES
    ]
    if missing := [name for name in marked if name not in records]:
        raise NotCleared(
            f"{path}: source {', '.join(missing)}: patient text or dialogue, but the ledger has no record of its "
            "de-identification; build it again with patient_text: true for the source and deidentify.mode=replace"
        )
    if above := [name for name, record in records.items() if record.get("within_limit") is not True]:
        raise NotCleared(
            f"{path}: source {', '.join(above)}: the ledger has more identifiers than deidentify.limit allows "
            f"({'; '.join(describe_record(records[name]) for name in above)}); build it again with "
            "deidentify.mode=replace and a better detection"
        )
    unmarked = {name for name, source in sources.items() if source["kind"] in GENERIC and name not in records}
    search: Mapping[str, Any] = {}
    many = "sources" if len(sources) != 1 else "source"
    statement = f"{len(sources)} {many} according to the ledger, {len(marked)} with patient text or dialogue"
    if records:
        statement += ", de-identified: " + "; ".join(describe_record(record) for record in records.values())
    if unmarked and patient_text is False:
        statement += f"; declared in the recipe: no patient text in {', '.join(sorted(unmarked))}"
    elif unmarked:
        others = sources.keys() - unmarked
        searched = _search(path, [row for row in rows if row.source not in others])
        statement, search = f"{statement}; {searched.statement}", searched.evidence
    evidence = {"ledger_format": ledger["format"], "records": list(records.values()), **search}
    return Clearance("ledger", statement, evidence)


def _refuse_other_rows(path: Path, files: Mapping[str, str]) -> None:
    for name in (f"{split}.parquet" for split in SPLITS):
        if (path / name).is_file() and sha256_file(path / name) != files.get(name):
            raise UserError(
                f"{path / name}: the file was changed after the build, so its ledger is not valid for it; "
                "build the directory again"
            )


def _search(path: Path, rows: Sequence[Row]) -> Clearance:
    """Search rows for identifiers by rules, as `data deid check` does. Raises NotCleared above `LIMIT`."""
    from .deid.find import rules_sha256
    from .deid.review import find_in_rows

    hits = Counter(span.kind for _, found in find_in_rows(rows) for spans in found for span in spans)
    classes = ", ".join(f"{kind} {count:,}" for kind, count in hits.most_common())
    if hits.total() * 1000 > LIMIT * len(rows):
        raise NotCleared(
            f"{path}: {hits.total():,} possible identifiers in {len(rows):,} rows ({classes}), more than {LIMIT:g} per "
            "1,000; if the rows have no patient text, set patient_text=no; otherwise build them with `data build`, "
            "patient_text: true and deidentify.mode=replace (`data deid check` shows masked examples)"
        )
    return Clearance(
        "checked",
        f"searched by rules before training: {hits.total():,} identifiers in {len(rows):,} rows of {path.name}"
        + (f" ({classes})" if classes else "")
        + f", {NOT_CHECKED}",
        {
            "checked": {
                "rows": len(rows),
                "hits": dict(hits),
                "limit": LIMIT,
                "rules": rules_sha256(),
                "independent_check": None,
            }
        },
    )
