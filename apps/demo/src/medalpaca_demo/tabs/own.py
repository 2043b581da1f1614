"""Own question: free text, or an item pasted with its options. Asked once, shown once, kept nowhere."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from html import escape
from typing import Any

import gradio as gr

from medalpaca_data.exams.asked import ask
from medalpaca_data.exams.item import Item
from medalpaca_data.prompt import render

from ..page.answers import answer_column
from ..page.bars import option_table
from ..page.parts import ENGINE, QUIET, acted, button, html, notice, pressable
from ..page.paste import read_pasted
from ..page.patient import looks_like_patient
from ..page.text import prompt, status
from ..passes.request import Progress, Request
from ..scene import Scene

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
        question = ask(pasted.item, scene.scoring)
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
