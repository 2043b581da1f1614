"""Removal of thinking from generated text: the regions in which a model reasons before it answers.

A region begins with a marker whose name contains think, thought, reason, reflect or analysis. It has one of the forms

- control token: `<|begin_of_thought|>`, `<|think|>`, or any control token followed by the name (`<unused94>thought`,
  `<|channel|>analysis`, `<|im_start|>think`). The next control token ends it;
- tag in angle brackets, square brackets or triangles: `<think>`, `[THINK]`, `◁think▷`. Its closing tag ends it, or a
  tag of the same form whose name means answer;
- heading: `## Thinking`, or a line in bold type. The next heading of the same or a higher level ends it.
"""

from __future__ import annotations

import re
from typing import NamedTuple

_NAME = (
    r"(?:(?:begin|start|end)[ _](?:of[ _])?)?[\w:.-]{0,24}(?:think|thought|reason|reflect|analysis)[\w:.-]{0,24}"
    r"(?:\ (?:process|trace|steps?))?"
)
_ANSWER_NAME = r"(?:final[\w -]{0,12}|answer|response|solution|output|conclusion)"
# Names of special tokens of tokenizers: <|im_end|>, <|channel>, <channel|>, <unused94>, <end_of_turn>.
SPECIAL = r"(?:<\|[^<>|\n]{1,40}\|?>|<[\w/]{1,40}\|>|<unused\d+>|<(?:start|end)_of_turn>|</?s>|<[be]os>)"
_MARKER = re.compile(
    rf"""
      (?P<control>{SPECIAL})
      (?:\s*(?:(?:assistant|model)\s*)?(?P<word>\w{{0,12}}(?:think|thought|reason|reflect|analysis)\w{{0,12}})
        (?=\s*(?:\n|<|$))(?:\s*<\|message\|>)?)?
    | (?P<bracket>[<\[\u25c1])(?P<end>/?)(?:(?P<name>{_NAME})|(?P<answer>{_ANSWER_NAME}))
        (?:\s[^<>\[\]\n]{{0,40}})?[>\]\u25b7]
    | ^[ \t]{{0,3}}(?P<level>\#{{1,6}})(?P<heading>[^\n]{{0,120}})$
    | ^[ \t]{{0,3}}\*\*(?P<bold>[^*\n]{{1,80}})\*\*(?P<after>[^\n]{{0,3}})
    """,
    re.IGNORECASE | re.MULTILINE | re.VERBOSE,
)
_THINKING_NAME = re.compile(r"think|thought|reason|reflect|analysis", re.IGNORECASE)
_THINKING_HEADING = re.compile(
    r"\b(?:think\w*|thoughts?|reason(?:s|ing)?|reflect\w*|analysis)\b", re.IGNORECASE
)
_OTHER_HEADING = re.compile(r"\b(?:answer|response|solution|conclusion|final|i)\b", re.IGNORECASE)
_END_NAME = re.compile(r"(?<![a-z])(?:end|close|stop|eo)(?:of|(?![a-z]))|^<\|?/", re.IGNORECASE)
# MedGemma ends its thinking with a token that has no name.
_RESERVED_TOKEN = re.compile(r"<unused\d+>")
_ANSWER_LABEL = re.compile(r"^[ \t*_]*(?:final |correct )?answer[*_ ]*:", re.IGNORECASE | re.MULTILINE)


class FinalText(NamedTuple):
    """A generated text without its thinking; `unfinished` if the thinking has no end, so there is no answer."""

    text: str
    unfinished: bool


def strip_thinking(text: str, think_end_token: str | None = None) -> FinalText:
    """Return the text after the last thinking region. Its opening marker may be part of the prompt and missing here.

    If a later region has no end, the text before that region is returned, as unfinished. A section of reasoning with a
    heading may follow the answer; then the text before the heading is returned. `think_end_token` is the marker that
    the user named for the model; the text before it is thinking.
    """
    if think_end_token and think_end_token in text:
        text = text.rpartition(think_end_token)[2]
    # Start and form of the open region, or None; end of the last region.
    opened: tuple[int, str] | None = None
    first_start = end = 0
    for marker in _MARKER.finditer(text):
        form, opens, closes = _classify(marker)
        if opened is None:
            if opens:
                opened = (marker.start(), form)
                first_start = first_start or marker.start()
            elif closes == "always":
                end, first_start = marker.end(), 0
        elif _ends(opened[1], form, opens=opens, closes=bool(closes)):
            # A heading or answer tag that ends a region belongs to the answer.
            end = marker.start() if closes == "answer" else marker.end()
            opened = (marker.start(), form) if opens else None
    if opened is None:
        after = text[end:]
        return FinalText(after if after.strip() or not first_start else text[:first_start], False)
    start, form = opened
    before = text[end:start]
    if form == "bold" and (label := _ANSWER_LABEL.search(text, start)):
        return FinalText(text[label.start() :], False)
    if form.startswith(("#", "bold")) and before.strip():
        return FinalText(before, False)
    return FinalText(before, True)


def _classify(marker: re.Match[str]) -> tuple[str, bool, str]:
    """Return the form of a marker, whether it opens a region, and how it ends one.

    The form is "control", "bold", the opening bracket, or the "#" of a heading. A marker ends regions "always" (also
    without an opening marker), only an open "region", as part of the "answer", or never ("").
    """
    if control := marker["control"]:
        named = bool(_THINKING_NAME.search(control))
        if named and _END_NAME.search(control):
            return "control", False, "always"
        if (
            _RESERVED_TOKEN.fullmatch(control)
            and not marker["word"]
            and marker.string[marker.end() :].strip()
        ):
            return "control", False, "always"
        return "control", named or bool(marker["word"]), "answer"
    if bracket := marker["bracket"]:
        if marker["answer"]:
            return bracket, False, "" if marker["end"] else "answer"
        ends = bool(marker["end"] or _END_NAME.search(marker["name"]))
        return bracket, not ends, "always" if ends else ""
    if level := marker["level"]:
        return level, _is_thinking_heading(marker["heading"]), "answer"
    whole_line = not marker["after"].strip(" :")
    return "bold", whole_line and _is_thinking_heading(marker["bold"]), "answer"


def _is_thinking_heading(heading: str) -> bool:
    """Return whether a heading names thinking: a few words, not a sentence ("I think") and not an answer."""
    return (
        bool(_THINKING_HEADING.search(heading))
        and len(heading.split()) <= 5
        and not _OTHER_HEADING.search(heading)
    )


def _ends(opened: str, form: str, *, opens: bool, closes: bool) -> bool:
    if opened.startswith("#"):
        return form.startswith("#") and len(form) <= len(opened)
    if opened == "control" and opens:
        return True
    return closes and form == opened
