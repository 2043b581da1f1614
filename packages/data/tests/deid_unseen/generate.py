"""Draw the unseen de-identification notes from the templates beside this file.

The thirty templates (twenty English, ten German) and the word pools were written from the case README alone
(`cases/deid/README.md`: span format and kinds), before the first score, without sight of the detector, of its word
lists or of the notes that the README describes. Every name, place, number and date is invented or drawn at random.

A template has a header (`key: value` lines up to a line `---`) and a body with placeholders `{{kind:source}}`:

* `kind` is the span kind of the README, written to the note as it stands.
* `source` is a key, for some an index `|n` (a second, different draw) and a form after a dot: `p.last_first` is the
  patient as "Last, First", `d+4.num` is the fourth day after the base date in numerals, `town|2` is a second town.
* A `reldate` may carry an offset too: `dm+6` is day and month of the sixth day after the base date.
* `~PATTERN` draws a number: `#` is a digit, `@` a capital letter, everything else stands for itself.

The header line `people` lists keys with sex (`p=F`), optionally the person whose surname is shared (`r=M/p`) and the
origin of the name (`p=F@indian`). `age` gives the age (or range) behind the date of birth.

What the README leaves open was decided as follows. A title ("Dr.", "Mrs") stays outside the span. Weekdays, months
and holidays are `reldate`; times of day, durations, post-operative days and follow-up intervals are no identifiers.
Street, postcode and town of an address are separate spans. Words such as "today" or "yesterday", bare years, states
and countries are avoided. Generic ward, theatre and chair numbers carry no span.

Usage: `python generate.py [--seed 0] [--draws 3] [--out notes.jsonl]`
"""

import argparse
import datetime as dt
import json
import random
import re
import sys
import unicodedata
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent
PLACEHOLDER = re.compile(r"\{\{(\w+):([^}]+)\}\}")
NAME_ORIGINS = (
    "english", "irish", "indian", "nigerian", "german", "turkish", "polish", "hispanic", "chinese", "arabic",
    "vietnamese",
)  # fmt: skip
LOCAL_ORIGINS = {
    "us": ("english", "hispanic"),
    "uk": ("english",),
    "ie": ("irish",),
    "in": ("indian",),
    "ng": ("nigerian",),
    "de": ("german",),
}
LOCAL_SHARE = 0.4
COMPOSED_SHARE = 0.4

MONTHS_EN = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
]
MONTHS_DE = [
    "Januar",
    "Februar",
    "März",
    "April",
    "Mai",
    "Juni",
    "Juli",
    "August",
    "September",
    "Oktober",
    "November",
    "Dezember",
]
DAYS_EN = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
DAYS_EN_SHORT = ["Mon", "Tues", "Wed", "Thurs", "Fri", "Sat", "Sun"]
DAYS_DE = ["Montag", "Dienstag", "Mittwoch", "Donnerstag", "Freitag", "Samstag", "Sonntag"]
HOLIDAYS = {
    "us": (
        "Thanksgiving",
        "Labor Day",
        "Memorial Day",
        "Christmas Eve",
        "Halloween",
        "Mother's Day",
        "Easter",
    ),
    "uk": ("Easter", "Christmas", "New Year", "Boxing Day", "Whitsun"),
    "ie": ("Easter", "Christmas", "St Patrick's Day", "Halloween"),
    "in": ("Diwali", "Onam", "Pongal", "Holi", "Dussehra", "Eid", "Christmas"),
    "ng": ("Sallah", "Easter", "Christmas", "Eid-el-Kabir"),
    "de": ("Weihnachten", "Ostern", "Pfingsten", "Silvester"),
}

