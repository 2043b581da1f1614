"""The pocket model: a Llama of about a million parameters and its tokenizer, made from nothing but text.

It exists so that the whole chain can run on a machine without a hub and without a GPU. It is no medical model.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

VOCABULARY = 1_024  # byte-level pieces: every text can be written, frequent words are one or two pieces
CONTEXT = 4_096  # tokens; longer than any exam question, so that an exam never has to cut one
BOS, EOS = "<s>", "</s>"


def make_tokenizer(texts: Iterable[str]) -> Any:
    """A byte-level BPE tokenizer of `VOCABULARY` pieces, trained on `texts`. The same texts give the same pieces.

    BOS is added by the post-processor, as real Llama tokenizers do, so that nobody has to remember it.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[BOS, EOS],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    bos = tokenizer.token_to_id(BOS)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", pair=f"{BOS} $A {BOS} $B", special_tokens=[(BOS, bos)]
    )
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer, bos_token=BOS, eos_token=EOS, model_max_length=CONTEXT
    )


def make_model(tokenizer: Any, seed: int) -> Any:
    """A freshly drawn Llama for `tokenizer`; the same seed gives the same weights."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=VOCABULARY,
            hidden_size=128,
            intermediate_size=384,
            num_hidden_layers=4,
            num_attention_heads=4,
            max_position_embeddings=CONTEXT,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            tie_word_embeddings=True,
        )
    )
