"""One logged sample of lm-eval: what was asked, what the options scored, whether it is what it says it is."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isnan
from pathlib import Path
from typing import Any, get_args

from medalpaca_data.core.errors import CheckFailed, UserError
from medalpaca_data.core.files import parse_json, read_text, sha256_bytes, sha256_json
from medalpaca_data.exams.prompts import Generated

from .answer_extraction import flexible_filter, strict_filter
from .scoring import OUTCOMES, first_accepted, last_kept
from .task_list import MEDQA_PARTS

# As the tasks' YAML names them.
FILTERS = {
    "flexible": flexible_filter,
    "strict": strict_filter,
    "first_accepted": first_accepted,
    "last_kept": last_kept,
}
HASHES = ("doc_hash", "prompt_hash", "target_hash")


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """How one item went. `asked` is the hash of exactly what the model was shown, and of the key."""

    item_id: str
    step: int | None
    label: str  # of the step or, in MedQA, of the part of the exam
    right: bool
    asked: str
    letters: tuple[str, ...]
    choices: tuple[str, ...]  # what followed the prompt: letters, or the options' texts
    key: int  # index of the right option
    chosen: (
        int | None
    )  # index of the answer: the largest score, the first of equals, or the letter that was found
    outcome: str  # one of scoring.OUTCOMES
    scores: tuple[float, ...]  # what the task compares, per option; empty when the model wrote its answer
    sha256: str  # of the whole logged sample

    @property
    def options(self) -> int:
        """How many options the item has."""
        return len(self.letters)


def read_samples(samples: Path) -> Iterator[tuple[int, Any]]:
    """(line number, value) of every sample in a file."""
    # Not splitlines: texts may hold other line separators, which JSON leaves as they are.
    for number, line in enumerate(read_text(samples).split("\n"), 1):
        if line.strip():
            try:
                yield number, parse_json(line, "")
            except UserError:
                raise UserError(f"{samples} line {number}: not valid JSON; was the run cut off?") from None


def read_answer(record: Any, metric: str, name: str, where: str) -> tuple[Mapping[str, Any], Answer]:
    """The document and the answer in a logged sample of the task `name`, scored by `metric`."""
    try:
        doc = _check_document(record["doc"])
        score = record[metric]
        letters = tuple(map(str, doc["letters"]))
        scores: tuple[float, ...] = ()
        if is_generated(doc):
            chosen, outcome = _generated_answer(record["filtered_resps"], letters, score)
        else:
            likelihoods = [float(response[0]) for response in record["filtered_resps"]]
            scores = tuple(_option_scores(likelihoods, doc["choices"], metric))
            chosen, outcome = scores.index(max(scores)), "correct" if score == 1 else "wrong"
        answer = Answer(
            item_id=str(doc["item_id"]),
            step=doc["step"],
            label=_step_label(doc),
            right=score == 1,
            asked=_input_hash(record, doc),
            letters=letters,
            choices=tuple(map(str, doc["choices"])),
            key=int(doc["gold"]),
            chosen=chosen,
            outcome=outcome,
            scores=scores,
            sha256=sha256_json(record),
        )
    except (KeyError, TypeError, IndexError, ValueError, ZeroDivisionError, AttributeError) as error:
        raise UserError(f"{where}: not a scored sample of {name} ({error!r})") from None
    if score not in (0, 1):
        raise UserError(f"{where}: {metric} is {score!r}, 0 or 1 was expected")
    if any(map(isnan, scores)):
        raise CheckFailed(
            f"{where}: the model's log-likelihoods are not numbers (nan); its scores mean nothing"
        )
    if len(scores or letters) != answer.options or not 0 <= answer.key < answer.options:
        raise UserError(
            f"{where}: {len(answer.scores)} scores and key {answer.key} for {answer.options} options"
        )
    return doc, answer


def _generated_answer(
    found: Sequence[Sequence[str]], letters: Sequence[str], score: Any
) -> tuple[int | None, str]:
    """Index and outcome of the answer in what a model wrote. Raises ValueError."""
    ((said, rule),) = found
    if not said and rule not in OUTCOMES:
        raise ValueError(f"{rule!r} is no reason to have no answer")
    # A letter that is none of the options' is an answer, and a wrong one.
    outcome = ("correct" if score == 1 else "wrong") if said else rule
    return letters.index(said) if said in letters else None, outcome


def _step_label(doc: Mapping[str, Any]) -> str:
    if doc["step"] is not None:
        return f"Step {doc['step']}"
    return next(
        (f"Step {part[4:]}" for part in MEDQA_PARTS.values() if part == doc.get("subject")), "no step"
    )


def is_generated(doc: Mapping[str, Any]) -> bool:
    """Whether the model wrote its answer, so that there are no log-likelihoods."""
    return doc.get("scoring") in get_args(Generated)


def _input_hash(record: Mapping[str, Any], doc: Mapping[str, Any]) -> str:
    """The hash of what was shown and of the key, and of how the model was to write where it wrote."""
    shown = f"{record['prompt_hash']} {record['target_hash']}"
    if not is_generated(doc):
        return shown
    return f"{shown} {sha256_json([arguments['arg_1'] for arguments in record['arguments'].values()])}"


def _check_document(doc: Any) -> Mapping[str, Any]:
    """`doc` if it says what a sample of ours says. Raises ValueError or KeyError."""
    texts = [doc[key] for key in ("exam", "exam_sha256", "prompt_id")]
    names = [doc.get(key) for key in ("base", "base_sha256", "adapter", "adapter_sha256")]
    if not all(isinstance(text, str) for text in (*texts, *(name for name in names if name is not None))):
        raise ValueError("exam, prompt or model is not named by a text")
    if not isinstance(doc["step"], int | None) or not doc["choices"]:
        raise ValueError("no number of a step, or no choices")
    return doc  # type: ignore[no-any-return]


def _option_scores(likelihoods: list[float], choices: list[str], metric: str) -> list[float]:
    """`acc` compares log-likelihoods, `acc_norm` log-likelihoods per character of the option's text."""
    if metric == "acc_norm":
        return [value / len(text) for value, text in zip(likelihoods, choices, strict=True)]
    return likelihoods


