"""The probe of model servers: honest servers pass, and each dishonest answer is named."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import Any

import pytest

from medalpaca_evalharness.server_probe import PROMPT, Reply, echo_fault

from .scripted_server import FAULTS, ScriptedServer

MESSAGES = {
    "no_logprobs": "it reports no probabilities",
    "no_echo": "it reports no probabilities of an input text",
    "rejects_echo": "it reports no probabilities of an input text",
    "zeros": "it reports the same log-probability, 0.0, for all tokens of an input text",
    "constant": "it reports the same log-probability, -1.5, for all tokens of an input text",
    "none": "it reports None as a log-probability",
    "minus_inf": "it reports -inf as a log-probability",
    "positive": "it reports 0.7 as a log-probability",
    "random": "it reports other log-probabilities when the same text is sent again",
    "canned": "it reports the same log-probabilities for another text",
    "no_context": "its log-probabilities do not depend on the text before a token",
    "shifted": "its next token has the log-probability",
    "bos": "so start tokens (BOS) are not counted alike",
    "short": "so start tokens (BOS) are not counted alike",
    "not_repeated": "it reports no probabilities of an input text",
}


def ask(server: ScriptedServer, model: str, text: str, tokens: int | None = None) -> Reply:
    fields = {"model": model, "prompt": text, "max_tokens": 1, "echo": True, "logprobs": 1}
    request = urllib.request.Request(f"{server.url}/completions", json.dumps(fields).encode())
    try:
        with urllib.request.urlopen(request) as response:
            return Reply(json.load(response), tokens)
    except urllib.error.HTTPError:
        return Reply(None)


@pytest.fixture(scope="module")
def server() -> Any:
    with ScriptedServer({"honest": "", **{fault: fault for fault in FAULTS}}) as running:
        yield running


def test_an_honest_server_passes_with_four_requests(server: ScriptedServer) -> None:
    before = len(server.asked)
    assert echo_fault(lambda text: ask(server, "honest", text)) == ""
    sent = [body["prompt"] for body in server.asked[before:]]
    assert len(sent) == 4
    assert sent[:2] == [PROMPT, PROMPT]
    assert sent[3] == f"{PROMPT}C"


@pytest.mark.parametrize("fault", FAULTS)
def test_each_dishonest_answer_is_named(server: ScriptedServer, fault: str) -> None:
    found = echo_fault(lambda text: ask(server, fault, text))
    assert MESSAGES[fault] in found
    assert "\n" not in found


@pytest.mark.parametrize("more", [-1, 1])
def test_another_number_of_tokens_than_the_tokenizer_s_is_a_fault(server: ScriptedServer, more: int) -> None:

    def echo(text: str) -> Reply:
        reply = ask(server, "honest", text)
        return Reply(reply.body, reply.body["usage"]["prompt_tokens"] + more)

    assert "start tokens (BOS) are not counted alike" in echo_fault(echo)


@pytest.mark.parametrize("body", [{}, {"choices": []}, {"choices": [3]}, "no", None, {"error": "x"}])
def test_invalid_answers_are_faults(body: Any) -> None:
    assert echo_fault(lambda text: Reply(body)) == "it reports no probabilities of an input text"


def test_a_server_that_counts_no_tokens_is_a_fault(server: ScriptedServer) -> None:
    def echo(text: str) -> Reply:
        body = ask(server, "honest", text).body
        del body["usage"]
        return Reply(body)

    assert "usage.prompt_tokens" in echo_fault(echo)
