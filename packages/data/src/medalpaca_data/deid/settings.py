"""The section `deidentify` of a recipe, and the de-identification record that a source of patient text must have."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from ..core.config import Config
from ..core.errors import UserError
from .independent_check import describe_check, rows_needed
from .site import SitePattern, SiteRules

# Suffixes of the keys in the counts of a stage: "phone found", "phone left".
FOUND, LEFT = "found", "left"
NOT_CHECKED = "not independently checked"
# Values of `counted_by`: what the limit is compared with.
SAME, INDEPENDENT = "same detector", "independent check"
# Default limit of mode "check": identifiers found per 1,000 rows.
CHECK_LIMIT = 1.0
# Classes that a refusal names.
MAX_CLASSES = 6
ROWS_FOUND, ROWS_LEFT = "rows with identifiers found", "rows with identifiers left"


class Deidentification(Config):
    """The keys under `deidentify` in a recipe.

    mode: "check" drops rows with identifiers. "replace" puts surrogates in place of identifiers, checks again, and
    drops the rows in which the second check still finds one.
    limit: the build of a source above it is refused. Mode "replace", without a default: the largest number of direct
    identifiers left per 1,000 rows, compared with the upper 95 % bound of the independent check. Mode "check", default
    1: the largest number of identifiers found per 1,000 rows.
    ner: also use named-entity recognition: "presidio" for the installed presidio-analyzer, or the directory of a token
    classification model, relative to the recipe. True of older recipes is "presidio".
    profile: "recall" finds as many identifiers as possible, "precise" only those that are certain. Null, the default,
    is "recall" for sources with `patient_text: true`, and "precise" for all other sources.
    patterns: numbers and codes of the site, each with name, regex and class.
    keep: words that are never replaced. always: words that are always replaced. Case is ignored in both.
    secret: directory of the key file `patient-text.key`, relative to the recipe; null is MEDALPACA_HOME/secrets. The
    first build writes the key. Surrogates, shifts of dates, and hashes of case numbers depend on it.
    """

    mode: Literal["check", "replace"] = "replace"
    limit: float | None = Field(default=None, ge=0, le=100_000)
    ner: bool | str = False
    profile: Literal["recall", "precise"] | None = None
    patterns: tuple[SitePattern, ...] = ()
    keep: tuple[str, ...] = ()
    always: tuple[str, ...] = ()
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

    @model_validator(mode="before")
    @classmethod
    def _default_limit(cls, values: Any) -> Any:
        if isinstance(values, Mapping) and values.get("mode") == "check" and values.get("limit") is None:
            return {**values, "limit": CHECK_LIMIT}
        return values

    @model_validator(mode="after")
    def _check_limit(self) -> Self:
        if self.limit is None:
            raise ValueError(
                "limit is missing: deidentify.limit has no default with deidentify.mode=replace; set it to the largest "
                "number of direct identifiers left per 1,000 rows that is acceptable (0 to 100000); the build is "
                "refused if the upper 95 % bound of the independent check is higher"
            )
        return self

    def profile_of(self, *, patient_text: bool) -> Literal["recall", "precise"]:
        """Return the profile for a source; the default depends on whether the source has `patient_text: true`."""
        return self.profile or ("recall" if patient_text else "precise")

    def site_rules(self) -> SiteRules:
        """Return the patterns and words of the site."""
        return SiteRules(self.patterns, self.keep, self.always)


def check_ner(settings: Deidentification, root: Path) -> None:
    """Load the model that `settings.ner` names, relative to `root`. Raises UserError if it is not usable."""
    if settings.ner:
        from .ner import load_tagger

        load_tagger(str(settings.ner), root)


def make_record(
    settings: Deidentification,
    source: str,
    rows: int,
    counts: Mapping[str, int],
    rules: str,
    ner: str | None,
    check: Mapping[str, Any],
    profile: str = "precise",
) -> dict[str, Any]:
    """Return the de-identification record of one source, as the ledger has it.

    `rules` is the hash of the rules, `ner` the version of the NER model, None without one. The record has the settings,
    the counts by kind, the hash of the rules, the result `check` of the independent check, and whether the limit is
    kept. In mode "replace", the upper bound of the check is limited, in mode "check" the number of identifiers found.
    With patterns or words of the site, it has their counts. `hits` and `left` are the counts of the detector that makes
    the replacements.
    """
    hits, left = _by_kind(counts, FOUND), _by_kind(counts, LEFT)
    limit = settings.limit if settings.limit is not None else CHECK_LIMIT
    per_1000 = (
        check["upper_95_per_1000"]
        if settings.mode == "replace"
        else 1000 * sum(hits.values()) / rows
        if rows
        else 0.0
    )
    return {
        "source": source,
        "mode": settings.mode,
        "profile": profile,
        "rules": rules,
        "ner": ner,
        **({"site": site.record(counts)} if (site := settings.site_rules()) else {}),
        "rows": rows,
        "rows_with_hits": counts.get(ROWS_FOUND, 0),
        "hits": hits,
        "rows_left": counts.get(ROWS_LEFT, 0),
        "left": left,
        "limit": limit,
        "within_limit": per_1000 <= limit,
        "counted_by": INDEPENDENT if settings.mode == "replace" else SAME,
        "independent_check": dict(check),
    }


def describe_record(record: Mapping[str, Any]) -> str:
    """Return a de-identification record as one line of text, for the screen and the model card."""
    hits, left = sum(record["hits"].values()), sum(record["left"].values())
    counts = f"{hits:,} found and replaced, {left:,} left in rows that were dropped"
    if record["mode"] == "check":
        counts = f"{hits:,} found, in rows that were dropped"
    check = record["independent_check"]
    return (
        f"{record['source']} ({counts}; limit {record['limit']:g} per 1,000 rows; "
        f"{describe_check(check) if check else NOT_CHECKED})"
    )


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
            "set deidentify in the recipe (deidentify.mode=replace and deidentify.limit), or name the source under skip"
        )
    for record in records:
        if not record["within_limit"]:
            raise UserError(_refusal(record))


def _refusal(record: Mapping[str, Any]) -> str:
    source, rows, limit = record["source"], record["rows"], record["limit"]
    if record["mode"] == "check":
        return (
            f"source {source!r}: {sum(record['hits'].values()):,} identifiers in {rows:,} rows "
            f"({_most(record['hits'])}), more than deidentify.limit={limit:g} per 1,000, were found; use "
            "deidentify.mode=replace, or raise deidentify.limit to build without these rows"
        )
    check = record["independent_check"]
    classes = f" ({_most(check['by_class'])})" if check["by_class"] else ""
    found = (
        f"source {source!r}: {describe_check(check)}, in {check['rows']:,} rows{classes}, more than "
        f"deidentify.limit={limit:g}"
    )
    needed = rows_needed(limit)
    if needed is None:
        return f"{found}; no number of rows can prove a limit of 0; set a higher deidentify.limit"
    if check["rows"] < needed:
        return (
            f"{found}; {check['rows']:,} rows cannot prove this limit, at least {needed:,} are needed "
            "(3,000 / limit); add rows or raise deidentify.limit"
        )
    return f"{found}; improve the detection of identifiers, or raise deidentify.limit and accept the risk"


def _most(counts: Mapping[str, float]) -> str:
    """Return the most frequent classes with their counts."""
    shown = sorted(counts.items(), key=lambda entry: -entry[1])[:MAX_CLASSES]
    return ", ".join(f"{kind} {number:,.0f}" for kind, number in shown if number >= 0.5)
