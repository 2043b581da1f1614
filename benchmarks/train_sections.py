"""The sections of the benchmark on training: all arms in turn on one setting, and the preparation of real rows."""

from __future__ import annotations

import contextlib
import io
import json
import statistics
import tarfile
import tempfile
import time
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from comparison import Comparison, of_costs, of_rates
from rich.console import Console
from rich.table import Table
from train_arms import ARMS, LONGEST, Measured, Setting, make_pool, small_llama

from medalpaca_data.core.prompt import render
from medalpaca_data.core.row import Row
from medalpaca_train.hardware import peak_flops
from medalpaca_train.tokenize import encode

CONSOLE = Console(width=120)
PEERS = {
    "hf-padded": "HF Trainer {transformers}, padded",
    "hf-grouped": "HF Trainer {transformers}, grouped by length",
    "trl": "TRL {trl}, default",
    "trl-packing": "TRL {trl}, packing",
}


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
    rate = peak_flops(setting.hardware.device, setting.hardware.compute_dtype)
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
            "seconds": [run.seconds for run in runs[name]],
            "tokens": [run.tokens for run in runs[name]],
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


def beside(what: str, results: dict[str, Any]) -> list[Comparison]:
    """Ours beside each peer of one section, run by run."""
    speeds = {
        name: [n / seconds for n, seconds in zip(one["tokens"], one["seconds"], strict=True)]
        for name, one in results.items()
    }
    return [of_rates(what, _named(name), speeds["ours"], speeds[name]) for name in results if name != "ours"]


def prepared(times: dict[str, Any]) -> Comparison:
    """Ours beside TRL's preparation."""
    what = f"rows to tokens, {times['rows']:,} rows: CPU seconds"
    return of_costs(what, f"TRL {version('trl')}", times["ours"], times["trl"])


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


def _named(arm: str) -> str:
    return PEERS[arm].format(transformers=version("transformers"), trl=version("trl"))


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
