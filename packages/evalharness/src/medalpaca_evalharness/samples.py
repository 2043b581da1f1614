"""Read the samples that lm-eval logs, one per item and filter, and check the hashes in them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isnan
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel

from medalpaca_data.core.errors import CheckFailed, UserError
from medalpaca_data.core.files import parse_json, read_text, sha256_bytes, sha256_json
from medalpaca_data.core.typed import check_type
from medalpaca_data.exams.item import Generated

from .answer_extraction import OUTCOMES, first_accepted, flexible_filter, last_kept, strict_filter
from .extraction_v1 import filter_v1
from .scoring import equal_scores_fault
from .sent_prompt import sent_text
from .task_data import MEDQA_PARTS

# Filter functions by the names in the task YAML files.
FILTERS = {
    "flexible": flexible_filter,
    "strict": strict_filter,
    "first_accepted": first_accepted,
    "last_kept": last_kept,
}
# The first version of the tasks with generated answers whose rules are those of `answer_rules`.
VERSION_2 = 2.0
HASHES = ("doc_hash", "prompt_hash", "target_hash")


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One model's answer to one item.

    `label`: "Step 1", the part of MedQA ("Step 2&3"), or "no step". `right`: whether the logged metric is 1.
    `input_hash`: hashes of prompt and correct answer, and of the generation settings if answers were generated,
    separated by spaces. `choices`: the continuations, letters or option texts. `key`: index of the correct option.
    `chosen`: index of the option with the largest score (the first of equals), or of the extracted letter. It is
    None without a letter, or if the letter is not one of the options. `outcome`: one of `OUTCOMES`. `scores`: the
    compared value per option; empty for generated answers. `sha256`: hash of the logged sample as JSON. `subject` and
    `group`: those of the exam's item, None without one.
    """

    item_id: str
    step: int | None
    label: str
    right: bool
    input_hash: str
    letters: tuple[str, ...]
    choices: tuple[str, ...]
    key: int
    chosen: int | None
    outcome: str
    scores: tuple[float, ...]
    sha256: str
    subject: str | None = None
    group: str | None = None

    @property
    def options(self) -> int:
        """Number of options of the item."""
        return len(self.letters)


def read_samples(samples: Path) -> Iterator[tuple[int, Any]]:
    """Yield (line number from 1, value) of each non-empty line. Raises UserError for a line that is not JSON."""
    # Not splitlines: JSON strings may contain other line separators unescaped.
    for number, line in enumerate(read_text(samples).split("\n"), 1):
        if line.strip():
            try:
                yield number, parse_json(line, "")
            except UserError:
                raise UserError(
                    f"{samples} line {number}: not valid JSON; the run may have been interrupted: run lm_eval again"
                ) from None


def read_answer(record: Any, metric: str, name: str, where: str) -> tuple[Mapping[str, Any], Answer]:
    """Return the document and the answer of `record`, a logged sample of task `name`.

    `metric` is the key of its score, "acc" or "acc_norm". `where` names file and line in errors. Raises UserError if
    `record` is not such a sample, and CheckFailed if a log-likelihood is nan or those of all options are equal.
    """
    try:
        doc = _check_document(record["doc"], where)
        score = record[metric]
        letters = tuple(map(str, doc["letters"]))
        scores: tuple[float, ...] = ()
        likelihoods: list[float] = []
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
            input_hash=_input_hash(record, doc),
            letters=letters,
            choices=tuple(map(str, doc["choices"])),
            key=int(doc["gold"]),
            chosen=chosen,
            outcome=outcome,
            scores=scores,
            sha256=sha256_json(record),
            subject=doc.get("subject") or None,
            group=doc.get("group") or None,
        )
    except (KeyError, TypeError, IndexError, ValueError, ZeroDivisionError, AttributeError) as error:
        raise UserError(f"{where}: not a scored sample of {name} ({error!r})") from None
    if score not in (0, 1):
        raise UserError(f"{where}: {metric} is {score!r}; expected 0 or 1")
    if any(map(isnan, scores)):
        raise CheckFailed(
            f"{where}: log-likelihood is nan, so the scores of this model are meaningless; check its dtype and weights"
        )
    if scores and (fault := equal_scores_fault(likelihoods, doc)):
        raise CheckFailed(f"{where}: {fault}")
    if len(scores or letters) != answer.options or not 0 <= answer.key < answer.options:
        raise UserError(
            f"{where}: {len(answer.scores)} scores and key index {answer.key} do not fit {answer.options} options"
        )
    return doc, answer


def _generated_answer(
    filtered: Sequence[Sequence[str]], letters: Sequence[str], score: Any
) -> tuple[int | None, str]:
    """Return the index of the chosen option and the outcome.

    The index is None without a letter, or if the letter is not one of the options. Raises ValueError if there is no
    letter and the reason is not one of `OUTCOMES`.
    """
    ((letter, rule),) = filtered
    if not letter and rule not in OUTCOMES:
        raise ValueError(f"outcome {rule!r} is not one of {', '.join(OUTCOMES)}")
    # A letter that is not one of the options counts as a wrong answer.
    outcome = ("correct" if score == 1 else "wrong") if letter else rule
    return letters.index(letter) if letter in letters else None, outcome


