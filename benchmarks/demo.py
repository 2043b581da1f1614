# /// script
# requires-python = ">=3.11"
# dependencies = [
#     "medalpaca-demo",
#     "rich>=14",
# ]
#
# [tool.uv]
# exclude-newer = "2026-11-20T00:00:00Z"
#
# [tool.uv.sources]
# medalpaca-data = { path = "../packages/data", editable = true }
# medalpaca-demo = { path = "../apps/demo", editable = true }
# medalpaca-evalharness = { path = "../packages/evalharness", editable = true }
# medalpaca-train = { path = "../packages/train", editable = true }
# ///
"""The demo's engine beside the usual side-by-side app, under the same users in one run.

    uv run --script benchmarks/demo.py [--quick] [--repeats N] [--json FILE] [--users N] [--rounds N]

The usual app: two models in memory, and for every question two threads, each with `generate` and a
`TextIteratorStreamer`. Ours also rates the options, which the usual one does not. Both models are random (a Llama of
four layers and a LoRA) and have no token that ends an answer, so that the work is the same; each side runs in a process
of its own, and counting begins when models are loaded and warm. The sides take turns; ratios of neighbouring runs are
the finding.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import comparison

ARMS = {"usual": "two models, two threads a question", "ours": "one engine, mixed batches"}
OPTIONS = ("A", "B", "C", "D", "E")
VOCABULARY, PROMPT_WORDS = 2000, 90
Figures = dict[str, float]
Ask = Callable[[str, int], Iterator[int]]  # prompt, tokens per answer -> tokens of both answers so far


def make_pair(where: Path, width: int) -> None:
    """A random base, a LoRA with weights in both halves, and a tokenizer of whole words."""
    import torch
    from peft import LoraConfig, get_peft_model
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    words = ["<s>", "</s>", "<unk>", *OPTIONS, *(f"w{n}" for n in range(VOCABULARY - 8))]
    raw = Tokenizer(models.WordLevel({word: n for n, word in enumerate(words)}, unk_token="<unk>"))
    raw.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, bos_token="<s>")
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=width,
        intermediate_size=3 * width,
        num_hidden_layers=4,
        num_attention_heads=4,
        max_position_embeddings=1024,
        bos_token_id=0,
        eos_token_id=None,  # so that every answer has the same length
    )
    base = LlamaForCausalLM(config)
    base.save_pretrained(where / "base")
    lora = LoraConfig(r=16, target_modules="all-linear", init_lora_weights=False, task_type="CAUSAL_LM")
    get_peft_model(base, lora).save_pretrained(where / "run")
    tokenizer.save_pretrained(where / "base")


def ours(where: Path) -> tuple[Ask, list[Any]]:
    """The demo's engine, watched as the page watches it."""
    from medalpaca_demo.job import Request
    from medalpaca_demo.models import check_pair, start_engine

    engine = start_engine(check_pair(where / "base", where / "run")).wait_until_loaded()

    def ask(prompt: str, tokens: int) -> Iterator[int]:
        job = engine.submit(Request(prompt=prompt, choices=OPTIONS, scoring="letter", max_new_tokens=tokens))
        for picture in job.watch():
            yield sum(answer.tokens for answer in picture.answers.values())

    return ask, [engine._pair.model("base")]


