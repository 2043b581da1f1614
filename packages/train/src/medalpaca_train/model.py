"""Load a base model and its tokenizer, quantised or not; add a LoRA adapter; make the pocket model.

Only safetensors are read, and no code from the model's files is run. Bases in 4 or 8 bits use bitsandbytes: NF4 with
double quantisation as in QLoRA (Dettmers et al. 2023, arXiv 2305.14314), or LLM.int8 (Dettmers et al. 2022, arXiv
2208.07339). Output layer and embeddings are not quantised. The pocket model is a Llama of about a million parameters.
It is made locally from random weights, so that all commands run without a hub and without a GPU. It is not a medical
model.
"""

from __future__ import annotations

import logging
import os
import re
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from medalpaca_data.core.errors import UserError, one_line
from medalpaca_data.core.offline import is_sealed, no_telemetry
from medalpaca_data.core.weights import check_model_dir

from .hardware import Hardware
from .recipe import Recipe
from .trainable import find_targets, freeze_by_structure


def quantization_kwargs(quantization: str | None, dtype: torch.dtype) -> dict[str, Any]:
    """Return the arguments of BitsAndBytesConfig for a recipe's `quantization`, computing in `dtype`.

    Empty for None. The manifest of a run records the dictionary, or null if it is empty.
    """
    match quantization:
        case "nf4":
            return {
                "load_in_4bit": True,
                "bnb_4bit_quant_type": "nf4",
                "bnb_4bit_use_double_quant": True,
                "bnb_4bit_compute_dtype": str(dtype).removeprefix("torch."),
            }
        case "int8":
            return {"load_in_8bit": True, "llm_int8_threshold": 6.0}
        case _:
            return {}


def loading_kwargs(quantization: dict[str, Any], device: torch.device) -> dict[str, Any]:
    """Return the arguments of `from_pretrained` that quantise weights while they are read.

    `quantization` has the arguments of BitsAndBytesConfig. If it is empty, the result is an empty dictionary.
    """
    if not quantization:
        return {}
    from transformers import BitsAndBytesConfig

    return {
        "quantization_config": BitsAndBytesConfig(**quantization),  # type: ignore[no-untyped-call]
        "device_map": {"": str(device)},
    }


def is_quantized(model: Any) -> bool:
    """Return whether transformers has loaded the weights quantised; such a model must not be moved or cast."""
    return bool(getattr(model, "is_quantized", False))


def keep_nf4_differentiable(model: Any) -> None:
    """Stop bitsandbytes from repacking NF4 weights when a CPU evaluates the model.

    On a CPU with AVX512-BF16, bitsandbytes (0.50.2) packs the weights in place for inference at the first evaluation.
    Afterwards it computes no gradients, in training too: the layers below are no longer trained, without an error. For
    layers narrower than a block of 64 the packing itself fails.
    """
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False


@contextmanager
def rowwise_int8(model: Any) -> Iterator[None]:
    """Switch off LLM.int8's outlier channels while the block runs, so that each token is computed independently.

    LLM.int8 computes a channel in half precision if any token of the batch is large in it. A token's rounding then
    depends on the other documents of a packed row, which would look like attention across documents.
    """
    states = [module.state for module in model.modules() if hasattr(module, "init_8bit_state")]
    before = [state.threshold for state in states]
    for state in states:
        state.threshold = 0.0
    try:
        yield
    finally:
        for state, threshold in zip(states, before, strict=True):
            state.threshold = threshold


# Most tokens of the pocket tokenizer. They are byte-level pieces: every text can be encoded, and frequent words are
# one or two tokens.
VOCAB_SIZE = 1_024
# Context of the pocket model in tokens: longer than exam questions are, so that an exam does not truncate them.
CONTEXT_LENGTH = 4_096
BOS, EOS = "<s>", "</s>"


