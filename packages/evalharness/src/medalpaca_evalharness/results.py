"""Read a run: lm-eval's own output with `--log_samples`, from which everything else is computed."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from math import isclose, isnan
from pathlib import Path
from typing import Any

from medalpaca_data.ground.errors import CheckFailed, UserError
from medalpaca_data.ground.files import existing, parse_json, read_json, read_text

from .examined import ADAPTER_KEYS

# lm-eval names a run's files after one moment: results_MOMENT.json (or what the user called it) and
# samples_TASK_MOMENT.jsonl, with MOMENT like 2026-11-22T13-39-42.379641.
RESULTS_FILE = re.compile(r"(?!samples_).+_(?P<moment>\d{4}-\d\d-\d\dT[\d.-]+)\.json")
STEP = re.compile(r"_step\d+$")
FILTER = "none"  # our tasks have no filters; lm-eval calls that "none"


@dataclass(frozen=True, slots=True)
class Answer:
    """How one item went. `asked` is the hash of exactly what the model was shown, and of the key."""

    item_id: str
    step: int | None
    options: int
    right: bool
    asked: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One model's answers to one exam, with what lm-eval recorded about how they came about."""

    file: Path
    task: str  # of a group: its name without the step, unless one step was asked for
    metric: str
    exam: str
    exam_sha256: str
    prompt_id: str
    base: str | None
    base_sha256: str | None
    adapter: str | None
    adapter_sha256: str | None
    answers: Mapping[str, Answer]
    limited: bool
    cached: bool
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
    if not all(isinstance(_mapping(results).get(part), dict) for part in ("configs", "results")):
        raise UserError(f"{file}: not a results file of lm-eval")
    asked: dict[str, list[str]] = {}
    for name, config in results["configs"].items():
        if _headline(config) is not None and name.startswith("medalpaca_"):
            asked.setdefault(STEP.sub("", name), []).append(name)
    chosen = _chosen(file, asked, task)
    answers: dict[str, Answer] = {}
    docs: list[Mapping[str, Any]] = []
    metrics = set()
    names = asked.get(chosen, [chosen])
    for name in names:
        metric = str(_headline(results["configs"][name]))
        rows = _read_task(file, name, metric, _mapping(results["results"].get(name)))
        metrics.add(metric)
        for doc, answer in rows:
            if answer.item_id in answers:
                raise UserError(f"{file}: item {answer.item_id} is answered twice")
            answers[answer.item_id] = answer
            docs.append(doc)
    settings = _mapping(results.get("config"))
    return Run(
        file=file,
        task=chosen,
        metric=_one(file, "metric", metrics),
        exam=_one(file, "exam", {doc["exam"] for doc in docs}),
        exam_sha256=_one(file, "exam", {doc["exam_sha256"] for doc in docs}),
        prompt_id=_one(file, "prompt", {doc["prompt_id"] for doc in docs}),
        **{
            key: _one(file, key, {doc.get(key) for doc in docs})
            for key in ("base", "base_sha256", "adapter", "adapter_sha256")
        },
        answers=answers,
        limited=settings.get("limit") is not None or _partial(results, names),
        cached=bool(settings.get("use_cache")),
        setup=_setup(settings),
    )


def _chosen(file: Path, asked: Mapping[str, list[str]], task: str | None) -> str:
    if not asked:
        raise UserError(f"{file}: none of its tasks is a MedAlpaca exam")
    if task is None and len(asked) > 1:
        raise UserError(f"{file}: asked several exams, choose one with --task: {', '.join(asked)}")
    chosen = task or next(iter(asked))
    if chosen not in asked and not any(chosen in names for names in asked.values()):
        raise UserError(f"{file}: no task {chosen!r} in it, only {', '.join(asked)}")
    return chosen


