"""Words of a text for the profile `recall`: shape, line, sentence start, and what the word lists know about them."""

from __future__ import annotations

import re
from functools import lru_cache

from . import lists
from .recall_context import GERMAN_MARKS

WORD = re.compile(r"[^\W\d_]+(?:['\u2019][^\W\d_]+)*")
START = re.compile(r"[.!?\n:;|\u2022*=>\u2014\u2013#]")
MEDICAL_SUFFIX = re.compile(
    r".{3,}(?:itis|osis|oses|a?emia|uria|path(?:y|ic|ies)|ectomy|otomy|ostomy|oscopy|"
    r"ograms?|graph(?:y|ic)|log(?:y|ist|ic|ical)|plasty|penia|philia|"
    r"plegia|paresis|algia|dynia|noma|toma|ectasis|genic|genesis|statin|prazole|sartan|"
    r"olol|dipine|cillin|mycin|micin|floxacin|cycline|"
    r"azole|[cmt]?ovir|mab|[tn]inib|glipt[a-z]+|gliflozin|glutide|parin|xaban|gatran|"
    r"lukast|setron|triptan|caine|barbital|[zs]epam|zolam|thiazide|semide|"
    r"solone|[ts]asone|onide|terol|tropium|phylline|[aeo]pril|dronate|uracil|platin|"
    r"rubicin|taxel|kinase|ectomies|scopic|trophic|tropic|cytes?|cytic|cytosis|"
    r"blast(?:ic|oma)?|static|lytic|lysis|ectatic|scopy|stomy|tomy|metry|metric|sclerosis|"
    r"sclerotic|spasm|rrhea|rrhagia|rrhaphy|cele|edema|megaly|malacia|"
    r"iform|ular|ically|ness|less|tion|tions|ment|ments|able|ibly|ously|fully|lessly|"
    r"ive|ively|pram|drone|drel|xetine|azepine|apine|ipine|idone|profen|olone|sterone|"
    r"estrel|estradiol|thyronine|tadine|astine|loxone|traxone|oxacin|thrin|phen|lepin|"
    r"trip?tyline|fibrate|ases|oids|osus|ensis|coccus|cocci|bacter|bacterium|virus|"
    r"viruses)"
)
GERMAN_SUFFIX = re.compile(
    r".{3,}(?:ung|ungen|heit|heiten|keit|keiten|schaft|tion|tionen|ität|itäten|ismus|"
    r"ose|osen|itis|itiden|nis|nisse|tomie|skopie|gra(?:ph|f)ie|logie|"
    r"therapie|plastik|pathie|ämie|urie|algie|enz|anz|ektomie|stomie|gramm|logisch(?:e|"
    r"er|en|es)?|ische[rnsm]?|liche[rnsm]?|iert(?:e|er|en|es)?|ierung|"
    r"fähig|los|sam|bar|haft|insuffizienz|stenose|katheter|versorgung|schmerz(?:en)?|"
    r"befund(?:e)?|druck|zeichen|gewebe|störung|blutung|entzündung|"
    r"klinik|station|ambulanz|praxis|arzt|ärztin|pflege|dienst|amt|haus|zimmer|tag|"
    r"woche|monat|jahr|mittel|präparat|tabletten?|patient(?:in|en)?)"
)
CONTRACTION = re.compile(r"['\u2019](?:m|d|ll|ve|re|t|s)$")
GERMAN_PREFIXES = frozenset(
    "ab an auf aus bei durch ein erst fern fort gegen haupt her hin hinter hoch los miss mit mittel nach neben nicht ober "
    "rück selbst sofort tief un unter um ur vor voraus weg weiter wieder zu zurück zusammen zwischen über arterio arthro anti "
    "auto bi broncho chole cholezysto derm dys elektro endo epi erythro extra gastro hämo hepato hydro hyper hypo immun "
    "immuno inter intra kardio kolo laparo leuko lympho makro mikro mono muko myo neo nephro neuro okulo ophthalmo ortho "
    "osteo para patho peri phono photo physio pneumo poly post prä psycho pulmo radio re retro sozio spondylo sub supra "
    "tele thermo thorako thrombo trans tri ultra uro vaso".split()
)
GERMAN_LINKS = ("", "s", "n", "en", "es", "e", "er")


