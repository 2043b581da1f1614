"""Leaderboard: accuracy of both models by step and subject, with intervals, a paired test, and a summary in words."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import gradio as gr

from medalpaca_evalharness.comparison import Comparison, Row, format_interval
from medalpaca_evalharness.statistics import Interval

from ..context import Context
from ..html import EVENT_OPTIONS, event_fields, html, interactive_html
from ..results import Filter, ItemRow, list_items
from .browse import BrowseTab, no_results

# Below this number of questions, the page shows no difference for a subject.
MIN_QUESTIONS = 30


@dataclass(frozen=True, slots=True)
class SubjectCounts:
    """Number of questions of one subject, and of each model's right answers."""

    name: str
    n: int
    base_right: int
    tuned_right: int

    @property
    def difference(self) -> float:
        """Accuracy of tuned minus base, between -1 and 1."""
        return (self.tuned_right - self.base_right) / self.n


def build(context: Context, browse: BrowseTab | None, tabs: gr.Tabs) -> None:
    """Lay out the tab; without results, only a notice."""
    comparison = context.results.comparison
    if comparison is None or browse is None:
        html(no_results(context.results.error), "mp-leaderboard")
        return

    def press(event: gr.EventData) -> tuple[Any, ...]:
        """Open a row's questions in Browse."""
        fields = event_fields(event)
        filter_ = Filter(step=fields.get("value", "")) if fields.get("act") == "step" else Filter()
        if fields.get("act") == "subject":
            filter_ = Filter(subject=fields.get("value", ""))
        return gr.Tabs(selected="browse"), *browse.show(filter_)

    items = list_items(context.items, context.results)
    board = interactive_html(leaderboard(comparison, items, context.results.notes), "mp-leaderboard")
    board.act(press, None, [tabs, *browse.outputs], **EVENT_OPTIONS)


def leaderboard(comparison: Comparison, items: Sequence[ItemRow], notes: Sequence[str]) -> str:
    """Return the tab's HTML: summary, table by step, table by subject, and notes."""
    rows = "".join(_row(row) for row in (*comparison.steps, comparison.pooled))
    notes_list = "".join(f"<li>{escape(note)}.</li>" for note in notes)
    return (
        '<section class="mp-verdict-box"><h2>In words</h2>'
        f'<p class="mp-lead">{escape(summary_text(comparison.pooled))}</p>'
        f'<p class="mp-soft">{escape(comparison.sentence)}</p></section>'
        '<div class="mp-scroll"><table class="mp-list mp-board"><caption class="mp-sr">Right answers</caption>'
        '<thead><tr><th scope="col">Questions</th><th scope="col" class="mp-num">n</th>'
        '<th scope="col" class="mp-num">Base</th><th scope="col" class="mp-num">Fine-tuned</th>'
        '<th scope="col" class="mp-num">Difference</th><th scope="col" class="mp-num">Both right</th>'
        '<th scope="col" class="mp-num">Fixed</th><th scope="col" class="mp-num">Broken</th>'
        '<th scope="col" class="mp-num">Both wrong</th><th scope="col" class="mp-num">p</th></tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
        '<p class="mp-soft mp-fine">Right answers in percent with 95 % Wilson interval; difference in percentage '
        "points with Tango's 95 % score interval, unadjusted; p of the exact two-sided McNemar test, for steps also "
        f"adjusted for their number (Holm). Guessing gives {100 * comparison.pooled.chance:.0f} %.</p>"
        f"{_subjects(count_subjects(items))}"
        + (f'<ul class="mp-notes">{notes_list}</ul>' if notes_list else "")
    )


def summary_text(row: Row) -> str:
    """Return two sentences on the comparison of one row for readers without statistics."""
    more = row.fixed - row.broken
    how = (
        f"{abs(more):,} {'more' if more > 0 else 'fewer'} correctly than" if more else "as many correctly as"
    )
    start = f"Of {row.n:,} questions, fine-tuned answers {how} base" + (
        f": it fixed {row.fixed:,} and broke {row.broken:,}" if row.fixed + row.broken else ""
    )
    match row.verdict:
        case "better":
            end = "This is more than chance explains: tuning improved the result on this exam"
        case "worse":
            end = "This is more than chance explains: tuning made the result worse on this exam"
        case _:
            end = "This can be chance: the models are not shown to differ"
    return f"{start} ({_p(row.p)}). {end}."


