"""Arms behind an endpoint, asked over real HTTP: lm-eval's numbers, greedy answers, and every way to fail."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM

from medalpaca_data.core.errors import UserError
from medalpaca_data.exams.item import Item
from medalpaca_data.exams.prompts import exam_prompt
from medalpaca_demo.endpoint import Address, check_hosts, read_source
from medalpaca_demo.engine import Engine, Loaded
from medalpaca_demo.job import ARMS, Progress, Request
from medalpaca_demo.models import check_pair, load_engine
from medalpaca_demo.remote import Remote
from medalpaca_demo.side_by_side import option_table

ITEM = Item(
    id="q",
    question="Which vitamin is lacking in scurvy?",
    options={"A": "Vitamin A", "B": "Vitamin B12 and fever", "C": "Vitamin C"},
    answer="C",
)


@pytest.fixture
def connect(endpoint: Any) -> Iterator[Callable[..., Engine]]:
    """Engines on models of the endpoint, by name."""
    made: list[Engine] = []

    def connect(base: str = "base", tuned: str = "tuned", read_seconds: float = 20) -> Engine:
        remotes = {
            arm: Remote(Address(endpoint.url, name), read_seconds=read_seconds)
            for arm, name in (("base", base), ("tuned", tuned))
        }
        made.append(Engine(lambda: Loaded(None, None, remotes)))
        return made[-1]

    yield connect
    for engine in made:
        engine.close()


def request(scoring: Any = "letter", tokens: int = 12, item: Item = ITEM) -> Request:
    asked = exam_prompt(item, scoring)
    return Request(prompt=asked.prompt, choices=asked.choices, scoring=scoring, max_new_tokens=tokens)


def outcome(engine: Engine, asked: Request) -> Progress:
    return list(engine.submit(asked).watch(every=0))[-1]


def greedy(plain: SimpleNamespace, arm: str, prompt: str, tokens: int) -> str:
    ids = plain.tokenizer(prompt, return_tensors="pt")["input_ids"]
    with torch.inference_mode():
        out = getattr(plain, arm).generate(
            input_ids=ids, do_sample=False, max_new_tokens=tokens, pad_token_id=1
        )
    return str(plain.tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True))


@pytest.fixture(scope="module")
def harness(pair: tuple[Path, Path]) -> dict[str, HFLM]:
    base, adapter = (str(path) for path in pair)
    common = {"pretrained": base, "device": "cpu", "batch_size": 4}
    return {"base": HFLM(**common), "tuned": HFLM(**common, peft=adapter)}


@pytest.mark.parametrize("scoring", ["letter", "text"])
def test_ratings_are_lm_evals_and_answers_greedy(
    connect: Callable[..., Engine], harness: dict[str, HFLM], plain: SimpleNamespace, scoring: Any
) -> None:
    asked = request(scoring)
    found = outcome(connect(), asked)
    assert found.state == "done", found.error
    for arm in ARMS:
        instances = [
            Instance(request_type="loglikelihood", doc={}, arguments=(asked.prompt, choice), idx=n)
            for n, choice in enumerate(asked.choices)
        ]
        theirs = [value for value, _ in harness[arm].loglikelihood(instances, disable_tqdm=True)]
        assert found.scores[arm].loglikelihoods == pytest.approx(theirs, abs=1e-4)
        assert found.scores[arm].from_endpoint
        assert found.answers[arm].text == greedy(plain, arm, asked.prompt, 12)
        assert found.answers[arm].ended in ("end", "length")
    assert found.scores["base"].loglikelihoods != pytest.approx(found.scores["tuned"].loglikelihoods)


def test_the_prompt_is_sent_to_the_character_and_nothing_but_completions(
    connect: Callable[..., Engine], endpoint: Any
) -> None:
    asked = request("text")
    outcome(connect(), asked)
    streamed = [body for body in endpoint.asked if body.get("stream")]
    assert [body["model"] for body in streamed] == ["base", "tuned"]
    assert {body["prompt"] for body in streamed} == {asked.prompt}
    assert {body["temperature"] for body in endpoint.asked} == {0}
    assert not any("messages" in body for body in endpoint.asked)


@pytest.mark.parametrize("fault", ["llama.cpp", "strict"])
def test_letters_are_rated_without_echo_too(
    connect: Callable[..., Engine], harness: dict[str, HFLM], plain: SimpleNamespace, fault: str
) -> None:
    """Shares are lm-eval's; the numbers lack what it counts of the prompt's own last tokens."""
    prompt = request().prompt
    ids = torch.tensor([plain.tokenizer.encode(prompt)])
    with torch.inference_mode():
        likeliest = plain.tuned(ids).logits[0, -1].topk(20).indices.tolist()
    letters = [text for text in map(plain.tokenizer.decode, likeliest) if text.isascii() and text.isalnum()]
    choices = tuple(letters[:4])
    asked = Request(prompt=prompt, choices=choices, scoring="letter", max_new_tokens=5)
    engine = connect("base", f"tuned+{fault}")
    found = outcome(engine, asked)
    instances = [
        Instance(request_type="loglikelihood", doc={}, arguments=(prompt, choice), idx=n)
        for n, choice in enumerate(choices)
    ]
    theirs = [value for value, _ in harness["tuned"].loglikelihood(instances, disable_tqdm=True)]
    assert found.scores["tuned"].shares == pytest.approx(torch.tensor(theirs).softmax(0).tolist(), abs=1e-4)
    assert found.scores["tuned"].loglikelihoods != pytest.approx(theirs)
    assert found.answers["tuned"].text == greedy(plain, "tuned", prompt, 5)
    assert outcome(engine, request("text")).unrated == {"tuned": "it tells no probabilities of a given text"}


@pytest.mark.parametrize(
    ("fault", "scoring", "says"),
    [
        ("plain", "letter", "it tells no probabilities"),
        ("plain", "text", "it tells no probabilities of a given text"),
        ("half", "letter", "it fails when it is asked for probabilities"),
        ("half", "text", "it fails when it is asked for probabilities"),
    ],
)
def test_what_cannot_be_rated_is_answered_and_said(
    connect: Callable[..., Engine], plain: SimpleNamespace, fault: str, scoring: Any, says: str
) -> None:
    asked = request(scoring)
    found = outcome(connect(tuned=f"tuned+{fault}"), asked)
    assert found.state == "done", found.error
    assert found.unrated == {"tuned": says}
    assert set(found.scores) == {"base"}
    assert found.answers["tuned"].text == greedy(plain, "tuned", asked.prompt, 12)
    table = option_table(ITEM, found, scoring)
    assert f"not available from this endpoint: {says}<" in table
    assert "the endpoint's own numbers, not the examination's" in table


def test_a_letter_out_of_sight_is_asked_for_by_itself(connect: Callable[..., Engine]) -> None:
    assert outcome(connect(), request()).scores["tuned"].chosen in range(3)
    # Who tells one token and no more, and takes no echo, leaves letters unrated; who takes echo, does not.
    found = outcome(connect("base+few", "tuned+plain"), request(tokens=0))
    assert set(found.unrated) == {"base", "tuned"}
    assert found.state == "done"


@pytest.mark.parametrize(
    ("fault", "says", "kept"),
    [
        ("500", "fails (HTTP 500)", False),
        ("drops", "broke off", True),
        ("garbage", "sent what is no completion", True),
        ("hangs", "does not answer in time", True),
        ("long", "question too long for 127.0.0.1:", False),
        ("redirect", "fails (HTTP 307)", False),
    ],
)
def test_an_endpoint_that_fails_is_said_and_leaves_the_other_its_answer(
    connect: Callable[..., Engine], plain: SimpleNamespace, fault: str, says: str, kept: bool
) -> None:
    asked = Request(prompt="Which vitamin is it?", choices=(), scoring="letter", max_new_tokens=12)
    engine = connect(f"base+{fault}", "tuned", read_seconds=1.5)
    found = outcome(engine, asked)
    assert found.state == "failed"
    assert says in found.error
    assert "vitamin" not in found.error
    assert found.answers["tuned"].text == greedy(plain, "tuned", asked.prompt, 12)
    if kept:
        assert found.answers["base"].ended == "broken"
        # Half a character is held back until it is whole, by the server too.
        five = greedy(plain, "base", asked.prompt, 5)
        assert found.answers["base"].text == five.rstrip("\N{REPLACEMENT CHARACTER}")
    assert outcome(engine, asked).state == "failed"  # and it goes on


def test_a_server_that_heeds_no_limit_is_left(connect: Callable[..., Engine], endpoint: Any) -> None:
    asked = Request(prompt="What?", choices=(), scoring="letter", max_new_tokens=9)
    found = outcome(connect("base+endless", "tuned+endless"), asked)
    assert [found.answers[arm].tokens for arm in ARMS] == [9, 9]
    assert [found.answers[arm].ended for arm in ARMS] == ["length", "length"]


def test_cancelling_closes_the_connection(connect: Callable[..., Engine], endpoint: Any) -> None:
    engine = connect("base+slow", "tuned+slow")
    neighbour = engine.submit(Request(prompt="Who?", choices=(), scoring="letter", max_new_tokens=3))
    job = engine.submit(Request(prompt="What?", choices=(), scoring="letter", max_new_tokens=400))
    for picture in job.watch(every=0):
        if picture.answers and picture.answers["base"].tokens >= 3:
            engine.cancel(job)
    assert picture.state == "stopped"
    assert picture.answers["base"].ended == "stopped"
    assert list(neighbour.watch(every=0))[-1].state == "done"
    until = time.monotonic() + 10
    while not endpoint.left and time.monotonic() < until:
        time.sleep(0.02)
    assert endpoint.left == 1
    assert endpoint.written < 50


def test_nobody_there_the_wrong_name_and_a_missing_key_are_one_line(endpoint: Any) -> None:
    def check(model: str, key: str | None = None, url: str = endpoint.url) -> None:
        # In a thread of its own: in pytest's, a browser's loop may be running.
        with ThreadPoolExecutor(1) as alone:
            alone.submit(Remote(Address(url, model), key).check).result()

    check("tuned")
    with pytest.raises(UserError, match=r"serves no 'tunde'; did you mean #tuned\?"):
        check("tunde")
    with pytest.raises(UserError, match=r"nobody answers at 127\.0\.0\.1:9; is the server running"):
        check("tuned", url="http://127.0.0.1:9/v1")
    endpoint.key = "s3cret-key"
    with pytest.raises(UserError, match=r"wants a key \(--api-key-env\)") as caught:
        check("tuned", "wrong-key")
    assert "wrong-key" not in str(caught.value)
    check("tuned", "s3cret-key")
    assert endpoint.keys[-2:] == ["Bearer wrong-key", "Bearer s3cret-key"]


def test_one_arm_may_be_here(
    pair: tuple[Path, Path], endpoint: Any, plain: SimpleNamespace, tmp_path: Path
) -> None:
    engine = load_engine(check_pair(pair[0], Address(endpoint.url, "tuned")))
    found = outcome(engine, request())
    assert found.state == "done", found.error
    assert not found.scores["base"].from_endpoint
    assert found.scores["tuned"].from_endpoint
    for arm in ARMS:
        assert found.answers[arm].text == greedy(plain, arm, request().prompt, 12)
    engine.close()
    with pytest.raises(UserError, match="an adapter needs its base's directory"):
        check_pair(Address(endpoint.url, "base"), pair[1])


def test_eight_at_once_are_not_crossed(connect: Callable[..., Engine], plain: SimpleNamespace) -> None:
    engine = connect()
    prompts = [f"Case {n}: fever and {'cough ' * n}?" for n in range(8)]
    jobs = [
        engine.submit(Request(prompt=prompt, choices=(), scoring="letter", max_new_tokens=6))
        for prompt in prompts
    ]
    for job, prompt in zip(jobs, prompts, strict=True):
        found = list(job.watch(every=0))[-1]
        assert [found.answers[arm].text for arm in ARMS] == [greedy(plain, arm, prompt, 6) for arm in ARMS]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("http://127.0.0.1:8000/v1", "which model there"),
        ("ftp://127.0.0.1/v1#m", "an endpoint is an address such as"),
        ("http://user:pass@127.0.0.1/v1#m", "has no key in it"),
        ("http://127.0.0.1:8000/v1?key=pass#m", "has no key in it"),
    ],
)
def test_addresses_that_cannot_be_used(text: str, says: str) -> None:
    with pytest.raises(UserError, match=says) as caught:
        read_source(text)
    assert "pass" not in str(caught.value)


def test_other_machines_are_asked_when_they_are_named_and_never_when_sealed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    here, there = Address("http://localhost:1/v1", "m"), Address("https://GPU.example/v1", "m")
    monkeypatch.delenv("MEDALPACA_SEALED", raising=False)
    assert check_hosts([here], []) == []
    with pytest.raises(UserError, match=r"say --trusted-host gpu\.example"):
        check_hosts([here, there], ["other.example"])
    assert check_hosts([here, there], ["gpu.example"]) == ["gpu.example"]
    monkeypatch.setenv("MEDALPACA_SEALED", "1")
    with pytest.raises(UserError, match="MEDALPACA_SEALED=1"):
        check_hosts([there], ["gpu.example"])
    assert check_hosts([here], []) == []
