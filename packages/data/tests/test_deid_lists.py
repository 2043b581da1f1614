"""Lists of the de-identification: their form, their counts in the README, and that the whitelists can be made again."""

from __future__ import annotations

import importlib.util
import re
from functools import cache
from importlib.resources import files
from pathlib import Path
from types import ModuleType

import pytest

LISTS = Path(str(files("medalpaca_data.deid").joinpath("lists")))
TOOLS = Path(__file__).parents[3] / "tools"
NAMES = Path(__file__).parent / "deid_names"
ORIGINS = ("african", "arabic_turkish", "east_asian", "english", "hispanic", "south_asian")
COUNT = re.compile(r"^\| (\w+\.txt) \|.*?\| ([\d,]+) \|", re.MULTILINE)
# The most common surnames of the US, Germany, India, Vietnam, Nigeria and Spain that are no ordinary words.
SURNAMES = re.findall(
    r"\w+",
    "smith johnson williams jones garcia miller davis rodriguez martinez hernandez lopez gonzalez anderson "
    "thomas taylor moore jackson martin lee perez thompson harris sanchez clark ramirez lewis robinson walker "
    "nguyen flores adams nelson baker rivera campbell mitchell carter roberts gomez phillips evans turner "
    "diaz parker cruz edwards collins reyes stewart morris morales murphy rogers gutierrez ortiz morgan "
    "cooper peterson kelly ramos patel sharma singh kumar khan ahmed okafor mensah mueller schmidt fischer "
    "meyer schulz hoffmann tran pham chen wang zhang kowalski yilmaz ivanov",
)


def entries(path: Path) -> list[str]:
    return [line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]


@cache
def tool(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, TOOLS / f"{name}.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def files_of_lists() -> list[str]:
    return sorted(path.name for path in LISTS.glob("*.txt"))


@pytest.mark.parametrize("name", files_of_lists())
def test_a_list_is_sorted_and_without_duplicates(name):
    lines = entries(LISTS / name)
    assert lines
    assert lines == sorted(set(lines))
    assert all(line == " ".join(line.split()) for line in lines)


@pytest.mark.parametrize("name", sorted(set(files_of_lists()) - {"abbreviations.txt"}))
def test_a_list_is_folded(name):
    fold = tool("make_whitelist").fold
    assert [line for line in entries(LISTS / name) if fold(line) != line] == []


def test_the_readme_counts_every_list():
    readme = (LISTS / "README.md").read_text(encoding="utf-8")
    counts = {name: int(count.replace(",", "")) for name, count in COUNT.findall(readme)}
    assert counts == {name: len(entries(LISTS / name)) for name in files_of_lists()}


def test_all_lists_are_small():
    assert sum(path.stat().st_size for path in LISTS.iterdir()) < 2_500_000


def test_common_surnames_are_listed_and_no_whitelist_holds_them():
    surnames = set(entries(LISTS / "names_surname.txt"))
    eponyms = set(entries(LISTS / "eponyms.txt"))
    assert set(SURNAMES) <= surnames
    for name in ("whitelist_lower.txt", "words_en.txt", "terms_capital.txt", "whitelist_de.txt"):
        assert set(SURNAMES) & set(entries(LISTS / name)) == set()
    assert set(SURNAMES) & set(entries(LISTS / "whitelist_capital.txt")) <= eponyms


def test_ambiguous_names_are_words_and_in_no_other_list_of_names():
    ambiguous = set(entries(LISTS / "ambiguous_names.txt"))
    words = set(entries(LISTS / "whitelist_lower.txt")) | set(entries(LISTS / "words_en.txt"))
    names = set(entries(LISTS / "names_given.txt")) | set(entries(LISTS / "names_surname.txt"))
    assert {"young", "long", "rose", "will", "brown"} <= ambiguous <= words
    assert ambiguous & names == set()


@pytest.mark.parametrize("origin", ORIGINS)
def test_names_of_each_origin(origin):
    names = entries(NAMES / f"{origin}.txt")
    listed = set(entries(LISTS / "names_surname.txt")) | set(entries(LISTS / "names_given.txt"))
    assert len(names) == len(set(names)) >= 2_000
    assert all(len(name.split()) == 2 and name.istitle() for name in names)
    share = sum(name.split()[1].lower() in listed for name in names) / len(names)
    assert 0.4 <= share <= 0.6


@pytest.mark.slow
def test_the_whitelists_can_be_made_again(real, tmp_path):
    if not (real / "medquad").is_dir() or not (real / "pubmedqa").is_dir():
        pytest.skip("no real MedQuAD and PubMedQA: set MEDALPACA_SHARED")
    tool("make_whitelist").main(real, tmp_path)
    made = sorted(tmp_path.iterdir())
    assert [path.name for path in made] == [
        "abbreviations.txt",
        "eponyms.txt",
        "whitelist_capital.txt",
        "whitelist_lower.txt",
    ]
    for path in made:
        assert path.read_bytes() == (LISTS / path.name).read_bytes()
