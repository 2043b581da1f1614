"""`exam stress`: one exam asked as published and perturbed, of base and tuned, all variants of an item in one tree.

An item's variants share their question, so that an order more costs its options only (`likelihood`). What is done
stands in `partial-SIDE.jsonl` and is not asked again; `stress.json` appears when everything is done.

What a stress run has done so far, so that it goes on there after a kill. One line per item.

What is seen while an exam is asked: a bar with rate and time left in a terminal, a line now and then in a log.
"""

from __future__ import annotations

import gc
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from math import isfinite
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from medalpaca_data.core.errors import UserError
from medalpaca_data.core.files import sha256_json
from medalpaca_data.core.offline import is_sealed, seal
from medalpaca_data.exams.exam import BUNDLED, Exam, find_exam, load_exam
from medalpaca_data.exams.prompts import Scoring, exam_prompt_id

from ..model_identity import Examined, examined, with_base
from ..preflight import refuse_unfit
from ..task_list import TASKS
from .figures import stress_figures
from .perturbations import Perturbed, perturbed, stress_id
from .result import NAME, Scored, Side, Stress, write_stress

Scores = tuple[tuple[float, ...], ...]


class Journal:
    """The items that one model has answered. `key` names the model and the way of asking.

    Raises UserError when the file at `path` is another model's.
    """

    def __init__(self, path: Path, key: str) -> None:
        self._path = path
        self._done: dict[str, Scores] = {}
        path.parent.mkdir(parents=True, exist_ok=True)
        whole = self._whole_lines()
        if whole and whole[0] != {"key": key}:
            raise UserError(
                f"{path}: belongs to an unfinished run of another model or with other settings; finish that one, "
                "remove the file, or give another --out"
            )
        if not whole:
            path.write_text(json.dumps({"key": key}) + "\n", encoding="utf-8")
        for line in whole[1:]:
            self._done[line["asked"]] = tuple(map(tuple, line["scores"]))

    def _whole_lines(self) -> list[dict[str, Any]]:
        """The lines of the file; what a kill left of a last one is cut off."""
        if not self._path.exists():
            return []
        content = self._path.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        if len(whole) < len(content):
            self._path.write_bytes(whole)
        try:
            return [dict(json.loads(line)) for line in whole.splitlines()]
        except (ValueError, TypeError):
            raise UserError(
                f"{self._path}: not the journal of a stress run; remove it or give another --out"
            ) from None

    def get(self, asked: str) -> Scores | None:
        """The scores of the item whose prompts and choices have the hash `asked`, if it was answered."""
        return self._done.get(asked)

    def add(self, found: Mapping[str, Scores]) -> None:
        """Write down answered items, by the hash of what was asked."""
        with self._path.open("a", encoding="utf-8") as file:
            for asked, scores in found.items():
                file.write(json.dumps({"asked": asked, "scores": scores}) + "\n")
        self._done |= found

    def remove(self) -> None:
        """When its run stands elsewhere, whole."""
        self._path.unlink()


Tell = Callable[[str, int, int], None]  # side, items done, of how many

CHARACTERS = 4  # in a token of English, about
BATCHES, DEFAULT_BATCH = 8, 1024  # of tokens, between two lines of the journal


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """What is asked of whom. `tuned`: an adapter of `base`, or a model of its own; None when `base` is an adapter,
    whose base is then found, or when the base is asked alone."""

    base: str
    tuned: str | None = None
    exam: str | None = None
    out: Path
    scoring: Scoring | None = None  # None: as the exam's own task, if it is a bundled one, else by letter
    images: str = "exclude"
    model_args: dict[str, Any] = field(default_factory=dict)
    device: str | None = None
    limit: int | None = None


