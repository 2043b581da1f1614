"""Own question: free text, or an item pasted with its options. Asked once, shown once, kept nowhere.

A pasted exam item: a question, lettered options, and perhaps its key.

Does a text look like it is about a real person? A warning before anything is asked, not a guarantee.

The patterns are what identifies: names with a title, dates of birth, numbers of records, insurance, telephone,
addresses. Ages and findings are in every exam question and say nothing.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from html import escape
from typing import Any

import gradio as gr

from medalpaca_data.core.prompt import render
from medalpaca_data.exams.exam import MIN_OPTIONS
from medalpaca_data.exams.item import LETTERS, Item
from medalpaca_data.exams.prompts import exam_prompt

from ..context import Scene
from ..html import ENGINE, QUIET, acted, button, html, notice, pressable, prompt, status
from ..job import Progress, Request
from ..side_by_side import answer_column, option_table

OPTION = re.compile(r"^\s*\(?([A-Z])\s*[.):]\s*(\S.*)$")
KEY = re.compile(r"^\s*(?:correct\s+)?(?:answer|key)\s*(?:is)?\s*[:=]?\s*\(?([A-Z])\b\)?.*$", re.I)


@dataclass(frozen=True, slots=True)
class Pasted:
    """`item` when options were found (its `answer` is "" when no key was), else `question` is free text."""

    question: str
    item: Item | None = None


def read_pasted(text: str) -> Pasted:
    """Options are lines that start with A, B, C ... in order, as "A.", "A)", "(A)" or "A:"."""
    question: list[str] = []
    options: dict[str, str] = {}
    key = ""
    for line in text.strip().splitlines():
        letter = LETTERS[len(options)] if len(options) < len(LETTERS) else ""
        match = OPTION.match(line)
        if match and match[1] == letter:
            options[letter] = match[2].strip()
        elif options and (said := KEY.match(line)):
            key = said[1].upper()
        elif options and line.strip():
            last = list(options)[-1]
            options[last] = f"{options[last]} {line.strip()}"  # an option that goes on in the next line
        elif not options:
            question.append(line)
    stem = "\n".join(question).strip()
    if len(options) < MIN_OPTIONS or not stem:
        return Pasted(text.strip())
    return Pasted(stem, Item(id="", question=stem, options=options, answer=key if key in options else ""))


SIGNS: dict[str, re.Pattern[str]] = {
    "a name with a title": re.compile(
        r"\b(?:Mr|Mrs|Ms|Miss|Herr|Frau|Patient(?:in)?|Pt)\.?:?\s+(?:[A-Z]\.\s*)?[A-Z][a-zäöüß]{2,}\s*,?\s*(?:[A-Z][a-zäöüß]+)?"
    ),
    "a name field": re.compile(
        r"\b(?:patient(?:'s)? name|name|surname|first name|nachname|vorname)\s*[:=]\s*\S", re.I
    ),
    "a date of birth": re.compile(
        r"\b(?:d\.?o\.?b\.?|date of birth|born(?: on)?|geb(?:oren|\.)?|geburtsdatum)\.?(?:\s+am)?\s*:?\s*\d",
        re.I,
    ),
    "a full date": re.compile(
        r"\b(?:\d{1,2}[./-]\d{1,2}[./-](?:19|20)\d{2}|(?:19|20)\d{2}-\d{2}-\d{2}"
        r"|\d{1,2}\.?\s+(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)[a-z]*\.?,?\s+(?:19|20)\d{2})\b"
    ),
    "a record number": re.compile(
        r"\b(?:MRN|NHS|SSN|medical record|record|case|patient|insurance|hospital|fall|versicherten)[\s-]*"
        r"(?:no\.?|number|nr\.?|id|#|nummer)?\s*[:#]?\s*[A-Z]?\d[\d -]{4,}\b",
        re.I,
    ),
    "a social security number": re.compile(r"\b\d{3}-\d{2}-\d{4}\b"),
    "an e-mail address": re.compile(r"\b[\w.+-]+@[\w-]+\.[\w.]+\b"),
    "a telephone number": re.compile(
        r"(?<![\w.])(?:\+\d{1,3}[\s-]?)?\(?\d{3,5}\)?[\s-]\d{3,4}[\s-]?\d{3,4}\b"
    ),
    "a street address": re.compile(
        r"\b\d{1,5}\s+[A-Z][a-z]+\s+(?:Street|St|Avenue|Ave|Road|Rd|Lane|Drive|Dr)\b"
    ),
}


def looks_like_patient(text: str) -> list[str]:
    """The signs found, in words."""
    return [name for name, pattern in SIGNS.items() if pattern.search(text)]


LONGEST = 20_000  # characters; the model's own limit is in tokens, and said when it is met

HINT = (
    "<p>Free text, or a question with its options, one a line (A. … B. …), and if you like a last line "
    '"Answer: C". With options both models also rate them, as in the exam.</p>'
    "<p>{kept}{sent} Do not enter anything about a real person.</p>"
)


@dataclass(frozen=True, slots=True)
class Own:
    """A question as it will be asked."""

    request: Request
    item: Item | None


def build(scene: Scene) -> None:
    """The tab's contents."""

    def shown(own: Own | None, progress: Progress | None, seconds: float = 0.0) -> tuple[Any, ...]:
        item = own.item if own else None
        rated = option_table(item, progress, scene.scoring) if item else ""
        asked = (item.options, scene.scoring) if item else None
        line = status(item, progress, seconds)
        return (
            rated,
            line,
            answer_column("base", progress, asked=asked),
            answer_column("tuned", progress, asked=asked),
        )

    def answer(text: str, visitor: gr.Request) -> Iterator[tuple[Any, ...]]:
        own, began = read(scene, text), time.monotonic()
        yield "", gr.skip(), *shown(own, None), prompt(own.request.prompt)
        with closing(scene.visits.show(visitor.session_hash or "", own.request, visitor.username)) as stream:
            for progress in stream:
                if progress is None:
                    yield (gr.skip(),) * 7
                else:
                    yield "", gr.skip(), *shown(own, progress, time.monotonic() - began), gr.skip()

    def put(text: str, visitor: gr.Request) -> Iterator[tuple[Any, ...]]:
        """Ask, unless the text is empty, much too long, or looks as if it were about somebody."""
        untouched = (gr.skip(),) * 6
        if not text.strip():
            yield notice("<p>Type or paste a question first.</p>"), *untouched
        elif len(text) > LONGEST:
            yield (
                notice(f"<p>Too long: {len(text):,} characters, at most {LONGEST:,}.</p>", "failed"),
                *untouched,
            )
        elif signs := looks_like_patient(text):
            yield warning(signs, scene.pair.outside), *untouched
        else:
            yield from answer(text, visitor)

    def confirm(text: str, event: gr.EventData, visitor: gr.Request) -> Iterator[tuple[Any, ...]]:
        match acted(event).get("act"):
            case "anyway" if text.strip() and len(text) <= LONGEST:
                yield from answer(text, visitor)
            case "clear":
                scene.visits.leave(visitor.session_hash or "")
                yield hint(scene), "", *shown(None, None), ""
            case _:
                yield (gr.skip(),) * 7

    def stop(visitor: gr.Request) -> None:
        scene.visits.stop(visitor.session_hash or "")

    box = gr.Textbox(
        label="Your question",
        lines=6,
        max_lines=16,
        max_length=LONGEST + 1,
        elem_id="mp-own-text",
        html_attributes=gr.InputHTMLAttributes(autocomplete="off", spellcheck=False),
        placeholder="Which vitamin is lacking in scurvy?",
    )
    with gr.Row(elem_classes="mp-pick"):
        start = gr.Button("Ask both", variant="primary", elem_id="mp-own-ask", min_width=110, scale=0)
        halt = gr.Button("Stop", elem_id="mp-own-stop", min_width=80, scale=0)
    said = pressable(hint(scene), "mp-own")
    first = shown(None, None)
    table = html(first[0], "mp-own-table")
    line = html(first[1], "mp-own-line")
    with gr.Row(equal_height=True):
        with gr.Column(min_width=300):
            left = html(first[2], "mp-own-left")
        with gr.Column(min_width=300):
            right = html(first[3], "mp-own-right")
    with gr.Accordion("Prompt as sent (the same to both)", open=False):
        sent = html("", "mp-own-sent")

    outputs = [said, box, table, line, left, right, sent]
    start.click(put, box, outputs, **ENGINE)
    said.act(confirm, box, outputs, **ENGINE)
    halt.click(stop, None, None, **QUIET)


