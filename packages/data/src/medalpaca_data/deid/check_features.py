"""Tokens and features of the independent check: a text without its surrogates, as input of a linear model.

Surrogates are recognised by their public forms, which `surrogates.py` documents. This module shares no list, whitelist
or pattern with the detector that finds and replaces identifiers, and imports nothing of it.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

HEADS = "Bralv|Cromd|Drelk|Fruv|Glanv|Jorv|Krolb|Lurd|Morv|Nelv|Plav|Quilb|Rolv|Sorb|Trolv|Vulb|Wrenv|Yolv|Zelb|Skelv"
TAILS = "ado|ambrix|anto|eddo|elno|emlo|endix|erno|iddo|ilmo|imbo|inno|orro|oddo|ombix|ulvo|undo|urno"
MONTH = (
    r"(?:jan(?:uary?|uar)?|feb(?:ruary?|ruar)?|mar(?:ch)?|märz|apr(?:il)?|ma[iy]|june?|juni|july?|juli|aug(?:ust)?|"
    r"sept?(?:ember)?|o[ck]t(?:ober)?|nov(?:ember)?|de[cz](?:ember)?)\.?"
)
ENDING = r"(?:st|nd|rd|th|\.)?"
GAP = r"[-./ ()]{0,2}"
SURROGATE = re.compile(
    "|".join(
        [
            # Names of syllables, initials, and marks such as [DATE].
            rf"\b(?:(?:{HEADS})(?:[aeiou][bdfgklmnprstvz])?(?:{TAILS}))+(?![^\W\d_])",
            r"(?<!\w)(?:(?-i:[QXZ])\b\.?|[qxz]\.)|\[\*{0,2}[A-Z][A-Z /]*\*{0,2}\]",
            # Addresses of example.org, and of the blocks for documentation.
            r"\S*\bexample\.(?:org|com|net)\b(?:/\d+)?|\b\w+ at example dot org|\b192\.0\.2\.\d+|\b2001:db8:[0-9a-f:]*",
            # Dates in the years 2100 to 2199, and ages over 89.
            r"(?<!\d)(?:\d\d?[-./][ ]?){1,2}21\d\d(?!\d)|(?<!\d)21\d\d[-./]\d\d?(?:[-./]\d\d?)?(?:T[\d:]+)?(?!\d)",
            r"(?<!\d)21\d\d[01]\d[0-3]\d(?:\d{4}|\d{6})?(?!\d)",
            rf"\b{MONTH},?[ -](?:\d\d?{ENDING},?[ -])?(?:of )?21\d\d(?!\d)",
            rf"(?<!\d)\d\d?{ENDING}[ -](?:of )?{MONTH},?[ -]?21\d\d(?!\d)|\b90[- ]or[- ]older\b",
            # Telephone numbers that end in 555-01xx; social security numbers that begin with 000.
            rf"(?<!\d)(?:\+?\(?\d(?:{GAP}\d){{0,5}}{GAP})?5{GAP}5{GAP}5{GAP}0{GAP}1{GAP}\d{GAP}\d(?!\d)",
            r"(?<!\d)000[- ]?\d\d[- ]?\d{4}x?(?!\d)",
            # Zeros with a counter of two digits; X for letters; a ZIP code without its end.
            r"(?<!\w\w)(?<!\d)(?=[x0](?:\W?\w){2})x*(?:[-/_. ]?x)*[-/_. #]?"
            r"0(?:[-/_. ]?[0x])*(?:[-/_. ]?\d){0,2}x{0,3}(?!\w|[-./:]\d)",
            r"(?<!\w)\d{3}XX(?!\w)|(?<!\w)x{2,}(?!\w)",
        ]
    ),
    re.IGNORECASE,
)
HIDDEN = "\ue000"
TOKEN = re.compile(
    rf"{HIDDEN}+|[^\s@<>|,;:()]+@[^\s@<>|,;:()]+|(?:[^\W\d_]{{0,6}}-?)\d\w*(?:[-./]\w+)*|[^\W\d_]+(?:['\u2019-][^\W\d_]+)*"
)
# Number of hashed features.
BUCKETS = 1 << 17
# Bits of each table of known words.
BITS = 1 << 19


# A method of `Features` and its arguments.
Key = tuple[str, tuple[str | int | bool, ...]]


@dataclass(frozen=True, slots=True)
class Token:
    """A word or number: its text, its place, and the characters since the token before it."""

    text: str
    start: int
    end: int
    gap: str


def hide_surrogates(text: str) -> str:
    """Return the text with `HIDDEN` in place of each character of a surrogate, so that positions stay."""
    return SURROGATE.sub(lambda match: HIDDEN * len(match[0]), text)


def tokenize(text: str) -> list[Token]:
    """Return the tokens of a text; a hidden surrogate is one token."""
    tokens, at = [], 0
    for match in TOKEN.finditer(text):
        start, end = match.span()
        tokens.append(Token(match[0], start, end, text[at:start]))
        at = end
    return tokens


def bit_positions(word: str) -> tuple[int, int]:
    """Return the two positions of a word in a table of known words; it is known if both bits are set."""
    return _hash(f"1{word}") % BITS, _hash(f"2{word}") % BITS


def _hash(text: str) -> int:
    return zlib.crc32(text.encode("utf-8", "surrogatepass"))


def _bucket(feature: str) -> int:
    return _hash(feature) & (BUCKETS - 1)


def case(word: str) -> str:
    """Return the form of a word in one letter: hidden, digits, address, initial, capitals, Title, mixed or lower."""
    if word[0] == HIDDEN:
        return "H"
    if "@" in word:
        return "@"
    if any(c.isdigit() for c in word):
        return "9" if word[0].isdigit() else "B"
    if len(word) == 1:
        return "I" if word.isupper() else "i"
    if word.isupper():
        return "U" if len(word) > 3 else "u"
    if word[0].isupper():
        return "T" if word[1:].islower() else "M"
    return "l" if word.islower() else "m"


def shape(word: str) -> str:
    """Return a word with 9 for digits, A for capitals and a for other letters, at most 20 characters."""
    return "".join(
        "9" if c.isdigit() else "A" if c.isupper() else "a" if c.isalpha() else c for c in word[:20]
    )


class Features:
    """Features of words and of pairs of words.

    `known(word)` is "", "l", "c" or "lc": in which case public text has the word. A bucket is the number of a hashed
    feature, below `BUCKETS`. Methods that return features return their buckets. They depend only on their arguments, so
    that the sums of their weights can be stored.
    """

    def __init__(self, known: Callable[[str], str]) -> None:
        self.known = known
        self.form, self.content, self.kind = (
            lru_cache(100_000)(self._form),
            lru_cache(100_000)(self._content),
            lru_cache(100_000)(self._kind),
        )

    def is_ordinary(self, word: str) -> bool:
        """Return whether a token is not classified: a hidden surrogate, or a known word in small letters."""
        form = case(word)
        return form == "H" or (form == "l" and "l" in self.known(word))

    def buckets(self, key: Key) -> list[int]:
        """Return the features of one key of `keys`: the name of a method and its arguments."""
        name, arguments = key
        methods: dict[str, Callable[..., list[int]]] = {
            "word": self.word, "neighbour": self.neighbour, "pair": self.pair, "context": self.context,
        }  # fmt: skip
        return methods[name](*arguments)

    def keys(self, text: str, tokens: list[Token], number: int, context: tuple[str, bool, bool]) -> list[Key]:
        """Return the keys of the token at `number`: names of methods and their arguments.

        `context` is the entry of `contexts` for this token. Most keys hold forms of words, which repeat, so that stored
        sums are found.
        """
        token = tokens[number]
        far, before, after, farther = (word_at(tokens, number + n) for n in (-2, -1, 1, 2))
        left = short_gap(token.gap)
        right = short_gap(tokens[number + 1].gap if after else text[token.end :])
        own, form_before, form_after = self.form(token.text), self.form(before), self.form(after)
        label, is_first, in_capitals = context
        return [
            ("word", (token.text,)),
            ("neighbour", (-2, far)),
            ("neighbour", (-1, before)),
            ("neighbour", (1, after)),
            ("neighbour", (2, farther)),
            ("pair", (f"<{own}|{left}", f"<{own}|{left}|{self.kind(before)}")),
            ("pair", (f"<{own}={self.content(before)}", f"<{own[0]}={left}={self.content(before)}")),
            ("pair", (f">{own}|{right}", f">{own}|{right}|{self.kind(after)}")),
            ("pair", (f">{own}={self.content(after)}", f">{own[0]}={right}={self.content(after)}")),
            ("context", (own, label, is_first, in_capitals, form_before, form_after)),
        ]

    def word(self, word: str) -> list[int]:
        """Return the features of a token itself."""
        form, lower = case(word), word.lower()
        features = ["bias", f"c{form}", f"w{lower}", f"n{form}{min(len(word), 12)}"]
        if form in "9B":
            features += self._number(word)
        elif form == "@":
            features += [f"@{lower.rpartition('.')[2]}"]
        else:
            known = self.known(word)
            features += [f"k{form}{known}", f"K{known}"]
            edged = f"^{lower[:30]}$"
            features += [f"p{lower[:n]}" for n in (1, 2, 3, 4)] + [f"s{lower[-n:]}" for n in (1, 2, 3, 4)]
            features += [f"g{edged[i : i + n]}" for n in (3, 4, 5) for i in range(len(edged) - n + 1)]
            features += [f"z{form}{known}{lower[-n:]}" for n in (2, 3)]
        return [_bucket(feature) for feature in features]

    def _number(self, word: str) -> list[str]:
        groups = [int(group) for group in re.findall(r"\d+", word[:40])]
        count = sum(c.isdigit() for c in word)
        layout = shape(word)
        year = any(1900 <= group <= 2099 for group in groups)
        compact = count == 8 and len(groups) == 1 and word[:2] in ("19", "20") and int(word[4:6] or 0) <= 12
        date = len(groups) in (2, 3) and (groups[0] <= 12 or groups[1] <= 12) and max(groups[:2]) <= 31
        return [
            f"h{layout}", f"d{count}", f"D{min(count, 11)}{case(word)}", f"G{len(groups)}{year}{date}{compact}",
            f"H{date}{layout}", f"e{re.sub(r'9+', '9', layout)}", f"0{word[0] == '0'}{count}", f"1{word[:2]}{count}",
        ]  # fmt: skip

    def neighbour(self, offset: int, word: str) -> list[int]:
        """Return the features of the token at `offset` (-2, -1, 1 or 2); the word is "" beyond the text."""
        if not word:
            return [_bucket(f"{offset}end")]
        form = case(word)
        known = self.known(word) if form not in "H9B@" else ""
        text = shape(word) if form in "9B" else form if form in "H@" else word.lower()
        features = [f"{offset}w{text}", f"{offset}c{form}{known}"]
        if abs(offset) == 1 and form not in "H9B@":
            features += [f"{offset}s{word.lower()[-3:]}", f"{offset}p{word.lower()[:3]}"]
        return [_bucket(feature) for feature in features]

    def pair(self, *features: str) -> list[int]:
        """Return the features of a token together with the one before ("<") or after (">") it."""
        return [_bucket(feature) for feature in features]

    def context(
        self, own: str, label: str, is_first: bool, in_capitals: bool, before: str, after: str
    ) -> list[int]:
        """Return the features of the line (its label, beginning, and capitals) and of the forms of three tokens."""
        return [
            _bucket(f"L{own}{label}"), _bucket(f"l{own[0]}{label}"), _bucket(f"F{own}{is_first}"),
            _bucket(f"C{own}{in_capitals}"), _bucket(f"A{before}|{own}|{after}"),
            _bucket(f"a{before[0]}{own[0]}{after[0]}"),
        ]  # fmt: skip

    def _form(self, word: str) -> str:
        if not word:
            return "-"
        form = case(word)
        if form in "9B":
            return f"{form}{sum(c.isdigit() for c in word)}{len(re.findall(r'[0-9]+', word))}"
        return form if form in "H@" else form + self.known(word)

    @staticmethod
    def _content(word: str) -> str:
        form = case(word) if word else "-"
        return form if form == "H" else shape(word) if form in "9B" else word.lower()

    def _kind(self, word: str) -> str:
        form = case(word) if word else "-"
        return form if form in "H9B@" or not word else form + self.known(word)


def contexts(text: str, tokens: list[Token]) -> list[tuple[str, bool, bool]]:
    """Return (label, whether first in its line, whether the line is in capitals) for each token.

    The label is the last word before ":", "#" or "|" in the same line, at most four tokens back.
    """
    result: list[tuple[str, bool, bool]] = []
    label, age = "", 0
    capitals = False
    for number, token in enumerate(tokens):
        is_first = number == 0 or "\n" in token.gap
        if is_first:
            label, age = "", 0
            end = text.find("\n", token.start)
            rest = text[token.start : end if end >= 0 else len(text)]
            capitals = rest.isupper() and len(rest) > 12
        elif ":" in token.gap or "#" in token.gap or "|" in token.gap:
            label, age = tokens[number - 1].text.lower()[:20], 0
        age += 1
        result.append((label if age <= 4 else "", is_first, capitals))
    return result


@lru_cache(10_000)
def short_gap(gap: str) -> str:
    """Return the characters between two tokens, shortened to at most three characters."""
    gap = "\n" if "\n" in gap else re.sub(r" +", " ", gap)
    return gap if len(gap) < 4 else gap[:2] + gap[-1]


def word_at(tokens: list[Token], number: int) -> str:
    """Return the text of a token, or "" outside of the text."""
    return tokens[number].text if 0 <= number < len(tokens) else ""
