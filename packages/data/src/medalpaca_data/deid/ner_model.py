"""Named-entity recognition with a local token classification model of transformers (extra medalpaca-data[ner]).

The directory has config.json, *.safetensors and tokenizer.json, as `save_pretrained` writes them. Nothing is
downloaded, and no code of the directory is run. Inference is on the CPU in float32, so that builds are repeatable.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from ..core.errors import UserError
from ..core.files import read_json, sha256_file, sha256_listing
from ..core.weights import check_model_dir
from .rules import Span

# Label of a model, without its prefix -> kind of identifier.
LABEL_KINDS: Mapping[str, str] = {
    label: kind
    for kind, labels in {
        "name": "PER PERSON NAME PATIENT DOCTOR STAFF HCW USERNAME GIVENNAME SURNAME FIRSTNAME LASTNAME",
        "place": "LOC GPE LOCATION FAC HOSP HOSPITAL DEPARTMENT PATORG ORGANIZATION CITY TOWN STREET ADDRESS ZIP "
        "LOCATION-OTHER",
        "date": "DATE",
        "age": "AGE",
        "phone": "PHONE PAGER",
        "fax": "FAX",
        "email": "EMAIL",
        "url": "URL",
        "ip": "IP IPADDR IPADDRESS",
        "ssn": "SSN",
        "mrn": "ID IDNUM MEDICALRECORD MRN",
        "plan": "HEALTHPLAN",
        "account": "ACCOUNT",
        "licence": "LICENSE",
        "vehicle": "VEHICLE",
        "device": "DEVICE",
        "biometric": "BIOID",
        "other": "OTHERPHI PHI VENDOR",
    }.items()
    for label in labels.split()
}
# Labels that mark no identifier of a person, mostly of CoNLL 2003 and OntoNotes 5.
IGNORED_LABELS = frozenset(
    {
        "O", "MISC", "ORG", "NORP", "TIME", "STATE", "COUNTRY", "PROFESSION", "PRODUCT", "EVENT", "WORK_OF_ART",
        "LAW", "LANGUAGE", "PERCENT", "MONEY", "QUANTITY", "ORDINAL", "CARDINAL",
    }
)  # fmt: skip
# Prefixes of the schemes BIO, BIOES and BILOU: those that begin a span, and those after which it ends.
PREFIX = re.compile(r"(?:([BIOESLU])[-_])?(.+)")
BEGINS, ENDS = frozenset("BSU"), frozenset("ESLU")
# Tokens of a window, special ones included, and tokens that neighbouring windows share.
MAX_WINDOW, MAX_OVERLAP = 512, 64
WINDOWS_PER_BATCH = 8
OVER_89 = re.compile(r"\b(?:9[0-9]|1[0-9]{2})\b|ninet|hundred|neunzig|hundert", re.IGNORECASE)
LIBRARIES = ("torch", "transformers")


class Tag(NamedTuple):
    """A token's characters in the text, its label, and its distance in tokens from the edge of its window."""

    start: int
    end: int
    label: str
    margin: int