@lru_cache(maxsize=65536)
def is_word(lower: str) -> bool:
    """Return whether an English word list knows a word, or a plural or a medical ending makes it one."""
    words = lists.words()
    if lower in words:
        return True
    if is_listed(lower):
        return False
    if (
        len(lower) > 4
        and lower.endswith("s")
        and (lower[:-1] in words or (lower.endswith("es") and lower[:-2] in words))
        and not (is_listed(lower[:-1]) and lower[:-1] not in lists.core_words())
    ):
        return True
    if len(lower) < 6:
        return False
    for ending, base in (("ed", ""), ("ed", "e"), ("ing", ""), ("ing", "e"), ("ly", ""), ("ies", "y")):
        if lower.endswith(ending) and len(lower) - len(ending) > 2 and lower[: -len(ending)] + base in words:
            return True
    for start in (
        "non",
        "un",
        "re",
        "pre",
        "post",
        "anti",
        "hyper",
        "hypo",
        "inter",
        "intra",
        "peri",
        "sub",
        "super",
        "over",
        "under",
        "multi",
        "micro",
        "para",
        "poly",
        "retro",
        "trans",
        "ultra",
        "neuro",
        "cardio",
        "hemi",
        "supra",
        "infra",
        "extra",
        "mid",
        "mis",
        "out",
        "pseudo",
        "immuno",
        "thrombo",
        "gastro",
        "broncho",
        "osteo",
        "patho",
    ):
        if lower.startswith(start) and len(lower) - len(start) > 3 and lower[len(start) :] in words:
            return True
    return len(lower) > 6 and MEDICAL_SUFFIX.fullmatch(lower) is not None


@lru_cache(maxsize=65536)
def is_listed(lower: str) -> bool:
    """Return whether a list of given names or surnames has a word."""
    plain = lists.fold(lower)
    return plain in lists.given() or plain in lists.surnames()


@lru_cache(maxsize=65536)
def is_common_name(lower: str) -> bool:
    """Return whether a word is a given name or one of the common surnames."""
    plain = lists.fold(lower)
    return plain in lists.given() or plain in lists.common_surnames()


@lru_cache(maxsize=65536)
def is_given(lower: str) -> bool:
    return lists.fold(lower) in lists.given()


@lru_cache(maxsize=65536)
def is_term(lower: str) -> bool:
    terms = lists.terms()
    return lower in terms or (len(lower) > 4 and lower.endswith("s") and lower[:-1] in terms)


@lru_cache(maxsize=65536)
def is_eponym(lower: str) -> bool:
    plain = lists.fold(lower)
    return plain in lists.eponyms() or (
        plain.endswith("s") and plain[:-1] in lists.eponyms() and len(plain) > 4
    )


def is_abbreviation(lower: str) -> bool:
    return lower in lists.abbreviations()


@lru_cache(maxsize=65536)
def is_german_word(lower: str) -> bool:
    """Return whether a word is an ordinary or medical word in a German text, alone or as a compound."""
    if _in_german(lower):
        return True
    if is_listed(lower):
        return False
    if len(lower) > 6 and GERMAN_SUFFIX.fullmatch(lower):
        return True
    if len(lower) > 7:
        for cut in range(len(lower) - 3, 1, -1):
            if _in_german(lower[cut:]) and _is_first_part(lower[:cut]):
                return True
    return False


@lru_cache(maxsize=65536)
def is_loose_compound(lower: str) -> bool:
    """Return whether a German word is in no list and only its parts are: "Stuhlmacher" may be a name."""
    return (
        is_german_word(lower)
        and not _in_german(lower)
        and not is_word(lower)
        and GERMAN_SUFFIX.fullmatch(lower) is None
    )


def is_plain_german(lower: str) -> bool:
    """Return whether a word is an ordinary German word and in no list of names."""
    return is_german_word(lower) and not is_listed(lower)


@lru_cache(maxsize=65536)
def may_be_german_name(lower: str) -> bool:
    """Return whether a German word can be a name where a name is expected: a listed one, or a compound in no list."""
    if lower in lists.section("clinical.txt", "german") or (is_term(lower) and not is_common_name(lower)):
        return False
    if lower in lists.core_words() and not is_common_name(lower):
        return False
    return is_listed(lower) or is_loose_compound(lower)


def _in_german(lower: str) -> bool:
    german = lists.german()
    if lists.fold(lower) in german or lower in lists.words():
        return True
    for ending in ("en", "er", "es", "e", "n", "s", "em"):
        if len(lower) > 4 + len(ending) and lower.endswith(ending) and lists.fold(lower[: -len(ending)]) in german:
            return True
    return False


def _is_first_part(part: str) -> bool:
    if part in GERMAN_PREFIXES:
        return True
    for link in GERMAN_LINKS:
        if part.endswith(link) and len(part) - len(link) > 2:
            base = part[: len(part) - len(link)]
            if _in_german(base) or (len(base) > 5 and MEDICAL_SUFFIX.fullmatch(base)):
                return True
            # A compound of three words.
            for cut in range(len(base) - 3, 3, -1):
                if _in_german(base[cut:]) and _in_german(base[:cut].removesuffix("s")):
                    return True
    return False


