"""Choose the weights that are trained, by the structure of the model.

Training rows are text. So towers for images and audio, and the layers that project their output, are frozen. Routers of
a mixture of experts are frozen too, because a few rows can unbalance the load of the experts. Experts are all trained,
also those that no row has reached yet. Projections of a Mamba mixer that its kernel reads as plain tensors have no
adapter, because the kernel would ignore it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

from medalpaca_data.core.errors import UserError

from .recipe import Lora

ALL_LINEAR = "all-linear"
# Names of expert projections that transformers 5 keeps in fused parameters, and the names of these parameters.
FUSED_EXPERTS = {
    "gate_proj": "gate_up_proj",
    "up_proj": "gate_up_proj",
    "w1": "gate_up_proj",
    "w3": "gate_up_proj",
    "w2": "down_proj",
}
# Names that peft replaces by those of experts or router in a mixture of experts, in every other layer too.
REPLACED_BY_PEFT = {"gate", *FUSED_EXPERTS, "down_proj"}
# Projections of a Mamba mixer whose weights are read by its kernel.
MAMBA_KERNEL_WEIGHTS = {"out_proj", "dt_proj"}


@dataclass(frozen=True, slots=True)
class Structure:
    """Parts of a model by their names in memory.

    `text` is the prefix of the text model, empty if all weights belong to it. `routers` are modules. `experts` are
    three-dimensional parameters (experts, ...). `kernel_weights` are layers that a kernel reads as plain tensors.
    """

    text: str
    routers: frozenset[str]
    experts: tuple[str, ...]
    kernel_weights: frozenset[str]

    def is_text(self, name: str) -> bool:
        """Return whether the module or parameter `name` belongs to the text model."""
        return not self.text or name.startswith(self.text)

    def is_router(self, name: str) -> bool:
        """Return whether `name` is a router, or a part of one."""
        return any(name == router or name.startswith(f"{router}.") for router in self.routers)


def find_structure(model: Any) -> Structure:
    """Return the structure of a causal language model of transformers, without adapter."""
    names = {id(module): name for name, module in model.named_modules()}
    text = names.get(id(model.get_decoder()), "")
    prefix = f"{text}." if text else ""
    experts = tuple(_find_experts(model, prefix))
    counts = {_parent(_parent(name)): model.get_parameter(name).shape[0] for name in experts}
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.ModuleList) and name.rpartition(".")[2] == "experts":
            counts[_parent(name)] = len(module)
    kernel_weights = {
        f"{name}.{child}"
        for name, module in model.named_modules()
        if all(hasattr(module, key) for key in ("conv1d", "A_log", "D"))
        for child in MAMBA_KERNEL_WEIGHTS
        if hasattr(module, child)
    }
    return Structure(prefix, frozenset(_find_routers(model, counts)), experts, frozenset(kernel_weights))


@dataclass(frozen=True, slots=True)
class Targets:
    """What gets an adapter: `modules` as peft's `target_modules`, `parameters` as its `target_parameters`."""

    modules: str | list[str]
    parameters: list[str]


