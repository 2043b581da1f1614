"""Asking for all rows: many at once, nothing twice, every answer kept before it is looked at."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from ..ground.errors import UserError
from .client import Client, Counts, Failed, Patience
from .endpoints import api_key
from .settings import Rephrase
from .store import Store
from .tries import Tries

IN_A_ROW = 5  # requests that fail one after the other, each many times: it is the server, not the row
REFUSED = 50  # requests refused and none answered: it is the request's form, not the row


@dataclass(frozen=True, slots=True)
class Asked:
    """What was done in this run, and the keys of all requests that the rows' outcomes rest on."""

    counts: Counts
    keys: list[str]


@dataclass(slots=True)
class _State:
    done: int = 0
    answered: int = 0
    refused: int = 0
    failed: int = 0  # in a row
    keys: list[str] = field(default_factory=list)


def ask_all(
    settings: Rephrase,
    rows: Iterator[Tries],
    store: Store,
    tell: Callable[[int], None],
    patience: Patience | None = None,
) -> Asked:
    """Ask until each row has an answer that may stand, or no try is left. `tell` hears how many rows are done.

    Rows whose first request is the same are one row. Raises UserError when the endpoints do not work at all; what
    was answered until then is in the store.
    """
    return asyncio.run(_ask_all(settings, rows, store, tell, patience))


async def _ask_all(
    settings: Rephrase,
    rows: Iterator[Tries],
    store: Store,
    tell: Callable[[int], None],
    patience: Patience | None,
) -> Asked:
    state = _State()
    seen: set[str] = set()

    async def work(client: Client) -> None:
        for row in rows:
            key = row.request(0).key
            if key not in seen:
                seen.add(key)
                await _ask(row, client, store, state)
            state.done += 1
            tell(state.done)

    async with Client(
        settings.endpoints,
        concurrency=settings.concurrency,
        timeout=settings.timeout,
        key=api_key(settings),
        patience=patience,
    ) as client:
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(settings.concurrency * len(settings.endpoints)):
                    group.create_task(work(client))
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None
        return Asked(client.counts, state.keys)


async def _ask(row: Tries, client: Client, store: Store, state: _State) -> None:
    while (request := (found := row.outcome(store.answer)).next) is not None:
        try:
            body = await client.ask(request)
        except Failed as error:
            store.keep_failure(request.key, error.reason)
            state.keys += (*found.keys, request.key)
            _give_up_if(state, error)
            return
        store.keep(request.key, body)
        state.failed = 0
    state.keys += found.keys
    state.answered += 1


def _give_up_if(state: _State, error: Failed) -> None:
    """End the run when it is not the row that is at fault."""
    again = "what was answered is kept, run again to go on"
    if error.row:
        state.refused += 1
        if state.refused >= REFUSED and not state.answered:
            raise UserError(
                f"rephrase: all {state.refused} requests so far were {error.reason}; "
                "see the server's log, and model and parameters in the recipe"
            )
        return
    state.failed += 1
    if state.failed >= IN_A_ROW:
        raise UserError(f"rephrase: {state.failed} requests in a row got no answer ({error.reason}); {again}")
