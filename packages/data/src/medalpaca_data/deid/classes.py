"""The 18 classes of identifiers that Safe Harbor names: 45 CFR 164.514(b)(2)(i)(A) to (R)."""

from __future__ import annotations

from collections.abc import Mapping

# kind -> (letter in the regulation, title). Ages over 89 stand with the dates under (C) and have a rule of their own.
KINDS: Mapping[str, tuple[str, str]] = {
    "name": ("A", "names"),
    "place": ("B", "places smaller than a state"),
    "date": ("C", "dates, but for the year"),
    "age": ("C", "ages over 89"),
    "phone": ("D", "telephone numbers"),
    "fax": ("E", "fax numbers"),
    "email": ("F", "e-mail addresses"),
    "ssn": ("G", "social security numbers"),
    "mrn": ("H", "medical record numbers"),
    "plan": ("I", "health plan beneficiary numbers"),
    "account": ("J", "account numbers"),
    "licence": ("K", "certificate and licence numbers"),
    "vehicle": ("L", "vehicle identifiers and plates"),
    "device": ("M", "device identifiers and serial numbers"),
    "url": ("N", "web addresses"),
    "ip": ("O", "IP addresses"),
    "biometric": ("P", "biometric identifiers"),
    "photo": ("Q", "full-face photographs (file names)"),
    "other": ("R", "other unique numbers and codes"),
}
LETTERS = tuple(dict.fromkeys(letter for letter, _ in KINDS.values()))
