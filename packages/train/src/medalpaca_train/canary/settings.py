"""What `train canary` is asked: which recipe or run, how many synthetic patients, how often each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field, field_validator, model_validator

from medalpaca_data.config import Config, load_config
from medalpaca_data.ground import places
from medalpaca_data.ground.errors import UserError
from medalpaca_data.ground.weights import check_adapter_dir, check_model_dir

from ..recipe import Recipe, find_recipe

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
        out = Path(recipe.out).expanduser().absolute() if recipe.out else places.runs() / f"{name}{SUFFIX}"
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
