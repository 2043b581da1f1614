"""Own question: free text, or a pasted exam item with its options. The text is not stored.

Before a text is sent to the models, it is searched for patterns that identify a person: names with a title, dates of
birth, record, insurance and telephone numbers, addresses. If one is found, the user must confirm the text. The search
does not find every identifier. Ages and findings occur in every exam question and are not searched for. An audit log
keeps the SHA-256 of the prompt.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import gradio as gr

from medalpaca_data.core.prompt import render
from medalpaca_data.exams.exam import MIN_OPTIONS
from medalpaca_data.exams.item import LETTERS, Item, exam_prompt

from ..context import Context
from ..html import (
    ENGINE_OPTIONS,
    EVENT_OPTIONS,
    button_html,
    event_fields,
    interactive_html,
    notice,
    prompt_html,
)
from ..job import Request
from ..side_by_side import build_panel, panel_values, stream_panel

OPTION_LINE = re.compile(r"^\s*\(?([A-Z])\s*[.):]\s*(\S.*)$")
KEY_LINE = re.compile(r"^\s*(?:correct\s+)?(?:answer|key)\s*(?:is)?\s*[:=]?\s*\(?([A-Z])\b\)?.*$", re.I)
# Limit of the input field in characters. The model's own limit is in tokens, and the engine reports it.
MAX_CHARACTERS = 20_000


@dataclass(frozen=True, slots=True)
class Pasted:
    """Parsed text: `item` if it has options (its `answer` is "" without a key line), otherwise only `question`."""

    question: str
    item: Item | None = None


def parse_pasted(text: str) -> Pasted:
    """Return the question and options of a text: lines that start with A, B, C ... in order, as "A.", "A)" or "(A)".

    Without a question or with fewer than `MIN_OPTIONS` options, the whole text is the question.
    """
    question: list[str] = []
    options: dict[str, str] = {}
    key = ""
    for line in text.strip().splitlines():
        letter = LETTERS[len(options)] if len(options) < len(LETTERS) else ""
        match = OPTION_LINE.match(line)
        if match and match[1] == letter:
            options[letter] = match[2].strip()
        elif options and (key_match := KEY_LINE.match(line)):
            key = key_match[1].upper()
        elif options and line.strip():
            # An option that continues in the next line.
            last = list(options)[-1]
            options[last] = f"{options[last]} {line.strip()}"
        elif not options:
            question.append(line)
    stem = "\n".join(question).strip()
    if len(options) < MIN_OPTIONS or not stem:
        return Pasted(text.strip())
    return Pasted(stem, Item(id="", question=stem, options=options, answer=key if key in options else ""))


def find_identifiers(text: str) -> list[str]:
    """Return the titles of the Safe Harbor classes that the text seems to contain, such as "names".

    Searched are the rules of `data deid check`, including addresses of the form that surrogates have.
    """
    from medalpaca_data.deid.find import find_identifiers as find
    from medalpaca_data.deid.rules import KINDS

    [spans] = find([text], include_surrogates=True)
    return list(dict.fromkeys(KINDS[span.kind][1] for span in spans))


HINT = (
    "<p>Enter free text, or a question with one option per line (A. … B. …). An optional last line "
    '"Answer: C" gives the correct answer. With options, both models also score them, as in the exam.</p>'
    "<p>{stored}{sent} Do not enter anything about a real person.</p>"
)


@dataclass(frozen=True, slots=True)
class OwnQuestion:
    """Request for a user's question; `item` is None for free text."""

    request: Request
    item: Item | None


