"""Recall of the rules on planted identifiers of every class, and false positives (forms in test_deid_forms.yaml)."""

import datetime
import random
import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pytest
import yaml

from medalpaca_data.deid.evaluate import wilson
from medalpaca_data.deid.find import RULES, find_identifiers, prefilter
from medalpaca_data.deid.replace import replace_identifiers
from medalpaca_data.deid.rules import KINDS

# Texts made of each form.
DRAWS = 12
MONTHS = [f"{datetime.date(2021, month, 1):%B}" for month in range(1, 13)]
WEEKDAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]


@dataclass(frozen=True)
class Planted:
    """A text of one form, and the spans of its identifiers."""

    kind: str
    form: str
    held_out: bool
    text: str
    spans: tuple[tuple[int, int], ...]


def corpus(draws=DRAWS, seed=7):
    """Return texts of every form with exact spans; the forms are independent of the patterns."""
    book = read_forms()
    draw = random.Random(seed)
    return [
        _plant(kind, form, half == "held_out", _values(book, draw))
        for kind, halves in book["forms"].items()
        for half, forms in halves.items()
        for form in forms
        for _ in range(draws)
    ]


def read_forms():
    return yaml.safe_load((Path(__file__).parent / "test_deid_forms.yaml").read_text(encoding="utf-8"))


def _values(book, draw):
    given, surname = draw.choice(book["people"])
    plain = str.maketrans(dict.fromkeys(" '-"))

    def ascii_of(text):
        import unicodedata

        flat = unicodedata.normalize("NFKD", text.translate(plain)).encode("ascii", "ignore").decode().lower()
        return flat or "anna"

    def number(n):
        return str(draw.randrange(10 ** (n - 1), 10**n))

    month, day, year = draw.randrange(1, 13), draw.randrange(1, 29), draw.randrange(1950, 2024)
    letter = draw.choice("ABCDEFGHJKLMNPRSTVWXYZ")
    return {
        "given": given, "surname": surname, "GIVEN": given.upper(), "SURNAME": surname.upper(),
        "given_lower": given.lower(), "given_ascii": ascii_of(given), "surname_ascii": ascii_of(surname),
        "GIVEN_ASCII": ascii_of(given).upper(), "SURNAME_ASCII": ascii_of(surname).upper(),
        "number": number(draw.choice((2, 3, 4))), "street": draw.choice(book["streets"]),
        "city": draw.choice(book["cities"]), "county": draw.choice(book["counties"]),
        "zip": draw.choice(book["zips"]), "state": draw.choice(book["states"]),
        "statename": draw.choice(book["statenames"]), "unit": number(2), "four": number(4), "five": number(5),
        "seven": number(7), "nine": number(9), "d1": number(1), "a": str(draw.randrange(201, 990)),
        "b": str(draw.randrange(201, 990)), "ssn3": str(draw.randrange(101, 660)), "ssn2": number(2),
        "L": letter, "oct": str(draw.randrange(100, 224)), "hex16": f"{draw.randrange(16**15, 16**16):x}",
        "age90": str(draw.randrange(90, 106)), "m": str(month), "mm": f"{month:02}", "d": str(day),
        "dd": f"{day:02}", "Y": str(year), "yy": f"{year % 100:02}", "Month": MONTHS[month - 1],
        "Mon": MONTHS[month - 1][:3], "Weekday": draw.choice(WEEKDAYS),
    }  # fmt: skip


def _plant(kind, form, held_out, values):
    text, spans = "", []
    for part in re.split(r"(<<.*?>>(?!>))", form):
        inner = part.removeprefix("<<").removesuffix(">>") if part.startswith("<<") else part
        filled = re.sub(r"\{(\w+)\}", lambda found: values[found[1]], inner)
        if part.startswith("<<"):
            spans.append((len(text), len(text) + len(filled)))
        text += filled
    return Planted(kind, form, held_out, text, tuple(spans))


def covered(planted, found):
    """Return, for each planted span, whether all its letters and digits are in reported spans."""
    marked = {at for span in found for at in range(span.start, span.end)}
    return [all(at in marked for at in range(*span) if planted.text[at].isalnum()) for span in planted.spans]


def measure(texts):
    """Return (kind, held out) -> [spans, found completely, found as that class], and the number of misses by form."""
    counts, missed = defaultdict(lambda: [0, 0, 0]), defaultdict(int)
    for planted in texts:
        [found] = find_identifiers([planted.text])
        own = [span for span in found if _same(span.kind, planted.kind)]
        for whole, named in zip(covered(planted, found), covered(planted, own), strict=True):
            count = counts[planted.kind, planted.held_out]
            count[0] += 1
            count[1] += whole
            count[2] += named
            missed[planted.form] += not whole
    return counts, missed


