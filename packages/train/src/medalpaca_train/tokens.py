"""Rows to token ids, with the place where the answer starts.

The ids are those of the whole text in one piece, as lm-eval's `_encode_pair` makes them, so that an exam asks in
the same tokens in which training taught.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True)
class Rejected:
    """A row that cannot be trained on, and why. Never its text."""

    row_id: str
    reason: str


def encode(
    rows: Sequence[Row], tokenizer: Any, *, max_tokens: int, loss: Literal["answer", "all"]
) -> tuple[list[Sample], list[Rejected]]:
    """Tokenise `rows`: prompt, answer, EOS once; BOS as the tokenizer itself adds it.

    Every row ends in one of the two lists. Rejected are rows of more than `max_tokens` tokens, rows whose prompt
    and answer share a token, rows without anything to learn, and rows that spell BOS or EOS in their text.
    Raises UserError when the tokenizer has no EOS, because a model trained without one never stops.
    """
    eos = tokenizer.eos_token_id
    if eos is None:
        raise UserError("the tokenizer has no end-of-text token; set eos_token in its tokenizer_config.json")
    prompts = [render(row.instruction, row.input) for row in rows]
    wholes = [prompt + row.output.strip() for prompt, row in zip(prompts, rows, strict=True)]
    # Two batch calls: a fast tokenizer works on all cores, and nothing is encoded row by row.
    prompt_ids, whole_ids = _ids(tokenizer, prompts), _ids(tokenizer, wholes)
    samples: list[Sample] = []
    rejected: list[Rejected] = []
    for row, prompt, whole in zip(rows, prompt_ids, whole_ids, strict=True):
        # Some tokenizers close every text with EOS, the prompt too.
        head = prompt[:-1] if len(prompt) > 1 and prompt[-1] == eos else prompt
        ids = whole if whole[-1] == eos else [*whole, eos]
        if reason := _refusal(head, ids, {eos, tokenizer.bos_token_id}, max_tokens):
            rejected.append(Rejected(row.id, reason))
        else:
            samples.append(Sample(row.id, np.array(ids, np.int32), len(head) if loss == "answer" else 0))
    return samples, rejected


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
    if marks.intersection(ids[1:-1]):
        return "BOS or EOS is written out in the text"
    return None
