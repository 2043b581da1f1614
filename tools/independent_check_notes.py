"""Invented notes with annotated identifiers, for the training and the calibration of the independent check.

Templates, fillers and parts of names are in independent_check_templates.txt and independent_check_notes.yaml. Every
name is composed of parts. Nothing is read from the lists of the detectors.
"""

from __future__ import annotations

import datetime
import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).parent
MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
    "December",
)  # fmt: skip
GERMAN_MONTHS = (
    "Januar", "Februar", "März", "April", "Mai", "Juni", "Juli", "August", "September", "Oktober", "November",
    "Dezember",
)  # fmt: skip
SLOT = re.compile(r"\{(\w+)\}")
DIRECT = frozenset({"name", "bare", "date", "phone", "fax", "ssn", "mrn", "plan", "email", "account"})


@dataclass(frozen=True, slots=True)
class Note:
    """An invented note: `spans` are (start, end, kind) of its identifiers, in order."""

    template: int
    style: str
    text: str
    spans: tuple[tuple[int, int, str], ...]


def templates(file: Path = HERE / "independent_check_templates.txt") -> list[tuple[str, str]]:
    """Return (style, text) of every template of a file."""
    text = file.read_text(encoding="utf-8")
    parts = re.split(r"^## (\w+)\n", text, flags=re.MULTILINE)
    return [(style, body.rstrip("\n")) for style, body in zip(parts[1::2], parts[2::2], strict=True)]


