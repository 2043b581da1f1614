"""The rules of version 1.0 of the tasks with generated answers, for verification of older results only.

Their logged samples have the answers that these rules extract. The present rules are in `answer_rules`. Do not change
this module: then the older results can no longer be verified.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from .answer_extraction import classify_no_answer


class Extracted(NamedTuple):
    """A letter of the item, or None; and the name of the rule that matched, or the reason why there is no letter."""

    letter: str | None
    rule: str


TWO_ANSWERS = "two answers"
NO_ANSWER = "no answer found"
# Marks that may surround a letter.
_OPENING = r"[*_`\"'\[({$\s]*"
_CLOSING = r"[*_`\"'\])}$]*"
# What may follow the letter of an answer: the end of the line or sentence, a delimiter, or a reason. A further word
# may not: "The answer is A viral infection" names no letter.
_END = r"(?=\s*(?:$|[,;:!?)(\n]|\.(?!\s*[a-z])|[-\u2013\u2014]\s)|\s+(?:because|since|as|due|which|given)\b)"
_SECOND_LETTER = re.compile(
    rf"\s*(?:,|/|&|\band\b|\bor\b)+\s*(?:option\s+)?{_OPENING}([A-Z]){_CLOSING}(?![\w'-])", re.IGNORECASE
)
_STATED = re.compile(
    rf"""
    (?: \b(?:final|correct|best|right)?\s*(?:answer|choice|option|response)
        (?:\s+(?:to|for)\s+(?:the|this)\s+question)?{_CLOSING}
        \s*(?:is|was|would\s+be|should\s+be|must\s+be|will\s+be|:|=)[\s:]*
      | \bi\s+(?:would\s+|will\s+|'d\s+|'ll\s+)?(?:choose|select|pick|go\s+with|answer)
      | \btherefore,?\s+(?:it\s+is\s+)?(?=(?:option|choice|answer)\s)
    )
    \s*(?:definitely|clearly|most\s+likely|therefore|thus)?
    \s*(?:the\s+)?(?:letter|option|choice|answer)?\s*:?{_OPENING}
    (?-i:(?P<letter>[A-Z])){_CLOSING}(?![\w'-])
    """,
    re.IGNORECASE | re.VERBOSE,
)
_IS_RIGHT = re.compile(
    rf"""(?:\b(?:option|choice|answer)\s+|(?:^|\n){_OPENING}){_OPENING}(?-i:(?P<letter>[A-Z])){_CLOSING}
    \s+is\s+(?:therefore\s+|thus\s+|clearly\s+)?(?:the\s+)?(?:single\s+)?
    (?:correct|right|best|most\s+likely|most\s+appropriate)\b""",
    re.IGNORECASE | re.VERBOSE,
)
_ANSWER_LINE = re.compile(
    rf"(?im)^{_OPENING}(?:final\s+)?answer{_CLOSING}\s*:{_CLOSING}{_OPENING}(?-i:([A-Z])){_CLOSING}(?![\w'-])(?P<rest>.*)$"
)
_REQUESTED_LINE = re.compile(r"(?m)^[ \t]*Answer: ?\(?([A-Z])\)?\.?[ \t]*$")
_BOXED = re.compile(r"\\boxed\s*\{((?:[^{}]|\{[^{}]*\})*)\}")
_MATHS = re.compile(r"\\(?:text|textbf|mathrm|mathbf)\s*\{([^{}]*)\}")
_TAG = re.compile(r"<answer>(.*?)(?:</answer>|$)", re.IGNORECASE | re.DOTALL)
_LETTER_ALONE = re.compile(
    rf"{_OPENING}(?:option\s+|answer\s+)?{_OPENING}([A-Za-z]){_CLOSING}[.:)\]]*{_CLOSING}", re.IGNORECASE
)
_LEADING = re.compile(
    rf"^{_OPENING}(?:option\s+)?{_OPENING}(?P<letter>[A-Za-z])[*_`\"'}}$]*"
    rf"(?P<mark>[.:,]|[)\]][.:]?|\s[-\u2013\u2014]\s|){_CLOSING}(?P<rest>.*)$",
    re.DOTALL,
)
_NEGATION_AFTER = re.compile(
    r"\s*(?:is|was|are|would be)?\s*(?:not\b|n't|incorrect|wrong|false|unlikely|excluded|ruled out)", re.I
)
_NEGATION_BEFORE = re.compile(r"\b(?:wrong|incorrect|false|worst|not\s+(?:the|an?))\s*$", re.IGNORECASE)
_LISTED = re.compile(r"(?<![\w-])([A-Z])[):]\s*\w")
_MARK_RUN = re.compile(r"[*_`\"'\[\](){}$\s]{9,}")
_SPECIAL_TOKEN = re.compile(r"(?:</?s>|<\|[\w ]+\|>|<eos>|<end_of_turn>)\s*$")
_PHRASE_TEXT = re.compile(
    r"\b(?:answer|choice|option)\s*(?:is|:)[\s:]*(?:the\s+)?(?P<text>[^\n]+)", re.IGNORECASE
)


def extract_strict(text: str, letters: Sequence[str], options: Sequence[str] = ()) -> Extracted:
    """Extract the letter from the last line of the requested form "Answer: X".

    The letter may be in parentheses and followed by a full stop. `options` is not used.
    """
    found = [letter for letter in _REQUESTED_LINE.findall(text) if letter in letters]
    return Extracted(found[-1], "answer line") if found else Extracted(None, NO_ANSWER)


def extract_flexible(text: str, letters: Sequence[str], options: Sequence[str] = ()) -> Extracted:
    """Extract any clear statement of one letter, or of one option's text.

    `options` holds the texts in the order of `letters`; without them, only letters are found. Never raises, whatever
    the text.
    """
    text = _clean(text)
    known = set(letters)
    for name, rule in RULES:
        found = [letter.upper() for letter in rule(text, dict(zip(letters, options, strict=False)), known)]
        if found:
            last = found[-1]
            return Extracted(None, TWO_ANSWERS) if last == "?" else Extracted(last, name)
    return Extracted(None, NO_ANSWER)


# A rule yields the letters that it finds, in order, and "?" for a statement that names two.
Rule = Callable[[str, dict[str, str], set[str]], Iterator[str]]


def _answer_line(text: str, options: dict[str, str], known: set[str]) -> Iterator[str]:
    for match in _ANSWER_LINE.finditer(text):
        letter, rest = match[1], match["rest"]
        if letter not in known:
            continue
        if _names_second_letter(rest, letter, known):
            yield "?"
        elif re.match(_END, rest) or _starts_with_option(rest, options.get(letter, "")):
            yield letter


def _boxed(text: str, options: dict[str, str], known: set[str]) -> Iterator[str]:
    for inner in _BOXED.findall(text):
        plain = _MATHS.sub(r"\1", inner)
        yield from _match_exact(plain, options, known) or _match_leading_letter(plain, options, known)


def _tagged(text: str, options: dict[str, str], known: set[str]) -> Iterator[str]:
    for inner in _TAG.findall(text):
        yield from _match_exact(inner, options, known) or _match_leading_letter(inner, options, known)


def _stated(text: str, options: dict[str, str], known: set[str]) -> Iterator[str]:
    found = []
    for match in _STATED.finditer(text):
        rest, letter = text[match.end() :], match["letter"]
        if (
            letter not in known
            or _NEGATION_AFTER.match(rest)
            or _NEGATION_BEFORE.search(text[max(0, match.start() - 40) : match.start()])
        ):
            continue
        if _names_second_letter(rest, letter, known):
            found.append((match.start(), "?"))
        elif re.match(_END, rest, re.MULTILINE) or _starts_with_option(rest, options.get(letter, "")):
            found.append((match.start(), letter))
    found += [
        (match.start(), match["letter"]) for match in _IS_RIGHT.finditer(text) if match["letter"] in known
    ]
    yield from (letter for _, letter in sorted(found))


def _whole_text(text: str, options: dict[str, str], known: set[str]) -> Iterator[str]:
    yield from _match_exact(text, options, known)


def _first_line(text: str, options: dict[str, str], known: set[str]) -> Iterator[str]:
    leading = [found for line in text.splitlines() for found in _match_leading_letter(line, options, known)]
    first = next((line for line in text.splitlines() if line.strip()), "")
    if found := _match_leading_letter(first, options, known):
        # A list of the options, in one line or several, is not an answer.
        listed = set(leading) | (known & set(_LISTED.findall(first)))
        yield "?" if listed - set(found) else found[0]


def _last_line(text: str, options: dict[str, str], known: set[str]) -> Iterator[str]:
    last = next((line for line in reversed(text.splitlines()) if line.strip()), "")
    yield from _match_exact(last, options, known)


def _text_stated(text: str, options: dict[str, str], known: set[str]) -> Iterator[str]:
    for match in _PHRASE_TEXT.finditer(text):
        yield from _match_option_text(match["text"], options)


RULES: tuple[tuple[str, Rule], ...] = (
    ("answer line", _answer_line),
    ("boxed", _boxed),
    ("answer tag", _tagged),
    ("stated", _stated),
    ("whole text", _whole_text),
    ("first line", _first_line),
    ("last line", _last_line),
    ("option's text stated", _text_stated),
)


def _match_exact(text: str, options: dict[str, str], known: set[str]) -> list[str]:
    """Return the letter that `text` consists of, or that of the only option with this text; [] if there is none."""
    match = _LETTER_ALONE.fullmatch(text.strip())
    if match and match[1].upper() in known and (match[1].isupper() or ")" in text):
        return [match[1].upper()]
    return _match_option_text(text, options)


def _match_leading_letter(text: str, options: dict[str, str], known: set[str]) -> list[str]:
    """Return the letter at the start of a line, if the text after it shows that it is not a word; else []."""
    match = _LEADING.match(text.strip())
    if match is None or match["letter"].upper() not in known:
        return []
    letter, rest = match["letter"].upper(), match["rest"]
    mark = match["mark"].strip()
    if _NEGATION_AFTER.match(rest) or _names_second_letter(mark.strip(")]:.") + rest, letter, known):
        return []
    if _starts_with_option(rest, options.get(letter, "")):
        return [letter]
    lower = match["letter"] != letter
    match mark[:1]:
        case ":" | ")" | "]":
            return [letter] if rest.strip() else []
        case "-" | "\u2013" | "\u2014":
            return [] if lower else [letter]
        case ".":
            # "E. coli" is a bacterium. The text of an option begins with a capital; that of a species name does not.
            return [letter] if not lower and re.match(r"[*_\s]+[A-Z0-9]", rest) else []
    return []


def _names_second_letter(rest: str, letter: str, known: set[str]) -> bool:
    """Return whether the statement continues with another letter: "A and C", "B or D"."""
    match = _SECOND_LETTER.match(rest)
    return bool(match and match[1].upper() in known and match[1].upper() != letter and match[1] != "a")


def _starts_with_option(rest: str, option: str) -> bool:
    """Return whether `rest` begins with the text of the option."""
    start, expected = _normalize(rest[: 2 * len(option) + 20]), _normalize(option)
    return bool(expected) and f"{start} ".startswith(f"{expected} ")


def _match_option_text(text: str, options: dict[str, str]) -> list[str]:
    normal = _normalize(text)
    found = [letter for letter, option in options.items() if normal and normal == _normalize(option)]
    return found if len(found) == 1 else []


def _normalize(text: str) -> str:
    """Reduce `text` to its words and numbers in lower case, for comparison."""
    return " ".join(re.findall(r"\w+(?:[.,]\d+)*%?", unicodedata.normalize("NFKC", text).lower()))


def _clean(text: str) -> str:
    """Remove special tokens at the end, and shorten long runs of spaces, brackets, quotation marks and Markdown marks.

    The patterns allow these in many places, so a long run would make them backtrack very often.
    """
    text = _MARK_RUN.sub(lambda run: "\n" if "\n" in run[0] else " ", text.replace("\r", "\n"))
    while (shorter := _SPECIAL_TOKEN.sub("", text)) != text:
        text = shorter
    return text.strip()


_THINKING_TAGS = "think|thinking|thought|reasoning|reflection"
_THINKING_START = re.compile(rf"<({_THINKING_TAGS})>", re.IGNORECASE)
_THINKING_END = re.compile(rf"</({_THINKING_TAGS})>", re.IGNORECASE)


class FinalText(NamedTuple):
    """A generated text without its thinking block; `unfinished` if the block has no end, so there is no answer."""

    text: str
    unfinished: bool


def strip_thinking(text: str) -> FinalText:
    """Return the text after the last thinking block. Its opening tag may be part of the prompt and missing here.

    If a later block has no end, the text before that block is returned, as unfinished.
    """
    after = text
    for close in _THINKING_END.finditer(text):
        after = text[close.end() :]
    if opened := _THINKING_START.search(after):
        return FinalText(after[: opened.start()], True)
    return FinalText(after, False)


def filter_v1(name: str, text: str, doc: Mapping[str, Any]) -> list[str]:
    """Return [letter, rule], or ["", reason], as the filter `name` ("strict" or "flexible") of version 1.0 did."""
    final = strip_thinking(text)
    if final.unfinished:
        return ["", "truncated"]
    extract = extract_strict if name == "strict" else extract_flexible
    found = extract(final.text, doc["letters"], doc.get("options") or ())
    return ["", classify_no_answer(final.text)] if found.letter is None else [found.letter, found.rule]
