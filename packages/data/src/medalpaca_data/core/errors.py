"""Exceptions for bad input and failed checks, and helpers that format their messages."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from .untrusted import printable

# Characters of an unreadable record that are kept in the reject file.
MAX_RECORD_TEXT = 100_000


class UserError(Exception):
    """Bad input; the command prints the message in one line and ends with exit code 2.

    The message names the value found, the values allowed, the location (file, row, key) and the remedy.
    """

    exit_code = 2


class BadRecord(UserError):
    """A record that cannot be parsed.

    `reason` is the cause. `record` is the raw text; it is cut after `MAX_RECORD_TEXT` characters and its length is
    added. Strict readers raise this error. Readers that must count every record yield it in place of the record.
    """

    def __init__(self, where: str, reason: str, text: str) -> None:
        # All arguments are passed on, because worker processes pickle the error.
        super().__init__(where, reason, text)
        self.reason = reason
        self.record = (
            text
            if len(text) <= MAX_RECORD_TEXT
            else f"{text[:MAX_RECORD_TEXT]} [cut here; the record has {len(text):,} characters]"
        )
        self._where = where

    def __str__(self) -> str:
        return f"{self._where}: {self.reason}"


class CheckFailed(UserError):
    """A check that failed on readable input, such as a verification with a difference; exit code 1."""

    exit_code = 1


def nearest(word: str, known: Iterable[str]) -> str:
    """Return the word of `known` that is most similar to `word`, or "" if no similarity (difflib) reaches 0.5."""
    return next(iter(difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)), "")


def one_line(error: BaseException) -> str:
    """Return the error's message in one line that a terminal can show.

    Every run of white space is replaced by one space, other control characters by escapes.
    """
    return printable(" ".join(str(error).split()))
