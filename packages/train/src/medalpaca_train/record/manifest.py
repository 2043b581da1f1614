"""`manifest.json`: the receipt of a run. Written last, so its presence says that the run is finished."""

from __future__ import annotations

import datetime
from dataclasses import asdict
from pathlib import Path
from typing import Any

from medalpaca_data.ground.code import versions
from medalpaca_data.ground.files import read_json, sha256_file, sha256_listing
from medalpaca_data.ground.tokenizer_files import tokenizer_sha256
from medalpaca_data.ground.weights import weights_sha256
from medalpaca_data.prompt import PROMPT_ID

from ..hardware.device import Hardware, describe
from ..model.quantization import settings
from ..recipe import Recipe
from .checkpoint import Progress
from .outcome import Outcome

FILE = "manifest.json"
# 2: `patient_text` has the records of ledger format 3 and the ledger's format. All readers read 1 as well.
FORMAT = 2
LIBRARIES = (
    "torch",
    "transformers",
    "peft",
    "bitsandbytes",
    "tokenizers",
    "safetensors",
    "medalpaca-train",
    "medalpaca-data",
)


def make_manifest(
    recipe: Recipe,
    run: Path,
    progress: Progress,
    outcome: Outcome,
    counts: dict[str, int],
    hardware: Hardware,
    processes: int = 1,
) -> dict[str, Any]:
    """The receipt of a finished run whose weights lie in `run`. `counts` are of rows and tokens (see the card)."""
    kind = recipe.method
    return {
        "format": FORMAT,
        "kind": kind,
        "base": {
            "path": recipe.model,
            "revision": recipe.revision,
            "sha256": progress.base_sha256,
            "quantization": settings(recipe.quantization, hardware.compute_dtype) or None,
        },
        "adapter" if kind == "lora" else "model": {"sha256": weights_sha256(run)},
        "tokenizer": {"sha256": tokenizer_sha256(run)},
        "data": {"path": recipe.data, "sha256": progress.data_sha256, "rows": counts["rows_train"], **counts},
        "prompt_id": PROMPT_ID,
        "recipe": recipe.model_dump(mode="json"),
        "seed": recipe.seed,
        "plan_sha256": progress.plan_sha256,
        "steps": outcome.step,
        "validation_loss": {"before": outcome.before, "after": outcome.after},
        "best": {**asdict(outcome.best), "sha256": weights_sha256(run / "best")} if outcome.best else None,
        "seconds": round(outcome.seconds, 1),
        "versions": versions(*LIBRARIES),
        "hardware": {**describe(hardware), "processes": processes},
        "code_sha256": code_sha256(),
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def read_manifest(run: Path) -> dict[str, Any] | None:
    """The receipt of a finished run, or None."""
    file = run / FILE
    return dict(read_json(file)) if file.is_file() else None


def code_sha256() -> str:
    """One hash over every source file that decides what is trained: this package and the prompt."""
    import medalpaca_data.prompt

    here = Path(__file__).parent
    files = [*sorted(here.glob("*.py")), Path(str(medalpaca_data.prompt.__file__))]
    return sha256_listing((file.name, sha256_file(file)) for file in files)
