"""Dates and ages (class C): rules that find dates with a day or month, and ages over 89; shift of a record's dates.

All dates of a record move by the same number of days into the years 2100 to 2199, so that the intervals between them
stay and a shifted date is recognised as one (both as in MIMIC). A date without a year gets one for that reason.
"""

from __future__ import annotations

import datetime
import random
import re
from collections.abc import Mapping, Sequence

from .rules import Match, Rule, is_isolated

MONTHS = [
    "january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november",
    "december",
]  # fmt: skip
MONTH_FORMS = "|".join(form for m in MONTHS for form in dict.fromkeys((m.title(), m.upper(), m[:3].title())))
MONTH = rf"(?P<b>{MONTH_FORMS}|Sept)\.?"
LOWER_CASE_MONTHS = "|".join(m for m in MONTHS if m not in ("march", "may"))
UPPER_CASE_MONTHS = "|".join(m[:3].upper() for m in MONTHS)
DAY = r"(?P<d>[0-3]?[0-9])(?:st|nd|rd|th)?"
YEAR = r"(?P<y>(?:18|19|20)[0-9]{2})"
WEEKDAY = r"(?:(?P<w>(?:Mon|Tues?|Wed(?:nes)?|Thu(?:rs)?|Fri|Sat(?:ur)?|Sun)(?:day)?)\.?,? (?:the )?)?"
UNITS = re.compile(
    r"\s?(?:mg|mcg|g|kg|ml|mL|mmol|units?|IU|%|tablets?|tabs?|doses?|drops?|caps|cm|mm|weeks?|days?|hours?|months?|strength|"
    r"of the|in the|patients?|years?|percent|out of)(?!\w)|-?[0-9/]"
)
DATE_LABEL = (
    r"(?i:\b(?:on|since|until|till|before|after|dated|date|admitted|discharged|seen|visit|DOS|DOB|DOA|DOD|adm|starting|"
    r"started|ending|due|last dose|lmp)[ :]{1,2})"
)


def is_date(match: Match) -> bool:
    """Return whether day and month exist, in either order, and the match is isolated; the year is not checked."""
    parts = match.groupdict()
    if match.re.groupindex.get("m") and parts.get("m"):
        month, day = int(parts["m"]), int(parts["d"])
        if not (1 <= month <= 12 or 1 <= day <= 12):
            return False
        if month > 12:
            month, day = day, month
    else:
        month, day = month_number(parts["b"]), int(parts.get("d") or 1)
    try:
        datetime.date(2000, month, day)
    except ValueError:
        return False
    return is_isolated(match)


def month_number(month: str) -> int:
    """Return the number of a month, 1 to 12, from its English name or the first three letters."""
    return next(n for n, name in enumerate(MONTHS, 1) if name.startswith(month[:3].lower()))


def _is_date_without_unit(match: Match) -> bool:
    """Accept a date unless a unit or more digits of a fraction follow."""
    return is_date(match) and not UNITS.match(match.string, match.end())


def _is_date_not_fraction(match: Match) -> bool:
    return is_date(match) and not UNITS.match(match.string, match.end()) and int(match["d"]) > 0


def _is_over_89(match: Match) -> bool:
    """Accept an age of 90 to 125; reject durations, "90 or older", which is the surrogate, and ranges of groups."""
    after = match.string[match.end() : match.end() + 20].lower()
    before = match.string[max(0, match.start() - 12) : match.start()].lower()
    if re.match(
        r"[ -]*(?:hours?|days?|weeks?|months?|minutes?|or (?:older|more|over|above)|and (?:older|"
        r"over|above)|to [0-9]|-[0-9]|%)",
        after,
    ):
        return False
    if re.search(r"(?:[0-9][ -]|to |over |than |until |last |past |for |about age )$", before):
        return False
    return 90 <= int(match["n"]) <= 125


AGE = r"(?P<n>9[0-9]|1[0-2][0-9])"

