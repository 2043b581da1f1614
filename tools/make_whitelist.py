"""Write the whitelists of the de-identification: words of public medical texts that are no identifiers.

    uv run python tools/make_whitelist.py DATA [OUT]

DATA holds medquad/*.tar.gz (CC BY 4.0) and pubmedqa/{ori_pqal,test_ground_truth}.json (MIT; its test half is not read).
OUT is by default deid/lists in packages/data. A word is written if it occurs in at least 3 documents; counts are not
written. The same files give the same bytes.
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
# Words after a person's name that make it a medical term.
EPONYM_NOUNS = (
    r"agar|anemia|anaemia|aneurysm|angle|aphasia|area|ataxia|atrophy|bacillus|bodies|body|canal|catheter|cell|"
    r"cells|chorea|classification|contracture|criteria|criterion|curve|cyst|deformity|dementia|disease|diseases|"
    r"disorder|duct|dystrophy|encephalopathy|equation|esophagus|fever|fibers|formula|fracture|gland|"
    r"granulomatosis|hernia|index|inclusion|law|layer|line|lines|lymphoma|maneuver|manoeuvre|method|myopathy|"
    r"nephropathy|neuralgia|neuropathy|node|nodes|nodule|operation|palsy|phenomenon|point|pouch|procedure|"
    r"purpura|reaction|reflex|ring|rings|rule|sarcoma|scale|score|sign|signs|spot|spots|stain|stent|syndrome|"
    r"syndromes|test|tetralogy|tic|tube|tumor|tumour|ulcer|virus"
)
EPONYM = re.compile(
    r"\b([A-Z][a-z\u00e0-\u00ff]{2,}(?:[A-Z][a-z]+)?)(?:['\u2019]s|s['\u2019])?"
    r"(?:[ -]([A-Z][a-z\u00e0-\u00ff]{2,})(?:['\u2019]s)?)?(?:[ -]([A-Z][a-z\u00e0-\u00ff]{2,})(?:['\u2019]s)?)?"
    rf"[ -](?:{EPONYM_NOUNS})\b"
)


def fold(word: str) -> str:
    """Return a word in lower case, without accents and apostrophes, as the lists have it."""
    decomposed = unicodedata.normalize("NFKD", word.lower().translate(SPECIAL))
    return "".join(c for c in decomposed if not unicodedata.combining(c)).translate(SPECIAL)


def read_list(path: Path) -> list[str]:
    """Return the lines of a list that are no comments."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    return [line for line in lines if line and not line.startswith("#")]


HEADS = {
    "whitelist_lower.txt": "Ordinary and medical words that public medical texts write in lower case.",
    "whitelist_capital.txt": "Drugs, eponyms, organisms, institutions: words that medical texts write with a capital.",
    "abbreviations.txt": "Abbreviations of medical texts and clinical notes, with their capitals.",
    "eponyms.txt": "Persons' names that are part of medical terms.",
    "names_given.txt": "Given names of many origins, without those in ambiguous_names.txt.",
    "names_surname.txt": "Surnames of many origins, without those in ambiguous_names.txt.",
    "ambiguous_names.txt": "Given names and surnames that are also words of whitelist_lower.txt or words_en.txt.",
    "towns.txt": "Towns: from 5,000 people in English- and German-speaking countries, from 50,000 elsewhere.",
    "words_en.txt": "English words of a spelling dictionary that are not in whitelist_lower.txt.",
    "ambiguous_names_de.txt": "Given names and surnames that are also German words.",
    "whitelist_de.txt": "German words and parts of compounds.",
}


def write_list(name: str, words: Iterable[str], folder: Path = LISTS) -> None:
    """Write a list with its head, sorted."""
    case = "" if name == "abbreviations.txt" else " Lower case, without accents and apostrophes."
    lines = [f"# {HEADS[name]}{case} Origin: README.md.", *sorted(set(words)), ""]
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
    """Documents and occurrences of each folded word, by the way it is written."""

    def __init__(self) -> None:
        self.groups: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
        self.occurrences: Counter[tuple[str, str]] = Counter()
        self.spelling: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self.eponyms: defaultdict[str, set[str]] = defaultdict(set)

    def add(self, group: str, text: str) -> None:
        """Count the words of one row."""
        for match in WORD.finditer(text):
            written = re.sub(r"['\u2019]s$", "", match[0])
            for part in {written, *written.split("-")}:
                self._add_word(group, text, match.start(), part)
        for match in EPONYM.finditer(text):
            for name in match.groups():
                if name:
                    self.eponyms[fold(name)].add(group)

    def _add_word(self, group: str, text: str, start: int, part: str) -> None:
        word = fold(part)
        if len(word) < 2 or word.isdigit():
            return
        if part.islower():
            style = "lower"
        elif "-" in part and not any(c.isdigit() for c in part):
            return
        elif sum(c.isupper() for c in part) > 1 or any(c.isdigit() for c in part):
            style = "capitals"
            self.spelling[word][part] += 1
        elif BEGINNING.search(text, max(0, start - 3), start):
            return
        else:
            style = "capital"
        self.groups[word, style].add(group)
        self.occurrences[word, style] += 1


def whitelists(data: Path, names: set[str], own: dict[str, set[str]]) -> dict[str, set[str]]:
    """Return the words of each list."""
    counts = Counts()
    for group, text in documents(data):
        counts.add(group, text)
    words = {word for word, _ in counts.groups}

    def frequent(word: str, style: str) -> bool:
        return len(counts.groups.get((word, style), ())) >= DOCUMENTS

    def share(word: str, style: str) -> float:
        total = sum(counts.occurrences[word, other] for other in ("lower", "capital", "capitals"))
        return counts.occurrences[word, style] / total

    lower = {w for w in words if frequent(w, "lower") and share(w, "lower") >= LOWER_SHARE}
    lower = {w for w in lower if any(c.isalpha() for c in w)}
    eponyms = {
        w for w, groups in counts.eponyms.items() if len(groups) >= 2 and w in names and w not in lower
    }
    eponyms |= own["eponyms"]
    capital = {w for w in words - lower if frequent(w, "capital") and (w not in names or w in eponyms)}
    upper = {
        w for w in words - lower if frequent(w, "capitals") and share(w, "capitals") >= 0.5 and w not in names
    }
    return {
        "whitelist_lower.txt": lower,
        "whitelist_capital.txt": {w for w in capital if w.replace("-", "").isalpha()},
        "abbreviations.txt": {counts.spelling[w].most_common(1)[0][0] for w in upper} | own["abbreviations"],
        "eponyms.txt": eponyms,
    }


def main(data: Path, out: Path = LISTS) -> None:
    """Write the lists."""
    names = {
        name
        for file in ("names_given.txt", "names_surname.txt", "ambiguous_names.txt")
        for name in read_list(LISTS / file)
    }
    own = {
        name: {word for line in read_list(ROOT / f"tools/own_{name}.txt") for word in line.split()}
        for name in ("eponyms", "abbreviations")
    }
    for name, words in whitelists(data, names, own).items():
        write_list(name, words, out)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
