"""Addresses of the profile `recall`: streets, boxes, postcodes, counties, wards with a number; English and German."""

from __future__ import annotations

import re

from . import lists
from . import recall_context as context
from .places import STATES
from .recall_rules import NUMBER, TextRule
from .recall_words import (
    is_word,
)
from .rules import Match

CAP = r"[^\W\d_a-zß][^\W\d_]*(?:['\u2019-][^\W\d_]+)*"
TYPES = (
    r"(?:Street|Str|St|Avenue|Ave|Av|Road|Rd|Drive|Dr|Lane|Ln|Court|Ct|Boulevard|"
    r"Blvd|Place|Pl|Way|Terrace|Terr?|Circle|Cir|Highway|Hwy|Parkway|Pkwy|Square|"
    r"Sq|Trail|Trl|Crescent|Cres|Close|Alley|Row|Gardens|Gdns|"
    r"Walk|Plaza|Pike|Turnpike|Route|Rte|Grove|Mews|Hill|Rise|View|Green|Park|Quay|"
    r"Loop|Run|Ridge|Bend|Path|Point|Crossing|Cove|Expressway|Freeway|Parade|Esplanade|"
    r"Broadway|Wharf|Vale|Croft|Nagar|Marg|Colony|Chowk|Bazaar)"
)
CLEAR = (
    r"(?:Street|Avenue|Ave|Road|Rd|Drive|Lane|Ln|Boulevard|Blvd|Highway|Hwy|Parkway|"
    r"Pkwy|Crescent|Terrace|Turnpike|Expressway|Mews|Esplanade|Close|Court)"
)
UNIT = r"(?:,? (?:Apt|Apartment|Unit|Suite|Ste|Room|Rm|Flat|Floor|#)\.? ?#?[0-9A-Z][0-9A-Z-]{0,5}\b)?"
STREET_END = (
    r"(?:stra(?:ss|ß)e|str\.|gasse|weg|allee|platz|ring|damm|ufer|steig|pfad|chaussee|"
    r"promenade|markt|hof|berg|graben|wall|kamp|stieg|twiete|redder|straat|laan|gata|"
    r"gatan|vej|vegen|kade|plein|brücke|tor|garten|höhe|feld|wiese)"
)
POSTCODE = (
    r"(?:GIR ?0AA|[A-PR-UWYZ](?:[0-9]{1,2}|[A-HK-Y][0-9]|[A-HK-Y][0-9][0-9ABEHMNPRV-Y]|"
    r"[0-9][A-HJKPS-UW]) ?[0-9][ABD-HJLNP-UW-Z]{2})"
)
EIRCODE = r"(?:[AC-FHKNPRTV-Y][0-9]{2}|D6W) ?[0-9AC-FHKNPRTV-Y]{4}"


def _is_town_name(name: str) -> bool:
    first = re.split("[ -]", name.lower())[0]
    return first not in context.NO_NAME and (
        lists.fold(name.lower()) in lists.towns()
        or not is_word(first)
        or first in ("bad", "st", "neu", "alt")
    )


def _not_ordinary(match: Match) -> bool:
    return match["x"].split()[0].lower() not in context.NO_NAME


