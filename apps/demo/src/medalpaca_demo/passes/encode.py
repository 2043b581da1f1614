"""Text to tokens as lm-eval's `HFLM` does it, so that demo and examination ask the same thing."""

from __future__ import annotations

from typing import Any

LM_EVAL_DEFAULT_LENGTH = 2048
UNSET_LENGTH = 1000000000000000019884624838656  # what transformers writes for "no limit known"


def encode(tokenizer: Any, text: str) -> list[int]:
    """`HFLM.tok_encode`: special tokens as the tokenizer adds them, but never a second BOS."""
    prefix = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
    if prefix is not None and text.startswith(tokenizer.decode([prefix])):
        return list(tokenizer.encode(text, add_special_tokens=False))
    return list(tokenizer.encode(text))


def encode_pair(tokenizer: Any, context: str, continuation: str) -> tuple[list[int], list[int]]:
    """`HFLM._encode_pair`: space at the context's end goes to the continuation; encode whole, then cut."""
    bare = context.rstrip()
    whole = encode(tokenizer, context + continuation)
    before = encode(tokenizer, bare)
    return before, whole[len(before) :]


def max_length(config: Any, tokenizer: Any) -> int:
    """The longest input the model takes, looked for where lm-eval looks for it."""
    config = getattr(config, "text_config", None) or config
    for name in ("n_positions", "max_position_embeddings", "n_ctx"):
        if (value := getattr(config, name, None)) is not None:
            return int(value)
    value = getattr(tokenizer, "model_max_length", None)
    return int(value) if value is not None and value != UNSET_LENGTH else LM_EVAL_DEFAULT_LENGTH
