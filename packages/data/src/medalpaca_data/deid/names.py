"""Names (class A): rules that find names by their context, such as titles, form fields, signatures and relatives.

Without such a context, only a listed given name with a surname is found, and names that are found elsewhere in the
record (see `find`). Other names need NER (see `ner`).
"""

from __future__ import annotations

import re

from .rules import (
    FIELD_NAME,
    FULL_NAME,
    LETTER,
    NAME,
    PARTICLES,
    STOP_WORDS,
    UPPER,
    Match,
    Rule,
    Span,
    given_names,
    is_common_word,
    is_eponym,
    is_given_name,
    is_surname,
    medical_suffix,
    read_word_list,
)

LEFT_BOUNDARY = r"(?:^|[\s(\[/\"\u201c,;:>])"
TITLE = (
    r"(?:(?:Mr|Mrs|Ms|Mx|Dr|Prof|Rev|Fr|Sr|Sra|Mme|Hr|Fr|Sgt|Capt|mr|mrs|ms|dr|prof|MR|MRS|DR)\.?|Miss|Doctor|Professor|Nurse|Sister|"
    r"Reverend|Father|Rabbi|Imam|Sir|Dame|Lady|Officer|Judge|Midwife|Aunt|Auntie|Uncle|Grandma|Grandpa|doctor|nurse|Herr|Frau|"
    r"Se\u00f1ora?|Madame|Monsieur|MRS\.|MR\.|DR\.)"
)
RELATIVE = (
    r"(?:wife|husband|spouse|partner|fianc\u00e9e?|fiancee?|son|daughter|child|baby|mother|father|mom|mum|dad|mommy|parents?|sister|"
    r"brother|twin|aunt|uncle|cousin|niece|nephew|grand(?:mother|father|son|daughter|child|ma|pa)|step(?:mother|father|son|daughter)|"
    r"(?:mother|father|son|daughter|sister|brother)-in-law|girlfriend|boyfriend|friend|neighbou?r|roommate|boss|employer|carer|"
    r"care ?giver|guardian|nanny|teacher|coworker|co-worker|landlord|social worker|case manager)"
)
DONE_BY = (
    r"(?:signed|dictated|seen|reviewed|referred|ordered|prescribed|transcribed|performed|accompanied|examined|assessed|verified|"
    r"approved|interviewed|written|authored|entered|witnessed|evaluated|completed|cosigned|read|"
    r"reported|attended)(?: off)? by"
)
ROLE = (
    r"(?:attending|surgeon|consultant|PCP|provider|physician|GP|next of kin|NOK|guardian|care "
    r"?giver|emergency contact|contact person|"
    r"cc|attn|resident|intern|author|patient|pt|client|re|anesthesiologist|radiologist|pathologist|nurse|doctor|therapist|informant|"
    r"signature|signed|mother|father|spouse|husband|wife|witness|policy ?holder|subscriber|insured|employer)"
)
CREDENTIALS = (
    r"(?:M\.?D\.?|D\.?O\.|R\.?N\.?|N\.?P\.?|P\.?A\.?-?C?|Ph\.?D\.?|DDS|DPM|PharmD|LCSW|MBBS|FRCP|FRCS|BSN|MSW|CNM|CRNA|APRN|LPN|DNP|"
    r"FNP|FACP|FACC|FACS)"
)
# Ordinary words that are removed from the end of a name.
NAME_TAILS = read_word_list("stop.txt", "tails")
MEDICAL_HISTORY = re.compile(
    r"[^.\n]{0,60}?\b(?:introduced|described|discovered|developed|devised|proposed|named|coined|"
    r"invented|identified|published|reported in 1)|[^.\n]{0,12}\bin 1[789][0-9]{2}\b"
)
OTHER_NAME_LABELS = re.compile(
    r"(?i:brand|generic|trade|scientific|common|chemical|drug|proprietary|gene|species|product|file|user|other|disease|study|"
    r"company|plan|test|domain|medication|medicine|code|host|device|the|a|street|plant|class|latin|botanical|international|official"
    r"|formal|nonproprietary|protein|virus|program|school)\s*$"
)


