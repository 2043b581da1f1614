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

Every one takes --repeats N and --json FILE.

The peers are dependencies of this script alone; uv gives it an environment of its own.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import warnings
from typing import Any

import comparison

# Before torch and tokenizers are imported.
os.environ.update({"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "RAYON_NUM_THREADS": "1"})
os.environ.update(
    {"HF_DATASETS_DISABLE_PROGRESS_BARS": "1", "TQDM_DISABLE": "1", "TRL_EXPERIMENTAL_SILENCE": "1"}
)

ARMS = ("ours", "hf-padded", "hf-grouped", "trl", "trl-packing")
BATCHES = {"speed": 16, "vocabulary": 16}
QUICK_BATCHES = {"speed": 4, "vocabulary": 3}


def main() -> None:
    """Read the command line, run the sections, write down."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    comparison.add_options(parser)
    parser.add_argument(
        "--gpu", action="store_true", help="the 8B-shaped LoRA run; needs about 80 GB of GPU memory"
    )
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=[*ARMS], help="ours is always among them")
    parser.add_argument("--only", choices=[*BATCHES, "preparation"], help="one section")
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    import transformers

    transformers.logging.set_verbosity_error()
    arms = ["ours", *(name for name in options.arms if name != "ours")]
    comparisons, figures = (on_gpu if options.gpu else on_cpu)(options, arms)
    packages = ["numpy", "torch", "transformers", "trl"]
    comparison.write(options.json, "train", comparisons, figures, packages)


def on_gpu(options: argparse.Namespace, arms: list[str]) -> tuple[list[comparison.Comparison], Any]:
    """LoRA runs of an 8B-shaped model, and of it on NF4."""
    import torch
    from train_arms import Setting, in_4_bits, llama_8b
    from train_sections import beside, compare

    from medalpaca_train.hardware import Hardware

    if not torch.cuda.is_available():
        raise SystemExit("--gpu: no CUDA device here")
    gpu = Hardware(torch.device("cuda", 0), "bf16", "")
    big = Setting(128_256, llama_8b, gpu, 8 if options.quick else 20, 32, 8_192, lora=True)
    figures = {"8B LoRA": compare("8B-shaped LoRA, bf16", big, arms, options.repeats)}
    small = dataclasses.replace(big, make=lambda: in_4_bits(llama_8b()))
    figures["8B QLoRA"] = compare("8B-shaped LoRA on NF4", small, ["ours"], options.repeats)
    return beside("LoRA of an 8B shape: tokens per second", figures["8B LoRA"]), figures


def on_cpu(options: argparse.Namespace, arms: list[str]) -> tuple[list[comparison.Comparison], Any]:
    """Speed, the large vocabulary and preparation, on one thread."""
    import torch
    from train_arms import Setting, small_llama
    from train_sections import CONSOLE, beside, check_first_losses, compare, prepare, prepared

    from medalpaca_data.core import paths
    from medalpaca_train.hardware import Hardware

    torch.set_num_threads(1)
    cpu = Hardware(torch.device("cpu"), "fp32", "")
    batches = QUICK_BATCHES if options.quick else BATCHES
    comparisons: list[comparison.Comparison] = []
    figures: dict[str, Any] = {}
    if options.only in (None, "speed"):
        small = Setting(8_192, lambda: small_llama(8_192), cpu, batches["speed"])
        figures["first losses"] = check_first_losses(small, arms)
        CONSOLE.print("first losses:", ", ".join(f"{k} {v:.4f}" for k, v in figures["first losses"].items()))
        figures["8k vocabulary"] = compare("vocabulary 8,192", small, arms, options.repeats)
        comparisons += beside("train, vocabulary 8,192: tokens per CPU second", figures["8k vocabulary"])
    if options.only in (None, "vocabulary"):
        large = Setting(32_000, lambda: small_llama(32_000), cpu, batches["vocabulary"])
        some = [name for name in arms if not name.startswith("trl")]
        figures["32k vocabulary"] = compare("vocabulary 32,000", large, some, options.repeats)
        comparisons += beside("train, vocabulary 32,000: tokens per CPU second", figures["32k vocabulary"])
    if options.only in (None, "preparation"):
        if shared := paths.shared():
            figures["preparation"] = prepare(shared, options.repeats)
            comparisons.append(prepared(figures["preparation"]))
        else:
            CONSOLE.print("preparation: skipped, no real rows here (MEDALPACA_SHARED)")
    return comparisons, figures


if __name__ == "__main__":
    main()
