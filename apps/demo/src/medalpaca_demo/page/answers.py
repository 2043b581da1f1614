"""One column: what a model writes when it is asked the question, with its time and its end."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

from ..passes.request import Answer, Arm, Progress, Scoring
from .spoken import spoken_letter
from .text import ARM_NAMES, NOTHING

Asked = tuple[Mapping[str, str], Scoring]  # the options, and what was to be answered: a letter or a text

ENDS = {
    "length": "cut at the limit of {tokens} tokens",
    "stopped": "stopped after {tokens} tokens",
    "broken": "the endpoint broke off after {tokens} tokens",
}


def answer_column(
    arm: Arm, progress: Progress | None, *, title: str | None = None, asked: Asked | None = None
) -> str:
    """The card of one arm. `title` in place of the arm's name makes a card that does not tell which arm it is."""
    answer = progress.answers.get(arm) if progress else None
    state = _state(progress, answer)
    rated = progress is not None and arm not in progress.unrated
    name = title or ARM_NAMES[arm]
    return (
        f'<section class="mp-answer{"" if title else f" mp-{arm}"}" data-state="{state}" aria-label="{name} answer">'
        f'<div class="mp-bar-top"><h2>{name}</h2><span class="mp-meta">{"" if title else _meta(answer)}</span>'
        f"{_copy(name, answer)}</div>"
        f'<div class="mp-text" data-copy-source>{_text(answer, state)}</div>'
        f"{'' if title else _end(answer)}{_spoken(answer, asked, rated)}</section>"
    )


def _state(progress: Progress | None, answer: Answer | None) -> str:
    if progress is None:
        return "idle"
    return "done" if progress.final or (answer is not None and answer.ended) else "streaming"


def _meta(answer: Answer | None) -> str:
    if answer is None:
        return ""
    speed = answer.tokens_per_second
    seconds = f"{answer.seconds:.{1 if answer.seconds >= 1 else 2}f} s"
    return " · ".join([seconds, f"{answer.tokens} tokens", *([f"{speed:.0f} tok/s"] if speed else [])])


def _copy(name: str, answer: Answer | None) -> str:
    if answer is None or not answer.text.strip():
        return ""
    what = f"Copy the {name} answer"
    return f'<button type="button" class="mp-copy" data-copy aria-label="{what}">copy</button>'


def _text(answer: Answer | None, state: str) -> str:
    if answer is not None and answer.text.strip():
        return escape(answer.text.strip())
    if state == "done":
        count = answer.tokens if answer else 0
        return f'<span class="mp-none">(no visible text: {count} tokens)</span>'
    return f'<span class="mp-none">{NOTHING}</span>' if state == "idle" else ""


def _end(answer: Answer | None) -> str:
    text = ENDS.get(answer.ended or "", "") if answer else ""
    return f'<p class="mp-end">{text.format(tokens=answer.tokens)}</p>' if answer and text else ""


def _spoken(answer: Answer | None, asked: Asked | None, rated: bool) -> str:
    if answer is None or not answer.ended or asked is None or not answer.text.strip():
        return ""
    letter = spoken_letter(answer.text, *asked)
    counts = "; the rating above counts" if rated else ""
    said = f"names {letter}" if letter else f"names no single option{counts}"
    return f'<p class="mp-end" data-parsed="{letter or ""}">The text {said}.</p>'