def find_targets(model: Any, lora: Lora, *, quantized: bool) -> Targets:
    """Return the layers and expert parameters of `model` that `lora` adapts.

    `model` has no adapter yet, and its base may still be unquantised. Raises UserError if a name matches no layer, or
    if dropout, DoRA or tied embeddings prevent the adapter.
    """
    structure = find_structure(model)
    linear = [name for name, module in model.named_modules() if _is_linear(module)]
    head = _head_name(model)
    if lora.target_modules == ALL_LINEAR:
        wanted = [name for name in linear if name != head]
        parameters = list(structure.experts)
    else:
        layers = [*linear, *_embedding_names(model)]
        wanted = [name for name in layers if _matches(name, lora.target_modules)]
        parameters = [name for name in structure.experts if _matches_expert(name, lora.target_modules)]
        _refuse_unmatched(lora.target_modules, layers, [*wanted, *parameters])
        _refuse_tied(model, wanted, head)
    chosen = [name for name in wanted if _is_adaptable(name, structure, head)]
    if not chosen and not parameters:
        raise UserError(
            f"lora.target_modules={lora.target_modules}: matches only parts that are not trained on text "
            f"({', '.join(wanted[:3])}); name layers of the text model"
        )
    if not structure.experts:
        return Targets(lora.target_modules if chosen == wanted else chosen, [])
    if parameters:
        _refuse_with_experts(lora)
    # peft replaces these names by the experts, so the weights of such layers are given as parameters.
    replaced = [name for name in chosen if name.rpartition(".")[2] in REPLACED_BY_PEFT]
    if not quantized:
        # peft adapts no 4-bit or 8-bit weight as a parameter.
        parameters += [f"{name}.weight" for name in replaced]
    return Targets([name for name in chosen if name not in set(replaced)], parameters)


def freeze_by_structure(model: Any) -> None:
    """Switch off gradients of everything outside the text model and of routers; the output layer stays trained."""
    structure, head = find_structure(model), _head_name(model)
    for name, weight in model.named_parameters():
        outside = not structure.is_text(name) and not (head and name.startswith(f"{head}."))
        if outside or structure.is_router(name):
            weight.requires_grad_(False)


# Weights that some steps do not use: an expert that is a module of its own, and attention to images.
CONDITIONAL_WEIGHT = re.compile(r"(^|\.)(experts\.\d+|cross_attn)\.")


def may_skip_weights(model: Any) -> bool:
    """Return whether a trained weight of `model` may get no gradient in some step.

    Fused experts always get one: it is zero for an expert without a token.
    """
    return any(
        weight.requires_grad and CONDITIONAL_WEIGHT.search(name) for name, weight in model.named_parameters()
    )


def describe_trainable(model: Any) -> str:
    """Return one line: which matrices are trained or adapted and which are not, by name and number of layers."""
    lora = hasattr(model, "peft_config")
    base = model.get_base_model() if lora else model
    names = {id(module): name for name, module in base.named_modules()}
    text, head = names.get(id(base.get_decoder()), ""), _head_name(base)
    trained, skipped = Counter[str](), Counter[str]()
    for name, module in base.named_modules():
        own = {key: weight for key, weight in module.named_parameters(recurse=False) if weight.dim() >= 2}
        if ".lora_" in name or not own:
            continue
        # The adapters of one module are nested, one for each of its parameters.
        path = re.sub(r"(\.base_layer)+$", "", name)
        layer = base.get_submodule(path)
        adapters = {"weight" if key is None else key for key in _adapted_parameters(layer)}
        for key, weight in own.items():
            label = _label(path if key == "weight" else f"{path}.{key}")
            if text and not path.startswith(f"{text}.") and path != head:
                label = path.removeprefix(f"{_parent(text)}.").partition(".")[0]
            (trained if (key in adapters if lora else weight.requires_grad) else skipped)[label] += 1
    verb = "adapted" if lora else "trained"
    parts = [f"{verb}: {_format(trained)}"]
    if skipped:
        parts.append(f"not {verb}: {_format(skipped)}")
    return "; ".join(parts)


def _adapted_parameters(layer: Any) -> Iterator[str | None]:
    while hasattr(layer, "base_layer"):
        if hasattr(layer, "lora_A"):
            yield getattr(layer, "parameter_name", None)
        layer = layer.base_layer


def _find_experts(model: Any, prefix: str) -> Iterator[str]:
    convolutions = (torch.nn.Conv1d, torch.nn.Conv2d, torch.nn.Conv3d)
    for name, weight in model.named_parameters():
        owner = model.get_submodule(_parent(name))
        if weight.dim() == 3 and name.startswith(prefix) and not isinstance(owner, convolutions):
            yield name


