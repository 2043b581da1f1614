"""Rows to token ids, with the place where the answer starts.

The ids are those of the whole text in one piece, as lm-eval's `_encode_pair` makes them, so that an exam asks in
the same tokens in which training taught.

Tokens of the same rows, by the same tokenizer, are made once: kept under a hash of everything they depend on.

`--preview`: a few real rows with the loss mask coloured, before any weights are loaded.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Literal

import numpy as np
from rich.console import Console
from rich.rule import Rule
from rich.text import Text

from medalpaca_data.core import paths
from medalpaca_data.core.errors import UserError
from medalpaca_data.core.files import (
    new_directory,
    read_json,
    sha256_bytes,
    sha256_file,
    sha256_json,
    write_json,
)
from medalpaca_data.core.prompt import PROMPT_ID, render
from medalpaca_data.core.row import Row


@dataclass(frozen=True, slots=True)
class Sample:
    """One row as tokens: `ids` int32 of shape (length,), the first `given` of which are not learned."""

    row_id: str
    ids: np.ndarray[Any, np.dtype[np.int32]]
    given: int

    @property
    def length(self) -> int:
        """Number of tokens."""
        return len(self.ids)

    @property
    def supervised(self) -> int:
        """Number of tokens that are learned. The first of all can never be: nothing precedes it."""
        return len(self.ids) - max(self.given, 1)


class Samples(Sequence[Sample]):
    """Many samples in flat arrays: `ids` int32 of all of them, one after the other; `ends` int64 (samples + 1,) where
    each begins and the last ends; `given` int64 (samples,); and their rows' ids.
    """

    def __init__(
        self,
        ids: np.ndarray[Any, Any],
        ends: np.ndarray[Any, Any],
        given: np.ndarray[Any, Any],
        row_ids: Sequence[str],
    ) -> None:
        self.ids, self.ends, self.given, self.row_ids = ids, ends, given, list(row_ids)

    def __len__(self) -> int:
        return len(self.given)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        place = range(len(self))[index]
        return Sample(
            self.row_ids[place], self.ids[self.ends[place] : self.ends[place + 1]], int(self.given[place])
        )

    @property
    def lengths(self) -> list[int]:
        """Tokens of each."""
        return [int(n) for n in np.diff(self.ends)]

    @property
    def supervised(self) -> int:
        """Learned tokens of all."""
        return int((np.diff(self.ends) - np.maximum(self.given, 1)).sum())


@dataclass(frozen=True, slots=True)
class Rejected:
    """A row that cannot be trained on, and why; or one that was cut, and by how much. Never its text."""

    row_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class Encoded:
    """Rows as tokens. Every row is in `samples` or in `rejected`; those of `cut` are in `samples`, shortened."""

    samples: Samples
    rejected: list[Rejected]
    cut: list[Rejected]


def encode(
    rows: Sequence[Row],
    tokenizer: Any,
    *,
    max_tokens: int,
    loss: Literal["answer", "all"],
    overlong: Literal["drop", "cut"] = "drop",
) -> Encoded:
    """Tokenise `rows`: prompt, answer, EOS once; BOS as the tokenizer itself adds it.

    Rejected are rows of more than `max_tokens` tokens (or, with `overlong` cut, those whose prompt alone leaves no
    room for an answer), rows whose prompt and answer share a token, rows without anything to learn, and rows that
    spell BOS or EOS in their text. A cut row keeps its EOS, so that it still teaches to stop. Raises UserError when
    the tokenizer has no EOS, because a model trained without one never stops.
    """
    eos = tokenizer.eos_token_id
    if eos is None:
        raise UserError("the tokenizer has no end-of-text token; set eos_token in its tokenizer_config.json")
    prompts = [render(row.instruction, row.input) for row in rows]
    wholes = [prompt + row.output.strip() for prompt, row in zip(prompts, rows, strict=True)]
    # Two batch calls: a fast tokenizer works on all cores, and nothing is encoded row by row.
    prompt_ids, whole_ids = _ids(tokenizer, prompts), _ids(tokenizer, wholes)
    marks = {eos, tokenizer.bos_token_id}
    kept: list[list[int]] = []
    given, row_ids = [], []
    rejected, cut = list[Rejected](), list[Rejected]()
    for row, prompt, whole in zip(rows, prompt_ids, whole_ids, strict=True):
        # Some tokenizers close every text with EOS, the prompt too.
        head = prompt[:-1] if len(prompt) > 1 and prompt[-1] == eos else prompt
        ids = whole if whole[-1] == eos else [*whole, eos]
        length = len(ids)
        if overlong == "cut" and length > max_tokens > len(head) + 1:
            ids = [*ids[: max_tokens - 1], eos]
        if reason := _refusal(head, ids, marks, max_tokens):
            rejected.append(Rejected(row.id, reason))
            continue
        if len(ids) < length:
            cut.append(Rejected(row.id, f"{length} tokens, cut to max_tokens={max_tokens}"))
        kept.append(ids)
        given.append(len(head) if loss == "answer" else 0)
        row_ids.append(row.id)
    ends = np.concatenate([[0], np.cumsum([len(ids) for ids in kept], dtype=np.int64)]).astype(np.int64)
    flat = np.fromiter(chain.from_iterable(kept), np.int32, count=int(ends[-1]))
    return Encoded(Samples(flat, ends, np.array(given, np.int64), row_ids), rejected, cut)


def adds_bos(tokenizer: Any) -> bool:
    """Whether the tokenizer starts every text with BOS by itself."""
    ids = _ids(tokenizer, ["a"])[0]
    return tokenizer.bos_token_id is not None and ids[0] == tokenizer.bos_token_id


def _ids(tokenizer: Any, texts: list[str]) -> list[list[int]]:
    # verbose=False: the warning about long texts is ours to give, with a count.
    return list(tokenizer(texts, return_attention_mask=False, verbose=False)["input_ids"]) if texts else []


def _refusal(head: list[int], ids: list[int], marks: set[int | None], max_tokens: int) -> str | None:
    if len(ids) > max_tokens:
        return f"{len(ids)} tokens, more than max_tokens={max_tokens}"
    if ids[: len(head)] != head:
        return "prompt and answer share a token"
    if len(ids) - len(head) < 2:
        return "no answer token to learn"
    if not marks.isdisjoint(ids[1:-1]):
        return "BOS or EOS is written out in the text"
    return None


def cached(rows: Sequence[Row], tokenizer: Any, **options: Any) -> Encoded:
    """`tokens.encode`, or what it returned before for the same rows, tokenizer and options.

    A tokenizer that cannot be told from another (one without a fast backend) is asked every time; so is one where the
    cache cannot be written.
    """
    name = _name(rows, tokenizer, options)
    if name is None or not rows:
        return encode(rows, tokenizer, **options)
    folder = paths.cache() / "tokens" / name
    if (found := _read(folder)) is not None:
        return found
    encoded = encode(rows, tokenizer, **options)
    with suppress(OSError):  # a full or read-only disk: the next start tokenises again
        _write(folder, encoded)
    return encoded


def _name(rows: Sequence[Row], tokenizer: Any, options: dict[str, Any]) -> str | None:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return None
    texts = sha256_json([[row.id, render(row.instruction, row.input), row.output] for row in rows])
    own = [sha256_bytes(backend.to_str().encode()), tokenizer.bos_token_id, tokenizer.eos_token_id]
    # The code that makes tokens is part of what they depend on.
    return sha256_json([texts, own, options, PROMPT_ID, sha256_file(Path(__file__))])


def _write(folder: Path, encoded: Encoded) -> None:
    samples = encoded.samples
    with new_directory(folder, replace=True) as new:
        for key in ("ids", "ends", "given"):
            np.save(new / f"{key}.npy", getattr(samples, key), allow_pickle=False)
        notes = {key: [[n.row_id, n.reason] for n in getattr(encoded, key)] for key in ("rejected", "cut")}
        write_json(new / "rows.json", {"row_ids": samples.row_ids, **notes})


def _read(folder: Path) -> Encoded | None:
    """None where there is nothing, or nothing whole."""
    try:
        rows = read_json(folder / "rows.json") if folder.is_dir() else None
        if rows is None:
            return None
        # Mapped, not read: the pages of rows that no step needs are never loaded.
        ids = np.load(folder / "ids.npy", mmap_mode="r", allow_pickle=False)
        ends, given = (np.load(folder / f"{key}.npy", allow_pickle=False) for key in ("ends", "given"))
    except (OSError, ValueError, EOFError, UserError):
        return None
    notes = {key: [Rejected(*note) for note in rows[key]] for key in ("rejected", "cut")}
    return Encoded(Samples(ids, ends, given, rows["row_ids"]), **notes)


ROWS = 3


def show_preview(samples: Sequence[Sample], tokenizer: Any, console: Console) -> None:
    """Print the first rows token by token: grey is given, green is learned, reversed are special tokens."""
    console.print(
        Text.assemble(("given", "dim"), "  ", ("learned", "bold green"), "  ", ("special token", "reverse"))
    )
    for sample in samples[:ROWS]:
        # A Text: the id is foreign, and rich would read brackets in it.
        said = Text(f"row {sample.row_id}: {sample.length} tokens, {sample.supervised} learned")
        console.print(Rule(said, align="left", style="dim"), width=min(console.width, 80))
        console.print(coloured(sample, tokenizer))


def coloured(sample: Sample, tokenizer: Any) -> Text:
    """The sample's text. Tokens of one colour are decoded together, as a character may be several tokens."""
    special = set(tokenizer.all_special_ids)
    text, run = Text(), list[int]()
    style = ""
    for place, token in enumerate(sample.ids.tolist()):
        new = "bold green" if place >= max(sample.given, 1) else "dim"
        new += " reverse" if token in special else ""
        if run and new != style:
            text.append(tokenizer.decode(run), style)
            run = []
        run, style = [*run, token], new
    text.append(tokenizer.decode(run), style)
    return text
