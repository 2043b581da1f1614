"""The tasks inside lm-eval: exact scores of models whose answers are known, and checks before it runs."""

from __future__ import annotations

import shutil

import pytest

from medalpaca_data.core.errors import UserError
from medalpaca_data.exams.exam import load_exam
from medalpaca_evalharness.task_list import GROUPS, TASKS

USMLE = ["medalpaca_usmle"] + [f"medalpaca_usmle_step{n}" for n in (1, 2, 3)]


def test_the_tasks_are_found():
    from lm_eval.tasks import TaskManager

    manager = TaskManager(include_defaults=False)
    assert [name for name in manager.all_tasks if name.startswith("medalpaca")] == sorted(TASKS | GROUPS)
    assert sorted(manager.all_groups) == sorted(GROUPS)


def test_a_model_that_is_always_right(write_exam, evaluate, answering):
    found = evaluate(answering(lambda doc: doc["gold"]), "medalpaca_usmle", {"exam": str(write_exam())})
    assert {found["results"][task]["acc,none"] for task in USMLE} == {1.0}


def test_a_model_that_always_says_b_scores_the_share_of_b(write_exam, evaluate, answering):
    # Keys of the synthetic exam: BACD BAD CABEC, so B is right in 1 of 4, 1 of 3 and 1 of 5.
    found = evaluate(answering(lambda doc: 1), "medalpaca_usmle", {"exam": str(write_exam())})["results"]
    shares = [found[task]["acc,none"] for task in USMLE[1:]]
    assert shares == [1 / 4, 1 / 3, 1 / 5]
    # Weighted by size: 3 of 12 items, not the mean of the three shares.
    assert found["medalpaca_usmle"]["acc,none"] == pytest.approx(3 / 12)
    assert found["medalpaca_usmle"]["sample_len"] == 12


def test_the_pocket_exam_by_text(evaluate, answering):
    found = evaluate(answering(lambda doc: doc["gold"]), "medalpaca_pocket")["results"]["medalpaca_pocket"]
    assert (found["acc_norm,none"], found["acc,none"]) == (1.0, 1.0)
    assert found["sample_len"] == len(load_exam("medalpaca_pocket").items)


def test_few_shots_are_locked_out(write_exam, evaluate, answering):
    found = evaluate(answering(lambda doc: 0), "medalpaca_exam", {"exam": str(write_exam())}, num_fewshot=5)
    assert found["n-shot"]["medalpaca_exam"] == 0


def test_a_user_error_comes_through_the_python_interface(evaluate, answering, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.delenv("MEDALPACA_EXAM", raising=False)
    with pytest.raises(UserError, match="no exam named"):
        evaluate(answering(lambda doc: 0), "medalpaca_usmle")


def test_the_exam_is_looked_for_before_the_model_is_loaded(evaluate, monkeypatch):
    from lm_eval.api import registry

    monkeypatch.setattr(registry, "get_model", lambda name: pytest.fail("the model was loaded"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.delenv("MEDALPACA_EXAM", raising=False)
    with pytest.raises(UserError, match="no exam named"):
        evaluate("hf", "medalpaca_usmle_step1", model_args="pretrained=owner/name")


def test_model_arguments_as_a_string_are_checked_before_the_model_is_loaded(
    adapter, tiny_of_other_size, monkeypatch
):
    from lm_eval import simple_evaluate
    from lm_eval.api import registry

    monkeypatch.setattr(registry, "get_model", lambda name: pytest.fail("the model was loaded"))
    with pytest.raises(UserError, match="another base"):
        simple_evaluate("hf", f"pretrained={tiny_of_other_size},peft={adapter}", tasks=["medalpaca_pocket"])


def test_other_peoples_tasks_are_left_alone():
    from medalpaca_evalharness import preflight

    preflight.before_model({"tasks": ["hellaswag", {"task": "inline"}], "model_args": "pretrained=/no/where"})


def test_an_adapter_changes_scores_and_is_recorded(tiny, adapter, evaluate):
    def likelihoods(arguments):
        found = evaluate(
            "hf",
            "medalpaca_pocket",
            arguments,
            model_args=dict(arguments),
            device="cpu",
            batch_size=16,
            limit=8,
        )
        samples = found["samples"]["medalpaca_pocket"]
        return samples[0]["doc"], [response[0] for s in samples for response in s["filtered_resps"]]

    _, base = likelihoods({"pretrained": str(tiny)})
    doc, tuned = likelihoods({"pretrained": str(tiny), "peft": str(adapter)})
    assert base != tuned
    assert doc["adapter_sha256"] is not None


def test_an_exam_that_the_model_would_not_see_whole_is_refused(tiny, write_exam, evaluate):
    given = {"exam": str(write_exam(texts=" x" * 300)), "pretrained": str(tiny), "max_length": 500}
    with pytest.raises(UserError, match=r"12 of 12 items do not fit the model's 500 tokens .longest 8"):
        evaluate(
            "hf",
            "medalpaca_exam",
            given,
            model_args={"pretrained": str(tiny), "max_length": 500},
            device="cpu",
        )


def test_the_longest_item_that_just_fits_is_asked(tiny, write_exam, evaluate):
    exam = write_exam(steps={1: 1})
    found = evaluate(
        "hf", "medalpaca_exam", {"exam": str(exam)}, model_args={"pretrained": str(tiny)}, device="cpu"
    )
    context, continuation = found["samples"]["medalpaca_exam"][0]["arguments"][0]
    n = 1 + len((context + continuation).encode())  # one token per byte, and BOS
    for limit, fits in ((n - 1, True), (n - 2, False)):  # the last token is never an input
        arguments = {"pretrained": str(tiny), "max_length": limit}
        if fits:
            evaluate("hf", "medalpaca_exam", {"exam": str(exam)}, model_args=arguments, device="cpu")
        else:
            with pytest.raises(UserError, match="1 of 1 items do not fit"):
                evaluate("hf", "medalpaca_exam", {"exam": str(exam)}, model_args=arguments, device="cpu")


def test_a_tokenizer_that_ends_every_text_is_refused(tiny, write_exam, evaluate, tmp_path):
    from tokenizers import processors
    from transformers import AutoTokenizer

    copy = tmp_path / "copy"
    shutil.copytree(tiny, copy)
    tokenizer = AutoTokenizer.from_pretrained(copy)
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 1)]
    )
    tokenizer.save_pretrained(copy)
    with pytest.raises(UserError, match="end token"):
        evaluate(
            "hf",
            "medalpaca_exam",
            {"exam": str(write_exam())},
            model_args={"pretrained": str(copy)},
            device="cpu",
        )
