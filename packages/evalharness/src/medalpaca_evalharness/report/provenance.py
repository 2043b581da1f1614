"""The sections of a report on where it comes from: what was asked, of whom, and what was left out."""

from __future__ import annotations

from typing import Any

from .markup import bullets, count, ids, paragraph, section, table, text

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
