"""One row's tries: what was asked, what came back, and whether it may stand. The same when asking and when judging."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

from .answer import read_answer, read_body
from .checks import fault
from .prompt import Prompt, Texts
from .request import Request, make_request, parameters
from .settings import Rephrase


@dataclass(frozen=True, slots=True)
class Outcome:
    """Where a row's tries stand: `texts` when one may stand, else `next` when there is something left to ask."""

    keys: tuple[str, ...]  # of the requests that were answered
    faults: tuple[str, ...]  # of the answers that were refused, in order
    texts: dict[str, str] | None = None
    next: Request | None = None


@dataclass(frozen=True, slots=True)
class Tries:
    """A row to be rephrased by a model."""

    settings: Rephrase
    prompt: Prompt
    texts: Texts
    seed: int

    def request(self, n: int) -> Request:
        """Try `n`, from 0."""
        return make_request(self.settings, self.prompt, self.texts, n, self.seed)

    def outcome(self, answered: Callable[[str], bytes | None]) -> Outcome:
        """What became of it, given a look-up of bodies by key."""
        keys: list[str] = []
        faults: list[str] = []
        for n in range(self.settings.tries):
            request = self.request(n)
            body = answered(request.key)
            if body is None:
                return Outcome(tuple(keys), tuple(faults), next=request)
            keys.append(request.key)
            try:
                answer = read_answer(read_body(body), self.prompt.asks)
                reason = fault(self.texts, answer, self.prompt)
            except ValueError as error:
                reason = str(error)
            if reason is None:
                return Outcome(tuple(keys), tuple(faults), texts=self.prompt.applied(self.texts, answer))
            faults.append(reason)
        return Outcome(tuple(keys), tuple(faults))

    def generator(self, n: int, before: str | None) -> str:
        """Who wrote the answer of try `n`; `before` is who wrote the row that was rephrased, if a model did."""
        written = {
            "model": self.settings.model,
            "prompt": self.prompt.name,
            "prompt_sha256": self.prompt.sha256,
            **parameters(self.settings, n, self.seed),
            **({"of": before} if before else {}),
        }
        return json.dumps(written, ensure_ascii=False, separators=(",", ":"))
