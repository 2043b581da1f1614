"""Whether a word is a name, for the profile `recall`: by word lists, the words beside it, and medical terms."""

from __future__ import annotations

import re
from collections.abc import Sequence

from . import lists
from . import recall_context as context
from .recall_tokens import Token
from .recall_words import (
    MEDICAL_SUFFIX,
    is_common_name,
    is_given,
    is_listed,
    is_term,
    is_word,
    may_be_german_name,
)

# The fewest letters of a given name in small letters that nothing announces.
FREE_SMALL = 4
AGE_AFTER = re.compile(
    r"(?:,? (?:is|was)(?: an?)?|,|,? an?|,? aged)? \(?[0-9]{1,3}[ -]?(?i:years?|yrs?|"
    r"y\b|y/?o\b|yo\b|[mf]\b|jahre|jährig)"
)
# What follows the name of a drug or product.
DOSE_AFTER = re.compile(
    r"-?(?i:[ ](?:[0-9]+(?:[.,/-][0-9]+)*[ -]?(?:mg|mcg|\u00b5g|ug|g|ml|l|units?|ie|iu|meq|mmol|%|gtt|puffs?|"
    r"tabs?|tbl|drops|hub|stk)\b|x ?[0-9]|x[lr]\b|sr\b|er\b|cr\b|po\b|iv\b|bid\b|tid\b|qd\b|qhs\b|prn\b|"
    r"patch(?:es)?\b|cream|gel\b|mesh|suture|stent|wrap|spray|drops|inhaler|pens?\b|kwikpen|tablets?|infusion|"
    r"gtt\b|[0-9](?:-[0-9]){2,3}))"
)


def _is_in_list_of_drugs(tokens: Sequence[Token], n: int) -> bool:
    """Return whether an unknown word is in a list beside a drug: "Ketanest, Fentanyl"."""
    beside = [tokens[n + 1]] if n + 1 < len(tokens) and tokens[n + 1].gap == ", " else []
    if n and tokens[n].gap == ", ":
        beside.append(tokens[n - 1])
    return any(
        not other.name
        and not is_listed(other.lower)
        and (other.kind == "t" or MEDICAL_SUFFIX.fullmatch(other.lower) is not None)
        for other in beside
    )


def is_noun(tokens: Sequence[Token], n: int) -> bool:
    """Return whether an unknown German word is a noun: after an article or adjective, or joined to a known word."""
    token = tokens[n]
    before = tokens[n - 1] if n else None
    after = tokens[n + 1] if n + 1 < len(tokens) else None
    if before is not None and token.gap == " " and before.shape == "l":
        if before.lower in context.BEFORE_NOUN:
            return True
        if before.lower not in context.PARTICLES and re.fullmatch(r".{3,}(?:e|en|er|es|em)", before.lower):
            return before.lower not in context.VERBS and before.lower not in context.BEFORE_PERSON
    if after is not None and after.gap == "-" and (after.kind in "wa" or after.shape == "U"):
        return not is_listed(after.lower)
    return before is not None and token.gap == "-" and before.kind in "wa" and not is_listed(before.lower)


SURNAME_END = re.compile(
    r".{2,}(?:macher|mann|müller|berg(?:er)?|bach(?:er)?|hof(?:f|er)?|m[ae][iy]er|winkel|stein(?:er)?|feldt?|hausen|huber|"
    r"bauer|schmidt?|hardt|brandt?|horst|kamp|burg|dorf(?:er)?|tha(?:l|ler)|wald|husen|rode|hagen|lohe?|sieper|beck)"
)


def _is_german_person(tokens: Sequence[Token], n: int) -> bool:
    """Return whether a German word is a person: "Kaiser aus Soest", "Wolf klagt", "angefordert durch Schuster."."""
    token = tokens[n]
    before, after = (tokens[n - 1] if n else None), (tokens[n + 1] if n + 1 < len(tokens) else None)
    if not may_be_german_name(token.lower) or not (
        is_listed(token.lower) or SURNAME_END.fullmatch(token.lower)
    ):
        return False
    if token.starts and after is not None and after.gap == " " and after.shape == "l":
        return after.lower in context.VERBS or after.lower == "aus"
    return (
        before is not None
        and before.lower in ("durch", "laut", "kollege", "kollegin")
        and token.gap == " "
        and (after is None or after.starts or after.gap == ", " or "(" in after.gap)
    )