# Date formats: strftime plus {d}, {m} (no leading zero), {y} (two digits), {B}, {b} (month), {th} (English ordinal).
DATE_ANY = {
    "us": ("%m/%d/%Y", "{B} {d}, %Y", "{b} {d}, %Y", "%m-%d-%Y", "{m}/{d}/{y}", "%Y-%m-%d"),
    "uk": ("%d/%m/%Y", "{d} {B} %Y", "%d-{b}-%Y", "{th} {B} %Y", "%d.%m.{y}"),
    "ie": ("%d/%m/%Y", "{d} {B} %Y", "{d} {b} {y}", "{th} {B} %Y", "%d.%m.{y}"),
    "in": ("%d/%m/%Y", "%d-%m-%Y", "%d-{b}-%Y", "{d} {B} %Y", "%d-{b}-{y}"),
    "ng": ("%d/%m/%Y", "{th} {B}, %Y", "{d}/{m}/{y}", "{th} of {B}, %Y"),
    "de": ("%d.%m.%Y", "{d}. {B} %Y", "{d}.{m}.%Y", "%d.%m.{y}"),
}
DATE_NUMERIC = {
    "us": ("%m/%d/%Y", "%m/%d/{y}", "{m}/{d}/{y}", "%Y-%m-%d"),
    "uk": ("%d/%m/%Y", "%d/%m/{y}", "%d.%m.{y}", "{d}/{m}/{y}"),
    "ie": ("%d/%m/%Y", "%d/%m/{y}", "{d}.{m}.{y}"),
    "in": ("%d/%m/%Y", "%d-%m-%Y", "%d-%m-{y}"),
    "ng": ("%d/%m/%Y", "{d}/{m}/{y}", "%d-%m-%Y"),
    "de": ("%d.%m.%Y", "%d.%m.{y}", "{d}.{m}.{y}"),
}

