"""Visible text of wiki templates and formulas: {{convert|40|mmHg|kPa}} is "40 mmHg", <math>10^{9}</math> is "10^9".

The templates are those of Wikipedia that show a number, a unit, a fraction or a short text inside a sentence.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from ..core.joined_digits import END, MARK, SUB, SUP, UNSEEN, drop_needless_marks

# Templates that show nothing of the text: references and remarks of editors.
REFERENCE_TEMPLATE = re.compile(
    r"cite\b.*|citation\b.*|ref(?:list|s|n|num)?|r|rp|sfn\w*|harv\w*|efn|note(?:list|tag)?|pmid|pmc|doi|isbn|issn|"
    r"cn|fact|dubious|clarify|when|who|which|verify.*|update.*|as of|dead link|webarchive|anchor|main|see also|"
    r"further|details|about|for|about|hatnote|portal.*|commons.*|toc.*|clear|-|infobox.*|navbox.*|icd\d*.*|omim|mesh.*",
    re.IGNORECASE,
)
TEMPLATE = re.compile(r"\{\{([^{}]*)\}\}")
FORMULA = re.compile(r"<math\b[^<>]*(?<!/)>(.*?)</math>", re.IGNORECASE | re.DOTALL)
# Templates inside templates; deeper ones stay as they are.
MAX_TEMPLATE_DEPTH = 10
CONSTANTS: Mapping[str, str] = {
    "ndash": "\u2013", "en dash": "\u2013", "snd": " \u2013 ", "spaced ndash": " \u2013 ", "mdash": "\u2014",
    "nbsp": " ", "space": " ", "thinsp": " ", "times": "\u00d7", "minus": "\u2212", "\u2212": "\u2212", "pm": "\u00b1",
    "plusminus": "\u00b1", "+-": "\u00b1", "=": "=", "!": "|", "\u00b7": "\u00b7", "middot": "\u00b7", "deg": "\u00b0",
    "\u00b0c": "\u00b0C", "\u00b0f": "\u00b0F",
}  # fmt: skip
# Templates that show their first value as it is.
SHOWN_AS_IT_IS = frozenset(
    (
        *(
            "nowrap",
            "nobr",
            "nobreak",
            "math",
            "mvar",
            "abbr",
            "abbrlink",
            "tooltip",
            "small",
            "big",
            "smaller",
        ),
        *("larger", "em", "strong", "bold", "italic", "char", "keypress", "var", "ce", "nobold", "nowiki"),
    )
)
RANGES: Mapping[str, str] = {
    "to": " to ", "to(-)": " to ", "to about": " to about ", "and": " and ", "and(-)": " and ", "or": " or ",
    "-": "\u2013", "\u2013": "\u2013", "x": " \u00d7 ", "xx": " \u00d7 ", "*": " \u00d7 ", "\u00d7": " \u00d7 ",
    "by": " by ", "+/-": " \u00b1 ", "\u00b1": " \u00b1 ", "+": " + ", ",": ", ",
}  # fmt: skip
UNITS: Mapping[str, str] = {
    "C": "\u00b0C", "F": "\u00b0F", "degC": "\u00b0C", "degF": "\u00b0F", "ug": "\u00b5g", "uL": "\u00b5L",
    "um": "\u00b5m", "umol": "\u00b5mol", "sqm": "m2", "cuft": "cu ft", "sqft": "sq ft",
}  # fmt: skip
NUMBER = re.compile(
    r"[-\u2212+]?[\d.,]*\d(?:[+\u2064 ]?\d*/{1,2}\d+|[\u00bc-\u00be\u2150-\u215e])?|[\u00bc-\u00be]"
)
MIXED_FRACTION = re.compile(r"(?<=\d)[+\u2064](?=\d+/)")
# A unit of convert with a power of ten, such as e6km.
POWER_UNIT = re.compile(r"e(\d{1,2})(\D.*)")


def template_text(name: str, values: list[str], named: dict[str, str]) -> str | None:
    """Return the text that a template shows, or None for an unknown template.

    `values` are the values without a name, `named` the others. Named values with a position as their name, as in
    {{convert|1=5|2=mg}}, are moved to `values`. Superscripts and subscripts are enclosed as
    `core.joined_digits.write_scripts` reads them.
    """
    name = " ".join(name.replace("_", " ").split()).lower()
    while (position := str(len(values) + 1)) in named:
        values.append(named.pop(position))
    values[:] = [value.strip() for value in values]
    if REFERENCE_TEMPLATE.fullmatch(name):
        return ""
    if name in CONSTANTS:
        return CONSTANTS[name]
    if not values:
        return None
    match name:
        case "convert" | "cvt":
            return _convert(values)
        case "val":
            return _value(values, named)
        case "frac" | "sfrac" | "fraction" | "fract" if len(values) < 4:
            *whole, numerator, denominator = values if len(values) > 1 else ("1", *values)
            return " ".join((*whole, f"{numerator}/{denominator}"))
        case "sup" | "su" | "superscript":
            return f"{SUP}{values[0]}{END}"
        case "sub" | "subscript":
            return f"{SUB}{values[0]}{END}"
        case "e" | "e+" | "exp":
            return f"\u00d710{SUP}{values[0]}{END}"
        case "10^":
            return f"10{SUP}{values[0]}{END}"
        case "chem" | "chem2":
            return "".join(map(_element, values))
        case "lang":
            return values[-1]
    return values[0] if name in SHOWN_AS_IT_IS else None


def show_templates(text: str) -> str:
    """Return the text of a wiki with its templates and formulas as text, and a mark in place of those without a text.

    An unknown template gives its values if one of them contains a digit, and it is not alone on its line, as a box is.
    """
    text = FORMULA.sub(lambda match: f"{MARK}{tex_text(match[1])}{MARK}", text)
    for _ in range(MAX_TEMPLATE_DEPTH):
        shown = TEMPLATE.sub(_show_template, text)
        if shown == text:
            break
        text = shown
    return drop_needless_marks(text)


def _show_template(match: re.Match[str]) -> str:
    name, *parts = match[1].split("|")
    named = {key.strip(): value for key, equals, value in (part.partition("=") for part in parts) if equals}
    values = [part.strip() for part in parts if "=" not in part]
    text = template_text(name, values, named)
    is_box = is_alone(match.string[: match.start()], match.string[match.end() :])
    if text is None and shows_number(values) and not is_box:
        text = " ".join(values)
    return f"{MARK}{text or ''}{MARK}"


def shows_number(values: Sequence[str]) -> bool:
    """Return whether a value of an unknown template contains a digit, so that deleting the template may lose it."""
    return any(any(map(str.isdigit, value)) for value in values)


def is_alone(before: str, after: str) -> bool:
    """Return whether nothing but list signs surrounds a template, given the texts on both sides.

    A box or a diagram is alone on its line, a number of a sentence is not.
    """
    return not before.rpartition("\n")[2].strip(" \t*#:;" + UNSEEN) and not after.partition("\n")[0].strip(
        " \t" + UNSEEN
    )


def _convert(values: list[str]) -> str:
    """Return the source value and its unit, without the value that the template computes."""
    text, position = "", 0
    while position < len(values) and NUMBER.fullmatch(values[position]):
        number = MIXED_FRACTION.sub(" ", values[position]).replace("//", "/")
        text, position = f"{text}{number}", position + 1
        following = values[position : position + 2]
        if len(following) == 2 and following[0] in RANGES and NUMBER.fullmatch(following[1]):
            text, position = text + RANGES[following[0]], position + 1
            continue
        if not following or NUMBER.fullmatch(following[0]):
            return text
        # mm[Hg] is a code of the template.
        unit = POWER_UNIT.sub("\u00d710^\\1 \\2", following[0].replace("[", "").replace("]", ""))
        text, position = f"{text} {UNITS.get(unit, unit)}", position + 1
        # 6 ft 2 in; but a last number without a unit is the precision.
        following = values[position : position + 2]
        if len(following) < 2 or not NUMBER.fullmatch(following[0]) or NUMBER.fullmatch(following[1]):
            return text
        text += " "
    return text or " ".join(values[:2])


def _value(values: list[str], named: Mapping[str, str]) -> str:
    number, *errors = values
    text = number
    if len(errors) == 1:
        text += f" \u00b1 {errors[0]}"
    elif errors:
        text += f" +{errors[0]} \u2212{errors[1]}"
    if power := named.get("e", "").strip():
        text += f"\u00d710{SUP}{power}{END}"
    unit = next((named[key].strip() for key in ("u", "ul") if named.get(key)), "")
    per = next((named[key].strip() for key in ("up", "upl") if named.get(key)), "")
    return text + (f" {unit}" if unit else "") + (f"/{per}" if per else "")


def _element(value: str) -> str:
    """Return a part of a formula: digits are the number of atoms, and a sign at the end is the charge."""
    if value.isdigit():
        return f"{SUB}{value}{END}"
    return f"{SUP}{value}{END}" if re.fullmatch(r"\d*[-+\u2212]", value) else value


TEX_SYMBOLS: Mapping[str, str] = {
    "times": "\u00d7", "cdot": "\u00b7", "pm": "\u00b1", "mp": "\u2213", "div": "\u00f7", "le": "\u2264",
    "leq": "\u2264", "ge": "\u2265", "geq": "\u2265", "lt": "<", "gt": ">", "ll": "\u226a", "gg": "\u226b",
    "approx": "\u2248", "sim": "~", "ne": "\u2260", "neq": "\u2260", "infty": "\u221e", "circ": "\u00b0",
    "to": "\u2192", "rightarrow": "\u2192", "ldots": "\u2026", "cdots": "\u2026", "quad": " ", "qquad": " ",
    "left": "", "right": "", "big": "", "displaystyle": "", "textstyle": "", "ln": "ln", "log": "log", "exp": "exp",
    "min": "min", "max": "max", "Delta": "\u0394", "Sigma": "\u03a3", "sum": "\u03a3", "Omega": "\u03a9",
    "alpha": "\u03b1", "beta": "\u03b2", "gamma": "\u03b3", "delta": "\u03b4", "epsilon": "\u03b5", "kappa": "\u03ba",
    "lambda": "\u03bb", "mu": "\u03bc", "pi": "\u03c0", "rho": "\u03c1", "sigma": "\u03c3", "tau": "\u03c4",
    "phi": "\u03c6", "chi": "\u03c7", "omega": "\u03c9", "theta": "\u03b8", "eta": "\u03b7",
}  # fmt: skip
# The order matters: the inner braces of a formula are gone before its fractions are written.
TEX_TEXT = re.compile(
    r"\\(?:text|mathrm|mathit|mathbf|mathsf|textrm|operatorname|mbox|rm|hbox)\s*\{([^{}]*)\}"
)
TEX_SCRIPT = re.compile(r"\s*([\^_])\s*(?:\{([^{}]*)\}|(\\circ\b|[^\s{}\\]))\s*?(?=(\S?))")
TEX_FRACTION = re.compile(r"(\d\s*)?\\[dt]?frac\s*(?:\{([^{}]*)\}\s*\{([^{}]*)\}|(\d)\s*(\d))(?=(\d?))")
TEX_ROOT = re.compile(r"\\sqrt\s*\{([^{}]*)\}")
TEX_COMMAND = re.compile(r"\\([a-zA-Z]+)")
TEX_SPACE = re.compile(r"\\[,;:! ]|~|\\\\")
# A formula that nests deeper is kept as it is.
MAX_TEX_PASSES = 8


def tex_text(source: str) -> str:
    """Return a formula as plain text, or its TeX source with spaces between braces if it has an unknown command."""
    text = " ".join(source.split())
    shown = TEX_SPACE.sub(" ", text.replace("{,}", ",").replace("\\%", "%"))
    for _ in range(MAX_TEX_PASSES):
        before = shown
        shown = TEX_TEXT.sub(r"\1", shown)
        shown = TEX_SCRIPT.sub(_tex_script, shown)
        shown = TEX_FRACTION.sub(_tex_fraction, TEX_ROOT.sub("\u221a(\\1)", shown))
        if shown == before:
            break
    shown = TEX_COMMAND.sub(lambda match: TEX_SYMBOLS.get(match[1], match[0]), shown)
    if "\\" in shown:
        # Without doubled braces and brackets, which are wiki markup.
        return re.sub(r"([{}\[\]'])(?=\1)", r"\1 ", text)
    return " ".join(shown.replace("{", "").replace("}", "").split())


def _tex_script(match: re.Match[str]) -> str:
    sign, script, following = match[1], (match[2] or match[3]).strip(), match[4]
    if script.startswith("\\circ"):
        return "\u00b0"
    script = f"({script})" if " " in script or "^" in script or "_" in script else script
    return f"{sign}{script}{' ' if following.isdigit() and script[-1:].isdigit() else ''}"


def _tex_fraction(match: re.Match[str]) -> str:
    whole, numerator, denominator = match[1], match[2] or match[4] or "", match[3] or match[5] or ""
    parts = (part.strip() for part in (numerator, denominator))
    fraction = "/".join(part if re.fullmatch(r"[\w.,]*", part) else f"({part})" for part in parts)
    return f"{whole.strip() + ' ' if whole else ''}{fraction}{' ' if match[6] else ''}"
