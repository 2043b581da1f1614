"""`deidentify.ner: presidio`: an error without library or model; with both, names and places (real test)."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

from medalpaca_data.core.errors import UserError
from medalpaca_data.deid import ner
from medalpaca_data.deid.find import find_identifiers
from medalpaca_data.deid.ner import NerTagger, load_tagger


def spacy_with(*models):
    """Return a stand-in of spaCy with these installed models; none of them tags entities."""
    pipeline = SimpleNamespace(pipe_names=["tagger"], meta={})
    return SimpleNamespace(
        util=SimpleNamespace(get_installed_models=lambda: models), load=lambda name: pipeline, __version__="3"
    )


@pytest.mark.parametrize(
    ("models", "installed"),
    [((), "none"), (("de_core", "en_tagger"), "de_core, en_tagger")],
)
def test_presidio_without_a_model_for_entities_is_refused(monkeypatch, models, installed):
    monkeypatch.setitem(sys.modules, "presidio_analyzer", SimpleNamespace())
    monkeypatch.setitem(sys.modules, "spacy", spacy_with(*models))
    with pytest.raises(
        UserError, match=rf"component ner; installed models: {installed}; install one.*ner=false"
    ):
        NerTagger()


def test_presidio_that_is_not_installed_is_refused(monkeypatch):
    ner._presidio.cache_clear()
    monkeypatch.setitem(sys.modules, "presidio_analyzer", None)
    with pytest.raises(
        UserError, match=r"needs presidio-analyzer, which is not installed; .*medalpaca-data\[phi\]"
    ):
        load_tagger("presidio")


@pytest.mark.real("deid-ner")
def test_presidio_with_a_small_model(record_property):
    tagger = load_tagger("presidio")
    record_property("version", tagger.version)
    text = "Yesterday Harold Smith flew to Boston."
    assert [(span.kind, text[span.start : span.end]) for span in find_identifiers([text], tagger)[0]] == [
        ("name", "Harold Smith"),
        ("place", "Boston"),
    ]
    assert load_tagger("presidio") is tagger
