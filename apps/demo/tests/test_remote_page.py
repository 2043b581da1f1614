"""The page with a model behind an endpoint: its name, missing scores, and a blind vote that stays blind."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from medalpaca_data.exams.exam import load_exam
from medalpaca_demo.models import check_pair, start_engine
from medalpaca_evalharness.endpoint import Endpoint

pytestmark = pytest.mark.browser


@pytest.fixture
def serve(
    pair: tuple[Path, Path], exam_file: Path, endpoint: Any, open_page: Any
) -> Iterator[Callable[..., str]]:
    """Return `serve(model)`: a page whose fine-tuned model is a model of the endpoint."""
    with ExitStack() as stack:

        def serve(model: str, **changes: Any) -> str:
            checked = check_pair(pair[0], Endpoint(endpoint.url, model))
            engine = start_engine(checked).wait_until_loaded()
            stack.callback(engine.close)
            page = open_page(engine, replace(checked, **changes), load_exam(exam_file), max_new_tokens=12)
            return str(stack.enter_context(page))

        yield serve


def test_an_endpoint_on_every_tab(serve: Callable[..., str], visit: Any, endpoint: Any) -> None:
    with visit(serve("tuned+plain")) as tab:
        page = tab.page
        page.locator("#mp-compare").click()
        page.locator("#mp-line .mp-status[data-state=done]").wait_for()
        foot = page.locator("#mp-table [data-state=unrated]")
        assert foot.inner_text() == "not available from this endpoint: it reports no probabilities"
        assert page.locator("#mp-table td.mp-base[data-share]").count() == 3
        assert page.locator("#mp-table td.mp-tuned[data-share]").count() == 0
        page.get_by_role("tab", name="Blind vote", exact=True).click()
        page.locator("#mp-vote-start").click()
        texts = page.locator(":is(#mp-vote-left, #mp-vote-right) .mp-text")
        seen: set[tuple[bool, ...]] = set()
        while not page.locator("#mp-vote-right .mp-answer[data-state=done]").count():
            seen.add(tuple(len(text) > 3 for text in texts.all_inner_texts()))
        assert seen <= {(), (False, False), (True, True)}  # both answers appear at the same time
        page.get_by_role("tab", name="About", exact=True).click()
        said = page.locator("#mp-about dl").inner_text()
        assert f"tuned+plain at 127.0.0.1:{endpoint.server_port}, an endpoint" in said
        assert "its weights cannot be checked, so there is no hash" in said
        assert "does not control what that program does with them" in said
        assert page.locator(".mp-offline").count() == 1


def test_the_page_names_hosts_that_receive_questions(serve: Callable[..., str], visit: Any) -> None:
    with visit(serve("tuned", outside_hosts=("gpu.example",))) as tab:
        assert tab.page.locator(".mp-purpose .mp-sends").inner_text() == "sends to gpu.example"
        assert tab.page.locator(".mp-offline").count() == 0
        tab.page.get_by_role("tab", name="Own question", exact=True).click()
        tab.page.locator("#mp-own", has_text="It is sent to gpu.example.").wait_for()
