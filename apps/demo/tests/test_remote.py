"""Models behind an endpoint, over real HTTP: scores equal to lm-eval's, greedy answers, and all kinds of errors."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from medalpaca_data.core.errors import UserError
from medalpaca_data.exams.item import Item, exam_prompt
from medalpaca_demo.engine import Engine, LoadedModels
from medalpaca_demo.job import SIDES, Progress, Request
from medalpaca_demo.models import check_pair, start_engine
from medalpaca_demo.remote import RemoteModel
from medalpaca_demo.side_by_side import option_table
from medalpaca_evalharness.endpoint import Endpoint, check_hosts, parse_source

ITEM = Item(
    id="q",
    question="Which vitamin is lacking in scurvy?",
    options={"A": "Vitamin A", "B": "Vitamin B12 and fever", "C": "Vitamin C"},
    answer="C",
)


@pytest.fixture
def connect(endpoint: Any) -> Iterator[Callable[..., Engine]]:
    """Return `connect(base, tuned)`: an engine with models of the endpoint, by name."""
    made: list[Engine] = []

    def connect(base: str = "base", tuned: str = "tuned", read_seconds: float = 20) -> Engine:
        remotes = {
            side: RemoteModel(Endpoint(endpoint.url, name), read_seconds=read_seconds)
            for side, name in (("base", base), ("tuned", tuned))
        }
        made.append(Engine(lambda: LoadedModels(None, None, remotes)))
        return made[-1]

    yield connect
    for engine in made:
        engine.close()


def request(scoring: Any = "letter", tokens: int = 12, item: Item = ITEM) -> Request:
    asked = exam_prompt(item, scoring)
    return Request(prompt=asked.prompt, choices=asked.choices, scoring=scoring, max_new_tokens=tokens)


def outcome(engine: Engine, asked: Request) -> Progress:
    return list(engine.submit(asked).watch(interval=0))[-1]


@pytest.mark.parametrize("scoring", ["letter", "text"])
def test_scores_equal_lm_eval_and_answers_are_greedy(
    connect: Callable[..., Engine], harness_loglikelihoods: Any, greedy: Any, scoring: Any
) -> None:
    asked = request(scoring)
    found = outcome(connect(), asked)
    assert found.state == "done", found.error
    for side in SIDES:
        expected = harness_loglikelihoods(side, asked.prompt, asked.choices)
        assert found.scores[side].loglikelihoods == pytest.approx(expected, abs=1e-4)
        assert found.scores[side].from_endpoint
        assert found.answers[side].text == greedy(side, asked.prompt, 12)
        assert found.answers[side].ended in ("end", "length")
    assert found.scores["base"].loglikelihoods != pytest.approx(found.scores["tuned"].loglikelihoods)


def test_the_exact_prompt_is_sent_to_completions_only(connect: Callable[..., Engine], endpoint: Any) -> None:
    asked = request("text")
    outcome(connect(), asked)
    streamed = [body for body in endpoint.asked if body.get("stream")]
    assert [body["model"] for body in streamed] == ["base", "tuned"]
    assert {body["prompt"] for body in streamed} == {asked.prompt}
    assert {body["temperature"] for body in endpoint.asked} == {0}
    assert not any("messages" in body for body in endpoint.asked)


@pytest.mark.parametrize("fault", ["llama.cpp", "strict"])
def test_letters_are_scored_without_echo(
    connect: Callable[..., Engine],
    harness_loglikelihoods: Any,
    greedy: Any,
    plain: SimpleNamespace,
    fault: str,
) -> None:
    """The shares equal lm-eval's; the log-likelihoods lack the prompt's last tokens."""
    prompt = request().prompt
    ids = torch.tensor([plain.tokenizer.encode(prompt)])
    with torch.inference_mode():
        likeliest = plain.tuned(ids).logits[0, -1].topk(20).indices.tolist()
    letters = [text for text in map(plain.tokenizer.decode, likeliest) if text.isascii() and text.isalnum()]
    choices = tuple(letters[:4])
    asked = Request(prompt=prompt, choices=choices, scoring="letter", max_new_tokens=5)
    engine = connect("base", f"tuned+{fault}")
    found = outcome(engine, asked)
    expected = harness_loglikelihoods("tuned", prompt, choices)
    assert found.scores["tuned"].shares == pytest.approx(torch.tensor(expected).softmax(0).tolist(), abs=1e-4)
    assert found.scores["tuned"].loglikelihoods != pytest.approx(expected)
    assert found.answers["tuned"].text == greedy("tuned", prompt, 5)
    assert outcome(engine, request("text")).unrated == {
        "tuned": "it reports no probabilities of an input text"
    }


@pytest.mark.parametrize(
    ("fault", "scoring", "message"),
    [
        ("plain", "letter", "it reports no probabilities"),
        ("plain", "text", "it reports no probabilities of an input text"),
        ("half", "letter", "it reports an error when probabilities are requested"),
        ("half", "text", "it reports an error when probabilities are requested"),
    ],
)
def test_without_scores_the_answer_and_a_reason_are_shown(
    connect: Callable[..., Engine], greedy: Any, fault: str, scoring: Any, message: str
) -> None:
    asked = request(scoring)
    found = outcome(connect(tuned=f"tuned+{fault}"), asked)
    assert found.state == "done", found.error
    assert found.unrated == {"tuned": message}
    assert set(found.scores) == {"base"}
    assert found.answers["tuned"].text == greedy("tuned", asked.prompt, 12)
    table = option_table(ITEM, found, scoring)
    assert f"not available from this endpoint: {message}<" in table
    assert "computed from the endpoint's own numbers" in table


def test_letters_outside_the_top_logprobs_are_scored_by_echo(connect: Callable[..., Engine]) -> None:
    assert outcome(connect(), request()).scores["tuned"].chosen in range(3)
    # "few" reports one token only, but has echo; "plain" reports no probabilities at all.
    found = outcome(connect("base+few", "tuned+plain"), request(tokens=0))
    assert set(found.unrated) == {"base", "tuned"}
    assert found.state == "done"


@pytest.mark.parametrize(
    ("fault", "message", "kept"),
    [
        ("500", "reports an error (HTTP 500)", False),
        ("drops", "closed the connection", True),
        ("garbage", "sent an invalid completion", True),
        ("hangs", "does not answer in time", True),
        ("long", "question too long for 127.0.0.1:", False),
        ("redirect", "reports an error (HTTP 307)", False),
    ],
)
def test_a_failing_endpoint_is_reported_and_the_other_side_answers(
    connect: Callable[..., Engine], greedy: Any, fault: str, message: str, kept: bool
) -> None:
    asked = Request(prompt="Which vitamin is it?", choices=(), scoring="letter", max_new_tokens=12)
    engine = connect(f"base+{fault}", "tuned", read_seconds=1.5)
    found = outcome(engine, asked)
    assert found.state == "failed"
    assert message in found.error
    assert "vitamin" not in found.error
    assert found.answers["tuned"].text == greedy("tuned", asked.prompt, 12)
    if kept:
        assert found.answers["base"].ended == "broken"
        # The server, too, sends a character only when all its bytes are there.
        five = greedy("base", asked.prompt, 5)
        assert found.answers["base"].text == five.rstrip("\N{REPLACEMENT CHARACTER}")
    assert outcome(engine, asked).state == "failed"  # and it goes on


def test_a_server_that_ignores_max_tokens_is_stopped(connect: Callable[..., Engine], endpoint: Any) -> None:
    asked = Request(prompt="What?", choices=(), scoring="letter", max_new_tokens=9)
    found = outcome(connect("base+endless", "tuned+endless"), asked)
    assert [found.answers[side].tokens for side in SIDES] == [9, 9]
    assert [found.answers[side].ended for side in SIDES] == ["length", "length"]


def test_cancelling_closes_the_connection(connect: Callable[..., Engine], endpoint: Any) -> None:
    engine = connect("base+slow", "tuned+slow")
    neighbour = engine.submit(Request(prompt="Who?", choices=(), scoring="letter", max_new_tokens=3))
    job = engine.submit(Request(prompt="What?", choices=(), scoring="letter", max_new_tokens=400))
    for picture in job.watch(interval=0):
        if picture.answers and picture.answers["base"].tokens >= 3:
            engine.cancel(job)
    assert picture.state == "stopped"
    assert picture.answers["base"].ended == "stopped"
    assert list(neighbour.watch(interval=0))[-1].state == "done"
    until = time.monotonic() + 10
    while not endpoint.left and time.monotonic() < until:
        time.sleep(0.02)
    assert endpoint.left == 1
    assert endpoint.written < 50


def test_connection_name_and_key_errors_are_one_line(endpoint: Any) -> None:
    def check(model: str, key: str | None = None, url: str = endpoint.url) -> None:
        # In another thread, because playwright's event loop may be running in this one.
        with ThreadPoolExecutor(1) as alone:
            alone.submit(RemoteModel(Endpoint(url, model), key).check).result()

    check("tuned")
    with pytest.raises(UserError, match=r"serves no model 'tunde'; did you mean #tuned\?"):
        check("tunde")
    with pytest.raises(UserError, match=r"no server answers at 127\.0\.0\.1:9; is it running"):
        check("tuned", url="http://127.0.0.1:9/v1")
    endpoint.key = "s3cret-key"
    with pytest.raises(UserError, match=r"requires a valid key; .*--api-key-env") as caught:
        check("tuned", "wrong-key")
    assert "wrong-key" not in str(caught.value)
    check("tuned", "s3cret-key")
    assert endpoint.keys[-2:] == ["Bearer wrong-key", "Bearer s3cret-key"]


def test_one_side_local_one_behind_an_endpoint(pair: tuple[Path, Path], endpoint: Any, greedy: Any) -> None:
    engine = start_engine(check_pair(pair[0], Endpoint(endpoint.url, "tuned"))).wait_until_loaded()
    found = outcome(engine, request())
    assert found.state == "done", found.error
    assert not found.scores["base"].from_endpoint
    assert found.scores["tuned"].from_endpoint
    for side in SIDES:
        assert found.answers[side].text == greedy(side, request().prompt, 12)
    engine.close()
    with pytest.raises(UserError, match="an adapter needs the directory of its base"):
        check_pair(Endpoint(endpoint.url, "base"), pair[1])


def test_eight_concurrent_jobs_get_their_own_answers(connect: Callable[..., Engine], greedy: Any) -> None:
    engine = connect()
    prompts = [f"Case {n}: fever and {'cough ' * n}?" for n in range(8)]
    jobs = [
        engine.submit(Request(prompt=prompt, choices=(), scoring="letter", max_new_tokens=6))
        for prompt in prompts
    ]
    for job, prompt in zip(jobs, prompts, strict=True):
        found = list(job.watch(interval=0))[-1]
        assert [found.answers[side].text for side in SIDES] == [greedy(side, prompt, 6) for side in SIDES]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("http://127.0.0.1:8000/v1", "names no model"),
        ("ftp://127.0.0.1/v1#m", "an endpoint is a URL such as"),
        ("http://user:pass@127.0.0.1/v1#m", "must not contain a key"),
        ("http://127.0.0.1:8000/v1?key=pass#m", "must not contain a key"),
    ],
)
def test_invalid_urls_are_refused(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        parse_source(text)
    assert "pass" not in str(caught.value)


def test_other_machines_need_trusted_host_and_no_seal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    here, there = Endpoint("http://localhost:1/v1", "m"), Endpoint("https://GPU.example/v1", "m")
    monkeypatch.delenv("MEDALPACA_SEALED", raising=False)
    assert check_hosts([here], []) == []
    with pytest.raises(UserError, match=r"--trusted-host gpu\.example"):
        check_hosts([here, there], ["other.example"])
    assert check_hosts([here, there], ["gpu.example"]) == ["gpu.example"]
    monkeypatch.setenv("MEDALPACA_SEALED", "1")
    with pytest.raises(UserError, match="MEDALPACA_SEALED=1"):
        check_hosts([there], ["gpu.example"])
    assert check_hosts([here], []) == []
