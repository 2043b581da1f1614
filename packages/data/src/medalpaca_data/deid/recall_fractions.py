"""Whether a fraction or a month is a date, for the profile `recall`: scores, shares and durations are none."""

from __future__ import annotations

import re

from .rules import Match

# Before a fraction: a date ("on 3/5"), or no date ("strength 4/5", "in 6/12").
DATE_CUE = re.compile(
    r"(?i)(?:\b(?:on|since|until|till|thru|through|dated?|from|by|of|before|after|"
    r"due|seen|admitted|adm|d/c|dc|discharged|started|"
    r"start|stopped|transferred|dob|surgery|visit|appt|appointment|[a-z]{2,}ed|born|"
    r"comparison|compared to|prior|previous|study|film|scan|exam|clinic|"
    r"died|am|vom|bis|seit|ab|zum|und|and|to|the|last|LMP|EDD|EDC|cx|mri|ct|cxr|"
    r"xray|x-ray|echo|labs?|drawn|collected|received|placed|removed|held|d|dos|doa|"
    r"called|inr|fu|f/u)|[-(|\u2013])\s*[:=]?\s*$"
)
STRONG_CUE = re.compile(
    r"(?i)(?:\b(?:on|since|until|till|thru|dated?|from|before|after|due|admitted|"
    r"adm|d/c|dc|discharged|started|stopped|[a-z]{2,}ed|born|died|comparison|compared to|"
    r"compared with|prior|previous|study|film|films|scan|exam|clinic|tci|w/c|w/e|"
    r"transferred|dob|"
    r"surgery|visit|appt|am|vom|bis|seit|ab|last|LMP|EDD|EDC|drawn|"
    r"collected|received|placed|removed|inr|f/u|mri|ct|cxr|x-ray|echo|labs?|s/p|d|"
    r"dos|doa|bx|cx|called|seen)|[-(|])\s*[:=]?\s*$"
)
STRENGTH = re.compile(
    r"(?i)\b(?:strength|motor|power|reflex|DTR|pulses|kraft|grip|extension|flexion|dorsiflexion|murmur|pain|muscle)"
)
RATIO_CUE = re.compile(
    r"(?i)(?:\b(?:pain|score|scale|rated|severity|vas|strength|power|motor|murmur|"
    r"sem|hsm|sm|dm|grade|apgars?|reflex(?:es)?|dtrs?|"
    r"bp|blood pressure|vision|va|acuity|ratio|gcs|glasgow|mmse|mmst|moca|mood|phq|phq-9|gad-7|tinetti|barthel|"
    r"snellen|tit(?:re|er)|perrla?|dose|dosis|orientation|"
    r"oriented|pulses?|kraft|kraftgrad|schmerz|nrs|visus|"
    r"stage|class|beats?|fraction|about|approximately|x|lob?es?|cores?|nodes?|quadrants?|"
    r"lymph nodes|positive|in|for|review(?:ed)?|"
    r"repeat|over|past|every|ca|bilaterally|aa?o|biopsies|biopsy|of|image|page|edema|oedema|Wells|criteria|step)"
    r"(?: (?:is|was|of|at|a|in|with|intensity|systolic|diastolic))*|[<>=~±])\s*[:=]?\s*$"
)
# After a fraction: words that make it a share, dose or duration.
SHARE = re.compile(
    r"(?i)\s*(?:%|days?\b|weeks?\b|months?\b|hours?\b|hrs?\b|ago\b|of\b|tab|pill|"
    r"cup|pack|ppd|strength|power|bilateral|throughout|in (?:the )?"
    r"(?:[a-z]+ )?(?:upper|lower|all|both|u|l|extremit|arms?|legs?)|systolic|diastolic|"
    r"sem\b|hsm\b|murmur|pain|severity|intensity|lobes?\b|nodes?\b|pulses?|"
    r"cores?\b|cm\b|mm\b|mg\b|ml\b|normal saline|NS\b|inch|mile|criteri|positive|"
    r"points?|items?|words?|objects?|recall|motor|grip|tage\b|wochen\b|beidseits|"
    r"PEN|patients?|pat\.|on the (?:left|right)|right\b|left\b|equal)"
)


