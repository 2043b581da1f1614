"""Ages over 89 of the profile `recall`; English and German."""

from __future__ import annotations

import re

from .recall_numbers import LAB
from .recall_rules import NUMBER, TextRule

NINETIES = tuple(map(str, range(90, 110)))
AGE = r"(?:9[0-9]|1[0-2][0-9])"
AGE_NUMBER = r"(?P<x>(?:9[0-9]|1[0-2][0-9]))"
AGES = (
    TextRule(
        "age",
        "years old",
        (
            rf"(?<![\w./-])(?<![0-9],){AGE_NUMBER}(?=[ -]?(?:(?i:(?:years?|yrs?)(?:[ -](?:old|"
            rf"of[ -]age)|-young)?|jahre?(?: alt\w*)?|jährige?[rsn]?|j\.|y\.?/?o\.?(?:[fm]\b)?|"
            rf"y\.o\.?|y)|[FMfmJ])(?!\w))"
        ),
        lambda m: (
            not re.match(
                r"[ -]?\w+ (?:ago|later|history|prior|before|follow|survival|postop|time)",
                m.string[m.end() : m.end() + 20],
            )
        ),
        at=NUMBER,
    ),
    TextRule(
        "age",
        "free",
        (
            r"(?i:\b(?:she|he|who|patient|pt|mother|father|husband|wife|sister|brother|man|"
            r"woman|lady|gentleman)(?:'s|\u2019s| is| was)(?: now| nearly| almost| only)? |"
            r"\()(?P<x>9[0-9]|10[0-9])(?=[,.;)](?: |$|\n)| and | with | who | lives| but |"
            r" now)"
        ),
        gate=NINETIES,
    ),
    TextRule(
        "age",
        "glued",
        (
            r"(?<![\w./-])(?<![0-9],)(?:9[0-9]|1[0-2][0-9])(?:[FMfmYJyj]|yo|yof|yom|yr)(?!\w)|"
            r"(?<![\w/])(?:9[0-9]|1[01][0-9])(?=/[MF]\b)"
        ),
        lambda m: True,
        at=NUMBER,
    ),
    TextRule("age", "after a sex", r"(?<![\w/])[MF]/(?P<x>9[0-9]|1[01][0-9])(?![\w/])", at="m f"),
    TextRule(
        "age",
        "after a name",
        (
            r"(?:(?<![A-Za-z]-)\b[A-Z][a-z]+|\b(?i:mom|mum|dad|mother|father|grandmother|grandfather|mgm|"
            r"pgm|mgf|pgf|sister|brother|aunt|uncle)),? (?P<x>9[0-9]|10[0-9])(?=, | \(|\.(?!\d)|;|"
            r" and\b|\n)"
        ),
        lambda m: (
            not LAB.search(m.string[max(0, m.start() - 12) : m.start("x")])
            and not re.match(
                r"(?i)(?:sats?|spo|hr|pulse|bp|map|rr|o|temp|room|rm|bed|ward|page|weight|glucose|"
                r"bpm|rate|fio|na|day|level|score|age|unit|apt|chapter|week|ef|case|step|hct|"
                r"hb|tsh|plt)\b",
                m[0],
            )
            and not re.search(
                r"(?i)(?:rate|pulse|pressure|saturation|glucose|sodium|potassium|chloride|level|"
                r"weight|count|volume|urea|bun|temp|units?|score)",
                m[0],
            )
        ),
        gate=NINETIES,
    ),
    TextRule(
        "age",
        "of a person",
        r"(?i:\b(?:she|he|who|patient|pt|mother|father|mom|mum|dad|husband|wife|sister|"
        r"brother|man|woman|lady|gentleman)"
        r"(?:'s|\u2019s| is| was)(?: (?:now|nearly|almost|only|already|just|about|a|spry|sprightly|frail))* |"
        r"\b(?:spry|sprightly|feisty|ripe(?: old)?) (?:age of )?)(?P<x>9[0-9]|10[0-9])"
        r"(?!\w|[%/.:][0-9%]|[%/]|,[0-9]| ?(?:%|on\b|mmhg|bpm|kg|lbs?|cm|mm|mg|ml|degrees|"
        r"percent|out|to\b|over\b|pounds|minutes|hours|days|weeks|months))",
        gate=NINETIES,
    ),
    TextRule(
        "age",
        "died at",
        (
            rf"(?i:\b(?:died|dies|death|passed(?: away)?|alive|living|lived|well|deceased|"
            rf"d\.|†|gestorben|verstorben|verstarb|starb)(?: (?:of|from|with|by) \w+)?,?(?: (?:at|"
            rf"to|aged|mit|to age|at age|at the age of|age|im alter von))?:? ?){AGE_NUMBER}(?!\w|"
            rf"[%/]|[.,][0-9]|[ -](?:%|mg|ml|minutes|hours|days|weeks|months|percent|bpm|kg))"
        ),
        at="die dea pas ali liv wel dec d ges ver sta",
    ),
    TextRule(
        "age",
        "aged",
        (
            rf"(?i:\b(?:aged?|alter|lebensalter|age is|age of|turned|turning|turns?|will be|"
            rf"approaching|reached|now|nearly|almost|wurde|wird)[ ]*(?:of|is|was|:|=)?[ ]*){AGE_NUMBER}(?!\w|"
            rf"[%/]|[.,][0-9]| ?(?:%|mg|ml|kg|cm|mm|bpm|beats|/|percent|degrees|minutes|hours|"
            rf"days|weeks|months))"
        ),
        lambda m: (
            not m[0].lower().startswith(("is", "was", "now", "nearly", "almost", "wird"))
            or bool(re.match(r"\s*(?:[.,;!?)\n]|and\b|but\b|this\b|$)", m.string[m.end() :]))
        ),
        at="age alt leb tur wil app rea now nea alm is wur wir",
    ),
    TextRule(
        "age",
        "birthday",
        r"(?i:(?P<x>(?:9[0-9]|1[0-2][0-9])(?:st|nd|rd|th|\.))[ -](?:birthday|geburtstag|year of (?:life|age)))",
        at=NUMBER,
    ),
    TextRule(
        "age",
        "over 89",
        (
            rf"(?i:\b(?:over|older than|above|>|≥|≥ ?) ?){AGE_NUMBER}(?=[ -]?(?i:years? old|"
            rf"yrs? old|yo\b|y/o|years? of age))"
        ),
        at="ove old abo",
    ),
    TextRule(
        "age",
        "in words",
        (
            r"(?i:\b(?:ninety(?:[ -](?:one|two|three|four|five|six|seven|eight|nine))?|(?:a |"
            r"one )?hundred(?: and (?:one|two|three|four|five|six))?)(?:[ -]years?[ -](?:old|"
            r"young)| years of age)?)(?!\w)"
        ),
        lambda m: m[0].lower().startswith("ninety") or "year" in m[0].lower(),
        at="nin a one hun",
    ),
    TextRule(
        "age",
        "nineties",
        r"(?i:\bin (?:his|her|their) (?:(?:early|mid|late)[ -])?)(?P<x>(?i:nineties|90'?s))\b",
        at="in",
    ),
)
