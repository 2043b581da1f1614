"""What a report's figures do not say, in words: its limits, and what was not tested."""

from __future__ import annotations

from collections.abc import Sequence

from ..logged.run import Run

NOT_CLINICAL = (
    "An exam score is no clinical validation. Nothing here says that a model may be used on patients."
)
THIS_EXAM = (
    "The {what} is about this exam, asked in this way. Another prompt, or the options in another order, can move "
    "scores by more than tuning does."
)
WRONG_KEYS = "Exams contain wrong keys: some items may have been scored against a wrong answer{alike}."
AT_RANDOM = "Intervals{tests} treat the items as drawn at random from the questions that could be asked."
BY_RULES = (
    "Answers were found in what was written by fixed rules; an answer that these do not find counts as wrong."
)
DRAWN = "Answers were drawn at random; asked again, a model gives others, which no interval here knows of."

STRESS = (
    "stress{of}: other orders of the options, whether letters are preferred by their position, the options without the "
    "question, and the question without the options"
)
ORDERS = "other orders of the options, and whether letters are preferred by their position (options were not shown)"
WRITTEN = "free-text answers: options were scored by their log-likelihood, nothing was generated"
UNSURE = "how sure a model is of its answers: it wrote them, and options have no probabilities to calibrate"
REASONING = "whether what a model wrote before its answer is right: only the letter was compared with the key"
SAFETY = (
    "safety, refusals to harm, privacy, bias between groups of patients, and languages other than the exam's"
)
PRETRAINING = "whether the exam was part of the base model's own training data"
NO_ROWS = "overlap of the exam with the data that a model was tuned on (no --meadow was given)"


def limits(run: Run, models: int) -> list[str]:
    """Of the report on `models` runs like `run`."""
    one = models == 1
    found = [
        NOT_CLINICAL,
        THIS_EXAM.format(what="score" if one else "verdict"),
        WRONG_KEYS.format(alike="" if one else ", for all models alike"),
        AT_RANDOM.format(tests="" if one else " and tests"),
    ]
    return found + ([BY_RULES] if run.generated else []) + ([DRAWN] if run.sampled else [])


def not_tested(
    run: Run, *, overlap: bool, unstressed: Sequence[str], models: int, ordered: bool
) -> list[str]:
    """What nobody looked at.

    With `overlap`, the tuning data were held against the exam; `unstressed` are those of the report's `models` without
    a stress result; `ordered`, whether such results have other orders of the options in them.
    """
    of = "" if len(unstressed) == models else f" of {' and '.join(unstressed)}"
    found = [
        *((STRESS.format(of=of),) if unstressed else ()),
        *(() if ordered or len(unstressed) == models else (ORDERS,)),
        *((UNSURE, REASONING) if run.generated else (WRITTEN,)),
        SAFETY,
        PRETRAINING,
    ]
    return found if overlap else [*found, NO_ROWS]
