"""What stands where a rule expects a name, a town, a number: shared by the rules, and cut short for the first sieve."""

from __future__ import annotations

# Capitals of the Latin, Greek and Cyrillic scripts, spelled out: Python's `re` has no name for them.
CAPITALS = "".join(
    chr(c) for c in (*range(0xC0, 0x250), *range(0x370, 0x530), *range(0x1E00, 0x1F00)) if chr(c).isupper()
)
UPPER = f"[A-Z{CAPITALS}]"
LETTER = r"[^\W\d_]"

PARTICLES = r"(?:van|von|der|den|de|del|della|dos|das|da|di|du|la|le|bin|bint|ibn|al|el|ter|ten|te|y|e)"
PART = rf"(?:{UPPER}\.|{UPPER}{LETTER}{{0,40}}(?:['\u2019-]{LETTER}{{1,40}}){{0,4}})"
LEAD = r"(?:(?:van|von|der|den|de|del|della|dos|das|da|di|du|la|le|bin|bint|ibn|al|el|ter|ten|te)[ ]){0,2}"
NAME = rf"{LEAD}{PART}(?:[ ](?:{PARTICLES}[ ]){{0,2}}{PART}){{0,3}}"
TWO = rf"{LEAD}{PART}(?:[ ](?:{PARTICLES}[ ]){{0,2}}{PART}){{1,3}}"
FIELD = rf"(?:{NAME}, ?{NAME}|{NAME})"
CAP = rf"{UPPER}(?:['\u2019-]?{LETTER}){{0,40}}"
TOWN = rf"(?:(?:St|Ste|Ft|Mt)\. )?{CAP}(?:(?: | de | del | la | of | upon |-)(?:(?:St|Ste)\. )?{CAP}){{0,3}}"
CODE = r"[A-Za-z]{0,5}(?:[-/_][A-Za-z]{1,4})?[-/_]?[0-9][A-Za-z0-9]*(?:[-/_][A-Za-z0-9]+)*"
SPACED = r"[A-Z]{0,3}[ -]?[0-9]{2,4}(?:[ -][0-9]{2,4}){1,4}(?: ?[A-Z])?\b"
VALUE = rf"(?:{SPACED}|{CODE})"
LOOSE = r"[+(]?[0-9][0-9 ().-]{5,18}[0-9]"  # a telephone number wherever a label says that it is one

# Where a pattern ends on one of these, its beginning is enough to tell whether Python need look at a text.
BEGINNINGS = {
    f"(?P<x>{NAME})": f"{LEAD}{UPPER}",
    f"(?P<x>{FIELD})": f"{LEAD}{UPPER}",
    f"(?P<x>{TOWN})": UPPER,
    f"(?P<x>{VALUE})": "[A-Za-z]{0,5}[-/_ ]?[A-Za-z]{0,4}[-/_]?[0-9]",
    f"(?P<x>{LOOSE})": "[+(]?[0-9][0-9 ().-]{5}",
}
