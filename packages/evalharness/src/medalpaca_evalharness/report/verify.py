"""`exam verify`: compute a report again from the logged samples and say exactly what does not match.

A report's list of items against the samples: which are missing, doubled, new, or not what they were.

Whether the weights that a run examined are still those that lie where it found them.

Read a report back, from its page or its JSON, and refuse what cannot be checked.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import isclose
from pathlib import Path
from typing import Any

from medalpaca_data.core.errors import UserError
from medalpaca_data.core.files import parse_json, read_text, sha256_bytes, sha256_file, sha256_json
from medalpaca_data.core.weights import weights_sha256

from ..contamination_split import Overlap, exam_asked, overlap
from ..results import Run, changed_samples, find_results, read_run
from ..runs import family
from ..samples import records
from ..stress.figures import problems
from .figures import FORMAT, ExcludedItems, Stressed, excluded, figures, stressed
from .page import page, read_page


def changed_items(
    items: Sequence[dict[str, Any]], side: str, samples: Sequence[Path], chosen: str
) -> Iterator[str]:
    """Compare without judging: works on samples that are too damaged to be scored.

    Where items are logged once per filter, only those of the filter `chosen` stand in a report.
    """
    stated = {entry["item"]: entry for entry in items}
    for item, times in Counter(entry["item"] for entry in items).items():
        if times > 1:
            yield f"item {item} is {times} times in the report"
    seen: Counter[str] = Counter()
    for file in samples:
        try:
            for line, record in records(file):
                item = _item(record)
                if item is None:
                    yield f"{file.name} line {line}: no logged sample"
                    continue
                if record.get("filter", chosen) != chosen:
                    continue
                seen[item] += 1
                if item not in stated:
                    yield f"item {item} is not in the report"
                elif sha256_json(record) != stated[item]["answers"][side]["sample_sha256"]:
                    yield f"item {item}: {_what(record, stated[item])}"
        except UserError as error:
            yield str(error)
    for item, times in seen.items():
        if times > 1:
            yield f"item {item} is {times} times in the samples"
    for item in stated:
        if item not in seen:
            yield f"item {item} is missing in the samples"


def _item(record: Any) -> str | None:
    doc = record.get("doc") if isinstance(record, dict) else None
    return str(doc["item_id"]) if isinstance(doc, dict) and "item_id" in doc else None


def _what(record: dict[str, Any], stated: dict[str, Any]) -> str:
    """What of a changed sample changed, as far as the report can tell."""
    try:
        doc = record["doc"]
        key = doc["letters"][int(doc["gold"])]
        shown = sha256_bytes(record["arguments"]["gen_args_0"]["arg_0"].encode())
    except (KeyError, TypeError, IndexError, ValueError, AttributeError):
        return "its sample is damaged"
    if key != stated["key"]:
        return f"its key is {key}, the report was made with {stated['key']}"
    if shown != stated["prompt_sha256"] or record.get("prompt_hash") != stated["prompt_sha256"]:
        return "its prompt is not the one that the report was made with"
    return "its sample is not the one that the report was made with"


def changed_weights(run: Run) -> Iterator[str]:
    """Hash base and adapter of a run again. Hub ids, which have no hash, are left out."""
    for name, recorded in ((run.base, run.base_sha256), (run.adapter, run.adapter_sha256)):
        if name is None or recorded is None:
            continue
        directory = Path(name).expanduser()
        if not directory.is_dir():
            yield f"{directory}: no longer there, so its weights cannot be hashed"
            continue
        try:
            found = weights_sha256(directory)
        except UserError as error:
            yield str(error)
            continue
        if found != recorded:
            yield f"{directory}: its weights are {found[:12]}, examined were {recorded[:12]}"


ITEM_TEXTS = ("item", "key", "prompt_sha256")


def read_report(path: Path) -> tuple[dict[str, Any], bool | None]:
    """The report at `path`, and whether its page is what the data inside it give (None: there is only JSON).

    Raises UserError when it is no report, one of another format, or lacks what the checks need.
    """
    html = path.suffix.lower() in (".html", ".htm")
    content = read_text(path)
    report = read_page(content, str(path)) if html else parse_json(content, str(path))
    if not isinstance(report, dict) or report.get("format") != FORMAT:
        older = isinstance(report, dict) and str(report.get("format")).startswith(FORMAT[:-1])
        hint = "; an older one has to be made again" if older else ""
        raise UserError(f"{path}: not an exam report of the format {FORMAT!r}{hint}")
    try:
        expected = page(report)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, ZeroDivisionError) as error:
        raise UserError(f"{path}: the report lacks a part or a part is of another kind ({error!r})") from None
    _refuse_incomplete(path, report)
    return report, expected == content if html else None


def _refuse_incomplete(path: Path, report: dict[str, Any]) -> None:
    """What the page does not show, or shows whatever it is, and the checks need."""
    for name in ("task", "filter"):
        if not isinstance(report["exam"].get(name), str):
            raise UserError(f"{path}: exam.{name} is not a text")
    for side in report["sides"]:
        files = report["files"].get(side)
        if not isinstance(files, list) or not files:
            raise UserError(f"{path}: names no files of {side}")
        if not all(isinstance(file[name], str) for file in files for name in ("path", "sha256")):
            raise UserError(f"{path}: a file of {side} lacks its path or hash")
    if not isinstance(report.get("items"), list):
        raise UserError(f"{path}: has no list of items")
    for entry in report["items"]:
        _refuse_incomplete_item(path, entry, list(report["sides"]))
    named = report.get("stress_at")
    if not isinstance(named, list) or not all(isinstance(at, str) for at in named):
        raise UserError(f"{path}: stress_at is not a list of paths")
    if not isinstance(report["stress"], list) or len(named) != len(report["stress"]):
        raise UserError(f"{path}: stress_at does not name the file of every stress result")
    if not all(isinstance(one.get("sha256"), str) for one in report["stress"]):
        raise UserError(f"{path}: a stress result lacks its hash")
    for name in ("rows", "exam_at"):
        if name not in report or not isinstance(report[name], str | None):
            raise UserError(f"{path}: {name} is not a path")


def _refuse_incomplete_item(path: Path, entry: Any, sides: list[str]) -> None:
    if not isinstance(entry, dict):
        raise UserError(f"{path}: an entry of items is no object")
    for name in ITEM_TEXTS:
        if not isinstance(entry.get(name), str):
            raise UserError(f"{path}: an entry of items lacks {name!r}")
    for side in sides:
        answer = entry["answers"].get(side) if isinstance(entry.get("answers"), dict) else None
        if not isinstance(answer, dict) or not isinstance(answer.get("sample_sha256"), str):
            raise UserError(f"{path}: item {entry['item']} lacks the answer of {side}")


# Checked in their own way, or no figure.
APART = ("files", "version", "rows", "exam_at", "stress_at")


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Where to look instead of where the report says; None, or nothing: there."""

    results: Sequence[Path] = ()  # in the report's order
    stress: Sequence[Path] = ()  # likewise
    meadow: Path | None = None
    exam: str | None = None
    weights: bool = False  # hash the model and the adapter too


