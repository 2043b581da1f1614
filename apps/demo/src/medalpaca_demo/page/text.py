"""The parts of the page that are read: header, question, one-line summary. What is foreign is escaped."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from medalpaca_data.exams.item import Item

from ..passes.request import Progress

NOTHING = "\N{EN DASH}"  # stands where a number or a text will be
ARM_NAMES = {"base": "Base", "tuned": "Fine-tuned"}


def header(run: str, exam: str, count: int) -> str:
    """Who is compared, and on what."""
    return (
        '<header class="mp-head"><h1>Base <span>vs</span> fine-tuned</h1>'
        f'<p class="mp-run"><span>run <b>{escape(run)}</b></span>'
        f"<span>exam <b>{escape(exam)}</b>, {count} questions</span></p></header>"
    )


def banner(name: str, error: str = "", seconds: float = 0.0) -> str:
    """Why no model answers yet, or at all; nothing while they do. `name` is the engine's state."""
    match name:
        case "loading":
            said = f"Loading the models… {seconds:.0f} s. Questions can be asked already; they wait."
        case "failed":
            said = f"<b>No model can answer:</b> {escape(error)}. What was examined can still be read."
        case _:
            return ""
    return f'<p class="mp-banner" data-state="{name}" role="status">{said}</p>'


def purpose(outside: Sequence[str] = (), recorded: str = "") -> str:
    """What this is not, and where questions go; it stays in sight wherever the page is scrolled to.

    `outside` are other machines that questions are sent to; `recorded` says what an audit log keeps of them.
    """
    kept = recorded or "nothing is stored"
    if outside:
        hosts = escape(", ".join(outside))
        badge = (
            f'<span class="mp-sends" title="Questions go to {hosts}; here, {kept}">sends to {hosts}</span>'
        )
    else:
        badge = f'<span class="mp-offline" title="From this machine to this machine; {kept}">offline</span>'
    return (
        f'<footer class="mp-purpose"><span>Exam questions only, not for clinical use</span>{badge}</footer>'
    )


KEYS = {
    "j / k": "next or previous question",
    "Enter": "compare, ask, start, or show two answers",
    "Esc": "stop; in a field: leave it",
    "A to Z": "pick that option in Exam",
    "1 to 4": "vote in Blind vote",
    "/": "search in Browse",
    "?": "this list",
}


def key_help() -> str:
    """The keys; each is also a button."""
    listed = "".join(f"<dt><kbd>{key}</kbd></dt><dd>{what}</dd>" for key, what in KEYS.items())
    return f'<details class="mp-help"><summary>Keys</summary><dl>{listed}</dl></details>'


def walk_line(at: int | None, count: int, name: str) -> str:
    """Where a reader stands in a filtered list; nothing while all questions are walked."""
    if not name:
        return ""
    where = f"{at + 1:,} of {count:,}" if at is not None else f"beside the {count:,}"
    return (
        f'<p class="mp-walk">Question {where}: {escape(name)} '
        '<button type="button" class="mp-button" data-act="all">Walk all</button></p>'
    )


def label(number: int, item: Item) -> str:
    """One line of the question list; its filter finds any part of it."""
    parts = [f"{number}", item.id, f"Step {item.step}" if item.step is not None else "", item.subject or ""]
    return " · ".join(part for part in parts if part)


def stem(item: Item) -> str:
    """The question as the exam shows it."""
    tags = [f"Step {item.step}" if item.step is not None else "", item.subject or "", item.id]
    shown = "".join(f"<span>{escape(tag)}</span>" for tag in tags if tag)
    return (
        f'<section class="mp-stem" aria-label="Question" data-item="{escape(item.id)}"><p class="mp-tags">{shown}</p>'
        f"<div>{escape(item.question.strip())}</div></section>"
    )


def status(item: Item | None, progress: Progress | None, seconds: float = 0.0) -> str:
    """One sentence on where things stand, announced by screen readers; the streams themselves are not."""
    kind, text = _status(item, progress, seconds)
    return f'<p class="mp-status" data-state="{kind}" role="status" aria-live="polite">{escape(text)}</p>'


def _status(item: Item | None, progress: Progress | None, seconds: float) -> tuple[str, str]:
    if progress is None:
        return "idle", "Press Compare to let both models answer." if item else ""
    match progress.state:
        case "waiting":
            before = f" ({progress.ahead} before you)" if progress.ahead else ""
            return "waiting", f"Waiting for the model… {seconds:.0f} s{before}"
        case "reading":
            return "reading", "Reading the question…"
        case "failed":
            begun = any(answer.text for answer in progress.answers.values())
            return "failed", f"{'Not finished' if begun else 'No answer'}: {progress.error}."
        case _:
            return progress.state, _verdict(item, progress)


def _verdict(item: Item | None, progress: Progress) -> str:
    tail = {"answering": " Writing…", "stopped": " Stopped.", "done": ""}.get(progress.state, "")
    if item is None or not progress.scores:
        return tail.strip() or "Done."
    letters = list(item.options)
    chosen = {arm: letters[scores.chosen] for arm, scores in progress.scores.items()}
    said = [
        f"{ARM_NAMES[arm]} chooses {letter}"
        + (f" ({'right' if letter == item.answer else 'wrong'})" if item.answer else "")
        for arm, letter in chosen.items()
    ]
    key = f" Key: {item.answer}." if item.answer else ""
    return f"{', '.join(said)}.{key}{tail}"


def prompt(text: str) -> str:
    """The prompt as sent, to the character."""
    return f'<pre class="mp-prompt">{escape(text)}</pre>'
