"""The engine: answers equal those of separate models, jobs get their own answers, and hooks are removed."""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from medalpaca_demo.engine import Engine
from medalpaca_demo.job import SIDES, Progress, Request
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
    return list(job.watch(interval=0.0))[-1]


def hooks(model: Any) -> int:
    return sum(len(module._forward_pre_hooks) for module in model.modules())


def test_mixed_batch_equals_the_two_models_alone(engine: Engine, greedy: Any) -> None:
    jobs = [engine.submit(request(question)) for question in QUESTIONS]
    for job in jobs:
        result = finish(job)
        assert result.state == "done", result.error
        for side in SIDES:
            assert result.answers[side].text == greedy(side, job.request.prompt, 24)
        assert result.answers["base"].text != result.answers["tuned"].text


def test_eight_concurrent_jobs_get_their_own_answers(engine: Engine, greedy: Any) -> None:
    questions = [f"{question} Case {number}." for number in (1, 2) for question in QUESTIONS]
    jobs = [engine.submit(request(q, max_new_tokens=8 + i)) for i, q in enumerate(questions)]
    for i, job in enumerate(jobs):
        result = finish(job)
        assert [result.answers[side].text for side in SIDES] == [
            greedy(side, job.request.prompt, 8 + i) for side in SIDES
        ]


def test_an_error_leaves_no_hooks(engine: Engine, greedy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = 0
    original = engine._pair.model("base").base_model.model.forward

    def fail_in_the_third_step(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 4:  # the first call reads the prompt, the others decode
            raise RuntimeError("broken")
        return original(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(engine._pair.model("base").base_model.model, "forward", fail_in_the_third_step)
        result = finish(engine.submit(request(QUESTIONS[0])))
    assert result.state == "failed"
    assert "RuntimeError" in result.error
    assert QUESTIONS[0] not in result.error
    assert hooks(engine._pair.model("base")) == 0
    result = finish(engine.submit(request(QUESTIONS[1])))
    assert result.answers["tuned"].text == greedy("tuned", request(QUESTIONS[1]).prompt, 24)


def test_peft_leaves_hooks_and_the_guard_removes_them(engine: Engine) -> None:
    """If this fails, peft has fixed the error and the guard can be removed."""
    model, ids = engine._pair.model("base"), torch.tensor([[5, 6, 7], [5, 6, 7]])
    with torch.inference_mode():
        right = model(ids).logits
        guard = HookGuard(model)
        with pytest.raises(ValueError):
            model(ids, adapter_names=[ADAPTER_NAMES["base"]])  # one name for two rows
        assert hooks(model) > 0
        assert guard.restore() > 0
        assert torch.equal(model(ids).logits, right)


def test_a_streamer_error_fails_the_job(engine: Engine, greedy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(engine, "_publish", lambda rows: 1 / 0)
        result = finish(engine.submit(request(QUESTIONS[0])))
    assert result.state == "failed"
    assert hooks(engine._pair.model("base")) == 0
    result = finish(engine.submit(request(QUESTIONS[0])))
    assert result.answers["tuned"].text == greedy("tuned", request(QUESTIONS[0]).prompt, 24)


def test_cancel_frees_the_engine_and_keeps_other_jobs(engine: Engine, greedy: Any) -> None:
    engine._eos = frozenset()  # so that an answer ends by its limit or by cancellation only
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


def test_cancel_in_the_queue(engine: Engine) -> None:
    first = [engine.submit(request(QUESTIONS[0], max_new_tokens=60)) for _ in range(8)]
    waiting = engine.submit(request(QUESTIONS[1]))
    engine.cancel(waiting)
    assert finish(waiting).state == "stopped"
    assert not waiting.progress.scores
    assert all(finish(job).state == "done" for job in first)


def test_a_full_queue_refuses_at_once(pair: tuple[Path, Path]) -> None:
    from medalpaca_demo.engine import Engine
    from medalpaca_demo.models import check_pair, load_models

    engine = Engine(lambda: load_models(check_pair(*pair)), max_jobs=1, max_waiting=2)
    jobs = [engine.submit(request(QUESTIONS[0], max_new_tokens=200)) for _ in range(6)]
    refused = [job for job in jobs if job.progress.state == "failed"]
    assert len(refused) in (3, 4)  # the engine may have taken one already
    assert refused[-1].progress.error == "2 questions are waiting already; try again in a minute"
    engine.close()


@pytest.mark.slow
def test_two_hundred_comparisons_by_eight_users(engine: Engine, greedy: Any) -> None:
    """Eight threads, each with its own browser session; each gets the answers to its own questions."""
    from concurrent.futures import ThreadPoolExecutor

    from medalpaca_demo.context import Sessions

    sessions = Sessions(engine)

    def ask(user: int) -> list[tuple[Request, Progress]]:
        found = []
        for turn in range(25):
            wanted = request(f"User {user}, turn {turn}: {QUESTIONS[(user + turn) % 4]}", max_new_tokens=16)
            *_, last = sessions.stream(f"session {user}", wanted)
            assert last is not None
            found.append((wanted, last))
        return found

    with ThreadPoolExecutor(8) as pool:
        everything = [one for found in pool.map(ask, range(8)) for one in found]
    assert len(everything) == 200
    for wanted, last in everything:
        assert last.state == "done", last.error
        for side in SIDES:
            assert last.answers[side].text == greedy(side, wanted.prompt, 16)


def test_a_too_long_question_fails_alone(engine: Engine) -> None:
    long, short = engine.submit(request("word " * 600)), engine.submit(request("A"))
    assert finish(long).state == "failed"
    assert finish(long).error.startswith("question too long (")
    assert finish(short).state == "done"


def test_incomplete_characters_are_not_shown(plain: SimpleNamespace) -> None:
    from medalpaca_demo.inference import BatchRow
    from medalpaca_demo.job import Job

    ids = plain.tokenizer.encode("a\N{SNOWMAN}", add_special_tokens=False)
    assert len(ids) > 2
    row = BatchRow(Job(request("")), "base", limit=9, tokens=ids[:-1])
    assert row.answer(plain.tokenizer).text == "a"
    row.tokens = ids
    assert row.answer(plain.tokenizer).text == "a\N{SNOWMAN}"


def test_close_ends_every_job(pair: tuple[Path, Path]) -> None:
    from medalpaca_demo.models import check_pair, start_engine

    engine = start_engine(check_pair(*pair)).wait_until_loaded()
    jobs = [engine.submit(request(q, max_new_tokens=400)) for q in QUESTIONS * 3]
    engine.close()
    assert all(finish(job).final for job in jobs)
    assert finish(engine.submit(request("A"))).state == "failed"


@pytest.mark.parametrize("question", QUESTIONS)
def test_watch_skips_old_snapshots(engine: Engine, question: str) -> None:
    snapshots = list(engine.submit(request(question, max_new_tokens=60)).watch(interval=0.2))
    assert snapshots[-1].final
    assert len(snapshots) < 20
