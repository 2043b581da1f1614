"""What an audit log is told of a page: who asked when, and the hashes of what was asked and answered. No text.

Tracebacks without the texts of their errors: an error's message may quote the question that caused it.

Types, files and lines stay, which is what finds a fault. It covers whatever prints by Python's own `traceback`:
Gradio's handlers, the web server, logging, threads.
"""

from __future__ import annotations

import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from medalpaca_data.core.audit_log import AuditLog, Head, Verified, verify
from medalpaca_data.core.errors import UserError
from medalpaca_data.core.files import sha256_bytes

from .job import Job, Progress

KEPT = "an audit log here keeps hashes of questions and answers, times and log-in names"
UNWRITTEN = "the audit log cannot be written, and without it nobody is answered"


class Recorder:
    """Entries of one start of the page; several may share a log."""

    def __init__(self, log: AuditLog, session: str) -> None:
        self._log = log
        self._session = session

    def write(self, what: str, **facts: Any) -> Head:
        """One entry of this session. Raises UserError or OSError where it cannot be written."""
        return self._log.append(what, session=self._session, **facts)

    def asked(self, job: Job, user: str) -> None:
        """Before anything is answered."""
        request = job.request
        facts = {"scoring": request.scoring, "options": len(request.choices), "max": request.max_new_tokens}
        self.write("asked", job=job.id, user=user or None, prompt_sha256=_hash(request.prompt), **facts)

    def answered(self, job: Job, end: Progress) -> None:
        """Before anybody is told that it is over; what came before a stop or a failure counts."""
        answers = {
            arm: {"sha256": _hash(answer.text), "tokens": answer.tokens}
            for arm, answer in end.answers.items()
        }
        chosen = {arm: rated.chosen for arm, rated in end.scores.items()}
        self.write("answered", job=job.id, state=end.state, answers=answers, chosen=chosen)


def check(log: Path, noted: str | None) -> Verified:
    """What was found of a log, and of a head that was noted elsewhere. Raises CheckFailed where it was changed."""
    if log.is_dir():
        raise UserError(f"{log}: is a directory, an audit log was expected")
    return verify(log, noted)


def head_line(log: Path, head: Head) -> str:
    """How a head is handed out."""
    return f"{log}: {head.count:,} entries, head {head.sha256}"


def _hash(text: str) -> str:
    return sha256_bytes(text.encode("utf-8", "surrogatepass"))


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
