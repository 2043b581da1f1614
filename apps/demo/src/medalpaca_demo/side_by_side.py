"""Panel with the option scores and the written answers of both models, used by Compare and Own question."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from html import escape
from typing import Any

import gradio as gr

from medalpaca_data.exams.item import Item

from .context import Context
from .html import DASH, SIDE_NAMES, html, prompt_html, status_line
from .job import SIDES, Answer, OptionScores, Progress, Request, Scoring, Side

ENDPOINT_NOTE = "computed from the endpoint's own numbers, not by lm-eval"
RIGHT_MARK, WRONG_MARK, CHOSEN_MARK = "\N{CHECK MARK}", "\N{BALLOT X}", "\N{BLACK CIRCLE}"

# Options of a question, and whether its answer is a letter or a text.
ExpectedAnswer = tuple[Mapping[str, str], Scoring]
PanelValues = tuple[str, str, str, str]


@dataclass(frozen=True, slots=True)
class AnswerPanel:
    """Components of the panel: `answers` (table, status line, base, tuned) and the prompt."""

    answers: list[Any]
    prompt: gr.HTML


def build_panel(prefix: str, values: PanelValues, prompt: str) -> AnswerPanel:
    """Lay out the panel with the values of `panel_values`. The components' ids start with `prefix`."""
    table = html(values[0], f"{prefix}-table")
    line = html(values[1], f"{prefix}-line")
    with gr.Row(equal_height=True):
        with gr.Column(min_width=300):
            left = html(values[2], f"{prefix}-left")
        with gr.Column(min_width=300):
            # Not "-right", which is the class of a right answer.
            right = html(values[3], f"{prefix}-right-side")
    with gr.Accordion("Prompt as sent (the same for both models)", open=False):
        sent = html(prompt_html(prompt) if prompt else "", f"{prefix}-sent")
    return AnswerPanel([table, line, left, right], sent)


def panel_values(
    item: Item | None, progress: Progress | None, scoring: Scoring, seconds: float = 0.0
) -> PanelValues:
    """Return the values of `AnswerPanel.answers`: HTML of table, status line and both answers.

    `item` is None for a question without options, `progress` before a request. `seconds` is the time since the request.
    """
    expected = (item.options, scoring) if item else None
    return (
        option_table(item, progress, scoring) if item else "",
        status_line(item, progress, seconds),
        answer_card("base", progress, expected=expected),
        answer_card("tuned", progress, expected=expected),
    )


def stream_panel(
    context: Context, request: Request, item: Item | None, visitor: gr.Request
) -> Iterator[PanelValues | None]:
    """Submit a request and yield the panel's values; None if the page shows another question by then.

    A closed page closes this generator, which cancels the job.
    """
    began = time.monotonic()
    session = visitor.session_hash or ""
    with closing(context.sessions.stream(session, request, visitor.username)) as stream:
        for progress in stream:
            if progress is None:
                yield None
            else:
                yield panel_values(item, progress, context.scoring, time.monotonic() - began)


def option_table(item: Item, progress: Progress | None, scoring: Scoring) -> str:
    """Return an HTML table with one row per option, in the exam's order, and each model's `OptionScores.shares`."""
    scores: Mapping[Side, OptionScores] = progress.scores if progress else {}
    heads = "".join(_head(side, scores.get(side), item) for side in SIDES)
    unrated: Mapping[Side, str] = progress.unrated if progress else {}
    rows = "".join(
        f"<tr{' class=mp-key' if letter == item.answer else ''}>"
        f'<th scope="row"><span class="mp-letter">{escape(letter)}</span>'
        f'<span class="mp-option">{escape(text.strip())}</span>{_key_badge(letter == item.answer)}</th>'
        + "".join(
            _cell(side, scores.get(side), number, letter == item.answer if item.answer else None)
            for side in SIDES
        )
        + "</tr>"
        for number, (letter, text) in enumerate(item.options.items())
    )
    return (
        '<table class="mp-bars"><caption>Each model\'s share of every option</caption>'
        f'<thead><tr><th scope="col">Option</th>{heads}</tr></thead><tbody>{rows}</tbody>'
        f"<tfoot>{_foot(scores, unrated, scoring)}</tfoot></table>"
    )


def format_share(share: float) -> str:
    """Format a share as percent. Only an exact 0 or 1 is shown as 0.0% or 100.0%."""
    if 0 < share < 0.0005:
        return "<0.1%"
    if 0.9995 <= share < 1:
        return ">99.9%"
    return f"{100 * share:.1f}%"


def _head(side: Side, scores: OptionScores | None, item: Item) -> str:
    verdict = ""
    if scores is not None:
        letter = list(item.options)[scores.chosen]
        right = letter == item.answer
        verdict = f' <span class="mp-verdict">\N{RIGHTWARDS ARROW} {escape(letter)}</span>'
    if scores is not None and item.answer:
        verdict = (
            f' <span class="mp-verdict {"mp-right" if right else "mp-wrong"}">'
            f"\N{RIGHTWARDS ARROW} {escape(letter)} {RIGHT_MARK if right else WRONG_MARK}"
            f'<span class="mp-sr">{"right" if right else "wrong"}</span></span>'
        )
    return f'<th scope="col" class="mp-{side}">{SIDE_NAMES[side]}{verdict}</th>'


def _key_badge(is_key: bool) -> str:
    return f'<span class="mp-badge">correct {RIGHT_MARK}</span>' if is_key else ""


