"""A model behind an endpoint, on the page: its name, what it cannot be rated by, and a vote that stays blind."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from medalpaca_data.exams.exam import load_exam
from medalpaca_demo.endpoint import Address
from medalpaca_demo.models import check_pair, load_engine

pytestmark = pytest.mark.browser


@pytest.fixture
def serve(pair: tuple[Path, Path], exam_file: Path, endpoint: Any) -> Iterator[Callable[..., str]]:
    """`serve(model)`: a page with that model of the endpoint as the fine-tuned one."""
    from medalpaca_demo.app import build_app

    opened = []

    def serve(model: str, **more: Any) -> str:
        checked = check_pair(pair[0], Address(endpoint.url, model))
        engine = load_engine(checked)
        exam = load_exam(exam_file)
        page, settings = build_app(engine, replace(checked, **more), exam, "letter", max_new_tokens=12)
        _, url, _ = page.launch(prevent_thread_lock=True, **settings)
        opened.append((page, engine))
        return str(url)

    yield serve
    for page, engine in opened:
        page.close()
        engine.close()


def test_an_endpoint_is_named_compared_and_voted_on(
    serve: Callable[..., str], visit: Any, endpoint: Any
) -> None:
    with visit(serve("tuned+plain")) as tab:
        page = tab.page
        page.locator("#mp-compare").click()
        page.locator("#mp-line .mp-status[data-state=done]").wait_for()
        foot = page.locator("#mp-table [data-state=unrated]")
        assert foot.inner_text() == "not available from this endpoint: it tells no probabilities"
        assert page.locator("#mp-table td.mp-base[data-share]").count() == 3
        assert page.locator("#mp-table td.mp-tuned[data-share]").count() == 0
        page.get_by_role("tab", name="Blind vote", exact=True).click()
        page.locator("#mp-vote-start").click()
        texts = page.locator(":is(#mp-vote-left, #mp-vote-right) .mp-text")
        seen: set[tuple[bool, ...]] = set()
        while not page.locator("#mp-vote-right .mp-answer[data-state=done]").count():
            seen.add(tuple(len(text) > 3 for text in texts.all_inner_texts()))
        assert seen <= {(), (False, False), (True, True)}  # never one without the other
        page.get_by_role("tab", name="About", exact=True).click()
        said = page.locator("#mp-about dl").inner_text()
        assert f"tuned+plain at 127.0.0.1:{endpoint.server_port}, an endpoint" in said
        assert "weights not known here, no hash" in said
        assert "what that does with them is its own affair" in said
        assert page.locator(".mp-offline").count() == 1


def test_questions_that_leave_the_machine_are_said_to(serve: Callable[..., str], visit: Any) -> None:
    with visit(serve("tuned", outside=("gpu.example",))) as tab:
        assert tab.page.locator(".mp-purpose .mp-sends").inner_text() == "sends to gpu.example"
        assert tab.page.locator(".mp-offline").count() == 0
        tab.page.get_by_role("tab", name="Own question", exact=True).click()
        tab.page.locator("#mp-own", has_text="It is sent to gpu.example.").wait_for()