def is_partial_date(match: Match) -> bool:
    """Return whether a fraction of day and month is a date and no score, share or duration."""
    text, first, second = match.string, int(match["a"]), int(match["b"])
    if not ((first <= 12 and second <= 31) or (first <= 31 and second <= 12)) or not first or not second:
        return False
    before, after = text[max(0, match.start() - 28) : match.start()], text[match.end() : match.end() + 20]
    if SHARE.match(after):
        return False
    cue = DATE_CUE.search(before)
    if RATIO_CUE.search(before) and not (cue and re.search(r"(?i)\bof\s*$", before)):
        return bool(cue and second > 12)
    if match["s"] == "-":
        return cue is not None and bool(
            re.search(r"(?i)\b(?:on|since|until|dated?|dob|admitted)\s*$", before)
        )
    if second in (4, 5, 6, 10) and first <= second:
        # Strength, murmurs and pain: a date only after a strong cue.
        if STRENGTH.search(text[max(0, match.start() - 120) : match.start()].rpartition("\n")[2]):
            return STRONG_CUE.search(before) is not None
        return (first, second) not in {(1, 4), (3, 4), (1, 6), (2, 6)} or cue is not None
    if second == 12:
        return True
    if (
        second in (7, 52)
        or (second == 6 and first <= 6)
        or (first, second) in {(1, 2), (1, 3), (1, 4), (2, 3), (3, 4), (2, 2)}
    ):
        return cue is not None
    return True


GERMAN_DAY = re.compile(
    r"(?i)\b(?:am|vom|bis|seit|ab|zum|den|aufnahme|entlassung|op|datum|kontrolle|"
    r"termin|zuletzt)[ :]*(?:(?:mo|di|mi|do|fr|sa|so)\.?,? )?$"
)


def is_day_with_dot(match: Match) -> bool:
    """Return whether "13.11." is a day and month; "1.2." may number a section."""
    line = match.string[: match.start()].rpartition("\n")[2]
    if GERMAN_DAY.search(line):
        return True
    return (
        bool(line.strip())
        and re.search(r"\b(?:und|der|die|mit|wurde|ist|bei)\b", match.string) is not None
        and not re.match(r" ?(?:mg|ml|cm|mm|kg)", match.string[match.end() :])
    )


def is_compact(match: Match) -> bool:
    """Return whether a date without separators is one: not directly after "#" or "$"."""
    before = match.string[max(0, match.start() - 2) : match.start()]
    return not before.endswith(("#", "$"))


def is_month(match: Match) -> bool:
    """Return whether a month alone is one: "may", "march" and "mar" need a capital letter and a word before it."""
    word = match["m"].rstrip(".")
    if word.lower() in {
        "may",
        "march",
        "mar",
        "jun",
        "jan",
        "sep",
        "dec",
        "oct",
        "mai",
        "august",
        "april",
        "june",
        "juni",
        "nov",
        "apr",
        "jul",
        "aug",
        "feb",
        "dez",
        "okt",
        "juno",
        "jen",
        "mrz",
        "sept",
    }:
        before = match.string[max(0, match.start() - 16) : match.start()]
        return (
            word[0].isupper()
            or re.search(
                r"(?i)\b(?:in|since|last|next|until|early|late|mid|im|seit)[ -]$",
                match.string[max(0, match.start() - 8) : match.start()],
            )
            is not None
        ) and bool(
            re.search(
                r"(?i)\b(?:in|since|until|till|by|of|from|to|during|before|after|last|next|this|"
                r"early|mid|late|every|each|im|seit|ab|bis|"
                r"ende|anfang|mitte|letzten|and|or|through|between)[ -]$",
                before,
            )
        )
    return True


def is_day_and_month(match: Match) -> bool:
    """Return whether a number before a month is its day: "may" and "march" are also verbs."""
    word = match["m"].rstrip(".")
    if word.lower() in {"may", "do"} and not word[0].isupper():
        return bool(re.search(r"[a-z]", match["d"])) or bool(re.search(r"[0-9]$", match[0]))
    return True