PATIENT = re.compile(r"(?i:patient(?:['\u2019]s)?)\s*$")


def _is_medical_term(match: Match) -> bool:
    """Return whether the name is part of a medical term, or of a person named for a discovery."""
    text, end = match.string, match.end("x")
    if medical_suffix().match(text, end):
        return True
    # Epstein-Barr, Vitamin D-rich
    if re.match(r"\.?-[A-Za-z0-9]", text[end : end + 3]):
        return True
    last = _main_words(match["x"])[-1:]
    return bool(last and is_eponym(last[0]) and MEDICAL_HISTORY.match(text, end))


def _main_words(name: str) -> list[str]:
    """Return the words of a name without initials and particles."""
    return [
        word
        for word in re.split(r"[\s,]+", name)
        if len(word.strip(".")) > 1 and not re.fullmatch(PARTICLES, word)
    ]


def _is_titled_name(match: Match) -> bool:
    """Return whether the words after a title are a name.

    They are not if they are a medical term ("Dr Parkinson disease") or begin with a function word ("Mr The"). After
    long titles such as "Doctor", they are not if they begin with a common word that is no given name or surname.
    """
    words = _main_words(match["x"]) or [match["x"]]
    short_title = match["t"].rstrip(".") in SHORT_TITLES
    first = words[0]
    weak = is_common_word(first) and not (is_given_name(first) or is_surname(first))
    return not _is_medical_term(match) and not (weak and (not short_title or first.lower() in FUNCTION_WORDS))


SHORT_TITLES = frozenset({"Mr", "Mrs", "Ms", "Dr", "Prof", "Miss", "MR", "MRS", "DR"})
FUNCTION_WORDS = frozenset(
    {"and", "or", "the", "who", "he", "if", "when", "may", "will", "is", "has", "at", "in", "a", "i", "of", "to"}
)  # fmt: skip


def _is_acronym(word: str) -> bool:
    return len(word) < 6 and (word.isupper() or sum(map(str.isupper, word)) > 2)


def _is_likely_name(match: Match) -> bool:
    """Accept words after a weak context if one is a listed name or none is an ordinary word."""
    words = _main_words(match["x"])
    if (
        not words
        or _is_medical_term(match)
        or (all(_is_acronym(word) for word in words) and "," not in match["x"])
    ):
        return False
    return any(is_given_name(word) for word in words[:2]) or not any(
        is_common_word(part) for w in words for part in w.split("-")
    )


def _is_likely_full_name(match: Match) -> bool:
    """Accept a likely name of at least two words."""
    return len(_main_words(match["x"])) >= 2 and _is_likely_name(match)


def _is_listed_or_long_name(match: Match) -> bool:
    """Accept two capitalised words that are listed names or long; headings and acronyms are neither."""
    words = _main_words(match["x"])
    return _is_likely_name(match) and (
        all(len(w) > 3 for w in words) or any(is_given_name(w) or is_surname(w) for w in words)
    )


def _is_signer(match: Match) -> bool:
    """Accept any words that are not all stop words, because only a person signs or dictates."""
    words = _main_words(match["x"])
    return bool(words) and not all(word.lower() in STOP_WORDS for word in words)


def _is_field_value(match: Match) -> bool:
    before = match.string[max(0, match.start("label") - 20) : match.start("label")]
    # Initials alone are a name after "patient name:" only.
    words = _main_words(match["x"]) or (match["x"].split() if PATIENT.search(before) else [])
    return (
        bool(words)
        and not OTHER_NAME_LABELS.search(before)
        and not _is_medical_term(match)
        and not all(map(is_common_word, words))
    )


def _is_introduced_name(match: Match) -> bool:
    words = _main_words(match["x"])
    return (
        bool(words)
        and not _is_medical_term(match)
        and (
            not is_common_word(words[0])
            or is_given_name(words[0])
            or (len(words) > 1 and not is_common_word(words[1]))
        )
    )


