"""A pickle that writes a file when it is loaded, put wherever something is loaded from: every command refuses it.

Refused means exit code 2 and one line; the file never appears. The same for repositories that carry code, and for
weights that are no longer those that were saved.
"""

from __future__ import annotations

import json
import pickle
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from medalpaca_data.core.cli import run
from medalpaca_data.core.errors import UserError

KEYS = ("max_steps=3", "batch_tokens=256", "max_tokens=256", "validation=0", "precision=fp32")  # the pair's


class Bomb:
    """Writes a file when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> Any:
        return Path.touch, (self.target,)


def main_of(name: str) -> Callable[..., Any]:
    match name:
        case "data":
            from medalpaca_data.cli import main
        case "train":
            from medalpaca_train.cli import main
        case "exam":
            from medalpaca_evalharness.cli import main
        case "demo":
            from medalpaca_demo.cli import main
        case _:
            from medalpaca_demo.quickstart import main
    return main


@pytest.fixture
def here(tmp_path, monkeypatch, capsys):
    """`here(command, *words)`: (exit code, stderr) of a command of ours, as its console script would run it."""
    monkeypatch.setenv("MEDALPACA_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.chdir(tmp_path)
    # The guard cannot be taken out of this process again; what it does is tested elsewhere.
    monkeypatch.setattr("medalpaca_data.core.offline.seal", lambda but=(): None)

    def call(name: str, *words: object) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", [name, *map(str, words)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            run(main_of(name))
        return int(ended.value.code or 0), capsys.readouterr().err

    return call


@pytest.fixture
def bomb(tmp_path):
    """`bomb(file)` puts one there; at the end of the test none has gone off."""
    exploded = tmp_path / "exploded"

    def put(file: Path) -> Path:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(pickle.dumps(Bomb(exploded)))
        return file

    yield put
    assert not exploded.exists()


@pytest.fixture
def copied(pair, tmp_path):
    """`copied("base")`: a copy of the pair's base, run or other that may be spoilt."""

    def copy(name: str) -> Path:
        return Path(shutil.copytree(getattr(pair, name), tmp_path / f"my-{name}"))

    return copy


def assert_refused(done: tuple[int, str], *parts: str) -> None:
    code, stderr = done
    assert code == 2, stderr
    assert stderr.startswith("error: "), stderr
    assert stderr.count("\n") == 1, stderr
    assert all(part in stderr for part in parts), stderr


def model_commands(pair, base: Path, adapter: Path) -> list[tuple[object, ...]]:
    """Every command of ours that loads a base or an adapter."""
    return [
        ("train", "lora", f"model={base}", f"data={pair.rows}", "out=new"),
        ("train", "lora", f"model={base}", f"data={pair.rows}", "out=new", "--preview"),
        ("train", "chat", adapter),
        ("train", "canary", adapter, f"model={base}"),
        ("demo", "--base", base, "--adapter", adapter, "--exam", pair.exam),
        ("exam", "ask", base, adapter, "--tasks", "medalpaca_pocket", "--out", "asked"),
    ]


def test_the_bomb_is_a_bomb(tmp_path):
    pickle.loads(pickle.dumps(Bomb(tmp_path / "went_off")))  # noqa: S301 - our own
    assert (tmp_path / "went_off").exists()


@pytest.mark.parametrize("name", ["pytorch_model.bin", "tokenizer.pkl", "last.ckpt", "x.npy"])
def test_in_the_base(here, bomb, copied, pair, name):
    base = copied("base")
    bomb(base / name)
    for command in model_commands(pair, base, pair.run):
        if command[:2] != ("train", "chat"):  # it goes to the base that the run names
            assert_refused(here(*command), name, "refused")


@pytest.mark.parametrize("name", ["adapter_model.bin", "vocab.joblib", "optimizer.pt"])
def test_in_the_adapter(here, bomb, copied, pair, name):
    adapter = copied("run")
    bomb(adapter / name)
    for command in model_commands(pair, pair.base, adapter)[2:]:
        assert_refused(here(*command), name, "refused")
    words = ["model=" + str(pair.base), f"data={pair.rows}", f"out={adapter}", *KEYS]
    assert_refused(here("train", "lora", *words), name, "refused")


def test_under_the_name_of_safetensors(here, bomb, copied, pair):
    base, adapter = copied("base"), copied("run")
    bomb(adapter / "adapter_model.safetensors")
    for command in model_commands(pair, pair.base, adapter)[2:]:
        assert_refused(here(*command), "adapter_model.safetensors", "not a safetensors file")
    bomb(base / "model.safetensors")
    for command in model_commands(pair, base, pair.run):
        if command[:2] != ("train", "chat"):
            assert_refused(here(*command), "model.safetensors", "not a safetensors file")


