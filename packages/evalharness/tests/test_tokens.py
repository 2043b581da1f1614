"""The tokens that lm-eval scores are those that training makes: the whole text in one piece, BOS once."""

from __future__ import annotations

import pytest

from medalpaca_data.exams.exam import load_exam
from medalpaca_data.exams.item import exam_prompt


@pytest.fixture(scope="module")
def model(tiny):
    from lm_eval.models.huggingface import HFLM

    return HFLM(pretrained=str(tiny), device="cpu")


def scored(model, prompt: str, answer: str) -> list[int]:
    context, continuation = model._encode_pair(prompt, answer)
    return context + continuation


@pytest.mark.parametrize("scoring", ["letter", "text"])
def test_tokens_equal_training(model, scoring):
    for item in load_exam("medalpaca_pocket").items:
        asked = exam_prompt(item, scoring)
        for choice in asked.choices:
            ids = scored(model, asked.prompt, choice)
            assert ids == model.tokenizer(asked.prompt + choice)["input_ids"]
            assert ids.count(model.tokenizer.bos_token_id) == 1


@pytest.mark.parametrize("scoring", ["letter", "text"])
def test_tokens_equal_training_with_the_chat_template(model, scoring):
    for item in load_exam("medalpaca_pocket").items[:50]:
        asked = exam_prompt(item, scoring)
        templated = model.apply_chat_template([{"role": "user", "content": asked.prompt}])
        assert scored(model, templated, asked.choices[0]) == scored(model, asked.prompt, asked.choices[0])


def test_a_letter_costs_one_forward_pass_per_question(model):
    # All letters share context and leading tokens, so that lm-eval's logits cache runs each question once.
    item = load_exam("medalpaca_pocket").items[0]
    asked = exam_prompt(item, "letter")
    heads = {tuple((pair := model._encode_pair(asked.prompt, c))[0] + pair[1][:-1]) for c in asked.choices}
    assert len(heads) == 1


def test_lm_eval_passes_prompt_and_option_unchanged(write_exam, evaluate, answering):
    directory = write_exam()
    found = evaluate(answering(lambda doc: 0), "medalpaca_usmle_step1", {"exam": str(directory)})
    items = [item for item in load_exam(directory).items if item.step == 1]
    for item, sample in zip(items, found["samples"]["medalpaca_usmle_step1"], strict=True):
        asked = exam_prompt(item, "letter")
        assert [tuple(pair) for pair in sample["arguments"]] == [
            (asked.prompt, choice) for choice in asked.choices
        ]


@pytest.mark.parametrize("apply_chat_template", [False, True])
def test_a_whole_run_scores_the_same_with_and_without_the_template(
    model, write_exam, evaluate, apply_chat_template
):
    found = evaluate(
        model, "medalpaca_exam", {"exam": str(write_exam())}, apply_chat_template=apply_chat_template
    )
    for sample in found["samples"]["medalpaca_exam"]:
        prompt, choice = sample["arguments"][0]
        doc = sample["doc"]
        assert (
            scored(model, prompt, choice) == model.tokenizer(doc["prompt"] + doc["choices"][0])["input_ids"]
        )


def test_two_start_tokens_are_refused(model, write_exam, evaluate, monkeypatch):
    from medalpaca_data.core.errors import UserError

    # A template that writes a start token which the tokenizer does not recognise as its own, and adds another.
    monkeypatch.setattr(model, "tok_encode", lambda text, **_: [0, *model.tokenizer(text)["input_ids"]])
    with pytest.raises(UserError, match="two start tokens"):
        evaluate(model, "medalpaca_exam", {"exam": str(write_exam())})
