"""Whole runs on a tiny model: they learn, their directories load elsewhere, and nothing is overwritten."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from medalpaca_data.core.errors import UserError
from medalpaca_data.core.prompt import PROMPT_ID
from medalpaca_data.core.weights import check_adapter_dir, check_model_dir, weights_sha256
from medalpaca_train.trackers import read_journal

Go = Callable[..., tuple[Path, str]]
PROBE = torch.tensor([[0, 40, 50, 60, 70, 80]])


def losses(run: Path) -> tuple[float, float]:
    loss = json.loads((run / "manifest.json").read_text())["validation_loss"]
    return loss["before"], loss["after"]


@pytest.mark.parametrize("method", ["full", "lora"])
def test_training_lowers_the_validation_loss(go: Go, method: str) -> None:
    run, said = go(method=method)
    before, after = losses(run)
    assert after < before - 0.2
    assert f"validation loss {before:.4f} -> {after:.4f}" in said
    assert "32 rows read: 24 to train on, 8 for validation, 0 rejected" in said


def test_lora_run_directory_loads_with_peft(go: Go, base: Path) -> None:
    run, _ = go(method="lora")
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


def test_lora_run_directory_loads_with_lm_eval(go: Go, base: Path) -> None:
    huggingface = pytest.importorskip("lm_eval.models.huggingface")
    from lm_eval.api.instance import Instance

    from medalpaca_data.core.prompt import render

    run, _ = go(method="lora")
    prompt = render("Answer.", "What is aspirin used for?")
    asked = [Instance("loglikelihood", {}, (prompt, f"It treats {use}."), 0) for use in ("pain", "zebras")]
    harness = huggingface.HFLM(pretrained=str(base), peft=str(run), device="cpu")
    right, wrong = (score for score, _ in harness.loglikelihood(asked, disable_tqdm=True))
    assert right > wrong


def test_saved_weights_are_the_trained_ones(go: Go, base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Logits of the model in memory at the end equal those of what was saved, for both methods."""
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
    full, _ = go(method="full", max_steps=3)
    check_model_dir(full)
    torch.testing.assert_close(AutoModelForCausalLM.from_pretrained(full)(PROBE).logits, kept[0])
    lora, _ = go(method="lora", max_steps=3, out=str(full.parent / "lora"))
    loaded = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), lora).eval()
    torch.testing.assert_close(loaded(PROBE).logits, kept[1])


def test_what_a_run_directory_holds(go: Go) -> None:
    run, said = go(eval_every=5)
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
    lines = read_journal(run / "metrics.jsonl")
    steps = [line for line in lines if line["kind"] == "train"]
    assert [line["step"] for line in steps] == list(range(1, manifest["steps"] + 1))
    assert steps[-1].keys() >= {"epoch", "loss", "lr", "tokens", "supervised_tokens", "tokens_per_s", "time"}
    checks = [line["step"] for line in lines if line["kind"] == "validation"]
    assert checks == sorted({0, *range(5, manifest["steps"], 5), manifest["steps"]})
    card = (run / "README.md").read_text()
    assert "Not for clinical use" in card
    assert manifest["data"]["sha256"] in card
    assert f"peft={run}" in card
    assert f"lm_eval --model hf --model_args pretrained={manifest['base']['path']},peft={run}" in said
    for file in run.iterdir():
        assert "treats" not in file.read_text(errors="replace") or file.name == "tokenizer.json"


def test_tokenizer_has_its_own_hash(go: Go, base: Path, tmp_path: Path) -> None:
    """Another tokenizer beside the same weights: no hash of weights can tell."""
    import shutil

    other = tmp_path / "other"
    shutil.copytree(base, other)
    config = json.loads((other / "tokenizer_config.json").read_text())
    (other / "tokenizer_config.json").write_text(json.dumps(config | {"model_max_length": 77}))
    manifests = []
    for name, model in (("one", base), ("two", base), ("three", other)):
        run, _ = go(out=str(tmp_path / name), model=str(model), max_steps=1)
        manifests.append(json.loads((run / "manifest.json").read_text()))
    one, two, three = (manifest["tokenizer"]["sha256"] for manifest in manifests)
    assert one == two != three
    assert len({manifest["base"]["sha256"] for manifest in manifests}) == 1


def test_brackets_in_a_path_are_printed_as_they_are(go: Go, tmp_path: Path) -> None:
    """rich would read a colour, a closing tag and a picture here."""
    out = tmp_path / "a[red]b:+1:[" / "x]"
    _, said = go(out=str(out), max_steps=1)
    assert said.count(str(out)) >= 2  # in the table and in the next command
    _, said = go(out=str(out), max_steps=1)
    assert f"{out} is a finished run" in said


