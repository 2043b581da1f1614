"""The page itself: components, what happens on which click, and how it is served.

`build_app` returns the page and its launch settings together, because half of the privacy settings belong to
one and half to the other. Nothing is global: two apps on two exams can run in one process.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import closing
from functools import cache
from importlib.resources import files
from typing import Any

import gradio as gr
from starlette.middleware import Middleware

from medalpaca_data.exam import Exam
from medalpaca_data.exam_prompt import ask, exam_prompt_id
from medalpaca_data.ground.errors import UserError

from .about import about
from .answers import answer_column
from .bars import option_table
from .engine import Engine
from .load import Pair
from .page import header, label, prompt, status, stem
from .request import Progress, Request, Scoring
from .shield import Shield
from .visits import Visits

MAX_NEW_TOKENS = 160
KEYS = {"j": "next", "k": "previous", "Enter": "compare", "Esc": "stop"}


def build_app(
    engine: Engine, pair: Pair, exam: Exam, scoring: Scoring, *, max_new_tokens: int = MAX_NEW_TOKENS
) -> tuple[gr.Blocks, dict[str, Any]]:
    """The page, and what to pass to its `launch`."""
    # Any value turns on a mode in which whoever reaches the page may edit files and run code.
    if os.environ.get("GRADIO_VIBE_MODE"):
        raise UserError("GRADIO_VIBE_MODE is set: it lets any visitor run code here; unset it")
    items = exam.items
    visits = Visits(engine)

    def asked(index: int) -> Request:
        question = ask(items[index], scoring)
        return Request(
            prompt=question.prompt, choices=question.choices, scoring=scoring, max_new_tokens=max_new_tokens
        )

    def shown(index: int, progress: Progress | None, seconds: float = 0.0) -> tuple[str, str, str, str]:
        """What changes while models answer."""
        return (
            option_table(items[index], progress, scoring),
            status(items[index], progress, seconds),
            answer_column("base", progress),
            answer_column("tuned", progress),
        )

    def go(index: int, visitor: gr.Request) -> tuple[Any, ...]:
        """Another question, with nothing answered yet."""
        visits.leave(visitor.session_hash or "")
        index = index % len(items)
        return index, index + 1, index, stem(items[index]), prompt(asked(index).prompt), *shown(index, None)

    def previous_one(index: int, visitor: gr.Request) -> tuple[Any, ...]:
        return go(index - 1, visitor)

    def next_one(index: int, visitor: gr.Request) -> tuple[Any, ...]:
        return go(index + 1, visitor)

    def go_to_number(number: float | None, index: int, visitor: gr.Request) -> tuple[Any, ...]:
        return go(index if number is None else min(max(int(number), 1), len(items)) - 1, visitor)

    def compare(index: int, visitor: gr.Request) -> Iterator[tuple[Any, ...]]:
        """Both answers as they come. Closing the page closes this generator, and that frees the engine."""
        began = time.monotonic()
        with closing(visits.show(visitor.session_hash or "", asked(index))) as stream:
            for progress in stream:
                if progress is None:
                    # Gradio repeats a stream's last word at its end; a skip says nothing, also the second time.
                    yield (gr.skip(),) * len(answers)
                else:
                    yield shown(index, progress, time.monotonic() - began)

    def stop(visitor: gr.Request) -> None:
        visits.stop(visitor.session_hash or "")

    with gr.Blocks(title="Base vs fine-tuned", analytics_enabled=False, fill_width=True) as page:
        at = gr.State(0)
        _html(header(pair.name, exam.name, len(items)))
        with gr.Tabs(), gr.Tab("Compare"):
            with gr.Row(elem_classes="mp-pick"):
                previous = gr.Button(
                    "\N{SINGLE LEFT-POINTING ANGLE QUOTATION MARK} Previous",
                    elem_id="mp-previous",
                    min_width=90,
                    scale=0,
                )
                number = gr.Number(
                    1,
                    minimum=1,
                    maximum=len(items),
                    precision=0,
                    show_label=False,
                    container=False,
                    elem_id="mp-number",
                    min_width=76,
                    scale=0,
                    label="Question number",
                )
                following = gr.Button(
                    "Next \N{SINGLE RIGHT-POINTING ANGLE QUOTATION MARK}",
                    elem_id="mp-next",
                    min_width=90,
                    scale=0,
                )
                choices = [(label(n + 1, item), n) for n, item in enumerate(items)]
                chooser = gr.Dropdown(
                    choices,
                    value=0,
                    show_label=False,
                    container=False,
                    filterable=True,
                    elem_id="mp-chooser",
                    min_width=200,
                    scale=1,
                    label="Question by id, step or subject",
                )
                start = gr.Button("Compare", variant="primary", elem_id="mp-compare", min_width=110, scale=0)
                halt = gr.Button("Stop", elem_id="mp-stop", min_width=80, scale=0)
            question = _html(stem(items[0]), "mp-question")
            first = shown(0, None)
            table = _html(first[0], "mp-table")
            line = _html(first[1], "mp-line")
            with gr.Row(equal_height=True):
                with gr.Column(min_width=300):
                    left = _html(first[2], "mp-left")
                with gr.Column(min_width=300):
                    right = _html(first[3], "mp-right-side")
            _html(
                f'<p class="mp-keys">{" · ".join(f"<kbd>{k}</kbd> {what}" for k, what in KEYS.items())}</p>'
            )
            with gr.Accordion("Prompt as sent (the same to both)", open=False):
                sent = _html(prompt(asked(0).prompt), "mp-sent")
            with gr.Accordion("About", open=False):
                _html(about(pair, exam, scoring, exam_prompt_id(scoring), max_new_tokens))

        answers = [table, line, left, right]
        everything = [at, number, chooser, question, sent, *answers]
        hidden: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
        start.click(compare, at, answers, concurrency_id="engine", concurrency_limit=16, **hidden)
        halt.click(stop, None, None, **hidden)
        previous.click(previous_one, at, everything, **hidden)
        following.click(next_one, at, everything, **hidden)
        number.submit(go_to_number, [number, at], everything, **hidden)
        chooser.input(go, chooser, everything, **hidden)

    page.queue(max_size=32, api_open=False)
    return page, launch_settings()


def launch_settings() -> dict[str, Any]:
    """Loopback only, nothing recorded, nothing shared; each said, so that no default can change it."""
    return {
        "server_name": "127.0.0.1",
        "share": False,
        "run_history": False,
        "enable_monitoring": False,
        "mcp_server": False,
        "pwa": False,
        "ssr_mode": False,
        "footer_links": [],
        "show_error": True,
        "strict_cors": True,
        "max_file_size": "1mb",
        "quiet": True,
        "theme": _theme(),
        "css": _static("style.css"),
        "head": f"<script>{_static('keys.js')}</script>",
        "app_kwargs": {
            "middleware": [Middleware(Shield)],
            "docs_url": None,
            "redoc_url": None,
            "openapi_url": None,
        },
    }


def _html(value: str, elem_id: str | None = None) -> gr.HTML:
    return gr.HTML(value, elem_id=elem_id, apply_default_css=False, js_on_load=None)


def _theme() -> gr.themes.Base:
    return gr.themes.Base(
        primary_hue="teal",
        neutral_hue="slate",
        font=["system-ui", "sans-serif"],
        font_mono=["ui-monospace", "monospace"],
    ).set(
        # The theme's own teal fails the contrast of its white label.
        button_primary_background_fill="*primary_700",
        button_primary_background_fill_dark="*primary_700",
        button_primary_background_fill_hover="*primary_800",
        button_primary_background_fill_hover_dark="*primary_800",
        button_primary_text_color="white",
        button_primary_text_color_dark="white",
    )


@cache
def _static(name: str) -> str:
    return files(__package__).joinpath("static", name).read_text(encoding="utf-8")