def make_pocket_tokenizer(texts: Iterable[str]) -> Any:
    """Return a byte-level BPE tokenizer of at most `VOCAB_SIZE` tokens; equal `texts` give equal tokenizers.

    The post-processor adds BOS, as Llama tokenizers do, so that no caller has to add it.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB_SIZE,
        special_tokens=[BOS, EOS],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    bos = tokenizer.token_to_id(BOS)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", pair=f"{BOS} $A {BOS} $B", special_tokens=[(BOS, bos)]
    )
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer, bos_token=BOS, eos_token=EOS, model_max_length=CONTEXT_LENGTH
    )


def make_pocket_model(tokenizer: Any, seed: int) -> Any:
    """Return a small Llama with random weights for `tokenizer`; the same seed gives the same weights.

    Sets torch's global random seed.
    """
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=VOCAB_SIZE,
            hidden_size=128,
            intermediate_size=384,
            num_hidden_layers=4,
            num_attention_heads=4,
            max_position_embeddings=CONTEXT_LENGTH,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            tie_word_embeddings=True,
        )
    )


# The value of `model:` in a recipe for a pocket model with random weights.
NEW_POCKET_MODEL = "pocket"

HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")
COMMIT = re.compile(r"[0-9a-f]{40}")
# Files that are downloaded from the hub; pickled weights are not among them.
HUB_FILES = ["*.safetensors", "*.json", "*.model", "*.txt", "*.jinja"]


def resolve_base(model: str, revision: str | None) -> Path:
    """Return the checked directory of a base: a local directory, or the snapshot of a hub id in the local cache.

    A snapshot that is not in the cache is downloaded, unless the process is sealed or offline. Raises UserError if the
    base is not found, and as `check_model_dir` does: for pickles, also beside safetensors, and for a configuration
    that runs code (`auto_map`).
    """
    local = Path(model).expanduser()
    if local.exists():
        return check_model_dir(local.absolute())
    if not HUB_ID.fullmatch(model):
        raise UserError(
            f"model={model}: no such directory, and not a hub id (OWNER/NAME); give a model directory or a hub id"
        )
    return check_model_dir(_download_snapshot(model, revision))


def hub_commit(directory: Path | None) -> str | None:
    """Return the commit of a hub snapshot from its path in the local hub cache.

    None if `directory` is not such a path or is None.
    """
    if directory is None or directory.parent.name != "snapshots":
        return None
    return directory.name if COMMIT.fullmatch(directory.name) else None


def load_tokenizer(directory: Path) -> Any:
    """Return the tokenizer in a model directory. Raises UserError if there is no usable one."""
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(directory, trust_remote_code=False, local_files_only=True)
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise UserError(f"{directory}: no usable tokenizer ({one_line(error)[:200]})") from None


def load_model(recipe: Recipe, directory: Path | None, tokenizer: Any, hardware: Hardware) -> Any:
    """Return the model to train on its device; only its trainable weights require gradients.

    `directory` None makes a new pocket model in fp32. A frozen base in a directory is held in the run's precision, or
    quantised. Trainable weights are fp32 under bf16 too: in bf16, rounding loses an AdamW step at a small learning
    rate. Raises UserError if the model cannot be loaded or `lora.target_modules` matches no layer.
    """
    lora = recipe.method == "lora"
    if directory is None:
        model = make_pocket_model(tokenizer, recipe.seed).to(hardware.device)
    else:
        quantization = quantization_kwargs(recipe.quantization, hardware.compute_dtype)
        dtype = hardware.compute_dtype if lora else torch.float32
        model = from_pretrained(directory, dtype, hardware.device, quantization)
    return _prepare(model, recipe, directory)


def from_pretrained(
    directory: Path, dtype: torch.dtype, device: torch.device, quantization: dict[str, Any] | None = None
) -> Any:
    """Return the model in `directory` on `device`, quantised by `quantization` (of `quantization_kwargs`) if given.

    Raises UserError if it is not a causal language model that transformers can load.
    """
    from transformers import AutoModelForCausalLM

    silence_libraries()
    try:
        model: Any = AutoModelForCausalLM.from_pretrained(
            directory,
            dtype=dtype,
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
            **loading_kwargs(quantization or {}, device),
        )
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise UserError(
            f"{directory}: cannot be loaded as a causal language model ({one_line(error)[:200]})"
        ) from None
    keep_nf4_differentiable(model)
    return model if is_quantized(model) else model.to(device)


def load_on_meta_device(recipe: Recipe, directory: Path | None, tokenizer: Any) -> Any:
    """Return the model of `load_model` on torch's meta device, to estimate memory: shapes without values, in fp32.

    It is not quantised. Raises UserError as `load_model` does, and for a directory that bitsandbytes has stored in 4 or
    8 bits.
    """
    from transformers import AutoConfig, AutoModelForCausalLM

    silence_libraries()
    try:
        with torch.device("meta"):
            if directory is None:
                model = make_pocket_model(tokenizer, recipe.seed)
            else:
                config = AutoConfig.from_pretrained(directory, trust_remote_code=False, local_files_only=True)
                _reject_quantized(config, directory)
                _reject_multimodal_only(config, directory)
                model = AutoModelForCausalLM.from_config(config, trust_remote_code=False)  # type: ignore[no-untyped-call]
            return _prepare(model, recipe, directory)
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise UserError(
            f"{directory}: cannot be loaded as a causal language model ({one_line(error)[:200]})"
        ) from None


def enable_activation_checkpointing(model: Any) -> None:
    """Set `model` to recompute each layer's activations in the backward pass instead of keeping them."""
    model.gradient_checkpointing_enable({"use_reentrant": False})


