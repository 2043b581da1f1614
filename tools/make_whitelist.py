"""Write the whitelists of the profile `recall`: words of public medical texts that are no identifiers.

    uv run python tools/make_whitelist.py DATA [OUT]

DATA holds medquad/*.tar.gz (CC BY 4.0) and pubmedqa/{ori_pqal,test_ground_truth}.json (MIT; its test questions are not
read). OUT is by default deid/lists in packages/data. medical.txt has the words that the texts write in small letters,
terms.txt those that they write with a capital letter within a sentence, without names and towns. A word is written if
it occurs in at least three documents; counts are not written. The same files give the same bytes.
"""

from __future__ import annotations

import re
import sys
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

from medalpaca_data.core.row import Row
from medalpaca_data.sources.medquad import MedQuAD
from medalpaca_data.sources.pubmedqa import PubMedQA

ROOT = Path(__file__).parents[1]
LISTS = ROOT / "packages/data/src/medalpaca_data/deid/lists"
DOCUMENTS = 3
# Smallest share of lower case among the occurrences of an ordinary word.
LOWER_SHARE = 0.3
WORD = re.compile(r"[^\W_]+(?:['\u2019-][^\W_]+)*")
SPECIAL = str.maketrans(
    {
        "ß": "ss", "ł": "l", "ø": "o", "đ": "d", "æ": "ae", "œ": "oe", "\u0131": "i", "þ": "th", "ð": "d", "ə": "a",
        "'": "", "\u2019": "", "\u02bb": "", "\u2018": "", "`": "",
    }
)  # fmt: skip
# A sentence or a line begins before the word.
BEGINNING = re.compile(r"(?:^|[.!?:;\n\u2022(\"*-])[\s\"(\u201c]*$")


def fold(word: str) -> str:
    """Return a word in lower case, without accents and apostrophes, as the lists have it."""
    decomposed = unicodedata.normalize("NFKD", word.lower().translate(SPECIAL))
    return "".join(c for c in decomposed if not unicodedata.combining(c)).translate(SPECIAL)


def read_list(path: Path) -> list[str]:
    """Return the lines of a list that are no comments."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    return [line for line in lines if line and not line.startswith("#")]


HEADS = {
    "medical.txt": "Words that public medical texts write in small letters.",
    "terms.txt": "Words that public medical texts write with a capital letter, without names and towns.",
}
ORIGIN = (
    "Counted in MedQuAD (CC BY 4.0) and PubMedQA without its test questions (MIT) by tools/make_whitelist.py. Words\n"
    "# in at least three documents, without counts."
)


def write_list(name: str, words: Iterable[str], folder: Path) -> None:
    """Write a list with its head, sorted."""
    lines = [f"# {HEADS[name]}", f"# {ORIGIN}", *sorted(set(words)), ""]
    (folder / name).write_text("\n".join(lines), encoding="utf-8")


def documents(data: Path) -> Iterator[tuple[str, str]]:
    """Yield the group and the text of every row; the rows of one document have one group."""
    sources = (
        MedQuAD(path=str(next((data / "medquad").glob("*.tar.gz")))),
        PubMedQA(path=str(data / "pubmedqa/ori_pqal.json")),
    )
    for source in sources:
        for record in source.records(data):
            if isinstance(record, Row):
                yield (
                    record.group or record.source_id,
                    "\n".join((record.instruction, record.input, record.output)),
                )


class Counts:
    """Documents and occurrences of each word, by the way it is written."""

    def __init__(self) -> None:
        self.groups: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
        self.occurrences: Counter[tuple[str, str]] = Counter()

    def add(self, group: str, text: str) -> None:
        """Count the words of one row."""
        for match in WORD.finditer(text):
            written = re.sub(r"['\u2019]s$", "", match[0])
            for part in written.split("-"):
                self._add_word(group, text, match.start(), part)

    def _add_word(self, group: str, text: str, start: int, part: str) -> None:
        word = fold(part)
        if len(word) < 2 or not word.isalpha():
            return
        if part.islower():
            style = "lower"
        elif BEGINNING.search(text, max(0, start - 3), start):
            return
        else:
            style = "capital"
        self.groups[word, style].add(group)
        self.occurrences[word, style] += 1


def whitelists(data: Path, names: set[str]) -> dict[str, set[str]]:
    """Return the words of each list; `names` are names and towns, which are no terms."""
    counts = Counts()
    for group, text in documents(data):
        counts.add(group, text)
    words = {word for word, _ in counts.groups}

    def frequent(word: str, style: str) -> bool:
        return len(counts.groups.get((word, style), ())) >= DOCUMENTS

    def share(word: str, style: str) -> float:
        total = sum(counts.occurrences[word, other] for other in ("lower", "capital"))
        return counts.occurrences[word, style] / total

    medical = {word for word in words if frequent(word, "lower") and share(word, "lower") >= LOWER_SHARE}
    return {
        "medical.txt": medical,
        "terms.txt": {word for word in words - medical - names if frequent(word, "capital")},
    }


def main(data: Path, out: Path = LISTS) -> None:
    """Write the lists."""
    names = {name for file in ("given.txt", "surnames.txt", "towns.txt") for name in read_list(LISTS / file)}
    for name, words in whitelists(data, names).items():
        write_list(name, words, out)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
