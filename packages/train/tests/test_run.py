"""Runs on a tiny model: the loss falls, run directories load in other libraries, and nothing is overwritten."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import yaml

from medalpaca_data.core.errors import UserError
from medalpaca_data.core.prompt import PROMPT_ID
from medalpaca_data.core.weights import check_adapter_dir, check_model_dir, weights_sha256
from medalpaca_train.estimate import disk_bytes
from medalpaca_train.recipe import Recipe
from medalpaca_train.trackers import read_metrics

RunTraining = Callable[..., tuple[Path, str]]
PROBE = torch.tensor([[0, 40, 50, 60, 70, 80]])


def losses(run: Path) -> tuple[float, float]:
    loss = json.loads((run / "manifest.json").read_text())["validation_loss"]
    return loss["before"], loss["after"]


@pytest.mark.parametrize("method", ["full", "lora"])
def test_training_lowers_the_validation_loss(run_training: RunTraining, method: str) -> None:
    run, output = run_training(method=method)
    before, after = losses(run)
    assert after < before - 0.2
    assert f"validation loss {before:.4f} -> {after:.4f}" in output
    assert "32 rows read: 24 to train on, 8 for validation, 0 rejected" in output


def test_lora_run_directory_loads_with_peft(run_training: RunTraining, base: Path) -> None:
    run, _ = run_training(method="lora")
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    check_adapter_dir(run, base)
    plain = AutoModelForCausalLM.from_pretrained(base)
    without = plain(PROBE).logits
    tuned = PeftModel.from_pretrained(plain, run).eval()
    assert (tuned(PROBE).logits - without).abs().max() > 0.1
    merged = tuned.merge_and_unload()(PROBE).logits
    torch.testing.assert_close(merged, tuned(PROBE).logits, rtol=1e-4, atol=1e-5)
    config = json.loads((run / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == str(base)
    assert config["target_modules"] == sorted(config["target_modules"])
    assert "### Response" in AutoTokenizer.from_pretrained(run).chat_template
    manifest = json.loads((run / "manifest.json").read_text())
    assert manifest["base"] == {
        "path": str(base),
        "revision": None,
        "sha256": weights_sha256(base),
        "quantization": None,
    }
    assert manifest["adapter"]["sha256"] == weights_sha256(run)


def test_lora_run_directory_loads_with_lm_eval(run_training: RunTraining, base: Path) -> None:
    huggingface = pytest.importorskip("lm_eval.models.huggingface")
    from lm_eval.api.instance import Instance

    from medalpaca_data.core.prompt import render

    run, _ = run_training(method="lora")
    prompt = render("Answer.", "What is aspirin used for?")
    requests = [Instance("loglikelihood", {}, (prompt, f"It treats {use}."), 0) for use in ("pain", "zebras")]
    harness = huggingface.HFLM(pretrained=str(base), peft=str(run), device="cpu")
    right, wrong = (score for score, _ in harness.loglikelihood(requests, disable_tqdm=True))
    assert right > wrong


def test_saved_weights_are_the_trained_ones(
    run_training: RunTraining, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The saved model has the logits of the model in memory, for both methods."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    from medalpaca_train import run

    kept: list[torch.Tensor] = []
    save = run.save_model

    def keeping(run: Path, model: Any, *others: Any) -> None:
        model.eval()
        kept.append(model(PROBE).logits.detach())
        save(run, model, *others)

    monkeypatch.setattr(run, "save_model", keeping)
    full, _ = run_training(method="full", max_steps=3)
    check_model_dir(full)
    torch.testing.assert_close(AutoModelForCausalLM.from_pretrained(full)(PROBE).logits, kept[0])
    lora, _ = run_training(method="lora", max_steps=3, out=str(full.parent / "lora"))
    loaded = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), lora).eval()
    torch.testing.assert_close(loaded(PROBE).logits, kept[1])


def test_files_of_a_run_directory(run_training: RunTraining) -> None:
    run, output = run_training(eval_every=5)
    names = {path.name for path in run.iterdir()}
    assert names >= {"recipe.yaml", "manifest.json", "metrics.jsonl", "README.md", "rejected.jsonl"}
    assert names >= {
        "adapter_model.safetensors",
        "adapter_config.json",
        "tokenizer.json",
        "chat_template.jinja",
    }
    assert "checkpoints" not in names
    assert not [name for name in names if name.startswith(".")]
    manifest = json.loads((run / "manifest.json").read_text())
    assert manifest["format"] == 2
    assert manifest["kind"] == "lora"
    assert manifest["prompt_id"] == PROMPT_ID
    assert manifest["data"]["rows"] == 24
    assert yaml.safe_load((run / "recipe.yaml").read_text()) == manifest["recipe"]
    lines = read_metrics(run / "metrics.jsonl")
    steps = [line for line in lines if line["kind"] == "train"]
    assert [line["step"] for line in steps] == list(range(1, manifest["steps"] + 1))
    assert steps[-1].keys() >= {"epoch", "loss", "lr", "tokens", "supervised_tokens", "tokens_per_s", "time"}
    checks = [line["step"] for line in lines if line["kind"] == "validation"]
    assert checks == sorted({0, *range(5, manifest["steps"], 5), manifest["steps"]})
    card = (run / "README.md").read_text()
    assert "Not for clinical use" in card
    assert manifest["data"]["sha256"] in card
    assert f"peft={run}" in card
    assert f"lm_eval --model hf --model_args pretrained={manifest['base']['path']},peft={run}" in output
    for file in run.iterdir():
        assert "treats" not in file.read_text(errors="replace") or file.name == "tokenizer.json"


def test_tokenizer_has_its_own_hash(run_training: RunTraining, base: Path, tmp_path: Path) -> None:
    """Another tokenizer with the same weights changes the tokenizer's hash only."""
    import shutil

    other = tmp_path / "other"
    shutil.copytree(base, other)
    config = json.loads((other / "tokenizer_config.json").read_text())
    (other / "tokenizer_config.json").write_text(json.dumps(config | {"model_max_length": 77}))
    manifests = []
    for name, model in (("one", base), ("two", base), ("three", other)):
        run, _ = run_training(out=str(tmp_path / name), model=str(model), max_steps=1)
        manifests.append(json.loads((run / "manifest.json").read_text()))
    one, two, three = (manifest["tokenizer"]["sha256"] for manifest in manifests)
    assert one == two != three
    assert len({manifest["base"]["sha256"] for manifest in manifests}) == 1