def _same(found, planted):
    return found == planted or {found, planted} == {"date", "age"}


def table(texts):
    """Return the measurement as a table."""
    counts, missed = measure(texts)
    lines = [f"{'class':<10} {'forms':<9} {'spans':>6} {'recall':>7}  95 % interval   right class"]
    for (kind, held_out), (spans, whole, named) in counts.items():
        low, high = wilson(whole, spans)
        lines.append(
            f"{KINDS[kind][0]} {kind:<8} {'held out' if held_out else 'open':<9} {spans:>6} {whole / spans:>7.3f}"
            f"  {low:.3f} to {high:.3f}  {named / spans:.3f}"
        )
    lines += [f"missed {n}: {form!r}" for form, n in sorted(missed.items(), key=lambda entry: -entry[1]) if n]
    return "\n".join(lines)


@pytest.fixture(scope="module")
def planted():
    return corpus()


def test_every_class_is_planted(planted):
    letters = {KINDS[text.kind][0] for text in planted}
    assert len(letters) == 18
    for text in planted:
        assert all(text.text[start:end].strip() for start, end in text.spans)


def test_recall_of_every_class(planted):
    """Print the table with `pytest -s`. The forms are synthetic, so recall on real notes can be lower."""
    print("\n" + table(planted))  # noqa: T201
    counts, _ = measure(planted)
    for (kind, _held_out), (spans, whole, named) in counts.items():
        assert whole / spans >= (0.92 if kind in ("name", "place", "date") else 0.97), kind
        assert named / spans >= 0.7, kind


def test_medical_text_is_left_alone():
    negatives = read_forms()["negatives"]
    hits = [text for text in negatives if find_identifiers([text])[0]]
    assert len(hits) * 20 <= len(negatives), hits


def test_every_planted_text_is_clean_after_replacement(planted):
    for n, text in enumerate(planted[::3]):
        done = replace_identifiers([text.text], str(n), bytes(32))
        assert not done.remaining[0], (text.text, done.texts)
        # A new check finds only the shifted dates.
        assert {span.kind for span in find_identifiers(done.texts)[0]} <= {"date"}, (text.text, done.texts)
        for before, after in zip(done.identifiers[0], done.surrogates[0], strict=True):
            assert (
                text.text[before.start : before.end].lower() != done.texts[0][after.start : after.end].lower()
            )


def test_the_prefilter_keeps_every_planted_text_with_a_hit(planted):
    texts = [text.text for text in planted]
    passed = set(prefilter(texts))
    assert not [text for n, text in enumerate(texts) if n not in passed and find_identifiers([text])[0]]


def test_the_rust_engine_accepts_every_prefilter_pattern():
    for rule in RULES:
        assert pl.Series(["x"]).str.contains(rule.prefilter, strict=True).to_list() in ([True], [False]), (
            rule.name
        )


@pytest.mark.parametrize(
    ("text", "found"),
    [
        # The verb after the name is no part of a medical term, although "fever" ends one ("Lassa fever").
        ("Mr. Smith has fever", ["Smith"]),
        ("Dr. Smith with pneumonia syndrome", ["Smith"]),
        ("Patient name: J S", ["J S"]),
        ("Dr Lassa haemorrhagic fever", []),
        ("Product name: A B", []),
    ],
)
def test_names_before_words_that_end_medical_terms_and_initials(text, found):
    assert [text[span.start : span.end] for span in find_identifiers([text])[0]] == found


@pytest.mark.parametrize(
    ("file", "key", "most"),
    [
        ("wikidoc_patient_info/medical_meadow_small.json", "output", 20),
        ("medical_meadow_original/medical_meadow_health_advice.json", "input", 15),
        ("medical_meadow_original/medical_meadow_pubmed_causal.json", "input", 15),
    ],
)
def test_hits_in_public_text_are_few(real, file, key, most):
    """Per 1,000 rows, 6 to 16 were measured, most of them real names, dates and towns of public life."""
    import json

    texts = [row[key] for row in json.loads((real / file).read_text(encoding="utf-8"))]
    hits = sum(len(find_identifiers([texts[n]])[0]) for n in prefilter(texts))
    assert hits * 1000 <= most * len(texts)
