"""A tiny Llama, its tokenizer and some rows: every test trains for real, in seconds."""

from __future__ import annotations

import io
import json
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

# Before torch: threads that wait by spinning fight with whatever else the machine does.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import pytest
from rich.console import Console

from medalpaca_data.core.offline import go_offline
from medalpaca_data.core.row import Row

go_offline()

DRUGS = ("aspirin", "heparin", "insulin", "digoxin", "morphine", "naloxone", "warfarin", "atropine")
USES = (
    "pain",
    "clots",
    "diabetes",
    "heart failure",
    "severe pain",
    "opioid overdose",
    "thrombosis",
    "bradycardia",
)


def make_rows() -> list[dict[str, str]]:
    """32 rows in 8 groups, of different lengths."""
    questions = (
        "What is {} used for?",
        "{}: what is the use?",
        "Why would a doctor give {} to a patient?",
        "{}?",
    )
    return [
        {
            "instruction": "Answer.",
            "input": question.format(drug),
            "output": f"It treats {use}.",
            "group": drug,
        }
        for drug, use in zip(DRUGS, USES, strict=True)
        for question in questions
    ]


@pytest.fixture(scope="session")
def tokenizer() -> Any:
    from medalpaca_train.model import make_tokenizer

    return make_tokenizer(" ".join(row.values()) for row in make_rows())


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory, tokenizer: Any) -> Path:
    """A model directory: Llama, hidden size 32, 2 layers."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    folder = tmp_path_factory.mktemp("base")
    torch.manual_seed(1)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=2,
            max_position_embeddings=256,
        )
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def make_statements(number: int, seed: int, verb: str) -> list[dict[str, str]]:
    """Longer rows: six sentences, each of any drug and any use. What can be learned of them is how they are said."""
    draw = random.Random(seed)
    return [
        {
            "instruction": "Say what treats what.",
            "input": "",
            "output": " ".join(f"{draw.choice(DRUGS)} {verb} {draw.choice(USES)}." for _ in range(6)),
        }
        for _ in range(number)
    ]


@pytest.fixture(scope="session")
def statements(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What an adapter learns on `wide`: other words for the same."""
    file = tmp_path_factory.mktemp("statements") / "rows.json"
    file.write_text(json.dumps(make_statements(128, 0, "gives relief from")))
    return file


@pytest.fixture(scope="session")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base whose layers are whole blocks of 64, so that bitsandbytes can do all it does. It has learned
    something: rounding does to drawn weights what it never does to learned ones."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from medalpaca_train.model import make_tokenizer
    from medalpaca_train.recipe import Recipe
    from medalpaca_train.run import train

    folder = tmp_path_factory.mktemp("wide")
    rows = make_statements(64, 1, "treats")
    others = make_statements(8, 2, "gives relief from")
    tokenizer = make_tokenizer(text for row in (*rows, *others, *make_rows()) for text in row.values())
    torch.manual_seed(1)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=2,
            num_attention_heads=2,
            max_position_embeddings=256,
        )
    )
    model.save_pretrained(folder / "drawn")
    tokenizer.save_pretrained(folder / "drawn")
    (folder / "rows.json").write_text(json.dumps(rows))
    recipe = Recipe(
        model=str(folder / "drawn"),
        data=str(folder / "rows.json"),
        out=str(folder / "base"),
        method="full",
        loss="all",
        validation=0,
        max_tokens=128,
        batch_tokens=512,
        epochs=6,
        learning_rate=5e-3,
    )
    return train("base", recipe, Console(file=io.StringIO()))


@pytest.fixture(scope="session")
def adapters(
    tmp_path_factory: pytest.TempPathFactory, wide: Path, statements: Path
) -> dict[str | None, Path]:
    """The same run three times, in bf16: on the base as it is, in 4 bits and in 8."""
    from medalpaca_train.recipe import Recipe
    from medalpaca_train.run import train

    folder = tmp_path_factory.mktemp("adapters")
    runs: dict[str | None, Path] = {}
    for kind in (None, "nf4", "int8"):
        recipe = Recipe(
            model=str(wide),
            data=str(statements),
            out=str(folder / str(kind)),
            quantization=kind,
            precision="bf16",
            validation=0.5,
            max_tokens=128,
            batch_tokens=512,
            epochs=3,
            learning_rate=1e-2,
            eval_every=10,
            lora={"r": 8, "alpha": 16},
        )
        runs[kind] = train("test", recipe, Console(file=io.StringIO()))
    return runs


@pytest.fixture
def rows() -> list[Row]:
    return [Row(**row) for row in make_rows()]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    file = tmp_path / "rows.json"
    file.write_text(json.dumps(make_rows()))
    return file


@pytest.fixture
def settings(base: Path, data: Path, tmp_path: Path) -> dict[str, Any]:
    """A recipe for a run of 16 steps that visibly learns."""
    return {
        "model": str(base),
        "data": str(data),
        "out": str(tmp_path / "run"),
        "validation": 0.25,
        "max_tokens": 128,
        "batch_tokens": 256,
        "epochs": 4,
        "learning_rate": 5e-3,
        "save_every": 4,
        "lora": {"r": 4, "alpha": 8},
    }


@pytest.fixture
def go(settings: dict[str, Any]) -> Callable[..., tuple[Path, str]]:
    """Train with changed settings; returns the run directory and everything that was said."""
    from medalpaca_train.recipe import Recipe
    from medalpaca_train.run import train

    def call(**changes: Any) -> tuple[Path, str]:
        screen = io.StringIO()
        run = train("test", Recipe(**(settings | changes)), Console(file=screen, width=200))
        return run, screen.getvalue()

    return call
