"""Turn rows into token ids with the length of the prompt, cache the result, and preview it with the loss mask.

Prompt and answer are tokenised as one text, as in lm-eval's `_encode_pair`, so that an exam has the same tokens as
training. Token ids are cached under a hash of everything they depend on: rows, tokenizer, options, prompt and code.
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
    """One row as tokens: `ids` int32 (length,); the first `prompt_length` of them are not supervised."""

    row_id: str
    ids: np.ndarray[Any, np.dtype[np.int32]]
    prompt_length: int

    @property
    def length(self) -> int:
        """Number of tokens."""
        return len(self.ids)

    @property
    def supervised(self) -> int:
        """Number of supervised tokens. The first token never is: no token precedes it."""
        return len(self.ids) - max(self.prompt_length, 1)


class Samples(Sequence[Sample]):
    """Many samples in flat arrays.

    `ids` int32 holds the tokens of all samples one after the other; those of sample i are `ids[ends[i]:ends[i + 1]]`.
    `ends` is int64 (samples + 1,). `prompt_lengths` int64 (samples,) and `row_ids` have `Sample.prompt_length` and
    `Sample.row_id` of each sample.
    """

    def __init__(
        self,
        ids: np.ndarray[Any, Any],
        ends: np.ndarray[Any, Any],
        prompt_lengths: np.ndarray[Any, Any],
        row_ids: Sequence[str],
    ) -> None:
        self.ids, self.ends, self.prompt_lengths, self.row_ids = ids, ends, prompt_lengths, list(row_ids)

    def __len__(self) -> int:
        return len(self.prompt_lengths)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        number = range(len(self))[index]
        return Sample(
            self.row_ids[number],
            self.ids[self.ends[number] : self.ends[number + 1]],
            int(self.prompt_lengths[number]),
        )

    @property
    def lengths(self) -> list[int]:
        """Number of tokens of each sample."""
        return [int(n) for n in np.diff(self.ends)]

    @property
    def supervised(self) -> int:
        """Number of supervised tokens of all samples."""
        return int((np.diff(self.ends) - np.maximum(self.prompt_lengths, 1)).sum())


@dataclass(frozen=True, slots=True)
class RowNote:
    """The id of a row that was rejected or truncated, and the reason; never the row's text."""

    row_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class TokenizedRows:
    """Rows as tokens. Every row is in `samples` or `rejected`; truncated rows are in `samples` and in `cut`."""

    samples: Samples
    rejected: list[RowNote]
    cut: list[RowNote]


def encode(
    rows: Sequence[Row],
    tokenizer: Any,
    *,
    max_tokens: int,
    loss: Literal["answer", "all"],
    overlong: Literal["drop", "cut"] = "drop",
) -> TokenizedRows:
    """Tokenise `rows` as prompt, answer and one EOS, with BOS if the tokenizer adds it.

    With `loss` "answer", the tokens of the prompt are not supervised; with "all", they are.

    Rejected are rows of more than `max_tokens` tokens (with `overlong` "cut" only those whose prompt leaves no room for
    an answer), rows whose prompt and answer share a token, rows without an answer token, and rows with BOS, EOS or
    another control token written out in their text. A truncated row keeps its EOS, so that it still trains the model to
    stop. Raises UserError if the tokenizer has no EOS, because a model trained without EOS never stops.
    """
    eos = tokenizer.eos_token_id
    if eos is None:
        raise UserError("the tokenizer has no end-of-text token; set eos_token in its tokenizer_config.json")
    prompts = [render(row.instruction, row.input) for row in rows]
    texts = [prompt + row.output.strip() for prompt, row in zip(prompts, rows, strict=True)]
    # Two batch calls, because a fast tokenizer uses all cores for a batch.
    prompt_ids, text_ids = _token_ids(tokenizer, prompts), _token_ids(tokenizer, texts)
    marks, control = {eos, tokenizer.bos_token_id}, control_tokens(tokenizer)
    kept: list[list[int]] = []
    prompt_lengths, row_ids = [], []
    rejected, cut = list[RowNote](), list[RowNote]()
    for row, whole, prompt, text in zip(rows, texts, prompt_ids, text_ids, strict=True):
        # Some tokenizers add EOS to every text, to the prompt too.
        head = prompt[:-1] if len(prompt) > 1 and prompt[-1] == eos else prompt
        ids = text if text[-1] == eos else [*text, eos]
        length = len(ids)
        if overlong == "cut" and length > max_tokens > len(head) + 1:
            ids = [*ids[: max_tokens - 1], eos]
        # Unknown text and single bytes can have control tokens too, so the text is searched for the token's own.
        written = any(control[number] in whole for number in control.keys() & set(ids[:-1]))
        reason = _rejection_reason(head, ids, marks, max_tokens)
        if reason := reason or ("a control token is written out in the text" if written else None):
            rejected.append(RowNote(row.id, reason))
            continue
        if len(ids) < length:
            cut.append(RowNote(row.id, f"{length} tokens, cut to max_tokens={max_tokens}"))
        kept.append(ids)
        prompt_lengths.append(len(head) if loss == "answer" else 0)
        row_ids.append(row.id)
    ends = np.concatenate([[0], np.cumsum([len(ids) for ids in kept], dtype=np.int64)]).astype(np.int64)
    flat = np.fromiter(chain.from_iterable(kept), np.int32, count=int(ends[-1]))
    return TokenizedRows(Samples(flat, ends, np.array(prompt_lengths, np.int64), row_ids), rejected, cut)