@dataclass(slots=True)
class Finding:
    """What was checked, what could not be, and what does not match. Empty `problems`: the report holds."""

    checked: list[str] = field(default_factory=list)
    unchecked: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def verify(path: Path, places: Places) -> Finding:
    """Check the report at `path`, a page or its JSON. Raises UserError when it is no report."""
    report, shown = read_report(path)
    found = Finding()
    if shown is not None:
        found.checked.append("page against the data inside it")
    if shown is False:
        found.problems.append(
            "the page does not show what its own data say: it was edited, or is another version's"
        )
    task = str(report["exam"]["task"])
    sides = list(report["sides"])
    if places.results and len(places.results) != len(sides):
        raise UserError(
            f"{path}: is of {len(sides)} results, {len(places.results)} were named; name all of them, in its order"
        )
    runs = {}
    for i, side in enumerate(sides):
        named = places.results[i] if places.results else None
        file = _results(report, path.parent, side, named, found)
        run = _side(report, side, file, task, found) if file else None
        if run:
            runs[side] = run
            if places.weights:
                found.problems += (f"{side}: {problem}" for problem in changed_weights(run))
                found.checked.append(f"{side}: weights hashed")
    if len(runs) == len(sides):
        _figures(report, path.parent, list(runs.values()), places, found)
    return found


def _results(
    report: dict[str, Any], start: Path, side: str, named: Path | None, found: Finding
) -> Path | None:
    recorded = start / report["files"][side][0]["path"]
    if named is None and not recorded.is_file():
        found.problems.append(
            f"{side}: its results are not at {recorded}; name where all results are, in the report's order"
        )
        return None
    return find_results(named or recorded)


def _side(report: dict[str, Any], side: str, file: Path, task: str, found: Finding) -> Run | None:
    """One side's files, hashes and items. The run, unless it cannot be read at all."""
    names = [Path(entry["path"]).name for entry in report["files"][side]]
    for name, entry in zip(names, report["files"][side], strict=True):
        at = file if name == names[0] else file.with_name(name)
        if not at.is_file():
            found.problems.append(f"{side}: {at} is missing")
        elif sha256_file(at) != entry["sha256"]:
            found.problems.append(
                f"{side}: {at.name} is not the file that the report was made from (SHA-256)"
            )
    samples = [at for name in names[1:] if (at := file.with_name(name)).is_file()]
    chosen = str(report["exam"]["filter"])
    found.problems += (
        f"{side}: {problem}" for problem in changed_items(report["items"], side, samples, chosen)
    )
    found.checked.append(f"{side}: {len(names)} files and {len(report['items'])} items by SHA-256")
    try:
        run = read_run(file, task)
        found.problems += (f"{side}: {problem}" for problem in changed_samples(run))
    except UserError as error:
        found.problems.append(f"{side}: {error}")
        return None
    found.checked.append(f"{side}: lm-eval's own hashes of items, prompts and keys")
    return run


