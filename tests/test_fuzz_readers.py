"""Readers of files: damaged and wrongly typed input gives UserError; every module that opens a file has sound files."""

from __future__ import annotations

import ast
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any

import pytest

from medalpaca_data.core.errors import UserError

from .conftest import ROOT

# Calls that open a file, by name.
OPENING = frozenset(
    (
        *(
            "read_text",
            "read_bytes",
            "open",
            "read_parquet",
            "scan_parquet",
            "read_ipc",
            "safe_open",
            "ZipFile",
        ),
        *("connect", "read_json", "read_records", "read_rows", "read_split", "read_text_lines", "open_bytes"),
        *("open_text", "read_members", "load_config", "read_entries", "scan_table"),
    )
)
# Modules that open files and have no reader in fuzz_seeds.py, with the reason.
BUILD = "reads the intermediate files of its own build"
OWN = "reads files of the package or the system, or opens no file for reading"
CALLER = "calls a reader that has sound files"
NOT_YET = "not fuzzed yet"
WITHOUT = {
    "apps/demo/src/medalpaca_demo/html.py": OWN,
    "apps/demo/src/medalpaca_demo/quickstart.py": OWN,
    "apps/demo/src/medalpaca_demo/app.py": OWN,
    "apps/demo/src/medalpaca_demo/tabs/browse.py": OWN,
    "apps/demo/src/medalpaca_demo/tabs/exam.py": OWN,
    "packages/data/src/medalpaca_data/core/cli.py": OWN,
    "packages/data/src/medalpaca_data/deid/check_model.py": OWN,
    "packages/data/src/medalpaca_data/deid/find.py": OWN,
    "packages/data/src/medalpaca_data/deid/lists.py": OWN,
    "packages/data/src/medalpaca_data/deid/rules.py": OWN,
    "packages/data/src/medalpaca_data/exams/pocket.py": OWN,
    "packages/data/src/medalpaca_data/fetch.py": OWN,
    "packages/data/src/medalpaca_data/rephrase/checks.py": OWN,
    "packages/train/src/medalpaca_train/estimate.py": OWN,
    "packages/evalharness/src/medalpaca_evalharness/stress/rephrased.py": OWN,
    "packages/evalharness/src/medalpaca_evalharness/stress/swaps.py": OWN,
    "packages/data/src/medalpaca_data/build_cache.py": BUILD,
    "packages/data/src/medalpaca_data/executor.py": BUILD,
    "packages/data/src/medalpaca_data/stages/contradictions.py": BUILD,
    "packages/data/src/medalpaca_data/stages/deduplicate.py": BUILD,
    "packages/data/src/medalpaca_data/stages/mix.py": BUILD,
    "packages/data/src/medalpaca_data/stages/read.py": BUILD,
    "packages/data/src/medalpaca_data/stages/split.py": BUILD,
    "packages/data/src/medalpaca_data/audit.py": CALLER,
    "packages/train/src/medalpaca_train/datasets.py": CALLER,
    "apps/demo/src/medalpaca_demo/access.py": NOT_YET,
    "apps/demo/src/medalpaca_demo/models.py": NOT_YET,
    "packages/data/src/medalpaca_data/core/audit_log.py": NOT_YET,
    "packages/data/src/medalpaca_data/cost.py": NOT_YET,
    "packages/data/src/medalpaca_data/deid/ner_model.py": NOT_YET,
    "packages/data/src/medalpaca_data/rephrase/prompts.py": NOT_YET,
    "packages/data/src/medalpaca_data/rephrase/store.py": NOT_YET,
    "packages/evalharness/src/medalpaca_evalharness/ask_journal.py": NOT_YET,
    "packages/evalharness/src/medalpaca_evalharness/hub.py": NOT_YET,
    "packages/evalharness/src/medalpaca_evalharness/user_errors.py": NOT_YET,
    "packages/train/src/medalpaca_train/canary.py": NOT_YET,
    "packages/train/src/medalpaca_train/tokenize.py": NOT_YET,
}


@pytest.fixture(scope="module")
def tools() -> Iterator[tuple[ModuleType, ModuleType]]:
    sys.path.insert(0, str(ROOT / "tools"))
    import fuzz_readers
    import fuzz_seeds

    yield fuzz_readers, fuzz_seeds
    sys.path.remove(str(ROOT / "tools"))