# The groups of a pattern are day, month, year and weekday (d, m or b, y, w), so that `DateShift` can shift the date.
DATES = (
    Rule("date", "year first", rf"{YEAR}[-/.](?P<m>[01]?[0-9])[-/.](?P<d>[0-3]?[0-9])", is_date),
    Rule(
        "date",
        "year first, with time",
        rf"{YEAR}-(?P<m>[01][0-9])-(?P<d>[0-3][0-9])T[0-9]{{2}}:[0-9]{{2}}(?::[0-9]{{2}})?",
        is_date,
    ),
    Rule("date", "month first", rf"(?P<m>[0-3]?[0-9])[/-](?P<d>[0-3]?[0-9])[/-]{YEAR}", is_date),
    Rule("date", "day first", rf"(?P<d>[0-3]?[0-9])\.[ ]?(?P<m>[0-3]?[0-9])\.[ ]?{YEAR}", is_date),
    Rule("date", "year of two digits", r"(?P<m>[0-3]?[0-9])/(?P<d>[0-3]?[0-9])/(?P<y>[0-9]{2})", is_date),
    Rule("date", "month day year", rf"{WEEKDAY}{MONTH} {DAY},? {YEAR}", is_date),
    Rule("date", "day month year", rf"{WEEKDAY}{DAY}(?: of)?[ -]{MONTH},?[ -]{YEAR}", is_date),
    Rule("date", "day month year, capitals", rf"{DAY}[ -](?P<b>{UPPER_CASE_MONTHS})[ -]{YEAR}", is_date),
    Rule("date", "capitals", rf"(?P<b>{UPPER_CASE_MONTHS})[ -]{DAY},?[ -]{YEAR}", is_date),
    Rule("date", "day month, short year", rf"{DAY}-{MONTH}-(?P<y>[0-9]{{2}})", is_date),
    Rule("date", "month day", rf"{WEEKDAY}{MONTH} {DAY}", _is_date_without_unit),
    Rule("date", "day month", rf"{WEEKDAY}{DAY} (?:of )?{MONTH}", _is_date_without_unit),
    Rule("date", "month year", rf"{MONTH},? (?:of )?{YEAR}", is_date),
    Rule("date", "lower case", rf"\b(?P<b>{LOWER_CASE_MONTHS}) {DAY}(?:,? {YEAR})?", _is_date_without_unit),
    Rule(
        "date",
        "lower case, day first",
        rf"\b{DAY} (?:of )?(?P<b>{LOWER_CASE_MONTHS}|march|may) {YEAR}",
        is_date,
    ),
    Rule("date", "lower case, year", rf"\b(?P<b>{LOWER_CASE_MONTHS}|march|may) {YEAR}", is_date),
    Rule(
        "date",
        "month/day",
        rf"{DATE_LABEL}(?P<x>(?P<m>[01]?[0-9])/(?P<d>[0-3]?[0-9]))",
        _is_date_not_fraction,
    ),
    Rule(
        "date",
        "eight digits",
        r"(?i:\b(?:DOB|birth ?date|date of birth|born|date|DOS|DOA|admitted|discharged)[ :=]{0,3})"
        r"(?P<x>(?P<y>(?:18|19|20)[0-9]{2})(?P<m>[01][0-9])(?P<d>[0-3][0-9]))",
        is_date,
    ),
)
# From 2026 on, a person born in this year or earlier is over 89. Safe Harbor then also removes the year, "indicative of
# such age".
LATEST_BIRTH_YEAR = 1935
BIRTH_LABEL = re.compile(
    r"(?i)\b(?:DOB|D\.O\.B\.?|born|birth ?da(?:te|y)|date of birth)[ ]?(?:on|in|is|was|the|:|=|-|[ ]){0,5}$"
)
AGES = (
    Rule(
        "age",
        "born in",
        r"(?i:\bborn (?:in )?|\b(?:DOB|birth ?date|date of birth|year of birth)[ ]?[:=]?[ ]?)"
        r"(?P<x>(?:18|19)[0-9]{2})\b",
        lambda match: int(match["x"]) <= LATEST_BIRTH_YEAR and is_isolated(match),
    ),
    Rule(
        "age",
        "years old",
        rf"\b{AGE}(?:[- ]?(?:years?|yrs?)(?:[- ](?:old|of age))|[- ]?(?:yo|y/o|y\.o\.?|yr/o|y)\b)",
        _is_over_89,
    ),
    Rule(
        "age", "years", rf"\b{AGE}[- ](?:years?|yrs?)\b", lambda match: _is_over_89(match) and _is_age(match)
    ),
    Rule("age", "aged", rf"(?i:\bage(?:d|s)?(?: (?:of|is|was))?[ ]*[:=]?[ ]*)(?P<x>{AGE})\b", _is_over_89),
    Rule(
        "age",
        "turned",
        rf"(?i:\b(?:turned|turning|is now|he is|she is) )(?P<x>{AGE})\b",
        lambda match: _is_over_89(match) and _ends_a_phrase(match),
    ),
)


def _ends_a_phrase(match: Match) -> bool:
    return bool(re.match(r"\s*(?:[.,;!?\n]|and\b|years?\b|$)", match.string[match.end() :][:10]))


def _is_age(match: Match) -> bool:
    before = match.string[max(0, match.start() - 24) : match.start()].lower()
    return bool(re.search(r"\b(?:age|aged|was|is|at|of age)\b[^.]*$", before))


RULES = DATES + AGES


# Range of a shift in days: it moves the dates from 1935 to 2027 into the years 2100 to 2199.
SHIFTS = range(60_300, 62_801)
# Used for dates without a year if the record has no date with one; like most years it has 365 days.
DEFAULT_YEAR = 2001
SHIFTED_YEAR = re.compile(r"(?<![0-9])21[0-9]{2}(?=[^0-9]|[01][0-9][0-3][0-9](?![0-9])|$)")
UNKNOWN_DATE = "[DATE]"
WEEKDAYS = [
    "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday",
]  # fmt: skip
# Patterns of the date itself, without the label that some rules have before it.
DATE_PATTERNS = tuple(re.compile(rule.pattern[max(0, rule.pattern.find("(?P<x>")) :]) for rule in DATES)