STREET_STEMS = {
    "us": "Maple Linden Jefferson Sycamore Hawthorne Prospect Lakeview Monroe Orchard Willow Cherry Franklin",
    "uk": "Church Mill Station Chapel Priory Albert Victoria Meadow Tanyard Beech Cromwell Foundry",
    "ie": "Abbey Chapel Castle Mill Emmet Parnell Convent Ashfield Marian Bridge Quay Fairgreen",
    "in": "Gandhi Temple Nehru Station Tilak Lake Market Bazaar Patel Vivekananda Ashram Subhash",
    "ng": "Adeola Okigwe Azikiwe Ahmadu Market Palace Mission Ogui Herbert Awolowo Hospital Station",
    "de": "Linden Bahnhof Garten Mühlen Schiller Kirch Berg Wiesen Goethe Schul Birken Ring",
}
SAINTS = {
    "us": ("St. Luke's", "St. Agnes", "St. Vincent", "Holy Cross", "Good Samaritan", "Mount Carmel"),
    "uk": ("St Oswald's", "St Hilda's", "St Cuthbert's", "St Margaret's", "St Edmund's"),
    "ie": ("St Brigid's", "St Finbarr's", "St Ita's", "St Colman's", "Mount Sorrel"),
    "in": ("Sanjeevani", "Dhanvantari", "Arogya", "Jeevan Jyothi", "Sri Sai", "St Thomas"),
    "ng": ("Sacred Heart", "St Gerard's", "Divine Mercy", "Rahama", "Holy Rosary"),
    "de": ("St.-Josef", "St.-Elisabeth", "Marien", "St.-Vinzenz", "Diakonissen", "Lukas"),
}
HOSPITALS = {
    "us": ("{saint} Medical Center", "{town} Regional Medical Center", "{last} Memorial Hospital", "{saint} Hospital",
           "{town} Community Hospital"),
    "uk": ("{town} General Hospital", "Royal {town} Infirmary", "{saint} Hospital", "{last} Community Hospital"),
    "ie": ("{town} University Hospital", "{saint} Hospital", "Our Lady's Hospital, {town}", "{town} General Hospital"),
    "in": ("{saint} Multispeciality Hospital", "{last} Memorial Hospital", "{town} Medical College Hospital",
           "{saint} Nursing Home"),
    "ng": ("{town} Teaching Hospital", "Federal Medical Centre, {town}", "{saint} Specialist Hospital",
           "General Hospital, {town}"),
    "de": ("Klinikum {town}", "{saint}-Krankenhaus", "Evangelisches Krankenhaus {town}", "{last}-Klinik {town}",
           "{saint}-Hospital {town}"),
}  # fmt: skip
FACILITIES = {
    ("clinic", "us"): ("{last} Heart Clinic", "{town} Family Medicine", "{saint} Outpatient Clinic"),
    ("clinic", "ie"): ("{town} Medical Centre", "{street} Street Surgery", "{last} Family Practice"),
    ("clinic", "de"): ("MVZ {town}", "Diagnostikzentrum {last}", "Praxisklinik {town}"),
    ("ward", "uk"): ("{last} Ward", "{tree} Ward", "{saint} Ward"),
    ("ward", "de"): ("Station {last}", "Station {saint}"),
    ("carehome", "uk"): (
        "{tree} Lodge",
        "{last} House Nursing Home",
        "{town} Grange",
        "The {tree}s Care Home",
    ),
    ("carehome", "de"): ("Seniorenresidenz {town}", "Haus {last}", "Pflegezentrum {saint}", "{saint}-Stift"),
    ("lab", "in"): ("{last} Diagnostics", "{saint} Path Labs", "{town} Clinical Laboratory"),
    ("dental", "us"): ("{last} Dental Care", "{town} Family Dental", "{tree} Street Dental"),
    ("reha", "de"): ("Reha-Klinik {town}", "Fachklinik {last}", "Rehazentrum {saint} {town}"),
}
EMPLOYERS = {
    "us": ("{last} Freight Lines", "{town} Tool & Die", "{last} & Sons Roofing", "{last} Foods"),
    "uk": ("{last} Biscuits Ltd", "{town} Carpets", "{last} & Son", "{last} Hosiery"),
    "ie": ("{last} Woollen Mills", "{town} Textiles", "{last} Bros Joinery", "{last} Engineering Ltd"),
    "in": ("{last} Textiles", "{last} Auto Works", "{town} Sugar Mills", "{last} Steels Pvt Ltd"),
    "ng": ("{last} Transport Ltd", "{town} Cement Company", "{last} & Sons Motors", "{last} Flour Mills"),
    "de": ("{last} Logistik GmbH", "{last} & Söhne", "Textilwerke {town}", "{last} Bau KG"),
}
TREES = ("Beech", "Cedar", "Hawthorn", "Juniper", "Larch", "Rowan", "Willow", "Chestnut")
HANDLE_WORDS = [
    "quiet",
    "river",
    "paper",
    "copper",
    "north",
    "lantern",
    "gravel",
    "otter",
    "velvet",
    "harbor",
    "pine",
    "comet",
    "tin",
    "meadow",
]
ORDINALS = [
    "first",
    "second",
    "third",
    "fourth",
    "fifth",
    "sixth",
    "seventh",
    "eighth",
    "ninth",
    "tenth",
    "eleventh",
    "twelfth",
    "thirteenth",
    "fourteenth",
    "fifteenth",
    "sixteenth",
    "seventeenth",
    "eighteenth",
    "nineteenth",
    "twentieth",
    "twenty-first",
    "twenty-second",
    "twenty-third",
    "twenty-fourth",
    "twenty-fifth",
    "twenty-sixth",
    "twenty-seventh",
    "twenty-eighth",
    "twenty-ninth",
    "thirtieth",
    "thirty-first",
]
DIGIT_WORDS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
NUMBER_WORDS = {10: "ten", 19: "nineteen"}
PHONES = {
    ("tel", "us"): ("($$$) 555-01##", "$$$-555-01##", "$$$.555.01##"),
    ("tel", "uk"): ("01632 960###", "020 7946 0###", "0117 496 0###"),
    ("tel", "ie"): ("01 555 ####", "(021) 555 ####", "091-55####"),
    ("tel", "in"): ("0$$-2###-####", "0$$$-2######"),
    ("tel", "ng"): ("080$ ### ####", "+234 80$ ### ####"),
    ("tel", "de"): ("0$$$ $#####", "0$$$/$#####-##", "+49 $$$ $######", "(0$$$$) $####"),
    ("mobile", "us"): ("$$$-555-01##",),
    ("mobile", "uk"): ("07700 900###", "07700900###", "+44 7700 900###"),
    ("mobile", "ie"): ("087 ### ####", "085-#######", "+353 86 ### ####"),
    ("mobile", "in"): ("+91 98### #####", "97########", "98###-#####"),
    ("mobile", "ng"): ("080$ ### ####", "0703#######", "+234 80$ ### ####"),
    ("mobile", "de"): ("0171 $######", "0151/$#######", "+49 160 $######", "0176-$#######"),
}


def load_pool(path: Path) -> dict[str, list[str]]:
    """Read one pool file: `key: word word`, an underscore inside a word standing for a blank."""
    pool: dict[str, list[str]] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        key, _, words = line.partition(":")
        pool[key] = [word.replace("_", " ") for word in words.split()]
    return pool


ORIGIN_POOLS = {origin: load_pool(HERE / "pools" / f"{origin}.txt") for origin in NAME_ORIGINS}
PLACES = load_pool(HERE / "pools" / "places.txt")


@dataclass(frozen=True)
class Person:
    """An invented person."""

    first: str
    last: str
    female: bool
    middle: str


@dataclass
class Template:
    """A template file: header fields and body."""

    name: str
    header: dict[str, str]
    body: str


