"""Verify a report: check the hash of every file and item, and recompute every figure from the logged samples."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medalpaca_data.core.errors import UserError
from medalpaca_data.core.files import sha256_bytes, sha256_file, sha256_json
from medalpaca_data.core.weights import weights_sha256

from ..contamination_split import Overlap, check_training_rows, find_overlap, find_run_exam, trained_runs
from ..plan import read_margin
from ..results import Run, find_changed_samples, find_results, read_run
from ..runs import Family, compare_runs, compare_sides
from ..samples import read_samples
from ..sent_prompt import sent_text
from ..stress.figures import find_differences, find_problems
from .figures import (
    OLDER_FORMATS,
    ItemAccount,
    MatchedStress,
    account_for_items,
    match_stress_results,
    report_figures,
)
from .older_formats import FORMAT_4, in_form_4, in_older_form, without_sentences
from .page import PROMPT_DEFAULTS
from .read import find_contradiction, other_file, read_report

# Keys of a report that are checked separately, or that hold no figures.
NOT_COMPARED = ("files", "version", "rows", "exam_at", "stress_at")


@dataclass(frozen=True, slots=True, kw_only=True)
class Locations:
    """Current locations of a report's inputs. Without one, the path recorded in the report is used.

    `results` and `stress` follow the order of the report. `meadow`: the training rows. `weights`: also hash the weights
    of base and adapter.
    """

    results: Sequence[Path] = ()
    stress: Sequence[Path] = ()
    meadow: Path | None = None
    exam: str | None = None
    weights: bool = False


@dataclass(slots=True)
class Verification:
    """What was checked, what could not be checked, and what does not match. A valid report has no `problems`."""

    checked: list[str] = field(default_factory=list)
    unchecked: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def verify(path: Path, locations: Locations) -> Verification:
    """Return the verification of the report at `path`, a page or its JSON; mismatches do not raise.

    Raises UserError if the file is not a report, if the wrong number of results is given, or if a given location holds
    no result.
    """
    report, page_matches = read_report(path)
    result = Verification()
    if report["format"] in OLDER_FORMATS:
        result.unchecked.append(f"page and sentences not compared: written by format {report['format'][-1]}")
    elif page_matches is not None:
        result.checked.append("page against the data inside it")
    if page_matches is False:
        result.problems.append(
            "the page does not show its own data: it was edited, or written by another version of this package"
        )
    if (other := other_file(path)) is not None:
        if problem := find_contradiction(other, path, report):
            result.problems.append(problem)
        else:
            result.checked.append(f"{other.name}: the same report")
    task = str(report["exam"]["task"])
    sides = list(report["sides"])
    if locations.results and len(locations.results) != len(sides):
        raise UserError(
            f"{path}: the report has {len(sides)} results, {len(locations.results)} were given; "
            "give all of them in the order of the report, or none"
        )
    runs = {}
    for i, side in enumerate(sides):
        given = locations.results[i] if locations.results else None
        file = _locate_results(report, path.parent, side, given, result)
        run = _check_side(report, side, file, task, result) if file else None
        if run:
            runs[side] = run
            if locations.weights:
                result.problems += (f"{side}: {problem}" for problem in find_changed_weights(run))
                result.checked.append(f"{side}: SHA-256 of its weights")
    if len(runs) == len(sides):
        _check_figures(report, path.parent, list(runs.values()), locations, result)
    return result


def _locate_results(
    report: dict[str, Any], start: Path, side: str, given: Path | None, result: Verification
) -> Path | None:
    recorded = start / report["files"][side][0]["path"]
    if given is None and not recorded.is_file():
        result.problems.append(
            f"{side}: no results at {recorded}; give the current location of all results, in the report's order"
        )
        return None
    return find_results(given or recorded)


def _check_side(report: dict[str, Any], side: str, file: Path, task: str, result: Verification) -> Run | None:
    """Check files, hashes and items of one model, add to `result`, and return its run; None if it cannot be read."""
    entries = report["files"][side]
    names = [Path(entry["path"]).name for entry in entries]
    for name, entry in zip(names, entries, strict=True):
        current = file if name == names[0] else file.with_name(name)
        if not current.is_file():
            result.problems.append(f"{side}: {current} is missing")
        elif sha256_file(current) != entry["sha256"]:
            result.problems.append(
                f"{side}: {current.name} changed: its SHA-256 differs from the one in the report"
            )
    samples = [current for name in names[1:] if (current := file.with_name(name)).is_file()]
    changed = find_changed_items(report["items"], side, samples, str(report["exam"]["filter"]))
    result.problems += (f"{side}: {problem}" for problem in changed)
    result.checked.append(f"{side}: {len(names)} files and {len(report['items'])} items by SHA-256")
    try:
        run = read_run(file, task)
        result.problems += (f"{side}: {problem}" for problem in find_changed_samples(run))
    except UserError as error:
        result.problems.append(f"{side}: {error}")
        return None
    result.checked.append(f"{side}: lm-eval's own hashes of items, prompts and keys")
    return run


def find_changed_items(
    items: Sequence[dict[str, Any]], side: str, samples: Sequence[Path], filter_name: str
) -> Iterator[str]:
    """Yield one line per item of a report that is missing, duplicate, new or changed in the logged samples.

    Also works on samples too damaged to be scored. lm-eval can log an item once per filter; only samples of
    `filter_name` are compared.
    """
    reported = {entry["item"]: entry for entry in items}
    for item, times in Counter(entry["item"] for entry in items).items():
        if times > 1:
            yield f"item {item} is in the report {times} times"
    seen: Counter[str] = Counter()
    for file in samples:
        try:
            for line, record in read_samples(file):
                item = _item_id(record)
                if item is None:
                    yield f"{file.name} line {line}: not a logged sample"
                    continue
                if record.get("filter", filter_name) != filter_name:
                    continue
                seen[item] += 1
                if item not in reported:
                    yield f"item {item} is not in the report"
                elif sha256_json(record) != reported[item]["answers"][side]["sample_sha256"]:
                    yield f"item {item}: {_describe_change(record, reported[item])}"
        except UserError as error:
            yield str(error)
    for item, times in seen.items():
        if times > 1:
            yield f"item {item} is in the samples {times} times"
    for item in reported:
        if item not in seen:
            yield f"item {item} is missing in the samples"


def _item_id(record: Any) -> str | None:
    doc = record.get("doc") if isinstance(record, dict) else None
    return str(doc["item_id"]) if isinstance(doc, dict) and "item_id" in doc else None


def _describe_change(record: dict[str, Any], reported: dict[str, Any]) -> str:
    try:
        doc = record["doc"]
        key = doc["letters"][int(doc["gold"])]
        prompt_sha256 = sha256_bytes(sent_text(record).encode())
    except (KeyError, TypeError, IndexError, ValueError, AttributeError):
        return "its sample is damaged"
    if key != reported["key"]:
        return f"its key is {key} in the samples, {reported['key']} in the report"
    if {prompt_sha256, record.get("prompt_hash")} != {reported["prompt_sha256"]}:
        return "its prompt differs from the one in the report"
    return "its sample differs from the one in the report"


def find_changed_weights(run: Run) -> Iterator[str]:
    """Hash base and adapter of a run again, and yield one line per difference.

    Models without a recorded hash are skipped. A recorded model that is not a local directory, such as one in the hub's
    cache, also yields a line.
    """
    for name, recorded in ((run.base, run.base_sha256), (run.adapter, run.adapter_sha256)):
        if name is None or recorded is None:
            continue
        directory = Path(name).expanduser()
        if not directory.is_dir():
            yield f"{directory}: no such directory, so its weights cannot be hashed"
            continue
        try:
            current = weights_sha256(directory)
        except UserError as error:
            yield str(error)
            continue
        if current != recorded:
            yield f"{directory}: the SHA-256 of its weights is {current[:12]}, the run recorded {recorded[:12]}"


def _check_figures(
    report: dict[str, Any], start: Path, runs: list[Run], locations: Locations, result: Verification
) -> None:
    try:
        compared = _compare_as_reported(report, runs)
        covered = _overlap(report, start, compared.runs, locations, result)
        account = _item_account(report, start, compared.first, locations, result)
        matches = _check_stress(report, start, compared.runs, locations, result)
        criterion = read_margin(report.get("margin"), "the report")
        computed = report_figures(
            compared, overlap=covered, account=account, stress=matches, criterion=criterion
        )
    except UserError as error:
        result.problems.append(f"the figures cannot be recomputed: {error}")
        return
    ignored = NOT_COMPARED if account or not report["left_out"] else (*NOT_COMPARED, "left_out")
    reported = {name: value for name, value in report.items() if name not in ignored}
    computed = {name: value for name, value in computed.items() if name not in ignored}
    computed["prompt"] = _without_new_keys(report["prompt"], computed["prompt"])
    if report["format"] in OLDER_FORMATS:
        computed = in_form_4(computed) if report["format"] == FORMAT_4 else in_older_form(computed)
        reported, computed = without_sentences(reported), without_sentences(computed)
    result.problems += find_differences(reported, computed)
    result.checked.append("every figure, recomputed from the samples")


def _without_new_keys(reported: Mapping[str, Any], computed: dict[str, Any]) -> dict[str, Any]:
    """Return the prompt of a report without the keys that the version that wrote it did not have.

    That version did not print what was sent around the prompt, so its text is then kept as it is.
    """
    missing = [name for name in PROMPT_DEFAULTS if name not in reported]
    kept = {name: value for name, value in computed.items() if name not in missing}
    return kept | {"text": reported.get("text")} if missing and computed["wrapped"] else kept


def _compare_as_reported(report: dict[str, Any], runs: list[Run]) -> Family:
    """Compare the runs with the first one, or those of base with those of tuned if the report does so."""
    if not report.get("several_runs"):
        return compare_runs(runs)
    base = sum(name == "base" or name.startswith("base ") for name in report["sides"])
    return compare_sides(runs[:base], runs[base:])


def _overlap(
    report: dict[str, Any], start: Path, runs: Mapping[str, Run], locations: Locations, result: Verification
) -> Overlap | None:
    if not report["contamination"]:
        return None
    rows = locations.meadow or start / (report["rows"] or "unnamed")
    if not rows.exists():
        raise UserError(f"no training data at {rows}; pass their location with --meadow PATH")
    if compared := check_training_rows(trained_runs(runs), rows):
        result.checked.append(f"training rows against the manifest of {', '.join(compared)}")
    else:
        result.unchecked.append(
            "whether the models were trained on these rows (no manifest beside the weights)"
        )
    run = next(iter(runs.values()))
    return find_overlap(run, rows, _exam_location(report, start, locations))


def _item_account(
    report: dict[str, Any], start: Path, run: Run, locations: Locations, result: Verification
) -> ItemAccount | None:
    """Return the account of the exam's items again; None if the report has none or the exam is not found."""
    if not report["left_out"]:
        return None
    try:
        location, exam = find_run_exam(run, _exam_location(report, start, locations))
    except UserError as error:
        result.unchecked.append(f"which items of the exam have no score ({error})")
        return None
    return account_for_items(run, exam, location)


