"""Folders, patterns, lists, archives and other programs' files: what is read, in which order, and what is left out."""

from __future__ import annotations

import gzip
import io
import json
import shutil
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import polars
import pytest
import yaml
from rich.console import Console

from medalpaca_data.build import build
from medalpaca_data.core import streams
from medalpaca_data.core.errors import UserError
from medalpaca_data.core.files import sha256_file, unique_names
from medalpaca_data.core.records import FileNote
from medalpaca_data.core.row import Row
from medalpaca_data.recipe import load_recipe
from medalpaca_data.show import kinds, show_build
from medalpaca_data.sources import Alpaca, MedMCQA, PatientDialogues, PubMedCausal, PubMedHealthAdvice
from medalpaca_data.sources.base import Reject
from medalpaca_data.sources.data_files import REMEDIES

WORKBOOKS = Path(__file__).parent / "workbooks"


def alpaca(root: Path, path, **settings):
    """Rows as (source_id, output), rejects, and notes."""
    records = list(Alpaca(path=path, **settings).records(root))
    rows = [(record.source_id, record.output) for record in records if isinstance(record, Row)]
    rejects = [record for record in records if isinstance(record, Reject)]
    return rows, rejects, [record for record in records if isinstance(record, FileNote)]


@pytest.fixture
def folder(write, row, tmp_path):
    """Two files of one name in different folders, a test split, another type and a hidden file."""
    write("data/b/rows.jsonl", [row(3)])
    write("data/a/rows.jsonl", [row(1), row(2)])
    write("data/a/x.csv", "instruction,output\nQ,Answer 0\n")
    write("data/test/rows.jsonl", [row(9)])
    write("data/a/my_test.jsonl", [row(9)])
    write("data/README.md", "about")
    write("data/.cache/rows.jsonl", [row(9)])
    return tmp_path


def test_a_folder_is_read_in_the_order_of_its_names(folder):
    rows, rejects, [note] = alpaca(folder, "data")
    assert rows == [
        ("a/rows.jsonl line 1", "Answer 1"),
        ("a/rows.jsonl line 2", "Answer 2"),
        ("a/x.csv line 2", "Answer 0"),
        ("b/rows.jsonl line 1", "Answer 3"),
    ]
    assert rejects == []
    assert note.file == "data"
    assert note.left_out == (
        ("README.md", "file type that is not read"),
        ("a/my_test.jsonl", "test split"),
        ("test/rows.jsonl", "test split"),
    )


def test_a_pattern_and_a_list(folder):
    assert [output for _, output in alpaca(folder, "data/*/r*.jsonl")[0]] == [
        "Answer 1",
        "Answer 2",
        "Answer 3",
    ]
    assert [output for _, output in alpaca(folder, "data/**/*.csv")[0]] == ["Answer 0"]
    [note] = alpaca(folder, "data/*/*.jsonl")[2]
    assert note.left_out == (("a/my_test.jsonl", "test split"), ("test/rows.jsonl", "test split"))
    rows, _, _ = alpaca(folder, ["data/b/rows.jsonl", "data/a/x.csv", "data/b"])
    assert rows == [("rows.jsonl line 1", "Answer 3"), ("x.csv line 2", "Answer 0")]


def test_a_name_with_brackets_is_no_pattern(write, row, tmp_path):
    write("g[1].jsonl", [row(1)])
    write("g1.jsonl", [row(2)])
    assert alpaca(tmp_path, "g[1].jsonl")[0] == [("g[1].jsonl line 1", "Answer 1")]


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("data/a/my_test.jsonl", "my_test.jsonl: the file name says test"),
        ("data/test", "test: the file name says test"),
        ("data/nothing*.csv", r"data/nothing\*.csv: no file to read, and 0 left out; allowed are .json"),
        ("data/none.csv", r"none.csv: no such file \(source 'alpaca'\)"),
        ("deck.apkg", "deck.apkg: unknown suffix '.apkg'; use kind: anki; this kind reads .json"),
        ("dump.xml", "use kind: medquad, mediqa, stack_exchange or wikidoc"),
        ("guide.pdf", "documents are not rows; make a table of questions and answers"),
        ("old.xls", "save it as .xlsx or .csv"),
        ("rows.tar.xz", "unpack it, or pack its files as .zip or .tar.gz"),
        ("rows.pkl", "can run code when loaded"),
        ("rows", "unknown suffix ''; this kind reads"),
    ],
)
def test_what_is_not_read_is_refused_with_what_to_do(folder, path, message):
    if not path.startswith("data/"):
        (folder / path).write_bytes(b"?")
    with pytest.raises(UserError, match=message):
        Alpaca(path=path).files(folder)


