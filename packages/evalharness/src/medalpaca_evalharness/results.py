"""Read a run: lm-eval's own output with `--log_samples`, from which everything else is computed.

Whether a run's samples are what lm-eval logged, by the hashes that it wrote beside them.

`exam show`: one result per step and over all items, with what became of every item.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import isclose
from pathlib import Path
from typing import Any

from medalpaca_data.core.errors import CheckFailed, UserError
from medalpaca_data.core.files import existing, read_json, sha256_bytes

from .model_identity import ADAPTER_KEYS, MODEL_TYPE
from .samples import HASHES, Answer, find_changed_fields, is_generated, read_answer, read_samples
from .scoring import OUTCOMES
from .statistics import Interval, wilson
from .task_data import configured_exam_path
from .task_list import TASKS

# lm-eval names a run's files after one moment: results_MOMENT.json (or what the user called it) and
# samples_TASK_MOMENT.jsonl, with MOMENT like 2026-11-22T13-39-42.379641.
RESULTS_FILE = re.compile(r"(?!samples_).+_(?P<moment>\d{4}-\d\d-\d\dT[\d.-]+)\.json")
STEP_SUFFIX = re.compile(r"_step\d+(_\d+)?$")
NO_FILTER = "none"  # what lm-eval calls it


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One model's answers to one exam, with what lm-eval recorded about how they came about."""

    file: Path
    samples: tuple[Path, ...]
    task: str  # of a group: its name without the step, unless one step was asked for
    metric: str
    exam: str
    exam_path: str | None  # as the run was told; None for a bundled exam and for one named elsewhere
    exam_sha256: str
    prompt_id: str
    scoring: str
    base: str | None
    base_sha256: str | None
    adapter: str | None
    adapter_sha256: str | None
    answers: Mapping[str, Answer]
    generated: bool  # the model wrote its answers, so that there are no log-likelihoods
    sampled: bool  # and drew the words at random
    limited: bool
    cached: bool
    tasks: tuple[str, ...] = ()  # of lm-eval: one, or those of a group that were asked
    filter: str = NO_FILTER  # whose answers count, of those that every item is logged with
    setup: Mapping[str, str] = field(default_factory=dict)  # how the model was run, but for its name

    @property
    def model(self) -> str:
        """What was examined, for people."""
        return " + ".join(Path(name).name for name in (self.base, self.adapter) if name) or "unnamed model"


def find_results(path: Path) -> Path:
    """The run's results file: `path` itself, or the only one anywhere in the directory `path`.

    Raises UserError when there is none, or several (they are listed).
    """
    if existing(path, "result").is_file():
        return path
    found = sorted(file for file in path.rglob("*.json") if RESULTS_FILE.fullmatch(file.name))
    if not found:
        raise UserError(
            f"{path}: no results_*.json in it; run lm_eval with --output_path {path} --log_samples"
        )
    if len(found) > 1:
        listed = ", ".join(str(file.relative_to(path)) for file in found)
        raise UserError(f"{path}: holds {len(found)} runs, name one of them: {listed}")
    return found[0]


def read_run(path: Path, task: str | None = None) -> Run:
    """Read the run at `path`. `task` (a group's name, or a task's) chooses when the run asked several exams.

    Raises UserError when it is no run of a MedAlpaca task with logged samples, and CheckFailed when its
    samples do not give the accuracy it reports or the model gave no numbers.
    """
    file = find_results(path)
    results = read_json(file)
    if not all(isinstance(_as_mapping(results).get(part), dict) for part in ("configs", "results")):
        raise UserError(f"{file}: not a results file of lm-eval")
    asked: dict[str, list[str]] = {}
    for name, config in results["configs"].items():
        if _headline_metric(config) is not None and name.startswith("medalpaca_"):
            asked.setdefault(STEP_SUFFIX.sub("", name), []).append(name)
    chosen = _choose_task(file, asked, task)
    answers: dict[str, Answer] = {}
    docs: list[Mapping[str, Any]] = []
    metrics = set()
    names = asked.get(chosen, [chosen])
    for name in names:
        metric = str(_headline_metric(results["configs"][name]))
        rows = _read_task(file, name, results["configs"][name], _as_mapping(results["results"].get(name)))
        metrics.add(metric)
        for doc, answer in rows:
            if answer.item_id in answers:
                raise UserError(f"{file}: item {answer.item_id} is answered twice")
            answers[answer.item_id] = answer
            docs.append(doc)
    settings = _as_mapping(results.get("config"))
    return Run(
        file=file,
        samples=tuple(samples_file(file, name) for name in names),
        task=chosen,
        metric=_single_value(file, "metric", metrics),
        exam=_single_value(file, "exam", {doc["exam"] for doc in docs}),
        exam_path=configured_exam_path(names[0], TASKS[names[0]], results["configs"][names[0]]["metadata"])
        if names[0] in TASKS
        else None,
        exam_sha256=_single_value(file, "exam", {doc["exam_sha256"] for doc in docs}),
        prompt_id=_single_value(file, "prompt", {doc["prompt_id"] for doc in docs}),
        scoring=_single_value(file, "scoring", {doc["scoring"] for doc in docs}),
        **{
            key: _single_value(file, key, {doc.get(key) for doc in docs})
            for key in ("base", "base_sha256", "adapter", "adapter_sha256")
        },
        answers=answers,
        generated=is_generated(docs[0]),
        sampled=bool(_as_mapping(results["configs"][names[0]].get("generation_kwargs")).get("do_sample")),
        limited=settings.get("limit") is not None or _is_partial(results, names),
        cached=bool(settings.get("use_cache")) and settings.get("model") != MODEL_TYPE,
        tasks=tuple(names),
        filter=_headline_filter(results["configs"][names[0]]),
        setup=_model_settings(settings),
    )


