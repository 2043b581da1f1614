"""A report as one HTML file: no request leaves it, and everything on it is computed from the data inside it."""

from __future__ import annotations

import json
import re
from importlib.resources import files
from typing import Any

from medalpaca_data.ground.errors import UserError

from . import sections
from .markup import bullets, paragraph, section, table, text

# Nothing may be fetched, and nothing run.
POLICY = "default-src 'none'; style-src 'unsafe-inline'"
DATA = re.compile(r'<script type="application/json" id="report">(.*?)</script>', re.DOTALL)


def page(report: dict[str, Any]) -> str:
    """The page of a report. The same report gives the same page, byte for byte."""
    exam, compared = report["exam"], report["comparison"]
    title = f"{report['tuned']['model']} against {report['base']['model']} on {exam['name']}"
    notes = "".join(paragraph(f"Note: {text(note)}.", "warning") for note in compared["notes"])
    body = (
        f"<header><h1>{text(title)}</h1>"
        f'<p class="muted">{exam["items"]} items &middot; {text(exam["task"])} by {text(exam["metric"])} &middot; '
        f"examined {text((report['tuned']['examined'] or 'at an unknown time')[:10])}</p></header>\n"
        f'<div class="verdict"><strong>{text(_headline(compared["verdict"]))}</strong>'
        f"<p>{text(_reasons(compared['sentence']))}</p></div>\n{notes}\n"
        + sections.scores(report)
        + sections.comparison(report)
        + sections.contamination(report)
        + sections.calibration(report)
        + _prompt(report)
        + _identity(report)
        + section("Limits", bullets(report["limits"]), "<h3>Not tested</h3>", bullets(report["not_tested"]))
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


def _headline(verdict: str) -> str:
    return {"better": "Tuned is better than base", "worse": "Tuned is worse than base"}.get(
        verdict, verdict[0].upper() + verdict[1:]
    )


def _reasons(sentence: str) -> str:
    """The sentence without the verdict, which stands above it."""
    reasons = sentence.partition(": ")[2]
    return reasons[:1].upper() + reasons[1:]


def _prompt(report: dict[str, Any]) -> str:
    prompt, exam = report["prompt"], report["exam"]
    if prompt["text"] is None:
        shown = paragraph(f"Not shown: the results name the prompt {text(exam['prompt_id'])}, unknown here.")
    else:
        shown = f"<pre>{text(prompt['text'])}</pre>"
    about = (
        f"Item {text(prompt['item'])}, verbatim as the model got it."
        if prompt["verbatim"]
        else f"The template, as it was filled for item {text(prompt['item'])} and all others; this exam's texts are "
        "not ours to print."
    )
    if prompt["wrapped"]:
        about += " A chat template was applied around it."
    how = "letter of an option" if exam["scoring"] == "letter" else "text of an option"
    return section(
        "Prompt",
        paragraph(
            f"{about} What followed it, and was scored, is the {how}. The same string for base and tuned."
        ),
        shown,
        paragraph(f"Prompt {text(exam['prompt_id'])}", "muted"),
    )


def _identity(report: dict[str, Any]) -> str:
    exam = report["exam"]
    asked = [
        ("exam", f"{text(exam['name'])}<br><code>{text(exam['sha256'])}</code>"),
        ("sizes", text(", ".join(f"{k} options: {n} items" for k, n in exam["options"].items()))),
        ("key", text(", ".join(f"{letter} {n}" for letter, n in exam["key"].items()))),
    ]
    parts = [table((), asked, "identity")]
    for name in ("base", "tuned"):
        side = report[name]
        settings = ", ".join(
            f"{key.replace('_', ' ')} {value}"
            for key, value in side["settings"].items()
            if value not in (None, "")
        )
        rows = [
            ("base model", _named(side["base"], side["base_sha256"])),
            ("adapter", _named(side["adapter"], side["adapter_sha256"]) if side["adapter"] else "none"),
            ("examined", text(side["examined"] or "unknown")),
            ("settings", text(settings)),
            *(
                (
                    "samples" if file["path"].endswith("l") else "results",
                    f"{text(_last(file['path']))}<br><code>{file['sha256']}</code>",
                )
                for file in report["files"][name]
            ),
        ]
        parts.append(f"<h3>{name.capitalize()}</h3>" + table((), rows, "identity"))
    return section("Identity", *parts)


def _receipt(report: dict[str, Any]) -> str:
    return section(
        "Check it",
        paragraph(
            "Every figure here can be computed again from the logged samples, without the model: "
            "<code>exam verify report.html</code>"
        ),
        paragraph(f"Made with medalpaca-evalharness {text(report['version'])}.", "muted"),
    )


def _named(name: str | None, sha256: str | None) -> str:
    return f"{text(name)}<br><code>{text(sha256 or 'no hash: not a local directory')}</code>"


def _last(path: str) -> str:
    return path.rsplit("/", 1)[-1]
