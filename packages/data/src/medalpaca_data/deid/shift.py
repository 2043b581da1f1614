"""Dates: all of a record move by one number of days, so that what lies between them stays as it was.

Safe Harbor wants every element of a date removed but the year. A moved date is not the date, and where the record's
dates leave room for at least `ROOM` such moves, one is drawn that leaves each in its year; otherwise years may move by
one, since a year kept beside a known interval would give the day away. (MIMIC-III moves its dates the same way.)
"""

from __future__ import annotations

import datetime
import random
import re
from collections.abc import Mapping, Sequence

from .dates import DATES, MONTHS, number_of

ROOM = 60  # moves, at least, that keep all years
LEAST = 32  # days: a month named without a day changes too
DAYS = 364
PLAIN_YEAR = 2001  # for dates without one; like most years it has 365 days
WEEKDAYS = [
    "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday",
]  # fmt: skip
SHAPES = tuple(
    re.compile(rule.pattern[max(0, rule.pattern.find("(?P<x>")) :]) for rule in DATES
)  # of a rule with a label, the date alone


def _read(text: str) -> tuple[re.Match[str], datetime.date] | None:
    """How a date is written, and which it is; a month alone counts as its fifteenth."""
    for shape in SHAPES:
        match = shape.fullmatch(text)
        if match and (date := _date(match)):
            return match, date
    return None


def _date(match: re.Match[str]) -> datetime.date | None:
    parts = {key: value for key, value in match.groupdict().items() if value}
    year = int(parts.get("y") or PLAIN_YEAR)
    if year < 100:
        year += 1900 if year > 40 else 2000
    day = int(parts.get("d") or 15)
    month = number_of(parts["b"]) if "b" in parts else int(parts["m"])
    if month > 12:
        month, day = day, month
    try:
        return datetime.date(year, month, day)
    except ValueError:
        return None


class Shift:
    """The move of one record's dates."""

    def __init__(self, dates: Sequence[str], draw: random.Random) -> None:
        low, high = -DAYS, DAYS
        for text in dates:
            if found := _read(text):
                date = found[1]
                low = max(low, (datetime.date(date.year, 1, 1) - date).days)
                high = min(high, (datetime.date(date.year, 12, 31) - date).days)
        moves = [n for n in range(low, high + 1) if abs(n) >= LEAST]
        if len(moves) < ROOM:
            moves = [n for n in range(-DAYS, DAYS + 1) if abs(n) >= LEAST]
        self.days = draw.choice(moves)

    def moved(self, text: str) -> str:
        """The date in its own way of writing, moved; one that cannot be read gives way to its year, or to a mark."""
        found = _read(text)
        if found is None:
            year = re.search(r"(?:18|19|20)[0-9]{2}", text)
            return year[0] if year else "[DATE]"
        match, date = found
        try:
            new = date + datetime.timedelta(days=self.days)
        except OverflowError:
            return "[DATE]"
        return _written(match, new)


def _written(match: re.Match[str], date: datetime.date) -> str:
    parts = {key: value for key, value in match.groupdict().items() if value and key != "x"}
    swapped = "m" in parts and int(parts["m"]) > 12
    new: dict[str, str] = {}
    if "y" in parts:
        new["y"] = f"{date.year:04}" if len(parts["y"]) == 4 else f"{date.year % 100:02}"
    if "b" in parts:
        name = MONTHS[date.month - 1]
        name = (
            name
            if len(parts["b"]) > 4 or (parts["b"].lower() in MONTHS and len(parts["b"]) > 3)
            else name[:3]
        )
        new["b"] = _like(name, parts["b"])
    if "m" in parts:
        new["d" if swapped else "m"] = _padded(date.month, parts["d" if swapped else "m"], parts)
    if "d" in parts:
        new["m" if swapped else "d"] = _padded(date.day, parts["m" if swapped else "d"], parts)
    if "w" in parts:
        name = WEEKDAYS[date.weekday()]
        new["w"] = _like(name if parts["w"].endswith("day") else name[:3], parts["w"])
    return _ordinal(_put(match, new), date.day)


def _put(match: re.Match[str], new: Mapping[str, str]) -> str:
    text, at = [], 0
    for start, end, key in sorted((*match.span(key), key) for key in new):
        text += [match.string[at:start], new[key]]
        at = end
    return "".join([*text, match.string[at:]])


def _padded(number: int, was: str, parts: Mapping[str, str]) -> str:
    """With a leading zero where the original shows that it would have had one."""
    numbers = [parts[key] for key in "md" if key in parts]
    return f"{number:02}" if was.startswith("0") or any(n.startswith("0") for n in numbers) else str(number)


def _like(name: str, was: str) -> str:
    return name.upper() if was.isupper() else name.lower() if was.islower() else name.title()


def _ordinal(text: str, day: int) -> str:
    """3th -> 3rd, 22st -> 22nd."""
    ending = "th" if day in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(day % 10, "th")
    return re.sub(rf"\b({day})(?:st|nd|rd|th)\b", rf"\g<1>{ending}", text)