class ModelTagger:
    """A callable that returns the identifiers in a text; `version` has the name and the hash of the directory.

    The constructor loads the model of a directory that `load_model` has checked.
    """

    def __init__(self, directory: Path, version: str) -> None:
        from transformers import AutoModelForTokenClassification, AutoTokenizer
        from transformers.utils import logging

        self.version = version
        before = logging.get_verbosity()
        # The report of missing weights becomes an error below.
        logging.set_verbosity_error()  # type: ignore[no-untyped-call]
        logging.disable_progress_bar()  # type: ignore[no-untyped-call]
        try:
            self._tokenizer = AutoTokenizer.from_pretrained(
                directory, local_files_only=True, trust_remote_code=False
            )
            model, info = AutoModelForTokenClassification.from_pretrained(
                directory,
                local_files_only=True,
                use_safetensors=True,
                trust_remote_code=False,
                output_loading_info=True,
            )
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            raise UserError(f"{directory}: transformers cannot load the model ({error})") from None
        finally:
            logging.set_verbosity(before)
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]
        if missing := sorted(info["missing_keys"]):
            raise UserError(
                f"{directory}: the weights have no {missing[0]!r}, so this is not a trained token classification "
                "model; set deidentify.ner to the directory of a trained one"
            )
        if not self._tokenizer.is_fast or self._tokenizer.pad_token is None:
            raise UserError(
                f"{directory}: the tokenizer has no offsets or no pad_token; allowed: a fast tokenizer with pad_token"
            )
        self._model = model.float().eval()
        self._labels: Mapping[int, str] = model.config.id2label
        self._window = _window(model.config, self._tokenizer)

    def __call__(self, text: str) -> Sequence[Span]:
        """Return the spans of identifiers in `text`, in order, extended to whole words."""
        return decode(text, merge_windows(self._tags(text)))

    def _tags(self, text: str) -> Iterator[Tag]:
        """Yield the tags of all windows. Windows overlap, so a token may have several tags."""
        import torch

        overlap = min(MAX_OVERLAP, self._window // 4)
        windows = self._tokenizer(
            text,
            truncation=True,
            max_length=self._window,
            stride=overlap,
            return_overflowing_tokens=True,
            return_offsets_mapping=True,
            verbose=False,
        )
        offsets, count = windows["offset_mapping"], len(windows["input_ids"])
        for first in range(0, count, WINDOWS_PER_BATCH):
            batch = slice(first, first + WINDOWS_PER_BATCH)
            inputs = self._tokenizer.pad(
                {name: windows[name][batch] for name in self._tokenizer.model_input_names if name in windows},
                return_tensors="pt",
            )
            with torch.inference_mode():
                best = self._model(**inputs).logits.argmax(-1).tolist()
            # Padding may be on the left.
            padded = self._tokenizer.padding_side == "left"
            for n, labels in enumerate(best, first):
                size = len(offsets[n])
                own = labels[-size:] if padded else labels[:size]
                for place, ((start, end), label) in enumerate(zip(offsets[n], own, strict=True)):
                    # Special tokens have no characters.
                    if start < end:
                        before = place if n else size
                        after = size - place if n < count - 1 else size
                        yield Tag(start, end, self._labels[label], min(before, after))


def load_model(directory: Path) -> ModelTagger:
    """Return the loaded model of `directory`.

    It stays in memory, so a second call returns it, unless a file of the directory has changed.
    Raises UserError if torch or transformers is not installed, a file is missing, or a label is not known.
    """
    if missing := [name for name in LIBRARIES if importlib.util.find_spec(name) is None]:
        raise UserError(
            f"deidentify.ner={directory} needs {' and '.join(missing)}, which is not installed; install "
            "medalpaca-data[ner], or set deidentify.ner to presidio or false"
        )
    if not directory.exists():
        raise UserError(
            f"deidentify.ner={directory}: no such directory; allowed: false, presidio, or the directory of a token "
            "classification model"
        )
    check_model_dir(directory)
    if not (directory / "tokenizer.json").is_file():
        raise UserError(
            f"{directory}: no tokenizer.json; save the fast tokenizer of the model into the directory"
        )
    check_labels(directory / "config.json")
    files = sorted(file for file in directory.rglob("*") if file.is_file() and not file.name.startswith("."))
    digest = sha256_listing((file.relative_to(directory).as_posix(), sha256_file(file)) for file in files)
    return _loaded(directory.absolute(), f"{directory.resolve().name}, SHA-256 {digest}")


@lru_cache(1)
def _loaded(directory: Path, version: str) -> ModelTagger:
    return ModelTagger(directory, version)


def check_labels(config: Path) -> None:
    """Raise UserError for a label in config.json that is not known, and if no label is a kind of identifier."""
    labels = read_json(config).get("id2label")
    if not isinstance(labels, dict) or not labels:
        raise UserError(f"{config}: no key 'id2label' with the labels of the model; add it")
    known = ", ".join((*LABEL_KINDS, *sorted(IGNORED_LABELS)))
    kinds = set()
    for label in labels.values():
        name = _split(str(label))[1]
        if name not in LABEL_KINDS and name not in IGNORED_LABELS:
            raise UserError(
                f"{config}: label {label!r} in id2label is not known; allowed, with or without a prefix such as B-: "
                f"{known}; rename the label"
            )
        kinds.add(LABEL_KINDS.get(name))
    if kinds == {None}:
        raise UserError(f"{config}: no label in id2label is a kind of identifier; allowed: {known}")


def merge_windows(tags: Iterator[Tag]) -> list[Tag]:
    """Return one tag per token, in order of the text: the one with the most context, farthest from a window's edge."""
    best: dict[tuple[int, int], Tag] = {}
    for tag in tags:
        place = (tag.start, tag.end)
        if place not in best or tag.margin > best[place].margin:
            best[place] = tag
    return [best[place] for place in sorted(best)]


def decode(text: str, tags: Sequence[Tag]) -> list[Span]:
    """Return the spans of labels of the schemes BIO, BIOES, BILOU or without prefixes.

    A span is extended to whole words, since one missed sub-word would leave part of an identifier. Tokens of one word
    belong together whatever their prefix. Ages up to 89 are left out, as Safe Harbor allows them.
    """
    spans: list[Span] = []
    ended = False
    for tag in tags:
        prefix, name = _split(tag.label)
        kind = LABEL_KINDS.get(name)
        if kind is None:
            ended = True
            continue
        start, end = _whole_words(text, tag.start, tag.end)
        last = spans[-1] if spans else None
        if last and (
            start < last.end
            or (
                last.kind == kind
                and not ended
                and prefix not in BEGINS
                and not text[last.end : start].strip()
            )
        ):
            spans[-1] = Span(last.start, max(end, last.end), last.kind, last.rule)
        else:
            spans.append(Span(start, end, kind, f"NER {name}"))
        ended = prefix in ENDS
    return [span for span in spans if span.kind != "age" or OVER_89.search(text[span.start : span.end])]


def _split(label: str) -> tuple[str, str]:
    """Return prefix and name of a label in capitals: ("B", "PER") for B-PER, ("", "PER") for PER."""
    match = PREFIX.fullmatch(label.upper())
    return (match[1] or "", match[2]) if match else ("", label)


def _whole_words(text: str, start: int, end: int) -> tuple[int, int]:
    """Return the span without white space at its ends, and extended to the ends of the words that it touches."""
    while start < end and text[start].isspace():
        start += 1
    while start < end and text[end - 1].isspace():
        end -= 1
    while 0 < start < end and text[start].isalnum() and text[start - 1].isalnum():
        start -= 1
    while start < end < len(text) and text[end - 1].isalnum() and text[end].isalnum():
        end += 1
    return start, end


def _window(config: Any, tokenizer: Any) -> int:
    """Return the number of tokens of a window: what tokenizer and position embeddings allow, at most `MAX_WINDOW`."""
    positions = getattr(config, "max_position_embeddings", None) or MAX_WINDOW
    # RoBERTa and its kin count positions from the padding id + 1.
    if "roberta" in config.model_type or config.model_type in ("camembert", "longformer"):
        positions -= (config.pad_token_id or 0) + 1
    return int(min(MAX_WINDOW, positions, tokenizer.model_max_length))