def hint(scene: Scene) -> str:
    """What may be asked, and where it goes."""
    hosts = escape(", ".join(scene.pair.outside))
    kept = "Nothing of it is kept, here or in the browser."
    if scene.recorded:
        kept = f"Its text is kept nowhere; {escape(scene.recorded)}."
    return notice(HINT.format(kept=kept, sent=f" It is sent to {hosts}." if hosts else ""))


def read(scene: Scene, text: str) -> Own:
    """The text as training would have put it: an item by the exam's own prompt, anything else as an instruction."""
    pasted = read_pasted(text)
    if pasted.item is None:
        choices: tuple[str, ...] = ()
        asked = render(pasted.question)
    else:
        question = exam_prompt(pasted.item, scene.scoring)
        asked, choices = question.prompt, question.choices
    return Own(
        Request(prompt=asked, choices=choices, scoring=scene.scoring, max_new_tokens=scene.max_new_tokens),
        pasted.item,
    )


def warning(signs: list[str], outside: Sequence[str] = ()) -> str:
    """What was found, never the text itself. `outside` are machines that it would go to."""
    where = (
        f"It would be sent to {escape(', '.join(outside))}."
        if outside
        else "The models run on this machine, and no text is kept, but who looks at this screen sees it."
    )
    return notice(
        f"<p><b>This looks like data of a real person:</b> {escape(', '.join(signs))}. Remove it: this page is "
        f"for exam questions, and its answers are not for clinical use. {where}</p>"
        f"{button('Ask anyway', 'anyway')}{button('Clear', 'clear')}",
        "failed",
    )
