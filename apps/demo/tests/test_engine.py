"""The engine: right answers, right owner, and nothing left behind."""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from medalpaca_demo.engine import Engine
from medalpaca_demo.job import ARMS, Progress, Request
from medalpaca_demo.sides import ADAPTER_NAMES, HookGuard

QUESTIONS = [
    "Which vitamin is lacking in scurvy?",
    "Fever, cough and a rash of the trunk: which artery supplies the anterior wall of the heart?",
    "β-blocker at 37 °C?",
    "A",
]


def request(question: str, **changes: Any) -> Request:
    prompt = f"### Instruction:\n{question}\n\n### Response:\n"
    return Request(
        **{"prompt": prompt, "choices": ("A", "B", "C"), "scoring": "letter", "max_new_tokens": 24, **changes}
    )


def finish(job: Any) -> Progress:
    return list(job.watch(every=0.0))[-1]


def greedy(plain: SimpleNamespace, arm: str, prompt: str, tokens: int) -> str:
    ids = plain.tokenizer(prompt, return_tensors="pt")["input_ids"]
    with torch.inference_mode():
        out = getattr(plain, arm).generate(ids, do_sample=False, max_new_tokens=tokens, pad_token_id=1)
    return str(plain.tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True))


def hooks(model: Any) -> int:
    return sum(len(module._forward_pre_hooks) for module in model.modules())


def test_mixed_batch_equals_the_two_models_alone(engine: Engine, plain: SimpleNamespace) -> None:
    jobs = [engine.submit(request(question)) for question in QUESTIONS]
    for job in jobs:
        result = finish(job)
        assert result.state == "done", result.error
        for arm in ARMS:
            assert result.answers[arm].text == greedy(plain, arm, job.request.prompt, 24)
        assert result.answers["base"].text != result.answers["tuned"].text


def test_eight_at_once_are_not_crossed(engine: Engine, plain: SimpleNamespace) -> None:
    questions = [f"{question} Case {number}." for number in (1, 2) for question in QUESTIONS]
    jobs = [engine.submit(request(q, max_new_tokens=8 + i)) for i, q in enumerate(questions)]
    for i, job in enumerate(jobs):
        result = finish(job)
        assert [result.answers[arm].text for arm in ARMS] == [
            greedy(plain, arm, job.request.prompt, 8 + i) for arm in ARMS
        ]


