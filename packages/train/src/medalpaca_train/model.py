"""A base in 4 or 8 bits, through bitsandbytes: how it is asked for, what it takes, and what has to be guarded.

NF4 with double quantisation is that of QLoRA (Dettmers et al. 2023, arXiv 2305.14314), int8 that of LLM.int8 (Dettmers
et al. 2022, arXiv 2208.07339). The output layer and the embeddings stay as they are.

The pocket model: a Llama of about a million parameters and its tokenizer, made from nothing but text.

It exists so that the whole chain can run on a machine without a hub and without a GPU. It is no medical model.

Loading a base and its tokenizer: safetensors only, no code from the model's files; and the LoRA update on it.
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

# Bytes of a weight. NF4: half a byte, one byte of scale per 64 weights, one fp32 scale of scales per 256 of those.
BYTES = {"nf4": 0.5 + 1 / 64 + 4 / (64 * 256), "int8": 1.0}


def settings(quantization: str | None, dtype: torch.dtype) -> dict[str, Any]:
    """bitsandbytes' own words for `quantization`, computing in `dtype`; empty for none. What a receipt records."""
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


def loading(words: dict[str, Any], device: torch.device) -> dict[str, Any]:
    """What `from_pretrained` is told beside, so that the weights are quantised as they are read; `words` as above."""
    if not words:
        return {}
    from transformers import BitsAndBytesConfig

    return {
        "quantization_config": BitsAndBytesConfig(**words),  # type: ignore[no-untyped-call]
        "device_map": {"": str(device)},
    }


def is_quantized(model: Any) -> bool:
    """Whether the weights are bitsandbytes': they lie where they were made, and are not moved or cast."""
    return bool(getattr(model, "is_quantized", False))


def keep_differentiable(model: Any) -> None:
    """Have NF4 layers stay what they are when a CPU evaluates them.

    On a CPU with AVX512-BF16, bitsandbytes (0.50.2) packs the weights for inference in place at the first evaluation,
    and from then on computes without gradients, in training too: all that lies below a layer goes on unlearned,
    without an error. For layers narrower than a block of 64 the packing itself fails.
    """
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False


@contextmanager
def rowwise(model: Any) -> Iterator[None]:
    """int8 products in which no token depends on its company, while the block runs.

    LLM.int8 computes a whole channel in full precision as soon as any token of the batch is large in it: a
    difference of rounding, which would look like documents that see each other.
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


def base_bytes(model: Any, recipe: Recipe, element: int) -> int:
    """Bytes of the frozen weights of `model` (which may lie on the meta device, not quantised), `element` each."""
    head = model.get_output_embeddings()
    frozen: int = sum(weight.numel() for weight in model.parameters() if not weight.requires_grad)
    if recipe.quantization is None:
        return frozen * element
    small: int = sum(matrix.numel() for matrix in _quantised(model, head))
    return int(small * BYTES[recipe.quantization]) + (frozen - small) * element


def widened_bytes(model: Any, recipe: Recipe, element: int) -> int:
    """Bytes of the largest quantised matrix of `model` in the run's precision: what a product takes for a moment."""
    if recipe.quantization is None:
        return 0
    head = model.get_output_embeddings()
    largest: int = max((matrix.numel() for matrix in _quantised(model, head)), default=0)
    return largest * element


def _quantised(model: Any, head: Any) -> Iterator[torch.Tensor]:
    """The matrices that would be quantised: of all linear layers but the output layer and the update's own."""
    for module in model.modules():
        if isinstance(module, torch.nn.Linear) and module is not head and not module.weight.requires_grad:
            yield module.weight


VOCABULARY = 1_024  # byte-level pieces: every text can be written, frequent words are one or two pieces
CONTEXT = 4_096  # tokens; longer than any exam question, so that an exam never has to cut one
BOS, EOS = "<s>", "</s>"


def make_tokenizer(texts: Iterable[str]) -> Any:
    """A byte-level BPE tokenizer of `VOCABULARY` pieces, trained on `texts`. The same texts give the same pieces.

    BOS is added by the post-processor, as real Llama tokenizers do, so that nobody has to remember it.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
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
        tokenizer_object=tokenizer, bos_token=BOS, eos_token=EOS, model_max_length=CONTEXT
    )


def make_model(tokenizer: Any, seed: int) -> Any:
    """A freshly drawn Llama for `tokenizer`; the same seed gives the same weights."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=VOCABULARY,
            hidden_size=128,
            intermediate_size=384,
            num_hidden_layers=4,
            num_attention_heads=4,
            max_position_embeddings=CONTEXT,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            tie_word_embeddings=True,
        )
    )


FRESH = "pocket"  # the `model:` word for a model made from nothing

HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")
COMMIT = re.compile(r"[0-9a-f]{40}")
# Everything a model directory needs; pickles are not even downloaded.
HUB_FILES = ["*.safetensors", "*.json", "*.model", "*.txt", "*.jinja"]


def base_directory(model: str, revision: str | None) -> Path:
    """The checked directory of a base: itself if local, else the hub snapshot in the local cache.

    Raises UserError when it is nowhere, holds pickles instead of safetensors, or asks to run code.
    """
    local = Path(model).expanduser()
    if local.exists():
        return check_model_dir(local.absolute())
    if not HUB_ID.fullmatch(model):
        raise UserError(f"model={model}: no such directory, and not a hub id (OWNER/NAME)")
    return check_model_dir(_snapshot(model, revision))


def commit_of(directory: Path | None) -> str | None:
    """The commit of the hub that a base's directory holds: the name of the cache's snapshot. None if it is no such."""
    snapshot = (
        directory is not None and directory.parent.name == "snapshots" and COMMIT.fullmatch(directory.name)
    )
    return directory.name if directory is not None and snapshot else None