def stress(config: Config, tell: Tell = lambda *_: None) -> Stress:
    """Ask everything, or what is missing of it, and write `stress.json` to `config.out`.

    Raises UserError for what cannot be asked or loaded, and when `out` holds a result, or parts of another run.
    """
    if is_sealed():
        seal()
    if (file := config.out / NAME).exists():
        raise UserError(f"{file}: is there already; give another --out, or remove it")
    if config.limit is not None and config.limit < 1:
        raise UserError(f"--limit {config.limit}: 1 or more")
    exam = _exam(config)
    scoring = config.scoring or _own_scoring(exam.name)
    models = _models(config)
    # Before anything is loaded, so that a wrong adapter is not found an hour later.
    identities = {side: examined(named | config.model_args) for side, named in models.items()}
    asked = [perturbed(item, scoring) for item in exam.items[: config.limit]]
    sides: dict[str, Side] = {}
    answered: dict[str, list[Scores]] = {}
    journals = []
    for side, named in models.items():
        lm = _load(named, config)
        refuse_unfit("exam stress", lm, _rows(asked))
        journals.append(
            Journal(config.out / f"partial-{side}.jsonl", sha256_json([lm.identity(), stress_id(scoring)]))
        )
        answered[side] = ask(lm, asked, journals[-1], partial(tell, side))
        sides[side] = _side(identities[side], str(lm.model.dtype))
        del lm  # before the next is loaded: two whole models need not fit
        gc.collect()
    made = Stress(
        version=version("medalpaca-evalharness"),
        exam=exam.name,
        exam_sha256=exam.sha256,
        exam_items=len(exam.items),
        scoring=scoring,
        prompt_id=exam_prompt_id(scoring),
        stress_id=stress_id(scoring),
        sides=sides,
        left_out=tuple(entry for one in asked for entry in one.left_out),
        items=tuple(
            _scored(one, {side: scores[index] for side, scores in answered.items()})
            for index, one in enumerate(asked)
        ),
    )
    write_stress(file, made, stress_figures(made).as_json())
    for journal in journals:
        journal.remove()
    return made


def ask(
    lm: Any, asked: Sequence[Perturbed], journal: Journal, tell: Callable[[int, int], None]
) -> list[Scores]:
    """What each option of each variant scored, of every item: what is in the journal, and the rest from `lm`.

    `lm`: any model of lm-eval. Raises UserError when it gives no numbers.
    """
    names = [one.asked_sha256 for one in asked]
    missing = [(name, one) for name, one in zip(names, asked, strict=True) if journal.get(name) is None]
    done = len(asked) - len(missing)
    tell(done, len(asked))
    for chunk in _chunks(missing, BATCHES * getattr(lm, "tokens_per_batch", DEFAULT_BATCH) * CHARACTERS):
        journal.add(_answers(lm, chunk))
        done += len(chunk)
        tell(done, len(asked))
    return [found for name in names if (found := journal.get(name)) is not None]


def _answers(lm: Any, chunk: Sequence[tuple[str, Perturbed]]) -> dict[str, Scores]:
    """By the hash of what was asked."""
    from lm_eval.api.instance import Instance

    requests = [
        Instance("loglikelihood", {}, (asked.prompt, choice), index)
        for _, one in chunk
        for asked in one.asked
        for index, choice in enumerate(asked.choices)
    ]
    likelihoods = iter([float(found[0]) for found in lm.loglikelihood(requests, disable_tqdm=True)])
    scores = {}
    for name, one in chunk:
        scores[name] = tuple(
            tuple(
                next(likelihoods) / (len(choice) if one.scoring == "text" else 1) for choice in asked.choices
            )
            for asked in one.asked
        )
        if not all(isfinite(score) for row in scores[name] for score in row):
            raise UserError(
                f"item {one.item.id}: the model's log-likelihoods are not finite numbers; its scores mean nothing"
            )
    return scores


def _chunks(
    missing: Sequence[tuple[str, Perturbed]], characters: int
) -> Iterator[list[tuple[str, Perturbed]]]:
    """Items with about so many characters to encode, and one at least."""
    chunk: list[tuple[str, Perturbed]] = []
    filled = 0
    for name, one in missing:
        shared = len(one.item.question)  # encoded once
        size = shared + sum(max(0, len(asked.prompt) - shared) for asked in one.asked)
        if chunk and filled + size > characters:
            yield chunk
            chunk, filled = [], 0
        chunk.append((name, one))
        filled += size
    if chunk:
        yield chunk


