"""Places smaller than a state (class B): streets, boxes, towns, counties, ZIP codes, and places of treatment."""

from __future__ import annotations

from .rules import CAPITALIZED, STOP_WORDS, TOWN, Match, Rule, is_common_word, is_isolated, read_word_list

# ZIP code areas (first three digits) with at most 20,000 people: the 17 of the 2000 census that the HHS guidance of
# 2012 lists, and two more of the 2010 census (205, 369). An area that has grown since may stay: it is masked more.
SMALL_ZIP3 = frozenset(
    {
        "036", "059", "063", "102", "203", "205", "369", "556", "692", "790", "821", "823", "830",
        "831", "878", "879", "884", "890", "893",
    }
)  # fmt: skip
STATES = (
    "AL|AK|AZ|AR|CA|CO|CT|DE|DC|FL|GA|HI|ID|IL|IN|IA|KS|KY|LA|ME|MD|MA|MI|MN|MS|MO|MT|NE|NV|NH|NJ|NM|NY|NC|ND|OH|OK|OR|"
    "PA|PR|RI|SC|SD|TN|TX|UT|VT|VA|WA|WV|WI|WY"
)
STATE_NAMES = (
    "Alabama|Alaska|Arizona|Arkansas|California|Colorado|Connecticut|Delaware|Florida|Georgia|Hawaii|Idaho|Illinois|"
    "Indiana|Iowa|Kansas|Kentucky|Louisiana|Maine|Maryland|Massachusetts|Michigan|Minnesota|Mississippi|Missouri|Montana|"
    "Nebraska|Nevada|New Hampshire|New Jersey|New Mexico|New York|North Carolina|North Dakota|Ohio|Oklahoma|Oregon|"
    "Pennsylvania|Rhode Island|South Carolina|South Dakota|Tennessee|Texas|Utah|Vermont|Virginia|"
    "Washington|West Virginia|"
    "Wisconsin|Wyoming|Ontario|Quebec|British Columbia|Alberta|England|Scotland|Wales"
)
LARGE_PLACES = read_word_list("stop.txt", "wide")
CLEAR_STREET_TYPES = (
    r"(?:Street|St\.|Avenue|Ave\.?|Road|Rd\.?|Drive|Lane|Boulevard|Blvd\.?|Highway|Hwy\.?|Parkway|Court)"
)
STREET_TYPES = (
    r"(?:Street|Str|St|Avenue|Ave|Av|Road|Rd|Drive|Dr|Lane|Ln|Court|Ct|Boulevard|Blvd|Place|Pl|Way|Terrace|Ter|Circle|Cir|"
    r"Highway|Hwy|Parkway|Pkwy|Square|Sq|Trail|Trl|Crescent|Close|Alley|Row|Gardens|Walk|Plaza|Pike|Route|Rte)"
)
STREET = rf"(?:[NSEW]\.? )?(?:[0-9]{{1,3}}(?:st|nd|rd|th)|{CAPITALIZED})(?: {CAPITALIZED}){{0,3}} {STREET_TYPES}\b\.?"
FOREIGN_STREET = (
    rf"(?:Calle|Rue|Via|Avenida|Av\.|Rua|Carrera|Plaza|Camino|Strada|Ulica|Jalan)(?: (?:de|del|"
    rf"la|des|du|dos|da))* {CAPITALIZED}(?: {CAPITALIZED})?"
)
COMPOUND_STREET = rf"{CAPITALIZED}(?:stra(?:ss|\u00df)e|gasse|weg|platz|straat|laan|gata|gatan|vej)"
UNIT = r"(?:,? (?:Apt|Apartment|Unit|Suite|Ste|Room|Rm|Flat|Floor|#)\.? ?#?[0-9A-Z][0-9A-Z-]{0,5}\b)?"
FACILITY = (
    r"(?:(?:General|Regional|Memorial|Community|University|County|City|Medical|Children's|Veterans|District|Central) )*"
    r"(?:Hospital|Clinic|Medical Center|Medical Centre|Health Center|Nursing Home|Hospice|Infirmary|Care Home|"
    r"Rehabilitation Center|Rehab|Assisted Living|Senior Living|Shelter|School|Elementary|High "
    r"School|Prison|Penitentiary)"
)


def _is_town(match: Match) -> bool:
    """Accept a name that is no country or state and not only an ordinary word with a capital letter."""
    words = match["x"].replace("-", " ").split()
    longest = max(map(len, words))
    return (
        longest > 2
        and not all(word.lower() in LARGE_PLACES or is_common_word(word) for word in words)
        and not match.string.startswith("'s", match.end("x"))
    )


def _is_not_stop_word(match: Match) -> bool:
    after = match.string[match.end("x") : match.end("x") + 1]
    return match["x"].split()[0].lower() not in STOP_WORDS and not after.isalnum()


def _is_town_in_state(match: Match) -> bool:
    """Accept a town before the two letters of a state, which are often also a unit or an abbreviation."""
    last = match["x"].split()[-1]
    return (
        len(last) > 2
        and not last.isupper()
        and not all(map(is_common_word, match["x"].replace("-", " ").split()))
        and _is_town(match)
    )


def _is_zip(match: Match) -> bool:
    return is_isolated(match) and match["x"][:5] not in ("00000",)


