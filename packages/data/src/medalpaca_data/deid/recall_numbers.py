"""Numbers of the profile `recall`: telephone, record, plan, account, device and other numbers, contacts, ages over 89.

A labelled value is an identifier in any form. Without a label, long digit groups and codes are identifiers, except doses,
counts, laboratory values and other measurements.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from .recall_rules import NUMBER, TextRule
from .rules import Match, Span, digits

# The end of a label: "no.", "number", "#", dots and a colon.
NUMBER_WORD = r"(?i:[ ]?(?:numbers?|nos?|num|nr|nummer|id|code|ref|#)\b\.?|[ ]?#){0,2}"
GLUE = r"(?:[ \t]*[:=#.|\u2013-]{1,12}|[ \t]+(?i:is|was|lautet|number is))*[ \t]*(?:\n[ \t]*)?"
# A value has a digit: a code, or groups of digits with spaces between them.
CODE = r"(?:[0-9]{2}:[A-Z]{1,3}[ -]?[0-9]+|(?=[A-Za-z/._-]{0,8}[0-9])[A-Za-z0-9]+(?:[-/._*][A-Za-z0-9]+)*)"
GROUPS = r"[A-Z]{0,3}[ ]?[0-9]{1,5}(?:[ -][0-9]{2,7}){1,5}(?:[ ][A-Z]\b)?(?![-/.,:]?[0-9A-Za-z%])"
VALUE = re.compile(rf"(?:{GROUPS}|[A-Z]{{2}}[ ][0-9]{{2}}(?:[ ][0-9]{{2}}){{2}}[ ][A-Z]\b|{CODE})")
UNIT = re.compile(
    r"(?i)[ -]?(?:%|\u00b0|mg|mcg|\u00b5g|\u03bcg|ug|g\b|gm|gram|kg|lbs?\b|pounds?|ml|cc\b|l\b|dl|liters?|litres?|mm|cm|m\b|km|inch|feet|ft\b|"
    r"mmhg|bpm|/min|per|/mm|/ml|/dl|/hpf|/l\b|/\u00b5|/u|/kg|/day|/d\b|/h|u/|iu|i\.u|units?|meq|mmol|\u00b5mol|umol|nmol|pmol|ng|pg|mosm|hours?|hrs?\b|h\b|mins?\b|"
    r"minutes?|sec|days?|weeks?|wks?\b|months?|mo\b|years?|yrs?\b|y/?o|-?year|times|cells?|copies|steps?|cal|kcal|calories|joules?|j\b|volts?|"
    r"hz|khz|mhz|rpm|fr\b|gauge|people|patients?|persons?|cases|women|men|children|participants|subjects|deaths|births|adults|"
    r"individuals|samples|dollars|euro?s?\b|usd|\$|\u20ac|x10|\u00d710|\^[0-9]|x ?10|fold|stunden|tage|wochen|monate|jahre|tabl|stk|"
    r"e/|ie\b|mio|million|thousand|billion|mg/|giga|/nl|/pl|tsd)"
)
LAB = re.compile(
    r"(?i)(?:\b(?:wbc|plt|platelets?|rbc|hgb|hb|hct|bnp|pro-?bnp|ferritin|ck|cpk|troponin|tnt|tni|ldh|ast|alt|alp|ggt|lipase|amylase|cd4|"
    r"viral load|vl|hcg|bhcg|afp|psa|cea|ca ?125|ca ?19-9|d-?dimer|count|leuko(?:cytes|zyten)|thrombo(?:cytes|zyten)|leukocyte|white|cells|"
    r"heparin|dose|total|copies|titer|titre|na|k|cl|bun|cr|glucose|gluc|crp|esr|tsh|ebl|intake|output|uop|lactate|tlc|anc|igg|ige|iga|igm|pages?|"
    r"cost|costs|price|paid|about|approximately|nearly|over|than|n ?|n)[ :=~<>]*(?:is|was|of|at|to)?[ :=~<>]*)$|[$\u20ac\u00a3<>=\u2265\u2264~][ ]?$"
)
PHONE_WORD = (
    r"(?i:\b(?:tele?(?:fon|phone)?|phone|ph|cell(?:ular)?|mobile?|mobil(?:telefon|funk)?|mob|handy|call(?:ed|back)?(?: back)?(?: (?:me|us|him|her|them))?(?: at| on)?|ring|text|sms|"
    r"whatsapp|pager?|pgr|paged(?: at)?|beeper|bleep|bp#|contact|dial|voice ?mail|vm|hotline|home|work|office|ofc|landline|switchboard|direct line|durchwahl|dw|"
    r"rufnummer|rückruf|funk|piepser|reach(?:ed|able)?(?: him| her| me| them| us)?(?: at| on)?|extension|ext|extn|xtn|apparat|app\.|tie ?line|asb|spectralink|"
    r"ascom|number|nummer|no|night|day|cb|c/b|tel)\b)"
)


@dataclass(frozen=True)
class LabelRule:
    """Labels in small letters, any of which announces a number; the value after a label is the identifier."""

    kind: str
    name: str
    labels: str
    regex: re.Pattern[str] = field(init=False)

    def __post_init__(self) -> None:
        pattern = rf"(?<![a-z])(?:{self.labels})(?![a-z]){NUMBER_WORD.replace('(?i:', '(?:')}{GLUE.replace('(?i:', '(?:')}"
        object.__setattr__(self, "regex", re.compile(pattern))

    def spans(self, text: str, small: str) -> list[Span]:
        """Return the values after the labels of a text; `small` is the text in small letters, of the same length."""
        spans = []
        for match in self.regex.finditer(small):
            value = VALUE.match(text, match.end())
            if value and _is_record_number(text, match.start(), value):
                spans.append(Span(*value.span(), self.kind, self.name))
        return spans


def _is_free_number(match: Match) -> bool:
    """Return whether a long number without a label is no measurement, sum or count."""
    text, (start, end) = match.string, match.span()
    if (
        UNIT.match(text, end)
        or re.search(r"(?<![a-z] )\bREF:? $", text[max(0, start - 8) : start])
        or LAB.search(text[max(0, start - 28) : start])
    ):
        return False
    plain = match[0]
    return not (plain.isdigit() and len(plain) <= 6 and plain.endswith("00"))


def _is_code(match: Match) -> bool:
    """Return whether a code of letters and digits is an identifier: genes, trials and dosed drugs are none."""
    value = match[0]
    if len(digits(value)) < 4 or re.fullmatch(
        r"(?i)(?:[A-Z]{1,3}(?:19|20)[0-9]{2}|(?:19|20)[0-9]{2}[a-z]{1,2}|(?:19|20)[0-9]{2}-nCoV|NCT[0-9]+|rs[0-9]+|PMC[0-9]+|CD[0-9]+|HLA.*|G[0-9]+P[0-9]+.*|[0-9x]+/(?:mm3|hpf|ul|dl|min|day|h|cumm|mcl)|[0-9.,-]+-?(?:mg|g|hours?|days?|mcg|ml|g|kg|mm|cm|iu|u|l|k|mph|hz|s|th|st|nd|rd|f|c|ie|x|am|pm|h|hrs|hr|hours|min|bpm|cal|kcal|lbs?|yo|y))",
        value,
    ):
        return False
    return not UNIT.match(match.string, match.end()) or bool(re.search("[A-Za-z]", value))


def _is_phone(match: Match) -> bool:
    count = len(digits(match[0]))
    return 7 <= count <= 15 and not UNIT.match(match.string, match.end())


def _is_ipv4(match: Match) -> bool:
    return all(int(part) < 256 for part in match[0].split("."))


def _rule(
    kind: str,
    name: str,
    pattern: str,
    accept: Callable[[Match], bool] | None = None,
    at: str = "",
    gate: tuple[str, ...] = (),
) -> TextRule:
    return TextRule(kind, name, pattern, accept, at, gate)


TLD = r"(?:com|org|net|edu|gov|mil|info|biz|io|me|co|us|uk|ca|au|de|fr|in|es|it|nl|ch|at|eu|ie|nz|za|scot|wales|nhs|blog|health|clinic|care|app|dev|online|site|xyz|ly|tv)"
CONTACTS = (
    _rule(
        "email",
        "address",
        r"[\w.+%'-]+ ?(?:@|\(at\)|\[at\]) ?[\w-]+(?:(?:\.| ?\[dot\] ?| ?\(dot\) ?)[\w-]+)+",
        gate=("@", "(at)", "[at]"),
    ),
    _rule(
        "email",
        "address in words",
        r"(?i:[\w.+-]+ at [\w-]+ (?:dot|punkt) \w{2,6}(?: dot uk)?)",
        gate=(" dot ", " punkt "),
    ),
    _rule(
        "url", "scheme", r"(?i:(?:https?|ftp|s3|file)://[^\s<>\"|)\]]+[^\s<>\"|)\].,;:])", at="htt ftp s fil"
    ),
    _rule("url", "www", r"(?i:\bwww\.[^\s<>\"|)\]]+[^\s<>\"|)\].,;:])", at="www"),
    _rule(
        "url",
        "domain",
        rf"(?<![\w@.-])(?:[a-z0-9-]{{2,}}\.)+(?:{TLD})(?:/[^\s<>\"|)\]]*[^\s<>\"|)\].,;:])?(?![\w@.])",
        lambda m: (
            "/" in m[0] or bool(re.search(r"\.(?:com|org|net|edu|gov|info|io|uk|de|au|ie|ch|at)$", m[0]))
        ),
    ),
    _rule("ip", "IPv4", r"(?<![\w.])(?:[0-9]{1,3}\.){3}[0-9]{1,3}(?![\w]|\.[0-9])", _is_ipv4, at=NUMBER),
    _rule(
        "ip",
        "IPv6 or MAC",
        r"(?<![\w:])(?:[0-9A-Fa-f]{2}[:-]){5}[0-9A-Fa-f]{2}(?![\w:])|(?<![\w:])(?:[0-9A-Fa-f]{1,4}:){3,7}:?[0-9A-Fa-f]{1,4}(?![\w:])|(?<![\w:])(?:[0-9A-Fa-f]{1,4}:){1,6}:[0-9A-Fa-f:]{1,20}(?![\w:])",
        gate=(":",),
    ),
    _rule("other", "handle", r"(?<![\w@.])@[A-Za-z_][\w.]{1,30}\b", gate=("@",)),
    _rule(
        "other",
        "handle, label",
        r"(?i:\b(?:instagram|insta|ig|facebook|fb|twitter|tiktok|snapchat|snap|telegram|skype|discord|username|user ?name|user ?id|login|handle|gamertag|linkedin|reddit|screen ?name|benutzername)(?: handle| id| user| name| account)?(?: is)?[ ]*[:=][ ]*)(?P<x>[\w.@/#-]{2,40})",
        at="ins ig fac fb twi tik sna tel sky dis use log han gam lin red scr ben",
    ),
    _rule("other", "unique identifier", r"(?<![\w.])[0-2](?:\.[0-9]+){4,}(?![\w])", at=NUMBER),
    _rule(
        "other",
        "handle of a network",
        r"(?i:\b(?:user|login|instagram|insta|facebook|fb|twitter|tiktok|snapchat|telegram|skype|discord|reddit|linkedin|username)(?: account| handle| id| user(?:name)?| name| as| under| is)* )(?P<x>[\w-]*[\w](?:[._][\w]+)+|[A-Za-z_]+[0-9][\w]*)(?!\w)",
        at="use log ins fac fb twi tik sna tel sky dis red lin",
    ),
    _rule(
        "photo",
        "image file",
        r"(?i:[\w()-]+(?:[_.-][\w()-]+)*\.(?:jpe?g|png|gif|tiff?|bmp|heic|dcm|mp4|mov|avi|webp|pdf|docx?|wav|mp3))(?!\w)",
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
    _rule(
        "fax",
        "label",
        rf"(?i:\b(?:tele)?fax(?: number| no\.?| nr\.?)?|\bfx){GLUE}(?P<x>[+(]?[0-9][0-9 ()./\u2013-]{{2,22}}[0-9])",
        lambda m: len(digits(m["x"])) >= 4,
        at="tel fax fx",
    ),
    _rule(
        "phone",
        "label",
        rf"{PHONE_WORD}{NUMBER_WORD}{GLUE}(?P<x>[+(]?[0-9](?:[0-9 ()./\u2013-]{{2,22}})[0-9](?:[ ]?(?i:x|ext\.?|extension) ?[0-9]{{2,6}})?)(?![\w%]|[.:/][0-9])",
        lambda m: (
            len(digits(m["x"])) >= 7 and not m[0].startswith("pH") and not UNIT.match(m.string, m.end("x"))
        ),
        at="tel pho ph cel mob han cal rin tex sms wha pag pgr bee ble bp con dia voi vm hot hom wor off ofc lan swi dir dur dw ruf rüc fun pie rea ext xtn app tie asb spe asc num no nig day cb c",
    ),
    _rule(
        "phone",
        "short, label",
        rf"(?i:\b(?:pager?|pgr|paged at|beeper|bleep|bleeped?|bp#|ext|extn|xtn|extension|durchwahl|dw|apparat|app\.|tie ?line|spectralink|ascom|piepser|funk|asb|voice ?mail|desk|vm|x|dect|tel|phone|ph)\b){NUMBER_WORD}{GLUE}(?P<x>[0-9](?:[0-9-]{{1,7}})[0-9]|[0-9]{{2}})(?![\w%]|[.,/:-][0-9])",
        lambda m: not m[0].startswith("pH") and not UNIT.match(m.string, m.end("x")),
        at="pag pgr bee ble bp ext xtn dur dw app tie spe asc pie fun asb voi des vm x dec tel pho ph",
    ),
    _rule(
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
    _rule("phone", "hash", r"(?<![\w&])#[ ]?(?P<x>[0-9]{3,12}(?:-[0-9]+)*)(?!\w)"),
    _rule(
        "phone",
        "area in brackets",
        r"(?<!\w)(?:\+?[0-9]{1,3}[ .-]?)?\([0-9]{2,5}\)[ .-]?[0-9]{3,5}[ .-]?[0-9]{3,5}(?:[ -][0-9]{2,4})?(?:,? ?(?i:x|ext\.?) ?[0-9]{1,6})?(?!\w)",
        at=NUMBER,
    ),
    _rule(
        "phone",
        "American",
        r"(?<![\w./-])(?<![0-9],)(?:\+?1[ .-]?)?[2-9][0-9]{2}[ .\u2013/-][0-9]{3}[ .\u2013-][0-9]{4}(?:,? ?(?i:x|ext\.?|#) ?[0-9]{1,6})?(?!\w|[./-][0-9]|,[0-9]{3}(?![0-9]))",
        at=NUMBER,
    ),
    _rule(
        "phone",
        "local",
        r"(?<![\w./-])(?<![0-9],)[2-9][0-9]{2}[-.][0-9]{4}(?!\w|[./-][0-9]|,[0-9]{3}(?![0-9]))",
        _is_phone,
        at=NUMBER,
    ),
    _rule(
        "phone",
        "international",
        r"(?<![\w./-])(?<![0-9],)(?:\+|00)[0-9]{1,3}[ ./-]?(?:\(0\)[ ]?)?[0-9]{1,5}(?:[ ./\u2013-]{1,2}[0-9]{2,8}){0,5}(?!\w|:[0-9])",
        _is_phone,
        at=NUMBER,
    ),
    _rule(
        "phone",
        "trunk zero",
        r"(?<![\w./-])(?<![0-9],)(?:0[0-9]{1,5}(?:[ ]?[\u2013-][ ]?|[ ])|0[0-9]{2,5}[ ]?/[ ]?)[0-9]{2,8}(?:[ \u2013/-][0-9]{1,6}){0,4}(?!\w|[.,/:][0-9])",
        _is_phone,
        at=NUMBER,
    ),
    _rule(
        "phone",
        "Indian",
        r"(?<![\w./-])(?<![0-9],)[6-9][0-9]{4}[ -][0-9]{5}(?!\w|[./-][0-9]|,[0-9]{3}(?![0-9]))",
        at=NUMBER,
    ),
    _rule(
        "phone",
        "Australian",
        r"(?<![\w./-])(?<![0-9],)(?:1[38]00[ ][0-9]{3}[ ][0-9]{3}|13[ ][0-9]{2}[ ][0-9]{2})(?!\w)",
        at=NUMBER,
    ),
)
IDS = (
    _rule(
        "ssn",
        "last four",
        r"(?i:\b(?:last|final) (?:four|4)(?: digits)?(?: (?:of|for))?(?: (?:the|her|his|their|my|ss|ssn|social(?: security)?(?: number)?|card|is|was|#)){0,4}[ :=#-]{1,3})(?P<x>[0-9]{4})\b",
        at="las fin",
    ),
    _rule(
        "ssn",
        "last four, ending",
        r"(?i:\b(?:ssn|social(?: security)?|card|visa|mastercard|amex|account|acct)[^.\n]{0,20}?\b(?:ending|ends)(?: in| with)?[ :]{1,2}|\b(?:xxx-xx-|\*{3}-\*{2}-|x{3,}-?))(?P<x>[0-9]{4})\b",
        gate=("end", "xxx", "***"),
    ),
    _rule(
        "ssn",
        "groups",
        r"(?<![\w./-])(?<![0-9],)[0-9]{3}[- .][0-9]{2}[- .][0-9]{4}(?!\w|[./-][0-9]|,[0-9]{3}(?![0-9]))",
        at=NUMBER,
    ),
    _rule(
        "ssn",
        "National Insurance",
        r"(?<![\w])[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z][ ]?[0-9]{2}[ ]?[0-9]{2}[ ]?[0-9]{2}[ ]?[A-D](?!\w)",
    ),
    _rule(
        "account",
        "card",
        r"(?<![\w./-])(?<![0-9],)(?:[0-9]{4}[ -]){3}[0-9]{3,4}(?!\w)|(?<![\w./-])(?<![0-9],)3[47][0-9]{2}[ -][0-9]{6}[ -][0-9]{5}(?!\w)",
        at=NUMBER,
    ),
    _rule("account", "IBAN", r"(?<!\w)[A-Z]{2}[0-9]{2}(?:[ ]?[A-Z0-9]{4}){3,7}(?:[ ]?[A-Z0-9]{1,4})?(?!\w)"),
    _rule(
        "account",
        "sort code",
        r"(?i:sort code[ :]{1,2})(?P<x>[0-9]{2}[- ][0-9]{2}[- ][0-9]{2})(?!\w)",
        at="sor",
    ),
    _rule(
        "vehicle",
        "label",
        rf"(?i:\b(?:licen[cs]e plates?|number plates?|plates?|vehicle(?: reg(?:istration)?)?|car reg(?:istration)?|reg(?:istration)?(?: plate)?|vin|tag|kennzeichen|amtl\.? kennzeichen|rego|fahrgestellnummer){NUMBER_WORD}{GLUE})(?:[A-Z]{{2}} )?(?P<x>(?=[A-Z0-9ÄÖÜ -]*[0-9])[A-Z0-9ÄÖÜ]{{1,17}}(?:[ -][A-Z0-9]{{1,5}}){{0,3}})(?!\w)",
        at="lic num pla veh car reg vin tag ken amt fah",
    ),
    _rule("vehicle", "British plate", r"(?<![\w-])[A-HJ-PR-Y][A-HJ-PR-Y][0-9]{2}[ ]?[A-HJ-PR-Z]{3}(?![\w-])"),
    _rule(
        "vehicle",
        "German plate",
        r"(?<![\w-])[A-ZÄÖÜ]{1,3}-[A-Z]{1,2}[ -][0-9]{1,4}[EH]?(?![\w-])",
        lambda m: len(digits(m[0])) >= 2,
    ),
    _rule(
        "vehicle",
        "VIN",
        r"(?<!\w)(?=[A-HJ-NPR-Z0-9]*[0-9][A-HJ-NPR-Z]*[0-9])(?=[0-9]*[A-HJ-NPR-Z])[A-HJ-NPR-Z0-9]{17}(?!\w)",
    ),
    _rule("device", "serial with its label", r"\b(?:SN|S/N)[:#][ ]?[A-Z]{0,4}[0-9][A-Z0-9-]{3,}"),
    _rule(
        "other",
        "room or bed",
        r"(?i:(?<![\w-])(?:rooms?|rm|bed|bett|bay|cubicle|suite|ste|theatre|or room|zimmer|zi|stationszimmer|locker|floor|fl)\b\.?(?: ?(?:no|nr|#|number)\.?)?[ \t]*[:#=]?[ \t]*)(?P<x>(?=[A-Z]{0,3}-?[0-9])[A-Z0-9]{1,6}(?:[-/.][A-Z0-9]{1,4})?)(?!\w)",
        lambda m: not UNIT.match(m.string, m.end("x")),
        at="roo rm bed bet bay cub sui ste the or zim zi sta loc flo fl",
    ),
    _rule(
        "other",
        "code with groups",
        r"(?<![\w./-])(?<![0-9],)[A-Z]{1,5}[-/ ]?[0-9]{2,4}[-/][0-9]{3,}(?![\w-])",
        lambda m: True,
    ),
    _rule(
        "other",
        "code",
        r"(?<![\w./@-])(?<![0-9],)(?=[A-Za-z0-9/-]*[A-Za-z])(?=[A-Za-z/-]*[0-9])[A-Za-z0-9]+(?:[-/][A-Za-z0-9]+)*(?![\w@-])",
        _is_code,
    ),
    _rule(
        "other",
        "long number",
        r"(?<![\w./$-])(?<![0-9],)[0-9]{5,}(?:[-/.][0-9]{1,6})*(?![\w%]|[.,][0-9])",
        _is_free_number,
        at=NUMBER,
    ),
    _rule(
        "other",
        "number with a hyphen",
        r"(?<![\w./$-])(?<![0-9],)[0-9]{1,4}-[0-9]{5,}(?:-[0-9]+)*(?![\w%])|(?<![\w./$-])(?<![0-9],)[0-9]{2,4}(?:-[0-9]{2,6}){2,4}(?!\w|[.,][0-9])",
        _is_free_number,
        at=NUMBER,
    ),
    _rule(
        "other",
        "three groups",
        r"(?<![\w./-])(?<![0-9],)(?:[0-9]{3} [0-9]{3} [0-9]{3,4}|[0-9]{4} [0-9]{3} [0-9]{3}|[0-9]{2} [0-9]{6} [A-Z] [0-9]{3}|[0-9]{4} [0-9]{5} [0-9]|[0-9]{4} [0-9]{4} [0-9]{4})(?!\w|[.,/%][0-9]| ?(?:mg|ml|%))",
        _is_free_number,
        at=NUMBER,
    ),
    _rule("plan", "German insurance", r"(?<!\w)[A-Z][0-9]{9}(?!\w)"),
    _rule(
        "plan",
        "Medicare beneficiary",
        r"(?<!\w)[1-9][AC-HJ-KM-NP-RT-Y][AC-HJ-KM-NP-RT-Y0-9][0-9]-?[AC-HJ-KM-NP-RT-Y][AC-HJ-KM-NP-RT-Y0-9][0-9]-?[AC-HJ-KM-NP-RT-Y]{2}[0-9]{2}(?!\w)",
        at=NUMBER,
    ),
)
# Labels that are also ordinary words: their value needs a number word or a colon, or at least five digits.
PLAIN_LABELS = re.compile(
    r"(?i)^(?:unit|hospital|patient|pt|chart|case|visit|enc|episode|clinic|fall|record|study|research|subject|participant|screening|trial|donor|sample|plan|group|"
    r"policy|claim|ins|bill|bank|card|check|account|visa|order|lab|run|event|report|log|file|folder|label|band|call|trip|flight|version|slide|block|exam|control|key|code|no|nr|"
    r"index|device|implant|lead|pump|sensor|monitor|generator|icd|pacemaker|hand|face|dna|genetic|thumb|vein|palm|staff|student|provider|pass|permit|identity|pan|pas|ip|ur|"
    r"sin|job|jobs|incident|police|transport|safe|tag|batch|hn|op|chi|ss|fin|har|pat|journal|ref|reference|acc|doc|document|path|spec|specimen|script|ems|probation|parole|court|prison|bin|ik|az|"
    r"medicare|medicaid|kaiser|id|charge|prescription|pharmacist|registry|cert|reg|pcr|referral|cause|crime|index|grp|auth|statement|receipt|registration|medical record|member|subscriber|rx|alien|licen[cs]e|pin|badge|employee)$"
)


def _is_record_number(text: str, start: int, match: Match) -> bool:
    """Return whether the value after a label is a number of its own, and no measurement or date without a label."""
    value = match[0]
    count = len(digits(value))
    if not count or UNIT.match(text, match.end()):
        return False
    label = text[start : match.start()]
    if label.startswith("REF") and not re.search("[:#]", label):
        return False
    word = re.match(r"[A-Za-z\u00c4\u00d6\u00dc\u00e4\u00f6\u00fc\u00df./&\u2019' -]*", label)
    plain = PLAIN_LABELS.match(word[0].strip(" .:-")) if word else None
    if plain and label and label[-1].isalpha():
        return False
    if plain and not re.search(r"[:#=|]", label):
        return count >= 5 or (
            count >= 3 and bool(re.search("[A-Za-z]", value)) and not re.fullmatch(r"[0-9]+[a-z]+", value)
        )
    if re.fullmatch(r"[0-9]{1,3}(?:\.[0-9]+)?", value):
        return False
    return count >= 3 or (count >= 2 and bool(re.search("[A-Za-z]", value)))


LABELS = (
    LabelRule(
        "ssn",
        "label",
        r"g?uar(?:antor)? ssn|ssn|ss#|ss|sss?n|social(?: security)?|soc\.? sec\.?|itin|tax id|tin|ppsn?|pps|aadhaar|pan|sin|rvnr|rentenversicherungs(?:nummer|nr)|sozialversicherungs(?:nummer|nr)|sv-?nr|steuer-?id",
    ),
    LabelRule(
        "mrn",
        "label",
        r"mrn|m\.r\.n\.?|mr#|mr ?no|medical rec(?:ord)?s?|med\.? rec\.?|unit|hospital|hosp\.?|nhs|chi|h ?& ?c|hcn|pas|pid|patient|pt|chart|case|csn|har|fin|encounter|visit|enc|episode|umpi|emrn?|empi|urn?|umr|cpi|k ?number|"
        r"clinic|uhid|ip ?no|op ?no|ipd?|opd|hn|crn|medicare|dva|ihi|fallnummer|fall|fallnr|patienten(?:nummer|nr|id|-id|-nr)?|pat\.?-?(?:id|nr)|aufnahme(?:nummer|nr|-nr)|journal|akten?(?:zeichen|nummer|-nr)?|az|archiv(?:nummer|-nr)?|pat|piz|"
        r"record|study|research|subject|participant|screening|registry|trial|donor|sample|proband(?:en)?",
    ),
    LabelRule(
        "plan",
        "label",
        r"health ?plan|plan|policy|pol|member(?:ship)?|subscriber|beneficiary|insurance|insured|ins\.?|group|grp|medicare|medicaid|medi-?cal|mbi|hicn?|hic#?|tricare|champus|bcbs|blue ?(?:cross|shield)|aetna|cigna|humana|uhc|kaiser|bupa|axa|vhi|laya|"
        r"claim|auth(?:orization|orisation)?|prior auth|pre-?auth|payer|rxbin|bin|pcn|rxgrp|versicherten(?:nummer|nr|-nr|-nummer)?|versicherungs?(?:nummer|nr|-nr|schein)?|vers\.?-?nr|kvnr|kv-?nr|krankenversichertennummer|kassen(?:nummer|nr|-nr)?|kostenträger|ik|police(?:n)?|"
        r"egk|mitglieds(?:nummer|nr|-nr)|medical card|gms|pps",
    ),
    LabelRule(
        "account",
        "label",
        r"acc(?:oun)?t|a/c|acct|account|billing|invoice|bill|bank|sort ?code|routing|iban|bic|konto|kontonummer|rechnungs(?:nummer|nr|-nr)|guarantor|credit card|debit card|card|visa|mastercard|amex|check|cheque|venmo|paypal|receipt|statement|mandat",
    ),
    LabelRule(
        "licence",
        "label",
        r"licen[cs]es?|lic\.?|dl|d\.l\.|driver(?:['\u2019]?s)? licen[cs]e|driving licen[cs]e|dea|npi|upin|gmc|nmc|hcpc|gphc|imc|ahpra|prescriber|passport|cert(?:ificate)?|registration|reg\.?|reg(?:istered)?|lanr|bsnr|arztnummer|betriebsstätten(?:nummer|nr)?|"
        r"reisepass(?:nummer|nr)?|führerschein(?:nummer|nr)?|ausweis(?:nummer|nr)?|personalausweis(?:nummer|nr)?|visa number|green card|alien|permit|badge|employee|staff|student|id card|state id|identity|pass|pin|provider|pharmacist",
    ),
    LabelRule(
        "device",
        "label",
        r"serial|ser\.?|s/n|sn|s\.n\.?|lot|batch|chargen?(?:nummer|nr|-nr|-b\.)?|ch\.-b\.?|udi(?:-di|-pi)?|imei|device|implant|seriennummer|serien-?nr|geräte(?:nummer|nr|-nr)?|asset|model/?serial|pacemaker|icd|generator|lead|pump|sensor|mac|fitbit|monitor|unit s/n|tag",
    ),
    LabelRule(
        "biometric",
        "label",
        r"(?:iris|retina(?:l)?|finger ?print|palm(?:print)?|voice ?print|face|facial|biometric|hand|dna|genetic|thumb|vein)(?: scan| template| profile| sample| recognition| print)?(?: id| ref| hash| file| no)?|voice id|face id|fingerabdruck",
    ),
    LabelRule(
        "other",
        "label",
        r"accession|acc\.?|acc#|document|doc\.?|doc|order|req(?:uisition)?|specimen|spec|path(?:ology)?|lab|ref(?:erence)?|our ref|your ref|job|dictation|dict|transcription|run|incident|event|rx|prescription|script|tracking|shipment|courier|parcel|consignment|"
        r"confirmation|conf|ticket|docket|court|warrant|inmate|prisoner|prison|offender|booking|report|log|reservation|locker|file|folder|barcode|label|band|tote|voucher|call|cad|ems run|ems|pcr|transport|trip|flight|auftrags?(?:nummer|nr|-nr)?|befund(?:nummer|nr|-nr)?|"
        r"eingangs(?:nummer|nr|-nr)?|proben?(?:nummer|nr|-nr)?|histo(?:logie)?(?:nummer|nr|-nr)?|rezept(?:nummer|nr|-nr)?|vorgangs?(?:nummer|nr|-nr)?|sendungs(?:nummer|nr)?|ticket|e-?script(?:ion)?|escription document|slide|block|cassette|image id|study|series id|exam|control|id|i\.d\.?|guid|uuid|token|key|safe|code|pin|password|passwort|passcode|version|job id|jobs?|xref|mpi|no|nr|index|"
        r"parole|probation|police|crime|cps|dcf|referral|case file|cause|file|claim|ubrn",
    ),
)
NINETIES = tuple(map(str, range(90, 110)))
AGE = r"(?:9[0-9]|1[0-2][0-9])"
AGE_NUMBER = r"(?P<x>(?:9[0-9]|1[0-2][0-9]))"
AGES = (
    _rule(
        "age",
        "years old",
        rf"(?<![\w./-])(?<![0-9],){AGE_NUMBER}(?=[ -]?(?:(?i:(?:years?|yrs?)(?:[ -](?:old|of[ -]age)|-young)?|jahre?(?: alt\w*)?|jährige?[rsn]?|j\.|y\.?/?o\.?(?:[fm]\b)?|y\.o\.?|y)|[FMfmJ])(?!\w))",
        lambda m: (
            not re.match(
                r"[ -]?\w+ (?:ago|later|history|prior|before|follow|survival|postop|time)",
                m.string[m.end() : m.end() + 20],
            )
        ),
        at=NUMBER,
    ),
    _rule(
        "age",
        "free",
        rf"(?i:\b(?:she|he|who|patient|pt|mother|father|husband|wife|sister|brother|man|woman|lady|gentleman)(?:'s|\u2019s| is| was)(?: now| nearly| almost| only)? |\()(?P<x>9[0-9]|10[0-9])(?=[,.;)](?: |$|\n)| and | with | who | lives| but | now)",
        gate=NINETIES,
    ),
    _rule(
        "age",
        "glued",
        r"(?<![\w./-])(?<![0-9],)(?:9[0-9]|1[0-2][0-9])(?:[FMfmYJyj]|yo|yof|yom|yr)(?!\w)|(?<![\w/])(?:9[0-9]|1[01][0-9])(?=/[MF]\b)",
        lambda m: True,
        at=NUMBER,
    ),
    _rule("age", "after a sex", r"(?<![\w/])[MF]/(?P<x>9[0-9]|1[01][0-9])(?![\w/])", at="m f"),
    _rule(
        "age",
        "after a name",
        r"(?:[A-Z][a-z]+|\b(?i:mom|mum|dad|mother|father|grandmother|grandfather|mgm|pgm|mgf|pgf|sister|brother|aunt|uncle)),? (?P<x>9[0-9]|10[0-9])(?=, | \(|[.;]| and\b|\n)",
        lambda m: (
            not LAB.search(m.string[max(0, m.start() - 12) : m.start("x")])
            and not re.match(
                r"(?i)(?:sats?|spo|hr|pulse|bp|map|rr|o|temp|room|rm|bed|ward|page|weight|glucose|bpm|rate|fio|na|day|level|score|age|unit|apt|chapter|week|ef|case|step|hct|hb|tsh|plt)\b",
                m[0],
            )
            and not re.search(
                r"(?i)(?:rate|pulse|pressure|saturation|glucose|sodium|potassium|chloride|level|weight|count|volume|urea|bun|temp|units?|score)",
                m[0],
            )
        ),
        gate=NINETIES,
    ),
    _rule(
        "age",
        "died at",
        rf"(?i:\b(?:died|dies|death|passed(?: away)?|alive|living|lived|well|deceased|d\.|†|gestorben|verstorben|verstarb|starb)(?: (?:of|from|with|by) \w+)?,?(?: (?:at|to|aged|mit|to age|at age|at the age of|age|im alter von))?:? ?){AGE_NUMBER}(?!\w|[%/]|[.,][0-9]|[ -](?:%|mg|ml|minutes|hours|days|weeks|months|percent|bpm|kg))",
        at="die dea pas ali liv wel dec d ges ver sta",
    ),
    _rule(
        "age",
        "aged",
        rf"(?i:\b(?:aged?|alter|lebensalter|age is|age of|turned|turning|turns?|will be|approaching|reached|now|nearly|almost|is|wurde|wird)[ ]*(?:of|is|was|:|=)?[ ]*){AGE_NUMBER}(?!\w|[%/]|[.,][0-9]| ?(?:%|mg|ml|kg|cm|mm|bpm|beats|/|percent|degrees|minutes|hours|days|weeks|months))",
        lambda m: (
            not m[0].lower().startswith(("is", "was", "now", "nearly", "almost", "wird"))
            or bool(re.match(r"\s*(?:[.,;!?)\n]|and\b|but\b|this\b|$)", m.string[m.end() :]))
        ),
        at="age alt leb tur wil app rea now nea alm is wur wir",
    ),
    _rule(
        "age",
        "birthday",
        r"(?i:(?P<x>(?:9[0-9]|1[0-2][0-9])(?:st|nd|rd|th|\.))[ -](?:birthday|geburtstag|year of (?:life|age)))",
        at=NUMBER,
    ),
    _rule(
        "age",
        "over 89",
        rf"(?i:\b(?:over|older than|above|>|≥|≥ ?) ?){AGE_NUMBER}(?=[ -]?(?i:years? old|yrs? old|yo\b|y/o|years? of age))",
        at="ove old abo",
    ),
    _rule(
        "age",
        "in words",
        r"(?i:\b(?:ninety(?:[ -](?:one|two|three|four|five|six|seven|eight|nine))?|(?:a |one )?hundred(?: and (?:one|two|three|four|five|six))?)(?:[ -]years?[ -](?:old|young)| years of age)?)(?!\w)",
        lambda m: m[0].lower().startswith("ninety") or "year" in m[0].lower(),
        at="nin a one hun",
    ),
    _rule(
        "age",
        "nineties",
        r"(?i:\bin (?:his|her|their) (?:(?:early|mid|late)[ -])?)(?P<x>(?i:nineties|90'?s))\b",
        at="in",
    ),
)
RULES: tuple[TextRule, ...] = CONTACTS + PHONES + IDS + AGES
