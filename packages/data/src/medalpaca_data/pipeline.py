"""From raw files to the rows that a build keeps: sources read, then stage after stage, by whatever engine."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .deid.settings import gate
from .engine import Engine, Serial, run_all
from .exams.exam import Exam
from .ground.errors import UserError
from .recipe import Recipe
from .shard import Shard, read_account
from .stages.base import FINGERPRINT, Stage, Tell, fingerprint, run_stage, silent
from .stages.clean import Clean
from .stages.decontaminate import Decontaminate
from .stages.deidentify import Deidentify
from .stages.duplicates import Duplicates
from .stages.language import Language
from .stages.mix import Mix
from .stages.near import Near
from .stages.read import STAGE as READ
from .stages.read import first_bad, read_source
from .stages.refuse_tests import RefuseTests
from .stages.rephrase import Rephrasing
from .workplace import Workplace

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
    tell: Tell = silent
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
                shards = run_stage(stage, shards, folder, self.tell, self.engine, self.at_once)
            trail.append((stage.name, shards))
            if isinstance(stage, Deidentify):
                self.deidentified.extend(stage.records(shards))
                gate({source.name: source.private for source in self.recipe.used}, self.deidentified)
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
            tell = (self.tell,) if serial else ()
            calls.append((read_source, (source, self.root.absolute(), recipe.seed, folder, *tell)))
        read: dict[int, list[Shard]] = {}
        for number, (shards, seconds) in run_all(self.engine, calls, self.at_once):
            source = recipe.used[number]
            self.seconds[f"{READ} {source.name}"] = seconds
            self.tell("sources read", len(read) + 1, len(calls))
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
        RefuseTests() if recipe.refuse_tests else None,
        Rephrasing(recipe.rephrase, root, recipe.used, recipe.seed) if recipe.rephrase else None,
        Duplicates(),
        Near(recipe.near_duplicates) if recipe.near_duplicates else None,
        Decontaminate(exams, recipe.max_coverage) if exams else None,
        Mix(caps, weights, recipe.rows, recipe.seed) if mixed else None,
    ]
    return [stage for stage in asked if stage]


def check_rejects(name: str, shards: Sequence[Shard], allowed: float) -> None:
    """Raise UserError when more than the share `allowed` of a source's records is broken."""
    bad, first = first_bad(shards)
    read = sum((read_account(shard) or {})["read"] for shard in shards)
    if first and bad > allowed * read:
        file, place, reason = first
        raise UserError(
            f"source {name!r}: {bad} of {read} records ({bad / read:.1%}) cannot be used, "
            f"more than max_reject_share={allowed}; the first is {file} {place}: {reason}"
        )
