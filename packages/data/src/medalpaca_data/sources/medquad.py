"""MedQuAD: consumers' health questions with answers from the sites of the US National Institutes of Health."""

from __future__ import annotations

import io
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO, ClassVar, Literal
from xml.etree.ElementTree import Element

from ..core.errors import UserError
from ..core.joined_digits import JoinedDigits, find_joined_digits
from ..core.streams import open_bytes, read_members
from ..formats.xml import element_text, read_elements
from .answer_rules import SENTENCE_END, Repair, is_link_list, names_topic, split_leading_question
from .base import BaseSource, ExcludedError, Name, Record, Reject, SourceInfo

# Four documents of NINDS and one of the CDC use other element names.
DOCUMENT_TAGS = ("Document", "doc", "DiseaseFile")
INSTITUTES: Mapping[str, str] = {
    "CancerGov": "National Cancer Institute",
    "GARD": "Genetic and Rare Diseases Information Center",
    "GHR": "Genetics Home Reference",
    "MPlusHealthTopics": "MedlinePlus Health Topics",
    "NIDDK": "National Institute of Diabetes and Digestive and Kidney Diseases",
    "NINDS": "National Institute of Neurological Disorders and Stroke",
    "NIHSeniorHealth": "NIH Senior Health",
    "NHLBI": "National Heart, Lung, and Blood Institute",
    "CDC": "Centers for Disease Control and Prevention",
    "ADAM": "A.D.A.M. Medical Encyclopedia",
    "MPlusDrugs": "MedlinePlus Drugs",
    "MPlusHerbsSupplements": "MedlinePlus Herbs and Supplements",
}
# Largest size of one document, in bytes.
MAX_DOCUMENT_SIZE = 16 << 20
# Question templates of the corpus that are not natural questions, and their replacements.
QUESTION_FORMS = (
    (re.compile(r"^how to diagnose (.+)", re.IGNORECASE), r"How is \1 diagnosed"),
    (re.compile(r"^how to prevent (.+)", re.IGNORECASE), r"How can \1 be prevented"),
    (re.compile(r"^what is \(are\) (.+)", re.IGNORECASE), r"What is meant by \1"),
    (re.compile(r"^do you have information about (.+)", re.IGNORECASE), r"What should I know about \1"),
)
DEFINITION = re.compile(r"What (?:is meant by|should I know about) ")
TRAILING_MARKS = re.compile(r"[\s?.]++$")
# Ends of questions that a template made for a document without a topic (focus).
UNFINISHED = re.compile(r"(?:\(are\)| for| of| about|^how to \w+)\?$", re.IGNORECASE)
# Titles of pages and brochures that have their topic in them.
TITLE_FORMS = (
    (re.compile(r"\bparasites - (?:lice - )?", re.IGNORECASE), ""),
    (re.compile(r"\bwhat I need to know about (?:my child's )?", re.IGNORECASE), ""),
)
# Other titles of brochures, which make no question: "What is meant by Your Guide to Diabetes?"
BROCHURE = re.compile(
    r"\b(?:you|your|my)\b|\b(?-i:I) (?:can|have|need)\b|\bam I\b|\bguide\b|\bneed to know\b|\bhow its\b|"
    r": (?:keep|eat|choos|what|tak|inform)|"
    r"\b(?:financial help|talking with|living with|preparing for|[0-9] steps)\b",
    re.IGNORECASE,
)
# The Human Phenotype Ontology's table of symptoms, flattened to one line: "Ataxia 90% Abnormal gait - Tremor 2/3".
SYMPTOM_TABLE = re.compile(
    r"The Human Phenotype Ontology provides the following list of signs and symptoms for (?P<topic>[^\n]{1,300}?)\. "
    r"If the information is available, the table below [^\n]{1,300}? Signs and Symptoms Approximate number of patients "
    r"\(when available\) (?P<cells>.+?)"
    r"(?:\s+The Human Phenotype Ontology \(HPO\) has collected .{1,900}? the sign or symptom may be rare or common\."
    r"|$)",
    re.DOTALL,
)
SYMPTOM_CELLS = re.compile(r"(\S.*?) (\d+(?:\.\d+)?%|\d+/\d+|\d+ of \d+|-)(?: |$)")
TABLE_POINTER = re.compile(r"\bthe table below includes how often the symptom\b")
VIDEO_POINTER = re.compile(
    r"\s*\((?:Watch|See|To enlarge|To reduce) (?:the|this|these) videos?\b(?:[^()]|\([^()]*\))*\)",
    re.IGNORECASE,
)
# Marks of footnotes that are not in the text: "90 percent of cases.1", "of the back.[5258]".
FOOTNOTE = re.compile(r"(?<=[a-z]{3}[.,])\d{1,2}(?:,\d{1,2})*(?=\s|$)|(?<![\w(])(?: ?\[\d{1,5}\])+")
# Label before, and credit after, the summaries of MedlinePlus.
SUMMARY_LABEL = re.compile(r"^Summary ?: ")
SUMMARY_CREDIT = re.compile(
    r"(?<=[a-z.)]) (?:NIH: [A-Z][^.\n]*|Centers for Disease Control and Prevention|Food and Drug Administration)$"
)
# The template of two kinds of sections: the points to remember, and the advice on food.
CONSIDERATIONS = re.compile(r"^What to do for (.+)\?$")
FOOD = re.compile(r"\b(?:eat|eating|diet|dietary|foods?|nutrition|drinks?|fluids?)\b", re.IGNORECASE)
# Characters of an answer in which its subject is named.
SUBJECT_LENGTH = 200
PAGE_CONTENTS = re.compile(r"On this Page\b")
BULLET = re.compile(r"[ \t]{2,}-[ \t]+")
SPACES = re.compile(r"[ \t\u00a0]+")
BLANK_LINES = re.compile(r"\n{3,}")


