"""A tiny random Llama with a LoRA, made here: big enough to disagree with itself, small enough for a CPU."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from medalpaca_data.core.offline import go_offline

go_offline()
# Two cores shared with a browser: more threads than one only wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

SENTENCES = [
    "### Instruction:\nAnswer this multiple choice question with the letter of the correct option.",
    "Which vitamin is lacking in scurvy?\nA: Vitamin A\nB: Vitamin B12\nC: Vitamin C\nD: Vitamin D",
    "The left anterior descending artery supplies the anterior wall of the heart.",
    "\n\n### Response:\nA B C D E; fever, cough and a rash of the trunk; Grün, β-blocker, 37 °C.",
]


def make_pair(where: Path, seed: int = 0) -> tuple[Path, Path]:
    """Write a base and an adapter directory."""
    import torch
    from peft import LoraConfig, get_peft_model
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=420,
        special_tokens=["<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    raw.train_from_iterator(SENTENCES * 3, trainer)
    raw.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, bos_token="<s>", eos_token="</s>")

    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=48,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        bos_token_id=0,
        eos_token_id=1,
        initializer_range=0.3,
    )
    base, adapter = where / "base", where / "run"
    LlamaForCausalLM(config).save_pretrained(base)
    tokenizer.save_pretrained(base)
    lora = LoraConfig(
        r=4, lora_alpha=16, target_modules="all-linear", init_lora_weights=False, task_type="CAUSAL_LM"
    )
    model = get_peft_model(LlamaForCausalLM.from_pretrained(base), lora)
    model.save_pretrained(adapter)
    tokenizer.save_pretrained(adapter)
    return base, adapter


@pytest.fixture(scope="session")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Base and adapter directories."""
    return make_pair(tmp_path_factory.mktemp("pair"))


@pytest.fixture(scope="session")
def plain(pair: tuple[Path, Path]) -> SimpleNamespace:
    """The two arms as two separate models: what the mixed batch is held against."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    base, adapter = pair
    tuned = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), adapter)
    return SimpleNamespace(
        base=AutoModelForCausalLM.from_pretrained(base).eval(),
        tuned=tuned.merge_and_unload().eval(),
        tokenizer=AutoTokenizer.from_pretrained(base),
    )


@pytest.fixture
def engine(pair: tuple[Path, Path]) -> Iterator[Any]:
    """A fresh engine on the pair."""
    from medalpaca_demo.models import check_pair, load_engine

    engine = load_engine(check_pair(*pair))
    yield engine
    engine.close()


SUBJECTS = ("Cardiology", "Nutrition", "Neurology")


def write_exam(file: Path, count: int = 30) -> Path:
    """An exam of this project's own layout: three steps, three subjects, 3 to 5 options, keys all over."""
    import json

    rows = []
    for n in range(count):
        letters = "ABCDE"[: 3 + n % 3]
        rows.append(
            {
                "id": f"case-{n + 1:02d}",
                "step": 1 + n % 3,
                "subject": SUBJECTS[n // 2 % 3],
                "question": f"Case {n + 1}: a patient of {20 + n} years has fever and a rash of the trunk. "
                f"Which remedy with number {n + 1} helps best?",
                "options": {letter: f"remedy {letter}{n + 1}" for letter in letters},
                "answer": letters[(7 * n + n // 4) % len(letters)],
            }
        )
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


@pytest.fixture(scope="session")
def exam_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Thirty questions."""
    return write_exam(tmp_path_factory.mktemp("exam") / "exam.jsonl")


@pytest.fixture(scope="session")
def examined(
    pair: tuple[Path, Path], exam_file: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path]:
    """Both arms examined by lm_eval itself on `exam_file`, saved by its own code."""
    return examine(pair, exam_file, tmp_path_factory.mktemp("results"))


def examine(pair: tuple[Path, Path], exam_file: Path, where: Path) -> tuple[Path, Path]:
    """Run both examinations; the results' directories."""
    from lm_eval import simple_evaluate
    from lm_eval.loggers import EvaluationTracker
    from lm_eval.tasks import TaskManager

    base, adapter = pair
    saved = []
    for name, arguments in (("base", {}), ("tuned", {"peft": str(adapter)})):
        model_args = {"pretrained": str(base), **arguments}
        metadata = {"exam": str(exam_file), **model_args}
        found = simple_evaluate(
            model="hf",
            model_args=model_args,
            tasks=["medalpaca_exam"],
            task_manager=TaskManager(include_defaults=False, metadata=metadata),
            bootstrap_iters=0,
            batch_size=8,
            device="cpu",
        )
        samples = found.pop("samples")
        tracker = EvaluationTracker(output_path=str(where / name))
        tracker.general_config_tracker.model_name_sanitized = "pair"
        tracker.save_results_aggregated(results=found, samples=samples)
        for task in found["configs"]:
            tracker.save_results_samples(task_name=task, samples=samples[task])
        saved.append(where / name)
    return saved[0], saved[1]


@dataclass
class Tab:
    """One visitor's page: what it asked of other machines, and what its console complained of."""

    page: Any
    context: Any
    outside: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)


@pytest.fixture(scope="session")
def chromium() -> tuple[str, list[str]]:
    """The program and its flags; skipped where there is none."""
    if CHROMIUM is None:
        pytest.skip("no chromium on this machine")
    return CHROMIUM, FLAGS


@pytest.fixture(scope="module")
def browser(chromium: tuple[str, list[str]]) -> Iterator[Any]:
    """One Chromium for a file: while it is there, playwright lets nobody else in this process start one."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium[0], args=chromium[1])
        yield browser
        browser.close()


@pytest.fixture
def visit(browser: Any) -> Callable[..., AbstractContextManager[Tab]]:
    """A fresh visitor. Whatever the test is about, it also checks that nothing left and nothing broke."""

    @contextmanager
    def come(url: str, **settings: Any) -> Iterator[Tab]:
        context = browser.new_context(**settings)
        tab = Tab(context.new_page(), context)
        home = "/".join(url.split("/")[:3])

        def only_here(route: Any) -> None:
            if route.request.url.startswith((home, "data:", "blob:")):
                route.continue_()
            else:
                tab.outside.append(route.request.url)
                route.abort()

        context.route("**/*", only_here)
        tab.page.on("pageerror", lambda error: tab.complaints.append(str(error)))
        tab.page.on("console", lambda m: tab.complaints.append(m.text) if m.type == "error" else None)
        tab.page.set_default_timeout(20_000)
        tab.page.goto(url)
        tab.page.locator("#mp-compare:enabled").wait_for(state="attached")
        tab.page.locator("#mp-line .mp-status").wait_for(state="attached")
        yield tab
        context.close()
        assert tab.outside == []
        assert tab.complaints == []

    return come


@pytest.fixture
def endpoint(plain: SimpleNamespace) -> Iterator[Any]:
    """Both models behind a completions server of this process; see `endpoint_server.py`."""
    import importlib.util
    import threading

    where = Path(__file__).with_name("endpoint_server.py")
    spec = importlib.util.spec_from_file_location("endpoint_server", where)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    server = module.Endpoint({"base": plain.base, "tuned": plain.tuned}, plain.tokenizer)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()
