"""De-identification stage: count Safe Harbor identifiers, and drop the rows with them or put surrogates in their place.

The rows of the checked sources contain no identifier that was found. A dropped row goes to `rejected/` with marks in
place of its identifiers. The original text of a changed row is not kept.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from ..core.row import TEXTS, content_id
from ..deid.settings import FOUND, LEFT, ROWS_FOUND, ROWS_LEFT, Deidentification, count_kinds, make_record
from ..deid.site import KEPT, SITE
from ..executor import Stage, StageResult
from ..shard import Drop, Shard, read_account, total

if TYPE_CHECKING:
    from pathlib import Path

    import polars as pl

    from ..deid.find import Tagger
    from ..deid.rules import Span
    from ..deid.site import SiteRules

REASON = "identifiers of a person"


class Deidentify(Stage):
    """Find identifiers in the rows of the sources named in `only`, or of all sources if `only` is None.

    In mode `check`, a row with an identifier is dropped. In mode `replace`, identifiers are replaced by surrogates, and
    a row is dropped if an identifier remains after that. Rows of other sources stay unchanged.
    """

    name: ClassVar[str] = "deidentify"

    def __init__(self, settings: Deidentification, only: Collection[str] | None = None) -> None:
        self._settings, self._only = settings, None if only is None else frozenset(only)
        self._profile = settings.profile_of(patient_text=only is not None)
        self._loaded: Any = None

    def __getstate__(self) -> dict[str, Any]:
        # The loaded model for named entities (NER) cannot be pickled; each worker process loads its own.
        return {**self.__dict__, "_loaded": None}

    def settings(self) -> Any:
        from ..deid.find import rules_sha256

        only = None if self._only is None else sorted(self._only)
        return [self._settings.model_dump(), self._profile, only, rules_sha256(), self._ner()]

    def apply(self, table: pl.DataFrame, shard: Shard, folder: Path) -> StageResult:
        if self._only is not None and shard.source not in self._only:
            return StageResult(frame=table)
        import polars as pl

        from ..deid.find import find_identifiers, prefilter
        from ..deid.replace import mask, replace_identifiers

        tagger, profile, site = self._tagger(), self._profile, self._settings.site_rules()
        texts: dict[str, list[str]] = {name: table[name].to_list() for name in TEXTS}
        ids = table["id"].to_list()
        candidates = (
            range(table.height)
            if tagger or site or profile == "recall"
            else sorted({n for name in TEXTS for n in prefilter(texts[name])})
        )
        counts: Counter[str] = Counter()
        drops: dict[int, Drop] = {}
        for n in candidates:
            before = [texts[name][n] for name in TEXTS]
            if self._settings.mode == "check":
                after: Sequence[str] = before
                found: Sequence[Sequence[Span]] = find_identifiers(before, tagger, profile=profile, site=site)
                remaining = found
            else:
                replacement = replace_identifiers(
                    before, ids[n], self._settings.seed, tagger, profile=profile, site=site
                )
                after, found, remaining = replacement.texts, replacement.identifiers, replacement.remaining
            kinds, remaining_kinds = _kinds(found), _kinds(remaining)
            if site:
                counts += _site_counts(site, before, found)
            if not kinds and not remaining_kinds:
                continue
            counts += count_kinds(kinds, FOUND) + Counter({ROWS_FOUND: bool(kinds)})
            if remaining_kinds:
                if self._settings.mode == "replace":
                    counts += count_kinds(remaining_kinds, LEFT) + Counter({ROWS_LEFT: 1})
                after = mask(after, remaining)
                drops[n] = Drop(
                    reason=REASON, evidence={"identifiers": dict(sorted(Counter(remaining_kinds).items()))}
                )
            for name, text in zip(TEXTS, after, strict=True):
                texts[name][n] = text
            ids[n] = content_id(*after)
        columns = {**texts, "id": ids}
        frame = table.with_columns(
            *(pl.Series(name, values, dtype=pl.String) for name, values in columns.items())
        )
        return StageResult(frame=frame, drops=drops, counts=counts)

    def records(self, shards: Sequence[Shard]) -> list[dict[str, Any]]:
        """Return the de-identification record of each checked source, as a JSON object.

        `shards` are the output shards of this stage. Their stored counts are added up; no row is read.
        """
        from ..deid.find import rules_sha256

        records = []
        for source in dict.fromkeys(shard.source for shard in shards):
            if self._only is None or source in self._only:
                accounts = [read_account(shard) or {} for shard in shards if shard.source == source]
                rows = sum(account["read"] for account in accounts)
                counts = total(accounts, "counts")
                records.append(
                    make_record(
                        self._settings, source, rows, counts, rules_sha256(), self._ner(), self._profile
                    )
                )
        return records

    def _tagger(self) -> Tagger | None:
        if self._settings.ner and self._loaded is None:
            from ..deid.ner import NerTagger

            self._loaded = NerTagger()
        return self._loaded  # type: ignore[no-any-return]

    def _ner(self) -> str | None:
        tagger = self._tagger()
        return None if tagger is None else str(tagger.version)  # type: ignore[attr-defined]


def _site_counts(site: SiteRules, texts: Sequence[str], found: Sequence[Sequence[Span]]) -> Counter[str]:
    """Return the hits of the patterns and words of the site, under keys of their own."""
    counts = Counter(span.rule for spans in found for span in spans if span.rule.startswith(SITE))
    counts[KEPT] = sum(map(site.count_kept, texts))
    return +counts


def _kinds(found: Sequence[Sequence[Span]]) -> list[str]:
    return [span.kind for spans in found for span in spans]
