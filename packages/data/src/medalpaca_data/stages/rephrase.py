"""Rephrasing as a stage: models are asked for all rows at once, then each shard is judged by their answers."""

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

COMPLETIONS_FILE = "answers.sqlite"  # what the stage's shards rest on, beside them


class RephraseStage(Stage):
    """The rows of the sources in `settings.prompts` in other words; those of others pass as they are.

    Refuses, when made, what could not be done: a source or prompt that is not there, an endpoint that may not have
    the rows, a missing key. An estimate, which asks nobody (`asks=False`), needs neither leave nor key.
    """

    name: ClassVar[str] = "rephrase"

    def __init__(
        self, asked: Rephrase, root: Path, sources: Sequence[BaseSource], seed: int = 0, *, asks: bool = True
    ) -> None:
        names = [source.name for source in sources]
        for name in asked.prompts:
            if name not in names:
                guess = nearest(name, names)
                hint = f"did you mean {guess!r}?" if guess else f"known: {', '.join(names)}"
                raise UserError(f"rephrase: no source {name!r} in this recipe; {hint}")
        self.asked = asked
        self.prompts: dict[str, Prompt] = {name: load_prompt(it, root) for name, it in asked.prompts.items()}
        self.seed = seed
        if asks and asked.endpoints:
            patients = [one.name for one in sources if one.private and one.name in asked.prompts]
            check_endpoints(asked, patients)
            api_key(asked)
        self._store = (
            root / Path(asked.store).expanduser() if asked.store else paths.cache() / "answers.sqlite"
        )

    def settings(self) -> Any:
        """Who is asked what; not where, how fast, how long or for how much."""
        fields = {"model", "tries", "temperature", "max_tokens", "parameters", "on_failure"}
        prompts = {name: [prompt.name, prompt.sha256] for name, prompt in self.prompts.items()}
        return [
            self.asked.model_dump(mode="json", include=fields),
            prompts,
            self.seed,
            bool(self.asked.endpoints),
        ]

    def store(self) -> CompletionStore:
        """The store of answers, opened."""
        return CompletionStore(self._store)

    def tries(self, shards: Sequence[Shard]) -> Iterator[RowAttempts]:
        """All rows that a model is to rephrase, in order."""
        for shard in shards:
            if prompt := self.prompts.get(shard.source):
                for texts in shard.read().select(TEXTS).iter_rows(named=True):
                    yield RowAttempts(self.asked, prompt, texts, self.seed)

    def prepare(self, shards: Sequence[Shard], folder: Path, on_progress: OnProgress) -> None:
        if not self.asked.endpoints:
            return
        from ..rephrase.client import request_all

        accounts = [read_account(shard) or {} for shard in shards if shard.source in self.prompts]
        rows = sum(account.get("kept", 0) for account in accounts)
        with self.store() as store:
            asked = request_all(
                self.asked, self.tries(shards), store, lambda done: on_progress("rephrase: ask", done, rows)
            )
            store.copy(asked.keys, folder / COMPLETIONS_FILE)

    def apply(self, table: pl.DataFrame, shard: Shard, folder: Path) -> StageResult:
        prompt = self.prompts.get(shard.source)
        if prompt is None:
            return StageResult(frame=table)
        rows = list(table.iter_rows(named=True))
        counts: Counter[str] = Counter()
        drops: dict[int, Drop] = {}
        changes: list[dict[str, str]] = []
        with (
            CompletionReader(folder / COMPLETIONS_FILE) if self.asked.endpoints else nullcontext() as answers
        ):
            for n, row in enumerate(rows):
                new = self._new(row, prompt, answers, counts)
                if isinstance(new, Drop):
                    drops[n] = new
                elif new:
                    changes += self._change(row, new)
        return StageResult(frame=_frame(table, rows), drops=drops, changes=_changes(changes), counts=counts)

    def _new(
        self, row: dict[str, Any], prompt: Prompt, answers: CompletionReader | None, counts: Counter[str]
    ) -> dict[str, str] | Drop | None:
        """A row's new texts, if it gets any, or why it is dropped. Who wrote them is put into the row."""
        texts = {name: row[name] for name in TEXTS}
        if answers is None:
            return self._by_rule(texts, counts)
        tries = RowAttempts(self.asked, prompt, texts, self.seed)
        found = tries.outcome(answers.answer)
        if found.texts is not None:
            row["generator"] = tries.generator(len(found.faults), row["generator"])
            counts["by the model"] += 1
            return found.texts
        reason = _reason(found, answers)
        if self.asked.on_failure == "reject":
            return Drop(reason=f"not rephrased: {reason}", evidence={"refused": list(found.faults)})
        counts[f"not by the model: {reason}"] += 1
        if self.asked.on_failure == "rule":
            return self._by_rule(texts, counts)
        counts["kept as it was"] += 1
        return None

    def _by_rule(self, texts: dict[str, str], counts: Counter[str]) -> dict[str, str] | None:
        new = rephrase_by_rule(texts)
        counts["by rule" if new else "kept as it was"] += 1
        return new

    def _change(self, row: dict[str, Any], new: dict[str, str]) -> Iterator[dict[str, str]]:
        """Put the new texts into the row, and on_progress what they were."""
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


def _reason(found: RowOutcome, answers: CompletionReader) -> str:
    """Why the last try did not give a row."""
    if found.next is not None:
        return answers.failure(found.next.key) or "not answered"
    return found.faults[-1]


def _frame(table: pl.DataFrame, rows: Sequence[dict[str, Any]]) -> pl.DataFrame:
    import polars as pl

    columns = ("id", *TEXTS, "generator")
    return table.with_columns(
        pl.Series(name, [row[name] for row in rows], dtype=pl.String) for name in columns
    )


def _changes(listed: Sequence[dict[str, str]]) -> pl.DataFrame:
    import polars as pl

    return pl.DataFrame(listed, schema=dict.fromkeys(CHANGE_COLUMNS, pl.String))
