"""The section `deidentify` of a recipe, and the de-identification record that a source of patient text must have."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from ..core.config import Config
from ..core.errors import UserError

# Suffixes of the keys in the counts of a stage: "phone found", "phone left".
FOUND, LEFT = "found", "left"
NOT_CHECKED = "not independently checked"
ROWS_FOUND, ROWS_LEFT = "rows with identifiers found", "rows with identifiers left"


class Deidentification(Config):
    """The keys under `deidentify` in a recipe.

    mode: "check" drops rows with identifiers. "replace" puts surrogates in place of identifiers, checks again, and
    drops the rows in which the second check still finds one.
    limit: the largest number of identifiers per 1,000 rows; the build of a source with more is refused. Counted are
    those found (mode "check") or those left after replacement (mode "replace").
    ner: also use named-entity recognition: "presidio" for the installed presidio-analyzer, or the directory of a token
    classification model, relative to the recipe. True of older recipes is "presidio".
    secret: directory of the key file `patient-text.key`, relative to the recipe; null is MEDALPACA_HOME/secrets. The
    first build writes the key. Surrogates, shifts of dates, and hashes of case numbers depend on it.
    """

    mode: Literal["check", "replace"] = "replace"
    limit: float = Field(default=1.0, ge=0, le=1000)
    ner: bool | str = False
    secret: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _refuse_seed(cls, values: Any) -> Any:
        if isinstance(values, Mapping) and "seed" in values:
            raise ValueError(
                "deidentify.seed is not allowed any more, because it was readable in the ledger; surrogates depend on "
                "the key in patient-text.key; remove seed from the recipe"
            )
        return values

    @field_validator("ner", mode="before")
    @classmethod
    def _read_ner(cls, value: Any) -> bool | str:
        if value is True:
            return "presidio"
        if value is False or (isinstance(value, str) and value.strip()):
            return value
        raise ValueError("allowed: false, presidio, or the directory of a token classification model")


def check_ner(settings: Deidentification | None, root: Path) -> None:
    """Load the model that `settings.ner` names, relative to `root`. Raises UserError if it is not usable."""
    if settings and settings.ner:
        from .ner import load_tagger

        load_tagger(str(settings.ner), root)


def make_record(
    settings: Deidentification, source: str, rows: int, counts: Mapping[str, int], rules: str, ner: str | None
) -> dict[str, Any]:
    """Return the de-identification record of one source, as the ledger has it.

    It has the settings, the counts by kind, the hash of the rules, and whether the limit is kept.
    The same detector finds the identifiers and counts what is left, so `within_limit` verifies nothing.
    `independent_check` is for the result of another detector; it is null, because no build runs one yet.
    """
    hits, left = _by_kind(counts, FOUND), _by_kind(counts, LEFT)
    limited = left if settings.mode == "replace" else hits
    return {
        "source": source,
        "mode": settings.mode,
        "rules": rules,
        "ner": ner,
        "rows": rows,
        "rows_with_hits": counts.get(ROWS_FOUND, 0),
        "hits": hits,
        "rows_left": counts.get(ROWS_LEFT, 0),
        "left": left,
        "limit": settings.limit,
        "within_limit": sum(limited.values()) * 1000 <= settings.limit * rows,
        "counted_by": "same detector",
        "independent_check": None,
    }


def describe_record(record: Mapping[str, Any]) -> str:
    """Return a de-identification record as one line of text, for the screen and the model card."""
    hits, left = sum(record["hits"].values()), sum(record["left"].values())
    counts = f"{hits:,} found and replaced, {left:,} left in rows that were dropped"
    if record["mode"] == "check":
        counts = f"{hits:,} found, in rows that were dropped"
    return f"{record['source']} ({counts}; limit {record['limit']:g} per 1,000 rows; {NOT_CHECKED})"


def _by_kind(counts: Mapping[str, int], suffix: str) -> dict[str, int]:
    # Imported late: the module compiles patterns, which a recipe without `deidentify` does not need.
    from .rules import KINDS

    return {kind: counts[f"{kind} {suffix}"] for kind in KINDS if counts.get(f"{kind} {suffix}")}


def count_kinds(kinds: Iterable[str], suffix: str) -> Counter[str]:
    """Return the number of each kind under its key in the counts of a stage, such as "phone found"."""
    return Counter(f"{kind} {suffix}" for kind in kinds)


def require_records(sources: Mapping[str, bool], records: Sequence[Mapping[str, Any]]) -> None:
    """Raise UserError if a source of patient text has no de-identification record, or a source is above its limit.

    `sources` maps a source's name to whether it is patient text; `records` are the records of this build.
    """
    known = {record["source"] for record in records}
    missing = [name for name, patient_text in sources.items() if patient_text and name not in known]
    if missing:
        raise UserError(
            f"source {', '.join(missing)}: patient text, but not de-identified; "
            "set deidentify in the recipe (deidentify.mode=replace), or name the source under skip"
        )
    for record in records:
        if not record["within_limit"]:
            raise UserError(_refusal(record))


def _refusal(record: Mapping[str, Any]) -> str:
    replaced = record["mode"] == "replace"
    limited = record["left"] if replaced else record["hits"]
    hits, rows = sum(limited.values()), record["rows"]
    most = ", ".join(
        f"{kind} {count:,}" for kind, count in sorted(limited.items(), key=lambda entry: -entry[1])[:4]
    )
    problem = (
        "are left after replacement; raise deidentify.limit to build without these rows"
        if replaced
        else "were found; use deidentify.mode=replace, or raise deidentify.limit to build without these rows"
    )
    return (
        f"source {record['source']!r}: {hits:,} identifiers in {rows:,} rows ({most}), more than "
        f"deidentify.limit={record['limit']:g} per 1,000, {problem}"
    )
