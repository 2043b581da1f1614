"""Whether rows may be trained on: by what a ledger says of patients' text, else by a look at them here and now.

A model can be made to say what it has learned, so what patients wrote, or what was written about them, is learned only
with a record that identifiers were looked for, or on the word of somebody who is named.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from .deid.settings import Deidentification
from .ground.errors import UserError
from .ground.files import sha256_file
from .row import SPLITS, Row

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
    """Why rows may be trained on. `said` is a sentence for the model card; `evidence` is for the manifest."""

    basis: Basis
    said: str
    evidence: Mapping[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """All of it."""
        return {"basis": self.basis, "said": self.said, **self.evidence}


def clear(
    path: Path, rows: Sequence[Row], *, patient_text: bool | None = None, accepted: str | None = None
) -> Clearance:
    """Clear `rows`, all that were read from the file or Meadow directory `path`, for training.

    `patient_text` is what the recipe states of them: false, true, or None for nothing. It can add to what a ledger
    says and never take from it. `accepted` overrides a refusal: it says who answers for it, and is kept.

    Raises NotCleared where a record is missing or did not pass, or identifiers were found, and UserError for a
    directory whose rows are not those of its ledger.
    """
    try:
        return _judge(path, rows, patient_text)
    except NotCleared as refusal:
        if accepted is None:
            raise
        who = " ".join(accepted.split())  # a line of a card
        return Clearance("accepted", f"accepted by {who}, against: {refusal}", {"accepted_by": who})


def _judge(path: Path, rows: Sequence[Row], patient_text: bool | None) -> Clearance:
    from .ledger import LEDGER

    if path.is_dir() and (path / LEDGER).is_file():
        return _by_ledger(path, rows, patient_text)
    if patient_text:
        raise NotCleared(
            f"{path}: stated as patients' text (patient_text=yes), and no ledger says that it was de-identified; "
            "build it with `data build` and deidentify.mode=replace"
        )
    if patient_text is False:
        return Clearance("declared", f"stated in the recipe: {path.name} holds no text of or about patients")
    return _checked(path, rows)


def _by_ledger(path: Path, rows: Sequence[Row], patient_text: bool | None) -> Clearance:
    from .meadow import require_meadow

    ledger = require_meadow(path)
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
    if failed := [name for name, record in records.items() if not record["passed"]]:
        raise NotCleared(
            f"{path}: source {', '.join(failed)}: its de-identification did not pass; build it again"
        )
    unmarked = {
        name for name, source in sources.items() if source["kind"] in ANYBODYS and name not in records
    }
    found: Mapping[str, Any] = {}
    many = "sources by their" if len(sources) != 1 else "source by its"
    said = f"{len(sources)} {many} ledger, {len(marked)} of them patients' text or dialogue"
    if records:
        said += ", de-identified: " + "; ".join(_recorded(record) for record in records.values())
    if unmarked and patient_text is False:
        said += f"; stated in the recipe: no patients' text in {', '.join(sorted(unmarked))}"
    elif unmarked:
        others = sources.keys() - unmarked
        looked = _checked(path, [row for row in rows if row.source not in others])
        said, found = f"{said}; {looked.said}", looked.evidence
    return Clearance("ledger", said, {"records": list(records.values()), **found})


def _refuse_other_rows(path: Path, files: Mapping[str, str]) -> None:
    for name in (f"{split}.parquet" for split in SPLITS):
        if (path / name).is_file() and sha256_file(path / name) != files.get(name):
            raise UserError(
                f"{path / name}: not the rows that its ledger accounts for, so what that says of them means nothing; "
                "build the directory again"
            )


def _recorded(record: Mapping[str, Any]) -> str:
    hits, left = sum(record["hits"].values()), sum(record["left"].values())
    doing = f"{hits:,} found and replaced, {left:,} left in rows that were dropped"
    if record["mode"] == "check":
        doing = f"{hits:,} found, in rows that were dropped"
    return f"{record['source']} ({doing}; limit {record['limit']:g} per 1,000 rows)"


def _checked(path: Path, rows: Sequence[Row]) -> Clearance:
    """Look for identifiers by rule, as `data deid check` does."""
    from .deid.check import found_in
    from .deid.find import rules_sha256

    hits = Counter(span.kind for _, found in found_in(rows) for spans in found for span in spans)
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
        + (f" ({classes})" if classes else ""),
        {"checked": {"rows": len(rows), "hits": dict(hits), "limit": LIMIT, "rules": rules_sha256()}},
    )
