"""Run the command `train` as `python -m medalpaca_train`, for launchers such as torchrun that start a module."""

from __future__ import annotations

from .cli import entry

entry()
