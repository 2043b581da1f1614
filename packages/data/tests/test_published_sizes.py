"""The recipe of 2023 on generated raw files: original layouts, published numbers of records."""

import json
import random
import sqlite3
import zipfile
from collections.abc import Iterator
from html import escape
from pathlib import Path

import py7zr
import pytest
from rich.console import Console

from medalpaca_data.build import build
from medalpaca_data.recipe import load_recipe
from medalpaca_data.show import show_build

ANSWERS = {"academia": 39_633, "biology": 7_482, "fitness": 3_026, "health": 1_428, "bioinformatics": 906}
CARDS, SECTIONS, PATIENT_ROWS = 33_955, 67_704, 5_942
PUBLISHED = [CARDS, *ANSWERS.values(), SECTIONS, PATIENT_ROWS]
HEADINGS = ("Causes", "Diagnosis", "Treatment", "Epidemiology")


class Prose:
    """Sentences of random pseudo-words, of which no two are similar."""

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(seed)
        syllables = [
            "car", "neph", "hep", "der", "pul", "gas", "ost", "my", "ther", "cyt", "lip", "vas", "lym", "tox"
        ]  # fmt: skip
        self._words = [
            "".join(self._rng.choices(syllables, k=self._rng.randint(2, 4))) for _ in range(30_000)
        ]

    def sentence(self, words: int) -> str:
        return " ".join(self._rng.choices(self._words, k=words)).capitalize() + "."


def write_deck(path: Path, prose: Prose) -> None:
    """Write an .apkg in the oldest format of Anki."""
    database = path.with_suffix(".db")
    connection = sqlite3.connect(database)
    connection.executescript(
        "CREATE TABLE col (id, models, decks); CREATE TABLE notes (id, guid, mid, flds);"
        "CREATE TABLE cards (id, nid, did, ord);"
    )
    template = {"qfmt": "{{Front}}", "afmt": "{{FrontSide}}<hr id=answer>{{Back}}"}
    model = {"name": "Basic", "type": 0, "flds": [{"name": "Front"}, {"name": "Back"}], "tmpls": [template]}
    decks = {"1": {"name": "Medicine"}}
    connection.execute("INSERT INTO col VALUES (1, ?, ?)", (json.dumps({"5": model}), json.dumps(decks)))
    for n in range(CARDS):
        fields = f"<b>{prose.sentence(9)[:-1]}?</b>\x1f{prose.sentence(7)}"
        connection.execute("INSERT INTO notes VALUES (?, ?, 5, ?)", (n, f"g{n}", fields))
        connection.execute("INSERT INTO cards VALUES (?, ?, 1, 0)", (n, n))
    connection.commit()
    connection.close()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as package:
        package.write(database, "collection.anki2")
        package.writestr("media", "{}")
    database.unlink()


def posts(count: int, prose: Prose) -> Iterator[str]:
    """Yield a `Posts.xml`: `count` questions, `count` answers with 5 votes, and half as many with 2."""
    yield '<?xml version="1.0" encoding="utf-8"?>\n<posts>\n'
    number = 0
    for n in range(count):
        question = number = number + 1
        body = escape(f"<p>{prose.sentence(20)}</p>")
        yield (
            f'<row Id="{question}" PostTypeId="1" CreationDate="2017-01-01T00:00:00.000" Score="1" Body="{body}" '
            f'OwnerUserId="7" Title="{prose.sentence(8)}" Tags="&lt;a&gt;" />\n'
        )
        for score in (5, 2)[: 1 + n % 2]:
            number += 1
            body = escape(f"<p>{prose.sentence(25)}</p><ul><li>{prose.sentence(5)}</li></ul>")
            yield (
                f'<row Id="{number}" PostTypeId="2" ParentId="{question}" CreationDate="2017-01-02T00:00:00.000" '
                f'Score="{score}" Body="{body}" OwnerUserId="8" />\n'
            )
    yield "</posts>\n"


def write_wiki(path: Path, prose: Prose) -> None:
    """Write a MediaWiki export with four sections per page."""
    with path.open("w") as file:
        file.write('<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.10/">\n')
        for page in range(SECTIONS // len(HEADINGS)):
            sections = "\n".join(f"== {heading} ==\n'''{prose.sentence(30)}'''" for heading in HEADINGS)
            title = prose.sentence(2)[:-1]
            file.write(
                f"<page><title>{title} {page}</title><ns>0</ns><id>{page}</id><revision><id>{page}</id>"
                f"<text>{sections}</text></revision></page>\n"
            )
        file.write("</mediawiki>\n")


@pytest.mark.slow
def test_the_2023_recipe_gives_the_published_count(tmp_path, monkeypatch, capsys):
    raw = tmp_path / "raw"
    raw.mkdir()
    prose = Prose(1)
    (raw / "anki").mkdir()
    write_deck(raw / "anki" / "medicine.apkg", prose)
    for site, count in ANSWERS.items():
        file = tmp_path / "Posts.xml"
        file.write_text("".join(posts(count, prose)))
        with py7zr.SevenZipFile(raw / f"{site}.stackexchange.com.7z", "w") as archive:
            archive.write(file, "Posts.xml")
    write_wiki(raw / "wikidoc.xml", prose)
    rows = [
        {
            "instruction": "Answer this question truthfully",
            "input": f"What are the symptoms of {prose.sentence(3)[:-1]} {n}?",
            "output": prose.sentence(40),
        }
        for n in range(PATIENT_ROWS)
    ]
    (raw / "medical_meadow_small.json").write_text(json.dumps(rows))

    monkeypatch.chdir(tmp_path)
    # No language detector knows pseudo-words.
    recipe, root = load_recipe("medical_meadow_2023", ["language=null"])
    built = build(recipe, root, tmp_path / "out")
    with capsys.disabled():
        show_build(built, Console(width=100))

    *parts, refused = built.ledger["sources"]
    assert [part["published"] for part in parts] == PUBLISHED
    assert [part["stages"][0]["kept"] for part in parts] == PUBLISHED
    assert sum(part["stages"][0]["kept"] for part in parts) == 160_076
    assert (refused["name"], refused["published"], refused["read"]) == ("mmmlu", 3_787, 0)
    assert all(part["read"] == part["kept"] + part["rejected"] for part in parts)
