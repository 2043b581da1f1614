"""Render a report as one HTML page without external resources; read the report back from such a page.

A report is the dictionary that `write_report` makes. The page embeds it as JSON. The Content-Security-Policy in
`templates/report.html.j2` forbids every request and every script. All texts of a report are escaped by jinja2.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from importlib.resources import files
from itertools import chain
from math import ceil, sqrt
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from medalpaca_data.core.errors import UserError
from medalpaca_data.core.files import json_fault

from ..answer_extraction import OUTCOMES
from ..comparability import LIMITED_NOTE
from ..comparison import format_bound
from ..subjects import MIN_ITEMS
from . import plots

MINUS = "\N{MINUS SIGN}"
EN_DASH = "\N{EN DASH}"
COLUMNS = 3
DATA = re.compile(r'<script type="application/json" id="report">(.*?)</script>', re.DOTALL)

Figures = dict[str, Any]

# Keys of a report's prompt that earlier versions did not write.
PROMPT_DEFAULTS: Figures = {
    "sent_prompt_id": None,
    "chat_template_sha256": None,
    "system_instruction": None,
    "num_fewshot": 0,
    "fewshot": None,
    "fewshot_sha256": None,
}


def render_page(report: dict[str, Any]) -> str:
    """Return the HTML page of a report. The same report gives the same page, byte for byte."""
    data = json.dumps(report, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
    return (
        _environment()
        .get_template("report.html.j2")
        .render(
            report=report,
            prompt=PROMPT_DEFAULTS | report["prompt"],
            title=_title(report),
            dates=_dates(report),
            notes=_notes(report),
            robustness=_robustness(report),
            outcomes=OUTCOMES,
            min_items=MIN_ITEMS,
            style=Markup(files(__package__).joinpath("page.css").read_text(encoding="utf-8")),  # noqa: S704
            # Without "<", no text can close the script element.
            data=Markup(data),  # noqa: S704
        )
    )


def read_page(html: str, where: str) -> Any:
    """Return the report embedded in a page; `where` names the page in errors. Raises UserError if there is none."""
    match = DATA.search(html)
    if match is None:
        raise UserError(f"{where}: contains no exam report; pass the .html or .json file of `exam report`")
    try:
        return json.loads(match[1])
    except (ValueError, RecursionError) as error:
        raise UserError(
            f"{where}: the embedded report is not valid JSON ({json_fault(error)}); "
            "create the report again with `exam report`"
        ) from None


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader(__package__ or ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    filters: dict[str, Callable[..., Any]] = {
        "percent": percent,
        "signed": signed,
        "interval": interval,
        "signed_interval": signed_interval,
        "p_value": p_value,
        "standard_error": lambda variance: percent(sqrt(variance)),
        "count": count,
        "number": lambda n: f"{n:,}",
        "columns": columns,
        "reasons": reasons,
        "settings": settings,
        "written_settings": written_settings,
        "file_name": lambda path: path.rsplit("/", 1)[-1],
        "capital": lambda text: text[0].upper() + text[1:],
    }
    environment.filters |= filters
    environment.globals |= {
        "score_plot": plots.score_plot,
        "reliability_plot": plots.reliability_plot,
        "stress_plot": stress_plot,
    }
    return environment


def percent(share: float) -> str:
    """Return a share of 1 as text in percent with one decimal, without the sign %."""
    return f"{100 * share:.1f}"


def signed(share: float) -> str:
    """Return a difference of shares as text in percentage points with its sign; zero has a plus sign."""
    return f"{round(100 * share, 1) + 0.0:+.1f}".replace("-", MINUS)


def interval(bounds: Sequence[float]) -> str:
    """Return the bounds of a share as text in percent."""
    return f"{percent(bounds[0])}{EN_DASH}{percent(bounds[1])}"


def signed_interval(bounds: Sequence[float]) -> str:
    """Return the bounds of a difference of shares as text in percentage points."""
    return " to ".join(format_bound(bound).replace("-", MINUS) for bound in bounds)


def p_value(value: float | None) -> str:
    """Return a p-value as text with four decimals, "<0.0001" for a smaller one, "" for None."""
    if value is None:
        return ""
    return f"{value:.4f}" if value >= 0.0001 else "<0.0001"


def count(n: int, noun: str) -> str:
    """Return a number of things as text: "1 item", "1,024 rows"."""
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def columns(names: Iterable[str]) -> list[tuple[str, ...]]:
    """Return names divided evenly among tables of at most three columns, which fit a phone and a sheet of paper."""
    listed = list(names)
    if not listed:
        return []
    width = ceil(len(listed) / ceil(len(listed) / COLUMNS))
    return [tuple(listed[start : start + width]) for start in range(0, len(listed), width)]


def reasons(sentence: str) -> str:
    """Return the part of a comparison's sentence after the colon, with a capital letter and typographic minus signs."""
    rest = re.sub(r"(?<!\w)-(?=\d)", MINUS, sentence.partition(": ")[2])
    return rest[:1].upper() + rest[1:]


def settings(values: dict[str, Any]) -> str:
    """Return the recorded settings of a run that have a value, as text: "dtype torch.bfloat16, batch size 8"."""
    recorded = {key: value for key, value in values.items() if value not in (None, "")}
    return ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in recorded.items())


