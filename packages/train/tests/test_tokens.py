"""Token ids and loss mask: one BOS, one EOS, and the mask at the answer's first token."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from medalpaca_data.core.errors import UserError
from medalpaca_data.core.prompt import chat_template, render, user_message
from medalpaca_data.core.row import Row
from medalpaca_train.tokenize import Sample, adds_bos, encode

ROW = Row(instruction="Answer.", input="Why is aspirin given?", output=" For pain. ")


def sample_of(row: Row, tokenizer: Any, loss: Any = "answer") -> Sample:
    encoded = encode([row], tokenizer, max_tokens=256, loss=loss)
    assert not encoded.rejected
    sample: Sample = encoded.samples[0]
    return sample


def test_golden_row(tokenizer: Any) -> None:
    sample = sample_of(ROW, tokenizer)
    ids = sample.ids.tolist()
    assert ids.count(tokenizer.bos_token_id) == 1
    assert ids[0] == tokenizer.bos_token_id
    assert ids.count(tokenizer.eos_token_id) == 1
    assert ids[-1] == tokenizer.eos_token_id
    assert tokenizer.decode(ids[: sample.prompt_length]) == "<s>" + render(ROW.instruction, ROW.input)
    assert tokenizer.decode(ids[sample.prompt_length :]) == "For pain.</s>"
    assert sample.supervised == len(ids) - sample.prompt_length


def test_all_supervises_everything_but_the_first_token(tokenizer: Any) -> None:
    sample = sample_of(ROW, tokenizer, "all")
    assert sample.prompt_length == 0
    assert sample.supervised == sample.length - 1


def test_same_tokens_as_lm_eval(tokenizer: Any, base: Path) -> None:
    huggingface = pytest.importorskip("lm_eval.models.huggingface")
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(base)
    harness = huggingface.HFLM(pretrained=model, tokenizer=tokenizer, device="cpu")
    prompt, answer = render(ROW.instruction, ROW.input), ROW.output.strip()
    context, continuation = harness._encode_pair(prompt, answer)
    sample = sample_of(ROW, tokenizer)
    assert sample.ids.tolist()[:-1] == context + continuation
    # lm-eval moves trailing white space of the prompt to the continuation, so its split may be before this one, by
    # white space that is the same for every option.
    between = sample.ids.tolist()[len(context) : sample.prompt_length]
    assert tokenizer.decode(between).strip() == ""


def test_chat_template_renders_the_same_tokens(tokenizer: Any) -> None:
    assert adds_bos(tokenizer)
    text = tokenizer.apply_chat_template(
        [{"role": "user", "content": user_message(ROW.instruction, ROW.input)}],
        chat_template=chat_template(add_bos=True),
        tokenize=False,
    )
    sample = sample_of(ROW, tokenizer)
    assert (
        tokenizer(text, add_special_tokens=False)["input_ids"] == sample.ids.tolist()[: sample.prompt_length]
    )


class AddsEos:
    """A tokenizer that adds EOS to every text, as some tokenizers do."""

    def __init__(self, inner: Any) -> None:
        self.inner, self.eos_token_id, self.bos_token_id = inner, inner.eos_token_id, inner.bos_token_id

    def __call__(self, texts: list[str], **options: Any) -> dict[str, list[list[int]]]:
        ids = self.inner(texts, **options)["input_ids"]
        return {"input_ids": [[*row, self.eos_token_id] for row in ids]}


def test_eos_is_not_doubled(tokenizer: Any) -> None:
    plain, with_eos = sample_of(ROW, tokenizer), sample_of(ROW, AddsEos(tokenizer))
    assert with_eos.ids.tolist() == plain.ids.tolist()
    assert with_eos.prompt_length == plain.prompt_length


def test_rejected_rows_are_counted_with_reasons_and_no_text(tokenizer: Any) -> None:
    long = Row(instruction="Answer.", input="word " * 400, output="Yes.")
    empty = Row(instruction="Answer.", input="Why?", output="  ")
    spelled = Row(instruction="Answer.", input="What does </s> mean?", output="The end.")
    encoded = encode([long, ROW, empty, spelled], tokenizer, max_tokens=64, loss="answer")
    assert encoded.samples.row_ids == [ROW.id]
    reasons = {row.row_id: row.reason for row in encoded.rejected}
    assert reasons[long.id].endswith("tokens, more than max_tokens=64")
    assert reasons[empty.id] == "no answer token to learn"
    assert reasons[spelled.id] == "BOS or EOS is written out in the text"


def test_marks_of_turns_in_a_text_are_rejected(tokenizer: Any) -> None:
    other = copy.deepcopy(tokenizer)
    other.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<unknown>"]})
    other.add_tokens(["<tool_call>"])
    forged = Row(instruction="Answer.", input="Why?<|im_start|>system", output="Yes.")
    answered = Row(instruction="Answer.", input="Why?", output="Yes.<|im_start|>user")
    harmless = Row(instruction="Answer.", input="Why? <|im_begin|> <tool_call>", output="Yes.")
    encoded = encode([forged, answered, harmless], other, max_tokens=512, loss="answer")
    assert encoded.samples.row_ids == [harmless.id]
    assert [row.reason for row in encoded.rejected] == ["a control token is written out in the text"] * 2


def test_token_shared_by_prompt_and_answer_is_rejected(tokenizer: Any) -> None:
    class JoinsTokens(AddsEos):
        """Joins the last two tokens of short texts, so that prompt and answer share a token."""

        def __call__(self, texts: list[str], **options: Any) -> dict[str, list[list[int]]]:
            ids = self.inner(texts, **options)["input_ids"]
            return {"input_ids": [[*row[:-1], 7] if len(row) < 40 else row for row in ids]}

    short = Row(instruction="A", input="", output="a " * 40)
    encoded = encode([short], JoinsTokens(tokenizer), max_tokens=256, loss="answer")
    assert [row.reason for row in encoded.rejected] == ["prompt and answer share a token"]


def test_no_eos_is_refused(tokenizer: Any) -> None:
    without_eos = AddsEos(tokenizer)
    without_eos.eos_token_id = None
    with pytest.raises(UserError, match="no end-of-text token"):
        encode([ROW], without_eos, max_tokens=64, loss="answer")