def test_the_remedies_name_kinds_that_exist():
    named = {word for text in REMEDIES.values() for word in text.replace(",", " ").split()}
    assert {"anki", "medquad", "mediqa", "stack_exchange", "wikidoc", "cord19"} <= named & kinds().keys()
    read = {suffix for suffixes in REMEDIES for suffix in suffixes}
    assert not read & set(Alpaca.suffixes)


def test_rows_of_a_validation_file_in_a_folder_are_held_out(write, row, tmp_path):
    write("d/train.jsonl", [row(1)])
    write("d/valid.jsonl", [row(2), row(3, split="train")])
    splits = [record.split for record in Alpaca(path="d").records(tmp_path)]
    assert splits == ["none", "dev", "train"]
    # Named itself, the file is used as the recipe wants it.
    assert [record.split for record in Alpaca(path="d/valid.jsonl").records(tmp_path)] == ["none", "train"]


def test_files_of_one_name_from_several_paths(write, row, tmp_path):
    for number, name in enumerate(("x/a/r.jsonl", "y/a/r.jsonl", "x/s.jsonl")):
        write(name, [row(number)])
    rows, _, _ = alpaca(tmp_path, ["x", "y/a/r.jsonl", "y"])
    assert rows == [
        ("a/r.jsonl line 1", "Answer 0"),
        ("s.jsonl line 1", "Answer 2"),
        ("r.jsonl line 1", "Answer 1"),
    ]
    rows, _, _ = alpaca(tmp_path, ["x/a", "y/a"])
    assert rows == [("x/a/r.jsonl line 1", "Answer 0"), ("y/a/r.jsonl line 1", "Answer 1")]
    (tmp_path / "x/a/link.jsonl").symlink_to(tmp_path / "x/s.jsonl")
    assert [output for _, output in alpaca(tmp_path, ["x", "x/a"])[0]] == ["Answer 2", "Answer 0", "Answer 2"]
    with pytest.raises(ValueError, match="path: is empty"):
        Alpaca(path=["x", ""])


def test_unique_names_have_as_many_folders_as_needed():
    paths = [Path("/x/a/r.csv"), Path("/x/b/r.csv"), Path("/y/b/r.csv"), Path("/x/s.csv")]
    assert list(unique_names(paths).values()) == ["a/r.csv", "x/b/r.csv", "y/b/r.csv", "s.csv"]


# --- files of other programs


# As pandas 3.1 writes DataFrame.to_json with each `orient`, and `to_dict("list")`.
OF_PANDAS = {
    "columns": '{"instruction":{"0":"Q1","2":"Q2"},"output":{"0":"A1","2":"A2"},"dose":{"0":1.5,"2":null}}',
    "index": '{"0":{"instruction":"Q1","output":"A1"},"1":{"instruction":"Q2","output":"A2"}}',
    "split": '{"columns":["instruction","output"],"index":[0,2],"data":[["Q1","A1"],["Q2","A2"]]}',
    "records": '[{"instruction":"Q1","output":"A1"},{"instruction":"Q2","output":"A2"}]',
    "list": '{"instruction": ["Q1", "Q2"], "output": ["A1", "A2"]}',
}


@pytest.mark.parametrize("orient", OF_PANDAS)
def test_json_of_pandas(write, tmp_path, orient):
    write("r.json", OF_PANDAS[orient])
    assert alpaca(tmp_path, "r.json")[0] == [("r.json row 1", "A1"), ("r.json row 2", "A2")]


@pytest.mark.slow  # the import of pandas takes seconds
def test_what_pandas_writes_now(write, tmp_path):
    import pandas

    frame = pandas.DataFrame(
        {"instruction": ["Q1", "Q2", "Q3"], "output": ["A1", "A2", "A3"], "dose": [1.5, 2.0, None]}
    )
    for orient in ("columns", "index", "split", "records", "table"):
        write("r.json", frame.to_json(orient=orient))
        assert [output for _, output in alpaca(tmp_path, "r.json")[0]] == ["A1", "A2", "A3"], orient
    write("r.json", frame[frame.dose != 2.0].to_json())
    assert alpaca(tmp_path, "r.json")[0] == [("r.json row 1", "A1"), ("r.json row 2", "A3")]
    write("r.json", json.dumps(frame[["instruction", "output"]].to_dict("list")))
    assert [output for _, output in alpaca(tmp_path, "r.json")[0]] == ["A1", "A2", "A3"]
    frame.to_csv(tmp_path / "r.csv", sep=";", decimal=",", encoding="cp1252", index=False)
    assert [output for _, output in alpaca(tmp_path, "r.csv")[0]] == ["A1", "A2", "A3"]
    frame.to_feather(tmp_path / "r.arrow")
    assert [output for _, output in alpaca(tmp_path, "r.arrow")[0]] == ["A1", "A2", "A3"]