class MedQuAD(BaseSource):
    """MedQuAD: `path` is the repository's directory or an archive of it.

    `qtypes` lists the types of questions to use, in lower case ("symptoms"); None uses all.
    """

    about: ClassVar[SourceInfo] = SourceInfo(
        title="MedQuAD: consumers' questions with answers from sites of the US National Institutes of Health",
        format=".xml, one file per document, in a directory, .zip or .tar.gz",
        get="github.com/abachaa/MedQuAD",
        licence="CC BY 4.0",
        size="6 MB packed (subsets 1 to 9)",
        rows="15,059 of 16,428 pairs in the nine subsets with answers (measured); 31,029 more pairs have no answer",
    )

    kind: Literal["medquad"] = "medquad"
    name: Name = "medquad"
    path: str
    licence: str | None = "CC BY 4.0"
    attribution: str | None = "MedQuAD (A. Ben Abacha, D. Demner-Fushman, BMC Bioinformatics 2019)"
    url: str | None = "https://github.com/abachaa/MedQuAD"
    qtypes: list[str] | None = None

    def files(self, root: Path) -> list[Path]:
        path = self._resolve(root)
        if not path.is_dir():
            return [path]
        documents = sorted(
            file for file in path.rglob("*") if file.suffix.lower() == ".xml" and file.is_file()
        )
        if not documents:
            raise UserError(f"{path}: no document (.xml) in this directory")
        return documents

    def records(self, root: Path, seed: int = 0) -> Iterator[Record]:
        path = self._resolve(root)
        if path.is_dir():
            for file in self.files(root):
                with open_bytes(file) as data:
                    yield from self._document(file.relative_to(path).as_posix().replace(" ", "_"), "", data)
            return
        if path.suffix.lower() == ".xml":
            raise UserError(
                f"{path}: is one document; set path: to the directory of all, or an archive of it"
            )
        empty = True
        for member, data in read_members(path, ".xml"):
            empty = False
            yield from self._document(path.name.replace(" ", "_"), f"{member.replace(' ', '_')} ", data)
        if empty:
            raise UserError(f"{path}: no document (.xml) in this archive")

    def _resolve(self, root: Path) -> Path:
        return self.resolve(root, self.path, "file or directory")

    def _document(self, file: str, member: str, data: BinaryIO) -> Iterator[Record]:
        """Yield the rows and rejects of one document; a document that cannot be read is one reject."""
        where = f"{member}document"
        text = data.read(MAX_DOCUMENT_SIZE + 1)
        if len(text) > MAX_DOCUMENT_SIZE:
            yield Reject(file, where, "a document of more than 16 MB", None)
            return
        try:
            documents = list(read_elements(io.BytesIO(text), file, DOCUMENT_TAGS))
        except UserError as error:
            yield Reject(file, where, "not readable as XML", {"error": str(error)})
            return
        if not documents:
            yield Reject(file, where, "not a document of MedQuAD", None)
        for location, document in documents:
            yield from self._pairs(file, member, location, document)

    def _pairs(self, file: str, member: str, location: str, document: Element) -> Iterator[Record]:
        focus = " ".join((document.findtext("Focus") or document.findtext("doctitle-focus") or "").split())
        institute = document.get("source") or document.get("corpus") or ""
        name = document.get("id") or document.get("docid") or document.get("fid") or location
        pairs = [*document.iter("QAPair"), *document.iter("pair")]
        if not pairs:
            yield Reject(
                file, f"{member}document", "a document without questions", {"focus": focus}, by_rule=True
            )
        defined: set[str] = set()
        for number, pair in enumerate(pairs, 1):
            element = _find_child(pair, "question")
            question = _clean_question(element_text(element))
            answer = _clean_answer(element_text(_find_child(pair, "answer")))
            qtype = (element.get("qtype") or "").strip().lower()
            where = f"{member}pair {number}"
            record = {"focus": focus, "qtype": qtype, "question": question, "answer": answer}
            if not question:
                yield Reject(file, where, "no question", record)
            elif not answer:
                yield Reject(file, where, "no answer upstream", record, by_rule=True)
            elif not focus and UNFINISHED.search(question):
                yield Reject(file, where, "a question without its topic", record, by_rule=True)
            elif self.qtypes is not None and qtype not in self.qtypes:
                yield Reject(file, where, "a type of question that is not in qtypes", record, by_rule=True)
            elif digits := find_joined_digits(question) or find_joined_digits(answer):
                yield Reject.of(file, where, JoinedDigits(digits), record)
            else:
                try:
                    instruction, output, repairs = _mend(question, answer, focus, defined)
                except ExcludedError as error:
                    yield Reject.of(file, where, error, record)
                    continue
                if DEFINITION.match(instruction):
                    defined.add(instruction)
                yield from map(Repair, repairs)
                yield self.make_row(
                    source_id=f"{file} {where} {qtype}".strip(),
                    instruction=instruction,
                    output=output,
                    url=document.get("url") or None,
                    attribution=", ".join(
                        part for part in (INSTITUTES.get(institute, institute), self.attribution) if part
                    ),
                    group=f"{self.name}:{focus.lower() or f'{institute} {name}'}",
                )


