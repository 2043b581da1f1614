"""Tracebacks without the texts of their errors: an error's message may quote the question that caused it.

Types, files and lines stay, which is what finds a fault. It covers whatever prints by Python's own `traceback`:
Gradio's handlers, the web server, logging, threads.
"""

from __future__ import annotations

import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

WITHHELD = "(its text is withheld)"


@contextmanager
def texts_withheld() -> Iterator[None]:
    """As long as questions are answered in this process."""
    original, of_threads = traceback.TracebackException.format_exception_only, threading.excepthook

    def only_the_type(self: traceback.TracebackException, **how: Any) -> Iterator[str]:
        kind = getattr(self, "exc_type_str", None) or getattr(self.exc_type, "__qualname__", "an error")
        yield f"{kind}: {WITHHELD}\n"

    def in_a_thread(hook: threading.ExceptHookArgs) -> None:
        if hook.exc_value is not None and hook.exc_type is not SystemExit:
            traceback.print_exception(hook.exc_value, file=sys.stderr)

    traceback.TracebackException.format_exception_only = only_the_type  # type: ignore[assignment,method-assign]
    threading.excepthook = in_a_thread
    try:
        yield
    finally:
        traceback.TracebackException.format_exception_only = original  # type: ignore[method-assign]
        threading.excepthook = of_threads
