"""Settings of all tests: the number of worker processes, Hypothesis, and the option `--real NAME`.

With `-n auto`, the suite runs in one process per core, at most four. A chosen file runs in the main process.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

if "PYTEST_XDIST_WORKER" in os.environ:
    # There is one process per core, so more threads would only compete. Set before torch is imported and reads it.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A background job of a shell ignores SIGINT, and so do its child processes. Some tests send SIGINT to a child.
    signal.signal(signal.SIGINT, signal.default_int_handler)

# The duration of an example depends on the load of the machine, so Hypothesis must not fail because of it.
settings.register_profile("house", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("house")


@pytest.fixture(autouse=True)
def _children_are_not_sealed() -> Iterator[None]:
    """Remove the variable with which a test that seals this process would seal the child processes of later tests."""
    os.environ.pop("MEDALPACA_SEALED_CHILDREN", None)
    yield
    os.environ.pop("MEDALPACA_SEALED_CHILDREN", None)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--real", metavar="NAME", help='run only the tests marked real("NAME"), also if -m excludes them'
    )


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--real") is not None:
        # The option -m in addopts excludes every test with this marker, so it is replaced.
        config.option.markexpr = ""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """With `--real NAME`, keep only the tests marked `real("NAME")` and deselect the others.

    Raises UsageError, with the known names, if no test is marked so.
    """
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
    """Return the number of worker processes for `-n auto`; 0 runs the tests in the main process.

    It is 0 for `--real` and for chosen files, because starting processes takes longer than most files.
    """
    if config.getoption("--real") is not None or any(".py" in argument for argument in config.args):
        return 0
    # At most four: each process needs a few GB of memory for models and browser pages.
    return min(4, os.cpu_count() or 1)
