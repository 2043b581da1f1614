"""HTML of the page's common parts: header, footer, question, status line, buttons and form fields.

Forms, tables and buttons are plain HTML inside one Gradio component: the page stays small, and the browser's own
keyboard and screen reader support works. Every click and form arrives as one event, `act` (see `static/acts.js`).
Text from outside (exam, models, names) is escaped.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from html import escape
from importlib.resources import files
from typing import Any

import gradio as gr

from medalpaca_data.exams.item import Item

from .job import Progress

EVENT_OPTIONS: Mapping[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
# Clicks that are answered without a model. They keep their order, and none is dropped.
PRESS_OPTIONS: Mapping[str, Any] = {
    "trigger_mode": "multiple",
    "concurrency_id": "press",
    "concurrency_limit": 1,
    **EVENT_OPTIONS,
}
# More concurrent calls than the engine's queue holds: that queue shows the waiting time, Gradio's does not.
ENGINE_OPTIONS: Mapping[str, Any] = {"concurrency_id": "engine", "concurrency_limit": 64, **EVENT_OPTIONS}

# Shown in place of a missing number or text.
DASH = "\N{EN DASH}"
SIDE_NAMES = {"base": "Base", "tuned": "Fine-tuned"}
KEYS = {
    "j / k": "next or previous question",
    "Enter": "compare, ask, start, or show two answers",
    "Esc": "stop; in a text field: leave the field",
    "A to Z": "choose that option in Exam",
    "1 to 4": "vote in Blind vote",
    "/": "search in Browse",
    "?": "show this list",
}


def html(value: str, elem_id: str | None = None) -> gr.HTML:
    """Return a component for static HTML. The value must be escaped."""
    return gr.HTML(value, elem_id=elem_id, apply_default_css=False, js_on_load=None)


def interactive_html(value: str, elem_id: str) -> gr.HTML:
    """Return a component whose `[data-act]` buttons and forms trigger the event `act`."""
    return gr.HTML(value, elem_id=elem_id, apply_default_css=False, js_on_load=read_static("acts.js"))


def event_fields(event: gr.EventData) -> dict[str, str]:
    """Return a button's data attributes or a form's fields. They come from the browser: check every value."""
    return {str(name): str(value) for name, value in (event._data or {}).items()}


def button_html(
    text: str,
    act: str,
    *,
    value: str = "",
    key: str = "",
    kind: str = "",
    event: str = "",
    disabled: bool = False,
) -> str:
    """Return a button that triggers the event `act`, or `ask` with `event="ask"`.

    The event has the fields `act` and `value`. `key` is the keyboard shortcut, `kind` a CSS class.
    """
    shortcut = f' <kbd aria-hidden="true">{escape(key)}</kbd>' if key else ""
    attributes = "".join(
        f' data-{name}="{escape(content)}"'
        for name, content in (("act", act), ("value", value), ("key", key), ("event", event))
        if content
    )
    attributes += " disabled" if disabled else ""
    return f'<button type="button" class="mp-button {kind}"{attributes}>{escape(text)}{shortcut}</button>'


def select_field(name: str, label: str, options: Iterable[tuple[str, str]], selected: str) -> str:
    """Return a drop-down list. `options` are (value, text); `selected` is a value."""
    listed = "".join(
        f'<option value="{escape(value)}"{" selected" if value == selected else ""}>{escape(text)}</option>'
        for value, text in options
    )
    return (
        f'<label class="mp-field"><span>{escape(label)}</span><select name="{name}">{listed}</select></label>'
    )


def download_button(text: str, name: str, content: str) -> str:
    """Return a button that saves `content` as a file. The browser makes the file; the server stores nothing."""
    return (
        f'<button type="button" class="mp-button" data-download="{escape(name)}">{escape(text)}</button>'
        f"<template>{escape(content)}</template>"
    )


def notice(text: str, kind: str = "empty") -> str:
    """Return a box with a message. `kind` is empty, waiting or failed. The text must be escaped."""
    return f'<div class="mp-notice" data-state="{kind}" role="status">{text}</div>'


@cache
def read_static(name: str) -> str:
    """Return the text of a file in the folder `static/`, which is read once."""
    return files(__package__).joinpath("static", name).read_text(encoding="utf-8")


def header(run: str, exam: str, count: int) -> str:
    """Return the page's title with the fine-tuned model `run`, the exam, and its number of questions."""
    return (
        '<header class="mp-head"><h1>Base <span>vs</span> fine-tuned</h1>'
        f'<p class="mp-run"><span>run <b>{escape(run)}</b></span>'
        f"<span>exam <b>{escape(exam)}</b>, {count} questions</span></p></header>"
    )


