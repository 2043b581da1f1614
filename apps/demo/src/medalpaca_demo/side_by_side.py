"""The option table: what each model makes of each option, in the exam's own order, beside each other.

One column: what a model writes when it is asked the question, with its time and its end.

The option a written answer names, for the reader's convenience: the tick judges the rating, never this.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from html import escape

from medalpaca_data.exams.item import Item

from .html import ARM_NAMES, NOTHING
from .job import ARMS, Answer, Arm, OptionScores, Progress, Scoring

ENDPOINTS_OWN = "the endpoint's own numbers, not the examination's"
RIGHT, WRONG, CHOSEN = "\N{CHECK MARK}", "\N{BALLOT X}", "\N{BLACK CIRCLE}"


def option_table(item: Item, progress: Progress | None, scoring: Scoring) -> str:
    """A table with one row per option; bars and numbers follow the way the exam is scored."""
    scores: Mapping[Arm, OptionScores] = progress.scores if progress else {}
    heads = "".join(_head(arm, scores.get(arm), item) for arm in ARMS)
    unrated: Mapping[Arm, str] = progress.unrated if progress else {}
    rows = "".join(
        f"<tr{' class=mp-key' if letter == item.answer else ''}>"
        f'<th scope="row"><span class="mp-letter">{escape(letter)}</span>'
        f'<span class="mp-option">{escape(text.strip())}</span>{_key(letter == item.answer)}</th>'
        + "".join(
            _cell(arm, scores.get(arm), number, letter == item.answer if item.answer else None)
            for arm in ARMS
        )
        + "</tr>"
        for number, (letter, text) in enumerate(item.options.items())
    )
    return (
        '<table class="mp-bars"><caption>How each model rates the options</caption>'
        f'<thead><tr><th scope="col">Option</th>{heads}</tr></thead><tbody>{rows}</tbody>'
        f"<tfoot>{_foot(scores, unrated, scoring)}</tfoot></table>"
    )


def percent(share: float) -> str:
    """A share as it is printed beside its bar. Never rounds to certainty or to nothing."""
    if 0 < share < 0.0005:
        return "<0.1%"
    if 0.9995 <= share < 1:
        return ">99.9%"
    return f"{100 * share:.1f}%"


def _head(arm: Arm, scores: OptionScores | None, item: Item) -> str:
    verdict = ""
    if scores is not None:
        letter = list(item.options)[scores.chosen]
        right = letter == item.answer
        verdict = f' <span class="mp-verdict">\N{RIGHTWARDS ARROW} {escape(letter)}</span>'
    if scores is not None and item.answer:
        verdict = (
            f' <span class="mp-verdict {"mp-right" if right else "mp-wrong"}">'
            f"\N{RIGHTWARDS ARROW} {escape(letter)} {RIGHT if right else WRONG}"
            f'<span class="mp-sr">{"right" if right else "wrong"}</span></span>'
        )
    return f'<th scope="col" class="mp-{arm}">{ARM_NAMES[arm]}{verdict}</th>'


def _key(is_key: bool) -> str:
    return f'<span class="mp-badge">key {RIGHT}</span>' if is_key else ""


def _cell(arm: Arm, scores: OptionScores | None, number: int, is_key: bool | None) -> str:
    """`is_key` is None for a question whose key nobody knows."""
    if scores is None:
        return f'<td class="mp-{arm}"><span class="mp-number mp-none">{NOTHING}</span></td>'
    share, chosen = scores.shares[number], number == scores.chosen
    mark = ""
    if chosen:
        kind, sign = {True: ("mp-right", RIGHT), False: ("mp-wrong", WRONG), None: ("", CHOSEN)}[is_key]
        mark = f'<span class="mp-mark {kind}">{sign}<span class="mp-sr">chosen</span></span>'
    return (
        f'<td class="mp-{arm}{" mp-chosen" if chosen else ""}" data-share="{share:.6f}" '
        f'title="log-likelihood {scores.loglikelihoods[number]:.3f}">'
        f'<span class="mp-number">{escape(percent(share))}</span>'
        f'<span class="mp-track"><span class="mp-bar" style="width:{100 * share:.2f}%"></span></span>'
        f'<span class="mp-at">{mark}</span></td>'
    )


def _foot(scores: Mapping[Arm, OptionScores], unrated: Mapping[Arm, str], scoring: Scoring) -> str:
    by = (
        "Share of each letter among the letters, as the first thing said."
        if scoring == "letter"
        else "Share of each option by its text's log-likelihood per character, as this exam is scored."
    )
    held = {
        arm: f"options hold {escape(percent(rated.mass))} of all probability"
        + (f'; <span class="mp-origin">{ENDPOINTS_OWN}</span>' if rated.from_endpoint else "")
        for arm, rated in scores.items()
    }
    missing = {
        arm: f'<span class="mp-unrated" data-state="unrated">not available from this endpoint: {escape(why)}</span>'
        for arm, why in unrated.items()
    }
    said = missing | held
    return (
        f'<tr><td class="mp-how">{by}</td>'
        + "".join(f"<td>{said.get(arm, '')}</td>" for arm in ARMS)
        + "</tr>"
    )


SAID = re.compile(
    r"\b(?:answer|option|choice|response)(?:\s+(?:is|would be|should be))?\s*[:=]?\s*\(?([A-Z])\b(?!['\w])",
    re.I,
)
WORD = re.compile(r"[^\W_]+")
FIRST = re.compile(r"^\W{0,3}([A-Z])(?:[).:,;]|\s*$|\s*\n)")


def spoken_letter(text: str, options: Mapping[str, str], scoring: Scoring) -> str | None:
    """The option that a text names; None when it names none, or several.

    Where letters were asked for: `B` in "The answer is B", "(B) because", "B: Vitamin C". Where texts were, and no
    letter was ever shown: the option whose words stand in the answer; of one within another, the longer.
    """
    if scoring == "text":
        words = _words(text)
        named = {
            letter: f for letter, option in options.items() if (f := _words(option)) in words and f.strip()
        }
        inside = {a for a, f in named.items() for b, g in named.items() if a != b and f in g and f != g}
        found = named.keys() - inside
    else:
        found = {letter.upper() for letter in SAID.findall(text)} & options.keys()
        if not found and (match := FIRST.match(text.strip())) and match[1] in options:
            found = {match[1]}
    return next(iter(found)) if len(found) == 1 else None


def _words(text: str) -> str:
    return f" {' '.join(WORD.findall(text.casefold()))} "


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
