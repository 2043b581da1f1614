"""Shared fixtures: a small exam in the reference layout, models with known answers, and saved runs."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

STEPS = {1: 4, 2: 3, 3: 5}  # items per step of the synthetic exam
ANSWERS = "BACDBADCABEC"
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


@pytest.fixture
def write_exam(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes an exam; `texts` is added to every question, so that exams can differ."""

    def write(name: str = "exam", texts: str = "", steps: dict[int, int] | None = None) -> Path:
        directory = tmp_path / name
        directory.mkdir()
        serial = 0
        for step, n in (steps or STEPS).items():
            questions, solutions = [], {}
            for number in range(1, n + 1):
                key = ANSWERS[serial % len(ANSWERS)]
                letters = "ABCDEF"[: max(4 + serial % 3, ord(key) - ord("A") + 1)]
                options = {letter: f"remedy {letter}{serial}" for letter in letters}
                questions.append(
                    {"no": number, "question": f"Case {serial}{texts}: which one?", "options": options}
                )
                solutions[str(number)] = key
                serial += 1
            (directory / f"step{step}.json").write_text(json.dumps(questions))
            (directory / f"step{step}_solutions.json").write_text(json.dumps(solutions))
        return directory

    return write


@pytest.fixture
def evaluate() -> Callable[..., dict[str, Any]]:
    """Return `simple_evaluate` with the tasks of this package only; listing those of lm-eval takes ten seconds."""

    def call(model: Any, task: str, metadata: dict[str, Any] | None = None, **options: Any) -> dict[str, Any]:
        from lm_eval import simple_evaluate
        from lm_eval.tasks import TaskManager

        manager = TaskManager(include_defaults=False, metadata=metadata or {})
        return simple_evaluate(
            model=model, tasks=[task], task_manager=manager, **({"bootstrap_iters": 0} | options)
        )

    return call


@pytest.fixture
def writing() -> Callable[[Callable[[dict[str, Any]], str]], Any]:
    """Return a function that makes an lm-eval model that writes `write(document)`."""

    def make(write: Callable[[dict[str, Any]], str]) -> Any:
        from lm_eval.api.model import LM

        class Writing(LM):
            def generate_until(self, requests: Any) -> list[str]:
                return [write(request.doc) for request in requests]

            def loglikelihood(self, requests: Any) -> Any:
                raise NotImplementedError

            def loglikelihood_rolling(self, requests: Any) -> Any:
                raise NotImplementedError

        return Writing()

    return make


@pytest.fixture
def answering() -> Callable[[Callable[[dict[str, Any]], int]], Any]:
    """Return a function that makes an lm-eval model that chooses the option with index `choose(document)`."""

    def make(choose: Callable[[dict[str, Any]], int]) -> Any:
        from lm_eval.api.model import LM

        class Answering(LM):
            def loglikelihood(self, requests: Any) -> list[tuple[float, bool]]:
                # The gap is so large that dividing by a length changes nothing.
                return [(-1.0, True) if r.idx == choose(r.doc) else (-1000.0, False) for r in requests]

            def loglikelihood_rolling(self, requests: Any) -> Any:
                raise NotImplementedError

            def generate_until(self, requests: Any) -> Any:
                raise NotImplementedError

        return Answering()

    return make


@pytest.fixture
def save() -> Callable[[dict[str, Any], Path], Path]:
    """Return a function that writes results with the code of lm-eval's command line."""

    def write(results: dict[str, Any], directory: Path) -> Path:
        from lm_eval.loggers import EvaluationTracker

        tracker = EvaluationTracker(output_path=str(directory))
        tracker.general_config_tracker.model_name_sanitized = "some__model"
        samples = results.pop("samples")
        tracker.save_results_aggregated(results=results, samples=samples)
        for name in results["configs"]:
            tracker.save_results_samples(task_name=name, samples=samples[name])
        return directory

    return write


@pytest.fixture
def run(evaluate, answering, save, tmp_path) -> Callable[..., Path]:
    """Return a function that evaluates a model with known answers and saves the run below `results`."""

    def make(
        name: str,
        choose: Callable[[dict[str, Any]], int],
        exam: Path,
        task: str = "medalpaca_usmle",
        **options: Any,
    ) -> Path:
        results = evaluate(answering(choose), task, {"exam": str(exam)}, **options)
        return save(results, tmp_path / "results" / name)

    return make


@pytest.fixture
def pair(evaluate, answering, save, write_exam, tmp_path) -> Callable[..., tuple[Path, Path]]:
    """Return a function that saves two runs of one exam: a model that answers B, and one that is always right."""

    def make(
        task: str = "medalpaca_usmle",
        exam: Path | None = None,
        base: dict[str, str] | None = None,
        tuned: dict[str, str] | None = None,
    ) -> tuple[Path, Path]:
        place = {} if task == "medalpaca_pocket" else {"exam": str(exam or write_exam())}
        sides = {"base": (lambda doc: 1, base), "tuned": (lambda doc: doc["gold"], tuned)}
        saved = [
            save(evaluate(answering(choose), task, place | (models or {})), tmp_path / "results" / name)
            for name, (choose, models) in sides.items()
        ]
        return saved[0], saved[1]

    return make


