"""Names of columns that can have a part of the question: the case, the system text, earlier turns.

Such a column is joined to the question or refused. It is never left out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Literal

CaseKind = Literal["system", "history", "context"]

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
# The value of a column `case` may be a number such as K-1023 or "Case 7", which is not a text.
CASE_NUMBER = re.compile(
    r"(?:case|patient|visit|fall|id|no|nr|number)?[\s.:#-]*[\w./-]*\d[\w./-]*", re.IGNORECASE
)
MAX_CASE_NUMBER_LENGTH = 40


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


def is_empty(value: Any) -> bool:
    """Return whether a value has no content: null, white space, or an empty list or object."""
    if isinstance(value, str):
        return not value.strip()
    return value is None or (isinstance(value, list | tuple | Mapping) and not value)


def is_case_number(value: Any) -> bool:
    """Return whether the value of a case column is a number or an identifier and not a text."""
    if not isinstance(value, str):
        return isinstance(value, bool | int | float)
    text = value.strip()
    is_number = len(text) <= MAX_CASE_NUMBER_LENGTH and CASE_NUMBER.fullmatch(text) is not None
    return is_number or not any(map(str.isalnum, text))


def find_case_column(record: Mapping[str, Any]) -> str | None:
    """Return the first column of a record that has a part of the question, or None."""
    for column, value in record.items():
        if case_kind(column) and not is_empty(value) and not is_case_number(value):
            return column
    return None
