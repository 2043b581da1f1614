"""Medical instruction rows with their origin, and medical exams: read, built and checked.

    from medalpaca_data import load_exam, read_rows, render

    rows = read_rows("meadow")
    prompt = render(rows[0].instruction, rows[0].input)
    exam = load_exam("questions.csv")

The public functions are imported on first use (PEP 562). This module imports nothing itself: `core.offline` must be
able to seal a process before any library is loaded.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .core.prompt import render
    from .core.records import read_rows
    from .core.row import Row
    from .exams.exam import Exam, load_exam

__all__ = ["Exam", "Row", "load_exam", "read_rows", "render"]

_MODULES = {
    "Exam": "exams.exam",
    "Row": "core.row",
    "load_exam": "exams.exam",
    "read_rows": "core.records",
    "render": "core.prompt",
}


def __getattr__(name: str) -> object:
    """Import a public function or class on first use."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value: object = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_MODULES])
