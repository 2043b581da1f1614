# /// script
# requires-python = ">=3.11,<3.14"
# dependencies = ["medalpaca-train", "trl>=1.16", "datasets>=4"]
#
# [tool.uv]
# exclude-newer = "2026-11-20T00:00:00Z"
#
# [tool.uv.sources]
# medalpaca-train = { path = "../packages/train", editable = true }
# ///
"""Useful tokens per second of ours, HF Trainer and TRL on the same rows, the same model, the same steps.

    uv run --script benchmarks/train.py            speed, 32k vocabulary and preparation on one CPU thread
    uv run --script benchmarks/train.py --quick    the same with fewer batches, under 15 minutes
    uv run --script benchmarks/train.py --gpu      a LoRA run of an 8B-shaped model with random weights

The peers are dependencies of this script alone; uv gives it an environment of its own.
"""

from __future__ import annotations

import os

os.environ.update({"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "RAYON_NUM_THREADS": "1"})
os.environ.update(
    {"HF_DATASETS_DISABLE_PROGRESS_BARS": "1", "TQDM_DISABLE": "1", "TRL_EXPERIMENTAL_SILENCE": "1"}
)

import argparse
import contextlib
import dataclasses
import io
import json
import statistics
import tarfile
import tempfile
import time
import warnings
import xml.etree.ElementTree as ET
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from medalpaca_data.ground import places
from medalpaca_data.prompt import render
from medalpaca_data.row import Row
from medalpaca_train.hardware.device import Hardware
from medalpaca_train.hardware.flops import peak, work_of
from medalpaca_train.loop import Trainer, make_optimizer
from medalpaca_train.loss.exactness import choose_objective
from medalpaca_train.recipe import Lora, Recipe
from medalpaca_train.record.checkpoint import Progress
from medalpaca_train.record.journal import read_journal
from medalpaca_train.rows.plan import make_plan
from medalpaca_train.rows.tokens import Sample, encode
from medalpaca_train.stop import StopRequest

POOL, ROWS, LONGEST = 8_000, 16, 1_024
LEARNED = 0.57  # share of a row's tokens
BUDGET = 4_096  # tokens of a packed step: what 16 rows hold on average

CONSOLE = Console()


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
            work_of(model),
            peak(setting.hardware.device, setting.hardware.compute_dtype),
        )
        start, quiet = Progress(0, 0.0, plan.sha256, "", None), Console(file=io.StringIO())
        measured = measure(setting, model, used, lambda: trainer.fit(start, quiet, StopRequest()))
        first = next(line["loss"] for line in read_journal(run / "metrics.jsonl") if line["kind"] == "train")
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
        work_of(model).of((sample.length, sample.supervised) for sample in used),
        torch.cuda.max_memory_allocated() if on_gpu else 0,
    )


def as_labels(sample: Sample) -> dict[str, list[int]]:
    ids = sample.ids.tolist()
    start = max(sample.given, 1)
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


# ---- sections


def check_first_losses(setting: Setting, names: Sequence[str]) -> dict[str, float]:
    """The loss of the first step on the same 16 rows, which has to be the same number everywhere."""
    pool = make_pool(setting.vocabulary, 7)[: setting.rows]
    one = Setting(
        setting.vocabulary, setting.make, setting.hardware, 1, len(pool), LONGEST * len(pool), setting.lora
    )
    losses = {name: ARMS[name](one, pool, 0)[1] for name in names}
    for name, loss in losses.items():
        if abs(loss - losses["ours"]) > 1e-3 * losses["ours"]:
            raise SystemExit(f"first losses differ: {name} {loss}, ours {losses['ours']}")
    return losses


def compare(title: str, setting: Setting, names: Sequence[str], repeats: int) -> dict[str, Any]:
    """All arms in turn, `repeats` times: what slows the machine for a while slows them all."""
    runs: dict[str, list[Measured]] = {name: [] for name in names}
    for repeat in range(repeats):
        pool = make_pool(setting.vocabulary, repeat)
        for name in names:
            runs[name].append(ARMS[name](setting, pool, repeat)[0])
            last = runs[name][-1]
            CONSOLE.print(f"  {name}: {last.tokens / last.seconds:,.0f} tokens/s", style="dim")
    unit = "s" if setting.hardware.device.type == "cuda" else "CPU s"
    table = Table("arm", f"useful tokens/{unit}", "spread", "ours is", "MFU", "peak GB", title=title)
    rate = peak(setting.hardware.device, setting.hardware.compute_dtype)
    results = {}
    for name in names:
        speeds = sorted(run.tokens / run.seconds for run in runs[name])
        # Of paired runs, since the machine was the same for both.
        ratios = sorted(
            (a.tokens / a.seconds) / (b.tokens / b.seconds)
            for a, b in zip(runs["ours"], runs[name], strict=True)
        )
        results[name] = {
            "tokens_per_s": statistics.median(speeds),
            "all": speeds,
            "ours_is": statistics.median(ratios),
            "mfu": statistics.median(run.flops / run.seconds / rate for run in runs[name]),
            "peak_gb": max(run.peak_bytes for run in runs[name]) / 1e9,
        }
        one = results[name]
        table.add_row(
            name,
            f"{one['tokens_per_s']:,.0f}",
            f"{speeds[0]:,.0f} - {speeds[-1]:,.0f}",
            f"{one['ours_is']:.2f} x ({ratios[0]:.2f} - {ratios[-1]:.2f})",
            f"{100 * one['mfu']:.0f} %",
            f"{one['peak_gb']:.1f}" if one["peak_gb"] else "",
        )
    CONSOLE.print(table)
    return results