def test_brackets_in_a_path_are_printed_as_they_are(run_training: RunTraining, tmp_path: Path) -> None:
    """rich would parse a colour, a closing tag and an emoji here."""
    out = tmp_path / "a[red]b:+1:[" / "x]"
    _, output = run_training(out=str(out), max_steps=1)
    # In the table and in the next command.
    assert output.count(str(out)) >= 2
    _, output = run_training(out=str(out), max_steps=1)
    assert f"{out} is a finished run" in output


def test_out_equal_to_model_is_refused(run_training: RunTraining, base: Path) -> None:
    with pytest.raises(UserError, match=r"is the same directory as model="):
        run_training(out=str(base))


def test_same_seed_same_weights(run_training: RunTraining, tmp_path: Path) -> None:
    one, _ = run_training(out=str(tmp_path / "one"), lora={"r": 4, "alpha": 8, "dropout": 0.1})
    two, _ = run_training(out=str(tmp_path / "two"), lora={"r": 4, "alpha": 8, "dropout": 0.1})
    assert weights_sha256(one) == weights_sha256(two)


def test_micro_batches_do_not_change_the_step(run_training: RunTraining, tmp_path: Path) -> None:
    """The same rows in one step, as one micro-batch or as several, have the same loss."""
    one, _ = run_training(out=str(tmp_path / "one"), batch_tokens=4096, max_steps=1)
    many, _ = run_training(out=str(tmp_path / "many"), batch_tokens=128, accumulate=99, max_steps=1)
    first, second = (read_metrics(run / "metrics.jsonl")[1] for run in (one, many))
    assert first["supervised_tokens"] == second["supervised_tokens"]
    assert first["loss"] == pytest.approx(second["loss"], rel=1e-6)
    assert first["grad_norm"] == pytest.approx(second["grad_norm"], rel=1e-5)


