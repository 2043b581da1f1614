"""Rephrasing of one row: the attempts with a model and their outcome, or rules without a model.

The outcome depends only on settings, texts and stored completions. So it is the same while requests are sent and when
the stage writes its shards. The rules turn gaps and known headings into questions. They add no fact, so their result
needs no check.
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
    """The state of the attempts for one row. If both `texts` and `next` are None, no attempt is left.

    keys: keys of the requests that have a completion, in order, up to the accepted one.
    faults: reasons why completions were refused, in order.
    texts: the new texts, or None if no completion is accepted.
    next: the next request, or None if a completion is accepted or no attempt is left.
    """

    keys: tuple[str, ...]
    faults: tuple[str, ...]
    texts: dict[str, str] | None = None
    next: Request | None = None


@dataclass(frozen=True, slots=True)
class RowAttempts:
    """The requests for one row, and the choice of the first completion that passes the checks.

    There are up to `settings.tries` requests. The completions themselves are in the store of completions.
    """

    settings: Rephrase
    prompt: Prompt
    texts: Texts
    seed: int

    def request(self, n: int) -> Request:
        """Return the request of attempt `n`, from 0."""
        return make_request(self.settings, self.prompt, self.texts, n, self.seed)

    def outcome(self, completion: Callable[[str], bytes | None]) -> RowOutcome:
        """Return the state of the attempts by the stored completions.

        `completion` returns the stored response body for the key of a request, or None if there is none.
        """
        keys: list[str] = []
        faults: list[str] = []
        for n in range(self.settings.tries):
            request = self.request(n)
            body = completion(request.key)
            if body is None:
                return RowOutcome(tuple(keys), tuple(faults), next=request)
            keys.append(request.key)
            try:
                answer = parse_texts(parse_response(body), self.prompt.asks)
                reason = find_fault(self.texts, answer, self.prompt)
            except ValueError as error:
                reason = str(error)
            if reason is None:
                return RowOutcome(tuple(keys), tuple(faults), texts=self.prompt.apply(self.texts, answer))
            faults.append(reason)
        return RowOutcome(tuple(keys), tuple(faults))

    def generator(self, n: int, before: str | None) -> str:
        """Return the `generator` of a row from attempt `n` (from 0) as JSON: model, prompt and parameters.

        `before` is the `generator` of the original row; if it is not None, the JSON contains it.
        """
        record = {
            "model": self.settings.model,
            "prompt": self.prompt.name,
            "prompt_sha256": self.prompt.sha256,
            **sampling_parameters(self.settings, n, self.seed),
            **({"of": before} if before else {}),
        }
        return json.dumps(record, ensure_ascii=False, separators=(",", ":"))


# A text of more words is a sentence, not a heading.
MAX_HEADING_WORDS = 12

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
    """Return the three texts of the row with a question as instruction, or None if no rule applies.

    The answer stays the same. The input of a flash card becomes the question; other rows keep their input.
    """
    instruction = texts["instruction"]
    # The input of a flash card is its question. In other rows it is context, and the instruction is the question.
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
    """Return the question for a known heading, such as "Causes of asthma", or None for another text."""
    plain = text.rstrip(" .:")
    if len(plain.split()) > MAX_HEADING_WORDS or "\n" in plain or text.endswith("?"):
        return None
    match = NOUN_FIRST.fullmatch(plain)
    link = match["link"] if match else "of"
    match = match or TOPIC_FIRST.fullmatch(plain)
    if match is None:
        return None
    return f"What {'is' if match['one'] else 'are'} the {match['what'].lower()} {link} {match['topic']}?"
