"""Rows to token ids, with the place where the answer starts.

The ids are those of the whole text in one piece, as lm-eval's `_encode_pair` makes them, so that an exam asks in
the same tokens in which training taught.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Literal

import numpy as np

from medalpaca_data.ground.errors import UserError
from medalpaca_data.prompt import render
from medalpaca_data.row import Row


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
