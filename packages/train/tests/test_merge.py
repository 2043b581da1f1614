"""`train merge`: the merged model computes what base and adapter compute; it is written completely or not at all."""

from __future__ import annotations

import io
import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from medalpaca_data.core.errors import CheckFailed, UserError
from medalpaca_data.core.prompt import render
from medalpaca_data.core.weights import check_model_dir, tensor_shapes, weights_sha256
from medalpaca_train import merge as merging
from medalpaca_train.cli import main
from medalpaca_train.finished_run import load_base
from medalpaca_train.model import load_tokenizer
from medalpaca_train.run_dir import LOCK_FILE, run_lock

RunTraining = Callable[..., tuple[Path, str]]
PROBE = torch.tensor([[0, 40, 50, 60, 70, 80]])


def merged(run: Path) -> tuple[Path, dict[str, Any]]:
    assert main(["merge", str(run)]) == 0
    out = run.with_name(f"{run.name}-merged")
    return out, json.loads((out / "manifest.json").read_text())


@pytest.mark.parametrize(
    "variant", ["plain", *(pytest.param(name, marks=pytest.mark.slow) for name in ("use_dora", "use_rslora"))]
)
def test_fp32_logits_are_those_of_the_adapter(run_training: RunTraining, base: Path, variant: str) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    lora = {"r": 4, "alpha": 8} | ({} if variant == "plain" else {variant: True})
    run, _ = run_training(lora=lora, max_steps=6, learning_rate=2e-2)
    out, manifest = merged(run)
    assert manifest["check"]["largest_logit_difference"] < 1e-5
    plain = AutoModelForCausalLM.from_pretrained(base)
    without = plain(PROBE).logits
    tuned = PeftModel.from_pretrained(plain, run).eval()(PROBE).logits
    assert (tuned - without).abs().max() > 0.1
    merged_logits = AutoModelForCausalLM.from_pretrained(out)(PROBE).logits
    torch.testing.assert_close(merged_logits, tuned, rtol=0, atol=1e-5)


Merges = dict[str | None, tuple[Path, Path]]


@pytest.fixture(scope="module")
def merges(adapters: dict[str | None, Path], tmp_path_factory: pytest.TempPathFactory) -> Merges:
    """Run and merged directory by quantisation of the base."""
    folder = tmp_path_factory.mktemp("merges")
    for kind, run in adapters.items():
        assert main(["merge", str(run), str(folder / str(kind))]) == 0
    return {kind: (run, folder / str(kind)) for kind, run in adapters.items()}


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "limit"), [(None, 5e-4), ("nf4", 5e-4), ("int8", 2e-3)])
def test_held_out_loss_stays_in_bf16(
    merges: Merges, trained_base: Path, kind: str | None, limit: float
) -> None:
    """int8 has a wider limit: LLM.int8 rounds activations as well, which a merged model does not."""
    run, out = merges[kind]
    manifest = json.loads((out / "manifest.json").read_text())
    check = manifest["check"]
    assert (check["rows"], check["number"]) == ("held-out rows", 64)
    assert check["loss"]["merged"] == pytest.approx(check["loss"]["adapter"], abs=limit)
    known = json.loads((run / "manifest.json").read_text())
    assert check["loss"]["adapter"] == pytest.approx(known["validation_loss"]["after"], abs=2e-3)
    config = json.loads((out / "config.json").read_text())
    assert config["dtype"] == manifest["merge"]["stored_in"] == "bfloat16"
    assert "quantization_config" not in config
    assert tensor_shapes(out / "model.safetensors") == tensor_shapes(trained_base / "model.safetensors")
    assert manifest["merge"]["into"] == ("dequantised base" if kind else "base")


