"""The recipe: all settings of a run as typed, frozen fields, and the arguments of `train canary`.

A field is a key in a YAML file and a `key=value` on the command line.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, field_validator, model_validator

from medalpaca_data.core import paths
from medalpaca_data.core.config import Config, load_config
from medalpaca_data.core.errors import UserError, nearest
from medalpaca_data.core.files import read_text
from medalpaca_data.core.typed import parse_yaml
from medalpaca_data.core.weights import check_adapter_dir, check_model_dir

# Keys that may change when a run is resumed: none of them changes what a step computes. (`shard` changes rounding.)
CHANGEABLE_ON_RESUME = {
    "out",
    "resume",
    # Their contents are compared by hash (`run_dir.check_hashes`), so that a copied or moved directory is the same.
    "data",
    "model",
    "save_every",
    "keep_checkpoints",
    "track",
    "shard",
    "patient_text",
    "accept_patient_text",
}


class Lora(Config):
    """Settings of the LoRA adapter that is trained beside the frozen base."""

    r: int = Field(default=16, ge=1, description="rank of the adapter")
    alpha: int = Field(default=32, ge=1, description="the adapter is scaled by alpha / r")
    dropout: float = Field(default=0.0, ge=0, lt=1, description="dropout on the adapter's input in training")
    target_modules: str | list[str] = Field(
        default="all-linear",
        description="layers with an adapter: `all-linear` (text model and experts, without output layer and routers) "
        "or a list of names",
    )
    use_rslora: bool = Field(
        default=False, description="scale by alpha / sqrt(r) instead (rsLoRA), for high ranks"
    )
    use_dora: bool = Field(
        default=False, description="train the norm of each weight column separately (DoRA); slower"
    )


class Recipe(Config):
    """The settings of one training run."""

    model: str = Field(
        description="model directory or hub id; `pocket`: a new pocket model; `pocket-base`: the quickstart's base"
    )
    revision: str | None = Field(default=None, description="commit, tag or branch of a hub model")
    data: str = Field(
        description="Meadow directory, or rows as .json .jsonl .csv .parquet; `pocket`, `pocket-language`: built in"
    )
    validation: float | str = Field(
        default=0.02,
        description="file of rows, or share of the rows of `data`, held out in whole groups if it has no validation "
        "split; 0: none",
    )
    patient_text: bool | None = Field(
        default=None,
        description="whether rows are written by or about patients; null: by the ledger, without one by a search for "
        "identifiers",
    )
    accept_patient_text: str | None = Field(
        default=None,
        min_length=1,
        description="train although identifiers were found or a de-identification record is missing; the responsible "
        "person and the reason, both recorded in the model card",
    )
    out: str | None = Field(
        default=None, description="run directory to write; null: `runs/NAME` in MEDALPACA_HOME"
    )
    seed: int = Field(
        default=0,
        ge=0,
        lt=2**32,
        description="random seed of first weights, order, dropout, validation split",
    )
    resume: bool = Field(
        default=True, description="continue the run in `out`; false: start anew, `out` must be empty"
    )
    method: Literal["lora", "full"] = Field(
        default="lora", description="train a LoRA adapter, or all weights"
    )
    lora: Lora = Field(default_factory=Lora, description="shape of the adapter; unused with `method: full`")
    quantization: Literal["nf4", "int8"] | None = Field(
        default=None,
        description="hold the frozen base in 4 bits (NF4 with double quantisation) or 8 bits (LLM.int8); LoRA only",
    )
    loss: Literal["answer", "all"] = Field(
        default="answer", description="supervised tokens: answer and EOS, or prompt as well"
    )
    max_tokens: int = Field(default=1024, ge=8, description="most tokens of a row")
    overlong: Literal["drop", "cut"] = Field(
        default="drop",
        description="longer rows are dropped, or cut and closed with EOS; both are counted and listed",
    )
    batch_tokens: int = Field(
        default=8192, ge=8, description="most tokens of a micro-batch, into which rows are packed"
    )
    accumulate: int = Field(default=1, ge=1, description="micro-batches per optimizer step")
    batch_rows: int | None = Field(
        default=None,
        ge=1,
        description="rows per optimizer step, in as many micro-batches as needed; null: by `accumulate`",
    )
    epochs: float = Field(default=1.0, gt=0, description="passes over the data; fractions are allowed")
    max_steps: int | None = Field(
        default=None, ge=1, description="stop after this many steps even if epochs remain; null: no limit"
    )
    learning_rate: float = Field(default=2e-4, gt=0, description="peak learning rate")
    schedule: Literal["cosine", "constant"] = Field(
        default="cosine", description="learning rate after warm-up: cosine decay to zero, or constant"
    )
    warmup: float = Field(
        default=0.03,
        ge=0,
        le=1,
        description="share of the steps in which the learning rate rises to its peak",
    )
    warmup_steps: int | None = Field(
        default=None, ge=0, description="number of warm-up steps, instead of the share `warmup`"
    )
    beta2: float = Field(
        default=0.99, gt=0, lt=1, description="AdamW's decay of the mean of squared gradients"
    )
    weight_decay: float = Field(
        default=0.0, ge=0, description="AdamW's weight decay of matrices; norms and biases have none"
    )
    max_grad_norm: float = Field(default=1.0, gt=0, description="gradients are clipped to this norm")
    precision: Literal["auto", "fp32", "bf16"] = Field(
        default="auto", description="arithmetic; auto: bf16 on a GPU that supports it, else fp32"
    )
    checkpointing: Literal["auto", "always", "never"] = Field(
        default="auto",
        description="gradient checkpointing: recompute activations in the backward pass, slower with less memory; "
        "auto: if memory is short",
    )
    shard: Literal["none", "full"] = Field(
        default="none",
        description="with several processes: the whole model in each (DDP), or a share of it (FSDP2)",
    )
    eval_every: int = Field(
        default=0,
        ge=0,
        description="steps between validations; 0: only before the first step and after the last",
    )
    save_every: int = Field(default=200, ge=1, description="steps between checkpoints")
    keep_checkpoints: int = Field(
        default=2, ge=1, description="number of newest checkpoints that are kept during the run"
    )
    track: tuple[Literal["tensorboard", "wandb", "mlflow"], ...] = Field(
        default=(), description="also send metrics to these trackers; each needs its own package"
    )

    @model_validator(mode="after")
    def _check_together(self) -> Recipe:
        if self.batch_tokens < self.max_tokens:
            raise ValueError(
                f"batch_tokens={self.batch_tokens} is less than max_tokens={self.max_tokens}; a row must fit a batch"
            )
        if isinstance(self.validation, float | int) and not 0 <= self.validation < 1:
            raise ValueError(
                f"validation={self.validation} is not allowed; give a share of at least 0 and less than 1, or a file"
            )
        if self.quantization and self.method != "lora":
            raise ValueError(
                f"quantization={self.quantization} needs method=lora: quantised weights are not trained"
            )
        return self


def built_in_recipes() -> dict[str, Path]:
    """Return the files of the recipes in this package, by name."""
    folder = Path(str(resources.files("medalpaca_train"))) / "recipes"
    return {file.stem: file for file in sorted(folder.glob("*.yaml"))}


def read_recipe(named: str, overrides: Sequence[str] = ()) -> tuple[str, Recipe]:
    """Return (name, recipe) of a built-in recipe or a YAML file, changed by `key=value` overrides.

    The name of a YAML file is its file name without suffix. Raises UserError for an unknown name, a missing file, an
    unknown key or a value that is not allowed.
    """
    recipes = built_in_recipes()
    if named in recipes:
        return named, load_config(Recipe, recipes[named], overrides, where=f"recipe {named}")
    file = Path(named).expanduser()
    if file.suffix not in (".yaml", ".yml"):
        guess = nearest(named, recipes)
        hint = f"did you mean {guess!r}?" if guess else "or give a .yaml file"
        raise UserError(f"no recipe {named!r}; built-in recipes: {', '.join(recipes)}; {hint}")
    return file.stem, load_config(Recipe, file, overrides, where=str(file))


def to_yaml(recipe: Recipe) -> str:
    """Return all keys of the recipe as YAML, those with their default value included."""
    return yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def first_difference(recipe: Recipe, stored: Path) -> str | None:
    """Return the first key of `recipe` that differs from the recipe file `stored`, as `key: old -> new`.

    Keys are compared in alphabetical order, without those in `CHANGEABLE_ON_RESUME`. None if all compared keys are
    equal.
    """
    old, new = _flatten(_stored_values(stored)), _flatten(recipe.model_dump(mode="json"))
    for key in sorted(old.keys() | new.keys()):
        if key not in CHANGEABLE_ON_RESUME and old.get(key) != new.get(key):
            return f"{key}: {old.get(key)} -> {new.get(key)}"
    return None


def _stored_values(file: Path) -> dict[str, Any]:
    values = parse_yaml(read_text(file), str(file)) or {}
    if not isinstance(values, dict):
        raise UserError(f"{file}: not a mapping of keys to values; choose another out=")
    return values


def _flatten(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


CANARY_SUFFIX = "-canary"
# Number of different names of synthetic patients in `canary`.
MAX_PATIENTS = 180


class CanaryTest(Config):
    """The settings of a canary test, given to `train canary` as `key=value` beside keys of the recipe.

    `repeats` are numbers of copies of a patient's row; `patients` is the number of patients for each of them, and of
    the control; `candidates` is the number of record numbers that a true one is ranked among, itself included;
    `canary_seed` seeds patients and numbers.
    """

    repeats: tuple[int, ...] = Field(default=(1, 10, 100), min_length=1)
    patients: int = Field(default=4, ge=1)
    candidates: int = Field(default=1024, ge=2, le=100_000)
    canary_seed: int = Field(default=0, ge=0)

    @field_validator("repeats")
    @classmethod
    def _check_increasing(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if any(count < 1 for count in value) or sorted(set(value)) != list(value):
            raise ValueError(
                f"{list(value)} is not allowed; give increasing numbers of at least 1, such as [1, 10, 100] "
                "(the control group with 0 copies is always added)"
            )
        return value

    @model_validator(mode="after")
    def _check_names(self) -> CanaryTest:
        count = (len(self.repeats) + 1) * self.patients
        if count > MAX_PATIENTS:
            raise ValueError(
                f"{count} patients (control included) are more than the {MAX_PATIENTS} names for synthetic patients; "
                "lower patients= or give fewer repeats="
            )
        return self


@dataclass(frozen=True, slots=True)
class CanaryRequest:
    """One canary test: settings, recipe and its name, and the output directory.

    `run` is the finished run whose recipe is used; None if the command names a recipe instead.
    """

    test: CanaryTest
    recipe: Recipe
    name: str
    run: Path | None
    out: Path


def parse_canary_arguments(words: Sequence[str]) -> CanaryRequest:
    """Return the request of `train canary WORDS`.

    Without the key `out=`, `out` is the path of the run plus "-canary", or `NAME-canary` in the directory of runs for
    the recipe NAME. Raises UserError if `words` do not name exactly one recipe or finished run, or if a key is not
    allowed. Raises it also if the run's weights are missing, unsafe, or do not match its manifest.
    """
    own = [word for word in words if "=" in word and word.partition("=")[0] in CanaryTest.model_fields]
    others = [word for word in words if "=" in word and word not in own]
    named = [word for word in words if "=" not in word]
    if len(named) != 1:
        given = ", ".join(named) if named else "none"
        raise UserError(
            f"train canary: give one recipe or one finished run, as in `train canary runs/mine`; given: {given}"
        )
    test = load_config(CanaryTest, {}, own, where="train canary")
    run = Path(named[0]).expanduser().absolute()
    if not run.is_dir():
        name, recipe = read_recipe(named[0], others)
        out = (
            Path(recipe.out).expanduser().absolute()
            if recipe.out
            else paths.runs() / f"{name}{CANARY_SUFFIX}"
        )
        return CanaryRequest(test, recipe, name, None, out)
    if not (run / "manifest.json").is_file() or not (run / "recipe.yaml").is_file():
        raise UserError(
            f"{run}: not a finished run (no manifest.json or recipe.yaml); give the run directory that `train` printed"
        )
    # The run's weights are not loaded, but its model card gets a section with the result.
    (check_adapter_dir if (run / "adapter_config.json").is_file() else check_model_dir)(run)
    recipe = read_recipe(str(run / "recipe.yaml"), others)[1]
    has_out = any(word.startswith("out=") for word in others)
    default = run.with_name(f"{run.name}{CANARY_SUFFIX}")
    out = Path(str(recipe.out)).expanduser().absolute() if has_out else default
    return CanaryRequest(test, recipe, run.name, run, out)
