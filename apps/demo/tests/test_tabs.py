"""All tabs in a real browser, with a tiny real pair of models and its lm_eval results."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from medalpaca_data.core.errors import UserError
from medalpaca_data.exams.exam import Exam, load_exam
from medalpaca_demo.app import TABS
from medalpaca_demo.engine import Engine
from medalpaca_demo.models import check_pair, failed_engine, load_models, unchecked_pair
from medalpaca_demo.results import Results, load_results

pytestmark = pytest.mark.browser

SECRET = "Which vitamin is lacking in scurvy of xylophonists?"


@dataclass
class Site:
    url: str
    engine: Any
    exam: Exam
    results: Results


@pytest.fixture(scope="module")
def site(
    pair: tuple[Path, Path],
    exam_file: Path,
    examined: tuple[Path, Path],
    loaded_engine: Any,
    open_page: Any,
) -> Iterator[Site]:
    checked, exam = check_pair(*pair), load_exam(exam_file)
    results = load_results(*examined, exam, "letter", checked)
    with open_page(loaded_engine, checked, exam, results=results, max_new_tokens=60) as url:
        yield Site(url, loaded_engine, exam, results)


def go(page: Any, name: str) -> None:
    """Open a tab, which may be in the menu of a narrow page."""
    found = page.get_by_role("tab", name=name, exact=True)
    if found.count() and found.first.is_visible():
        found.first.click()
    else:
        page.locator(".overflow-menu > button").click()
        page.locator(".overflow-dropdown button", has_text=name).click()
    ready = {
        "Compare": "#mp-table",
        "Browse": "#mp-browse table",
        "Exam": "#mp-exam form",
        "Leaderboard": "#mp-leaderboard table",
        "Blind vote": "#mp-vote .mp-notice",
        "Own question": "#mp-own .mp-notice",
        "About": "#mp-about dl",
    }
    page.locator(ready[name]).first.wait_for()


def sit_through(page: Any, answers: str = "AB") -> None:
    """Answer a block of ten questions by clicks."""
    page.locator("#mp-exam [type=submit]").click()
    for n in range(10):
        page.locator("#mp-exam .mp-count p", has_text=f"Question {n + 1} of 10").wait_for()
        page.locator(f"#mp-exam [data-value={answers[n % len(answers)]}]").click()
        page.locator("#mp-exam [aria-pressed=true]").wait_for()
        if n < 9:
            page.locator("#mp-exam [data-act=move][data-value=on]").click()
    page.locator("#mp-exam [data-act=hand-in]").click()
    page.locator("#mp-exam table").first.wait_for()


def ask_own(page: Any, text: str) -> None:
    page.locator("#mp-own-text textarea").fill(text)
    page.locator("#mp-own-ask").click()


def test_browse_filters_and_opens_a_question(site: Site, tab: Any) -> None:
    from medalpaca_demo.results import Filter, filter_items, list_items

    page, listed = tab.page, list_items(site.exam.items, site.results)
    go(page, "Browse")
    rows = page.locator("#mp-browse tbody tr")
    assert rows.count() == 30
    fixed = filter_items(listed, Filter(kind="fixed"))
    page.locator("#mp-browse-form label", has_text="Fixed").click()
    page.locator("#mp-browse", has_text=f"{len(fixed)} of 30 questions").wait_for()
    assert [row.get_attribute("data-item") for row in rows.all()] == [line.item.id for line in fixed]
    page.locator("#mp-browse-form select[name=order]").select_option("down")
    falling = filter_items(listed, Filter(kind="fixed", order="down"))
    page.locator(f"#mp-browse tbody tr:first-child[data-item={falling[0].item.id}]").wait_for()
    assert [row.get_attribute("data-item") for row in rows.all()] == [line.item.id for line in falling]
    page.locator("#mp-browse-form input[type=search]").fill("zzz")
    page.get_by_text("No question matches step, subject and search.").wait_for()
    assert page.locator("#mp-browse-form input[type=search]").evaluate("e => e === document.activeElement")
    page.get_by_role("button", name="Show all").click()
    page.locator("#mp-browse", has_text="30 of 30 questions").wait_for()
    page.wait_for_function("document.querySelector('#mp-browse-form input[type=search]').value === ''")
    page.locator("#mp-browse-form label", has_text="Broken").click()
    broken = filter_items(listed, Filter(kind="broken"))
    page.locator("#mp-browse", has_text=f"{len(broken)} of 30").wait_for()
    page.locator("#mp-browse .mp-open").nth(1).click()
    page.locator("#mp-walk", has_text=f"Question 2 of {len(broken)}: broken by tuning").wait_for()
    assert broken[1].item.question in page.locator("#mp-question").inner_text()
    page.keyboard.press("j")
    page.locator("#mp-walk", has_text=f"Question {2 % len(broken) + 1} of {len(broken)}").wait_for()
    page.locator("#mp-walk button").click()
    page.locator("#mp-walk .mp-walk").wait_for(state="detached")


def test_the_bars_equal_the_logged_results(site: Site, tab: Any) -> None:
    for _ in range(2):
        tab.page.locator("#mp-compare").click()
        tab.page.locator("#mp-line .mp-status[data-state=done]").wait_for()
        item = tab.page.locator("#mp-question [data-item]").get_attribute("data-item")
        for side in ("base", "tuned"):
            cells = tab.page.locator(f"#mp-table td.mp-{side}").all()
            shares = [float(cell.get_attribute("data-share")) for cell in cells]
            assert shares == pytest.approx(list(getattr(site.results, side)[item].shares), abs=1e-4)
        tab.page.keyboard.press("j")
        tab.page.locator("#mp-line .mp-status[data-state=idle]").wait_for()


def test_links_contain_ids_only_and_restore_the_page(site: Site, visit: Any) -> None:
    with visit(site.url + "?q=case-07&tab=compare") as tab:
        tab.page.locator("#mp-question [data-item=case-07]").wait_for()
        tab.page.keyboard.press("j")
        tab.page.wait_for_url("**/?tab=compare&q=case-08")
        go(tab.page, "Leaderboard")
        tab.page.wait_for_url("**/?tab=leaderboard")
    with visit(site.url + "?q=%3Cscript%3E&tab=nowhere") as tab:
        tab.page.locator("#mp-question [data-item=case-01]").wait_for()
    with visit(site.url + "?tab=vote") as tab:
        tab.page.locator("#mp-vote .mp-notice").wait_for()


def test_a_leaderboard_row_opens_its_questions(site: Site, tab: Any) -> None:
    go(tab.page, "Leaderboard")
    assert "fixed" in tab.page.locator("#mp-leaderboard .mp-lead").inner_text()
    tab.page.locator("#mp-leaderboard [data-act=subject]").first.click()
    tab.page.locator("#mp-browse", has_text="10 of 30 questions").wait_for()
    assert tab.page.locator("#mp-browse-form select[name=subject]").input_value() != ""


def test_no_correct_answer_reaches_the_page_before_handing_in(site: Site, tab: Any) -> None:
    from medalpaca_demo.tabs.exam import question_page

    page = tab.page
    go(page, "Exam")
    page.locator("#mp-exam [type=submit]").click()
    page.locator("#mp-exam .mp-options").wait_for()
    shown = page.locator("#mp-exam").inner_html()
    assert not re.search(r"mp-right|mp-wrong|mp-key|mp-badge|data-share|\u2713|chosen", shown)
    assert "correct" not in page.locator("#mp-exam").inner_text().lower()
    # The page is the same for two items that differ in the correct answer only.
    from dataclasses import replace

    from medalpaca_demo.context import Context, Sessions
    from medalpaca_demo.tabs.exam import start_session

    def sheet(answer: str) -> str:
        item = replace(site.exam.items[0], answer=answer)
        exam = replace(site.exam, items=(item,))
        context = Context(site.engine, None, exam, "letter", site.results, Sessions(site.engine), 9)  # type: ignore[arg-type]
        return question_page(context, start_session((item,), 10, "", False, 0.0, 1), 0.0)

    assert sheet("A") == sheet("B")


def test_a_block_is_answered_and_scored(site: Site, tab: Any) -> None:
    page = tab.page
    go(page, "Exam")
    sit_through(page, "A")
    items = {item.id: item for item in site.exam.items}
    asked = [row.get_attribute("data-value") for row in page.locator("#mp-exam [data-act=open]").all()]
    assert len(asked) == 10
    right = sum(items[name].answer == "A" for name in asked)
    models = {
        side: sum(
            list(items[name].options)[getattr(site.results, side)[name].chosen] == items[name].answer
            for name in asked
        )
        for side in ("base", "tuned")
    }
    said = page.locator("#mp-exam h2").first.inner_text()
    assert said == f"You {right} of 10, base {models['base']}, fine-tuned {models['tuned']}"
    with page.expect_download() as saving:
        page.get_by_role("button", name="Save these answers (JSON)").click()
    saved = json.loads(Path(saving.value.path()).read_text())
    assert [answer["id"] for answer in saved["answers"]] == asked
    assert "rash" not in json.dumps(saved)
    page.locator("#mp-exam [data-act=open]").nth(3).click()
    page.locator(f"#mp-question [data-item={asked[3]}]").wait_for()


def test_fast_key_presses_are_all_counted(site: Site, tab: Any) -> None:
    """Keys pressed without waiting for the page all count, in order."""
    go(tab.page, "Exam")
    tab.page.locator("#mp-exam [type=submit]").click()
    tab.page.locator("#mp-exam .mp-options").wait_for()
    for _ in range(4):
        for key in "bj":
            tab.page.keyboard.press(key)
            tab.page.wait_for_timeout(40)
    tab.page.locator("#mp-exam .mp-count p", has_text="Question 5 of 10 · 6 unanswered").wait_for()


def test_without_results_the_models_score_the_block(site: Site) -> None:
    """The choices equal those of the results."""
    from medalpaca_demo.context import Context, Sessions
    from medalpaca_demo.job import SIDES
    from medalpaca_demo.tabs.exam import find_model_choices, start_session

    sessions = Sessions(site.engine)
    exam_session = start_session(site.exam.items, 10, "", False, 0.0, 3).end(9.0)
    empty = Context(site.engine, None, site.exam, "letter", Results(), sessions, 9)  # type: ignore[arg-type]
    full = Context(site.engine, None, site.exam, "letter", site.results, sessions, 9)  # type: ignore[arg-type]
    visitor: Any = SimpleNamespace(session_hash="session", username=None)
    *waiting, last = find_model_choices(empty, exam_session, visitor)
    assert [done for done, *_ in waiting] == list(range(10))
    (examined,) = find_model_choices(full, exam_session, visitor)
    assert last == examined
    assert set(last[1] or ()) == set(SIDES)


def test_a_timed_block_ends_when_time_is_up(site: Site, tab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from medalpaca_demo.tabs import exam

    monkeypatch.setattr(exam, "SECONDS_PER_QUESTION", 0.2)
    go(tab.page, "Exam")
    tab.page.locator("#mp-exam select[name=time]").select_option("yes")
    tab.page.locator("#mp-exam [type=submit]").click()
    tab.page.locator("#mp-exam [data-left]", has_text="left").wait_for()
    tab.page.locator("#mp-exam h2", has_text="You 0 of 10").wait_for()


def record_streams(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Record everything that the server streams to pages from now on."""
    from medalpaca_demo.routes import SecurityHeaders

    sent: list[bytes] = []
    original = SecurityHeaders.__call__

    async def call(self: SecurityHeaders, scope: Any, receive: Any, send: Any) -> None:
        async def keep(message: Any) -> None:
            if "queue/data" in scope.get("path", ""):
                sent.append(message.get("body", b""))
            await send(message)

        await original(self, scope, receive, keep)

    monkeypatch.setattr(SecurityHeaders, "__call__", call)
    return sent


