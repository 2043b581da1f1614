"""Sound files of every reader for `fuzz_readers.py`: row sources, exams, formats, recipes, Meadow directories, models.

The sources come from the union `Source`, the exam layouts from `LAYOUTS`: one without files here is an error. A test
compares all functions that open a file with those that these readers run.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, get_args
from unittest import mock

from fuzz_readers import Reader
from fuzz_seeds_runs import run_readers
from fuzz_seeds_sources import EXAMS, SOURCES

ROWS = [
    {"instruction": f"Which drug treats disease {n}?", "input": "", "output": f"Drug {n} treats it."}
    for n in range(6)
]
RECIPE = {
    "name": "made",
    "sources": [
        {
            "kind": "alpaca",
            "name": "own",
            "path": "rows.json",
            "fields": {"instruction": "instruction", "output": "output"},
        },
        {"kind": "mmlu", "path": "data", "subjects": ["anatomy"], "split": ["dev"]},
    ],
    "near_duplicates": 0.9,
    "validation": 0.2,
}
TRAIN_RECIPE = {"model": "pocket", "data": "rows.json", "out": "run", "lora": {"r": 8}, "max_steps": 3}
NOTE = {"id": "n1", "text": "Seen by John Doe on 2024-01-02.", "spans": [[8, 16, "name"], [20, 30, "date"]]}
I2B2 = """<?xml version="1.0"?><deIdi2b2><TEXT><![CDATA[Seen by John Doe.]]></TEXT><TAGS>
<NAME id="P0" start="8" end="16" text="John Doe" TYPE="DOCTOR" comment=""/></TAGS></deIdi2b2>"""


RECIPE_TEXT = "name: made\nmax_reject_share: 1\nsources:\n  - {kind: alpaca, name: own, path: rows.json}\n"


def readers() -> list[Reader]:
    """Return all readers. Raises KeyError for a source or an exam layout without sound files."""
    return [*_sources(), *_exams(), *_formats(), *_recipes(), *_meadow(), *_deid(), *run_readers()]


def write_all(files: dict[str, bytes], folder: Path) -> None:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)


def _sources() -> Iterator[Reader]:
    from medalpaca_data.sources import Source

    for cls in get_args(Source):
        kind = cls.model_fields["kind"].default
        for n, (settings, files) in enumerate(SOURCES[kind]):
            label = f"source {kind}" + (f" {n + 1}" if n else "")

            def read(folder: Path, cls: Any = cls, settings: dict[str, Any] = settings) -> object:
                source = cls(**settings)
                source.files(folder)
                return list(source.records(folder))

            if files:
                yield Reader(label, partial(write_all, files), read)


def _exams() -> Iterator[Reader]:
    from medalpaca_data.exams.exam import load_exam
    from medalpaca_data.exams.published_layouts import LAYOUTS

    seeds = {layout.name: EXAMS[layout.name] for layout in LAYOUTS} | EXAMS
    for name, files in seeds.items():
        path = next(iter(files)).partition("/")[0]

        def read(folder: Path, path: str = path) -> object:
            return load_exam(folder / path)

        yield Reader(f"exam {name}", partial(write_all, files), read)


def _formats() -> Iterator[Reader]:
    import polars as pl

    from medalpaca_data.core.records import read_records, read_rows

    def table(folder: Path, name: str) -> None:
        frame = pl.DataFrame(ROWS)
        (frame.write_parquet if name.endswith("parquet") else frame.write_ipc)(folder / name)

    for name in ("rows.parquet", "rows.arrow"):
        yield Reader(f"rows {name[5:]}", partial(table, name=name), lambda f, n=name: read_rows(f / n))
    lines = "".join(json.dumps(row) + "\n" for row in ROWS).encode()
    columns = {key: [row[key] for row in ROWS] for key in ROWS[0]}
    for label, name, data in (
        ("json", "rows.json", json.dumps(ROWS).encode()),
        ("json of columns", "rows.json", json.dumps(columns).encode()),
        ("json of splits", "rows.json", json.dumps({"train": ROWS}).encode()),
        ("jsonl", "rows.jsonl", lines),
        ("csv", "rows.csv", pl.DataFrame(ROWS).write_csv().encode()),
        ("tsv", "rows.tsv", pl.DataFrame(ROWS).write_csv(separator="\t").encode()),
    ):
        yield Reader(
            f"rows {label}", partial(write_all, {name: data}), lambda f, n=name: list(read_records(f / n))
        )


def _recipes() -> Iterator[Reader]:
    from medalpaca_data.recipe import load_recipe
    from medalpaca_train import recipe as train

    made = {"recipe.yaml": json.dumps(RECIPE).encode()}
    yield Reader("recipe data", partial(write_all, made), lambda f: load_recipe(str(f / "recipe.yaml")))
    made = {"recipe.yaml": json.dumps(TRAIN_RECIPE).encode()}
    yield Reader(
        "recipe train", partial(write_all, made), lambda f: train.read_recipe(str(f / "recipe.yaml"))
    )


def _meadow() -> Iterator[Reader]:
    from medalpaca_data import diff, explain, trace
    from medalpaca_data.clearance import clear
    from medalpaca_data.core.records import read_rows
    from medalpaca_data.dataset_view import view_dataset

    built: dict[str, bytes] = {}

    def write(folder: Path) -> None:
        if not built:
            build(folder / "meadow")
            for file in sorted((folder / "meadow").rglob("*")):
                if file.is_file():
                    built[str(file.relative_to(folder))] = file.read_bytes()
        write_all(built, folder)
        write_all({"run/manifest.json": json.dumps({"data": {"sha256": "0" * 64}}).encode()}, folder)

    def ids(folder: Path) -> list[str]:
        import polars as pl

        return pl.read_parquet(io.BytesIO(built["meadow/train.parquet"]))["id"].to_list()[:1]

    files = ("meadow/*.json", "meadow/*.jsonl", "meadow/*.parquet", "meadow/rejected/*")
    yield Reader("meadow view", write, lambda f: view_dataset(f / "meadow", n=2), files)
    yield Reader(
        "meadow explain", write, lambda f: [explain.explain(f / "meadow", one) for one in ids(f)], files
    )
    yield Reader(
        "meadow trace", write, lambda f: [trace.trace(one, [f]) for one in ids(f)], (*files, "run/*")
    )
    yield Reader("meadow diff", write, lambda f: diff.diff(f / "meadow", f / "meadow"), files)

    def cleared(folder: Path) -> object:
        return clear(folder / "meadow", read_rows(folder / "meadow"), patient_text=False)

    yield Reader("meadow clearance", write, cleared, files)


def build(out: Path) -> None:
    """Build a small Meadow directory with a duplicate, a reject and a changed row."""
    from medalpaca_data.cli import main

    with_faults = [*ROWS, ROWS[0], {"instruction": "", "input": "", "output": "x"}]
    with_faults.append({"instruction": "What  is\u00a0fever?", "input": "", "output": " A  sign. "})
    out.parent.mkdir(parents=True, exist_ok=True)
    recipe = out.with_name("recipe.yaml")
    out.with_name("rows.json").write_text(json.dumps(with_faults), encoding="utf-8")
    recipe.write_text(RECIPE_TEXT, encoding="utf-8")
    home = mock.patch.dict(os.environ, {"MEDALPACA_HOME": str(out.with_name("home"))})
    with home, contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        main(["build", str(recipe), f"out={out}"])


def _deid() -> Iterator[Reader]:
    from medalpaca_data.deid.annotated_notes import read_notes
    from medalpaca_data.deid.review import leak_bound

    for name, text in (
        ("notes.jsonl", json.dumps(NOTE) + "\n"),
        ("notes.json", json.dumps([NOTE])),
        ("notes.csv", "id,text\nn1,Seen by [[name|John Doe]] today.\n"),
        ("notes.xml", I2B2),
    ):
        yield Reader(
            f"annotated {name}",
            partial(write_all, {name: text.encode()}),
            lambda f, n=name: read_notes(f / n),
        )
    sample = b"id,drawn,leaks,text\n1,bound,0,a\n2,bound,1,b\n3,extra,0,c\n"
    yield Reader(
        "reviewed sample", partial(write_all, {"sample.csv": sample}), lambda f: leak_bound(f / "sample.csv")
    )