def test_finished_run_is_unchanged(run_training: RunTraining) -> None:
    run, _ = run_training(max_steps=2)
    before = {path.name: path.stat().st_mtime_ns for path in run.iterdir()}
    _, output = run_training(max_steps=2)
    assert "finished run" in output
    assert before == {path.name: path.stat().st_mtime_ns for path in run.iterdir()}


def test_a_moved_run_is_the_same_run(
    run_training: RunTraining, settings: dict[str, Any], tmp_path: Path
) -> None:
    """A run is identified by the content of its data and base, not by their places."""
    run, _ = run_training(max_steps=2)
    moved = {"out": str(run), "model": str(settings["model"]), "data": str(settings["data"])}
    for key, path in moved.items():
        target = tmp_path / "elsewhere" / Path(path).name
        (shutil.copytree if Path(path).is_dir() else shutil.copy)(path, _parent(target))
        moved[key] = str(target)
    _, output = run_training(max_steps=2, **moved)
    assert "finished run" in output


def _parent(path: Path) -> Path:
    path.parent.mkdir(exist_ok=True)
    return path


def test_another_recipe_is_refused_by_key(run_training: RunTraining) -> None:
    run_training(max_steps=2)
    with pytest.raises(UserError, match=r"another recipe \(lora\.r: 4 -> 8\); choose another out="):
        run_training(max_steps=2, lora={"r": 8, "alpha": 8})
    with pytest.raises(UserError, match="resume=false; choose another out="):
        run_training(max_steps=2, resume=False)


def test_changed_data_is_refused(run_training: RunTraining, data: Path) -> None:
    run_training(max_steps=2)
    rows = json.loads(data.read_text())
    data.write_text(json.dumps(rows[1:]))
    with pytest.raises(UserError, match="another data=, or its content has changed"):
        run_training(max_steps=2)