def _check_stress(
    report: dict[str, Any], start: Path, runs: Mapping[str, Run], locations: Locations, result: Verification
) -> tuple[MatchedStress, ...]:
    """Return the stress results of the report, read again; add checks and mismatches to `result`."""
    recorded = [start / file for file in report["stress_at"]]
    if locations.stress and len(locations.stress) != len(recorded):
        raise UserError(
            f"the report has {len(recorded)} stress results, {len(locations.stress)} were given with --stress; "
            "give all of them, or none"
        )
    matches = match_stress_results(locations.stress or recorded, runs)
    try:
        _, exam = find_run_exam(next(iter(runs.values())), _exam_location(report, start, locations))
    except UserError:
        exam = None
    for match, stored in zip(matches, report["stress"], strict=True):
        name = match.file.name
        if sha256_file(match.file) != stored["sha256"]:
            result.problems.append(f"stress: {name} changed: its SHA-256 differs from the one in the report")
        problems = find_problems(match.stress, match.stored_figures, exam)
        result.problems += (f"stress: {problem}" for problem in problems)
        result.checked.append(
            f"stress: {name} by SHA-256, its figures from its scores"
            + (", its items, keys and prompts from the exam" if exam else "")
        )
        if exam is None:
            result.unchecked.append(
                f"stress: items, keys and prompts of {name} (exam not found; pass it with --exam)"
            )
    return matches


def _exam_location(report: dict[str, Any], start: Path, locations: Locations) -> str | None:
    return locations.exam or (str(start / report["exam_at"]) if report["exam_at"] else None)
