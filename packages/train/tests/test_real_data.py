"""Train on published rows: patient information from WikiDoc."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import load_file

from medalpaca_data.core import paths

FILE = "data/wikidoc_patient_info/medical_meadow_small.json"


def test_validation_loss_falls_on_real_rows(
    run_training: Callable[..., tuple[Path, str]], tmp_path: Path
) -> None:
    shared = paths.shared()
    if shared is None or not (shared / FILE).is_file():
        pytest.skip("no real data here (MEDALPACA_SHARED)")
    rows = json.loads((shared / FILE).read_text())[:300]
    data = tmp_path / "wikidoc.json"
    data.write_text(json.dumps(rows))
    run, _ = run_training(
        data=str(data),
        max_tokens=256,
        batch_tokens=1024,
        epochs=1,
        max_steps=25,
        validation=0.1,
        method="full",
    )
    loss = json.loads((run / "manifest.json").read_text())["validation_loss"]
    assert loss["after"] < loss["before"] - 0.3


@pytest.mark.slow  # three epochs each
@pytest.mark.parametrize("name", ["medalpaca-2023", "medalpaca-2023-full"])
def test_the_2023_recipes_run_as_they_are(name: str, base: Path, tmp_path: Path) -> None:
    """On a tiny model; only the keys for model, rows and output directory are changed."""
    from medalpaca_train.cli import main

    shared = paths.shared()
    if shared is None or not (shared / FILE).is_file():
        pytest.skip("no real data here (MEDALPACA_SHARED)")
    data, run = tmp_path / "wikidoc.json", tmp_path / "run"
    data.write_text(json.dumps(json.loads((shared / FILE).read_text())[:300]))
    assert main([name, f"model={base}", f"data={data}", f"out={run}"]) == 0
    manifest = json.loads((run / "manifest.json").read_text())
    held = manifest["data"]["rows_validation"]
    assert 30 <= held <= 40
    each = manifest["recipe"]["batch_rows"]
    per_epoch = -(-manifest["data"]["rows_train"] // each)
    assert abs(manifest["steps"] - 3 * per_epoch) <= 1
    assert manifest["data"]["rows_cut"] > 0
    assert manifest["hardware"]["precision"] == "bf16"
    assert (manifest["base"]["quantization"] or {}).get("load_in_8bit", False) == (name == "medalpaca-2023")
    if name == "medalpaca-2023":
        # Nine of a hundred warm-up steps: the adapter has changed only a little.
        weights = load_file(run / "adapter_model.safetensors")
        assert {key.split(".")[-3] for key in weights} == {"q_proj", "v_proj"}
        assert all(value.abs().max() > 0 for value in weights.values())
    else:
        assert manifest["validation_loss"]["after"] < manifest["validation_loss"]["before"]
