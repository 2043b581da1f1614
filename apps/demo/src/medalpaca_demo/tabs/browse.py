"""Browse: every question with both examined answers, filtered and sorted. Nothing is generated here."""

from __future__ import annotations

import csv
import io
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import gradio as gr

from ..context import Scene
from ..html import NOTHING, QUIET, acted, button, choice, download, html, notice, pressable
from ..results import KINDS, ORDERS, ROWS_PER_PAGE, Filter, Line, lines, select, steps, subjects
from ..side_by_side import RIGHT, WRONG, percent
from .compare import Compare

EXAMINE = "uv run lm_eval --model hf --model_args pretrained=BASE{} --tasks TASK --log_samples --output_path results/{}"
HOW = (
    "<p>Examine both models on this exam and open the page with their results:</p>"
    f"<pre>{EXAMINE.format('', 'base')}\n{EXAMINE.format(',peft=RUN', 'tuned')}\n"
    "uv run demo --base BASE --adapter RUN --exam EXAM --results results/base results/tuned</pre>"
    "<p>Compare works without them.</p>"
)


@dataclass(frozen=True, slots=True)
class Browse:
    """How other tabs set the filter: `outputs` take what `show` returns."""

    show: Callable[[Filter], tuple[Any, ...]]
    outputs: list[Any]


def build(scene: Scene, compare: Compare, tabs: gr.Tabs) -> Browse | None:
    """The tab's contents; None where there are no results to browse."""
    if scene.results.comparison is None:
        html(no_results(scene.results.trouble), "mp-browse")
        return None
    listed = lines(scene.items, scene.results)

    def show(wanted: Filter) -> tuple[Any, ...]:
        # The mark makes the browser build the form anew, also when it only differs by what was typed into it.
        return wanted, controls(listed, wanted, secrets.token_hex(4)), table(listed, wanted)

    def refilter(wanted: Filter, event: gr.EventData) -> tuple[Any, ...]:
        """The form stays as the browser has it: whoever types in it keeps the cursor."""
        wanted = wanted.told(acted(event))
        return wanted, gr.skip(), table(listed, wanted)

    def press(wanted: Filter, event: gr.EventData, visitor: gr.Request) -> tuple[Any, ...]:
        said = acted(event)
        stay, skip = (gr.skip(),) * 3, (gr.skip(),) * (1 + len(compare.outputs))
        match said.get("act"):
            case "page":
                wanted = wanted.turned(1 if said.get("value") == "on" else -1)
                return wanted, gr.skip(), table(listed, wanted), *skip
            case "all":
                return *show(Filter()), *skip
            case "open":
                walk = [line.index for line in select(listed, wanted)]
                index = next((n for n in walk if scene.items[n].id == said.get("value")), None)
                if index is not None:
                    name = filter_name(wanted)
                    opened = compare.open(index, walk, name, visitor)
                    return *stay, gr.Tabs(selected="compare"), *opened
        return *stay, *skip

    wanted = gr.State(Filter())
    form = pressable(controls(listed, Filter()), "mp-browse-form")
    rows = pressable(table(listed, Filter()), "mp-browse")
    outputs = [wanted, form, rows]
    form.act(refilter, wanted, outputs, **QUIET)
    rows.act(press, wanted, [*outputs, tabs, *compare.outputs], **QUIET)
    return Browse(show, outputs)


def no_results(trouble: str) -> str:
    """What stands in place of results, on every tab that lives from them."""
    if trouble:
        return notice(f"<p><b>These results cannot be shown:</b> {escape(trouble)}.</p>{HOW}", "failed")
    return notice(f"<p><b>No examination results were given.</b></p>{HOW}")


def controls(listed: Sequence[Line], wanted: Filter, mark: str = "") -> str:
    """The form: which kind, step, subject and order, and a search."""
    counts = {kind: sum(kind in line.kinds for line in listed) for kind in KINDS}
    radios = "".join(
        f'<label class="mp-chip"><input type="radio" name="kind" value="{kind}"'
        f"{' checked' if kind == wanted.kind else ''}>"
        f"<span>{name} <b>{counts[kind]}</b></span></label>"
        for kind, name in KINDS.items()
    )
    items = [line.item for line in listed]
    lists = ""
    if of_steps := steps(items):
        lists += choice("step", "Step", [("", "all"), *((s, f"Step {s}") for s in of_steps)], wanted.step)
    if of_subjects := subjects(items):
        lists += choice("subject", "Subject", [("", "all"), *((s, s) for s in of_subjects)], wanted.subject)
    lists += choice("order", "Order", ORDERS.items(), wanted.order)
    return (
        f'<form class="mp-filter" data-mark="{mark}" data-act="filter" data-live aria-label="Which questions">'
        f'<fieldset><legend class="mp-sr">Answers</legend>{radios}</fieldset>'
        f'<div class="mp-fields">{lists}<label class="mp-field mp-grow"><span>Search</span>'
        f'<input type="search" name="search" value="{escape(wanted.search)}" autocomplete="off" maxlength="200" '
        'data-key="/" placeholder="words of question, option or id"></label></div></form>'
    )