def count_subjects(items: Sequence[ItemRow]) -> list[SubjectCounts]:
    """Count the questions that both models answered, by subject; the largest gain comes first."""
    by_subject: dict[str, list[ItemRow]] = defaultdict(list)
    for row in items:
        if row.item.subject and row.base is not None and row.tuned is not None:
            by_subject[row.item.subject].append(row)
    counted = [
        SubjectCounts(
            name,
            len(questions),
            sum(row.base is not None and row.base.chosen == row.key_index for row in questions),
            sum(row.tuned is not None and row.tuned.chosen == row.key_index for row in questions),
        )
        for name, questions in by_subject.items()
    ]
    return sorted(counted, key=lambda one: (-one.difference, one.name))


def _row(row: Row) -> str:
    step = row.label.removeprefix("Step ")
    name = escape(row.label)
    if step.isdigit() or row.label == "All":
        value = f' data-act="step" data-value="{step}"' if step.isdigit() else ' data-act="all"'
        name = f'<button type="button" class="mp-open"{value}>{name}</button>'
    cells = (
        f"{row.n:,}",
        _share(row.base_right, row.n, row.base_interval),
        _share(row.tuned_right, row.n, row.tuned_interval),
        f"<b>{100 * row.difference:+.1f}</b><small>{format_interval(row.interval)}</small>",
        str(row.both_right),
        str(row.fixed),
        str(row.broken),
        str(row.both_wrong),
        escape(_p(row.p, ""))
        + (f"<small>Holm {escape(_p(row.p_holm, ''))}</small>" if row.p_holm is not None else ""),
    )
    labels = ("n", "base", "fine-tuned", "difference", "both right", "fixed", "broken", "both wrong", "p")
    total = ' class="mp-all"' if row.label == "All" else ""
    return (
        f'<tr{total}><th scope="row">{name}</th>'
        + "".join(
            f'<td class="mp-num" data-label="{label}">{cell}</td>'
            for label, cell in zip(labels, cells, strict=True)
        )
        + "</tr>"
    )


def _subjects(counted: Sequence[SubjectCounts]) -> str:
    if not counted:
        return ""
    rows = "".join(
        f'<tr{" class=mp-few" if one.n < MIN_QUESTIONS else ""}><th scope="row"><button type="button" class="mp-open" '
        f'data-act="subject" data-value="{escape(one.name)}">{escape(one.name)}</button></th>'
        f'<td class="mp-num" data-label="n">{one.n:,}</td>'
        f'<td class="mp-num" data-label="base">{100 * one.base_right / one.n:.0f} %</td>'
        f'<td class="mp-num" data-label="fine-tuned">{100 * one.tuned_right / one.n:.0f} %</td>'
        f'<td data-label="from base to fine-tuned">{_dumbbell(one)}</td>'
        f'<td data-label="difference">{_gain(one)}</td></tr>'
        for one in counted
    )
    return (
        '<h2 class="mp-h2">By subject</h2><div class="mp-scroll"><table class="mp-list mp-board">'
        '<caption class="mp-sr">Right answers by subject</caption><thead><tr><th scope="col">Subject</th>'
        '<th scope="col" class="mp-num">n</th><th scope="col" class="mp-num">Base</th>'
        '<th scope="col" class="mp-num">Fine-tuned</th>'
        '<th scope="col" class="mp-dumb-head">Base \N{WHITE CIRCLE} to fine-tuned \N{BLACK CIRCLE}</th>'
        f'<th scope="col">Difference</th></tr></thead><tbody>{rows}</tbody></table></div>'
    )


def _gain(one: SubjectCounts) -> str:
    return "too few questions" if one.n < MIN_QUESTIONS else f"{100 * one.difference:+.0f} points"


def _dumbbell(one: SubjectCounts) -> str:
    """Draw a line from base to tuned on a scale from 0 to 100 %; screen readers use the row's numbers."""
    before, after = 100 * one.base_right / one.n, 100 * one.tuned_right / one.n
    low, width = min(before, after), abs(before - after)
    return (
        '<span class="mp-dumb" aria-hidden="true">'
        f'<i style="left:{low:.1f}%;width:{width:.1f}%"></i>'
        f'<b class="mp-before" style="left:{before:.1f}%"></b><b class="mp-after" style="left:{after:.1f}%"></b></span>'
    )


def _share(right: int, n: int, interval: Interval) -> str:
    return (
        f"<b>{100 * right / n:.1f} %</b><small>{100 * interval.low:.1f} to {100 * interval.high:.1f}</small>"
    )


def _p(value: float, name: str = "p ") -> str:
    if value < 0.0001:
        return f"{name}< 0.0001"
    return f"{name}= {value:.4f}" if name else f"{value:.4f}"
