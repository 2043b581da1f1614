"""Audit log of the page (hashes, times and names, never a text), and tracebacks without error messages."""

from __future__ import annotations

import secrets
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from medalpaca_data.core.audit_log import AuditLog, Head, Verified, verify
from medalpaca_data.core.errors import UserError
from medalpaca_data.core.files import sha256_bytes

from .job import Job, Progress

AUDIT_NOTICE = "an audit log keeps hashes of questions and answers, times and log-in names"
AUDIT_WRITE_FAILED = "the audit log cannot be written, and without it no question is answered"


class Recorder:
    """Writer of audit-log entries of one start of the page, which share a session id.

    Several processes may write to the same log.
    """

    def __init__(self, log: AuditLog, session: str) -> None:
        self._log = log
        self._session = session

    def write(self, what: str, **facts: Any) -> Head:
        """Append an entry with the event `what` and `facts`, and return the new head of the log.

        Raises UserError or OSError if the entry cannot be written.
        """
        return self._log.append(what, session=self._session, **facts)

    def record_question(self, job: Job, user: str) -> None:
        """Record job, user, SHA-256 of the prompt, scoring and limits, before the question is answered."""
        request = job.request
        facts = {"scoring": request.scoring, "options": len(request.choices), "max": request.max_new_tokens}
        self.write("asked", job=job.id, user=user or None, prompt_sha256=_hash(request.prompt), **facts)

    def record_answers(self, job: Job, end: Progress) -> None:
        """Record the end of a job before the page shows it.

        Recorded are its final state, the index of the option that each model chose, and of each answer the SHA-256 of
        its text and its number of tokens.
        """
        answers = {
            side: {"sha256": _hash(answer.text), "tokens": answer.tokens}
            for side, answer in end.answers.items()
        }
        chosen = {side: scores.chosen for side, scores in end.scores.items()}
        self.write("answered", job=job.id, state=end.state, answers=answers, chosen=chosen)


def make_recorder(log: Path, on_note: Callable[[str], None]) -> Recorder:
    """Open or create an audit log under a new session id; `on_note` receives notes about an existing log."""
    return Recorder(AuditLog(log, on_note), secrets.token_hex(8))


def check_log(log: Path, noted_head: str | None) -> Verified:
    """Verify an audit log, also against `noted_head`, the SHA-256 of an earlier last entry, unless it is None.

    Raises CheckFailed if the log was changed, and UserError if there is no such log or the hash is invalid.
    """
    if log.is_dir():
        raise UserError(f"{log}: is a directory; pass an audit log file")
    return verify(log, noted_head)


def format_head(log: Path, head: Head) -> str:
    """Return the log's path, its number of entries and its head, the SHA-256 of the last entry, as one line."""
    return f"{log}: {head.count:,} entries, head {head.sha256}"


def _hash(text: str) -> str:
    return sha256_bytes(text.encode("utf-8", "surrogatepass"))


HIDDEN_TEXT = "(its text is withheld)"


@contextmanager
def hide_error_texts() -> Iterator[None]:
    """Print tracebacks without the errors' messages, which may quote a question, while the block runs.

    Error type, file and line remain. It covers everything that prints through Python's `traceback`: Gradio's
    handlers, the web server, logging and threads.
    """
    original, original_thread_hook = traceback.TracebackException.format_exception_only, threading.excepthook

    def only_the_type(self: traceback.TracebackException, **options: Any) -> Iterator[str]:
        kind = getattr(self, "exc_type_str", None) or getattr(self.exc_type, "__qualname__", "an error")
        yield f"{kind}: {HIDDEN_TEXT}\n"

    def print_thread_error(hook: threading.ExceptHookArgs) -> None:
        if hook.exc_value is not None and hook.exc_type is not SystemExit:
            traceback.print_exception(hook.exc_value, file=sys.stderr)

    traceback.TracebackException.format_exception_only = only_the_type  # type: ignore[assignment,method-assign]
    threading.excepthook = print_thread_error
    try:
        yield
    finally:
        traceback.TracebackException.format_exception_only = original  # type: ignore[method-assign]
        threading.excepthook = original_thread_hook
