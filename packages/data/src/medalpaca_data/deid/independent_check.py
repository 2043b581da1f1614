"""Independent check of de-identification: an estimate of the direct identifiers left, from the text alone.

Direct identifiers are names, dates, e-mail addresses, and telephone, record and other numbers.

The check is a linear model over characters and neighbours (`check_model`). It shares no list, whitelist or pattern with
the detector that finds and replaces identifiers, and reads neither its spans nor the ledger. Surrogates are excluded by
their public forms (`check_features`). The model misses identifiers and has false positives. Both rates were measured on
templates of notes that the model had not seen; `estimate` corrects for them, and its bound includes their spread.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

DETECTOR = "linear model of characters and neighbours"
# Suffix of the keys in the counts of a stage: "name suspected".
SUSPECTED = "suspected"
ROWS, WORDS = "rows checked independently", "words checked independently"
# One-sided 95 %: quantile of the normal distribution.
Z = 1.645
# Upper 95 % bound of a Poisson mean if no event was seen: the rule of three.
RULE_OF_THREE = 3.0
# Rows vary in style less than in content, so their number of independent styles is limited.
MAX_STYLES = 10


@dataclass(frozen=True, slots=True)
class LeakEstimate:
    """Direct identifiers left in `rows` rows: the expected number `mean` and its upper 95 % bound `upper`.

    `by_class` has the expected number of each class, without those of zero.
    """

    rows: int
    mean: float
    upper: float
    by_class: Mapping[str, float] = field(default_factory=dict)

    @property
    def mean_per_1000(self) -> float:
        """The expected number per 1,000 rows; 0 without rows."""
        return 1000 * self.mean / self.rows if self.rows else 0.0

    @property
    def upper_per_1000(self) -> float:
        """The upper 95 % bound per 1,000 rows; 0 without rows."""
        return 1000 * self.upper / self.rows if self.rows else 0.0


def estimate(texts: Sequence[str]) -> LeakEstimate:
    """Return the estimate for texts, one for each row."""
    return from_counts(count(texts))


def count(texts: Sequence[str]) -> Counter[str]:
    """Return the counts that an estimate needs: rows, words, and suspected identifiers of each class.

    Counts of parts of a data set can be added up. Their keys are those in the counts of a stage.
    """
    from .check_model import stored

    model, _, _ = stored()
    counts: Counter[str] = Counter({ROWS: len(texts)})
    for text in texts:
        hits, words = model.hits(text)
        counts[WORDS] += words
        counts.update(f"{hit.kind} {SUSPECTED}" for hit in hits)
    return counts


def from_counts(counts: Mapping[str, int]) -> LeakEstimate:
    """Return the estimate for the sums of `count` over all rows.

    The sum over the `GROUPS` of classes of (hits - expected false positives) / recall, at least 0. The bound adds, as
    independent errors: the Poisson error of the hits, and the errors of recall and of false positives, which are their
    standard deviation over templates divided by the square root of the number of rows, at most `MAX_STYLES`.
    """
    from .check_model import GROUPS, stored

    _, calibration, _ = stored()
    rows, words = counts.get(ROWS, 0), counts.get(WORDS, 0)
    if not rows:
        return LeakEstimate(0, 0.0, 0.0)
    styles = math.sqrt(min(rows, MAX_STYLES))
    groups = calibration["groups"]
    hits = Counter(dict.fromkeys(groups, 0))
    for kind, group in GROUPS.items():
        hits[group] += counts.get(f"{kind} {SUSPECTED}", 0)
    mean = positive = 0.0
    recall_error = false_error = 0.0
    for group, rates in groups.items():
        false = rates["false_per_1000_words"] * words / 1000
        least_false = max(0.0, false - Z * rates["false_sd"] * words / 1000 / styles)
        left = (hits[group] - false) / rates["recall"]
        least_recall = max(0.5 * rates["recall"], rates["recall"] - Z * rates["recall_sd"] / styles)
        mean += left
        # In the bound, a group with few hits does not offset another one.
        positive += max(0.0, left)
        recall_error += max(0.0, left) * (rates["recall"] / least_recall - 1)
        false_error += (min(hits[group], false) - min(hits[group], least_false)) / rates["recall"]
    mean = max(0.0, mean)
    total = hits.total()
    recall = groups["name"]["recall"]
    if total:
        recall = total / sum(number / groups[group]["recall"] for group, number in hits.items())
    poisson_error = (_poisson_upper(total) - total) / recall
    upper = max(positive + math.hypot(poisson_error, recall_error, false_error), RULE_OF_THREE / recall)
    # Which hits are false is not known, so the estimate is divided among the classes by hits / recall.
    shares = {
        kind: counts.get(f"{kind} {SUSPECTED}", 0) / groups[group]["recall"] for kind, group in GROUPS.items()
    }
    factor = mean / sum(shares.values()) if total else 0.0
    by_class = {kind: share * factor for kind, share in shares.items() if share * factor > 0}
    return LeakEstimate(rows, mean, upper, by_class)


def _poisson_upper(count: int) -> float:
    """Return the upper 95 % bound of a Poisson mean, given one count (approximation of Wilson and Hilferty)."""
    if not count:
        return RULE_OF_THREE
    n = count + 1
    return n * (1 - 1 / (9 * n) + Z / (3 * math.sqrt(n))) ** 3


def make_check(counts: Mapping[str, int]) -> dict[str, Any]:
    """Return the entry `independent_check` of a de-identification record, from the counts of a stage."""
    from .check_model import stored

    found = from_counts(counts)
    return {
        "detector": DETECTOR,
        "sha256": stored()[2],
        "rows": found.rows,
        "estimate_per_1000": _rounded(found.mean_per_1000),
        "upper_95_per_1000": _rounded(found.upper_per_1000),
        "by_class": {kind: round(number, 1) for kind, number in found.by_class.items()},
    }


def _rounded(number: float) -> float:
    """Return a number rounded up to three decimals, so that a bound stays one."""
    return math.ceil(number * 1000) / 1000


def describe_check(check: Mapping[str, Any]) -> str:
    """Return the result of the check as a phrase for the screen, the dataset card and the model card."""
    return (
        f"checked independently: at most {check['upper_95_per_1000']:,.4g} direct identifiers per 1,000 rows (95 %), "
        f"estimate {check['estimate_per_1000']:,.4g}"
    )


def rows_needed(limit: float) -> int | None:
    """Return the least number of rows that can prove a limit per 1,000 rows, by the rule of three; None for limit 0."""
    return math.ceil(1000 * RULE_OF_THREE / limit) if limit > 0 else None
