"""Answer sets that hold the right option with a chosen probability: split conformal prediction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import NamedTuple

from medalpaca_data.ground.files import sha256_bytes

from ..statistics.paired import Interval
from .probability import Forecast

TARGET = 0.9
SPLITS = 50
FEWEST = 20  # items on each side of a split below which nothing is said


class Trial(NamedTuple):
    """How sets made from some items did on others."""

    held: float  # share of sets with the right option in them
    size: float  # mean number of options in a set


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerSets:
    """How answer sets, made from one half of the items, did on the other half; mean over many splits.

    One split is luck: with 160 items in each half its share can lie 7 points from the target.
    """

    target: float
    splits: int
    calibrated_on: int
    n: int  # items of the other half
    held: float
    spread: Interval  # smallest and largest share among nine tenths of the splits
    mean_size: float


def answer_sets(
    forecasts: Sequence[Forecast], target: float = TARGET, splits: int = SPLITS
) -> AnswerSets | None:
    """Make and try the sets, or None with too few items.

    Vovk, V., Gammerman, A. and Shafer, G. (2005), "Algorithmic Learning in a Random World", chapter 4; the
    score is one minus the right option's probability (Sadinle, Lei and Wasserman 2019, JASA 114:223-234).
    For items drawn like the calibration items, sets hold the right option with at least `target`.
    """
    halves = [split(forecasts, seed) for seed in range(splits)]
    calibrating, tried = map(len, halves[0])
    if min(calibrating, tried) < FEWEST:
        return None
    trials = [try_sets(*half, target) for half in halves]
    held = sorted(trial.held for trial in trials)
    cut = splits // 20
    return AnswerSets(
        target=target,
        splits=splits,
        calibrated_on=calibrating,
        n=tried,
        held=sum(held) / splits,
        spread=Interval(held[cut], held[-1 - cut]),
        mean_size=sum(trial.size for trial in trials) / splits,
    )


def try_sets(calibrating: Sequence[Forecast], tried: Sequence[Forecast], target: float) -> Trial:
    """Sets hold every option whose probability is no smaller than what `calibrating` says is needed."""
    threshold = conformal_threshold([1 - f.shares[f.key] for f in calibrating], target)
    sets = [[i for i, share in enumerate(f.shares) if 1 - share <= threshold] for f in tried]
    held = sum(f.key in options for f, options in zip(tried, sets, strict=True))
    return Trial(held / len(tried), sum(map(len, sets)) / len(tried))


def split(forecasts: Sequence[Forecast], seed: int) -> tuple[list[Forecast], list[Forecast]]:
    """Two halves, at random for a reader of the exam, and the same wherever and whenever they are made.

    By a hash of seed and id instead of a random generator, whose draws a new version may change.
    """
    ordered = sorted(forecasts, key=lambda f: sha256_bytes(f"{seed} {f.item_id}".encode()))
    half = len(ordered) // 2
    return ordered[:half], ordered[half:]


def conformal_threshold(scores: Sequence[float], target: float) -> float:
    """The ceil((n + 1) target)-th smallest score; 1, which lets every option in, when there are too few."""
    rank = ceil((len(scores) + 1) * target - 1e-12)
    return sorted(scores)[rank - 1] if rank <= len(scores) else 1.0
