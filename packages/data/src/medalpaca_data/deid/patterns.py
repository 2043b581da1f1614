"""Contact data and identification numbers: telephone, fax, e-mail, web and network addresses; record and other numbers.

Classes D, E, F, N and O (contact) and G to M and P to R (numbers and codes of people, devices and documents).
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable

from .rules import ID_VALUE, LOOSE_PHONE, Match, Rule, digits, is_common_word, is_isolated

NUMBER_WORD = r"(?:[ ]?(?:numbers?|nos?|num|nr|#)\.?)?"
PHONE_SEPARATOR = r"[ \t]*(?:(?:is|was|are|at|on|=|:|#|-|\.)[ \t]*){0,3}\n?"
NANP = r"(?:\+?1[ .-]?)?(?:\([2-9][0-9]{2}\)[ .-]?|[2-9][0-9]{2}[ .-])[0-9]{3}[ .-][0-9]{4}"
TOP_LEVEL_DOMAINS = (
    r"(?:com|org|net|edu|gov|mil|info|biz|io|me|co|us|uk|ca|au|de|fr|in|es|it|nl|ch|eu|blog|"
    r"health|clinic|care|app|dev)"
)
PHONE_LABELS = (
    r"(?:tele?(?:phone)?|phone|ph|cell(?: ?phone)?|mobile|mob|call(?: (?:me|him|her|us))?|ring|text|whatsapp|signal|"
    r"pager|beeper|contact|dial|desk|answering|registered|reach (?:me|him|her|us|them)|home|work|"
    r"office|hotline|handy|(?:my|his|her|their|our|'s) number)"
)


def _is_phone_number(match: Match) -> bool:
    return 7 <= len(digits(match["x"])) <= 15 and is_isolated(match)


def _is_isolated_or_extended(match: Match) -> bool:
    """Accept an isolated number, or one with an extension such as "x12" directly after it."""
    return is_isolated(match) or (
        bool(re.match(r"x[0-9]", match.string[match.end() : match.end() + 2]))
        and not match.string[max(0, match.start() - 1) : match.start()].isalnum()
    )


def _is_international(match: Match) -> bool:
    return 8 <= len(digits(match[0])) <= 15 and is_isolated(match)


def _is_ipv4(match: Match) -> bool:
    octets = [int(part) for part in match[0].split(".")]
    before = match.string[max(0, match.start() - 12) : match.start()]
    # Enzyme, version and section numbers also have four parts, but all of them are small.
    named = re.search(r"(?i:\bip\b|address|host)", before)
    return (
        max(octets) < 256 and bool(named or (octets[0] >= 10 and max(octets) >= 100)) and is_isolated(match)
    )


def _is_ipv6(match: Match) -> bool:
    text = match[0]
    if len(text) < 8 or not any(character.isdigit() for character in text) or not is_isolated(match):
        return False
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True


# Registers, journals and authorities, whose pages are not about one patient.
PUBLIC_ADDRESS = re.compile(
    r"(?i)(?:^|[/.])(?:clinicaltrials?|nih|cdc|fda|hhs|census|cancer|medlineplus|va|cms|epa|usda)\.gov\b|\bdoi\.org\b|\bwho\.int\b"
)


def _is_private_address(match: Match) -> bool:
    return not PUBLIC_ADDRESS.search(match[0])


def _is_private_domain(match: Match) -> bool:
    """Accept a domain that is not part of an e-mail address or a longer path."""
    if PUBLIC_ADDRESS.search(match[0]):
        return False
    before = match.string[max(0, match.start() - 1) : match.start()]
    after = match.string[match.end() : match.end() + 1]
    return before not in ("@", "/", "-", ".", "_") and not before.isalnum() and after != "@"


CONTACT_RULES = (
    Rule(
        "fax",
        "fax label",
        rf"(?i:\b(?:fax|facsimile))(?i:[^0-9+(\n]{{0,40}})(?P<x>{LOOSE_PHONE})",
        _is_phone_number,
    ),
    Rule("fax", "fax after", rf"(?P<x>{LOOSE_PHONE})[ ,]{{0,2}}\(?(?i:fax|facsimile)\b", _is_phone_number),
    Rule("phone", "ten digits", NANP, _is_isolated_or_extended),
    Rule(
        "phone",
        "number first",
        rf"(?P<x>{LOOSE_PHONE})[ ,-]{{1,2}}\(?(?i:office|mobile|cell|home|work|desk|pager)\b",
        _is_phone_number,
    ),
    Rule("phone", "international", r"\+[1-9](?:[ .()-]{0,2}[0-9]){7,14}", _is_international),
    Rule(
        "phone",
        "phone label",
        rf"(?i:\b{PHONE_LABELS}{NUMBER_WORD}{PHONE_SEPARATOR})(?P<x>{LOOSE_PHONE})",
        _is_phone_number,
    ),
    Rule("phone", "extension", r"[0-9]{4}[ ,]{0,2}(?i:ext|extension|x)[ .:]{0,2}(?P<x>[0-9]{2,6})\b"),
    Rule(
        "phone",
        "pager",
        r"(?i:\b(?:pager|beeper|bleep|ext|extension)[ ]?(?:no|number|#)?[.:# ]{0,3})(?P<x>[0-9]{3,6})\b",
        is_isolated,
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
        rf" ?(?:\bdot\b|\(dot\)|\[dot\]) ?(?i:{TOP_LEVEL_DOMAINS})\b",
    ),
    Rule(
        "url",
        "scheme",
        r"(?i:\b(?:https?|ftp|sftp)://)[^\s<>\"()\[\]{}]*[A-Za-z0-9/=_~#&-]",
        _is_private_address,
    ),
    Rule("url", "www", r"(?i:\bwww\.)[A-Za-z0-9-]+[^\s<>\"()\[\]{}]*[A-Za-z0-9/=_~#&-]", _is_private_address),
    Rule(
        "url",
        "domain",
        rf"\b[A-Za-z0-9][A-Za-z0-9-]{{0,62}}(?:\.[A-Za-z0-9-]+){{0,3}}\.(?:{TOP_LEVEL_DOMAINS})\b(?:/[^\s<>\"()\[\]{{}}]*[A-Za-z0-9/=_~#&-])?",
        _is_private_domain,
    ),
    Rule("ip", "version 4", r"\b[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}\b", _is_ipv4),
    Rule("ip", "version 6", r"\b[0-9A-Fa-f]{1,4}:(?:[0-9A-Fa-f]{0,4}:){1,7}[0-9A-Fa-f]{0,4}", _is_ipv6),
)


ID_WORD = r"(?:[ ]?(?:numbers?|nos?|num|nr|ids?|identifiers?|identification|code|#)\.?)"
CODE_SEPARATOR = r"[ \t]*(?:(?:is|was|=|:|#|-|\.|\()[ \t]*){0,3}"


# A year, or a number of a public register of trials or papers.
PUBLIC_NUMBER = re.compile(
    r"(?:18|19|20)[0-9]{2}|(?i:NCT|ISRCTN|ACTRN|CTRI|UMIN|ChiCTR|DRKS|NTR|IRCT|KCT|TCTR|PACTR|JPRN|"
    r"EudraCT|PMC|PMID|R?CTN)[- /]?[0-9].*"
)


def _min_digits(least: int) -> Callable[[Match], bool]:
    return lambda match: (
        len(digits(match["x"])) >= least
        and _is_whole_value(match)
        and not PUBLIC_NUMBER.fullmatch(match["x"])
    )


def _is_whole_value(match: Match) -> bool:
    """Return whether the value is separated from its label and from what follows it."""
    start, after = match.start("x"), match.string[match.end("x") : match.end("x") + 1]
    glued = match["x"][0].isalpha() and match.string[max(0, start - 1) : start].isalpha()
    return not glued and not after.isalnum()


def _labelled_rules(kind: str, name: str, strong: str, weak: str = "", least: int = 4) -> list[Rule]:
    """Return rules for a value of at least `least` digits (at most 4 after a weak label) that follows its label.

    A strong label is sufficient alone; a weak one needs "number", "ID", "#" or ":" after it.
    """
    rules = [
        Rule(
            kind,
            name,
            rf"(?i:\b(?:{strong})\.?{ID_WORD}?{CODE_SEPARATOR})(?P<x>{ID_VALUE})",
            _min_digits(least),
        )
    ]
    if weak:
        label = rf"(?i:\b(?:{weak})\.?(?:{ID_WORD}{CODE_SEPARATOR}|[ ]?[:#][ ]?))"
        rules.append(Rule(kind, f"{name} number", f"{label}(?P<x>{ID_VALUE})", _min_digits(min(least, 4))))
    return rules


def is_luhn_valid(number: str) -> bool:
    """Return whether the check digit of a card number is right (ISO/IEC 7812-1, annex B)."""
    doubled = [int(n) * (1 + position % 2) for position, n in enumerate(reversed(number))]
    return sum(n - 9 if n > 9 else n for n in doubled) % 10 == 0


def _is_card(match: Match) -> bool:
    number = digits(match[0])
    return 13 <= len(number) <= 19 and number[0] in "3456" and is_luhn_valid(number) and is_isolated(match)


def _is_iban(match: Match) -> bool:
    """Return whether length and remainder are those of an IBAN (ISO 13616)."""
    text = match[0].replace(" ", "")
    moved = text[4:] + text[:4]
    return 15 <= len(text) <= 34 and int("".join(str(int(c, 36)) for c in moved)) % 97 == 1


def _is_vin(match: Match) -> bool:
    """Return whether the ninth character is the check digit of a vehicle identification number (49 CFR 565.15(c))."""
    text = match[0]
    values = dict(
        zip("ABCDEFGHJKLMNPRSTUVWXYZ", (*range(1, 9), *range(1, 6), 7, 9, *range(2, 10)), strict=True)
    )
    weights = (8, 7, 6, 5, 4, 3, 2, 10, 0, 9, 8, 7, 6, 5, 4, 3, 2)
    total = sum((values.get(c) or int(c)) * w for c, w in zip(text, weights, strict=True))
    return text[8] == "0123456789X"[total % 11] and any(c.isalpha() for c in text) and is_isolated(match)


def _is_dea(match: Match) -> bool:
    n = [int(c) for c in match[0][2:]]
    return (n[0] + n[2] + n[4] + 2 * (n[1] + n[3] + n[5])) % 10 == n[6] and is_isolated(match)


def _is_plate(match: Match) -> bool:
    text = match["x"]
    letters = sum(c.isalpha() for c in text)
    return (
        letters >= 1
        and len(digits(text)) >= 2
        and letters + len(digits(text)) >= 5
        and _is_whole_value(match)
    )


def _is_last_four(match: Match) -> bool:
    return bool(
        re.search(r"(?i:soc|ssn|ss#)", match.string[max(0, match.start() - 40) : match.end()])
    ) and is_isolated(match)


# No letter that looks like a digit, as CMS defines the format of the Medicare beneficiary identifier.
MBI_LETTER = "AC-HJKMNP-RT-Y"
MBI = rf"[1-9][{MBI_LETTER}][{MBI_LETTER}0-9][0-9]-?[{MBI_LETTER}][{MBI_LETTER}0-9][0-9]-?[{MBI_LETTER}]{{2}}[0-9]{{2}}"
PLATE = r"(?P<x>[A-Z0-9]{1,4}[ -]?[A-Z0-9]{2,4}(?:[ -]?[A-Z0-9]{1,4})?)"
BODY_PARTS = (
    r"finger ?prints?|thumb ?prints?|palm(?: ?prints?)?(?: vein)?|voice ?prints?|retinal?|iris|facial|face|biometrics?|"
    r"hand geometry|dna profile"
)
IMAGE_EXTENSIONS = r"(?i:jpe?g|png|heic|heif|tiff?|bmp|gif|webp)"

NUMBER_RULES = (
    Rule("ssn", "three-two-four", r"\b[0-9]{3}-[0-9]{2}-[0-9]{4}\b", is_isolated),
    Rule(
        "ssn",
        "label",
        rf"(?i:\b(?:SSN?|social(?: security)?|soc\.? ?sec\.?)(?: "
        rf"card)?{ID_WORD}?{CODE_SEPARATOR})(?P<x>[0-9]{{3}}[ -]?[0-9]{{2}}[ -]?[0-9]{{4}})\b",
        is_isolated,
    ),
    Rule("ssn", "last four", r"(?i:\blast (?:four|4)[^0-9\n]{0,40}?)(?P<x>[0-9]{4})\b", _is_last_four),
    *_labelled_rules(
        "mrn",
        "record label",
        r"M\.?R\.?N|MR ?#|UHID|med(?:ical)?\.? rec(?:ord)?s?|health record|hospital record",
        r"chart|hospital|patient|pt|unit|NHS|CHI|clinic|UR|record|episode|inpatient|outpatient",
    ),
    Rule("plan", "medicare", rf"\b{MBI}\b", is_isolated),
    *_labelled_rules(
        "plan",
        "plan label",
        r"MBI|HICN|(?:member|subscriber|beneficiary|policy) ?(?:id|#)",
        r"medicare|medicaid|medi-cal|member(?:ship)?|subscriber|beneficiary|(?:insurance )?policy|"
        r"insurance(?: policy)?|insured|"
        r"(?:health )?plan|group|payer|prior auth(?:orization)?",
    ),
    *_labelled_rules(
        "account",
        "account label",
        r"acct|a/c|accounts?|credit card|debit card",
        r"invoice|bill(?:ing)?|statement|card|guarantor|bank|receipt|transaction",
        5,
    ),
    Rule("account", "card label", r"(?i:\b(?:card|cc)(?: number)?(?: is)?[ :#]{1,2})(?P<x>[0-9]{12,19})\b"),
    Rule("account", "card", r"\b(?:[0-9][ -]?){12,18}[0-9]\b", _is_card),
    Rule("account", "IBAN", r"\b[A-Z]{2}[0-9]{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b", _is_iban),
    *_labelled_rules(
        "licence",
        "licence label",
        r"driver'?s?'? licen[cs]e|DEA|NPI|DL|passport|lic",
        r"licen[cs]es?|certificate|certification|cert|registration|permit|board",
        5,
    ),
    Rule("licence", "DEA", r"\b[ABFGMPR][A-Z9][0-9]{7}\b", _is_dea),
    Rule("vehicle", "VIN", r"\b[A-HJ-NPR-Z0-9]{17}\b", _is_vin),
    *_labelled_rules(
        "vehicle", "vehicle label", r"VIN|vehicle(?: identification| serial)", r"vehicle|chassis|engine", 5
    ),
    Rule(
        "vehicle",
        "plate",
        rf"(?i:\b(?:licen[cs]e plates?|number plates?|registration plates?|plates?|tags?|reg)\.?"
        rf"{ID_WORD}?{CODE_SEPARATOR}){PLATE}",
        _is_plate,
    ),
    *_labelled_rules(
        "device", "device label", r"serial|S/N|IMEI|UDI|lot", r"device|implant|model|catalog(?:ue)?"
    ),
    Rule("device", "SN", rf"\bSN{CODE_SEPARATOR}(?P<x>{ID_VALUE})", _min_digits(5)),
    Rule("device", "UDI", r"\(01\)[0-9]{14}(?:\([0-9]{2}\)[A-Za-z0-9/-]{1,20})*"),
    Rule("device", "MAC", r"\b(?:[0-9A-Fa-f]{2}[:-]){5}[0-9A-Fa-f]{2}\b", is_isolated),
    Rule(
        "biometric",
        "body label",
        rf"(?i:\b(?:{BODY_PARTS})(?:[ ](?:recognition|scan|template|record|pattern|hash|data|file|"
        rf"signature)){{0,3}}{ID_WORD}?{CODE_SEPARATOR})(?P<x>{ID_VALUE})",
        _min_digits(4),
    ),
    Rule("photo", "image file", rf"(?:[A-Z][\w-]+ ){{0,2}}[\w-]{{1,80}}\.{IMAGE_EXTENSIONS}\b"),
    Rule(
        "photo",
        "image file of two words",
        rf"(?P<x>(?P<first>[\w-]{{1,80}}) [A-Za-z-]{{1,80}}\.{IMAGE_EXTENSIONS})\b",
        lambda match: not is_common_word(match["first"]),
    ),
    Rule("other", "UUID", r"\b[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}\b"),
    *_labelled_rules(
        "other",
        "code label",
        r"accession|encounter|CSN|barcode|aadhaar|SIN|CPF|TIN|national insurance|national id|specimen",
        r"study|subject|sample|case|visit|employee|claim|order|tracking|reference|ref|ticket|file|session|participant|badge|"
        r"enrol?ment|protocol|requisition|prescription|rx|booking|appointment|tax|trial id|user|student|staff",
    ),
    Rule("other", "subject", r"(?i:\bsubject )(?P<x>[0-9]{2,4}-[0-9]{3,5})\b", is_isolated),
    Rule("other", "handle", r"(?:^|[\s(:,])(?P<x>@[A-Za-z0-9_][A-Za-z0-9_.]{1,28}[A-Za-z0-9_])"),
)
