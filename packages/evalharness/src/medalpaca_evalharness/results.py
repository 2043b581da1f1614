"""Runs of the exam tasks, read from lm-eval's output with `--log_samples`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from math import isclose
from pathlib import Path
from typing import Any

from medalpaca_data.core.errors import CheckFailed, UserError
from medalpaca_data.core.files import existing, read_json, sha256_bytes

from .model_identity import ADAPTER_KEYS, MODEL_TYPE
from .samples import HASHES, Answer, find_changed_fields, is_generated, read_answer, read_samples
from .sent_prompt import SentPrompt, check_requests, read_sent_prompt
from .task_data import TASKS, configured_exam_path

# The files of a run of lm-eval have one time stamp: results_TIME.json (or a name of the user's choice) and
# samples_TASK_TIME.jsonl, with TIME like 2026-11-22T13-39-42.379641.
RESULTS_FILE = re.compile(r"(?!samples_).+_(?P<time>\d{4}-\d\d-\d\dT[\d.-]+)\.json")
STEP_SUFFIX = re.compile(r"_step\d+(_\d+)?$")
# The name of lm-eval for answers without a filter.
NO_FILTER = "none"
# Model arguments that may contain a key of a server.
SECRET_ARGUMENTS = ("auth_token", "header")


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One model's answers to one exam, with the settings that lm-eval recorded.

    `file`: the results file. `samples`: the files of logged samples, one per task. `task`: the task's name without the
    step, unless one step was selected. `exam_path`: the path in `--metadata`; None for a bundled exam and for an exam
    from MEDALPACA_EXAM or the hub. `exam_fields`: the columns of the exam's file that `--metadata` names, or None.
    `answers`: by item id. `generated`: answers were extracted from generated text, so
    there are no log-likelihoods. `sampled`: that text was drawn at random. `limited`: only part of the exam was
    evaluated. `cached`: the run used `--use_cache` with a backend whose cache keys do not contain the model. `tasks`:
    the lm-eval tasks of the run. `filter`: the lm-eval filter whose answers count. `version`: of the task.
    `setup`: backend, dtype and other model arguments. `sent`: what surrounded the prompts. `plan_sha256`: of the plan
    that `--metadata` names.
    """

    file: Path
    samples: tuple[Path, ...]
    task: str
    metric: str
    exam: str
    exam_path: str | None
    exam_fields: Mapping[str, Any] | None
    exam_sha256: str
    prompt_id: str
    scoring: str
    base: str | None
    base_sha256: str | None
    adapter: str | None
    adapter_sha256: str | None
    answers: Mapping[str, Answer]
    generated: bool
    sampled: bool
    limited: bool
    cached: bool
    tasks: tuple[str, ...] = ()
    filter: str = NO_FILTER
    version: float = 1.0
    setup: Mapping[str, str] = field(default_factory=dict)
    sent: SentPrompt = field(default_factory=SentPrompt)
    plan_sha256: str | None = None

    @property
    def sent_prompt_id(self) -> str:
        """Id of what was sent; `prompt_id` if that is the bare prompt."""
        return self.sent.prompt_id(self.prompt_id)

    @property
    def model(self) -> str:
        """Name of the model for display: the last path parts of base and adapter."""
        return " + ".join(Path(name).name for name in (self.base, self.adapter) if name) or "unnamed model"


def find_results(path: Path) -> Path:
    """Return the results file of the run at `path`: the file itself, or the only one below the directory.

    Raises UserError if there is none, or more than one.
    """
    if existing(path, "result").is_file():
        return path
    files = sorted(file for file in path.rglob("*.json") if RESULTS_FILE.fullmatch(file.name))
    if not files:
        raise UserError(
            f"{path}: no results_*.json in this directory; run lm_eval with --output_path {path} --log_samples"
        )
    if len(files) > 1:
        listed = ", ".join(str(file.relative_to(path)) for file in files)
        raise UserError(f"{path}: {len(files)} runs in this directory; name one of them: {listed}")
    return files[0]


