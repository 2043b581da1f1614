"""Tasks that let the model write: through lm-eval, into `exam show` and `exam compare`, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from medalpaca_data.core.errors import CheckFailed, UserError
from medalpaca_evalharness.answer_extraction import MIN_TRUNCATED_CHARS, OUTCOMES, flexible_filter
from medalpaca_evalharness.cli import main
from medalpaca_evalharness.comparison import compare
from medalpaca_evalharness.preflight import _pass_to_filters, _think_end_token
from medalpaca_evalharness.report.verify import Locations, verify
from medalpaca_evalharness.results import read_run
from medalpaca_evalharness.run_summary import summarize_run
from medalpaca_evalharness.scoring import process_letter, process_text

GEN = "medalpaca_usmle_gen"


@pytest.fixture
def run(evaluate, writing, save, tmp_path) -> Callable[..., Path]:
    def make(
        name: str, write: Callable[[dict[str, Any]], str], exam: Path, task: str = GEN, **options: Any
    ) -> Path:
        return save(evaluate(writing(write), task, {"exam": str(exam)}, **options), tmp_path / name)

    return make


def knows(doc: dict[str, Any]) -> str:
    return f"<think>Hm, A?</think>Because.\nAnswer: {doc['letters'][doc['gold']]}"


def mixed(doc: dict[str, Any]) -> str:
    """One way to go wrong after another, by the number in the id."""
    number = int(doc["item_id"].rpartition("-")[2])
    wrong = doc["letters"][(doc["gold"] + 1) % len(doc["letters"])]
    texts = ["I am unable to answer.", "no idea", "<think>and so on", f"({wrong})"]
    return texts[number % 4]


def test_generated_answers_are_compared(run, write_exam, capsys):
    exam = write_exam()
    base, tuned = run("base", mixed, exam), run("tuned", knows, exam)
    found = compare(read_run(base), read_run(tuned))
    assert (found.pooled.fixed, found.pooled.broken, found.pooled.n) == (12, 0, 12)
    assert [row.label for row in found.steps] == ["Step 1", "Step 2", "Step 3"]
    assert {flip.base for flip in found.flips} <= {"unparsed", "refused", "truncated", *"ABCDEF"}
    assert {flip.base for flip in found.flips} >= {"unparsed", "refused", "truncated"}
    assert all(flip.tuned == flip.key for flip in found.flips)
    assert main(["compare", str(base), str(tuned), "--items"]) == 0
    assert "truncated -> " in capsys.readouterr().out


def explains(doc: dict[str, Any]) -> str:
    """The right letter in a form that the filter `strict` does not read."""
    return f"It is obviously number {1 + doc['gold']}."


def test_a_difference_of_format_is_named(run, write_exam, tmp_path, capsys):
    """Both models know every answer; one writes it in a form from which no letter is extracted."""
    exam = write_exam()
    base, tuned = run("base", explains, exam), run("tuned", knows, exam)
    found = compare(read_run(base), read_run(tuned))
    gap = found.outcome_difference
    assert gap is not None
    assert (gap.base["unparsed"], sum(gap.tuned.values()), gap.n) == (12, 0, 12)
    assert (gap.lowest, gap.highest) == (0.0, 1.0)
    assert (gap.selected, gap.difference, gap.interval) == (0, None, None)
    assert found.sentence.endswith(
        "The models differ in how often an answer was found: missing are 12 of 12 answers of base (12 unparsed) and 0 "
        "of 12 answers of tuned. Depending on these answers, the difference is between +0.0 and +100.0 points. No item "
        "was answered by both."
    )
    assert main(["compare", str(base), str(tuned), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["outcome_difference"]["highest"] == 1.0
    page = tmp_path / "report.html"
    assert main(["report", str(base), str(tuned), "--out", str(page)]) == 0
    assert "the difference would be +0.0 points; in the reverse case +100.0 points" in page.read_text()
    assert verify(page, Locations()).problems == []


def test_equally_many_missing_answers_are_no_difference(run, write_exam):
    exam = write_exam()
    assert (
        compare(read_run(run("base", mixed, exam)), read_run(run("tuned", mixed, exam))).outcome_difference
        is None
    )


def test_show_counts_outcomes(run, write_exam, capsys):
    directory = run("base", mixed, write_exam())
    parts = summarize_run(read_run(directory))
    assert [part.label for part in parts] == ["Step 1", "Step 2", "Step 3", "All"]
    assert [part.n for part in parts] == [4, 3, 5, 12]
    # Numbers 1-4, 1-3 and 1-5: number 1 and 5 say nothing, 2 is cut off, 3 answers wrongly, 4 refuses.
    assert dict(parts[-1].outcomes) == {"correct": 0, "wrong": 3, "unparsed": 4, "refused": 2, "truncated": 3}
    assert all(sum(part.outcomes.values()) == part.n for part in parts)
    assert main(["show", str(directory)]) == 0
    text = capsys.readouterr().out
    assert all(len(line) <= 80 for line in text.splitlines()[2:])  # what comes before are names
    assert main(["show", str(directory), "--json", "--task", f"{GEN}_step3"]) == 0
    (part,) = json.loads(capsys.readouterr().out)["parts"]
    assert (part["n"], part["refused"], part["accuracy_of_answered"]) == (5, 1, 0.0)


def test_show_of_likelihoods(pair, capsys):
    base, tuned = pair()
    assert [part.right for part in summarize_run(read_run(base))] == [1, 1, 1, 3]
    assert main(["show", str(tuned)]) == 0
    assert "All" in capsys.readouterr().out


def test_a_letter_beyond_the_options_is_wrong(run, write_exam):
    # The 2023 rule takes "I am not sure" for the answer I, which none of these items has.
    directory = run("base", lambda doc: "I am not sure", write_exam(), "medalpaca_usmle_2023")
    answers = read_run(directory).answers.values()
    assert {(answer.outcome, answer.chosen) for answer in answers} == {("wrong", None)}
    notes = compare(read_run(directory), read_run(directory)).notes
    assert any("drawn at random" in note for note in notes)


@pytest.mark.parametrize("task", [GEN, "medalpaca_usmle_2023"])
def test_report_of_generated_answers(run, write_exam, tmp_path, task, capsys):
    exam = write_exam()
    base, tuned = run("base", mixed, exam, task), run("tuned", knows, exam, task)
    out = tmp_path / "r.html"
    assert main(["report", str(base), str(tuned), "--out", str(out)]) == 0
    report = json.loads(out.with_suffix(".json").read_text())
    found = report["sides"]["base"]["scores"][-1]
    counted = dict(summarize_run(read_run(base))[-1].outcomes)
    assert {name: found[name] for name in OUTCOMES} == counted
    assert sum(counted.values()) == found["n"] == 12
    assert report["sides"]["base"]["calibration"] is None
    assert any("how sure a model is" in line for line in report["not_tested"])
    assert not any("nothing was generated" in line for line in report["not_tested"])
    html = out.read_text()
    assert "Not possible here: the answers were written" in html
    assert "no answer found" in html
    assert ("Answers were drawn at random" in html) == (task != GEN)
    assert verify(out, Locations()).problems == []


@pytest.mark.browser
@pytest.mark.slow
def test_report_of_generated_answers_in_a_browser(run, write_exam, tmp_path, browse):
    out, exam = tmp_path / "r.html", write_exam()
    main(["report", str(run("base", mixed, exam)), str(run("tuned", knows, exam)), "--out", str(out)])
    for width, scheme in ((390, "dark"), (1100, "light")):
        assert "no answer found" in browse(out, width, scheme).text


def test_verification_finds_an_invented_answer(run, write_exam, tmp_path):
    exam = write_exam()
    base, tuned = run("base", mixed, exam), run("tuned", knows, exam)
    out = tmp_path / "r.html"
    main(["report", str(base), str(tuned), "--out", str(out)])
    file = next(base.rglob("samples_*step2*"))
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    text = file.read_text()
    # The strict filter's record: no score in the report comes from it, and it is checked all the same.
    other = next(row for row in rows if row["filter"] == "strict")
    other["filtered_resps"] = [["A", "answer line"]]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = "\n".join(verify(out, Locations()).problems)
    assert f"{other['doc']['item_id']}: its answer changed since it was logged" in found
    file.write_text(text)
    assert verify(out, Locations()).problems == []
    rows = [json.loads(line) for line in text.splitlines()]
    chosen = next(row for row in rows if row["filter"] == "flexible")
    chosen["resps"] = [["Answer: A"]]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = "\n".join(verify(out, Locations()).problems)
    assert f"{chosen['doc']['item_id']}: its sample differs from the one in the report" in found
    assert f"{chosen['doc']['item_id']}: its answer changed since it was logged" in found
    file.write_text("".join(json.dumps(row) + "\n" for row in rows if row is not chosen))
    assert f"item {chosen['doc']['item_id']} is missing in the samples" in "\n".join(
        verify(out, Locations()).problems
    )
    with pytest.raises(CheckFailed, match="its answer changed since it was logged"):
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
        main(["report", str(base), str(tuned), "--out", str(out)])


def test_different_generation_settings_are_refused(run, write_exam):
    exam = write_exam()
    base = run("base", knows, exam)
    tuned = run("tuned", knows, exam, gen_kwargs="max_gen_toks=64")
    with pytest.raises(CheckFailed, match=r"different texts shown for 12 items .* the same --gen_kwargs"):
        compare(read_run(base), read_run(tuned))


def test_different_scoring_is_refused(run, pair, write_exam):
    exam = write_exam()
    with pytest.raises(CheckFailed, match="different tasks"):
        compare(read_run(pair(exam=exam)[0]), read_run(run("gen", knows, exam)))


def test_a_changed_answer_is_refused(run, write_exam):
    directory = run("base", knows, write_exam())
    file = next(directory.rglob("samples_*step2*"))
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    for row in rows:
        if row["filter"] == "flexible":
            row["filtered_resps"] = [["A" if row["doc"]["gold"] else "B", "answer line"]]
    file.write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(CheckFailed, match="is logged as right, which contradicts its logged answer"):
        read_run(directory)
    for row in rows:
        row["filtered_resps"] = [["", "tired"]]
    file.write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(UserError, match="not a scored sample"):
        read_run(directory)


def test_generation_defaults(evaluate, writing, write_exam):
    found = evaluate(writing(knows), GEN, {"exam": str(write_exam())})
    sample = found["samples"][f"{GEN}_step1"][0]
    assert sample["arguments"][0][1] == {
        "do_sample": False,
        "temperature": 0.0,
        "max_gen_toks": 1024,
        "until": ["### Instruction:"],
    }
    assert found["n-shot"][f"{GEN}_step1"] == 0
    assert found["results"][GEN]["acc,flexible"] == found["results"][GEN]["acc,strict"] == 1.0


@pytest.mark.parametrize("templated", [False, True])
def test_a_tiny_model_with_and_without_a_chat_template(tiny, write_exam, evaluate, templated):
    found = evaluate(
        "hf",
        "medalpaca_exam_gen",
        {"exam": str(write_exam(steps={1: 2}))},
        model_args={"pretrained": str(tiny)},
        device="cpu",
        batch_size=2,
        gen_kwargs="max_gen_toks=8",
        apply_chat_template=templated,
    )
    result = found["results"]["medalpaca_exam_gen"]
    # Random words never end, and eight tokens are no sentence: it is the count that tells.
    assert all(
        len(sample["resps"][0][0]) < MIN_TRUNCATED_CHARS for sample in found["samples"]["medalpaca_exam_gen"]
    )
    for name in ("flexible", "strict"):
        assert result[f"truncated,{name}"] == 1.0
        assert sum(result[f"{outcome},{name}"] for outcome in OUTCOMES) == 1.0
    sample = found["samples"]["medalpaca_exam_gen"][0]
    # The template of our runs leaves a rendered prompt as it is, but for the start token.
    assert sample["arguments"][0][0] == ("<s>" if templated else "") + sample["doc"]["prompt"]


def test_a_full_text_without_an_answer_is_truncated():
    doc = {"letters": ["A", "B"], "options": ["x", "y"], "gold": 0}
    message = [["Hm"], ["Hm."], ["Answer: A"], ["I cannot answer"], ["<think>"]]
    found = flexible_filter(message, [doc] * 5, is_full=lambda text: text != "Hm.")
    assert [letter or rule for letter, rule in found] == [
        "truncated",
        "unparsed",
        "A",
        "refused",
        "truncated",
    ]


def test_the_filters_receive_the_think_end_token_of_the_model():
    made = SimpleNamespace(func=dict, keywords={"filter_fn": flexible_filter})
    task = SimpleNamespace(_filters=[SimpleNamespace(filters=[made])])
    _pass_to_filters(task, think_end_token=_think_end_token(SimpleNamespace(think_end_token="DONE")))
    filter_fn = task._filters[0].filters[0].keywords["filter_fn"]
    doc = {"letters": ["A", "B"], "options": ["x", "y"], "gold": 0}
    assert filter_fn([["The answer is A. DONE B"]], [doc]) == [["B", "whole text"]]
    by_id = SimpleNamespace(think_end_token=7, tok_decode=lambda ids, skip_special_tokens: f"<{ids[0]}>")
    assert _think_end_token(by_id) == "<7>"


def test_results_of_another_version_are_not_compared(run, write_exam):
    exam = write_exam()
    base, tuned = run("base", mixed, exam), run("tuned", knows, exam)
    file = next(base.rglob("results*.json"))
    results = json.loads(file.read_text())
    for config in results["configs"].values():
        config["metadata"]["version"] = 1.0
    file.write_text(json.dumps(results))
    with pytest.raises(CheckFailed, match=r"different rules .* base ran version 1.0 .*, tuned version 2.0"):
        compare(read_run(base), read_run(tuned))


def test_no_space_for_the_answer_is_one_line(tiny, write_exam, evaluate):
    exam = {"exam": str(write_exam())}
    with pytest.raises(
        UserError, match=r"items do not fit the model's 1024 tokens minus 1024 for the answer .*max_gen_toks="
    ):
        evaluate("hf", "medalpaca_exam_gen", exam, model_args={"pretrained": str(tiny)}, device="cpu")


def test_a_missing_step_names_the_task_with_the_same_scoring(tmp_path, evaluate, writing):
    file = tmp_path / "mine.jsonl"
    file.write_text(json.dumps({"question": "Which?", "options": ["x", "y"], "answer": "B"}))
    for task, whole in (
        ("medalpaca_usmle", "medalpaca_exam"),
        ("medalpaca_usmle_text", "medalpaca_exam_text"),
        (GEN, "medalpaca_exam_gen"),
        ("medalpaca_usmle_2023", "medalpaca_exam"),
    ):
        with pytest.raises(UserError, match=rf"or {whole} for all items"):
            evaluate(writing(knows), task, {"exam": str(file)})


def test_nan_is_no_answer():
    doc = {"letters": ["A", "B"], "choices": ["x", "yy"], "gold": 0}
    for score in (process_letter, process_text):
        metrics = score(doc, [(float("nan"), False), (-1.0, False)])
        assert (metrics["acc"], metrics["unparsed"], metrics["wrong"]) == (0.0, 1.0, 0.0)
    # The first of equals, as in lm-eval; and texts by their length.
    assert process_letter(doc, [(-1.0, False), (-1.0, False)])["acc"] == 1.0
    metrics = process_text(doc, [(-1.0, False), (-1.5, False)])
    assert (metrics["acc"], metrics["acc_norm"], metrics["wrong"]) == (1.0, 0.0, 1.0)
