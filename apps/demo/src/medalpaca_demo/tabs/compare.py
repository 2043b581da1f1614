"""Compare: one question, both models' ratings of its options, and what each writes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import gradio as gr

from ..context import Scene
from ..html import ENGINE, QUIET, acted, html, label, pressable, prompt, status, stem, walk_line
from ..job import Progress
from ..side_by_side import answer_column, option_table


@dataclass(frozen=True, slots=True)
class Compare:
    """How other tabs open a question here: `outputs` take what `open` returns."""

    open: Callable[[int, Sequence[int], str, gr.Request], tuple[Any, ...]]
    outputs: list[Any]


def build(scene: Scene) -> Compare:
    """The tab's contents."""
    items, everyone = scene.items, tuple(range(len(scene.items)))

    def shown(index: int, progress: Progress | None, seconds: float = 0.0) -> tuple[str, str, str, str]:
        """What changes while models answer."""
        return (
            option_table(items[index], progress, scene.scoring),
            status(items[index], progress, seconds),
            answer_column("base", progress, asked=(items[index].options, scene.scoring)),
            answer_column("tuned", progress, asked=(items[index].options, scene.scoring)),
        )

    def go(index: int, walk: Sequence[int], name: str, visitor: gr.Request) -> tuple[Any, ...]:
        """Another question, with nothing answered yet."""
        scene.visits.leave(visitor.session_hash or "")
        return (
            (index, tuple(walk), name),
            index + 1,
            index,
            walk_line(walk.index(index) if index in walk else None, len(walk), name),
            stem(items[index]),
            prompt(scene.request(items[index]).prompt),
            *shown(index, None),
        )

    def along(place: tuple[int, Sequence[int], str], by: int, visitor: gr.Request) -> tuple[Any, ...]:
        index, walk, name = place
        # Whoever jumped off the list comes back to it at the nearest question in that direction.
        at = walk.index(index) + by if index in walk else _beside(walk, index, by)
        return go(walk[at % len(walk)], walk, name, visitor)

    def previous_one(place: Any, visitor: gr.Request) -> tuple[Any, ...]:
        return along(place, -1, visitor)

    def next_one(place: Any, visitor: gr.Request) -> tuple[Any, ...]:
        return along(place, 1, visitor)

    def go_to_number(number: float | None, place: Any, visitor: gr.Request) -> tuple[Any, ...]:
        index = place[0] if number is None else min(max(int(number), 1), len(items)) - 1
        return go(index, place[1], place[2], visitor)

    def go_to_choice(index: int | None, place: Any, visitor: gr.Request) -> tuple[Any, ...]:
        return go(place[0] if index is None else index, place[1], place[2], visitor)

    def all_of_them(place: Any, event: gr.EventData, visitor: gr.Request) -> tuple[Any, ...]:
        acted(event)
        return go(place[0], everyone, "", visitor)

    def compare(place: Any, visitor: gr.Request) -> Iterator[tuple[Any, ...]]:
        """Both answers as they come. Closing the page closes this generator, and that frees the engine."""
        index, began = place[0], time.monotonic()
        asked = scene.request(items[index])
        with closing(scene.visits.show(visitor.session_hash or "", asked, visitor.username)) as stream:
            for progress in stream:
                if progress is None:
                    # Gradio repeats a stream's last word at its end; a skip says nothing, also the second time.
                    yield (gr.skip(),) * len(answers)
                else:
                    yield shown(index, progress, time.monotonic() - began)

    def stop(visitor: gr.Request) -> None:
        scene.visits.stop(visitor.session_hash or "")

    place = gr.State((0, everyone, ""))
    with gr.Row(elem_classes="mp-pick"):
        previous = _button("\N{SINGLE LEFT-POINTING ANGLE QUOTATION MARK} Previous", "mp-previous", 90)
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
        following = _button("Next \N{SINGLE RIGHT-POINTING ANGLE QUOTATION MARK}", "mp-next", 90)
        chooser = gr.Dropdown(
            [(label(n + 1, item), n) for n, item in enumerate(items)],
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
        halt = _button("Stop", "mp-stop", 80)
    walking = pressable(walk_line(0, len(items), ""), "mp-walk")
    question = html(stem(items[0]), "mp-question")
    first = shown(0, None)
    table = html(first[0], "mp-table")
    line = html(first[1], "mp-line")
    with gr.Row(equal_height=True):
        with gr.Column(min_width=300):
            left = html(first[2], "mp-left")
        with gr.Column(min_width=300):
            right = html(first[3], "mp-right-side")
    with gr.Accordion("Prompt as sent (the same to both)", open=False):
        sent = html(prompt(scene.request(items[0]).prompt), "mp-sent")

    answers = [table, line, left, right]
    everything = [place, number, chooser, walking, question, sent, *answers]
    start.click(compare, place, answers, **ENGINE)
    halt.click(stop, None, None, **QUIET)
    previous.click(previous_one, place, everything, **QUIET)
    following.click(next_one, place, everything, **QUIET)
    number.submit(go_to_number, [number, place], everything, **QUIET)
    chooser.input(go_to_choice, [chooser, place], everything, **QUIET)
    walking.act(all_of_them, place, everything, **QUIET)
    return Compare(go, everything)


def _beside(walk: Sequence[int], index: int, by: int) -> int:
    """The position in `walk` of the nearest question after (`by` 1) or before (-1) one that is not in it."""
    candidates = [(abs(other - index), at) for at, other in enumerate(walk) if (other - index) * by > 0]
    return min(candidates)[1] if candidates else 0


def _button(text: str, elem_id: str, width: int) -> gr.Button:
    return gr.Button(text, elem_id=elem_id, min_width=width, scale=0)
