"""Rows, models, and the arms of the benchmark on training: one function per way of training on the same rows."""

from __future__ import annotations

import contextlib
import io
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console

from medalpaca_train.checkpoint import Progress
from medalpaca_train.hardware import Hardware, count_flops, peak_flops
from medalpaca_train.loop import StopRequest, Trainer, make_optimizer
from medalpaca_train.loss import choose_objective
from medalpaca_train.packing import make_plan
from medalpaca_train.recipe import Lora, Recipe
from medalpaca_train.tokenize import Sample
from medalpaca_train.trackers import read_metrics

POOL, ROWS, LONGEST = 8_000, 16, 1_024
LEARNED = 0.57  # share of a row's tokens
BUDGET = 4_096  # tokens of a packed step: what 16 rows hold on average


@dataclass(frozen=True, slots=True)
class Setting:
    """What all arms share: the model and where it trains."""

    vocabulary: int
    make: Callable[[], Any]
    hardware: Hardware
    batches: int
    rows: int = ROWS
    budget: int = BUDGET
    lora: bool = False


@dataclass(frozen=True, slots=True)
class Measured:
    """One run of one arm."""

    tokens: int  # padding not counted
    seconds: float  # of the process's CPU time; of wall time on a GPU
    flops: float
    peak_bytes: int = 0


# ---- rows and models


def make_pool(vocabulary: int, seed: int) -> list[Sample]:
    """Rows with the lengths of medical question-answer rows: a lognormal of mean 250, log-deviation 0.7, cut at 1,024
    (17,407 real rows: mean 257, median 185, 99 % below 1,487)."""
    draw = np.random.default_rng(seed)
    lengths = np.clip(draw.lognormal(np.log(250) - 0.7**2 / 2, 0.7, POOL).astype(int), 16, LONGEST)
    return [
        Sample(str(i), draw.integers(3, vocabulary, n).astype(np.int32), int(n * (1 - LEARNED)))
        for i, n in enumerate(lengths)
    ]


def small_llama(vocabulary: int) -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=vocabulary,
            hidden_size=256,
            intermediate_size=688,
            num_hidden_layers=4,
            num_attention_heads=4,
            max_position_embeddings=2 * LONGEST,
        )
    )


