"""The section `deidentify` of a recipe, and the de-identification record that a source of patient text must have."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from pydantic import Field

from ..core.config import Config
from ..core.errors import UserError
from .rules import KINDS
from .site import SitePattern, SiteRules

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
    ner: also use the named-entity recognition of the installed presidio-analyzer.
    profile: "recall" finds as many identifiers as possible, "precise" only those that are certain. Null, the default,
    is "recall" for sources with `patient_text: true`, and "precise" for all other sources.
    patterns: numbers and codes of the site, each with name, regex and class.
    keep: words that are never replaced. always: words that are always replaced. Case is ignored in both.
    seed: determines the surrogates, together with the id and the texts of a row.
    """

    mode: Literal["check", "replace"] = "replace"
    limit: float = Field(default=1.0, ge=0, le=1000)
    ner: bool = False
    profile: Literal["recall", "precise"] | None = None
    patterns: tuple[SitePattern, ...] = ()
    keep: tuple[str, ...] = ()
    always: tuple[str, ...] = ()
    seed: int = 0

    def profile_of(self, *, patient_text: bool) -> Literal["recall", "precise"]:
        """Return the profile for a source."""
        return self.profile or ("recall" if patient_text else "precise")

    def site_rules(self) -> SiteRules:
        """Return the patterns and words of the site."""
        return SiteRules(self.patterns, self.keep, self.always)


def make_record(
    settings: Deidentification,
    source: str,
    rows: int,
    counts: Mapping[str, int],
    rules: str,
    ner: str | None,
    profile: str = "precise",
) -> dict[str, Any]:
    """Return the de-identification record of one source, as the ledger has it.

    It has the settings, the counts by kind, the hash of the rules, and whether the limit is kept. With
    patterns or words of the site, it has their counts.
    The same detector finds the identifiers and counts what is left, so `within_limit` verifies nothing.
    `independent_check` is for the result of another detector; it is null, because no build runs one yet.
    """
    hits, left = _by_kind(counts, FOUND), _by_kind(counts, LEFT)
    limited = left if settings.mode == "replace" else hits
    return {
        "source": source,
        "mode": settings.mode,
        "profile": profile,
        "rules": rules,
        "ner": ner,
        "seed": settings.seed,
        **({"site": site.record(counts)} if (site := settings.site_rules()) else {}),
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