def test_an_error_leaves_no_hook_and_the_tuned_side_still_answers_as_tuned(
    engine: Engine, plain: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = 0
    original = engine._arms.model("base").base_model.model.forward

    def fail_in_the_third_step(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 4:  # one pass reads the prompt, the rest are decoding
            raise RuntimeError("broken")
        return original(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(engine._arms.model("base").base_model.model, "forward", fail_in_the_third_step)
        result = finish(engine.submit(request(QUESTIONS[0])))
    assert result.state == "failed"
    assert "RuntimeError" in result.error
    assert QUESTIONS[0] not in result.error
    assert hooks(engine._arms.model("base")) == 0
    result = finish(engine.submit(request(QUESTIONS[1])))
    assert result.answers["tuned"].text == greedy(plain, "tuned", request(QUESTIONS[1]).prompt, 24)


def test_peft_really_leaks_and_the_guard_really_mends(engine: Engine) -> None:
    """When peft mends it, this fails and the guard can go."""
    model, ids = engine._arms.model("base"), torch.tensor([[5, 6, 7], [5, 6, 7]])
    with torch.inference_mode():
        right = model(ids).logits
        guard = HookGuard(model)
        with pytest.raises(ValueError):
            model(ids, adapter_names=[ADAPTER_NAMES["base"]])  # one name for two rows
        assert hooks(model) > 0
        assert guard.restore() > 0
        assert torch.equal(model(ids).logits, right)


def test_a_broken_stream_is_an_event_and_not_an_exception(
    engine: Engine, plain: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(engine, "_publish", lambda rows: 1 / 0)
        result = finish(engine.submit(request(QUESTIONS[0])))
    assert result.state == "failed"
    assert hooks(engine._arms.model("base")) == 0
    result = finish(engine.submit(request(QUESTIONS[0])))
    assert result.answers["tuned"].text == greedy(plain, "tuned", request(QUESTIONS[0]).prompt, 24)


def test_cancel_frees_the_engine_and_spares_the_neighbour(engine: Engine, plain: SimpleNamespace) -> None:
    engine._eos = frozenset()  # so that only the limit or a stop can end an answer
    left = engine.submit(request(QUESTIONS[0], max_new_tokens=440))
    stays = engine.submit(request(QUESTIONS[2], max_new_tokens=40))
    while not left.progress.answers:
        time.sleep(0.005)
    engine.cancel(left)
    assert finish(stays).state == "done"
    result = finish(left)
    assert result.state == "stopped"
    assert result.answers["base"].tokens < 440
    until = time.monotonic() + 2
    while engine.busy and time.monotonic() < until:
        time.sleep(0.01)
    assert not engine.busy


def test_cancel_while_waiting_costs_nothing(engine: Engine) -> None:
    first = [engine.submit(request(QUESTIONS[0], max_new_tokens=60)) for _ in range(8)]
    waiting = engine.submit(request(QUESTIONS[1]))
    engine.cancel(waiting)
    assert finish(waiting).state == "stopped"
    assert not waiting.progress.scores
    assert all(finish(job).state == "done" for job in first)


def test_a_full_queue_says_so_at_once(pair: tuple[Path, Path]) -> None:
    from medalpaca_demo.engine import Engine
    from medalpaca_demo.models import check_pair, load_arms

    engine = Engine(lambda: load_arms(check_pair(*pair)), max_jobs=1, max_waiting=2)
    jobs = [engine.submit(request(QUESTIONS[0], max_new_tokens=200)) for _ in range(6)]
    refused = [job for job in jobs if job.progress.state == "failed"]
    assert len(refused) in (3, 4)  # one may be in the engine's hands already
    assert refused[-1].progress.error == "2 questions are waiting already; try again in a minute"
    engine.close()


@pytest.mark.slow
def test_two_hundred_comparisons_by_eight_users_are_all_right(engine: Engine, plain: SimpleNamespace) -> None:
    """Eight threads, each its own visitor, through the page's own door; nobody gets another's answer."""
    from concurrent.futures import ThreadPoolExecutor

    from medalpaca_demo.context import Visits

    visits = Visits(engine)

    def ask(user: int) -> list[tuple[Request, Progress]]:
        found = []
        for turn in range(25):
            wanted = request(f"User {user}, turn {turn}: {QUESTIONS[(user + turn) % 4]}", max_new_tokens=16)
            *_, last = visits.show(f"visitor {user}", wanted)
            assert last is not None
            found.append((wanted, last))
        return found

    with ThreadPoolExecutor(8) as pool:
        everything = [one for found in pool.map(ask, range(8)) for one in found]
    assert len(everything) == 200
    for wanted, last in everything:
        assert last.state == "done", last.error
        for arm in ARMS:
            assert last.answers[arm].text == greedy(plain, arm, wanted.prompt, 16)


def test_too_long_a_question_fails_alone_and_in_words(engine: Engine) -> None:
    long, short = engine.submit(request("word " * 600)), engine.submit(request("A"))
    assert finish(long).state == "failed"
    assert finish(long).error.startswith("question too long (")
    assert finish(short).state == "done"


def test_half_a_character_is_held_back(plain: SimpleNamespace) -> None:
    from medalpaca_demo.inference import Row
    from medalpaca_demo.job import Job

    ids = plain.tokenizer.encode("a\N{SNOWMAN}", add_special_tokens=False)
    assert len(ids) > 2
    row = Row(Job(request("")), "base", limit=9, tokens=ids[:-1])
    assert row.answer(plain.tokenizer).text == "a"
    row.tokens = ids
    assert row.answer(plain.tokenizer).text == "a\N{SNOWMAN}"


def test_closing_ends_every_job(pair: tuple[Path, Path]) -> None:
    from medalpaca_demo.models import check_pair, load_engine

    engine = load_engine(check_pair(*pair))
    jobs = [engine.submit(request(q, max_new_tokens=400)) for q in QUESTIONS * 3]
    engine.close()
    assert all(finish(job).final for job in jobs)
    assert finish(engine.submit(request("A"))).state == "failed"


@pytest.mark.parametrize("question", QUESTIONS)
def test_watching_never_builds_a_backlog(engine: Engine, question: str) -> None:
    pictures = list(engine.submit(request(question, max_new_tokens=60)).watch(every=0.2))
    assert pictures[-1].final
    assert len(pictures) < 20
