"""Leaderboard: both scores per step and pooled, with intervals, the paired test, and a sentence in words."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import gradio as gr

from medalpaca_evalharness.compare import Comparison, Row, points
from medalpaca_evalharness.statistics import Interval

from ..context import Scene
from ..html import QUIET, acted, html, pressable
from ..results import Filter, Line, lines
from .browse import Browse, no_results

TOO_FEW = 30  # below this many questions a share of right answers says little


@dataclass(frozen=True, slots=True)
class Subject:
    """One subject's counts."""

    name: str
    n: int
    base_right: int
    tuned_right: int

    @property
    def difference(self) -> float:
        """Tuned minus base, as a share of 1."""
        return (self.tuned_right - self.base_right) / self.n


def build(scene: Scene, browse: Browse | None, tabs: gr.Tabs) -> None:
    """The tab's contents."""
    comparison = scene.results.comparison
    if comparison is None or browse is None:
        html(no_results(scene.results.trouble), "mp-leaderboard")
        return

    def press(event: gr.EventData) -> tuple[Any, ...]:
        """A row opens its questions in Browse."""
        said = acted(event)
        wanted = Filter(step=said.get("value", "")) if said.get("act") == "step" else Filter()
        if said.get("act") == "subject":
            wanted = Filter(subject=said.get("value", ""))
        return gr.Tabs(selected="browse"), *browse.show(wanted)

    listed = lines(scene.items, scene.results)
    board = pressable(leaderboard(comparison, listed, scene.results.notes), "mp-leaderboard")
    board.act(press, None, [tabs, *browse.outputs], **QUIET)


def leaderboard(comparison: Comparison, listed: Sequence[Line], notes: Sequence[str]) -> str:
    """Verdict, table, subjects, notes."""
    rows = "".join(_row(row) for row in (*comparison.steps, comparison.pooled))
    said = "".join(f"<li>{escape(note)}.</li>" for note in notes)
    return (
        f'<section class="mp-verdict-box"><h2>In words</h2><p class="mp-lead">{escape(in_words(comparison.pooled))}</p>'
        f'<p class="mp-soft">{escape(comparison.sentence)}</p></section>'
        '<div class="mp-scroll"><table class="mp-list mp-board"><caption class="mp-sr">Right answers</caption>'
        '<thead><tr><th scope="col">Questions</th><th scope="col" class="mp-num">n</th>'
        '<th scope="col" class="mp-num">Base</th><th scope="col" class="mp-num">Fine-tuned</th>'
        '<th scope="col" class="mp-num">Difference</th><th scope="col" class="mp-num">Both right</th>'
        '<th scope="col" class="mp-num">Fixed</th><th scope="col" class="mp-num">Broken</th>'
        '<th scope="col" class="mp-num">Both wrong</th><th scope="col" class="mp-num">p</th></tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
        '<p class="mp-soft mp-fine">Right answers in percent with 95 % Wilson interval; difference in points with 95 % '
        "paired bootstrap interval; p by McNemar's exact test, two-sided, for steps also adjusted for their number "
        f"(Holm). Guessing gets {100 * comparison.pooled.chance:.0f} %.</p>"
        f"{_subjects(subjects(listed))}" + (f'<ul class="mp-notes">{said}</ul>' if said else "")
    )


def in_words(row: Row) -> str:
    """What a reader without statistics should take home."""
    more = row.fixed - row.broken
    how = f"{abs(more):,} {'more' if more > 0 else 'fewer'}" if more else "as many"
    start = f"Fine-tuned answers {how} of {row.n:,} questions correctly" + (
        f": it fixed {row.fixed:,} and broke {row.broken:,}" if row.fixed + row.broken else ""
    )
    match row.verdict:
        case "better":
            end = "More than chance would do: tuning helped on this exam"
        case "worse":
            end = "More than chance would do: tuning did harm on this exam"
        case _:
            end = "That can be chance: with so many questions no difference is detectable"
    return f"{start} ({_p(row.p)}). {end}."


def subjects(listed: Sequence[Line]) -> list[Subject]:
    """Counts per subject of what both arms answered, the most gained first."""
    found: dict[str, list[Line]] = defaultdict(list)
    for line in listed:
        if line.item.subject and line.base is not None and line.tuned is not None:
            found[line.item.subject].append(line)
    counted = [
        Subject(
            name,
            len(those),
            sum(line.base is not None and line.base.chosen == line.key for line in those),
            sum(line.tuned is not None and line.tuned.chosen == line.key for line in those),
        )
        for name, those in found.items()
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
        f"<b>{100 * row.difference:+.1f}</b><small>{points(row.interval)}</small>",
        str(row.both_right),
        str(row.fixed),
        str(row.broken),
        str(row.both_wrong),
        escape(_p(row.p, ""))
        + (f"<small>Holm {escape(_p(row.p_holm, ''))}</small>" if row.p_holm is not None else ""),
    )
    labels = ("n", "base", "fine-tuned", "difference", "both right", "fixed", "broken", "both wrong", "p")
    few = ' class="mp-all"' if row.label == "All" else ""
    return (
        f'<tr{few}><th scope="row">{name}</th>'
        + "".join(
            f'<td class="mp-num" data-label="{label}">{cell}</td>'
            for label, cell in zip(labels, cells, strict=True)
        )
        + "</tr>"
    )


def _subjects(counted: Sequence[Subject]) -> str:
    if not counted:
        return ""
    rows = "".join(
        f'<tr{" class=mp-few" if one.n < TOO_FEW else ""}><th scope="row"><button type="button" class="mp-open" '
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


def _gain(one: Subject) -> str:
    return "too few to say" if one.n < TOO_FEW else f"{100 * one.difference:+.0f} points"


def _dumbbell(one: Subject) -> str:
    """A line from base to tuned on a scale of 0 to 100 %; the numbers stand beside it."""
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
