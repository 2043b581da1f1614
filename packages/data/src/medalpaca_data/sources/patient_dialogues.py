"""Online consultations of real patients with doctors: HealthCareMagic, iCliniq and COVID-Dialogue.

Courtesies are removed from the answers: welcome and thanks at the start, wishes and signatures at the end. Only known
forms at the two ends are removed: complete sentences, and a signature from its "regards" on.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, ClassVar, Literal

from ..core.encoding import UTF_8
from ..core.errors import UserError
from ..core.records import FileNote
from ..core.row import Row, parse_row
from ..core.text_files import AnyFile, TextFile, read_text_lines
from .base import DATA_FILE_SUFFIXES, DataFile, Name, Record, Reject, SourceInfo, parse_row_split
from .chatdoctor import INSTRUCTION
from .columns import ALPACA_COLUMNS, ColumnSource

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
# Number of characters at the end of an answer that are searched for a signature.
SIGN_OFF_LENGTH = 160


def remove_courtesies(text: str) -> str:
    """Return an answer without courtesies, or with them if nothing else remains; without surrounding whitespace."""
    body = text.strip()
    # Both searches start near the end, so that a megabyte of whitespace costs no time.
    if offer := OFFER.search(body, max(len(body) - SIGN_OFF_LENGTH, 0)):
        body = body[: offer.start()]
    body = _remove_wishes(body)
    if signed := REGARDS.search(body, max(len(body) - SIGN_OFF_LENGTH, 0)):
        body = _remove_wishes(body[: signed.start()])
    start = position = 0
    while match := SENTENCE.match(body, position):
        sentence = match[0].strip()
        position = match.end()
        if WELCOME.fullmatch(sentence):
            start = position
        elif not GREETING.fullmatch(sentence) or position == len(body):
            break
    return body[start:].strip() or text.strip()


def _remove_wishes(text: str) -> str:
    sentences = [match[0] for match in SENTENCE.finditer(text) if match[0]]
    while sentences and (not sentences[-1].strip() or WISH.fullmatch(sentences[-1].strip())):
        sentences.pop()
    return "".join(sentences).rstrip()


LATER_EXCHANGE = "later exchange of a consultation"
CONSULTATION_START = re.compile(r"id\s*=\s*(\d{1,9})\s*")
HEADINGS = {"Description": "description", "Dialogue": "dialogue", "Patient:": "patient", "Doctor:": "doctor"}
# The address of one consultation. Other addresses in the file are those of search pages and are not used.
CONSULTATION_URL = re.compile(r"https?://www\.(?:icliniq|healthcaremagic)\.com/\S+")


class PatientDialogues(ColumnSource):
    """HealthCareMagic-100k.json or iCliniq.json (instruction, input, output), or the .txt of COVID-Dialogue.

    A consultation gives its first question and answer. In COVID-Dialogue, its description comes before the question,
    and later exchanges are excluded by rule, because they depend on the first. Courtesies at the start and the end of
    an answer are removed.
    """

    about: ClassVar[SourceInfo] = SourceInfo(
        title="questions of real patients to doctors online: HealthCareMagic, iCliniq, COVID-Dialogue",
        format=".json (.gz too): instruction, input, output; or COVID-Dialogue-Dataset-English.txt",
        get="the repositories github.com/Kent0n-Li/ChatDoctor (with links to the downloads) and "
        "github.com/UCSD-AI4H/COVID-Dialogue",
        licence="none stated; the rights stay with the sites",
        size="HealthCareMagic 140 MB, iCliniq 8 MB, COVID-Dialogue 0.5 MB",
        rows="112,165 HealthCareMagic, 7,321 iCliniq (published); 604 COVID-Dialogue (measured)",
        default=False,
        remark="collected without the patients' consent; contains names of people",
        patient_text=True,
    )
    columns_read: ClassVar[frozenset[str]] = ALPACA_COLUMNS
    suffixes: ClassVar[tuple[str, ...]] = (*DATA_FILE_SUFFIXES, ".txt")

    kind: Literal["patient_dialogues"] = "patient_dialogues"
    name: Name = "patient_dialogues"
    licence: str | None = "none stated"

    def read_file(self, file: DataFile) -> Iterator[Record]:
        if not file.path.name.lower().removesuffix(".gz").endswith(".txt"):
            yield from super().read_file(file)
            return
        text = TextFile(file.path, self.read_options.encoding)
        for line, parts in read_consultations(text):
            location = f"line {line}"
            yield from self.convert(parts, file.name, location)
            for later in range(2, len(_texts_of(parts, "doctor")) + 1):
                yield Reject(file.name, f"{location} exchange {later}", LATER_EXCHANGE, None, by_rule=True)
        if text.found != UTF_8:
            yield FileNote(file=file.name, encoding=text.found)

    def row(self, record: Any, source_id: str) -> Row:
        # A consultation of a text file has tuples, which no JSON value is.
        if isinstance(record, list) and any(isinstance(part, tuple) for part in record):
            return self._consultation(record, source_id)
        row = parse_row(record)
        if not row.input.strip():
            raise ValueError("no question")
        return self._make_row(source_id, row.input, row.output, split=parse_row_split(row.split, "none"))

    def _consultation(self, parts: list[tuple[str, str]], source_id: str) -> Row:
        speakers = [name for name, _ in parts if name in ("patient", "doctor")]
        if speakers[:2] != ["patient", "doctor"]:
            raise ValueError("the consultation does not begin with a patient and a doctor")
        question, answer = _texts_of(parts, "patient")[0], _texts_of(parts, "doctor")[0]
        description = next(iter(_texts_of(parts, "description")), "")
        if description and description not in question:
            question = f"{description}\n\n{question}"
        if not question or not answer:
            raise ValueError("an empty question or answer")
        [address] = [text for name, text in parts if name == "address"] or [""]
        return self._make_row(
            source_id, question, answer, address if CONSULTATION_URL.fullmatch(address) else None
        )

    def _make_row(
        self, source_id: str, question: str, answer: str, url: str | None = None, split: str = "none"
    ) -> Row:
        return self.make_row(
            source_id=source_id,
            instruction=INSTRUCTION,
            input=question.strip(),
            output=remove_courtesies(answer),
            url=url,
            split=split,
        )


def read_consultations(file: AnyFile) -> Iterator[tuple[int, list[tuple[str, str]]]]:
    """Yield (number of the first line, parts) for every consultation of COVID-Dialogue.

    A part is (name, text); names are address, description, dialogue, patient and doctor. The address is the text below
    the first line, `id=NUMBER`. Raises UserError if the file has no such line.
    """
    start_line = 0
    parts: list[tuple[str, list[str]]] = []
    for number, line in enumerate(read_text_lines(file), 1):
        if CONSULTATION_START.fullmatch(line):
            if start_line:
                yield start_line, _join_parts(parts)
            start_line, parts = number, [("address", [])]
        elif heading := HEADINGS.get(line.strip()):
            parts.append((heading, []))
        elif start_line:
            parts[-1][1].append(line)
    if not start_line:
        raise UserError(f"{file}: no line 'id=NUMBER'; expected COVID-Dialogue-Dataset-English.txt")
    yield start_line, _join_parts(parts)


def _join_parts(parts: list[tuple[str, list[str]]]) -> list[tuple[str, str]]:
    texts = ((name, "".join(lines)) for name, lines in parts)
    return [(name, text.replace("\r\n", "\n").replace("\r", "\n").strip()) for name, text in texts]


def _texts_of(parts: list[tuple[str, str]], name: str) -> list[str]:
    return [text for part, text in parts if part == name]
