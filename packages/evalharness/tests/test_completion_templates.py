"""Completions filled from `completion_templates.yaml`: the right letter for each answer, none for each non-answer."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from medalpaca_evalharness.answer_extraction import flexible_filter, strict_filter

TEMPLATES = yaml.safe_load((Path(__file__).parent / "completion_templates.yaml").read_text("utf-8"))
LETTERS = "ABCDE"


def completions(kind: str, group: str) -> list[tuple[str, str, dict]]:
    """Return text, expected letter ("" for a non-answer), and document."""
    found = []
    for options in TEMPLATES["items"].values():
        doc = {"letters": list(LETTERS), "options": list(options.values())}
        for n, letter in enumerate(LETTERS):
            wrong, other = LETTERS[(n + 1) % 5], LETTERS[(n + 3) % 5]
            values = {
                "@L": letter,
                "@l": letter.lower(),
                "@T": options[letter],
                "@t": options[letter].lower(),
                "@W": wrong,
                "@V": other,
                "@X": options[wrong],
            }
            for template in TEMPLATES[kind][group]:
                text = template
                for name, value in values.items():
                    text = text.replace(name, value)
                found.append((text, letter if kind == "answers" else "", doc))
    return found


GROUPS = [(kind, group) for kind in ("answers", "none") for group in TEMPLATES[kind]]


def test_there_are_enough_completions():
    counts = {
        kind: len({text for group in TEMPLATES[kind] for text, _, _ in completions(kind, group)})
        for kind in ("answers", "none")
    }
    assert counts["answers"] + counts["none"] >= 600
    assert counts["none"] >= 100


@pytest.mark.parametrize(("kind", "group"), GROUPS)
def test_all_completions_are_extracted(kind, group):
    failed = [
        (text, expected, got)
        for text, expected, doc in completions(kind, group)
        if (got := flexible_filter([[text]], [doc])[0])[0] != expected
    ]
    assert failed == []


@pytest.mark.parametrize("group", TEMPLATES["none"])
def test_strict_takes_no_non_answer(group):
    assert [text for text, _, doc in completions("none", group) if strict_filter([[text]], [doc])[0][0]] == []


def test_thinking_without_an_end_is_truncated():
    for text, _, doc in completions("none", "thinking without an end"):
        assert flexible_filter([[text]], [doc]) == strict_filter([[text]], [doc]) == [["", "truncated"]]