def test_foreign_directory_is_refused(run_training: RunTraining, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.doc").write_text("years of work")
    with pytest.raises(UserError, match="is not empty and not a run directory"):
        run_training()


def test_rejected_rows_are_listed_without_text(run_training: RunTraining, data: Path) -> None:
    rows = json.loads(data.read_text())
    rows[0]["output"] = "secret " * 200
    data.write_text(json.dumps(rows))
    run, output = run_training(max_steps=1, validation=0)
    (line,) = [json.loads(text) for text in (run / "rejected.jsonl").read_text().splitlines()]
    assert line.keys() == {"row", "reason"}
    assert line["reason"].endswith("more than max_tokens=128")
    assert "rejected: 1 x more than max_tokens=128" in output
    assert "secret" not in output


def test_loss_that_is_not_finite_stops_with_rows(run_training: RunTraining) -> None:
    with pytest.raises(UserError, match=r"at step \d+, rows [0-9a-f]{16}.*lower learning_rate"):
        run_training(method="full", learning_rate=1e30, max_grad_norm=1e30, warmup=0)


def test_validation_never_divides_a_group(rows: list[Any]) -> None:
    from medalpaca_train.datasets import split_by_group

    train, validation = split_by_group(rows, 0.2, seed=3)
    assert len(train) + len(validation) == len(rows)
    assert len(validation) == 8
    assert not {row.group for row in train} & {row.group for row in validation}
    assert split_by_group(rows, 0.2, seed=3) == (train, validation)
    assert split_by_group(rows[:4], 0.2, seed=3)[1] == []


def test_pocket_model_from_random_weights(run_training: RunTraining) -> None:
    run, _ = run_training(model="pocket", method="full", loss="all", max_steps=2)
    manifest = json.loads((run / "manifest.json").read_text())
    assert manifest["base"]["sha256"] is None
    assert manifest["model"]["sha256"] == weights_sha256(check_model_dir(run))


def test_a_hub_model_is_pinned_to_its_commit(
    run_training: Callable[..., tuple[Path, str]], base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The manifest names the commit, so that `main` may move and the run still loads the same base."""
    from medalpaca_train.finished_run import load_run

    commit = "0123456789abcdef0123456789abcdef01234567"
    repository = tmp_path / "hub" / "models--owner--name"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(commit)
    shutil.copytree(base, repository / "snapshots" / commit)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    run, _ = run_training(model="owner/name", max_steps=1)
    named = json.loads((run / "manifest.json").read_text())["base"]
    assert (named["path"], named["revision"]) == ("owner/name", commit)
    (repository / "refs" / "main").write_text("f" * 40)
    assert load_run(run)


def test_code_hash_covers_every_module_of_the_package(tmp_path: Path) -> None:
    from medalpaca_train import run_dir

    source = Path(run_dir.__file__).parent
    package = tmp_path / "package"
    shutil.copytree(source, package, ignore=shutil.ignore_patterns("__pycache__"))
    before = run_dir.code_sha256(package)
    assert before == run_dir.code_sha256()
    hashes = set()
    for file in package.rglob("*.py"):
        text = file.read_text()
        file.write_text(f"{text}# changed\n")
        hashes.add(run_dir.code_sha256(package))
        file.write_text(text)
    assert (package / "loss.py").is_file()
    assert len(hashes) == len(list(package.rglob("*.py"))) > 20
    assert before not in hashes
    assert run_dir.code_sha256(package) == before


def test_tokenizer_files_of_the_base_are_kept(run_training: RunTraining, base: Path, tmp_path: Path) -> None:
    """Only the chat template changes; transformers 4 cannot read the files that transformers 5 writes."""
    old = shutil.copytree(base, tmp_path / "old")
    config = json.loads((old / "tokenizer_config.json").read_text())
    config |= {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "chat_template": "{{ messages }}",
        "by": "another",
    }
    (old / "tokenizer_config.json").write_text(json.dumps(config))
    (old / "generation_config.json").write_text('{"eos_token_id": [7, 0, 2]}')
    for method in ("lora", "full"):
        run, _ = run_training(model=str(old), out=str(tmp_path / method), method=method, max_steps=1)
        assert (run / "tokenizer.json").read_bytes() == (old / "tokenizer.json").read_bytes()
        kept = json.loads((run / "tokenizer_config.json").read_text())
        assert kept == {key: value for key, value in config.items() if key != "chat_template"}
        assert "### Response" in (run / "chat_template.jinja").read_text()
        # 1 is the EOS of the tokenizer and 0 its BOS; 7 and 2 are ordinary tokens.
        assert json.loads((run / "generation_config.json").read_text())["eos_token_id"] == [1, 0]
    assert json.loads((run / "config.json").read_text())["eos_token_id"] == 1


@pytest.mark.parametrize("method", ["lora", "full"])
def test_disk_space_is_checked_before_the_first_step(
    run_training: RunTraining, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    changes = {"method": method, "max_steps": 3, "save_every": 1, "eval_every": 1, "keep_checkpoints": 2}
    _, printed = run_training(**changes)
    line = next(line for line in printed.splitlines() if line.startswith("disk: about "))
    assert line.endswith(" free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=10_000))
    with pytest.raises(UserError, match="of disk space for checkpoints and weights, and 0 MB are free"):
        run_training(**changes, out=str(tmp_path / "small"))
    assert not (tmp_path / "small").exists()


def test_disk_space_is_that_of_the_files() -> None:
    """A LoRA run of 10 weights, a full one of 30, with two checkpoints kept while a third is written."""
    model = torch.nn.ModuleList([torch.nn.Linear(10, 1, bias=False), torch.nn.Linear(20, 1, bias=False)])
    recipe = Recipe(model="m", data="d", method="full", keep_checkpoints=2, eval_every=0)
    assert disk_bytes(model, recipe, 2) == 3 * 30 * 12 + 30 * 2
    model[1].requires_grad_(False)
    recipe = Recipe(model="m", data="d", keep_checkpoints=2, eval_every=5)
    assert disk_bytes(model, recipe, 2) == 3 * 10 * 12 + 10 * 4 + 2 * 10 * 4
