"""Named-entity recognition (NER): find names and places that no rule can find.

`deidentify.ner` names presidio-analyzer, with an installed spaCy model, or the directory of a token classification
model (see `ner_model`). Nothing is downloaded.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

from ..core.errors import UserError
from .ner_model import load_model
from .rules import Span

PRESIDIO = "presidio"
# Presidio's entity types that are used -> kinds of identifiers. Its e-mail and web recognisers, which download a list,
# and its telephone recogniser are left out, because the rules find all three.
ENTITY_KINDS: Mapping[str, str] = {
    "PERSON": "name",
    "LOCATION": "place",
    "GPE": "place",
    "US_SSN": "ssn",
    "US_DRIVER_LICENSE": "licence",
    "US_PASSPORT": "licence",
    "MEDICAL_LICENSE": "licence",
    "CREDIT_CARD": "account",
    "US_BANK_NUMBER": "account",
    "IBAN_CODE": "account",
    "US_MBI": "plan",
    "US_NPI": "licence",
}
# Smallest score of a hit. Most hits with a lower one are numbers without context, which the rules classify better.
MIN_SCORE = 0.5
MIN_SCORES = {"US_DRIVER_LICENSE": 0.6, "US_BANK_NUMBER": 0.6, "US_PASSPORT": 0.6}


class VersionedTagger(Protocol):
    """A `find.Tagger` with a version, which identifies the model in the ledger."""

    @property
    def version(self) -> str:
        """Names and versions of the model and its libraries, or the hash of its directory."""

    def __call__(self, text: str) -> Sequence[Span]: ...


def load_tagger(ner: str, root: Path = Path()) -> VersionedTagger:
    """Return the loaded model that `ner` names: "presidio", or a directory relative to `root`.

    The last model stays in memory, so a second call returns it, unless files of the directory have changed.
    Raises UserError if a library, the spaCy model or a file of the directory is missing, or a label is not known.
    """
    return _presidio() if ner == PRESIDIO else load_model(root / Path(ner).expanduser())


@lru_cache(1)
def _presidio() -> NerTagger:
    return NerTagger()


class NerTagger:
    """A callable that returns the identifiers in a text; `version` names the analyzer and the spaCy model.

    The constructor loads the model. It raises UserError if presidio-analyzer, spaCy or a model is not installed.
    """

    def __init__(self) -> None:
        analyzer = _import("presidio_analyzer")
        spacy = _import("spacy")
        logging = importlib.import_module("logging")
        logging.getLogger("presidio-analyzer").setLevel(logging.ERROR)
        name, pipeline = _pipeline(spacy)
        self._engine = _engine(analyzer, pipeline)
        from importlib.metadata import version

        self.version = f"presidio-analyzer {version('presidio-analyzer')}, spacy {spacy.__version__}, {name}"

    def __call__(self, text: str) -> Sequence[Span]:
        results = self._engine.analyze(
            text, language="en", entities=[*ENTITY_KINDS], score_threshold=MIN_SCORE
        )
        return [
            Span(result.start, result.end, ENTITY_KINDS[result.entity_type], f"NER {result.entity_type}")
            for result in results
            if result.score >= MIN_SCORES.get(result.entity_type, MIN_SCORE) and result.start < result.end
        ]


def _import(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        raise UserError(
            f"deidentify.ner=presidio needs {name.replace('_', '-')}, which is not installed; "
            "install medalpaca-data[phi], or set deidentify.ner=false"
        ) from None


def _pipeline(spacy: Any) -> tuple[str, Any]:
    """Return name and pipeline of the first installed English model, by name, that tags entities."""
    installed = sorted(spacy.util.get_installed_models())
    for name in installed:
        if name.startswith("en_"):
            pipeline = spacy.load(name)
            if "ner" in pipeline.pipe_names:
                return f"{name} {pipeline.meta.get('version', '')}".strip(), pipeline
    raise UserError(
        "deidentify.ner=presidio needs an English spaCy model with the component ner; installed models: "
        f"{', '.join(installed) or 'none'}; install one, for example en_core_web_lg, or set deidentify.ner=false"
    )


def _engine(analyzer: Any, pipeline: Any) -> Any:
    engines = importlib.import_module("presidio_analyzer.nlp_engine")

    class Installed(engines.SpacyNlpEngine):  # type: ignore[misc, name-defined]
        """An NLP engine that uses the given pipeline and loads no model."""

        def load(self) -> None:
            self.nlp = {"en": pipeline}

    engine = Installed(models=[{"lang_code": "en", "model_name": "installed"}])
    engine.load()
    return analyzer.AnalyzerEngine(nlp_engine=engine, supported_languages=["en"])
