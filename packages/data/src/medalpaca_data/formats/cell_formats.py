"""Show the numbers of an Excel sheet as text: dates, percentages, units, leading zeros, and 15 significant digits.

A number format is code such as `0.0" mg"` (ECMA-376, part 1, 18.8.30 and 18.8.31). Three things differ from Excel:
digits that a format hides are kept, thousands are not separated, and dates are written in ISO 8601.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import ROUND_HALF_UP, Context, Decimal
from xml.etree.ElementTree import Element

# Elements of xl/styles.xml that `read_styles` needs.
STYLE_ELEMENTS = {"numFmt", "fonts", "cellXfs"}
EPOCH_1900, EPOCH_1904 = datetime(1899, 12, 30), datetime(1904, 1, 1)
# Built-in formats by number. Those of dates differ by country, and none of them has a text.
DATE_FORMATS = frozenset({*range(14, 23), *range(27, 37), 45, 47, *range(50, 59)})
BUILT_IN = {1: "0", 2: "0.00", 3: "#,##0", 4: "#,##0.00", 9: "0%", 10: "0.00%", 37: "#,##0", 38: "#,##0"} | {
    39: "#,##0.00",
    40: "#,##0.00",
}
ELAPSED_TIME = re.compile(r"\[(?:h+|m+|s+)\]", re.IGNORECASE)
# Parts of a code: a quoted text, a bracket, an escaped character, a space or filling, General, or one character.
TOKEN = re.compile(
    r'"(?P<text>[^"]*)"|\[(?P<bracket>[^\]]*)\]|\\(?P<escaped>.)|_(?P<space>.)|\*(?P<filling>.)'
    r"|(?P<general>General)|(?P<exponent>E[+-])|(?P<one>.)",
    re.IGNORECASE | re.DOTALL,
)
CURRENCY = re.compile(r"\$([^-]*)")
PLACEHOLDERS = "0#?"
# Excel calculates with 15 significant digits. The file has up to 17, of which the last ones are noise.
DIGITS = Context(prec=15, rounding=ROUND_HALF_UP)


@dataclass(frozen=True, slots=True)
class CellStyle:
    """The format of the numbers of a cell: "date", or a number format code. `is_struck`: its text is struck through."""

    code: str = ""
    is_struck: bool = False


def read_styles(elements: Iterable[Element]) -> list[CellStyle]:
    """Return the cell styles of a workbook, from the `STYLE_ELEMENTS` of its styles."""
    codes: dict[int, str] = {}
    struck: list[bool] = []
    styles: list[CellStyle] = []
    for element in elements:
        if element.tag == "numFmt":
            codes.setdefault(_index(element, "numFmtId"), element.get("formatCode", ""))
        elif element.tag == "fonts":
            struck = [is_struck(font) for font in element]
        else:
            for xf in element.iter("xf"):
                font = _index(xf, "fontId")
                number = _index(xf, "numFmtId")
                code = _kind_or_code(codes[number]) if number in codes else BUILT_IN.get(number, "")
                code = "date" if number not in codes and number in DATE_FORMATS else code
                styles.append(CellStyle(code, 0 <= font < len(struck) and struck[font]))
    return styles


def is_struck(font: Element) -> bool:
    """Return whether the properties of a font or of a run of text have strikethrough."""
    strike = font.find("strike")
    return strike is not None and strike.get("val", "1") not in ("0", "false")


def _index(element: Element, key: str) -> int:
    text = element.get(key, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else -1


def _kind_or_code(code: str) -> str:
    """Return "date" for the format of a date or time, "" for an elapsed time, else the code."""
    if ELAPSED_TIME.search(code):
        return ""
    plain = TOKEN.sub(lambda token: token["one"] or token["general"] or "", code)
    is_date = re.search("[ymdhs]", plain, re.IGNORECASE) and "general" not in plain.lower()
    return "date" if is_date and "%" not in plain else code


def show_number(value: str, code: str = "", epoch: datetime = EPOCH_1900) -> str:
    """Return a stored number as the text that Excel shows, by the `code` of its `CellStyle`.

    A date is returned as 2023-07-16, a time as 08:30:00. A text that is no number is returned as it is.
    """
    try:
        number = Decimal(value)
        if not number.is_finite():
            return value
        if code == "date":
            return _show_date(number, epoch)
        # A whole number that is written out has no noise; it may be an identifier.
        if not value.lstrip("-").isdigit():
            number = DIGITS.plus(number)
        return _show_by_code(number, code) if code else _plain(number)
    except (ArithmeticError, ValueError):
        return value


def _show_date(number: Decimal, epoch: datetime) -> str:
    """Return the date and time of a number of days since `epoch`."""
    # Excel counts 29 February 1900, which did not exist.
    shift = 1 if epoch == EPOCH_1900 and number < 60 else 0
    moment = epoch + timedelta(days=int(number) + shift, seconds=round(number % 1 * 86400))
    date, time = moment.isoformat().split("T")
    return time if number < 1 else date if number == int(number) else f"{date} {time}"


def _plain(number: Decimal) -> str:
    """Return a number without an exponent and without zeros at the end of its fraction."""
    if not -12 <= number.adjusted() <= 21:
        return f"{number.normalize():E}"
    text = f"{number:f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if text == "-0" else text


def _show_by_code(number: Decimal, code: str) -> str:
    sections = _sections(code)
    # Sections with conditions, such as [<1], are not evaluated: the first one is the usual one.
    is_conditional = any(
        kind == "bracket" and part[:1] in ("<", ">", "=") for section in sections for kind, part in section
    )
    index = 0 if is_conditional or number > 0 else 1 if number < 0 else 2
    section = sections[index] if index < min(len(sections), 3) else sections[0]
    shown = _show_by_section(abs(number), section)
    if shown is None:
        return _plain(number)
    # A section for negative numbers has its own sign. A red colour is no sign in a text.
    has_sign = (
        index == 1
        and section is not sections[0]
        and any(part in "-(\u2212" for kind, part in section if kind == "text" and part)
    )
    return shown if number >= 0 or has_sign else f"-{shown}"


def _sections(code: str) -> list[list[tuple[str, str]]]:
    """Return the sections of a code as lists of (kind, text); kinds are the groups of `TOKEN`, and "digit"."""
    sections: list[list[tuple[str, str]]] = [[]]
    for token in TOKEN.finditer(code):
        kind, part = token.lastgroup or "", token[token.lastgroup or 0]
        if kind == "one" and part == ";":
            sections.append([])
        elif kind == "one" and part in PLACEHOLDERS:
            sections[-1].append(("digit", part))
        elif kind == "bracket" and (currency := CURRENCY.match(part)):
            sections[-1].append(("text", currency[1]))
        elif kind == "space":
            sections[-1].append(("text", " "))
        elif kind == "escaped" or (kind == "one" and part not in ".,%/@"):
            sections[-1].append(("text", part))
        else:
            sections[-1].append((kind, part))
    return sections


def _show_by_section(number: Decimal, section: list[tuple[str, str]]) -> str | None:
    """Return a number that is not negative by one section; None if the section shows nothing."""
    digits = [n for n, (kind, _) in enumerate(section) if kind in ("digit", "general")]
    if not digits:
        return "".join(part for kind, part in section if kind == "text").strip() or None
    first, last = digits[0], digits[-1]
    number *= 100 ** sum(part == ("one", "%") for part in section)
    # Each comma after the last digit divides by a thousand.
    for part in section[last + 1 :]:
        if part != ("one", ","):
            break
        number /= 1000
    inside = section[first : last + 1]
    is_plain = any(kind in ("general", "exponent") or part == "/" for kind, part in inside)
    middle = _plain(number) if is_plain else _fill(number, inside)
    before, after = (
        "".join(part for kind, part in parts if kind == "text" or part == "%")
        for parts in (section[:first], section[last + 1 :])
    )
    return f"{before}{middle}{after}".strip()


def _fill(number: Decimal, places: list[tuple[str, str]]) -> str:
    """Return the digits of a number in the placeholders, with the texts between them. All digits are shown."""
    whole, _, fraction = _plain(number).partition(".")
    point = places.index(("one", ".")) if ("one", ".") in places else len(places)
    left = [(kind, part) for kind, part in places[:point] if kind in ("digit", "text")]
    right = [(kind, part) for kind, part in places[point + 1 :] if kind in ("digit", "text")]
    rest = "" if whole == "0" else whole
    shown: list[str] = []
    open_places = sum(kind == "digit" for kind, _ in left)
    for kind, part in reversed(left):
        if kind == "text":
            shown.append(part)
            continue
        open_places -= 1
        size = 1 if open_places else len(rest)
        digit = rest[len(rest) - size :] if size else ""
        rest = rest[: len(rest) - len(digit)]
        shown.append(digit or ("0" if part == "0" else ""))
    text = "".join(reversed(shown)) or "0"
    decimals: list[str] = []
    open_places = sum(kind == "digit" for kind, _ in right)
    for kind, part in right:
        if kind == "text":
            decimals.append(part)
            continue
        open_places -= 1
        digit, fraction = (fraction[:1], fraction[1:]) if open_places else (fraction, "")
        decimals.append(digit or ("0" if part == "0" else ""))
    end = "".join(decimals) or fraction
    return f"{text}.{end}" if end else text