def table(listed: Sequence[Line], wanted: Filter) -> str:
    """One page of what passes, and how many that are."""
    found = select(listed, wanted)
    if not found:
        return notice(
            f"<p>{escape(_why_none(listed, wanted))}</p>{button('Show all', 'all')}",
        )
    pages = -(-len(found) // ROWS_PER_PAGE)
    page = min(wanted.page, pages - 1)
    part = found[page * ROWS_PER_PAGE : (page + 1) * ROWS_PER_PAGE]
    rows = "".join(map(_row, part))
    turn = ""
    if pages > 1:
        turn = (
            f'<span class="mp-pages">{button("Back", "page", value="back", off=page == 0)} page {page + 1} of {pages} '
            f"{button('On', 'page', value='on', off=page == pages - 1)}</span>"
        )
    saved = download("Save list as CSV", "questions.csv", as_csv(found))
    return (
        f'<div class="mp-count"><p role="status">{len(found):,} of {len(listed):,} questions</p>{turn}{saved}</div>'
        '<div class="mp-scroll"><table class="mp-list"><caption class="mp-sr">Questions with both answers</caption>'
        '<thead><tr><th scope="col">Question</th><th scope="col">Step</th><th scope="col">Subject</th>'
        '<th scope="col">Key</th><th scope="col">Base</th><th scope="col">Fine-tuned</th>'
        '<th scope="col" class="mp-num">p(key) base</th><th scope="col" class="mp-num">tuned</th>'
        f'<th scope="col" class="mp-num">change</th></tr></thead><tbody>{rows}</tbody></table></div>'
    )


def filter_name(wanted: Filter) -> str:
    """The filter in a few words; empty for none."""
    parts = [
        KINDS[wanted.kind].lower() if wanted.kind != "all" else "",
        f"Step {wanted.step}" if wanted.step else "",
        wanted.subject,
        f'"{wanted.search}"' if wanted.search else "",
    ]
    return ", ".join(part for part in parts if part)


def as_csv(found: Sequence[Line]) -> str:
    """The list for other programs: ids, letters and shares, no text of the exam."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["id", "step", "subject", "key", "base", "tuned", "p_key_base", "p_key_tuned"])
    for line in found:
        letters, item = list(line.item.options), line.item
        both = (line.base, line.tuned)
        writer.writerow(
            [item.id, item.step or "", item.subject or "", item.answer]
            + ["" if seen is None else letters[seen.chosen] for seen in both]
            + ["" if seen is None else f"{seen.shares[line.key]:.6f}" for seen in both]
        )
    return out.getvalue()


def _row(line: Line) -> str:
    item, letters = line.item, list(line.item.options)
    opens = (
        f'<button type="button" data-act="open" data-value="{escape(item.id)}" class="mp-open">'
        f"{escape(item.id)}<span>{escape(_begin(item.question))}</span></button>"
    )
    answers, shares = "", ""
    for arm, seen in (("base", line.base), ("tuned", line.tuned)):
        if seen is None:
            answers += f'<td class="mp-none" data-label="{arm}">{NOTHING}</td>'
            shares += f'<td class="mp-num mp-none" data-label="p(key) {arm}">{NOTHING}</td>'
            continue
        right = seen.chosen == line.key
        kind, sign, word = ("mp-right", RIGHT, "right") if right else ("mp-wrong", WRONG, "wrong")
        answers += (
            f'<td data-label="{arm}"><span class="{kind}">{escape(letters[seen.chosen])} {sign}'
            f'<span class="mp-sr">{word}</span></span></td>'
        )
        shares += (
            f'<td class="mp-num" data-label="p(key) {arm}">{escape(percent(seen.shares[line.key]))}</td>'
        )
    gain = NOTHING if line.gain is None else f"{100 * line.gain:+.1f}".replace("-", "\N{MINUS SIGN}")
    return (
        f'<tr data-item="{escape(item.id)}"><th scope="row">{opens}</th>'
        f'<td data-label="step">{item.step if item.step is not None else NOTHING}</td>'
        f'<td data-label="subject">{escape(item.subject or NOTHING)}</td>'
        f'<td data-label="key">{escape(item.answer)}</td>{answers}{shares}'
        f'<td class="mp-num" data-label="change">{gain}</td></tr>'
    )


def _begin(question: str, length: int = 90) -> str:
    words = " ".join(question.split())
    return words if len(words) <= length else f"{words[:length].rsplit(' ', 1)[0]}\N{HORIZONTAL ELLIPSIS}"


def _why_none(listed: Sequence[Line], wanted: Filter) -> str:
    rest = bool(wanted.step or wanted.subject or wanted.search)
    among = len(select(listed, Filter(step=wanted.step, subject=wanted.subject, search=wanted.search)))
    if not among:
        return "No question fits step, subject and search."
    where = f"the {among:,} questions that fit" if rest else f"all {among:,} questions"
    match wanted.kind:
        case "disagree":
            return f"The models agree on {where}."
        case "unread":
            return f"Both models have an answer to {where}: options are rated, so no text had to be parsed."
        case "fixed":
            return f"Tuning fixed none of {where}."
        case "broken":
            return f"Tuning broke none of {where}."
        case "wrong":
            return f"At least one model is right on {where}."
        case _:
            return f"At least one model is wrong on {where}."
