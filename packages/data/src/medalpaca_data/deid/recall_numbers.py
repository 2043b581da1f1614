"""Numbers and codes without a label, for the profile `recall`: doses, counts and laboratory values stay."""

from __future__ import annotations

import re

from .recall_labels import GLUE, NUMBER_WORD, UNIT
from .recall_rules import NUMBER, TextRule
from .rules import Match, digits

LAB = re.compile(
    r"(?i)(?:\b(?:wbc|plt|platelets?|rbc|hgb|hb|hct|bnp|pro-?bnp|ferritin|ck|cpk|"
    r"troponin|tnt|tni|ldh|ast|alt|alp|ggt|lipase|amylase|cd4|"
    r"viral load|vl|hcg|bhcg|afp|psa|cea|ca ?125|ca ?19-9|d-?dimer|count|leuko(?:cytes|"
    r"zyten)|thrombo(?:cytes|zyten)|leukocyte|white|cells|"
    r"heparin|dose|total|copies|titer|titre|na|k|cl|bun|cr|glucose|gluc|crp|esr|tsh|"
    r"cpt|icd|ebl|intake|output|uop|lactate|tlc|anc|igg|ige|iga|igm|pages?|"
    r"cost|costs|price|paid|about|approximately|nearly|over|than|n ?|n)[ :=~<>]*(?:is|"
    r"was|of|at|to)?[ :=~<>]*)$|[$\u20ac\u00a3<>=\u2265\u2264~][ ]?$"
)


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
    if re.match(r"(?:AC|RR|BP|SIMV|PC|PS|VT|HR|CPT)[ /]", value):
        return False
    if len(digits(value)) < 4 or re.fullmatch(
        r"(?i)(?:[A-Z]{1,3}(?:19|20)[0-9]{2}|(?:19|20)[0-9]{2}[a-z]{1,2}|(?:19|20)[0-9]{2}-nCoV|"
        r"NCT[0-9]+|rs[0-9]+|PMC[0-9]+|CD[0-9]+|HLA.*|G[0-9]+P[0-9]+.*|[0-9x-]+/(?:mm3|"
        r"hpf|ul|dl|min|day|h|cumm|mcl)|[0-9.,-]+-?(?:mg|g|hours?|days?|mcg|ml|g|kg|mm|"
        r"cm|iu|u|l|k|mph|hz|s|th|st|nd|rd|f|c|ie|x|am|pm|h|hrs|hr|hours|min|bpm|cal|"
        r"kcal|lbs?|yo|y))",
        value,
    ):
        return False
    return not UNIT.match(match.string, match.end()) or bool(re.search("[A-Za-z]", value))