def _exam(config: Config) -> Exam:
    named = find_exam(config.exam)
    if named is None:
        raise UserError(
            f"no exam named; pass --exam PATH or set MEDALPACA_EXAM=PATH (bundled: {', '.join(BUNDLED)})"
        )
    return load_exam(named if named in BUNDLED else Path(named).expanduser(), images=config.images)


def _own_scoring(name: str) -> Scoring:
    own = next((task.scoring for task in TASKS.values() if task.bundled == name), "letter")
    return "text" if own == "text" else "letter"


def _models(config: Config) -> dict[str, dict[str, Any]]:
    """Model arguments of each side."""
    if named := {"pretrained", "peft"} & set(config.model_args):
        raise UserError(f"--model_args {min(named)}=: base and tuned model are named by themselves")
    given = with_base({"pretrained": config.base})
    base = {"pretrained": given["pretrained"]}
    if config.tuned is None:
        return {"base": base} | ({"tuned": given} if "peft" in given else {})
    if "peft" in given:
        raise UserError(f"{config.base}: is an adapter; name its base first, or the adapter alone")
    whole = (Path(config.tuned).expanduser() / "config.json").is_file()
    return {"base": base, "tuned": {"pretrained": config.tuned} if whole else base | {"peft": config.tuned}}


def _load(named: Mapping[str, Any], config: Config) -> Any:
    from transformers.utils.logging import disable_progress_bar

    from ..model.model_type import MedAlpacaLM, loading

    disable_progress_bar()  # type: ignore[no-untyped-call]  # there is one for the questions
    with loading():
        return MedAlpacaLM(**named, **config.model_args, device=config.device)


def _rows(asked: Sequence[Perturbed]) -> list[dict[str, Any]]:
    """As the check of lengths reads them: one per variant."""
    return [
        {"item_id": one.item.id, "prompt": shown.prompt, "choices": shown.choices, "scoring": one.scoring}
        for one in asked
        for shown in one.asked
    ]


def _side(found: Examined, dtype: str) -> Side:
    names = [Path(name).name for name in (found.base, found.adapter) if name]
    return Side(
        model=" + ".join(names),
        base=found.base,
        base_sha256=found.base_sha256,
        adapter=found.adapter,
        adapter_sha256=found.adapter_sha256,
        dtype=dtype,
    )


def _scored(one: Perturbed, scores: Mapping[str, Scores]) -> Scored:
    return Scored(
        item=one.item.id,
        step=one.item.step,
        key=one.key,
        fixed=one.fixed,
        asked_sha256=one.asked_sha256,
        variants=one.variants,
        scores=scores,
    )


LOG_EVERY = 30.0  # seconds between lines where there is no terminal


class Watched:
    """`with Watched(console) as watched`: `watched.tell(side, done, of)` counts items; one bar per side."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("items {task.fields[rate]}"),
            TimeRemainingColumn(),
            TextColumn("left"),
            console=console,
        )
        self._tasks: dict[str, TaskID] = {}
        self._began: dict[str, tuple[float, int]] = {}
        self._spoke = 0.0

    def tell(self, side: str, done: int, of: int) -> None:
        """`done` of `of` items of a side are answered; what the first call finds done was done before."""
        now = time.monotonic()
        if side not in self._began:
            self._began[side] = (now, done)
            self._spoke = now
            if self._console.is_terminal:
                self._tasks[side] = self._bar.add_task(f"{side:<5}", total=of, completed=done, rate="")
            elif done:
                self._console.print(f"{side}: {done} of {of} items were answered before", highlight=False)
            return
        began, before = self._began[side]
        rate = (done - before) / max(now - began, 1e-9)
        said = f"{rate:.1f}/s" if rate >= 0.1 else f"{1 / rate:.0f} s each"
        if side in self._tasks:
            self._bar.update(self._tasks[side], completed=done, rate=said)
        elif now - self._spoke >= LOG_EVERY or done == of:
            self._spoke = now
            left = f", {(of - done) / rate:.0f} s left" if done < of else ""
            self._console.print(f"{side}: {done} of {of} items, {said}{left}", highlight=False)

    def __enter__(self) -> Watched:
        if self._console.is_terminal:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._console.is_terminal:
            self._bar.stop()
