"""No default of any command sends or publishes anything: over the resolved configuration of every recipe.

A key whose name speaks of sending must be known here, with the value at which it sends nothing; so a new one cannot
come in unnoticed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from medalpaca_data.recipe import builtin_recipes, load_recipe
from medalpaca_train.recipe import CanaryTest, Recipe, built_in_recipes, read_recipe

SENDING = re.compile(
    r"hub|push|upload|share|sharing|track|report_to|endpoint|host|publish|send|telemetr|server|webhook|api|monitor|pwa|"
    r"analytic|history|mcp|remote"
)

# Key -> the value at which nothing leaves.
QUIET: dict[str, Any] = {
    "track": [],
    "endpoints": [],
    "trusted_hosts": [],
    "hub": None,
    "api_key_env": None,
    "openapi_url": None,
    "share": False,
    "run_history": False,
    "enable_monitoring": False,
    "mcp_server": False,
    "pwa": False,
    "server_name": "127.0.0.1",
}
NUMBERS = {"published", "max_reject_share"}  # of rows


def keys(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """(key, value) of everything in a configuration."""
    yield key, value
    match value:
        case dict():
            for name, held in value.items():
                yield from keys(held, name)
        case list() | tuple():
            for held in value:
                if isinstance(held, dict):
                    yield from keys(held)


def assert_quiet(configuration: dict[str, Any]) -> None:
    for key, value in keys(configuration):
        if not SENDING.search(key):
            continue
        if key in NUMBERS:
            assert value is None or isinstance(value, int | float), key
        else:
            assert key in QUIET, f"{key}: does it send? say so here"
            assert value == QUIET[key], key


@pytest.mark.parametrize("name", sorted(built_in_recipes()))
def test_no_training_recipe(name):
    recipe = read_recipe(name, [f"{key}=x" for key in ("model", "data")])[1]
    assert_quiet(recipe.model_dump(mode="json"))


@pytest.mark.parametrize("name", builtin_recipes())
def test_no_data_recipe(name):
    assert_quiet(load_recipe(name)[0].model_dump(mode="json"))


def test_no_default_of_a_recipe_of_your_own():
    from medalpaca_data.rephrase.prompts import Rephrase

    assert_quiet(Recipe(model="m", data="d").model_dump(mode="json"))
    assert_quiet(CanaryTest().model_dump(mode="json"))
    assert_quiet(Rephrase(prompts={"letters": "flash_card"}).model_dump(mode="json"))


def test_a_recipe_that_would_send_is_noticed():
    for changed in ({"track": ["wandb"]}, {"push_to_hub": False}, {"sources": [{"hub": "owner/name"}]}):
        with pytest.raises(AssertionError):
            assert_quiet(Recipe(model="m", data="d").model_dump(mode="json") | changed)


def test_no_default_of_the_page(monkeypatch):
    from medalpaca_demo.app import launch_settings
    from medalpaca_demo.cli import LOOPBACK, check_options, parser

    settings = {key: value for key, value in launch_settings().items() if key not in ("css", "head", "theme")}
    assert_quiet(settings)
    assert settings.keys() >= {"share", "server_name", "run_history", "enable_monitoring"}
    chosen = check_options(parser().parse_args([]))
    assert (chosen.host, chosen.auth_file) == (LOOPBACK, None)
