"""Dates of the profile `recall`: all common numeric forms, months by name, weekdays, holidays and relative dates.

English and German. Fractions that are no date stay: scores, muscle strength, murmur grades, durations such as "6/12".
"""

from __future__ import annotations

import re
from collections.abc import Callable

from .recall_rules import NUMBER, TextRule
from .rules import Match

EN_MONTHS = (
    r"(?:Jan(?:uary)?|Feb(?:ruary)?|Mar(?:ch)?|Apr(?:il)?|May|June?|July?|Aug(?:ust)?|Sept?(?:ember)?|Oct(?:ober)?|"
    r"Nov(?:ember)?|Dec(?:ember)?)"
)
DE_MONTHS = (
    r"(?:J[äa]n(?:ner|uar)?|Feber|Feb(?:ruar)?|M(?:ä|ae)rz|Mrz|Apr(?:il)?|Mai|Jun[io]?|Jul[iy]?|Aug(?:ust)?|Sept?(?:ember)?|"
    r"Okt(?:ober)?|Nov(?:ember)?|Dez(?:ember)?)"
)
MONTH = rf"(?i:{EN_MONTHS}|{DE_MONTHS})\b\.?"
YEAR4 = r"(?:1[89]|20)[0-9]{2}"
YEAR = rf"(?:{YEAR4}|['\u2019]?[0-9]{{2}})"
DAY = r"(?:0?[1-9]|[12][0-9]|3[01])"
MON = r"(?:0?[1-9]|1[0-2])"
ORDINAL = rf"{DAY}(?i:st|nd|rd|th)"
FREE = r"(?<![\w./:-])(?<![0-9],)"
FREE_END = r"(?!\w|[-/:][0-9]|[.,][0-9])"
WEEKDAYS = (
    r"(?i:Mondays?|Tuesdays?|Wednesdays?|Thursdays?|Fridays?|Saturdays?|Sundays?|Montags?|Dienstags?|Mittwochs?|"
    r"Donnerstags?|Freitags?|Samstags?|Sonnabends?|Sonntags?)(?:abend|morgen|mittag|nachmittag|vormittag|nacht)?\b"
)
SHORT_WEEKDAYS = r"(?:Mon|Tues?|Weds?|Thu(?:r|rs)?|Fri|Sat|Sun|MON|TUES?|WEDS?|THU(?:RS)?|FRI|SAT|SUN|Mo|Di|Mi|Do|Fr|Sa|So)\b\.?"
PART_OF_DAY = r"(?: ?-?(?i:mornings?|afternoons?|evenings?|nights?|noon|lunchtime|a\.?m\.?|p\.?m\.?|abend|morgen|mittag|nachmittag|vormittag|nacht)\b)?"
SEASON = r"(?i:spring|summer|autumn|fall|winter|frühjahr|frühling|sommer|herbst)"
HOLIDAYS = (
    r"(?i:Thanksgiving|Christmas(?: Eve| Day)?|Xmas|Easter(?: Sunday| Monday| weekend)?|Good Friday|Ash Wednesday|"
    r"Palm Sunday|Whit(?:sun| Monday)|Pentecost|New Year['\u2019]?s?(?: Eve| Day)|Hogmanay|Halloween|Labou?r Day|"
    r"Memorial Day|Independence Day|(?:the )?(?:4th|Fourth) of July|Veterans['\u2019]? Day|Columbus Day|Presidents['\u2019]? Day|"
    r"MLK Day|Martin Luther King Day|Juneteenth|Mother['\u2019]?s Day|Father['\u2019]?s Day|Mothering Sunday|Valentine['\u2019]?s"
    r"(?: Day)?|St\.? (?:Patrick|Stephen|Andrew|George|David)['\u2019]?s Day|Boxing Day|Bank Holiday|Guy Fawkes(?: Night)?|Bonfire Night|"
    r"Shrove Tuesday|Canada Day|Australia Day|Anzac Day|Groundhog Day|Super Bowl Sunday|Mardi Gras|Cinco de Mayo|"
    r"Ramadan|Eid(?:[ -](?:al|ul)[ -](?:Fitr|Adha))?|Diwali|Holi\b(?! day)|Hanukkah|Chanukah|Passover|Pesach|Rosh Hashanah?|Yom Kippur|"
    r"Purim|Sukkot|Shavuot|Kwanzaa|Lunar New Year|Chinese New Year|Navratri|Dussehra|Vesak|Nowruz|"
    r"Weihnachten|Weihnachts(?:tag|abend|feiertag)\w*|Heilig(?:er )?abend|Heiligabend|Ostern|Oster(?:sonntag|montag|samstag)|Pfingsten|Pfingst(?:sonntag|montag)|"
    r"Silvester|Neujahr(?:stag)?|Karfreitag|Gründonnerstag|Christi Himmelfahrt|Fronleichnam|Allerheiligen|Nikolaus(?:tag)?|"
    r"Rosenmontag|Aschermittwoch|Fasching|Buß- und Bettag|Reformationstag|Dreikönigstag|Heilige Drei Könige|Tag der Arbeit|"
    r"Muttertag|Advent(?:ssonntag)?)\b"
)
NEAR = (
    r"(?i:last|next|this(?: past| coming)?|past|coming|early|mid|late|end of|beginning of|start of|letzten?|letzter|kommenden?|kommender|"
    r"nächsten?|vergangenen?|vorigen?|Anfang|Mitte|Ende)"
)
# Before a fraction: a date ("on 3/5"), or no date ("strength 4/5", "in 6/12").
DATE_CUE = re.compile(
    r"(?i)(?:\b(?:on|since|until|till|thru|through|dated?|from|by|of|before|after|due|seen|admitted|adm|d/c|dc|discharged|started|"
    r"start|stopped|transferred|dob|surgery|visit|appt|appointment|[a-z]{2,}ed|born|died|am|vom|bis|seit|ab|zum|und|and|to|the|last|LMP|EDD|EDC|cx|mri|ct|cxr|"
    r"xray|x-ray|echo|labs?|drawn|collected|received|placed|removed|held|d|dos|doa|called|inr|fu|f/u)|[-(|\u2013])\s*[:=]?\s*$"
)
STRONG_CUE = re.compile(
    r"(?i)(?:\b(?:on|since|until|till|thru|dated?|from|before|after|due|admitted|adm|d/c|dc|discharged|started|stopped|[a-z]{2,}ed|born|died|transferred|dob|surgery|visit|appt|am|vom|bis|seit|ab|last|LMP|EDD|EDC|drawn|"
    r"collected|received|placed|removed|inr|f/u|mri|ct|cxr|x-ray|echo|labs?|s/p|d|dos|doa|bx|cx|called|seen)|[-(|])\s*[:=]?\s*$"
)
STRENGTH = re.compile(
    r"(?i)\b(?:strength|motor|power|reflex|DTR|pulses|kraft|grip|extension|flexion|dorsiflexion|murmur|pain|muscle)"
)
RATIO_CUE = re.compile(
    r"(?i)(?:\b(?:pain|score|scale|rated|severity|vas|strength|power|motor|murmur|sem|hsm|sm|dm|grade|apgars?|reflex(?:es)?|dtrs?|"
    r"bp|blood pressure|vision|va|acuity|ratio|gcs|mmse|moca|mood|phq|orientation|oriented|pulses?|kraft|kraftgrad|schmerz|nrs|visus|"
    r"stage|class|beats?|fraction|about|approximately|x|lob?es?|cores?|nodes?|quadrants?|lymph nodes|positive|in|for|review(?:ed)?|"
    r"repeat|over|past|every|ca|bilaterally|aa?o|biopsies|biopsy|of|image|page|edema|oedema|Wells|criteria|step)"
    r"(?: (?:is|was|of|at|a|in|with|intensity|systolic|diastolic))*|[<>=~±])\s*[:=]?\s*$"
)
# After a fraction: words that make it a share, dose or duration.
SHARE = re.compile(
    r"(?i)\s*(?:%|days?\b|weeks?\b|months?\b|hours?\b|hrs?\b|ago\b|of\b|tab|pill|cup|pack|ppd|strength|power|bilateral|throughout|in (?:the )?"
    r"(?:[a-z]+ )?(?:upper|lower|all|both|u|l|extremit|arms?|legs?)|systolic|diastolic|sem\b|hsm\b|murmur|pain|severity|intensity|lobes?\b|nodes?\b|pulses?|"
    r"cores?\b|cm\b|mm\b|mg\b|ml\b|normal saline|NS\b|inch|mile|criteri|positive|points?|items?|words?|objects?|recall|motor|grip|tage\b|wochen\b|beidseits|"
    r"PEN|patients?|pat\.|on the (?:left|right)|right\b|left\b|equal)"
)


