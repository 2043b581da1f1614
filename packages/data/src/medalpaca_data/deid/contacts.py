"""How somebody is reached: telephone and fax, e-mail, web and network addresses (classes D, E, F, N, O)."""

from __future__ import annotations

import ipaddress
import re

from .rule import Match, Rule, alone, digits
from .shapes import LOOSE

NUMBER = r"(?:[ ]?(?:numbers?|nos?|num|nr|#)\.?)?"
SEP = r"[ \t]*(?:(?:is|was|are|at|on|=|:|#|-|\.)[ \t]*){0,3}\n?"
NANP = r"(?:\+?1[ .-]?)?(?:\([2-9][0-9]{2}\)[ .-]?|[2-9][0-9]{2}[ .-])[0-9]{3}[ .-][0-9]{4}"
TOP = (
    r"(?:com|org|net|edu|gov|mil|info|biz|io|me|co|us|uk|ca|au|de|fr|in|es|it|nl|ch|eu|blog|"
    r"health|clinic|care|app|dev)"
)
LABELS = (
    r"(?:tele?(?:phone)?|phone|ph|cell(?: ?phone)?|mobile|mob|call(?: (?:me|him|her|us))?|ring|text|whatsapp|signal|"
    r"pager|beeper|contact|dial|desk|answering|registered|reach (?:me|him|her|us|them)|home|work|"
    r"office|hotline|handy|(?:my|his|her|their|our|'s) number)"
)


def _many_digits(match: Match) -> bool:
    return 7 <= len(digits(match["x"])) <= 15 and alone(match)


def _not_longer(match: Match) -> bool:
    """By itself, or with an extension right behind it."""
    return alone(match) or (
        bool(re.match(r"x[0-9]", match.string[match.end() : match.end() + 2]))
        and not match.string[max(0, match.start() - 1) : match.start()].isalnum()
    )


def _international(match: Match) -> bool:
    return 8 <= len(digits(match[0])) <= 15 and alone(match)


def _ipv4(match: Match) -> bool:
    octets = [int(part) for part in match[0].split(".")]
    before = match.string[max(0, match.start() - 12) : match.start()]
    # Enzyme numbers, versions and section numbers have four parts too, all of them small.
    named = re.search(r"(?i:\bip\b|address|host)", before)
    return max(octets) < 256 and bool(named or (octets[0] >= 10 and max(octets) >= 100)) and alone(match)


def _ipv6(match: Match) -> bool:
    text = match[0]
    if len(text) < 8 or not any(character.isdigit() for character in text) or not alone(match):
        return False
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True


# Bodies whose pages are about no one patient: registers, papers, authorities.
PUBLIC = re.compile(
    r"(?i)(?:^|[/.])(?:clinicaltrials?|nih|cdc|fda|hhs|census|cancer|medlineplus|va|cms|epa|usda)\.gov\b|\bdoi\.org\b|\bwho\.int\b"
)


def _not_public(match: Match) -> bool:
    return not PUBLIC.search(match[0])


def _not_in_address(match: Match) -> bool:
    """A domain by itself: one inside an e-mail address or after a path is part of something longer."""
    if PUBLIC.search(match[0]):
        return False
    before = match.string[max(0, match.start() - 1) : match.start()]
    after = match.string[match.end() : match.end() + 1]
    return before not in ("@", "/", "-", ".", "_") and not before.isalnum() and after != "@"


RULES = (
    Rule("fax", "fax label", rf"(?i:\b(?:fax|facsimile))(?i:[^0-9+(\n]{{0,40}})(?P<x>{LOOSE})", _many_digits),
    Rule("fax", "fax after", rf"(?P<x>{LOOSE})[ ,]{{0,2}}\(?(?i:fax|facsimile)\b", _many_digits),
    Rule("phone", "ten digits", NANP, _not_longer),
    Rule(
        "phone",
        "number first",
        rf"(?P<x>{LOOSE})[ ,-]{{1,2}}\(?(?i:office|mobile|cell|home|work|desk|pager)\b",
        _many_digits,
    ),
    Rule("phone", "international", r"\+[1-9](?:[ .()-]{0,2}[0-9]){7,14}", _international),
    Rule("phone", "phone label", rf"(?i:\b{LABELS}{NUMBER}{SEP})(?P<x>{LOOSE})", _many_digits),
    Rule("phone", "extension", r"[0-9]{4}[ ,]{0,2}(?i:ext|extension|x)[ .:]{0,2}(?P<x>[0-9]{2,6})\b"),
    Rule(
        "phone",
        "pager",
        r"(?i:\b(?:pager|beeper|bleep|ext|extension)[ ]?(?:no|number|#)?[.:# ]{0,3})(?P<x>[0-9]{3,6})\b",
        alone,
    ),
    Rule(
        "email",
        "address",
        r"[A-Za-z0-9](?:[A-Za-z0-9._%+'-]{0,62}[A-Za-z0-9_+-])?@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+",
    ),
    Rule(
        "email",
        "address in words",
        rf"[A-Za-z0-9._+-]{{1,64}} ?(?:\bat\b|\(at\)|\[at\]) ?[A-Za-z0-9-]+(?: ?(?:\bdot\b|\(dot\)|"
        rf"\[dot\]) ?[A-Za-z]+)*"
        rf" ?(?:\bdot\b|\(dot\)|\[dot\]) ?(?i:{TOP})\b",
    ),
    Rule("url", "scheme", r"(?i:\b(?:https?|ftp|sftp)://)[^\s<>\"()\[\]{}]*[A-Za-z0-9/=_~#&-]", _not_public),
    Rule("url", "www", r"(?i:\bwww\.)[A-Za-z0-9-]+[^\s<>\"()\[\]{}]*[A-Za-z0-9/=_~#&-]", _not_public),
    Rule(
        "url",
        "domain",
        rf"\b[A-Za-z0-9][A-Za-z0-9-]{{0,62}}(?:\.[A-Za-z0-9-]+){{0,3}}\.(?:{TOP})\b(?:/[^\s<>\"()\[\]{{}}]*[A-Za-z0-9/=_~#&-])?",
        _not_in_address,
    ),
    Rule("ip", "version 4", r"\b[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}\b", _ipv4),
    Rule("ip", "version 6", r"\b[0-9A-Fa-f]{1,4}:(?:[0-9A-Fa-f]{0,4}:){1,7}[0-9A-Fa-f]{0,4}", _ipv6),
)