@dataclass
class Note:
    """The text of one draw and its spans."""

    text: str = ""
    spans: list[tuple[int, int, str]] = field(default_factory=list)
    inserted: list[str] = field(default_factory=list)


def load_templates() -> list[Template]:
    """Read all template files in alphabetical order."""
    templates = []
    for path in sorted((HERE / "templates").glob("*.txt")):
        head, _, body = path.read_text(encoding="utf-8").partition("\n---\n")
        header = dict(line.split(": ", 1) for line in head.splitlines())
        templates.append(Template(path.stem, header, body.rstrip("\n")))
    return templates


def ascii_fold(text: str) -> str:
    """Lower-case ASCII letters and digits of a name, for addresses and handles."""
    table = str.maketrans({"ł": "l", "\u0131": "i", "đ": "d", "ß": "ss", "ä": "ae", "ö": "oe", "ü": "ue"})
    plain = unicodedata.normalize("NFKD", text.lower().translate(table)).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9]", "", plain)


def luhn_digit(digits: str) -> str:
    """The Luhn check digit that completes `digits`."""
    total = 0
    for index, char in enumerate(reversed(digits)):
        value = int(char) * (2 if index % 2 == 0 else 1)
        total += value - 9 if value > 9 else value
    return str(-total % 10)


def verhoeff_digit(digits: str) -> str:
    """The Verhoeff check digit that completes `digits`."""
    permute = (1, 5, 7, 6, 2, 8, 3, 0, 9, 4)

    def multiply(a: int, b: int) -> int:
        if a < 5:
            return (a + b) % 5 if b < 5 else 5 + (a + b) % 5
        return 5 + (a - b) % 5 if b < 5 else (a - b) % 5

    check = 0
    for index, char in enumerate(reversed(digits)):
        value = int(char)
        for _ in range((index + 1) % 8):
            value = permute[value]
        check = multiply(check, value)
    return str((0, 4, 3, 2, 1, 5, 6, 7, 8, 9)[check])


