"""Contacts of the profile `recall`: e-mail and web addresses, handles, files, telephone numbers."""

from __future__ import annotations

import re

from .recall_labels import GLUE, NUMBER_WORD, UNIT
from .recall_rules import NUMBER, TextRule
from .rules import Match, digits

PHONE_WORD = (
    r"(?i:\b(?:tele?(?:fon|phone)?|phone|ph|cell(?:ular)?|mobile?|mobil(?:telefon|"
    r"funk)?|mob|handy|call(?:ed|back)?(?: back)?(?: (?:me|us|him|her|them))?(?: at|"
    r" on)?|ring|text|sms|"
    r"whatsapp|pager?|pgr|paged(?: at)?|beeper|bleep|bp#|contact|dial|voice ?mail|"
    r"vm|hotline|home|work|office|ofc|landline|switchboard|direct line|durchwahl|"
    r"dw|"
    r"rufnummer|rückruf|funk|piepser|reach(?:ed|able)?(?: him| her| me| them| us)?(?: at|"
    r" on)?|extension|ext|extn|xtn|apparat|app\.|tie ?line|asb|spectralink|"
    r"ascom|number|nummer|no|night|day|cb|c/b|tel)\b)"
)


def _is_phone(match: Match) -> bool:
    count = len(digits(match[0]))
    return 7 <= count <= 15 and not UNIT.match(match.string, match.end())


def _is_ipv4(match: Match) -> bool:
    return all(int(part) < 256 for part in match[0].split("."))


