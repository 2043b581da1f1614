"""Whether rows may be trained on: by what a ledger says of patients' text, else by a look at them here and now.

A model can be made to say what it has learned, so what patients wrote, or what was written about them, is learned only
with a record that identifiers were looked for, or on the word of somebody who is named.
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
from .deid.settings import NOT_CHECKED, Deidentification, describe_record

# Kinds of source whose rows are what people said to each other: they need a record, marked as patients' text or not.
DIALOGUES = frozenset({"chat", "patient_dialogues"})
# Kinds that take anybody's file: unmarked, it is looked at like a file without a ledger.
ANYBODYS = frozenset({"alpaca"})

LIMIT = Deidentification().limit  # identifiers per 1,000 rows, as in a build

Basis = Literal["ledger", "declared", "checked", "accepted"]


class NotCleared(UserError):
    """The rows may not be trained on. The message has counts and classes, and never their text."""


@dataclass(frozen=True, slots=True)
class Clearance:
    """Why rows may be trained on. `said` is a sentence for the model card; `evidence` is for the manifest.

    `notes` are lines for the screen: rules that have changed since the ledger was written.
    """

    basis: Basis
    said: str
    evidence: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Return the entry of the manifest."""
        return {"basis": self.basis, "said": self.said, **self.evidence}


def clear(
    path: Path, rows: Sequence[Row], *, patient_text: bool | None = None, accepted: str | None = None
) -> Clearance:
    """Clear `rows`, all that were read from the file or Meadow directory `path`, for training.

    `patient_text` is what the recipe states of them: false, true, or None for nothing. It can add to what a ledger
    says and never take from it. `accepted` overrides a refusal: it says who answers for it, and is kept.

    Raises NotCleared where a record is missing or above its limit, or identifiers were found, and UserError for a
    directory whose rows are not those of its ledger.
    """
    ledger = _ledger(path)
    notes = _notes(path, ledger) if ledger else ()
    try:
        return replace(_judge(path, rows, patient_text, ledger), notes=notes)
    except NotCleared as refusal:
        if accepted is None:
            raise
        who = " ".join(accepted.split())  # a line of a card
        return Clearance("accepted", f"accepted by {who}, against: {refusal}", {"accepted_by": who}, notes)


def changed_since(patient_text: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the rules that have changed since the ledgers that a run's manifest names were written, a line each.

    `patient_text` is that entry of the manifest. Without `ledger_format` it is from the time of format 2.
    """
    from .ledger import changed_rules

    entries = (patient_text, patient_text.get("validation") or {})
    formats = {entry.get("ledger_format", 2) for entry in entries if entry.get("basis") == "ledger"}
    return tuple(line for written in sorted(formats) if (line := changed_rules(written)))


def _ledger(path: Path) -> dict[str, Any] | None:
    from .dataset import require_meadow
    from .ledger import LEDGER

    return require_meadow(path) if path.is_dir() and (path / LEDGER).is_file() else None


def _notes(path: Path, ledger: Mapping[str, Any]) -> tuple[str, ...]:
    from .ledger import changed_rules

    changed = changed_rules(ledger["format"])
    return (f"{path}: {changed}",) if changed else ()


def _judge(
    path: Path, rows: Sequence[Row], patient_text: bool | None, ledger: Mapping[str, Any] | None
) -> Clearance:
    if ledger is not None:
        return _by_ledger(path, rows, patient_text, ledger)
    if patient_text:
        raise NotCleared(
            f"{path}: stated as patients' text (patient_text=yes), and no ledger says that it was de-identified; "
            "build it with `data build` and deidentify.mode=replace"
        )
    if patient_text is False:
        return Clearance("declared", f"stated in the recipe: {path.name} holds no text of or about patients")
    return _checked(path, rows)


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
            f"{path}: source {', '.join(missing)}: patients' text or dialogue, and its ledger has no record that it "
            "was de-identified; build it again with patient_text: true there and deidentify.mode=replace"
        )
    if above := [name for name, record in records.items() if record.get("within_limit") is not True]:
        raise NotCleared(
            f"{path}: source {', '.join(above)}: its ledger counts more identifiers than deidentify.limit allows; "
            "build it again"
        )
    unmarked = {
        name for name, source in sources.items() if source["kind"] in ANYBODYS and name not in records
    }
    found: Mapping[str, Any] = {}
    many = "sources by their" if len(sources) != 1 else "source by its"
    said = f"{len(sources)} {many} ledger, {len(marked)} of them patients' text or dialogue"
    if records:
        said += ", de-identified: " + "; ".join(describe_record(record) for record in records.values())
    if unmarked and patient_text is False:
        said += f"; stated in the recipe: no patients' text in {', '.join(sorted(unmarked))}"
    elif unmarked:
        others = sources.keys() - unmarked
        looked = _checked(path, [row for row in rows if row.source not in others])
        said, found = f"{said}; {looked.said}", looked.evidence
    evidence = {"ledger_format": ledger["format"], "records": list(records.values()), **found}
    return Clearance("ledger", said, evidence)


def _refuse_other_rows(path: Path, files: Mapping[str, str]) -> None:
    for name in (f"{split}.parquet" for split in SPLITS):
        if (path / name).is_file() and sha256_file(path / name) != files.get(name):
            raise UserError(
                f"{path / name}: not the rows that its ledger accounts for, so what that says of them means nothing; "
                "build the directory again"
            )


def _checked(path: Path, rows: Sequence[Row]) -> Clearance:
    """Look for identifiers by rule, as `data deid check` does."""
    from .deid.find import rules_sha256
    from .deid.review import find_in_rows

    hits = Counter(span.kind for _, found in find_in_rows(rows) for spans in found for span in spans)
    classes = ", ".join(f"{kind} {count:,}" for kind, count in hits.most_common())
    if hits.total() * 1000 > LIMIT * len(rows):
        raise NotCleared(
            f"{path}: {hits.total():,} of what look like identifiers in {len(rows):,} rows ({classes}), more than "
            f"{LIMIT:g} per 1,000; if nobody's records are in it say patient_text=no, else build it with `data build`, "
            "patient_text: true and deidentify.mode=replace (`data deid check` shows where they stand)"
        )
    return Clearance(
        "checked",
        f"checked by rule before training: {hits.total():,} identifiers in {len(rows):,} rows of {path.name}"
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
