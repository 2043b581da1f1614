"""Comparison of two saved runs with known answers, and runs that are not comparable."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from medalpaca_data.core.errors import CheckFailed, UserError
from medalpaca_evalharness.cli import main
from medalpaca_evalharness.comparison import as_json, compare, format_interval
from medalpaca_evalharness.results import read_run
from medalpaca_evalharness.statistics import paired_interval


def always_b(doc: dict[str, Any]) -> int:
    return 1


def right(doc: dict[str, Any]) -> int:
    return doc["gold"]


def test_counts_match_the_answers(run, write_exam):
    exam = write_exam()
    found = compare(read_run(run("base", always_b, exam)), read_run(run("tuned", right, exam)))
    # B is the key of 1 of 4, 1 of 3, 1 of 5 items.
    counts = [
        (r.label, r.n, r.both_right, r.fixed, r.broken, r.both_wrong) for r in (*found.steps, found.pooled)
    ]
    assert counts == [
        ("Step 1", 4, 1, 3, 0, 0),
        ("Step 2", 3, 1, 2, 0, 0),
        ("Step 3", 5, 1, 4, 0, 0),
        ("All", 12, 3, 9, 0, 0),
    ]
    assert found.pooled.p == 2 / 2**9
    assert found.pooled.verdict == "better"
    for part in (
        "better",
        "+75.0 points",
        "+32.6 to +91.1",
        "12 items",
        "9 fixed",
        "0 broken",
        "p = 0.0039",
    ):
        assert part in found.sentence
    # Holm by hand: p of the steps 2/2^3, 2/2^2, 2/2^4.
    assert [(row.p, row.p_holm) for row in found.steps] == [(0.25, 0.5), (0.5, 0.5), (0.125, 0.375)]
    assert {row.verdict for row in found.steps} == {"not shown to differ"}
    options = [len(item.options) for item in _items(exam)]
    assert found.pooled.chance == pytest.approx(sum(1 / k for k in options) / 12)


def test_swapped_runs_reverse_the_verdict(run, write_exam):
    exam = write_exam()
    base, tuned = read_run(run("base", right, exam)), read_run(run("tuned", always_b, exam))
    assert compare(base, tuned).pooled.verdict == "worse"
    assert compare(base, tuned).sentence.startswith("Tuned is worse than base: -75.0 points")


def test_no_difference_states_the_detectable_difference(run, write_exam):
    exam = write_exam()
    base = read_run(run("base", always_b, exam))

    def little_better(doc):
        return doc["gold"] if doc["step"] == 2 else 1

    found = compare(base, read_run(run("tuned", little_better, exam)))
    assert found.pooled.verdict == "not shown to differ"
    assert found.sentence.endswith("with only 2 changed items, the exact test can never be significant.")
    alike = compare(base, read_run(run("again", always_b, exam)))
    assert alike.sentence.endswith("both answer the same 3 of 12 items correctly.")


def test_an_exam_without_steps_has_one_row(run, tmp_path):
    file = tmp_path / "mine.jsonl"
    items = [
        {"question": f"Which {i}?", "options": ["x", "y", "z"], "answer": "ABC"[i % 3]} for i in range(9)
    ]
    file.write_text("\n".join(map(json.dumps, items)))
    base = read_run(run("base", always_b, file, "medalpaca_exam"))
    found = compare(base, read_run(run("tuned", right, file, "medalpaca_exam")))
    assert found.steps == ()
    assert (found.pooled.n, found.pooled.fixed, found.pooled.chance) == (9, 6, pytest.approx(1 / 3))


def test_the_pocket_exam_uses_acc_norm(run, write_exam):
    base = read_run(run("base", always_b, write_exam(), "medalpaca_pocket", limit=10))
    assert base.metric == "acc_norm"
    assert base.limited


def test_compare_command(run, write_exam, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    exam = write_exam()
    base, tuned = run("base", always_b, exam), run("tuned", right, exam)
    file = next(tuned.rglob("results_*.json"))
    assert main(["compare", str(base), str(file)]) == 0
    shown = capsys.readouterr().out
    assert "better" in shown
    table = shown[shown.index("95 %") : shown.index("Tuned is")]
    assert all(len(line) <= 80 for line in table.splitlines())
    assert main(["compare", str(base), str(tuned), "--items"]) == 0
    shown = capsys.readouterr().out
    assert "Fixed (9): item, base -> tuned\n  step1-2  B -> A\n" in shown
    assert "Broken (0)" in shown
    assert main(["compare", str(tuned), str(base), "--items"]) == 0
    assert "  step1-2  A -> B  key A\n" in capsys.readouterr().out
    assert main(["compare", str(base), str(tuned), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report == json.loads(json.dumps(as_json(compare(read_run(base), read_run(tuned)))))
    assert (report["verdict"], report["all"]["fixed"]) == ("better", 9)
    assert len(report["fixed"]) == 9
    assert report["fixed"][0] == {"item": "step1-2", "step": 1, "key": "A", "base": "B", "tuned": "A"}
    assert report["broken"] == []


def test_incomparable_runs_are_refused(run, write_exam):
    exam, other = write_exam(), write_exam("other", texts=" (other)")
    base = read_run(run("base", always_b, exam))
    for tuned, message in (
        (run("another-exam", right, other), "different exams: base ran exam exam .*, tuned other"),
        (run("one-step", right, exam, "medalpaca_usmle_step1"), "different item sets: 8 only in base"),
        (run("part", right, exam, limit=2), "different item sets: 6 only in base"),
        (run("another-task", right, exam, "medalpaca_exam"), "different tasks"),
    ):
        with pytest.raises(CheckFailed, match=message):
            compare(base, read_run(tuned))


def test_a_copied_exam_is_the_same_exam(run, write_exam, tmp_path):
    exam = write_exam()
    moved = tmp_path / "elsewhere"
    shutil.copytree(exam, moved)
    compare(read_run(run("base", always_b, exam)), read_run(run("tuned", right, moved)))


def edit(
    directory: Path, change: Callable[[dict[str, Any]], None], pattern: str = "samples_*step1*.jsonl"
) -> None:
    file = next(directory.rglob(pattern))
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    for row in rows:
        change(row)
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))


CHANGED = [
    (lambda row: row.update(prompt_hash="x"), CheckFailed, "different texts shown for 4 items .step1-1"),
    (lambda row: row.update(target_hash="x"), CheckFailed, "different texts shown for 4 items"),
    (lambda row: row.update(acc=1.0), CheckFailed, "reports acc 0.25 .*samples give 1.0000"),
    (lambda row: row["filtered_resps"][0].__setitem__(0, "nan"), CheckFailed, "log-likelihood is nan"),
    (lambda row: row.update(acc=0.5), UserError, "acc is 0.5; expected 0 or 1"),
    (lambda row: row.pop("acc"), UserError, "not a scored sample"),
    (lambda row: row["doc"].update(exam_sha256="0"), UserError, "2 different values of exam"),
    (lambda row: row["doc"].pop("exam"), UserError, "line 1 doc: key 'exam'"),
    (lambda row: row["doc"].update(base=["x"]), UserError, "line 1 doc: key 'base'"),
    (lambda row: row["doc"].update(step="[red]1"), UserError, "line 1 doc: key 'step'"),
    (lambda row: row["doc"].update(choices=[]), UserError, "line 1: there are no choices"),
]


def test_a_changed_result_is_refused(run, write_exam, subtests):
    exam = write_exam()
    base, tuned = run("base", always_b, exam), run("tuned", always_b, exam)
    file = next(tuned.rglob("samples_*step1*.jsonl"))
    text = file.read_text()
    for change, error, message in CHANGED:
        file.write_text(text)
        edit(tuned, change)
        with subtests.test(message), pytest.raises(error, match=message):
            compare(read_run(base), read_run(tuned))


def test_another_prompt_is_refused(run, write_exam):
    exam = write_exam()
    base, tuned = run("base", always_b, exam), run("tuned", always_b, exam)
    for step in (1, 2, 3):
        edit(tuned, lambda row: row["doc"].update(prompt_id="letter-other"), f"samples_*step{step}*.jsonl")
    with pytest.raises(CheckFailed, match=r"different prompts: .* tuned with letter-other"):
        compare(read_run(base), read_run(tuned))


def test_several_runs_in_one_directory_are_listed(run, write_exam):
    exam = write_exam()
    both = run("both", always_b, exam)
    run("both", right, exam)
    with pytest.raises(
        UserError, match=r"2 runs in this directory; name one of them: .*results_.*, .*results_"
    ) as caught:
        read_run(both)
    assert "\n" not in str(caught.value)


def test_invalid_results_are_refused(run, write_exam, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"no results_.*--log_samples"):
        read_run(tmp_path / "empty")
    with pytest.raises(UserError, match="no such result"):
        read_run(tmp_path / "nothing")
    (tmp_path / "other.json").write_text("[]")
    with pytest.raises(UserError, match="not a results file"):
        read_run(tmp_path / "other.json")
    directory = run("base", always_b, write_exam())
    with pytest.raises(UserError, match="no task 'mmlu'; the file has: medalpaca_usmle"):
        read_run(directory, "mmlu")
    next(directory.rglob("samples_*step2*")).unlink()
    with pytest.raises(
        UserError, match=r"samples_medalpaca_usmle_step2_.*no such file; run lm_eval with --log_samples"
    ):
        read_run(directory)


def test_an_interrupted_run_is_refused(run, write_exam):
    directory = run("base", always_b, write_exam())
    file = next(directory.rglob("samples_*step3*"))
    file.write_text(file.read_text()[:-30])
    with pytest.raises(
        UserError, match=r"samples_medalpaca_usmle_step3.* line 5: not valid JSON.*run lm_eval again"
    ):
        read_run(directory)


def test_the_results_file_may_have_any_name(run, write_exam, tmp_path):
    directory = run("base", always_b, write_exam())
    file = next(directory.rglob("results_*.json"))
    renamed = file.rename(file.with_name(file.name.replace("results_", "my_base_")))
    assert len(read_run(renamed).answers) == len(read_run(directory).answers) == 12


def test_a_limited_run_is_noted(run, write_exam):
    base = read_run(run("base", always_b, write_exam(), limit=2))
    assert compare(base, base).notes == ("only part of the exam was evaluated (--limit or --samples)",)


def test_equal_weights_and_other_bases_are_noted(
    evaluate, answering, save, write_exam, tiny, tiny_of_other_size, adapter, tmp_path
):
    exam = str(write_exam())
    other_adapter = _adapter_of_the_shape_of(tiny_of_other_size, tmp_path / "other-adapter")

    def examine(name: str, **models: str) -> Any:
        found = evaluate(answering(always_b), "medalpaca_exam", {"exam": exam} | models)
        return read_run(save(found, tmp_path / name))

    base = examine("base", pretrained=str(tiny))
    tuned = examine("tuned", pretrained=str(tiny), peft=str(adapter))
    other = examine("other", pretrained=str(tiny_of_other_size), peft=str(other_adapter))
    assert compare(base, examine("again", pretrained=str(tiny))).notes == (
        "both runs evaluated the same weights",
    )
    assert compare(base, tuned).notes == ()
    assert compare(base, other).notes == ("the base model of the tuned run is not the model of the base run",)
    assert tuned.model == f"{tiny.name} + {adapter.name}"


def set_models(directory: Path, **names: str | None) -> Path:
    """Change the names of the models in the samples."""
    for step in (1, 2, 3):
        edit(directory, lambda row: row["doc"].update(names), f"samples_*step{step}*.jsonl")
    return directory


def configure(directory: Path, **config: Any) -> Path:
    """Change the configuration in the results."""
    file = next(directory.rglob("results_*.json"))
    results = json.loads(file.read_text())
    results["config"] |= config
    file.write_text(json.dumps(results))
    return directory


def test_hub_models_are_compared_by_name(run, write_exam):
    exam = write_exam()
    base = read_run(set_models(run("base", always_b, exam), base="owner/one"))
    same = read_run(set_models(run("same", always_b, exam), base="owner/one@main"))
    tuned = read_run(set_models(run("tuned", right, exam), base="owner/one", adapter="owner/lora"))
    other = read_run(set_models(run("other", right, exam), base="owner/two"))
    foreign = read_run(set_models(run("foreign", right, exam), base="owner/two", adapter="owner/lora"))
    assert compare(base, same).notes == ("both runs evaluated the same weights",)
    assert compare(base, tuned).notes == compare(base, other).notes == ()
    with pytest.raises(
        CheckFailed, match=r"different bases: base ran owner/one, the adapter of tuned ran on owner/two"
    ):
        compare(base, foreign)


def test_different_settings_are_noted(run, write_exam, capsys):
    exam = write_exam()
    base = configure(
        run("base", always_b, exam),
        model="hf",
        model_dtype="torch.float32",
        model_args="pretrained=a,tokenizer=[bold]t",
    )
    tuned = configure(
        run("tuned", right, exam),
        model="vllm",
        model_dtype="torch.bfloat16",
        model_args={"pretrained": "b", "peft": "c", "dtype": "bfloat16"},
    )
    assert compare(read_run(base), read_run(base)).notes == ()
    assert main(["compare", str(base), str(tuned)]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    for part in ("dtype torch.float32 / torch.bfloat16", "model hf / vllm", "tokenizer [bold]t / not set"):
        assert part in shown


def test_markup_in_names_is_not_rendered(run, write_exam, capsys):
    exam = write_exam("[red]exam:smile:")
    base, tuned = run("base", always_b, exam), run("tuned", right, exam)
    assert main(["compare", str(set_models(base, base="a[/b]:warning:")), str(tuned)]) == 0
    shown = capsys.readouterr().out
    assert "[red]exam:smile:" in shown
    assert "b]:warning:" in shown


def test_one_step_of_a_run(run, write_exam, capsys):
    exam = write_exam()
    base, step = run("base", always_b, exam), run("step", right, exam, "medalpaca_usmle_step1")
    assert main(["compare", str(base), str(step), "--task", "medalpaca_usmle_step1", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["task"], report["all"]["n"], report["all"]["fixed"]) == ("medalpaca_usmle_step1", 4, 3)
    with pytest.raises(UserError, match="no task 'medalpaca_usmle_step2'; the file has"):
        read_run(step, "medalpaca_usmle_step2")


def test_a_damaged_results_file_is_a_user_error(run, write_exam, subtests):
    directory = run("base", always_b, write_exam())
    file = next(directory.rglob("results_*.json"))
    results = json.loads(file.read_text())
    for damaged, message in (
        ({key: value for key, value in results.items() if key != "results"}, "not a results file"),
        (results | {"results": []}, "not a results file"),
        (results | {"configs": {"medalpaca_exam": 1}}, "none of its tasks"),
        (results | {"configs": {"medalpaca_exam": {"metadata": 1}}}, "none of its tasks"),
    ):
        file.write_text(json.dumps(damaged))
        with subtests.test(message), pytest.raises(UserError, match=message):
            read_run(directory)
    file.write_text(json.dumps(results | {"config": 3, "n-samples": {"medalpaca_usmle_step1": 3}}))
    assert len(read_run(directory).answers) == 12


def _adapter_of_the_shape_of(base: Path, directory: Path) -> Path:
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    config = LoraConfig(r=2, target_modules=["q_proj"], task_type="CAUSAL_LM")
    get_peft_model(AutoModelForCausalLM.from_pretrained(base), config).save_pretrained(directory)
    return directory


def _items(exam: Path) -> Any:
    from medalpaca_data.exams.exam import load_exam

    return load_exam(exam).items


@pytest.mark.parametrize(
    ("counts", "shown"),
    [
        # p = 0.0490: the bound is above 0 and must not be shown as +0.0.
        ((4183, 13, 4), "+0.02 to +0.4"),
        ((324, 25, 12), "+0.3 to +7.9"),
        ((60, 5, 0), "+0.0 to +18.1"),
    ],
)
def test_a_bound_that_is_not_zero_is_not_shown_as_zero(counts, shown):
    assert format_interval(paired_interval(*counts)) == shown