def banner(name: str, error: str = "", seconds: float = 0.0) -> str:
    """Return a message while the models load, or if they could not be loaded; otherwise an empty text.

    `name` is the name of the engine's state, `seconds` the time of loading so far.
    """
    match name:
        case "loading":
            text = f"Loading the models… {seconds:.0f} s. You can already ask a question; it is answered after loading."
        case "failed":
            text = f"<b>The models cannot answer:</b> {escape(error)}. Existing results can still be read."
        case _:
            return ""
    return f'<p class="mp-banner" data-state="{name}" role="status">{text}</p>'


def footer(outside_hosts: Sequence[str] = (), audit_notice: str = "", *, log_out: bool = False) -> str:
    """Return the line at the bottom of every tab: not for clinical use, and where questions are sent.

    `outside_hosts` are other machines that receive the questions; `audit_notice` describes an audit log.
    `log_out` adds the button for it.
    """
    stored = audit_notice or "nothing is stored"
    if outside_hosts:
        hosts = escape(", ".join(outside_hosts))
        badge = (
            f'<span class="mp-sends" title="Questions are sent to {hosts}. On this machine, {stored}">'
            f"sends to {hosts}</span>"
        )
    else:
        badge = f'<span class="mp-offline" title="Questions stay on this machine; {stored}">offline</span>'
    # A form, because only a POST request ends a session: another page cannot send it.
    button = '<form method="post" action="logout"><button class="mp-logout">Log out</button></form>'
    return (
        '<footer class="mp-purpose"><span>Exam questions only, not for clinical use</span>'
        f"{badge}{button if log_out else ''}</footer>"
    )


def key_help() -> str:
    """Return the list of keyboard shortcuts. Each shortcut also has a button."""
    listed = "".join(f"<dt><kbd>{key}</kbd></dt><dd>{what}</dd>" for key, what in KEYS.items())
    return f'<details class="mp-help"><summary>Keyboard shortcuts</summary><dl>{listed}</dl></details>'


def list_position(index: int | None, count: int, name: str) -> str:
    """Return the position in a filtered list called `name`; empty without a filter.

    `index` is None if the question on the page is not in the list.
    """
    if not name:
        return ""
    position = (
        f"Question {index + 1:,} of {count:,}"
        if index is not None
        else f"Not among these {count:,} questions"
    )
    return (
        f'<p class="mp-walk">{position}: {escape(name)} '
        '<button type="button" class="mp-button" data-act="all">Go through all questions</button></p>'
    )


def item_label(number: int, item: Item) -> str:
    """Return a question's line in the list of questions; the list's filter finds any part of it."""
    parts = [f"{number}", item.id, f"Step {item.step}" if item.step is not None else "", item.subject or ""]
    return " · ".join(part for part in parts if part)


def question_html(item: Item) -> str:
    """Return a question as in the exam, with step, subject and id."""
    tags = [f"Step {item.step}" if item.step is not None else "", item.subject or "", item.id]
    shown = "".join(f"<span>{escape(tag)}</span>" for tag in tags if tag)
    return (
        f'<section class="mp-stem" aria-label="Question" data-item="{escape(item.id)}"><p class="mp-tags">{shown}</p>'
        f"<div>{escape(item.question.strip())}</div></section>"
    )


def status_line(item: Item | None, progress: Progress | None, seconds: float = 0.0) -> str:
    """Return the state of a comparison in one sentence, which screen readers announce (unlike the answers).

    `item` is None for a question without options, `progress` before a request. `seconds` is the time since the request.
    """
    kind, text = _status(item, progress, seconds)
    return f'<p class="mp-status" data-state="{kind}" role="status" aria-live="polite">{escape(text)}</p>'


def _status(item: Item | None, progress: Progress | None, seconds: float) -> tuple[str, str]:
    if progress is None:
        return "idle", "Press Compare to get the answers of both models." if item else ""
    match progress.state:
        case "waiting":
            queue = f" ({progress.ahead} questions before yours)" if progress.ahead else ""
            return "waiting", f"Waiting for the model… {seconds:.0f} s{queue}"
        case "reading":
            return "reading", "The models read the question…"
        case "failed":
            begun = any(answer.text for answer in progress.answers.values())
            return "failed", f"{'Not finished' if begun else 'No answer'}: {progress.error}."
        case _:
            return progress.state, _choices_text(item, progress)


def _choices_text(item: Item | None, progress: Progress) -> str:
    tail = {"answering": " Writing…", "stopped": " Stopped.", "done": ""}.get(progress.state, "")
    if item is None or not progress.scores:
        return tail.strip() or "Done."
    letters = list(item.options)
    chosen = {side: letters[scores.chosen] for side, scores in progress.scores.items()}
    parts = [
        f"{SIDE_NAMES[side]} chooses {letter}"
        + (f" ({'right' if letter == item.answer else 'wrong'})" if item.answer else "")
        for side, letter in chosen.items()
    ]
    key = f" Correct answer: {item.answer}." if item.answer else ""
    return f"{', '.join(parts)}.{key}{tail}"


def prompt_html(text: str) -> str:
    """Return the prompt exactly as sent."""
    return f'<pre class="mp-prompt">{escape(text)}</pre>'
