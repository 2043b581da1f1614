"""Signs of UTF-8 that was read with another encoding than Windows-1252, or that lost bytes, and that ftfy keeps."""

from __future__ import annotations

import re
from collections.abc import Iterator

# Cyrillic, Mac, DOS and Greek encodings. Their texts use the same letters, so only the signs of a quantity count.
CODECS = ("cp1251", "mac_roman", "cp437", "cp850", "cp1253")
# Plus-minus, degree, micro, times, fractions, powers, minus, comparisons, dashes, Greek letters of units and drugs.
SIGNS = (
    "\u00b1\u00b0\u00b5\u00b7\u00d7\u00f7\u00bd\u00bc\u00be\u00b2\u00b3\u2212\u2265\u2264\u2248\u2260\u2013\u2014\u2192"
    "\u03b1\u03b2\u03b3\u03b4\u03bc\u0394\u03ba\u03bb\u03c3"
)
# The multiplication sign as Mac Roman shows it is repaired only between numbers.
TIMES = "\u221a\u00f3"
# UTF-8 whose bytes 80 to 9F were removed: the first byte alone, beside a number and outside a word.
STRIPPED = (
    r"(?<![^\W\d_])[\u00e2\u00c3](?=\d)|(?<=\d)[\u00e2\u00c3](?![^\W\d_])|(?<=\d )[\u00e2\u00c3](?= \d)"
)
# A closing quotation mark without its last byte; ftfy makes a dagger of it and the space behind it.
HALF_QUOTE = re.compile(r"\u00e2\u20ac(?=[ \t\n]|\Z)")


def _sequences() -> Iterator[str]:
    for codec in CODECS:
        for sign in SIGNS:
            try:
                shown = sign.encode().decode(codec)
            except UnicodeDecodeError:
                continue
            if shown != TIMES:
                yield shown


def _pattern() -> str:
    shown = sorted(set(_sequences()))
    long = "|".join(re.escape(text) for text in shown if len(text) > 2)
    # A letter and a symbol, as in a capital of Cyrillic before a plus-minus.
    symbols = "|".join(re.escape(text) for text in shown if len(text) == 2 and not text[1].isalpha())
    letters = "|".join(re.escape(text) for text in shown if len(text) == 2 and text[1].isalpha())
    return (
        rf"{STRIPPED}|(?:{long})|(?<![^\W\d_])(?:{symbols})(?=[ \d\-]|[a-zA-Z])|(?<=\d)(?:{symbols})"
        rf"|(?:(?<=\d)|(?<=\d ))(?:{letters})(?![\u0370-\u04ff])|(?<![^\W\d_])(?:{letters})(?=\d)"
    )


MISREAD = re.compile(_pattern())
# The first characters of its matches; those of `STRIPPED` are two letters.
STARTS = "".join(sorted({text[0] for text in (*_sequences(), "\u00e2", "\u00c3")}))
MISREAD_START = re.compile(f"[{re.escape(STARTS)}]")
# Three characters of Mac Roman have one meaning only.
MAC_SIGNS = {shown: sign for sign in SIGNS if len(shown := sign.encode().decode("mac_roman")) > 2}
MAC = re.compile("|".join(map(re.escape, MAC_SIGNS)))


def repair_mac_signs(text: str) -> str:
    """Return the text with minus signs, comparisons and dashes of UTF-8 that was read as Mac Roman repaired."""
    return MAC.sub(lambda match: MAC_SIGNS[match[0]], text)


def find_misread(text: str) -> re.Match[str] | None:
    """Return the first sign of a quantity that a wrong encoding shows as other characters, or None."""
    # The pattern has hundreds of alternatives, which are tried only where one can begin.
    starts = (match.start() for match in MISREAD_START.finditer(text))
    return next((match for start in starts if (match := MISREAD.match(text, start))), None)