def test_merged_model_with_another_loss_is_not_written(
    adapters: dict[str | None, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The adapter is left out on purpose."""
    monkeypatch.setattr(
        merging, "merge_adapter", lambda run, manifest, hardware: load_base(manifest, hardware)
    )
    with pytest.raises(CheckFailed, match=r"the merged model has loss .* so nothing was written"):
        main(["merge", str(adapters[None]), str(tmp_path / "merged")])
    assert list(tmp_path.iterdir()) == []


def test_files_of_a_merged_directory(
    run_training: RunTraining, base: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from transformers import AutoTokenizer, GenerationConfig

    run, _ = run_training(max_steps=4)
    out, manifest = merged(run)
    output = capsys.readouterr().out
    assert "loss on 8 held-out rows: adapter " in output
    assert f"merged into the base, float32: {out}" in output
    check_model_dir(out)
    assert manifest["kind"] == "merged"
    assert manifest["model"]["sha256"] == weights_sha256(out)
    assert manifest["base"]["sha256"] == weights_sha256(base)
    assert manifest["adapter"] == {"path": str(run), "sha256": weights_sha256(run)}
    tokenizer = AutoTokenizer.from_pretrained(out)
    assert tokenizer.apply_chat_template(
        [{"role": "user", "content": "a"}], tokenize=False
    ) == tokenizer.bos_token + render("a")
    GenerationConfig.from_pretrained(out)
    card = (out / "README.md").read_text()
    assert "Not for clinical use" in card
    for name in ("base", "adapter", "model"):
        assert manifest[name]["sha256"] in card
    assert f"{manifest['check']['loss']['merged']:.5f}" in card
    modelfile = (out / "Modelfile").read_text()
    template = modelfile.partition('"""')[2].partition('"""')[0]
    prompt = template.partition("{{ end }}")[2].replace("{{ .Prompt }}", "a").replace("{{ .Response }}", "")
    assert prompt == render("a")
    assert 'PARAMETER stop "</s>"' in modelfile
    mode = out.stat().st_mode & 0o777
    assert all(file.stat().st_mode & 0o777 == mode & 0o666 for file in out.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("kind", [None, "nf4"])
def test_merged_model_answers_like_the_run(
    merges: Merges,
    kind: str | None,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answers = []
    for folder in merges[kind]:
        capsys.readouterr()
        monkeypatch.setattr("sys.stdin", io.StringIO("Say what treats what.\n\n"))
        assert main(["chat", str(folder)]) == 0
        answers.append(capsys.readouterr().out)
    assert " gives relief from " in answers[0]
    assert answers[0] == answers[1]


def test_refusals(run_training: RunTraining, base: Path, tmp_path: Path) -> None:
    run, _ = run_training(max_steps=2)
    (tmp_path / "full").mkdir()
    full, _ = run_training(max_steps=1, method="full", out=str(tmp_path / "whole"))
    for words, message in (
        ([str(full)], "holds a full model"),
        ([], "required: RUN"),
        ([str(run), "seed=1"], "unknown argument 'seed=1'"),
        ([str(tmp_path / "nowhere")], "no such run directory"),
        ([str(tmp_path / "full")], "not a finished run"),
        ([str(run), str(run)], "is not empty"),
    ):
        with pytest.raises(UserError, match=message):
            main(["merge", *words])
    (run / "adapter_config.json").write_text(
        (run / "adapter_config.json").read_text().replace('"lora_alpha": 8', '"lora_alpha": 9')
    )
    with pytest.raises(UserError, match="the weights changed after they were saved"):
        main(["merge", str(run)])
    assert not (tmp_path / "run-merged").exists()


def test_another_base_is_refused(run_training: RunTraining, base: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(base, copy)
    run, _ = run_training(max_steps=2, model=str(copy))
    (copy / "config.json").write_text((copy / "config.json").read_text() + "\n")
    with pytest.raises(UserError, match="adapter of another base"):
        main(["merge", str(run)])
    shutil.rmtree(copy)
    with pytest.raises(UserError, match=f"{copy}"):
        main(["merge", str(run)])


def test_missing_or_changed_rows_are_replaced_by_general_knowledge(
    run_training: RunTraining, data: Path
) -> None:
    run, _ = run_training(max_steps=1)
    data.write_text(data.read_text().replace("aspirin", "ibuprofen"))
    _, manifest = merged(run)
    assert manifest["check"]["rows"] == "rows of general knowledge (the run's own rows have changed)"
    shutil.rmtree(run.with_name("run-merged"))
    data.unlink()
    _, manifest = merged(run)
    assert "cannot be read" in manifest["check"]["rows"]
    assert manifest["check"]["largest_logit_difference"] < 1e-5


def test_json(run_training: RunTraining, capsys: pytest.CaptureFixture[str]) -> None:
    run, _ = run_training(max_steps=1)
    capsys.readouterr()
    assert main(["merge", str(run), f"out={run.with_name('mine')}", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document.pop("out") == str(run.with_name("mine"))
    assert document == json.loads((run.with_name("mine") / "manifest.json").read_text())


def test_only_the_directory_of_a_killed_merge_is_removed(run_training: RunTraining) -> None:
    run, _ = run_training(max_steps=1)
    killed, working, other = (run.with_name(f".{run.name}-merged.{name}") for name in ("killed", "work", "x"))
    for folder in (killed, working, other):
        folder.mkdir()
        (folder / "model.safetensors").write_bytes(b"half")
    (killed / LOCK_FILE).touch()
    with run_lock(working):
        merged(run)
    assert not killed.exists()
    assert working.is_dir()
    assert other.is_dir()


@pytest.mark.slow  # a merge in a process of its own, killed
def test_leftovers_of_a_killed_merge_are_removed(run_training: RunTraining) -> None:
    run, _ = run_training(max_steps=1)
    command = [Path(sys.executable).with_name("train"), "merge", run]
    merge = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    while merge.poll() is None and not (left := list(run.parent.glob(f".{run.name}-merged.*/config.json"))):
        time.sleep(0.001)
    merge.send_signal(signal.SIGKILL)
    assert merge.wait() == -signal.SIGKILL
    assert [file.parent.is_dir() for file in left] == [True]
    out, _ = merged(run)
    assert not left[0].parent.exists()
    assert LOCK_FILE not in {file.name for file in out.iterdir()}


@pytest.mark.slow  # a run of many steps
def test_best_step_can_be_merged(run_training: RunTraining) -> None:
    run, _ = run_training(epochs=24, eval_every=2, learning_rate=2e-2)
    _, manifest = merged(run / "best")
    assert manifest["adapter"]["sha256"] == weights_sha256(run / "best") != weights_sha256(run)


@pytest.mark.slow  # loads all of lm_eval
@pytest.mark.parametrize("kind", [None, "nf4"])
def test_lm_eval_gives_the_same_choices(
    run_training: RunTraining, trained_base: Path, statements: Path, kind: str | None
) -> None:
    """lm_eval's hf model chooses the same options for base with adapter and for the merged model.

    In fp32, because bf16 rounds the likelihoods of these options to equal values.
    """
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    from medalpaca_train.finished_run import load_run_model, read_finished_manifest
    from medalpaca_train.hardware import choose_hardware

    run, _ = run_training(
        model=str(trained_base), data=str(statements), quantization=kind, learning_rate=1e-2, max_steps=12
    )
    out, _ = merged(run)
    drugs = ("aspirin", "heparin", "insulin", "naloxone", "warfarin", "atropine")
    options = [f"{drug} gives relief from {use}." for drug in drugs for use in ("pain", "clots")]
    requests = [
        Instance("loglikelihood", {}, (render("Say what treats what.", drug), option), 0, task_name="t")
        for drug in drugs
        for option in options
    ]
    tuned = load_run_model(run, read_finished_manifest(run), choose_hardware("fp32"))
    first = HFLM(pretrained=tuned, tokenizer=load_tokenizer(run), device="cpu")
    second = HFLM(pretrained=str(out), device="cpu")
    one, two = (
        torch.tensor([logp for logp, _ in lm.loglikelihood(requests, disable_tqdm=True)]).view(
            -1, len(options)
        )
        for lm in (first, second)
    )
    assert torch.equal(one.argmax(1), two.argmax(1))
    torch.testing.assert_close(one, two, rtol=0, atol=1e-3)
    # Without the plugin, lm_eval attaches the adapter to the base that is not quantised.
    HFLM(pretrained=str(trained_base), peft=str(run), device="cpu").loglikelihood(
        requests[:1], disable_tqdm=True
    )


@pytest.mark.slow
def test_every_weight_has_a_gguf_name(merges: Merges) -> None:
    """Names are mapped as in llama.cpp's converter, which is not a package and is not run here."""
    gguf = pytest.importorskip("gguf")

    _, out = merges[None]
    config = json.loads((out / "config.json").read_text())
    names = {name: kind for kind, name in gguf.MODEL_ARCH_NAMES.items()}
    known = gguf.get_tensor_name_map(names[config["model_type"]], config["num_hidden_layers"])
    for name in tensor_shapes(out / "model.safetensors"):
        assert known.get_name(name, try_suffixes=(".weight", ".bias")), name
