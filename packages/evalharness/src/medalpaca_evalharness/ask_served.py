"""Evaluation of two models behind OpenAI-compatible servers, with the prompts exactly as rendered.

Every answer is appended to a journal at once. The same command continues after an interruption, also after `kill -9`.
The output is two lm-eval results with logged samples.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from lm_eval.api.model import LM
from rich.console import Console

from medalpaca_data.core.errors import UserError
from medalpaca_data.core.files import sha256_json

from . import preflight
from .ask_journal import Journal
from .completions import CompletionsClient, EndpointError, RejectedError, check_served_name
from .endpoint import Endpoint
from .lm_eval_run import check_task_names, evaluate_side
from .served_models import generated_task
from .server_probe import Reply, echo_fault_async, read_echo
from .task_data import TASKS, find_tasks

MODEL_TYPE = "exam ask"
# Attempts of a request, and seconds before the second one; the wait doubles each time.
ATTEMPTS, FIRST_WAIT = 4, 0.5
SEED = 1234
# Settings of generation that servers know, under lm-eval's names.
PASSED_ON = ("temperature", "top_p", "top_k")
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class AskSettings:
    """Tasks of a run, the metadata of its tasks, the number of items, and the number of requests at a time."""

    tasks: tuple[str, ...]
    metadata: Mapping[str, Any] = field(default_factory=dict)
    limit: float | None = None
    concurrent: int = 4


def evaluate_served(
    base: Endpoint,
    tuned: Endpoint,
    out: Path,
    settings: AskSettings,
    *,
    key: str | None = None,
    on_progress: Progress = lambda side, done, total: None,
) -> tuple[Path, Path]:
    """Evaluate both models; write the results and return (`out/base`, `out/tuned`).

    `key` is the API key. `on_progress` gets side, finished requests and all requests. Raises UserError for an unknown
    task, a server that does not answer or whose log-probabilities are not real, and if `out` has results of a finished
    run or of other settings.
    """
    check_task_names(settings.tasks)
    endpoints = {"base": base, "tuned": tuned}
    metadata = {
        side: {"base_url": one.url, "model": one.model} | dict(settings.metadata)
        for side, one in endpoints.items()
    }
    journals = {side: out / f".{side}.journal.jsonl" for side in endpoints}
    directories = {side: out / side for side in endpoints}
    for side, directory in directories.items():
        if directory.exists() and not journals[side].is_file():
            raise UserError(f"{directory}: already exists; choose another --out")
    for side in endpoints:
        preflight.before_model({"tasks": list(settings.tasks), "metadata": metadata[side]})
    scored = [name for name in find_tasks(list(settings.tasks)) if not TASKS[name].generates]
    for endpoint in endpoints.values():
        check_served_name(endpoint, key)
        if scored and (fault := asyncio.run(_echo_fault(endpoint, key))):
            raise UserError(
                f"{scored[0]}: {endpoint.name} cannot score options: {fault}; "
                f"use --tasks {generated_task(scored[0])}, which only needs generated text"
            )
    for side, endpoint in endpoints.items():
        identity = {
            "endpoint": str(endpoint),
            "tasks": list(settings.tasks),
            "limit": settings.limit,
            "metadata": dict(settings.metadata),
        }
        with Journal(journals[side], identity) as journal:
            if directories[side].exists():
                continue
            lm = ServedLM(endpoint, key, journal, settings.concurrent, _for_side(on_progress, side))
            part = out / f".{side}.part-{time.time_ns()}"
            evaluate_side(
                lm,
                MODEL_TYPE,
                part,
                settings.tasks,
                metadata[side],
                model_args={"base_url": endpoint.url, "model": endpoint.model},
                limit=settings.limit,
            )
            # Atomic: results without their samples would look like those of a finished side.
            part.rename(directories[side])
    for path in journals.values():
        path.unlink()
    return directories["base"], directories["tuned"]


def _for_side(on_progress: Progress, side: str) -> Callable[[int, int], None]:
    return lambda done, total: on_progress(side, done, total)


async def _echo_fault(endpoint: Endpoint, key: str | None) -> str:
    """Return the result of the probe (see `server_probe`)."""
    async with CompletionsClient(endpoint, key) as client:

        async def echo(text: str) -> Reply:
            try:
                return Reply(await _echo(client, text))
            except RejectedError:
                return Reply(None)
            except EndpointError as error:
                raise UserError(str(error)) from None

        return await echo_fault_async(echo)


async def _echo(client: CompletionsClient, text: str) -> dict[str, Any]:
    choice = await client.complete(text, max_tokens=1, echo=True, logprobs=1)
    return {"choices": [choice], "usage": choice["usage"]}


@dataclass(frozen=True, slots=True)
class Question:
    """One request to the server: its key in the journal, and the item that an error names."""

    key: str
    item: str
    text: str
    settings: Mapping[str, Any] | None = None


class ServedLM(LM):  # type: ignore[misc]
    """lm-eval model that sends each prompt to `/v1/completions`, several at a time, with answers in a journal.

    Log-likelihoods are those of lm-eval's `hf`: spaces at the end of the prompt count as part of the option.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        key: str | None,
        journal: Journal,
        concurrent: int,
        on_progress: Callable[[int, int], None],
    ) -> None:
        super().__init__()
        self._endpoint, self._key, self._journal = endpoint, key, journal
        self._concurrent, self._on_progress = concurrent, on_progress
        self._full: set[str] = set()

    def is_full(self, text: str) -> bool:
        """Return whether the server ended this generated text at the maximal number of tokens."""
        return text in self._full

    def loglikelihood(self, requests: Sequence[Any]) -> list[tuple[float, bool]]:
        """Return (log-likelihood, whether it is the greedy choice) of each continuation."""
        contexts, echoes = [], []
        for request in requests:
            context, continuation = request.args
            item = _item(request)
            contexts.append(Question(sha256_json(["count", context.rstrip()]), item, context.rstrip()))
            text = context + continuation
            echoes.append(Question(sha256_json(["echo", text]), item, text))
        answers = self._answer([*contexts, *echoes])
        found = []
        for before, echo in zip(contexts, echoes, strict=True):
            start, answer = answers[before.key]["tokens"], answers[echo.key]
            values = answer["values"][start:]
            if not values or start < 1:
                raise UserError(
                    f"item {echo.item}: {self._endpoint.name} counts no token of an option; check its tokenizer"
                )
            tops = answer["tops"][start:]
            greedy = all(top is not None and value >= top for value, top in zip(values, tops, strict=True))
            found.append((float(sum(values)), greedy))
        return found

    def generate_until(self, requests: Sequence[Any]) -> list[str]:
        """Return the generated texts."""
        # Repeated requests are different samples, with seeds of their own.
        seen: Counter[str] = Counter()
        questions = []
        for request in requests:
            context, given = request.args
            stop = given.get("until") or []
            settings = {
                "max_tokens": int(given.get("max_gen_toks", 256)),
                "stop": [stop] if isinstance(stop, str) else list(stop),
                **{name: given[name] for name in PASSED_ON if name in given},
            }
            key = sha256_json(["text", context, settings])
            settings["seed"] = SEED + seen[key]
            questions.append(Question(sha256_json([key, seen[key]]), _item(request), context, settings))
            seen[key] += 1
        answers = self._answer(questions)
        self._full |= {answers[one.key]["text"] for one in questions if answers[one.key]["full"]}
        return [answers[one.key]["text"] for one in questions]

    def loglikelihood_rolling(self, requests: Sequence[Any]) -> list[float]:
        """Raise UserError: no task of this package needs it."""
        raise UserError("perplexity tasks are not supported by exam ask")

    def _answer(self, questions: Sequence[Question]) -> Mapping[str, Any]:
        """Return the answers by key; those that the journal lacks are requested."""
        distinct = {question.key: question for question in questions}
        missing = [question for key, question in distinct.items() if key not in self._journal.answers]
        self._on_progress(len(distinct) - len(missing), len(distinct))
        if missing:
            asyncio.run(self._request_all(iter(missing), len(distinct) - len(missing), len(distinct)))
        return self._journal.answers

    async def _request_all(self, missing: Iterator[Question], done: int, total: int) -> None:
        error: BaseException | None = None

        async def work(client: CompletionsClient) -> None:
            nonlocal done
            for question in missing:
                self._journal.append(question.key, await self._request(client, question))
                done += 1
                self._on_progress(done, total)

        async with CompletionsClient(self._endpoint, self._key) as client:
            try:
                async with asyncio.TaskGroup() as group:
                    for _ in range(self._concurrent):
                        group.create_task(work(client))
            except* UserError as errors:
                error = errors.exceptions[0]
        if error is not None:
            raise error

    async def _request(self, client: CompletionsClient, question: Question) -> dict[str, Any]:
        """Return the answer to one question. Raises UserError that names the item if all attempts fail."""
        for attempt in range(ATTEMPTS):
            try:
                return await self._request_once(client, question)
            except EndpointError as error:
                if isinstance(error, RejectedError) or attempt == ATTEMPTS - 1:
                    raise UserError(
                        f"item {question.item}: {error}; the answers until here are kept: "
                        "run the same command again to continue"
                    ) from None
                await asyncio.sleep(FIRST_WAIT * 2**attempt)
        raise AssertionError("unreachable")

    async def _request_once(self, client: CompletionsClient, question: Question) -> dict[str, Any]:
        if question.settings is not None:
            choice = await client.complete(question.text, **question.settings)
            text = choice.get("text")
            if not isinstance(text, str):
                raise EndpointError(f"{self._endpoint.host_port} sent a completion without text")
            return {"text": text, "full": choice.get("finish_reason") == "length"}
        body = await _echo(client, question.text)
        echoed = read_echo(Reply(body), question.text)
        if isinstance(echoed, str):
            raise UserError(f"item {question.item}: {self._endpoint.name} cannot score it: {echoed}")
        tops = body["choices"][0]["logprobs"].get("top_logprobs") or [None] * len(echoed.values)
        return {
            "tokens": echoed.prompt_tokens,
            "values": echoed.values[:-1],
            "tops": [max(top.values()) if isinstance(top, dict) and top else None for top in tops][
                : len(echoed.values) - 1
            ],
        }


def _item(request: Any) -> str:
    return str((request.doc or {}).get("item_id", "without id"))


class RequestProgress:
    """Context manager that prints the number of finished requests of each side, at most every ten seconds."""

    def __init__(self, console: Console) -> None:
        self._console, self._last = console, 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        """Print nothing more."""

    def update(self, side: str, done: int, total: int) -> None:
        """Show that `done` of `total` requests of a side are finished."""
        now = time.monotonic()
        if now - self._last > 10 or done == total:
            self._last = now
            self._console.print(f"{side}: {done} of {total} requests finished", highlight=False)
