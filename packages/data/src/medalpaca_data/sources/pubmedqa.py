"""PubMedQA (Jin et al., 2019): research questions answered from an abstract with yes, no or maybe, and the reason."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

from ..core.errors import BadRecord, UserError
from ..core.files import is_text, read_json
from ..core.json_stream import read_json_object
from ..core.row import Row
from .base import BaseSource, ExcludedError, Name, Reject, SourceInfo, refuse_test_file

DECISIONS = ("yes", "no", "maybe")
TEST_IDS_FILE = "test_ground_truth.json"

INSTRUCTION = "Answer the research question from the abstract below: yes, no or maybe, then the reason."
OPEN_INSTRUCTION = "Answer the research question from the abstract below."


class PubMedQA(BaseSource):
    """PubMedQA: `path` is the file of `subset`.

    The subsets are pqal (ori_pqal.json, labelled by annotators), pqaa (ori_pqaa.json, labels by rule) and pqau
    (ori_pqau.json, no labels). Half of pqal is a test set, which only a file of its PubMed ids identifies: `test_ids`,
    by default test_ground_truth.json in the directory of `path`. Without it, pqal is refused. Test ids are excluded
    from the other subsets as well if the file exists. One record at a time is in memory.
    """

    about: ClassVar[SourceInfo] = SourceInfo(
        title="PubMedQA: research questions answered from PubMed abstracts",
        format="ori_pqal.json with test_ground_truth.json; ori_pqaa.json; ori_pqau.json (.gz)",
        get="the repository github.com/pubmedqa/pubmedqa, directory data; its README links ori_pqaa and ori_pqau",
        licence="MIT",
        size="2.6 MB (ori_pqaa: 533 MB)",
        rows="500 of 1,000 (measured; the other 500 are the test set); ori_pqaa 211,269 (published)",
        remark="not in the 2023 Medical Meadow; the labels of ori_pqaa come from rules, not from annotators",
    )

    kind: Literal["pubmedqa"] = "pubmedqa"
    name: Name = "pubmedqa"
    licence: str | None = "MIT"
    attribution: str | None = "Q. Jin et al.: PubMedQA (EMNLP 2019)"
    url: str | None = "https://github.com/pubmedqa/pubmedqa"
    path: str
    subset: Literal["pqal", "pqaa", "pqau"] = "pqal"
    test_ids: str | None = None

    def files(self, root: Path) -> list[Path]:
        file = refuse_test_file(self.resolve(root, self.path))
        if self.test_ids is not None:
            return [file, self.resolve(root, self.test_ids, "file for test_ids")]
        default = file.parent / TEST_IDS_FILE
        if default.is_file():
            return [file, default]
        if self.subset == "pqal":
            raise UserError(
                f"{file}: half of the labelled subset is a test set, and {default} with its ids does not exist; "
                "put the file there or set test_ids: to it"
            )
        return [file]

    def records(self, root: Path, seed: int = 0) -> Iterator[Row | Reject]:
        file, *lists = self.files(root)
        test = {pmid for path in lists for pmid in _read_ids(path)}
        for n, (pmid, record) in enumerate(read_json_object(file), 1):
            if not lists and isinstance(record, Mapping) and "reasoning_required_pred" in record:
                raise UserError(
                    f"{file}: is the labelled subset, half of which is a test set; set subset: pqal"
                )
            location = f"pmid={pmid}" if pmid.isascii() and pmid.isdigit() else f"record {n}"
            try:
                if pmid in test:
                    raise ExcludedError("test row")
                if isinstance(record, BadRecord):
                    raise record
                yield self._row(pmid, record, f"{file.name} {location}")
            except (ValueError, BadRecord) as error:
                yield Reject.of(file.name, location, error, record)

    def _row(self, pmid: str, record: Any, source_id: str) -> Row:
        if not pmid.isascii() or not pmid.isdigit():
            raise ValueError("no PubMed id")
        if not isinstance(record, Mapping):
            raise ValueError("not an object")
        question, answer = (_strip_text(record.get(name)) for name in ("QUESTION", "LONG_ANSWER"))
        if not question:
            raise ValueError("no question")
        if not answer:
            raise ValueError("no long answer")
        decision = _strip_text(record.get("final_decision")).lower()
        if self.subset != "pqau":
            if decision not in DECISIONS:
                raise ValueError(f"the decision is not one of {', '.join(DECISIONS)}")
            answer = f"{decision.capitalize()}. {answer}"
        return self.make_row(
            source_id=source_id,
            instruction=OPEN_INSTRUCTION if self.subset == "pqau" else INSTRUCTION,
            input=f"Question: {question}\n\n{_format_abstract(record)}",
            output=answer,
            url=f"https://pubmed.ncbi.nlm.nih.gov/{pmid}/",
            group=f"{self.name}:{pmid}",
        )


def _format_abstract(record: Mapping[str, Any]) -> str:
    """Return the sections of the abstract, each after its label if it has one; raise ValueError if all are empty."""
    contexts, labels = record.get("CONTEXTS"), record.get("LABELS")
    if not isinstance(contexts, list):
        raise ValueError("no contexts")
    if not isinstance(labels, list) or len(labels) != len(contexts):
        labels = [""] * len(contexts)
    parts = [
        (_strip_text(label).capitalize(), _strip_text(context))
        for label, context in zip(labels, contexts, strict=True)
    ]
    texts = [f"{label}: {context}" if label else context for label, context in parts if context]
    if not texts:
        raise ValueError("no contexts")
    return "\n".join(texts)


def _strip_text(value: Any) -> str:
    text = value.strip() if isinstance(value, str) else ""
    if not is_text(text):
        raise ValueError("not valid Unicode (half a surrogate pair)")
    return text


def _read_ids(path: Path) -> list[str]:
    value = read_json(path)
    if not isinstance(value, dict | list) or not value:
        raise UserError(f"{path}: expected a JSON object or list of PubMed ids")
    return [str(pmid) for pmid in value]
