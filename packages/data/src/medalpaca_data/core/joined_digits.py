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
from collections.abc import Callable, Sequence

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
# A longer text, or one with a space, is small print, or a formula.
COMPACT = re.compile(r"\S{1,16}")
CHARGE = re.compile(r"\d?[-+\u2212\u2013]")
ORDINALS = frozenset(("st", "nd", "rd", "th", "er", "re", "e", "eme", "\u00e8me", "tm", "sm"))
# With its base, such a script is one word: D<sup>r</sup>.
ABBREVIATIONS = frozenset(
    ["dr", "drs", "dre", "dra", "mr", "mrs", "mme", "mmes", "mlle", "sr", "sra", "st", "ste", "mc", "mgr"]
)
ROMAN = re.compile("[IVX]{1,4}")
# The number of a century, as in XIX<sup>e</sup>.
ROMAN_END = re.compile(r"(?<![^\W\d_])[IVXLCDM]+$")
WORD_END = re.compile(r"[^\W\d_]+$")
SIGNS = "-+\u2212\u2013\u2010\u2011"
CLOSINGS = ")]}"
# A letter that is no part of a word.
VARIABLE = re.compile(r"(?<![^\W_])[^\W\d_]$")
# A power in several words, as in e<sup>-(k + n) t</sup>.
FORMULA = re.compile(r"[-+\u2212\u2013*/=\u00d7\u00b7\u22c5]")
SINGLE_GROUP = re.compile(r"\([^()]*\)")
MAX_FORMULA = 60
# After a unit that has no powers, a raised number is the mark of a footnote.
FOOTNOTE = re.compile(r"\d{1,2}(?:[,\u2013-]\d{1,2})*")
# A unit of one letter may also be the name of a variable, unless a number or another unit precedes it.
COUNTED_UNIT = re.compile(
    r"(?:(?<![^\W\d_])(?:[kmun\u00b5\u03bcp]g|mcg|[mcdun\u00b5\u03bc][lL]|[mun\u00b5\u03bcpk]?mol|mEq|m?Osm"
    r"|[mk\u00b5\u03bcu]?IU|mmHg|bpm|k?cal|kPa|[kM]?Hz|[kM]Bq|mCi)"
    r"|(?:(?<=\d)|(?<=\d )|(?<=/))(?:[glLUhd]|min|hr?s?|days?|weeks?|months?|years?|units?|tablets?)"
    r"|[%\u2030]|\u00b0[CF])$"
)
POWER_BEFORE = re.compile(r"\^-?\d+[^\W\d_]*[/\u00b7\u22c5 ][^\W\d_]+$")
UNIT_AFTER = re.compile(r" ?[/\u00b7\u22c5] ?[^\W\d_]{1,4}")
# After one of these, a raised number belongs to what follows it, as in an isotope: (<sup>131</sup>I.
OPENINGS = frozenset("([{/\u2044-\u2010\u2011\u2012\u2013\u2014\u2212\"'\u201c\u2018\u00ab|")

EDGES = (SUP, SUB, END)
NOT_SEEN = dict.fromkeys(map(ord, UNSEEN), "")
BLANKS = " \t\n\u00a0"
# Visible characters before a script that decide how it is written.
BASE_LENGTH = 40

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

    A raised number or word gets a caret after a letter, digit or closing punctuation: 10^-pH, x^n. Ordinals and the
    charges of ions get none. After a unit without powers it is the mark of a footnote: 75 mg [2]. A lowered number gets
    an underscore after a digit. Other scripts are written without a sign, so that those between two digits leave a
    mark. An edge without its counterpart becomes a mark.
    """
    if text.isascii() or not SCRIPT_EDGE.search(text):
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
            # The text after the script, and the next edge.
            following = [
                part.translate(NOT_SEEN) if part not in EDGES else part for part in tokens[n + 1 : n + 3]
            ]
            levels[-1] += (
                MARK,
                _write_script(kinds.pop(), script, _visible_end(levels[-1]), following),
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


def _visible_end(parts: list[str]) -> str:
    """Return the last visible characters of a text, at least `BASE_LENGTH` of them if there are so many."""
    end = ""
    for part in reversed(parts):
        end = part.translate(NOT_SEEN) + end
        if len(end) >= BASE_LENGTH:
            break
    return end[-2 * BASE_LENGTH :]


def _write_script(kind: str, script: str, before: str, following: Sequence[str]) -> str:
    """Return a script as plain text: `before` ends at it, `following` has the text after it and the next edge."""
    script = script.strip(BLANKS)
    base = before.rstrip(BLANKS)
    spaced = base != before
    last = base[-1:]
    if kind == SUB:
        is_number = COMPACT.fullmatch(script) and last.isdigit() and not spaced and script[0].isdigit()
        return f"_{script}" if is_number else script
    if not script or not last or last in OPENINGS or script[0] == "[":
        return script
    has_base = last.isdigit() or last in CLOSINGS or VARIABLE.search(base) is not None
    if not COMPACT.fullmatch(script) or script[0] == "(":
        is_formula = has_base and not spaced and len(script) <= MAX_FORMULA and FORMULA.search(script)
        inner = script if SINGLE_GROUP.fullmatch(script) else f"({script})"
        return f"^{inner}" if is_formula else script
    if not any(map(str.isdigit, script)):
        # A raised letter inside a word, as in Immun<sup>o</sup>CAP, is only its look.
        inside = script.isalpha() and following[0][:1].isalpha() and base[-2:].isalpha() and len(base) > 1
        is_plain = inside or (spaced and not (has_base and script[0] in SIGNS))
        return script if is_plain or _is_plain_word(script, base) else f"^{script}"
    if spaced:
        # 10 <sup>9</sup>/L is a power, 10 <sup>131</sup>I is not.
        is_power = last.isdigit() and (script[0] in SIGNS or not following[0][:1].isalpha())
        return f"^{script}" if is_power else script
    if FOOTNOTE.fullmatch(script) and COUNTED_UNIT.search(base) and not _is_product(base, following):
        return f" [{script}]"
    return script if last.isalpha() and CHARGE.fullmatch(script) else f"^{script}"


def _is_plain_word(script: str, base: str) -> bool:
    """Return whether a script without digits is written without a caret, as in 1st, Na+, FeIII and Dr."""
    if not any(map(str.isalpha, script)):
        return True
    low = script.lower().rstrip(".")
    if low == "e":
        return ROMAN_END.search(base) is not None or base[-1:].isdigit()
    word = WORD_END.search(base)
    return (
        low in ORDINALS
        or (ROMAN.fullmatch(script) is not None and base[-1:].isalpha())
        or (word is not None and (word[0] + low).lower() in ABBREVIATIONS)
    )


def _is_product(base: str, following: Sequence[str]) -> bool:
    """Return whether another unit of the same term has a power, as in mg^2/dL^2."""
    return POWER_BEFORE.search(base) is not None or (
        len(following) > 1 and following[1] == SUP and UNIT_AFTER.fullmatch(following[0]) is not None
    )
