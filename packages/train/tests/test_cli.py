"""The command line: one-line errors with exit code 2, preview, published recipes, the Python API."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from medalpaca_data.core.errors import UserError
from medalpaca_train.cli import main

COMMAND = str(Path(sys.executable).parent / "train")


def test_error_is_one_line_and_exit_code_2() -> None:
    done = subprocess.run([COMMAND, "lora", "lerning_rate=1"], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["lora", "model=m", "data=d", "learnin_rate=1"],
            "unknown key 'learnin_rate'; did you mean 'learning_rate'",
        ),
        (["lora", "model=m", "data=d", "lora.rank=1"], "unknown key 'lora.rank'"),
        (["lora", "data=d"], "key 'model' is missing"),
        (["lora", "model=m", "data=d", "batch_tokens=100"], "less than max_tokens"),
        (["lora", "model=m", "data=d", "epochs=inf"], "key 'epochs': Input should be a finite number"),
        (
            ["lora", "model=m", "data=d", "learning_rate=.nan"],
            "key 'learning_rate': Input should be a finite",
        ),
        (["lora", "model=m", "data=d", "lora.dropout=nan"], "key 'lora.dropout': Input should be a finite"),
        (["lora", "model=m", "data=d", "validation=.nan"], "validation"),
        (["lora", "model=m", "data=d", "seed=99999999999999999"], "key 'seed': Input should be less than"),
        (["pokcet"], "no recipe 'pokcet'.*did you mean 'pocket'"),
        (["nowhere.yaml"], "nowhere.yaml: no such file"),
        (["lora", "full"], "2 recipes given .lora, full."),
        (["lora", "model=m", "data=nowhere.json"], "nowhere.json: no such data file or directory"),
    ],
)
def test_bad_recipes(words: list[str], message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        main([*words, f"out={tmp_path / 'out'}"] if words[-1] != "full" else words)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("where", ["file/run", "/proc/nope/run"])
def test_out_that_cannot_be_written_is_refused_before_any_work(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if where.startswith("/proc") and not Path("/proc").is_dir():
        pytest.skip("no /proc here")
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MEDALPACA_HOME", str(tmp_path / "home"))
    with pytest.raises(UserError, match=r"out=.*/run: cannot be written \(.*\); choose another out="):
        main(["pocket", f"out={tmp_path / where}"])
    assert not (tmp_path / "home" / "quickstart" / "base").exists()


@pytest.mark.slow
@pytest.mark.parametrize("method", ["lora", "full"])
def test_libraries_print_nothing(base: Path, data: Path, tmp_path: Path, method: str) -> None:
    words = [f"model={base}", f"data={data}", f"out={tmp_path / 'out'}", "max_steps=1", "max_tokens=128"]
    done = subprocess.run([COMMAND, method, *words], capture_output=True, text=True)
    assert done.returncode == 0
    assert done.stderr == ""
    assert "shards" not in done.stdout
    assert "Loading" not in done.stdout


def test_second_train_on_one_out_is_refused(base: Path, data: Path, tmp_path: Path) -> None:
    pytest.importorskip("fcntl")
    from medalpaca_train.run_dir import run_lock

    out = tmp_path / "out"
    with run_lock(out):
        done = subprocess.run(
            [COMMAND, "lora", f"model={base}", f"data={data}", f"out={out}"], capture_output=True, text=True
        )
        assert [path.name for path in out.iterdir()] == [".train.lock"]
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: another train is running in {out}")
    assert done.stderr.count("\n") == 1
    assert not out.exists()


def test_bad_rows_are_named(base: Path, tmp_path: Path) -> None:
    good = json.dumps({"instruction": "a", "input": "", "output": "b"})
    broken = tmp_path / "broken.jsonl"
    broken.write_text("\n".join([good] * 16 + ['{"instruction": '] + [good]))
    where = [f"model={base}", f"out={tmp_path / 'out'}"]
    with pytest.raises(UserError, match=r"broken.jsonl line 17: not valid JSON"):
        main(["lora", *where, f"data={broken}"])
    no_output = tmp_path / "no_output.json"
    no_output.write_text(json.dumps([json.loads(good), {"instruction": "a", "input": ""}]))
    with pytest.raises(UserError, match=r"no_output.json row 2: no key 'output'"):
        main(["lora", *where, f"data={no_output}"])
    assert not (tmp_path / "out").exists()


def test_missing_models(data: Path, tmp_path: Path) -> None:
    where = [f"data={data}", f"out={tmp_path / 'out'}"]
    with pytest.raises(UserError, match=r"/no/where: no such directory, and not a hub id"):
        main(["lora", "model=/no/where", *where])
    with pytest.raises(UserError, match=r"nobody/nothing: no such directory, not in the local hub cache"):
        main(["lora", "model=nobody/nothing", *where])


def test_preview_colours_the_answer_and_writes_nothing(
    base: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["lora", f"model={base}", f"data={data}", f"out={tmp_path / 'out'}", "--preview"]) == 0
    output = capsys.readouterr().out
    assert "### Response:" in output
    assert "</s>" in output
    assert not (tmp_path / "out").exists()


def test_preview_styles(tokenizer: object, rows: list[object]) -> None:
    from medalpaca_train.tokenize import coloured_text, encode

    samples = encode(rows, tokenizer, max_tokens=256, loss="answer").samples  # type: ignore[arg-type]
    text = coloured_text(samples[0], tokenizer)
    parts = [(text.plain[span.start : span.end], str(span.style)) for span in text.spans]
    assert parts[0] == ("<s>", "dim reverse")
    assert parts[-2:] == [("It treats pain.", "bold green"), ("</s>", "bold green reverse")]


def test_every_recipe_key_is_in_the_readme() -> None:
    from medalpaca_train.recipe import Lora, Recipe, built_in_recipes

    readme = (Path(__file__).parents[1] / "README.md").read_text()
    for key in [
        *(set(Recipe.model_fields) - {"lora"}),
        *(f"lora.{key}" for key in Lora.model_fields),
        *built_in_recipes(),
    ]:
        assert f"`{key}`" in readme, key


# The defaults of the 2023 code for its 8-bit LoRA, and its older README's command for all weights.
PUBLISHED = {
    "medalpaca-2023": {
        "method": "lora",
        "quantization": "int8",
        "lora.r": 8,
        "lora.alpha": 16,
        "lora.dropout": 0.1,
        "lora.target_modules": ["q_proj", "v_proj"],
        "lora.use_rslora": False,
        "lora.use_dora": False,
        "learning_rate": 2e-5,
        "epochs": 3,
        "batch_rows": 128,
        "schedule": "cosine",
        "warmup_steps": 100,
        "max_tokens": 256,
        "overlong": "cut",
        "loss": "all",
        "validation": 0.1,
        "eval_every": 200,
        "save_every": 200,
        "keep_checkpoints": 3,
        "weight_decay": 0.0,
        "beta2": 0.999,
        "max_grad_norm": 1.0,
    },
    "medalpaca-2023-full": {
        "method": "full",
        "quantization": None,
        "learning_rate": 2e-5,
        "epochs": 3,
        "batch_rows": 256,
        "schedule": "cosine",
        "warmup": 0.03,
        "warmup_steps": None,
        "max_tokens": 512,
        "overlong": "cut",
        "precision": "bf16",
        "checkpointing": "always",
        "validation": 0.1,
        "weight_decay": 0.0,
        "beta2": 0.999,
        "max_grad_norm": 1.0,
    },
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_recipes_have_the_published_hyperparameters(name: str) -> None:
    from medalpaca_train.recipe import _flatten, read_recipe

    _, recipe = read_recipe(name, ["model=m", "data=d"])
    values = _flatten(recipe.model_dump(mode="json"))
    assert {key: values[key] for key in PUBLISHED[name]} == PUBLISHED[name]


def test_qlora_has_the_settings_of_the_paper() -> None:
    """NF4 with double quantisation, bf16 arithmetic, every linear layer (arXiv 2305.14314, section 3)."""
    import torch

    from medalpaca_train.model import quantization_kwargs
    from medalpaca_train.recipe import read_recipe

    _, recipe = read_recipe("qlora", ["model=m", "data=d"])
    assert (recipe.method, recipe.precision, recipe.lora.target_modules) == ("lora", "bf16", "all-linear")
    assert quantization_kwargs(recipe.quantization, torch.bfloat16) == {
        "load_in_4bit": True,
        "bnb_4bit_quant_type": "nf4",
        "bnb_4bit_use_double_quant": True,
        "bnb_4bit_compute_dtype": "bfloat16",
    }


API = """
import sys
import medalpaca_train

assert not {"torch", "transformers", "pydantic"} & sys.modules.keys()
assert {"Recipe", "load_run", "read_recipe", "train"} <= set(dir(medalpaca_train))
model, data, out = sys.argv[1:]
recipe = medalpaca_train.Recipe(model=model, data=data, out=out, max_tokens=128, batch_tokens=256, max_steps=1)
assert "torch" not in sys.modules
run = medalpaca_train.train(recipe)
assert str(run) == out
model, tokenizer = medalpaca_train.load_run(run)
assert model(**tokenizer("a", return_tensors="pt")).logits.shape[-1] == model.config.vocab_size
"""


def test_python_api_is_lazy_and_trains(base: Path, data: Path, tmp_path: Path) -> None:
    words = [str(base), str(data), str(tmp_path / "run")]
    done = subprocess.run([sys.executable, "-c", API, *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "README.md").read_text().count("# run\n") == 1


def test_unknown_attribute_of_the_package() -> None:
    import medalpaca_train

    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        _ = medalpaca_train.trian
