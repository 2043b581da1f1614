"""Clients of OpenAI-compatible servers: CPU for one request, with retries and one SQLite store on both sides.

The server is a process of its own: 50 ms for an answer, 2 % of first requests get a 429, 1 % a 500. Each client runs in
a process of its own, which counts only after its libraries are loaded.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import importlib
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from comparison import Comparison, of_costs, turns

IN_FLIGHT = 64
REQUESTS, QUICK_REQUESTS = 6_000, 1_000
LATENCY = 0.05  # seconds
ATTEMPTS = 10
IMPORTS = {
    "ours": ("medalpaca_data.rephrase.client",),
    "openai": ("openai",),
    "openai, unparsed": ("openai",),
    "openai, aiohttp": ("openai", "aiohttp"),
}


def compare(arguments: argparse.Namespace) -> tuple[list[Comparison], Any]:
    """The benchmark: its comparisons, and what every run of every client took."""
    from importlib.metadata import version

    from rich.console import Console
    from rich.table import Table

    count = QUICK_REQUESTS if arguments.quick else REQUESTS
    names = [name for name in ARMS if name == "ours" or name in (arguments.arms or ARMS)]
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    for repeat in range(arguments.repeats):
        for name in turns(names, repeat):
            runs[name].append(measure(name, count))
            print(f"{name}: {runs[name][-1]['cpu']:.2f} CPU s", file=sys.stderr)  # noqa: T201
    cpu = {name: [run["cpu"] for run in runs[name]] for name in names}
    what = f"ask a model, {count:,} requests: CPU seconds"
    peers = [
        of_costs(what, name.replace("openai", f"openai {version('openai')}", 1), cpu["ours"], cpu[name])
        for name in names[1:]
    ]
    table = Table(
        title=f"{count:,} requests, {IN_FLIGHT} in flight, retries and one SQLite store", title_justify="left"
    )
    columns = ("client", "CPU ms/request", "ours = 1", "wall s", "answers kept", "import CPU s", "peak MB")
    for column in columns:
        table.add_column(column, justify="left" if column == "client" else "right")
    for name, ratios in zip(names, ([1.0], *(peer.ratios for peer in peers)), strict=True):
        middle = {key: statistics.median(run[key] for run in runs[name]) for key in runs[name][0]}
        table.add_row(
            name,
            f"{1000 * middle['cpu'] / count:.2f}",
            f"{statistics.median(ratios):.1f}",
            f"{middle['wall']:.1f}",
            f"{middle['kept']:,.0f}",
            f"{middle['import']:.2f}",
            f"{middle['peak']:.0f}",
        )
    Console(width=120).print(table)
    return peers, runs


def measure(name: str, count: int) -> dict[str, float]:
    """One client in a process of its own, at a fresh server."""
    with server() as url, tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, __file__, name, url, str(count), folder]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{name}: failed\n{done.stderr}")
    measured: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return measured


@contextmanager
def server() -> Iterator[str]:
    """A fresh server, and its address."""
    process = subprocess.Popen([sys.executable, __file__, "server"], stdout=subprocess.PIPE, text=True)
    try:
        yield f"http://127.0.0.1:{int(process.stdout.readline() if process.stdout else 0)}/v1"
    finally:
        process.kill()
        process.wait()


async def serve() -> None:
    """Answer until killed; prints the port."""
    from aiohttp import web

    message = {
        "role": "assistant",
        "content": json.dumps({"question": "Which organ?", "answer": "The kidney"}),
    }
    completion = json.dumps(
        {
            "id": "x",
            "object": "chat.completion",
            "created": 1,
            "model": "m",
            "choices": [{"index": 0, "finish_reason": "stop", "message": message}],
            "usage": {"prompt_tokens": 300, "completion_tokens": 20, "total_tokens": 320},
        }
    )
    seen: set[int] = set()

    async def answer(request: web.Request) -> web.Response:
        messages = json.dumps((await request.json())["messages"], sort_keys=True)
        lot = int.from_bytes(hashlib.sha256(messages.encode()).digest())
        await asyncio.sleep(LATENCY)
        first = lot not in seen
        seen.add(lot)
        if first and lot % 100 < 2:
            return web.Response(status=429, headers={"Retry-After": "1"})
        if first and lot % 100 == 2:
            return web.Response(status=500)
        return web.Response(text=completion, content_type="application/json")

    app = web.Application()
    app.router.add_post("/v1/chat/completions", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    sys.stdout.write(f"{runner.addresses[0][1]}\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


def requests(count: int) -> Iterator[Any]:
    """Distinct requests as a recipe makes them."""
    from medalpaca_data.rephrase.prompts import Rephrase, load_prompt, make_request

    prompt = load_prompt("flash_card", Path())
    asked = Rephrase(prompts={"cards": "flash_card"}, endpoints=("http://127.0.0.1/v1",), model="m")
    for n in range(count):
        texts = {
            "instruction": "Answer.",
            "input": f"Which organ has number {n}?",
            "output": "The kidney " * 20,
        }
        yield make_request(asked, prompt, texts, 0, 0)


async def shared(count: int, work: Callable[[Any], Awaitable[None]]) -> None:
    """So many workers at the same list."""
    listed = requests(count)

    async def worker() -> None:
        for request in listed:
            await work(request)

    await asyncio.gather(*(worker() for _ in range(IN_FLIGHT)))


async def ours(url: str, count: int, store: Any) -> None:
    """This project's client."""
    from medalpaca_data.rephrase.client import Client

    async with Client([url], concurrency=IN_FLIGHT) as client:

        async def work(request: Any) -> None:
            store.save(request.key, await client.send(request))

        await shared(count, work)