def control_tokens(tokenizer: Any) -> dict[int, str]:
    """Return the text of each control token by its id: those that mark turns, padding, or the ends of a text."""
    added = getattr(tokenizer, "added_tokens_decoder", {})
    return {number: token.content for number, token in added.items() if token.special}


def adds_bos(tokenizer: Any) -> bool:
    """Return whether the tokenizer adds BOS to every text."""
    ids = _token_ids(tokenizer, ["a"])[0]
    return tokenizer.bos_token_id is not None and ids[0] == tokenizer.bos_token_id


def _token_ids(tokenizer: Any, texts: list[str]) -> list[list[int]]:
    # verbose=False: too long texts are counted and reported by `encode`.
    return list(tokenizer(texts, return_attention_mask=False, verbose=False)["input_ids"]) if texts else []


def _rejection_reason(head: list[int], ids: list[int], marks: set[int | None], max_tokens: int) -> str | None:
    if len(ids) > max_tokens:
        return f"{len(ids)} tokens, more than max_tokens={max_tokens}"
    if ids[: len(head)] != head:
        return "prompt and answer share a token"
    if len(ids) - len(head) < 2:
        return "no answer token to learn"
    if not marks.isdisjoint(ids[1:-1]):
        return "BOS or EOS is written out in the text"
    return None


def encode_cached(rows: Sequence[Row], tokenizer: Any, **options: Any) -> TokenizedRows:
    """Return `encode(rows, tokenizer, **options)`, from the cache if possible.

    The cache is not used for a tokenizer without a fast backend, which cannot be hashed, nor where it cannot be
    written.
    """
    key = _cache_key(rows, tokenizer, options)
    if key is None or not rows:
        return encode(rows, tokenizer, **options)
    folder = paths.cache() / "tokens" / key
    if (cached := _read_cache(folder)) is not None:
        return cached
    encoded = encode(rows, tokenizer, **options)
    # On a full or read-only disk the next start tokenises again.
    with suppress(OSError):
        _write_cache(folder, encoded)
    return encoded


def _cache_key(rows: Sequence[Row], tokenizer: Any, options: dict[str, Any]) -> str | None:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return None
    texts = sha256_json([[row.id, render(row.instruction, row.input), row.output] for row in rows])
    own = [sha256_bytes(backend.to_str().encode()), tokenizer.bos_token_id, tokenizer.eos_token_id]
    # This file is part of the key, because token ids depend on its code.
    return sha256_json([texts, own, options, PROMPT_ID, sha256_file(Path(__file__))])


def _write_cache(folder: Path, encoded: TokenizedRows) -> None:
    samples = encoded.samples
    with new_directory(folder, replace=True) as new:
        for key in ("ids", "ends", "prompt_lengths"):
            np.save(new / f"{key}.npy", getattr(samples, key), allow_pickle=False)
        notes = {key: [[n.row_id, n.reason] for n in getattr(encoded, key)] for key in ("rejected", "cut")}
        write_json(new / "rows.json", {"row_ids": samples.row_ids, **notes})


def _read_cache(folder: Path) -> TokenizedRows | None:
    """Return a cache entry, or None if it is missing or damaged."""
    try:
        rows = read_json(folder / "rows.json") if folder.is_dir() else None
        if rows is None:
            return None
        # Memory-mapped: the pages of rows that no step needs are never read.
        ids = np.load(folder / "ids.npy", mmap_mode="r", allow_pickle=False)
        ends, prompt_lengths = (
            np.load(folder / f"{key}.npy", allow_pickle=False) for key in ("ends", "prompt_lengths")
        )
    except (OSError, ValueError, EOFError, UserError):
        return None
    notes = {key: [RowNote(*note) for note in rows[key]] for key in ("rejected", "cut")}
    return TokenizedRows(Samples(ids, ends, prompt_lengths, rows["row_ids"]), **notes)


PREVIEW_ROWS = 3


def print_preview(samples: Sequence[Sample], tokenizer: Any, console: Console) -> None:
    """Print the first `PREVIEW_ROWS` samples: prompt grey, supervised tokens green, special tokens in reverse video."""
    console.print(
        Text.assemble(
            ("prompt", "dim"), "  ", ("trained on", "bold green"), "  ", ("special token", "reverse")
        )
    )
    for sample in samples[:PREVIEW_ROWS]:
        # Text instead of str: rich would parse brackets in a foreign id.
        title = Text(f"row {sample.row_id}: {sample.length} tokens, {sample.supervised} of them trained on")
        console.print(Rule(title, align="left", style="dim"), width=min(console.width, 80))
        console.print(coloured_text(sample, tokenizer))


def coloured_text(sample: Sample, tokenizer: Any) -> Text:
    """Return the sample's text with the loss mask in colour.

    Tokens of one colour are decoded together, because a character may span several tokens.
    """
    special = set(tokenizer.all_special_ids)
    text, run = Text(), list[int]()
    style = ""
    for position, token in enumerate(sample.ids.tolist()):
        new = "bold green" if position >= max(sample.prompt_length, 1) else "dim"
        new += " reverse" if token in special else ""
        if run and new != style:
            text.append(tokenizer.decode(run), style)
            run = []
        run, style = [*run, token], new
    text.append(tokenizer.decode(run), style)
    return text