class Notes:
    """Draw notes. `keep(word)` selects the fillers and parts of names; `sentences` fill the slot `sent`."""

    def __init__(
        self, draw: random.Random, sentences: Sequence[str], keep: Callable[[str], bool] = lambda word: True
    ) -> None:
        self.draw, self.sentences = draw, sentences
        # Every scalar is text: "no" and "on" are endings of names.
        text = (HERE / "independent_check_notes.yaml").read_text(encoding="utf-8")
        material = yaml.load(text, yaml.BaseLoader)  # noqa: S506 - builds strings, lists and mappings only
        self.fillers = {
            name: [word for word in words if keep(word)] or words
            for name, words in material["fillers"].items()
        }
        self.names = {
            origin: {
                part: [word for word in words if keep(f"{origin} {word}")] or words
                for part, words in parts.items()
            }
            for origin, parts in material["names"].items()
        }
        self.word_names = material["word_names"]
        self.templates = templates()

    def note(self, template: int) -> Note:
        """Return a note from the template with this number."""
        style, body = self.templates[template]
        self._origin = self._weighted_origin(style)
        self._patient = (self._given(self._origin), self._family(self._origin))
        text, spans, at = "", [], 0
        for match in SLOT.finditer(body):
            text += body[at : match.start()]
            at = match.end()
            value, kind = self._fill(match[1])
            if kind:
                spans.append((len(text), len(text) + len(value), kind))
            text += value
        text += body[at:]
        change = self.draw.random()
        if 0.12 <= change < 0.16:
            text = text.replace("ß", "s").title()
        elif style != "table" and change < 0.12:
            # "ß" would change the length of a text in capitals.
            text = text.lower() if change < 0.05 else text.replace("ß", "s").upper()
        return Note(template, style, text, tuple(spans))

    def _weighted_origin(self, style: str) -> str:
        if style == "german" and self.draw.random() < 0.8:
            return "german"
        return self.draw.choice(["english", "english", "english", "celtic", "german", "spanish", "slavic", "indian",
                                 "arabic", "east_asian", "african", "french"])  # fmt: skip

    def _given(self, origin: str) -> str:
        parts = self.names["english" if origin == "celtic" and self.draw.random() < 0.5 else origin]
        return self._compose(parts["given"], parts["given_end"])

    def _family(self, origin: str) -> str:
        if self.draw.random() < 0.06:
            return str(self.draw.choice(self.word_names))
        parts = self.names[origin]
        name = self._compose(parts["family"], parts["family_end"])
        if self.draw.random() < 0.04:
            name += "-" + self._compose(parts["family"], parts["family_end"])
        return name

    def _compose(self, heads: Sequence[str], ends: Sequence[str]) -> str:
        head, end = self.draw.choice(heads), self.draw.choice(ends)
        if head[-1].lower() in "aeiou" and end[:1].lower() in "aeiou" and self.draw.random() < 0.7:
            end = end[1:]
        return head + (end if head.startswith(("Mac", "Mc", "O'", "Fitz")) else end.lower())

    def _pick(self, name: str) -> str:
        return str(self.draw.choice(self.fillers[name]))

    def _digits(self, count: int) -> str:
        return str(self.draw.randrange(1, 10)) + "".join(
            str(self.draw.randrange(10)) for _ in range(count - 1)
        )

    def _fill(self, slot: str) -> tuple[str, str]:
        """Return (text, kind) of a slot; the kind is "" if it is no identifier."""
        if slot in self.fillers and slot not in ("brand_start", "brand_end"):
            if slot == "drug" and self.draw.random() < 0.15:
                return self._pick("brand_start") + self._pick("brand_end"), ""
            if slot == "epon" and self.draw.random() < 0.35:
                return self._family(self._weighted_origin("")) + self._pick("epon_noun"), ""
            if slot == "product":
                return self._pick("brand_start") + self._pick("brand_end") + self._pick(slot), ""
            return self._pick(slot), ""
        if (name := self._name(slot)) is not None:
            return name
        if (number := self._number(slot)) is not None:
            return number
        return self._other(slot)

    def _name(self, slot: str) -> tuple[str, str] | None:
        draw = self.draw
        kind = "name" if draw.random() < 0.4 else "bare"
        person = re.fullmatch(r"(P|G)?(FULL|LAST|FIRST|COMMA|INITS|HL7)(UP|INIT)?", slot)
        if person and slot != "HL7DATE":
            origin = "german" if person[1] == "G" and draw.random() < 0.8 else self._weighted_origin("")
            given, family = self._patient if person[1] == "P" else (self._given(origin), self._family(origin))
            middle = (
                f" {draw.choice('ABCDEFGHJKLMNPRSTW')}." if draw.random() < 0.2 and person[1] != "G" else ""
            )
            match person[2]:
                case "FULL":
                    text = f"{given}{middle} {family}" if draw.random() < 0.93 else f"{given[0]}. {family}"
                case "LAST":
                    text = family + (f" {given[0]}" if person[3] == "INIT" else "")
                case "FIRST":
                    text = given
                case "COMMA":
                    text = f"{family}{draw.choice([', ', ', ', ','])}{given}{middle}"
                case "INITS":
                    text = given[0] + family[0].upper()
                    return draw.choice([text, text.lower(), f"{text[0]}.{text[1]}."]), kind
                case _:
                    text = f"{family.upper()}^{given.upper()}"
            return (text.replace("ß", "ss").upper() if person[3] == "UP" else text), kind
        given, family = self._patient
        own = {"plow": f"{given} {family}", "plast": family, "plowfirst": given}
        other = {"lowlast": self._family(self._origin), "lowfirst": self._given(self._origin)}
        found = own.get(slot) or other.get(slot)
        return (found.lower(), kind) if found else None

    def _date(self) -> datetime.date:
        return datetime.date(2000, 1, 1) + datetime.timedelta(days=self.draw.randrange(9400))

    def _number(self, slot: str) -> tuple[str, str] | None:
        draw, day = self.draw, self._date()
        d, m, y = day.day, day.month, day.year
        area, mid, end = self._digits(3), self._digits(3), f"{draw.randrange(10000):04}"
        match slot:
            case "DATE" | "DOB":
                if slot == "DOB":
                    y -= draw.randrange(15, 60)
                month = MONTHS[m - 1]
                forms = [f"{m}/{d}/{y}", f"{m:02}/{d:02}/{y}", f"{m}/{d}/{y % 100:02}", f"{y}-{m:02}-{d:02}",
                         f"{month} {d}, {y}", f"{month[:3]} {d}, {y}", f"{d} {month} {y}", f"{m}-{d}-{y % 100:02}",
                         f"{m:02}.{d:02}.{y % 100:02}", f"{d}-{month[:3]}-{y}", f"{m}/{d}/{y}", f"{month} {d}{_ordinal(d)}, {y}",
                         f"{y}{m:02}{d:02}", f"{m}.{d}.{y}"]  # fmt: skip
                if slot == "DATE":
                    forms += [f"{month} {d}", f"{month[:3]} {d}", f"{month} {y}", f"{m}/{d}", f"{d}{_ordinal(d)} of {month}",
                              f"{month[:3]}. {d}"]  # fmt: skip
                return draw.choice(forms), "date"
            case "UKDATE":
                return draw.choice([f"{d:02}/{m:02}/{y}", f"{d}/{m}/{y % 100:02}", f"{d} {MONTHS[m - 1]} {y}",
                                    f"{d}{_ordinal(d)} {MONTHS[m - 1]}", f"{d:02}.{m:02}.{y}"]), "date"  # fmt: skip
            case "GDATE":
                y -= draw.choice([0, 0, 0, 40])
                return draw.choice([f"{d:02}.{m:02}.{y}", f"{d}.{m}.{y}", f"{d:02}.{m:02}.{y % 100:02}", f"{d:02}.{m:02}.",
                                    f"{d}. {GERMAN_MONTHS[m - 1]} {y}", f"{m:02}/{y}", f"{d}. {GERMAN_MONTHS[m - 1]}",
                                    f"{GERMAN_MONTHS[m - 1]} {y}"]), "date"  # fmt: skip
            case "MD":
                return draw.choice(
                    [f"{m}/{d}", f"{m}/{d}", f"{m:02}/{d:02}", f"{MONTHS[m - 1][:3]} {d}", f"{m}-{d}"]
                ), "date"
            case "HL7DATE":
                return f"{y}{m:02}{d:02}", "date"
            case "PHONE" | "FAX":
                forms = [f"({area}) {mid}-{end}", f"{area}-{mid}-{end}", f"{area}.{mid}.{end}", f"{area} {mid} {end}",
                         f"{mid}-{end}", f"+1 {area} {mid} {end}", f"1-{area}-{mid}-{end}", f"{area}/{mid}-{end}",
                         f"({area}){mid}-{end}", f"{area}{mid}{end}"]  # fmt: skip
                return draw.choice(forms), slot.lower()
            case "EXT":
                number = self._digits(draw.choice([4, 5]))
                return draw.choice([number, f"x{number}", number]), "phone"
            case "UKPHONE":
                return draw.choice([f"0{self._digits(3)} {mid} {end}", f"0{self._digits(4)} {self._digits(6)}",
                                    f"07{self._digits(3)} {self._digits(6)}", f"020 {end} {self._digits(4)}"]), "phone"  # fmt: skip
            case "GPHONE":
                return draw.choice([f"0{self._digits(3)} {self._digits(6)}", f"0{self._digits(2)}/{self._digits(7)}",
                                    f"+49 {self._digits(2)} {self._digits(7)}", f"0{self._digits(4)}-{self._digits(5)}",
                                    f"(0{self._digits(3)}) {self._digits(3)} {self._digits(3)}"]), "phone"  # fmt: skip
            case "SSN":
                two = self._digits(2)
                return draw.choice([f"{area}-{two}-{end}", f"{area}{two}{end}", f"{area} {two} {end}"]), "ssn"
            case "NHS":
                return f"{area} {mid} {end}", "mrn"
            case "CHI":
                return f"{d:02}{m:02}{y % 100:02}{end}", "mrn"
            case "MRN":
                number = self._digits(draw.choice([6, 7, 7, 8]))
                letter = draw.choice("ABCHKMRW")
                return draw.choice([number, number, f"{letter}{number}", f"{number[:3]}-{number[3:5]}-{number[5:]}",
                                    f"{number[:3]} {number[3:5]} {number[5:]}", f"{letter}-{number}", f"#{number}", f"MR{number}",
                                    f"00{number}"]), "mrn"  # fmt: skip
            case "KVNR":
                return draw.choice("ABCDEFGHKLMNPRSTUVWXYZ") + self._digits(9), "plan"
            case "PLAN":
                code = "".join(draw.choice("ABCDEFGHKMNPQRTUVWXY") for _ in range(3))
                return draw.choice([f"{code}{self._digits(9)}", f"{self._digits(9)}A", f"{self._digits(3)}-{self._digits(2)}-{end}A",
                                    f"1{code[0]}{self._digits(2)}-{code[1:]}{self._digits(1)}-{code[0]}{code[1]}{self._digits(2)}",
                                    f"W{self._digits(8)}", self._digits(10), f"{code}-{self._digits(6)}"]), "plan"  # fmt: skip
            case "ACCT":
                return draw.choice([self._digits(8), self._digits(10), f"{self._digits(4)}-{end}", f"V{self._digits(9)}",
                                    f"AC-{self._digits(6)}"]), "account"  # fmt: skip
            case "EMAIL":
                given, family = self._given(self._origin).lower(), self._family(self._origin).lower()
                user = draw.choice(
                    [
                        f"{given}.{family}",
                        f"{given[0]}{family}",
                        f"{family}{self._digits(2)}",
                        f"{given}_{family}",
                    ]
                )
                host = draw.choice(
                    [
                        "gmail.com",
                        "yahoo.com",
                        "hotmail.com",
                        f"{family}.net",
                        "hospital.org",
                        "web.de",
                        "nhs.net",
                        "aol.com",
                    ]
                )
                return f"{user.replace(' ', '')}@{host.replace(' ', '')}", "email"
        return None

    def _other(self, slot: str) -> tuple[str, str]:
        draw, day = self.draw, self._date()
        english = self._family(draw.choice(["english", "english", "celtic", "spanish"]))
        german = self._family("german")
        town_end = draw.choice(["", " City", "ville", "ton", " Falls", " Park", " Springs", "field"])
        match slot:
            case "num":
                return str(draw.choice([draw.randrange(1, 10), draw.randrange(10, 90), f"{draw.randrange(1, 15)}.{draw.randrange(10)}",
                                        draw.randrange(100, 400)])), ""  # fmt: skip
            case "dig":
                return str(draw.randrange(10)), ""
            case "score":
                top = draw.choice([4, 5, 6, 10])
                return f"{draw.randrange(top + 1)}/{top}", ""
            case "io":
                a, b = draw.choice([(10, 100), (100, 3000), (1, 12)]), draw.choice([(10, 100), (50, 2000)])
                return f"{draw.randrange(*a)}/{draw.randrange(*b)}", ""
            case "range":
                low = draw.randrange(1, 60)
                return draw.choice(
                    [
                        f"{low}-{low + draw.randrange(1, 60)}",
                        f"{low}.{draw.randrange(10)}-{low + 2}.{draw.randrange(10)}",
                    ]
                ), ""
            case "bp":
                return f"{draw.randrange(90, 190)}/{draw.randrange(50, 105)}", ""
            case "time":
                h, m = draw.randrange(24), draw.randrange(60)
                return draw.choice(
                    [
                        f"{h:02}:{m:02}",
                        f"{h:02}{m:02}",
                        f"{h % 12 + 1}:{m:02} {draw.choice(['AM', 'PM', 'am', 'pm'])}",
                    ]
                ), ""
            case "hhmm":
                return f"{draw.randrange(24):02}{draw.randrange(60):02}", ""
            case "sent":
                return str(draw.choice(self.sentences)), ""
            case "finding":
                words = [
                    word
                    for word in str(draw.choice(self.sentences)).split()
                    if word.islower() and word.isalpha()
                ]
                return " ".join(words[:4]) or "mild edema", ""
            case "INSURER":
                return draw.choice(
                    ["Blue Cross", "Aetna", "Humana", "Medicare", "Cigna", "UnitedHealthcare", "Tricare"]
                ), ""
            case "TOWN" | "lowtown":
                town = english + town_end
                return (town.lower() if slot == "lowtown" else town), "town"
            case "GTOWN":
                return draw.choice(["Bad ", "", "", ""]) + german + draw.choice(
                    ["", "stadt", "burg", "hausen", "bach"]
                ), "town"
            case "HOSP":
                return draw.choice([f"{english} Memorial Hospital", f"{english} General", f"St. {english} Medical Center", f"{english} Clinic",
                                    f"{english} Valley Health", f"{english} Surgery", f"{english} Nursing Home"]), "hosp"  # fmt: skip
            case "STREET":
                return (
                    f"{draw.randrange(1, 999)} {english} {draw.choice(['St', 'Street', 'Road', 'Ave', 'Lane', 'Drive', 'Close'])}",
                    "place",
                )
            case "GSTREET":
                return (
                    f"{german}{draw.choice(['straße', 'weg', 'str.', 'gasse', 'allee'])} {draw.randrange(1, 99)}",
                    "place",
                )
            case "ZIP" | "GZIP":
                return self._digits(5), "place"
            case "POSTCODE":
                return (
                    f"{draw.choice('BGLMNS')}{draw.randrange(1, 20)} {draw.randrange(1, 9)}{draw.choice('ABDEF')}{draw.choice('ABDEF')}",
                    "place",
                )
            case "EMPLOYER" | "GEMPLOYER":
                end = draw.choice([" Inc.", " Logistics", " & Sons", " Foods", " GmbH", " Bakery"])
                return (german if slot[0] == "G" else english) + end, "employer"
            case "RELDATE":
                return draw.choice(
                    [
                        "last Tuesday",
                        "yesterday",
                        "next Monday",
                        "on Thanksgiving",
                        "last week",
                        "two days ago",
                        "this Friday",
                    ]
                ), "reldate"
            case "ROOM":
                return draw.choice(
                    [
                        self._digits(3),
                        f"{self._digits(2)}-{draw.choice('AB')}",
                        f"{draw.choice('ABEW')}{self._digits(3)}",
                    ]
                ), "other"
            case "ACC":
                return draw.choice(
                    [
                        f"S{day.year % 100:02}-{self._digits(5)}",
                        self._digits(8),
                        f"SP-{day.year}-{self._digits(4)}",
                    ]
                ), "other"
            case "LIC":
                return draw.choice(
                    [
                        f"{draw.choice('ABFM')}{draw.choice('BKL')}{self._digits(7)}",
                        self._digits(10),
                        self._digits(5),
                    ]
                ), "licence"
            case "DEV":
                return draw.choice(
                    [
                        f"SN{self._digits(7)}",
                        self._digits(7),
                        f"{draw.choice('XYZ')}{draw.choice('ABC')}-{self._digits(5)}",
                    ]
                ), "device"
        raise ValueError(f"unknown slot {slot!r}")


