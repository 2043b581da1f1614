"""The quickstart's result: a table, a sentence, and an SVG chart of both accuracies with Wilson intervals.

The SVG contains the counts as JSON in its `<metadata>`. The whole file is a function of these counts, so a test can
compare a picture with a result.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from html import escape

from rich.table import Table

from medalpaca_evalharness.comparison import ALPHA, NOT_SHOWN, Comparison, Row
from medalpaca_evalharness.statistics import mcnemar_exact, wilson

# Horizontal position of 0 % and 100 %, in pixels.
LEFT, RIGHT = 190, 700
FIRST_ROW, ROW_HEIGHT, BAR_HEIGHT = 78, 49, 15
# Additional space above the last row, which holds all items.
TOTAL_GAP = 4
STYLE = (
    ".bg{fill:#fff}.t{fill:#1c2733}.m{fill:#5b6876}.g{stroke:#dde3ea}.c{stroke:#b3261e}.ct{fill:#b3261e}"
    ".b{fill:#8b98a8}.u{fill:#0f766e}.w{stroke:#1c2733;stroke-width:1.5}@media(prefers-color-scheme:dark)"
    "{.bg{fill:#0f1720}.t{fill:#e6edf5}.m{fill:#9aa8b8}.g{stroke:#26323f}.c{stroke:#ff8a80}.ct{fill:#ff8a80}"
    ".b{fill:#74849a}.u{fill:#2dd4bf}.w{stroke:#e6edf5}}"
)


@dataclass(frozen=True, slots=True)
class Counts:
    """Numbers of items of one exam step, or of all items, by outcome.

    `fixed` items only the tuned model answers correctly, `broken` items only the base.
    """

    label: str
    both_right: int
    fixed: int
    broken: int
    both_wrong: int

    @property
    def n(self) -> int:
        """Number of items."""
        return self.both_right + self.fixed + self.broken + self.both_wrong


@dataclass(frozen=True, slots=True)
class Figures:
    """Everything that the chart shows. The last row counts all items; `chance` is the accuracy of guessing, 0 to 1."""

    exam: str
    seed: int
    chance: float
    rows: tuple[Counts, ...]


def figures(comparison: Comparison, seed: int) -> Figures:
    """Return what the chart shows of a comparison; `seed` is that of the quickstart."""
    rows = tuple(
        Counts(row.label, row.both_right, row.fixed, row.broken, row.both_wrong)
        for row in (*comparison.steps, comparison.pooled)
    )
    return Figures(comparison.base.exam, seed, comparison.pooled.chance, rows)


def result_table(comparison: Comparison) -> Table:
    """Return a table with one line per exam step and one for all items, at most 80 columns wide."""
    table = Table(title="Correct answers", title_justify="left")
    table.add_column("questions")
    for heading in ("number", "base", "fine-tuned", "difference", "95 % interval"):
        table.add_column(heading, justify="right")
    for row in (*comparison.steps, comparison.pooled):
        interval = row.interval
        table.add_row(
            row.label,
            str(row.n),
            f"{_percent(row.base_right, row.n)} %",
            f"{_percent(row.tuned_right, row.n)} %",
            f"{100 * row.difference:+.1f} points",
            f"{100 * interval.low:+.1f} to {100 * interval.high:+.1f}",
        )
    return table


def result_sentence(comparison: Comparison) -> str:
    """Return the result of all items in words: questions fixed and broken, both accuracies, and the verdict."""
    row = comparison.pooled
    verdicts = {"better": "is better", "worse": "is worse", NOT_SHOWN: "is not shown to differ from the base"}
    compared = "not below" if row.verdict == NOT_SHOWN else "below"
    return (
        f"Fine-tuning fixed {row.fixed} and broke {row.broken} of {row.n} questions: "
        f"{_percent(row.base_right, row.n)} % to {_percent(row.tuned_right, row.n)} % correct.\n"
        f"The fine-tuned model {verdicts[row.verdict]}: {_p(row)} (exact McNemar test), {compared} {ALPHA}."
    )


def draw_chart(shown: Figures) -> str:
    """Return the chart as SVG."""
    bottom = FIRST_ROW + ROW_HEIGHT * len(shown.rows) + TOTAL_GAP + 6
    height = bottom + 46
    total = shown.rows[-1]
    sentence = f"{total.fixed} questions fixed, {total.broken} broken, exact McNemar {_p(total)}."
    head = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 760 {height}" width="760" height="{height}" '
        'role="img" font-family="system-ui,sans-serif" font-size="13">',
        f"<title>Quickstart, seed {shown.seed}: accuracy of base and tuned model on {escape(shown.exam)}</title>",
        f"<desc>Right answers of {total.n}: base {_percent(total.both_right + total.broken, total.n)} %, "
        f"tuned {_percent(total.both_right + total.fixed, total.n)} %. {escape(sentence)}</desc>",
        f"<metadata>{escape(json.dumps(asdict(shown)), quote=False)}</metadata>",
        f"<style>{STYLE}</style>",
        f'<rect class="bg" width="760" height="{height}" rx="8"/>',
        '<text class="t" x="24" y="32" font-size="16" font-weight="600">'
        "Pocket model on the bundled exam, before and after the flash cards</text>",
        f'<text class="m" x="24" y="52">{total.n} questions; bars: accuracy, whiskers: 95 % Wilson interval</text>',
    ]
    foot = f"{sentence} A toy: it says nothing about medicine."
    return "\n".join(
        [
            *head,
            *_axis(shown.chance, bottom),
            *_rows(shown.rows),
            f'<text class="m" x="24" y="{height - 8}" font-size="12">{escape(foot)}</text></svg>\n',
        ]
    )


def _axis(chance: float, bottom: int) -> Iterator[str]:
    for share in (0.0, 0.5, 0.75, 1.0):
        x = f"{_x(share):.0f}"
        yield f'<line class="g" x1="{x}" x2="{x}" y1="70" y2="{bottom}"/>'
        yield f'<text class="m" x="{x}" y="{bottom + 18}" text-anchor="middle">{100 * share:.0f} %</text>'
    x = f"{_x(chance):.0f}"
    yield f'<line class="c" x1="{x}" x2="{x}" y1="70" y2="{bottom}" stroke-dasharray="4 3"/>'
    yield f'<text class="ct" x="{x}" y="{bottom + 18}" text-anchor="middle">chance</text>'


def _rows(rows: Sequence[Counts]) -> Iterator[str]:
    for number, row in enumerate(rows):
        total = number == len(rows) - 1
        y = FIRST_ROW + ROW_HEIGHT * number + (TOTAL_GAP if total else 0)
        label, weight = ("All items", 600) if total else (row.label, 400)
        yield (
            f'<text class="t" x="24" y="{y + 18}" font-weight="{weight}">{escape(label)}</text>'
            f'<text class="m" x="100" y="{y + 18}">n {row.n}</text>'
        )
        yield from _bar("base", "b", row.both_right + row.broken, row.n, y)
        yield from _bar("tuned", "u", row.both_right + row.fixed, row.n, y + BAR_HEIGHT + 4)


def _bar(side: str, color: str, right: int, n: int, y: int) -> Iterator[str]:
    interval, middle = wilson(right, n), y + BAR_HEIGHT / 2
    low, high = f"{_x(interval.low):.1f}", f"{_x(interval.high):.1f}"
    yield (
        f'<text class="m" x="182" y="{y + 12}" text-anchor="end" font-size="11">{side}</text>'
        f'<rect class="{color}" x="{LEFT}" y="{y}" width="{_x(right / n) - LEFT:.1f}" height="{BAR_HEIGHT}" rx="2"/>'
    )
    yield (
        f'<path class="w" fill="none" d="M{low} {middle}H{high}M{low} {middle - 3.5}v7M{high} {middle - 3.5}v7"/>'
        f'<text class="t" x="{_x(interval.high) + 8:.1f}" y="{y + 12}" font-size="12">{_percent(right, n)}</text>'
    )


def _x(share: float) -> float:
    return LEFT + (RIGHT - LEFT) * share


def _percent(right: int, n: int) -> str:
    return f"{100 * right / n:.1f}"


def _p(row: Counts | Row) -> str:
    p = mcnemar_exact(row.fixed, row.broken)
    return "p < 0.0001" if p < 0.0001 else f"p = {p:.4f}"
