"""Browse: all questions with the logged answers of both models, filtered and sorted. No model runs here."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import gradio as gr

from medalpaca_data.core.untrusted import csv_text

from ..context import Context, list_steps
from ..html import (
    DASH,
    EVENT_OPTIONS,
    button_html,
    download_button,
    event_fields,
    html,
    interactive_html,
    notice,
    select_field,
)
from ..results import (
    KIND_LABELS,
    ORDER_LABELS,
    ROWS_PER_PAGE,
    Filter,
    ItemRow,
    filter_items,
    list_items,
    list_subjects,
)
from ..side_by_side import RIGHT_MARK, WRONG_MARK, format_share
from .compare import CompareTab

EVALUATE_COMMAND = (
    "uv run lm_eval --model hf --model_args pretrained=BASE{} "
    "--tasks TASK --log_samples --output_path results/{}"
)
RESULTS_HELP = (
    "<p>Evaluate both models on this exam, then start the page with the results:</p>"
    f"<pre>{EVALUATE_COMMAND.format('', 'base')}\n{EVALUATE_COMMAND.format(',peft=RUN', 'tuned')}\n"
    "uv run demo --base BASE --adapter RUN --exam EXAM --results results/base results/tuned</pre>"
    "<p>Compare works without results.</p>"
)


@dataclass(frozen=True, slots=True)
class BrowseTab:
    """Function with which other tabs set the filter: `outputs` are the components for its return value."""

    show: Callable[[Filter], tuple[Any, ...]]
    outputs: list[Any]


def build(context: Context, compare: CompareTab, tabs: gr.Tabs) -> BrowseTab | None:
    """Lay out the tab. Without results, show only a notice and return None."""
    if context.results.comparison is None:
        html(no_results(context.results.error), "mp-browse")
        return None
    rows = list_items(context.items, context.results)

    def show(filter_: Filter) -> tuple[Any, ...]:
        # A new mark makes the browser rebuild the form, also if only its text fields have changed.
        return filter_, controls(rows, filter_, secrets.token_hex(4)), table(rows, filter_)

    def refilter(filter_: Filter, event: gr.EventData) -> tuple[Any, ...]:
        """Apply the form's fields. The form itself stays, so that a user who types keeps the cursor."""
        filter_ = filter_.update(event_fields(event))
        return filter_, gr.skip(), table(rows, filter_)

    def press(filter_: Filter, event: gr.EventData, visitor: gr.Request) -> tuple[Any, ...]:
        fields = event_fields(event)
        stay, skip = (gr.skip(),) * 3, (gr.skip(),) * (1 + len(compare.outputs))
        match fields.get("act"):
            case "page":
                filter_ = filter_.move_page(1 if fields.get("value") == "on" else -1)
                return filter_, gr.skip(), table(rows, filter_), *skip
            case "all":
                return *show(Filter()), *skip
            case "open":
                indexes = [row.index for row in filter_items(rows, filter_)]
                index = next((n for n in indexes if context.items[n].id == fields.get("value")), None)
                if index is not None:
                    opened = compare.open(index, indexes, filter_name(filter_), visitor)
                    return *stay, gr.Tabs(selected="compare"), *opened
        return *stay, *skip

    filter_ = gr.State(Filter())
    form = interactive_html(controls(rows, Filter()), "mp-browse-form")
    listed = interactive_html(table(rows, Filter()), "mp-browse")
    outputs = [filter_, form, listed]
    form.act(refilter, filter_, outputs, **EVENT_OPTIONS)
    listed.act(press, filter_, [*outputs, tabs, *compare.outputs], **EVENT_OPTIONS)
    return BrowseTab(show, outputs)


def no_results(error: str) -> str:
    """Return the notice for tabs that need results; `error` is empty if the page was started without results."""
    if error:
        return notice(
            f"<p><b>These results cannot be shown:</b> {escape(error)}.</p>{RESULTS_HELP}", "failed"
        )
    return notice(f"<p><b>The page was started without results.</b></p>{RESULTS_HELP}")


def controls(rows: Sequence[ItemRow], filter_: Filter, mark: str = "") -> str:
    """Return the form with kind, step, subject, order and search; a new `mark` makes the browser rebuild it."""
    counts = {kind: sum(kind in row.kinds for row in rows) for kind in KIND_LABELS}
    radios = "".join(
        f'<label class="mp-chip"><input type="radio" name="kind" value="{kind}"'
        f"{' checked' if kind == filter_.kind else ''}>"
        f"<span>{name} <b>{counts[kind]}</b></span></label>"
        for kind, name in KIND_LABELS.items()
    )
    items = [row.item for row in rows]
    lists = ""
    if steps := list_steps(items):
        lists += select_field("step", "Step", [("", "all"), *((s, f"Step {s}") for s in steps)], filter_.step)
    if subjects := list_subjects(items):
        lists += select_field(
            "subject", "Subject", [("", "all"), *((s, s) for s in subjects)], filter_.subject
        )
    lists += select_field("order", "Order", ORDER_LABELS.items(), filter_.order)
    return (
        f'<form class="mp-filter" data-mark="{mark}" data-act="filter" data-live aria-label="Filter the questions">'
        f'<fieldset><legend class="mp-sr">Answers</legend>{radios}</fieldset>'
        f'<div class="mp-fields">{lists}<label class="mp-field mp-grow"><span>Search</span>'
        f'<input type="search" name="search" value="{escape(filter_.search)}" autocomplete="off" maxlength="200" '
        'data-key="/" placeholder="words in question, option or id"></label></div></form>'
    )


