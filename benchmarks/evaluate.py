# /// script
# requires-python = ">=3.11"
# dependencies = ["medalpaca-evalharness", "medalpaca-data"]
#
# [tool.uv]
# exclude-newer = "2026-11-20T00:00:00Z"
#
# [tool.uv.sources]
# medalpaca-evalharness = { path = "../packages/evalharness", editable = true }
# medalpaca-data = { path = "../packages/data", editable = true }
# ///
"""What `--model medalpaca` costs beside lm-eval's own `hf`, on the real USMLE sample.

    MEDALPACA_SHARED=DIR uv run --script benchmarks/evaluate.py [--quick] [--repeats N] [--json FILE] [--only letters]

A random Llama (8 layers of 512, 32,000 pieces), one thread, CPU seconds. hf gets the batch size that serves it best,
found on a sample first; the arms take turns. Letters: all items that can be scored (--quick: a sample). Texts, and
letters in every cyclic order of the options (as `exam stress` asks them): a fixed sample, as many of each step as it
has a share of the items. Every answer is compared as well. Needs no network.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import comparison

# Before torch and tokenizers are imported: one thread each, and nobody is asked for anything.
os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1", RAYON_NUM_THREADS="1")
os.environ.update(TOKENIZERS_PARALLELISM="false", HF_HUB_OFFLINE="1", TQDM_DISABLE="1")

PIECES = 32_000
LLAMA = {
    "hidden_size": 512,
    "intermediate_size": 1376,
    "num_hidden_layers": 8,
    "num_attention_heads": 8,
    "max_position_embeddings": 2048,
}
BATCH_SIZES = (1, 2, 4, 8)  # of hf; what is larger only pads more
ITEMS = {"letters": None, "texts": 80, "orders": 80}  # None: all
QUICK_ITEMS = {"letters": 48, "texts": 16, "orders": 12}
TRIED_ON = 12  # items on which hf's batch size is chosen
TOLD_APART = 2e-4  # two options further apart than this must be ranked the same


def main() -> int:
    """Measure, print, and fail when the answers differ."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    comparison.add_options(parser)
    for name, how in (("letters", "by letter"), ("texts", "by text"), ("orders", "by letter in every order")):
        parser.add_argument(
            f"--{name}",
            type=int,
            help=f"items asked {how} (default: {ITEMS[name] or 'all'}; --quick: {QUICK_ITEMS[name]})",
        )
    parser.add_argument("--only", choices=[*ITEMS], help="one of the three")
    chosen = parser.parse_args()
    sizes = {name: getattr(chosen, name) or (QUICK_ITEMS if chosen.quick else ITEMS)[name] for name in ITEMS}

    import torch

    torch.set_num_threads(1)
    logging.disable(logging.WARNING)
    from medalpaca_data.core.paths import shared
    from medalpaca_data.exams.exam import load_exam
    from medalpaca_data.exams.item import exam_prompt

    if (root := shared()) is None:
        sys.exit(
            "error: no real exam; MEDALPACA_SHARED=DIR names the directory whose data/usmle_sample holds it"
        )
    data = root / "data"
    items = load_exam(data / "usmle_sample" / "medalpaca_format").items
    with tempfile.TemporaryDirectory() as directory:
        make_model(Path(directory), words(data, items))
        letters = [exam_prompt(item, "letter") for item in stratified(items, sizes["letters"] or len(items))]
        texts = [exam_prompt(item, "text") for item in stratified(items, sizes["texts"])]
        turned = in_every_order(stratified(items, sizes["orders"]))
        in_orders = [prompt for item in turned for prompt in item.prompts]
        arms: dict[str, Callable[[], Any]] = {
            "letters": lambda: measure(directory, letters, chosen.repeats),
            "texts": lambda: measure(directory, texts, chosen.repeats),
            "orders": lambda: measure(
                directory, in_orders, chosen.repeats, stressed(turned, Path(directory))
            ),
        }
        figures = {name: arms[name]() for name in ([chosen.only] if chosen.only else arms)}
    for name, figure in figures.items():
        print(f"{name}: {json.dumps(figure)}")  # noqa: T201
    comparison.write(chosen.json, "evaluate", compare(figures), figures, ["torch", "transformers", "lm-eval"])
    return 0 if all(figure["choices_that_differ"] == 0 for figure in figures.values()) else 1


def compare(figures: dict[str, Any]) -> list[comparison.Comparison]:
    """A line for each of the three."""
    from importlib.metadata import version

    how = {"letters": "answers by letter", "texts": "answers by text", "orders": "letters in every order"}
    return [
        comparison.Comparison(
            f"{how[name]}, {one['prompts']} prompts: CPU seconds",
            f"hf of lm-eval {version('lm-eval')}, batch of {one['hf_batch_size']}",
            one["ratios"],
        )
        for name, one in figures.items()
    ]


Asks = Callable[[Any, Any], Any]  # model and requests to answers


def in_every_order(items: Any) -> Any:
    """The items as `exam stress` asks them, without its other perturbations."""
    from dataclasses import replace

    from medalpaca_evalharness.stress.perturbations import perturb
    from medalpaca_evalharness.stress.result import ORDER, PUBLISHED

    found = []
    for one in (perturb(item, "letter") for item in items):
        pairs = zip(one.variants, one.prompts, strict=True)
        kept = [pair for pair in pairs if pair[0].perturbation in (PUBLISHED, ORDER)]
        variants, prompts = zip(*kept, strict=True)
        found.append(replace(one, variants=variants, prompts=prompts))
    return found