def build(context: Context) -> None:
    """Lay out the tab."""

    def answer(text: str, visitor: gr.Request) -> Iterator[tuple[Any, ...]]:
        own = make_request(context, text)
        empty = panel_values(own.item, None, context.scoring)
        yield "", gr.skip(), *empty, prompt_html(own.request.prompt)
        for values in stream_panel(context, own.request, own.item, visitor):
            if values is None:
                yield (gr.skip(),) * 7
            else:
                yield "", gr.skip(), *values, gr.skip()

    def submit(text: str, visitor: gr.Request) -> Iterator[tuple[Any, ...]]:
        """Answer, unless the text is empty, too long, or seems to contain personal identifiers."""
        unchanged = (gr.skip(),) * 6
        if not text.strip():
            yield notice("<p>Type or paste a question first.</p>"), *unchanged
        elif len(text) > MAX_CHARACTERS:
            message = f"<p>Too long: {len(text):,} characters; the limit is {MAX_CHARACTERS:,}.</p>"
            yield notice(message, "failed"), *unchanged
        elif kinds := find_identifiers(text):
            yield identifier_warning(kinds, context.pair.outside_hosts), *unchanged
        else:
            yield from answer(text, visitor)

    def confirm(text: str, event: gr.EventData, visitor: gr.Request) -> Iterator[tuple[Any, ...]]:
        """Handle the warning's buttons: `Ask anyway` answers the text, `Clear` removes it."""
        match event_fields(event).get("act"):
            case "anyway" if text.strip() and len(text) <= MAX_CHARACTERS:
                yield from answer(text, visitor)
            case "clear":
                context.sessions.end(visitor.session_hash or "")
                yield hint(context), "", *panel_values(None, None, context.scoring), ""
            case _:
                yield (gr.skip(),) * 7

    def stop(visitor: gr.Request) -> None:
        context.sessions.stop(visitor.session_hash or "")

    box = gr.Textbox(
        label="Your question",
        lines=6,
        max_lines=16,
        max_length=MAX_CHARACTERS + 1,
        elem_id="mp-own-text",
        html_attributes=gr.InputHTMLAttributes(autocomplete="off", spellcheck=False),
        placeholder="Which vitamin is lacking in scurvy?",
    )
    with gr.Row(elem_classes="mp-pick"):
        start = gr.Button("Ask both models", variant="primary", elem_id="mp-own-ask", min_width=110, scale=0)
        halt = gr.Button("Stop", elem_id="mp-own-stop", min_width=80, scale=0)
    message = interactive_html(hint(context), "mp-own")
    panel = build_panel("mp-own", panel_values(None, None, context.scoring), "")

    outputs = [message, box, *panel.answers, panel.prompt]
    start.click(submit, box, outputs, **ENGINE_OPTIONS)
    message.act(confirm, box, outputs, **ENGINE_OPTIONS)
    halt.click(stop, None, None, **EVENT_OPTIONS)


def hint(context: Context) -> str:
    """Return the notice above the answers: format of a question, and where it is sent."""
    hosts = escape(", ".join(context.pair.outside_hosts))
    stored = "Your text is not stored, on this machine or in the browser."
    if context.audit_notice:
        stored = f"Your text is not stored; {escape(context.audit_notice)}."
    return notice(HINT.format(stored=stored, sent=f" It is sent to {hosts}." if hosts else ""))


def make_request(context: Context, text: str) -> OwnQuestion:
    """Return the request for a text: an item with the exam's prompt, free text as an instruction, as in training."""
    pasted = parse_pasted(text)
    if pasted.item is None:
        choices: tuple[str, ...] = ()
        prompt = render(pasted.question)
    else:
        question = exam_prompt(pasted.item, context.scoring)
        prompt, choices = question.prompt, question.choices
    request = Request(
        prompt=prompt, choices=choices, scoring=context.scoring, max_new_tokens=context.max_new_tokens
    )
    return OwnQuestion(request, pasted.item)


def identifier_warning(kinds: list[str], outside_hosts: Sequence[str] = ()) -> str:
    """Return a warning that names the kinds of identifiers, but does not repeat the text."""
    consequence = (
        f"It would be sent to {escape(', '.join(outside_hosts))}."
        if outside_hosts
        else "The models run on this machine and no text is stored, but the text is visible on this screen."
    )
    return notice(
        f"<p><b>The text may be about a real person. It seems to contain:</b> {escape(', '.join(kinds))}. Remove this: "
        f"the page is for exam questions, and its answers are not for clinical use. {consequence}</p>"
        f"{button_html('Ask anyway', 'anyway')}{button_html('Clear', 'clear')}",
        "failed",
    )
