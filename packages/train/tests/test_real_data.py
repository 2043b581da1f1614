"""On published rows: patient information from WikiDoc, as people download it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from medalpaca_data.ground import places

FILE = "data/wikidoc_patient_info/medical_meadow_small.json"


def test_validation_loss_falls_on_real_rows(go: Callable[..., tuple[Path, str]], tmp_path: Path) -> None:
    shared = places.shared()
    if shared is None or not (shared / FILE).is_file():
        pytest.skip("no real data here (MEDALPACA_SHARED)")
    rows = json.loads((shared / FILE).read_text())[:300]
    data = tmp_path / "wikidoc.json"
    data.write_text(json.dumps(rows))
    run, _ = go(
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
