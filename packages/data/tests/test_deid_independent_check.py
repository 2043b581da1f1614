"""The independent check: what it must not read, what it recognises, and its estimates on notes of other templates."""

from __future__ import annotations

import ast
import importlib.util
import io
import json
import random
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import medalpaca_data.deid
from medalpaca_data.build import build
from medalpaca_data.core.errors import UserError
from medalpaca_data.deid import find, independent_check, replace
from medalpaca_data.deid.check_features import HIDDEN, hide_surrogates, tokenize
from medalpaca_data.deid.check_model import CLASSES, FILE, GROUPS, stored
from medalpaca_data.deid.independent_check import LeakEstimate, estimate, rows_needed
from medalpaca_data.deid.rules import Span
from medalpaca_data.recipe import Recipe

TOOLS = Path(__file__).parents[3] / "tools"
FOLDER = Path(medalpaca_data.deid.__file__).parent
DIRECT = {"name", "bare", "date", "phone", "fax", "ssn", "mrn", "plan", "email", "account"}
SENTENCES = [
    "Most people recover within a few weeks.",
    "The disease is inherited in an autosomal recessive pattern.",
    "Treatment depends on the stage of the cancer and on general health.",
    "Talk to your health care provider about the risks and benefits.",
    "High blood pressure often has no symptoms.",
]


def tool(name):
    """Return a module of the folder tools/."""
    if name not in sys.modules:
        if name != "independent_check_notes":
            tool("independent_check_notes")
        spec = importlib.util.spec_from_file_location(name, TOOLS / f"{name}.py")
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


def other_notes(count, seed):
    """Return notes of the templates that only this test has."""
    notes = tool("independent_check_notes")
    source = notes.Notes(random.Random(seed), SENTENCES)
    source.templates = notes.templates(Path(__file__).with_name("test_deid_check_templates.txt"))
    return [source.note(n % len(source.templates)) for n in range(count)]


def shared_notes(real):
    """Return the annotated notes of the shared folder."""
    file = real.parent / "cases" / "deid" / "notes.jsonl"
    if not file.is_file():
        pytest.skip("no annotated notes: cases/deid/notes.jsonl is not in the shared folder")
    notes = tool("independent_check_notes")
    return [
        notes.Note(0, note["style"], note["text"], tuple(map(tuple, note["spans"])))
        for note in map(json.loads, file.read_text(encoding="utf-8").splitlines())
    ]


def replaced(note, left=frozenset(), record="r", seed=0):
    return tool("independent_check_notes").partly_replaced(note.text, note.spans, left, record, seed)[0]


def estimates(notes, k, seeds):
    """Return the estimate for each seed: all annotated identifiers replaced, `k` direct ones put back."""
    direct = [
        (n, i) for n, note in enumerate(notes) for i, span in enumerate(note.spans) if span[2] in DIRECT
    ]
    found = []
    for seed in seeds:
        back = set(random.Random(1000 * k + seed).sample(direct, k))
        texts = [
            replaced(note, frozenset(i for i in range(len(note.spans)) if (n, i) in back), str(n), seed)
            for n, note in enumerate(notes)
        ]
        found.append(estimate(texts))
    return found


def check_estimates(notes_of_seed, k, seeds):
    found = [one for seed in seeds for one in estimates(notes_of_seed(seed), k, [seed])]
    mean = sum(one.mean for one in found) / len(found)
    assert abs(mean - k) <= max(10, k / 2), [round(one.mean) for one in found]
    covered = sum(one.upper >= k for one in found)
    assert covered >= 0.85 * len(found), [round(one.upper) for one in found]
    return mean, covered


# Independence ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("module", ["check_features", "check_model", "independent_check"])
def test_the_check_imports_nothing_of_the_detector(module):
    tree = ast.parse((FOLDER / f"{module}.py").read_text(encoding="utf-8"))
    names = {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.level}
    assert names <= {"check_features", "check_model", "core.files"}


