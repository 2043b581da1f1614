"""Perturb an exam item: other orders of its options, "None of the above", no question, or no options.

No model is involved. A perturbation that an item does not allow is listed with the reason.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace

from medalpaca_data.core.files import sha256_json
from medalpaca_data.core.prompt import render
from medalpaca_data.exams.item import LETTER_INSTRUCTION, ExamPrompt, Item, Scoring, exam_prompt

from .result import NONE_OF_THE_ABOVE, OPTIONS_ONLY, ORDER, PUBLISHED, QUESTION_ONLY, ExcludedVariant, Variant

NONE_OF_THE_ABOVE_TEXT = "None of the above"
NAMES_LETTERS = "names options by letter or number"
NO_OPTIONS_SHOWN = "options are not shown when their texts are scored"

# Options that refer to the others as a whole, such as "all of the above": they keep their position.
_SOME = r"(?:all|none|any|both|neither|either|each|some|several|two|more than one)"
_OPTIONS = r"(?:other )?(?:options?|choices?|answers?|alternatives?)"
_OTHERS = rf"(?:above|these|those|them|foregoing|following|others|{_OPTIONS})"
_COLLECTIVE = re.compile(
    rf"\W*(?:{_SOME}\b(?:\W+of)?\W+(?:the\W+)?{_OTHERS}\b[\w\s]{{0,25}}|all|none|both|neither)\W*"
    rf"|.*\b{_SOME}(?:\W+of)?(?:\W+the)?\W+(?:above|foregoing)\b.*",
    re.IGNORECASE | re.DOTALL,
)
_ABOVE = re.compile(r"\b(?:above|foregoing)\b", re.IGNORECASE)
# Options that name others by letter. In another order, the letters would belong to other options, so these items are
# not perturbed in this way.
# Examples: "A and C", "(a) & (b) only", "Both AB".
_LETTER = r"\(?[A-Z]\b\)?\.?"
_LETTERS = re.compile(
    rf"\W*(?:(?:both|all|only|either|neither|none|not)\W+)*{_LETTER}"
    rf"(?:\s*(?:,|&|\+|/|,?\s*(?:and|or|nor|but not))\s*{_LETTER})+(?:\W+(?:only|both|are correct|are true|above))?\W*"
    r"|both\s+[A-Z]{2,3}\W*",
    re.IGNORECASE,
)
# Within a sentence, a letter counts only after a word such as "option".
_NAMED = re.compile(r"\b(?i:options?|choices?|answers?|alternatives?)\s+\(?(?:[A-Z]|\d)\b(?!['.%-]\w)")


@dataclass(frozen=True, slots=True)
class PerturbedItem:
    """Exam item in all its variants.

    `key` is the index of the correct option in the published order. `fixed` are the positions whose option keeps its
    place, because its text refers to the others, as "all of the above" does. `prompts` has the prompt and the choices
    of each variant. `excluded` are the perturbations that the item does not allow.
    """

    item: Item
    scoring: Scoring
    key: int
    fixed: tuple[int, ...]
    variants: tuple[Variant, ...]
    prompts: tuple[ExamPrompt, ...]
    excluded: tuple[ExcludedVariant, ...]

    @property
    def prompts_sha256(self) -> str:
        return sha256_json([[prompt.prompt, prompt.choices] for prompt in self.prompts])


def perturb(item: Item, scoring: Scoring) -> PerturbedItem:
    """Return `item` as published, in every other cyclic order, and with each other perturbation that it allows.

    Orders rotate all options but those in `PerturbedItem.fixed`, so that each is once at each of their positions.
    "None of the above" replaces the text of the correct option at its position, and nothing else changes. If
    options are scored by text, the prompt does not show them; then there are no orders and no question-only variant.
    """
    letters, texts = list(item.options), list(item.options.values())
    published_order = tuple(range(len(texts)))
    fixed = tuple(position for position in published_order if _COLLECTIVE.fullmatch(texts[position]))
    key = letters.index(item.answer)
    variants, prompts = [Variant(PUBLISHED, published_order)], [exam_prompt(item, scoring)]
    reasons = {
        ORDER: _reason_against_orders(item, fixed, scoring),
        NONE_OF_THE_ABOVE: _reason_against_none_of_the_above(item, fixed),
        OPTIONS_ONLY: None,
        QUESTION_ONLY: NO_OPTIONS_SHOWN if scoring == "text" else None,
    }
    if not reasons[ORDER]:
        for order in cyclic_orders(len(texts), fixed):
            options = {letter: texts[index] for letter, index in zip(letters, order, strict=True)}
            variants.append(Variant(ORDER, order))
            prompts.append(exam_prompt(replace(item, options=options), scoring))
    without_key = {**item.options, item.answer: NONE_OF_THE_ABOVE_TEXT}
    makers: dict[str, Callable[[], ExamPrompt]] = {
        NONE_OF_THE_ABOVE: lambda: exam_prompt(replace(item, options=without_key), scoring),
        OPTIONS_ONLY: lambda: exam_prompt(replace(item, question=""), scoring),
        QUESTION_ONLY: lambda: ExamPrompt(render(LETTER_INSTRUCTION, item.question), tuple(letters)),
    }
    for name, make_prompt in makers.items():
        if not reasons[name]:
            variants.append(Variant(name, published_order))
            prompts.append(make_prompt())
    excluded = tuple(ExcludedVariant(item.id, name, reason) for name, reason in reasons.items() if reason)
    return PerturbedItem(item, scoring, key, fixed, tuple(variants), tuple(prompts), excluded)


def cyclic_orders(options: int, fixed: Collection[int] = ()) -> list[tuple[int, ...]]:
    """Return all cyclic orders of an item with `options` options, except the published order.

    The options at the positions in `fixed` keep their places. `order[p]` is the published index of the option at
    position p.
    """
    free = [position for position in range(options) if position not in fixed]
    orders = []
    for shift in range(1, len(free)):
        order = list(range(options))
        for i, position in enumerate(free):
            order[position] = free[(i + shift) % len(free)]
        orders.append(tuple(order))
    return orders


def stress_id(scoring: Scoring) -> str:
    """Return an id of the perturbation rules and prompts. Results with different ids are not comparable."""
    options = {"A": "{a}", "B": "{b}", "C": "{c}", "D": "{d}"}
    examples = [
        perturb(Item(id="", question="{question}", options=shown, answer="A"), scoring)
        for shown in (options, {**options, "D": NONE_OF_THE_ABOVE_TEXT})
    ]
    rules = [[list(one.fixed), [v.order for v in one.variants], one.prompts_sha256] for one in examples]
    return f"stress-{scoring}-{sha256_json(rules)[:12]}"


# The reasons below are stored in stress.json.
def _reason_against_orders(item: Item, fixed: Collection[int], scoring: Scoring) -> str | None:
    if scoring == "text":
        return NO_OPTIONS_SHOWN
    texts = list(item.options.values())
    free = [position for position in range(len(texts)) if position not in fixed]
    if _names_letters(item):
        return NAMES_LETTERS
    if len(free) < 2:
        return "fewer than two options can move"
    if any(position < free[-1] and _ABOVE.search(texts[position]) for position in fixed):
        return "an option refers to those above it, but others are below it"
    return None


def _reason_against_none_of_the_above(item: Item, fixed: Collection[int]) -> str | None:
    if _names_letters(item):
        return NAMES_LETTERS
    if fixed:
        return "already has an option that refers to the others"
    return "fewer than three options" if len(item.options) < 3 else None


def _names_letters(item: Item) -> bool:
    return bool(_NAMED.search(item.question)) or any(
        _LETTERS.fullmatch(text) or _NAMED.search(text) for text in item.options.values()
    )
