"""Marks for deleted text, and superscripts as plain text, so that no reader joins two numbers unnoticed.

A substitution that deletes text writes `MARK` in its place. After each substitution, only the marks between two digits
are kept, because elsewhere a deletion is harmless. A mark that remains at the end is an error. A mark that is itself
deleted later, for example as part of a table, is not.

All readers write superscripts and subscripts by one rule, that of `write_scripts`: a reader encloses them in `SUP` and
`END`, or `SUB` and `END`, before it removes their markup.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable

# A Unicode noncharacter, which no text contains.
MARK = "\ufdd0"
# Noncharacters at the start of a superscript, at the start of a subscript, and at the end of either.
SUP, SUB, END = "\ufdd1", "\ufdd2", "\ufdd3"
RESERVED = re.compile(f"[{MARK}{SUP}{SUB}{END}]")
JOINED = "markup or an invisible character between two digits was deleted"

# Digits, superscripts and subscripts. Only neighbours of one kind are joined: 10 and a superscript 9 stay distinct.
DIGITS, SUPERSCRIPTS, SUBSCRIPTS = r"\d", "\u00b2\u00b3\u00b9\u2070\u2074-\u2079", "\u2080-\u2089"
ANY_DIGIT = DIGITS + SUPERSCRIPTS + SUBSCRIPTS
# Largest number of digits of each of the two numbers that are shown.
MAX_SHOWN_DIGITS = 20
_SHOWN = f"{{1,{MAX_SHOWN_DIGITS}}}"
JOINED_NUMBERS = re.compile(
    f"[{DIGITS}]{_SHOWN}{MARK}+[{DIGITS}]{_SHOWN}"
    f"|[{SUPERSCRIPTS}]{_SHOWN}{MARK}+[{SUPERSCRIPTS}]{_SHOWN}"
    f"|[{SUBSCRIPTS}]{_SHOWN}{MARK}+[{SUBSCRIPTS}]{_SHOWN}"
)
MARK_RUN = re.compile(f"{MARK}+")
NEEDLESS_MARKS = re.compile(rf"(?<![{ANY_DIGIT}{MARK}]){MARK}+|{MARK}++(?![{ANY_DIGIT}])")
NUMERIC_ENTITY = re.compile(r"&#(?:[0-9]{1,9}|x[0-9a-f]{1,8});?", re.IGNORECASE)

SCRIPT_TAG = re.compile(
    r"<(?P<closing>/?)(?:jats:)?su(?P<kind>[bp])(?:\s+[\w:-]+\s*=\s*(?:\"[^\"<>]*\"|'[^'<>]*'|[^\s<>\"']+))*\s*/?>",
    re.IGNORECASE,
)
SCRIPT_EDGE = re.compile(f"([{SUP}{SUB}{END}])")
# Characters without a width on the page that readers use between two steps.
UNSEEN = "\ue000\ue001\ue002\ue003\ue004\ue005" + MARK
# A fraction such as 5<sup>1</sup>/<sub>2</sub>, which is not 5^1/2.
RAISED_FRACTION = re.compile(rf"(\d?){SUP}(\d{{1,3}}){END}([/\u2044\u2215]){SUB}(\d{{1,4}}){END}")
# A longer text, or one with a space, is small print.
COMPACT = re.compile(r"\S{1,16}")
CHARGE = re.compile(r"\d?[-+\u2212\u2013]")
ORDINALS = frozenset(("st", "nd", "rd", "th", "er", "re", "e", "eme", "\u00e8me", "tm", "sm"))
# After one of these, a raised number belongs to what follows it, as in an isotope: (<sup>131</sup>I.
OPENINGS = frozenset("([{/\u2044-\u2010\u2011\u2012\u2013\u2014\u2212\"'\u201c\u2018\u00ab|")

Substitution = tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]]


class JoinedDigits(ValueError):
    """Raised if a deletion would join two numbers; `digits` shows them with a bar in between, such as "50|100"."""

    def __init__(self, digits: str) -> None:
        super().__init__(digits)
        self.digits = digits
        self.evidence = {"digits": digits}

    def __str__(self) -> str:
        return JOINED


def substitute(text: str, *steps: Substitution) -> str:
    """Apply the substitutions in turn; return the text with a mark wherever a deletion would join two digits."""
    for pattern, new in steps:
        text = drop_needless_marks(pattern.sub(new, text))
    return text


def remove_marks(text: str) -> str:
    """Return the text without marks. Raises JoinedDigits if only marks are between two digits."""
    if MARK not in text:
        return text
    if digits := find_joined_digits(text):
        raise JoinedDigits(digits)
    return text.replace(MARK, "")


def mark_script_tags(text: str) -> str:
    """Return the text with the characters that `write_scripts` reads in place of its tags `sup` and `sub`."""
    return drop_needless_marks(SCRIPT_TAG.sub(_script_edge, text))


def write_scripts(text: str) -> str:
    """Return the text with superscripts and subscripts as plain text, for example 10^9, m^2, Ca2+, H2O and 1_2.

    A raised number gets a caret after a letter, digit or closing punctuation, unless it is the charge of an ion. A
    lowered number gets an underscore after a digit. Other scripts are written without a sign, so that those between two
    digits leave a mark. An edge without its counterpart becomes a mark.
    """
    if not SCRIPT_EDGE.search(text):
        return text
    tokens = SCRIPT_EDGE.split(RAISED_FRACTION.sub(_write_fraction, text))
    # The parts of the text and of each open script, the innermost last.
    levels: list[list[str]] = [[]]
    kinds: list[str] = []
    for n, token in enumerate(tokens):
        if token in (SUP, SUB):
            kinds.append(token)
            levels.append([])
        elif token != END:
            levels[-1].append(token)
        elif kinds:
            script = "".join(levels.pop())
            following = next(iter(tokens[n + 1].strip(UNSEEN)), "") if n + 1 < len(tokens) else ""
            levels[-1] += (
                MARK,
                _write_script(kinds.pop(), script, _last_visible(levels[-1]), following),
                MARK,
            )
        else:
            levels[-1].append(MARK)
    for _ in kinds:
        script = "".join(levels.pop())
        levels[-1] += (MARK, script)
    return drop_needless_marks("".join(levels[0]))


def find_joined_digits(text: str) -> str:
    """Return the first two numbers with only marks between them as "50|100", or "" if there are none.

    Of each number, at most `MAX_SHOWN_DIGITS` digits are returned.
    """
    match = JOINED_NUMBERS.search(text) if MARK in text else None
    return show_marks_as_bars(match[0]) if match else ""


def show_marks_as_bars(text: str) -> str:
    """Return the text with a bar for each run of marks between two digits, and without the other marks.

    The bar shows where deleted text separated two numbers, as in "50|100".
    """
    return MARK_RUN.sub("|", drop_needless_marks(text))


def drop_needless_marks(text: str) -> str:
    """Return the text with only the marks between two digits."""
    return NEEDLESS_MARKS.sub("", text) if MARK in text else text


def decode_digits(text: str) -> str:
    """Return the text with numeric entities of digits decoded, so that `&#49;` is a digit before markup is deleted."""
    return NUMERIC_ENTITY.sub(_digit, text) if "&#" in text else text


def decode_entities(text: str) -> str:
    """Return the text with its entities decoded, and a mark in place of entities that decode to nothing."""
    return html.unescape(NUMERIC_ENTITY.sub(_empty, text) if "&#" in text else text)


def _digit(match: re.Match[str]) -> str:
    text = html.unescape(match[0])
    return text if text.isdigit() and match[0].endswith(";") else match[0]


def _empty(match: re.Match[str]) -> str:
    return match[0] if html.unescape(match[0]) else MARK


def _script_edge(match: re.Match[str]) -> str:
    return f"{MARK}{END if match['closing'] else SUP if match['kind'] in 'pP' else SUB}{MARK}"


def _write_fraction(match: re.Match[str]) -> str:
    return f"{match[1]}{' ' if match[1] else ''}{match[2]}{match[3]}{match[4]}{MARK}"


def _last_visible(parts: list[str]) -> str:
    """Return the end of a text: its last visible character, and a space after that if there is one."""
    for part in reversed(parts):
        if bare := part.strip(UNSEEN):
            return bare[-1:] if bare[-1:].strip() else bare.rstrip(" \t\u00a0")[-1:] + " "
    return ""


def _write_script(kind: str, script: str, before: str, after: str) -> str:
    script = script.strip()
    if not COMPACT.fullmatch(script):
        return script
    last, spaced = before[:1], before.endswith(" ")
    if kind == SUB:
        return f"_{script}" if last.isdigit() and not spaced and script[0].isdigit() else script
    if not last.strip() or last in OPENINGS or script[0] in "([":
        return script
    if not any(map(str.isdigit, script)):
        plain = not script.isalpha() or not last.isdigit() or spaced or script.lower() in ORDINALS
        return script if plain else f"^{script}"
    if spaced:
        # 10 <sup>9</sup>/L is a power, 10 <sup>131</sup>I is not.
        return f"^{script}" if last.isdigit() and not after.isalpha() else script
    return script if last.isalpha() and CHARGE.fullmatch(script) else f"^{script}"