def _is_facility(match: Match) -> bool:
    words = match["x"].split()
    return not all(word.lower() in LARGE_PLACES or is_common_word(word) for word in words[:1])


def _is_county(match: Match) -> bool:
    words = match["x"].split()[:-1]
    return not all(word.lower() in STOP_WORDS for word in words)


RULES = (
    Rule(
        "place",
        "street",
        rf"\b[0-9]{{1,6}}[A-Za-z]?,? (?:[0-9]{{1,4}} )?(?:{STREET}|{FOREIGN_STREET}|{COMPOUND_STREET}|{CAPITALIZED}(?: "
        rf"{CAPITALIZED})? {STREET_TYPES}\b){UNIT}",
    ),
    Rule("place", "street, number last", rf"(?:{COMPOUND_STREET}|{FOREIGN_STREET}),? [0-9]{{1,5}}[a-z]?\b"),
    Rule(
        "place",
        "on a street",
        rf"(?i:\b(?:on|at|near|off|of|to|along|from|down) )(?P<x>(?:[NSEW]\.? "
        rf")?(?:[0-9]{{1,3}}(?:st|nd|rd|th)|{CAPITALIZED}\.?)(?: {CAPITALIZED}){{0,3}} {CLEAR_STREET_TYPES}"
        rf"|{FOREIGN_STREET}|{COMPOUND_STREET})",
        _is_not_stop_word,
    ),
    Rule(
        "place",
        "address",
        rf"(?i:\b(?:address|addr|street|residence)(?: is| was)?[ ]?[:=]?[ "
        rf"])(?P<x>[0-9]{{1,6}}[A-Za-z]? {CAPITALIZED}(?: {CAPITALIZED}){{0,4}}\.?){UNIT}",
    ),
    Rule("place", "unit", r"\b(?P<x>(?:Apt|Apartment|Suite|Flat)\.? ?#?[0-9]{1,5}[A-Z]?)\b"),
    Rule("place", "box", r"(?i:\b(?:P\.? ?O\.? ?Box|Post Office Box|Postbox|Locked Bag) ?#?)[0-9]{1,6}\b"),
    Rule(
        "place",
        "ZIP with a state",
        rf"\b(?:{STATES}|{STATE_NAMES}),? (?P<x>[0-9]{{5}}(?:-[0-9]{{4}})?)\b",
        _is_zip,
    ),
    Rule(
        "place",
        "ZIP label",
        r"(?i:\b(?:zip|postal|post)(?: ?code)?[ ]?(?:is|:|=|of)?[ ]{0,2})(?P<x>[0-9]{3,5}(?:[ -][0-9]{2,4})?)\b",
        _is_zip,
    ),
    Rule("place", "postcode", r"\b[A-Z]{1,2}[0-9][A-Z0-9]? [0-9][ABD-HJLNP-UW-Z]{2}\b"),
    Rule("place", "town, state", rf"(?P<x>{TOWN}), (?:{STATES})\b", _is_town_in_state),
    Rule("place", "town, state, ZIP", rf"(?P<x>{TOWN}),? (?:{STATES})\.? [0-9]{{5}}\b", _is_not_stop_word),
    Rule("place", "town, state by name", rf"(?P<x>{TOWN}), (?:{STATE_NAMES})\b", _is_town),
    Rule(
        "place",
        "lives in",
        r"(?i:\b(?:live[sd]?|living|reside[sd]?|residing|resident|residence|raised|born|born and "
        r"raised|grew up|staying|stays|moved|"
        r"relocated|immigrated|travell?ed|house|home|flat|apartment|stationed|works|farm|ranch|village|town|city|suburb)"
        rf"(?: back)? (?:in|near|at|outside|to|from|of|around) (?:the (?:city|town|village|county|"
        rf"suburbs?) of )?)(?P<x>{TOWN})",
        _is_town,
    ),
    Rule(
        "place",
        "comes from",
        r"(?i:\b(?:originally|transferred|referred|arrived|hails|moved|he's|she's|i'm|calling|writing|"
        r"(?:I|he|she|we|they|who|patient|family|wife|husband|parents) (?:am|is|are|was|were|comes?|came)) "
        rf"(?:back )?from |\bnative of )(?P<x>{TOWN})",
        _is_town,
    ),
    Rule(
        "place",
        "town label",
        rf"(?i:\b(?:city|town|location|village|birthplace|place of birth|hometown|suburb|district|"
        rf"municipality)[ ]?[:=][ ]?)(?P<x>{TOWN})",
        _is_town,
    ),
    Rule(
        "place",
        "county",
        rf"(?P<x>{CAPITALIZED}(?:[ ]{CAPITALIZED}){{0,2}} (?:County|Parish|Borough|Township))",
        _is_county,
    ),
    Rule(
        "place",
        "treated at",
        r"(?i:\b(?:admitted|transferred|discharged|referred|taken|brought|presented|seen|treated|delivered|evaluated|hospitali[sz]ed|"
        r"operated on|works?|working|employed|attends?|goes|lives?|resides?|born|surgery|"
        r"appointment|sent|returned|back)"
        rf" (?:to|from|at|in|by) (?:the )?)(?P<x>(?:St\. |Saint |Mt\. )?{CAPITALIZED}(?: (?:of |Ste\. |St\. "
        rf")?{CAPITALIZED}){{0,4}}?(?:'s)? {FACILITY})",
        _is_facility,
    ),
)
