"""Compare what is read, kept, rejected and changed of every real corpus with the golden table `real_corpora.yaml`.

The table is measured: every number in it comes from reading the files under `MEDALPACA_SHARED`. After a change that is
meant to alter a number, regenerate the table, or the entries named, and review the difference:

    MEDALPACA_SHARED=DIR uv run python packages/data/tests/test_real_corpora.py [NAME ...]

Each corpus is built alone, so that a change in one source shows in its own entry only. To add one, write its `source`
into the table and regenerate. An entry under `corpora` holds:

- `source` and `recipe`: the kind and the files as a recipe names them, and the recipe's keys besides `RECIPE`.
- `read`: the records in the files, the rows made of them, the other records by reason, and the repairs (`changed`).
  `texts` is the SHA-256 of the ids of the rows, in order; `origins` is that of their provenance (source_id, url,
  licence, split, group, ...).
- `stages`: the later stages that reject or change a row. `changed` counts what was done, `fields` the changed texts.
- `kept`: the rows at the end, with the SHA-256 of their ids.

Patient text is de-identified with `mode: check` and the profile `precise`, whose result depends on no surrogate.
MedQuAD keeps its near duplicates: looking for them takes half a minute.

An entry under `exams` holds the items read, those that can be scored, the others by reason, and the exam's SHA-256.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from medalpaca_data.build import Pipeline, stages_of
from medalpaca_data.build_cache import BuildCache
from medalpaca_data.core.files import sha256_json, write_text
from medalpaca_data.core.paths import secrets, shared
from medalpaca_data.core.row import FIELDS, TEXTS
from medalpaca_data.deid.secret import create_secret
from medalpaca_data.exams.exam import load_exam
from medalpaca_data.recipe import Recipe
from medalpaca_data.shard import Shard, read_account, total

TABLE = Path(__file__).with_name("real_corpora.yaml")
GOLDEN: dict[str, Any] = yaml.safe_load(TABLE.read_text(encoding="utf-8"))
HEADER = f"# Measured, not written by hand: {Path(__file__).name} describes, compares and regenerates this table.\n"
# No limit on rejects: a corpus that is refused row by row has its reasons counted too.
RECIPE: dict[str, Any] = {"language": "en", "seed": 0, "max_reject_share": 1}
EXAM = "usmle_sample/medalpaca_format"
ORIGINS = [name for name in FIELDS if name not in (*TEXTS, "id")]


def measure_corpus(name: str, entry: dict[str, Any], root: Path) -> dict[str, Any]:
    """Return the entry anew: its corpus read, then passed through every stage of its recipe."""
    source = {**entry["source"], "name": name}
    recipe = Recipe.model_validate({"name": name, "sources": [source], **RECIPE, **entry.get("recipe", {})})
    # `build` writes the key of patient text. No entry has surrogates, so that the table does not depend on the key.
    create_secret(secrets())
    with BuildCache(name) as cache:
        pipeline = Pipeline(
            recipe=recipe,
            root=root,
            inputs={name: [(file, "") for file in recipe.used[0].file_names(root).values()]},
            stages=stages_of(recipe, root, [load_exam(root / EXAM, images="keep")]),
            code="",
            cache=cache,
        )
        (_, read), *later = pipeline.run()
        asked = {key: entry[key] for key in ("source", "recipe") if key in entry}
        return {
            **asked,
            "read": _read(read),
            "stages": dict(_stages(later)),
            "kept": {"rows": _sum(later[-1][1], "kept"), "texts": _hash(later[-1][1], ["id"])},
        }


def measure_exam(path: str, root: Path) -> dict[str, Any]:
    """Return the entry of an exam: `path` is relative to the real data's directory."""
    exam = load_exam(root / path)
    reasons = Counter(entry.reason for entry in exam.excluded)
    return {
        "read": exam.read,
        "scored": len(exam.items),
        **_counts(excluded=reasons),
        "sha256": exam.sha256,
    }