@pytest.mark.parametrize(
    "value",
    [
        {"1234": {"QUESTION": "a", "CONTEXTS": ["b"]}, "5678": {"QUESTION": "c", "CONTEXTS": ["d"]}},
        {"instruction": "Q", "output": "A"},
        {"instruction": "Q", "output": "A", "input": ["a", "b"], "more": ["c", "d"]},
        {"prompt": [{"role": "user"}], "completion": [{"role": "assistant"}]},
    ],
)
def test_an_object_that_is_one_record_stays_one(write, value):
    from medalpaca_data.core.records import read_records

    assert list(read_records(write("r.json", value))) == [("row 1", value)]


def test_lists_by_split(write, row, tmp_path):
    splits = {"train": [row(1)], "validation": [row(2)], "test": [row(3), row(4)]}
    write("r.json", splits)
    records = list(Alpaca(path="r.json").records(tmp_path))
    assert [(record.source_id, record.split) for record in records[:2]] == [
        ("r.json train row 1", "train"),
        ("r.json validation row 1", "dev"),
    ]
    assert [(record.location, record.reason, record.by_rule) for record in records[2:]] == [
        ("test row 1", "test row", True),
        ("test row 2", "test row", True),
    ]


def test_parquet_and_arrow_of_polars(tmp_path, row):
    frame = polars.DataFrame([row(1), row(2)])
    frame.write_parquet(tmp_path / "part-0.parquet")
    frame.write_ipc(tmp_path / "part-1.arrow")
    frame.write_ipc_stream(tmp_path / "part-2.arrow")
    rows, _, _ = alpaca(tmp_path, ".")
    assert rows == [
        (f"{name} row {n}", f"Answer {n}")
        for name in ("part-0.parquet", "part-1.arrow", "part-2.arrow")
        for n in (1, 2)
    ]
    (tmp_path / "part-1.arrow").write_bytes(b"ARROW1 broken")
    with pytest.raises(UserError, match=r"part-1.arrow: not a readable Arrow file"):
        alpaca(tmp_path, "part-1.arrow")


SPLITS = ("train", "validation", "test")


def texts(split: str) -> list[dict[str, str]]:
    return [{"instruction": f"{split} {n}?", "input": "", "output": f"{split} {n}"} for n in range(3)]


@pytest.fixture
def saved(write, tmp_path):
    """A DatasetDict as `datasets` writes it with save_to_disk: Arrow streams, and which of them are its data."""
    write("saved/dataset_dict.json", {"splits": list(SPLITS)})
    for split in SPLITS:
        shards = [texts(split)[:2], texts(split)[2:]] if split == "train" else [texts(split)]
        names = [f"data-{n:05}-of-{len(shards):05}.arrow" for n in range(len(shards))]
        state = {"_data_files": [{"filename": name} for name in names], "_split": split, "_format_type": None}
        write(f"saved/{split}/state.json", state)
        write(f"saved/{split}/dataset_info.json", {"features": {"instruction": {"dtype": "string"}}})
        for name, rows in zip(names, shards, strict=True):
            polars.DataFrame(rows).write_ipc_stream(tmp_path / "saved" / split / name)
    return tmp_path / "saved"


def check_saved(folder: Path) -> None:
    shutil.copy(folder / "train/data-00000-of-00002.arrow", folder / "train/cache-1234.arrow")
    *rows, note = Alpaca(path=str(folder)).records(Path())
    assert [(row.output, row.split) for row in rows] == [
        *((f"train {n}", "none") for n in range(3)),
        *((f"validation {n}", "dev") for n in range(3)),
    ]
    assert rows[2].source_id == "train/data-00001-of-00002.arrow row 1"
    assert note.left_out == (
        ("test/data-00000-of-00001.arrow", "test split"),
        ("train/cache-1234.arrow", "not a data file of the saved dataset"),
    )
    train = [
        record for record in Alpaca(path=str(folder / "train")).records(Path()) if isinstance(record, Row)
    ]
    assert [row.split for row in train] == ["none"] * 3


def test_a_dataset_dict_on_disk(saved):
    check_saved(saved)


@pytest.mark.slow  # the import of datasets takes seconds
def test_a_dataset_dict_that_datasets_writes_now(tmp_path):
    import datasets

    datasets.disable_progress_bars()
    parts = {name: datasets.Dataset.from_list(texts(name), split=name) for name in SPLITS}
    shards = {"train": 2, "validation": 1, "test": 1}
    datasets.DatasetDict(parts).save_to_disk(tmp_path / "saved", num_shards=shards)
    check_saved(tmp_path / "saved")