def usual(where: Path) -> tuple[Ask, list[Any]]:
    """Two models, a thread and a streamer each; tokens are yielded as they come."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer, TextIteratorStreamer

    tokenizer = AutoTokenizer.from_pretrained(where / "base")
    base = AutoModelForCausalLM.from_pretrained(where / "base").eval()
    tuned = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(where / "base"), where / "run"
    ).eval()

    def ask(prompt: str, tokens: int) -> Iterator[int]:
        inputs = tokenizer(prompt, return_tensors="pt", return_token_type_ids=False)
        streamers = [TextIteratorStreamer(tokenizer, skip_prompt=True) for _ in range(2)]
        for model, streamer in zip((base, tuned), streamers, strict=True):
            settings = {"do_sample": False, "max_new_tokens": tokens, "pad_token_id": 1, "streamer": streamer}
            threading.Thread(target=model.generate, kwargs={**inputs, **settings}).start()
        texts, live = ["", ""], [True, True]
        while any(live):
            for n, streamer in enumerate(streamers):
                if live[n]:
                    try:
                        texts[n] += next(streamer)
                    except StopIteration:
                        live[n] = False
            yield sum(len(text.split()) for text in texts)

    return ask, [base, tuned]


def measure(side: str, where: Path, options: argparse.Namespace) -> Figures:
    """All users at once, each with several questions, one after the other."""
    import torch

    torch.set_num_threads(options.threads)
    ask, models = {"ours": ours, "usual": usual}[side](where)
    for _ in ask("w1 w2 w3", 8):
        pass  # warm
    weights = {tensor.data_ptr(): tensor.nbytes for model in models for tensor in model.parameters()}

    def user(number: int) -> tuple[list[float], int]:
        firsts, total = [], 0
        for turn in range(options.rounds):
            words = ((17 * number + 5 * turn + 3 * n) % 1900 for n in range(PROMPT_WORDS + number))
            began, first, count = time.perf_counter(), None, 0
            for count in ask(" ".join(f"w{n}" for n in words), options.tokens):
                if count and first is None:
                    first = time.perf_counter() - began
            firsts.append(first or 0.0)
            total += count
        return firsts, total

    wall, cpu = time.perf_counter(), time.process_time()
    with ThreadPoolExecutor(options.users) as pool:
        found = list(pool.map(user, range(options.users)))
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    firsts = sorted(first for some, _ in found for first in some)
    tokens = sum(count for _, count in found)
    return {
        "tokens": tokens,
        "tokens_per_second": tokens / wall,
        "cpu_seconds": cpu,
        "first_median": firsts[len(firsts) // 2],
        "first_worst": firsts[-1],
        "weights_mb": sum(weights.values()) / 1e6,
    }


def show(runs: dict[str, list[Figures]], ratios: list[comparison.Comparison]) -> None:
    """A table of the middle run of each, and the ratios."""
    from rich.console import Console
    from rich.table import Table

    table = Table("", "tokens", "tok/s", "CPU s", "first text: median s", "worst s", "weights MB")
    for side, some in runs.items():
        row = {key: statistics.median(run[key] for run in some) for key in some[0]}
        cells = (row["tokens_per_second"], row["cpu_seconds"], row["first_median"], row["first_worst"])
        table.add_row(
            ARMS[side],
            f"{row['tokens']:,.0f}",
            *(f"{cell:.2f}" for cell in cells),
            f"{row['weights_mb']:.1f}",
        )
    console = Console(width=120)
    console.print(table)
    for one in ratios:
        some = sorted(one.ratios)
        middle = statistics.median(some)
        console.print(f"{one.what}: ours is {middle:.2f} x as good ({some[0]:.2f} - {some[-1]:.2f})")


def compare(runs: dict[str, list[Figures]], options: argparse.Namespace) -> list[comparison.Comparison]:
    """What is counted of both, run by run."""
    from importlib.metadata import version

    work = f"{options.users} users, {options.rounds} questions each"
    peer = f"{ARMS['usual']} (transformers {version('transformers')})"

    def both(key: str) -> tuple[list[float], list[float]]:
        ours, theirs = ([run[key] for run in runs[side]] for side in ("ours", "usual"))
        return ours, theirs

    return [
        comparison.of_costs(f"{work}: CPU seconds", peer, *both("cpu_seconds")),
        comparison.of_rates(f"{work}: tokens per second", peer, *both("tokens_per_second")),
        comparison.of_costs(f"{work}: wait for the first text, median", peer, *both("first_median")),
        comparison.of_costs(f"{work}: wait for the first text, worst", peer, *both("first_worst")),
        comparison.of_costs("memory of the weights", peer, *both("weights_mb")),
    ]


def main() -> None:
    """Make the pair, run each side in a process of its own, in turns, and show."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    comparison.add_options(parser)
    parser.add_argument("--users", type=int, default=8)
    parser.add_argument("--rounds", type=int, help="questions per user (default: 3; --quick: 2)")
    parser.add_argument("--tokens", type=int, default=96, help="per answer")
    parser.add_argument("--threads", type=int, default=1, help="of torch")
    parser.add_argument("--width", type=int, default=128, help="of the model")
    parser.add_argument("--side", choices=ARMS, help=argparse.SUPPRESS)
    parser.add_argument("--where", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.rounds = options.rounds or (2 if options.quick else 3)
    if options.side:
        print(json.dumps(measure(options.side, options.where, options)))  # noqa: T201
        return
    offline = {
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": str(options.threads),
        "TRANSFORMERS_VERBOSITY": "error",
    }
    runs: dict[str, list[Figures]] = {side: [] for side in ARMS}
    with TemporaryDirectory() as where:
        make_pair(Path(where), options.width)
        for repeat in range(options.repeats):
            for side in comparison.turns([*ARMS], repeat):
                command = [sys.executable, __file__, *sys.argv[1:], "--side", side, "--where", where]
                done = subprocess.run(
                    command, env={**os.environ, **offline}, check=False, capture_output=True, text=True
                )
                if done.returncode:
                    sys.exit(f"{ARMS[side]}: failed\n{done.stderr}")
                runs[side].append(json.loads(done.stdout.splitlines()[-1]))
                print(f"{ARMS[side]}: {runs[side][-1]['cpu_seconds']:.1f} CPU s", file=sys.stderr)  # noqa: T201
    ratios = compare(runs, options)
    show(runs, ratios)
    comparison.write(options.json, "demo", ratios, runs, ["torch", "transformers", "peft"])


if __name__ == "__main__":
    main()
