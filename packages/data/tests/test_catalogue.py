"""What `data sources` says of a source's settings."""

from __future__ import annotations

from medalpaca_data import show


def test_a_setting_that_is_one_of_a_list_shows_the_list():
    settings = show.sources_as_json("published")["settings"]
    assert settings["set"].startswith("required (one of medical_flashcards, wikidoc, ")
    assert settings["kind"] == '"published"'
    assert settings["weight"] == "1.0"
    assert show.sources_as_json("alpaca")["settings"]["split"] == '"none" (one of train, dev, none)'
    assert show.sources_as_json("medmcqa")["settings"]["cop_from"] == "null (one of 0, 1)"
    assert show.sources_as_json("mmlu")["settings"]["split"] == '["dev", "val"] (each one of dev, val)'
