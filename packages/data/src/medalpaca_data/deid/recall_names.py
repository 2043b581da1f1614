"""Names of the profile `recall`: a word with a capital letter is a name unless a list of ordinary and medical words has it.

Context overrides the lists: titles, roles and relatives before a word, a given name beside it, a verb of persons after it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from . import lists
from . import recall_context as context
from .recall_tokens import (
    Token,
    is_abbreviation,
    is_common_name,
    is_given,
    is_listed,
    is_german_word,
    is_term,
    is_word,
)
from .rules import Span

SHORT_GAP = re.compile(r"\.?[ \t]{1,2}|\.?[ \t]?\n[ \t]?|\.")
ROLE_GAP = re.compile(
    r"\.?[ \t]?[:=(\u2013-]?[ \t]{0,12}(?:is |was )?|[ \t]?[:=|][ \t\n]{0,12}|, |['\u2019]s?[ ]"
)
NAME_GAP = re.compile(r"\.? |\.|-|\u2010|\u2011|\n|\.? {2}")
LABEL = re.compile(
    r"(?i)(?:\b(?:name|names|surname|forename|nachname|vorname|geburtsname|n[\u00e9e]e|geb\.|patient|pt|pat\.|provider|attending|by|cc|re|betr\.?|attn|signed|signature|author|from|to|resident|physician|"
    r"surgeon|assistants?|asst|anes(?:thesia|thesiologist)?|consultant|referring|ordering|requesting|pcp|gp|rn|nurse|contact|nok|next of kin|guardian|witness|informant|"
    r"interpreter|staff|clinician|technologist|tech|pathologist|radiologist|operator|operateur|assistenz|hausarzt|einsender|arzt|\u00e4rztin|verteiler|unterschrift|user|secretary|sekretariat|"
    r"caller|recipient|sender|subscriber|insured|holder|mother|father|spouse|husband|wife|partner|daughter|son|emergency contact|team|on[ -]call|covering|cover|cons|reg|sho|spr|wr|s/b|ward round|fob|doula|volunteer|bereavement|msw|midwife|examiner|copy|copies|"
    r"dictator|transcriptionist|/s/|scribe|preparer|owner|poa|proxy|hcp|mutter|vater|angeh\u00f6rige|ansprechpartner(?:in)?|bearbeiter|gez\.?|i\. ?a\.|i\. ?v\.)"
    r"(?: \(?(?:name|physician|provider|md|s|to|of record|by)\)?)?[ .\t]*[:=][ \t]*|/s/ *)$"
)
PERSONAL = re.compile(
    r"(?i)(?:\b(?:aware \(|aware: ?|notified: ?|d/w|c/o|s/w|w/|per|told|notified|paged|informed|phoned|texted|emailed|discussed (?:with|w/)|spoke (?:with|to|w/)|spoken (?:with|to)|signed by|seen by|reviewed by|"
    r"dictated by|witnessed by|accompanied by|visited by|referred by|performed by| called by|assisted by|signed out to|handed over to|handoff to|report (?:to|from)|rx from|prescribed by|updated|met with|meeting with|"
    r"care of|attn|n\u00e9e|nee|named|call|ask(?:ed)? for|contact(?:ed)?|gez\.|i\. ?v\.|i\. ?a\.|rücksprache mit|besprochen mit|laut|hinzuziehung von|termin bei|vorstellung bei|mitbehandlung durch|einweisung durch|überweisung durch|überweisung von|konsil|telefonat mit|reg|spr|sho|s/b|wr|fob) )$"
)
AGE_AFTER = re.compile(
    r"(?:,? (?:is|was)(?: an?)?|,|,? an?|,? aged)? \(?[0-9]{1,3}[ -]?(?i:years?|yrs?|y\b|y/?o\b|yo\b|[mf]\b|jahre|jährig)"
)
ROLE_AFTER = re.compile(
    r" \((?i:(?:his|her|the|pt's|patient's)? ?(?:room ?mate|wife|husband|spouse|partner|son|daughter|mother|father|mom|mum|dad|sister|brother|friend|neighbou?r|carer|nok|hcp|poa|gf|bf|girlfriend|boyfriend|"
    r"cousin|aunt|uncle|niece|nephew|grand\w+|rn|md|pcp|np|pa|sw|nurse|surgeon|resident|intern|attending|fellow|ehefrau|ehemann|tochter|sohn|betreuer\w*))\b"
    r"|,? (?:RN|MD|M\.D\.|DO|D\.O\.|NP|PA-C|LPN|CNA|LCSW|MSW|PhD|RRT|PharmD|MRCP|FRCS|MBBS|FRCP|CNM|CRNA|ARNP|APRN|FNP|BSN|DPM|FACS|MRCGP|FRCA|FRCR|MRCS)\b"
    r"|, (?:his|her|the patient's|pt's|their) (?:wife|husband|spouse|partner|son|daughter|mother|father|mom|mum|dad|sister|brother|friend|neighbou?r|carer|cousin|aunt|uncle|niece|nephew|grand\w+|roommate)\b"
)
SIGNATURE = re.compile(
    r"(?m)(?:(?:^|[ \t])(?:[-\u2013\u2014~]{1,2}|/s/|i\. ?[AV]\.|gez\.) ?|^[ \t]*|[ \t]{3,})(?P<x>(?:[A-Z]\.? ?){0,3}[^\W\d_a-zß][^\W\d_]+(?:[ -](?:[A-Z]\.?|[^\W\d_a-zß][^\W\d_]+)){0,3})"
    r"(?=,? (?:RN|MD|M\.D\.|DO|NP|PA-?C?|LPN|CNA|MRCP|FRCS|MBBS|FRCP|MRCGP|FRCA|FRCR|MBChB|MBE|LCSW|PharmD|PhD|Consultant|Facharzt|Ober\w+|Assistenz\w+|Chef\w+)\b|[ \t]*$)"
)
TYPIST = re.compile(r"(?m)^[ \t]*(?:[A-Z]{2,4}[/:] ?[a-z]{2,4}|[a-z]{2,3}/[a-z]{2,3})[ \t]*$")
SMALL_INVERTED = re.compile(
    r"(?i:\b(?:pt|patient|name|re)\b[ ]?[:=]?[ ]?)(?P<x>(?P<a>[a-z]{2,}), ?(?P<b>[a-z]{2,}))\b"
)
INVERTED_INITIAL = re.compile(
    r"(?m)(?:^[ \t]*|[:|\t;(][ ]?| {2,})(?P<x>(?P<a>[^\W\d_a-zß][^\W\d_]+(?:[-'\u2019][^\W\d_]+)?),[ ]?[A-Z]\.?(?:[ ]?[A-Z]\.?)?)(?![\w'\u2019])"
)
SMALL_SIGNATURE = re.compile(
    r"(?im)\b(?:thanks|thank you|thx|cheers|regards|best|love|sincerely|ta|wishes|grüße|gruß|lg|mfg)[,!. ]*\n?[ ]?(?P<x>(?-i:(?:[a-z]\. ?)?[a-z]{3,}(?: [a-z]{3,})?))[ .!]*$"
)
INTRODUCTION = re.compile(
    r"(?i:\b(?:(?P<n>my name(?: is|'s|\u2019s)|mein name ist|ich heiße|call me|i go by|named)|i am|i'm|i\u2019m|this is|its|it's|ich bin|hier ist|hier spricht) )(?P<x>[a-z]{3,})(?![\w'\u2019-])"
)
INITIALS_FIRST = re.compile(
    r"(?m)(?<![\w.])(?P<x>(?:[A-Z](?:\. ?| )){1,3}(?P<l>[^\W\d_a-zß](?:['\u2019][A-Z])?[a-zß-ÿ]+(?:-[^\W\d_a-zß][^\W\d_]+)?))(?=,? (?:RN|MD|DO|NP|MRCP|FRCS|MBBS|FRCP|MRCGP|FRCA|FRCR|MBChB)\b|[ \t]*$)"
)
DOTTED_INITIALS = re.compile(r"(?<![\w.])(?:[A-Z\u00c4\u00d6\u00dc]\.[ ]?){2,3}(?!\w)")
NO_INITIALS = frozenset(
    "dob doa dos loc bid tid qid prn hiv pmh hpi ps us uk md do po iv er eg ie am pm va dc ny nj pa ra rn np ed id im sc ua os od bm co mi cv hx ph dr st no vs ap pr sa ag uv zn zb ua dh va ia su og sog bzw usw ii zt ua".split()
)
AFTER_INITIALS = re.compile(
    r"(?i)(?:\b(?:by|d/w|initials?|signed|verified|witnessed|cosigned|dictated|transcribed|typed|kürzel|gez\.?|unterschrift|rn|md|reviewer)[ :]{1,2}|^[-\u2013~/]{1,2} ?)(?P<x>[A-Z]{2,3}(?:/[A-Za-z]{2,3})?)(?![\w'\u2019]|[./-][A-Z0-9])",
    re.MULTILINE,
)
HL7 = re.compile(r"(?<![\w^])(?P<x>[^\W\d_][^\W\d_'\u2019-]*(?:\^+[^\W\d_][^\W\d_'\u2019. -]*){1,5})")
INVERTED = re.compile(
    r"(?<![\w,])(?P<x>(?P<a>[^\W\d_a-zß][^\W\d_]+(?:[-'\u2019 ][^\W\d_a-zß][^\W\d_]+)?),[ ]?(?P<b>[^\W\d_a-zß][^\W\d_]+)(?:[ -][^\W\d_a-zß][^\W\d_]*\.?){0,2})(?![\w'\u2019])"
)
CLOSINGS = (
    "thank",
    "thx",
    "cheers",
    "regards",
    "best",
    "love",
    "sincerely",
    "ta,",
    "wishes",
    "grüße",
    "gruß",
    "lg",
    "mfg",
)
INTRODUCTIONS = (
    "name is",
    "name's",
    "name\u2019s",
    "name ist",
    "i am ",
    "i'm ",
    "i\u2019m ",
    "this is ",
    "call me",
    "go by",
    "named ",
    "it's ",
    "its ",
    "ich bin",
    "ich heiße",
    "hier ist",
    "hier spricht",
)
FREE_SMALL = 4


def find_names(text: str, tokens: Sequence[Token], german: bool) -> list[Span]:
    """Mark the tokens that are names, and return spans of names that need no tokens (HL7, initials)."""
    for n, token in enumerate(tokens):
        if token.lower in context.TITLES:
            _mark_titles(tokens, n, text, german)
    for n, token in enumerate(tokens):
        if (
            n
            and not token.name
            and (token.shape != "l" or tokens[n - 1].lower in context.ANNOUNCING or ":" in token.gap)
        ):
            _mark_roles(tokens, n, text, german)
    for n, token in enumerate(tokens):
        if not token.name and (
            token.shape in "TU"
            or (token.shape == "l" and len(token.lower) >= FREE_SMALL and is_given(token.lower))
        ):
            _mark_single(tokens, n, text, german)
    mark_neighbours(tokens, text, german)
    _continue_lists(tokens, text, german)
    spans: list[Span] = []
    if "^" in text:
        spans += [Span(*match.span("x"), "name", "HL7 field") for match in HL7.finditer(text)]
    if "," in text:
        spans += [
            Span(*match.span("x"), "name", "surname first")
            for match in INVERTED.finditer(text)
            if _is_inverted(match, german)
        ]
        spans += [
            Span(*match.span("x"), "name", "surname, initial")
            for match in INVERTED_INITIAL.finditer(text)
            if _can_be_surname(match["a"].lower())
        ]
        spans += [
            Span(*match.span("x"), "name", "small letters")
            for match in SMALL_INVERTED.finditer(text)
            if _is_small_inverted(match)
        ]
    if not german:
        spans += [
            Span(match.start(), match.end() - (match[0].endswith(" ")), "name", "initials")
            for match in DOTTED_INITIALS.finditer(text)
            if re.sub(r"[^a-z]", "", match[0].lower()) not in NO_INITIALS
        ]
    spans += [
        Span(*match.span("x"), "name", "initials first")
        for match in INITIALS_FIRST.finditer(text)
        if is_listed(match["l"].lower()) and match["l"].lower() not in context.NO_NAME
    ]
    spans += [
        Span(*match.span("x"), "name", "signature")
        for match in SIGNATURE.finditer(text)
        if _is_signature(match, german)
    ]
    spans += [
        Span(*match.span("x"), "name", "initials after a label")
        for match in AFTER_INITIALS.finditer(text)
        if _are_initials(match)
    ]
    spans += [Span(*match.span(), "name", "typist") for match in TYPIST.finditer(text)]
    small = text.lower()
    if any(part in small for part in CLOSINGS):
        spans += [
            Span(*match.span("x"), "name", "small signature")
            for match in SMALL_SIGNATURE.finditer(text)
            if _is_small_signature(match)
        ]
    if any(part in small for part in INTRODUCTIONS):
        spans += [
            Span(*match.span("x"), "name", "introduction")
            for match in INTRODUCTION.finditer(text)
            if _is_introduced(match)
        ]
    return spans


def _is_signature(match: re.Match[str], german: bool) -> bool:
    """Return whether a line, or what follows a dash at its end, is a name: all its words can be, and one is no ordinary word."""
    words = [word.lower() for word in re.findall(r"[^\W\d_]{2,}", match["x"])]
    if not words or any(
        word in context.NO_NAME or word in context.ORGANISATIONS or is_abbreviation(word) or is_term(word)
        for word in words
    ):
        return False
    dash = match.string[match.start() : match.start("x")].strip() != ""
    if not all(is_listed(word) for word in words) or (german and len(words) < 2 and not dash):
        return False
    if (
        dash
        and match.string[: match.start()].rpartition("\n")[2].strip() == ""
        and match.end() != len(match.string)
    ):
        # A list item.
        return len(words) > 1 and is_given(words[0])
    return (
        is_common_name(words[0])
        if dash
        else (len(words) > 1 and is_given(words[0]) and not all(is_word(word) for word in words))
    )


def _can_be_surname(word: str) -> bool:
    return word not in context.NO_NAME and (
        is_listed(word) or not (is_word(word) or is_term(word) or is_abbreviation(word))
    )


def _is_small_inverted(match: re.Match[str]) -> bool:
    first, second = match["a"], match["b"]
    return not is_word(first) and (is_given(second) or (is_listed(first) and not is_word(second)))


def _are_initials(match: re.Match[str]) -> bool:
    word = match["x"].lower()
    explicit = re.match(r"(?i)initials|kürzel|typed|dictated|transcribed|cosigned", match[0])
    return bool(explicit) or not (is_abbreviation(word) or is_word(word) or is_term(word))


def _is_small_signature(match: re.Match[str]) -> bool:
    words = re.findall(r"[a-z]{2,}", match["x"])
    return match["x"] not in context.NO_NAME and all(
        is_listed(word) or not (is_word(word) or is_term(word)) for word in words
    )


def _is_introduced(match: re.Match[str]) -> bool:
    """Return whether the word in small letters after "my name is" or "I am" is a name."""
    word = match["x"].lower()
    if is_word(word):
        return match["n"] is not None and is_given(word)
    return is_listed(word) or (match["n"] is not None and not is_term(word))


def _is_inverted(match: re.Match[str], german: bool) -> bool:
    """Return whether "Last, First" is a name: the second is a given name, and the first no word in a sentence."""
    first, second = match["a"].lower(), match["b"].lower()
    if second in context.NO_NAME or first in context.NO_NAME or first in context.TITLES:
        return False
    if not is_given(second) or (is_word(second) and not (match["b"].isupper() or is_listed(first))):
        return False
    before = match.string[: match.start()].rpartition("\n")[2].rstrip(" ")
    free = not before or before[-1] in ":|(\t;=" or before.endswith("  ")
    if is_word(first) or first in ("",):
        return free and is_listed(first)
    return free or not is_term(first)


def is_eponym_use(tokens: Sequence[Token], n: int) -> bool:
    """Return whether an unknown word names a disease, sign or instrument, by the noun right after it or after its partner."""
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
    following = 0
    for other in tokens[n + 1 : n + 4]:
        if not re.fullmatch(r"['\u2019]?s?[ \-/\u2013]{1,2}(?:and |or )?", other.gap) or following > 2:
            return False
        if other.lower in context.MEDICAL_NOUNS:
            return True
        if other.shape == "l" and other.lower not in ("and", "or", "cell", "type", "like", "negative"):
            return False
        following += 1
    return (
        bool(re.match(r"['\u2019]s?(?=[\s,.;)])(?! \w+ (?:called|said))", text[token.end : token.end + 3]))
        and token.kind == "e"
    )


def _mark_chain(tokens: Sequence[Token], n: int, accept: Callable[[Token], bool]) -> int:
    """Mark the names from `n` on: names, initials and particles. Return the number of marked words."""
    count = 0
    at = n
    while at < len(tokens) and at < n + 6:
        token = tokens[at]
        if at > n and not NAME_GAP.fullmatch(token.gap):
            break
        if "\n" in token.gap and at > n:
            break
        if (
            token.shape == "I"
            and at + 1 < len(tokens)
            and (token.lower not in ("a", "i") or "." in tokens[at + 1].gap or count)
        ):
            at += 1
            continue
        if (
            token.lower in context.PARTICLES
            and at + 1 < len(tokens)
            and tokens[at + 1].shape in "TUX"
            and token.shape != "U"
        ):
            at += 1
            continue
        if not accept(token):
            break
        for other in tokens[n : at + 1]:
            other.name = True
        count += 1
        at += 1
    return count


def _can_follow(token: Token) -> bool:
    """Return whether a word continues a name after its first word."""
    lower = token.lower
    if (
        token.shape not in "TUX"
        or lower in context.NO_NAME
        or lower in context.CREDENTIALS
        or lower in context.TITLES
    ):
        return False
    if token.kind == "n":
        return token.shape != "X"
    if token.shape == "U" and token.kind == "a":
        return False
    return is_common_name(lower) if token.kind == "w" else is_listed(lower)


def _mark_titles(tokens: Sequence[Token], n: int, text: str, german: bool) -> None:
    token = tokens[n]
    lower = token.lower
    if (
        lower not in context.TITLES
        or n + 1 >= len(tokens)
        or (token.shape == "l" and lower not in context.SMALL_TITLES)
    ):
        return
    if (
        lower
        in (
            "oa",
            "oä",
            "ca",
            "cä",
            "aa",
            "ass",
            "fr",
            "hr",
            "kollege",
            "kollegin",
            "kollegen",
            "schwester",
            "pfleger",
            "familie",
        )
        and not german
        and lower not in ("fr",)
    ):
        return
    at = n + 1
    while (
        at < len(tokens)
        and tokens[at].lower
        in (
            "dr",
            "prof",
            "med",
            "dent",
            "phil",
            "habil",
            "univ",
            "pd",
            "priv",
            "doz",
            "nat",
            "rer",
            "kollege",
            "kollegin",
            "dipl",
            "psych",
            "mr",
            "mrs",
            "ms",
            "and",
        )
        and at < n + 6
    ):
        at += 1
    if at >= len(tokens) or not SHORT_GAP.fullmatch(tokens[at].gap):
        return
    first = tokens[at]
    short = lower in context.SHORT_TITLES or at > n + 1
    if first.lower in context.NO_NAME and not (
        first.shape == "T" and first.lower in ("will", "may", "case") and short
    ):
        return
    if first.shape == "l":
        if token.shape == "l" or short:
            known = is_word(first.lower) or is_term(first.lower)
            if (
                (not known or (short and is_common_name(first.lower)))
                and len(first.lower) > 1
                and first.lower not in context.PARTICLES
            ):
                if not known or short:
                    first.name = True
                    follower = tokens[at + 1] if at + 1 < len(tokens) else None
                    if (
                        follower
                        and follower.gap == " "
                        and follower.shape == "l"
                        and is_listed(follower.lower)
                        and not is_word(follower.lower)
                    ):
                        follower.name = True
            elif first.lower in context.PARTICLES:
                _mark_chain(tokens, at, lambda t: t.shape in "TUX")
        return
    if first.shape in "TUXI" and (short or first.kind in "ne" or is_listed(first.lower)):
        if is_medical(tokens, at, text) and first.kind != "n":
            return
        if first.shape == "U" and first.kind == "a" and not first.capitals:
            return
        marked = False

        def accept(t: Token) -> bool:
            nonlocal marked
            if marked:
                return _can_follow(t)
            marked = True
            return True

        _mark_chain(tokens, at, accept)
        if (
            german
            and lower in ("frau", "herr", "herrn")
            and at == n + 1
            and first.name
            and at + 1 < len(tokens)
            and tokens[at + 1].name
        ):
            token.name = True


def _mark_roles(tokens: Sequence[Token], n: int, text: str, german: bool) -> None:
    """Mark a name after a role, relative, label or "per", "told", "with"."""
    token = tokens[n]
    if token.name or n == 0:
        return
    before = tokens[n - 1]
    left = text[max(0, token.start - 40) : token.start]
    label = LABEL.search(left) if (":" in token.gap or "=" in token.gap or "/" in token.gap) else None
    if (
        label is None
        and token.shape in "TUI"
        and (
            before.lower in context.BEFORE_PERSON
            or "/" in token.gap
            or "(" in token.gap
            or len(before.lower) < 3
            or tokens[n - 1].gap == "/"
        )
        and "\n" not in token.gap
    ):
        label = PERSONAL.search(left)
    relative = before.lower in context.RELATIVES or (
        before.lower.endswith("in-law") or (before.lower == "law" and n > 2 and tokens[n - 2].lower == "in")
    )
    role = (
        (before.lower in context.ROLES or relative)
        and before.shape != "X"
        and ROLE_GAP.fullmatch(token.gap) is not None
    )
    if not (label or role):
        return
    lower = token.lower
    if (
        lower in context.NO_NAME
        or lower in context.ROLES
        or lower in context.RELATIVES
        or lower in context.TITLES
    ):
        return
    if token.shape == "l":
        direct = (
            role
            and token.gap in (" ", ", ", ": ", " (", " - ", "/")
            and before.lower not in ("to", "from", "re")
        )
        known = (
            is_term(lower)
            or (german and is_german_word(lower))
            or (is_word(lower) and not (relative and is_listed(lower) and lower not in lists.core_words()))
        )
        after = tokens[n + 1] if n + 1 < len(tokens) else None
        if (
            relative
            and token.gap == " "
            and known
            and is_given(lower)
            and lower not in context.VERBS
            and after
            and after.gap == " "
            and (
                after.lower in ("at", "is", "was")
                or (after.lower in context.VERBS and after.lower not in context.WEAK_VERBS)
            )
        ):
            token.name = True
        if (
            (direct or label)
            and len(lower) > 2
            and not known
            and (
                is_listed(lower)
                or (
                    relative
                    and token.gap == " "
                    and not is_abbreviation(lower)
                    and not lower.endswith(("ed", "ing"))
                )
            )
        ):
            token.name = True
            after = tokens[n + 1] if n + 1 < len(tokens) else None
            if (
                after
                and after.gap == " "
                and after.shape == "l"
                and is_listed(after.lower)
                and not is_word(after.lower)
            ):
                after.name = True
        return
    if token.shape not in "TUI" or is_medical(tokens, n, text):
        return
    if token.shape == "U" and token.kind == "a" and not token.capitals:
        return
    strong = label is not None or token.gap not in (" ",)
    if token.kind == "w" and token.shape != "I":
        listed = is_common_name(lower) or (label is not None and is_listed(lower))
        if not listed or (token.capitals and not (label or ":" in token.gap)):
            return
        after = tokens[n + 1] if n + 1 < len(tokens) else None
        if (
            after
            and after.gap == " "
            and after.shape == "T"
            and after.kind == "w"
            and not is_common_name(after.lower)
        ):
            return
        if (
            after
            and after.gap == " "
            and after.shape == "l"
            and token.starts
            and label is None
            and after.lower not in context.VERBS
        ):
            return
    if (
        token.kind in "te"
        and label is not None
        and label.re is PERSONAL
        and not german
        and token.kind == "e"
        and is_listed(lower)
    ):
        pass
    elif (
        token.kind in "te"
        and not (strong and is_listed(lower))
        and not (
            token.kind == "e"
            and is_listed(lower)
            and before.lower not in ("patient", "pt", "infant", "child", "donor")
        )
    ):
        return
    if token.shape == "I" and not (
        n + 1 < len(tokens) and re.fullmatch(r"\.? ?", tokens[n + 1].gap) and tokens[n + 1].shape in "TUI"
    ):
        return
    first = True

    def accept(t: Token) -> bool:
        nonlocal first
        if first:
            first = False
            return True
        return _can_follow(t)

    count = _mark_chain(tokens, n, accept)
    at = n + count
    if (
        label is not None
        and label.re is LABEL
        and count
        and at < len(tokens)
        and tokens[at].gap in (", ", ",")
        and tokens[at].shape == token.shape
        and tokens[at].lower not in context.NO_NAME
        and tokens[at].lower not in context.CREDENTIALS
        and is_listed(tokens[at].lower)
        and token.shape in "TU"
        and not (at + 1 < len(tokens) and tokens[at + 1].shape == "l" and tokens[at + 1].gap == " ")
    ):
        tokens[at].name = True


def _mark_single(tokens: Sequence[Token], n: int, text: str, german: bool) -> None:
    """Mark a word by its own form, the word before it and the verb after it."""
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
    if token.kind == "n":
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
    ):
        if is_common_name(lower) or token.kind in "e":
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
        and token.gap in (" ", ", ")
        and (after is None or after.gap not in (" ", "-", "/") or after.shape == "l" or after.name)
    )
    token.name = alone and token.shape == "T"


def _in_eponyms(tokens: Sequence[Token], n: int) -> bool:
    """Return whether the words beside an eponym show that it is a sign or instrument: "no", "a", "neg", another eponym."""
    before, after = (tokens[n - 1] if n else None), (tokens[n + 1] if n + 1 < len(tokens) else None)
    if before is not None and (
        before.lower in context.BEFORE_EPONYM
        and tokens[n].gap in (" ", "-")
        or (before.kind == "e" and not before.name and tokens[n].gap in (", ", "-", " ", "/", " - "))
    ):
        return True
    return after is not None and (
        after.lower in context.AFTER_EPONYM
        and after.gap in (" ", "'s ", ": ", " - ")
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
    if german and len(lower) > 12 and not is_listed(lower):
        return False
    return True


def _looks_abbreviated(lower: str) -> bool:
    return not re.search("[aeiouyäöü]", lower) or re.search(r"[^aeiouyäöü]{4}", lower) is not None


def mark_neighbours(tokens: Sequence[Token], text: str, german: bool) -> None:
    """Mark surnames after given names, given names before surnames, initials, particles and hyphenated parts."""
    for _ in range(2):
        for n, token in enumerate(tokens):
            if not token.name:
                continue
            at = n + 1
            # After the name.
            while at < len(tokens) and at < n + 5:
                other = tokens[at]
                if other.name or not re.fullmatch(r"\.? |-|\u2010|\u2011", other.gap):
                    break
                if other.gap != "-" and other.lower in context.SUFFIXES and other.shape in "TUI":
                    other.name = True
                    break
                initial = other.shape == "I" and (
                    other.lower not in ("a", "i") or text[other.end : other.end + 1] == "."
                )
                if initial and text[other.start - 1 : other.start] == "/":
                    break
                particle = (
                    other.lower in context.PARTICLES
                    and other.shape != "U"
                    and at + 1 < len(tokens)
                    and tokens[at + 1].shape in "TU"
                    and tokens[at + 1].gap in (" ", "-", "'")
                    and other.gap == " "
                    and not (german and other.shape == "T")
                )
                if initial or particle:
                    nearby = tokens[at + 1] if at + 1 < len(tokens) else None
                    if (
                        particle
                        or (
                            nearby
                            and NAME_GAP.fullmatch(nearby.gap)
                            and (nearby.name or _surname_like(nearby, token))
                        )
                        or text[other.end : other.end + 1] == "."
                        or text[other.end : other.end + 1] in "\n,;)|"
                    ):
                        other.name = not german or particle or other.lower != "i"
                        at += 1
                        continue
                    break
                if _surname_like(other, token) and not is_medical(tokens, at, text):
                    other.name = True
                    at += 1
                    continue
                break
            # Before the name.
            at = n - 1
            while at >= 0:
                other, gap = tokens[at], tokens[at + 1].gap
                if other.name or not (re.fullmatch(r"\.? |\.|-", gap)):
                    break
                if (
                    other.shape == "I"
                    and text[other.start - 1 : other.start] != "/"
                    and (
                        gap.startswith(".")
                        or (other.lower not in ("a", "i") and not _is_lettered(tokens, at))
                    )
                ):
                    other.name = True
                elif (
                    other.lower in context.PARTICLES
                    and gap in (" ", "-")
                    and other.shape in "lT"
                    and (not german or other.lower in ("von", "van", "zu"))
                    and not (
                        other.lower
                        in (
                            "st",
                            "le",
                            "la",
                            "du",
                            "op",
                            "ap",
                            "af",
                            "di",
                            "das",
                            "den",
                            "der",
                            "die",
                            "ten",
                            "e",
                        )
                        and other.shape == "l"
                        and (
                            at
                            and tokens[at - 1].shape == "l"
                            and tokens[at - 1].lower not in context.PARTICLES
                        )
                    )
                ):
                    other.name = True
                elif gap in (" ", "-") and _given_like(other, german) and not is_medical(tokens, at, text):
                    other.name = True
                else:
                    break
                at -= 1


def _continue_lists(tokens: Sequence[Token], text: str, german: bool) -> None:
    """Mark listed names in a list after a name: "Stone, Xu and Young"."""
    for n in range(1, len(tokens)):
        before, token = tokens[n - 1], tokens[n]
        if (
            token.name
            or token.shape != "T"
            or token.lower in context.NO_NAME
            or token.lower in context.TITLES
            or is_medical(tokens, n, text)
        ):
            continue
        linked = (before.name and token.gap in (", ", " & ", "/", " / ", "; ")) or (
            n > 1
            and before.lower in ("and", "und", "or")
            and tokens[n - 2].name
            and token.gap == " "
            and before.gap in (" ", ", ")
        )
        after = tokens[n + 1] if n + 1 < len(tokens) else None
        if (
            linked
            and is_listed(token.lower)
            and not is_term(token.lower)
            and not (
                after
                and after.gap == " "
                and (
                    after.shape == "T"
                    and not is_listed(after.lower)
                    or (
                        after.shape == "l"
                        and token.gap != " "
                        and after.lower not in ("and", "or", "to", "at", "on", "from", "und")
                    )
                )
            )
            and (not german or is_given(token.lower) or token.kind == "n")
        ):
            token.name = True


def _is_lettered(tokens: Sequence[Token], n: int) -> bool:
    return n > 0 and tokens[n - 1].lower in (
        "vitamin",
        "hepatitis",
        "type",
        "group",
        "influenza",
        "factor",
        "part",
        "stage",
        "grade",
        "class",
        "blood",
        "strep",
        "haemophilus",
        "protein",
        "hemoglobin",
        "phase",
        "section",
        "level",
        "station",
        "bldg",
        "building",
        "apt",
        "unit",
        "plan",
        "scale",
    )


def _surname_like(other: Token, name: Token) -> bool:
    """Return whether the word directly after a name is a part of it."""
    lower = other.lower
    if (
        other.shape not in "TU"
        or other.shape == "U"
        and name.shape != "U"
        and (len(lower) < 4 or other.kind == "a")
    ):
        return False
    if (
        lower in context.NO_NAME
        or lower in context.CREDENTIALS
        or lower in context.TITLES
        or lower in context.ORGANISATIONS
        and not is_given(name.lower)
    ):
        return False
    if other.kind == "n":
        return True
    if other.capitals and other.kind == "w" and not (is_given(name.lower) and is_common_name(lower)):
        return False
    return is_listed(lower) and (
        is_given(name.lower) or other.gap == "-" or (other.kind != "w" and is_given(lower)) or is_given(lower)
    )


def _given_like(other: Token, german: bool) -> bool:
    lower = other.lower
    if (
        other.shape not in "TU"
        or lower in context.NO_NAME
        or lower in context.TITLES
        or lower in context.ROLES
        or lower in context.RELATIVES
        or lower in context.CREDENTIALS
    ):
        return False
    if other.capitals and other.kind == "w" and not is_given(lower):
        return False
    return is_given(lower) or (other.kind == "e" and is_listed(lower))