def modules_that_open() -> set[str]:
    """Return the modules of all members that call one of `OPENING`, relative to the repository."""
    found = set()
    for file in sorted((*ROOT.glob("packages/*/src/**/*.py"), *ROOT.glob("apps/*/src/**/*.py"))):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                name = (
                    node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
                )
                if name in OPENING:
                    found.add(str(file.relative_to(ROOT)))
    return found


@pytest.mark.slow
def test_every_module_that_opens_a_file_has_sound_files(tools, tmp_path):
    ran: set[str] = set()

    def note(frame: FrameType, event: str, _: Any) -> None:
        if event == "call":
            ran.add(frame.f_code.co_filename)

    for n, reader in enumerate(tools[1].readers()):
        (folder := tmp_path / str(n)).mkdir()
        reader.write(folder)
        sys.setprofile(note)
        try:
            reader.read(folder)
        finally:
            sys.setprofile(None)
    covered = {os.path.relpath(name, ROOT) for name in ran if name.startswith(str(ROOT))}
    assert modules_that_open() - covered == set(WITHOUT)


def test_every_source_and_layout_has_sound_files(tools):
    from typing import get_args

    from medalpaca_data.exams.published_layouts import LAYOUTS
    from medalpaca_data.sources import Source

    names = {reader.name for reader in tools[1].readers()}
    kinds = {cls.model_fields["kind"].default for cls in get_args(Source)} - {"refused", "pocket"}
    assert {f"source {kind}" for kind in kinds} <= names
    assert {f"exam {layout.name}" for layout in LAYOUTS} <= names


@pytest.mark.slow
def test_no_mutation_is_uncaught(tools):
    fuzzer, seeds = tools
    assert [str(one) for reader in seeds.readers() for one in fuzzer.fuzz(reader, 100)[1]] == []


@pytest.mark.real("fuzz")
def test_no_mutation_of_2000_is_uncaught(tools, record_property):
    fuzzer, seeds = tools
    readers = seeds.readers()
    results = [fuzzer.fuzz(reader, 2000, seed=1) for reader in readers]
    record_property("readers", len(readers))
    record_property("mutations", sum(count for count, _ in results))
    assert [str(one) for _, found in results for one in found] == []


def test_a_planted_key_error_is_found(tools, tmp_path):
    fuzzer = tools[0]

    def write(folder: Path) -> None:
        (folder / "a.json").write_text('{"wanted": 1}')

    def read(folder: Path) -> object:
        try:
            value = json.loads((folder / "a.json").read_bytes())
        except (ValueError, RecursionError):
            raise UserError("not JSON") from None
        return value["wanted"] if isinstance(value, dict) else None

    count, found = fuzzer.fuzz(fuzzer.Reader("planted", write, read), 60)
    assert count == 60
    assert {one.problem.partition(":")[0] for one in found} == {"KeyError"}


def test_a_panic_and_a_hang_are_found(tools, monkeypatch):
    fuzzer = tools[0]

    class PanicException(BaseException):
        pass

    def panic() -> None:
        raise PanicException("rust")

    def hang() -> None:
        while True:
            pass

    monkeypatch.setattr(fuzzer, "SECONDS", 0.05)
    assert fuzzer.problem_of(panic)[0] == "PanicException: rust"
    assert fuzzer.problem_of(hang)[0].startswith("Timeout")


# Damaged input with known messages ----------------------------------------------------------------------------------


def test_an_exam_step_of_1e400_is_listed_as_invalid(tmp_path):
    from medalpaca_data.exams.exam import load_exam

    options = '"options": {"A": "a", "B": "b"}, "answer": "A"'
    (tmp_path / "e.jsonl").write_text(f'{{"question": "Q?", "step": 1e400, {options}}}\n')
    with pytest.raises(UserError, match="'step' is inf, not a whole number such as 1"):
        load_exam(tmp_path / "e.jsonl")


def test_a_tokenizer_config_that_is_a_text(tmp_path):
    from medalpaca_data.core.weights import tokenizer_sha256

    (tmp_path / "tokenizer_config.json").write_text('"x"')
    with pytest.raises(UserError, match=r"tokenizer_config.json: not a JSON object"):
        tokenizer_sha256(tmp_path)