def table(rows: Sequence[ItemRow], filter_: Filter) -> str:
    """Return the HTML of one page of the filtered questions, with their number, or a notice if there are none."""
    passing = filter_items(rows, filter_)
    if not passing:
        return notice(
            f"<p>{escape(_empty_reason(rows, filter_))}</p>{button_html('Show all', 'all')}",
        )
    pages = -(-len(passing) // ROWS_PER_PAGE)
    page = min(filter_.page, pages - 1)
    part = passing[page * ROWS_PER_PAGE : (page + 1) * ROWS_PER_PAGE]
    body = "".join(map(_row, part))
    turn = ""
    if pages > 1:
        back = button_html("Previous page", "page", value="back", disabled=page == 0)
        forward = button_html("Next page", "page", value="on", disabled=page == pages - 1)
        turn = f'<span class="mp-pages">{back} page {page + 1} of {pages} {forward}</span>'
    saved = download_button("Save list as CSV", "questions.csv", as_csv(passing))
    return (
        f'<div class="mp-count"><p role="status">{len(passing):,} of {len(rows):,} questions</p>{turn}{saved}</div>'
        '<div class="mp-scroll"><table class="mp-list"><caption class="mp-sr">Questions with both answers</caption>'
        '<thead><tr><th scope="col">Question</th><th scope="col">Step</th><th scope="col">Subject</th>'
        '<th scope="col">Correct</th><th scope="col">Base</th><th scope="col">Fine-tuned</th>'
        '<th scope="col" class="mp-num">share of correct option, base</th>'
        '<th scope="col" class="mp-num">fine-tuned</th>'
        f'<th scope="col" class="mp-num">change</th></tr></thead><tbody>{body}</tbody></table></div>'
    )


def filter_name(filter_: Filter) -> str:
    """Describe the filter in a few words; empty without a filter."""
    parts = [
        KIND_LABELS[filter_.kind].lower() if filter_.kind != "all" else "",
        f"Step {filter_.step}" if filter_.step else "",
        filter_.subject,
        f'"{filter_.search}"' if filter_.search else "",
    ]
    return ", ".join(part for part in parts if part)


def as_csv(rows: Sequence[ItemRow]) -> str:
    """Return the list as CSV without text of questions and options.

    The columns are id, step, subject, letters of the correct and chosen options, and shares of the correct option.
    """
    lines = []
    for row in rows:
        letters, item = list(row.item.options), row.item
        both = (row.base, row.tuned)
        lines.append(
            [item.id, item.step or "", item.subject or "", item.answer]
            + ["" if result is None else letters[result.chosen] for result in both]
            + ["" if result is None else f"{result.shares[row.key_index]:.6f}" for result in both]
        )
    return csv_text(["id", "step", "subject", "key", "base", "tuned", "p_key_base", "p_key_tuned"], lines)


def _row(row: ItemRow) -> str:
    item, letters = row.item, list(row.item.options)
    opens = (
        f'<button type="button" data-act="open" data-value="{escape(item.id)}" class="mp-open">'
        f"{escape(item.id)}<span>{escape(_beginning(item.question))}</span></button>"
    )
    answers, shares = "", ""
    for side, result in (("base", row.base), ("fine-tuned", row.tuned)):
        if result is None:
            answers += f'<td class="mp-none" data-label="{side}">{DASH}</td>'
            shares += f'<td class="mp-num mp-none" data-label="share of correct option, {side}">{DASH}</td>'
            continue
        right = result.chosen == row.key_index
        kind, sign, word = ("mp-right", RIGHT_MARK, "right") if right else ("mp-wrong", WRONG_MARK, "wrong")
        answers += (
            f'<td data-label="{side}"><span class="{kind}">{escape(letters[result.chosen])} {sign}'
            f'<span class="mp-sr">{word}</span></span></td>'
        )
        shares += (
            f'<td class="mp-num" data-label="share of correct option, {side}">'
            f"{escape(format_share(result.shares[row.key_index]))}</td>"
        )
    gain = DASH if row.gain is None else f"{100 * row.gain:+.1f}".replace("-", "\N{MINUS SIGN}")
    return (
        f'<tr data-item="{escape(item.id)}"><th scope="row">{opens}</th>'
        f'<td data-label="step">{item.step if item.step is not None else DASH}</td>'
        f'<td data-label="subject">{escape(item.subject or DASH)}</td>'
        f'<td data-label="correct">{escape(item.answer)}</td>{answers}{shares}'
        f'<td class="mp-num" data-label="change">{gain}</td></tr>'
    )


def _beginning(question: str, length: int = 90) -> str:
    words = " ".join(question.split())
    return words if len(words) <= length else f"{words[:length].rsplit(' ', 1)[0]}\N{HORIZONTAL ELLIPSIS}"


def _empty_reason(rows: Sequence[ItemRow], filter_: Filter) -> str:
    restricted = bool(filter_.step or filter_.subject or filter_.search)
    others = Filter(step=filter_.step, subject=filter_.subject, search=filter_.search)
    count = len(filter_items(rows, others))
    if not count:
        return "No question matches step, subject and search."
    questions = f"the {count:,} matching questions" if restricted else f"all {count:,} questions"
    match filter_.kind:
        case "disagree":
            return f"The models agree on {questions}."
        case "unread":
            return f"The results have an answer of both models to {questions}."
        case "fixed":
            return f"Tuning fixed none of {questions}."
        case "broken":
            return f"Tuning broke none of {questions}."
        case "wrong":
            return f"At least one model is right on {questions}."
        case _:
            return f"At least one model is wrong on {questions}."
