"""Run `exam stress`: score an exam as published and perturbed, with one or two models.

All variants of an item share one prefix tree (`model.likelihood`), so that another order only costs its options.
"""

from __future__ import annotations

import gc
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from math import isfinite
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from medalpaca_data.core.errors import UserError
from medalpaca_data.core.files import existing, sha256_json
from medalpaca_data.core.offline import is_sealed, seal
from medalpaca_data.core.typed import check_type
from medalpaca_data.exams.exam import BUNDLED, Exam, find_exam, load_exam
from medalpaca_data.exams.item import Scoring, exam_prompt_id

from ..model_identity import ModelIdentity, identify_model, split_adapter
from ..preflight import check_prompts
from ..task_data import TASKS
from .figures import stress_figures
from .perturbations import PerturbedItem, perturb
from .rephrased import ChatPrompt, chat_prompt, rephrase, rephrased_id
from .result import FILE_NAME, ScoredItem, Side, StressRun, write_stress

Scores = tuple[tuple[float, ...], ...]
# Called with side, number of finished items, total number of items.
OnProgress = Callable[[str, int, int], None]

# Average characters in a token of English text, to size the batches.
CHARACTERS_PER_TOKEN = 4
# Model batches between two writes to the file of partial scores.
BATCHES_PER_SAVE = 8
DEFAULT_TOKENS_PER_BATCH = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class StressConfig:
    """Settings of `exam stress`.

    `base` is a model directory, a hub id, or a local adapter directory, which names its base. `tuned` is an adapter of
    `base` or a model directory. None scores `base` alone, or, if `base` is an adapter, the adapter and its base. `exam`
    None selects MEDALPACA_EXAM. `out` is the directory for stress.json. `images`, "exclude" or "keep", applies to items
    that need an image. `scoring` None selects the scoring of a bundled exam's own task, otherwise "letter". `limit`
    None selects all items.
    """

    base: str
    tuned: str | None = None
    exam: str | None = None
    out: Path
    scoring: Scoring | None = None
    images: str = "exclude"
    model_args: dict[str, Any] = field(default_factory=dict)
    device: str | None = None
    limit: int | None = None


class ScoresLine(BaseModel):
    """A line of a file of partial scores after the first."""

    asked: str
    scores: list[list[float]]


class PartialScores:
    """File with the scores of finished items, one line per item, from which a stopped run continues.

    `key` identifies the model and the perturbation rules. The file at `path` and its directory are created if they do
    not exist. Raises UserError if the file has another key or is no such file.
    """

    def __init__(self, path: Path, key: str) -> None:
        self._path = path
        self._scores: dict[str, Scores] = {}
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = self._complete_lines()
        if lines and lines[0] != {"key": key}:
            raise UserError(
                f"{path}: belongs to an unfinished run of another model or with other settings; finish that run, "
                "remove the file, or give another --out"
            )
        if not lines:
            path.write_text(json.dumps({"key": key}) + "\n", encoding="utf-8")
        for number, line in enumerate(lines[1:], 2):
            check_type(ScoresLine, line, f"{path} line {number}", "remove the file, or give another --out")
            self._scores[line["asked"]] = tuple(map(tuple, line["scores"]))

    def _complete_lines(self) -> list[dict[str, Any]]:
        """Return the lines of the file, [] if there is none, and remove an incomplete last line from it."""
        if not self._path.exists():
            return []
        content = existing(self._path).read_bytes()
        complete = content[: content.rfind(b"\n") + 1]
        if len(complete) < len(content):
            self._path.write_bytes(complete)
        try:
            return [dict(json.loads(line)) for line in complete.splitlines()]
        except (ValueError, TypeError, RecursionError):
            raise UserError(
                f"{self._path}: not a file of partial scores of `exam stress`; remove it, or give another --out"
            ) from None

    def get(self, prompts_sha256: str) -> Scores | None:
        """Return the scores of the item whose prompts and options have that hash; None if it is not finished."""
        return self._scores.get(prompts_sha256)

    def add(self, scores: Mapping[str, Scores]) -> None:
        """Append the scores of finished items, by the hash of their prompts and options, to the file."""
        with self._path.open("a", encoding="utf-8") as file:
            for prompts_sha256, rows in scores.items():
                file.write(json.dumps({"asked": prompts_sha256, "scores": rows}) + "\n")
        self._scores |= scores

    def remove(self) -> None:
        """Delete the file, after the complete result is written."""
        self._path.unlink()


