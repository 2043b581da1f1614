"""How many processes test: as many as there are cores for the suite, one for a chosen file or test."""

from __future__ import annotations

import os

import pytest

if "PYTEST_XDIST_WORKER" in os.environ:
    # A process per core: threads beyond that would only wait for each other. Before torch reads it.
    os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """What `-n auto` means here. Starting two processes takes longer than most single files."""
    if any(".py" in argument for argument in config.args):
        return 0
    return min(4, os.cpu_count() or 1)  # each holds a few GB of models and pages
