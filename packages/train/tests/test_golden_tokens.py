"""Golden tokens of one row in five tokenizer families: one BOS, one EOS at the end, loss mask at the answer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from medalpaca_data.core import paths
from medalpaca_data.core.prompt import render
from medalpaca_data.core.row import Row
from medalpaca_train.tokenize import adds_bos, encode

ROW = Row(instruction="Answer.", input="Why is aspirin given?", output=" For pain. ")
TEXTS = [render(ROW.instruction, ROW.input) + ROW.output.strip()] * 3 + [
    "Heparin: against clots, 5 µg.\n\nIt works."
]


def fast(tokenizer: Any, **tokens: str) -> Any:
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **tokens)


def llama3() -> Any:
    """Byte-level BPE, BOS written by the post-processor."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<|begin_of_text|>", "<|end_of_text|>"]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator(
        TEXTS, trainers.BpeTrainer(vocab_size=400, special_tokens=special, initial_alphabet=alphabet)
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<|begin_of_text|> $A", special_tokens=[("<|begin_of_text|>", 0)]
    )
    return fast(tokenizer, bos_token=special[0], eos_token=special[1])


def llama2() -> Any:
    """Sentencepiece-style BPE: a metaspace prefix, and bytes for unknown characters."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    special = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    # Sentencepiece learns from lines, so a line break is never part of a piece.
    lines = [line for text in TEXTS for line in text.splitlines()]
    tokenizer.train_from_iterator(lines, trainers.BpeTrainer(vocab_size=500, special_tokens=special))
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return fast(tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>")


def qwen() -> Any:
    """Byte-level BPE without any BOS."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator(
        TEXTS, trainers.BpeTrainer(vocab_size=400, special_tokens=["<|im_end|>"], initial_alphabet=alphabet)
    )
    return fast(tokenizer, eos_token="<|im_end|>", pad_token="<|im_end|>")


def t5() -> Any:
    """Unigram pieces; EOS is added to every text, to the prompt too."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    special = ["<pad>", "</s>", "<unk>"]
    tokenizer.train_from_iterator(
        TEXTS, trainers.UnigramTrainer(vocab_size=120, special_tokens=special, unk_token="<unk>")
    )
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return fast(tokenizer, eos_token="</s>", pad_token="<pad>", unk_token="<unk>")


def gpt2() -> Any:
    """The real GPT-2 tokenizer: 50,257 byte-level pieces, one token for BOS and EOS."""
    from transformers import GPT2TokenizerFast

    shared = paths.shared()
    folder = shared / "data" / "weights" / "gpt2_tokenizer" if shared else Path("nowhere")
    if not folder.is_dir():
        pytest.skip("no GPT-2 tokenizer here (MEDALPACA_SHARED)")
    return GPT2TokenizerFast(str(folder / "encoder.json"), str(folder / "vocab.bpe"))


@pytest.mark.parametrize(
    ("make", "bos"),
    [(llama3, True), (llama2, True), (qwen, False), (t5, False), (gpt2, False)],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_golden_tokens(make: Callable[[], Any], bos: bool) -> None:
    tokenizer = make()
    (sample,) = encode([ROW], tokenizer, max_tokens=512, loss="answer").samples
    ids = sample.ids.tolist()
    prompt, answer = ids[: sample.prompt_length], ids[sample.prompt_length :]
    assert adds_bos(tokenizer) == bos
    assert (ids[0] == tokenizer.bos_token_id) == bos
    if bos:
        assert ids.count(tokenizer.bos_token_id) == 1
    assert ids[-1] == tokenizer.eos_token_id
    assert ids.count(tokenizer.eos_token_id) == 1
    # The mask starts at the answer's first token: tokens before it decode to the prompt, tokens after to the answer.
    head = tokenizer.decode(prompt, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    tail = tokenizer.decode(answer, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    expected = render(ROW.instruction, ROW.input)
    # These two families encode white space as a piece of its own and decode it as blanks.
    squeeze = (lambda text: "".join(text.split())) if make in (llama2, t5) else (lambda text: text)
    assert squeeze(head) == squeeze(expected)
    assert squeeze(tail) == squeeze("For pain.")


def test_golden_ids_of_the_real_gpt2() -> None:
    """Ids from OpenAI's published vocabulary (encoder.json, vocab.bpe): `For`, ` pain`, `.`, end of text."""
    (sample,) = encode([ROW], gpt2(), max_tokens=512, loss="answer").samples
    assert sample.ids.tolist()[sample.prompt_length :] == [1890, 2356, 13, 50256]
    assert sample.ids.tolist()[:5] == [21017, 46486, 25, 198, 33706]


def test_truncated_row_keeps_its_start_and_eos(tokenizer: Any) -> None:
    long = Row(instruction="Answer.", input="Why?", output="word " * 400)
    hopeless = Row(instruction="Answer.", input="word " * 400, output="Yes.")
    encoded = encode([long, hopeless], tokenizer, max_tokens=64, loss="answer", overlong="cut")
    (sample,) = encoded.samples
    full = encode([long], tokenizer, max_tokens=10_000, loss="answer").samples[0]
    assert sample.ids.tolist() == [*full.ids.tolist()[:63], tokenizer.eos_token_id]
    assert sample.prompt_length == full.prompt_length
    assert [note.row_id for note in encoded.cut] == [long.id]
    assert encoded.cut[0].reason == f"{full.length} tokens, cut to max_tokens=64"
    assert [note.row_id for note in encoded.rejected] == [hopeless.id]