def run_stress(config: StressConfig, on_progress: OnProgress = lambda *_: None) -> StressRun:
    """Score every variant of every item, write `stress.json` to `config.out`, and return the result.

    A stopped run is continued: finished items are kept in `partial-SIDE.jsonl` in `config.out` until the result is
    written. SIDE is "base" or "tuned"; `on_progress` is called with it, number of finished items, and total. Raises
    UserError for an exam or model that cannot be used, and if `config.out` holds a result, or partial scores of another
    run.
    """
    if is_sealed():
        seal()
    if (file := config.out / FILE_NAME).exists():
        raise UserError(f"{file}: already exists; give another --out, or remove the file")
    if config.limit is not None and config.limit < 1:
        raise UserError(f"--limit {config.limit}: must be 1 or more")
    exam = _load_exam(config)
    scoring = config.scoring or _default_scoring(exam.name)
    models = _model_arguments(config)
    # Before any model is loaded, so that a wrong adapter is found at once.
    identities = {side: identify_model(arguments | config.model_args) for side, arguments in models.items()}
    chat = _common_chat_prompt(models, config)
    items = [rephrase(perturb(item, scoring), chat) for item in exam.items[: config.limit]]
    sides: dict[str, Side] = {}
    scores: dict[str, list[Scores]] = {}
    partial_files = []
    for side, arguments in models.items():
        lm = _load_model(arguments, config)
        check_prompts("exam stress", lm, _length_check_rows(items))
        key = sha256_json([lm.identity(), rephrased_id(scoring)])
        partial_files.append(PartialScores(config.out / f"partial-{side}.jsonl", key))
        scores[side] = score_items(lm, items, partial_files[-1], partial(on_progress, side))
        sides[side] = _side(identities[side], str(lm.model.dtype))
        # Free this model before the next is loaded: the memory may not hold two.
        del lm
        gc.collect()
    result = StressRun(
        version=version("medalpaca-evalharness"),
        exam=exam.name,
        exam_sha256=exam.sha256,
        exam_items=len(exam.items),
        scoring=scoring,
        prompt_id=exam_prompt_id(scoring),
        stress_id=rephrased_id(scoring),
        sides=sides,
        excluded=tuple(entry for item in items for entry in item.excluded),
        items=tuple(
            _scored_item(item, {side: rows[index] for side, rows in scores.items()})
            for index, item in enumerate(items)
        ),
        chat=chat,
    )
    write_stress(file, result, stress_figures(result).as_json())
    for partial_file in partial_files:
        partial_file.remove()
    return result


def score_items(
    lm: Any,
    items: Sequence[PerturbedItem],
    partial_scores: PartialScores,
    on_progress: Callable[[int, int], None],
) -> list[Scores]:
    """Return the scores of each option of each variant, per item, in the order of `items`.

    Those that `partial_scores` does not have are computed by `lm`, any model of lm-eval, and added to it.
    `on_progress` is called with the number of finished items and the total. Raises UserError if a log-likelihood is
    not finite.
    """
    hashes = [item.prompts_sha256 for item in items]
    missing = [
        (name, item) for name, item in zip(hashes, items, strict=True) if partial_scores.get(name) is None
    ]
    done = len(items) - len(missing)
    on_progress(done, len(items))
    tokens = BATCHES_PER_SAVE * getattr(lm, "tokens_per_batch", DEFAULT_TOKENS_PER_BATCH)
    for batch in _batches(missing, tokens * CHARACTERS_PER_TOKEN):
        partial_scores.add(_score_batch(lm, batch))
        done += len(batch)
        on_progress(done, len(items))
    return [scores for name in hashes if (scores := partial_scores.get(name)) is not None]


def _score_batch(lm: Any, batch: Sequence[tuple[str, PerturbedItem]]) -> dict[str, Scores]:
    from lm_eval.api.instance import Instance

    requests = [
        Instance("loglikelihood", {}, (prompt.prompt, choice), index)
        for _, item in batch
        for prompt in item.prompts
        for index, choice in enumerate(prompt.choices)
    ]
    likelihoods = iter([float(answer[0]) for answer in lm.loglikelihood(requests, disable_tqdm=True)])
    scores = {}
    for name, item in batch:
        scores[name] = tuple(
            tuple(
                next(likelihoods) / (len(choice) if item.scoring == "text" else 1)
                for choice in prompt.choices
            )
            for prompt in item.prompts
        )
        if not all(isfinite(score) for row in scores[name] for score in row):
            raise UserError(
                f"item {item.item.id}: the model's log-likelihoods are not finite numbers, so its scores have no "
                "meaning; load the model with --model_args dtype=float32, or check its weights"
            )
    return scores