def read_run(path: Path | str, task: str | None = None) -> Run:
    """Return the run at `path`, a results file or a directory that contains one run.

    `task` selects one exam (a task or a group) if the run has several, or one exam step (the task of a step). Raises
    UserError if the file is not a run of a MedAlpaca task with logged samples. Raises CheckFailed if its samples do not
    give the accuracy that it reports, if a sample contradicts its own score, or if a log-likelihood is nan.
    """
    file = find_results(Path(path))
    results = read_json(file)
    if not all(isinstance(_as_mapping(results).get(part), dict) for part in ("configs", "results")):
        raise UserError(f"{file}: not a results file of lm-eval ('configs' or 'results' is missing)")
    by_exam: dict[str, list[str]] = {}
    for name, config in results["configs"].items():
        if _headline_metric(config) is not None and name.startswith("medalpaca_"):
            by_exam.setdefault(STEP_SUFFIX.sub("", name), []).append(name)
    chosen = _choose_task(file, by_exam, task)
    answers: dict[str, Answer] = {}
    docs: list[Mapping[str, Any]] = []
    frames: list[str] = []
    metrics = set()
    names = by_exam.get(chosen, [chosen])
    for name in names:
        metric = str(_headline_metric(results["configs"][name]))
        reported = _as_mapping(results["results"].get(name))
        rows, framed = _read_task(file, name, results["configs"][name], reported)
        frames += framed
        metrics.add(metric)
        for doc, answer in rows:
            if answer.item_id in answers:
                raise UserError(f"{file}: item {answer.item_id} occurs twice; pass the results of one run")
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
        exam_fields=_as_mapping(results["configs"][names[0]].get("metadata")).get("fields"),
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
        version=_task_version(results["configs"][names[0]]),
        setup=_model_settings(settings),
        sent=read_sent_prompt(results, names[0], docs[0], frames),
        plan_sha256=_single_value(file, "plan", {doc.get("plan_sha256") for doc in docs}),
    )


def _choose_task(file: Path, by_exam: Mapping[str, list[str]], task: str | None) -> str:
    if not by_exam:
        raise UserError(f"{file}: none of its tasks is a MedAlpaca exam (medalpaca_*)")
    if task is None and len(by_exam) > 1:
        raise UserError(f"{file}: results of several exams; choose one with --task: {', '.join(by_exam)}")
    chosen = task or next(iter(by_exam))
    if chosen not in by_exam and not any(chosen in names for names in by_exam.values()):
        raise UserError(f"{file}: no task {chosen!r}; the file has: {', '.join(by_exam)}")
    return chosen


def _read_task(
    file: Path, name: str, config: Mapping[str, Any], reported: Mapping[str, Any]
) -> tuple[list[tuple[Mapping[str, Any], Answer]], list[str]]:
    samples = samples_file(file, name)
    if reported and not any("," in key for key in reported):
        raise UserError(f"{file}: no scores, because the run used --predict_only; run lm_eval without it")
    metric = str(_headline_metric(config))
    # Every filter logs every item; the answers of one filter are the task's.
    chosen = _headline_filter(config)
    records = [
        (line, record)
        for line, record in read_samples(samples)
        if _as_mapping(record).get("filter", chosen) == chosen
    ]
    rows = [read_answer(record, metric, name, f"{samples} line {line}") for line, record in records]
    if not rows:
        raise UserError(f"{samples}: no samples; run lm_eval with --log_samples")
    mean = sum(answer.right for _, answer in rows) / len(rows)
    value = reported.get(f"{metric},{chosen}")
    if not isinstance(value, int | float) or not isclose(value, mean, abs_tol=1e-9):
        raise CheckFailed(f"{file}: reports {metric} {value} for {name}, but its samples give {mean:.4f}")
    for doc, answer in rows:
        if answer.right != (answer.chosen == answer.key):
            raise CheckFailed(
                f"{samples}: item {answer.item_id} is logged as {'right' if answer.right else 'wrong'}, "
                f"which contradicts its logged {'answer' if is_generated(doc) else 'log-likelihoods'}"
            )
    return rows, check_requests([record for _, record in records], str(samples))


