"""lm-eval's models behind a server: names, one probe before the first item, lengths in tokens, and equal options."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from medalpaca_data.core.errors import CheckFailed, UserError
from medalpaca_evalharness.model_identity import identify_model
from medalpaca_evalharness.preflight import before_model
from medalpaca_evalharness.results import read_run
from medalpaca_evalharness.run_summary import as_text, summarize_run
from medalpaca_evalharness.scoring import process_letter, process_text
from medalpaca_evalharness.served_models import generated_task

from .scripted_server import FAULTS, ScriptedServer, logprob


@pytest.fixture(scope="module")
def server() -> Any:
    with ScriptedServer({"honest": "", **{fault: fault for fault in FAULTS}}, limit=2000) as running:
        yield running


@pytest.fixture
def tokenizer(byte_tokenizer: Any, tmp_path: Path) -> Path:
    byte_tokenizer(bos=False).save_pretrained(tmp_path / "tokenizer")
    return tmp_path / "tokenizer"


def arguments(
    server: ScriptedServer, model: str, tokenizer: Path, path: str = "completions"
) -> dict[str, Any]:
    return {
        "base_url": f"{server.url}/{path}",
        "model": model,
        "tokenizer": str(tokenizer),
        "tokenizer_backend": "huggingface",
        "tokenized_requests": False,
        "max_retries": 1,
    }


def test_an_honest_server_is_scored_and_named(
    server: ScriptedServer, tokenizer: Path, write_exam: Any, evaluate: Any, save: Any, tmp_path: Path
) -> None:
    given = arguments(server, "honest", tokenizer)
    exam = {"exam": str(write_exam())}
    before = len(server.asked)
    results = evaluate(
        "local-completions", "medalpaca_exam", given | exam, model_args=given, log_samples=True
    )
    sent = server.asked[before:]
    probed = [body for body in sent if "scurvy" in body["prompt"]]
    assert probed == sent[:4]
    run = read_run(save(results, tmp_path / "results"))
    assert run.base == f"honest @ {server.host} (no hash)"
    assert run.base_sha256 is None
    assert as_text(run, summarize_run(run)).splitlines()[0] == f"honest @ {server.host} (no hash)"
    [samples] = (tmp_path / "results").rglob("samples_*.jsonl")
    for line in samples.read_text().splitlines():
        record = json.loads(line)
        prompt = record["doc"]["prompt"]
        # The line break at the end of the prompt counts as part of the option, as in lm-eval.
        for letter, (value, _) in zip(record["doc"]["letters"], record["filtered_resps"], strict=True):
            shared = logprob(list(prompt[:-1]), prompt[-1])
            assert float(value) == pytest.approx(shared + logprob(list(prompt), letter))


@pytest.mark.parametrize("fault", ["no_echo", "zeros", "random", "shifted", "rejects_echo"])
def test_a_dishonest_server_is_refused_before_the_first_item(
    server: ScriptedServer, tokenizer: Path, write_exam: Any, evaluate: Any, fault: str
) -> None:
    given = arguments(server, fault, tokenizer)
    before = len(server.asked)
    with pytest.raises(UserError, match="cannot score options: ") as caught:
        evaluate(
            "local-completions", "medalpaca_usmle", given | {"exam": str(write_exam())}, model_args=given
        )
    assert "use --tasks medalpaca_usmle_gen_step1" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert all("scurvy" in body["prompt"] for body in server.asked[before:])


def test_another_tokenizer_is_refused(
    server: ScriptedServer, byte_tokenizer: Any, write_exam: Any, evaluate: Any, tmp_path: Path
) -> None:
    byte_tokenizer(bos=True).save_pretrained(tmp_path / "bos")
    given = arguments(server, "honest", tmp_path / "bos") | {"add_bos_token": True}
    with pytest.raises(UserError, match=r"start tokens \(BOS\) are not counted alike"):
        evaluate("local-completions", "medalpaca_exam", given | {"exam": str(write_exam())}, model_args=given)


def chat(server: ScriptedServer, write_exam: Any, evaluate: Any, question: str, **more: Any) -> Any:
    given = {"base_url": f"{server.url}/chat/completions", "model": "honest", "max_retries": 1} | more
    exam = {"exam": str(write_exam(texts=question))}
    return evaluate(
        "local-chat-completions",
        "medalpaca_exam_gen",
        given | exam,
        model_args=given,
        apply_chat_template=True,
        log_samples=True,
    )


def test_lengths_are_tokens_of_the_server(server: ScriptedServer, write_exam: Any, evaluate: Any) -> None:
    results = chat(server, write_exam, evaluate, " pain" * 100)
    assert {sample["doc"]["base"] for sample in results["samples"]["medalpaca_exam_gen"]} == {
        f"honest @ {server.host} (no hash)"
    }


def test_an_item_that_the_server_rejects_is_named(
    server: ScriptedServer, write_exam: Any, evaluate: Any
) -> None:
    with pytest.raises(UserError, match=r"rejects the longest prompt, item ") as caught:
        chat(server, write_exam, evaluate, " pain" * 500)
    assert "\n" not in str(caught.value)


def test_a_given_limit_is_compared_with_the_server_s_count(
    server: ScriptedServer, write_exam: Any, evaluate: Any
) -> None:
    with pytest.raises(
        UserError, match=r"has \d+ tokens, and 1024 for the answer do not fit max_length=1200"
    ):
        chat(server, write_exam, evaluate, " pain" * 100, max_length=1200)


def test_chat_servers_need_a_generated_task_and_a_template() -> None:
    call = {"model": "local-chat-completions", "model_args": {"model": "m", "base_url": "http://h/v1"}}
    with pytest.raises(UserError, match="use --tasks medalpaca_usmle_gen_step1, which only needs"):
        before_model(call | {"tasks": ["medalpaca_usmle"]})
    with pytest.raises(UserError, match="add --apply_chat_template"):
        before_model(call | {"tasks": ["medalpaca_exam_gen"]})


@pytest.mark.parametrize(
    ("task", "generated"),
    [
        ("medalpaca_usmle_step2", "medalpaca_usmle_gen_step2"),
        ("medalpaca_usmle_text_step3", "medalpaca_usmle_gen_step3"),
        ("medalpaca_exam", "medalpaca_exam_gen"),
        ("medalpaca_pocket", "medalpaca_exam_gen"),
    ],
)
def test_the_generated_task_of_a_task(task: str, generated: str) -> None:
    assert generated_task(task) == generated


def test_names_have_no_key_and_local_arguments_win_nothing() -> None:
    address = "http://user:secret@gpu.example:8000/v1/completions"
    found = identify_model({"base_url": address, "pretrained": "owner/name"})
    assert found.base == "owner/name @ gpu.example:8000 (no hash)"
    assert found.base_sha256 is None


def doc(options: int, base: str | None) -> dict[str, Any]:
    texts = ["ab", "c", "def", "g"][:options]
    return {"item_id": "q7", "letters": list("ABCD")[:options], "choices": texts, "gold": 0, "base": base}


@pytest.mark.parametrize("process", [process_letter, process_text])
@pytest.mark.parametrize(
    ("options", "value", "base", "refused"),
    [
        (4, 0.0, "m @ h (no hash)", True),
        (2, -1.5, "m @ h (no hash)", True),
        (4, -1.5, "models/base", True),
        (2, -1.5, "models/base", False),
        (2, float("-inf"), "models/base", True),
    ],
)
def test_equal_options_are_an_error_that_names_the_item(
    process: Any, options: int, value: float, base: str, refused: bool
) -> None:
    results = [(value, False)] * options
    if not refused:
        assert "correct" in process(doc(options, base), results)
        return
    with pytest.raises(UserError, match=f"item q7: all {options} options have the log-likelihood {value}"):
        process(doc(options, base), results)


def test_logged_equal_options_fail_the_check(pair: Any) -> None:
    base, _ = pair()
    [samples] = base.rglob("samples_*step1*.jsonl")
    lines = [json.loads(line) for line in samples.read_text().splitlines()]
    for line in lines:
        line["filtered_resps"] = [[0.0, False] for _ in line["filtered_resps"]]
    samples.write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(CheckFailed, match=r"item .*: all \d options have the log-likelihood 0\.0"):
        read_run(base)
