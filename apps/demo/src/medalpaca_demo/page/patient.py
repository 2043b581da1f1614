"""Does a text look like it is about a real person? A warning before anything is asked, not a guarantee.

The patterns are what identifies: names with a title, dates of birth, numbers of records, insurance, telephone,
addresses. Ages and findings are in every exam question and say nothing.
"""

from __future__ import annotations

import re

SIGNS: dict[str, re.Pattern[str]] = {
    "a name with a title": re.compile(
        r"\b(?:Mr|Mrs|Ms|Miss|Herr|Frau|Patient(?:in)?|Pt)\.?:?\s+(?:[A-Z]\.\s*)?[A-Z][a-zäöüß]{2,}\s*,?\s*(?:[A-Z][a-zäöüß]+)?"
    ),
    "a name field": re.compile(
        r"\b(?:patient(?:'s)? name|name|surname|first name|nachname|vorname)\s*[:=]\s*\S", re.I
    ),
    "a date of birth": re.compile(
        r"\b(?:d\.?o\.?b\.?|date of birth|born(?: on)?|geb(?:oren|\.)?|geburtsdatum)\.?(?:\s+am)?\s*:?\s*\d",
        re.I,
    ),
    "a full date": re.compile(
        r"\b(?:\d{1,2}[./-]\d{1,2}[./-](?:19|20)\d{2}|(?:19|20)\d{2}-\d{2}-\d{2}"
        r"|\d{1,2}\.?\s+(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)[a-z]*\.?,?\s+(?:19|20)\d{2})\b"
    ),
    "a record number": re.compile(
        r"\b(?:MRN|NHS|SSN|medical record|record|case|patient|insurance|hospital|fall|versicherten)[\s-]*"
        r"(?:no\.?|number|nr\.?|id|#|nummer)?\s*[:#]?\s*[A-Z]?\d[\d -]{4,}\b",
        re.I,
    ),
    "a social security number": re.compile(r"\b\d{3}-\d{2}-\d{4}\b"),
    "an e-mail address": re.compile(r"\b[\w.+-]+@[\w-]+\.[\w.]+\b"),
    "a telephone number": re.compile(
        r"(?<![\w.])(?:\+\d{1,3}[\s-]?)?\(?\d{3,5}\)?[\s-]\d{3,4}[\s-]?\d{3,4}\b"
    ),
    "a street address": re.compile(
        r"\b\d{1,5}\s+[A-Z][a-z]+\s+(?:Street|St|Avenue|Ave|Road|Rd|Lane|Drive|Dr)\b"
    ),
}


def looks_like_patient(text: str) -> list[str]:
    """The signs found, in words."""
    return [name for name, pattern in SIGNS.items() if pattern.search(text)]
