"""Parsing of responses, the rules, and the form of requests."""

import json
import re
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medalpaca_data.core.joined_digits import JOINED
from medalpaca_data.rephrase.prompts import Rephrase, builtin_prompts, load_prompt, make_request
from medalpaca_data.rephrase.run import RowAttempts, rephrase_by_rule
from medalpaca_data.rephrase.store import parse_response, parse_texts
from medalpaca_data.sources.anki import CARD_INSTRUCTION, ONE_GAP_INSTRUCTION, SEVERAL_GAPS_INSTRUCTION

CARDS = load_prompt("flash_card", Path())
SECTIONS = load_prompt("wiki_section", Path())
GENERAL = load_prompt("general", Path())
CONFIG = Rephrase(prompts={"cards": "flash_card"}, endpoints=("http://127.0.0.1:9/v1",), model="m")


def texts(instruction: str, input: str, output: str) -> dict[str, str]:
    return {"instruction": instruction, "input": input, "output": output}


def completion(text: object, **choice) -> bytes:
    return json.dumps({"choices": [{"message": {"content": text}, **choice}]}).encode()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=20,
)
KEYS = st.sampled_from(["choices", "message", "content", "usage", "prompt_tokens", "question", "answer"])
LIKELY = st.recursive(
    JSON, lambda inner: st.dictionaries(KEYS, inner, max_size=3) | st.lists(inner, max_size=2), max_leaves=10
)
ANSWERS = st.one_of(
    st.text(),
    LIKELY.map(json.dumps),
    LIKELY.map(lambda value: f"```json\n{json.dumps(value)}\n```"),
    st.fixed_dictionaries({"question": LIKELY, "answer": LIKELY}).map(json.dumps),
)


@given(st.one_of(st.binary(), LIKELY.map(lambda value: json.dumps(value).encode()), ANSWERS.map(completion)))
def test_no_response_raises_an_error(body):
    attempts = RowAttempts(CONFIG, CARDS, texts(CARD_INSTRUCTION, "Which organ?", "The kidney"), 0)
    # A body without a completion is never stored.
    with suppress(ValueError):
        parse_response(body)
    outcome = attempts.outcome(lambda key: body)
    assert (outcome.texts is None) == (len(outcome.faults) == CONFIG.tries)
    assert all(type(reason) is str and len(reason) < 60 for reason in outcome.faults)


BAD_BODIES = [
    b"\xff\xfe",
    b"",
    b"[" * 10**5,
    b'{"choices":' * 50_000,
    b"1" * 5000,
    b"{}",
    b'{"choices":[]}',
    b"null",
]


@pytest.mark.parametrize("body", BAD_BODIES)
def test_a_body_without_a_completion_is_refused(body):
    with pytest.raises(ValueError):
        parse_response(body)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"question": "Q?", "answer": "A"}', ("Q?", "A")),
        (
            '<think>{"question": "no?", "answer": "no"}</think>\n{"question": "Q?", "answer": "A"}',
            ("Q?", "A"),
        ),
        ('Here:\n```json\n{"answer": " A ", "question": "Q?"}\n```\nDone.', ("Q?", "A")),
        ('I think {this} is it: {"question": "Q?", "answer": "A", "why": 1} ok', ("Q?", "A")),
        ('{"question": "Q?", "answer": "a<br>b"}', ("Q?", "a\nb")),
        ('{"question": "Q?"}', "no JSON object with question and answer"),
        ('{"question": "Q?", "answer": 3}', "the answer is not text"),
        ('{"question": "Q?", "answer": "\\ud800"}', "the answer is not text"),
        ('{"question": "Q?", "answer": " "}', "an empty answer"),
        ("", "an empty answer"),
        ("{" * 5000, "no JSON object with question and answer"),
    ],
)
def test_answers(text, expected):
    response = parse_response(completion(text))
    if isinstance(expected, str):
        with pytest.raises(ValueError, match=expected):
            parse_texts(response, CARDS.asks)
    else:
        assert parse_texts(response, CARDS.asks) == dict(zip(("question", "answer"), expected, strict=True))


def test_an_answer_whose_digits_cleaning_would_join_is_a_fault():
    answer = json.dumps({"question": "How much?", "answer": "Give 5<b>0</b> mg."})
    with pytest.raises(ValueError, match=JOINED):
        parse_texts(parse_response(completion(answer)), CARDS.asks)


