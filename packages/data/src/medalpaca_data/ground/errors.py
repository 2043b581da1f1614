"""Errors that speak to the user, and the wrapper that turns them into exit codes."""

from __future__ import annotations

import argparse
import difflib
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import NoReturn

INTERRUPTED = 130
UNHEARD = 141  # 128 + SIGPIPE, as of any program whose reader leaves: whoever asks for it knows that not all was said
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


class Parser(argparse.ArgumentParser):
    """An argument parser that reports a bad call in one line instead of the whole usage."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{self.prog}: {message} (see `{self.prog} --help`)")


def nearest(word: str, known: Iterable[str]) -> str:
    """The known name closest to `word`, or '' when none is close."""
    return next(iter(difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)), "")


def one_line(error: BaseException) -> str:
    """The error's text on one line, so that a script can log it."""
    return " ".join(str(error).split())


def run(main: Callable[[Sequence[str]], int | None]) -> NoReturn:
    """Call `main` with the command line and exit: 0 done, 1 check failed, 2 bad input, 130 interrupted, 141 when the
    reader of what is printed (`| head`) has left.

    Before `main` imports anything, libraries are told to report nothing and to fetch no kernels, and with
    `MEDALPACA_SEALED=1` the guard is on.
    """
    from .sealed import no_hub_kernels, seal_if_asked  # it stands on this file

    no_hub_kernels()
    seal_if_asked()
    try:
        code = main(sys.argv[1:]) or 0
        sys.stdout.flush()
    except UserError as error:
        print(f"error: {one_line(error)}", file=sys.stderr)  # noqa: T201 - the one place that speaks
        code = error.exit_code
    except BrokenPipeError:
        code = _unheard()
    except SystemExit as error:
        # What rich makes of the same.
        if not isinstance(error.__context__, BrokenPipeError):
            raise
        code = _unheard()
    except OSError as error:
        # A full disk, a missing permission, a file in a directory's place: the user's to put right, not ours.
        where = f"{error.filename}: " if error.filename else ""
        print(f"error: {where}{error.strerror or one_line(error)}", file=sys.stderr)  # noqa: T201
        code = UserError.exit_code
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)  # noqa: T201
        code = INTERRUPTED
    sys.exit(code)


def _unheard() -> int:
    """Nobody reads on: nothing more is said, not even by Python when it empties its buffers at the end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return UNHEARD