IDS = (
    TextRule(
        "ssn",
        "last four",
        (
            r"(?i:\b(?:last|final) (?:four|4)(?: digits)?(?: (?:of|for))?(?: (?:the|her|his|"
            r"their|my|ss|ssn|social(?: security)?(?: number)?|card|is|was|#)){0,4}[ :=#-]{1,3})(?P<x>[0-9]{4})\b"
        ),
        at="las fin",
    ),
    TextRule(
        "ssn",
        "last four, ending",
        (
            r"(?i:\b(?:ssn|social(?: security)?|card|visa|mastercard|amex|account|acct)[^.\n]{0,20}?\b(?:ending|"
            r"ends)(?: in| with)?[ :]{1,2}|\b(?:xxx-xx-|\*{3}-\*{2}-|x{3,}-?))(?P<x>[0-9]{4})\b"
        ),
        gate=("end", "xxx", "***"),
    ),
    TextRule(
        "ssn",
        "groups",
        r"(?<![\w./-])[0-9]{3}[- .][0-9]{2}[- .][0-9]{4}(?!\w|[./-][0-9]|,[0-9]{3}(?![0-9]))",
        at=NUMBER,
    ),
    TextRule(
        "ssn",
        "National Insurance",
        r"(?<![\w])[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z][ ]?[0-9]{2}[ ]?[0-9]{2}[ ]?[0-9]{2}[ ]?[A-D](?!\w)",
    ),
    TextRule(
        "account",
        "card",
        (
            r"(?<![\w./-])(?<![0-9],)(?:[0-9]{4}[ -]){3}[0-9]{3,4}(?!\w)|(?<![\w./-])(?<![0-9],)3[47][0-9]{2}[ -]["
            r"0-9]{6}[ -][0-9]{5}(?!\w)"
        ),
        at=NUMBER,
    ),
    TextRule(
        "account", "IBAN", r"(?<!\w)[A-Z]{2}[0-9]{2}(?:[ ]?[A-Z0-9]{4}){3,7}(?:[ ]?[A-Z0-9]{1,4})?(?!\w)"
    ),
    TextRule(
        "account",
        "sort code",
        r"(?i:sort code[ :]{1,2})(?P<x>[0-9]{2}[- ][0-9]{2}[- ][0-9]{2})(?!\w)",
        at="sor",
    ),
    TextRule(
        "vehicle",
        "label",
        (
            rf"(?i:\b(?:licen[cs]e plates?|number plates?|plates?|vehicle(?: reg(?:istration)?)?|"
            rf"car reg(?:istration)?|reg(?:istration)?(?: plate)?|vin|tag|kennzeichen|amtl\.? kennzeichen|"
            rf"rego|fahrgestellnummer){NUMBER_WORD}{GLUE})(?:[A-Z]{{2}} )?(?P<x>(?=[A-Z0-9ÄÖÜ -]*[0-9])[A-Z0-9ÄÖÜ]{{"
            rf"1,17}}(?:[ -][A-Z0-9]{{1,5}}){{0,3}})(?!\w)"
        ),
        at="lic num pla veh car reg vin tag ken amt fah",
    ),
    TextRule(
        "vehicle", "British plate", r"(?<![\w-])[A-HJ-PR-Y][A-HJ-PR-Y][0-9]{2}[ ]?[A-HJ-PR-Z]{3}(?![\w-])"
    ),
    TextRule(
        "vehicle",
        "German plate",
        r"(?<![\w-])[A-ZÄÖÜ]{1,3}-(?!I[IV]?\b|VI?\b)[A-Z]{1,2}[ -][0-9]{1,4}[EH]?(?![\w-])",
        lambda m: len(digits(m[0])) >= 2,
    ),
    TextRule(
        "vehicle",
        "German plate with spaces",
        r"(?i:kennzeichen|fahrzeug|auto|pkw|lkw|wagen|motorrad|roller|kfz|transporter|taxi|anhänger)\b[^.\n]{0,40}?"
        r"(?<![\w-])(?P<x>[A-ZÄÖÜ]{1,3}[ -][A-Z]{1,2}[ -]?[0-9]{1,4}[EH]?)(?![\w-])",
        at="ken fah aut pkw lkw wag mot rol kfz tra tax anh",
    ),
    TextRule(
        "vehicle",
        "plate after a vehicle",
        r"(?i:cars?|vehicle|van|truck|lorry|plates?|registration|reg|tag|motorbike|motorcycle|minibus|taxi|suv|"
        r"sedan|pick-?up|scooter|toyota|honda|ford|bmw|audi|nissan|chevrolet|chevy|mazda|vauxhall|volkswagen|vw|"
        r"hyundai|kia|subaru|jeep|tesla|volvo|mercedes|skoda|fiat|renault|peugeot)\b[^.\n]{0,30}?(?<![\w-])"
        r"(?P<x>(?=[A-Z0-9 -]*[A-Z])(?=[A-Z -]*[0-9])[A-Z0-9]{1,4}[ -]?[A-Z0-9]{2,5}(?:[ -][A-Z0-9]{1,3})?)(?![\w-])",
        lambda m: len(digits(m["x"])) >= 2 and len(m["x"]) >= 5,
        at="car veh van tru lor pla reg tag mot min tax suv sed pic sco toy hon for "
        "bmw aud nis che maz vau vol vw hyu kia sub jee tes mer sko fia ren peu",
    ),
    TextRule(
        "vehicle",
        "VIN",
        r"(?<!\w)(?=[A-HJ-NPR-Z0-9]*[0-9][A-HJ-NPR-Z]*[0-9])(?=[0-9]*[A-HJ-NPR-Z])[A-HJ-NPR-Z0-9]{17}(?!\w)",
    ),
    TextRule("device", "serial with its label", r"\b(?:SN|S/N)[:#][ ]?[A-Z]{0,4}[0-9][A-Z0-9-]{3,}"),
    TextRule(
        "other",
        "room or bed",
        (
            r"(?i:(?<![\w-])(?:rooms?|rm|bed|bett|bay|cubicle|suite|ste|theatre|or room|zimmer|"
            r"zi|stationszimmer|locker|floor|fl)\b\.?(?: ?(?:no|nr|#|number)\.?)?[ \t]*[:#=]?[ \t]*)(?P<x>(?=[A-Z]"
            r"{0,3}-?[0-9])[A-Z0-9]{1,6}(?:[-/.][A-Z0-9]{1,4})?)(?!\w)"
        ),
        lambda m: not UNIT.match(m.string, m.end("x")),
        at="roo rm bed bet bay cub sui ste the or zim zi sta loc flo fl",
    ),
    TextRule(
        "other",
        "code with groups",
        r"(?<![\w./-])[A-Z]{1,5}[-/ ]?[0-9]{2,4}[-/][0-9]{3,}(?![\w-])",
        _is_code,
    ),
    TextRule(
        "other",
        "code",
        (
            r"(?<![\w./@-])(?=[A-Za-z0-9/-]*[A-Za-z])(?=[A-Za-z/-]*[0-9])[A-Za-z0-9]+(?:[-/][A-Za-z0-9]"
            r"+)*(?![\w@-])"
        ),
        _is_code,
    ),
    TextRule(
        "other",
        "long number",
        r"(?<![\w./$-])[0-9]{5,}(?:[-/.][0-9]{1,6})*(?![\w%]|[.,][0-9])",
        _is_free_number,
        at=NUMBER,
    ),
    TextRule(
        "other",
        "number with a hyphen",
        (
            r"(?<![\w./$-])[0-9]{1,4}-[0-9]{5,}(?:-[0-9]+)*(?![\w%])|(?<![\w./$-])[0-9]{2,4}"
            r"(?:-[0-9]{2,6}){2,4}(?!\w|[.,][0-9])"
        ),
        _is_free_number,
        at=NUMBER,
    ),
    TextRule(
        "other",
        "three groups",
        (
            r"(?<![\w./-])(?<![0-9],)(?:[0-9]{3} [0-9]{3} [0-9]{3,4}|[0-9]{4} [0-9]{3} [0-9]{3}|"
            r"[0-9]{2} [0-9]{6} [A-Z] [0-9]{3}|[0-9]{4} [0-9]{5} [0-9]|[0-9]{4} [0-9]{4} [0-9]{4})(?!\w|"
            r"[.,/%][0-9]| ?(?:mg|ml|%))"
        ),
        _is_free_number,
        at=NUMBER,
    ),
    TextRule(
        "mrn",
        "line",
        r"(?m)^[ \t]*(?P<x>[0-9]{2,4}(?:[ -][0-9]{2,4}){1,3})[ \t]*$",
        lambda m: len(digits(m[0])) > 5,
    ),
    TextRule("mrn", "HL7 identifier", r"(?P<x>[0-9A-Z][0-9A-Z -]+)\^\^\^", gate=("^^^",)),
    TextRule("other", "HL7 location", r"(?m)^PV1\|[^|\n]*\|[^|\n]*\|(?P<x>[^|\n]+)", gate=("pv1|",)),
    TextRule("plan", "German insurance", r"(?<!\w)[A-Z][0-9]{9}(?!\w)"),
    TextRule(
        "plan",
        "Medicare beneficiary",
        (
            r"(?<!\w)[1-9][AC-HJ-KM-NP-RT-Y][AC-HJ-KM-NP-RT-Y0-9][0-9]-?[AC-HJ-KM-NP-RT-Y][AC-HJ-KM-NP-RT-Y0-9][0-"
            r"9]-?[AC-HJ-KM-NP-RT-Y]{2}[0-9]{2}(?!\w)"
        ),
        at=NUMBER,
    ),
)
