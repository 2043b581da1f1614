"""Pieces of page: HTML that can be pressed, and a file that is made in the browser and nowhere else.

Forms, tables and buttons are plain HTML in one component instead of one component each: the page stays light, and
its keyboard and its screen reader are the browser's own. Whatever is pressed arrives as one event, `act`.

The parts of the page that are read: header, question, one-line summary. What is foreign is escaped.
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

QUIET: Mapping[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
# More than the engine lets wait: its own queue tells who waits how long, and Gradio's tells nothing.
# Quick answers to presses: none is dropped while another is answered, and they keep their order.
PRESS: Mapping[str, Any] = {
    "trigger_mode": "multiple",
    "concurrency_id": "press",
    "concurrency_limit": 1,
    **QUIET,
}
ENGINE: Mapping[str, Any] = {"concurrency_id": "engine", "concurrency_limit": 64, **QUIET}


def html(value: str, elem_id: str | None = None) -> gr.HTML:
    """HTML to be read. The value must be escaped."""
    return gr.HTML(value, elem_id=elem_id, apply_default_css=False, js_on_load=None)


def pressable(value: str, elem_id: str) -> gr.HTML:
    """HTML whose `[data-act]` buttons and forms trigger the event `act`; see `acts.js`."""
    return gr.HTML(value, elem_id=elem_id, apply_default_css=False, js_on_load=static("acts.js"))


def acted(event: gr.EventData) -> dict[str, str]:
    """What was pressed: the data attributes of a button, or the fields of a form. Foreign: check every value."""
    return {str(name): str(value) for name, value in (event._data or {}).items()}


def button(
    text: str, act: str, *, value: str = "", key: str = "", kind: str = "", event: str = "", off: bool = False
) -> str:
    """A button that triggers `act`, or `ask` by its `event`. `key` presses it while it is in sight."""
    shown = f' <kbd aria-hidden="true">{escape(key)}</kbd>' if key else ""
    given = "".join(
        f' data-{name}="{escape(said)}"'
        for name, said in (("act", act), ("value", value), ("key", key), ("event", event))
        if said
    )
    given += " disabled" if off else ""
    return f'<button type="button" class="mp-button {kind}"{given}>{escape(text)}{shown}</button>'


def choice(name: str, label: str, options: Iterable[tuple[str, str]], chosen: str) -> str:
    """A drop-down list of (value, text)."""
    listed = "".join(
        f'<option value="{escape(value)}"{" selected" if value == chosen else ""}>{escape(text)}</option>'
        for value, text in options
    )
    return (
        f'<label class="mp-field"><span>{escape(label)}</span><select name="{name}">{listed}</select></label>'
    )


def download(text: str, name: str, content: str) -> str:
    """A button that saves `content` as a file, made by the browser on the click; the server keeps none."""
    return (
        f'<button type="button" class="mp-button" data-download="{escape(name)}">{escape(text)}</button>'
        f"<template>{escape(content)}</template>"
    )


def notice(text: str, kind: str = "empty") -> str:
    """A state in words: empty, waiting, failed. The text must be escaped."""
    return f'<div class="mp-notice" data-state="{kind}" role="status">{text}</div>'


@cache
def static(name: str) -> str:
    """A file that ships with the page."""
    return files(__package__).joinpath("static", name).read_text(encoding="utf-8")


NOTHING = "\N{EN DASH}"  # stands where a number or a text will be
ARM_NAMES = {"base": "Base", "tuned": "Fine-tuned"}


def header(run: str, exam: str, count: int) -> str:
    """Who is compared, and on what."""
    return (
        '<header class="mp-head"><h1>Base <span>vs</span> fine-tuned</h1>'
        f'<p class="mp-run"><span>run <b>{escape(run)}</b></span>'
        f"<span>exam <b>{escape(exam)}</b>, {count} questions</span></p></header>"
    )


def banner(name: str, error: str = "", seconds: float = 0.0) -> str:
    """Why no model answers yet, or at all; nothing while they do. `name` is the engine's state."""
    match name:
        case "loading":
            said = f"Loading the models… {seconds:.0f} s. Questions can be asked already; they wait."
        case "failed":
            said = f"<b>No model can answer:</b> {escape(error)}. What was examined can still be read."
        case _:
            return ""
    return f'<p class="mp-banner" data-state="{name}" role="status">{said}</p>'