def _find_child(pair: Element, name: str) -> Element:
    child = pair.find(name.capitalize() if pair.tag == "QAPair" else name)
    return child if child is not None else Element(name)


def _clean_question(text: str) -> str:
    """Return the question on one line with one question mark, with templates replaced by natural questions.

    An empty question gives "".
    """
    text = TRAILING_MARKS.sub("", " ".join(text.split()))
    for form, new in QUESTION_FORMS:
        text = form.sub(new, text)
    return f"{text[:1].upper()}{text[1:]}?" if text else ""


def _mend(question: str, answer: str, focus: str, defined: Collection[str]) -> tuple[str, str, list[str]]:
    """Return the question, the answer, and the kinds of repairs that were made.

    `defined` has the questions for a definition that an earlier pair of the document answers. Raises ExcludedError for
    an answer or a question that cannot be repaired.
    """
    repairs = []
    topic = _strip_title(focus)
    own, rest = split_leading_question(answer, topic)
    if own and not rest:
        raise ExcludedError("an answer that is only a question")
    if own:
        question, answer = own, rest
        repairs.append("question moved out of the answer")
    elif PAGE_CONTENTS.match(answer):
        raise ExcludedError("an answer that begins with the contents of its page")
    elif BROCHURE.search(topic):
        raise ExcludedError("a question made from the title of a brochure")
    elif (natural := _strip_title(question)) != question:
        question = natural
        repairs.append("title replaced by its topic")
    if (listed := SYMPTOM_TABLE.sub(_list_symptoms, answer)) != answer:
        answer = listed
        repairs.append("table of symptoms turned into a list")
    if TABLE_POINTER.search(answer):
        raise ExcludedError("an answer that points to a table that is not in the text")
    if (shown := VIDEO_POINTER.sub("", answer)) != answer:
        answer = shown
        repairs.append("pointer to a video removed")
    if match := CONSIDERATIONS.match(question):
        if answer.startswith("- "):
            question = f"What are the key points about {match[1]}?"
            repairs.append("template question replaced by that of the section")
        elif FOOD.search(answer[:SUBJECT_LENGTH]):
            question = f"What is the role of eating, diet, and nutrition in {match[1]}?"
            repairs.append("template question replaced by that of the section")
    if (short := SUMMARY_CREDIT.sub("", SUMMARY_LABEL.sub("", answer))) != answer:
        answer = short
        repairs.append("label or credit of a summary removed")
    if (plain := FOOTNOTE.sub("", answer)) != answer:
        answer = plain
        repairs.append("footnote marks removed")
    if is_link_list(answer):
        raise ExcludedError("an answer that is a list of links or addresses")
    if question in defined and not names_topic(SENTENCE_END.split(answer)[0], topic):
        raise ExcludedError("a definition asked again, and the answer is about something else")
    return question, answer.strip(), repairs


def _strip_title(text: str) -> str:
    for form, new in TITLE_FORMS:
        text = form.sub(new, text)
    return text


def _list_symptoms(match: re.Match[str]) -> str:
    """Return the table of symptoms as a list, one sign on a line; the table as it is if it has another form."""
    cells = " ".join(match["cells"].split())
    symptoms = SYMPTOM_CELLS.findall(cells)
    if " ".join(" ".join(cell) for cell in symptoms) != cells:
        return match[0]
    lines = (f"- {sign}" if share == "-" else f"- {sign}: {share}" for sign, share in symptoms)
    heading = (
        f"Signs and symptoms of {match['topic'].strip()} in the Human Phenotype Ontology, with the approximate share "
        "of patients where it is known:"
    )
    return "\n".join((heading, *lines, ""))


def _clean_answer(text: str) -> str:
    """Return the answer without indentation and repeated blank lines, and with each bullet on its own line."""
    lines = (SPACES.sub(" ", line).strip() for line in BULLET.sub("\n- ", text).split("\n"))
    return BLANK_LINES.sub("\n\n", "\n".join(lines)).strip()
