"""Canonical forms of rows: two rows with one canonical form state the same, and the later one may be dropped.

Rows of one form differ only in case, punctuation, white space, words of `FUNCTION_WORDS`, and British or American
spelling. Every other word, number or symbol is part of the form, and so is the order of the words. Negations,
quantities, comparisons and words of time and place are therefore never lost. Names of drugs or body parts that differ
by a letter stay different, because only the rules of `SPELLINGS` apply.
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

# In this order: a number with its separators, a word, the sign of a number or a name, another symbol.
TOKEN = re.compile(
    r"(?:(?<![\w.,])[.,])?\d+(?:[.,:/^'·-]\d+)*"
    r"|[^\W\d](?:\w|'(?=\w))*"
    r"|(?<!\w)-(?=[.,]?\d)|(?<=[A-Z\d])-(?!\w)"
    r"|[+<>=~/%&@\\^$]|[^\w\s\x00-\x7f]"
)
# The article at the beginning of a sentence. Elsewhere, a single capital "A" is a name.
FIRST_ARTICLE = re.compile(r"((?:^|[.!?:\n])[\s\"'(*\[-]*)A(?=\s)")
# Endings with an apostrophe that are also written without it.
APOSTROPHE = re.compile(r"'(?=s$)|(?<=n)'(?=t$)")
# Variants of one character; invisible characters are removed.
CHARACTERS = str.maketrans(
    dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2015\u2212\ufe63\uff0d", "-")
    | dict.fromkeys("\u2019\u2018\u02bc\u2032\uff07`", "'")
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
    tokens = TOKEN.findall(FIRST_ARTICLE.sub(r"\1a", text))
    # In a text in capitals, or with a capital in every word, case gives no information.
    cased = any(token[0].islower() for token in tokens) and not text.islower()
    lower = [token.lower() for token in tokens]
    foreign = sum(word in FOREIGN_WORDS for word in lower) > sum(word in ENGLISH_WORDS for word in lower)
    before = ""
    for token, word in zip(tokens, lower, strict=True):
        if foreign and word in FUNCTION_WORDS:
            yield word
        elif word == "a":
            if before in NAMED or (cased and token.isupper()):
                yield word
        elif cased and word in CAPITALS and token.isupper():
            yield token
        elif plain := _plain(word):
            yield plain
        before = word


@lru_cache(maxsize=1 << 16)
def _plain(word: str) -> str:
    """Return the form of a lower-case token, or "" if it has no meaning of its own."""
    if len(word) == 1 and not word.isalnum():
        if word in MEANINGLESS or (not word.isascii() and unicodedata.category(word)[0] not in "SM"):
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