def test_a_saved_test_split_is_refused_whatever_the_folder_is_called(saved, tmp_path):
    with pytest.raises(UserError, match="test: the file name says test"):
        Alpaca(path=str(saved / "test")).files(Path())
    shutil.move(saved / "test", tmp_path / "mine")
    with pytest.raises(
        UserError, match=r"mine: no file to read, and 1 left out \(data-00000-of-00001.arrow: test"
    ):
        Alpaca(path="mine").files(tmp_path)


def test_a_meadow_directory_gives_its_rows_once(write, row, tmp_path):
    write("raw.jsonl", [row(n) for n in range(40)])
    recipe = {
        "name": "m",
        "validation": 0.1,
        "near_duplicates": None,
        "sources": [{"kind": "alpaca", "path": "raw.jsonl"}],
    }
    write("r.yaml", yaml.safe_dump(recipe))
    build(*load_recipe(str(tmp_path / "r.yaml")), tmp_path / "meadow")
    records = [record for record in Alpaca(path="meadow").records(tmp_path) if isinstance(record, Row)]
    assert sorted(record.output for record in records) == sorted(f"Answer {n}" for n in range(40))


def test_a_workbook_of_openpyxl(tmp_path):
    rows, _, [note] = alpaca(WORKBOOKS, "openpyxl.xlsx")
    assert rows == [("openpyxl.xlsx row 2", "A2")]  # the first tab, whose file is sheet2.xml
    assert (note.sheet, note.left_out) == ("Notes & more", (("Karten", "another sheet"),))
    rows, [reject], [note] = alpaca(WORKBOOKS, "openpyxl.xlsx", sheet="Karten")
    assert rows == [("openpyxl.xlsx row 2", "Vitamin C"), ("openpyxl.xlsx row 4", "50\u2013100 mg")]
    assert (reject.location, reject.reason) == ("row 6", "a cell in a column without a heading")
    assert json.loads(reject.record) == {"A": "Stray", "F": "outside"}
    with pytest.raises(UserError, match=r"no sheet 'karten'; the workbook has: Notes & more, Karten"):
        alpaca(WORKBOOKS, "openpyxl.xlsx", sheet="karten")


def test_cells_of_xlsxwriter_are_what_excel_shows():
    rows, rejects, notes = alpaca(WORKBOOKS, "xlsxwriter.xlsx")
    # Row 7 is 10 with a raised 9.
    assert [output for _, output in rows] == ["A1", "2023-07-16", "5%", "TRUE", "2", "10^9/L"]
    assert (rejects, notes) == ([], [])


# --- archives


