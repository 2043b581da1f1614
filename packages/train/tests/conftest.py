"""Fixtures: a tiny Llama, its tokenizer, rows, and functions that train for real in seconds."""

from __future__ import annotations

import io
import json
import os
import random
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

# Before torch is imported: busy-waiting threads slow down everything else on the machine.
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
    """Return 32 rows in 8 groups, of different lengths."""
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


def make_statements(number: int, seed: int, verb: str) -> list[dict[str, str]]:
    """Return longer rows of six sentences, each about a random drug and use; only the wording can be learned."""
    draw = random.Random(seed)
    return [
        {
            "instruction": "Say what treats what.",
            "input": "",
            "output": " ".join(f"{draw.choice(DRUGS)} {verb} {draw.choice(USES)}." for _ in range(6)),
        }
        for _ in range(number)
    ]


def save_llama(folder: Path, tokenizer: Any, hidden_size: int) -> None:
    """Save a Llama of two layers with random weights, and its tokenizer."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(1)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=hidden_size,
        intermediate_size=2 * hidden_size,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=256,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def train_recipe(**values: Any) -> tuple[Path, str]:
    """Train a recipe; return the run directory and everything that was printed."""
    from medalpaca_train.recipe import Recipe
    from medalpaca_train.run import train

    screen = io.StringIO()
    run = train(Recipe(**values), name="test", console=Console(file=screen, width=200))
    return run, screen.getvalue()


@pytest.fixture(scope="session")
def tokenizer() -> Any:
    from medalpaca_train.model import make_pocket_tokenizer

    return make_pocket_tokenizer(" ".join(row.values()) for row in make_rows())


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory, tokenizer: Any) -> Path:
    """A model directory with random weights, hidden size 32."""
    folder = tmp_path_factory.mktemp("base")
    save_llama(folder, tokenizer, 32)
    return folder


@pytest.fixture(scope="session")
def statements(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The rows on which adapters of `trained_base` are trained: other wording than its own rows."""
    file = tmp_path_factory.mktemp("statements") / "rows.json"
    file.write_text(json.dumps(make_statements(128, 0, "gives relief from")))
    return file


@pytest.fixture(scope="session")
def trained_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained model whose layers are multiples of 64 wide, as bitsandbytes needs.

    Rounding changes random weights in ways in which it never changes trained ones.
    """
    from medalpaca_train.model import make_pocket_tokenizer

    folder = tmp_path_factory.mktemp("trained_base")
    rows = make_statements(64, 1, "treats")
    others = make_statements(8, 2, "gives relief from")
    tokenizer = make_pocket_tokenizer(text for row in (*rows, *others, *make_rows()) for text in row.values())
    save_llama(folder / "random", tokenizer, 64)
    (folder / "rows.json").write_text(json.dumps(rows))
    return train_recipe(
        model=str(folder / "random"),
        data=str(folder / "rows.json"),
        out=str(folder / "base"),
        method="full",
        loss="all",
        validation=0,
        max_tokens=128,
        batch_tokens=512,
        epochs=6,
        learning_rate=5e-3,
    )[0]


@pytest.fixture(scope="session")
def adapters(
    tmp_path_factory: pytest.TempPathFactory, trained_base: Path, statements: Path
) -> dict[str | None, Path]:
    """The same LoRA run three times in bf16: on the base not quantised, in 4 bits and in 8 bits."""
    folder = tmp_path_factory.mktemp("adapters")
    return {
        kind: train_recipe(
            model=str(trained_base),
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
        )[0]
        for kind in (None, "nf4", "int8")
    }


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
    """A recipe for a run of 16 steps that lowers the loss visibly."""
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
def run_training(settings: dict[str, Any]) -> Callable[..., tuple[Path, str]]:
    """Train `settings` with changes; return the run directory and everything that was printed."""
    return lambda **changes: train_recipe(**(settings | changes))


@contextmanager
def change_step(number: int, action: Callable[[], None]) -> Iterator[None]:
    """Call `action` before step `number` (from 0) of every training in the block."""
    from medalpaca_train import loop

    step = loop.Trainer._step

    def changed(self: loop.Trainer, at: int, *others: Any) -> dict[str, Any]:
        if at == number:
            action()
        return step(self, at, *others)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop.Trainer, "_step", changed)
        yield


@pytest.fixture
def before_step() -> Callable[[int, Callable[[], None]], AbstractContextManager[None]]:
    return change_step


class KilledError(BaseException):
    """Represents a killed process: no code catches it."""


@pytest.fixture
def killed_at() -> Callable[[int], AbstractContextManager[None]]:
    """Return a function of a step: the block ends at that step, as if its process were killed there."""

    def die() -> None:
        raise KilledError

    @contextmanager
    def block(number: int) -> Iterator[None]:
        with pytest.raises(KilledError), change_step(number, die):
            yield

    return block
