"""What a recipe says of de-identification, and the record of it that the ledger carries and others demand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from pydantic import Field

from ..core.config import Config
from ..core.errors import UserError
from .rules import KINDS

FOUND, LEFT = "found", "left"  # counted as "phone found", "phone left"
NOT_CHECKED = "not independently checked"
ROWS_FOUND, ROWS_LEFT = "rows with identifiers found", "rows with identifiers left"


class Deidentification(Config):
    """The keys under `deidentify`.

    check: rows with identifiers are dropped; a source with more than `limit` hits per 1,000 rows fails.
    replace: identifiers give way to surrogates; rows where a second check finds some are dropped, and a source with
    more than `limit` such hits per 1,000 rows fails. `ner` asks the installed presidio-analyzer as well.
    """

    mode: Literal["check", "replace"] = "replace"
    limit: float = Field(default=1.0, ge=0, le=1000)  # hits per 1,000 rows
    ner: bool = False
    seed: int = 0


def make_record(
    settings: Deidentification, source: str, rows: int, counts: Mapping[str, int], rules: str, ner: str | None
) -> dict[str, Any]:
    """Return the record of one source: what was found and left, by which rules, and whether that is within the limit.

    The counts are the detector's own, so `within_limit` verifies nothing.
    `independent_check` holds the result of another detector; it is null, because no build runs one yet.
    """
    hits, left = _by_kind(counts, FOUND), _by_kind(counts, LEFT)
    judged = left if settings.mode == "replace" else hits
    return {
        "source": source,
        "mode": settings.mode,
        "rules": rules,
        "ner": ner,
        "seed": settings.seed,
        "rows": rows,
        "rows_with_hits": counts.get(ROWS_FOUND, 0),
        "hits": hits,
        "rows_left": counts.get(ROWS_LEFT, 0),
        "left": left,
        "limit": settings.limit,
        "within_limit": sum(judged.values()) * 1000 <= settings.limit * rows,
        "counted_by": "same detector",
        "independent_check": None,
    }


def describe_record(record: Mapping[str, Any]) -> str:
    """Return a record in a sentence's words, for screens and cards."""
    hits, left = sum(record["hits"].values()), sum(record["left"].values())
    doing = f"{hits:,} found and replaced, {left:,} left in rows that were dropped"
    if record["mode"] == "check":
        doing = f"{hits:,} found, in rows that were dropped"
    return f"{record['source']} ({doing}; limit {record['limit']:g} per 1,000 rows; {NOT_CHECKED})"


def _by_kind(counts: Mapping[str, int], what: str) -> dict[str, int]:
    return {kind: counts[f"{kind} {what}"] for kind in KINDS if counts.get(f"{kind} {what}")}


def count_kinds(kinds: Iterable[str], what: str) -> Counter[str]:
    """Kinds as they are counted in a stage's account."""
    return Counter(f"{kind} {what}" for kind in kinds)


def require_records(sources: Mapping[str, bool], records: Sequence[Mapping[str, Any]]) -> None:
    """Refuse to export what patients wrote, or what was written about them, without a record within its limit.

    `sources`: name -> whether it is patient text; `records`: those of this build. A record above its limit refuses
    the build whatever the source is. Raises UserError.
    """
    known = {record["source"]: record for record in records}
    missing = [name for name, patient_text in sources.items() if patient_text and name not in known]
    if missing:
        raise UserError(
            f"source {', '.join(missing)}: patient text, and nothing was de-identified; "
            "set deidentify in the recipe (deidentify.mode=replace), or name the source under skip"
        )
    for record in records:
        if not record["within_limit"]:
            raise UserError(_refusal(record))


def _refusal(record: Mapping[str, Any]) -> str:
    judged = record["left"] if record["mode"] == "replace" else record["hits"]
    hits, rows = sum(judged.values()), record["rows"]
    most = ", ".join(
        f"{kind} {count:,}" for kind, count in sorted(judged.items(), key=lambda entry: -entry[1])[:4]
    )
    doing = (
        "are left after replacement; report the rows, or raise deidentify.limit knowing what it lets through"
        if record["mode"] == "replace"
        else "were found; use deidentify.mode=replace, or raise deidentify.limit"
    )
    return (
        f"source {record['source']!r}: {hits:,} identifiers in {rows:,} rows ({most}), more than "
        f"deidentify.limit={record['limit']:g} per 1,000, {doing}"
    )
