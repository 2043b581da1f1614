"""Compare in a real browser, with a tiny real model."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from medalpaca_data.exams.exam import Exam
from medalpaca_data.exams.item import Item, exam_prompt
from medalpaca_demo.models import check_pair

pytestmark = pytest.mark.browser

SCRIPT = (
    "<script>window.pwned = 1</script><img src=x onerror='window.pwned = 2'> "
    "${window.pwned = 3} {{value}} & <b>"
)
ITEMS = (
    Item(
        id="q-1",
        question="Which vitamin is lacking in scurvy?",
        answer="C",
        step=1,
        subject="Nutrition",
        options={letter: f"Vitamin {letter}" for letter in "ABCDE"},
    ),
    Item(
        id="<i>q-2</i>",
        question=SCRIPT,
        answer="A",
        step=2,
        subject=SCRIPT,
        options={"A": SCRIPT, "B": "</td></table>", "C": "C" * 120},
    ),
    Item(
        id="q-3",
        question="Which artery supplies the anterior wall of the heart? " * 4,
        answer="B",
        step=3,
        options={"A": "right", "B": "left"},
    ),
)


@dataclass
class Site:
    url: str
    engine: Any
    items: tuple[Item, ...]


@pytest.fixture(scope="module")
def site(pair: tuple[Path, Path], loaded_engine: Any, open_page: Any) -> Iterator[Site]:
    exam = Exam(name="three <b>", items=ITEMS, excluded=(), read=3, sha256="0" * 64, source_sha256="0" * 64)
    with open_page(loaded_engine, check_pair(*pair), exam, max_new_tokens=400) as url:
        yield Site(url, loaded_engine, ITEMS)


@pytest.fixture
def phone(site: Site, visit: Any) -> Iterator[Any]:
    """The page on a phone."""
    with visit(site.url, viewport={"width": 390, "height": 844}, is_mobile=True, has_touch=True) as tab:
        yield tab


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Slow down the answers to some seconds, and return the time of each token."""
    times: list[float] = []
    from medalpaca_demo.inference import BatchStreamer

    take = BatchStreamer._take

    def take_slowly(self: BatchStreamer, tokens: list[int]) -> None:
        time.sleep(0.02)
        times.extend([time.monotonic()] * len(tokens))
        take(self, tokens)

    monkeypatch.setattr(BatchStreamer, "_take", take_slowly)
    return times


def compare(tab: Any) -> None:
    tab.page.locator("#mp-compare").click()
    tab.page.locator(".mp-status[data-state=done]").wait_for()


def idle(engine: Any, seconds: float = 5.0) -> bool:
    until = time.monotonic() + seconds
    while engine.busy and time.monotonic() < until:
        time.sleep(0.02)
    return not engine.busy


def test_answers_and_bars_equal_the_engine(site: Site, tab: Any) -> None:
    from medalpaca_demo.job import SIDES, Request

    compare(tab)
    question = exam_prompt(site.items[0], "letter")
    job = site.engine.submit(
        Request(prompt=question.prompt, choices=question.choices, scoring="letter", max_new_tokens=400)
    )
    result = list(job.watch(interval=0))[-1]
    for side in SIDES:
        card = tab.page.locator(f".mp-answer.mp-{side}")
        assert card.get_attribute("data-state") == "done"
        shown = re.sub(r"\s+", " ", card.locator(".mp-text").inner_text()).strip()
        assert shown == re.sub(r"\s+", " ", result.answers[side].text).strip()
        assert f"{result.answers[side].tokens} tokens" in card.locator(".mp-meta").inner_text()
        cells = tab.page.locator(f".mp-bars td.mp-{side}").all()
        shares = [float(cell.get_attribute("data-share")) for cell in cells]
        assert shares == pytest.approx(list(result.scores[side].shares), abs=1e-6)
        widths = [
            float(re.findall(r"[\d.]+", cell.locator(".mp-bar").get_attribute("style"))[0]) for cell in cells
        ]
        assert widths == pytest.approx([100 * share for share in shares], abs=0.01)
        assert [cell.locator(".mp-mark").count() for cell in cells].index(1) == result.scores[side].chosen
    letters = [cell.inner_text() for cell in tab.page.locator(".mp-letter").all()]
    assert letters == list("ABCDE")
    assert "correct" in tab.page.locator("tr.mp-key").inner_text()


