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


@pytest.mark.parametrize(
    "name", ["pytorch_model.bin", "model.pt", "x.PTH", "x.ckpt", "x.pkl", "x.pickle", "x.joblib"]
)
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


PICKLES = (
    ".bin",
    ".pt",
    ".pth",
    ".pt2",
    ".ckpt",
    ".pkl",
    ".pickle",
    ".joblib",
    ".dill",
    ".npy",
    ".npz",
    ".h5",
)


@pytest.mark.parametrize("suffix", PICKLES)
def test_a_configuration_that_names_a_pickle_is_refused(model, suffix):
    (model / "config.json").write_text(json.dumps({"transformers_weights": f"sub/evil{suffix}"}))
    with pytest.raises(UserError, match="which can run code when loaded; remove the key"):
        check_model_dir(model)


OTHER_FILES = (
    *("x.npy", "x.npz", "tf_model.h5", "x.hdf5", "x.keras", "x.dill", "x.PT2", "x.pickle", "modeling_x.py"),
    *(
        "x.so",
        "model.onnx",
        "model.gguf",
        "flax_model.msgpack",
        "x.zip",
        "x.tar",
        "x.pyc",
        "x.pk",
        "x.unknown",
    ),
)


@pytest.mark.parametrize("name", OTHER_FILES)
def test_other_files_in_a_model_directory_are_refused(model, name):
    (model / name).write_bytes(b"")
    with pytest.raises(UserError, match=f"{name}.*refused") as caught:
        check_model_dir(model)
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)


def test_files_of_known_models_pass(model):
    """The file names of Llama, Qwen, Gemma, Mistral, Phi, OLMo, Pythia and SmolLM2 on the hub, and of a run."""
    for name in (
        *("README.md", "LICENSE", "LICENSE.txt", "USE_POLICY.md", "NOTICE", ".gitattributes", "figure.png"),
        *(
            "tokenizer.json",
            "tokenizer.model",
            "tokenizer.model.v3",
            "tekken.json",
            "qwen.tiktoken",
            "merges.txt",
        ),
        *("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json", "vocab.txt"),
        *("chat_template.jinja", "chat_template.json", "generation_config.json", "params.json"),
        *("preprocessor_config.json", "processor_config.json", "consolidated.safetensors"),
        "model.safetensors.index.json",
        *("recipe.yaml", "manifest.json", "metrics.jsonl", "rejected.jsonl", "loss.png", "canary.json"),
        *(".train.lock", ".config.json.a1b2c3"),
    ):
        is_safetensors = name.endswith(".safetensors")
        (model / name).write_bytes(safetensors({"w": (1,)}) if is_safetensors else b"{}")
    (model / "onnx.v9").mkdir()
    check_model_dir(model)


@pytest.mark.parametrize(
    ("file", "config"),
    [
        ("config.json", {"attn_implementation": "evil/kernel"}),
        ("config.json", {"attn_implementation": {"": "evil/kernel"}}),
        ("config.json", {"_attn_implementation": {"text_config": "evil/kernel:function"}}),
        ("config.json", {"vision_config": {"_attn_implementation": ["sdpa", "evil/kernel"]}}),
        ("config.json", {"attn_implementation": "paged|evil/kernel"}),
        ("config.json", {"attn_implementation": "sdpa_of_somebody"}),
        ("config.json", {"attn_implementation": 1}),
        ("config.json", {"_attn_implementation_internal": "evil/kernel"}),
        ("config.json", {"experts_implementation": "evil/kernel"}),
        ("config.json", {"_experts_implementation": "evil/kernel"}),
        ("config.json", {"_experts_implementation": {"": "evil/kernel"}}),
        ("config.json", {"_experts_implementation_internal": "evil/kernel"}),
        ("generation_config.json", {"attn_implementation": "evil/kernel"}),
        ("adapter_config.json", {"auto_mapping": {"base_model_class": "X", "parent_library": "evil"}}),
        ("adapter_config.json", {"auto_mapping": {"parent_library": "transformers.utils.import_utils"}}),
        ("adapter_config.json", {"auto_mapping": {"parent_library": "os"}}),
        ("adapter_config.json", {"megatron_core": "evil"}),
    ],
)
def test_a_value_that_names_other_code_is_refused(model, file, config):
    (model / file).write_text(json.dumps(config))
    with pytest.raises(UserError, match="could load other code; allowed: ") as caught:
        check_model_dir(model)
    assert caught.value.exit_code == 2


def test_known_values_pass(model):
    for value in (
        "eager",
        "sdpa",
        "flash_attention_2",
        "flash_attention_3",
        "flex_attention",
        "paged|sdpa",
        None,
    ):
        for written in (value, {"": value, "text_config": "eager"}):
            config = {"attn_implementation": written, "text_config": {"_attn_implementation": value}}
            (model / "config.json").write_text(json.dumps(config | {"_attn_implementation_autoset": True}))
            check_model_dir(model)
    (model / "config.json").write_text('{"_experts_implementation": "grouped_mm"}')
    (model / "adapter_config.json").write_text(
        json.dumps(
            {
                "megatron_core": "megatron.core",
                "auto_mapping": {
                    "base_model_class": "LlamaForCausalLM",
                    "parent_library": "transformers.models.llama.modeling_llama",
                },
            }
        )
    )
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


def renamed(folder, *, layers=2, experts=8):
    """Write an adapter with names of transformers 5: wrappers in another order, experts in one parameter."""
    shapes = {}
    for layer in range(layers):
        path = f"base_model.model.model.language_model.layers.{layer}"
        for name, given, output in (
            ("self_attn.q_proj", 4, 4),
            ("mlp.experts.base_layer", experts, 2 * experts),
            ("mlp.experts", experts, 4),
        ):
            shapes[f"{path}.{name}.lora_A.weight"] = (2, given)
            shapes[f"{path}.{name}.lora_B.weight"] = (output, 2)
    folder.mkdir()
    (folder / "adapter_config.json").write_text("{}")
    (folder / "adapter_model.safetensors").write_bytes(safetensors(shapes))
    return folder


@pytest.fixture
def mixture(tmp_path):
    """A checkpoint of a multimodal mixture of experts, with the names that transformers 4 wrote."""
    folder = tmp_path / "mixture"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    shapes = {"vision_tower.vision_model.encoder.layers.0.self_attn.q_proj.weight": (6, 6)}
    for layer in range(2):
        path = f"language_model.model.layers.{layer}"
        shapes[f"{path}.self_attn.q_proj.weight"] = (4, 4)
        for expert in range(3):
            shapes[f"{path}.block_sparse_moe.experts.{expert}.w1.weight"] = (8, 4)
            shapes[f"{path}.block_sparse_moe.experts.{expert}.w2.weight"] = (4, 8)
    (folder / "model.safetensors").write_bytes(safetensors(shapes))
    return folder


def test_names_that_transformers_5_converts_are_the_same_base(mixture, tmp_path):
    check_adapter_dir(renamed(tmp_path / "a"), mixture)


@pytest.mark.parametrize("other", [{"layers": 3}, {"experts": 5}], ids=["layers", "sizes of experts"])
def test_converted_names_of_another_base_are_refused(mixture, tmp_path, other):
    with pytest.raises(UserError, match=r"adapter of another base: \d of its \d layers are not in"):
        check_adapter_dir(renamed(tmp_path / "a", **other), mixture)


def test_an_adapter_with_the_hash_of_its_base_needs_no_comparison_of_names(model, tmp_path):
    path = adapter(tmp_path / "a", module="converted_name", base_sha256=weights_sha256(model))
    check_adapter_dir(path, model)
