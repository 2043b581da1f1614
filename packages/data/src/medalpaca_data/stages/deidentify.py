"""De-identification stage: count Safe Harbor identifiers, and drop the rows with them or put surrogates in their place.

The rows of the checked sources contain no identifier that was found. A dropped row goes to `rejected/` with marks in
place of its identifiers. The original text of a changed row is not kept; the positions of its surrogates are.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from ..core.row import TEXTS, content_id
from ..deid.independent_check import make_check
from ..deid.secret import cache_token, key_path, keyed_hash, load_secret
from ..deid.settings import FOUND, LEFT, ROWS_FOUND, ROWS_LEFT, Deidentification, count_kinds, make_record
from ..deid.site import KEPT, SITE
from ..executor import Stage, StageResult
from ..shard import Drop, Shard, read_account, total

if TYPE_CHECKING:
    import polars as pl

    from ..deid.find import Tagger
    from ..deid.rules import Span
    from ..deid.site import SiteRules

REASON = "identifiers of a person"


class Deidentify(Stage):
    """Find identifiers in the rows of the sources named in `only`, or of all sources if `only` is None.

    In mode `check`, a row with an identifier is dropped. In mode `replace`, identifiers are replaced by surrogates, and
    a row is dropped if an identifier remains after that. Rows of other sources stay unchanged.

    Sources in `only` are patient text: `group` and `source_id` become keyed hashes, and `url`, `attribution` and
    `generator` null. `source` becomes the name of the source, and `licence` that in `licences`, if it has the name of
    the source. What the first group of a regular expression in `case_numbers` matches is replaced in the texts of its
    source. The directories of the key and of a model for named-entity recognition (NER) are relative to `root`. No key
    is needed in mode `check` if `only` is None.
    """

    name: ClassVar[str] = "deidentify"

    def __init__(
        self,
        settings: Deidentification,
        only: Collection[str] | None = None,
        root: Path | None = None,
        licences: Mapping[str, str | None] | None = None,
        case_numbers: Mapping[str, str] | None = None,
    ) -> None:
        self._settings, self._only = settings, None if only is None else frozenset(only)
        self._root, self._licences = (root or Path()).absolute(), dict(licences or {})
        self._case_numbers = dict(case_numbers or {})
        self._profile = settings.profile_of(patient_text=only is not None)
        self._loaded: Any = None

    def __getstate__(self) -> dict[str, Any]:
        # The loaded model for named entities cannot be pickled; each worker process loads its own.
        return {**self.__dict__, "_loaded": None}

    @property
    def needs_secret(self) -> bool:
        """Whether the stage writes surrogates or keyed hashes."""
        return self._only is not None or self._settings.mode == "replace"

    def secret(self) -> bytes | None:
        """Return the key, or None if none is needed. It is read from its file in each process, so it is not pickled.

        Raises UserError if the file is missing or is not allowed.
        """
        if not self.needs_secret:
            return None
        return load_secret(key_path(self._settings.secret, self._root).parent)

    def settings(self) -> Any:
        from ..deid.find import rules_sha256

        only = None if self._only is None else sorted(self._only)
        secret = self.secret()
        return [
            self._settings.model_dump(exclude={"secret"}),
            self._profile,
            only,
            sorted(self._licences.items()),
            sorted(self._case_numbers.items()),
            rules_sha256(),
            self._ner(),
            secret and cache_token(secret),
        ]

    def apply(self, table: pl.DataFrame, shard: Shard, folder: Path) -> StageResult:
        if self._only is not None and shard.source not in self._only:
            return StageResult(frame=table)
        import polars as pl

        from ..deid import independent_check
        from ..deid.find import find_identifiers, prefilter
        from ..deid.replace import mask, replace_identifiers
        from ..deid.rules import KINDS

        tagger, secret = self._tagger(), self.secret()
        profile = self._profile
        site = replace(self._settings.site_rules(), case_number=self._case_numbers.get(shard.source))
        texts: dict[str, list[str]] = {name: table[name].to_list() for name in TEXTS}
        ids, groups = table["id"].to_list(), table["group"].to_list()
        candidates = (
            range(table.height)
            if tagger or site or profile == "recall"
            else sorted({n for name in TEXTS for n in prefilter(texts[name])})
        )
        counts: Counter[str] = Counter()
        drops: dict[int, Drop] = {}
        # For each surrogate: row, field, start, end, class. Arrays need a fifth of the memory of tuples.
        surrogates = array("I")
        numbers = {kind: number for number, kind in enumerate(KINDS)}
        for n in candidates:
            before = [texts[name][n] for name in TEXTS]
            inserted: Sequence[Sequence[Span]] = ()
            if self._settings.mode == "check" or secret is None:
                after: Sequence[str] = before
                found: Sequence[Sequence[Span]] = find_identifiers(before, tagger, profile=profile, site=site)
                remaining = found
            else:
                replacement = replace_identifiers(
                    before, ids[n], secret, tagger, group=groups[n], profile=profile, site=site
                )
                after, found, remaining = replacement.texts, replacement.identifiers, replacement.remaining
                inserted = replacement.surrogates
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
            if n not in drops:
                for field, spans in enumerate(inserted):
                    for span in spans:
                        surrogates.extend((n, field, span.start, span.end, numbers[span.kind]))
        columns = {**texts, "id": ids}
        frame = table.with_columns(
            *(pl.Series(name, values, dtype=pl.String) for name, values in columns.items())
        )
        if self._only is not None and secret is not None:
            frame = self._without_origin(frame, shard.source, secret)
        positions = _span_table(surrogates, frame["id"]) if surrogates else None
        kept = ["\n".join(row) for n, row in enumerate(zip(*texts.values(), strict=True)) if n not in drops]
        return StageResult(
            frame=frame, drops=drops, counts=counts, spans=positions, checked=independent_check.count(kept)
        )

    def _without_origin(self, table: pl.DataFrame, source: str, secret: bytes) -> pl.DataFrame:
        """Return rows of patient text without what identifies a patient beside the text."""
        import polars as pl

        hashed = {
            name: [None if value is None else keyed_hash(secret, value) for value in table[name]]
            for name in ("group", "source_id")
        }
        licence = {"licence": self._licences[source]} if source in self._licences else {}
        constants = {"source": source, "url": None, "attribution": None, "generator": None, **licence}
        return table.with_columns(
            *(pl.Series(name, values, dtype=pl.String) for name, values in hashed.items()),
            *(pl.lit(value, dtype=pl.String).alias(name) for name, value in constants.items()),
        )

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
                check = make_check(total(accounts, "checked"))
                records.append(
                    make_record(
                        self._settings,
                        source,
                        rows,
                        counts,
                        rules_sha256(),
                        self._ner(),
                        check,
                        self._profile,
                    )
                )
        return records

    def _tagger(self) -> Tagger | None:
        if self._settings.ner and self._loaded is None:
            from ..deid.ner import load_tagger

            self._loaded = load_tagger(str(self._settings.ner), self._root)
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


def _span_table(surrogates: array[int], ids: pl.Series) -> pl.DataFrame:
    """Return the positions of surrogates: id of the row, its field, first character, the one after the last, class."""
    import numpy as np
    import polars as pl

    from ..deid.rules import KINDS

    row, field, start, end, kind = np.array(surrogates, dtype=np.uint32).reshape(-1, 5).T
    columns = {"row": row, "start": start, "end": end}
    numbers = {name: pl.Series(name, values.astype(np.int64)) for name, values in columns.items()}
    return pl.DataFrame(
        {
            "id": ids.gather(numbers["row"]),
            "field": pl.Series(TEXTS).gather(field),
            "start": numbers["start"],
            "end": numbers["end"],
            "class": pl.Series(tuple(KINDS)).gather(kind),
        }
    )