def _read_task(
    file: Path, name: str, metric: str, reported: Mapping[str, Any]
) -> list[tuple[Mapping[str, Any], Answer]]:
    samples = _samples_file(file, name)
    rows = []
    for line, record in _records(samples):
        where = f"{samples} line {line}"
        try:
            doc = _receipt(record["doc"])
            score = record[metric]
            answer = Answer(
                item_id=str(doc["item_id"]),
                step=doc["step"],
                options=len(doc["choices"]),
                right=score == 1,
                asked=f"{record['prompt_hash']} {record['target_hash']}",
            )
            likelihoods = [float(response[0]) for response in record["filtered_resps"]]
        except (KeyError, TypeError, IndexError, ValueError) as error:
            raise UserError(f"{where}: not a scored sample of {name} ({error!r})") from None
        if score not in (0, 1):
            raise UserError(f"{where}: {metric} is {score!r}, 0 or 1 was expected")
        if any(map(isnan, likelihoods)):
            # lm-eval scores these as if the first option had been chosen.
            raise CheckFailed(
                f"{where}: the model's log-likelihoods are not numbers (nan); its scores mean nothing"
            )
        rows.append((doc, answer))
    if not rows:
        raise UserError(f"{samples}: no samples in it")
    mean = sum(answer.right for _, answer in rows) / len(rows)
    stated = reported.get(f"{metric},{FILTER}")
    if not isinstance(stated, int | float) or not isclose(stated, mean, abs_tol=1e-9):
        raise CheckFailed(f"{file}: reports {metric} {stated} for {name}, but its samples give {mean:.4f}")
    return rows


def _samples_file(file: Path, name: str) -> Path:
    match = RESULTS_FILE.fullmatch(file.name)
    moment = match["moment"] if match else file.stem.removeprefix("results_")
    samples = file.with_name(f"samples_{name}_{moment}.jsonl")
    if not samples.is_file():
        raise UserError(
            f"{samples}: missing; run lm_eval with --log_samples, and keep a run's files together"
        )
    return samples


def _records(samples: Path) -> Iterator[tuple[int, Any]]:
    # Not splitlines: texts may hold other line separators, which JSON leaves as they are.
    for number, line in enumerate(read_text(samples).split("\n"), 1):
        if line.strip():
            try:
                yield number, parse_json(line, "")
            except UserError:
                raise UserError(f"{samples} line {number}: not valid JSON; was the run cut off?") from None


def _one(file: Path, what: str, values: set[Any]) -> Any:
    if len(values) != 1:
        raise UserError(
            f"{file}: its samples name {len(values)} different values of {what}, one was expected"
        )
    return next(iter(values))


def _partial(results: Mapping[str, Any], names: list[str]) -> bool:
    counts = _mapping(results.get("n-samples"))
    pairs = [(_mapping(counts.get(name)).get(key) for key in ("effective", "original")) for name in names]
    return any(isinstance(asked, int) and isinstance(held, int) and asked < held for asked, held in pairs)


def _mapping(value: Any) -> Mapping[str, Any]:
    """`value` where it is an object; what a damaged file has in its place counts as missing."""
    return value if isinstance(value, Mapping) else {}


def _headline(config: Any) -> Any:
    return _mapping(_mapping(config).get("metadata")).get("headline_metric")


def _receipt(doc: Any) -> Mapping[str, Any]:
    """`doc` if it says what a sample of ours says. Raises ValueError or KeyError."""
    texts = [doc[key] for key in ("exam", "exam_sha256", "prompt_id")]
    names = [doc.get(key) for key in ("base", "base_sha256", "adapter", "adapter_sha256")]
    if not all(isinstance(text, str) for text in (*texts, *(name for name in names if name is not None))):
        raise ValueError("exam, prompt or model is not named by a text")
    if not isinstance(doc["step"], int | None) or not doc["choices"]:
        raise ValueError("no number of a step, or no choices")
    return doc  # type: ignore[no-any-return]


def _setup(settings: Mapping[str, Any]) -> dict[str, str]:
    """Backend, dtype and the model's arguments, but for those that name base and adapter."""
    given = settings.get("model_args")
    if isinstance(given, str):
        given = dict(part.partition("=")[::2] for part in given.split(",") if part)
    rest = {key: str(value) for key, value in _mapping(given).items()}
    dtype = settings.get("model_dtype") or rest.get("dtype")
    setup = {key: value for key, value in rest.items() if key not in ("pretrained", "dtype", *ADAPTER_KEYS)}
    named = {"model": settings.get("model"), "dtype": dtype}
    return setup | {key: str(value) for key, value in named.items() if value}
