"""Compare: one question, the option scores of both models, and their written answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from ..context import Context
from ..html import (
    ENGINE_OPTIONS,
    EVENT_OPTIONS,
    event_fields,
    html,
    interactive_html,
    item_label,
    list_position,
    prompt_html,
    question_html,
)
from ..side_by_side import build_panel, panel_values, stream_panel

# Index of the question in the exam; indexes of the list that Previous and Next go through; name of that list.
Position = tuple[int, Sequence[int], str]


@dataclass(frozen=True, slots=True)
class CompareTab:
    """Function with which other tabs open a question here: `outputs` are the components for its return value.

    `open` takes the index of the question, the indexes and the name of the list to go through, and Gradio's request.
    """

    open: Callable[[int, Sequence[int], str, gr.Request], tuple[Any, ...]]
    outputs: list[Any]


def build(context: Context) -> CompareTab:
    """Lay out the tab."""
    items, all_indexes = context.items, tuple(range(len(context.items)))

    def go(index: int, indexes: Sequence[int], name: str, visitor: gr.Request) -> tuple[Any, ...]:
        """Show another question, without answers."""
        context.sessions.end(visitor.session_hash or "")
        return (
            (index, tuple(indexes), name),
            index + 1,
            index,
            list_position(indexes.index(index) if index in indexes else None, len(indexes), name),
            question_html(items[index]),
            prompt_html(context.request(items[index]).prompt),
            *panel_values(items[index], None, context.scoring),
        )

    def step(position: Position, by: int, visitor: gr.Request) -> tuple[Any, ...]:
        index, indexes, name = position
        # A user who has left the list by number or id goes back to its nearest question in this direction.
        current = indexes.index(index) + by if index in indexes else _nearest_position(indexes, index, by)
        return go(indexes[current % len(indexes)], indexes, name, visitor)

    def go_to_previous(position: Position, visitor: gr.Request) -> tuple[Any, ...]:
        return step(position, -1, visitor)

    def go_to_next(position: Position, visitor: gr.Request) -> tuple[Any, ...]:
        return step(position, 1, visitor)

    def go_to_number(number: float | None, position: Position, visitor: gr.Request) -> tuple[Any, ...]:
        index = position[0] if number is None else min(max(int(number), 1), len(items)) - 1
        return go(index, position[1], position[2], visitor)

    def go_to_item(index: int | None, position: Position, visitor: gr.Request) -> tuple[Any, ...]:
        return go(position[0] if index is None else index, position[1], position[2], visitor)

    def leave_list(position: Position, event: gr.EventData, visitor: gr.Request) -> tuple[Any, ...]:
        event_fields(event)
        return go(position[0], all_indexes, "", visitor)

    def compare(position: Position, visitor: gr.Request) -> Iterator[tuple[Any, ...]]:
        item = items[position[0]]
        for values in stream_panel(context, context.request(item), item, visitor):
            # Gradio repeats the last value at the end of a stream; a skip may be repeated without effect.
            yield (gr.skip(),) * 4 if values is None else values

    def stop(visitor: gr.Request) -> None:
        context.sessions.stop(visitor.session_hash or "")

    position = gr.State((0, all_indexes, ""))
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
            [(item_label(n + 1, item), n) for n, item in enumerate(items)],
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
    list_line = interactive_html(list_position(0, len(items), ""), "mp-walk")
    question = html(question_html(items[0]), "mp-question")
    panel = build_panel("mp", panel_values(items[0], None, context.scoring), context.request(items[0]).prompt)

    everything = [position, number, chooser, list_line, question, panel.prompt, *panel.answers]
    start.click(compare, position, panel.answers, **ENGINE_OPTIONS)
    halt.click(stop, None, None, **EVENT_OPTIONS)
    previous.click(go_to_previous, position, everything, **EVENT_OPTIONS)
    following.click(go_to_next, position, everything, **EVENT_OPTIONS)
    number.submit(go_to_number, [number, position], everything, **EVENT_OPTIONS)
    chooser.input(go_to_item, [chooser, position], everything, **EVENT_OPTIONS)
    list_line.act(leave_list, position, everything, **EVENT_OPTIONS)
    return CompareTab(go, everything)


def _nearest_position(indexes: Sequence[int], index: int, by: int) -> int:
    """Return the position in `indexes` of the nearest question after (`by` 1) or before (-1) `index`."""
    candidates = [
        (abs(other - index), position) for position, other in enumerate(indexes) if (other - index) * by > 0
    ]
    return min(candidates)[1] if candidates else 0


def _button(text: str, elem_id: str, width: int) -> gr.Button:
    return gr.Button(text, elem_id=elem_id, min_width=width, scale=0)
