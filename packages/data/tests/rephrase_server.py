"""An OpenAI-compatible test server with faults, in its own process, that counts the requests.

    python rephrase_server.py [--plain] [--faults] [--delay SECONDS] [--broken STATUS]

Prints its port. `GET /counts` returns, by the SHA-256 of the request body, when requests came and whether they got a
completion.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import random
import re
import time
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

from aiohttp import web

SIDES = re.compile(r"^Front: (.*)\nBack: (.*)$", re.MULTILINE)
# Seconds; longer than the timeout of any client in the tests.
STALL = 60


class Server:
    """Answer with the two sides of the card; the fault of a request depends on its hash."""

    def __init__(self, *, plain: bool, faults: bool, delay: float, broken: int) -> None:
        self.broken = broken
        self.plain, self.faults, self.delay = plain, faults, delay
        self.came: defaultdict[str, list[float]] = defaultdict(list)
        self.answered: defaultdict[str, int] = defaultdict(int)
        # The first fault of each request.
        self.faulted: defaultdict[str, str] = defaultdict(str)
        self.in_flight = self.most_in_flight = 0
        self.headers: list[dict[str, str]] = []

    async def complete(self, request: web.Request) -> web.StreamResponse:
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            return await self._complete(request)
        finally:
            self.in_flight -= 1

    async def _complete(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        key = hashlib.sha256(body).hexdigest()
        self.came[key].append(time.time())
        if not self.headers:
            self.headers.append(dict(request.headers))
        if self.delay:
            await asyncio.sleep(self.delay * random.Random(key).uniform(0.5, 1.5))
        if self.broken:
            return web.Response(status=self.broken)
        asked = json.loads(body)
        if self.plain and "response_format" in asked:
            return web.json_response({"error": {"message": "unknown field response_format"}}, status=400)
        lot = int(key, 16) % 1000
        if self.faults and len(self.came[key]) == 1:
            match self._fault(key, lot, request):
                case web.StreamResponse() as response:
                    return response
                case "stall":
                    await asyncio.sleep(STALL)
        text = "I am sorry, here is no JSON" if self.faults and 45 <= lot < 50 else self._text(asked)
        self.answered[key] += 1
        return web.json_response(completion(text))

    def _fault(self, key: str, lot: int, request: web.Request) -> web.StreamResponse | str | None:
        if lot < 10:
            self.faulted[key] = "429 seconds"
            return web.Response(status=429, headers={"Retry-After": "1"})
        if lot < 20:
            self.faulted[key] = "429 date"
            date = format_datetime(datetime.now(UTC) + timedelta(seconds=2), usegmt=True)
            return web.Response(status=429, headers={"Retry-After": date})
        if lot < 30:
            self.faulted[key] = "500"
            return web.Response(status=500, text="<html>oops")
        if lot < 35:
            self.faulted[key] = "stall"
            return "stall"
        if lot < 40:
            self.faulted[key] = "dropped"
            # The transport is None if the client was killed.
            if request.transport is not None:
                request.transport.close()
            return web.Response()
        if lot < 45:
            self.faulted[key] = "malformed"
            return web.Response(text='{"choices": [{"message": {"cont', content_type="application/json")
        return None

    def _text(self, asked: dict[str, Any]) -> str:
        front, back = SIDES.search(asked["messages"][1]["content"]).groups()  # type: ignore[union-attr]
        answer = json.dumps({"question": front, "answer": back})
        return answer if "response_format" in asked else f"<think>Hm.</think>Sure:\n```json\n{answer}\n```"

    async def counts(self, request: web.Request) -> web.Response:
        return web.json_response(
            {
                "came": self.came,
                "answered": self.answered,
                "faults": self.faulted,
                "most_in_flight": self.most_in_flight,
                "headers": self.headers,
            }
        )


def completion(text: str) -> dict[str, Any]:
    """Return a response in the form of the OpenAI API."""
    message = {"role": "assistant", "content": text}
    usage = {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120}
    return {
        "id": "x",
        "object": "chat.completion",
        "choices": [{"index": 0, "message": message}],
        "usage": usage,
    }


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--plain", action="store_true", help="refuse response_format")
    parser.add_argument("--faults", action="store_true")
    parser.add_argument("--delay", type=float, default=0)
    parser.add_argument("--broken", type=int, default=0, help="a status that answers every request")
    arguments = parser.parse_args()
    server = Server(**vars(arguments))
    app = web.Application()
    app.add_routes([web.post("/v1/chat/completions", server.complete), web.get("/counts", server.counts)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    print(site._server.sockets[0].getsockname()[1], flush=True)  # type: ignore[union-attr]  # noqa: T201
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
