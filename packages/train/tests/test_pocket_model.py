"""The pocket model: size, tokenizer, and the same tokenizer in every process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from medalpaca_train.model import CONTEXT_LENGTH, VOCAB_SIZE, make_pocket_model, make_pocket_tokenizer

TEXT = (Path(__file__).parents[1] / "src" / "medalpaca_train" / "model_card.py").read_text()

PROGRAM = """
import sys, hashlib
from pathlib import Path
from medalpaca_train.model import make_pocket_tokenizer
text = Path(sys.argv[1]).read_text()
print(hashlib.sha256(make_pocket_tokenizer(text.splitlines()).backend_tokenizer.to_str().encode()).hexdigest())
"""


def test_about_a_million_parameters() -> None:
    tokenizer = make_pocket_tokenizer([TEXT] * 3)
    model = make_pocket_model(tokenizer, seed=0)
    assert 0.8e6 < sum(weight.numel() for weight in model.parameters()) < 1.3e6
    assert model.config.max_position_embeddings == CONTEXT_LENGTH
    assert model.config.vocab_size == VOCAB_SIZE >= len(tokenizer)


def test_tokenizer_writes_any_text_and_reloads_the_same(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer: Any = make_pocket_tokenizer(TEXT.splitlines())
    make_pocket_model(tokenizer, seed=0).config.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    for text in ("aspirin 5 µg", "naïve\n\n  ∆ 糖尿病", "### Response:\nA"):
        ids = tokenizer(text)["input_ids"]
        assert again(text)["input_ids"] == ids
        assert tokenizer.decode(ids, skip_special_tokens=True) == text
        assert ids.count(tokenizer.bos_token_id) == 1


@pytest.mark.slow
def test_tokenizer_is_the_same_in_every_process(tmp_path: Path) -> None:
    file = tmp_path / "text"
    file.write_text(TEXT)
    # Hash seeds of Python and Rust differ between processes.
    names = {
        subprocess.run(
            [sys.executable, "-c", PROGRAM, str(file)], capture_output=True, text=True, check=True
        ).stdout
        for _ in range(3)
    }
    assert len(names) == 1
