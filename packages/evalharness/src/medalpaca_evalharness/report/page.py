"""A report as one HTML file: no request leaves it, and everything on it is computed from the data inside it."""

from __future__ import annotations

import json
import re
from importlib.resources import files
from typing import Any

from medalpaca_data.ground.errors import UserError

from ..verdict.compare import PART_OF_IT
from . import provenance, sections, stress_section, trust
from .markup import MINUS, between, bullets, count, paragraph, percent, section, table, text

# Nothing may be fetched, and nothing run.
POLICY = "default-src 'none'; style-src 'unsafe-inline'"
DATA = re.compile(r'<script type="application/json" id="report">(.*?)</script>', re.DOTALL)


def page(report: dict[str, Any]) -> str:
    """The page of a report. The same report gives the same page, byte for byte."""
    exam, sides = report["exam"], report["sides"]
    title = _title(report)
    legend = (
        table((), [(text(name), text(side["model"])) for name, side in sides.items()], "identity")
        if len(sides) > 2
        else ""
    )
    body = (
        f"<header><h1>{text(title)}</h1>"
        f'<p class="muted">{count(exam["items"], "item")} &middot; {_how(exam)} '
        f"&middot; examined {text(_days(report))}</p></header>\n"
        f'<div class="verdict">{_verdicts(report)}</div>\n{legend}{_notes(report)}\n'
        + sections.scores(report)
        + sections.comparisons(report)
        + sections.power(report)
        + trust.contamination(report)
        + trust.calibration(report)
        + stress_section.stress(report)
        + provenance.prompt(report)
        + provenance.not_tested(report)
        + section("Limits", bullets(report["limits"]))
        + provenance.identity(report)
        + _receipt(report)
        + sections.flips(report)
    )
    style = files(__package__).joinpath("page.css").read_text(encoding="utf-8")
    data = json.dumps(report, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{text(title)}</title>\n<style>\n{style}</style>\n</head>\n<body>\n<main>\n{body}</main>\n"
        f'<script type="application/json" id="report">{data}</script>\n</body>\n</html>\n'
    )


def read_page(html: str, where: str) -> Any:
    """The report inside a page."""
    match = DATA.search(html)
    if match is None:
        raise UserError(f"{where}: no exam report in it")
    try:
        return json.loads(match[1])
    except json.JSONDecodeError:
        raise UserError(f"{where}: the report in it is damaged") from None


def _title(report: dict[str, Any]) -> str:
    models, exam = [side["model"] for side in report["sides"].values()], report["exam"]["name"]
    match models:
        case [model]:
            return f"{model} on {exam}"
        case [base, tuned]:
            return f"{tuned} against {base} on {exam}"
    return f"{len(models) - 1} models against {models[0]} on {exam}"


def _how(exam: dict[str, Any]) -> str:
    """How answers were told, in words and as the harness calls it."""
    words = {"letter": "answered by letter", "text": "answered by the options' texts"}
    said = words.get(exam["scoring"], f"answers written, read by the filter {exam['filter']}")
    return text(f"{said} ({exam['task']}, {exam['metric']})")


def _days(report: dict[str, Any]) -> str:
    days = sorted({side["examined"][:10] for side in report["sides"].values() if side["examined"]})
    return " to ".join(dict.fromkeys((days[0], days[-1]))) if days else "at an unknown time"


def _verdicts(report: dict[str, Any]) -> str:
    """What a reader takes away: of one model its score, else one verdict per comparison."""
    if not report["comparisons"]:
        return _said(*_score(next(iter(report["sides"].values()))["scores"][-1]))
    return "".join(
        _said(_headline(one, several=len(report["comparisons"]) > 1), _reasons(one["sentence"]))
        for one in report["comparisons"]
    )


def _said(headline: str, reasons: str) -> str:
    return f"<strong>{text(headline)}</strong>{paragraph(text(reasons))}"


def _score(part: dict[str, Any]) -> tuple[str, str]:
    low, high = part["interval"]
    against = (
        "with this many items the score cannot be told from that"
        if low <= part["chance"] <= high
        else f"the score is {'above' if low > part['chance'] else 'below'} that"
    )
    return (
        f"{percent(part['accuracy'])} % right",
        f"{part['correct']} of {count(part['n'], 'item')}, 95 % interval {between(part['interval'])} %. Guessing gets "
        f"{percent(part['chance'])} % on average; {against}.",
    )


def _headline(one: dict[str, Any], *, several: bool) -> str:
    """The verdict, and of several whose it is."""
    if one["verdict"] in ("better", "worse"):
        return f"{one['name'].capitalize()} is {one['verdict']} than base"
    verdict = str(one["verdict"])
    return f"{one['name'].capitalize()}: {verdict}" if several else verdict[0].upper() + verdict[1:]


def _reasons(sentence: str) -> str:
    """The sentence without the verdict, which stands above it, and with the minus sign of the tables."""
    reasons = re.sub(r"(?<!\w)-(?=\d)", MINUS, sentence.partition(": ")[2])
    return reasons[:1].upper() + reasons[1:]


def _notes(report: dict[str, Any]) -> str:
    """What to know before believing a verdict, or the only model's score."""
    if not report["comparisons"]:
        limited = next(iter(report["sides"].values()))["limited"]
        return paragraph(f"Note: {PART_OF_IT}.", "warning") if limited else ""
    several = len(report["comparisons"]) > 1
    return "".join(
        paragraph(f"Note{' on ' + text(one['name']) if several else ''}: {text(note)}.", "warning")
        for one in report["comparisons"]
        for note in one["notes"]
    )


def _receipt(report: dict[str, Any]) -> str:
    return section(
        "Check it",
        paragraph(
            "Every figure here can be computed again from the logged samples, without the model: "
            "<code>exam verify report.html</code>"
        ),
        paragraph(f"Made with medalpaca-evalharness {text(report['version'])}.", "muted"),
    )