def load_tokenizer(directory: Path) -> Any:
    """The tokenizer that lies with a model."""
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(directory, trust_remote_code=False, local_files_only=True)
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise UserError(f"{directory}: no usable tokenizer ({one_line(error)[:200]})") from None


def load_model(recipe: Recipe, directory: Path | None, tokenizer: Any, hardware: Hardware) -> Any:
    """The model to train, on its device, with only its trainable weights asking for gradients.

    `directory` None makes a fresh pocket model. A frozen base is held in the run's precision, or quantised. What is
    trained is held in fp32 also under bf16: in bf16 an AdamW step at a small rate is lost in rounding.
    """
    lora = recipe.method == "lora"
    if directory is None:
        model = make_model(tokenizer, recipe.seed).to(hardware.device)
    else:
        words = settings(recipe.quantization, hardware.compute_dtype)
        dtype = hardware.compute_dtype if lora else torch.float32
        model = from_pretrained(directory, dtype, hardware.device, words)
    return with_lora(model, recipe, directory) if lora else model


def from_pretrained(
    directory: Path, dtype: torch.dtype, device: torch.device, words: dict[str, Any] | None = None
) -> Any:
    """The model in `directory` on `device`; quantised as it is read where `words` (`quantization.settings`) say so."""
    from transformers import AutoModelForCausalLM

    hush()
    try:
        model: Any = AutoModelForCausalLM.from_pretrained(
            directory,
            dtype=dtype,
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
            **loading(words or {}, device),
        )
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise UserError(
            f"{directory}: cannot be loaded as a causal model ({one_line(error)[:200]})"
        ) from None
    keep_differentiable(model)
    return model if is_quantized(model) else model.to(device)


def skeleton(recipe: Recipe, directory: Path | None, tokenizer: Any) -> Any:
    """The model that `load_model` would return, with shapes and without weights (on the meta device)."""
    from transformers import AutoConfig, AutoModelForCausalLM

    hush()
    try:
        with torch.device("meta"):
            if directory is None:
                model = make_model(tokenizer, recipe.seed)
            else:
                config = AutoConfig.from_pretrained(directory, trust_remote_code=False, local_files_only=True)
                _refuse_quantised(config, directory)
                model = AutoModelForCausalLM.from_config(config, trust_remote_code=False)  # type: ignore[no-untyped-call]
            return with_lora(model, recipe, directory) if recipe.method == "lora" else model
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise UserError(
            f"{directory}: cannot be loaded as a causal model ({one_line(error)[:200]})"
        ) from None


def checkpoint_activations(model: Any) -> None:
    """Have each layer computed again in the backward pass instead of keeping what it made."""
    model.gradient_checkpointing_enable({"use_reentrant": False})


def with_lora(model: Any, recipe: Recipe, directory: Path | None) -> Any:
    """Freeze `model` and put the recipe's update beside its layers."""
    from peft import LoraConfig, get_peft_model

    shape = recipe.lora
    # First weights depend on the seed alone, not on what was drawn before.
    torch.manual_seed(recipe.seed)
    config = LoraConfig(
        task_type="CAUSAL_LM",
        r=shape.r,
        lora_alpha=shape.alpha,
        lora_dropout=shape.dropout,
        target_modules=shape.target_modules,
        use_rslora=shape.use_rslora,
        use_dora=shape.use_dora,
        base_model_name_or_path=str(directory),
    )
    try:
        peft_model = get_peft_model(model, config)
    except ValueError as error:
        raise UserError(f"lora.target_modules={shape.target_modules}: {one_line(error)[:200]}") from None
    peft_model.peft_config["default"].base_model_name_or_path = str(directory)
    return peft_model


def trainable(model: Any) -> dict[str, torch.nn.Parameter]:
    """Name -> weight of everything the optimizer moves; shared weights once."""
    return {name: weight for name, weight in model.named_parameters() if weight.requires_grad}


def count(weights: Iterable[torch.Tensor]) -> int:
    """Number of scalars in `weights`."""
    return sum(weight.numel() for weight in weights)


def hush() -> None:
    """Keep the libraries' own bars and notices out of ours."""
    import transformers.utils.logging

    # Says in which dtype a model is made wide again; the receipt does too.
    logging.getLogger("transformers.integrations.bitsandbytes").setLevel(logging.ERROR)
    transformers.utils.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    # Announces an optional 4-bit kernel that it did not find, and every cast to the dtype it computes in.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    # transformers renames it; peft asks by the old name, and older versions have no other.
    warnings.filterwarnings("ignore", message=".*gradient_checkpointing.*", category=FutureWarning)


def _refuse_quantised(config: Any, directory: Path) -> None:
    stored = getattr(config, "quantization_config", None) or {}
    if stored.get("quant_method") == "bitsandbytes":
        raise UserError(
            f"{directory}: is stored in 4 or 8 bits; give the base as it was before, and quantization=nf4 or =int8"
        )


def _snapshot(model: str, revision: str | None) -> Path:
    no_telemetry()  # also where no command of ours has done so
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    offline = is_sealed() or os.environ.get("HF_HUB_OFFLINE", "").lower() in ("1", "true", "yes", "on")
    try:
        return Path(
            snapshot_download(model, revision=revision, local_files_only=offline, allow_patterns=HUB_FILES)
        )
    except LocalEntryNotFoundError:
        state = "and the hub is off limits (offline)" if offline else "and the hub cannot be reached"
        raise UserError(
            f"model={model}: no such directory, not in the local hub cache, {state}; give a local directory"
        ) from None
    except (HfHubHTTPError, OSError, ValueError) as error:
        raise UserError(f"model={model}: the hub refused it ({one_line(error)[:160]})") from None
