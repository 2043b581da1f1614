"""Directories of the project, and the environment variables that change them."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path


def home() -> Path:
    """Return the absolute path `MEDALPACA_HOME`, or `medalpaca/` in the user's cache directory if it is not set.

    The directory may not exist.
    """
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
    """Return the directory, below `home()`, of training runs that are started without `out=`."""
    return home() / "runs"


def cache() -> Path:
    """Return the directory, below `home()`, of files that can be made again; it may be deleted.

    It also has the stored completions of rephrasing, which models must then generate again.
    """
    return home() / "cache"


def secrets() -> Path:
    """Return the directory, below `home()`, of keys that cannot be made again; they must be backed up."""
    return home() / "secrets"


@dataclass(frozen=True, slots=True)
class Quickstart:
    """Directories that the command `quickstart` writes, in the order in which they are created."""

    meadow: Path
    base: Path
    run: Path
    results_base: Path
    results_tuned: Path


def quickstart() -> Quickstart:
    """Return the directories of the command `quickstart`, all below `home()`."""
    root = home() / "quickstart"
    return Quickstart(
        meadow=root / "meadow",
        base=root / "base",
        run=root / "run",
        results_base=root / "results" / "base",
        results_tuned=root / "results" / "tuned",
    )


def shared() -> Path | None:
    """Return the directory of real data for tests, or None if it is absent.

    It is `MEDALPACA_SHARED` if this variable is set, else `shared/` in the checkout or beside it. A directory without
    a sub-directory `data/` counts as absent.
    """
    named = os.environ.get("MEDALPACA_SHARED")
    candidates = [Path(named)] if named else [p / "shared" for p in Path(__file__).resolve().parents[5:7]]
    return next((path for path in candidates if (path / "data").is_dir()), None)