def _batches(
    missing: Sequence[tuple[str, PerturbedItem]], characters: int
) -> Iterator[list[tuple[str, PerturbedItem]]]:
    """Yield batches of at most `characters` characters to encode, estimated, or of a single longer item."""
    batch: list[tuple[str, PerturbedItem]] = []
    filled = 0
    for name, item in missing:
        # The variants of an item share its question, which is encoded once.
        shared = len(item.item.question)
        size = shared + sum(max(0, len(prompt.prompt) - shared) for prompt in item.prompts)
        if batch and filled + size > characters:
            yield batch
            batch, filled = [], 0
        batch.append((name, item))
        filled += size
    if batch:
        yield batch


def _load_exam(config: StressConfig) -> Exam:
    exam = find_exam(config.exam)
    if exam is None:
        raise UserError(
            f"no exam given; pass --exam PATH or set MEDALPACA_EXAM=PATH (bundled: {', '.join(BUNDLED)})"
        )
    return load_exam(exam if exam in BUNDLED else Path(exam).expanduser(), images=config.images)


def _default_scoring(exam: str) -> Scoring:
    scoring = next((task.scoring for task in TASKS.values() if task.bundled == exam), "letter")
    return "text" if scoring == "text" else "letter"


def _model_arguments(config: StressConfig) -> dict[str, dict[str, Any]]:
    """Return the model arguments of "base", and of "tuned" if two models are scored."""
    if given := {"pretrained", "peft"} & set(config.model_args):
        raise UserError(f"--model_args {min(given)}=: give base and tuned model as BASE and TUNED instead")
    arguments = split_adapter({"pretrained": config.base})
    base = {"pretrained": arguments["pretrained"]}
    if config.tuned is None:
        return {"base": base} | ({"tuned": arguments} if "peft" in arguments else {})
    if "peft" in arguments:
        raise UserError(f"{config.base}: is an adapter; give its base first, or the adapter alone")
    is_model = (Path(config.tuned).expanduser() / "config.json").is_file()
    return {
        "base": base,
        "tuned": {"pretrained": config.tuned} if is_model else base | {"peft": config.tuned},
    }


def _common_chat_prompt(models: Mapping[str, Mapping[str, Any]], config: StressConfig) -> ChatPrompt | None:
    """Return the chat prompt of the models' tokenizers; None if they have none, or if theirs differ."""
    from transformers import AutoTokenizer

    names = {str(config.model_args.get("tokenizer") or model["pretrained"]) for model in models.values()}
    revision = str(config.model_args.get("revision") or "main")
    prompts = {chat_prompt(AutoTokenizer.from_pretrained(name, revision=revision)) for name in names}
    return prompts.pop() if len(prompts) == 1 else None


def _load_model(arguments: Mapping[str, Any], config: StressConfig) -> Any:
    from transformers.utils.logging import disable_progress_bar

    from ..model.model_type import MedAlpacaLM, ignore_future_warnings

    # `StressProgress` shows the items; a second bar would disturb it.
    disable_progress_bar()  # type: ignore[no-untyped-call]
    with ignore_future_warnings():
        return MedAlpacaLM(**arguments, **config.model_args, device=config.device)


def _length_check_rows(items: Sequence[PerturbedItem]) -> list[dict[str, Any]]:
    """Return one row per variant of each item, as `check_prompts` reads them."""
    return [
        {
            "item_id": item.item.id,
            "prompt": prompt.prompt,
            "choices": prompt.choices,
            "scoring": item.scoring,
        }
        for item in items
        for prompt in item.prompts
    ]


def _side(identity: ModelIdentity, dtype: str) -> Side:
    names = [Path(name).name for name in (identity.base, identity.adapter) if name]
    return Side(
        model=" + ".join(names),
        base=identity.base,
        base_sha256=identity.base_sha256,
        adapter=identity.adapter,
        adapter_sha256=identity.adapter_sha256,
        dtype=dtype,
    )


def _scored_item(item: PerturbedItem, scores: Mapping[str, Scores]) -> ScoredItem:
    return ScoredItem(
        item=item.item.id,
        step=item.item.step,
        key=item.key,
        fixed=item.fixed,
        asked_sha256=item.prompts_sha256,
        variants=item.variants,
        scores=scores,
    )