def llama_8b() -> Any:
    """The shape of Llama-3.1-8B with random weights, in bf16 on the GPU."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=128_256,
        hidden_size=4_096,
        intermediate_size=14_336,
        num_hidden_layers=32,
        num_attention_heads=32,
        num_key_value_heads=8,
        max_position_embeddings=8_192,
        rope_theta=500_000.0,
    )
    torch.set_default_dtype(torch.bfloat16)
    try:
        with torch.device("cuda"):
            return LlamaForCausalLM(config)
    finally:
        torch.set_default_dtype(torch.float32)


def in_4_bits(model: Any) -> Any:
    """`model` with its linear layers, but the output layer, in NF4 with double quantisation. Not run on a GPU yet."""
    import bitsandbytes as bnb

    for name, module in list(model.named_modules()):
        if type(module) is torch.nn.Linear and module is not model.get_output_embeddings():
            small = bnb.nn.Linear4bit(
                module.in_features, module.out_features, False, torch.bfloat16, quant_type="nf4"
            )
            device = module.weight.device
            small.weight = bnb.nn.Params4bit(module.weight.data, False, quant_type="nf4", module=small).to(
                device
            )
            model.set_submodule(name, small)
    model.is_loaded_in_4bit = True  # by which peft knows
    return model


def adapted(setting: Setting) -> Any:
    """The model of a setting, with the LoRA update where it asks for one."""
    from peft import LoraConfig, get_peft_model

    model = setting.make()
    if not setting.lora:
        return model
    config = LoraConfig(task_type="CAUSAL_LM", r=16, lora_alpha=32, target_modules="all-linear")
    return get_peft_model(model, config)


# ---- arms


def ours(setting: Setting, pool: Sequence[Sample], seed: int) -> tuple[Measured, float]:
    """Our own loop, from its first validation to its last checkpoint."""
    recipe = Recipe(
        model="-",
        data="-",
        method="lora" if setting.lora else "full",
        lora=Lora(r=16, alpha=32),
        max_tokens=LONGEST,
        batch_tokens=setting.budget,
        max_steps=setting.batches,
        learning_rate=1e-4,
        seed=seed,
    )
    model = adapted(setting).to(setting.hardware.device)
    plan = make_plan([sample.length for sample in pool], recipe)
    verdict = choose_objective(model, pool, setting.hardware)
    if verdict.reasons:
        raise SystemExit(str(verdict.reasons))
    used = [pool[i] for step in plan.steps for micro in step for i in micro]
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder)
        trainer = Trainer(
            recipe,
            run,
            model,
            verdict.objective,
            make_optimizer(model, recipe),
            setting.hardware,
            plan,
            pool,
            [],
            count_flops(model),
            peak_flops(setting.hardware.device, setting.hardware.compute_dtype),
        )
        start, quiet = Progress(0, 0.0, plan.sha256, "", None), Console(file=io.StringIO())
        measured = measure(setting, model, used, lambda: trainer.fit(start, quiet, StopRequest()))
        first = next(line["loss"] for line in read_metrics(run / "metrics.jsonl") if line["kind"] == "train")
    return measured, first


def hf_trainer(
    setting: Setting, pool: Sequence[Sample], seed: int, *, grouped: bool
) -> tuple[Measured, float]:
    """`transformers.Trainer` with rows padded to the longest of their batch, at random or grouped by length."""
    import transformers

    batches = hf_batches(setting, pool, seed, grouped)
    used = [pool[i] for batch in batches for i in batch]
    model = adapted(setting)
    with tempfile.TemporaryDirectory() as folder:
        trainer = transformers.Trainer(
            model,
            transformers.TrainingArguments(
                **common(setting, folder), per_device_train_batch_size=setting.rows
            ),
            train_dataset=[as_labels(sample) for sample in used],
            data_collator=pad,
        )
        measured = measure(setting, model, used, trainer.train)
    return measured, first_loss(trainer)


def hf_batches(setting: Setting, pool: Sequence[Sample], seed: int, grouped: bool) -> list[list[int]]:
    """Batches drawn from those that the whole pool would be trained in. The first of a sorted stretch would be its
    longest rows, so they are drawn from all of it."""
    from transformers.trainer_pt_utils import LengthGroupedSampler

    draw = np.random.default_rng(seed)
    if grouped:
        generator = torch.Generator().manual_seed(seed)
        lengths = [sample.length for sample in pool]
        order = list(LengthGroupedSampler(setting.rows, lengths=lengths, generator=generator))
    else:
        order = draw.permutation(len(pool)).tolist()
    batches = [order[i : i + setting.rows] for i in range(0, len(order), setting.rows)]
    return [batches[i] for i in draw.permutation(len(batches))[: setting.batches]]


def trl(setting: Setting, pool: Sequence[Sample], seed: int, *, packing: bool) -> tuple[Measured, float]:
    """`trl.SFTTrainer` as it comes, or with its packing."""
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    model = adapted(setting)
    if packing:
        rows, each = [as_labels(sample) for sample in pool], max(1, setting.budget // LONGEST)
    else:
        batches = hf_batches(setting, pool, seed, grouped=False)
        rows, each = [as_labels(pool[i]) for batch in batches for i in batch], setting.rows
    with tempfile.TemporaryDirectory() as folder:
        settings = common(setting, folder) | {"per_device_train_batch_size": each, "max_length": LONGEST}
        trainer = SFTTrainer(
            model,
            SFTConfig(**settings, packing=packing),
            train_dataset=Dataset.from_list(rows),
            processing_class=make_tokenizer(setting.vocabulary),
        )
        if packing:
            chosen = trainer.train_dataset.shuffle(seed=seed).select(
                range(min(len(trainer.train_dataset), setting.batches * each))
            )
            trainer.train_dataset = chosen
            lengths = [n for row in chosen for n in row.get("seq_lengths") or [len(row["input_ids"])]]
        else:
            lengths = [len(row["input_ids"]) for row in rows]
        used = [Sample("", np.zeros(n, np.int32), int(n * (1 - LEARNED))) for n in lengths]
        measured = measure(setting, model, used, trainer.train)
    return measured, first_loss(trainer)


ARMS: dict[str, Callable[[Setting, Sequence[Sample], int], tuple[Measured, float]]] = {
    "ours": ours,
    "hf-padded": lambda *given: hf_trainer(*given, grouped=False),
    "hf-grouped": lambda *given: hf_trainer(*given, grouped=True),
    "trl": lambda *given: trl(*given, packing=False),
    "trl-packing": lambda *given: trl(*given, packing=True),
}


def common(setting: Setting, folder: str) -> dict[str, Any]:
    """Arguments of both peers: our optimizer and rate, nothing reported or saved."""
    cpu = setting.hardware.device.type == "cpu"
    return {
        "output_dir": folder,
        "max_steps": setting.batches,
        "learning_rate": 1e-4,
        "lr_scheduler_type": "cosine",
        "warmup_steps": 0.03,
        "optim": "adamw_torch_fused",
        "use_cpu": cpu,
        "bf16": setting.hardware.precision == "bf16",
        "dataloader_pin_memory": not cpu,
        "train_sampling_strategy": "sequential",
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": [],
        "disable_tqdm": True,
        "seed": 0,
    }


def measure(setting: Setting, model: Any, used: Sequence[Sample], train: Callable[[], Any]) -> Measured:
    """Run `train`, silently."""
    on_gpu = setting.hardware.device.type == "cuda"
    clock = time.perf_counter if on_gpu else time.process_time
    if on_gpu:
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        began = clock()
        train()
        if on_gpu:
            torch.cuda.synchronize()
        seconds = clock() - began
    return Measured(
        sum(sample.length for sample in used),
        seconds,
        count_flops(model).total((sample.length, sample.supervised) for sample in used),
        torch.cuda.max_memory_allocated() if on_gpu else 0,
    )


def as_labels(sample: Sample) -> dict[str, list[int]]:
    ids = sample.ids.tolist()
    start = max(sample.prompt_length, 1)
    return {"input_ids": ids, "labels": [-100] * start + ids[start:]}


def pad(rows: list[dict[str, list[int]]]) -> dict[str, torch.Tensor]:
    """As transformers' own collator does: to the longest, with a mask."""
    width = max(len(row["input_ids"]) for row in rows)
    fill = {"input_ids": 0, "labels": -100}
    batch = {
        key: torch.tensor([row[key] + [value] * (width - len(row[key])) for row in rows])
        for key, value in fill.items()
    }
    mask = [[1] * len(row["input_ids"]) + [0] * (width - len(row["input_ids"])) for row in rows]
    return batch | {"attention_mask": torch.tensor(mask)}


def first_loss(trainer: Any) -> float:
    return float(next(line["loss"] for line in trainer.state.log_history if "loss" in line))


def make_tokenizer(vocabulary: int) -> Any:
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    words = {"<pad>": 0, "<s>": 1, "</s>": 2} | {f"w{i}": i for i in range(3, vocabulary)}
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.WordLevel(words, unk_token="<pad>")),
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
    )