def is_shifted_date(text: str) -> bool:
    """Return whether a date has the form of a surrogate: a year from 2100 to 2199, or the mark of an unknown date."""
    return text == UNKNOWN_DATE or SHIFTED_YEAR.search(text) is not None


def _parse(text: str, default_year: int) -> tuple[re.Match[str], datetime.date] | None:
    """Return the match of the first pattern that fits all of `text`, and the date; None if it is not a date.

    A month without a day counts as the 15th, and a missing year as `default_year`.
    """
    for pattern in DATE_PATTERNS:
        match = pattern.fullmatch(text)
        if match and (date := _to_date(match, default_year)):
            return match, date
    return None


def _to_date(match: re.Match[str], default_year: int) -> datetime.date | None:
    parts = {key: value for key, value in match.groupdict().items() if value}
    year = int(parts.get("y") or default_year)
    if year < 100:
        year += 1900 if year > 40 else 2000
    day = int(parts.get("d") or 15)
    month = month_number(parts["b"]) if "b" in parts else int(parts["m"])
    if month > 12:
        month, day = day, month
    try:
        return datetime.date(year, month, day)
    except ValueError:
        return None


class DateShift:
    """The shift of all dates of one record; `dates` are their texts, and `days` is drawn from `SHIFTS`.

    A date without a year counts as one of the latest year of the record. `days` does not depend on `dates`, so equal
    states of `draw` give several records the same shift.
    """

    def __init__(self, dates: Sequence[str], draw: random.Random) -> None:
        self.days = draw.choice(SHIFTS)
        years = [parsed[1].year for text in dates if (parsed := _parse(text, 1))]
        self._year = max((year for year in years if year > 1), default=DEFAULT_YEAR)

    def apply(self, text: str) -> str:
        """Return the shifted date in the format of the original, with a year of four digits.

        Returns "[DATE]" if the text cannot be parsed, or if the result is not within the years 2100 to 2199.
        """
        parsed = _parse(text, self._year)
        if parsed is None:
            return UNKNOWN_DATE
        match, date = parsed
        try:
            new = date + datetime.timedelta(days=self.days)
        except OverflowError:
            return UNKNOWN_DATE
        if not 2100 <= new.year <= 2199:
            return UNKNOWN_DATE
        shifted = _format_like(match, new)
        if match.groupdict().get("y"):
            return shifted
        return f"{shifted}{'/' if match.groupdict().get('m') else ' ' if shifted[0].isdigit() else ', '}{new.year}"


def _format_like(match: re.Match[str], date: datetime.date) -> str:
    parts = {key: value for key, value in match.groupdict().items() if value and key != "x"}
    swapped = "m" in parts and int(parts["m"]) > 12
    is_year_first = re.match(r"[0-9]{4}", match[0]) is not None
    new: dict[str, str] = {}
    if "y" in parts:
        new["y"] = f"{date.year:04}"
    if "b" in parts:
        name = MONTHS[date.month - 1]
        name = (
            name
            if len(parts["b"]) > 4 or (parts["b"].lower() in MONTHS and len(parts["b"]) > 3)
            else name[:3]
        )
        new["b"] = _with_case_of(name, parts["b"])
    if "m" in parts:
        new["d" if swapped else "m"] = _padded(
            date.month, parts["d" if swapped else "m"], parts, is_year_first=is_year_first
        )
    if "d" in parts:
        new["m" if swapped else "d"] = _padded(
            date.day, parts["m" if swapped else "d"], parts, is_year_first=is_year_first
        )
    if "w" in parts:
        name = WEEKDAYS[date.weekday()]
        new["w"] = _with_case_of(name if parts["w"].endswith("day") else name[:3], parts["w"])
    return _with_ordinal(_replace_groups(match, new), date.day)


def _replace_groups(match: re.Match[str], new: Mapping[str, str]) -> str:
    text, at = [], 0
    for start, end, key in sorted((*match.span(key), key) for key in new):
        text += [match.string[at:start], new[key]]
        at = end
    return "".join([*text, match.string[at:]])


def _padded(number: int, was: str, parts: Mapping[str, str], *, is_year_first: bool) -> str:
    """Return the number as text, with a leading zero if the numbers of the original have one."""
    numbers = [parts[key] for key in "md" if key in parts]
    # As in 2013-11-22 and 20131122.
    if is_year_first:
        return f"{number:02}"
    return f"{number:02}" if was.startswith("0") or any(n.startswith("0") for n in numbers) else str(number)


def _with_case_of(name: str, was: str) -> str:
    return name.upper() if was.isupper() else name.lower() if was.islower() else name.title()


def _with_ordinal(text: str, day: int) -> str:
    """Return the text with the right ordinal ending after the day: 3th -> 3rd, 22st -> 22nd."""
    ending = "th" if day in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(day % 10, "th")
    return re.sub(rf"\b({day})(?:st|nd|rd|th)\b", rf"\g<1>{ending}", text)
