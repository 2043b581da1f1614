"""The tasks inside lm-eval: exact scores of models whose answers are known, and checks before it runs."""

from __future__ import annotations

import shutil

import pytest

from medalpaca_data.core.errors import UserError
from medalpaca_evalharness import scoring
from medalpaca_evalharness.task_data import GROUPS, TASKS

USMLE = ["medalpaca_usmle"] + [f"medalpaca_usmle_step{n}" for n in (1, 2, 3)]


def test_the_tasks_are_found():
    from lm_eval.tasks import TaskManager

    manager = TaskManager(include_defaults=False)
    assert [name for name in manager.all_tasks if name.startswith("medalpaca")] == sorted(TASKS | GROUPS)
    assert sorted(manager.all_groups) == sorted(GROUPS)


def test_a_model_that_always_says_b_scores_the_share_of_b(write_exam, evaluate, answering):
    # Keys of the synthetic exam: BACD BAD CABEC, so B is right in 1 of 4, 1 of 3 and 1 of 5.
    found = evaluate(answering(lambda doc: 1), "medalpaca_usmle", {"exam": str(write_exam())})["results"]
    shares = [found[task]["acc,none"] for task in USMLE[1:]]
    assert shares == [1 / 4, 1 / 3, 1 / 5]
    # Weighted by size: 3 of 12 items, not the mean of the three shares.
    assert found["medalpaca_usmle"]["acc,none"] == pytest.approx(3 / 12)
    assert found["medalpaca_usmle"]["sample_len"] == 12


def test_the_python_interface_raises_user_errors(evaluate, answering, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.delenv("MEDALPACA_EXAM", raising=False)
    with pytest.raises(UserError, match="no exam given"):
        evaluate(answering(lambda doc: 0), "medalpaca_usmle")


def test_the_exam_is_checked_before_the_model_is_loaded(evaluate, monkeypatch):
    from lm_eval.api import registry

    monkeypatch.setattr(registry, "get_model", lambda name: pytest.fail("the model was loaded"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.delenv("MEDALPACA_EXAM", raising=False)
    with pytest.raises(UserError, match="no exam given"):
        evaluate("hf", "medalpaca_usmle_step1", model_args="pretrained=owner/name")


def test_model_arguments_as_a_string_are_checked_before_the_model_is_loaded(
    adapter, tiny_of_other_size, monkeypatch
):
    from lm_eval import simple_evaluate
    from lm_eval.api import registry

    monkeypatch.setattr(registry, "get_model", lambda name: pytest.fail("the model was loaded"))
    with pytest.raises(UserError, match="another base"):
        simple_evaluate("hf", f"pretrained={tiny_of_other_size},peft={adapter}", tasks=["medalpaca_pocket"])


def test_the_model_of_tasks_of_other_packages_is_checked(tiny, tmp_path):
    from medalpaca_evalharness import preflight

    call = {"tasks": ["hellaswag", {"task": "inline"}]}
    preflight.before_model(call | {"model_args": f"pretrained={tiny}"})
    unsafe = tmp_path / "unsafe"
    shutil.copytree(tiny, unsafe)
    (unsafe / "pytorch_model.bin").write_bytes(b"x")
    with pytest.raises(UserError, match="pytorch_model.bin"):
        preflight.before_model(call | {"model_args": f"pretrained={unsafe}"})


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


def test_prompts_beyond_the_context_are_refused(tiny, write_exam, evaluate):
    given = {"exam": str(write_exam(texts=" x" * 300)), "pretrained": str(tiny), "max_length": 500}
    with pytest.raises(UserError, match=r"12 of 12 items do not fit the model's 500 tokens .longest 8"):
        evaluate(
            "hf",
            "medalpaca_exam",
            given,
            model_args={"pretrained": str(tiny), "max_length": 500},
            device="cpu",
        )


def test_the_context_limit_is_exact(tiny, write_exam, evaluate):
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


@pytest.mark.parametrize("task", ["medalpaca_pocket", "medalpaca_vignettes"])
def test_a_new_line_in_the_table_is_a_new_metric(task, evaluate, answering, monkeypatch):
    extra = scoring.Metric("two_thirds", lambda item: 2 / 3, "mean", None)
    monkeypatch.setattr(scoring, "METRICS", (*scoring.METRICS, extra))
    monkeypatch.setattr(scoring, "METRIC_LIST", scoring.task_metrics())
    monkeypatch.setattr(scoring, "TEXT_METRIC_LIST", scoring.task_metrics(text=True))
    results = evaluate(answering(lambda doc: doc["gold"]), task, limit=3)["results"][task]
    assert results["two_thirds,none"] == pytest.approx(2 / 3)


@pytest.mark.parametrize("name", sorted(TASKS))
def test_every_task_has_the_metrics_of_the_table(name):
    from lm_eval.tasks._yaml_loader import load_yaml

    import medalpaca_evalharness.tasks as tasks

    config = load_yaml(f"{tasks.__path__[0]}/{name}.yaml")
    text = TASKS[name].scoring == "text"
    expected = [metric.name for metric in scoring.METRICS if text or not metric.text_only]
    assert [entry["metric"] for entry in config["metric_list"]] == expected
    doc = {"letters": ["A", "B"], "choices": ["A", "B"], "gold": 0}
    generated = [["A", "rule"]] if TASKS[name].generates else [(-1.0, True), (-2.0, False)]
    assert list(config["process_results"](doc, generated)) == expected


@pytest.mark.parametrize("name", sorted(GROUPS))
def test_groups_average_the_metrics_of_their_tasks(name):
    from lm_eval.tasks._yaml_loader import load_yaml

    import medalpaca_evalharness.tasks as tasks

    text = TASKS[GROUPS[name][0]].scoring == "text"
    config = load_yaml(f"{tasks.__path__[0]}/{name}.yaml")
    assert config["aggregate_metric_list"] == scoring.group_metrics(text=text)
    averaged = [entry["metric"] for entry in config["aggregate_metric_list"]]
    assert ("acc_norm" in averaged) is text
    assert not {"wilson_low", "wilson_high"} & set(averaged)
