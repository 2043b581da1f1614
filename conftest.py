"""What holds for every test: how many processes there are, as many as cores for the suite and one for a chosen file."""

from __future__ import annotations

import os
import signal

import pytest
from hypothesis import HealthCheck, settings

if "PYTEST_XDIST_WORKER" in os.environ:
    # A process per core: threads beyond that would only wait for each other. Before torch reads it.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # What a shell starts in the background does not hear Ctrl-C, nor does what that starts; some tests type it.
    signal.signal(signal.SIGINT, signal.default_int_handler)

# How long an example takes says what else the machine is doing, not whether the code is right.
settings.register_profile("house", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("house")


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """What `-n auto` means here. Starting two processes takes longer than most single files."""
    if any(".py" in argument for argument in config.args):
        return 0
    return min(4, os.cpu_count() or 1)  # each holds a few GB of models and pages