def _figures(report: dict[str, Any], start: Path, runs: list[Run], places: Places, found: Finding) -> None:
    try:
        compared = family(runs)
        covered = _overlap(report, start, compared.first, places)
        unscored = _left_out(report, start, compared.first, places, found)
        tried = _stress(report, start, compared.runs, places, found)
        again = figures(compared, overlap=covered, unscored=unscored, stress=tried)
    except UserError as error:
        found.problems.append(f"the figures cannot be computed again: {error}")
        return
    apart = APART if unscored or not report["left_out"] else (*APART, "left_out")
    stated = {name: value for name, value in report.items() if name not in apart}
    computed = {name: value for name, value in again.items() if name not in apart}
    found.problems += differences(stated, computed)
    found.checked.append("every figure, computed again from the samples")


def _overlap(report: dict[str, Any], start: Path, run: Run, places: Places) -> Overlap | None:
    if not report["contamination"]:
        return None
    rows = places.meadow or start / (report["rows"] or "unnamed")
    if not rows.exists():
        raise UserError(f"the tuning data are not at {rows}; say where they are with --meadow PATH")
    return overlap(run, rows, _exam(report, start, places))


def _left_out(
    report: dict[str, Any], start: Path, run: Run, places: Places, found: Finding
) -> ExcludedItems | None:
    """Needs the exam's files, which whoever checks a report need not have."""
    if not report["left_out"]:
        return None
    try:
        place, exam = exam_asked(run, _exam(report, start, places))
    except UserError as error:
        found.unchecked.append(f"which items of the exam have no score ({error})")
        return None
    return excluded(run, exam, place)


def _stress(
    report: dict[str, Any], start: Path, runs: Mapping[str, Run], places: Places, found: Finding
) -> tuple[Stressed, ...]:
    """The stress results that the report was made from, as they are now, with what is wrong in themselves."""
    recorded = [start / at for at in report["stress_at"]]
    if places.stress and len(places.stress) != len(recorded):
        raise UserError(f"the report is of {len(recorded)} stress results, {len(places.stress)} were named")
    tried = stressed(places.stress or recorded, runs)
    try:
        _, exam = exam_asked(next(iter(runs.values())), _exam(report, start, places))
    except UserError:
        exam = None
    for one, stated in zip(tried, report["stress"], strict=True):
        if sha256_file(one.file) != stated["sha256"]:
            found.problems.append(
                f"stress: {one.file.name} is not the file that the report was made from (SHA-256)"
            )
        found.problems += (f"stress: {problem}" for problem in problems(one.stress, one.stated, exam))
        found.checked.append(
            f"stress: {one.file.name} by SHA-256, its figures from its scores"
            + (", its items, keys and prompts from the exam" if exam else "")
        )
        if exam is None:
            found.unchecked.append(
                "stress: items, keys and prompts (the exam was not found; --exam names it)"
            )
    return tried


def _exam(report: dict[str, Any], start: Path, places: Places) -> str | None:
    return places.exam or (str(start / report["exam_at"]) if report["exam_at"] else None)


def differences(stated: Any, computed: Any, where: str = "") -> Iterator[str]:
    """Every leaf on which two JSON values differ; numbers may differ in their last bits."""
    if isinstance(stated, dict) and isinstance(computed, dict):
        for name in {**stated, **computed}:
            inner = f"{where}.{name}".lstrip(".")
            if name not in stated or name not in computed:
                yield f"{inner}: only in {'the report' if name in stated else 'what the samples give'}"
            else:
                yield from differences(stated[name], computed[name], inner)
    elif isinstance(stated, list) and isinstance(computed, list):
        if len(stated) != len(computed):
            yield f"{where}: the report has {len(stated)} entries, the samples give {len(computed)}"
            return
        for i, (one, other) in enumerate(zip(stated, computed, strict=True)):
            yield from differences(one, other, f"{where}[{i}]")
    elif not _same(stated, computed):
        yield f"{where}: the report says {stated!r}, the samples give {computed!r}"


def _same(stated: Any, computed: Any) -> bool:
    if isinstance(stated, float) and isinstance(computed, float):
        return isclose(stated, computed, rel_tol=1e-9, abs_tol=1e-12)
    return type(stated) is type(computed) and bool(stated == computed)