def test_out_that_is_the_model_too_is_refused(go: Go, base: Path) -> None:
    with pytest.raises(UserError, match=r"is model= as well; choose another out="):
        go(out=str(base))


def test_same_seed_same_weights(go: Go, tmp_path: Path) -> None:
    one, _ = go(out=str(tmp_path / "one"), lora={"r": 4, "alpha": 8, "dropout": 0.1})
    two, _ = go(out=str(tmp_path / "two"), lora={"r": 4, "alpha": 8, "dropout": 0.1})
    assert weights_sha256(one) == weights_sha256(two)


def test_micro_batches_do_not_change_the_step(go: Go, tmp_path: Path) -> None:
    """The same rows in one step, as one micro-batch or as several, have the same loss."""
    one, _ = go(out=str(tmp_path / "one"), batch_tokens=4096, max_steps=1)
    many, _ = go(out=str(tmp_path / "many"), batch_tokens=128, accumulate=99, max_steps=1)
    first, second = (read_journal(run / "metrics.jsonl")[1] for run in (one, many))
    assert first["supervised_tokens"] == second["supervised_tokens"]
    assert first["loss"] == pytest.approx(second["loss"], rel=1e-6)
    assert first["grad_norm"] == pytest.approx(second["grad_norm"], rel=1e-5)


def test_finished_run_is_left_alone(go: Go) -> None:
    run, _ = go(max_steps=2)
    before = {path.name: path.stat().st_mtime_ns for path in run.iterdir()}
    _, said = go(max_steps=2)
    assert "finished run" in said
    assert before == {path.name: path.stat().st_mtime_ns for path in run.iterdir()}


def test_another_recipe_is_refused_by_key(go: Go) -> None:
    go(max_steps=2)
    with pytest.raises(UserError, match=r"another recipe \(lora\.r: 4 -> 8\); choose another out="):
        go(max_steps=2, lora={"r": 8, "alpha": 8})
    with pytest.raises(UserError, match="resume=false; choose another out="):
        go(max_steps=2, resume=False)


def test_changed_data_is_refused(go: Go, data: Path) -> None:
    go(max_steps=2)
    rows = json.loads(data.read_text())
    data.write_text(json.dumps(rows[1:]))
    with pytest.raises(UserError, match="the content of data= has changed"):
        go(max_steps=2)


def test_foreign_directory_is_refused(go: Go, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.doc").write_text("years of work")
    with pytest.raises(UserError, match="holds something that is not a run"):
        go()


def test_rejected_rows_are_listed_without_text(go: Go, data: Path) -> None:
    rows = json.loads(data.read_text())
    rows[0]["output"] = "secret " * 200
    data.write_text(json.dumps(rows))
    run, said = go(max_steps=1, validation=0)
    (line,) = [json.loads(text) for text in (run / "rejected.jsonl").read_text().splitlines()]
    assert line.keys() == {"row", "reason"}
    assert line["reason"].endswith("more than max_tokens=128")
    assert "rejected: 1 x more than max_tokens=128" in said
    assert "secret" not in said


def test_loss_that_is_not_a_number_stops_with_rows(go: Go) -> None:
    with pytest.raises(UserError, match=r"at step \d+, rows [0-9a-f]{16}.*lower learning_rate"):
        go(method="full", learning_rate=1e30, max_grad_norm=1e30, warmup=0)


def test_validation_never_cuts_a_group(rows: list[Any]) -> None:
    from medalpaca_train.datasets import split

    train, held = split(rows, 0.2, seed=3)
    assert len(train) + len(held) == len(rows)
    assert len(held) == 8
    assert not {row.group for row in train} & {row.group for row in held}
    assert split(rows, 0.2, seed=3) == (train, held)
    assert split(rows[:4], 0.2, seed=3)[1] == []


def test_pocket_model_from_nothing(go: Go) -> None:
    run, _ = go(model="pocket", method="full", loss="all", max_steps=2)
    manifest = json.loads((run / "manifest.json").read_text())
    assert manifest["base"]["sha256"] is None
    assert manifest["model"]["sha256"] == weights_sha256(check_model_dir(run))


def test_a_hub_model_is_pinned_to_its_commit(
    go: Callable[..., tuple[Path, str]], base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`main` may move; what was loaded, and will be loaded for this run again, is one commit of it."""
    from medalpaca_train.load_run import load_run

    commit = "0123456789abcdef0123456789abcdef01234567"
    repository = tmp_path / "hub" / "models--owner--name"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(commit)
    shutil.copytree(base, repository / "snapshots" / commit)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    run, _ = go(model="owner/name", max_steps=1)
    named = json.loads((run / "manifest.json").read_text())["base"]
    assert (named["path"], named["revision"]) == ("owner/name", commit)
    (repository / "refs" / "main").write_text("f" * 40)
    assert load_run(run)