def written_settings(values: dict[str, Any] | None) -> str:
    """Return the generation settings of a run as text: "until '</s>' or '\\n\\n', max_gen_toks 256"; "" for None."""
    return ", ".join(
        f"{key} {' or '.join(map(repr, value)) if isinstance(value, list) else value}"
        for key, value in (values or {}).items()
        if value != []
    )


def _title(report: dict[str, Any]) -> str:
    models, exam = [side["model"] for side in report["sides"].values()], report["exam"]["name"]
    if report.get("several_runs"):
        base = sum(plots.kind_of(name) == "base" for name in report["sides"])
        return f"{count(len(models) - base, 'run')} of tuned against {base} of base on {exam}"
    match models:
        case [model]:
            return f"{model} on {exam}"
        case [base, tuned]:
            return f"{tuned} against {base} on {exam}"
    return f"{len(models) - 1} models against {models[0]} on {exam}"


def _dates(report: dict[str, Any]) -> str:
    days = sorted({side["examined"][:10] for side in report["sides"].values() if side["examined"]})
    return " to ".join(dict.fromkeys((days[0], days[-1]))) if days else "at an unknown time"


def _notes(report: dict[str, Any]) -> list[tuple[str, str]]:
    """Return (model, warning) for each warning about a comparison or the only model; model "" if there is only one."""
    if several := report.get("several_runs"):
        return [("", note) for note in several["notes"]]
    if not report["comparisons"]:
        return [("", LIMITED_NOTE)] if next(iter(report["sides"].values()))["limited"] else []
    several = len(report["comparisons"]) > 1
    return [(one["name"] if several else "", note) for one in report["comparisons"] for note in one["notes"]]


# Figures of a stress result: label in the table, label in the plot ("": not plotted), path in the JSON,
# whether the table shows the chance level.
STRESS_FIGURES: tuple[tuple[str, str, tuple[str, ...], bool], ...] = (
    ("correct as published, %", "published", ("published",), False),
    ("correct, mean of all orders, %", "any order", ("orders", "every_order"), False),
    ("robust: correct in every order, %", "every order", ("orders", "robust"), False),
    ("consistent: same option in every order, %", "", ("orders", "consistent"), False),
    ("key is 'none of the above', %", "none of above", ("none_of_the_above", "perturbed"), False),
    ("the same items as published, %", "", ("none_of_the_above", "published"), False),
    ("options only, %", "options only", ("options_only",), True),
    ("question only, %", "question only", ("question_only",), True),
    *(
        (f"{label}, %", label, ("instructions", "accuracies", label), False)
        for label in (*(f"instruction {number}" for number in range(1, 6)), "chat template")
    ),
    ("same option under all instructions, %", "", ("instructions", "consistent"), False),
    *(
        (f"answers that change: {name} swapped, %", "", ("swaps", name), False)
        for name in ("sex", "age", "ethnicity", "any")
    ),
)


def _robustness(report: dict[str, Any]) -> dict[str, Any] | None:
    """Return the data of the section on robustness, for all models with stress results; None if no model has any."""
    results = report["stress"]
    if not results:
        return None
    merged = {name: side for result in results for name, side in result["sides"].items()}
    sides = {name: merged[name] for name in report["sides"] if name in merged}
    rows = []
    for label, _, path, with_chance in STRESS_FIGURES:
        parts = {name: _part(side, path) for name, side in sides.items()}
        if any(parts.values()):
            rows.append(
                {"label": label, "parts": parts, "n": _common_size(parts), "with_chance": with_chance}
            )
    gaps = {name: _part(side, ("orders", "memorisation_gap")) for name, side in sides.items()}
    excluded = chain.from_iterable(result["left_out"] for result in results)
    return {
        "sides": sides,
        "rows": rows,
        "biases": {name: _part(side, ("orders", "position_bias")) for name, side in sides.items()},
        "gaps": gaps,
        "gaps_n": _common_size(gaps),
        "excluded": list({tuple(entry.items()): entry for entry in excluded}.values()),
    }


def _part(side: Figures, path: Sequence[str]) -> Figures | None:
    value: Figures | None = side
    for key in path:
        # Results of format 1 have fewer figures.
        value = value.get(key) if value else None
    return value


def _common_size(parts: dict[str, Figures | None]) -> int | None:
    """Return the number of items if it is the same for all models that have this figure, else None."""
    sizes = {part["n"] for part in parts.values() if part}
    return sizes.pop() if len(sizes) == 1 else None


def stress_plot(sides: dict[str, Figures]) -> Markup:
    """Return an SVG plot of the stress figures of one or two models."""
    rows: list[plots.PlotRow] = []
    for _, label, path, _ in STRESS_FIGURES:
        parts = {name: part for name, side in sides.items() if label and (part := _part(side, path))}
        if parts:
            marks = [
                plots.Mark(plots.kind_of(name), name, part["value"], part["interval"])
                for name, part in parts.items()
            ]
            rows.append((label, next(iter(parts.values())).get("chance"), marks))
    return plots.accuracy_plot(rows, left=plots.STRESS_LEFT)