ROLE_AFTER = re.compile(
    r" \((?i:(?:his|her|the|pt's|patient's)? ?(?:room ?mate|wife|husband|spouse|partner|"
    r"son|daughter|mother|father|mom|mum|dad|sister|brother|friend|neighbou?r|carer|"
    r"nok|hcp|poa|gf|bf|girlfriend|boyfriend|"
    r"cousin|aunt|uncle|niece|nephew|grand\w+|rn|md|pcp|np|pa|sw|nurse|surgeon|resident|"
    r"intern|attending|fellow|ehefrau|ehemann|tochter|sohn|betreuer\w*))\b"
    r"|,? (?:RN|MD|M\.D\.|DO|D\.O\.|NP|PA-C|LPN|CNA|LCSW|MSW|PhD|RRT|PharmD|MRCP|"
    r"FRCS|MBBS|FRCP|CNM|CRNA|ARNP|APRN|FNP|BSN|DPM|FACS|MRCGP|FRCA|FRCR|MRCS)\b"
    r"|, (?:his|her|the patient's|pt's|their) (?:wife|husband|spouse|partner|son|"
    r"daughter|mother|father|mom|mum|dad|sister|brother|friend|neighbou?r|carer|cousin|"
    r"aunt|uncle|niece|nephew|grand\w+|roommate)\b"
)


def is_eponym_use(tokens: Sequence[Token], n: int) -> bool:
    """Return whether an unknown word names a disease, sign or instrument, by a noun after it ("A sign", "A-B sign")."""
    at = n + 1
    if at < len(tokens) and tokens[at].gap == "-" and tokens[at].shape == "T":
        at += 1
    if n and tokens[n].gap == "-" and tokens[n - 1].shape == "T" and tokens[n - 1].name:
        return False
    return (
        at < len(tokens)
        and tokens[at].lower in context.EPONYM_NOUNS
        and tokens[at].shape in "lT"
        and tokens[at].gap in (" ", "'s ", "\u2019s ", "' ", "s ", "-")
        and not (n and tokens[n - 1].name and tokens[n].gap == " ")
    )


def is_medical(tokens: Sequence[Token], n: int, text: str) -> bool:
    """Return whether the name at `n` is part of a medical term: "Graves disease", "Foley catheter", "Morbus Crohn"."""
    token = tokens[n]
    if (
        n
        and tokens[n - 1].lower in context.BEFORE_MEDICAL
        and tokens[n].gap in (" ", "-")
        and tokens[n - 1].lower not in ("test", "nach")
    ):
        return True
    for other in tokens[n + 1 : n + 4]:
        if not re.fullmatch(r"['\u2019]?s?[ \-/\u2013]{1,2}(?:and |or )?", other.gap):
            break
        if other.lower in context.MEDICAL_NOUNS:
            return True
        if other.shape == "l" and other.lower not in ("and", "or", "cell", "type", "like", "negative"):
            break
    return (
        bool(re.match(r"['\u2019]s?(?=[\s,.;)])(?! \w+ (?:called|said))", text[token.end : token.end + 3]))
        and token.kind == "e"
    )