def _step_label(doc: Mapping[str, Any]) -> str:
    if doc["step"] is not None:
        return f"Step {doc['step']}"
    return next(
        (f"Step {part[4:]}" for part in MEDQA_PARTS.values() if part == doc.get("subject")), "no step"
    )


def is_generated(doc: Mapping[str, Any]) -> bool:
    """Return whether the document's prompt style is generated text, so that samples have no log-likelihoods."""
    return doc.get("scoring") in get_args(Generated)


def _input_hash(record: Mapping[str, Any], doc: Mapping[str, Any]) -> str:
    hashes = f"{record['prompt_hash']} {record['target_hash']}"
    if not is_generated(doc):
        return hashes
    return f"{hashes} {sha256_json([arguments['arg_1'] for arguments in record['arguments'].values()])}"


class Document(BaseModel):
    """The fields of a document of this package's tasks that are read."""

    exam: str
    exam_sha256: str
    prompt_id: str
    prompt: str
    scoring: str
    step: int | None
    letters: list[str]
    choices: list[str]
    base: str | None = None
    base_sha256: str | None = None
    adapter: str | None = None
    adapter_sha256: str | None = None
    subject: str | None = None
    group: str | None = None


def _check_document(doc: Any, where: str) -> Mapping[str, Any]:
    """Return `doc` if it has the fields of `Document`. Raises UserError with `where` if not."""
    check_type(Document, doc, f"{where} doc", "run lm_eval again")
    if not doc["choices"]:
        raise UserError(f"{where}: there are no choices; run lm_eval again")
    return doc  # type: ignore[no-any-return]


def _option_scores(likelihoods: list[float], choices: list[str], metric: str) -> list[float]:
    """Return the compared values: log-likelihoods, or for `acc_norm` log-likelihoods per character."""
    if metric == "acc_norm":
        return [value / len(text) for value, text in zip(likelihoods, choices, strict=True)]
    return likelihoods


def find_changed_fields(
    record: Mapping[str, Any], version: float, *, has_think_end_token: bool = False
) -> list[str]:
    """Return names of the parts of a logged sample that contradict the rest of it, such as "its prompt"; else [].

    Document, prompt and key are compared with the hashes that lm-eval logged, which lm-eval itself never checks. Scored
    options and log-likelihoods are compared with their second copy in the sample. A generated answer is extracted
    again from its logged text; `version` and `has_think_end_token` are those of `is_answer_reproduced`. Raises
    KeyError, TypeError, ValueError or AttributeError if it is no sample.
    """
    doc, arguments = record["doc"], record["arguments"]
    prompts = [sent_text(record, request) for request in arguments]
    changed = []
    # lm-eval serialises a document in this way before it hashes it.
    if _hash(json.dumps(doc, indent=2, ensure_ascii=False)) != record["doc_hash"]:
        changed.append("its document")
    if any(_hash(text) != record["prompt_hash"] for text in prompts):
        changed.append("its prompt")
    if _hash(str(record["target"])) != record["target_hash"] or str(doc["gold"]) != str(record["target"]):
        changed.append("its key")
    if is_generated(doc):
        same = is_answer_reproduced(record, version, has_think_end_token=has_think_end_token)
        return changed if same else [*changed, "its answer"]
    if [value["arg_1"] for value in arguments.values()] != list(doc["choices"]):
        changed.append("its options")
    if record["resps"] != [[response] for response in record["filtered_resps"]]:
        changed.append("its log-likelihoods")
    return changed


def is_answer_reproduced(
    record: Mapping[str, Any], version: float, *, has_think_end_token: bool = False
) -> bool:
    """Return whether the filter of a generated sample extracts the logged answer again from the logged text.

    `version` is that of the task: 1.0 had other rules, which `extraction_v1` keeps. Without the tokenizer, it is not
    known whether a text has the maximal number of tokens. So "unparsed" and "truncated" are accepted for each other. If
    the run had a `think_end_token`, a text of maximal length is unfinished thinking, so "truncated" is always accepted.
    """
    (texts,), (logged,) = record["resps"], record["filtered_resps"]
    name, doc = record["filter"], record["doc"]
    if version < VERSION_2 and name in ("flexible", "strict"):
        answer = filter_v1(name, texts[0], doc)
    else:
        (answer,) = FILTERS[name]([texts], [doc])
    not_known = (["", "truncated"], ["", "unparsed"])
    return (
        answer == list(logged)
        or (answer in not_known and list(logged) in not_known)
        or (has_think_end_token and list(logged) == ["", "truncated"])
    )


def _hash(text: str) -> str:
    return sha256_bytes(text.encode())
