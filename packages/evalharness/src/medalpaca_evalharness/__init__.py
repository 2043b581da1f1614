"""Medical exams as tasks of lm-evaluation-harness, and statistics that compare the results.

    from medalpaca_evalharness import compare

    print(compare("results/base", "results/tuned").sentence)

The public functions are imported on first use (PEP 562). This module itself imports no other module, because the
start-up file `medalpaca_evalharness_autoload.pth` in site-packages imports it at every start of Python.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .comparison import Comparison, compare
    from .results import Run, read_run
    from .run_summary import summarize_run

__all__ = ["Comparison", "Run", "compare", "read_run", "summarize_run"]

_MODULES = {
    "Comparison": "comparison",
    "Run": "results",
    "compare": "comparison",
    "read_run": "results",
    "summarize_run": "run_summary",
}


def __getattr__(name: str) -> object:
    """Import and return a public function or class on first use. Raises AttributeError for another name."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value: object = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_MODULES])
