"""Where things lie, and the environment variables that move them (there are no others)."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path


def home() -> Path:
    """`MEDALPACA_HOME`, or `medalpaca/` in the user's cache directory."""
    if named := os.environ.get("MEDALPACA_HOME"):
        return Path(named).expanduser().absolute()
    if sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    elif sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local"))
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "medalpaca"


def runs() -> Path:
    """Run directories made without an `out=`."""
    return home() / "runs"


def cache() -> Path:
    """What can be made again."""
    return home() / "cache"


@dataclass(frozen=True, slots=True)
class Quickstart:
    """The directories of the embedded loop, in the order in which they are made."""

    meadow: Path
    base: Path
    run: Path
    results_base: Path
    results_tuned: Path


def quickstart() -> Quickstart:
    """The quickstart's directories under `home()`."""
    root = home() / "quickstart"
    return Quickstart(
        meadow=root / "meadow",
        base=root / "base",
        run=root / "run",
        results_base=root / "results" / "base",
        results_tuned=root / "results" / "tuned",
    )


def shared() -> Path | None:
    """Real data for checks: `MEDALPACA_SHARED`, or `../shared` beside the checkout; None when absent."""
    named = os.environ.get("MEDALPACA_SHARED")
    candidates = [Path(named)] if named else [p / "shared" for p in Path(__file__).resolve().parents[5:7]]
    return next((path for path in candidates if (path / "data").is_dir()), None)