def _is_lower_case_name(match: Match) -> bool:
    return len(match["x"]) > 1 and not is_common_word(match["x"])


def _is_signature(match: Match) -> bool:
    """Accept a likely name at the end of its line."""
    rest = match.string[match.end("x") :].split("\n", 1)[0]
    return len(rest.strip(" .,!)")) <= 12 and _is_likely_name(match)


def _is_listed_full_name(match: Match) -> bool:
    words = _main_words(match["x"])
    if len(words) < 2 or (
        match.start("x")
        and (match.string[match.start("x") - 1].isalnum() or match.string[match.start("x") - 1] == "-")
    ):
        return False
    second = words[1].split("-")[0]
    company = match.string.startswith((" & ", ", Inc"), match.end("x")) or match.string.endswith(
        "St. ", 0, match.start("x")
    )
    return not _is_medical_term(match) and not company and (is_surname(second) or not is_common_word(second))


RULES = (
    Rule("name", "title", rf"{LEFT_BOUNDARY}(?P<t>{TITLE}) (?P<x>{NAME})", _is_titled_name),
    Rule(
        "name",
        "title, small letters",
        rf"{LEFT_BOUNDARY}(?:dr|mr|mrs|ms)\.? (?P<x>[a-z]+)\b",
        lambda m: is_surname(m["x"]) or is_given_name(m["x"]),
    ),
    Rule(
        "name",
        "introduction",
        rf"(?i:\b(?:name(?: is|'s|\u2019s|s are| was)|(?:patient|man|woman|boy|girl|child|baby|son|"
        rf"daughter|lady|gentleman|person|infant|newborn) named|call me|calls? (?:him|her)self|goes by) )(?P<x>{NAME})",
        _is_introduced_name,
    ),
    Rule(
        "name",
        "introduction, small letters",
        rf"(?i:\bmy name(?: is|'s|\u2019s) )(?P<x>{LETTER}+(?:-{LETTER}+)?)",
        _is_lower_case_name,
    ),
    Rule(
        "name",
        "introduction, pair",
        rf"(?i:\bmy name(?: is|'s|\u2019s) ){LETTER}+(?:-{LETTER}+)? (?P<x>{LETTER}+(?:['-]{LETTER}+)?)",
        _is_lower_case_name,
    ),
    Rule(
        "name",
        "I am",
        rf"\b(?:I am|I'm|I\u2019m|This is|this is|i am|i'm|It's|Here is|here is) (?P<x>{NAME})",
        lambda m: _is_likely_name(m) and is_given_name(_main_words(m["x"])[0]),
    ),
    Rule(
        "name",
        "field",
        r"(?P<label>(?i:\bname(?: of (?:the )?(?:patient|client|child|parent|guardian))?[ ]*[:=][ ]*))"
        rf"(?P<x>{FIELD_NAME})",
        _is_field_value,
    ),
    Rule(
        "name",
        "field, small letters",
        r"(?P<label>(?i:\b(?:patient|full|first|last|my) name[ ]*[:=][ ]*))(?P<x>[a-z]+(?: [a-z]+)?)\b",
        _is_field_value,
    ),
    Rule(
        "name",
        "signature",
        r"(?i:\b(?:sincerely|regards|thanks|thank you|thx|cheers|yours truly|yours faithfully|"
        r"faithfully|truly|best|wishes|respectfully|love|warmly|signed|greetings|"
        rf"gratefully|advance)[ ]*[,:;.!-]*\s{{1,4}})(?P<x>{NAME})",
        _is_signature,
    ),
    Rule("name", "by", rf"(?i:\b{DONE_BY}:? )(?P<x>{FIELD_NAME})", _is_likely_name),
    Rule(
        "name",
        "signed by",
        rf"(?i:\b(?:signed|dictated|cosigned|transcribed)(?: off)? by:? )(?P<x>{FIELD_NAME})",
        _is_signer,
    ),
    Rule(
        "name",
        "this is",
        rf"\b(?:This is|this is|It's) (?P<x>{NAME})(?: from\b| calling\b| here\b| speaking\b| "
        rf"again\b|, (?:the|a|his|her|I)\b)",
        _is_likely_name,
    ),
    Rule(
        "name",
        "with",
        rf"(?i:\b(?:spoke(?:n)? (?:with|to)|discussed with|seen with|met with|met|consulted|"
        rf"contacted|informed|notified|paged|per|assisted by|together with|visit(?:s|ed) by|told) )(?P<x>{NAME})",
        _is_likely_name,
    ),
    Rule(
        "name",
        "role field",
        rf"(?i:\b{ROLE}(?:'s name| name)?(?:[ ]?[:=][ ]?|[ ]-[ ]))(?P<x>{FIELD_NAME})",
        _is_likely_name,
    ),
    Rule(
        "name",
        "patient",
        rf"(?i:\b(?:patient|pt|client|resident|widow|victim|veteran|baby(?: boy| girl)?),? )(?P<x>{NAME})",
        _is_likely_name,
    ),
    Rule(
        "name",
        "relative",
        rf"(?i:\b{RELATIVE}s?(?:,| is| was|:| named| called)?[ ]?[( ])(?P<x>{NAME})",
        _is_likely_name,
    ),
    Rule(
        "name",
        "and age",
        rf"(?P<x>{NAME}),? (?:is|was|a|aged|presents as) (?:an? )?[0-9]{{1,3}}[- ]?(?i:years?|yrs?|y/?o|yo)",
        _is_likely_name,
    ),
    Rule(
        "name",
        "comma age",
        rf"(?P<x>{FULL_NAME}),? \(?[0-9]{{1,3}}(?:[MF]\b|,| ?y\b| ?yo\b| years)",
        _is_likely_full_name,
    ),
    Rule("name", "credentials", rf"(?P<x>{FULL_NAME}),? {CREDENTIALS}(?:\b|[,;)\n]|$)", _is_likely_full_name),
    Rule(
        "name",
        "surname first",
        rf"(?m:^)(?P<x>{UPPER}{{2,}}(?:[ -]{UPPER}{{2,}}){{0,2}}, {UPPER}{{2,}}(?:[ -]{UPPER}{{2,}})?)(?:[ ,;:-]|$)",
        _is_listed_or_long_name,
    ),
    Rule("name", "greeting", rf"(?i:\b(?:dear|hi|hello|hey|attn:?|att:) )(?P<x>{NAME})", _is_likely_name),
    Rule(
        "name",
        "given name",
        rf"(?P<x>(?:{'|'.join(given_names())})(?:[ ]{UPPER}\.?)?[ ](?:{PARTICLES}[ "
        rf"]){{0,2}}{UPPER}{LETTER}*(?:['\u2019-]{LETTER}+)*)",
        _is_listed_full_name,
    ),
)


def trim_name(span: Span, text: str) -> Span | None:
    """Return the span of a name without ordinary words at its end, or None for an empty span.

    Ordinary are the words in `NAME_TAILS` and common words in capitals; the first word always stays.
    """
    end = span.end
    while last := re.search(r"[\s,]+([^\s,]+)$", text[span.start : end]):
        word = last[1]
        plain = word.replace(".", "")
        if not is_common_word(plain) or is_given_name(word) or is_surname(word):
            break
        if plain.lower() not in NAME_TAILS and not (word.isupper() and len(word) > 1):
            break
        end = span.start + last.start()
    return Span(span.start, end, span.kind, span.rule) if end > span.start else None


def name_words(name: str) -> list[str]:
    """Return the capitalised words of a name with at least three letters, to find the name elsewhere in the record."""
    return [
        word
        for word in re.findall(rf"{LETTER}+(?:['\u2019]{LETTER}+)*", name)
        if len(word) >= 3 and word[0].isupper()
    ]