def test_in_a_checkpoint(here, bomb, pair, tmp_path):
    """A run that was cut off continues from its checkpoint, and not from this one; nor from one that was changed."""
    words = ["train", "lora", f"model={pair.base}", f"data={pair.rows}", "out=cut", *KEYS, "save_every=1"]
    killed = "medalpaca_train.run.finish"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(killed, lambda *_: (_ for _ in ()).throw(UserError("killed")))
        assert here(*words) == (2, "error: killed\n")
    cut, whole = tmp_path / "cut", tmp_path / "whole"
    shutil.copytree(cut, whole)
    step = max((cut / "checkpoints").glob("step-*"))
    for name in ("optimizer.pt", "weights.safetensors", "optimizer.safetensors"):
        bomb(step / name)
        said = "refused" if name.endswith(".pt") else "missing or changed"
        assert_refused(here(*words), step.name, name, said)
        shutil.rmtree(cut)
        shutil.copytree(whole, cut)
    flip(step / "optimizer.safetensors")
    assert_refused(here(*words), "optimizer.safetensors: missing or changed")
    shutil.rmtree(step)  # as the message advises
    assert here(*words)[0] == 0


@pytest.mark.parametrize("suffix", [".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib", ".dill"])
def test_as_a_dataset(here, bomb, pair, tmp_path, suffix):
    rows = bomb(tmp_path / f"rows{suffix}")
    recipe = tmp_path / "recipe.yaml"
    source = {"kind": "alpaca", "path": str(rows), "licence": "mine"}
    recipe.write_text(json.dumps({"name": "m", "sources": [source]}))
    for command in (
        ("data", "check", rows, "--exam", "medalpaca_pocket"),
        ("data", "check", pair.rows, "--exam", rows),
        ("data", "deid", "check", rows),
        ("data", "audit", rows, rows),
        ("data", "build", recipe, "out=built"),
        ("train", "lora", f"model={pair.base}", f"data={rows}", "out=new"),
        ("train", "lora", f"model={pair.base}", f"data={pair.rows}", f"validation={rows}", "out=new"),
        ("train", "canary", "lora", f"model={pair.base}", f"data={rows}", "out=new"),
        ("demo", "--base", pair.base, "--adapter", pair.run, "--exam", rows),
        ("exam", "inspect", rows),
        ("exam", "compare", rows, rows),
    ):
        assert_refused(here(*command), f"rows{suffix}")


@pytest.mark.parametrize("name", ["rows.json", "rows.jsonl", "rows.csv", "rows.parquet", "train.parquet"])
def test_as_a_dataset_under_an_honest_name(here, bomb, pair, tmp_path, name):
    rows = bomb(tmp_path / "meadow" / name)
    rows = rows.parent if name == "train.parquet" else rows
    for command in (
        ("data", "check", rows, "--exam", "medalpaca_pocket"),
        ("data", "deid", "check", rows),
        ("train", "lora", f"model={pair.base}", f"data={rows}", "out=new"),
    ):
        assert_refused(here(*command), name)


def test_in_the_places_of_quickstart(here, bomb, pair, tmp_path):
    from medalpaca_data.core.files import package_sha256
    from medalpaca_demo.quickstart import CODE_PACKAGES, RECORD_FILE

    root = tmp_path / "home" / "quickstart"
    for name in ("base", "run"):
        shutil.copytree(getattr(pair, name), root / name)
    (root / RECORD_FILE).write_text(
        json.dumps({"seed": 1, "code": {name: package_sha256(name) for name in CODE_PACKAGES}})
    )
    bomb(root / "run" / "adapter_model.bin")
    assert_refused(here("quickstart"), "adapter_model.bin", "refused")
    assert_refused(here("demo"), "adapter_model.bin", "refused")


# Repositories that carry code --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "asked", "said"),
    [
        ("config.json", {"auto_map": {"AutoModelForCausalLM": "evil.Model"}}, "auto_map"),
        ("tokenizer_config.json", {"auto_map": {"AutoTokenizer": ["evil.Tokenizer", None]}}, "auto_map"),
        ("generation_config.json", {"auto_map": {"x": "evil.X"}}, "auto_map"),
        ("config.json", {"_attn_implementation": "owner/kernel"}, "owner/kernel"),
        ("config.json", {"text_config": {"attn_implementation": "owner/kernel"}}, "owner/kernel"),
        ("config.json", {"attn_implementation": {"": "evil/kernel"}}, "evil/kernel"),
        ("config.json", {"_experts_implementation": "evil/kernel"}, "evil/kernel"),
        ("config.json", {"transformers_weights": "evil.bin"}, "evil.bin"),
        ("model.safetensors.index.json", {"weight_map": {"a": "../evil.safetensors"}}, "evil"),
        ("model.safetensors.index.json", {"weight_map": {"a": "evil.dat"}}, "evil.dat"),
    ],
)
def test_a_base_that_asks_for_code(here, copied, pair, file, asked, said):
    base = copied("base")
    known = json.loads((base / file).read_text()) if (base / file).is_file() else {}
    (base / file).write_text(json.dumps(known | asked))
    for command in model_commands(pair, base, pair.run):
        if command[:2] != ("train", "chat"):
            assert_refused(here(*command), said)