@pytest.mark.parametrize("answer", ["nothing", "everything"])
def test_the_estimate_does_not_depend_on_the_detector(monkeypatch, answer):
    texts = [note.text for note in other_notes(20, 1)]
    before = estimate(texts)

    def patched(texts, *arguments, **options):
        return [[Span(0, len(text), "name", "patched")] if answer == "everything" else [] for text in texts]

    monkeypatch.setattr(find, "find_identifiers", patched)
    assert estimate(texts) == before
    assert before.mean > 50


def test_a_detector_that_finds_nothing_does_not_pass_a_build(monkeypatch, tmp_path):
    """The same detector would count zero identifiers in its own output."""
    monkeypatch.setattr(find, "find_identifiers", lambda texts, *_, **__: [[] for _ in texts])
    monkeypatch.setattr(replace, "find_identifiers", find.find_identifiers)
    with pytest.raises(
        UserError, match=r"source 'notes': checked independently: .*\(name \d+, date \d+, .*limit=500"
    ):
        build_notes(tmp_path, [note.text for note in other_notes(40, 2)])


def build_notes(tmp_path, texts, **keys):
    rows = [
        {"instruction": f"Summarise note {n}.", "input": text, "output": "Done."}
        for n, text in enumerate(texts)
    ]
    (tmp_path / "rows.json").write_text(json.dumps(rows), encoding="utf-8")
    source = {"kind": "alpaca", "name": "notes", "path": "rows.json", "patient_text": True}
    deidentify = {"mode": "replace", "limit": 500, **keys}
    recipe = {
        "name": "n",
        "sources": [source],
        "deidentify": deidentify,
        "near_duplicates": None,
        "validation": 0,
    }
    return build(Recipe.model_validate(recipe), tmp_path, tmp_path / "out")


# Surrogates -----------------------------------------------------------------------------------------------------


def test_surrogates_are_hidden():
    """Another seed draws other surrogates; the model sees no difference between the two texts."""
    for n, note in enumerate(other_notes(100, 3)):
        one, two = (
            [token.text for token in tokenize(hide_surrogates(text)) if token.text[0] != HIDDEN]
            for text in (replaced(note, record=str(n), seed=seed) for seed in (0, 1))
        )
        assert one == two


@pytest.mark.parametrize(
    "text",
    [
        "Bralvado", "BRALVADO", "Bralvabado", "cromdelno", "(617) 555-0123", "617.555.0123", "0415 550123", "x00012",
        "000-12-3456",
        "000 12 3456", "00000012", "X000012", "000-00-0012", "bralvado@example.org", "1/2/2145", "03.04.2145",
        "2145-03-04", "21450304",
        "March 3, 2145", "3. März 2145", "3rd of March 2145", "Mar 2145", "[DATE]", "90 or older", "Q.",
    ],
)  # fmt: skip
def test_every_form_of_a_surrogate_is_hidden(text):
    shown = hide_surrogates(f"seen by {text} today")
    assert shown.replace(HIDDEN, "").split() == ["seen", "by", "today"]


@pytest.mark.parametrize(
    "text",
    [
        "(617) 867-5309",
        "123-45-6789",
        "A123456",
        "03/05/2020",
        "3/5",
        "Oct 12, 2019",
        "Marquez",
        "x21268",
        "10:30",
    ],
)
def test_originals_are_not_hidden(text):
    assert HIDDEN not in hide_surrogates(f"seen by {text} today")


# The estimate ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("k", [0, 20, 50, 200])
def test_estimate_and_bound_on_notes_of_other_templates(k):
    check_estimates(lambda seed: other_notes(100, seed), k, range(4))


@pytest.mark.slow
@pytest.mark.parametrize("k", [0, 20, 50, 200])
def test_estimate_and_bound_for_twenty_seeds(k):
    check_estimates(lambda seed: other_notes(100, seed), k, range(20))


@pytest.mark.slow
@pytest.mark.parametrize("k", [0, 20, 50, 200])
def test_estimate_and_bound_on_the_shared_notes(real, k):
    notes = shared_notes(real)
    check_estimates(lambda seed: notes, k, range(20))


