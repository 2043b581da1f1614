"""Read and write `stress.json`: the score of every option of every item under every perturbation that it allows.

`stress_figures` computes all figures from these scores, so that they can be recomputed without a model.
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
from medalpaca_data.exams.item import LETTERS, Scoring

FORMAT = "medalpaca exam stress 2"
# The format before: without other instructions and swapped words, and with bootstrap intervals of paired differences.
OLDER_FORMAT = "medalpaca exam stress 1"
FILE_NAME = "stress.json"
SIDES = ("base", "tuned")

# Perturbations. The published item comes first; "order" is another order of its options.
PUBLISHED, ORDER, NONE_OF_THE_ABOVE = "published", "order", "none_of_the_above"
OPTIONS_ONLY, QUESTION_ONLY = "options_only", "question_only"
PERTURBATIONS = (PUBLISHED, ORDER, NONE_OF_THE_ABOVE, OPTIONS_ONLY, QUESTION_ONLY)
# From format 2 on: the same in other words. "instruction" is a paraphrase of the instruction, one variant for each.
INSTRUCTION, CHAT = "instruction", "chat_template"
SWAP_SEX, SWAP_AGE, SWAP_ETHNICITY = "swap_sex", "swap_age", "swap_ethnicity"
ALL_PERTURBATIONS = (*PERTURBATIONS, INSTRUCTION, CHAT, SWAP_SEX, SWAP_AGE, SWAP_ETHNICITY)
# Perturbations with several variants of an item.
SEVERAL = (ORDER, INSTRUCTION)


@dataclass(frozen=True, slots=True)
class Variant:
    """Variant of an item: one of `ALL_PERTURBATIONS`. `order[p]` is the published index of the option at position p."""

    perturbation: str
    order: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredItem:
    """Item with the scores of its options: `scores[side][v][p]` of the option at position p of variant v.

    A score is a log-likelihood in nats; with scoring by text, divided by the number of characters of the option.
    `key` is the published index of the correct option. `fixed` are the positions whose option keeps its place in
    every order. `asked_sha256` is the hash of all prompts and options, in the order of the variants.
    """

    item: str
    step: int | None
    key: int
    fixed: tuple[int, ...]
    asked_sha256: str
    variants: tuple[Variant, ...]
    scores: Mapping[str, tuple[tuple[float, ...], ...]]

    @property
    def options(self) -> int:
        """Number of options."""
        return len(self.variants[0].order)


@dataclass(frozen=True, slots=True)
class ExcludedVariant:
    """Perturbation that an item does not allow, with the reason."""

    item: str
    perturbation: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """Evaluated model.

    `model` is a display name, `base` and `adapter` are the names as given, None without one. The hash of a hub model
    that was not in the cache is None. `dtype` is that of the loaded weights, such as "torch.bfloat16".
    """

    model: str
    base: str | None
    base_sha256: str | None
    adapter: str | None
    adapter_sha256: str | None
    dtype: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StressRun:
    """Result of `exam stress`.

    `version` is that of this package. `sides` has "base", or "base" and "tuned", and every item has scores of exactly
    these. `excluded` are the perturbations that items do not allow. `exam_items` is the number of scorable items in the
    exam; with --limit, `items` are fewer. `prompt_id` names the prompt of the published items, `stress_id` the
    perturbation rules; figures with different ids are not comparable. `chat` is the text of the chat template before
    and after an item, None without one. `format` is the number in `FORMAT`.
    """

    version: str
    exam: str
    exam_sha256: str
    exam_items: int
    scoring: Scoring
    prompt_id: str
    stress_id: str
    sides: Mapping[str, Side]
    excluded: tuple[ExcludedVariant, ...]
    items: tuple[ScoredItem, ...]
    chat: tuple[str, str] | None = None
    format: int = 2

    @property
    def limited(self) -> bool:
        """Whether the result covers only a part of the exam."""
        return len(self.items) < self.exam_items


def write_stress(path: Path, stress: StressRun, figures: Mapping[str, Any]) -> None:
    """Write the result and its figures to the file `path` atomically, as JSON with one line per item."""
    head = asdict(stress)
    head.pop("format")
    items = [json.dumps(item, ensure_ascii=False) for item in head.pop("items")]
    excluded = [json.dumps(entry, ensure_ascii=False) for entry in head.pop("excluded")]
    rest = json.dumps({"format": FORMAT} | head | {"figures": figures}, indent=2, ensure_ascii=False)
    write_text(path, rest[:-2] + _json_list("left_out", excluded) + _json_list("items", items) + "\n}\n")


def _json_list(name: str, lines: Sequence[str]) -> str:
    return f',\n  "{name}": [' + ",".join(f"\n    {line}" for line in lines) + "\n  ]"


def read_stress(path: Path) -> tuple[StressRun, dict[str, Any]]:
    """Return a result and the figures stored in it, from `stress.json` or the directory that contains it.

    Raises UserError if the file has another format, or a part is missing or has the wrong type.
    """
    file = path / FILE_NAME if path.is_dir() else path
    value = read_json(file)
    formats = {OLDER_FORMAT: 1, FORMAT: 2}
    if not isinstance(value, dict) or value.get("format") not in tuple(formats):
        raise UserError(
            f"{file}: not a result of `exam stress` in the format {FORMAT!r} or {OLDER_FORMAT!r}; pass a stress.json, "
            "or the directory that contains it"
        )
    try:
        stress = StressRun(
            **{name: _text(value[name]) for name in ("version", "exam", "exam_sha256")},
            **{name: _text(value[name]) for name in ("prompt_id", "stress_id")},
            scoring=value["scoring"],
            exam_items=_integer(value["exam_items"]),
            sides={name: _side(side) for name, side in value["sides"].items()},
            excluded=tuple(
                ExcludedVariant(*(_text(entry[name]) for name in ("item", "perturbation", "reason")))
                for entry in value["left_out"]
            ),
            items=tuple(map(_scored, value["items"])),
            chat=_chat(value.get("chat")),
            format=formats[value["format"]],
        )
        figures = dict(value["figures"])
        _check(stress)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise UserError(
            f"{file}: a part is missing or has the wrong type ({error!r}); run `exam stress` again"
        ) from None
    return stress, figures


def _check(stress: StressRun) -> None:
    """Raise ValueError if no figures can be computed from the result."""
    if tuple(stress.sides) not in (SIDES[:1], SIDES):
        raise ValueError(f"sides {', '.join(stress.sides) or 'missing'}; allowed: base, or base and tuned")
    if stress.scoring not in get_args(Scoring):
        raise ValueError(f"scoring is {stress.scoring!r}; allowed: {', '.join(get_args(Scoring))}")
    if not stress.items or len({scored.item for scored in stress.items}) < len(stress.items):
        raise ValueError("there are no items, or an item occurs twice")
    for scored in stress.items:
        k = scored.options
        if not 0 <= scored.key < k <= len(LETTERS) or k < 2 or not set(scored.fixed) <= set(range(k)):
            raise ValueError(
                f"{scored.item}: key {scored.key} or fixed {scored.fixed} is not possible with {k} options"
            )
        names = [variant.perturbation for variant in scored.variants]
        once = [name for name in names if name not in SEVERAL]
        allowed = PERTURBATIONS if stress.format == 1 else ALL_PERTURBATIONS
        if names[0] != PUBLISHED or not set(names) <= set(allowed) or len(set(once)) < len(once):
            raise ValueError(
                f"{scored.item}: has the variants {', '.join(names)}; expected: {PUBLISHED} first, and no other "
                f"than {', '.join(allowed)}, of which only {' and '.join(SEVERAL)} may occur twice"
            )
        if any(sorted(variant.order) != list(range(k)) for variant in scored.variants):
            raise ValueError(f"{scored.item}: an order is not a permutation of {k} options")
        if tuple(scored.scores) != tuple(stress.sides):
            raise ValueError(
                f"{scored.item}: has scores of {', '.join(scored.scores)}; expected: {', '.join(stress.sides)}"
            )
        same = [name for name in names if name in (INSTRUCTION, CHAT)]
        first = [v.perturbation for v in stress.items[0].variants if v.perturbation in (INSTRUCTION, CHAT)]
        if same != first:
            raise ValueError(f"{scored.item}: has other instructions than the first item")
        for rows in scored.scores.values():
            if [len(row) for row in rows] != [k] * len(names) or not all(
                isfinite(x) for row in rows for x in row
            ):
                raise ValueError(
                    f"{scored.item}: scores are not {k} numbers for each of {len(names)} variants"
                )


def _scored(value: Mapping[str, Any]) -> ScoredItem:
    return ScoredItem(
        item=_text(value["item"]),
        step=None if value["step"] is None else _integer(value["step"]),
        key=_integer(value["key"]),
        fixed=tuple(map(_integer, value["fixed"])),
        asked_sha256=_text(value["asked_sha256"]),
        variants=tuple(
            Variant(_text(one["perturbation"]), tuple(map(_integer, one["order"])))
            for one in value["variants"]
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


def _chat(value: Any) -> tuple[str, str] | None:
    if value is None:
        return None
    before, after = value
    return _text(before), _text(after)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not a text")
    return value


def _integer(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{value!r} is not an integer")
    return value


def _number(value: Any) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise TypeError(f"{value!r} is not a number")
    return float(value)
