"""Dates of the profile `recall`: all common numeric forms, months by name, weekdays, holidays; English and German."""

from __future__ import annotations

import re

from .recall_calendar import (
    DAY,
    FREE,
    HOLIDAYS,
    MON,
    MONTH,
    NEAR,
    ORDINAL,
    PART_OF_DAY,
    SEASON,
    SHORT_WEEKDAYS,
    WEEKDAYS,
    YEAR,
    YEAR4,
)
from .recall_fractions import is_compact, is_day_and_month, is_day_with_dot, is_month, is_partial_date
from .recall_rules import NUMBER, TextRule

RULES: tuple[TextRule, ...] = (
    TextRule(
        "date",
        "ordinal day after a preposition",
        r"(?i:\b(?:on|from|until|till|by|since|before|after|due|tci|dated|w/c|w/e|week commencing|"
        r"week ending|ca|am|to) )"
        rf"(?P<x>{ORDINAL})(?! (?:percentile|centile|day|week|month|year|decade|century|"
        rf"floor|rib|nerve|toe|finger|digit|cranial|"
        r"intercostal|line|grade|trimester|time|attempt|dose|visit|episode|degree|hour|"
        r"cycle|metatarsal|metacarpal|ventricle|"
        r"(?:and|to|or) [0-9]+(?:st|nd|rd|th) [a-z]|[a-z]+ (?:nerve|rib|space|toe|finger|metatarsal))|-)(?!\w)",
        at="on fro unt til by sin bef aft due tci dat w wee ca am to",
    ),
    TextRule(
        "date",
        "month and short year",
        r"(?i:\b(?:born|dob|dx|dx'd|diagnosed|since|until|surgery|op|relapse|mi|cva|cabg|"
        r"stent|s/p|in|from|started|stopped) )"
        r"(?P<x>(?:0?[1-9]|1[0-2])/(?:[3-9][0-9]))(?![\w/%]|[.,][0-9]| ?mm)",
        at="bor dob dx dia sin unt sur op rel mi cva cab ste s in fro sta sto",
    ),
    TextRule(
        "date",
        "short year",
        r"(?i:\b(?:in|since|of|from|until|till|by|before|after|circa) )(?P<x>['\u2019][0-9]{2})(?!\w)",
        at="in sin of fro unt til by bef aft cir",
    ),
    TextRule(
        "date", "ISO", rf"(?<!\w){YEAR4}[-/.]{MON}[-/.]{DAY}(?:T[0-9:.]+(?:Z|[+-][0-9:]+)?)?(?!\d)", at=NUMBER
    ),
    TextRule(
        "date",
        "numeric",
        rf"(?<![\w./])(?<![0-9],){DAY}[-/.]{DAY}[-/.]{YEAR}(?:[ap]m\b)?(?![\w]|/[0-9]|\.[0-9])",
        at=NUMBER,
    ),
    TextRule(
        "date",
        "range",
        rf"(?<![\w./-])(?<![0-9],){MON}/{DAY} ?[-\u2013] ?(?:{MON}/)?{DAY}(?:/{YEAR})?(?![\w/]|[.,-][0-9])",
        lambda m: (
            m[0].count("/") > 1
            or (
                "/" in m[0]
                and int(re.split("[-\u2013]", m[0])[1].strip()) > int(re.split("[/ \u2013-]", m[0])[1])
            )
        ),
        at=NUMBER,
    ),
    TextRule(
        "date",
        "day month year, spaces",
        r"(?<![\w./-])(?<![0-9],)[0-3][0-9] [01][0-9] (?:19|20)[0-9]{2}(?!\w)",
        at=NUMBER,
    ),
    TextRule("date", "year first", rf"(?<!\w){YEAR4}[ -]{MONTH}[ -]{DAY}(?!\w)", at=NUMBER),
    TextRule(
        "date",
        "numeric, spaces",
        rf"{FREE}{DAY}(?: ?/ ?| \. |\. ){MON}(?: ?/ ?| \. |\. ){YEAR4}(?!\w)",
        at=NUMBER,
    ),
    TextRule(
        "date",
        "numeric, label",
        (
            rf"(?i:\b(?:dob|d\.o\.b\.?|born|geb\.?|geboren|date|datum)(?: am| on)?[ :=.]{{1,4}})(?P<x>{DAY}[ ]{DAY}"
            rf"[ ]{YEAR})(?!\w)"
        ),
        at="dob d bor geb dat",
    ),
    TextRule(
        "date",
        "compact",
        (
            rf"(?<![\w./-])(?<![0-9],)(?:{YEAR4}(?:0[1-9]|1[0-2])(?:0[1-9]|[12][0-9]|3[01])(?:[0-9]{{4}}|"
            rf"[0-9]{{6}})?)(?!\w|[.,/-][0-9])"
        ),
        is_compact,
        at=NUMBER,
    ),
    TextRule(
        "date",
        "compact, label",
        (
            r"(?i:\b(?:dob|dos|doa|d\.o\.b\.|born|date|dated|geb\.?|admitted|discharged|am|"
            r"on|dtd|dt|dd)[ :=]{1,3})(?P<x>[0-3][0-9][01][0-9](?:[0-9]{2}|[0-9]{4}))(?!\w)"
        ),
        at="dob dos doa d bor dat geb adm dis am on dtd dt dd",
    ),
    TextRule(
        "date",
        "month and year in digits",
        (
            rf"(?<![\w./-])(?<![0-9],)(?:{MON}/{YEAR4}|{YEAR4}-(?:0[1-9]|1[0-2])|(?:0[1-9]|"
            rf"1[0-2])-{YEAR4})(?!\w|[-/][0-9])"
        ),
        at=NUMBER,
    ),
    TextRule(
        "date",
        "day and month",
        (
            r"(?<![\w./:+-])(?<![0-9],)(?P<a>[0-3]?[0-9])(?P<s>[/-])(?P<b>[0-3]?[0-9])(?:[ap]m\b)?(?![\w%]|"
            r"[-/:+][0-9]|[.,][0-9])"
        ),
        is_partial_date,
        at=NUMBER,
    ),
    TextRule(
        "date",
        "day and month, dots",
        rf"(?<![\w./-])(?<![0-9],){DAY}\.{MON}\.(?![0-9])",
        is_day_with_dot,
        at=NUMBER,
    ),
    TextRule(
        "date",
        "day and month at the beginning of an entry",
        r"(?m)(?:^|(?<=[a-zäöü]\. ))[ \t]*(?P<x>(?:0[1-9]|[12][0-9]|3[01])\.(?:0[1-9]|1[0-2])\.)(?= [^\W\d_])",
    ),
    TextRule(
        "date",
        "day and month, range",
        rf"(?<![\w./])(?<![0-9],){DAY}\.(?:{MON}\.)?[ ]?[-\u2013][ ]?{DAY}\.{MON}\.(?:{YEAR})?(?!\w)",
        at=NUMBER,
    ),
    TextRule(
        "date",
        "day, month",
        (
            rf"(?<![\w./])(?<![0-9],)(?P<d>(?:{DAY}(?i:st|nd|rd|th)? ?[-\u2013] ?)?{DAY}(?i:st|"
            rf"nd|rd|th)?\.?,?[ /-]?(?i:of |day of )?)(?P<m>{MONTH})(?:,?[ /-]{{0,2}}{YEAR}(?!\w|"
            rf"[:/%.][0-9]| ?(?:mg|m[lL]|years?|y\b|yo\b|%)))?"
        ),
        is_day_and_month,
        at=NUMBER,
    ),
    TextRule(
        "date",
        "month, day",
        (
            rf"(?<![\w])(?P<m>{MONTH})(?:[ -]|(?<=\.))?(?:the )?{DAY}(?i:st|nd|rd|th)?(?:,? ?[-\u2013] ?{DAY}(?i:st"
            rf"|nd|rd|th)?)?(?:,? ?{YEAR4}|,? ?['\u2019][0-9]{{2}}|-[0-9]{{2,4}})?(?!\w|[:/%.-][0-9])"
        ),
        lambda m: (
            m["m"][0].isupper()
            or m["m"].lower().rstrip(".") not in ("may", "march", "do")
            or bool(re.search(r"(?:st|nd|rd|th|[0-9]{4})$", m[0]))
        ),
        at="jan jän jae feb mar mär mae mrz apr may mai jun jul aug sep oct okt nov dec dez",
    ),
    TextRule(
        "date",
        "month, year",
        rf"(?<![\w])(?P<m>{MONTH}),?[ -/]?(?i:of )?(?:{YEAR4}|['\u2019][0-9]{{2}})(?!\w)",
        at="jan jän jae feb mar mär mae mrz apr may mai jun jul aug sep oct okt nov dec dez",
    ),
    TextRule(
        "date",
        "ordinal day",
        rf"(?i:\bon )?\b(?i:the ){ORDINAL}(?! (?:percentile|centile|day|week|month|year|"
        rf"decade|century|floor|rib|nerve|toe|finger|digit|cranial|intercostal|line|grade|"
        rf"trimester|time|"
        r"attempt|dose|visit|episode|degree|hour|cycle|of (?!last|this|next|the month|"
        r"jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]|metatarsal|metacarpal|"
        r"ventricle|generation|edition|(?:and|to|or) [0-9]+(?:st|nd|rd|th) [a-z]|[a-z]+ (?:nerve|"
        r"rib|space|toe|finger|metatarsal))|-)(?!\w)",
        lambda m: True,
        at="on the",
    ),
    TextRule(
        "date",
        "day, German",
        rf"(?i:\b(?:am|vom|bis|zum|ab dem|seit dem) )(?:{SHORT_WEEKDAYS},? )?(?P<x>{DAY}\.)(?! ?[0-9A-Za-zÄÖÜäöü])",
        at="am vom bis zum ab sei",
    ),
    TextRule("date", "day to day, German", rf"(?i:\bvom )(?P<x>{DAY}\.)(?= ?(?:bis|-))", at="vom"),
    TextRule(
        "date",
        "weekday",
        (
            rf"(?:\b{NEAR} )?(?<!\w){WEEKDAYS}{PART_OF_DAY}(?: (?:gone|last|next|past)\b)?(?:,? (?:the |"
            rf"den |dem )?{DAY}(?:\.|(?i:st|nd|rd|th))(?: ?(?:of )?{MONTH}(?: {YEAR4})?)?)?(?!\w)"
        ),
        at=(
            "las nex thi pas com ear mid lat end beg sta let kom näc ver vor anf mit mon tue wed thu fri sat sun "
            "die mit don fre sam son"
        ),
    ),
    TextRule(
        "date",
        "weekday and day",
        (
            rf"(?<![\w-])(?:Mon|Tues?|Weds?|Thu(?:r|rs)?|Fri|Sat|Sun|Mo|Di|Mi|Do|Fr|Sa|So)\b\.?,? (?:the |"
            rf"den )?{DAY}(?i:st|nd|rd|th|\.(?:{MON}\.?)?|/{MON})(?!\w)"
        ),
        at="mon tue wed thu fri sat sun mo di mi do fr sa so",
    ),
    TextRule("date", "calendar week", r"(?<!\w)KW ?[0-9]{1,2}(?!\w)", at="kw"),
    TextRule(
        "date",
        "short weekday",
        (
            rf"(?:\b{NEAR} )(?<!\w)(?i:(?:Mon|Tues?|Weds?|Thu(?:r|rs)?|Fri|Sat|Sun|Mo|Di|Mi|"
            rf"Do|Fr|Sa|So)\b\.?){PART_OF_DAY}"
        ),
        at="las nex thi pas com ear mid lat end beg sta let kom näc ver vor anf mit",
    ),
    TextRule(
        "date",
        "short weekday, time",
        (
            r"(?<![\w-])(?P<x>(?:Mon|Tues?|Weds?|Thu(?:r|rs)?|Fri|Sat|Sun)\b\.?)(?=,? (?:[0-9]|"
            r"morning|afternoon|evening|night|am\b|pm\b|a\.m|p\.m|noon)|/| ?[-\u2013] ?(?:Mon|"
            r"Tue|Wed|Thu|Fri|Sat|Sun))"
        ),
        at="mon tue wed thu fri sat sun",
    ),
    TextRule(
        "date",
        "short weekday, cue",
        (
            r"(?:\b(?:on|since|until|till|by|every|each|from|through|thru|before|after|for) )(?P<x>(?i:Mon|"
            r"Tues?|Weds?|Thu(?:r|rs)?|Fri|Sat|Sun)\b\.?(?:(?: or | and |/|, )(?i:Mon|Tues?|"
            r"Weds?|Thu(?:r|rs)?|Fri|Sat|Sun)\b\.?)?)"
        ),
        lambda m: not m[0].startswith("for sat"),
        at="on sin unt til by eve eac fro thr bef aft for",
    ),
    TextRule(
        "date",
        "short weekdays",
        (
            r"(?<![\w-])(?:Mon|Tues?|Weds?|Thu(?:rs?)?|Fri|Sat|Sun)\b(?=\.?,? (?:and|&|or|"
            r"to|thru|through) (?:Mon|Tue|Wed|Thu|Fri|Sat|Sun))|(?<=(?:Mon|Tue|Wed|Thu|Fri|"
            r"Sat|Sun) (?:or|to) )(?:Mon|Tues?|Weds?|Thu(?:rs?)?|Fri|Sat|Sun)\b|(?<=(?:Mon|"
            r"Tue|Wed|Thu|Fri|Sat|Sun) and )(?:Mon|Tues?|Weds?|Thu(?:rs?)?|Fri|Sat|Sun)\b"
        ),
        at="mon tue wed thu fri sat sun",
    ),
    TextRule(
        "date",
        "short weekday, German",
        r"(?<!\w)(?:am|bis|seit|ab|vom|jeden) (?P<x>(?:Mo|Di|Mi|Do|Fr|Sa|So)\b\.?)",
        at="am bis ab sei vom jed",
    ),
    TextRule(
        "date",
        "short weekday, alone",
        r"(?<![\w-])(?P<x>(?:Tues|Weds?|Thurs|Thur?|Fri|Mon|tues|weds|thurs)\b\.?"
        + PART_OF_DAY
        + r"(?: (?:gone|week|last|next|past)\b)?)(?![\w-])",
        at="mon tue wed thu fri sat sun",
    ),
    TextRule(
        "date",
        "day and month, one dot",
        (
            r"(?i:\b(?:on|seen|since|dated|until|till|am|vom|bis|ab|seit|admitted|clinic|"
            r"visit|reviewed|booked) )(?P<x>(?:0?[1-9]|[12][0-9]|3[01])\.(?:0?[1-9]|1[0-2]))(?=[\s,;)]|"
            r"\.(?:\s|$)|$)(?! ?(?:-|\u2013|to\b|mg|mcg|ml|l\b|L\b|g\b|kg|cm|mm|%|units?|"
            r"litres?|liters?|lpm|mmol|x|cc|k/|x10|u/|mcg|meq|iu))"
        ),
        at="on see sin dat unt til am vom bis ab sei adm cli vis rev boo",
    ),
    TextRule(
        "date",
        "holiday",
        (
            rf"(?:\b{NEAR} )?(?<!\w){HOLIDAYS}(?i: (?:weekend|week|eve|day|morning|night))?(?!['\u2019]?s? (?:disea"
            rf"se|factor|tree))"
        ),
        at=(
            "las nex thi pas com ear mid lat end beg sta let kom näc ver vor anf mit tha ny nye nyd bur rem mic m"
            "ay chr xma eas goo ash pal "
            "whi pen new hog hal lab mem ind the fou vet col pre mlk mar jun mot fat val st box ban guy bon shr c"
            "an aus anz gro sup car cin ram eid diw hol han cha pas pes ros yom pur suk sha kwa lun chi nav dus v"
            "es now wei hei ost pfi sil neu kar grü all nik asc fas buß ref dre tag mut adv"
        ),
    ),
    TextRule(
        "date",
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
    TextRule(
        "date",
        "season, near",
        rf"\b(?i:last|this past|past|letzten|vergangenen) {SEASON}\b",
        at="las thi pas let ver",
    ),
    TextRule(
        "date",
        "season, year",
        rf"(?<!\w){SEASON}(?: of)? {YEAR4}(?!\w)",
        at="spr sum aut fal win frü som her",
    ),
    TextRule(
        "date",
        "month",
        rf"(?<![\w-])(?P<m>{MONTH})(?![\w'\u2019-])",
        is_month,
        at="jan jän jae feb mar mär mae mrz apr may mai jun jul aug sep oct okt nov dec dez",
    ),
    TextRule(
        "date",
        "year of birth",
        (
            rf"(?i:\b(?:dob|d\.o\.b\.?|yob|born|birth(?: ?date| year)?|date of birth|year of birth|"
            rf"geb\.?|geboren|jahrgang|jg\.?)(?: in| im| on| am)?[ :=|.]{{1,4}}(?:jahr )?|"
            rf"(?<!\w)(?:b\. ?|\* ?))(?P<x>{YEAR4})(?!\w)"
        ),
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
    TextRule("date", "class of", rf"(?i:\bclass of )(?P<x>{YEAR})(?!\w)", at="cla"),
)
