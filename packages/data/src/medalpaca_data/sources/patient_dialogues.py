"""Courtesies of consultation sites: welcome and thanks before an answer, wishes and names behind it.

Only whole sentences at the two ends are taken, and only those that can be nothing else; what stands between is text.

What real patients asked and doctors answered online: HealthCareMagic, iCliniq, the COVID-Dialogue consultations.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, Literal

from ..core.errors import UserError
from ..core.json_stream import text_lines
from ..core.row import Row, parse_row
from .base import SUFFIXES, About, Name, PlainFile, Record, Reject, row_split
from .chatdoctor import INSTRUCTION

SITE = r"(?:chat ?doctor|health ?care ?magic|hcm|icliniq|['\u2018\u2019]?ask a doctor['\u2018\u2019]?)"
SENTENCE = re.compile(r"(?:[^.!?\n]|\.com)*(?:[.!?]+['\u2019\"]?|\n|\Z)\s*")
GREETING = re.compile(
    r"(?:hi|hello|hey|dear|respected|greetings|good (?:morning|day|evening))\b[\w ]{0,20}[,.!]?",
    re.IGNORECASE,
)
WELCOME = re.compile(
    r"(?:(?:hi|hello|hey|dear|respected|greetings)\b[\w ]{0,20}[,.!]? ?)?(?:and )?"
    rf"(?:(?:a )?(?:very )?(?:warm )?welcome(?: back)? to (?:the )?{SITE}|"
    r"(?:many )?thank(?:s|[ ]you)(?: so much| very much| a lot)? for (?:using|asking|choosing|consulting|contacting|"
    r"writing to|visiting|trusting|your (?:question|query)))[^.!?\n]{0,80}[.!?]*",
    re.IGNORECASE,
)
WISH = re.compile(
    r"(?:(?:i )?hope (?:i have|this|that|it|my answer)(?: has| will)? ?(?:answered|answers|helps?|solved|clarifies)"
    r"(?: you| your| the)?(?: query| queries| question| questions| concern| doubts?)?|"
    r"(?:please )?(?:let me know|feel free to ask) if (?:i can|you have)\b[\w ]{0,60}|"
    r"i will be happy to (?:help|assist|answer)\b[\w ]{0,40}|"
    r"(?:i )?wish(?:ing)? (?:you )?(?:a )?(?:very )?(?:good|best|speedy)\b[\w ]{0,40}|"
    rf"take care|thank you|thanks(?: for using {SITE})?|{SITE})[\s,.!?]*",
    re.IGNORECASE,
)
OFFER = re.compile(r"\s*would you like to video or text chat with me\?\s*\Z", re.IGNORECASE)
NAME = r"(?:[\s.,&-]|[^\W\d])"
REGARDS = re.compile(
    r"(?:(?<=[.!?\n,])|\A)\s*(?:(?:take care|thanks and|with|warm|best|kind)[\s,.]+){0,3}"
    rf"regards?\b(?!\s+(?:to|the|your|this|that|of)\b){NAME}{{0,90}}\Z"
    rf"|(?-i:Regards)[\s,.]*(?-i:Dr)\b{NAME}{{0,70}}\Z",
    re.IGNORECASE,
)
END = 160  # characters at an answer's end in which a sign-off is looked for


def without_courtesies(text: str) -> str:
    """The answer without them; as it is where nothing else would be left."""
    body = text.strip()
    # Both are looked for near the end only, so that a megabyte of blanks costs nothing.
    if offer := OFFER.search(body, max(len(body) - END, 0)):
        body = body[: offer.start()]
    body = _without_wishes(body)
    if signed := REGARDS.search(body, max(len(body) - END, 0)):
        body = _without_wishes(body[: signed.start()])
    cut = place = 0
    while found := SENTENCE.match(body, place):
        sentence = found[0].strip()
        place = found.end()
        if WELCOME.fullmatch(sentence):
            cut = place
        elif not GREETING.fullmatch(sentence) or place == len(body):
            break
    return body[cut:].strip() or text.strip()


def _without_wishes(text: str) -> str:
    sentences = [found[0] for found in SENTENCE.finditer(text) if found[0]]
    while sentences and (not sentences[-1].strip() or WISH.fullmatch(sentences[-1].strip())):
        sentences.pop()
    return "".join(sentences).rstrip()


LATER = "later exchange of a consultation"
START = re.compile(r"id\s*=\s*(\d{1,9})\s*")
HEADINGS = {"Description": "description", "Dialogue": "dialogue", "Patient:": "patient", "Doctor:": "doctor"}
OF_ITS_OWN = re.compile(
    r"https?://www\.(?:icliniq|healthcaremagic)\.com/\S+"
)  # others are a search page's address


class PatientDialogues(PlainFile):
    """HealthCareMagic-100k.json and iCliniq.json (instruction, input, output), or COVID-Dialogue's .txt.

    A consultation gives its first question and answer; later exchanges lean on them and are left out by rule.
    Welcome, thanks, wishes and sign-offs at an answer's two ends are taken off.
    """

    about: ClassVar[About] = About(
        title="questions of real patients to doctors online: HealthCareMagic, iCliniq, COVID-Dialogue",
        format=".json (.gz too): instruction, input, output; or COVID-Dialogue-Dataset-English.txt",
        get="the repositories github.com/Kent0n-Li/ChatDoctor (it names the downloads) and "
        "github.com/UCSD-AI4H/COVID-Dialogue",
        licence="none stated; the sites keep their rights",
        size="HealthCareMagic 140 MB, iCliniq 8 MB, COVID-Dialogue 0.5 MB",
        rows="112,165 HealthCareMagic, 7,321 iCliniq (published); 604 COVID-Dialogue (measured)",
        default=False,
        remark="collected without the patients' consent, and names are left in it",
        patient_text=True,
    )
    suffixes: ClassVar[tuple[str, ...]] = (*SUFFIXES, ".txt")

    kind: Literal["patient_dialogues"] = "patient_dialogues"
    name: Name = "patient_dialogues"
    licence: str | None = "none stated"

    def each(self, file: Path) -> Iterator[Record]:
        if not file.name.lower().removesuffix(".gz").endswith(".txt"):
            yield from super().each(file)
            return
        for line, parts in read_consultations(file):
            place = f"line {line}"
            yield from self.take(parts, file.name, place)
            for later in range(2, len(_said(parts, "doctor")) + 1):
                yield Reject(file.name, f"{place} exchange {later}", LATER, None, by_rule=True)

    def row(self, record: Any, source_id: str) -> Row:
        if isinstance(record, list):
            return self._consultation(record, source_id)
        row = parse_row(record)
        if not row.input.strip():
            raise ValueError("no question")
        return self._of(source_id, row.input, row.output, split=row_split(row.split, "none"))

    def _consultation(self, parts: list[tuple[str, str]], source_id: str) -> Row:
        spoken = [name for name, _ in parts if name in ("patient", "doctor")]
        if spoken[:2] != ["patient", "doctor"]:
            raise ValueError("does not begin with a patient and a doctor")
        question, answer = _said(parts, "patient")[0], _said(parts, "doctor")[0]
        asked = _said(parts, "description")[:1]
        if asked and asked[0] and asked[0] not in question:
            question = f"{asked[0]}\n\n{question}"
        if not question or not answer:
            raise ValueError("an empty question or answer")
        [address] = [text for name, text in parts if name == "address"] or [""]
        return self._of(source_id, question, answer, address if OF_ITS_OWN.fullmatch(address) else None)

    def _of(
        self, source_id: str, question: str, answer: str, url: str | None = None, split: str = "none"
    ) -> Row:
        return self.make(
            source_id=source_id,
            instruction=INSTRUCTION,
            input=question.strip(),
            output=without_courtesies(answer),
            url=url,
            split=split,
        )


def read_consultations(file: Path) -> Iterator[tuple[int, list[tuple[str, str]]]]:
    """(line, parts) of every consultation: address, description, dialogue, patient, doctor, each with its text."""
    begun = 0
    parts: list[tuple[str, list[str]]] = []
    for number, line in enumerate(text_lines(file), 1):
        if START.fullmatch(line):
            if begun:
                yield begun, _joined(parts)
            begun, parts = number, [("address", [])]
        elif heading := HEADINGS.get(line.strip()):
            parts.append((heading, []))
        elif begun:
            parts[-1][1].append(line)
    if not begun:
        raise UserError(f"{file}: no line `id=NUMBER` in it, so this is not COVID-Dialogue's text file")
    yield begun, _joined(parts)


def _joined(parts: list[tuple[str, list[str]]]) -> list[tuple[str, str]]:
    texts = ((name, "".join(lines)) for name, lines in parts)
    return [(name, text.replace("\r\n", "\n").replace("\r", "\n").strip()) for name, text in texts]


def _said(parts: list[tuple[str, str]], who: str) -> list[str]:
    return [text for name, text in parts if name == who]