RULES: tuple[TextRule, ...] = (
    TextRule(
        "place",
        "street",
        (
            rf"(?<![\w./-])(?<![0-9],)[0-9]{{1,6}}(?:[A-Za-z]|[-/][0-9]{{1,4}}[A-Za-z]?)?,? (?:(?:[NSEW]{{1,2}}|"
            rf"North|South|East|West|Old|Upper|Lower|Great|Little)\.? )?(?:[0-9]{{1,3}}(?:st|"
            rf"nd|rd|th|ST|ND|RD|TH)|{CAP})(?:[ -]{CAP}){{0,3}}? {TYPES}\b\.?(?: (?:[NSEW]{{1,2}}|"
            rf"North|South|East|West)\b)?{UNIT}"
        ),
        at=NUMBER,
    ),
    TextRule(
        "place",
        "street, capitals",
        (
            rf"(?<![\w./-])(?<![0-9],)[0-9]{{1,6}}[A-Z]?,? (?:[NSEW] )?(?:[0-9]{{1,3}}(?:ST|"
            rf"ND|RD|TH)|[A-Z]{{2,}})(?: [A-Z]{{2,}}){{0,3}} {TYPES.upper()}\b\.?(?:,? (?:APT|"
            rf"UNIT|STE|FLAT|#)\.? ?#?[0-9A-Z-]{{1,6}}\b)?"
        ),
        at=NUMBER,
    ),
    TextRule(
        "place",
        "street, small letters",
        (
            r"(?<![\w./-])(?<![0-9],)[0-9]{1,5} (?:[nsew] )?(?:[0-9]{1,3}(?:st|nd|rd|th)|"
            r"[a-z]{3,})(?: [a-z]{3,}){0,2} (?:street|avenue|ave|road|rd|drive|lane|blvd|"
            r"boulevard|court|crescent|terrace|st\b(?=[.,\n]|$)|dr\b(?=[.,\n]|$))\b\.?"
        ),
        at=NUMBER,
    ),
    TextRule(
        "place",
        "street without number, capitals",
        (
            r"(?<![\w-])(?P<x>[A-Z]{3,}(?: [A-Z]{3,}){0,2}? (?:STREET|AVENUE|AVE|ROAD|"
            r"DRIVE|LANE|BLVD|BOULEVARD|HIGHWAY|PARKWAY|CRESCENT|TERRACE)\b)"
        ),
        _not_ordinary,
    ),
    TextRule(
        "place",
        "number, name",
        (
            rf"(?i:\b(?:lives|living|address|wohnhaft|residing|home)(?: at| address)?[ :]{{1,3}})(?P<x>[0-9]{{1,5}}"
            rf"[A-Za-z]? (?!(?:{'|'.join(('Years', 'Year', 'Days', 'Weeks', 'Hours', 'Months', 'Minutes'))})\b){CAP}"
            rf"(?: {CAP}){{0,2}})"
        ),
        lambda m: bool(re.search(r"(?i)\b(?:lives|living|address|wohnhaft|residing|home)", m[0])) or True,
        at="liv add woh res hom",
    ),
    TextRule(
        "place",
        "foreign street",
        (
            rf"(?<!\w)(?:Calle|Rue|Via|Avenida|Rua|Carrera|Plaza|Camino|Strada|Ulica|Jalan|"
            rf"Avenue de|Boulevard de)(?: (?:de|del|la|des|du|dos|da|las|los))* {CAP}(?: {CAP})?(?:,? [0-9]{{1,5}}["
            rf"a-z]?)?"
        ),
        at="cal rue via ave rua car pla cam str uli jal bou",
    ),
    TextRule(
        "place",
        "number, name, town",
        (
            rf"(?m)(?:^|(?<=[:,|] ))[0-9]{{1,5}}[A-Za-z]? {CAP}(?: {CAP}){{0,2}}(?=,[ \\n]{CAP}(?: {CAP}){{0,2}},? "
            rf"(?:[A-Z]{{2}},? [0-9]{{5}}|[A-Z]{{1,2}}[0-9]))"
        ),
        at=NUMBER,
    ),
    TextRule(
        "place",
        "unit",
        (
            r"(?<!\w)(?:(?:Apt|Apartment|Suite|Flat|Wohnung|apt|APT)\.? ?#?)[0-9]{1,5}[A-Za-z]?(?:/[0-9]{1,3})?(?!"
            r"\w|[./][0-9]|,[0-9]{3}(?![0-9]))"
        ),
        at="apt apa sui fla woh",
    ),
    TextRule(
        "place",
        "box",
        (
            rf"(?i:\b(?:P\.? ?O\.? ?Box|Post Office Box|Postbox|Postfach|Locked Bag|GPO Box) ?#?)[0-9][0-9 ]{{0,7}}"
            rf"[0-9]?(?:, {CAP}(?: {CAP}){{0,2}})?"
        ),
        at="p po pos loc gpo",
    ),
    TextRule("place", "postcode", rf"(?<!\w){POSTCODE}(?!\w)"),
    TextRule(
        "place",
        "postcode, small letters",
        rf"(?<!\w){POSTCODE.lower().replace('[a-pr-uwyz]', '[a-pr-uwyz]')}(?!\w)",
        lambda m: (
            " " in m[0]
            and bool(
                re.search(
                    r"(?i)(?:address|postcode|road|street|lives|at)\b[^.\n]{0,60}$",
                    m.string[max(0, m.start() - 70) : m.start()],
                )
            )
        ),
    ),
    TextRule(
        "place",
        "Eircode",
        rf"(?<!\w){EIRCODE}(?!\w)",
        lambda m: len(re.findall("[0-9]", m[0])) >= 3 and bool(re.search("[A-Z]", m[0][1:])),
    ),
    TextRule("place", "ZIP with a state", rf"\b(?:{STATES})\.?,? (?P<x>[0-9]{{5}}(?:-[0-9]{{4}})?)\b"),
    TextRule("place", "ZIP", r"(?<![\w./$-])(?<![0-9],)[0-9]{5}-[0-9]{4}(?!\w|-)", at=NUMBER),
    TextRule(
        "place",
        "ZIP label",
        (
            r"(?i:\b(?:zip|postal|post|plz)(?: ?code)?[ :=.]{1,3}(?:is |of )?)(?P<x>[A-Z0-9]{2,5}(?:[ -][A-Z0-9]{2"
            r",4})?)\b"
        ),
        lambda m: bool(re.search("[0-9]", m["x"])),
        at="zip pos plz",
    ),
    TextRule("place", "Australian postcode", r"\b(?:NSW|VIC|QLD|WA|SA|TAS|ACT|NT),? (?P<x>[0-9]{4})\b"),
    TextRule(
        "place",
        "Indian PIN",
        r"(?<![\w./])(?<![0-9],)(?P<x>[1-9][0-9]{2} ?[0-9]{3})(?!\w|[./][0-9]|,[0-9]{{3}}(?![0-9]))",
        lambda m: (
            bool(
                re.search(
                    rf"(?i)(?:\bpin(?: ?code)?|{CAP})[ :,\u2013-]{{1,3}}$",
                    m.string[max(0, m.start() - 30) : m.start()],
                )
            )
            and (
                len(m["x"]) == 6 or bool(re.search(r"(?i)pin", m.string[max(0, m.start() - 12) : m.start()]))
            )
        ),
        at=NUMBER,
    ),
    TextRule(
        "place",
        "German postcode",
        (
            rf"(?<![\w./-])(?<![0-9],)(?:D-|A-|CH-)?(?:(?P<p>[0-9]{{4,5}})) (?P<t>{CAP}(?:[ -](?:{CAP}|"
            rf"am|an der|ob der|im|a\.)(?: {CAP})?)?)"
        ),
        lambda m: (
            len(m["p"]) == 5
            and (
                lists.fold(m["t"].lower()) in lists.towns()
                or (_is_town_name(m["t"]) and m.string[: m.start()].rstrip(" ")[-1:] in ("", ",", "\n", "|"))
            )
        ),
        at=NUMBER,
    ),
    TextRule(
        "place",
        "county",
        rf"(?P<x>{CAP}(?: {CAP})? (?:County|Parish|Borough|Township|Landkreis))\b",
        _not_ordinary,
        gate=("county", "parish", "borough", "township", "landkreis"),
    ),
    TextRule(
        "place",
        "ward with number",
        (
            r"(?<!\w)(?:Ward|WARD|Station|Pod|Wing|Tower|Pavilion|Bldg|Building|Block)\.? ?(?:[0-9]{1,3}[A-Za-z]?("
            r"?:[-/.][0-9A-Z]{1,3})?|[A-Z][0-9]{1,3}[A-Z]?)(?!\w|[./][0-9]|,[0-9]{3}(?![0-9]))"
        ),
        at="war sta pod win tow pav bld bui blo",
    ),
    TextRule("place", "ward, small letters", r"(?<!\w)ward [0-9]{1,3}[A-Za-z]?(?!\w)", at="war"),
    TextRule(
        "place",
        "rural route",
        r"(?<!\w)(?:RR(?= ?#| ?[0-9]+,? Box)|Rural Route|R\.R\.|Rte|Box) ?#?[0-9]{1,5}(?!\w)",
        at="rr hc rur r rte box",
    ),
    TextRule(
        "place",
        "lives at",
        (
            rf"(?i:\b(?:lives|living|resides|residing|stays|staying|resident) (?:at|of) )(?P<x>(?:(?i:the) )?{CAP}("
            rf"?: {CAP}){{0,3}})"
        ),
        lambda m: m["x"].split()[-1].lower() not in context.NO_NAME,
        at="liv res sta",
    ),
    TextRule(
        "place",
        "by road number",
        r"(?<!\w)(?:US|I|SR|CR|Route|Rte|Hwy|A|M)[- ]?(?:Route |Hwy )?[0-9]{1,4}(?= (?:exit|near|and|at))",
        at="us i sr cr rou rte hwy a m",
    ),
)
GERMAN_RULES: tuple[TextRule, ...] = (
    TextRule(
        "place",
        "German street",
        (
            rf"(?<!\w)(?:(?:{CAP}[- ]){{0,2}}{CAP}?(?i:{STREET_END})|(?:{CAP}[- ])+(?:Straße|"
            rf"Str\.|Weg|Allee|Platz|Ring|Damm|Ufer|Gasse)|(?:Am|An der|An den|Auf der|Auf dem|"
            rf"Im|In der|In den|Zum|Zur|Unter den|Hinter der|Vor dem|Beim|Alte|Alter|Neue|"
            rf"Neuer|Kleine|Große|Obere|Untere)(?: {CAP}){{1,2}}) [0-9]{{1,4}}(?: ?[a-z]\b)?(?![\w.,]?[0-9]|"
            rf"[.:]| ?(?:mg|ml|Uhr|Jahre|Tage|cm|mm|%|x|kg|l/|g/))"
        ),
    ),
)