def find_changed_fields(record: Mapping[str, Any]) -> list[str]:
    """What of a sample is not what lm-eval hashed when it was logged: the item, the prompt, the key.

    lm-eval writes these hashes for every sample; nothing in it ever checks them. Of a written answer: also
    whether it stands in the text that was logged with it.
    """
    doc, arguments = record["doc"], record["arguments"]
    shown = [value["arg_0"] for value in arguments.values()]
    # lm-eval's own way to write a document before it hashes it.
    found = []
    if _hash(json.dumps(doc, indent=2, ensure_ascii=False)) != record["doc_hash"]:
        found.append("its document")
    if any(_hash(text) != record["prompt_hash"] for text in shown):
        found.append("its prompt")
    if _hash(str(record["target"])) != record["target_hash"] or str(doc["gold"]) != str(record["target"]):
        found.append("its key")
    if is_generated(doc):
        return found if is_answer_reproduced(record) else [*found, "its answer"]
    if [value["arg_1"] for value in arguments.values()] != list(doc["choices"]):
        found.append("its options")
    if record["resps"] != [[response] for response in record["filtered_resps"]]:
        found.append("its log-likelihoods")
    return found


def is_answer_reproduced(record: Mapping[str, Any]) -> bool:
    """Whether the answer that was logged is what its filter finds, once more, in what the model wrote.

    Whether a text is as long as the model was allowed to write is known only where its tokenizer is, so that
    "truncated" may have been logged where "unparsed" is found.
    """
    (texts,), (logged,) = record["resps"], record["filtered_resps"]
    ((letter, why),) = FILTERS[record["filter"]]([texts], [record["doc"]])
    return [letter, why] == list(logged) or (why == "unparsed" and list(logged) == ["", "truncated"])


def _hash(text: str) -> str:
    return sha256_bytes(text.encode())