def samples_file(file: Path, name: str) -> Path:
    """Return the file of logged samples of task `name` beside the results file. Raises UserError if missing."""
    match = RESULTS_FILE.fullmatch(file.name)
    time = match["time"] if match else file.stem.removeprefix("results_")
    samples = file.with_name(f"samples_{name}_{time}.jsonl")
    if not samples.is_file():
        raise UserError(
            f"{samples}: no such file; run lm_eval with --log_samples, and keep the files of a run together"
        )
    return samples


def _single_value(file: Path, what: str, values: set[Any]) -> Any:
    if len(values) != 1:
        raise UserError(f"{file}: its samples have {len(values)} different values of {what}; expected one")
    return next(iter(values))


def _is_partial(results: Mapping[str, Any], names: list[str]) -> bool:
    counts = _as_mapping(results.get("n-samples"))
    pairs = [(_as_mapping(counts.get(name)).get(key) for key in ("effective", "original")) for name in names]
    return any(isinstance(used, int) and isinstance(total, int) and used < total for used, total in pairs)


def _as_mapping(value: Any) -> Mapping[str, Any]:
    """Return `value` if it is a mapping, else an empty mapping, as for a key that is missing."""
    return value if isinstance(value, Mapping) else {}


def _headline_filter(config: Any) -> str:
    return str(_as_mapping(_as_mapping(config).get("metadata")).get("headline_filter", NO_FILTER))


def _task_version(config: Any) -> float:
    version = _as_mapping(_as_mapping(config).get("metadata")).get("version")
    return float(version) if isinstance(version, int | float) else 1.0


def _headline_metric(config: Any) -> Any:
    return _as_mapping(_as_mapping(config).get("metadata")).get("headline_metric")


def _model_settings(settings: Mapping[str, Any]) -> dict[str, str]:
    """Return backend ("model"), dtype and model arguments as texts, without those that name base and adapter."""
    given = settings.get("model_args")
    if isinstance(given, str):
        given = dict(part.partition("=")[::2] for part in given.split(",") if part)
    rest = {key: str(value) for key, value in _as_mapping(given).items()}
    dtype = settings.get("model_dtype") or rest.get("dtype")
    hidden = ("pretrained", "dtype", *ADAPTER_KEYS, *SECRET_ARGUMENTS)
    setup = {key: value for key, value in rest.items() if key not in hidden}
    named = {"model": settings.get("model"), "dtype": dtype}
    return setup | {key: str(value) for key, value in named.items() if value}


# Number of changed samples that an error lists.
MAX_LISTED = 10


def find_changed_samples(run: Run) -> Iterator[str]:
    """Yield one line for each sample that was changed after the run or is damaged.

    Also yields one line for each file whose samples were added, removed or reordered, by lm-eval's hash of the task.
    """
    results = read_json(run.file)
    hashes = _as_mapping(results.get("task_hashes"))
    has_think_end_token = "think_end_token" in str(_as_mapping(results.get("config")).get("model_args"))
    for samples in run.samples:
        logged = ""
        for line, record in read_samples(samples):
            try:
                changed = find_changed_fields(record, run.version, has_think_end_token=has_think_end_token)
                logged += "".join(record[name] for name in HASHES)
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                yield f"{samples} line {line}: not a logged sample ({error!r})"
                continue
            if changed:
                what = " and ".join(changed)
                yield f"{samples.name}: item {_item_id(record)}: {what} changed since it was logged"
        task = samples.name.removeprefix("samples_")
        named = next((name for name in hashes if task.startswith(f"{name}_20")), None)
        if named and sha256_bytes(logged.encode()) != hashes[named]:
            yield f"{samples.name}: the samples differ from those that lm-eval logged, by the hash of task {named}"


def check_samples_unchanged(run: Run) -> None:
    """Raise CheckFailed if `find_changed_samples` finds anything; its message has the first ten findings."""
    lines = list(find_changed_samples(run))
    if lines:
        more = f" (and {len(lines) - MAX_LISTED} more)" if len(lines) > MAX_LISTED else ""
        raise CheckFailed("; ".join(lines[:MAX_LISTED]) + more)


def _item_id(record: dict[str, Any]) -> str:
    return str(record["doc"].get("item_id", "without id"))