def test_a_limit_of_500_passes_replaced_notes_and_refuses_what_the_detector_leaves(real, tmp_path):
    notes = shared_notes(real)
    texts = [replaced(note, record=str(n)) for n, note in enumerate(notes)]
    [record] = build_notes(tmp_path, texts).ledger["deidentification"]
    assert record["within_limit"] and record["independent_check"]["upper_95_per_1000"] <= 500
    (tmp_path / "second").mkdir()
    with pytest.raises(
        UserError, match=r"direct identifiers per 1,000 rows \(95 %\), .*\(name \d+, .*limit=500;"
    ):
        build_notes(tmp_path / "second", [note.text for note in notes], profile="precise")


def test_no_hit_gives_the_rule_of_three_divided_by_recall():
    found = estimate(["The wound was clean and dry."] * 100)
    assert (found.rows, found.mean, dict(found.by_class)) == (100, 0, {})
    assert 3 < found.upper < 3 / 0.4
    assert found.upper_per_1000 == pytest.approx(10 * found.upper)


def test_no_rows_give_no_estimate():
    assert estimate([]) == LeakEstimate(0, 0.0, 0.0)
    assert (estimate([]).mean_per_1000, estimate([]).upper_per_1000) == (0, 0)


@given(
    st.dictionaries(st.sampled_from(CLASSES[1:-1]), st.integers(0, 500)),
    st.integers(1, 5000),
    st.integers(1, 300),
)
def test_the_bound_is_above_the_estimate_and_rises_with_the_hits(hits, rows, words):
    counts = {f"{kind} suspected": n for kind, n in hits.items()}
    counts |= {independent_check.ROWS: rows, independent_check.WORDS: rows * words}
    found = independent_check.from_counts(counts)
    assert 0 <= found.mean < found.upper
    assert sum(found.by_class.values()) == pytest.approx(found.mean)
    more = independent_check.from_counts({**counts, "name suspected": counts.get("name suspected", 0) + 50})
    assert more.mean >= found.mean and more.upper > found.upper


@settings(max_examples=50, deadline=None)
@given(st.lists(st.text(max_size=200), max_size=4))
def test_any_text_is_counted_and_counts_add_up(texts):
    whole = independent_check.count(texts)
    parts = sum((independent_check.count([text]) for text in texts), Counter())
    assert +whole == +parts


@pytest.mark.parametrize(("limit", "rows"), [(1, 3000), (50, 60), (500, 6), (0.1, 30000), (0, None)])
def test_rows_that_can_prove_a_limit(limit, rows):
    assert rows_needed(limit) == rows


# The model ------------------------------------------------------------------------------------------------------


def test_the_file_is_small_and_holds_arrays_only():
    data = (FOLDER / FILE).read_bytes()
    assert len(data) < 1_000_000
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        assert set(arrays) == {"weights", "scale", "known_l", "known_c", "calibration"}
        calibration = json.loads(arrays["calibration"].tobytes())
    assert calibration["groups"].keys() == set(GROUPS.values())
    assert all(rates["recall"] > 0.4 for rates in calibration["groups"].values())


def test_a_note_of_500_words_takes_less_than_15_milliseconds():
    notes = [replaced(note, record=str(n)) for n, note in enumerate(other_notes(300, 5))]
    texts = ["\n".join(notes[n : n + 10]) for n in range(0, len(notes), 10)]
    # The sums of frequent words are stored after some texts.
    estimate(texts[:15])
    words = sum(len(text.split()) for text in texts[15:])
    start = time.process_time()
    estimate(texts[15:])
    assert 500 * (time.process_time() - start) / words < 0.015


@pytest.mark.slow
def test_the_training_reproduces_the_weights(real):
    training = tool("train_independent_check")
    texts = training.documents(real.parent)
    tables = training.known_tables(texts)
    sentences = [one for text in texts for one in text]
    weights, _ = training.pack(training.train(tables, lambda text: True, sentences))
    with np.load(FOLDER / FILE, allow_pickle=False) as arrays:
        assert all((arrays[f"known_{letter}"] == tables[letter]).all() for letter in "lc")
        # Another processor may round the exponential function differently.
        assert (np.abs(arrays["weights"].astype(int) - weights) <= 1).mean() > 0.999
    assert stored()[2]
