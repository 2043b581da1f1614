"""How every command of ours is called and ends: one line for what is bad, an exit code that a script can trust."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

from .errors import UserError, one_line
from .sealed import no_hub_kernels, seal_if_asked

INTERRUPTED = 130
UNHEARD = 141  # 128 + SIGPIPE, as of any program whose reader leaves: whoever asks for it knows that not all was said


class Parser(argparse.ArgumentParser):
    """An argument parser that reports a bad call in one line instead of the whole usage."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{self.prog}: {message} (see `{self.prog} --help`)")


def run(main: Callable[[Sequence[str]], int | None]) -> NoReturn:
    """Call `main` with the command line and exit: 0 done, 1 check failed, 2 bad input, 130 interrupted, 141 when the
    reader of what is printed (`| head`) has left.

    Before `main` imports anything, libraries are told to report nothing and to fetch no kernels, and with
    `MEDALPACA_SEALED=1` the guard is on. An invalid value of that switch is bad input.
    """
    no_hub_kernels()
    try:
        seal_if_asked()
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