def zipped(path: Path, members: dict[str, bytes | str]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def test_an_archive_is_read_like_a_folder(tmp_path, row):
    polars.DataFrame([row(5)]).write_parquet(tmp_path / "p.parquet")
    zipped(
        tmp_path / "all.zip",
        {
            "z/b.csv": "instruction;output\nDosis?;37 °C\n".encode("cp1252"),
            "a b.jsonl": json.dumps(row(1)) + "\n{broken\n",
            "dev.json": json.dumps([row(2)]),
            "p.parquet": (tmp_path / "p.parquet").read_bytes(),
            "book.xlsx": (WORKBOOKS / "xlsxwriter.xlsx").read_bytes(),
            "test.csv": "instruction,output\nQ,no\n",
            "pictures/x.png": b"?",
            "inner.zip": b"?",
            "__MACOSX/._b.csv": b"?",
        },
    )
    rows, rejects, notes = alpaca(tmp_path, "all.zip")
    assert rows == [
        ("all.zip a b.jsonl line 1", "Answer 1"),
        *(
            (f"all.zip book.xlsx row {n}", text)
            for n, text in enumerate(["A1", "2023-07-16", "5%", "TRUE", "2", "10^9/L"], 2)
        ),
        ("all.zip dev.json row 1", "Answer 2"),
        ("all.zip p.parquet row 1", "Answer 5"),
        ("all.zip z/b.csv line 2", "37 °C"),
    ]
    assert [(reject.file, reject.location) for reject in rejects] == [
        ("all.zip", "a b.jsonl line 2"),
    ]
    assert notes == [
        FileNote(
            file="all.zip",
            member="z/b.csv",
            encoding="latin-1",
            guessed=True,
            samples=("37 °C",),
            delimiter=";",
        ),
        FileNote(
            file="all.zip",
            left_out=(
                ("inner.zip", "file type that is not read"),
                ("pictures/x.png", "file type that is not read"),
                ("test.csv", "test split"),
            ),
        ),
    ]


def test_archives_that_are_not_what_they_seem(tmp_path, monkeypatch):
    (tmp_path / "a.zip").write_bytes(b"no zip")
    with pytest.raises(UserError, match=r"a.zip: not a readable archive"):
        alpaca(tmp_path, "a.zip")
    zipped(tmp_path / "b.zip", {"x.png": b"?"})
    with pytest.raises(UserError, match=r"b.zip: no file to read in the archive, 1 left out"):
        alpaca(tmp_path, "b.zip")
    zipped(tmp_path / "c.zip", {"r.csv": b"instruction,output\n" + b"Q,A\n" * 30_000})
    monkeypatch.setattr(streams, "BASE_SIZE", 100)
    monkeypatch.setattr(streams, "MAX_RATIO", 20)
    with pytest.raises(UserError, match=r"c.zip: unpacks to more than 20 times its size"):
        alpaca(tmp_path, "c.zip")
    monkeypatch.undo()
    monkeypatch.setattr(streams, "MAX_MEMBERS", 3)
    zipped(tmp_path / "d.zip", {f"{n}.csv": "instruction,output\nQ,A\n" for n in range(4)})
    with pytest.raises(UserError, match=r"d.zip: has 4 files; allowed: 3"):
        alpaca(tmp_path, "d.zip")


def tarred(path: Path, members: list[tuple[str, bytes]], **header: Any) -> Path:
    with tarfile.open(path, "w:gz" if path.name.lower().endswith("gz") else "w") as archive:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            for key, value in header.items():
                setattr(info, key, value)
            archive.addfile(info, io.BytesIO(data))
    return path


@pytest.mark.parametrize("name", ["all.tar", "all.tar.gz", "all.tgz", "ALL.TGZ"])
@pytest.mark.parametrize("max_held", [0, streams.MAX_HELD])
def test_a_tar_archive_is_read_like_a_zip(tmp_path, row, name, max_held, monkeypatch):
    monkeypatch.setattr(streams, "MAX_HELD", max_held)
    polars.DataFrame([row(5)]).write_parquet(tmp_path / "p.parquet")
    members = {
        "z/b.csv": "instruction;output\nDosis?;37 °C\n".encode("cp1252"),
        "old.jsonl": b"",
        "a b.jsonl.gz": gzip.compress(json.dumps(row(1)).encode()),
        "dev.json": json.dumps([row(2)]).encode(),
        "p.parquet": (tmp_path / "p.parquet").read_bytes(),
        "book.xlsx": (WORKBOOKS / "xlsxwriter.xlsx").read_bytes(),
        "test.csv": b"instruction,output\nQ,no\n",
        "x.png": b"?",
    }
    new = ("old.jsonl", json.dumps(row(7)).encode())
    # Programs write "./" before each name; the last file of a name is the one that they unpack.
    tarred(tmp_path / name, [*((f"./{name}", data) for name, data in members.items()), new])
    rows, rejects, notes = alpaca(tmp_path, name)
    assert sorted(rows) == sorted(
        [
            (f"{name} a b.jsonl.gz line 1", "Answer 1"),
            *(
                (f"{name} book.xlsx row {n}", text)
                for n, text in enumerate(["A1", "2023-07-16", "5%", "TRUE", "2", "10^9/L"], 2)
            ),
            (f"{name} dev.json row 1", "Answer 2"),
            (f"{name} old.jsonl line 1", "Answer 7"),
            (f"{name} p.parquet row 1", "Answer 5"),
            (f"{name} z/b.csv line 2", "37 °C"),
        ]
    )
    assert rejects == []
    assert notes[-1].left_out == (
        ("old.jsonl", "replaced by a later file of the same name"),
        ("test.csv", "test split"),
        ("x.png", "file type that is not read"),
    )


def test_a_link_in_an_archive_is_not_followed(tmp_path, row):
    (tmp_path / "secret.csv").write_text("instruction,output\nQ,secret\n")
    with tarfile.open(tmp_path / "t.tar", "w") as archive:
        archive.add(tmp_path / "secret.csv", "good.csv")
        for kind, name in ((tarfile.SYMTYPE, "s.csv"), (tarfile.LNKTYPE, "h.csv")):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, str(tmp_path / "secret.csv")
            archive.addfile(info)
    link = zipfile.ZipInfo("s.csv")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "z.zip", "w") as archive:
        archive.writestr(link, str(tmp_path / "secret.csv"))
        archive.writestr("good.csv", "instruction,output\nQ,secret\n")
    for name, links in (("t.tar", ["h.csv", "s.csv"]), ("z.zip", ["s.csv"])):
        rows, rejects, notes = alpaca(tmp_path, name)
        assert (len(rows), rejects) == (1, [])
        assert notes == [FileNote(file=name, left_out=tuple((link, "a link") for link in links))]


