"""The reference's protocol of 2023: its prompt, its gate, and item by item what it made of the same texts."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medalpaca_data.core.errors import UserError
from medalpaca_data.exams.item import Item, exam_prompt
from medalpaca_evalharness.answer_extraction import first_accepted, is_accepted, last_kept, strip_punctuation

ALPHANUMERIC = string.ascii_letters + string.digits


def reference(texts: list[str]) -> tuple[bool, str]:
    """What the reference did with up to five tries, written anew from its description: (accepted, text kept).

    Cut what is not an ASCII letter or digit off both ends. Accept a capital letter followed by ": ", ". " or " " and
    one more character of the same line; else ask again. What was kept last is kept either way.
    """
    kept = ""
    for text in texts[:5]:
        start, end = 0, len(text)
        while start < end and text[start] not in ALPHANUMERIC:
            start += 1
        while end > start and text[end - 1] not in ALPHANUMERIC:
            end -= 1
        kept = text[start:end]
        head, rest = kept[:1], kept[1:]
        if head and head in string.ascii_uppercase:
            for separator in (": ", ". ", " "):
                after = rest.removeprefix(separator) if rest.startswith(separator) else ""
                if after and after[0] != "\n":
                    return True, kept
    return False, kept


def ours(texts: list[str]) -> tuple[bool, str]:
    letter, _ = first_accepted([texts], [{}])[0]
    return bool(letter), letter


def test_the_prompt():
    # Facts of the reference: primer, three headings, "K: text" lines, and the prefix that its answers continue.
    item = Item(id="x", question="Which?", options={"A": "one", "B": "two"}, answer="A")
    assert exam_prompt(item, "protocol_2023").prompt == (
        "Below is an instruction that describes a task, paired with an input that provides further context. "
        "Write a response that appropriately completes the request.\n\n"
        "### Instruction:\nAnswer this multiple choice question.\n\n"
        "### Input:\nWhich?\nA: one\nB: two\n\n"
        "### Response:\nThe Answer to the question is:"
    )


@pytest.mark.parametrize(
    ("text", "taken"),
    [
        ("B", False),
        ("B.", False),
        ("(B) Hepatitis", False),
        ("B) Hep", False),
        ("B: Hepatitis", True),
        ("B. Hepatitis", True),
        ("B Hepatitis", True),
        ("**B**: Hep", False),
        ("B, Hep", False),
        ("b: Hepatitis", False),
        ("A 53-year-old man has hepatitis", True),
        ("I am not sure", True),
        ("B - Hep", True),
        ("The answer is B: Hepatitis", False),
        ("B: Hepatitis</s>", True),
        (" B: Hepatitis", True),
        ("B:\nHepatitis", False),
    ],
)
def test_acceptance_rule(text, taken):
    assert is_accepted(text) is taken
    assert reference([text])[0] is taken


# Texts rich in what the gate looks at.
near = st.text(alphabet="AaBIZ .:,)(*\n19\u00e4-", max_size=12)
tries = st.lists(st.one_of(near, st.text(max_size=20)), min_size=5, max_size=5)


@given(tries)
def test_five_texts_against_the_reference(texts):
    taken, kept = reference(texts)
    assert ours(texts) == (taken, kept[0] if taken else "")
    letter = last_kept([texts], [{}])[0][0]
    assert letter == (kept[:1] if kept[:1] in string.ascii_uppercase else "")


def test_trimming():
    assert strip_punctuation("\u00e4\u00e4 **B: x!**") == "B: x"
    assert strip_punctuation("!!") == ""


@pytest.fixture(scope="module")
def babbler(tiny, tmp_path_factory):
    """`tiny`, made to write hardly anything but A, B, C, colons, points, spaces and x: some of it passes the gate."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model, tokenizer = AutoModelForCausalLM.from_pretrained(tiny), AutoTokenizer.from_pretrained(tiny)
    wanted = [tokenizer.convert_tokens_to_ids(piece) for piece in ("A", "B", "C", ":", ".", "\u0120", "x")]
    with torch.no_grad():
        # One dimension that is the same for every token serves as the bias that a Llama has not.
        model.model.embed_tokens.weight[:, 0] = 1.0
        model.lm_head.weight.mul_(20)
        model.lm_head.weight[:, 0] = -5.0
        model.lm_head.weight[wanted, 0] = 5.0
    directory = tmp_path_factory.mktemp("babbler")
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory


def test_a_tiny_model_through_the_harness(babbler, write_exam, evaluate):
    n, task = 8, "medalpaca_usmle_2023_step1"
    found = evaluate(
        "hf",
        task,
        {"exam": str(write_exam(steps={1: n}))},
        model_args={"pretrained": str(babbler)},
        device="cpu",
        batch_size=n * 5,
        gen_kwargs="max_gen_toks=6",  # a hundred more would say nothing more about the gate
    )
    samples = found["samples"][task]
    for name in ("first_accepted", "last_kept"):
        rows = [sample for sample in samples if sample["filter"] == name]
        assert len(rows) == n
        right, verdicts = 0, set()
        for row in rows:
            texts = row["resps"][0]
            assert len(texts) == 5
            taken, kept = reference(texts)
            letter, rule = row["filtered_resps"][0]
            if name == "first_accepted":
                assert (bool(letter), letter) == (taken, kept[0] if taken else "")
            else:
                assert letter == (kept[:1] if kept[:1] in string.ascii_uppercase else "")
            key = row["doc"]["letters"][row["doc"]["gold"]]
            assert row["acc"] == float(letter == key)
            assert letter or row[rule] == 1.0
            right += row["acc"]
            verdicts.add(taken)
        assert verdicts == {True, False}
        assert found["results"][task][f"acc,{name}"] == pytest.approx(right / n)


def test_the_sampling(write_exam, evaluate):
    from lm_eval.api.model import LM

    asked = []

    class Silent(LM):
        def generate_until(self, requests):
            asked.extend(request.args for request in requests)
            return [""] * len(requests)

        def loglikelihood(self, requests):
            raise NotImplementedError

        def loglikelihood_rolling(self, requests):
            raise NotImplementedError

    evaluate(Silent(), "medalpaca_usmle_2023_step1", {"exam": str(write_exam(steps={1: 1}))})
    assert len(asked) == 5
    assert {key: asked[0][1][key] for key in sorted(asked[0][1])} == {
        "do_sample": True,
        "max_gen_toks": 128,
        "num_beams": 1,
        "temperature": 0.4,
        "top_k": 50,
        "top_p": 0.9,
        "until": [],
    }


def test_a_chat_template_is_refused(tiny, write_exam, evaluate):
    with pytest.raises(UserError, match="the protocol of 2023 has no chat template"):
        evaluate(
            "hf",
            "medalpaca_usmle_2023",
            {"exam": str(write_exam())},
            model_args={"pretrained": str(tiny)},
            device="cpu",
            apply_chat_template=True,
        )