def test_an_answer_that_is_cut_off_or_empty_is_refused():
    with pytest.raises(ValueError, match="cut off"):
        parse_texts(
            parse_response(completion('{"question": "Q?", "answer": "A"}', finish_reason="length")),
            CARDS.asks,
        )
    with pytest.raises(ValueError, match="empty"):
        parse_texts(parse_response(completion(None, finish_reason="tool_calls")), CARDS.asks)


@pytest.mark.parametrize(
    ("row", "question"),
    [
        (
            (ONE_GAP_INSTRUCTION, "The ____ beats.", "heart"),
            "What belongs in the gap in this text?\nThe ____ beats.",
        ),
        (
            (SEVERAL_GAPS_INSTRUCTION, "____ and ____", "a; b"),
            "What belongs in the gaps in this text, in their order, separated by semicolons?\n____ and ____",
        ),
        ((CARD_INSTRUCTION, "Causes of gout", "uric acid"), "What are the causes of gout?"),
        ((CARD_INSTRUCTION, "Gout: treatment of choice", "rest"), "What is the treatment of choice of Gout?"),
        ((CARD_INSTRUCTION, "What is gout?", "a disease"), "What is gout?"),
        (("Causes of gout", "", "uric acid"), "What are the causes of gout?"),
        ((CARD_INSTRUCTION, "Gout hurts", "yes"), None),
        (("What is gout?", "", "a disease"), None),
        (("Answer in short.", "Causes of gout", "uric acid"), None),
    ],
)
def test_rules(row, question):
    before = texts(*row)
    after = rephrase_by_rule(before)
    assert (after and after["instruction"]) == question
    assert after is None or after["output"] == before["output"]


RULE_WORDS = {
    "what", "is", "are", "the", "of", "belongs", "in", "gap", "gaps", "this", "text", "their", "order", "separated",
    "by", "semicolons",
}  # fmt: skip
FRONTS = st.one_of(
    st.text(),
    st.lists(st.one_of(st.text(max_size=9), st.sampled_from(["____", "Causes of ", ": treatment", "?"]))).map(
        "".join
    ),
)


@given(
    st.sampled_from([CARD_INSTRUCTION, ONE_GAP_INSTRUCTION, SEVERAL_GAPS_INSTRUCTION, "Q"]),
    FRONTS,
    st.text(min_size=1),
)
def test_rules_add_only_their_own_words(instruction, front, back):
    after = rephrase_by_rule(texts(instruction, front, back))
    if after:
        new, given_ = (
            set(re.findall(r"\w+", text.lower())) for text in (after["instruction"], f"{instruction} {front}")
        )
        assert new - given_ <= RULE_WORDS
        assert after["output"] == back


def test_the_key_of_a_request_depends_on_its_body_only():
    row = texts(CARD_INSTRUCTION, "a", "b")
    first, second = (make_request(CONFIG, CARDS, row, n, seed=7) for n in (0, 1))
    sent, later = json.loads(first.body), json.loads(second.body)
    assert (sent["seed"], sent["temperature"], later["seed"], later["temperature"]) == (7, 0.2, 8, 0.5)
    assert sent["response_format"]["json_schema"]["schema"]["required"] == ["question", "answer"]
    assert first.key != second.key
    assert "response_format" not in json.loads(first.plain())
    # Endpoint, concurrency and timeout are not part of the request.
    elsewhere = CONFIG.model_copy(update={"endpoints": ("http://[::1]/v1",), "concurrency": 1, "timeout": 1})
    assert make_request(elsewhere, CARDS, row, 0, 7) == first
    own = CONFIG.model_copy(
        update={"parameters": {"seed": None, "max_tokens": None, "max_completion_tokens": 9}}
    )
    body = json.loads(make_request(own, CARDS, row, 0, 7).body)
    assert body["max_completion_tokens"] == 9
    assert not body.keys() & {"seed", "max_tokens"}


def test_every_prompt_names_its_keys_and_uses_all_texts():
    assert builtin_prompts() == ["flash_card", "general", "wiki_section"]
    for name in builtin_prompts():
        prompt = load_prompt(name, Path())
        assert all(f'"{key}"' in prompt.system for key in prompt.asks)
        user = prompt.messages(texts("INS", "INP", "OUT"))[1]["content"]
        assert all(part in user for part in ("INS", "INP", "OUT"))