@pytest.mark.parametrize("path", ["/etc/a.csv", "../a.csv", "b/../../a.csv", "C:\\a.csv", "..\\a.csv"])
@pytest.mark.parametrize("name", ["t.tar", "t.tgz", "t.zip"])
def test_a_path_that_leaves_the_archive_is_refused(tmp_path, name, path):
    data = b"instruction,output\nQ,A\n"
    if name == "t.zip":
        zipped(tmp_path / name, {path: data})
    else:
        tarred(tmp_path / name, [(path, data)])
    with pytest.raises(UserError, match=r"which leaves the archive; allowed: relative paths without \.\."):
        alpaca(tmp_path, name)


def test_a_damaged_tar_archive_is_refused(tmp_path, monkeypatch):
    data = b"instruction,output\nQ,A\n"
    whole = tarred(tmp_path / "w.tar", [("a.csv", data), ("b.csv", data)]).read_bytes()
    # The header of the second file is at 1,024.
    for name, bad in (
        ("h.tar", whole[:1030] + b"?" + whole[1031:]),
        ("s.tar", whole[:1500]),
        ("d.tar", whole[:1540]),
        ("z.tgz", gzip.compress(whole)[:-40]),
        ("n.tgz", whole),
    ):
        (tmp_path / name).write_bytes(bad)
        with pytest.raises(UserError, match=rf"{name}: (not a readable archive|damaged)"):
            alpaca(tmp_path, name)
    tarred(tmp_path / "bomb.tgz", [("r.csv", b"instruction,output\n" + b"Q,A\n" * 30_000)])
    monkeypatch.setattr(streams, "BASE_SIZE", 100)
    monkeypatch.setattr(streams, "MAX_RATIO", 20)
    with pytest.raises(UserError, match=r"bomb.tgz: unpacks to more than 20 times its size"):
        alpaca(tmp_path, "bomb.tgz")
    monkeypatch.undo()
    monkeypatch.setattr(streams, "MAX_MEMBERS", 3)
    tarred(tmp_path / "d.tar", [(f"{n}.csv", data) for n in range(4)])
    with pytest.raises(UserError, match=r"d.tar: has 4 files; allowed: 3"):
        alpaca(tmp_path, "d.tar")


# --- through a build


def test_the_ledger_and_the_screen_have_what_was_found(write, row, tmp_path):
    write("d/a.csv", "instruction;output\nDosis?;5 µg \u2013 10 µg\n".encode("cp1252"))
    write("d/a/a.csv", f"instruction,output\n{row(1)['instruction']},A\n")
    write("d/test.csv", "instruction,output\nQ,A\n")
    write("r.yaml", "{name: m, validation: 0, near_duplicates: null, sources: [{kind: alpaca, path: d}]}")
    recipe, root = load_recipe(str(tmp_path / "r.yaml"))
    built = build(recipe, root, tmp_path / "out")
    [source] = built.ledger["sources"]
    assert source["files"] == [
        {
            "name": "a.csv",
            "sha256": sha256_file(tmp_path / "d/a.csv"),
            "encoding": "cp1252",
            "guessed": True,
            "samples": ["5 µg", "\u2013"],
            "delimiter": ";",
        },
        {"name": "a/a.csv", "sha256": sha256_file(tmp_path / "d/a/a.csv")},
    ]
    assert source["left_out"] == [{"name": "d: test.csv", "reason": "test split"}]
    console = Console(record=True, width=120)
    show_build(built, console)
    text = console.export_text()
    guess = '(guessed; e.g. "5 µg", "\u2013"; if it is wrong, set encoding:)'
    assert f"alpaca: 1 file (a.csv) with encoding cp1252 {guess}, delimiter ';'" in " ".join(text.split())
    assert "alpaca, not read: 1 with the reason 'test split': d: test.csv" in text
    assert built.ledger["rows"] == {"train": 2, "validation": 0}
    # A changed file of the folder is read again, and so is one that moved to a folder of another split.
    write("d/a/a.csv", "instruction,output\nQ9,A\n")
    assert not build(recipe, root, tmp_path / "out", replace=True).reused
    assert "Q9" in (tmp_path / "out/jsonl/train.jsonl").read_text()
    (tmp_path / "d/a").rename(tmp_path / "d/valid")
    moved = build(recipe, root, tmp_path / "out", replace=True)
    assert moved.ledger["rows"] == {"train": 1, "validation": 1}