@pytest.fixture
def browse() -> Callable[[Path, int, str], SimpleNamespace]:
    """Opens a page in a real browser: nothing may be asked for, complained of, cut off, or found by axe."""
    if CHROMIUM is None:
        pytest.skip("no chromium on this machine")
    from axe_playwright_python.sync_playwright import Axe
    from playwright.sync_api import sync_playwright

    def look(file: Path, width: int, scheme: str) -> SimpleNamespace:
        asked: list[str] = []
        complaints: list[str] = []
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
            page = browser.new_context(
                viewport={"width": width, "height": 800}, color_scheme=scheme
            ).new_page()
            page.on("request", lambda request: asked.append(request.url))
            page.on("console", lambda message: complaints.append(message.text))
            page.on("pageerror", lambda error: complaints.append(str(error)))
            page.goto(file.as_uri())
            seen = SimpleNamespace(
                text=page.inner_text("main"),
                plots=page.locator("svg").count(),
                background=page.evaluate("getComputedStyle(document.body).backgroundColor"),
            )
            assert asked == [file.as_uri()]
            assert complaints == []
            # Neither the page nor any cell or plot in it reaches beyond the screen.
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            right = "e.getBoundingClientRect().right"
            beyond = f"[...document.querySelectorAll('main *')].filter(e => {right} > innerWidth + 1)"
            assert page.evaluate(f"{beyond}.map(e => e.outerHTML.slice(0, 99))") == []
            # Labels of a plot stay inside it.
            outside = (
                "[...document.querySelectorAll('svg text')].filter(t => { const b = t.getBoundingClientRect(), "
                "s = t.ownerSVGElement.getBoundingClientRect(); return b.left < s.left - 1 || b.right > s.right + 1 })"
            )
            assert page.evaluate(f"{outside}.map(t => t.textContent)") == []
            assert len(page.pdf(prefer_css_page_size=True)) > 10000
            assert [found["id"] for found in Axe().run(page).response["violations"]] == []
            browser.close()
        return seen

    return look


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Directory of the real exams, which are not part of the repository."""
    from medalpaca_data.core.paths import shared

    root = shared()
    if root is None:
        pytest.skip("no real exams: set MEDALPACA_SHARED")
    return root / "data"


@pytest.fixture(scope="session")
def usmle(real_data: Path) -> Path:
    """Directory of the real USMLE sample exam."""
    return real_data / "usmle_sample" / "medalpaca_format"


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Llama with a byte-level tokenizer that adds BOS, as those of real Llamas do."""
    return _tiny(tmp_path_factory.mktemp("tiny"), seed=1, width=16)


@pytest.fixture(scope="session")
def tiny_of_other_size(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base model of another size, which the adapter of `tiny` does not fit."""
    return _tiny(tmp_path_factory.mktemp("other"), seed=2, width=32)


@pytest.fixture(scope="session")
def adapter(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LoRA adapter of `tiny` with random weights in both halves, so that it changes the scores."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(3)
    directory = tmp_path_factory.mktemp("adapter")
    config = LoraConfig(
        r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False, task_type="CAUSAL_LM"
    )
    get_peft_model(AutoModelForCausalLM.from_pretrained(tiny), config).save_pretrained(directory)
    return directory


def make_byte_tokenizer(*, bos: bool = True, merges: tuple[str, ...] = ()) -> Any:
    """Return a tokenizer with a token for each byte and for each merge, such as "e r"."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    vocabulary = {"<s>": 0, "</s>": 1}
    vocabulary |= {piece: i for i, piece in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()), 2)}
    pairs = [tuple(merge.split(" ")) for merge in merges]
    vocabulary |= {"".join(pair): i for i, pair in enumerate(pairs, len(vocabulary))}
    tokenizer = Tokenizer(models.BPE(vocabulary, merges=pairs))
    tokenizer.add_special_tokens(["<s>", "</s>"])
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    if bos:
        tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>")


@pytest.fixture(scope="session")
def byte_tokenizer() -> Callable[..., Any]:
    return make_byte_tokenizer


def _tiny(directory: Path, seed: int, width: int) -> Path:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from medalpaca_data.core.prompt import chat_template

    tokenizer = make_byte_tokenizer()
    tokenizer.chat_template = chat_template(add_bos=True)
    tokenizer.save_pretrained(directory)
    torch.manual_seed(seed)
    sizes = {"hidden_size": width, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = LlamaConfig(
        vocab_size=len(tokenizer), max_position_embeddings=1024, bos_token_id=0, eos_token_id=1, **sizes
    )
    LlamaForCausalLM(config).save_pretrained(directory)
    return directory
