"""`stress.json`: what every option scored under every perturbation of every item, and what was asked of whom.

The figures (`stress_figures`) are functions of what stands here, so that they can be computed again without a model.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from math import isfinite
from pathlib import Path
from typing import Any, get_args

from medalpaca_data.core.errors import UserError
from medalpaca_data.core.files import read_json, write_text
from medalpaca_data.exams.item import LETTERS
from medalpaca_data.exams.prompts import Scoring

FORMAT = "medalpaca exam stress 1"
NAME = "stress.json"
SIDES = ("base", "tuned")

# Perturbations. The item as published comes first; an order is one more order of its options.
PUBLISHED, ORDER, NONE_OF_THE_ABOVE = "published", "order", "none_of_the_above"
OPTIONS_ONLY, QUESTION_ONLY = "options_only", "question_only"
PERTURBATIONS = (PUBLISHED, ORDER, NONE_OF_THE_ABOVE, OPTIONS_ONLY, QUESTION_ONLY)


@dataclass(frozen=True, slots=True)
class Variant:
    """One way in which an item was asked. `order[p]` is the published index of the option at position p."""

    perturbation: str
    order: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """One item. `scores[side][v][p]`: what the option at position p of variant v scored.

    By letter that is a log-likelihood in nats, by text one per character of the option. `fixed` are positions whose
    option stays where it is in every order. `asked_sha256` is of all prompts and choices, in the variants' order.
    """

    item: str
    step: int | None
    key: int  # index of the right option, as published
    fixed: tuple[int, ...]
    asked_sha256: str
    variants: tuple[Variant, ...]
    scores: Mapping[str, tuple[tuple[float, ...], ...]]

    @property
    def options(self) -> int:
        """How many options the item has."""
        return len(self.variants[0].order)


@dataclass(frozen=True, slots=True)
class LeftOut:
    """An item that one perturbation cannot be made of, or makes no sense for."""

    item: str
    perturbation: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One model. Names as given; a hub id that was not in the cache has no hash."""

    model: str  # for people
    base: str | None
    base_sha256: str | None
    adapter: str | None
    adapter_sha256: str | None
    dtype: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Stress:
    """A whole run. `sides` has "base", or "base" and "tuned", and every item has scores of exactly these."""

    version: str
    exam: str
    exam_sha256: str
    exam_items: int  # scorable ones, of which `items` are fewer with --limit
    scoring: Scoring
    prompt_id: str  # of the items as published
    stress_id: str  # of the perturbations: with another one, figures are not comparable
    sides: Mapping[str, Side]
    left_out: tuple[LeftOut, ...]
    items: tuple[Scored, ...]

    @property
    def limited(self) -> bool:
        """Whether only a part of the exam was asked."""
        return len(self.items) < self.exam_items


def write_stress(path: Path, stress: Stress, figures: Mapping[str, Any]) -> None:
    """Write the run and its figures, all or nothing; one line per item."""
    head = asdict(stress)
    items = [json.dumps(item, ensure_ascii=False) for item in head.pop("items")]
    left_out = [json.dumps(entry, ensure_ascii=False) for entry in head.pop("left_out")]
    told = json.dumps({"format": FORMAT} | head | {"figures": figures}, indent=2, ensure_ascii=False)
    write_text(path, told[:-2] + _listed("left_out", left_out) + _listed("items", items) + "\n}\n")


def _listed(name: str, lines: Sequence[str]) -> str:
    return f',\n  "{name}": [' + ",".join(f"\n    {line}" for line in lines) + "\n  ]"


def read_stress(path: Path) -> tuple[Stress, dict[str, Any]]:
    """The run at `path`, `stress.json` or the directory that holds it, and the figures as they stand in it.

    Raises UserError when it is something else, or a part is missing or of another kind.
    """
    file = path / NAME if path.is_dir() else path
    value = read_json(file)
    if not isinstance(value, dict) or value.get("format") != FORMAT:
        raise UserError(f"{file}: not a result of `exam stress` in the format {FORMAT!r}")
    try:
        stress = Stress(
            **{name: _text(value[name]) for name in ("version", "exam", "exam_sha256")},
            **{name: _text(value[name]) for name in ("prompt_id", "stress_id")},
            scoring=value["scoring"],
            exam_items=_whole(value["exam_items"]),
            sides={name: _side(side) for name, side in value["sides"].items()},
            left_out=tuple(
                LeftOut(*(_text(entry[name]) for name in ("item", "perturbation", "reason")))
                for entry in value["left_out"]
            ),
            items=tuple(map(_scored, value["items"])),
        )
        figures = dict(value["figures"])
        _check(stress)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise UserError(f"{file}: a part is missing or of another kind ({error!r})") from None
    return stress, figures


def _check(stress: Stress) -> None:
    """Raises ValueError for a run that nothing can be computed from."""
    if tuple(stress.sides) not in (SIDES[:1], SIDES):
        raise ValueError(f"sides {', '.join(stress.sides)}")
    if stress.scoring not in get_args(Scoring):
        raise ValueError(f"scoring {stress.scoring!r}")
    if not stress.items or len({scored.item for scored in stress.items}) < len(stress.items):
        raise ValueError("no items, or one of them twice")
    for scored in stress.items:
        k = scored.options
        if not 0 <= scored.key < k <= len(LETTERS) or k < 2 or not set(scored.fixed) <= set(range(k)):
            raise ValueError(f"{scored.item}: key {scored.key} and fixed {scored.fixed} of {k} options")
        names = [variant.perturbation for variant in scored.variants]
        once = [name for name in names if name != ORDER]
        if names[0] != PUBLISHED or not set(names) <= set(PERTURBATIONS) or len(set(once)) < len(once):
            raise ValueError(f"{scored.item}: variants {', '.join(names)}")
        if any(sorted(variant.order) != list(range(k)) for variant in scored.variants):
            raise ValueError(f"{scored.item}: an order that is none of {k} options")
        if tuple(scored.scores) != tuple(stress.sides):
            raise ValueError(f"{scored.item}: scores of {', '.join(scored.scores)}")
        for rows in scored.scores.values():
            if [len(row) for row in rows] != [k] * len(names) or not all(
                isfinite(x) for row in rows for x in row
            ):
                raise ValueError(f"{scored.item}: not {k} numbers for each of {len(names)} variants")


def _scored(value: Mapping[str, Any]) -> Scored:
    return Scored(
        item=_text(value["item"]),
        step=None if value["step"] is None else _whole(value["step"]),
        key=_whole(value["key"]),
        fixed=tuple(map(_whole, value["fixed"])),
        asked_sha256=_text(value["asked_sha256"]),
        variants=tuple(
            Variant(_text(one["perturbation"]), tuple(map(_whole, one["order"]))) for one in value["variants"]
        ),
        scores={
            side: tuple(tuple(map(_number, row)) for row in rows) for side, rows in value["scores"].items()
        },
    )


def _side(value: Mapping[str, Any]) -> Side:
    names = ("base", "base_sha256", "adapter", "adapter_sha256")
    return Side(
        model=_text(value["model"]),
        dtype=_text(value["dtype"]),
        **{name: None if value[name] is None else _text(value[name]) for name in names},
    )


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value


def _whole(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{value!r} is no whole number")
    return value


def _number(value: Any) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise TypeError(f"{value!r} is no number")
    return float(value)
