"""The option table: what each model makes of each option, in the exam's own order, beside each other."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

from medalpaca_data.exams.item import Item

from ..passes.request import ARMS, Arm, OptionScores, Progress, Scoring
from .text import ARM_NAMES, NOTHING

ENDPOINTS_OWN = "the endpoint's own numbers, not the examination's"
RIGHT, WRONG, CHOSEN = "\N{CHECK MARK}", "\N{BALLOT X}", "\N{BLACK CIRCLE}"


def option_table(item: Item, progress: Progress | None, scoring: Scoring) -> str:
    """A table with one row per option; bars and numbers follow the way the exam is scored."""
    scores: Mapping[Arm, OptionScores] = progress.scores if progress else {}
    heads = "".join(_head(arm, scores.get(arm), item) for arm in ARMS)
    unrated: Mapping[Arm, str] = progress.unrated if progress else {}
    rows = "".join(
        f"<tr{' class=mp-key' if letter == item.answer else ''}>"
        f'<th scope="row"><span class="mp-letter">{escape(letter)}</span>'
        f'<span class="mp-option">{escape(text.strip())}</span>{_key(letter == item.answer)}</th>'
        + "".join(
            _cell(arm, scores.get(arm), number, letter == item.answer if item.answer else None)
            for arm in ARMS
        )
        + "</tr>"
        for number, (letter, text) in enumerate(item.options.items())
    )
    return (
        '<table class="mp-bars"><caption>How each model rates the options</caption>'
        f'<thead><tr><th scope="col">Option</th>{heads}</tr></thead><tbody>{rows}</tbody>'
        f"<tfoot>{_foot(scores, unrated, scoring)}</tfoot></table>"
    )


def percent(share: float) -> str:
    """A share as it is printed beside its bar. Never rounds to certainty or to nothing."""
    if 0 < share < 0.0005:
        return "<0.1%"
    if 0.9995 <= share < 1:
        return ">99.9%"
    return f"{100 * share:.1f}%"


def _head(arm: Arm, scores: OptionScores | None, item: Item) -> str:
    verdict = ""
    if scores is not None:
        letter = list(item.options)[scores.chosen]
        right = letter == item.answer
        verdict = f' <span class="mp-verdict">\N{RIGHTWARDS ARROW} {escape(letter)}</span>'
    if scores is not None and item.answer:
        verdict = (
            f' <span class="mp-verdict {"mp-right" if right else "mp-wrong"}">'
            f"\N{RIGHTWARDS ARROW} {escape(letter)} {RIGHT if right else WRONG}"
            f'<span class="mp-sr">{"right" if right else "wrong"}</span></span>'
        )
    return f'<th scope="col" class="mp-{arm}">{ARM_NAMES[arm]}{verdict}</th>'


def _key(is_key: bool) -> str:
    return f'<span class="mp-badge">key {RIGHT}</span>' if is_key else ""


def _cell(arm: Arm, scores: OptionScores | None, number: int, is_key: bool | None) -> str:
    """`is_key` is None for a question whose key nobody knows."""
    if scores is None:
        return f'<td class="mp-{arm}"><span class="mp-number mp-none">{NOTHING}</span></td>'
    share, chosen = scores.shares[number], number == scores.chosen
    mark = ""
    if chosen:
        kind, sign = {True: ("mp-right", RIGHT), False: ("mp-wrong", WRONG), None: ("", CHOSEN)}[is_key]
        mark = f'<span class="mp-mark {kind}">{sign}<span class="mp-sr">chosen</span></span>'
    return (
        f'<td class="mp-{arm}{" mp-chosen" if chosen else ""}" data-share="{share:.6f}" '
        f'title="log-likelihood {scores.loglikelihoods[number]:.3f}">'
        f'<span class="mp-number">{escape(percent(share))}</span>'
        f'<span class="mp-track"><span class="mp-bar" style="width:{100 * share:.2f}%"></span></span>'
        f'<span class="mp-at">{mark}</span></td>'
    )


def _foot(scores: Mapping[Arm, OptionScores], unrated: Mapping[Arm, str], scoring: Scoring) -> str:
    by = (
        "Share of each letter among the letters, as the first thing said."
        if scoring == "letter"
        else "Share of each option by its text's log-likelihood per character, as this exam is scored."
    )
    held = {
        arm: f"options hold {escape(percent(rated.mass))} of all probability"
        + (f'; <span class="mp-origin">{ENDPOINTS_OWN}</span>' if rated.from_endpoint else "")
        for arm, rated in scores.items()
    }
    missing = {
        arm: f'<span class="mp-unrated" data-state="unrated">not available from this endpoint: {escape(why)}</span>'
        for arm, why in unrated.items()
    }
    said = missing | held
    return (
        f'<tr><td class="mp-how">{by}</td>'
        + "".join(f"<td>{said.get(arm, '')}</td>" for arm in ARMS)
        + "</tr>"
    )