def _is_partial_date(match: Match) -> bool:
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
    r"(?i)\b(?:am|vom|bis|seit|ab|zum|den|aufnahme|entlassung|op|datum|kontrolle|termin|zuletzt)[ :]*(?:(?:mo|di|mi|do|fr|sa|so)\.?,? )?$"
)


def _is_day_with_dot(match: Match) -> bool:
    """Return whether "13.11." is a day and month; "1.2." may number a section."""
    line = match.string[: match.start()].rpartition("\n")[2]
    if GERMAN_DAY.search(line):
        return True
    return (
        bool(line.strip())
        and re.search(r"\b(?:und|der|die|mit|wurde|ist|bei)\b", match.string) is not None
        and not re.match(r" ?(?:mg|ml|cm|mm|kg)", match.string[match.end() :])
    )


def _is_compact(match: Match) -> bool:
    before = match.string[max(0, match.start() - 2) : match.start()]
    return not before.endswith(("#", "$"))


def _may(match: Match) -> bool:
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
                r"(?i)\b(?:in|since|until|till|by|of|from|to|during|before|after|last|next|this|early|mid|late|every|each|im|seit|ab|bis|"
                r"ende|anfang|mitte|letzten|and|or|through|between)[ -]$",
                before,
            )
        )
    return True