def test_names_of_patient_text_are_hashed(write, row, tmp_path, fixed_key):
    fixed_key()
    zipped(tmp_path / "ward.zip", {"Eva Muster.csv": "instruction;output\nQ;A\n", "Eva Muster.pdf": "?"})
    write(
        "r.yaml",
        "{name: m, validation: 0, near_duplicates: null, deidentify: {mode: replace, limit: 100000}, "
        "sources: [{kind: alpaca, path: ward.zip, patient_text: true}]}",
    )
    build(*load_recipe(str(tmp_path / "r.yaml")), tmp_path / "out")
    text = (tmp_path / "out/ledger.json").read_text()
    [source] = json.loads(text)["sources"]
    assert "Muster" not in text
    assert source["files"][0]["members"][0]["delimiter"] == ";"
    assert source["left_out"][0]["reason"] == "file type that is not read"


def test_settings_of_text_files(write, tmp_path):
    write("r.csv", "instruction|output\nжилищ|38\n".encode("cp1251"))
    rows, _, [note] = alpaca(tmp_path, "r.csv", encoding="windows-1251", delimiter="pipe")
    assert rows == [("r.csv line 2", "38")]
    assert (note.encoding, note.delimiter) == ("cp1251", "|")
    with pytest.raises(UserError, match=r"source 'alpaca', key 'encoding': 'utf8x' is not a known"):
        Alpaca(path="r.csv", encoding="utf8x").files(tmp_path)
    for delimiter in ("ab", '"', "\n", ""):
        with pytest.raises(ValueError, match="must be one character"):
            Alpaca(path="r.csv", delimiter=delimiter)


def test_the_other_sources_report_the_encoding_as_well(write, tmp_path):
    write(
        "c.txt",
        "id=1\nhttps://x\nDescription\nFièvre\nDialogue\nPatient:\nFièvre ?\nDoctor:\nOui.\n".encode(
            "cp1252"
        ),
    )
    row, note = PatientDialogues(path="c.txt").records(tmp_path)
    assert row.input == "Fièvre ?"
    assert note == FileNote(file="c.txt", encoding="latin-1")
    table = "sentence;label;pmid\nTake 5 µg of it daily.;2;7\n".encode("cp1252")
    write("a/annotations_1.csv", table)
    write("b/annotations_1.csv", table)
    records = list(PubMedHealthAdvice(paths=["a", "b"]).records(tmp_path))
    assert [record.source_id for record in records if isinstance(record, Row)] == [
        "a/annotations_1.csv line 2",
        "b/annotations_1.csv line 2",
    ]
    assert [record for record in records if isinstance(record, FileNote)] == [
        FileNote(
            file=f"{name}/annotations_1.csv",
            encoding="latin-1",
            guessed=True,
            samples=("5 µg",),
            delimiter=";",
        )
        for name in "ab"
    ]


def test_sources_that_look_at_the_whole_file_read_several(write, tmp_path):
    row = {"question": "Which?", "opa": "1", "opb": "2", "opc": "3", "opd": "4"}
    write("m/train_0.jsonl", [row | {"cop": 0}, row | {"cop": 3, "question": "What?"}])
    write("m/train_1.jsonl", [row | {"cop": 4}, row | {"cop": 1, "question": "Who?"}])
    rows = list(MedMCQA(path="m", split="train").records(tmp_path))
    assert [record.output for record in rows] == ["A: 1", "D: 4", "D: 4", "A: 1"]
    write("c.csv", "sentence;label\nA causes B.;1\n")
    [record, note] = PubMedCausal(path="c.csv", encoding="causal-language-use").records(tmp_path)
    assert (record.output, note.delimiter) == ("Direct causal", ";")


# --- headings and names


@pytest.mark.parametrize("head", ["Instruction,Output", " instruction , output", "INSTRUCTION,OUTPUT "])
def test_headings_are_found_whatever_their_case_and_spaces(write, tmp_path, head):
    write("r.csv", f"{head}\nQ,A\n")
    assert alpaca(tmp_path, "r.csv") == ([("r.csv line 2", "A")], [], [])


def test_names_that_the_recipe_has_stay_as_they_are(write, tmp_path):
    write("r.jsonl", [{"Instruction": "Q", "Output": "A", "output": "B"}])
    rows, _, _ = alpaca(tmp_path, "r.jsonl", fields={"instruction": "Instruction", "output": "Output"})
    assert rows == [("r.jsonl line 1", "A")]
    rows, _, _ = alpaca(tmp_path, "r.jsonl", fields={"instruction": "instruction", "output": "output"})
    assert rows == [("r.jsonl line 1", "B")]
    records = [{"Instruction": "P", "Response": "C", "Split": "test"}, {"Instruction": "P", "Response": "D"}]
    write("r.jsonl", records)
    rows, [reject], _ = alpaca(tmp_path, "r.jsonl")
    assert (rows, reject.reason) == ([("r.jsonl line 2", "D")], "test row")


