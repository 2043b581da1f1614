"""Errors that speak to the user."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

KEPT = 100_000  # characters of a record that cannot be read


class UserError(Exception):
    """Bad input. The message is one line: what was wrong, where (file, row, key), what to do."""

    exit_code = 2


class BadRecord(UserError):
    """A record that cannot be read: `reason` says why, `record` is its text as it stands, cut off after `KEPT`.

    Raised where a bad record ends the reading; a build, which must account for it, gets it in the record's place.
    """

    def __init__(self, where: str, reason: str, text: str) -> None:
        super().__init__(where, reason, text)  # all of them: so it can be pickled
        self.reason = reason
        self.record = text if len(text) <= KEPT else f"{text[:KEPT]} [cut off here: {len(text):,} characters]"
        self._where = where

    def __str__(self) -> str:
        return f"{self._where}: {self.reason}"


class CheckFailed(UserError):
    """The input was readable and the check said no: a refused comparison, a verification that found something."""

    exit_code = 1


def nearest(word: str, known: Iterable[str]) -> str:
    """The known name closest to `word`, or '' when none is close."""
    return next(iter(difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)), "")


def one_line(error: BaseException) -> str:
    """The error's text on one line, so that a script can log it."""
    return " ".join(str(error).split())
