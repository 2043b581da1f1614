"""The headers are written by hand here: the format is eight bytes of length, JSON, data."""

import json
import pickle
from pathlib import Path

import pytest

from medalpaca_data.core.errors import UserError
from medalpaca_data.core.weights import check_adapter_dir, check_model_dir, tensor_shapes, weights_sha256


def safetensors(shapes: dict[str, tuple[int, ...]]) -> bytes:
    header, end = {}, 0
    for name, shape in shapes.items():
        size = 4
        for n in shape:
            size *= n
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + bytes(end)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "base"
    path.mkdir()
    (path / "config.json").write_text('{"model_type": "llama"}')
    layers = {f"model.layers.{n}.q_proj.weight": (8, 4) for n in range(2)}
    (path / "model.safetensors").write_bytes(safetensors(layers))
    return path


def adapter(
    path: Path, layers: int = 2, size: int = 4, base_sha256: str | None = None, module: str = "q_proj"
) -> Path:
    path.mkdir()
    (path / "adapter_config.json").write_text('{"peft_type": "LORA", "base_model_name_or_path": "x"}')
    shapes = {}
    for n in range(layers):
        name = f"base_model.model.model.layers.{n}.{module}"
        shapes |= {f"{name}.lora_A.weight": (2, size), f"{name}.lora_B.weight": (8, 2)}
    (path / "adapter_model.safetensors").write_bytes(safetensors(shapes))
    if base_sha256:
        (path / "manifest.json").write_text(json.dumps({"base": {"path": "b", "sha256": base_sha256}}))
    return path


def test_a_model_and_its_adapter_pass(model, tmp_path):
    check_model_dir(model)
    check_adapter_dir(adapter(tmp_path / "a", base_sha256=weights_sha256(model)), model)
    assert tensor_shapes(model / "model.safetensors")["model.layers.0.q_proj.weight"] == (8, 4)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "x.PTH", "x.ckpt", "x.pkl", "x.joblib"])
def test_a_pickle_is_refused_by_name_and_never_loaded(model, name, tmp_path):
    class Bomb:
        def __reduce__(self):
            return Path.touch, (tmp_path / "exploded",)

    (model / name).write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(UserError, match=f"{name}.*refused"):
        check_model_dir(model)
    assert not (tmp_path / "exploded").exists()


def test_a_pickle_called_safetensors_is_refused(model):
    (model / "model.safetensors").write_bytes(pickle.dumps({"w": [1.0] * 100}))
    with pytest.raises(UserError, match="not a safetensors file"):
        check_model_dir(model)


def test_a_truncated_file_is_refused(model):
    file = model / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(UserError, match="truncated or damaged"):
        check_model_dir(model)


def test_code_in_a_repository_is_refused(model):
    (model / "config.json").write_text('{"auto_map": {"AutoModel": "evil.Model"}}')
    with pytest.raises(UserError, match="auto_map"):
        check_model_dir(model)


def test_an_adapter_given_as_a_model_says_so(tmp_path):
    with pytest.raises(UserError, match="it holds an adapter; give its base"):
        check_model_dir(adapter(tmp_path / "a"))


@pytest.mark.parametrize(
    "other",
    [{"base_sha256": "0" * 64}, {"size": 5}, {"layers": 3}, {"module": "c_attn"}],
    ids=["by hash", "by shape", "by layers", "by names"],
)
def test_an_adapter_of_another_base_is_refused(model, tmp_path, other):
    with pytest.raises(UserError, match="adapter of another base"):
        check_adapter_dir(adapter(tmp_path / "a", **other), model)


def test_a_name_follows_the_weights_and_nothing_else(model, tmp_path):
    name = weights_sha256(model)
    (model / "README.md").write_text("another card")
    assert weights_sha256(model) == name
    (model / "config.json").write_text('{"model_type": "mistral"}')
    assert weights_sha256(model) != name
    one = adapter(tmp_path / "one")
    moved = json.loads((one / "adapter_config.json").read_text()) | {"base_model_name_or_path": "elsewhere"}
    before = weights_sha256(one)
    (one / "adapter_config.json").write_text(json.dumps(moved))
    assert weights_sha256(one) == before
