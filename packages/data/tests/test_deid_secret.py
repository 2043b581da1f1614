"""The key of patient text: its file, what depends on it, and that no output has what identifies a patient."""

from __future__ import annotations

import json
import os
import stat
import sys
from pathlib import Path

import pytest
import yaml

from medalpaca_data import cli, show
from medalpaca_data.build import build
from medalpaca_data.core import paths
from medalpaca_data.core.errors import UserError
from medalpaca_data.core.records import read_all_rows
from medalpaca_data.deid.secret import (
    cache_token,
    create_secret,
    draw,
    key_id,
    key_path,
    keyed_hash,
    load_secret,
)
from medalpaca_data.explain import explain
from medalpaca_data.recipe import load_recipe

ZERO = bytes(32)


def test_hashes_and_ids_have_known_values():
    # Computed with `openssl dgst -sha256 -mac HMAC` over ["value", "4711"] and ["id"].
    assert keyed_hash(ZERO, "4711") == "h:77a00d3766994388c2c20cae"
    assert key_id(ZERO) == "859921f8399a"
    assert keyed_hash(ZERO, "4711") != keyed_hash(bytes(31) + b"\x01", "4711")
    assert draw(ZERO, "ab", "c") != draw(ZERO, "a", "bc")
    assert cache_token(ZERO)[:12] != key_id(ZERO)


def test_a_new_key_is_random_private_and_kept(tmp_path):
    one, two = create_secret(tmp_path / "a" / "secrets"), create_secret(tmp_path / "b")
    assert len(one) == 32 and one != two
    file = tmp_path / "a" / "secrets" / "patient-text.key"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert file.read_text() == f"{one.hex()}\n"
    assert create_secret(file.parent) == load_secret(file.parent) == one


def test_the_default_directory_is_below_home():
    assert key_path(None) == paths.home() / "secrets" / "patient-text.key"
    assert key_path("keys", Path("/recipes")) == Path("/recipes/keys/patient-text.key")


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such modes")
@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660])
def test_a_key_that_others_can_read_is_refused(tmp_path, fixed_key, mode):
    fixed_key(tmp_path).chmod(mode)
    with pytest.raises(UserError, match=rf"patient-text\.key: mode {mode:04o} lets other users read the key"):
        load_secret(tmp_path)


@pytest.mark.parametrize("text", ["", "0" * 63, "0" * 65, "g" * 64, "0" * 64 + "\n\n"])
def test_a_damaged_key_is_refused(tmp_path, fixed_key, text):
    fixed_key(tmp_path).write_text(text)
    with pytest.raises(UserError, match="not a key of 64 hexadecimal digits; restore it"):
        load_secret(tmp_path)


