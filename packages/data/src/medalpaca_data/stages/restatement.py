"""Canonical forms of rows: two rows with one canonical form state the same, and the later one may be dropped.

Rows of one form differ only in words of `FUNCTION_WORDS`, British or American spelling, white space, and a few marks:
quotation marks, the kind of a dash, bullets, and the mark at the end of a line. Case may differ in whole words of four
letters or more and in first letters, but not in units and symbols: mS is not ms. Every other word, number, symbol or
mark is part of the form, and so is the order. Negations, quantities, comparisons and words of time and place are
therefore never lost. Names of drugs or body parts that differ by a letter stay different, because only the rules of
`SPELLINGS` apply.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from functools import lru_cache

from ..core.files import sha256_bytes
from .language import ENGLISH, OTHER

# Words without a meaning of their own. None of them negates, counts, compares, or gives a time, a place or a person.
FUNCTION_WORDS = frozenset({"a", "an", "the", "of", "this", "these", "that", "which", "it", "its"})
# Before these words, and beside numbers, they have a meaning: "few" is not "a few".
COUNTING = frozenset(
    {
        "few",
        "little",
        "bit",
        "lot",
        "number",
        "minority",
        "majority",
        "couple",
        "fraction",
        "third",
        "quarter",
        "half",
    }
)
# In a text in another language, these words may have a meaning: "of" is "or" in Dutch. A text is in another language if
# it has more words of the first list than of the second.
FOREIGN_WORDS, ENGLISH_WORDS = (
    frozenset(OTHER.split()),
    frozenset(ENGLISH.split()) - {"of", "is", "for", "have", "by"},
)
# Forms of one verb with several subjects, and with one.
VERB_FORMS = {"are": "is", "were": "was", "have": "has", "do": "does"} | {
    "arent": "isnt",
    "werent": "wasnt",
    "havent": "hasnt",
    "dont": "doesnt",
}
# Words with another meaning in capitals: nitric oxide, acute lymphoblastic leukaemia, and so on.
CAPITALS = frozenset({"no", "all", "us", "who", "or", "it", "aids", "an"})
# After these words, "a" is a name, as in "hepatitis A".
NAMED_WORDS = (
    "hepatitis vitamin influenza haemophilia hemophilia type group class category factor grade stage part phase "
    "protein serotype immunoglobulin apolipoprotein criterion option answer"
)
NAMED = frozenset(NAMED_WORDS.split())

END = "."
# In this order: a number with its separators, a word, the end of a sentence or line, primes, a sign, another symbol.
TOKEN = re.compile(
    r"(?:(?<![\w.,])[.,])?\d+(?:[.,:/^'\u00b7-]\d+)*"
    r"|[^\W\d](?:\w|'(?=\w))*"
    r"|(?P<end>[.!?\u2026]+(?=[\"')\]*]*(?:\s|$))|[,;:]+(?=[\"')\]*]*[ \t]*(?:\n|$))|\n)"
    r"|(?P<double>(?<=\d)(?:''|\"))|(?P<prime>(?<=\d)')"
    r"|(?P<dash>-+)|(?P<plus>\++)|(?<=\d)[ \t]*\*(?=[ \t]*\d)|[^\w\s'\"*]"
)
BULLET = re.compile(r"^[ \t]*[-*\u2022\u2023\u25aa\u25e6\u00b7](?=[ \t]+[^\W\d])", re.MULTILINE)
# The article at the beginning of a sentence. Elsewhere, a single capital "A" is a name.
FIRST_ARTICLE = re.compile(r"((?:^|[.!?:\n])[\s\"'(*\[-]*)A(?=\s)")
# Endings with an apostrophe that are also written without it.
APOSTROPHE = re.compile(r"'(?=s$)|(?<=n)'(?=t$)")
# Variants of one character; invisible characters are removed. Primes are no apostrophes.
CHARACTERS = str.maketrans(
    dict.fromkeys("\u2010\u2011\u2012\u2013\u2212\ufe63\uff0d", "-")
    | dict.fromkeys("\u2014\u2015", "--")
    | dict.fromkeys("\u2019\u2018\u201a\u02bc\uff07`\u2039\u203a", "'")
    | dict.fromkeys("\u201c\u201d\u201e\u00ab\u00bb", '"')
    | {"\u2044": "/", "\u2215": "/", "\u00b5": "\u03bc", "æ": "ae", "œ": "oe", "Æ": "AE", "Œ": "OE"}
    | dict.fromkeys("\u00ad\u200b\u200c\u200d\u2060\ufeff", "")
)
# Shapes that mark items of a list, and other symbols without a meaning.
MEANINGLESS = frozenset("®™©") | frozenset(map(chr, range(0x2500, 0x2600)))

# British spellings and their American ones. Each rule covers only stems and endings for which no two different words
# become equal; the tests compare word lists.
SPELLINGS = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        # Not "hexaene", which is another substance than "hexene"; not short words.
        (r"(?<=[a-z])ae(?!nes?$)(?=[a-z]{3})|(?<=[a-z]{2})ae(?!nes?$)(?=[a-z]{2})|^ae(?=tiolog|sthe)", "e"),
        (r"oe(?=dem|soph|str[aiou])|(?<=f)oe(?=t[aiou])|(?<=rrh)oe(?=a|i)|(?<=pn)oe(?=a|i)", "e"),
        (r"(?<=am)oe(?=b)|(?<=c)oe(?=lia)|(?<=hom)oe(?=o)", "e"),
        (
            r"(tum|col|fav|hum|lab|vap|vig|rig|hon|sav|arm|rum|flav|harb|behavi|neighb|endeav|^od|malod)our",
            r"\1or",
        ),
        (r"^practis(?=(?:e|es|ed|ing|er|ers)$)", "practic"),
        (r"(?<=[a-z]{3})is(?=(?:e|ed|es|er|ers|ing|able|ation|ations|ational)$)", "iz"),
        (r"(?<=[a-z]{3}l)ys(?=(?:e|ed|es|er|ers|ing)$)", "yz"),
        (
            r"((?:fib|cent|calib|theat|goit|diopt|^tit)|(?:^|milli|centi|deci|micro|nano|kilo)(?:lit|met))re(?=s?$)",
            r"\1er",
        ),
        (
            r"(label|cancel|counsel|travel|model|level|channel|signal|tunnel|fuel|total|dial|spiral|enamel|funnel|panel"
            r"|trial)l"
            r"(?=ed$|ing$|ings$|er$|ers$|or$|ors$)",
            r"\1",
        ),
        (r"^leuco(?=cyt|pen|plak|derm|dystr|enceph)", "leuko"),
        (r"^(def|off)ence(?=s?$|less)", r"\1ense"),
        (r"^licenc(?=(?:e|es|ed|ing)$)", "licens"),
        (r"^grey", "gray"),
        (r"^artefact", "artifact"),
        (r"^mould", "mold"),
        (r"^ageing$", "aging"),
        (r"^judgement", "judgment"),
        (r"^aluminium$", "aluminum"),
        (r"^sceptic", "skeptic"),
        (r"^(enro|fulfi|disti|insti|insta)l(?=s?$|ment)", r"\1ll"),
        (r"^tranquill(?=i)", "tranquil"),
        (r"^(video)?dis[ck](?=s?$)", r"\1disk"),
        (r"^pharmacopoei", "pharmacopei"),
        (r"^calliper", "caliper"),
    )
)
# Whole words of this length have no other meaning in capitals, except those of `CAPITALS`.
MIN_CASE_FREE = 4
# Words of one to three letters whose first letter may be a capital anywhere.
SHORT_WORDS = frozenset(word for word in ENGLISH.split() if len(word) < MIN_CASE_FREE) | {
    *(
        "an",
        "as",
        "at",
        "be",
        "by",
        "do",
        "he",
        "if",
        "in",
        "is",
        "it",
        "me",
        "my",
        "no",
        "of",
        "on",
        "or",
        "so",
    ),
    *("to", "up", "us", "we"),
}
# The litre has two symbols.
LITRE = re.compile("[mcd\u03bcu]?[lL]")
# Shorter words keep their spelling, because they may be equal to another word.
MIN_SPELLING = 4


def canonical_form(*texts: str) -> str:
    """Return the tokens that a restatement of texts must have, in order; the texts stay separate."""
    return "\x1f".join(" ".join(_tokens(text)) for text in texts)


def form_hash(*texts: str) -> int:
    """Return a 64-bit hash of the canonical form of texts."""
    return int(sha256_bytes(canonical_form(*texts).encode(errors="surrogatepass"))[:16], 16)


def _tokens(text: str) -> Iterator[str]:
    if not text.isascii():
        text = unicodedata.normalize("NFC", text).translate(CHARACTERS)
    matches = list(TOKEN.finditer(BULLET.sub("", FIRST_ARTICLE.sub(r"\1a", text.strip()))))
    tokens = [match[0] for match in matches]
    # In a text in capitals, or with a capital in every word, case gives no information.
    cased = any(token[0].islower() for token in tokens) and not text.islower()
    lower = [token.lower() for token in tokens]
    foreign = sum(word in FOREIGN_WORDS for word in lower) > sum(word in ENGLISH_WORDS for word in lower)
    before, ended = "", True
    waiting = False
    for match, token, word, after in zip(matches, tokens, lower, [*lower, ""][1:], strict=True):
        if match["end"]:
            # Marks at the end of the text are no part of the form.
            waiting, ended, before = True, True, END
            continue
        if waiting:
            waiting = False
            yield END
        if word in FUNCTION_WORDS and (after in COUNTING or before[-1:].isdigit() or after[:1].isdigit()):
            # "Few" is not "a few", and "5 of 10" is not "5 10".
            form = word
        else:
            form = _form(match, token, word, before, ended=ended, cased=cased, foreign=foreign)
        if form:
            yield form
        before, ended = word, False


def _form(
    match: re.Match[str], token: str, word: str, before: str, *, ended: bool, cased: bool, foreign: bool
) -> str:
    """Return the form of a token, or "" if it has no meaning of its own.

    `before` is the token before it in lower case; `ended` is whether a sentence ends there.
    """
    if mark := match.lastgroup:
        return _mark(match, mark)
    if foreign and word in FUNCTION_WORDS:
        return word
    if word == "a":
        return word if before in NAMED or (cased and token.isupper()) else ""
    if cased and word in CAPITALS and token.isupper():
        return token
    is_unit = before[-1:].isdigit() or before == "/"
    return _plain(word if _is_case_free(token, word, is_unit=is_unit, first=ended, cased=cased) else token)


def _mark(match: re.Match[str], kind: str) -> str:
    if kind in ("double", "prime"):
        return "\u2033" if kind == "double" else "\u2032"
    text, start, end = match.string, match.start(), match.end()
    left, right = text[start - 1 : start].strip(), text[end : end + 1].strip()
    if kind == "plus":
        return "+ " if left and not right[:1].isalnum() else "+"
    if len(match[0]) > 1 or not (left or right):
        return "--"
    # The hyphen of a compound, the sign after a name, the sign before a number.
    return "-" if left.isalnum() and right.isalnum() else "- " if left else " -"


def _is_case_free(token: str, word: str, *, is_unit: bool, first: bool, cased: bool) -> bool:
    if token == word or not token.replace("'", "").isalpha():
        return token == word
    if LITRE.fullmatch(token):
        return True
    if len(token) >= MIN_CASE_FREE or (word in SHORT_WORDS and not is_unit):
        return token.isupper() or token[1:].islower()
    return not is_unit and (len(token) != 2 or first) and token[1:] == word[1:]


@lru_cache(maxsize=1 << 16)
def _plain(word: str) -> str:
    """Return the form of a word, number or symbol, or "" if it has no meaning of its own."""
    if len(word) == 1 and not word.isalnum():
        if word in MEANINGLESS:
            return ""
        return "and" if word == "&" else word
    if "'" in word:
        word = APOSTROPHE.sub("", word)
    if word in FUNCTION_WORDS:
        return ""
    if len(word) >= MIN_SPELLING:
        for pattern, replacement in SPELLINGS:
            word = pattern.sub(replacement, word)
    return VERB_FORMS.get(word, word)