def mark_single(tokens: Sequence[Token], n: int, text: str, german: bool) -> None:
    """Set `Token.name` for the word at `n` if its form, the word before it or what follows shows that it is a name."""
    token = tokens[n]
    lower = token.lower
    if (
        token.name
        or token.shape in "IX"
        or lower in context.NO_NAME
        or len(lower) < 2
        or lower in context.TITLES
        or lower in context.CREDENTIALS
    ):
        return
    after = tokens[n + 1] if n + 1 < len(tokens) else None
    before = tokens[n - 1] if n else None
    if token.shape == "l":
        token.name = (
            len(lower) >= FREE_SMALL
            and is_given(lower)
            and not is_word(lower)
            and not is_term(lower)
            and not german
        )
        return
    if (
        token.shape == "T"
        and ROLE_AFTER.match(text, token.end)
        and lower not in context.ROLES
        and lower not in context.RELATIVES
        and not is_term(lower)
        and (token.kind != "w" or is_listed(lower))
    ):
        token.name = True
        return
    if token.kind == "n" and token.shape == "U" and len(lower) > 2 and AGE_AFTER.match(text, token.end):
        token.name = True
        return
    if german and token.shape == "T" and token.kind != "n" and _is_german_person(tokens, n):
        token.name = True
        return
    if token.kind == "n":
        if not is_listed(lower) and (
            DOSE_AFTER.match(text, token.end)
            or _is_in_list_of_drugs(tokens, n)
            or (german and is_noun(tokens, n))
        ):
            return
        token.name = _is_unknown_name(token, before, after, german) and not is_eponym_use(tokens, n)
        return
    if token.capitals and token.kind != "e" and not is_given(lower):
        return
    if is_medical(tokens, n, text) or not is_listed(lower):
        return
    if (
        token.kind == "e"
        and token.shape == "T"
        and not german
        and is_common_name(lower)
        and lists.fold(lower) not in lists.lone_eponyms()
        and not _in_eponyms(tokens, n)
    ):
        token.name = True
        return
    if (
        token.shape == "T"
        and AGE_AFTER.match(text, token.end)
        and is_common_name(lower)
        and lower not in context.ROLES
        and lower not in context.RELATIVES
    ):
        token.name = True
        return
    if (
        before is not None
        and before.shape == "I"
        and token.gap in (". ", ".")
        and before.text + "." in text[max(0, token.start - 4) : token.start]
        and (not german)
        and token.shape == "T"
    ) and (is_common_name(lower) or token.kind in "e"):
        before.name = token.name = True
        return
    verb = after is not None and after.gap == " " and after.shape == "l" and after.lower in context.VERBS
    strong_verb = verb and after is not None and after.lower not in context.WEAK_VERBS
    if token.shape == "U" and not token.capitals:
        return
    if token.kind in "et":
        announced = (
            before is not None
            and token.gap == " "
            and before.lower
            in ("per", "d/w", "told", "notified", "paged", "informed", "named", "phoned", "by", "durch")
            and before.shape == "l"
        )
        token.name = bool(
            (strong_verb and token.kind == "e")
            or (
                announced
                and not german
                and token.kind == "e"
                and not (
                    before
                    and before.lower == "by"
                    and n > 1
                    and tokens[n - 2].lower in ("described", "defined", "caused", "followed", "classified")
                )
            )
        )
        return
    common = is_common_name(lower)
    if strong_verb and common and (is_given(lower) or not token.starts) and not german:
        token.name = True
        return
    if is_term(lower):
        return
    if german or token.starts or not common or token.capitals or before is None:
        if (
            german
            and common
            and before is not None
            and token.gap == " "
            and before.lower in ("mit", "durch", "kollege", "von", "laut")
            and not is_word(lower)
        ):
            token.name = (
                after is None or after.gap != " " or after.shape == "l"
            ) and lower not in _german_words()
        return
    alone = (
        before.shape == "l"
        and before.lower
        not in ("the", "a", "an", "this", "that", "our", "your", "no", "any", "each", "every")
        and token.gap in (" ", ", ")
        and (after is None or after.gap not in (" ", "-", "/") or after.shape == "l" or after.name)
    )
    token.name = alone and token.shape == "T"


def _in_eponyms(tokens: Sequence[Token], n: int) -> bool:
    """Return whether the words beside an eponym show that it is a sign or instrument: "no", "neg", another one."""
    before, after = (tokens[n - 1] if n else None), (tokens[n + 1] if n + 1 < len(tokens) else None)
    if before is not None and (
        (before.lower in context.BEFORE_EPONYM and tokens[n].gap in (" ", "-"))
        or (before.kind == "e" and not before.name and tokens[n].gap in (", ", "-", " ", "/", " - "))
    ):
        return True
    return after is not None and (
        (after.lower in context.AFTER_EPONYM and after.gap in (" ", "'s ", ": ", " - "))
        or (after.kind == "e" and after.gap in (", ", "-", " ", "/", " - ", "'s, "))
        or (after.gap == "-" and after.shape == "T")
    )


def _german_words() -> frozenset[str]:
    from . import lists

    return lists.german()


def _is_unknown_name(token: Token, before: Token | None, after: Token | None, german: bool) -> bool:
    """Return whether a word that no list knows is a name; short capitals in a mixed line are an abbreviation."""
    lower = token.lower
    if token.shape == "U":
        if token.capitals:
            return len(lower) > 2 and (is_listed(lower) or len(lower) > 4 or not _looks_abbreviated(lower))
        beside = (before is not None and before.name and token.gap in (" ", ", ", "-")) or (
            after is not None and after.gap in (" ", ", ") and after.shape == "U" and is_given(after.lower)
        )
        if len(lower) <= 3:
            return beside and is_listed(lower)
        return (
            (is_common_name(lower) and len(lower) > 3)
            or (len(lower) > 5 and not _looks_abbreviated(lower) and is_listed(lower))
            or beside
        )
    if len(lower) < 3:
        return is_common_name(lower) and not token.starts
    return not (german and len(lower) > 12 and not is_listed(lower))


def _looks_abbreviated(lower: str) -> bool:
    return not re.search("[aeiouyäöü]", lower) or re.search(r"[^aeiouyäöü]{4}", lower) is not None
