"""The build: recipe to Meadow directory, stage by stage, every record accounted for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import meadow
from .engine import Kind, open_engine
from .exam import Exam, load_exam
from .ground.code import package_sha256
from .ground.errors import UserError
from .ground.files import new_directory, sha256_file
from .ledger import make_ledger, read_ledger, same_files
from .pipeline import Pipeline
from .recipe import Recipe
from .stages.base import Tell, fingerprint, silent
from .stages.contradictions import find_contradictions
from .stages.duplicates import Duplicates
from .stages.shard import Shard, total
from .stages.split import held_out
from .workplace import Workplace


@dataclass(frozen=True, slots=True)
class Built:
    """What a build left behind."""

    path: Path
    ledger: dict[str, Any]
    reused: bool
    seconds: Mapping[str, float] = field(default_factory=dict)  # stage -> wall time; of a source, `read NAME`


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
    code = package_sha256("medalpaca_data")
    inputs = _inputs(recipe, root)
    exams = [_load_exam(name, root) for name in recipe.exams]
    hashes = {name: [(file.name, digest) for file, digest in files] for name, files in inputs.items()}
    whole = fingerprint(code, recipe.model_dump(mode="json"), hashes, [exam.sha256 for exam in exams])
    if (ledger := read_ledger(out)) and ledger.get("fingerprint") == whole and same_files(out, ledger):
        return Built(out, ledger, reused=True)
    # Before the work, not after it: what would be refused is refused at once.
    meadow.check_out(out, replace=replace)
    with open_engine(engine, workers) as runner, Workplace(recipe.name) as work:
        pipeline = Pipeline(
            recipe=recipe,
            root=root,
            inputs=inputs,
            exams=exams,
            code=code,
            work=work,
            engine=runner,
            at_once=1 if engine == "serial" else 2 * workers,
            tell=tell,
        )
        trail = pipeline.run()
        last = trail[-1][1]
        sides = held_out(last, recipe.validation, recipe.seed)
        if not (kept := sum(len(side) for side in sides)):
            raise UserError(
                f"recipe {recipe.name}: not one row kept ({_commonest_reason(trail)}); nothing was built"
            )
        if kept == sum(int(side.sum()) for side in sides):
            raise UserError(f"recipe {recipe.name}: validation={recipe.validation} leaves no row to train on")
        with pipeline.clock("write"), new_directory(out, replace=replace) as folder:
            tell("write", 0, None)
            contradictions = find_contradictions(dict(trail)[Duplicates.name])
            written = meadow.write(folder, trail, sides, contradictions)
            ledger = make_ledger(recipe, whole, inputs, exams, trail, written, contradictions)
            meadow.write_papers(folder, ledger)
    return Built(out, ledger, reused=False, seconds=pipeline.seconds)


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
