"""Output of text from outside: control characters for terminals, formula cells for spreadsheets.

Standard library only: `core.errors` uses this module, and the bootstrap of lm-eval imports it at the start of Python.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Sequence
from typing import Any

# C0 without tab and line feed, DEL, and C1, whose 0x9b begins a command as ESC [ does.
_CONTROLS = {code: f"\\x{code:02x}" for code in (*range(9), *range(11, 32), *range(127, 160))}
_JSON_CONTROLS = {code: f"\\u{code:04x}" for code in range(127, 160)}
# Characters that are not seen: those without a width, and spaces other than U+0020.
_INVISIBLE = re.compile(
    "[\u00a0\u00ad\u034f\u061c\u1680\u180e\u2000-\u200f\u2028-\u202f\u205f-\u206f\u3000\ufdd0-\ufdef\ufe00-\ufe0f\ufeff\ufff9-\ufffb"
    "\U000e0000-\U000e007f]"
)
# First characters of a cell that a spreadsheet evaluates.
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


def printable(text: str) -> str:
    r"""Return `text` with every terminal control character as an escape such as `\x1b`; tab and line feed stay.

    A terminal executes control characters: they can hide or overwrite output, change the title or the clipboard.
    """
    return text.replace("\r\n", "\n").translate(_CONTROLS)


def show_invisible(text: str) -> str:
    r"""Return `text` with invisible characters as escapes such as `\u200b`, so that a reader of a terminal sees them.

    Control characters are escaped as by `printable`.
    """
    return _INVISIBLE.sub(lambda match: ascii(match[0])[1:-1], printable(text))


def json_text(value: Any) -> str:
    r"""Return `value` as indented JSON for a terminal. Control and invisible characters are escapes: `\u009b`."""
    text = json.dumps(value, indent=2, ensure_ascii=False).translate(_JSON_CONTROLS)
    return _INVISIBLE.sub(lambda match: json.dumps(match[0])[1:-1], text)


def plain_cell(value: Any) -> Any:
    """Return a CSV cell that no spreadsheet evaluates: a text with a formula's first character gets an apostrophe.

    A carriage return becomes a line feed. Values that are not text are returned as they are. Source: OWASP, CSV
    Injection.
    """
    if not isinstance(value, str):
        return value
    # The csv module does not quote a carriage return, and a spreadsheet would begin a new row after it.
    text = value.replace("\r\n", "\n").replace("\r", "\n")
    return f"'{text}" if value.startswith(FORMULA_STARTS) else text


def csv_text(headings: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Return a CSV file as text, with LF line ends, whose cells are changed by `plain_cell`.

    All CSV files of the project are written with this function.
    """
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\n")
    writer.writerows([plain_cell(cell) for cell in row] for row in (headings, *rows))
    return out.getvalue()