def test_empty_columns_at_the_end_are_counted(write, tmp_path):
    write("r.csv", "instruction,output,,\nQ1,A1,,\nQ2,A2,,stray\nQ3,A3,,\nQ4,A4\n")
    rows, rejects, [note] = alpaca(tmp_path, "r.csv")
    assert rows == [("r.csv line 2", "A1"), ("r.csv line 4", "A3")]
    assert [(reject.location, reject.reason) for reject in rejects] == [
        ("line 3", "a cell in a column without a heading"),
        ("line 5", "more or fewer fields than headings (a comma without quotes?)"),
    ]
    assert note == FileNote(file="r.csv", left_out=(("2 columns at the end", "no heading and no text"),))
    write("r.csv", "instruction,,,output\nQ1,,,A1\n")
    with pytest.raises(UserError, match="two columns have the heading ''"):
        alpaca(tmp_path, "r.csv")


def test_a_comma_in_each_line_does_not_hide_the_semicolons(write, tmp_path):
    write("r.csv", "question;answer (short, precise)\nDose?;5 mg, oral\nWhen?;in the morning, daily\n")
    fields = {"instruction": "question", "output": "answer (short, precise)"}
    rows, _, [note] = alpaca(tmp_path, "r.csv", fields=fields)
    assert rows == [("r.csv line 2", "5 mg, oral"), ("r.csv line 3", "in the morning, daily")]
    assert note.delimiter == ";"


@pytest.mark.parametrize("split", ["train", "dev"])
def test_the_recipe_names_the_split_of_a_file_with_test_in_its_name(write, row, tmp_path, split):
    write("lab_test_results.jsonl", [row(1)])
    message = "says test, .*; if it is no test split, rename the file, or set split: train"
    with pytest.raises(UserError, match=message):
        alpaca(tmp_path, "lab_test_results.jsonl")
    [record] = Alpaca(path="lab_test_results.jsonl", split=split).records(tmp_path)
    assert record.split == split


@pytest.mark.parametrize(
    "name",
    [
        "test.jsonl",
        "x_test.jsonl",
        "test-00000-of-00001.jsonl",
        "Stress Test.jsonl",
        "myTestSet.jsonl",
        "test_results.jsonl",
        "x.test.jsonl",
        "x_test_2.jsonl",
    ],
)
def test_a_test_split_stays_refused_whatever_the_recipe_says(write, row, tmp_path, name):
    write(name, b"")
    with pytest.raises(UserError, match=r"if it is no test split, rename the file$"):
        alpaca(tmp_path, name, split="train")


def test_files_with_test_in_their_names_in_folders_and_archives(write, row, tmp_path):
    names = ["d/lab_test_results.jsonl", "d/x_test.jsonl", "d/test/a.jsonl", "d/stress_test_de/a.jsonl"]
    for number, name in enumerate(names):
        write(name, [row(number)])
    zipped(tmp_path / "d.zip", {name[2:]: json.dumps(row(number)) for number, name in enumerate(names)})
    for path in ("d", "d.zip"):
        assert [output for _, output in alpaca(tmp_path, path, split="train")[0]] == ["Answer 0", "Answer 3"]
    write("e/a.jsonl", [row(9)])
    shutil.copy(tmp_path / names[0], tmp_path / "e")
    rows, _, [note] = alpaca(tmp_path, "e")
    assert (len(rows), note.left_out) == (1, (("lab_test_results.jsonl", "test split"),))


def test_no_text_of_patients_is_a_sample_of_a_guessed_encoding(write, tmp_path):
    write("r.csv", "instruction;output\nDosis?;37 °C\n".encode("cp1252"))
    [note] = alpaca(tmp_path, "r.csv", patient_text=True)[2]
    assert note.text == "encoding latin-1 (guessed; if it is wrong, set encoding:), delimiter ';'"
    assert note.samples == ()
    [note] = alpaca(tmp_path, "r.csv")[2]
    assert (
        note.text
        == "encoding latin-1 (guessed; e.g. \"37 °C\"; if it is wrong, set encoding:), delimiter ';'"
    )
    [note] = alpaca(tmp_path, "r.csv", encoding="cp1252")[2]
    assert note.text == "encoding cp1252, delimiter ';'"