@pytest.mark.parametrize("shape", ["[1e999]", "[-1]", "[1.5]", '["2"]', "[true]", "{}x"])
def test_a_safetensors_header_with_a_wrong_shape(tmp_path, shape):
    from medalpaca_data.core.weights import tensor_shapes

    header = f'{{"a": {{"dtype": "F32", "shape": {shape}, "data_offsets": [0, 0]}}}}'.encode()
    (tmp_path / "a.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(UserError, match="not a safetensors file"):
        tensor_shapes(tmp_path / "a.safetensors")


@pytest.mark.parametrize("text", ["a: " * 0 + "[" * 600 + "]" * 600, '{"a":' * 600 + "1" + "}" * 600])
def test_a_recipe_nested_600_deep(tmp_path, text):
    from medalpaca_data.recipe import load_recipe

    (tmp_path / "r.yaml").write_text(text)
    with pytest.raises(
        UserError, match=r"r.yaml: (not valid YAML \(nested too deeply\)|the file must contain)"
    ):
        load_recipe(str(tmp_path / "r.yaml"))


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ('{"kind": "train"}\n', "line 1: key 'step' is missing"),
        ('{"kind": "train", "step": 1}\n', "line 1: key 'loss' is missing"),
        ('{"kind": "train", "step": "x", "loss": 1}\n', "line 1: key 'step'"),
        ("7\n", "line 1: "),
        ('{"kind"\n{}\n', "line 1 line 1: not valid JSON"),
    ],
)
def test_a_damaged_metrics_log(tmp_path, lines, message):
    from medalpaca_train.trackers import read_metrics

    (tmp_path / "metrics.jsonl").write_text(lines)
    with pytest.raises(UserError, match=message):
        read_metrics(tmp_path / "metrics.jsonl")


def test_samples_without_scoring(tools, tmp_path):
    from medalpaca_evalharness.results import read_run

    [reader] = [one for one in tools[1].readers() if one.name == "results"]
    reader.write(tmp_path)
    [samples] = tmp_path.glob("samples_*")
    samples.write_text(samples.read_text().replace('"scoring": "letter", ', ""))
    with pytest.raises(UserError, match="line 1 doc: key 'scoring' is missing; run lm_eval again"):
        read_run(tmp_path)


def test_a_package_of_anki_with_other_bytes(tmp_path):
    import zipfile

    from medalpaca_data.formats.apkg import read_notes

    with zipfile.ZipFile(tmp_path / "d.apkg", "w") as archive:
        archive.writestr("collection.anki2", b"\x00\xff" * 3000)
    with pytest.raises(UserError, match="its collection is damaged"):
        list(read_notes(tmp_path / "d.apkg"))


def test_a_ledger_without_recipe(tmp_path):
    from medalpaca_data.dataset import require_meadow

    ledger = {"format": 5, "name": "m", "fingerprint": "f", "key_id": None, "sources": [], "exams": []}
    ledger |= {"deidentification": [], "rows": {}, "files": {}}
    (tmp_path / "ledger.json").write_text(json.dumps(ledger))
    with pytest.raises(UserError, match=r"ledger.json: key 'recipe' is missing; build the directory again"):
        require_meadow(tmp_path)


def test_a_panic_of_polars_is_an_error_in_one_line():
    import polars as pl

    from medalpaca_data.core.typed import table_errors

    message = r"rows.parquet: not readable \(damaged; index 9\)"
    with pytest.raises(UserError, match=message), table_errors("rows.parquet: not readable"):
        raise pl.exceptions.PanicException("index 9")


@pytest.mark.parametrize("cut", [4, 40, -9])
def test_a_damaged_parquet_file(tmp_path, cut):
    import polars as pl

    from medalpaca_data.core.records import read_rows

    pl.DataFrame({"instruction": ["Q"], "input": [""], "output": ["A"]}).write_parquet(tmp_path / "r.parquet")
    (tmp_path / "r.parquet").write_bytes((tmp_path / "r.parquet").read_bytes()[:cut])
    with pytest.raises(UserError, match=r"r.parquet: not a readable Parquet file"):
        read_rows(tmp_path / "r.parquet")
