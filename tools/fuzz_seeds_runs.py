"""Sound files of models, training runs, evaluation results and the demo, for `fuzz_readers.py`."""

# ruff: noqa: E501
from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from fuzz_readers import Reader

Files = dict[str, bytes]


def as_json(value: Any) -> bytes:
    return json.dumps(value, indent=1).encode()


def write_all(files: Files, folder: Path) -> None:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)


def tensors(shapes: dict[str, tuple[int, ...]]) -> bytes:
    """Return a safetensors file of zeros."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    at = 0
    for name, shape in shapes.items():
        size = 4
        for length in shape:
            size *= length
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [at, at + size]}
        at += size
    raw = json.dumps(header).encode()
    return len(raw).to_bytes(8, "little") + raw + bytes(at)


def run_readers() -> Iterator[Reader]:
    yield from _models()
    yield from _training()
    yield from _results()


CONFIG = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": 4, "vocab_size": 8}
ADAPTER = {
    "peft_type": "LORA",
    "base_model_name_or_path": "base",
    "r": 2,
    "lora_alpha": 4,
    "target_modules": ["q_proj"],
}
Q_PROJ = "model.layers.0.self_attn.q_proj"
MODEL = {
    "base/config.json": as_json(CONFIG),
    "base/generation_config.json": as_json({"eos_token_id": 1}),
    "base/tokenizer_config.json": as_json({"tokenizer_class": "PreTrainedTokenizerFast", "is_local": True}),
    "base/tokenizer.json": as_json(
        {"version": "1.0", "model": {"type": "BPE", "vocab": {"a": 0}, "merges": []}}
    ),
    "base/special_tokens_map.json": as_json({"eos_token": "a"}),
    "base/model.safetensors": tensors({f"{Q_PROJ}.weight": (4, 4)}),
    "base/model.safetensors.index.json": as_json(
        {"metadata": {"total_size": 64}, "weight_map": {f"{Q_PROJ}.weight": "model.safetensors"}}
    ),
    "run/adapter_config.json": as_json(ADAPTER),
    "run/adapter_model.safetensors": tensors(
        {
            f"base_model.model.{Q_PROJ}.lora_A.weight": (2, 4),
            f"base_model.model.{Q_PROJ}.lora_B.weight": (4, 2),
        }
    ),
}


def _models() -> Iterator[Reader]:
    from medalpaca_data.core import weights
    from medalpaca_evalharness.model_identity import identify_model
    from medalpaca_train.cli import _open_run

    def write(folder: Path) -> None:
        write_all(MODEL, folder)
        manifest = {
            "base": {"path": "base", "sha256": weights.weights_sha256(folder / "base")},
            "adapter": {"sha256": weights.weights_sha256(folder / "run")},
            "tokenizer": {"sha256": weights.tokenizer_sha256(folder / "run")},
        }
        write_all({"run/manifest.json": as_json(manifest)}, folder)

    def check(folder: Path) -> None:
        weights.check_adapter_dir(folder / "run", folder / "base")
        weights.tokenizer_sha256(folder / "base")
        weights.weights_sha256(folder / "base")

    yield Reader("model and adapter", write, check)

    def identify(folder: Path) -> object:
        return identify_model({"pretrained": str(folder / "base"), "peft": str(folder / "run")})

    yield Reader("model identity", write, identify)

    yield Reader("open run", write, lambda f: _open_run(str(f / "run")), ("run/manifest.json",))


METRICS = [
    {"kind": "validation", "step": 0, "loss": 3.0, "time": 1.0},
    {"kind": "train", "step": 1, "loss": 2.5, "lr": 1e-4, "time": 2.0},
    {"kind": "validation", "step": 2, "loss": 2.0, "time": 3.0},
]


def _training() -> Iterator[Reader]:
    from medalpaca_data.core.files import sha256_file
    from medalpaca_train import checkpoint, trackers
    from medalpaca_train.run_dir import read_manifest

    lines = "".join(json.dumps(line) + "\n" for line in METRICS).encode()

    def metrics(folder: Path) -> None:
        file = folder / "metrics.jsonl"
        read = trackers.read_metrics(file)
        trackers.read_validation_loss(file, 2)
        trackers.draw_loss_curve(read, folder / "curve.png")
        before = file.read_bytes()
        with trackers.MetricsLog(file, 1):
            pass
        file.write_bytes(before)

    yield Reader("metrics", partial(write_all, {"metrics.jsonl": lines}), metrics, ("metrics.jsonl",))

    def write(folder: Path) -> None:
        progress = {"step": 1, "seconds": 2.5, "plan_sha256": "a", "data_sha256": "b", "base_sha256": None}
        best = {"step": 1, "loss": 2.0}
        for name, inner, value in (("step-000001", "trainer.json", progress), ("best", "best.json", best)):
            place = folder / "checkpoints" / name
            write_all({"weights.safetensors": tensors({"a": (2,)}), inner: as_json(value)}, place)
            hashes = {file.name: sha256_file(file) for file in sorted(place.iterdir())}
            write_all({"hashes.json": as_json(hashes)}, place)
        write_all({"manifest.json": as_json({"base": {"path": "x"}})}, folder)

    def read(folder: Path) -> None:
        checkpoint.read_progress(folder / "checkpoints" / "step-000001")
        checkpoint.read_best(folder)
        checkpoint.reject_pickles(folder)
        read_manifest(folder)

    yield Reader("checkpoint", write, read)


def sample(n: int, gold: int) -> dict[str, Any]:
    """Return a logged sample of lm-eval of an item that the model answers with B."""
    doc = {
        "item_id": f"q{n}", "step": 1 + n % 2, "exam": "e", "exam_sha256": "0" * 64, "prompt_id": "p", "scoring": "letter",
        "letters": ["A", "B"], "choices": ["A", "B"], "gold": gold, "question": f"Q{n}?", "prompt": f"Q{n}?", "base": "m", "base_sha256": None,
        "adapter": None, "adapter_sha256": None, "subject": None,
    }  # fmt: skip
    scores = [[-1000.0, False], [-1.0, True]]
    return {
        "doc_id": n, "doc": doc, "target": str(gold),
        "arguments": {f"gen_args_{i}": {"arg_0": f"Q{n}?", "arg_1": letter} for i, letter in enumerate("AB")},
        "resps": [[score] for score in scores], "filtered_resps": scores, "filter": "none", "metrics": ["acc"],
        "doc_hash": _hash(json.dumps(doc, indent=2, ensure_ascii=False)), "prompt_hash": _hash(f"Q{n}?"),
        "target_hash": _hash(str(gold)), "acc": float(gold == 1),
    }  # fmt: skip


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


NAME = "medalpaca_exam"
HASHES = ("doc_hash", "prompt_hash", "target_hash")
TIME = "2026-11-22T13-39-42.379641"


def results() -> Files:
    samples = [sample(n, n % 2) for n in range(6)]
    config = {"task": NAME, "metadata": {"version": 1.0, "headline_metric": "acc", "exam": "exam.jsonl"}}
    value = {
        "results": {NAME: {"acc,none": 0.5, "acc_stderr,none": 0.2}}, "configs": {NAME: config},
        "n-samples": {NAME: {"original": 6, "effective": 6}}, "task_hashes": {NAME: _hash("".join(s[k] for s in samples for k in HASHES))},
        "config": {"model": "hf", "model_args": {"pretrained": "m"}, "limit": None, "use_cache": None},
        "versions": {NAME: 1.0}, "git_hash": "x", "transformers_version": "5", "lm_eval_version": "0.4",
    }  # fmt: skip
    return {
        f"results_{TIME}.json": as_json(value),
        f"samples_{NAME}_{TIME}.jsonl": "".join(json.dumps(one) + "\n" for one in samples).encode(),
    }


def stress() -> bytes:
    variants = [{"perturbation": "published", "order": [0, 1]}, {"perturbation": "order", "order": [1, 0]}]
    items = [
        {"item": f"q{n}", "step": 1, "key": n % 2, "fixed": [], "asked_sha256": "0" * 64, "variants": variants,
         "scores": {"base": [[-1.0, -2.0], [-1.5, -1.0]]}}
        for n in range(4)
    ]  # fmt: skip
    side = {
        "model": "m",
        "base": "m",
        "base_sha256": None,
        "adapter": None,
        "adapter_sha256": None,
        "dtype": "f",
    }
    return as_json(
        {"format": "medalpaca exam stress 1", "version": "0", "exam": "e", "exam_sha256": "0" * 64, "exam_items": 4,
         "scoring": "letter", "prompt_id": "p", "stress_id": "s", "sides": {"base": side}, "figures": {}, "left_out": [],
         "items": items}
    )  # fmt: skip


def _results() -> Iterator[Reader]:
    from medalpaca_evalharness import results as module
    from medalpaca_evalharness import run_summary
    from medalpaca_evalharness.report.run_metadata import side_metadata
    from medalpaca_evalharness.report.verify import Locations, verify
    from medalpaca_evalharness.report.write import write_report
    from medalpaca_evalharness.stress.figures import find_problems
    from medalpaca_evalharness.stress.result import read_stress
    from medalpaca_evalharness.stress.run import PartialScores

    def read(folder: Path) -> None:
        run = module.read_run(folder)
        run_summary.summarize_run(run)
        list(module.find_changed_samples(run))
        side_metadata(run)

    yield Reader("results", partial(write_all, results()), read)

    def write_and_report(folder: Path) -> None:
        write_all(results(), folder)
        write_report(
            [folder / f"results_{TIME}.json"], folder / "report.html", task=None, meadow=None, exam=None
        )

    for name in ("report.json", "report.html"):
        yield Reader(
            f"report {name[7:]}", write_and_report, lambda f, n=name: verify(f / n, Locations()), (name,)
        )

    def read_stress_file(folder: Path) -> None:
        stored, figures = read_stress(folder / "stress.json")
        list(find_problems(stored, figures, None))

    yield Reader("stress", partial(write_all, {"stress.json": stress()}), read_stress_file)
    lines = b'{"key": "k"}\n{"asked": "a", "scores": [[-1.0, -2.0]]}\n'
    yield Reader(
        "partial scores", partial(write_all, {"p.jsonl": lines}), lambda f: PartialScores(f / "p.jsonl", "k")
    )