def test_a_missing_key_and_a_directory_that_cannot_be_made_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"patient-text\.key: no such key file"):
        load_secret(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot be written .*; set deidentify.secret"):
        create_secret(tmp_path / "file" / "secrets")


CASE, FILE_PIECE, URL, AUTHOR = (
    "KIS-558231",
    "quennell",
    "https://ward.example.net/p/558231",
    "Dr. Ottilie Quennell",
)
NAMES = ("Ottilie", "Quennell", "867-5309", "Karl", "Weberling")
NOTES = [
    ("On 03/14/2021 Mr. Karl Weberling was admitted. Phone 617-867-5309.", "Discharged on 03/20/2021."),
    ("Mrs. Ottilie Quennell saw Mr. Weberling on 04/02/2021, <br>MRN: 4471902.", "Reviewed by Dr. Quennell."),
    ("Mr. Karl Weberling called on April 2, 2021.", "Mr. Weberling is well."),
]


def raw_rows():
    """Return notes of one case, one plain note, one duplicate, and records that are rejected by each early stage."""
    origin = {
        "group": CASE,
        "url": URL,
        "attribution": AUTHOR,
        "source": "ward of Dr. Quennell",
        "licence": "consent of Karl Weberling",
        "generator": "dictated by Dr. Quennell",
        "source_id": f"{CASE}-1",
    }
    rows = [
        {"instruction": f"Summarise note {n}.", "input": i, "output": o, **origin}
        for n, (i, o) in enumerate(NOTES)
    ]
    rows.append(
        {"instruction": "What was given?", "input": "", "output": "Aspirin was given.", "group": "KIS-7"}
    )
    plain = {"instruction": "What helps?", "input": "", "group": "KIS-7"}
    rows += [{**plain, "output": f"Drug number {n} helps."} for n in range(15)]
    rows.append(rows[0])
    rows.append({"instruction": "Broken", "patient": "Karl Weberling", **origin})
    rows.append({"instruction": "Summarise.", "input": "Karl Weberling", "output": "nan", **origin})
    return rows


def prepare(write, **keys):
    write(f"raw/{FILE_PIECE} letters.jsonl", raw_rows())
    source = {
        "kind": "alpaca",
        "name": "letters",
        "path": f"raw/{FILE_PIECE} letters.jsonl",
        "patient_text": True,
        "attribution": AUTHOR,
        "url": URL,
        "licence": "internal",
    }
    values = {
        "name": "t",
        "sources": [source],
        "validation": 0,
        "max_reject_share": 0.5,
        "deidentify": {"mode": "replace", "limit": 10_000},
        **keys,
    }
    return load_recipe(str(write("recipe.yaml", yaml.safe_dump(values))))


def contents(folder: Path) -> dict[str, str]:
    """Return the text of all files; a Parquet file as its rows and its bytes."""
    import polars as pl

    texts = {}
    for file in sorted(folder.rglob("*")):
        if file.is_file():
            rows = str(pl.read_parquet(file).to_dicts()) if file.suffix == ".parquet" else ""
            texts[str(file.relative_to(folder))] = rows + file.read_bytes().decode("latin-1")
    return texts


@pytest.mark.parametrize("mode", ["replace", "check"])
def test_nothing_that_is_written_identifies_a_patient(write, tmp_path, fixed_key, mode, capsys):
    fixed_key()
    recipe, root = prepare(write, deidentify={"mode": mode, "limit": 10_000})
    out = tmp_path / "out"
    built = build(recipe, root, out)
    life = explain(out, read_all_rows(out)[0].id)
    texts = contents(out) | {"life": str(life), "json": json.dumps(show.build_as_json(built) | {"key": None})}
    cache = paths.cache() / "build" / "t"
    later = [
        folder
        for folder in cache.iterdir()
        if folder.is_dir() and not folder.name.startswith(("read", "clean"))
    ]
    assert {folder.name.rpartition("-")[0] for folder in later} >= {
        "deidentify",
        "duplicates",
        "near-duplicates",
    }
    for folder in later:
        texts |= {f"{folder.name}/{name}": text for name, text in contents(folder).items()}
    if mode == "replace":
        for row in read_all_rows(out):
            cli.main(["explain", str(out), row.id])
    texts["screen"] = capsys.readouterr().out
    assert len(texts) > 20
    secret = load_secret(paths.secrets())
    for word in (CASE, "558231", "KIS-7", FILE_PIECE, "raw/", URL, AUTHOR, *NAMES, secret.hex()):
        found = [name for name, text in texts.items() if word.lower() in text.lower()]
        assert not found, (word, found)
    rejects = [json.loads(line) for line in texts["rejected/letters.jsonl"].splitlines()]
    early = [entry for entry in rejects if entry["stage"] in ("read", "clean")]
    assert [(e["stage"], e["reason"], e["record"]) for e in early] == [
        ("read", "no key 'output'", None),
        ("clean", "no answer", None),
    ]
    assert early[0]["file"] == keyed_hash(secret, f"{FILE_PIECE}%20letters.jsonl line 21")


def test_rows_of_a_case_share_hash_surrogates_and_shift(write, tmp_path, fixed_key):
    fixed_key()
    recipe, root = prepare(write)
    built = build(recipe, root, tmp_path / "out")
    rows = {row.instruction: row for row in read_all_rows(tmp_path / "out")}
    notes = [rows[f"Summarise note {n}."] for n in range(3)]
    assert {row.group for row in notes} == {keyed_hash(ZERO, CASE)}
    assert rows["What was given?"].group == keyed_hash(ZERO, "KIS-7")
    for row in rows.values():
        assert row.source_id.startswith("h:")
        assert (row.source, row.licence) == ("letters", "internal")
        assert (row.url, row.attribution, row.generator) == (None, None, None)
    surname = notes[2].output.split()[1]
    assert f" {surname} was admitted" in notes[0].input and f"Mr. {surname} on" in notes[1].input
    assert (built.ledger["key_id"], built.key) == (key_id(ZERO), key_path(None))
    [source] = built.ledger["sources"]
    assert (source["attribution"], source["url"]) == (None, None)
    assert source["files"][0]["name"] == keyed_hash(ZERO, f"{FILE_PIECE} letters.jsonl")
    recipe_source = built.ledger["recipe"]["sources"][0]
    assert recipe_source["path"] == keyed_hash(ZERO, f"raw/{FILE_PIECE} letters.jsonl")
    assert "secret" not in built.ledger["recipe"]["deidentify"]


def test_positions_of_surrogates_are_recorded(write, tmp_path, fixed_key):
    import polars as pl

    fixed_key()
    recipe, root = prepare(write)
    built = build(recipe, root, tmp_path / "out")
    assert "surrogate_spans.parquet" in built.ledger["files"]
    spans = pl.read_parquet(tmp_path / "out" / "surrogate_spans.parquet")
    assert spans.columns == ["id", "field", "start", "end", "class"]
    rows = {row.id: row for row in read_all_rows(tmp_path / "out")}
    assert set(spans["id"]) <= set(rows) and len(set(spans["id"])) == 3
    third = next(row for row in rows.values() if row.instruction == "Summarise note 2.")
    texts = {
        (field, kind): getattr(third, field)[start:end]
        for _, field, start, end, kind in spans.filter(pl.col("id") == third.id).iter_rows()
    }
    name = third.input.split(" called")[0].removeprefix("Mr. ")
    assert texts[("input", "name")] == name
    assert texts[("output", "name")] == name.split()[1]
    assert third.input == f"Mr. {name} called on {texts[('input', 'date')]}."


def test_explain_counts_surrogates_and_shows_no_origin(write, tmp_path, fixed_key):
    fixed_key()
    recipe, root = prepare(write)
    build(recipe, root, tmp_path / "out")
    row = next(row for row in read_all_rows(tmp_path / "out") if row.instruction == "Summarise note 2.")
    steps = {step.stage: step.text for step in explain(tmp_path / "out", row.id).steps}
    assert steps["raw"].startswith(f"{row.source_id}: keyed hash of file and location\n")
    assert steps["read"] == "changes of patient text are not recorded"
    assert steps["deidentify"] == "replaced by surrogates: date 1, name 2"
    assert steps["split"] == f"train, with all rows of group {row.group!r}"


def test_the_same_key_gives_the_same_bytes_and_another_key_other_rows(
    write, tmp_path, fixed_key, monkeypatch
):
    recipe, root = prepare(write, deidentify={"secret": "keys", "limit": 10_000})
    texts = []
    for home, number in (("one", 0), ("two", 0), ("three", 1)):
        monkeypatch.setenv("MEDALPACA_HOME", str(tmp_path / home))
        fixed_key(tmp_path / "keys", number)
        build(recipe, root, tmp_path / f"out-{home}")
        texts.append(contents(tmp_path / f"out-{home}"))
    assert texts[0] == texts[1]
    assert texts[0]["train.parquet"] != texts[2]["train.parquet"]
    assert not (tmp_path / "one" / "secrets").exists()


def test_another_key_gives_another_cache_entry(write, tmp_path, fixed_key):
    for number in (0, 1):
        fixed_key(number=number)
        recipe, root = prepare(write)
        built = build(recipe, root, tmp_path / f"out-{number}")
        assert built.ledger["key_id"] == key_id(number.to_bytes(32))
    rows = [read_all_rows(tmp_path / f"out-{number}") for number in (0, 1)]
    assert {row.group for row in rows[0]}.isdisjoint({row.group for row in rows[1]})


def test_a_build_writes_a_key_once_and_states_where_it_is(write, tmp_path, capsys):
    recipe, root = prepare(write)
    first = build(recipe, root, tmp_path / "out")
    key = load_secret(paths.secrets())
    assert build(recipe, root, tmp_path / "out").reused and load_secret(paths.secrets()) == key
    cli.main(["build", str(tmp_path / "recipe.yaml"), f"out={tmp_path / 'out'}"])
    screen = " ".join(capsys.readouterr().out.split())
    assert f"{first.key}: key of patient text (ID {key_id(key)}). Back it up" in screen
    assert "a repeated build and withdrawal (`data trace`) need it" in screen
    cli.main(["build", str(tmp_path / "recipe.yaml"), f"out={tmp_path / 'out'}", "--json"])
    assert json.loads(capsys.readouterr().out)["key"] == {"path": str(first.key), "id": key_id(key)}


def test_a_repeated_build_without_its_key_is_refused(write, tmp_path, fixed_key):
    recipe, root = prepare(write)
    out = tmp_path / "out"
    file = build(recipe, root, out).key
    old = file.rename(tmp_path / "backup.key")
    for there in (out, tmp_path / "new"):
        with pytest.raises(
            UserError, match=r"patient-text\.key: no key file, but .* was made with the key"
        ) as error:
            build(recipe, root, there)
        assert str(error.value).startswith(str(file)) and "restore the key from a backup" in str(error.value)
        assert not file.exists()
    fixed_key(number=5)
    with pytest.raises(
        UserError, match=rf"has the key {key_id((5).to_bytes(32))}, but {out} was made with the key"
    ):
        build(recipe, root, out)
    old.replace(file)
    assert build(recipe, root, out).reused


def test_no_key_is_written_without_patient_text(write, row, tmp_path):
    write("raw.json", [row(n) for n in range(5)])
    for deidentify in (None, {"mode": "check"}):
        values = {"name": "t", "sources": [{"kind": "alpaca", "path": "raw.json"}], "deidentify": deidentify}
        recipe, root = load_recipe(str(write("recipe.yaml", yaml.safe_dump(values))))
        built = build(recipe, root, tmp_path / f"out-{deidentify is None}")
        assert (built.key, built.ledger["key_id"]) == (None, None)
    assert not paths.secrets().exists()


def test_unmarked_sources_that_are_deidentified_keep_their_origin(build_letters, row, tmp_path, fixed_key):
    fixed_key()
    built = build_letters(
        [row(n, input="Call 617-867-5309.", group=f"thread {n}", url="https://a.org") for n in range(5)],
        source={"patient_text": False},
        deidentify={"mode": "replace", "limit": 10_000},
    )
    rows = read_all_rows(tmp_path / "out")
    assert {row.group for row in rows} == {f"thread {n}" for n in range(5)}
    assert {row.url for row in rows} == {"https://a.org"} and rows[0].source_id == "raw.json row 1"
    assert built.ledger["key_id"] == key_id(ZERO)
    assert built.ledger["sources"][0]["files"][0]["name"] == "raw.json"


def test_the_seed_of_an_older_recipe_is_refused(write):
    with pytest.raises(UserError, match=r"deidentify.seed is not allowed .*; remove seed from the recipe"):
        prepare(write, deidentify={"mode": "replace", "seed": 3})


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such modes")
def test_the_build_cache_is_private(write, tmp_path):
    recipe, root = prepare(write)
    build(recipe, root, tmp_path / "out")
    cache = paths.cache() / "build" / "t"
    assert stat.S_IMODE(cache.stat().st_mode) == 0o700
    # The original text stays there, as documented.
    assert any(CASE in text for text in contents(cache).values())


def test_worker_processes_give_the_same_rows(write, tmp_path, fixed_key, monkeypatch):
    fixed_key(tmp_path / "keys")
    recipe, root = prepare(write, deidentify={"secret": "keys", "limit": 10_000})
    for engine in ("serial", "processes"):
        monkeypatch.setenv("MEDALPACA_HOME", str(tmp_path / engine))
        build(recipe, root, tmp_path / f"out-{engine}", engine=engine, workers=2)
    assert contents(tmp_path / "out-serial") == contents(tmp_path / "out-processes")
