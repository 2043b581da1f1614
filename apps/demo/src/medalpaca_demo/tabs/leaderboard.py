"""Leaderboard: accuracy of both models by step and subject, with intervals, a paired test, and a summary in words."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

import gradio as gr

from medalpaca_evalharness.comparison import Comparison, Row, format_interval
from medalpaca_evalharness.statistics import Interval
from medalpaca_evalharness.subjects import MIN_ITEMS, NO_SUBJECT

from ..context import Context
from ..html import EVENT_OPTIONS, event_fields, html, interactive_html
from ..results import Filter
from .browse import BrowseTab, no_results


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

    board = interactive_html(leaderboard(comparison, context.results.notes), "mp-leaderboard")
    board.act(press, None, [tabs, *browse.outputs], **EVENT_OPTIONS)


def leaderboard(comparison: Comparison, notes: Sequence[str]) -> str:
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
        f"points with Tango's 95 % score interval, unadjusted; p of {_test_name(comparison.pooled)}, for steps also "
        f"adjusted for their number (Holm). Guessing gives {100 * comparison.pooled.chance:.0f} %.</p>"
        f"{_subjects(comparison.subjects)}"
        + (f'<ul class="mp-notes">{notes_list}</ul>' if notes_list else "")
    )


def _test_name(row: Row) -> str:
    if row.clusters is None:
        return "the exact two-sided McNemar test"
    few = ", so few that the interval is approximate" if row.clusters.approximate else ""
    return f"exact sign flips of {row.clusters.groups} groups of items{few}"


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


def _subjects(subjects: Sequence[Row]) -> str:
    if not subjects:
        return ""
    rows = "".join(
        f'<tr{" class=mp-few" if row.n < MIN_ITEMS else ""}><th scope="row">{_subject_name(row.label)}</th>'
        f'<td class="mp-num" data-label="n">{row.n:,}</td>'
        f'<td class="mp-num" data-label="base">{_right(row, row.base_right)}</td>'
        f'<td class="mp-num" data-label="fine-tuned">{_right(row, row.tuned_right)}</td>'
        f'<td data-label="from base to fine-tuned">{_dumbbell(row)}</td>'
        f'<td data-label="difference">{_gain(row)}</td>'
        f'<td class="mp-num" data-label="p">{_subject_p(row)}</td></tr>'
        for row in sorted(subjects, key=lambda row: (-row.difference, row.label))
    )
    return (
        '<h2 class="mp-h2">By subject</h2><div class="mp-scroll"><table class="mp-list mp-board">'
        '<caption class="mp-sr">Right answers by subject</caption><thead><tr><th scope="col">Subject</th>'
        '<th scope="col" class="mp-num">n</th><th scope="col" class="mp-num">Base</th>'
        '<th scope="col" class="mp-num">Fine-tuned</th>'
        '<th scope="col" class="mp-dumb-head">Base \N{WHITE CIRCLE} to fine-tuned \N{BLACK CIRCLE}</th>'
        '<th scope="col">Difference</th><th scope="col" class="mp-num">p</th></tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
        f'<p class="mp-soft mp-fine">Holm: p adjusted for all subjects with {MIN_ITEMS} questions or more; interval '
        "unadjusted. Smaller subjects have counts only.</p>"
    )


def _subject_name(name: str) -> str:
    if name == NO_SUBJECT:
        return escape(name)
    return (
        f'<button type="button" class="mp-open" data-act="subject" data-value="{escape(name)}">'
        f"{escape(name)}</button>"
    )


def _right(row: Row, right: int) -> str:
    return f"{right}" if row.n < MIN_ITEMS else f"{100 * right / row.n:.0f} %"


def _gain(row: Row) -> str:
    if row.n < MIN_ITEMS:
        return "too few questions"
    return f"{100 * row.difference:+.0f} points<small>{format_interval(row.interval)}</small>"


def _subject_p(row: Row) -> str:
    if row.p_holm is None:
        return ""
    return f"{escape(_p(row.p, ''))}<small>Holm {escape(_p(row.p_holm, ''))}</small>"


def _dumbbell(row: Row) -> str:
    """Draw a line from base to tuned on a scale from 0 to 100 %; screen readers use the row's numbers."""
    if row.n < MIN_ITEMS:
        return ""
    before, after = 100 * row.base_right / row.n, 100 * row.tuned_right / row.n
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