@pytest.mark.parametrize(
    ("file", "asked", "said"),
    [
        ("adapter_config.json", {"auto_map": {"x": "evil.X"}}, "auto_map"),
        ("adapter_config.json", {"megatron_config": {}, "megatron_core": "evil"}, "megatron_core"),
        ("adapter_config.json", {"auto_mapping": {"parent_library": "evil"}}, "parent_library"),
        ("adapter_config.json", {"prompt_tuning_init_state_dict_path": "evil.bin"}, "evil.bin"),
        ("tokenizer_config.json", {"auto_map": {"AutoTokenizer": ["evil.Tokenizer", None]}}, "auto_map"),
    ],
)
def test_an_adapter_that_asks_for_code(here, copied, pair, file, asked, said):
    adapter = copied("run")
    (adapter / file).write_text(json.dumps(json.loads((adapter / file).read_text()) | asked))
    for command in model_commands(pair, pair.base, adapter)[2:]:
        assert_refused(here(*command), said)


# What was saved is what is loaded ----------------------------------------------------------------------------


def flip(file: Path) -> None:
    """Change one bit of the last byte: the file is as good a safetensors file as before."""
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)


def test_one_byte_of_an_adapter(here, copied, pair):
    adapter = copied("run")
    flip(adapter / "adapter_model.safetensors")
    for command in model_commands(pair, pair.base, adapter)[2:]:
        assert_refused(here(*command), "the weights changed after they were saved")


def test_one_byte_of_a_tokenizer(here, copied, pair):
    adapter = copied("run")
    template = adapter / "chat_template.jinja"
    template.write_text(template.read_text() + "{{ 'x' }}")
    assert_refused(here("train", "chat", adapter), "the tokenizer changed after they were saved")


def test_one_byte_of_the_base_under_an_adapter(here, copied, pair):
    base = copied("base")
    flip(base / "model.safetensors")
    for command in model_commands(pair, base, pair.run)[4:]:
        assert_refused(here(*command), "adapter of another base")
    # A run goes on with the base it began with, and with no other.
    words = ["train", "lora", f"model={pair.base}", f"data={pair.rows}", f"out={pair.run}", *KEYS]
    kept = (pair.base / "model.safetensors").read_bytes()
    try:
        (pair.base / "model.safetensors").write_bytes((base / "model.safetensors").read_bytes())
        assert_refused(here(*words), "another model=, or its content has changed")
        assert_refused(here("train", "chat", pair.run), "adapter of another base")
    finally:
        (pair.base / "model.safetensors").write_bytes(kept)


# Chat templates ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "template",
    [
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ cycler.__init__.__globals__.os.system('touch exploded') }}",
        "{{ messages.append(1) }}",
        "{% for n in range(10 ** 9) %}x{% endfor %}",
    ],
)
def test_a_chat_template_is_rendered_in_a_sandbox(pair, tmp_path, template):
    """transformers renders them, in jinja2's sandbox; the check before a run reports what that refuses in one line."""
    from transformers import AutoTokenizer

    from medalpaca_evalharness.preflight import _render_context

    tokenizer = AutoTokenizer.from_pretrained(pair.base)
    tokenizer.chat_template = template

    class Model:
        def apply_chat_template(self, chat: Any) -> Any:
            return tokenizer.apply_chat_template(chat, tokenize=False)

    with pytest.raises(UserError, match="chat template cannot be rendered"):
        _render_context(Model(), "a prompt", True)
    assert not (tmp_path / "exploded").exists()


def test_training_renders_no_template_but_its_own(copied, pair, here, tmp_path):
    """What a base brings along is replaced before anything is tokenised."""
    base = copied("base")
    (base / "chat_template.jinja").write_text("{{ ''.__class__.__mro__ }}")
    words = ["train", "lora", f"model={base}", f"data={pair.rows}", "out=new", "max_steps=1", "validation=0"]
    assert here(*words, "max_tokens=256", "batch_tokens=256", "precision=fp32")[0] == 0
    assert "__class__" not in (tmp_path / "new" / "chat_template.jinja").read_text()


# Stock lm_eval -----------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("model", ["medalpaca", "hf"])
@pytest.mark.parametrize("place", ["pretrained", "peft", "tokenizer", "exam"])
def test_stock_lm_eval(command, bomb, copied, pair, model, place):
    base, adapter = pair.base, pair.run
    match place:
        case "pretrained":
            base = copied("base")
            spoilt = bomb(base / "pytorch_model.bin")
        case "peft":
            adapter = copied("run")
            spoilt = bomb(adapter / "adapter_model.bin")
        case "tokenizer":
            spoilt = bomb(copied("other") / "tokenizer.pkl")
        case _:
            spoilt = bomb(base.parent / "exam.pkl")
    arguments = f"pretrained={base},peft={adapter}" + (
        f",tokenizer={spoilt.parent}" if place == "tokenizer" else ""
    )
    task = "medalpaca_usmle" if place == "exam" else "medalpaca_pocket"
    done = command(
        *("lm_eval", "--model", model, "--model_args", arguments, "--tasks", task),
        MEDALPACA_SEALED="1",
        MEDALPACA_EXAM=str(spoilt),
    )
    assert done.returncode == 2, done.stderr
    assert done.stderr.strip().splitlines()[-1].startswith("error: "), done.stderr
    assert spoilt.name in done.stderr.strip().splitlines()[-1]
