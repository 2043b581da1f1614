"""The recipe: every choice of a run, typed and frozen. A field is a YAML key and a `key=value` on the command line.

What `train canary` is asked: which recipe or run, how many synthetic patients, how often each.
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
from medalpaca_data.core.weights import check_adapter_dir, check_model_dir

# What may differ between a run and its continuation: none of these touches the arithmetic.
FREE_TO_CHANGE = {
    "out",
    "resume",
    "save_every",
    "keep_checkpoints",
    "track",
    "shard",
    "patient_text",
    "accept_patient_text",
}


class Lora(Config):
    """The low-rank update that is trained beside the frozen base."""

    r: int = Field(default=16, ge=1, description="rank of the update")
    alpha: int = Field(default=32, ge=1, description="strength: the update is scaled by alpha / r")
    dropout: float = Field(
        default=0.0, ge=0, lt=1, description="share of the update's inputs dropped while training"
    )
    target_modules: str | list[str] = Field(
        default="all-linear",
        description="layers that get an update: `all-linear` (but the output layer) or names",
    )
    use_rslora: bool = Field(default=False, description="scale by alpha / sqrt(r) instead, for high ranks")
    use_dora: bool = Field(
        default=False, description="train the length of each weight column separately; slower"
    )


class Recipe(Config):
    """One training run."""

    model: str = Field(
        description="local directory or hub id; `pocket`: a fresh pocket model; `pocket-base`: the quickstart's base"
    )
    revision: str | None = Field(default=None, description="commit, tag or branch of a hub model")
    data: str = Field(
        description="Meadow directory or .json .jsonl .csv .parquet rows; `pocket`, `pocket-language`: built in"
    )
    validation: float | str = Field(
        default=0.02,
        description="file of rows, or the share of groups held out of `data` when it has no validation split; 0: none",
    )
    patient_text: bool | None = Field(
        default=None,
        description="rows of or about patients: no, yes, or unsaid: by their ledger, else looked for",
    )
    accept_patient_text: str | None = Field(
        default=None,
        min_length=1,
        description="who answers for training on what the de-identification gate refuses, and why",
    )
    out: str | None = Field(
        default=None, description="run directory; default: `runs/NAME` under MEDALPACA_HOME"
    )
    seed: int = Field(
        default=0, ge=0, lt=2**32, description="of first weights, order, dropout and validation split"
    )
    resume: bool = Field(
        default=True,
        description="continue a run found in `out`; false: start, and refuse an `out` that holds something",
    )
    method: Literal["lora", "full"] = Field(
        default="lora", description="train a low-rank update, or all weights"
    )
    lora: Lora = Field(default_factory=Lora, description="the update's shape; unused with `method: full`")
    quantization: Literal["nf4", "int8"] | None = Field(
        default=None,
        description="hold the frozen base in 4 bits (NF4, double quantisation) or 8 (LLM.int8); LoRA only",
    )
    loss: Literal["answer", "all"] = Field(
        default="answer", description="tokens that are learned: answer and EOS, or all"
    )
    max_tokens: int = Field(default=1024, ge=8, description="most tokens of a row")
    overlong: Literal["drop", "cut"] = Field(
        default="drop",
        description="rows with more tokens than that are dropped, or cut and closed with EOS; counted",
    )
    batch_tokens: int = Field(
        default=8192, ge=8, description="most tokens in a micro-batch; rows are packed into it"
    )
    accumulate: int = Field(default=1, ge=1, description="micro-batches per optimizer step")
    batch_rows: int | None = Field(
        default=None, ge=1, description="rows per optimizer step, in as many micro-batches as they need"
    )
    epochs: float = Field(default=1.0, gt=0, description="passes over the data; fractions allowed")
    max_steps: int | None = Field(
        default=None, ge=1, description="stop after this many steps even if epochs remain"
    )
    learning_rate: float = Field(default=2e-4, gt=0, description="peak")
    schedule: Literal["cosine", "constant"] = Field(
        default="cosine", description="after warm-up: to zero by cosine, or level"
    )
    warmup: float = Field(
        default=0.03, ge=0, le=1, description="share of the steps over which the rate rises from zero"
    )
    warmup_steps: int | None = Field(default=None, ge=0, description="so many steps instead of that share")
    beta2: float = Field(default=0.99, gt=0, lt=1, description="AdamW's memory of squared gradients")
    weight_decay: float = Field(
        default=0.0, ge=0, description="AdamW decay of matrices; never of norms and biases"
    )
    max_grad_norm: float = Field(default=1.0, gt=0, description="gradients are scaled down to this norm")
    precision: Literal["auto", "fp32", "bf16"] = Field(
        default="auto", description="of the arithmetic; auto: bf16 on a GPU that has it, else fp32"
    )
    checkpointing: Literal["auto", "always", "never"] = Field(
        default="auto",
        description="compute activations again in the backward pass: slower, less memory; auto: if memory asks for it",
    )
    shard: Literal["none", "full"] = Field(
        default="none",
        description="with several processes: the whole model in each (DDP), or a share of it (FSDP2)",
    )
    eval_every: int = Field(
        default=0, ge=0, description="steps between validations; 0: before the first and after the last"
    )
    save_every: int = Field(default=200, ge=1, description="steps between checkpoints")
    keep_checkpoints: int = Field(
        default=2, ge=1, description="how many of the newest checkpoints are kept while running"
    )
    track: tuple[Literal["tensorboard", "wandb", "mlflow"], ...] = Field(
        default=(), description="send metrics there as well; each needs its own package"
    )

    @model_validator(mode="after")
    def _a_row_fits_a_batch(self) -> Recipe:
        if self.batch_tokens < self.max_tokens:
            raise ValueError(f"batch_tokens={self.batch_tokens} is less than max_tokens={self.max_tokens}")
        if isinstance(self.validation, float | int) and not 0 <= self.validation < 1:
            raise ValueError("validation is a share from 0 up to (not including) 1, or a file")
        if self.quantization and self.method != "lora":
            raise ValueError(
                f"quantization={self.quantization} needs method=lora: quantised weights are not trained"
            )
        return self


def built_in() -> dict[str, Path]:
    """Name -> file of the recipes that come with the package."""
    folder = Path(str(resources.files("medalpaca_train"))) / "recipes"
    return {file.stem: file for file in sorted(folder.glob("*.yaml"))}


def find_recipe(named: str, overrides: Sequence[str] = ()) -> tuple[str, Recipe]:
    """(name, recipe) of a built-in name or a YAML file, with `key=value` overrides.

    Raises UserError for an unknown name, a missing file, or anything `load_config` refuses.
    """
    recipes = built_in()
    if named in recipes:
        return named, load_config(Recipe, recipes[named], overrides, where=f"recipe {named}")
    file = Path(named).expanduser()
    if file.suffix not in (".yaml", ".yml"):
        guess = nearest(named, recipes)
        hint = f"did you mean {guess!r}?" if guess else "or give a .yaml file"
        raise UserError(f"no recipe {named!r}: known are {', '.join(recipes)}; {hint}")
    return file.stem, load_config(Recipe, file, overrides, where=str(file))


def to_yaml(recipe: Recipe) -> str:
    """The recipe with every default written out."""
    return yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def difference(recipe: Recipe, stored: Path) -> str | None:
    """The first key in which `recipe` would train otherwise than the recipe file `stored`, as `key: old -> new`."""
    old, new = _flat(yaml.safe_load(read_text(stored)) or {}), _flat(recipe.model_dump(mode="json"))
    for key in sorted(old.keys() | new.keys()):
        if key not in FREE_TO_CHANGE and old.get(key) != new.get(key):
            return f"{key}: {old.get(key)} -> {new.get(key)}"
    return None


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


SUFFIX = "-canary"
MOST = 180  # names there are


class CanaryTest(Config):
    """What is planted; each field is a `key=value` of the command beside the recipe's."""

    repeats: tuple[int, ...] = Field(default=(1, 10, 100), min_length=1)  # copies of a patient's row
    patients: int = Field(default=4, ge=1)  # of each number of copies, and as the control
    candidates: int = Field(default=1024, ge=2, le=100_000)  # numbers that a true one is ranked among
    canary_seed: int = Field(default=0, ge=0)  # of patients and numbers

    @field_validator("repeats")
    @classmethod
    def _rising(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if any(count < 1 for count in value) or sorted(set(value)) != list(value):
            raise ValueError(
                "rising numbers of 1 or more, such as [1, 10, 100]; the control is there by itself"
            )
        return value

    @model_validator(mode="after")
    def _names_for_all(self) -> CanaryTest:
        if (len(self.repeats) + 1) * self.patients > MOST:
            raise ValueError(f"at most {MOST} patients, those of the control included")
        return self


@dataclass(frozen=True, slots=True)
class Asked:
    """One call: the test, the recipe, its name, the finished run that is tested (or None), and where it is done."""

    test: CanaryTest
    recipe: Recipe
    name: str
    run: Path | None
    folder: Path


def read_words(words: Sequence[str]) -> Asked:
    """What the words after `train canary` ask. Raises UserError, one line, for what they do not name."""
    own = [word for word in words if "=" in word and word.partition("=")[0] in CanaryTest.model_fields]
    others = [word for word in words if "=" in word and word not in own]
    named = [word for word in words if "=" not in word]
    if len(named) != 1:
        raise UserError("train canary: name one recipe or one finished run, as in `train canary runs/mine`")
    test = load_config(CanaryTest, {}, own, where="train canary")
    run = Path(named[0]).expanduser().absolute()
    if not run.is_dir():
        name, recipe = find_recipe(named[0], others)
        out = Path(recipe.out).expanduser().absolute() if recipe.out else paths.runs() / f"{name}{SUFFIX}"
        return Asked(test, recipe, name, None, out)
    if not (run / "manifest.json").is_file() or not (run / "recipe.yaml").is_file():
        raise UserError(
            f"{run}: not a finished run (no manifest.json); name the directory that `train` printed"
        )
    # It is not loaded, but its card will speak of it.
    (check_adapter_dir if (run / "adapter_config.json").is_file() else check_model_dir)(run)
    recipe = find_recipe(str(run / "recipe.yaml"), others)[1]
    moved = any(word.startswith("out=") for word in others)
    out = Path(str(recipe.out)).expanduser().absolute() if moved else run.with_name(f"{run.name}{SUFFIX}")
    return Asked(test, recipe, run.name, run, out)
