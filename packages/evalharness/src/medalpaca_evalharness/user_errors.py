"""Errors of lm-eval and transformers that a user's arguments cause, as one line instead of a traceback.

lm-eval raises them as ValueError, TypeError and the like, before inference: for an unknown task, an unknown model or
model argument, a model that is not there, a file that cannot be read. Errors during inference keep their traceback.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any

from medalpaca_data.core.errors import UserError, one_line

EVALUATOR = "lm_eval.evaluator"
ERRORS = (
    ValueError,
    TypeError,
    LookupError,
    OSError,
    ImportError,
    AssertionError,
    RuntimeError,
    NotImplementedError,
)
# The name in tasks and the model type of this package.
OWN_NAME = "medalpaca"
MAX_LENGTH = 500
# Beginnings of messages of transformers that arguments cause, but that are raised during inference.
INFERENCE_MESSAGES = ("The following `model_kwargs` are not used by the model",)


def as_user_error(error: Exception, arguments: Any) -> UserError | None:
    """Return `error` as a UserError if a user's arguments caused it, else None.

    `arguments` are those of lm-eval's command line. Before lm-eval builds model and tasks, every error of `ERRORS`
    counts. While it builds them, only for runs that concern this package, because a task of another package may have a
    fault of its own. With LMEVAL_LOG_LEVEL=DEBUG, None is returned, so that the traceback is printed.
    """
    if isinstance(error, UserError):
        return error
    if not isinstance(error, ERRORS) or os.environ.get("LMEVAL_LOG_LEVEL", "").upper() == "DEBUG":
        return None
    functions = set(_functions(error.__traceback__))
    if "simple_evaluate" in functions and not concerns_package(arguments):
        return None
    if "evaluate" in functions and not str(error).startswith(INFERENCE_MESSAGES):
        return None
    text = one_line(error) or "no message"
    if isinstance(error, KeyError):
        text = f"unknown name {text}"
    cut = f"{text[:MAX_LENGTH]} ..." if len(text) > MAX_LENGTH else text
    return UserError(
        f"{cut.rstrip('.')} (lm-eval, {type(error).__name__}; LMEVAL_LOG_LEVEL=DEBUG shows where)"
    )


def check_packages(arguments: Any) -> None:
    """Raise UserError if the arguments of lm-eval's command line need a package that is not installed."""
    for name in ("wandb", "trackio"):
        if getattr(arguments, f"{name}_args", None) and find_spec(name) is None:
            raise UserError(f"--{name}_args needs {name}, which is not installed: uv pip install {name}")


def concerns_package(arguments: Any) -> bool:
    """Return whether the arguments of lm-eval's command line, or the file under --config, name this package.

    Also if there are no tasks at all.
    """
    tasks, config = getattr(arguments, "tasks", None), getattr(arguments, "config", None)
    if OWN_NAME in str([tasks, getattr(arguments, "model", None)]) or not (tasks or config):
        return True
    try:
        return config is not None and OWN_NAME in Path(config).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return False


def _functions(traceback: TracebackType | None) -> Iterator[str]:
    """Yield the names of the functions of `lm_eval.evaluator` in a traceback."""
    while traceback is not None:
        frame = traceback.tb_frame
        if frame.f_globals.get("__name__") == EVALUATOR:
            yield frame.f_code.co_name
        traceback = traceback.tb_next