def _ordinal(day: int) -> str:
    return "th" if day in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(day % 10, "th")


def surrogate_kind(kind: str) -> str:
    """Return the class of `Surrogates` for a kind of the annotated notes."""
    classes: dict[str, str] = {
        "bare": "name", "reldate": "date", "town": "place", "hosp": "place", "employer": "place",
    }  # fmt: skip
    return classes.get(kind, kind)


def partly_replaced(
    text: str, spans: Sequence[tuple[int, int, str]], left: frozenset[int], record: str, seed: int
) -> tuple[str, list[tuple[int, int, str]]]:
    """Replace all spans by surrogates except those with the numbers `left`; return the text and the spans left in it."""
    from medalpaca_data.deid.rules import Span
    from medalpaca_data.deid.surrogates import Surrogates

    found: list[Any] = [Span(start, end, surrogate_kind(kind), "annotated") for start, end, kind in spans]
    dates = [text[span.start : span.end] for span in found if span.kind == "date"]
    surrogates = Surrogates(seed.to_bytes(32, "big"), f"row {record}", dates)
    result, kept, at = "", [], 0
    for number, ((start, end, kind), span) in enumerate(zip(spans, found, strict=True)):
        result += text[at:start]
        new = text[start:end] if number in left else surrogates.replacement(span, text)
        if number in left:
            kept.append((len(result), len(result) + len(new), kind))
        result += new
        at = end
    return result + text[at:], kept
