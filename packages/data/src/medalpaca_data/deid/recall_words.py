"""What the word lists know about a word for the profile `recall`: ordinary, term, eponym, name, German compound."""

from __future__ import annotations

import re
from functools import lru_cache

from . import lists
from . import recall_context as context

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
    """Return whether a word is in the list of given names."""
    return lists.fold(lower) in lists.given()


@lru_cache(maxsize=65536)
def is_term(lower: str) -> bool:
    """Return whether a word, or its singular, is a medical word that is written with a capital letter."""
    terms = lists.terms()
    return lower in terms or (len(lower) > 4 and lower.endswith("s") and lower[:-1] in terms)


@lru_cache(maxsize=65536)
def is_eponym(lower: str) -> bool:
    """Return whether a word is a person's name that is part of medical terms."""
    plain = lists.fold(lower)
    return plain in lists.eponyms() or (
        plain.endswith("s") and plain[:-1] in lists.eponyms() and len(plain) > 4
    )


def is_abbreviation(lower: str) -> bool:
    """Return whether a word is in the list of abbreviations."""
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
        if (
            len(lower) > 4 + len(ending)
            and lower.endswith(ending)
            and lists.fold(lower[: -len(ending)]) in german
        ):
            return True
    return False


def _is_first_part(part: str) -> bool:
    if part in context.GERMAN_PREFIXES:
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