def _rule(
    name: str,
    pattern: str,
    accept: Callable[[Match], bool] | None = None,
    at: str = "",
    gate: tuple[str, ...] = (),
) -> TextRule:
    return TextRule("date", name, pattern, accept, at, gate)


RULES: tuple[TextRule, ...] = (
    _rule("ISO", rf"(?<!\w){YEAR4}[-/.]{MON}[-/.]{DAY}(?:T[0-9:.]+(?:Z|[+-][0-9:]+)?)?(?!\d)", at=NUMBER),
    _rule(
        "numeric",
        rf"(?<![\w./])(?<![0-9],){DAY}[-/.]{DAY}[-/.]{YEAR}(?:[ap]m\b)?(?![\w]|/[0-9]|\.[0-9])",
        at=NUMBER,
    ),
    _rule(
        "range",
        rf"(?<![\w./-])(?<![0-9],){MON}/{DAY} ?[-\u2013] ?(?:{MON}/)?{DAY}(?:/{YEAR})?(?![\w/]|[.,-][0-9])",
        lambda m: (
            m[0].count("/") > 1
            or "/" in m[0]
            and int(re.split("[-\u2013]", m[0])[1].strip()) > int(re.split("[/ \u2013-]", m[0])[1])
        ),
        at=NUMBER,
    ),
    _rule(
        "day month year, spaces",
        r"(?<![\w./-])(?<![0-9],)[0-3][0-9] [01][0-9] (?:19|20)[0-9]{2}(?!\w)",
        at=NUMBER,
    ),
    _rule("year first", rf"(?<!\w){YEAR4}[ -]{MONTH}[ -]{DAY}(?!\w)", at=NUMBER),
    _rule(
        "numeric, spaces", rf"{FREE}{DAY}(?: ?/ ?| \. |\. ){MON}(?: ?/ ?| \. |\. ){YEAR4}(?!\w)", at=NUMBER
    ),
    _rule(
        "numeric, label",
        rf"(?i:\b(?:dob|d\.o\.b\.?|born|geb\.?|geboren|date|datum)(?: am| on)?[ :=.]{{1,4}})(?P<x>{DAY}[ ]{DAY}[ ]{YEAR})(?!\w)",
        at="dob d bor geb dat",
    ),
    _rule(
        "compact",
        rf"(?<![\w./-])(?<![0-9],)(?:{YEAR4}(?:0[1-9]|1[0-2])(?:0[1-9]|[12][0-9]|3[01])(?:[0-9]{{4}}|[0-9]{{6}})?)(?!\w|[.,/-][0-9])",
        _is_compact,
        at=NUMBER,
    ),
    _rule(
        "compact, label",
        r"(?i:\b(?:dob|dos|doa|d\.o\.b\.|born|date|dated|geb\.?|admitted|discharged|am|on|dtd|dt|dd)[ :=]{1,3})(?P<x>[0-3][0-9][01][0-9](?:[0-9]{2}|[0-9]{4}))(?!\w)",
        at="dob dos doa d bor dat geb adm dis am on dtd dt dd",
    ),
    _rule(
        "month and year in digits",
        rf"(?<![\w./-])(?<![0-9],)(?:{MON}/{YEAR4}|{YEAR4}-(?:0[1-9]|1[0-2])|(?:0[1-9]|1[0-2])-{YEAR4})(?!\w|[-/][0-9])",
        at=NUMBER,
    ),
    _rule(
        "day and month",
        r"(?<![\w./:+-])(?<![0-9],)(?P<a>[0-3]?[0-9])(?P<s>[/-])(?P<b>[0-3]?[0-9])(?:[ap]m\b)?(?![\w%]|[-/:+][0-9]|[.,][0-9])",
        _is_partial_date,
        at=NUMBER,
    ),
    _rule(
        "day and month, dots", rf"(?<![\w./-])(?<![0-9],){DAY}\.{MON}\.(?![0-9])", _is_day_with_dot, at=NUMBER
    ),
    _rule(
        "day and month, range",
        rf"(?<![\w./])(?<![0-9],){DAY}\.(?:{MON}\.)?[ ]?[-\u2013][ ]?{DAY}\.{MON}\.(?:{YEAR})?(?!\w)",
        at=NUMBER,
    ),
    _rule(
        "day, month",
        rf"(?<![\w./])(?<![0-9],)(?P<d>(?:{DAY}(?i:st|nd|rd|th)? ?[-\u2013] ?)?{DAY}(?i:st|nd|rd|th)?\.?,?[ /-]?(?i:of |day of )?)(?P<m>{MONTH})(?:,?[ /-]{{0,2}}{YEAR}(?!\w|[:/%.][0-9]| ?(?:mg|m[lL]|years?|y\b|yo\b|%)))?",
        lambda m: _day_month(m),
        at=NUMBER,
    ),
    _rule(
        "month, day",
        rf"(?<![\w])(?P<m>{MONTH})(?:[ -]|(?<=\.))?(?:the )?{DAY}(?i:st|nd|rd|th)?(?:,? ?[-\u2013] ?{DAY}(?i:st|nd|rd|th)?)?(?:,? ?{YEAR4}|,? ?['\u2019][0-9]{{2}}|-[0-9]{{2,4}})?(?!\w|[:/%.-][0-9])",
        lambda m: (
            m["m"][0].isupper()
            or m["m"].lower().rstrip(".") not in ("may", "march", "do")
            or bool(re.search(r"(?:st|nd|rd|th|[0-9]{4})$", m[0]))
        ),
        at="jan jän jae feb mar mär mae mrz apr may mai jun jul aug sep oct okt nov dec dez",
    ),
    _rule(
        "month, year",
        rf"(?<![\w])(?P<m>{MONTH}),?[ -/]?(?i:of )?(?:{YEAR4}|['\u2019][0-9]{{2}})(?!\w)",
        at="jan jän jae feb mar mär mae mrz apr may mai jun jul aug sep oct okt nov dec dez",
    ),
    _rule(
        "ordinal day",
        rf"(?i:\bon )?\b(?i:the ){ORDINAL}(?! (?:percentile|centile|day|week|month|year|decade|century|floor|rib|nerve|toe|finger|digit|cranial|intercostal|line|grade|trimester|time|"
        r"attempt|dose|visit|episode|degree|hour|cycle|of (?!last|this|next|the month|jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]|metatarsal|metacarpal|ventricle|generation|edition|(?:and|to|or) [0-9]+(?:st|nd|rd|th) [a-z]|[a-z]+ (?:nerve|rib|space|toe|finger|metatarsal))|-)(?!\w)",
        lambda m: True,
        at="on the",
    ),
    _rule(
        "day, German",
        rf"(?i:\b(?:am|vom|bis|zum|ab dem|seit dem) )(?:{SHORT_WEEKDAYS},? )?(?P<x>{DAY}\.)(?! ?[0-9A-Za-zÄÖÜäöü])",
        at="am vom bis zum ab sei",
    ),
    _rule("day to day, German", rf"(?i:\bvom )(?P<x>{DAY}\.)(?= ?(?:bis|-))", at="vom"),
    _rule(
        "weekday",
        rf"(?:\b{NEAR} )?(?<!\w){WEEKDAYS}{PART_OF_DAY}(?: (?:gone|last|next|past)\b)?(?:,? (?:the |den |dem )?{DAY}(?:\.|(?i:st|nd|rd|th))(?: ?(?:of )?{MONTH}(?: {YEAR4})?)?)?(?!\w)",
        at="las nex thi pas com ear mid lat end beg sta let kom näc ver vor anf mit mon tue wed thu fri sat sun die mit don fre sam son",
    ),
    _rule(
        "weekday and day",
        rf"(?<![\w-])(?:Mon|Tues?|Weds?|Thu(?:r|rs)?|Fri|Sat|Sun|Mo|Di|Mi|Do|Fr|Sa|So)\b\.?,? (?:the |den )?{DAY}(?i:st|nd|rd|th|\.(?:{MON}\.?)?|/{MON})(?!\w)",
        at="mon tue wed thu fri sat sun mo di mi do fr sa so",
    ),
    _rule("calendar week", r"(?<!\w)KW ?[0-9]{1,2}(?!\w)", at="kw"),
    _rule(
        "short weekday",
        rf"(?:\b{NEAR} )(?<!\w)(?i:(?:Mon|Tues?|Weds?|Thu(?:r|rs)?|Fri|Sat|Sun|Mo|Di|Mi|Do|Fr|Sa|So)\b\.?){PART_OF_DAY}",
        at="las nex thi pas com ear mid lat end beg sta let kom näc ver vor anf mit",
    ),
    _rule(
        "short weekday, time",
        rf"(?<![\w-])(?P<x>(?:Mon|Tues?|Weds?|Thu(?:r|rs)?|Fri|Sat|Sun)\b\.?)(?=,? (?:[0-9]|morning|afternoon|evening|night|am\b|pm\b|a\.m|p\.m|noon)|/| ?[-\u2013] ?(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun))",
        at="mon tue wed thu fri sat sun",
    ),
    _rule(
        "short weekday, cue",
        r"(?:\b(?:on|since|until|till|by|every|each|from|through|thru|before|after|for) )(?P<x>(?i:Mon|Tues?|Weds?|Thu(?:r|rs)?|Fri|Sat|Sun)\b\.?(?:(?: or | and |/|, )(?i:Mon|Tues?|Weds?|Thu(?:r|rs)?|Fri|Sat|Sun)\b\.?)?)",
        lambda m: not m[0].startswith("for sat"),
        at="on sin unt til by eve eac fro thr bef aft for",
    ),
    _rule(
        "short weekdays",
        r"(?<![\w-])(?:Mon|Tues?|Weds?|Thu(?:rs?)?|Fri|Sat|Sun)\b(?=\.?,? (?:and|&|or|to|thru|through) (?:Mon|Tue|Wed|Thu|Fri|Sat|Sun))|(?<=(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun) (?:or|to) )(?:Mon|Tues?|Weds?|Thu(?:rs?)?|Fri|Sat|Sun)\b|(?<=(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun) and )(?:Mon|Tues?|Weds?|Thu(?:rs?)?|Fri|Sat|Sun)\b",
        at="mon tue wed thu fri sat sun",
    ),
    _rule(
        "short weekday, German",
        r"(?<!\w)(?:am|bis|seit|ab|vom|jeden) (?P<x>(?:Mo|Di|Mi|Do|Fr|Sa|So)\b\.?)",
        at="am bis ab sei vom jed",
    ),
    _rule(
        "short weekday, alone",
        r"(?<![\w-])(?P<x>(?:Tues|Weds?|Thurs|Thur?|Fri|Mon|tues|weds|thurs)\b\.?"
        + PART_OF_DAY
        + r"(?: (?:gone|week|last|next|past)\b)?)(?![\w-])",
        at="mon tue wed thu fri sat sun",
    ),
    _rule(
        "day and month, one dot",
        r"(?i:\b(?:on|seen|since|dated|until|till|am|vom|bis|ab|seit|admitted|clinic|visit|reviewed|booked) )(?P<x>(?:0?[1-9]|[12][0-9]|3[01])\.(?:0?[1-9]|1[0-2]))(?=[\s,;)]|\.(?:\s|$)|$)(?! ?(?:-|\u2013|to\b|mg|mcg|ml|l\b|L\b|g\b|kg|cm|mm|%|units?|litres?|liters?|lpm|mmol|x|cc|k/|x10|u/|mcg|meq|iu))",
        at="on see sin dat unt til am vom bis ab sei adm cli vis rev boo",
    ),
    _rule(
        "holiday",
        rf"(?:\b{NEAR} )?(?<!\w){HOLIDAYS}(?i: (?:weekend|week|eve|day|morning|night))?(?!['\u2019]?s? (?:disease|factor|tree))",
        at="las nex thi pas com ear mid lat end beg sta let kom näc ver vor anf mit tha chr xma eas goo ash pal whi pen new hog hal lab mem ind the fou vet col pre mlk mar jun mot fat val st box ban guy bon shr can aus anz gro sup car cin ram eid diw hol han cha pas pes ros yom pur suk sha kwa lun chi nav dus ves now wei hei ost pfi sil neu kar grü all nik asc fas buß ref dre tag mut adv",
    ),
    _rule(
        "month, near",
        rf"\b{NEAR}[ -](?P<m>{MONTH})(?:[ ,]+{YEAR4})?(?!\w)",
        lambda m: (
            m["m"][0].isupper()
            or m["m"].rstrip(".").lower() not in ("may", "march", "mar", "dec")
            or (
                m[0].lower().startswith(("last ", "next ", "early ", "late "))
                and not re.match(
                    r" (?:be|have|not|also|need|help|cause|\w+ly)\b", m.string[m.end() : m.end() + 10]
                )
            )
        ),
        at="las nex thi pas com ear mid lat end beg sta let kom näc ver vor anf mit",
    ),
    _rule(
        "season, near",
        rf"\b(?i:last|this past|past|letzten|vergangenen) {SEASON}\b",
        at="las thi pas let ver",
    ),
    _rule("season, year", rf"(?<!\w){SEASON}(?: of)? {YEAR4}(?!\w)", at="spr sum aut fal win frü som her"),
    _rule(
        "month",
        rf"(?<![\w-])(?P<m>{MONTH})(?![\w'\u2019-])",
        _may,
        at="jan jän jae feb mar mär mae mrz apr may mai jun jul aug sep oct okt nov dec dez",
    ),
    _rule(
        "year of birth",
        rf"(?i:\b(?:dob|d\.o\.b\.?|yob|born|birth(?: ?date| year)?|date of birth|year of birth|geb\.?|geboren|jahrgang|jg\.?)(?: in| im| on| am)?[ :=|.]{{1,4}}(?:jahr )?|(?<!\w)(?:b\. ?|\* ?))(?P<x>{YEAR4})(?!\w)",
        gate=(
            "dob",
            "d.o.b",
            "yob",
            "born",
            "birth",
            "geb",
            "jahrgang",
            "jg",
            "b. ",
            "b.1",
            "b.2",
            "* ",
            "*1",
            "*2",
        ),
    ),
    _rule("class of", rf"(?i:\bclass of )(?P<x>{YEAR})(?!\w)", at="cla"),
)


def _day_month(match: Match) -> bool:
    """Return whether a number before a month is its day: "may" and "march" are also verbs."""
    word = match["m"].rstrip(".")
    if word.lower() in {"may", "do"} and not word[0].isupper():
        return bool(re.search(r"[a-z]", match["d"])) or bool(re.search(r"[0-9]$", match[0]))
    return True
