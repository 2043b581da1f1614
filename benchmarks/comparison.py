"""What all scripts here share: three options, ratios of neighbouring runs, and the file that they are written to.

A ratio says what ours is beside a peer, and above 1 ours is better: the peer's cost over ours, or our rate over the
peer's. Only the standard library is imported, so that every script answers `--help` without what it compares with.
"""

from __future__ import annotations

import argparse
import json
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Comparison:
    """One line of the table: ours beside one peer in one piece of work."""

    what: str  # is done, and what is counted
    peer: str  # with its version
    ratios: list[float]  # of neighbouring runs; above 1 ours is better


def of_costs(what: str, peer: str, ours: Sequence[float], theirs: Sequence[float]) -> Comparison:
    """Costs of neighbouring runs, of which the lower is the better."""
    return Comparison(what, peer, [b / a for a, b in zip(ours, theirs, strict=True)])


def of_rates(what: str, peer: str, ours: Sequence[float], theirs: Sequence[float]) -> Comparison:
    """Rates of neighbouring runs, of which the higher is the better."""
    return Comparison(what, peer, [a / b for a, b in zip(ours, theirs, strict=True)])


def add_options(parser: argparse.ArgumentParser) -> None:
    """`--quick`, `--repeats N` and `--json FILE`, which every script has."""
    parser.add_argument("--quick", action="store_true", help="less work for every arm: minutes, not hours")
    parser.add_argument(
        "--repeats", type=_positive, default=3, metavar="N", help="times the arms take turns (default: 3)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write ratios and figures here")


def turns(arms: Sequence[str], repeat: int) -> list[str]:
    """The arms in order, and backwards every other time: neither is always the one that runs second."""
    return list(arms[:: 1 if repeat % 2 == 0 else -1])


def write(
    file: Path | None, part: str, comparisons: Sequence[Comparison], figures: Any, packages: Sequence[str]
) -> None:
    """The JSON of one script: comparisons, the figures behind them, and the versions of what was measured with."""
    if file is None:
        return
    versions = {"Python": platform.python_version()} | {name: version(name) for name in packages}
    found = {
        "part": part,
        "versions": versions,
        "comparisons": [asdict(comparison) for comparison in comparisons],
        "figures": figures,
    }
    file.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


def _positive(text: str) -> int:
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return number