class Drawer:
    """All random values of one note; the same source gives the same value within the note."""

    def __init__(self, rng: random.Random, template: Template) -> None:
        self.rng = rng
        self.region = template.header["region"]
        self.german = template.header["language"] == "de"
        self.cache: dict[str, str] = {}
        self.base = dt.date(2019, 1, 15) + dt.timedelta(days=rng.randrange(2400))
        youngest, _, oldest = template.header.get("age", "24-79").partition("-")
        age = rng.randint(int(youngest), int(oldest or youngest))
        self.old_age = age if age > 89 else rng.randint(90, 101)
        self.dob = self.base - dt.timedelta(days=int(age * 365.25) + rng.randint(20, 340))
        self.people: dict[str, Person] = {}
        for entry in template.header["people"].split():
            key, _, spec = entry.partition("=")
            self.people[key] = self.draw_person(spec)

    # -- people -----------------------------------------------------------------------------------------------------

    def draw_origin(self) -> str:
        if self.rng.random() < LOCAL_SHARE:
            return self.rng.choice(LOCAL_ORIGINS[self.region])
        return self.rng.choice(NAME_ORIGINS)

    def draw_surname(self, origin: str) -> str:
        pool = ORIGIN_POOLS[origin]
        composable = pool["surname_a"] and pool["surname_b"]
        if composable and self.rng.random() < COMPOSED_SHARE:
            front, end = self.rng.choice(pool["surname_a"]), self.rng.choice(pool["surname_b"])
            return front + end if front.lower() != end else self.draw_surname(origin)
        surname = self.rng.choice(pool["surname"])
        if origin == "hispanic" and self.rng.random() < 0.2:
            surname += f" {self.rng.choice(pool['surname'])}"
        elif origin == "german" and self.rng.random() < 0.1:
            surname += f"-{self.rng.choice(pool['surname'])}"
        return surname

    def draw_person(self, spec: str) -> Person:
        head, _, shared = spec.partition("/")
        sex, _, wanted = head.partition("@")
        origin = wanted or self.draw_origin()
        pool = ORIGIN_POOLS[origin]
        female = sex == "F"
        first = self.rng.choice(pool["female" if female else "male"])
        if origin == "german" and self.rng.random() < 0.1:
            first += f"-{self.rng.choice(pool['female' if female else 'male'])}"
        last = self.draw_surname(origin)
        if shared:
            relative = self.people[shared]
            last = relative.last
            if female != relative.female:
                last = re.sub("ska$", "ski", last)
        if female and last.endswith("ski"):
            last = last[:-1] + "a"
        return Person(first, last, female, self.rng.choice("ABCDEFGHJKLMNPRST"))

    def person_form(self, person: Person, form: str) -> tuple[str, str]:
        """The title that stays outside the span, and the name in the wanted form."""
        first, last = person.first, person.last
        full = f"{first} {last}"
        if form == "dr_full":
            return ("Dr. " if self.region in ("de", "us", "in") else "Dr "), full
        if form == "title_full":
            titles = {"ie": ("Ms ", "Mr "), "in": ("Mrs. ", "Mr. "), "ng": ("Mrs ", "Mr ")}[self.region]
            return titles[0 if person.female else 1], full
        if form == "init_last":
            return "", self.rng.choice((f"{first[0]}. {last}", f"{first[0]} {last}"))
        if form == "upper_last_first":
            return "", self.rng.choice(
                (f"{last.upper()}, {first}", f"{last.upper()} {first}", f"{last}, {first}".upper())
            )
        forms = {
            "full": full,
            "first": first,
            "last": last,
            "last_first": f"{last}, {first}",
            "full_mi": f"{first} {person.middle}. {last}",
            "upper": full.upper(),
            "upper_last": last.upper(),
            "upper_first": first.upper(),
            "lower": full.lower(),
            "lower_last": last.lower(),
            "lower_first": first.lower(),
            "initials": f"{first[0]}{last[0]}",
            "initials_dots": f"{first[0]}.{last[0]}.",
            "hl7": f"{last}^{first}^{person.middle}".upper(),
        }
        return "", forms[form]

    # -- dates ------------------------------------------------------------------------------------------------------

    def format_date(self, day: dt.date, pattern: str) -> str:
        month = (MONTHS_DE if self.german else MONTHS_EN)[day.month - 1]
        text = (
            pattern.replace("%Y", str(day.year))
            .replace("%m", f"{day.month:02}")
            .replace("%d", f"{day.day:02}")
        )
        return text.format(
            d=day.day, m=day.month, y=f"{day.year % 100:02}", B=month, b=month[:3], th=ordinal(day.day)
        )

    def once(self, key: str, choices: tuple[str, ...] | list[str]) -> str:
        """One choice, kept for the rest of the note."""
        if key not in self.cache:
            self.cache[key] = self.rng.choice(choices)
        return self.cache[key]

    def date(self, key: str, form: str) -> str:
        day = self.dob if key == "dob" else self.base + dt.timedelta(days=int(key[1:]))
        region = self.region
        if form == "hl7":
            return f"{day:%Y%m%d}"
        if form == "hl7ts":
            return f"{day:%Y%m%d}{self.rng.randint(0, 23):02}{self.rng.randint(0, 59):02}"
        if form == "long":
            return self.format_date(day, "{B} {d}, %Y" if region == "us" else "{th} {B}, %Y")
        if form == "long_lower":
            year = f"twenty {spell(day.year % 100)}"
            return f"{MONTHS_EN[day.month - 1].lower()} {ORDINALS[day.day - 1]} {year}"
        if form == "short":
            return self.format_date(day, self.once("fmt:short", ("{d}/{m}/{y}", "{d} {b} {y}", "%d.%m.{y}")))
        if form == "num":
            return self.format_date(day, self.once("fmt:num", DATE_NUMERIC[region]))
        return self.format_date(day, self.once("fmt:any", DATE_ANY[region]))

    def reldate(self, key: str) -> str:
        rng = self.rng
        key, offset, _ = re.split(r"((?:[+-]\d+)?)$", key, maxsplit=1)
        day = self.base + dt.timedelta(days=int(offset or 0))
        months = MONTHS_DE if self.german else MONTHS_EN
        weekday = rng.randrange(7)
        if key == "day":
            if self.german:
                return DAYS_DE[weekday] + rng.choice(("", "", "morgen", "vormittag"))
            return rng.choice((DAYS_EN[weekday], DAYS_EN_SHORT[weekday]))
        if key == "lastday":
            if self.german:
                return f"{rng.choice(('letzten', 'vergangenen'))} {DAYS_DE[weekday]}"
            return f"last {rng.choice((DAYS_EN[weekday], DAYS_EN_SHORT[weekday]))}"
        if key == "md":
            return f"{day.month}/{day.day}" if self.region == "us" else f"{day.day}/{day.month}"
        if key == "dm":
            return rng.choice((f"{day:%d.%m.}", f"{day.day}.{day.month}."))
        if key.startswith("month") and key != "month_year":
            lead = "" if self.german else rng.choice(("", "early ", "mid-", "late "))
            month = lead + rng.choice(months)
            return month.lower() if key.endswith("lower") else month
        if key == "month_year":
            past = self.base - dt.timedelta(days=rng.randint(200, 1500))
            month = months[past.month - 1]
            return rng.choice((f"{month} {past.year}", f"{past:%m}/{past.year}", f"{month} {past.year}"))
        if key == "nth":
            return ordinal(day.day)
        if key.startswith("holiday"):
            holiday = rng.choice(HOLIDAYS[self.region])
            return holiday.lower() if key.endswith("lower") else holiday
        raise KeyError(key)

    # -- places -----------------------------------------------------------------------------------------------------

    def town(self) -> str:
        region = self.region
        if self.rng.random() < 0.35:
            return self.rng.choice(PLACES[f"{region}_a"]) + self.rng.choice(PLACES[f"{region}_b"])
        return self.rng.choice(PLACES[region])

    def street(self) -> str:
        rng, stem = self.rng, self.rng.choice(STREET_STEMS[self.region].split())
        number = rng.randint(1, 180)
        choices = {
            "us": (f"{number * 17} {stem} Ave", f"{number} N {stem} St Apt {number % 9}B", f"{number} {stem} Road"),
            "uk": (f"{number} {stem} Lane", f"Flat {rng.randint(1, 20)}, {number} {stem} Road", f"{number}a {stem} St"),
            "ie": (f"{number} {stem} Court", f"{number} {stem} Road", f"{rng.randint(1, 30)} {stem} Terrace"),
            "in": (f"{number}/{rng.randint(1, 9)}, {stem} Road", f"Flat {number}, {stem} Nagar 2nd Cross",
                   f"H.No. {number}, {stem} Street"),
            "ng": (f"No. {number} {stem} Street", f"{number} {stem} Road", f"Plot {rng.randint(1, 40)}, {stem} Close"),
            "de": (f"{stem}straße {number}", f"{stem}str. {number}{rng.choice('abc')}", f"{stem}weg {number}"),
        }  # fmt: skip
        return rng.choice(choices[self.region])

    def postcode(self) -> str:
        patterns = {
            "us": ("$####", "$####-####"),
            "uk": ("BD# #AH", "NR## #QT", "ML# #XB", "SY## #JD", "TQ# #LP"),
            "ie": ("V94 @#@#", "T12 @##@", "H91 @@##", "P31 @###"),
            "in": ("$#####", "$## ###"),
            "ng": ("$#####",),
            "de": ("$####",),
        }
        return self.pattern(self.rng.choice(patterns[self.region]))

    def compose(self, patterns: tuple[str, ...], town: str = "") -> str:
        local = self.rng.choice(LOCAL_ORIGINS[self.region])
        return self.rng.choice(patterns).format(
            saint=self.rng.choice(SAINTS[self.region]),
            town=town or self.town(),
            last=self.draw_surname(local),
            tree=self.rng.choice(TREES),
            street=self.rng.choice(STREET_STEMS[self.region].split()),
        )

    def facility(self, key: str) -> str:
        if re.fullmatch(r"h\d", key):
            town = self.cache.setdefault("place:town|", self.town()) if key == "h1" else ""
            return self.compose(HOSPITALS[self.region], town)
        return self.compose(FACILITIES[key, self.region])

    # -- numbers and contacts ---------------------------------------------------------------------------------------

    def pattern(self, pattern: str) -> str:
        """Fill `#` (digit), `$` (digit above 1) and `@` (capital letter)."""
        table = {"#": "0123456789", "$": "23456789", "@": "ABCDEFGHJKLMNPRSTUVWXY"}
        return "".join(self.rng.choice(table[char]) if char in table else char for char in pattern)

    def number(self, key: str) -> str:
        """A number with a name of its own, with its check digit where it has one."""
        if key == "nhs":
            return self.nhs_number()
        if key == "chi":
            return f"{self.dob:%d%m%y}{self.pattern('####')}"
        if key == "npi":
            stem = self.pattern("1########")
            return stem + luhn_digit("80840" + stem)
        if key == "aadhaar":
            stem = self.pattern("$##########")
            digits = stem + verhoeff_digit(stem)
            return f"{digits[:4]} {digits[4:8]} {digits[8:]}"
        if key == "kvnr":
            letter = self.pattern("@")
            stem = self.pattern("########")
            digits = f"{ord(letter) - 64:02}{stem}"
            total = sum(sum(map(int, str(int(c) * (1 + i % 2)))) for i, c in enumerate(digits))
            return f"{letter}{stem}{total % 10}"
        if key == "rvnr":
            return (
                f"{self.rng.choice((13, 53, 65))} {self.dob:%d%m%y} {self.pattern('@')} {self.pattern('###')}"
            )
        if key == "pps":
            stem = self.pattern("#######")
            total = sum(int(char) * weight for char, weight in zip(stem, range(8, 1, -1), strict=True))
            return stem + "WABCDEFGHIJKLMNOPQRSTUV"[total % 23]
        if key == "ni":
            lead = self.rng.choice(("JK", "AB", "ST", "WL", "PX"))
            digits = self.pattern(self.rng.choice((" ## ## ## ", "######")))
            return lead + digits + self.rng.choice("ABCD")
        if key in ("us", "us_plain"):
            area, group, serial = (
                self.rng.randint(101, 660),
                self.rng.randint(10, 99),
                self.rng.randint(1000, 9999),
            )
            return f"{area}{group}{serial}" if key == "us_plain" else f"{area}-{group}-{serial}"
        if key == "iban":
            account = self.pattern("$#################")
            check = 98 - int(account + "131400") % 97
            digits = f"DE{check:02}{account}"
            return " ".join(digits[i : i + 4] for i in range(0, len(digits), 4))
        if key == "ukplate":
            return self.pattern("@@$# @@@")
        if key == "ieplate":
            county = self.rng.choice(("D", "C", "G", "KY"))
            return f"{self.rng.randint(14, 24)}{self.rng.randint(1, 2)}-{county}-{self.pattern('$####')}"
        if key == "deplate":
            return f"{self.rng.choice(('HN', 'MS', 'KA', 'TR', 'GÖ', 'B'))}-{self.pattern('@@ $##')}"
        raise KeyError(key)

    def nhs_number(self) -> str:
        while True:
            stem = self.pattern("$########")
            check = (
                11 - sum(int(char) * weight for char, weight in zip(stem, range(10, 1, -1), strict=True)) % 11
            )
            if check != 10:
                digits = stem + str(check % 11)
                return self.rng.choice((digits, f"{digits[:3]} {digits[3:6]} {digits[6:]}"))

    def phone(self, key: str) -> str:
        if key == "hl7":
            return self.pattern("($$$)55501##")
        if key == "ext":
            return self.pattern("$###")
        if key == "bleep":
            return self.pattern("$####" if self.region in ("de", "us") else "$###")
        return self.pattern(self.rng.choice(PHONES[key, self.region]))

    def contact(self, kind: str, key: str) -> str:
        rng = self.rng
        host = f"{ascii_fold(self.town())}.example.{rng.choice(('org', 'com', 'net'))}"
        if kind == "email":
            if key in self.people:
                person = self.people[key]
                first, last = ascii_fold(person.first), ascii_fold(person.last)
                local = rng.choice(
                    (f"{first}.{last}", f"{first[0]}{last}", f"{last}_{first[0]}{rng.randint(1, 99)}")
                )
            else:
                local = rng.choice(
                    ("office", "info", "kontakt") if self.german else ("reports", "frontdesk", "office")
                )
            return f"{local}@{host}"
        if kind == "ip":
            return f"{rng.choice(('192.0.2', '198.51.100', '203.0.113'))}.{rng.randint(2, 254)}"
        if key == "www":
            return f"www.{host}"
        return f"https://portal.{host}/view/{self.pattern('@##@#').lower()}"

    def handle(self) -> str:
        first, second = self.rng.sample(HANDLE_WORDS, 2)
        return self.rng.choice(
            (f"{first}_{second}{self.rng.randint(2, 99)}", f"@{first}{second}{self.rng.randint(2, 99)}")
        )

    # -- dispatch ---------------------------------------------------------------------------------------------------

    def draw(self, kind: str, key: str) -> str:
        """A fresh value for a kind and a key without form and index."""
        if key.startswith("~"):
            return self.pattern(key[1:])
        if kind in ("town", "place"):
            return {"street": self.street, "zip": self.postcode}.get(key, self.town)()
        if kind == "hosp":
            return self.facility(key)
        if kind == "employer":
            return self.compose(EMPLOYERS[self.region])
        if kind in ("phone", "fax"):
            return self.phone(key)
        if kind in ("email", "url", "ip"):
            return self.contact(kind, key)
        if kind == "reldate":
            return self.reldate(key)
        if kind == "age":
            return str(self.old_age) if key == "num" else spell(self.old_age)
        if key == "handle":
            return self.handle()
        return self.number(key)

    def value(self, kind: str, source: str) -> tuple[str, str]:
        """The title before the span and the span text for one placeholder."""
        if source.startswith("~"):
            key, index, form = source.partition("|")[0], source.partition("|")[2], ""
        else:
            stem, _, form = source.partition(".")
            key, _, index = stem.partition("|")
        if kind in ("name", "bare"):
            return self.person_form(self.people[key], form)
        if kind == "date":
            return "", self.date(key, form)
        cache_key = f"{kind}:{key}|{index}"
        if cache_key not in self.cache:
            self.cache[cache_key] = self.draw(kind, key)
        text = self.cache[cache_key]
        if form == "upper":
            text = text.upper()
        elif form == "lower":
            text = text.lower()
        elif form == "hl7":
            text = re.sub(r"\W+", "_", text).upper()
        return "", text