def stressed(turned: Any, directory: Path) -> Asks:
    """As `exam stress` asks and writes down, whatever the requests are."""
    from medalpaca_evalharness.stress.run import PartialScores, score_items

    def call(lm: Any, _: Any) -> Any:
        journal = PartialScores(directory / "partial.jsonl", "benchmark")
        scores = score_items(lm, turned, journal, lambda *_: None)
        journal.remove()
        return [(score, None) for item in scores for row in item for score in row]

    return call


def measure(directory: str, asked: Any, repeats: int, ours: Asks | None = None) -> dict[str, Any]:
    """CPU seconds of both arms over the same requests, tokenising included, model loading not."""
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    from medalpaca_evalharness.model.model_type import MedAlpacaLM

    requests = [
        Instance("loglikelihood", {}, (one.prompt, choice), index)
        for one in asked
        for index, choice in enumerate(one.choices)
    ]

    def plain(lm: Any, some: Any) -> Any:
        return lm.loglikelihood(some, disable_tqdm=True)

    def seconds(lm: Any, some: Any, asks: Asks = plain) -> tuple[float, Any]:
        start = time.process_time()
        answers = asks(lm, some)
        return time.process_time() - start, answers

    def hf(size: int) -> Any:
        return HFLM(pretrained=directory, device="cpu", batch_size=size)

    first = requests[: sum(len(one.choices) for one in asked[:TRIED_ON])]
    seconds(hf(1), first[:8])  # warm
    tried = {size: round(min(seconds(hf(size), first)[0] for _ in range(2)), 2) for size in BATCH_SIZES}
    best = min(tried, key=lambda size: tried[size])
    arms: dict[str, Callable[[], Any]] = {
        "hf": lambda: hf(best),
        # A new one each time, so that each pays for its own check against hf.
        "medalpaca": lambda: MedAlpacaLM(pretrained=directory, device="cpu"),
    }
    spent: dict[str, list[float]] = {name: [] for name in arms}
    answers: dict[str, Any] = {}
    for turn in range(repeats):
        for name in comparison.turns([*arms], turn):
            asks = ours if ours and name == "medalpaca" else plain
            cost, answers[name] = seconds(arms[name](), requests, asks)
            spent[name].append(round(cost, 2))
            print(f"{len(asked)} prompts, {name}: {cost:.1f} CPU s", file=sys.stderr)  # noqa: T201
    stock, found = answers["hf"], answers["medalpaca"]
    ratios = [round(one / other, 3) for one, other in zip(*spent.values(), strict=True)]
    return {
        "prompts": len(asked),
        "requests": len(requests),
        "hf_batch_size": best,
        "hf_batch_sizes_tried": tried,
        "cpu_seconds": spent,
        "ratios": ratios,
        "ratio": statistics.median(ratios),
        "largest_difference": max(abs(one[0] - other[0]) for one, other in zip(stock, found, strict=True)),
        "greedy_that_differ": sum(
            mine is not None and theirs != mine for (_, theirs), (_, mine) in zip(stock, found, strict=True)
        ),
        "choices_that_differ": differing(asked, stock, found),
    }


def differing(asked: Any, stock: Any, ours: Any) -> int:
    """Items whose best option is another, where hf itself tells the best two apart."""
    count = start = 0
    for one in asked:
        theirs, mine = (
            [found[0] for found in answers[start : start + len(one.choices)]] for answers in (stock, ours)
        )
        start += len(one.choices)
        first, second, *_ = sorted(theirs, reverse=True)
        count += first - second > TOLD_APART and theirs.index(max(theirs)) != mine.index(max(mine))
    return count


def stratified(items: Any, n: int) -> Any:
    """`n` items, evenly spread over the exam's order, which is by step."""
    return [items[index * len(items) // n] for index in range(min(n, len(items)))]


def words(data: Path, items: Any) -> Any:
    """Medical English to train the tokenizer on: the questions themselves, and public instruction rows beside them."""
    from medalpaca_data.exams.item import exam_prompt

    for item in items:
        yield exam_prompt(item, "letter").prompt
    for file in sorted((data / "medical_meadow_original").glob("medical_meadow_*.json")):
        for row in json.loads(file.read_text(encoding="utf-8")):
            yield "\n".join(str(value) for value in row.values())


def make_model(directory: Path, texts: Any) -> None:
    """A byte-level BPE tokenizer of `PIECES` pieces that starts texts with BOS, and a random Llama."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=PIECES, special_tokens=["<s>", "</s>"], initial_alphabet=alphabet, show_progress=False
    )
    made.train_from_iterator(texts, trainer)
    if made.get_vocab_size() != PIECES:
        sys.exit(
            f"error: only {made.get_vocab_size()} pieces; is medical_meadow_original among the shared data?"
        )
    made.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    marks = {"bos_token": "<s>", "eos_token": "</s>"}
    PreTrainedTokenizerFast(tokenizer_object=made, **marks).save_pretrained(directory)
    torch.manual_seed(0)
    LlamaForCausalLM(LlamaConfig(vocab_size=PIECES, bos_token_id=0, eos_token_id=1, **LLAMA)).save_pretrained(
        directory
    )


if __name__ == "__main__":
    sys.exit(main())