def _find_routers(model: Any, counts: dict[str, int]) -> Iterator[str]:
    """Yield the routers beside experts: small matrices with one output per expert, or a single output."""
    for block, experts in counts.items():
        for name, module in model.get_submodule(block).named_modules():
            first, _, rest = name.partition(".")
            if not name or first == "experts" or ("expert" in first and not first.endswith("gate")):
                continue
            weight = getattr(module, "weight", None)
            if (
                rest.count(".") == 0
                and weight is not None
                and weight.dim() == 2
                and weight.shape[0] in (1, experts)
            ):
                yield f"{block}.{first}" if block else first


def _is_adaptable(name: str, structure: Structure, head: str | None) -> bool:
    if name == head:
        return True
    return structure.is_text(name) and not structure.is_router(name) and name not in structure.kernel_weights


def _is_linear(module: Any) -> bool:
    from transformers.pytorch_utils import Conv1D

    return isinstance(module, torch.nn.Linear | Conv1D)


def _head_name(model: Any) -> str | None:
    head = model.get_output_embeddings()
    return next((name for name, module in model.named_modules() if module is head), None) if head else None


def _embedding_names(model: Any) -> list[str]:
    return [name for name, module in model.named_modules() if isinstance(module, torch.nn.Embedding)]


def _matches(name: str, targets: str | list[str]) -> bool:
    """Return whether peft would adapt the layer `name`: a string is a regular expression, a list has endings."""
    if isinstance(targets, str):
        return re.fullmatch(targets, name) is not None
    return any(name == target or name.endswith(f".{target}") for target in targets)


def _matches_expert(name: str, targets: str | list[str]) -> bool:
    path, _, leaf = name.rpartition(".")
    names = {leaf, *(old for old, fused in FUSED_EXPERTS.items() if fused == leaf)}
    return any(_matches(f"{path}.{one}", targets) for one in names)


def _refuse_unmatched(targets: str | list[str], layers: list[str], matched: list[str]) -> None:
    leaves = {name.rpartition(".")[2] for name in layers}
    wrong = [targets] if isinstance(targets, str) and not matched else []
    if isinstance(targets, list):
        wrong = [
            target
            for target in targets
            if not any(_matches(name, [target]) or _matches_expert(name, [target]) for name in matched)
        ]
    if wrong:
        raise UserError(
            f"lora.target_modules: {', '.join(wrong)} matches no layer of this model; "
            f"its layers are {', '.join(sorted(leaves))}"
        )


def _refuse_tied(model: Any, wanted: list[str], head: str | None) -> None:
    inputs, output = model.get_input_embeddings(), model.get_output_embeddings()
    tied = output is not None and output.weight is inputs.weight
    names = {name for name, module in model.named_modules() if module is inputs} | {head or ""}
    if tied and (found := sorted(names & set(wanted))):
        raise UserError(
            f"lora.target_modules: {found[0]} is one matrix with the other embedding (tie_word_embeddings), so an "
            f"adapter on it cannot be merged; remove {found[0].rpartition('.')[2]} from the list"
        )


def _refuse_with_experts(lora: Lora) -> None:
    for key, value in (("dropout", lora.dropout), ("use_dora", lora.use_dora)):
        if value:
            raise UserError(
                f"lora.{key}={value}: not possible for the experts of a mixture of experts; set it to "
                f"{'0' if key == 'dropout' else 'false'}, or list layers without experts in lora.target_modules"
            )


def _parent(name: str) -> str:
    return name.rpartition(".")[0]


def _label(name: str) -> str:
    """Return a short label: the last two names of the path without numbers."""
    parts = [
        part
        for part in name.split(".")
        if not part.isdigit() and part not in ("base_model", "base_layer", "model", "layers")
    ]
    return ".".join(parts[-2:])


def _format(counts: Counter[str]) -> str:
    return ", ".join(f"{name} {number}" for name, number in sorted(counts.items()))
