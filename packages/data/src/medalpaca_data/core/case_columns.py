"""Columns that can have a part of the question: the case, the system text, earlier turns.

Such a column is joined to the question or refused. It is left out only if the question repeats it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, Literal

CaseKind = Literal["system", "history", "context"]

# Columns with the turns of a conversation.
TURN_COLUMNS = ("messages", "conversations", "conversation")
CAMEL_CASE = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
NAME_WORD = re.compile(r"[a-z0-9]+")


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


SYSTEM_NAME = re.compile(r"(system|sys)( ?(prompt|message|instructions?))|system")
TURN_HISTORY_NAME = re.compile(r"((chat|conversation|dialog|dialogue) )?history|previous turns")
# A name with one of these words has a case if its other words are `QUALIFIERS`.
CASE_WORDS = _words(
    "context contexts case vignette vignettes background passage passages paragraph knowledge history scenario premise "
    "abstract excerpt anamnesis hpi complaint complaints symptoms"
)
QUALIFIERS = _words(
    "patient patients clinical medical case past present presenting chief of illness family social text texts report "
    "description summary presentation details info information note notes profile supporting retrieved gold"
)
# `patient_info` and `clinical_notes` are cases as well; `patient` alone may be an identifier.
ABOUT_WHOM = _words("patient clinical medical discharge admission")
ABOUT_WHAT = _words(
    "description summary presentation details info information note notes profile report record records text"
)
# A name with one of these words needs a heading: the value "none" or "diabetes" has another meaning without it.
FINDINGS = _words("past family social")
# The value of a column `case` may be a number, a date, "Case 7" or K-1023, which is not a text. COVID-19, GCS-8, T2DM
# and 120/80 are texts.
CASE_NUMBER = re.compile(
    r"[-+#\u2212]?\d+(?:[.,]\d+)*|\d{4}-\d\d-\d\d|"
    r"(?:(?:case|patient|visit|id|no|nr|number)[\s.:#_-]*)+\d[\d./-]*|[a-z]{1,2}[-_./#]\d{3,}",
    re.IGNORECASE | re.ASCII,
)
# Texts that programs write for a missing value. "None" with a capital is that of Python; "none" may be a finding.
PLACEHOLDER = re.compile(r"(?i:nan|null|<null>|<no ?input>|#?n/a)|None|<NA>")
# A value of the column `system` is a system text if it has one of these, or `SYSTEM_WORDS` words; else it may be an
# organ system, such as "Central nervous system".
SENTENCE = re.compile(
    r"\S\s+\S.*[.!?:;\u3002\uff01\uff1f]$|\n|[\u3002\uff01\uff1f]|\b(?:you|your)\b|"
    r"^(?:act|answer|be|give|reply|respond|speak|use|write)\s",
    re.IGNORECASE,
)
SYSTEM_WORDS = 12
# Characters of the shortest case that is looked for in the question. A shorter one may have another meaning there.
MIN_REPEATED_LENGTH = 40
# Names that pandas gives the index of a table when it saves one, for instance after a filter.
INDEX_NAME = re.compile(r"(?:index|level_\d+|__index_level_\d+__|unnamed: \d+(?:\.\d+)*)?", re.IGNORECASE)
INDEX, NUMBER_OF_CASE = "row numbers of pandas", "number or identifier of a case, no text"
# Words of headings. A heading with another word may be a text of a patient, in a file without headings.
HEADING_WORDS = _words(
    "id ids uuid number no nr num patient case mrn visit encounter admission discharge date dates time timestamp day "
    "month year created updated age sex gender race ethnicity language lang topic tag tags category categories subject "
    "specialty speciality department ward hospital clinic site unit bed room author doctor physician provider nurse "
    "service note notes text texts title type kind source url link licence license label labels class score rating "
    "comment comments status index row level unnamed code codes icd cpt loinc snomed atc diagnosis diagnoses procedure "
    "medication medications drug dose lab labs vital vitals result results weight height bmi allergies name names "
    "first last middle surname forename given family birth dob address street city zip postcode country phone email "
    "insurance plan summary report history section body question answer instruction input output response system "
    "prompt context message messages conversation conversations dialogue explanation rationale reference references "
    "evidence split group version flag of the and in is has main primary secondary chief complaint symptoms findings "
    "role content value key reasoning thinking thought review reviewer file path page heading"
)
HEADING_WORD = re.compile(r"[^\W\d_]+|\d{3,}")
# Repairs that the ledger counts.
REPEATS_QUESTION = "case column repeats the question"
PLACEHOLDER_EMPTY = "placeholder such as nan in a case or input column read as empty"


@lru_cache(maxsize=4096)
def case_kind(column: str) -> CaseKind | None:
    """Return the part of the question that a column with this name can have, or None.

    Case, spaces and punctuation of the name do not matter: `Patient History` is `patient_history`.
    """
    words = NAME_WORD.findall(CAMEL_CASE.sub(" ", column).lower())
    name = " ".join(words)
    if SYSTEM_NAME.fullmatch(name):
        return "system"
    if TURN_HISTORY_NAME.fullmatch(name):
        return "history"
    found = set(words)
    is_case = found & CASE_WORDS and found <= CASE_WORDS | QUALIFIERS
    is_note = found & ABOUT_WHOM and found & ABOUT_WHAT and found <= ABOUT_WHOM | ABOUT_WHAT
    return "context" if is_case or is_note else None


def heading(column: str) -> str:
    """Return the name of a column as a heading: `past_history` and `PastHistory` become "Past history"."""
    words = [
        word if word.isupper() else word.lower() for word in re.split(r"[\W_]+", CAMEL_CASE.sub(" ", column))
    ]
    text = " ".join(filter(None, words)) or column
    return text[:1].upper() + text[1:]


def join_case_texts(texts: list[tuple[str, str]]) -> str:
    """Return the texts of case columns, given as (column, text), with a blank line between.

    Each has its heading if there are several, or if the name has one of `FINDINGS`.
    """
    parts = []
    for column, text in texts:
        title = heading(column)
        separator = "\n" if "\n" in text else " "
        is_headed = len(texts) > 1 or FINDINGS & set(title.lower().split())
        parts.append(f"{title}:{separator}{text}" if is_headed else text)
    return "\n\n".join(parts)


def is_repeated(case: str, question: str) -> bool:
    """Return whether the question contains the whole case, apart from white space and a full stop at its end.

    The case has at least `MIN_REPEATED_LENGTH` characters. Beside it are the ends of the question, white space or
    punctuation, so that no word or number of the question is cut.
    """
    text = " ".join(case.split()).rstrip(".")
    if len(text) < MIN_REPEATED_LENGTH:
        return False
    before = r"(?<![\d+<>~\u00b1\u2212\u2264\u2265-]\s)" if text[0].isdigit() else ""
    after = r"(?!\s\d)" if text[-1].isdigit() else ""
    pattern = (
        rf"(?:(?<=^)|(?<=[\s(\[\"'\u201c\u2018\u00ab])){before}{re.escape(text)}{after}"
        r"(?=[.,;:!?)\]\"'\u201d\u2019\u00bb]*(?:\s|$))"
    )
    return re.search(pattern, " ".join(question.split())) is not None


def is_empty(value: Any) -> bool:
    """Return whether a value has no content: null, NaN, white space, or an empty list or object."""
    if isinstance(value, str):
        return not value.strip()
    return value is None or value != value or (isinstance(value, list | tuple | Mapping) and not value)


def is_placeholder(column: str, value: Any) -> bool:
    """Return whether a value is a text for a missing value, such as nan or N/A.

    "None" is a finding in columns such as `past_history`.
    """
    if not isinstance(value, str) or not PLACEHOLDER.fullmatch(value.strip()):
        return False
    return value.strip() != "None" or not FINDINGS & set(heading(column).lower().split())


def is_case_number(value: Any) -> bool:
    """Return whether the value of a case column is a number or an identifier and not a text."""
    if not isinstance(value, str):
        return isinstance(value, bool | int | float)
    text = value.strip()
    return CASE_NUMBER.fullmatch(text) is not None or not any(map(str.isalnum, text))


def is_heading(name: str) -> bool:
    """Return whether the name of a column is certainly a heading and no text of a patient."""
    return all(word.lower() in HEADING_WORDS for word in HEADING_WORD.findall(CAMEL_CASE.sub(" ", name)))


def why_unread(column: str, value: Any) -> str | None:
    """Return why a column is not read, None if no reason is known: an index of pandas, or the number of a case."""
    if INDEX_NAME.fullmatch(column.strip()) and re.fullmatch(r"\d+(?:\.0)?", str(value).strip()):
        return INDEX
    return NUMBER_OF_CASE if case_kind(column) and is_case_number(value) else None


def case_columns(record: Mapping[str, Any], *, is_chat: bool = False) -> Iterator[tuple[str, CaseKind]]:
    """Yield each column of a record that has a part of the question, with its kind.

    A column `system` may have the name of an organ system. It has a system text in a record of a chat (`is_chat`, or
    with a list of earlier turns), or if its value is a sentence.
    """
    kinds = {column: kind for column in record if (kind := case_kind(str(column)))}
    is_chat = is_chat or any(
        kind == "history" and isinstance(record[column], list) for column, kind in kinds.items()
    )
    for column, kind in kinds.items():
        value = record[column]
        if is_empty(value) or is_case_number(value):
            continue
        if kind == "system" and not is_chat and _may_be_organ_system(column, value):
            continue
        yield column, kind


def _may_be_organ_system(column: str, value: Any) -> bool:
    is_bare = NAME_WORD.findall(column.lower()) == ["system"]
    is_sentence = isinstance(value, str) and (
        SENTENCE.search(value.strip()) is not None or len(value.split()) >= SYSTEM_WORDS
    )
    return is_bare and isinstance(value, str) and not is_sentence


def find_case_column(record: Mapping[str, Any]) -> str | None:
    """Return the first column of a record that has a part of the question, or None."""
    return next(
        (column for column, _ in case_columns(record) if not is_placeholder(column, record[column])), None
    )


def is_conversation(record: Mapping[str, Any]) -> bool:
    """Return whether a record has no instruction but a list of turns, or the JSON text of one."""
    values = [record.get(name) for name in (*TURN_COLUMNS, "prompt")]
    return "instruction" not in record and any(
        value.lstrip().startswith("[{") if isinstance(value, str) else isinstance(value, list)
        for value in values
    )