def _choose_task(file: Path, asked: Mapping[str, list[str]], task: str | None) -> str:
    if not asked:
        raise UserError(f"{file}: none of its tasks is a MedAlpaca exam")
    if task is None and len(asked) > 1:
        raise UserError(f"{file}: asked several exams, choose one with --task: {', '.join(asked)}")
    chosen = task or next(iter(asked))
    if chosen not in asked and not any(chosen in names for names in asked.values()):
        raise UserError(f"{file}: no task {chosen!r} in it, only {', '.join(asked)}")
    return chosen


def _read_task(
    file: Path, name: str, config: Mapping[str, Any], reported: Mapping[str, Any]
) -> list[tuple[Mapping[str, Any], Answer]]:
    samples = samples_file(file, name)
    metric = str(_headline_metric(config))
    # Every filter logs every item; only one's answers are the task's.
    chosen = _headline_filter(config)
    rows = [
        read_answer(record, metric, name, f"{samples} line {line}")
        for line, record in read_samples(samples)
        if _as_mapping(record).get("filter", chosen) == chosen
    ]
    if not rows:
        raise UserError(f"{samples}: no samples in it")
    mean = sum(answer.right for _, answer in rows) / len(rows)
    stated = reported.get(f"{metric},{chosen}")
    if not isinstance(stated, int | float) or not isclose(stated, mean, abs_tol=1e-9):
        raise CheckFailed(f"{file}: reports {metric} {stated} for {name}, but its samples give {mean:.4f}")
    for doc, answer in rows:
        if answer.right != (answer.chosen == answer.key):
            raise CheckFailed(
                f"{samples}: item {answer.item_id} counts as {'right' if answer.right else 'wrong'}, "
                f"but {'its answer says' if is_generated(doc) else 'its log-likelihoods say'} otherwise"
            )
    return rows


def samples_file(file: Path, name: str) -> Path:
    """The logged samples of the task `name` in the run whose results are in `file`."""
    match = RESULTS_FILE.fullmatch(file.name)
    moment = match["moment"] if match else file.stem.removeprefix("results_")
    samples = file.with_name(f"samples_{name}_{moment}.jsonl")
    if not samples.is_file():
        raise UserError(
            f"{samples}: missing; run lm_eval with --log_samples, and keep a run's files together"
        )
    return samples


def _single_value(file: Path, what: str, values: set[Any]) -> Any:
    if len(values) != 1:
        raise UserError(
            f"{file}: its samples name {len(values)} different values of {what}, one was expected"
        )
    return next(iter(values))


def _is_partial(results: Mapping[str, Any], names: list[str]) -> bool:
    counts = _as_mapping(results.get("n-samples"))
    pairs = [(_as_mapping(counts.get(name)).get(key) for key in ("effective", "original")) for name in names]
    return any(isinstance(asked, int) and isinstance(held, int) and asked < held for asked, held in pairs)


def _as_mapping(value: Any) -> Mapping[str, Any]:
    """`value` where it is an object; what a damaged file has in its place counts as missing."""
    return value if isinstance(value, Mapping) else {}


def _headline_filter(config: Any) -> str:
    return str(_as_mapping(_as_mapping(config).get("metadata")).get("headline_filter", NO_FILTER))


def _headline_metric(config: Any) -> Any:
    return _as_mapping(_as_mapping(config).get("metadata")).get("headline_metric")


def _model_settings(settings: Mapping[str, Any]) -> dict[str, str]:
    """Backend, dtype and the model's arguments, but for those that name base and adapter."""
    given = settings.get("model_args")
    if isinstance(given, str):
        given = dict(part.partition("=")[::2] for part in given.split(",") if part)
    rest = {key: str(value) for key, value in _as_mapping(given).items()}
    dtype = settings.get("model_dtype") or rest.get("dtype")
    setup = {key: value for key, value in rest.items() if key not in ("pretrained", "dtype", *ADAPTER_KEYS)}
    named = {"model": settings.get("model"), "dtype": dtype}
    return setup | {key: str(value) for key, value in named.items() if value}