TLD = (
    r"(?:com|org|net|edu|gov|mil|info|biz|io|me|co|us|uk|ca|au|de|fr|in|es|it|nl|"
    r"ch|at|eu|ie|nz|za|scot|wales|nhs|blog|health|clinic|care|app|dev|online|site|"
    r"xyz|ly|tv)"
)
CONTACTS = (
    TextRule(
        "email",
        "address",
        r"[\w.+%'-]+ ?(?:@|\(at\)|\[at\]) ?[\w-]+(?:(?:\.| ?\[dot\] ?| ?\(dot\) ?)[\w-]+)+",
        gate=("@", "(at)", "[at]"),
    ),
    TextRule(
        "email",
        "address in words",
        r"(?i:[\w.+-]+ at [\w-]+ (?:dot|punkt) \w{2,6}(?: dot uk)?)",
        gate=(" dot ", " punkt "),
    ),
    TextRule(
        "url", "scheme", r"(?i:(?:https?|ftp|s3|file)://[^\s<>\"|)\]]+[^\s<>\"|)\].,;:])", at="htt ftp s fil"
    ),
    TextRule("url", "www", r"(?i:\bwww\.[^\s<>\"|)\]]+[^\s<>\"|)\].,;:])", at="www"),
    TextRule(
        "url",
        "domain",
        rf"(?<![\w@.-])(?:[a-z0-9-]{{2,}}\.)+(?:{TLD})(?:/[^\s<>\"|)\]]*[^\s<>\"|)\].,;:])?(?![\w@.])",
        lambda m: (
            "/" in m[0] or bool(re.search(r"\.(?:com|org|net|edu|gov|info|io|uk|de|au|ie|ch|at)$", m[0]))
        ),
    ),
    TextRule("ip", "IPv4", r"(?<![\w.])(?:[0-9]{1,3}\.){3}[0-9]{1,3}(?![\w]|\.[0-9])", _is_ipv4, at=NUMBER),
    TextRule(
        "ip",
        "IPv6 or MAC",
        (
            r"(?<![\w:])(?:[0-9A-Fa-f]{2}[:-]){5}[0-9A-Fa-f]{2}(?![\w:])|(?<![\w:])(?:[0-9A-Fa-f]{1,4}:){3,7}:?[0-"
            r"9A-Fa-f]{1,4}(?![\w:])|(?<![\w:])(?:[0-9A-Fa-f]{1,4}:){1,6}:[0-9A-Fa-f:]{1,20}(?![\w:])"
        ),
        gate=(":",),
    ),
    TextRule("other", "handle", r"(?<![\w@.])@[A-Za-z_][\w.]{1,30}\b", gate=("@",)),
    TextRule(
        "other",
        "handle, label",
        (
            r"(?i:\b(?:instagram|insta|ig|facebook|fb|twitter|tiktok|snapchat|snap|telegram|"
            r"skype|discord|username|user ?name|user ?id|login|handle|gamertag|linkedin|reddit|"
            r"screen ?name|benutzername)(?: handle| id| user| name| account)?(?: is)?[ ]*[:=][ ]*)(?P<x>[\w.@/#-]{"
            r"2,40})"
        ),
        at="ins ig fac fb twi tik sna tel sky dis use log han gam lin red scr ben",
    ),
    TextRule("other", "unique identifier", r"(?<![\w.])[0-2](?:\.[0-9]+){4,}(?![\w])", at=NUMBER),
    TextRule(
        "other",
        "handle of a network",
        (
            r"(?i:\b(?:user|login|instagram|insta|facebook|fb|twitter|tiktok|snapchat|telegram|"
            r"skype|discord|reddit|linkedin|username)(?: account| handle| id| user(?:name)?|"
            r" name| as| under| is)* )(?P<x>[\w-]*[\w](?:[._][\w]+)+|[A-Za-z_]+[0-9][\w]*)(?!\w)"
        ),
        at="use log ins fac fb twi tik sna tel sky dis red lin",
    ),
    TextRule(
        "photo",
        "image file",
        (
            r"(?i:[\w()-]+(?:[_.-][\w()-]+)*\.(?:jpe?g|png|gif|tiff?|bmp|heic|dcm|mp4|mov|"
            r"avi|webp|pdf|docx?|wav|mp3))(?!\w)"
        ),
        lambda m: True,
        gate=(
            ".jp",
            ".png",
            ".gif",
            ".tif",
            ".bmp",
            ".heic",
            ".dcm",
            ".mp4",
            ".mov",
            ".avi",
            ".webp",
            ".pdf",
            ".doc",
            ".wav",
            ".mp3",
        ),
    ),
)
PHONES = (
    TextRule(
        "phone", "three groups with dots", r"(?<![\w.])[0-9]{3}\.[0-9]{3}\.[0-9]{4}(?![\w.]*[0-9])", at=NUMBER
    ),
    TextRule(
        "fax",
        "label",
        rf"(?i:\b(?:tele)?fax(?: number| no\.?| nr\.?)?|\bfx){GLUE}(?P<x>[+(]?[0-9][0-9 ()./\u2013-]{{2,22}}[0-9])",
        lambda m: len(digits(m["x"])) >= 4,
        at="tel fax fx",
    ),
    TextRule(
        "phone",
        "label",
        (
            rf"{PHONE_WORD}{NUMBER_WORD}{GLUE}(?P<x>[+(]?[0-9](?:[0-9 ()./\u2013-]{{2,22}})[0-9](?:[ ]?(?i:x|"
            rf"ext\.?|extension) ?[0-9]{{2,6}})?)(?![\w%]|[.:/][0-9])"
        ),
        lambda m: (
            len(digits(m["x"])) >= 7 and not m[0].startswith("pH") and not UNIT.match(m.string, m.end("x"))
        ),
        at=(
            "tel pho ph cel mob han cal rin tex sms wha pag pgr bee ble bp con dia voi vm hot hom wor off ofc lan"
            " swi dir dur dw ruf rüc fun pie rea ext xtn app tie asb spe asc num no nig day cb c"
        ),
    ),
    TextRule(
        "phone",
        "short, label",
        (
            rf"(?i:\b(?:pager?|pgr|paged at|beeper|bleep|bleeped?|bp#|ext|extn|xtn|extension|"
            rf"durchwahl|dw|apparat|app\.|tie ?line|spectralink|ascom|piepser|funk|asb|voice ?mail|"
            rf"desk|vm|x|dect|tel|phone|ph)\b){NUMBER_WORD}{GLUE}(?P<x>[0-9](?:[0-9-]{{1,7}})[0-9]|"
            rf"[0-9]{{2}})(?![\w%]|[.,/:-][0-9])"
        ),
        lambda m: not m[0].startswith("pH") and not UNIT.match(m.string, m.end("x")),
        at="pag pgr bee ble bp ext xtn dur dw app tie spe asc pie fun asb voi des vm x dec tel pho ph",
    ),
    TextRule(
        "phone",
        "extension",
        r"(?<![\w.])(?i:x|p|ext\.?|b|pgr) ?-?(?P<x>[0-9]{3,6})(?![\w%]|[./-][0-9]|,[0-9]{3}(?![0-9]))",
        lambda m: (
            (
                m[0][0] in "xX"
                and not re.search(r"[0-9] $", m.string[max(0, m.start() - 2) : m.start()])
                and not UNIT.match(m.string, m.end())
            )
            or m[0][0] in "eE"
            or len(m["x"]) >= 4
        ),
        at="x p ext b pgr",
    ),
    TextRule("phone", "hash", r"(?<![\w&])#[ ]?(?P<x>[0-9]{3,12}(?:-[0-9]+)*)(?!\w)"),
    TextRule(
        "phone",
        "area in brackets",
        (
            r"(?<!\w)(?:\+?[0-9]{1,3}[ .-]?)?\([0-9]{2,5}\)[ .-]?[0-9]{3,5}[ .-]?[0-9]{3,5}(?:[ -][0-9]{2,4})?(?:,"
            r"? ?(?i:x|ext\.?) ?[0-9]{1,6})?(?!\w)"
        ),
        at=NUMBER,
    ),
    TextRule(
        "phone",
        "American",
        (
            r"(?<![\w./-])(?<![0-9],)(?:\+?1[ .-]?)?[2-9][0-9]{2}[ .\u2013/-][0-9]{3}[ .\u2013-][0-9]{4}(?:,? ?(?i"
            r":x|ext\.?|#) ?[0-9]{1,6})?(?!\w|[./-][0-9]|,[0-9]{3}(?![0-9]))"
        ),
        at=NUMBER,
    ),
    TextRule(
        "phone",
        "local",
        r"(?<![\w./-])(?<![0-9],)[2-9][0-9]{2}[-.][0-9]{4}(?!\w|[./-][0-9]|,[0-9]{3}(?![0-9]))",
        _is_phone,
        at=NUMBER,
    ),
    TextRule(
        "phone",
        "international",
        (
            r"(?<![\w./-])(?<![0-9],)(?:\+|00)[0-9]{1,3}[ ./-]?(?:\(0\)[ ]?)?[0-9]{1,5}(?:[ ./\u2013-]{1,2}[0-9]{2"
            r",8}){0,5}(?!\w|:[0-9])"
        ),
        _is_phone,
        at=NUMBER,
    ),
    TextRule(
        "phone",
        "trunk zero",
        (
            r"(?<![\w./-])(?<![0-9],)(?:0[0-9]{1,5}(?:[ ]?[\u2013-][ ]?|[ ])|0[0-9]{2,5}[ ]?/[ ]?)[0-9]{2,8}(?:[ \u2013"
            r"/-][0-9]{1,6}){0,4}(?!\w|[.,/:][0-9])"
        ),
        _is_phone,
        at=NUMBER,
    ),
    TextRule(
        "phone",
        "Indian",
        r"(?<![\w./-])(?<![0-9],)[6-9][0-9]{4}[ -][0-9]{5}(?!\w|[./-][0-9]|,[0-9]{3}(?![0-9]))",
        at=NUMBER,
    ),
    TextRule(
        "phone",
        "Australian",
        r"(?<![\w./-])(?<![0-9],)(?:1[38]00[ ][0-9]{3}[ ][0-9]{3}|13[ ][0-9]{2}[ ][0-9]{2})(?!\w)",
        at=NUMBER,
    ),
)
