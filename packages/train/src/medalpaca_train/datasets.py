"""Resolve a recipe's paths, read its rows, check that they may be trained on, and tokenise them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from medalpaca_data.clearance import Clearance, clear
from medalpaca_data.core import paths
from medalpaca_data.core.errors import UserError
from medalpaca_data.core.files import existing
from medalpaca_data.core.prompt import chat_template, render
from medalpaca_data.core.records import read_rows, read_split, rows_sha256
from medalpaca_data.core.row import Row

from .model import load_tokenizer, make_pocket_tokenizer
from .progress import echo
from .recipe import Recipe
from .tokenize import RowNote, Samples, TokenizedRows, adds_bos, encode_cached

# Values of `data:` in a recipe for the built-in Meadows.
POCKET_DATA = {"pocket", "pocket-language"}
# Value of `model:` in a recipe for the quickstart's base.
POCKET_BASE = "pocket-base"
# Seed of the built-in Meadows, whatever the seed of a run is.
POCKET_SEED = 0


@dataclass(frozen=True, slots=True)
class Datasets:
    """The training and validation rows of a run, and the number of both together, `rows_read`.

    `sha256` is `rows_sha256` of the files and Meadow directories that the rows were read from.
    """

    train: list[Row]
    validation: list[Row]
    rows_read: int
    sha256: str


def resolve(recipe: Recipe, name: str) -> Recipe:
    """Return the recipe with absolute paths; build a built-in Meadow if it is missing.

    Without `out`, the run directory is `runs/name` in MEDALPACA_HOME. `model` becomes a path if it is `pocket-base`
    or an existing file or directory; a hub id stays as it is. Raises UserError if `data` or `validation` does not
    exist.
    """
    return recipe.model_copy(
        update={
            "out": str(Path(recipe.out).expanduser().absolute() if recipe.out else paths.runs() / name),
            "data": str(_resolve_data(recipe.data)),
            "model": _resolve_model(recipe.model),
            "validation": _resolve_validation(recipe.validation),
        }
    )


def read_datasets(recipe: Recipe) -> Datasets:
    """Return the rows of a recipe that `resolve` has returned.

    Validation rows are those of the file that `validation` names. If `validation` is a share, they are those of the
    Meadow's validation split or, without one, whole groups held out from `data`; a share of 0 gives none. Raises
    UserError, with file and row, for a row that cannot be read.
    """
    path = Path(recipe.data)
    rows = read_rows(path)
    files = [path]
    if isinstance(recipe.validation, str):
        train, validation = rows, read_rows(recipe.validation)
        files.append(Path(recipe.validation))
    elif recipe.validation == 0:
        train, validation = rows, []
    elif (
        path.is_dir()
        and (path / "validation.parquet").is_file()
        and (built := read_split(path, "validation"))
    ):
        train, validation = rows, built
    else:
        train, validation = split_by_group(rows, recipe.validation, recipe.seed)
    return Datasets(train, validation, len(train) + len(validation), rows_sha256(*files))


def check_clearance(recipe: Recipe, datasets: Datasets) -> Clearance:
    """Return why the rows may be trained on as far as patients' text is concerned (see `clearance.clear`).

    `recipe` is one that `resolve` has returned. A validation file is checked separately, and its statement is added to
    that of the training rows. Raises UserError if identifiers were found or a de-identification record is missing, and
    `accept_patient_text` is not set.
    """
    validation_file = isinstance(recipe.validation, str)
    rows = datasets.train if validation_file else [*datasets.train, *datasets.validation]
    stated, accepted = recipe.patient_text, recipe.accept_patient_text
    clearance = clear(Path(recipe.data), rows, patient_text=stated, accepted=accepted)
    if not validation_file:
        return clearance
    path = Path(str(recipe.validation))
    validation = clear(path, datasets.validation, patient_text=stated, accepted=accepted)
    return replace(
        clearance,
        statement=f"{clearance.statement}; for validation: {validation.statement}",
        evidence={**clearance.evidence, "validation": validation.as_json()},
        notes=clearance.notes + validation.notes,
    )


def split_by_group(rows: Sequence[Row], share: float, seed: int) -> tuple[list[Row], list[Row]]:
    """Return (train, validation): random groups are held out until they have at least `share` of the rows.

    A group (a disease, a thread) is never divided, because one of its rows can contain the answer to another. Rows
    without a group are grouped by their id, which rows with the same text share. One group at least is left for
    training, so with fewer than two groups nothing is held out.
    """
    groups = sorted({row.group or row.id for row in rows})
    if len(groups) < 2:
        return list(rows), []
    sizes: dict[str, int] = dict.fromkeys(groups, 0)
    for row in rows:
        sizes[row.group or row.id] += 1
    held_out: set[str] = set()
    count = 0
    for index in np.random.default_rng(seed).permutation(len(groups))[: len(groups) - 1]:
        if count >= share * len(rows):
            break
        held_out.add(groups[index])
        count += sizes[groups[index]]
    return (
        [row for row in rows if (row.group or row.id) not in held_out],
        [row for row in rows if (row.group or row.id) in held_out],
    )


def _resolve_data(data: str) -> Path:
    if data in POCKET_DATA:
        from medalpaca_data.build import ensure_meadow

        # The quickstart evaluates what was trained on this Meadow, so it has a fixed path.
        out = paths.quickstart().meadow if data == "pocket" else paths.cache() / data
        return Path(ensure_meadow(data, out, POCKET_SEED)).absolute()
    return existing(Path(data).expanduser().absolute(), "data file or directory")


def _resolve_model(model: str) -> str:
    if model == POCKET_BASE:
        return str(paths.quickstart().base)
    local = Path(model).expanduser()
    return str(local.absolute()) if model != "pocket" and local.exists() else model


def _resolve_validation(value: float | str) -> float | str:
    return str(existing(Path(value).expanduser().absolute())) if isinstance(value, str) else value


@dataclass(frozen=True, slots=True)
class PreparedData:
    """The tokenizer of a run and its rows as tokens.

    `rejected` and `cut` list training and validation rows; `rows_read` is the number of rows before tokenising.
    """

    tokenizer: Any
    train: Samples
    validation: Samples
    rejected: list[RowNote]
    cut: list[RowNote]
    rows_read: int

    def counts(self) -> dict[str, int]:
        """Return numbers of rows and tokens for manifest and model card; tokens are those of the training rows."""
        return {
            "rows_read": self.rows_read,
            "rows_train": len(self.train),
            "rows_validation": len(self.validation),
            "rows_rejected": len(self.rejected),
            "rows_cut": len(self.cut),
            "tokens": len(self.train.ids),
            "supervised_tokens": self.train.supervised,
        }


def prepare_data(recipe: Recipe, base: Path | None, datasets: Datasets) -> PreparedData:
    """Tokenise `datasets` with the tokenizer in `base`; if `base` is None, train a tokenizer on the training rows.

    The tokenizer gets a chat template with the training prompt. Tokens come from the cache if possible. Raises
    UserError if the tokenizer cannot be used, or if no row is left to train on.
    """
    if base is None:
        texts = [render(row.instruction, row.input) + row.output.strip() for row in datasets.train]
        tokenizer = make_pocket_tokenizer(texts)
    else:
        tokenizer = load_tokenizer(base)
    tokenizer.chat_template = chat_template(add_bos=adds_bos(tokenizer))

    def tokenize(rows: list[Row]) -> TokenizedRows:
        return encode_cached(
            rows, tokenizer, max_tokens=recipe.max_tokens, loss=recipe.loss, overlong=recipe.overlong
        )

    train, validation = tokenize(datasets.train), tokenize(datasets.validation)
    if not train.samples:
        raise UserError(
            f"{recipe.data}: none of {len(train.rejected):,} rows can be trained on; "
            f"reason for the first: {train.rejected[0].reason}"
        )
    return PreparedData(
        tokenizer,
        train.samples,
        validation.samples,
        train.rejected + validation.rejected,
        train.cut + validation.cut,
        datasets.rows_read,
    )


def print_data_summary(data: PreparedData, console: Console) -> None:
    """Print numbers of rows, tokens per training row, and numbers of truncated and rejected rows by reason."""
    counts = data.counts()
    echo(
        console,
        f"{counts['rows_read']:,} rows read: {counts['rows_train']:,} to train on, "
        f"{counts['rows_validation']:,} for validation, {counts['rows_rejected']:,} rejected",
    )
    lengths = np.array(data.train.lengths)
    median, percentile_90 = np.percentile(lengths, [50, 90]).astype(int)
    echo(
        console,
        f"tokens per row: median {median:,}, 90th percentile {percentile_90:,}, longest {lengths.max():,}; "
        f"{100 * counts['supervised_tokens'] / counts['tokens']:.0f} % are trained on",
    )
    if data.cut:
        echo(console, f"  cut: {len(data.cut):,} x longer than max_tokens, end of text kept (cut.jsonl)")
    # In "600 tokens, more than max_tokens=512" the part before the comma differs from row to row.
    reasons = Counter(rejected.reason.rpartition(", ")[2] for rejected in data.rejected)
    for reason, count in reasons.most_common():
        echo(console, f"  rejected: {count:,} x {reason}")