class Token:
    """A word of a text: its text without a possessive ending, its place, shape, and the text before it.

    `shape` is T (title case), U (capitals), I (one capital), l (small letters) or X (mixed, or beside a digit).
    `kind` is n (unknown), w (ordinary word), t (term), e (eponym) or a (abbreviation). `name` is whether it is a name.
    """

    __slots__ = ("capitals", "end", "gap", "kind", "lower", "name", "shape", "start", "starts", "text")

    def __init__(self, text: str, start: int, gap: str) -> None:
        self.text, self.start, self.gap = text, start, gap
        self.end = start + len(text)
        self.lower = text.lower()
        self.starts = self.capitals = self.name = False
        self.kind = "w"
        self.shape = "l"


def is_german(text: str) -> bool:
    """Return whether more words of a text are in the German list only than in the English lists only."""
    words = set(re.findall(r"[^\W\d_]{2,}", text[:4000].lower()))
    german, english = lists.german(), lists.words()
    only_german = sum(lists.fold(word) in german and word not in english for word in words)
    only_english = sum(word in english and lists.fold(word) not in german for word in words)
    return only_german > only_english and (only_german > 2 or len(words & GERMAN_MARKS) > 2)


def tokenize(text: str, german: bool) -> list[Token]:
    """Return the words of a text with shape and kind."""
    tokens: list[Token] = []
    last = 0
    line_end = -1
    capitals = False
    for match in WORD.finditer(text):
        start, end = match.span()
        word = match[0]
        if len(word) > 2 and word[-2] in "'\u2019" and word[-1] in "sS":
            word = word[:-2]
        token = Token(word, start, text[last:start])
        last = start + len(word)
        if start > line_end:
            line_end = text.find("\n", start)
            line_end = len(text) if line_end < 0 else line_end
            capitals = _is_capital_line(text[start:line_end])
        token.capitals = capitals
        if not word.islower():
            gap = token.gap
            token.shape = _shape(word, text[start - 1 : start], text[end : end + 1])
            token.starts = not tokens or (
                gap != " " and START.search(gap) is not None and not _is_initial(tokens[-1], gap)
            )
            token.kind = _kind(token, german)
        elif (end < len(text) and (text[end].isdigit() or text[end] == "_")) or (
            start and (text[start - 1].isdigit() or text[start - 1] == "_")
        ):
            token.shape = "X"
        tokens.append(token)
    return tokens


def _is_initial(before: Token, gap: str) -> bool:
    return (
        gap.startswith(".")
        and gap.strip() == "."
        and (
            before.shape == "I"
            or before.lower
            in (
                "dr",
                "mr",
                "mrs",
                "ms",
                "prof",
                "st",
                "pt",
                "vs",
                "med",
                "hr",
                "fr",
                "frl",
                "rev",
                "sgt",
                "jr",
            )
        )
    )


def _is_capital_line(line: str) -> bool:
    upper = sum(map(str.isupper, line))
    lower = sum(map(str.islower, line))
    return upper > 8 and upper > 4 * lower


def _shape(word: str, before: str, after: str) -> str:
    if (before and (before.isdigit() or before == "_")) or (after and (after.isdigit() or after == "_")):
        return "X"
    if word.islower():
        return "l"
    if not word[0].isupper():
        return "X"
    if len(word) == 1:
        return "I"
    if word.isupper():
        return "U"
    rest = word[1:]
    if rest.islower() or re.fullmatch(
        r"(?:Ma?c|O['\u2019]|D['\u2019]|L['\u2019]|N['\u2019]|Fitz|De|Di|Du|La|Le|Lo|"
        r"Van|Von|Mc|Al|Abu|Ben|St)[A-Z][^\W\d_]+|[A-Z][a-z]+['\u2019][A-Z]?[a-z]+|[A-Z]['\u2019][A-Z][a-z]+",
        word,
    ):
        return "T"
    if re.fullmatch(r"[^\W\d_a-z][^\W\d_]*['\u2019][^\W\d_]+", word):
        return "T"
    return "X"


def _kind(token: Token, german: bool) -> str:
    lower = token.lower
    if token.shape in ("l", "X", "I") or CONTRACTION.search(lower):
        return "w"
    if german:
        if is_german_word(lower) or is_word(lower):
            return "w"
    elif is_word(lower):
        if (
            token.shape == "T"
            and lower not in lists.core_words()
            and is_common_name(lower)
            and not is_eponym(lower)
            and not is_term(lower)
        ):
            return "n"
        return (
            "e"
            if token.shape == "T"
            and not token.starts
            and lists.fold(lower) in lists.eponyms()
            and is_listed(lower)
            else "w"
        )
    if is_eponym(lower):
        return "e"
    if is_term(lower):
        return "t"
    if is_abbreviation(lower) and (token.shape == "U" or len(lower) < 5):
        return "a"
    if lower in lists.section("clinical.txt", "german") and not is_listed(lower):
        return "w"
    if "'" in lower or "\u2019" in lower:
        head = re.split(r"['\u2019]", lower)[0]
        if is_word(head) and len(head) > 2:
            return "w"
    return "n"
