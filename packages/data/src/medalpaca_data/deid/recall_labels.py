"""Numbers with a label, for the profile `recall`: record, plan, account, licence, device and document numbers."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from .rules import Match, Span, digits

# The end of a label: "no.", "number", "#", dots and a colon.
NUMBER_WORD = r"(?i:[ ]?(?:numbers?|nos?|num|nr|nummer|id|code|ref|#)\b\.?|[ ]?#){0,2}"
GLUE = r"(?:[ \t]*[:=#.|\u2013-]{1,12}|[ \t]+(?i:is|was|lautet|number is))*[ \t]*(?:\n[ \t]*)?"
# A value has a digit: a code, or groups of digits with spaces between them.
CODE = r"(?:[0-9]{2}:[A-Z]{1,3}[ -]?[0-9]+|(?=[A-Za-z/._-]{0,8}[0-9])[A-Za-z0-9]+(?:[-/._*][A-Za-z0-9]+)*)"
GROUPS = r"[A-Z]{0,3}[ ]?[0-9]{1,5}(?:[ -][0-9]{1,7}){1,5}(?:[ ][A-Z]\b)?(?![-/.,:]?[0-9A-Za-z%])"
VALUE = re.compile(rf"(?:{GROUPS}|[A-Z]{{2}}[ ][0-9]{{2}}(?:[ ][0-9]{{2}}){{2}}[ ][A-Z]\b|{CODE})")
UNIT = re.compile(
    r"(?i)[ -]?(?:%|\u00b0|mg|mcg|\u00b5g|\u03bcg|ug|g\b|gm|gram|kg|lbs?\b|pounds?|"
    r"ml|cc\b|l\b|dl|liters?|litres?|mm|cm|m\b|km|inch|feet|ft\b|"
    r"mmhg|bpm|/min|per|/mm|/ml|/dl|/hpf|/l\b|/\u00b5|/u|/kg|/day|/d\b|/h|u/|iu|i\.u|"
    r"units?|meq|mmol|\u00b5mol|umol|nmol|pmol|ng|pg|mosm|hours?|hrs?\b|h\b|mins?\b|"
    r"minutes?|sec|days?|weeks?|wks?\b|months?|mo\b|years?|yrs?\b|y/?o|-?year|times|"
    r"cells?|copies|steps?|cal|kcal|calories|joules?|j\b|volts?|"
    r"hz|khz|mhz|rpm|fr\b|gauge|people|patients?|persons?|cases|women|men|children|"
    r"participants|subjects|deaths|births|adults|"
    r"individuals|samples|dollars|euro?s?\b|usd|\$|\u20ac|x10|\u00d710|\^[0-9]|x ?10|"
    r"fold|stunden|tage|wochen|monate|jahre|tabl|stk|"
    r"e/|ie\b|mio|million|thousand|billion|mg/|giga|/nl|/pl|tsd)"
)


@dataclass(frozen=True)
class LabelRule:
    """Labels in small letters, any of which announces a number; the value after a label is the identifier.

    `labels` is a regular expression; `kind` is a key of `KINDS`.
    """

    kind: str
    name: str
    labels: str
    regex: re.Pattern[str] = field(init=False)

    def __post_init__(self) -> None:
        end = (NUMBER_WORD + GLUE).replace("(?i:", "(?:")
        object.__setattr__(self, "regex", re.compile(rf"(?<![a-z])(?:{self.labels})(?![a-z]){end}"))

    def spans(self, text: str, small: str) -> list[Span]:
        """Return the values after the labels of a text; `small` is the text in small letters, of the same length."""
        spans = []
        for match in self.regex.finditer(small):
            value = VALUE.match(text, match.end())
            if value and _is_record_number(text, match.start(), value):
                spans.append(Span(*value.span(), self.kind, self.name))
        return spans


# Labels that are also ordinary words: their value needs a number word or a colon, or at least five digits.
PLAIN_LABELS = re.compile(
    r"(?i)^(?:unit|hospital|patient|pt|chart|case|visit|enc|episode|clinic|fall|record|"
    r"study|research|subject|participant|screening|trial|donor|sample|plan|group|"
    r"policy|claim|ins|bill|bank|card|check|account|visa|order|lab|run|event|report|"
    r"log|file|folder|label|band|call|trip|flight|version|slide|block|exam|control|"
    r"key|code|no|nr|"
    r"index|device|implant|lead|pump|sensor|monitor|generator|icd|pacemaker|hand|"
    r"face|dna|genetic|thumb|vein|palm|staff|student|provider|pass|permit|identity|"
    r"pan|pas|ip|ur|"
    r"sin|job|jobs|incident|police|transport|safe|tag|batch|hn|op|chi|ss|fin|har|"
    r"pat|journal|ref|reference|acc|doc|document|path|spec|specimen|script|ems|probation|"
    r"parole|court|prison|bin|ik|az|"
    r"medicare|medicaid|kaiser|id|charge|prescription|pharmacist|registry|cert|reg|"
    r"pcr|referral|cause|crime|index|grp|auth|statement|receipt|registration|medical record|"
    r"member|subscriber|rx|alien|licen[cs]e|pin|badge|employee)$"
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
        (
            r"g?uar(?:antor)? ssn|ssn|ss#|ss|sss?n|social(?: security)?|soc\.? sec\.?|itin|"
            r"tax id|tin|ppsn?|pps|aadhaar|pan|sin|rvnr|rentenversicherungs(?:nummer|nr)|"
            r"sozialversicherungs(?:nummer|nr)|sv-?nr|steuer-?id"
        ),
    ),
    LabelRule(
        "mrn",
        "label",
        r"mrn|m\.r\.n\.?|mr#|mr ?no|medical rec(?:ord)?s?|med\.? rec\.?|unit|hospital|"
        r"hosp\.?|nhs|chi|h ?& ?c|hcn|pas|pid|patient|pt|chart|case|csn|har|fin|encounter|"
        r"visit|enc|episode|umpi|emrn?|empi|urn?|umr|cpi|k ?number|"
        r"clinic|uhid|ip ?no|op ?no|ipd?|opd|hn|crn|medicare|dva|ihi|fallnummer|fall|"
        r"fallnr|patienten(?:nummer|nr|id|-id|-nr)?|pat\.?-?(?:id|nr)|aufnahme(?:nummer|"
        r"nr|-nr)|journal|akten?(?:zeichen|nummer|-nr)?|az|archiv(?:nummer|-nr)?|pat|"
        r"piz|"
        r"record|study|research|subject|participant|screening|registry|trial|donor|sample|proband(?:en)?",
    ),
    LabelRule(
        "plan",
        "label",
        r"health ?plan|plan|policy|pol|member(?:ship)?|subscriber|beneficiary|insurance|"
        r"insured|ins\.?|group|grp|medicare|medicaid|medi-?cal|mbi|hicn?|hic#?|tricare|"
        r"champus|bcbs|blue ?(?:cross|shield)|aetna|cigna|humana|uhc|kaiser|bupa|axa|"
        r"vhi|laya|"
        r"claim|auth(?:orization|orisation)?|prior auth|pre-?auth|payer|rxbin|bin|pcn|"
        r"rxgrp|versicherten(?:nummer|nr|-nr|-nummer)?|versicherungs?(?:nummer|nr|-nr|"
        r"schein)?|vers\.?-?nr|kvnr|kv-?nr|krankenversichertennummer|kassen(?:nummer|"
        r"nr|-nr)?|kostenträger|ik|police(?:n)?|"
        r"egk|mitglieds(?:nummer|nr|-nr)|medical card|gms|pps",
    ),
    LabelRule(
        "account",
        "label",
        (
            r"acc(?:oun)?t|a/c|acct|account|billing|invoice|bill|bank|sort ?code|routing|"
            r"iban|bic|konto|kontonummer|rechnungs(?:nummer|nr|-nr)|guarantor|credit card|"
            r"debit card|card|visa|mastercard|amex|check|cheque|venmo|paypal|receipt|statement|"
            r"mandat"
        ),
    ),
    LabelRule(
        "licence",
        "label",
        r"licen[cs]es?|lic\.?|(?<!/)dl|d\.l\.|driver(?:['\u2019]?s)? licen[cs]e|driving licen[cs]e|"
        r"dea|npi|upin|gmc|nmc|hcpc|gphc|imc|ahpra|prescriber|passport|cert(?:ificate)?|"
        r"registration|reg\.?|reg(?:istered)?|lanr|bsnr|arztnummer|betriebsstätten(?:nummer|"
        r"nr)?|"
        r"reisepass(?:nummer|nr)?|führerschein(?:nummer|nr)?|ausweis(?:nummer|nr)?|personalausweis(?:nummer|"
        r"nr)?|visa number|green card|alien|permit|badge|employee|staff|student|id card|"
        r"state id|identity|pass|pin|provider|pharmacist",
    ),
    LabelRule(
        "device",
        "label",
        (
            r"serial|ser\.?|s/n|sn|s\.n\.?|lot|batch|chargen?(?:nummer|nr|-nr|-b\.)?|ch\.-b\.?|"
            r"udi(?:-di|-pi)?|imei|device|implant|seriennummer|serien-?nr|geräte(?:nummer|"
            r"nr|-nr)?|asset|model/?serial|pacemaker|icd|generator|lead|pump|sensor|mac|fitbit|"
            r"monitor|unit s/n|tag"
        ),
    ),
    LabelRule(
        "biometric",
        "label",
        (
            r"(?:iris|retina(?:l)?|finger ?print|palm(?:print)?|voice ?print|face|facial|"
            r"biometric|hand|dna|genetic|thumb|vein)(?: scan| template| profile| sample| recognition|"
            r" print)?(?: id| ref| hash| file| no)?|voice id|face id|fingerabdruck"
        ),
    ),
    LabelRule(
        "other",
        "label",
        r"accession|acc\.?|acc#|document|doc\.?|doc|order|req(?:uisition)?|specimen|spec|"
        r"path(?:ology)?|lab|ref(?:erence)?|our ref|your ref|job|dictation|dict|transcription|"
        r"run|incident|event|rx|prescription|script|tracking|shipment|courier|parcel|"
        r"consignment|"
        r"confirmation|conf|ticket|docket|court|warrant|inmate|prisoner|prison|offender|"
        r"booking|report|log|reservation|locker|file|folder|barcode|label|band|tote|voucher|"
        r"call|cad|ems run|ems|pcr|transport|trip|flight|auftrags?(?:nummer|nr|-nr)?|"
        r"befund(?:nummer|nr|-nr)?|"
        r"eingangs(?:nummer|nr|-nr)?|proben?(?:nummer|nr|-nr)?|histo(?:logie)?(?:nummer|"
        r"nr|-nr)?|rezept(?:nummer|nr|-nr)?|vorgangs?(?:nummer|nr|-nr)?|sendungs(?:nummer|"
        r"nr)?|ticket|e-?script(?:ion)?|escription document|slide|block|cassette|image id|"
        r"study|series id|exam|control|id|i\.d\.?|guid|uuid|token|key|safe|code|pin|password|"
        r"passwort|passcode|version|job id|jobs?|xref|mpi|no|nr|index|"
        r"parole|probation|police|crime|cps|dcf|referral|case file|cause|file|claim|ubrn",
    ),
)
