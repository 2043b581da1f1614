"""Places of the profile `recall`: addresses, postcodes, towns, hospitals, wards, schools and employers."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from . import lists
from . import recall_context as context
from .places import STATES
from .recall_tokens import Token, is_listed, is_word
from .recall_rules import NUMBER, TextRule
from .rules import Match, Span

CAP = r"[^\W\d_a-zß][^\W\d_]*(?:['\u2019-][^\W\d_]+)*"
TYPES = (
    r"(?:Street|Str|St|Avenue|Ave|Av|Road|Rd|Drive|Dr|Lane|Ln|Court|Ct|Boulevard|Blvd|Place|Pl|Way|Terrace|Terr?|Circle|Cir|Highway|Hwy|Parkway|Pkwy|Square|Sq|Trail|Trl|Crescent|Cres|Close|Alley|Row|Gardens|Gdns|"
    r"Walk|Plaza|Pike|Turnpike|Route|Rte|Grove|Mews|Hill|Rise|View|Green|Park|Quay|Loop|Run|Ridge|Bend|Path|Point|Crossing|Cove|Expressway|Freeway|Parade|Esplanade|Broadway|Wharf|Vale|Croft|Nagar|Marg|Colony|Chowk|Bazaar)"
)
CLEAR = r"(?:Street|Avenue|Ave|Road|Rd|Drive|Lane|Ln|Boulevard|Blvd|Highway|Hwy|Parkway|Pkwy|Crescent|Terrace|Turnpike|Expressway|Mews|Esplanade|Close|Court)"
UNIT = r"(?:,? (?:Apt|Apartment|Unit|Suite|Ste|Room|Rm|Flat|Floor|#)\.? ?#?[0-9A-Z][0-9A-Z-]{0,5}\b)?"
STREET_END = r"(?:stra(?:ss|ß)e|str\.|gasse|weg|allee|platz|ring|damm|ufer|steig|pfad|chaussee|promenade|markt|hof|berg|graben|wall|kamp|stieg|twiete|redder|straat|laan|gata|gatan|vej|vegen|kade|plein|brücke|tor|garten|höhe|feld|wiese)"
POSTCODE = r"(?:GIR ?0AA|[A-PR-UWYZ](?:[0-9]{1,2}|[A-HK-Y][0-9]|[A-HK-Y][0-9][0-9ABEHMNPRV-Y]|[0-9][A-HJKPS-UW]) ?[0-9][ABD-HJLNP-UW-Z]{2})"
EIRCODE = r"(?:[AC-FHKNPRTV-Y][0-9]{2}|D6W) ?[0-9AC-FHKNPRTV-Y]{4}"


def _rule(
    name: str,
    pattern: str,
    accept: Callable[[Match], bool] | None = None,
    at: str = "",
    gate: tuple[str, ...] = (),
) -> TextRule:
    return TextRule("place", name, pattern, accept, at, gate)


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
    _rule(
        "street",
        rf"(?<![\w./-])(?<![0-9],)[0-9]{{1,6}}(?:[A-Za-z]|[-/][0-9]{{1,4}}[A-Za-z]?)?,? (?:(?:[NSEW]{{1,2}}|North|South|East|West|Old|Upper|Lower|Great|Little)\.? )?(?:[0-9]{{1,3}}(?:st|nd|rd|th|ST|ND|RD|TH)|{CAP})(?:[ -]{CAP}){{0,3}}? {TYPES}\b\.?(?: (?:[NSEW]{{1,2}}|North|South|East|West)\b)?{UNIT}",
        at=NUMBER,
    ),
    _rule(
        "street, capitals",
        rf"(?<![\w./-])(?<![0-9],)[0-9]{{1,6}}[A-Z]?,? (?:[NSEW] )?(?:[0-9]{{1,3}}(?:ST|ND|RD|TH)|[A-Z]{{2,}})(?: [A-Z]{{2,}}){{0,3}} {TYPES.upper()}\b\.?(?:,? (?:APT|UNIT|STE|FLAT|#)\.? ?#?[0-9A-Z-]{{1,6}}\b)?",
        at=NUMBER,
    ),
    _rule(
        "street, small letters",
        r"(?<![\w./-])(?<![0-9],)[0-9]{1,5} (?:[nsew] )?(?:[0-9]{1,3}(?:st|nd|rd|th)|[a-z]{3,})(?: [a-z]{3,}){0,2} (?:street|avenue|ave|road|rd|drive|lane|blvd|boulevard|court|crescent|terrace|st\b(?=[.,\n]|$)|dr\b(?=[.,\n]|$))\b\.?",
        at=NUMBER,
    ),
    _rule(
        "street without number, capitals",
        rf"(?<![\w-])(?P<x>[A-Z]{{3,}}(?: [A-Z]{{3,}}){{0,2}}? (?:STREET|AVENUE|AVE|ROAD|DRIVE|LANE|BLVD|BOULEVARD|HIGHWAY|PARKWAY|CRESCENT|TERRACE)\b)",
        _not_ordinary,
    ),
    _rule(
        "number, name",
        rf"(?i:\b(?:lives|living|address|wohnhaft|residing|home)(?: at| address)?[ :]{{1,3}})(?P<x>[0-9]{{1,5}}[A-Za-z]? (?!(?:{'|'.join(('Years', 'Year', 'Days', 'Weeks', 'Hours', 'Months', 'Minutes'))})\b){CAP}(?: {CAP}){{0,2}})",
        lambda m: bool(re.search(r"(?i)\b(?:lives|living|address|wohnhaft|residing|home)", m[0])) or True,
        at="liv add woh res hom",
    ),
    _rule(
        "foreign street",
        rf"(?<!\w)(?:Calle|Rue|Via|Avenida|Rua|Carrera|Plaza|Camino|Strada|Ulica|Jalan|Avenue de|Boulevard de)(?: (?:de|del|la|des|du|dos|da|las|los))* {CAP}(?: {CAP})?(?:,? [0-9]{{1,5}}[a-z]?)?",
        at="cal rue via ave rua car pla cam str uli jal bou",
    ),
    _rule(
        "number, name, town",
        rf"(?m)(?:^|(?<=[:,|] ))[0-9]{{1,5}}[A-Za-z]? {CAP}(?: {CAP}){{0,2}}(?=,[ \\n]{CAP}(?: {CAP}){{0,2}},? (?:[A-Z]{{2}},? [0-9]{{5}}|[A-Z]{{1,2}}[0-9]))",
        at=NUMBER,
    ),
    _rule(
        "unit",
        r"(?<!\w)(?:(?:Apt|Apartment|Suite|Flat|Wohnung|apt|APT)\.? ?#?)[0-9]{1,5}[A-Za-z]?(?:/[0-9]{1,3})?(?!\w|[./][0-9]|,[0-9]{3}(?![0-9]))",
        at="apt apa sui fla woh",
    ),
    _rule(
        "box",
        rf"(?i:\b(?:P\.? ?O\.? ?Box|Post Office Box|Postbox|Postfach|Locked Bag|GPO Box) ?#?)[0-9][0-9 ]{{0,7}}[0-9]?(?:, {CAP}(?: {CAP}){{0,2}})?",
        at="p po pos loc gpo",
    ),
    _rule("postcode", rf"(?<!\w){POSTCODE}(?!\w)"),
    _rule(
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
    _rule(
        "Eircode",
        rf"(?<!\w){EIRCODE}(?!\w)",
        lambda m: len(re.findall("[0-9]", m[0])) >= 3 and bool(re.search("[A-Z]", m[0][1:])),
    ),
    _rule("ZIP with a state", rf"\b(?:{STATES})\.?,? (?P<x>[0-9]{{5}}(?:-[0-9]{{4}})?)\b"),
    _rule("ZIP", r"(?<![\w./$-])(?<![0-9],)[0-9]{5}-[0-9]{4}(?!\w|-)", at=NUMBER),
    _rule(
        "ZIP label",
        r"(?i:\b(?:zip|postal|post|plz)(?: ?code)?[ :=.]{1,3}(?:is |of )?)(?P<x>[A-Z0-9]{2,5}(?:[ -][A-Z0-9]{2,4})?)\b",
        lambda m: bool(re.search("[0-9]", m["x"])),
        at="zip pos plz",
    ),
    _rule("Australian postcode", r"\b(?:NSW|VIC|QLD|WA|SA|TAS|ACT|NT),? (?P<x>[0-9]{4})\b"),
    _rule(
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
    _rule(
        "German postcode",
        rf"(?<![\w./-])(?<![0-9],)(?:D-|A-|CH-)?(?:(?P<p>[0-9]{{4,5}})) (?P<t>{CAP}(?:[ -](?:{CAP}|am|an der|ob der|im|a\.)(?: {CAP})?)?)",
        lambda m: (
            len(m["p"]) == 5
            and (
                lists.fold(m["t"].lower()) in lists.towns()
                or (_is_town_name(m["t"]) and m.string[: m.start()].rstrip(" ")[-1:] in ("", ",", "\n", "|"))
            )
        ),
        at=NUMBER,
    ),
    _rule(
        "county",
        rf"(?P<x>{CAP}(?: {CAP})? (?:County|Parish|Borough|Township|Landkreis))\b",
        _not_ordinary,
        gate=("county", "parish", "borough", "township", "landkreis"),
    ),
    _rule(
        "ward with number",
        r"(?<!\w)(?:Ward|WARD|Station|Pod|Wing|Tower|Pavilion|Bldg|Building|Block)\.? ?(?:[0-9]{1,3}[A-Za-z]?(?:[-/.][0-9A-Z]{1,3})?|[A-Z][0-9]{1,3}[A-Z]?)(?!\w|[./][0-9]|,[0-9]{3}(?![0-9]))",
        at="war sta pod win tow pav bld bui blo",
    ),
    _rule("ward, small letters", r"(?<!\w)ward [0-9]{1,3}[A-Za-z]?(?!\w)", at="war"),
    _rule(
        "rural route",
        r"(?<!\w)(?:RR|HC|Rural Route|R\.R\.|Rte|Box) ?#?[0-9]{1,5}(?!\w)",
        at="rr hc rur r rte box",
    ),
    _rule(
        "lives at",
        rf"(?i:\b(?:lives|living|resides|residing|stays|staying|resident) (?:at|of) )(?P<x>(?:(?i:the) )?{CAP}(?: {CAP}){{0,3}})",
        lambda m: m["x"].split()[-1].lower() not in context.NO_NAME,
        at="liv res sta",
    ),
    _rule(
        "by road number",
        r"(?<!\w)(?:US|I|SR|CR|Route|Rte|Hwy|A|M)[- ]?(?:Route |Hwy )?[0-9]{1,4}(?= (?:exit|near|and|at))",
        at="us i sr cr rou rte hwy a m",
    ),
)
GERMAN_RULES: tuple[TextRule, ...] = (
    _rule(
        "German street",
        rf"(?<!\w)(?:(?:{CAP}[- ]){{0,2}}{CAP}?(?i:{STREET_END})|(?:{CAP}[- ])+(?:Straße|Str\.|Weg|Allee|Platz|Ring|Damm|Ufer|Gasse)|(?:Am|An der|An den|Auf der|Auf dem|Im|In der|In den|Zum|Zur|Unter den|Hinter der|Vor dem|Beim|Alte|Alter|Neue|Neuer|Kleine|Große|Obere|Untere)(?: {CAP}){{1,2}}) [0-9]{{1,4}}(?: ?[a-z]\b)?(?![\w.,]?[0-9]|[.:]| ?(?:mg|ml|Uhr|Jahre|Tage|cm|mm|%|x|kg|l/|g/))",
    ),
)
STREET_WORDS = frozenset(CLEAR[3:-1].split("|")) | {"St", "Blvd", "Way", "Hwy", "Rd", "Ave", "Highway"}
EMPLOYER = re.compile(
    r"(?i)(?:\b(?:(?:is|as|was) an? (?:\w+ ){1,4}(?:at|for|with)|(?:verkäufer|arbeiter|lehrer|fahrer|mechaniker|ingenieur|angestellte|sekretär|kassierer|bäcker|maurer|schlosser|elektriker)(?:in|r)? bei|works?|worked|working|employed|employment|job|employer|retired|volunteers?|position|career|teaches|taught|student|studies|studied|enrolled|graduated|attends?|attended|plays?|"
    r"football|arbeitet|angestellt|beschäftigt|tätig|arbeitgeber)(?: \w+){0,5}? (?:at|for|with|by|from|bei|in der|beim|bei der|bei der firma|bei firma|für die firma)|\bemployer ?(?:is|:|was)|\barbeitgeber ?:|"
    r"\b(?:owns|runs|manages)|\bretired) (?:the |der |die |dem )?$"
)
BEFORE_EMPLOYER = frozenset(
    "at for with by from bei der beim firma die dem is was employer arbeitgeber owns runs manages retired the in".split()
)
CHAIN_GAP = re.compile(r" |-| & |['\u2019]s? |, (?=Inc|LLC|Ltd)|\. ")


def find_places(text: str, tokens: Sequence[Token], german: bool) -> list[Span]:
    """Return towns and organisations: words after a preposition, and names with the words of an organisation beside them."""
    spans = _towns(tokens, text, german)
    spans += _organisations(tokens, text, german)
    spans += _streets(tokens, text)
    spans += _named_after(tokens)
    return spans


def _named_after(tokens: Sequence[Token]) -> list[Span]:
    """Return "Klinikum Kassel", "Praxis Dr. Wagner": the word of an organisation and the name after it."""
    spans = []
    for n, token in enumerate(tokens[:-1]):
        if token.lower not in context.BEFORE_ORGANISATION or token.shape not in "TU":
            continue
        at = n + 1
        while at < len(tokens) - 1 and tokens[at].lower in (
            "dr",
            "prof",
            "med",
            "st",
            "of",
            "am",
            "an",
            "der",
            "in",
            "dres",
        ):
            at += 1
        other = tokens[at]
        if (
            other.gap in (" ", ". ")
            and other.shape in "TU"
            and (
                other.name
                or lists.fold(other.lower) in lists.towns()
                or (
                    token.lower
                    in ("pflegeheim", "seniorenheim", "altenheim", "seniorenzentrum", "seniorenresidenz")
                    and other.shape == "T"
                )
            )
            and other.lower not in context.NO_NAME
        ):
            spans.append(Span(token.start, other.end, "place", "organisation"))
    return spans


def _towns(tokens: Sequence[Token], text: str, german: bool) -> list[Span]:
    spans: list[Span] = []
    towns, wide, starts = lists.towns(), lists.wide(), lists.first_words_of_towns()
    for n, token in enumerate(tokens):
        if (
            token.shape == "l"
            and n
            and len(token.lower) > 3
            and tokens[n - 1].lower in ("from", "in", "to", "near", "at", "aus")
            and token.gap == " "
        ):
            if (
                lists.fold(token.lower) in towns
                and not is_word(token.lower)
                and lists.fold(token.lower) not in wide
                and not german
            ):
                spans.append(Span(token.start, token.end, "place", "town"))
            continue
        if token.shape not in "TU" or not (
            n
            and tokens[n - 1].lower in context.BEFORE_PLACE
            and token.gap in (" ", "\n")
            or text[token.end : token.end + 2] == ", "
            or token.gap.endswith((", ", ": ", "| "))
        ):
            if token.shape not in "TU":
                continue
        for count in (4, 3, 2) if lists.fold(token.lower).split("'")[0] in starts else ():
            part = tokens[n : n + count]
            if len(part) < count or any(t.gap not in (" ", "-", ". ", "'") for t in part[1:]):
                continue
            phrase = lists.fold(text[token.start : part[-1].end])
            if (
                phrase in towns
                and not all(lists.fold(t.lower) in wide for t in part)
                and part[-1].shape in "TUX"
                and not (token.starts and all(t.kind == "w" for t in part) and token.capitals)
            ):
                spans.append(Span(token.start, part[-1].end, "place", "town of several words"))
                last = n + count - 1
                while (
                    last + 1 < len(tokens)
                    and tokens[last + 1].gap == " "
                    and tokens[last + 1].shape in "TU"
                    and tokens[last + 1].lower in context.ORGANISATIONS
                ):
                    last += 1
                if last > n + count - 1:
                    spans.append(Span(token.start, tokens[last].end, "place", "organisation"))
                break
        else:
            after = tokens[n + 1] if n + 1 < len(tokens) else None
            preposition = (
                n
                and tokens[n - 1].lower in context.BEFORE_PLACE
                and token.gap == " "
                and tokens[n - 1].lower not in ("within", "by", "für", "via", "of", "nach")
            )
            state = re.match(rf",? (?:{STATES})\b", text[token.end : token.end + 5])
            if (
                (preposition or state)
                and lists.fold(token.lower) in towns
                and lists.fold(token.lower) not in wide
                and token.lower not in context.NO_NAME
            ):
                if (
                    token.kind in "w"
                    and after is not None
                    and after.gap in (" ", "-")
                    and after.shape in "TU"
                    and not state
                ):
                    continue
                if token.capitals and token.kind == "w" and not state:
                    continue
                if token.kind == "e" and after is not None and after.lower in context.MEDICAL_NOUNS:
                    continue
                if token.shape == "U" and not token.capitals and len(token.lower) < 5:
                    continue
                spans.append(Span(token.start, token.end, "place", "town"))
    return spans


def _organisations(tokens: Sequence[Token], text: str, german: bool) -> list[Span]:
    """Return a name with the words of an organisation after it, and what follows "works at"."""
    spans = []
    n = 0
    while n < len(tokens):
        token = tokens[n]
        if (
            token.shape not in "TU"
            or token.lower in context.NO_NAME
            or (
                n
                and tokens[n - 1].shape in "TU"
                and token.gap in (" ", "-")
                and not tokens[n - 1].starts
                and token.lower in context.ORGANISATIONS
            )
        ):
            n += 1
            continue
        if token.lower in context.PLACE_WORDS and not named_before(tokens, n):
            stop = n
            while (
                stop + 1 < len(tokens)
                and tokens[stop + 1].gap == " "
                and tokens[stop + 1].shape == token.shape
                and (
                    tokens[stop + 1].lower in context.FACILITIES
                    or tokens[stop + 1].lower in context.PLACE_WORDS
                )
            ):
                stop += 1
            if stop > n and tokens[stop].lower in context.FACILITIES:
                spans.append(Span(token.start, tokens[stop].end, "place", "facility"))
                n = stop + 1
                continue
        employer = (
            token.gap == " "
            and n > 0
            and tokens[n - 1].lower in BEFORE_EMPLOYER
            and EMPLOYER.search(text[max(0, token.start - 90) : token.start]) is not None
        )
        named = (
            token.name
            or lists.fold(token.lower) in lists.towns()
            or (token.kind in "et" and token.lower not in context.ORGANISATIONS)
        )
        if token.lower in (
            "st",
            "saint",
            "mount",
            "mt",
            "ste",
            "our",
            "holy",
            "sacred",
            "good",
            "royal",
            "king",
            "queen",
            "kings",
            "queens",
            "princess",
            "prince",
            "st.",
            "sankt",
            "northern",
            "southern",
            "eastern",
            "western",
            "north",
            "south",
            "east",
            "west",
            "great",
            "new",
            "children",
            "victoria",
            "trinity",
            "grace",
            "providence",
            "mercy",
            "christ",
            "sisters",
            "lady",
        ):
            named = (
                named
                or not token.starts
                or token.capitals
                or token.lower in ("st", "saint", "mount", "mt", "sankt")
            )
        if not (employer or named):
            n += 1
            continue
        end, organisation, last = n, False, n
        while end + 1 < len(tokens):
            other = tokens[end + 1]
            if (
                other.lower in ("of", "and", "the", "for", "de", "la", "upon", "on")
                and other.shape == "l"
                and other.gap == " "
                and end + 2 < len(tokens)
                and tokens[end + 2].shape in "TU"
                and tokens[end + 2].gap == " "
                and (
                    tokens[end + 2].lower in context.ORGANISATIONS
                    or (other.lower in ("of", "de", "la") and organisation)
                )
            ):
                end += 2
                organisation = organisation or tokens[end].lower in context.ORGANISATIONS
                last = end
                continue
            if (
                employer
                and other.lower == "and"
                and end + 2 < len(tokens)
                and tokens[end + 2].shape == "T"
                and tokens[end + 2].name
                and tokens[end + 2].gap == " "
                and other.gap == " "
            ):
                end += 2
                last = end
                continue
            if (
                other.shape not in "TU"
                or not CHAIN_GAP.fullmatch(other.gap)
                or (other.gap == ". " and tokens[end].lower not in ("st", "mt", "ste"))
            ):
                break
            if other.lower in context.NO_NAME and other.lower not in context.ORGANISATIONS:
                break
            end += 1
            if other.lower in context.ORGANISATIONS:
                organisation = True
                last = end
            elif employer or other.name:
                last = end
        if organisation:
            stop = tokens[last].end
            number = re.match(r"[ -][0-9]{1,3}[A-Za-z]?(?![\w.,/%])", text[stop : stop + 6])
            if len(tokens[n : last + 1]) > 1:
                spans.append(
                    Span(token.start, stop + (number.end() if number else 0), "place", "organisation")
                )
                n = last + 1
                continue
        if (
            token.lower in ("st", "mt", "saint", "mount", "sankt", "good", "holy", "sacred")
            and last == n
            and not organisation
            and n + 1 < len(tokens)
            and tokens[n + 1].shape == token.shape
            and tokens[n + 1].gap in (" ", ". ")
            and (
                token.lower not in ("good", "mt", "st")
                or tokens[n + 1].lower in ("samaritan", "shepherd", "sinai")
                or (token.lower != "good" and is_listed(tokens[n + 1].lower))
            )
        ):
            spans.append(Span(token.start, tokens[n + 1].end, "place", "saint"))
            n += 2
            continue
        if employer and token.lower not in context.ROLES:
            spans.append(Span(token.start, tokens[last].end, "place", "employer"))
            n = last + 1
            continue
        if token.name and not organisation:
            closing = re.match(r" [0-9]{1,2}(?=[.,;)]?(?:\s|$))(?! [a-z])", text[token.end : token.end + 6])
            if closing and token.shape == "T" and not token.starts:
                spans.append(Span(token.start, token.end + closing.end(), "place", "ward"))
            number = re.match(
                r" [0-9]{1,2}[A-Z]?(?![\w%]|[.,/:-][0-9]| ?(?:y|year|yo|M\b|F\b|mg|ml|mcg|mm|cm|units?|tab|x\b|times|%|g\b|hours|hrs|days))",
                text[token.end : token.end + 14],
            )
            if (
                number
                and n
                and tokens[n - 1].lower in ("to", "on", "in", "from", "at", "of", "unit", "floor")
                and not re.match(r" [0-9]{1,2}[A-Z]? [a-z]*(?:mg|mcg)", text[token.end : token.end + 10])
            ):
                spans.append(Span(token.start, token.end + number.end(), "place", "ward"))
        n += 1
    return spans


def named_before(tokens: Sequence[Token], n: int) -> bool:
    return n > 0 and tokens[n - 1].name and tokens[n].gap == " "


def _streets(tokens: Sequence[Token], text: str) -> list[Span]:
    """Return streets without a number ("Kings Highway"), and towns after an address."""
    spans = []
    for n, token in enumerate(tokens):
        if n == 0 or token.text not in STREET_WORDS or token.gap not in (" ", "-"):
            continue
        first = n
        while (
            first > 0
            and n - first < 3
            and tokens[first - 1].shape in "TU"
            and tokens[first].gap in (" ", "-", ". ")
            and tokens[first - 1].lower not in context.NO_NAME
            and tokens[first - 1].lower not in context.VERBS
        ):
            first -= 1
            if tokens[first].starts and is_word(tokens[first].lower) and first < n - 1:
                first += 1
                break
        if first < n:
            spans.append(Span(tokens[first].start, token.end, "place", "street without number"))
            after = tokens[n + 1] if n + 1 < len(tokens) else None
            if (
                after
                and after.gap in (", ", "., ")
                and after.shape in "TU"
                and (lists.fold(after.lower) in lists.towns() or after.kind == "n")
            ):
                spans.append(Span(after.start, after.end, "place", "town after a street"))
    return spans
