"""PubMedQA (Jin et al., 2019): questions that an abstract answers: yes, no or maybe, and why."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

from ..core.errors import UserError
from ..core.files import existing, is_text, read_json
from ..core.json_stream import read_object
from ..core.row import Row
from .base import About, BaseSource, LeftOut, Name, Reject, no_test_file

DECISIONS = ("yes", "no", "maybe")
TEST_IDS = "test_ground_truth.json"

INSTRUCTION = "Answer the research question from the abstract below: yes, no or maybe, then the reason."
OPEN_INSTRUCTION = "Answer the research question from the abstract below."


class PubMedQA(BaseSource):
    """`path` is ori_pqal.json (labelled), or with `subset` ori_pqaa.json (labels made by rule) or ori_pqau.json (none).

    Half of the labelled part is a test set that only its own file, `test_ids`, tells apart; it is looked for beside
    `path`, and without it the labelled part is refused. Streams: a file of any size takes the memory of one record.
    """

    about: ClassVar[About] = About(
        title="PubMedQA: research questions answered from PubMed abstracts",
        format="ori_pqal.json with test_ground_truth.json; ori_pqaa.json; ori_pqau.json (.gz)",
        get="the repository github.com/pubmedqa/pubmedqa, directory data; its README links ori_pqaa and ori_pqau",
        licence="MIT",
        size="2.6 MB (ori_pqaa: 533 MB)",
        rows="500 of 1,000 (measured; the other 500 are the test set); ori_pqaa 211,269 (published)",
        remark="was not part of the 2023 Medical Meadow; the labels of ori_pqaa are made by rule, not by people",
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
        file = no_test_file(existing(root / Path(self.path).expanduser(), f"file (source {self.name!r})"))
        if self.test_ids is not None:
            return [
                file,
                existing(root / Path(self.test_ids).expanduser(), f"file (source {self.name!r}, test_ids)"),
            ]
        beside = file.parent / TEST_IDS
        if beside.is_file():
            return [file, beside]
        if self.subset == "pqal":
            raise UserError(
                f"{file}: half of the labelled part is a test set, and no {TEST_IDS} beside it says which; "
                "put it there or name it with test_ids:"
            )
        return [file]

    def records(self, root: Path, seed: int = 0) -> Iterator[Row | Reject]:
        file, *lists = self.files(root)
        test = {pmid for path in lists for pmid in _ids(path)}
        for n, (pmid, record) in enumerate(read_object(file), 1):
            if not lists and isinstance(record, Mapping) and "reasoning_required_pred" in record:
                raise UserError(f"{file}: is the labelled part, half of it a test set; say subset: pqal")
            place = f"pmid={pmid}" if pmid.isascii() and pmid.isdigit() else f"record {n}"
            try:
                if pmid in test:
                    raise LeftOut("test row")
                yield self._row(pmid, record, f"{file.name} {place}")
            except ValueError as error:
                yield Reject.of(file.name, place, error, record)

    def _row(self, pmid: str, record: Any, source_id: str) -> Row:
        if not pmid.isascii() or not pmid.isdigit():
            raise ValueError("no PubMed number")
        if not isinstance(record, Mapping):
            raise ValueError("not an object")
        question, answer = (_text(record.get(name)) for name in ("QUESTION", "LONG_ANSWER"))
        if not question:
            raise ValueError("no question")
        if not answer:
            raise ValueError("no long answer")
        decision = _text(record.get("final_decision")).lower()
        if self.subset != "pqau":
            if decision not in DECISIONS:
                raise ValueError(f"the decision is none of {', '.join(DECISIONS)}")
            answer = f"{decision.capitalize()}. {answer}"
        return self.make(
            source_id=source_id,
            instruction=OPEN_INSTRUCTION if self.subset == "pqau" else INSTRUCTION,
            input=f"Question: {question}\n\n{_abstract(record)}",
            output=answer,
            url=f"https://pubmed.ncbi.nlm.nih.gov/{pmid}/",
            group=f"{self.name}:{pmid}",
        )


def _abstract(record: Mapping[str, Any]) -> str:
    """The parts of the abstract, each after its heading where it has one."""
    contexts, labels = record.get("CONTEXTS"), record.get("LABELS")
    if not isinstance(contexts, list):
        raise ValueError("no contexts")
    if not isinstance(labels, list) or len(labels) != len(contexts):
        labels = [""] * len(contexts)
    parts = [
        (_text(label).capitalize(), _text(context)) for label, context in zip(labels, contexts, strict=True)
    ]
    texts = [f"{label}: {context}" if label else context for label, context in parts if context]
    if not texts:
        raise ValueError("no contexts")
    return "\n".join(texts)


def _text(value: Any) -> str:
    text = value.strip() if isinstance(value, str) else ""
    if not is_text(text):
        raise ValueError("half a surrogate pair, which is no text")
    return text


def _ids(path: Path) -> list[str]:
    value = read_json(path)
    if not isinstance(value, dict | list) or not value:
        raise UserError(f"{path}: an object or a list of PubMed numbers was expected")
    return [str(pmid) for pmid in value]
