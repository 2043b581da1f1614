"""Comparison of an adapter's layers with those of a base, by the names and shapes of tensors.

Standard library only, as `weights`.
"""

from __future__ import annotations

from pathlib import Path

from .errors import UserError

# Names in a path that differ between a checkpoint and the model that transformers 5 makes from it.
WRAPPERS = {"base_model", "model", "transformer", "language_model", "text_model", "vision_model"}
_Shape = tuple[int, ...]


def check_layers(
    adapter: Path, shapes: dict[str, _Shape], base: Path, base_shapes: dict[str, _Shape]
) -> None:
    """Raise UserError if layers of the adapter do not fit those of the base.

    `shapes` and `base_shapes` are the shapes of all tensors by name; the two paths are for the message.

    transformers 5 renames layers of a checkpoint while it loads them, and joins experts in one parameter. So wrappers
    of the path are ignored, and joined experts are compared with the experts of the same layer.
    """
    of_base: dict[tuple[str, ...], _Shape] = {}
    experts: dict[str | None, set[int]] = {}
    for name, shape in base_shapes.items():
        path = _layer_path(name.removesuffix(".weight"))
        of_base[path] = shape
        if "experts" in path:
            experts.setdefault(_layer_number(path), set()).update(shape)
    names = {path[-1] for path in of_base}
    missing = known = 0
    for name, shape in shapes.items():
        module, marker, _ = name.partition(".lora_A.")
        if not marker or len(shape) != 2:
            continue
        output = shapes.get(name.replace(".lora_A.", ".lora_B."), (0, 0))[0]
        path = _layer_path(module.removesuffix(".base_layer"))
        if path[-1] == "experts":
            sizes = experts.get(_layer_number(path), set())
            missing, known = (missing, known + 1) if {shape[1], output} & sizes else (missing + 1, known)
            continue
        weight = of_base.get(path)
        if weight is None or len(weight) != 2:
            # A name that occurs nowhere in the base has been converted: it cannot be compared.
            missing += path[-1] in names
            continue
        known += 1
        # Conv1D layers store the transpose.
        if weight not in ((output, shape[1]), (shape[1], output)):
            raise UserError(
                f"{adapter}: adapter of another base: {module} is {weight[0]}x{weight[1]} in {base}, "
                f"but {output}x{shape[1]} in the adapter"
            )
    # If no layer has the expected path, the checkpoint may use another prefix. Then module names such as q_proj or
    # c_attn still occur in the base; if none occurs, it is another architecture.
    wanted = {
        _layer_path(name.partition(".lora_A.")[0].removesuffix(".base_layer"))[-1]
        for name in shapes
        if ".lora_A." in name
    }
    if wanted and not wanted & {*names, *(["experts"] if experts else [])}:
        raise UserError(
            f"{adapter}: adapter of another base: its layers ({', '.join(sorted(wanted))}) do not occur in {base}"
        )
    if known and missing:
        raise UserError(
            f"{adapter}: adapter of another base: {missing} of its {known + missing} layers are not in {base}"
        )


def _layer_path(name: str) -> tuple[str, ...]:
    """Return the names of a path without its wrappers."""
    return tuple(part for part in name.split(".") if part not in WRAPPERS)


def _layer_number(path: tuple[str, ...]) -> str | None:
    """Return the first number of a path: that of the layer."""
    return next((part for part in path if part.isdigit()), None)
