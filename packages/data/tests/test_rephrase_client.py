"""The client: retries, waits, and the meaning of HTTP statuses."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from medalpaca_data.core.errors import UserError
from medalpaca_data.rephrase.client import Client, RequestFailed, RetryPolicy, retry_after
from medalpaca_data.rephrase.prompts import Request


def completion(text: object, **choice) -> bytes:
    return json.dumps({"choices": [{"message": {"content": text}, **choice}]}).encode()


NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("3", 3),
        (" 0.5 ", 0.5),
        (format_datetime(NOW + timedelta(seconds=90), usegmt=True), 90),
        (format_datetime(NOW - timedelta(seconds=90), usegmt=True), 0),
        ("Sun, 01 Mar 2026 12:00:10 -0000", 10),
        ("soon", None),
        ("-5", None),
        ("", None),
        ("Sun, 99 Foo 2026", None),
        (None, None),
    ],
)
def test_retry_after(header, seconds):
    assert retry_after(header, NOW) == seconds


@given(st.text())
def test_any_retry_after_is_a_time_or_ignored(header):
    seconds = retry_after(header)
    assert seconds is None or 0 <= RetryPolicy().wait(0, seconds) <= 3601


def test_waits_grow_and_respect_retry_after():
    policy = RetryPolicy(first_wait=0.5, max_wait=8)
    for attempt in range(10):
        most = min(8, 0.5 * 2**attempt)
        waits = [policy.wait(attempt, None) for _ in range(50)]
        assert most / 2 <= min(waits) < max(waits) <= most
        assert all(20 <= policy.wait(attempt, 20) <= 20.5 for _ in range(50))


def exchange(answers: list[web.Response], attempts: int = 3) -> tuple[bytes | Exception, int]:
    """Return what a client makes of these responses, in order, and the number of requests."""

    async def both() -> tuple[bytes | Exception, int]:
        count = 0

        async def answer(request: web.Request) -> web.Response:
            nonlocal count
            count += 1
            return answers[min(count, len(answers)) - 1]

        app = web.Application()
        app.router.add_post("/v1/chat/completions", answer)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
        try:
            async with Client([url], policy=RetryPolicy(attempts=attempts, first_wait=0.001)) as client:
                try:
                    return await client.send(Request("k", b'{"response_format": 1}')), count
                except (RequestFailed, UserError) as error:
                    return error, count
        finally:
            await runner.cleanup()

    return asyncio.run(both())


@pytest.mark.parametrize(
    ("status", "kind", "message", "requests"),
    [
        (500, RequestFailed, "HTTP 500", 3),
        (503, RequestFailed, "HTTP 503", 3),
        (429, RequestFailed, "HTTP 429", 3),
        # Sent again without a schema.
        (400, RequestFailed, r"refused by the server \(HTTP 400\)", 2),
        (401, UserError, "api_key_env", 1),
        (404, UserError, "does not have this address or model", 1),
        (307, UserError, "set rephrase.endpoints to the final address", 1),
    ],
)
def test_statuses(status, kind, message, requests):
    secret = "what the patient said"
    result, times = exchange(
        [
            web.Response(status=status, text=secret, headers={"Location": "http://127.0.0.1:9/"})
            for _ in range(3)
        ]
    )
    assert isinstance(result, kind)
    assert times == requests
    assert secret not in str(result)
    assert "\n" not in str(result)
    with pytest.raises(kind, match=message):
        raise result


def test_a_request_with_a_broken_response_is_sent_again():
    good = completion("x")
    result, times = exchange([web.Response(text="{"), web.Response(text="{}"), web.Response(body=good)])
    assert (result, times) == (good, 3)
