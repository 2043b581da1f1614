"""Find identifiers in the texts of one record: apply all rules, then find each name wherever it is repeated.

All texts of a record are searched together, because a name in one text is also searched in the others.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import cache
from typing import TYPE_CHECKING, Literal

from ..core.files import sha256_bytes, sha256_listing
from . import dates, names, patterns, places
from .rules import Rule, Span, is_common_word, is_given_name, is_surname, medical_suffix
from .surrogates import is_surrogate

if TYPE_CHECKING:
    from .site import SiteRules

RULES: tuple[Rule, ...] = (
    patterns.NUMBER_RULES + patterns.CONTACT_RULES + dates.RULES + places.RULES + names.RULES
)
RULE_ORDER = {(rule.kind, rule.name): position for position, rule in enumerate(RULES)}
# `rules_sha256` covers every file of this folder except these, so a new file is part of the hash by default.
NON_RULE_FILES = frozenset(
    {
        "__init__.py", "annotated_notes.py", "check_features.py", "check_model.py", "cli.py", "evaluate.py",
        "evaluation_table.py", "independent_check.npz", "independent_check.py", "ner.py", "ner_model.py", "replace.py",
        "review.py", "secret.py", "settings.py", "site.py",
    }
)  # fmt: skip
REPEATED_NAME = "name again"
# With fewer rules in a pattern, texts are read more often. With more, a pattern outgrows the cache of the engine.
RULES_PER_PATTERN = 10
# Kinds whose rules, except "handle", are used only for texts with a digit, for speed. An address or number of letters
# alone, such as the MAC address AA:BB:CC:DD:EE:FF in a text without any digit, is therefore not found.
KINDS_WITH_DIGITS = frozenset(
    {
        "account", "age", "biometric", "date", "device", "fax", "ip", "licence", "mrn",
        "other", "phone", "plan", "ssn", "vehicle",
    }
)  # fmt: skip

# `recall` finds as many identifiers as possible, in texts of patients; `precise` finds those that are certain.
Profile = Literal["recall", "precise"]
# Named-entity recognition (NER): text -> identifiers in it.
Tagger = Callable[[str], Sequence[Span]]


DIGIT_RULES = tuple(rule for rule in RULES if rule.kind in KINDS_WITH_DIGITS and rule.name != "handle")
OTHER_RULES = tuple(rule for rule in RULES if rule not in DIGIT_RULES)


@cache
def prefilter_patterns() -> list[tuple[str, bool]]:
    """Return pairs of a pattern and whether it is used only for texts with a digit.

    Together, the patterns match every text in which a rule can match. The regular expression engine of polars runs
    them.
    """
    patterns = []
    for rules in (DIGIT_RULES, OTHER_RULES):
        alternatives = [f"(?:{rule.prefilter})" for rule in rules]
        patterns += [
            ("|".join(alternatives[n : n + RULES_PER_PATTERN]), rules is DIGIT_RULES)
            for n in range(0, len(alternatives), RULES_PER_PATTERN)
        ]
    return patterns


@cache
def rules_sha256() -> str:
    """Return the version of the rules: one SHA-256 over the code and word lists that determine what is found."""
    from importlib.resources import files

    folder = files(__package__)
    rule_files = sorted(
        (
            file
            for part in (folder, folder / "lists")
            for file in part.iterdir()
            if file.is_file() and file.name not in NON_RULE_FILES
        ),
        key=lambda file: file.name,
    )
    return sha256_listing((file.name, sha256_bytes(file.read_bytes())) for file in rule_files)


def find_identifiers(
    texts: Sequence[str],
    tagger: Tagger | None = None,
    *,
    profile: Profile = "precise",
    site: SiteRules | None = None,
    include_surrogates: bool = False,
) -> list[list[Span]]:
    """Return the identifiers in each text of a record, in order and without overlap.

    `tagger` finds identifiers in addition to the rules, and `site` has the patterns and words of a recipe. Surrogates
    that `replace_identifiers` has inserted are recognised by their form and skipped under the profile `precise`. With
    `include_surrogates`, they are returned too, except dates: no rule of `precise` finds a year of 2100 or later. The
    profile `recall` returns them always.
    """
    if profile == "recall":
        from .recall import find_recall

        # A name by its context overrules the lists: "Patient Smith" is a person, although Smith is an eponym.
        found = []
        for text, spans in zip(texts, find_recall(texts), strict=True):
            covered = {n for span in spans for n in range(span.start, span.end)}
            missed = [
                span
                for span in _apply_rules(text, names.RULES, None)
                if covered.isdisjoint(range(span.start, span.end))
            ]
            found.append([*spans, *missed, *(tagger(text) if tagger else ())])
        include_surrogates = True
    else:
        found = _find_precise(texts, tagger)
    if site:
        found = [site.apply(text, spans) for text, spans in zip(texts, found, strict=True)]
    return [
        [
            span
            for span in _without_overlap(spans, text)
            if include_surrogates or not is_surrogate(span.kind, text[span.start : span.end])
        ]
        for text, spans in zip(texts, found, strict=True)
    ]


def _find_precise(texts: Sequence[str], tagger: Tagger | None) -> list[list[Span]]:
    """Return what the rules of the profile `precise` and the tagger find in each text; spans may overlap."""
    found = [_apply_rules(text, RULES if re.search("[0-9]", text) else OTHER_RULES, tagger) for text in texts]
    for spans, again in zip(found, _repeated_names(texts, found), strict=True):
        spans.extend(again)
    return found


def _apply_rules(text: str, rules: Sequence[Rule], tagger: Tagger | None) -> list[Span]:
    """Return what rules and tagger find in a text, names without ordinary words at their end; spans may overlap."""
    spans = [span for rule in rules for span in rule.spans(text)]
    if tagger:
        spans += tagger(text)
    return [kept for span in spans if (kept := names.trim_name(span, text) if span.kind == "name" else span)]


def _repeated_names(texts: Sequence[str], found: Sequence[Sequence[Span]]) -> list[list[Span]]:
    """Return, for each text, every occurrence of a word of a name that was found in any of the texts.

    Common words that are no listed name are left out, and words that are part of a medical term.
    """
    words = {
        word
        for text, spans in zip(texts, found, strict=True)
        for span in spans
        if span.kind == "name"
        for word in names.name_words(text[span.start : span.end])
        if is_given_name(word) or is_surname(word) or not is_common_word(word)
    }
    if not words:
        return [[] for _ in texts]
    forms = {form for word in words for form in (word, word.upper(), word.title())}
    pattern = re.compile(
        rf"(?<!\w)(?:{'|'.join(map(re.escape, sorted(forms, key=lambda w: (-len(w), w))))})(?!\w)"
    )
    return [
        [
            Span(*match.span(), "name", REPEATED_NAME)
            for match in pattern.finditer(text)
            if not medical_suffix().match(text, match.end())
        ]
        for text in texts
    ]


def _without_overlap(spans: Sequence[Span], text: str) -> list[Span]:
    """Return the spans without overlap: the longest is kept, then the first by rule; others keep their free parts."""
    covered = bytearray(len(text))
    kept: list[Span] = []
    for span in sorted(
        spans, key=lambda s: (s.start - s.end, RULE_ORDER.get((s.kind, s.rule), len(RULE_ORDER)), s.start)
    ):
        for free in re.finditer(rb"\x00+", covered[span.start : span.end]):
            start, end = span.start + free.start(), span.start + free.end()
            if any(character.isalnum() for character in text[start:end]):
                kept.append(Span(start, end, span.kind, span.rule))
                covered[start:end] = b"\x01" * (end - start)
    return sorted(kept, key=lambda span: span.start)


def prefilter(texts: Sequence[str]) -> list[int]:
    """Return the sorted indices of the texts in which a rule may match; in all other texts, no rule matches.

    The fast Rust engine of polars reads all texts, so that the slow one of Python reads only these.
    """
    import polars as pl

    table = pl.DataFrame({"text": pl.Series(texts, dtype=pl.String)}).with_row_index("index")
    found: list[int] = []
    for pattern, needs_digit in prefilter_patterns():
        candidates = table.filter(pl.col("text").str.contains("[0-9]")) if needs_digit else table
        hits = candidates.filter(pl.col("text").str.contains(pattern))["index"]
        if len(hits):
            found += hits.to_list()
            table = table.filter(~pl.col("index").is_in(hits.implode()))
    return sorted(found)