def _cell(side: Side, scores: OptionScores | None, number: int, is_key: bool | None) -> str:
    """Return one cell. `is_key` is None for a question without a known correct answer."""
    if scores is None:
        return f'<td class="mp-{side}"><span class="mp-number mp-none">{DASH}</span></td>'
    share, chosen = scores.shares[number], number == scores.chosen
    mark = ""
    if chosen:
        kind, sign = {
            True: ("mp-right", RIGHT_MARK),
            False: ("mp-wrong", WRONG_MARK),
            None: ("", CHOSEN_MARK),
        }[is_key]
        mark = f'<span class="mp-mark {kind}">{sign}<span class="mp-sr">chosen</span></span>'
    return (
        f'<td class="mp-{side}{" mp-chosen" if chosen else ""}" data-share="{share:.6f}" '
        f'title="log-likelihood {scores.loglikelihoods[number]:.3f}">'
        f'<span class="mp-number">{escape(format_share(share))}</span>'
        f'<span class="mp-track"><span class="mp-bar" style="width:{100 * share:.2f}%"></span></span>'
        f'<span class="mp-at">{mark}</span></td>'
    )


def _foot(scores: Mapping[Side, OptionScores], unrated: Mapping[Side, str], scoring: Scoring) -> str:
    method = (
        "Share of each letter: its probability as the first token of the answer, relative to the other letters."
        if scoring == "letter"
        else "Share of each option: log-likelihood of its text per character, relative to the other options."
    )
    total = {
        side: f"together, all options have {escape(format_share(given.total_probability))} of the probability"
        + (f'; <span class="mp-origin">{ENDPOINT_NOTE}</span>' if given.from_endpoint else "")
        for side, given in scores.items()
    }
    missing = {
        side: f'<span class="mp-unrated" data-state="unrated">not available from this endpoint: {escape(why)}</span>'
        for side, why in unrated.items()
    }
    cells = missing | total
    return (
        f'<tr><td class="mp-how">{method}</td>'
        + "".join(f"<td>{cells.get(side, '')}</td>" for side in SIDES)
        + "</tr>"
    )


NAMED_LETTER = re.compile(
    r"\b(?:answer|option|choice|response)(?:\s+(?:is|would be|should be))?\s*[:=]?\s*\(?([A-Z])\b(?!['\w])",
    re.I,
)
WORD = re.compile(r"[^\W_]+")
FIRST_LETTER = re.compile(r"^\W{0,3}([A-Z])(?:[).:,;]|\s*$|\s*\n)")


def mentioned_option(text: str, options: Mapping[str, str], scoring: Scoring) -> str | None:
    """Return the letter of the option that a written answer mentions; None if it mentions none or several.

    Letter scoring: `B` in "The answer is B", "(B) because", "B: Vitamin C". Text scoring, where the prompt shows no
    letters: the option whose words occur in the answer; if one option contains another, the longer one.
    """
    if scoring == "text":
        words = _words(text)
        named = {
            letter: w for letter, option in options.items() if (w := _words(option)) in words and w.strip()
        }
        inside = {a for a, v in named.items() for b, w in named.items() if a != b and v in w and v != w}
        letters = named.keys() - inside
    else:
        letters = {letter.upper() for letter in NAMED_LETTER.findall(text)} & options.keys()
        if not letters and (match := FIRST_LETTER.match(text.strip())) and match[1] in options:
            letters = {match[1]}
    return next(iter(letters)) if len(letters) == 1 else None


def _words(text: str) -> str:
    return f" {' '.join(WORD.findall(text.casefold()))} "


END_TEXTS = {
    "length": "ended at the limit of {tokens} tokens",
    "stopped": "stopped after {tokens} tokens",
    "broken": "the endpoint closed the connection after {tokens} tokens",
}


def answer_card(
    side: Side,
    progress: Progress | None,
    *,
    title: str | None = None,
    expected: ExpectedAnswer | None = None,
) -> str:
    """Return the HTML of one model's written answer with time, speed and reason of its end.

    `expected` adds which option the text mentions. With a `title`, the card does not reveal the side: it has no side
    name, time or speed.
    """
    answer = progress.answers.get(side) if progress else None
    state = _state(progress, answer)
    scored = progress is not None and side not in progress.unrated
    name = title or SIDE_NAMES[side]
    return (
        f'<section class="mp-answer{"" if title else f" mp-{side}"}" data-state="{state}" aria-label="{name} answer">'
        f'<div class="mp-bar-top"><h2>{name}</h2><span class="mp-meta">{"" if title else _meta(answer)}</span>'
        f"{_copy_button(name, answer)}</div>"
        f'<div class="mp-text" data-copy-source>{_text(answer, state)}</div>'
        f"{'' if title else _end(answer)}{_mentioned(answer, expected, scored)}</section>"
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


def _copy_button(name: str, answer: Answer | None) -> str:
    if answer is None or not answer.text.strip():
        return ""
    label = f"Copy the {name} answer"
    return f'<button type="button" class="mp-copy" data-copy aria-label="{label}">copy</button>'


def _text(answer: Answer | None, state: str) -> str:
    if answer is not None and answer.text.strip():
        return escape(answer.text.strip())
    if state == "done":
        count = answer.tokens if answer else 0
        return f'<span class="mp-none">(no visible text: {count} tokens)</span>'
    return f'<span class="mp-none">{DASH}</span>' if state == "idle" else ""


def _end(answer: Answer | None) -> str:
    text = END_TEXTS.get(answer.ended or "", "") if answer else ""
    return f'<p class="mp-end">{text.format(tokens=answer.tokens)}</p>' if answer and text else ""


def _mentioned(answer: Answer | None, expected: ExpectedAnswer | None, scored: bool) -> str:
    if answer is None or not answer.ended or expected is None or not answer.text.strip():
        return ""
    letter = mentioned_option(answer.text, *expected)
    counts = "; the model's choice is the option with the highest share above" if scored else ""
    text = f"mentions option {letter}" if letter else f"mentions no single option{counts}"
    return f'<p class="mp-end" data-parsed="{letter or ""}">The text {text}.</p>'
