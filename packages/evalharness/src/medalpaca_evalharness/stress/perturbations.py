"""An exam item asked in other ways: its options in every cyclic order, without its key, without its question.

Knows no model. What an item cannot be turned into is said with the reason.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace

from medalpaca_data.core.files import sha256_json
from medalpaca_data.core.prompt import render
from medalpaca_data.exams.item import Item
from medalpaca_data.exams.prompts import LETTER_INSTRUCTION, ExamPrompt, Scoring, exam_prompt

from .result import NONE_OF_THE_ABOVE, OPTIONS_ONLY, ORDER, PUBLISHED, QUESTION_ONLY, LeftOut, Variant

NOTA = "None of the above"
NAMES_LETTERS = "names options by letter or number"
NO_OPTIONS_SHOWN = "options are not shown when their texts are scored"

# Options that speak of the others as a whole: they keep their place.
_SOME = r"(?:all|none|any|both|neither|either|each|some|several|two|more than one)"
_OPTIONS = r"(?:other )?(?:options?|choices?|answers?|alternatives?)"
_OTHERS = rf"(?:above|these|those|them|foregoing|following|others|{_OPTIONS})"
_COLLECTIVE = re.compile(
    rf"\W*(?:{_SOME}\b(?:\W+of)?\W+(?:the\W+)?{_OTHERS}\b[\w\s]{{0,25}}|all|none|both|neither)\W*"
    rf"|.*\b{_SOME}(?:\W+of)?(?:\W+the)?\W+(?:above|foregoing)\b.*",
    re.IGNORECASE | re.DOTALL,
)
_ABOVE = re.compile(r"\b(?:above|foregoing)\b", re.IGNORECASE)
# Options that name others, which in another order would be others: "A and C", "(a) & (b) only", "Both AB".
_LETTER = r"\(?[A-Z]\b\)?\.?"
_LETTERS = re.compile(
    rf"\W*(?:(?:both|all|only|either|neither|none|not)\W+)*{_LETTER}"
    rf"(?:\s*(?:,|&|\+|/|,?\s*(?:and|or|nor|but not))\s*{_LETTER})+(?:\W+(?:only|both|are correct|are true|above))?\W*"
    r"|both\s+[A-Z]{2,3}\W*",
    re.IGNORECASE,
)
# In a sentence, a letter is one only where it is said to be.
_NAMED = re.compile(r"\b(?i:options?|choices?|answers?|alternatives?)\s+\(?(?:[A-Z]|\d)\b(?!['.%-]\w)")


@dataclass(frozen=True, slots=True)
class Perturbed:
    """An item in all its variants, each with what is asked; and what it could not be turned into."""

    item: Item
    scoring: Scoring
    key: int
    fixed: tuple[int, ...]  # positions whose option stays
    variants: tuple[Variant, ...]
    asked: tuple[ExamPrompt, ...]
    left_out: tuple[LeftOut, ...]

    @property
    def asked_sha256(self) -> str:
        """Of all prompts and choices."""
        return sha256_json([[asked.prompt, asked.choices] for asked in self.asked])


def perturbed(item: Item, scoring: Scoring) -> Perturbed:
    """The variants of `item`: as published, in every other cyclic order, and each other perturbation once.

    Orders rotate the options that may move through the positions that are free, so that each stands at each once.
    "None of the above" takes the place of the key, wherever that is, so that nothing else changes. Scored by text, an
    item has neither orders nor a question only: its options are not shown, so that nothing can be turned or left out.
    """
    letters, texts = list(item.options), list(item.options.values())
    same = tuple(range(len(texts)))
    fixed = tuple(at for at in same if _COLLECTIVE.fullmatch(texts[at]))
    key = letters.index(item.answer)
    variants, asked = [Variant(PUBLISHED, same)], [exam_prompt(item, scoring)]
    reasons = {
        ORDER: _why_not_orders(item, fixed, scoring),
        NONE_OF_THE_ABOVE: _why_not_nota(item, fixed),
        OPTIONS_ONLY: None,
        QUESTION_ONLY: NO_OPTIONS_SHOWN if scoring == "text" else None,
    }
    if not reasons[ORDER]:
        for order in orders(len(texts), fixed):
            options = {letter: texts[at] for letter, at in zip(letters, order, strict=True)}
            variants.append(Variant(ORDER, order))
            asked.append(exam_prompt(replace(item, options=options), scoring))
    made: dict[str, Callable[[], ExamPrompt]] = {
        NONE_OF_THE_ABOVE: lambda: exam_prompt(
            replace(item, options={**item.options, item.answer: NOTA}), scoring
        ),
        OPTIONS_ONLY: lambda: exam_prompt(replace(item, question=""), scoring),
        QUESTION_ONLY: lambda: ExamPrompt(render(LETTER_INSTRUCTION, item.question), tuple(letters)),
    }
    for name, make in made.items():
        if not reasons[name]:
            variants.append(Variant(name, same))
            asked.append(make())
    left_out = tuple(LeftOut(item.id, name, reason) for name, reason in reasons.items() if reason)
    return Perturbed(item, scoring, key, fixed, tuple(variants), tuple(asked), left_out)


def orders(options: int, fixed: Collection[int] = ()) -> list[tuple[int, ...]]:
    """All cyclic orders but the published one; `order[p]` is the published index of the option at position p."""
    free = [at for at in range(options) if at not in fixed]
    found = []
    for turn in range(1, len(free)):
        order = list(range(options))
        for place, at in enumerate(free):
            order[at] = free[(place + turn) % len(free)]
        found.append(tuple(order))
    return found


def stress_id(scoring: Scoring) -> str:
    """Names the perturbing itself: results with different ids are not comparable."""
    options = {"A": "{a}", "B": "{b}", "C": "{c}", "D": "{d}"}
    examples = [
        perturbed(Item(id="", question="{question}", options=shown, answer="A"), scoring)
        for shown in (options, {**options, "D": NOTA})
    ]
    told = [[list(one.fixed), [v.order for v in one.variants], one.asked_sha256] for one in examples]
    return f"stress-{scoring}-{sha256_json(told)[:12]}"


def _why_not_orders(item: Item, fixed: Collection[int], scoring: Scoring) -> str | None:
    if scoring == "text":
        return NO_OPTIONS_SHOWN
    texts = list(item.options.values())
    free = [at for at in range(len(texts)) if at not in fixed]
    if _names_letters(item):
        return NAMES_LETTERS
    if len(free) < 2:
        return "fewer than two options can move"
    if any(at < free[-1] and _ABOVE.search(texts[at]) for at in fixed):
        return "an option speaks of those above it, and others stand below"
    return None


def _why_not_nota(item: Item, fixed: Collection[int]) -> str | None:
    if _names_letters(item):
        return NAMES_LETTERS
    if fixed:
        return "has an option about the others already"
    return "fewer than three options" if len(item.options) < 3 else None


def _names_letters(item: Item) -> bool:
    return bool(_NAMED.search(item.question)) or any(
        _LETTERS.fullmatch(text) or _NAMED.search(text) for text in item.options.values()
    )
