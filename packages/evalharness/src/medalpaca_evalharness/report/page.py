"""A report as one HTML file: no request leaves it, and everything on it is computed from the data inside it.

The sections of a report on where it comes from: what was asked, of whom, and what was left out.
"""

from __future__ import annotations

import json
import re
from importlib.resources import files
from typing import Any

from medalpaca_data.core.errors import UserError

from ..compare import PART_OF_IT
from . import sections, stress_section
from .html import MINUS, between, bullets, count, ids, paragraph, percent, section, table, text

WHAT_FOLLOWED = {
    "letter": "What followed it, and was scored, is the letter of an option.",
    "text": "What followed it, and was scored, is the text of an option.",
}
PICTURES = "Asked all the same, without the picture that {whose} text needs: {n}."


def prompt(value: dict[str, Any]) -> str:
    """The prompt as it stands."""
    found, exam = value["prompt"], value["exam"]
    if found["text"] is None:
        shown = paragraph(f"Not shown: the results name the prompt {text(exam['prompt_id'])}, unknown here.")
        about = ""
    else:
        shown = f"<pre>{text(found['text'])}</pre>"
        about = (
            f"Item {text(found['item'])}, verbatim as the model got it. "
            if found["verbatim"]
            else f"The template, verbatim, as it was filled for item {text(found['item'])} and all others; the exam's "
            "own texts are not ours to print. "
        )
    if found["wrapped"]:
        about += "A chat template was applied around it. "
    same = " Every model got the same string." if len(value["sides"]) > 1 else ""
    return section(
        "Prompt",
        paragraph(f"{about}{WHAT_FOLLOWED.get(exam['scoring']) or _written(found, exam)}{same}"),
        shown,
        paragraph(f"Prompt {text(exam['prompt_id'])}", "muted"),
    )


def _written(found: dict[str, Any], exam: dict[str, Any]) -> str:
    settings = ", ".join(
        f"{key} {' or '.join(map(repr, value)) if isinstance(value, list) else value}"
        for key, value in (found["writing"] or {}).items()
        if value != []
    )
    return (
        f"The model wrote what follows it ({text(settings)}), and the answer was looked for in that by the rules of "
        f"the filter <code>{text(exam['filter'])}</code>."
    )


def not_tested(value: dict[str, Any]) -> str:
    """Items without a score, and what nobody looked at."""
    return section(
        "What was not tested",
        "<h3>Items of the exam</h3>",
        *_left_out(value),
        "<h3>Also not tested</h3>",
        bullets(value["not_tested"]),
    )


def _left_out(value: dict[str, Any]) -> list[str]:
    found = value["left_out"]
    if found is None:
        return [
            paragraph(
                f"{count(value['exam']['items'], 'item')} scored. Whether the exam has more that were left out is not "
                "known here: its files were not found (name them with <code>--exam</code>).",
                "warning",
            )
        ]
    rows = [
        ("read from the exam's files", found["read"]),
        *((f"left out: {reason}", n) for reason, n in found["reasons"].items()),
        ("of steps or parts that this task does not ask", found["elsewhere"]),
        ("not asked, though they could be scored (a limited run)", len(found["unasked"])),
        ("scored", found["scored"]),
    ]
    parts = [
        table((), [(text(name), f"{n:,}") for name, n in rows if n or name == "scored"], "numbers counts")
    ]
    for reason in found["reasons"]:
        named = (entry["item"] for entry in found["excluded"] if entry["reason"] == reason)
        parts.append(ids(named, f"{text(reason[0].upper() + reason[1:])}: "))
    if found["unasked"]:
        parts.append(ids(found["unasked"], "Not asked: "))
    parts += [paragraph(f"Note: {text(warning)}.", "warning") for warning in found["warnings"]]
    if pictures := found["without_picture"]:
        whose = "its" if len(pictures) == 1 else "their"
        parts.append(
            paragraph(PICTURES.format(n=count(len(pictures), "item"), whose=whose), "warning") + ids(pictures)
        )
    return parts


def identity(value: dict[str, Any]) -> str:
    """Exam, models, settings and files, each with its hash."""
    exam = value["exam"]
    asked = [
        ("exam", f"{text(exam['name'])}<br><code>{text(exam['sha256'])}</code>"),
        ("sizes", text(", ".join(f"{k} options: {count(n, 'item')}" for k, n in exam["options"].items()))),
        ("key", text(", ".join(f"{letter} {n}" for letter, n in exam["key"].items()))),
    ]
    parts = [table((), asked, "identity")]
    for name, side in value["sides"].items():
        settings = ", ".join(
            f"{key.replace('_', ' ')} {setting}"
            for key, setting in side["settings"].items()
            if setting not in (None, "")
        )
        rows = [
            ("base model", _named(side["base"], side["base_sha256"])),
            ("adapter", _named(side["adapter"], side["adapter_sha256"]) if side["adapter"] else "none"),
            ("examined", text(side["examined"] or "unknown")),
            ("settings", text(settings or "none recorded")),
            *(
                (
                    "samples" if file["path"].endswith("l") else "results",
                    f"{text(_last(file['path']))}<br><code>{text(file['sha256'])}</code>",
                )
                for file in value["files"][name]
            ),
        ]
        parts.append(f"<h3>{text(name[0].upper() + name[1:])}</h3>" + table((), rows, "identity"))
    return section("Identity", *parts)


def _named(name: str | None, sha256: str | None) -> str:
    if name is None:
        return "not named in the results"
    return f"{text(name)}<br><code>{text(sha256 or 'no hash: not a local directory')}</code>"


def _last(path: str) -> str:
    return path.rsplit("/", 1)[-1]


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
        + sections.contamination(report)
        + sections.calibration(report)
        + stress_section.stress(report)
        + prompt(report)
        + not_tested(report)
        + section("Limits", bullets(report["limits"]))
        + identity(report)
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