def _read(shards: Sequence[Shard]) -> dict[str, Any]:
    accounts = [read_account(shard) or {} for shard in shards]
    return {
        "records": _sum(shards, "read"),
        "rows": _sum(shards, "kept"),
        **_counts(
            rejected=total(accounts, "reasons"),
            context=total(accounts, "context"),
            changed=total(accounts, "counts"),
        ),
        "texts": _hash(shards, ["id"]),
        "origins": _hash(shards, ORIGINS),
    }


def _stages(trail: Sequence[tuple[str, list[Shard]]]) -> Iterator[tuple[str, dict[str, Any]]]:
    import polars as pl

    for name, shards in trail:
        accounts = [read_account(shard) or {} for shard in shards]
        fields: Counter[str] = Counter()
        for shard in shards:
            if shard.changes.is_file():
                fields.update(pl.read_parquet(shard.changes)["field"])
        done = _counts(rejected=total(accounts, "reasons"), changed=total(accounts, "counts"), fields=fields)
        if done:
            yield name, {"rows": _sum(shards, "kept"), **done}


def _sum(shards: Sequence[Shard], key: str) -> int:
    return sum((read_account(shard) or {})[key] for shard in shards)


def _counts(**counters: Counter[str]) -> dict[str, dict[str, int]]:
    return {key: dict(sorted(counter.items())) for key, counter in counters.items() if counter}


def _hash(shards: Sequence[Shard], columns: list[str]) -> str:
    return sha256_json([row for shard in shards for row in shard.read().select(columns).rows()])


def differences(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """Return a line for each value that differs: its keys, the value in the table, the value measured."""
    old, new = dict(_flat(before)), dict(_flat(after))
    keys = list(dict.fromkeys([*old, *new]))
    return [f"{key}: {old.get(key)} -> {new.get(key)}" for key in keys if old.get(key) != new.get(key)]


def _flat(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _flat(inner, f"{key} / {name}" if key else name)
    else:
        yield key, value


@pytest.mark.slow
@pytest.mark.parametrize("name", GOLDEN["corpora"])
def test_a_corpus_gives_the_rows_of_the_table(real, name):
    entry = GOLDEN["corpora"][name]
    if changed := differences(entry, measure_corpus(name, entry, real)):
        pytest.fail("\n".join([f"{name}: not as in {TABLE.name}, which this module regenerates", *changed]))


@pytest.mark.parametrize("path", GOLDEN["exams"])
def test_an_exam_gives_the_items_of_the_table(real, path):
    assert measure_exam(path, real) == GOLDEN["exams"][path]


@pytest.mark.parametrize("name", GOLDEN["corpora"])
def test_every_row_is_accounted_for_in_the_table(name):
    entry = GOLDEN["corpora"][name]
    read = entry["read"]
    assert read["records"] == read["rows"] + sum(read.get("rejected", {}).values())
    rows = read["rows"]
    for stage in entry["stages"].values():
        assert stage["rows"] == rows - sum(stage.get("rejected", {}).values())
        rows = stage["rows"]
    assert entry["kept"]["rows"] == rows


def regenerate(names: Sequence[str]) -> None:
    """Measure the entries named, or all of them, and write the table."""
    found = shared()
    if found is None:
        raise SystemExit("no real data: set MEDALPACA_SHARED to the directory that holds data/")
    known = [*GOLDEN["corpora"], *GOLDEN["exams"]]
    if unknown := [name for name in names if name not in known]:
        raise SystemExit(f"no entry {', '.join(unknown)} in {TABLE.name}; known: {', '.join(known)}")
    with tempfile.TemporaryDirectory() as home:
        os.environ["MEDALPACA_HOME"] = home
        for name in names or known:
            if name in GOLDEN["corpora"]:
                GOLDEN["corpora"][name] = measure_corpus(name, GOLDEN["corpora"][name], found / "data")
            else:
                GOLDEN["exams"][name] = measure_exam(name, found / "data")
    text = yaml.safe_dump(GOLDEN, sort_keys=False, allow_unicode=True, width=110)
    write_text(TABLE, HEADER + text)


if __name__ == "__main__":
    regenerate(sys.argv[1:])
