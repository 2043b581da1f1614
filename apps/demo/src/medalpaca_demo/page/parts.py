"""Pieces of page: HTML that can be pressed, and a file that is made in the browser and nowhere else.

Forms, tables and buttons are plain HTML in one component instead of one component each: the page stays light, and
its keyboard and its screen reader are the browser's own. Whatever is pressed arrives as one event, `act`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from html import escape
from importlib.resources import files
from typing import Any

import gradio as gr

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