def test_names_are_sent_only_after_the_vote(site: Site, tab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tab.page
    go(page, "Blind vote")
    streams = record_streams(monkeypatch)
    page.locator("#mp-vote-start").wait_for()
    page.locator("#mp-vote-start").click()
    page.locator("#mp-vote-right .mp-answer[data-state=done]").wait_for()
    page.locator("#mp-vote .mp-ballot").wait_for()
    panel = "".join(
        page.locator(f"#{name}").inner_html()
        for name in ("mp-vote", "mp-vote-question", "mp-vote-left", "mp-vote-right")
    )
    page.wait_for_timeout(300)
    sent = b"".join(streams).decode()
    for text in (panel, sent):
        assert not re.search(r"\b(base|tuned|fine-tuned|run@)", text, re.I)
        assert "tok/s" not in text
        assert "data-share" not in text
    assert "Left answer" in sent
    page.keyboard.press("3")
    card = page.locator("#mp-vote .mp-card")
    card.wait_for()
    named = card.inner_text()
    assert re.search(r"Left was (base, right was fine-tuned|fine-tuned, right was base)\.", named)
    assert "1 question by one rater" in named
    assert "nothing to test" in named
    with page.expect_download() as saving:
        page.get_by_role("button", name="Save votes (JSONL)").click()
    (vote,) = map(json.loads, Path(saving.value.path()).read_text().splitlines())
    assert vote["vote"] == "same"
    assert vote["left"] == ("base" if "Left was base" in named else "tuned")
    page.keyboard.press("j")
    page.locator("#mp-vote", has_text="1 vote so far").wait_for()


def test_own_question_is_scored_and_answered(site: Site, tab: Any) -> None:
    page = tab.page
    go(page, "Own question")
    ask_own(page, f"{SECRET}\nA. Vitamin A\nB. Vitamin C\nAnswer: B")
    page.locator("#mp-own-line .mp-status[data-state=done]").wait_for()
    assert "Correct answer: B." in page.locator("#mp-own-line").inner_text()
    assert page.locator("#mp-own-table tbody tr").count() == 2
    ask_own(page, SECRET)
    page.locator("#mp-own-table table").wait_for(state="detached")
    page.locator("#mp-own-line .mp-status[data-state=done]").wait_for()
    for text, expected in (
        ("", "Type or paste"),
        ("word " * 4100, "Too long: "),
        ("w " * 3000, "question too long"),
    ):
        ask_own(page, text)
        page.locator("#mp-own, #mp-own-line", has_text=expected).first.wait_for()


def test_identifiers_cause_a_warning_before_any_answer(site: Site, tab: Any) -> None:
    page = tab.page
    go(page, "Own question")
    ask_own(page, "Mr. Meier, born 3.4.1956, has fever. What now?")
    warning = page.locator("#mp-own .mp-notice[data-state=failed]")
    warning.wait_for()
    assert "names, dates (except the year)" in warning.inner_text()
    assert not site.engine.busy
    page.get_by_role("button", name="Clear").click()
    page.wait_for_function("document.querySelector('#mp-own-text textarea').value === ''")
    ask_own(page, "Mr. Meier has fever. What now?")
    page.get_by_role("button", name="Ask anyway").click()
    page.locator("#mp-own-line .mp-status[data-state=done]").wait_for()


def test_nothing_is_stored_after_a_full_tour(
    site: Site, tab: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Check the storage of browser and disk. The fixture checks for requests to other machines."""
    import tempfile

    page, began = tab.page, time.time()
    page.locator("#mp-compare").click()
    page.locator("#mp-line .mp-status[data-state=done]").wait_for()
    for name in ("Browse", "Exam", "Leaderboard"):
        go(page, name)
    go(page, "Exam")
    sit_through(page)
    go(page, "Blind vote")
    page.locator("#mp-vote-start").click()
    page.locator("#mp-vote .mp-ballot").wait_for()
    page.keyboard.press("1")
    page.locator("#mp-vote .mp-card").wait_for()
    go(page, "Own question")
    ask_own(page, SECRET)
    page.locator("#mp-own-line .mp-status[data-state=done]").wait_for()
    go(page, "About")
    left = page.evaluate(
        "async () => [localStorage.length, sessionStorage.length, (await indexedDB.databases()).length,"
        "(await caches.keys()).length, document.cookie]"
    )
    assert left == [0, 0, 0, 0, ""]
    assert tab.context.cookies() == []
    places = [Path(tempfile.gettempdir()) / "gradio", Path.cwd() / ".gradio", Path.cwd() / "flagged"]
    for file in (file for place in places for file in place.rglob("*") if file.is_file()):
        if file.stat().st_mtime >= began - 1:
            assert b"xylophonists" not in file.read_bytes(), file
    assert "xylophonists" not in page.url


@pytest.mark.slow
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_no_violation(site: Site, visit: Any, theme: str) -> None:
    module = pytest.importorskip("axe_playwright_python.sync_playwright")
    axe = module.Axe()
    with visit(site.url, color_scheme=theme) as tab:
        page, found = tab.page, []
        page.emulate_media(reduced_motion="reduce")

        def check(name: str) -> None:
            page.wait_for_timeout(250)  # wait for the transition of colours
            # The themes differ in colours only.
            tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
            rules = {"runOnly": tags if theme == "light" else ["color-contrast"]}
            for violation in axe.run(page, options=rules).response["violations"]:
                found.extend(
                    f"{name}: {violation['id']}: {node['html'][:200]}" for node in violation["nodes"]
                )

        page.locator("#mp-compare").click()
        page.locator("#mp-line .mp-status[data-state=done]").wait_for()
        for name in TABS.values():
            go(page, name)
            check(name)
        go(page, "Browse")
        page.locator("#mp-browse-form label", has_text="No answer").click()
        page.locator("#mp-browse .mp-notice").wait_for()
        check("Browse, none")
        go(page, "Exam")
        page.locator("#mp-exam [type=submit]").click()
        page.locator("#mp-exam .mp-options").wait_for()
        page.locator("#mp-exam [data-value=A]").click()
        page.locator("#mp-exam [aria-pressed=true]").wait_for()
        check("Exam, question")
        page.locator("#mp-exam [data-act=hand-in]").click()
        page.locator("#mp-exam table").first.wait_for()
        check("Exam, end")
        go(page, "Blind vote")
        page.locator("#mp-vote-start").click()
        page.locator("#mp-vote-right .mp-answer[data-state=done]").wait_for()
        check("Blind vote, voting")
        page.locator("#mp-vote [data-value=poor]").click()
        page.locator("#mp-vote .mp-card").wait_for()
        check("Blind vote, voted")
        go(page, "Own question")
        ask_own(page, "Mr. Meier has fever.")
        page.locator("#mp-own .mp-notice[data-state=failed]").wait_for()
        check("Own question, warning")
        assert found == []


def test_every_tab_works_by_keyboard(site: Site, tab: Any) -> None:
    page, press = tab.page, tab.page.keyboard.press

    def focus(selector: str, key: str = "Tab", most: int = 120) -> None:
        for _ in range(most):
            if page.evaluate("s => !!document.activeElement?.closest(s)", selector):
                return
            press(key)
        raise AssertionError(f"{selector} cannot be reached by {key}")

    press("j")
    page.locator("#mp-question [data-item=case-02]").wait_for()
    press("Enter")
    page.locator("#mp-line .mp-status[data-state=done]").wait_for()
    page.get_by_role("tab", name="Compare", exact=True).focus()
    press("Tab")
    press("Enter")
    page.locator("#mp-browse table").wait_for()
    page.evaluate("document.activeElement.blur()")
    press("/")
    page.keyboard.type("case-05")
    page.locator("#mp-browse", has_text="1 of 30 questions").wait_for()
    press("Escape")
    focus("#mp-browse .mp-open")
    press("Enter")
    page.locator("#mp-question [data-item=case-05]").wait_for()
    go(page, "Exam")
    page.evaluate("document.activeElement.blur()")
    press("Enter")
    page.locator("#mp-exam .mp-options").wait_for()
    for n in range(3):
        page.locator("#mp-exam .mp-count p", has_text=f"Question {n + 1} of").wait_for()
        press("b")
        page.locator("#mp-exam [data-value=B][aria-pressed=true]").wait_for()
        press("j")
    focus("#mp-exam [data-act=hand-in]")
    press("Enter")
    page.locator("#mp-exam table").first.wait_for()
    go(page, "Blind vote")
    page.evaluate("document.activeElement.blur()")
    press("Enter")
    page.locator("#mp-vote .mp-ballot").wait_for()
    press("2")
    page.locator("#mp-vote .mp-card").wait_for()
    go(page, "Own question")
    focus("#mp-own-text textarea")
    page.keyboard.type("What is scurvy?")
    focus("#mp-own-ask")
    press("Enter")
    page.locator("#mp-own-line .mp-status[data-state=done]").wait_for()
    page.evaluate("document.activeElement.blur()")
    press("?")
    assert page.locator(".mp-help[open]").count() == 1


def test_no_tab_scrolls_sideways_on_a_phone(site: Site, visit: Any) -> None:
    with visit(site.url, viewport={"width": 390, "height": 844}, is_mobile=True, has_touch=True) as tab:
        page = tab.page
        for name in TABS.values():
            go(page, name)
            assert page.evaluate("document.documentElement.scrollWidth") <= 390, name
            assert page.locator(".mp-purpose", has_text="not for clinical use").is_visible()
        go(page, "Exam")
        sit_through(page)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_the_page_is_small(site: Site, visit: Any, browser: Any) -> None:
    """Size of the first visit with an empty browser cache."""
    context = browser.new_context()
    page = context.new_page()
    session = context.new_cdp_session(page)
    session.send("Network.enable")
    sizes: list[float] = []
    session.on("Network.loadingFinished", lambda event: sizes.append(event["encodedDataLength"]))
    page.goto(site.url)
    page.locator("#mp-compare:enabled").wait_for()
    page.wait_for_timeout(500)
    context.close()
    assert 100 < sum(sizes) / 1024 < 400


def test_missing_and_wrong_results_are_explained(
    site: Site, visit: Any, pair: tuple[Path, Path], examined: tuple[Path, Path], open_page: Any
) -> None:
    checked = check_pair(*pair)
    other = replace(site.exam, sha256="f" * 64)
    wrong = load_results(*examined, other, "letter", checked)
    page = open_page(site.engine, checked, other, results=wrong, max_new_tokens=9)
    with page as url, visit(url) as tab:
        go_to = tab.page.get_by_role("tab", name="Browse", exact=True)
        go_to.click()
        said = tab.page.locator("#mp-browse .mp-notice[data-state=failed]")
        said.wait_for()
        assert "results of another exam" in said.inner_text()
        tab.page.get_by_role("tab", name="Compare", exact=True).click()
        tab.page.locator("#mp-compare").click()
        tab.page.locator("#mp-line .mp-status[data-state=done]").wait_for()

    broken = failed_engine(UserError("run: adapter of another base: trained on x (aaaa), given y (bbbb)"))
    page = open_page(broken, unchecked_pair(*pair), site.exam, results=site.results)
    with page as url, visit(url) as tab:
        banner = tab.page.locator(".mp-banner[data-state=failed]")
        banner.wait_for()
        assert "trained on x (aaaa), given y (bbbb)" in banner.inner_text()
        tab.page.locator("#mp-compare").click()
        tab.page.locator("#mp-line .mp-status[data-state=failed]", has_text="another base").wait_for()
        go(tab.page, "Leaderboard")
    broken.close()


def test_questions_wait_while_the_models_load(site: Site, visit: Any, pair: Any, open_page: Any) -> None:
    loaded = threading.Event()
    checked = check_pair(*pair)

    def load_late() -> Any:
        loaded.wait(30)
        return load_models(checked)

    engine = Engine(load_late)
    page = open_page(engine, checked, site.exam, max_new_tokens=9)
    with page as url, visit(url) as tab:
        tab.page.locator(".mp-banner[data-state=loading]", has_text="Loading the models").wait_for()
        tab.page.locator("#mp-compare").click()
        tab.page.locator("#mp-line .mp-status[data-state=waiting]").wait_for()
        loaded.set()
        tab.page.locator("#mp-line .mp-status[data-state=done]").wait_for()
        tab.page.locator(".mp-banner").wait_for(state="detached")
        go_to = tab.page.get_by_role("tab", name="Browse", exact=True)
        go_to.click()
        tab.page.locator("#mp-browse", has_text="The page was started without results").wait_for()
    engine.close()


def test_an_engine_error_is_shown_and_the_next_question_answered(
    site: Site, tab: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(rows: Any) -> None:
        raise SystemExit

    with monkeypatch.context() as patch:
        patch.setattr(site.engine, "_publish", die)
        tab.page.locator("#mp-compare").click()
        line = tab.page.locator("#mp-line .mp-status[data-state=failed]")
        line.wait_for()
        assert "(SystemExit); ask again" in line.inner_text()
    tab.page.locator("#mp-compare").click()
    tab.page.locator("#mp-line .mp-status[data-state=done]").wait_for()


def test_a_full_queue_is_shown(site: Site, tab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(site.engine, "_max_waiting", 0)
    tab.page.locator("#mp-compare").click()
    tab.page.locator("#mp-line .mp-status[data-state=failed]", has_text="try again in a minute").wait_for()
