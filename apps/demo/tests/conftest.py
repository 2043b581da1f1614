"""Shared fixtures: a tiny random Llama with a LoRA adapter, an exam, results, pages and a browser."""

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
# The tests share two cores with a browser; several threads would only wait for each other.
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
    """Write a base and an adapter, and return their directories."""
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
    """Directories of base and adapter."""
    return make_pair(tmp_path_factory.mktemp("pair"))


@pytest.fixture(scope="session")
def plain(pair: tuple[Path, Path]) -> SimpleNamespace:
    """Base and tuned as two separate models, the reference for the mixed batch."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    base, adapter = pair
    tuned = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), adapter)
    return SimpleNamespace(
        base=AutoModelForCausalLM.from_pretrained(base).eval(),
        tuned=tuned.merge_and_unload().eval(),
        tokenizer=AutoTokenizer.from_pretrained(base),
    )


@pytest.fixture(scope="session")
def greedy(plain: SimpleNamespace) -> Callable[[str, str, int], str]:
    """Return `greedy(side, prompt, tokens)`: the answer of one separate model by plain greedy decoding."""
    import torch

    def decode(side: str, prompt: str, tokens: int) -> str:
        ids = plain.tokenizer(prompt, return_tensors="pt")["input_ids"]
        with torch.inference_mode():
            out = getattr(plain, side).generate(
                input_ids=ids, do_sample=False, max_new_tokens=tokens, pad_token_id=1
            )
        return str(plain.tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True))

    return decode


@pytest.fixture(scope="session")
def harness(pair: tuple[Path, Path]) -> dict[str, Any]:
    """Both models as lm-eval's `HFLM`."""
    from lm_eval.models.huggingface import HFLM

    base, adapter = (str(path) for path in pair)
    common = {"pretrained": base, "device": "cpu", "batch_size": 4}
    return {"base": HFLM(**common), "tuned": HFLM(**common, peft=adapter)}


@pytest.fixture(scope="session")
def harness_loglikelihoods(harness: dict[str, Any]) -> Callable[[str, str, tuple[str, ...]], list[float]]:
    """Return `harness_loglikelihoods(side, prompt, choices)`: lm-eval's numbers."""
    from lm_eval.api.instance import Instance

    def compute(side: str, prompt: str, choices: tuple[str, ...]) -> list[float]:
        instances = [
            Instance(request_type="loglikelihood", doc={}, arguments=(prompt, choice), idx=n)
            for n, choice in enumerate(choices)
        ]
        return [value for value, _ in harness[side].loglikelihood(instances, disable_tqdm=True)]

    return compute


@contextmanager
def running_engine(pair: tuple[Path, Path]) -> Iterator[Any]:
    from medalpaca_demo.models import check_pair, start_engine

    engine = start_engine(check_pair(*pair)).wait_until_loaded()
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def loaded_engine(pair: tuple[Path, Path]) -> Iterator[Any]:
    """One engine for all tests of a file."""
    with running_engine(pair) as engine:
        yield engine


@pytest.fixture
def engine(pair: tuple[Path, Path]) -> Iterator[Any]:
    """A new engine for each test."""
    with running_engine(pair) as engine:
        yield engine


@pytest.fixture(scope="session")
def open_page() -> Callable[..., AbstractContextManager[str]]:
    """Return `open_page(engine, pair, exam, scoring, access, **options)`, a context manager with the page's URL."""
    from medalpaca_demo.app import build_app

    @contextmanager
    def opened(
        engine: Any, pair: Any, exam: Any, scoring: Any = "letter", access: Any = None, **options: Any
    ) -> Iterator[str]:
        page, settings = build_app(engine, pair, exam, scoring, **options)
        _, url, _ = page.launch(prevent_thread_lock=True, **settings | (access or {}))
        try:
            yield str(url)
        finally:
            page.close()

    return opened


@pytest.fixture(scope="session")
def one_question() -> Any:
    """An exam with one question, for tests of the server."""
    from medalpaca_data.exams.exam import Exam
    from medalpaca_data.exams.item import Item

    items = (Item(id="q", question="Which?", options={"A": "a", "B": "b"}, answer="A"),)
    return Exam(name="one", items=items, excluded=(), read=1, sha256="0" * 64, source_sha256="0" * 64)


SUBJECTS = ("Cardiology", "Nutrition", "Neurology")


def write_exam(file: Path, count: int = 30) -> Path:
    """Write an exam in the project's layout: three steps, three subjects, 3 to 5 options, varying correct options."""
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
    """An exam file with thirty questions."""
    return write_exam(tmp_path_factory.mktemp("exam") / "exam.jsonl")


@pytest.fixture(scope="session")
def examined(
    pair: tuple[Path, Path], exam_file: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path]:
    """Results of both models on `exam_file`, made and saved by lm_eval."""
    return examine(pair, exam_file, tmp_path_factory.mktemp("results"))


def examine(pair: tuple[Path, Path], exam_file: Path, where: Path) -> tuple[Path, Path]:
    """Evaluate both models and return the directories of the results."""
    from lm_eval import simple_evaluate
    from lm_eval.loggers import EvaluationTracker
    from lm_eval.tasks import TaskManager

    base, adapter = pair
    saved = []
    for name, arguments in (("base", {}), ("tuned", {"peft": str(adapter)})):
        model_args = {"pretrained": str(base), **arguments}
        metadata = {"exam": str(exam_file), **model_args}
        results = simple_evaluate(
            model="hf",
            model_args=model_args,
            tasks=["medalpaca_exam"],
            task_manager=TaskManager(include_defaults=False, metadata=metadata),
            bootstrap_iters=0,
            batch_size=8,
            device="cpu",
        )
        samples = results.pop("samples")
        tracker = EvaluationTracker(output_path=str(where / name))
        tracker.general_config_tracker.model_name_sanitized = "pair"
        tracker.save_results_aggregated(results=results, samples=samples)
        for task in results["configs"]:
            tracker.save_results_samples(task_name=task, samples=samples[task])
        saved.append(where / name)
    return saved[0], saved[1]


@dataclass
class Tab:
    """A page in the browser, its requests to other machines, and the errors on its console."""

    page: Any
    context: Any
    outside: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)


@pytest.fixture(scope="session")
def chromium() -> tuple[str, list[str]]:
    """Chromium and its flags; without Chromium the test is skipped."""
    if CHROMIUM is None:
        pytest.skip("no chromium on this machine")
    return CHROMIUM, FLAGS


@pytest.fixture(scope="module")
def browser(chromium: tuple[str, list[str]]) -> Iterator[Any]:
    """One Chromium for a test file: playwright allows only one at a time in a process."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium[0], args=chromium[1])
        yield browser
        browser.close()


@pytest.fixture
def visit(browser: Any) -> Callable[..., AbstractContextManager[Tab]]:
    """Open a page in a new browser session. At the end, check for outside requests and console errors."""

    @contextmanager
    def visit_page(url: str, **settings: Any) -> Iterator[Tab]:
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

    return visit_page


@pytest.fixture
def tab(site: Any, visit: Any) -> Iterator[Tab]:
    """The page of the test file's fixture `site` in a new browser session."""
    with visit(site.url) as tab:
        yield tab


@pytest.fixture
def endpoint(plain: SimpleNamespace) -> Iterator[Any]:
    """Both models behind a completions server in this process; see `endpoint_server.py`."""
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