def add_lora(model: Any, recipe: Recipe, directory: Path | None) -> Any:
    """Return `model` as a PeftModel: its weights frozen, with a new LoRA adapter of the recipe's shape.

    The adapter's configuration names `directory` as its base. Raises UserError if `lora.target_modules` matches no
    layer.
    """
    from peft import LoraConfig, get_peft_model

    lora = recipe.lora
    targets = find_targets(model, lora, quantized=recipe.quantization is not None)
    # The adapter's first weights then depend on the seed only, not on random numbers drawn before.
    torch.manual_seed(recipe.seed)
    config = LoraConfig(
        task_type="CAUSAL_LM",
        r=lora.r,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=targets.modules,
        target_parameters=targets.parameters or None,
        use_rslora=lora.use_rslora,
        use_dora=lora.use_dora,
        base_model_name_or_path=str(directory),
    )
    try:
        peft_model = get_peft_model(model, config)
    except ValueError as error:
        raise UserError(f"lora.target_modules={lora.target_modules}: {one_line(error)[:200]}") from None
    peft_model.peft_config["default"].base_model_name_or_path = str(directory)
    return peft_model


def _prepare(model: Any, recipe: Recipe, directory: Path | None) -> Any:
    """Return `model` with the weights frozen that the recipe does not train, and with an adapter for `method: lora`."""
    if recipe.method == "lora":
        return add_lora(model, recipe, directory)
    freeze_by_structure(model)
    return model


def trainable_parameters(model: Any) -> dict[str, torch.nn.Parameter]:
    """Return the weights that the optimizer updates, by name; shared weights once."""
    return {name: weight for name, weight in model.named_parameters() if weight.requires_grad}


def count_parameters(weights: Iterable[torch.Tensor]) -> int:
    """Return the number of scalars in `weights`."""
    return sum(weight.numel() for weight in weights)


def silence_libraries() -> None:
    """Switch off some messages of transformers, bitsandbytes and peft, and progress bars, in the whole process."""
    import transformers.utils.logging

    # This logger reports the dtype of dequantised weights, which the manifest of a merged model records.
    logging.getLogger("transformers.integrations.bitsandbytes").setLevel(logging.ERROR)
    transformers.utils.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    # This logger reports an optional 4-bit kernel that is not installed, and every cast to the compute dtype.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    # transformers has renamed the attribute; peft reads the old name, the only one in older versions.
    warnings.filterwarnings("ignore", message=".*gradient_checkpointing.*", category=FutureWarning)


def _reject_quantized(config: Any, directory: Path) -> None:
    stored = getattr(config, "quantization_config", None) or {}
    if stored.get("quant_method") == "bitsandbytes":
        raise UserError(
            f"{directory}: stored in 4 or 8 bits; give the base before quantisation, and set quantization=nf4 or =int8"
        )


def _reject_multimodal_only(config: Any, directory: Path) -> None:
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    if config.model_type not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        raise UserError(
            f"{directory}: model type {config.model_type!r} is not a causal language model in transformers, so "
            "lm_eval, exam and demo could not load the run; give its text model, saved in a directory of its own"
        )


def _download_snapshot(model: str, revision: str | None) -> Path:
    # The command line has switched off telemetry already; a caller of the Python API has not.
    no_telemetry()
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    offline = is_sealed() or os.environ.get("HF_HUB_OFFLINE", "").lower() in ("1", "true", "yes", "on")
    try:
        return Path(
            snapshot_download(model, revision=revision, local_files_only=offline, allow_patterns=HUB_FILES)
        )
    except LocalEntryNotFoundError:
        state = "and this process is offline" if offline else "and the hub cannot be reached"
        raise UserError(
            f"model={model}: no such directory, not in the local hub cache, {state}; give a local directory"
        ) from None
    except (HfHubHTTPError, OSError, ValueError) as error:
        raise UserError(
            f"model={model}: the hub refused the download ({one_line(error)[:160]}); check the id, revision= and "
            "your access rights"
        ) from None