def prepare(shared: Path, repeats: int) -> dict[str, Any]:
    """CPU seconds from 17,407 real rows to token ids with their loss mask, in one thread, with GPT-2's tokenizer."""
    from datasets.utils.logging import disable_progress_bar
    from transformers import GPT2TokenizerFast

    disable_progress_bar()
    rows = real_rows(shared)
    folder = shared / "data" / "weights" / "gpt2_tokenizer"
    times: dict[str, list[float]] = {"ours": [], "trl": []}
    tokens = 0
    for _ in range(repeats):
        tokenizer = GPT2TokenizerFast(
            str(folder / "encoder.json"), str(folder / "vocab.bpe"), pad_token="<|endoftext|>"
        )
        began = time.process_time()
        samples = encode(rows, tokenizer, max_tokens=10**6, loss="answer").samples
        times["ours"].append(time.process_time() - began)
        tokens = len(samples.ids)

        with contextlib.redirect_stderr(io.StringIO()):
            empty = trl_start(rows[:8], tokenizer)
            times["trl"].append(trl_start(rows, tokenizer) - empty)
    table = Table(
        "arm", "CPU s", "spread", "share of TRL", title=f"preparing {len(rows):,} rows, {tokens:,} tokens"
    )
    theirs = statistics.median(times["trl"])
    for name, seconds in times.items():
        middle = statistics.median(seconds)
        spread = f"{min(seconds):.1f} - {max(seconds):.1f}"
        table.add_row(name, f"{middle:.1f}", spread, f"{middle / theirs:.2f}")
    CONSOLE.print(table)
    return {"rows": len(rows), "tokens": tokens, **times}


def trl_start(rows: list[Row], tokenizer: Any) -> float:
    """CPU seconds in which TRL's trainer starts, most of which is preparation."""
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    pairs = [{"prompt": render(row.instruction, row.input), "completion": row.output} for row in rows]
    with tempfile.TemporaryDirectory() as cache:
        settings = SFTConfig(cache, use_cpu=True, bf16=False, report_to=[], max_length=None)
        data = Dataset.from_list(pairs)
        began = time.process_time()
        SFTTrainer(small_llama(64), settings, train_dataset=data, processing_class=tokenizer)
        return time.process_time() - began


def real_rows(shared: Path) -> list[Row]:
    """MedQuAD's answered questions and PubMedQA's labelled ones."""
    rows = []
    (archive,) = (shared / "data" / "medquad").glob("*.tar.gz")
    with tarfile.open(archive) as tar:
        for member in tar:
            file = tar.extractfile(member) if member.name.endswith(".xml") else None
            for pair in ET.parse(file).iter("QAPair") if file else ():  # noqa: S314 - published files
                question, answer = ((pair.findtext(tag) or "").strip() for tag in ("Question", "Answer"))
                if answer:
                    rows.append(Row(instruction="Answer this question.", input=question, output=answer))
    for one in json.loads((shared / "data" / "pubmedqa" / "ori_pqal.json").read_text()).values():
        text = "\n".join(one["CONTEXTS"])
        rows.append(Row(instruction=one["QUESTION"], input=text, output=one["LONG_ANSWER"]))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="fewer batches")
    parser.add_argument(
        "--gpu", action="store_true", help="the 8B-shaped LoRA run; needs about 80 GB of GPU memory"
    )
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=[*ARMS], help="ours is always among them")
    parser.add_argument("--only", choices=["speed", "vocabulary", "preparation"], help="one section")
    parser.add_argument("--out", type=Path, help="also write the figures as JSON")
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    import transformers

    transformers.logging.set_verbosity_error()
    results: dict[str, Any] = {}
    arms = ["ours", *(name for name in options.arms if name != "ours")]
    few = options.quick
    if options.gpu:
        if not torch.cuda.is_available():
            raise SystemExit("--gpu: no CUDA device here")
        gpu = Hardware(torch.device("cuda", 0), "bf16", "")
        big = Setting(128_256, llama_8b, gpu, 8 if few else 20, 32, 8_192, lora=True)
        results["8B LoRA"] = compare("8B-shaped LoRA, bf16", big, arms, 1 if few else options.repeats)
        small = dataclasses.replace(big, make=lambda: in_4_bits(llama_8b()))
        results["8B QLoRA"] = compare("8B-shaped LoRA on NF4", small, ["ours"], 1 if few else options.repeats)
    else:
        torch.set_num_threads(1)
        cpu = Hardware(torch.device("cpu"), "fp32", "")
        if options.only in (None, "speed"):
            small = Setting(8_192, lambda: small_llama(8_192), cpu, 4 if few else 16)
            results["first losses"] = check_first_losses(small, arms)
            CONSOLE.print(
                "first losses:", ", ".join(f"{k} {v:.4f}" for k, v in results["first losses"].items())
            )
            results["8k vocabulary"] = compare("vocabulary 8,192", small, arms, options.repeats)
        if options.only in (None, "vocabulary"):
            large = Setting(32_000, lambda: small_llama(32_000), cpu, 4 if few else 16)
            some = [name for name in arms if not name.startswith("trl")]
            results["32k vocabulary"] = compare(
                "vocabulary 32,000", large, some, 1 if few else options.repeats
            )
        if options.only in (None, "preparation"):
            if shared := places.shared():
                results["preparation"] = prepare(shared, 1 if few else options.repeats)
            else:
                CONSOLE.print("preparation: skipped, no real rows here (MEDALPACA_SHARED)")
    if options.out:
        options.out.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
