"""One row's tries: what was asked, what came back, and whether it may stand. The same when asking and when judging.

Questions without a model: a gap is asked for, a heading of a known form is put as a question, all else is kept.

Rules move words and add a few of their own; they never add a fact, so nothing of theirs has to be checked.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass

from ..sources.anki import CARD_INSTRUCTION, GAP, ONE_GAP_INSTRUCTION, SEVERAL_GAPS_INSTRUCTION
from .checks import find_fault
from .prompts import Prompt, Rephrase, Request, Texts, make_request, sampling_parameters
from .store import parse_response, parse_texts


@dataclass(frozen=True, slots=True)
class RowOutcome:
    """Where a row's tries stand: `texts` when one may stand, else `next` when there is something left to ask."""

    keys: tuple[str, ...]  # of the requests that were answered
    faults: tuple[str, ...]  # of the answers that were refused, in order
    texts: dict[str, str] | None = None
    next: Request | None = None


@dataclass(frozen=True, slots=True)
class RowAttempts:
    """A row to be rephrased by a model."""

    settings: Rephrase
    prompt: Prompt
    texts: Texts
    seed: int

    def request(self, n: int) -> Request:
        """Try `n`, from 0."""
        return make_request(self.settings, self.prompt, self.texts, n, self.seed)

    def outcome(self, answered: Callable[[str], bytes | None]) -> RowOutcome:
        """What became of it, given a look-up of bodies by key."""
        keys: list[str] = []
        faults: list[str] = []
        for n in range(self.settings.tries):
            request = self.request(n)
            body = answered(request.key)
            if body is None:
                return RowOutcome(tuple(keys), tuple(faults), next=request)
            keys.append(request.key)
            try:
                answer = parse_texts(parse_response(body), self.prompt.asks)
                reason = find_fault(self.texts, answer, self.prompt)
            except ValueError as error:
                reason = str(error)
            if reason is None:
                return RowOutcome(tuple(keys), tuple(faults), texts=self.prompt.applied(self.texts, answer))
            faults.append(reason)
        return RowOutcome(tuple(keys), tuple(faults))

    def generator(self, n: int, before: str | None) -> str:
        """Who wrote the answer of try `n`; `before` is who wrote the row that was rephrased, if a model did."""
        written = {
            "model": self.settings.model,
            "prompt": self.prompt.name,
            "prompt_sha256": self.prompt.sha256,
            **sampling_parameters(self.settings, n, self.seed),
            **({"of": before} if before else {}),
        }
        return json.dumps(written, ensure_ascii=False, separators=(",", ":"))


MAX_HEADING_WORDS = 12  # words of a heading; what is longer is a sentence

SINGULAR_HEADINGS = (
    "definition|function|mechanism|mechanism of action|treatment|treatment of choice|management|diagnosis|prognosis|"
    "pathophysiology|aetiology|etiology|cause|most common cause|location|role|incubation period|inheritance|mode of "
    "inheritance|drug of choice|test of choice|antidote|blood supply|innervation|origin|insertion|dose|gold standard|"
    "epidemiology|prevalence|incidence|classification|presentation|clinical presentation|vector|causative organism"
)
PLURAL_HEADINGS = (
    "causes|symptoms|signs|signs and symptoms|risk factors|complications|side effects|adverse effects|indications|"
    "contraindications|features|clinical features|stages|types|branches|functions|components|layers|boundaries|borders|"
    "criteria|treatments|uses|properties|derivatives|contents|roles"
)
HEADING_NOUN = rf"(?P<what>(?P<one>{SINGULAR_HEADINGS})|{PLURAL_HEADINGS})"
NOUN_FIRST = re.compile(rf"(?:the )?{HEADING_NOUN} (?P<link>of|for|in) (?P<topic>\S.*)", re.IGNORECASE)
TOPIC_FIRST = re.compile(rf"(?P<topic>[^:?]+?)(?:: | - ){HEADING_NOUN}", re.IGNORECASE)


def rephrase_by_rule(texts: Texts) -> dict[str, str] | None:
    """The row's three texts as question and answer; None where it stays as it is."""
    instruction = texts["instruction"]
    # A card's front is its question; elsewhere an input is context, and the instruction the question.
    card = instruction in (CARD_INSTRUCTION, ONE_GAP_INSTRUCTION, SEVERAL_GAPS_INSTRUCTION)
    front = (texts["input"] if card else instruction).strip()
    question = _gap_question(front, instruction) if GAP in front else _heading_question(front)
    if question is None and card and front.endswith("?"):
        question = front
    if question is None or (question == front and not card):
        return None
    return {"instruction": question, "input": "" if card else texts["input"], "output": texts["output"]}


def _gap_question(text: str, instruction: str) -> str:
    if text.count(GAP) == 1:
        return f"What belongs in the gap in this text?\n{text}"
    form = ", separated by semicolons" if instruction == SEVERAL_GAPS_INSTRUCTION else ""
    return f"What belongs in the gaps in this text, in their order{form}?\n{text}"


def _heading_question(text: str) -> str | None:
    """A known heading as a question, None for all else."""
    plain = text.rstrip(" .:")
    if len(plain.split()) > MAX_HEADING_WORDS or "\n" in plain or text.endswith("?"):
        return None
    found = NOUN_FIRST.fullmatch(plain)
    if found is not None:
        return f"What {'is' if found['one'] else 'are'} the {found['what'].lower()} {found['link']} {found['topic']}?"
    found = TOPIC_FIRST.fullmatch(plain)
    if found is not None:
        return f"What {'is' if found['one'] else 'are'} the {found['what'].lower()} of {found['topic']}?"
    return None
