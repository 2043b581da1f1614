"""Every source module takes part in recipes: `sources.Source` is derived from the imports of the package."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from typing import get_args

from medalpaca_data import sources
from medalpaca_data.sources import Source
from medalpaca_data.sources.base import BaseSource


def test_every_source_class_in_every_module_is_part_of_the_union():
    modules = [
        importlib.import_module(f"{sources.__name__}.{info.name}")
        for info in pkgutil.iter_modules(sources.__path__)
    ]
    defined = {
        cls
        for module in modules
        for _, cls in inspect.getmembers(module, inspect.isclass)
        if issubclass(cls, BaseSource) and "kind" in cls.model_fields
    }
    assert len(defined) > 15
    assert set(get_args(Source)) == defined


def test_no_two_sources_have_one_kind():
    kinds = [cls.model_fields["kind"].default for cls in get_args(Source)]
    assert len(set(kinds)) == len(kinds)