MAX_LISTED = 10


def find_changed_samples(run: Run) -> Iterator[str]:
    """What was changed after the run, item by item; and whether samples were added, removed or reordered."""
    results = read_json(run.file)
    hashes = results.get("task_hashes") or {}
    for samples in run.samples:
        logged = ""
        for line, record in read_samples(samples):
            try:
                broken = find_changed_fields(record)
                logged += "".join(record[name] for name in HASHES)
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                yield f"{samples} line {line}: not a logged sample ({error!r})"
                continue
            if broken:
                what = " and ".join(broken)
                yield f"{samples.name}: item {_item_id(record)}: {what} changed since it was logged"
        task = samples.name.removeprefix("samples_")
        named = next((name for name in hashes if task.startswith(f"{name}_20")), None)
        if named and sha256_bytes(logged.encode()) != hashes[named]:
            yield f"{samples.name}: its samples are not those that lm-eval hashed as {named}"


def check_samples_unchanged(run: Run) -> None:
    """Raises CheckFailed, one line, when any sample was changed."""
    found = list(find_changed_samples(run))
    if found:
        more = f" (and {len(found) - MAX_LISTED} more)" if len(found) > MAX_LISTED else ""
        raise CheckFailed("; ".join(found[:MAX_LISTED]) + more)


def _item_id(record: dict[str, Any]) -> str:
    return str(record["doc"].get("item_id", "without an id"))


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemSummary:
    """One step, or all items. `outcomes` sum to `n`."""

    label: str
    outcomes: Mapping[str, int]
    chance: float  # mean of 1/k over the items

    @property
    def n(self) -> int:
        return sum(self.outcomes.values())

    @property
    def right(self) -> int:
        return self.outcomes["correct"]

    @property
    def answered(self) -> int:
        """Items with an answer, right or wrong."""
        return self.right + self.outcomes["wrong"]

    @property
    def interval(self) -> Interval:
        """Of the share that is right among all items."""
        return wilson(self.right, self.n)


def summarize_run(run: Run) -> tuple[ItemSummary, ...]:
    """One part per step where there are several, and all items last."""
    answers = list(run.answers.values())
    steps = sorted({answer.step for answer in answers}, key=lambda step: (step is None, step or 0))
    by_step = [[answer for answer in answers if answer.step == step] for step in steps]
    parts = [summarize_items(members[0].label, members) for members in by_step]
    return (*(parts if len(parts) > 1 else ()), summarize_items("All", answers))


def as_json(run: Run, parts: Sequence[ItemSummary]) -> dict[str, Any]:
    """For programs; shares of 1."""
    return {
        "task": run.task,
        "metric": run.metric,
        "exam": run.exam,
        "exam_sha256": run.exam_sha256,
        "prompt_id": run.prompt_id,
        "model": run.model,
        "parts": [summary_json(part) for part in parts],
    }


def summary_json(part: ItemSummary) -> dict[str, Any]:
    """One step, or some items, for programs."""
    return {
        "label": part.label,
        "n": part.n,
        "accuracy": part.right / part.n,
        "interval": list(part.interval),
        "chance": part.chance,
        **part.outcomes,
        "accuracy_of_answered": part.right / part.answered if part.answered else None,
    }


def as_text(run: Run, parts: Sequence[ItemSummary]) -> str:
    """A table for the terminal, within 80 columns."""
    heading = f"{'':8}{'n':>5}{'right %':>8}{'95 %':>11}{'chance':>7}"
    heading += "".join(f"{name:>{len(name) + 1}}" for name in OUTCOMES[2:]) + f"{'of answered':>12}"
    lines = [
        run.model,
        f"{run.task} by {run.metric}, exam {run.exam} {run.exam_sha256[:12]}, prompt {run.prompt_id}",
        heading,
    ]
    for part in parts:
        low, high = part.interval
        line = f"{part.label:8}{part.n:>5}{100 * part.right / part.n:>8.1f}"
        line += f"{f'{100 * low:.1f}-{100 * high:.1f}':>11}{100 * part.chance:>7.1f}"
        line += "".join(f"{part.outcomes[name]:>{len(name) + 1}}" for name in OUTCOMES[2:])
        share = f"{100 * part.right / part.answered:.1f}" if part.answered else "-"
        lines.append(f"{line}{share:>12}")
    lines.append("Right: of all items, with Wilson interval; what is no answer counts as wrong.")
    return "\n".join(lines)


def summarize_items(label: str, answers: Sequence[Answer]) -> ItemSummary:
    """What became of some items. Raises ZeroDivisionError without any."""
    counts = Counter(answer.outcome for answer in answers)
    return ItemSummary(
        label=label,
        outcomes={name: counts[name] for name in OUTCOMES},
        chance=sum(1 / answer.options for answer in answers) / len(answers),
    )