def purpose(outside: Sequence[str] = (), recorded: str = "") -> str:
    """What this is not, and where questions go; it stays in sight wherever the page is scrolled to.

    `outside` are other machines that questions are sent to; `recorded` says what an audit log keeps of them.
    """
    kept = recorded or "nothing is stored"
    if outside:
        hosts = escape(", ".join(outside))
        badge = (
            f'<span class="mp-sends" title="Questions go to {hosts}; here, {kept}">sends to {hosts}</span>'
        )
    else:
        badge = f'<span class="mp-offline" title="From this machine to this machine; {kept}">offline</span>'
    return (
        f'<footer class="mp-purpose"><span>Exam questions only, not for clinical use</span>{badge}</footer>'
    )


KEYS = {
    "j / k": "next or previous question",
    "Enter": "compare, ask, start, or show two answers",
    "Esc": "stop; in a field: leave it",
    "A to Z": "pick that option in Exam",
    "1 to 4": "vote in Blind vote",
    "/": "search in Browse",
    "?": "this list",
}


def key_help() -> str:
    """The keys; each is also a button."""
    listed = "".join(f"<dt><kbd>{key}</kbd></dt><dd>{what}</dd>" for key, what in KEYS.items())
    return f'<details class="mp-help"><summary>Keys</summary><dl>{listed}</dl></details>'


def walk_line(at: int | None, count: int, name: str) -> str:
    """Where a reader stands in a filtered list; nothing while all questions are walked."""
    if not name:
        return ""
    where = f"{at + 1:,} of {count:,}" if at is not None else f"beside the {count:,}"
    return (
        f'<p class="mp-walk">Question {where}: {escape(name)} '
        '<button type="button" class="mp-button" data-act="all">Walk all</button></p>'
    )


def label(number: int, item: Item) -> str:
    """One line of the question list; its filter finds any part of it."""
    parts = [f"{number}", item.id, f"Step {item.step}" if item.step is not None else "", item.subject or ""]
    return " · ".join(part for part in parts if part)


def stem(item: Item) -> str:
    """The question as the exam shows it."""
    tags = [f"Step {item.step}" if item.step is not None else "", item.subject or "", item.id]
    shown = "".join(f"<span>{escape(tag)}</span>" for tag in tags if tag)
    return (
        f'<section class="mp-stem" aria-label="Question" data-item="{escape(item.id)}"><p class="mp-tags">{shown}</p>'
        f"<div>{escape(item.question.strip())}</div></section>"
    )


def status(item: Item | None, progress: Progress | None, seconds: float = 0.0) -> str:
    """One sentence on where things stand, announced by screen readers; the streams themselves are not."""
    kind, text = _status(item, progress, seconds)
    return f'<p class="mp-status" data-state="{kind}" role="status" aria-live="polite">{escape(text)}</p>'


def _status(item: Item | None, progress: Progress | None, seconds: float) -> tuple[str, str]:
    if progress is None:
        return "idle", "Press Compare to let both models answer." if item else ""
    match progress.state:
        case "waiting":
            before = f" ({progress.ahead} before you)" if progress.ahead else ""
            return "waiting", f"Waiting for the model… {seconds:.0f} s{before}"
        case "reading":
            return "reading", "Reading the question…"
        case "failed":
            begun = any(answer.text for answer in progress.answers.values())
            return "failed", f"{'Not finished' if begun else 'No answer'}: {progress.error}."
        case _:
            return progress.state, _verdict(item, progress)


def _verdict(item: Item | None, progress: Progress) -> str:
    tail = {"answering": " Writing…", "stopped": " Stopped.", "done": ""}.get(progress.state, "")
    if item is None or not progress.scores:
        return tail.strip() or "Done."
    letters = list(item.options)
    chosen = {arm: letters[scores.chosen] for arm, scores in progress.scores.items()}
    said = [
        f"{ARM_NAMES[arm]} chooses {letter}"
        + (f" ({'right' if letter == item.answer else 'wrong'})" if item.answer else "")
        for arm, letter in chosen.items()
    ]
    key = f" Key: {item.answer}." if item.answer else ""
    return f"{', '.join(said)}.{key}{tail}"


def prompt(text: str) -> str:
    """The prompt as sent, to the character."""
    return f'<pre class="mp-prompt">{escape(text)}</pre>'