def ordinal(number: int) -> str:
    """An English ordinal in digits."""
    suffix = "th" if 10 < number % 100 < 14 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{suffix}"


def spell(number: int) -> str:
    """English words for the numbers that the templates spell out (years 10 to 30, ages 90 to 101)."""
    if number >= 100:
        return "one hundred" if number == 100 else f"one hundred and {DIGIT_WORDS[number - 100]}"
    if number in NUMBER_WORDS:
        return NUMBER_WORDS[number]
    tens = {2: "twenty", 9: "ninety"}[number // 10]
    return f"{tens} {DIGIT_WORDS[number % 10]}" if number % 10 else tens


def render(rng: random.Random, template: Template) -> Note:
    """Fill one template."""
    drawer = Drawer(rng, template)
    note = Note()
    position = 0
    for match in PLACEHOLDER.finditer(template.body):
        kind, source = match.groups()
        title, text = drawer.value(kind, source)
        note.text += template.body[position : match.start()] + title
        note.spans.append((len(note.text), len(note.text) + len(text), kind))
        note.inserted.append(text)
        note.text += text
        position = match.end()
    note.text += template.body[position:]
    return note


def problems(note: Note) -> list[str]:
    """What is wrong with a note: shifted or overlapping spans, a drawn name or place left outside all spans."""
    found = []
    end_before = 0
    outside = list(note.text)
    for (start, end, kind), text in zip(note.spans, note.inserted, strict=True):
        if note.text[start:end] != text or not text.strip():
            found.append(f"{kind} span {start}-{end} is not {text!r}")
        if start < end_before:
            found.append(f"{kind} span {start}-{end} overlaps its predecessor")
        end_before = end
        outside[start:end] = "\0" * (end - start)
    rest = set(re.findall(r"\w+", "".join(outside)))
    for (_, _, kind), text in zip(note.spans, note.inserted, strict=True):
        if kind in ("name", "bare", "town"):
            found += [
                f"{word!r} also stands outside the spans"
                for word in re.findall(r"\w{3,}", text)
                if word in rest
            ]
    return found


def draw_notes(seed: int, draws: int) -> list[dict[str, object]]:
    """All notes; a draw whose names collide with words of its template is repeated."""
    notes: list[dict[str, object]] = []
    for template in load_templates():
        for draw in range(draws):
            for attempt in range(100):
                note = render(random.Random(f"{seed}/{template.name}/{draw}/{attempt}"), template)
                if not problems(note):
                    break
            else:
                raise RuntimeError(f"{template.name}: {problems(note)}")
            style = template.header["style"]
            notes.append(
                {
                    "id": f"{style.replace(' ', '-')}/{template.name}/{draw}",
                    "template": template.name,
                    "style": style,
                    "language": template.header["language"],
                    "text": note.text,
                    "spans": [list(span) for span in note.spans],
                }
            )
    return notes


def main() -> None:
    """Write the notes as JSON lines."""
    parser = argparse.ArgumentParser(description="Draw the unseen de-identification notes.")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--out", type=Path, default=HERE / "notes.jsonl")
    arguments = parser.parse_args()
    notes = draw_notes(arguments.seed, arguments.draws)
    lines = (json.dumps(note, ensure_ascii=False) + "\n" for note in notes)
    arguments.out.write_text("".join(lines), encoding="utf-8")
    sys.stdout.write(f"{len(notes)} notes written to {arguments.out}\n")


if __name__ == "__main__":
    main()
