"""Variants of an item that ask the same in other words: other instructions, the chat template, swapped words."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple

import yaml

from medalpaca_data.core.files import sha256_json
from medalpaca_data.core.prompt import render, user_message
from medalpaca_data.exams.item import LETTER_INSTRUCTION, ExamPrompt, Item, Scoring, exam_input, exam_prompt

from .perturbations import PerturbedItem, stress_id
from .result import CHAT, INSTRUCTION, ExcludedVariant, Variant
from .swaps import SWAPS, swap, swap_rules

NO_CHAT = "the tokenizers have no chat template in common"
# Rendered once in place of an item, so that the text around it is known.
PLACEHOLDER = "MEDALPACA-ITEM"


class ChatPrompt(NamedTuple):
    """The text that a chat template writes before and after a user message."""

    before: str
    after: str


@cache
def instructions(scoring: Scoring) -> tuple[str, ...]:
    """Return the paraphrased instructions in `instructions.yaml`."""
    text = files(__package__).joinpath("instructions.yaml").read_text(encoding="utf-8")
    return tuple(yaml.safe_load(text)[scoring])


def rephrase(perturbed: PerturbedItem, chat: ChatPrompt | None) -> PerturbedItem:
    """Return the item with the variants of `perturbed`, and those that ask the same in other words.

    `chat` is the text around a user message; without one, the variant in the chat template is left out.
    """
    item, scoring = perturbed.item, perturbed.scoring
    order = perturbed.variants[0].order
    choices = perturbed.prompts[0].choices
    shown = exam_input(item) if scoring == "letter" else item.question
    new = [
        (INSTRUCTION, ExamPrompt(render(instruction, shown), choices))
        for instruction in instructions(scoring)
    ]
    excluded = []
    if chat is None:
        excluded.append(ExcludedVariant(item.id, CHAT, NO_CHAT))
    else:
        message = _message(item, scoring)
        new.append((CHAT, ExamPrompt(f"{chat.before}{message}{chat.after}", choices)))
    for perturbation in SWAPS:
        swapped = swap(item, perturbation)
        if swapped.item is None:
            excluded.append(ExcludedVariant(item.id, perturbation, swapped.reason))
        else:
            new.append((perturbation, exam_prompt(swapped.item, scoring)))
    return replace(
        perturbed,
        variants=(*perturbed.variants, *(Variant(name, order) for name, _ in new)),
        prompts=(*perturbed.prompts, *(prompt for _, prompt in new)),
        excluded=(*perturbed.excluded, *excluded),
    )


def _message(item: Item, scoring: Scoring) -> str:
    return (
        user_message(LETTER_INSTRUCTION, exam_input(item)) if scoring == "letter" else item.question.strip()
    )


def rephrased_id(scoring: Scoring) -> str:
    """Return an id of all rules and prompts of a stress result of format 2; see `stress_id`."""
    rules = [stress_id(scoring), instructions(scoring), swap_rules()]
    return f"stress-{scoring}-{sha256_json(rules)[:12]}"


def chat_prompt(tokenizer: Any) -> ChatPrompt | None:
    """Return the text that the tokenizer's chat template writes around a user message.

    A start token at its beginning is removed if the tokenizer adds it to every text. Returns None if there is no
    template, or if it does not show the message as it is.
    """
    if not getattr(tokenizer, "chat_template", None):
        return None
    from jinja2 import TemplateError

    messages = [{"role": "user", "content": PLACEHOLDER}]
    try:
        text = str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))
    except (TemplateError, ValueError):
        return None
    start = tokenizer.bos_token
    if start and tokenizer("a")["input_ids"][:1] == [tokenizer.bos_token_id]:
        text = text.removeprefix(start)
    before, found, after = text.partition(PLACEHOLDER)
    return ChatPrompt(before, after) if found and PLACEHOLDER not in after else None