def test_a_script_in_a_question_is_shown_and_not_run(tab: Any) -> None:
    tab.page.keyboard.press("j")
    tab.page.locator(".mp-stem", has_text="window.pwned = 1").wait_for()
    assert SCRIPT in tab.page.locator(".mp-stem > div").inner_text()
    assert SCRIPT in tab.page.locator(".mp-option").first.inner_text()
    assert tab.page.locator(".mp-option").nth(1).inner_text() == "</td></table>"
    compare(tab)
    tab.page.get_by_text("Prompt as sent").click()
    assert SCRIPT in tab.page.locator(".mp-prompt").inner_text()
    assert tab.page.evaluate("window.pwned") is None
    assert tab.page.locator(".mp-stem script, .mp-stem img, .mp-bars img, .mp-prompt img").count() == 0


def test_compare_works_by_keyboard(site: Site, tab: Any, slow: list[float]) -> None:
    tab.page.keyboard.press("k")
    tab.page.locator(".mp-stem", has_text="anterior wall").wait_for()
    assert tab.page.locator("#mp-number input").input_value() == "3"
    tab.page.keyboard.press("j")
    tab.page.locator(".mp-stem", has_text="scurvy").wait_for()
    tab.page.keyboard.press("Enter")
    tab.page.locator(".mp-answer.mp-tuned[data-state=streaming]").wait_for()
    tab.page.keyboard.press("Escape")
    tab.page.locator(".mp-status[data-state=stopped]").wait_for()
    assert "stopped after" in tab.page.locator(".mp-end").first.inner_text()
    assert idle(site.engine)


def test_number_and_list_open_a_question(tab: Any) -> None:
    tab.page.locator("#mp-number input").fill("3")
    tab.page.locator("#mp-number input").press("Enter")
    tab.page.locator(".mp-stem", has_text="anterior wall").wait_for()
    tab.page.locator("#mp-chooser input").fill("nutri")
    tab.page.get_by_role("option", name="q-1").click()
    tab.page.locator(".mp-stem", has_text="scurvy").wait_for()


@pytest.mark.parametrize("how", ["close", "leave", "next"])
def test_leaving_the_question_frees_the_engine(site: Site, tab: Any, slow: list[float], how: str) -> None:
    tab.page.locator("#mp-compare").click()
    tab.page.locator(".mp-answer.mp-base[data-state=streaming]").wait_for()
    if how == "next":
        tab.page.keyboard.press("j")
        tab.page.locator(".mp-stem", has_text="pwned").wait_for()
        assert idle(site.engine)
        tab.page.wait_for_timeout(300)  # no late update may arrive
        assert tab.page.locator("#mp-line .mp-status").get_attribute("data-state") == "idle"
        assert tab.page.locator(".mp-answer[data-state=idle]").count() == 2
    else:
        left = time.monotonic()
        tab.page.close() if how == "close" else tab.page.goto("about:blank")
        assert idle(site.engine)
        assert sum(when > left for when in slow) <= 50  # of 800
        tab.complaints.clear()  # leaving the page aborts its stream, which the console reports


def test_a_too_long_question_is_shown(site: Site, tab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(site.engine, "max_length", 10)
    tab.page.locator("#mp-compare").click()
    line = tab.page.locator(".mp-status[data-state=failed]")
    line.wait_for()
    assert "question too long" in line.inner_text()


@pytest.mark.parametrize("question", [1, 2])
def test_compare_does_not_scroll_sideways_on_a_phone(phone: Any, question: int) -> None:
    for _ in range(question - 1):
        phone.page.locator("#mp-next").click()
        phone.page.locator(".mp-stem", has_text="pwned").wait_for()
    compare(phone)
    phone.page.get_by_text("Prompt as sent").click()
    assert phone.page.evaluate("document.documentElement.scrollWidth") <= 390