async def openai(url: str, count: int, store: Any) -> None:
    """As its documentation has it: typed answers."""
    from openai import AsyncOpenAI

    async with AsyncOpenAI(base_url=url, api_key="none", max_retries=ATTEMPTS) as client:

        async def work(request: Any) -> None:
            answer = await client.chat.completions.create(**json.loads(request.body))
            store.save(request.key, answer.model_dump_json().encode())

        await shared(count, work)


async def unparsed(url: str, count: int, store: Any) -> None:
    """The bytes as they came, which costs it least."""
    from openai import AsyncOpenAI

    async with AsyncOpenAI(base_url=url, api_key="none", max_retries=ATTEMPTS) as client:

        async def work(request: Any) -> None:
            answer = await client.chat.completions.with_raw_response.create(**json.loads(request.body))
            store.save(request.key, answer.content)

        await shared(count, work)


async def over_aiohttp(url: str, count: int, store: Any) -> None:
    """Unparsed, over the other transport that it offers."""
    from openai import AsyncOpenAI, DefaultAioHttpClient

    transport = DefaultAioHttpClient()
    async with AsyncOpenAI(
        base_url=url, api_key="none", max_retries=ATTEMPTS, http_client=transport
    ) as client:

        async def work(request: Any) -> None:
            answer = await client.chat.completions.with_raw_response.create(**json.loads(request.body))
            store.save(request.key, answer.content)

        await shared(count, work)


ARMS: dict[str, Callable[[str, int, Any], Awaitable[None]]] = {
    "ours": ours,
    "openai": openai,
    "openai, unparsed": unparsed,
    "openai, aiohttp": over_aiohttp,
}


def run_arm(name: str, url: str, count: int, folder: Path) -> None:
    """Load, ask, and print what it took."""
    from medalpaca_data.rephrase.store import CompletionStore

    start = time.process_time()
    for module in IMPORTS[name]:
        importlib.import_module(module)
    loading = time.process_time() - start
    keys = [
        request.key for request in requests(count)
    ]  # what is made of Python's own modules on first use is not counted
    with CompletionStore(folder / "store.sqlite") as store:
        start, wall = time.process_time(), time.monotonic()
        asyncio.run(ARMS[name](url, count, store))  # type: ignore[arg-type]
        cpu, wall = time.process_time() - start, time.monotonic() - wall
        kept = store.totals(keys).completions
    status = Path("/proc/self/status").read_text()
    peak = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) / 1024
    measured = {"cpu": cpu, "wall": wall, "kept": kept, "import": loading, "peak": peak}
    sys.stdout.write(f"{json.dumps(measured)}\n")


def main(arguments: Sequence[str]) -> None:
    """A process that `compare` started: the server, or one client."""
    if arguments[0] == "server":
        asyncio.run(serve())
    else:
        name, url, count, folder = arguments
        run_arm(name, url, int(count), Path(folder))


if __name__ == "__main__":
    main(sys.argv[1:])
