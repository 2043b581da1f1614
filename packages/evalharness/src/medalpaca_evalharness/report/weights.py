"""Whether the weights that a run examined are still those that lie where it found them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from medalpaca_data.ground.errors import UserError
from medalpaca_data.ground.weights import weights_sha256

from ..logged.run import Run


def changed_weights(run: Run) -> Iterator[str]:
    """Hash base and adapter of a run again. Hub ids, which have no hash, are left out."""
    for name, recorded in ((run.base, run.base_sha256), (run.adapter, run.adapter_sha256)):
        if name is None or recorded is None:
            continue
        directory = Path(name).expanduser()
        if not directory.is_dir():
            yield f"{directory}: no longer there, so its weights cannot be hashed"
            continue
        try:
            found = weights_sha256(directory)
        except UserError as error:
            yield str(error)
            continue
        if found != recorded:
            yield f"{directory}: its weights are {found[:12]}, examined were {recorded[:12]}"
