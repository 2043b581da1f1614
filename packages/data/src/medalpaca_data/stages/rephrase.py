"""Rephrase stage: request completions for all rows, then rewrite each shard from the stored completions.

Without endpoints in the recipe, nothing is requested, and rows are rewritten by rules.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from ..core import paths
from ..core.errors import UserError, nearest
from ..core.row import TEXTS, content_id
from ..executor import OnProgress, Stage, StageResult
from ..rephrase.prompts import Prompt, Rephrase, api_key, check_endpoints, load_prompt
from ..rephrase.run import RowAttempts, RowOutcome, rephrase_by_rule
from ..rephrase.store import CompletionReader, CompletionStore
from ..shard import Drop, Shard, read_account
from ..sources.base import BaseSource
from .clean import CHANGE_COLUMNS

if TYPE_CHECKING:
    import polars as pl

# Copy of the completions on which the shards of this stage depend. It is in the folder of the shards.
COMPLETIONS_FILE = "answers.sqlite"


class RephraseStage(Stage):
    """Rephrase the rows of the sources in `config.prompts`; rows of other sources stay unchanged.

    All requests are sent before the first shard is written; each shard then reads the stored completions. Completions
    of earlier builds are in the store of completions and are not requested again.

    The constructor raises UserError if a source or prompt does not exist. It also does if rows must not be sent to an
    endpoint, or if the API key is missing. With `sends_requests=False`, for a cost estimate, endpoints and key are not
    checked.
    """

    name: ClassVar[str] = "rephrase"

    def __init__(
        self,
        config: Rephrase,
        root: Path,
        sources: Sequence[BaseSource],
        seed: int = 0,
        *,
        sends_requests: bool = True,
    ) -> None:
        names = [source.name for source in sources]
        for name in config.prompts:
            if name not in names:
                guess = nearest(name, names)
                hint = f"did you mean {guess!r}?" if guess else f"known: {', '.join(names)}"
                raise UserError(f"rephrase.prompts: no source {name!r} in this recipe; {hint}")
        self.config = config
        self.prompts: dict[str, Prompt] = {
            name: load_prompt(prompt, root) for name, prompt in config.prompts.items()
        }
        self.seed = seed
        if sends_requests and config.endpoints:
            patients = [source.name for source in sources if source.private and source.name in config.prompts]
            check_endpoints(config, patients)
            api_key(config)
        self._store = (
            root / Path(config.store).expanduser() if config.store else paths.cache() / "answers.sqlite"
        )

    def settings(self) -> Any:
        """Return the settings that determine the texts, as a JSON value.

        The addresses of the endpoints, concurrency, timeout and price are not among them.
        """
        fields = {"model", "tries", "temperature", "max_tokens", "parameters", "on_failure"}
        prompts = {name: [prompt.name, prompt.sha256] for name, prompt in self.prompts.items()}
        return [
            self.config.model_dump(mode="json", include=fields),
            prompts,
            self.seed,
            bool(self.config.endpoints),
        ]

    def store(self) -> CompletionStore:
        """Open the store of completions, and create its file if it does not exist."""
        return CompletionStore(self._store)

    def attempts(self, shards: Sequence[Shard]) -> Iterator[RowAttempts]:
        """Yield a `RowAttempts` for every row of the sources with a prompt, in the order of the rows."""
        for shard in shards:
            if prompt := self.prompts.get(shard.source):
                for texts in shard.read().select(TEXTS).iter_rows(named=True):
                    yield RowAttempts(self.config, prompt, texts, self.seed)

    def prepare(self, shards: Sequence[Shard], folder: Path, on_progress: OnProgress) -> None:
        if not self.config.endpoints:
            return
        from ..rephrase.client import request_all

        accounts = [read_account(shard) or {} for shard in shards if shard.source in self.prompts]
        rows = sum(account.get("kept", 0) for account in accounts)
        with self.store() as store:
            summary = request_all(
                self.config,
                self.attempts(shards),
                store,
                lambda done: on_progress("rephrase: requests", done, rows),
            )
            store.copy(summary.keys, folder / COMPLETIONS_FILE)

    def apply(self, table: pl.DataFrame, shard: Shard, folder: Path) -> StageResult:
        prompt = self.prompts.get(shard.source)
        if prompt is None:
            return StageResult(frame=table)
        rows = list(table.iter_rows(named=True))
        counts: Counter[str] = Counter()
        drops: dict[int, Drop] = {}
        changes: list[dict[str, str]] = []
        with (
            CompletionReader(folder / COMPLETIONS_FILE) if self.config.endpoints else nullcontext()
        ) as completions:
            for n, row in enumerate(rows):
                new = self._rephrase(row, prompt, completions, counts)
                if isinstance(new, Drop):
                    drops[n] = new
                elif new:
                    changes += self._change(row, new)
        return StageResult(frame=_frame(table, rows), drops=drops, changes=_changes(changes), counts=counts)

    def _rephrase(
        self,
        row: dict[str, Any],
        prompt: Prompt,
        completions: CompletionReader | None,
        counts: Counter[str],
    ) -> dict[str, str] | Drop | None:
        """Return the new texts of a row, a `Drop` if it is rejected, or None if its texts stay.

        Adds to `counts`. If a completion of the model is used, `generator` of `row` is set as well.
        """
        texts = {name: row[name] for name in TEXTS}
        if completions is None:
            return self._by_rule(texts, counts)
        attempts = RowAttempts(self.config, prompt, texts, self.seed)
        outcome = attempts.outcome(completions.completion)
        if outcome.texts is not None:
            row["generator"] = attempts.generator(len(outcome.faults), row["generator"])
            counts["by the model"] += 1
            return outcome.texts
        reason = _reason(outcome, completions)
        if self.config.on_failure == "reject":
            return Drop(reason=f"not rephrased: {reason}", evidence={"refused": list(outcome.faults)})
        counts[f"not by the model: {reason}"] += 1
        if self.config.on_failure == "rule":
            return self._by_rule(texts, counts)
        counts["kept as it was"] += 1
        return None

    def _by_rule(self, texts: dict[str, str], counts: Counter[str]) -> dict[str, str] | None:
        new = rephrase_by_rule(texts)
        counts["by rule" if new else "kept as it was"] += 1
        return new

    def _change(self, row: dict[str, Any], new: dict[str, str]) -> Iterator[dict[str, str]]:
        """Put the new texts and their id into `row`, and yield a record of `CHANGE_COLUMNS` for each changed text."""
        before, was = {name: row[name] for name in TEXTS}, row["id"]
        row.update(new, id=content_id(**new))
        for name in TEXTS:
            if new[name] != before[name]:
                yield {
                    "id": row["id"],
                    "source_id": row["source_id"],
                    "was": was,
                    "stage": self.name,
                    "field": name,
                    "before": before[name],
                }


def _reason(outcome: RowOutcome, completions: CompletionReader) -> str:
    """Return why the last attempt gave no texts: a failed request, or the fault of its completion."""
    if outcome.next is not None:
        return completions.failure(outcome.next.key) or "no completion"
    return outcome.faults[-1]


def _frame(table: pl.DataFrame, rows: Sequence[dict[str, Any]]) -> pl.DataFrame:
    import polars as pl

    columns = ("id", *TEXTS, "generator")
    return table.with_columns(
        pl.Series(name, [row[name] for row in rows], dtype=pl.String) for name in columns
    )


def _changes(listed: Sequence[dict[str, str]]) -> pl.DataFrame:
    import polars as pl

    return pl.DataFrame(listed, schema=dict.fromkeys(CHANGE_COLUMNS, pl.String))
