"""Test prompt sensitivity and swapped words with models whose answers to every prompt are known."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

from medalpaca_data.exams.exam import load_exam
from medalpaca_data.exams.item import Item
from medalpaca_evalharness.statistics import paired_interval
from medalpaca_evalharness.stress.figures import StressFigures, find_problems, stress_figures
from medalpaca_evalharness.stress.perturbations import perturb
from medalpaca_evalharness.stress.rephrased import (
    ChatPrompt,
    chat_prompt,
    instructions,
    rephrase,
    rephrased_id,
)
from medalpaca_evalharness.stress.result import CHAT, ScoredItem, Side, StressRun, read_stress, write_stress
from medalpaca_evalharness.stress.table import summary_text

OLDER = Path(__file__).parent / "older_reports" / "stress_format_1.json"
CHAT_PROMPT = ChatPrompt("<user>", "<assistant>")
# The first four have words for sex, the first two of these are women; three have an age, one an ethnicity.
QUESTIONS = (
    "Case 0: A woman coughs.",
    "Case 1: A 30-year-old woman coughs.",
    "Case 2: A 50-year-old man coughs.",
    "Case 3: A white man coughs.",
    "Case 4: A 40-year-old patient coughs.",
    "Case 5: Which drug is best?",
)
ITEMS = [
    Item(
        id=f"q{n}", question=text, answer="ABC"[n % 3], options={letter: f"drug {letter}" for letter in "ABC"}
    )
    for n, text in enumerate(QUESTIONS)
]
# Whether a model is right, by the prompt.
Knows = Callable[[str], bool]


def stressed(*models: Knows, chat: ChatPrompt | None = CHAT_PROMPT) -> tuple[StressRun, StressFigures]:
    """Return the result of one or two models. The key has the largest score if the model knows, else the next one."""
    perturbed = [rephrase(perturb(item, "letter"), chat) for item in ITEMS]
    sides = dict(zip(("base", "tuned"), models, strict=False))

    def row(model: Knows, prompt: str, key: int, order: tuple[int, ...]) -> tuple[float, ...]:
        wanted = key if model(prompt) else (key + 1) % 3
        return tuple(0.0 if index == wanted else -1.0 for index in order)

    run = StressRun(
        version="1", exam="e", exam_sha256="0" * 64, exam_items=len(ITEMS), scoring="letter", prompt_id="p",
        stress_id=rephrased_id("letter"), chat=chat,
        sides={
            name: Side(model=name, base=name, base_sha256=None, adapter=None, adapter_sha256=None, dtype="x")
            for name in sides
        },
        excluded=tuple(entry for one in perturbed for entry in one.excluded),
        items=tuple(
            ScoredItem(
                item=one.item.id, step=None, key=one.key, fixed=one.fixed, asked_sha256=one.prompts_sha256,
                variants=one.variants,
                scores={
                    name: tuple(
                        row(model, prompt.prompt, one.key, variant.order)
                        for variant, prompt in zip(one.variants, one.prompts, strict=True)
                    )
                    for name, model in sides.items()
                },
            )
            for one in perturbed
        ),
    )  # fmt: skip
    return run, stress_figures(run)


def always(prompt: str) -> bool:
    return True


def test_a_model_that_knows_everything_is_not_sensitive():
    _, found = stressed(always)
    side = found.sides["base"]
    assert side.instructions is not None
    assert list(side.instructions.accuracies) == [*(f"instruction {n}" for n in range(1, 6)), "chat template"]
    assert (side.instructions.lowest, side.instructions.highest, side.instructions.consistent.count) == (
        1,
        1,
        6,
    )
    assert side.swaps is not None
    assert {name: share and (share.count, share.n) for name, share in side.swaps.items()} == {
        "sex": (0, 4), "age": (0, 3), "ethnicity": (0, 1), "any": (0, 5),
    }  # fmt: skip
    assert found.instructions is None


def test_a_model_that_knows_under_two_instructions_only():
    texts = instructions("letter")
    _, found = stressed(always, lambda prompt: texts[0] in prompt or texts[3] in prompt)
    side = found.sides["tuned"]
    assert side.instructions is not None
    assert [share.value for share in side.instructions.accuracies.values()] == [1, 0, 0, 1, 0, 0]
    assert (side.instructions.lowest, side.instructions.highest, side.instructions.consistent.count) == (
        0,
        1,
        0,
    )
    # Minus 100 points as published and under four others, 0 under two.
    change = found.instructions
    assert change is not None
    assert [mean.value for mean in change.differences.values()] == [0, -1, -1, 0, -1, -1]
    assert (change.published.value, change.lowest, change.highest, change.same_sign) == (-1, -1, 0, 4)
    assert change.published.interval == paired_interval(6, 0, 6)
    text = summary_text(found)
    assert "Under 7 instructions, accuracy is 0.0 to 100.0 %." in text["tuned"]
    assert "Its sign holds in 4 of 6." in text["difference"]


def test_a_model_that_knows_in_the_chat_template_only():
    _, found = stressed(lambda prompt: prompt.startswith("<user>"))
    side = found.sides["base"]
    assert side.instructions is not None
    assert [share.value for share in side.instructions.accuracies.values()] == [0, 0, 0, 0, 0, 1]
    run, found = stressed(always, chat=None)
    side = found.sides["base"]
    assert side.instructions is not None
    assert len(side.instructions.accuracies) == 5
    assert sum(entry.perturbation == CHAT for entry in run.excluded) == len(ITEMS)


def test_a_model_that_knows_of_men_only():
    _, found = stressed(lambda prompt: re.search(r"\b(man|patient|drug is)\b", prompt) is not None)
    side = found.sides["base"]
    assert side.published.count == 4
    assert side.swaps is not None
    assert {name: share and (share.count, share.n) for name, share in side.swaps.items()} == {
        "sex": (4, 4), "age": (0, 3), "ethnicity": (0, 1), "any": (4, 5),
    }  # fmt: skip
    assert (
        "Swapped words change 4 of 4 answers with another sex, 0 of 3 answers with another age"
        in (summary_text(found)["base"])
    )


def test_a_model_that_knows_at_one_age_and_one_ethnicity_only():
    _, found = stressed(lambda prompt: not re.search(r"\b(60|African American)\b", prompt))
    side = found.sides["base"]
    assert side.swaps is not None
    assert {name: share and (share.count, share.n) for name, share in side.swaps.items()} == {
        "sex": (0, 4), "age": (1, 3), "ethnicity": (1, 1), "any": (2, 5),
    }  # fmt: skip


def test_what_is_left_out_is_counted():
    run, _ = stressed(always)
    reasons = [(entry.item, entry.perturbation, entry.reason) for entry in run.excluded]
    assert ("q4", "swap_sex", "no word for sex") in reasons
    assert ("q0", "swap_age", "no age in years") in reasons
    for scored in run.items:
        assert len(scored.variants) + sum(entry.item == scored.item for entry in run.excluded) == 15


def test_a_result_is_read_as_it_was_written(tmp_path):
    run, found = stressed(always, lambda prompt: "man" in prompt)
    write_stress(tmp_path / "stress.json", run, found.as_json())
    again, stored = read_stress(tmp_path)
    assert again == run
    assert list(find_problems(again, stored)) == []
    assert json.loads((tmp_path / "stress.json").read_text())["format"] == "medalpaca exam stress 2"


def test_the_chat_prompt_of_a_tokenizer(byte_tokenizer):
    tokenizer = byte_tokenizer()
    assert chat_prompt(tokenizer) is None
    tokenizer.chat_template = "{{ bos_token }}[U]{{ messages[0]['content'] | trim }}[A]"
    # The tokenizer adds the start token itself.
    assert chat_prompt(tokenizer) == ("[U]", "[A]")
    tokenizer.chat_template = "{{ raise_exception('only with a system message') }}"
    assert chat_prompt(tokenizer) is None
    tokenizer.chat_template = "no message"
    assert chat_prompt(tokenizer) is None


def test_a_result_of_format_1_is_read_with_its_bootstrap_interval(tmp_path):
    exam = tmp_path / "exam.jsonl"
    rows = [
        {"id": f"q{n}", "question": f"Question {n}?", "answer": "ABCD"[n % 4],
         "options": {letter: f"remedy {letter}{n}" for letter in "ABCD"}}
        for n in range(6)
    ]  # fmt: skip
    exam.write_text("".join(json.dumps(row) + "\n" for row in rows))
    run, stored = read_stress(OLDER)
    assert run.format == 1
    assert list(find_problems(run, stored, load_exam(exam))) == []
    drop = stress_figures(run).sides["base"].none_of_the_above
    assert drop is not None
    assert "instructions" not in stored["sides"]["base"]
    edited = json.loads(OLDER.read_text())
    edited["figures"]["sides"]["base"]["published"]["count"] += 1
    (tmp_path / "stress.json").write_text(json.dumps(edited))
    assert len(list(find_problems(*read_stress(tmp_path)))) == 1
