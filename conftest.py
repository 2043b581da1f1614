"""What holds for every test: how many processes there are, and which tests `--real NAME` selects.

There are as many processes as cores for the suite, and one for a chosen file.
"""

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


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--real", metavar="NAME", help='run exactly the tests marked real("NAME")')


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--real") is not None:
        # The marker's argument selects; the -m of addopts leaves out every such test.
        config.option.markexpr = ""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Select the tests whose `real` marker names NAME. Raise UsageError, with the known names, where there is none."""
    name = config.getoption("--real")
    if name is None:
        return
    names = {
        item: {str(value) for mark in item.iter_markers("real") for value in mark.args} for item in items
    }
    known = sorted(set().union(*names.values()))
    if name not in known:
        told = f"known names: {', '.join(known)}" if known else "no test is marked so"
        raise pytest.UsageError(f'--real {name}: no test is marked real("{name}"); {told}')
    config.hook.pytest_deselected(items=[item for item in items if name not in names[item]])
    items[:] = [item for item in items if name in names[item]]


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Return the number of processes for `-n auto`.

    A chosen file is run in this process, because starting two processes takes longer than most files.
    """
    if config.getoption("--real") is not None or any(".py" in argument for argument in config.args):
        return 0
    return min(4, os.cpu_count() or 1)  # each holds a few GB of models and pages
