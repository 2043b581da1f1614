"""Every tab in a real browser, on a real (tiny) pair with a real examination."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from medalpaca_data.exams.exam import Exam, load_exam
from medalpaca_demo.results import Results

pytestmark = pytest.mark.browser

TABS = ("Compare", "Browse", "Exam", "Leaderboard", "Blind vote", "Own question", "About")
SECRET = "Which vitamin is lacking in scurvy of xylophonists?"


@dataclass
class Site:
    url: str
    engine: Any
    exam: Exam
    results: Results


@pytest.fixture(scope="module")
def site(pair: tuple[Path, Path], exam_file: Path, examined: tuple[Path, Path]) -> Iterator[Site]:
    from medalpaca_demo.app import build_app
    from medalpaca_demo.models import check_pair, load_engine
    from medalpaca_demo.results import load_results

    checked, exam = check_pair(*pair), load_exam(exam_file)
    results = load_results(*examined, exam, "letter", checked)
    engine = load_engine(checked)
    page, settings = build_app(engine, checked, exam, "letter", results=results, max_new_tokens=60)
    _, url, _ = page.launch(prevent_thread_lock=True, **settings)
    yield Site(url, engine, exam, results)
    page.close()
    engine.close()


@pytest.fixture
def tab(site: Site, visit: Any) -> Iterator[Any]:
    with visit(site.url) as tab:
        yield tab


def go(page: Any, name: str) -> None:
    """To a tab, also where it has slid into the menu of a narrow page."""
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
    """A whole block, by pressing."""
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


def test_browse_filters_and_leads_to_the_question(site: Site, tab: Any) -> None:
    from medalpaca_demo.results import Filter, lines, select

    page, listed = tab.page, lines(site.exam.items, site.results)
    go(page, "Browse")
    rows = page.locator("#mp-browse tbody tr")
    assert rows.count() == 30
    fixed = select(listed, Filter(kind="fixed"))
    page.locator("#mp-browse-form label", has_text="Fixed").click()
    page.locator("#mp-browse", has_text=f"{len(fixed)} of 30 questions").wait_for()
    assert [row.get_attribute("data-item") for row in rows.all()] == [line.item.id for line in fixed]
    page.locator("#mp-browse-form select[name=order]").select_option("down")
    falling = select(listed, Filter(kind="fixed", order="down"))
    page.locator(f"#mp-browse tbody tr:first-child[data-item={falling[0].item.id}]").wait_for()
    assert [row.get_attribute("data-item") for row in rows.all()] == [line.item.id for line in falling]
    page.locator("#mp-browse-form input[type=search]").fill("zzz")
    page.get_by_text("No question fits step, subject and search.").wait_for()
    assert page.locator("#mp-browse-form input[type=search]").evaluate("e => e === document.activeElement")
    page.get_by_role("button", name="Show all").click()
    page.locator("#mp-browse", has_text="30 of 30 questions").wait_for()
    page.wait_for_function("document.querySelector('#mp-browse-form input[type=search]').value === ''")
    page.locator("#mp-browse-form label", has_text="Broken").click()
    broken = select(listed, Filter(kind="broken"))
    page.locator("#mp-browse", has_text=f"{len(broken)} of 30").wait_for()
    page.locator("#mp-browse .mp-open").nth(1).click()
    page.locator("#mp-walk", has_text=f"Question 2 of {len(broken)}: broken by tuning").wait_for()
    assert broken[1].item.question in page.locator("#mp-question").inner_text()
    page.keyboard.press("j")
    page.locator("#mp-walk", has_text=f"Question {2 % len(broken) + 1} of {len(broken)}").wait_for()
    page.locator("#mp-walk button").click()
    page.locator("#mp-walk .mp-walk").wait_for(state="detached")


def test_the_bars_are_the_examinations_numbers(site: Site, tab: Any) -> None:
    for _ in range(2):
        tab.page.locator("#mp-compare").click()
        tab.page.locator("#mp-line .mp-status[data-state=done]").wait_for()
        item = tab.page.locator("#mp-question [data-item]").get_attribute("data-item")
        for arm in ("base", "tuned"):
            cells = tab.page.locator(f"#mp-table td.mp-{arm}").all()
            shares = [float(cell.get_attribute("data-share")) for cell in cells]
            assert shares == pytest.approx(list(getattr(site.results, arm)[item].shares), abs=1e-4)
        tab.page.keyboard.press("j")
        tab.page.locator("#mp-line .mp-status[data-state=idle]").wait_for()


def test_a_link_carries_ids_only_and_leads_back(site: Site, visit: Any) -> None:
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


def test_the_leaderboard_leads_to_its_questions(site: Site, tab: Any) -> None:
    go(tab.page, "Leaderboard")
    assert "fixed" in tab.page.locator("#mp-leaderboard .mp-lead").inner_text()
    tab.page.locator("#mp-leaderboard [data-act=subject]").first.click()
    tab.page.locator("#mp-browse", has_text="10 of 30 questions").wait_for()
    assert tab.page.locator("#mp-browse-form select[name=subject]").input_value() != ""


def test_no_key_and_no_choice_reaches_the_page_before_handing_in(site: Site, tab: Any) -> None:
    from medalpaca_demo.tabs.exam import question

    page = tab.page
    go(page, "Exam")
    page.locator("#mp-exam [type=submit]").click()
    page.locator("#mp-exam .mp-options").wait_for()
    shown = page.locator("#mp-exam").inner_html()
    assert not re.search(r"mp-right|mp-wrong|mp-key|mp-badge|data-share|\u2713|chosen", shown)
    assert "key" not in page.locator("#mp-exam").inner_text().lower()
    # Of two items that differ in the key alone, the page is the same.
    from dataclasses import replace

    from medalpaca_demo.context import Scene, Visits
    from medalpaca_demo.tabs.exam import sit

    def sheet(answer: str) -> str:
        item = replace(site.exam.items[0], answer=answer)
        exam = replace(site.exam, items=(item,))
        scene = Scene(site.engine, None, exam, "letter", site.results, Visits(site.engine), 9)  # type: ignore[arg-type]
        return question(scene, sit((item,), 10, "", False, 0.0, 1), 0.0)

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
        arm: sum(
            list(items[name].options)[getattr(site.results, arm)[name].chosen] == items[name].answer
            for name in asked
        )
        for arm in ("base", "tuned")
    }
    said = page.locator("#mp-exam h2").first.inner_text()
    assert said == f"You {right} of 10, base {models['base']}, fine-tuned {models['tuned']}"
    with page.expect_download() as saving:
        page.get_by_role("button", name="Save this sitting (JSON)").click()
    saved = json.loads(Path(saving.value.path()).read_text())
    assert [answer["id"] for answer in saved["answers"]] == asked
    assert "rash" not in json.dumps(saved)
    page.locator("#mp-exam [data-act=open]").nth(3).click()
    page.locator(f"#mp-question [data-item={asked[3]}]").wait_for()


def test_quick_fingers_lose_no_answer(site: Site, tab: Any) -> None:
    """Keys pressed without waiting for the page: every pick and every step counts, in order."""
    go(tab.page, "Exam")
    tab.page.locator("#mp-exam [type=submit]").click()
    tab.page.locator("#mp-exam .mp-options").wait_for()
    for _ in range(4):
        for key in "bj":
            tab.page.keyboard.press(key)
            tab.page.wait_for_timeout(40)
    tab.page.locator("#mp-exam .mp-count p", has_text="Question 5 of 10 · 6 open").wait_for()


def test_without_results_a_block_is_rated_by_the_models_now(site: Site) -> None:
    """The same choices as the examination's."""
    from medalpaca_demo.context import Scene, Visits
    from medalpaca_demo.job import ARMS
    from medalpaca_demo.tabs.exam import choices, sit

    visits = Visits(site.engine)
    sitting = sit(site.exam.items, 10, "", False, 0.0, 3).end(9.0)
    empty = Scene(site.engine, None, site.exam, "letter", Results(), visits, 9)  # type: ignore[arg-type]
    full = Scene(site.engine, None, site.exam, "letter", site.results, visits, 9)  # type: ignore[arg-type]
    visitor: Any = SimpleNamespace(session_hash="somebody", username=None)
    *waiting, last = choices(empty, sitting, visitor)
    assert [done for done, *_ in waiting] == list(range(10))
    (examined,) = choices(full, sitting, visitor)
    assert last == examined
    assert set(last[1] or ()) == set(ARMS)


def test_a_timed_block_ends_by_itself(site: Site, tab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from medalpaca_demo.tabs import exam

    monkeypatch.setattr(exam, "SECONDS_PER_QUESTION", 0.2)
    go(tab.page, "Exam")
    tab.page.locator("#mp-exam select[name=time]").select_option("yes")
    tab.page.locator("#mp-exam [type=submit]").click()
    tab.page.locator("#mp-exam [data-left]", has_text="left").wait_for()
    tab.page.locator("#mp-exam h2", has_text="You 0 of 10").wait_for()


def overhear(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Everything that the server streams to a page from now on."""
    from medalpaca_demo.access import Shield

    heard: list[bytes] = []
    original = Shield.__call__

    async def listen(self: Shield, scope: Any, receive: Any, send: Any) -> None:
        async def keep(message: Any) -> None:
            if "queue/data" in scope.get("path", ""):
                heard.append(message.get("body", b""))
            await send(message)

        await original(self, scope, receive, keep)

    monkeypatch.setattr(Shield, "__call__", listen)
    return heard


def test_names_come_with_the_vote_and_not_before(
    site: Site, tab: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = tab.page
    go(page, "Blind vote")
    streams = overhear(monkeypatch)
    page.locator("#mp-vote-start").wait_for()
    page.locator("#mp-vote-start").click()
    page.locator("#mp-vote-right .mp-answer[data-state=done]").wait_for()
    page.locator("#mp-vote .mp-ballot").wait_for()
    panel = "".join(
        page.locator(f"#{name}").inner_html()
        for name in ("mp-vote", "mp-vote-question", "mp-vote-left", "mp-vote-right")
    )
    page.wait_for_timeout(300)
    heard = b"".join(streams).decode()
    for text in (panel, heard):
        assert not re.search(r"\b(base|tuned|fine-tuned|run@)", text, re.I)
        assert "tok/s" not in text
        assert "data-share" not in text
    assert "Left answer" in heard
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


def test_ones_own_question_is_rated_answered_and_not_kept(site: Site, tab: Any) -> None:
    page = tab.page
    go(page, "Own question")
    ask_own(page, f"{SECRET}\nA. Vitamin A\nB. Vitamin C\nAnswer: B")
    page.locator("#mp-own-line .mp-status[data-state=done]").wait_for()
    assert "Key: B." in page.locator("#mp-own-line").inner_text()
    assert page.locator("#mp-own-table tbody tr").count() == 2
    ask_own(page, SECRET)
    page.locator("#mp-own-table table").wait_for(state="detached")
    page.locator("#mp-own-line .mp-status[data-state=done]").wait_for()
    for text, says in (
        ("", "Type or paste"),
        ("word " * 4100, "Too long: "),
        ("w " * 3000, "question too long"),
    ):
        ask_own(page, text)
        page.locator("#mp-own, #mp-own-line", has_text=says).first.wait_for()


def test_patient_data_is_warned_of_before_anything_is_asked(site: Site, tab: Any) -> None:
    page = tab.page
    go(page, "Own question")
    ask_own(page, "Mr. Meier, born 3.4.1956, has fever. What now?")
    warning = page.locator("#mp-own .mp-notice[data-state=failed]")
    warning.wait_for()
    assert "a name with a title, a date of birth" in warning.inner_text()
    assert not site.engine.busy
    page.get_by_role("button", name="Clear").click()
    page.wait_for_function("document.querySelector('#mp-own-text textarea').value === ''")
    ask_own(page, "Mr. Meier has fever. What now?")
    page.get_by_role("button", name="Ask anyway").click()
    page.locator("#mp-own-line .mp-status[data-state=done]").wait_for()


def test_a_full_tour_leaves_nothing_anywhere(
    site: Site, tab: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Requests to other machines are counted by the fixture; here what browser and disk hold afterwards."""
    import tempfile

    page, began = tab.page, time.time()
    page.locator("#mp-compare").click()
    page.locator("#mp-line .mp-status[data-state=done]").wait_for()
    for name in TABS[1:4]:
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
def test_axe_finds_nothing_of_ours(site: Site, visit: Any, theme: str) -> None:
    module = pytest.importorskip("axe_playwright_python.sync_playwright")
    axe = module.Axe()
    with visit(site.url, color_scheme=theme) as tab:
        page, found = tab.page, []
        page.emulate_media(reduced_motion="reduce")

        def check(name: str) -> None:
            page.wait_for_timeout(250)  # colours fade in
            # Themes differ in colours alone.
            tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
            rules = {"runOnly": tags if theme == "light" else ["color-contrast"]}
            for violation in axe.run(page, options=rules).response["violations"]:
                found.extend(
                    f"{name}: {violation['id']}: {node['html'][:200]}" for node in violation["nodes"]
                )

        page.locator("#mp-compare").click()
        page.locator("#mp-line .mp-status[data-state=done]").wait_for()
        for name in TABS:
            go(page, name)
            check(name)
        go(page, "Browse")
        page.locator("#mp-browse-form label", has_text="Not parsed").click()
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


def test_the_keyboard_alone_walks_through_every_tab(site: Site, tab: Any) -> None:
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


def test_a_phone_scrolls_one_way_on_every_tab(site: Site, visit: Any) -> None:
    with visit(site.url, viewport={"width": 390, "height": 844}, is_mobile=True, has_touch=True) as tab:
        page = tab.page
        for name in TABS:
            go(page, name)
            assert page.evaluate("document.documentElement.scrollWidth") <= 390, name
            assert page.locator(".mp-purpose", has_text="not for clinical use").is_visible()
        go(page, "Exam")
        sit_through(page)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_the_page_is_light(site: Site, visit: Any, browser: Any) -> None:
    """What a first visit transfers, without the browser's cache."""
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


def test_without_results_and_with_wrong_ones_the_page_says_so_and_goes_on(
    site: Site, visit: Any, pair: tuple[Path, Path], examined: tuple[Path, Path]
) -> None:
    from dataclasses import replace

    from medalpaca_data.core.errors import UserError
    from medalpaca_demo.app import build_app
    from medalpaca_demo.models import check_pair, no_engine, unchecked_pair
    from medalpaca_demo.results import load_results

    checked = check_pair(*pair)
    other = replace(site.exam, sha256="f" * 64)
    wrong = load_results(*examined, other, "letter", checked)
    page, settings = build_app(site.engine, checked, other, "letter", results=wrong, max_new_tokens=9)
    _, url, _ = page.launch(prevent_thread_lock=True, **settings)
    with visit(url) as tab:
        go_to = tab.page.get_by_role("tab", name="Browse", exact=True)
        go_to.click()
        said = tab.page.locator("#mp-browse .mp-notice[data-state=failed]")
        said.wait_for()
        assert "results of another exam" in said.inner_text()
        tab.page.get_by_role("tab", name="Compare", exact=True).click()
        tab.page.locator("#mp-compare").click()
        tab.page.locator("#mp-line .mp-status[data-state=done]").wait_for()
    page.close()

    broken = no_engine(UserError("run: adapter of another base: trained on x (aaaa), given y (bbbb)"))
    page, settings = build_app(broken, unchecked_pair(*pair), site.exam, "letter", results=site.results)
    _, url, _ = page.launch(prevent_thread_lock=True, **settings)
    with visit(url) as tab:
        banner = tab.page.locator(".mp-banner[data-state=failed]")
        banner.wait_for()
        assert "trained on x (aaaa), given y (bbbb)" in banner.inner_text()
        tab.page.locator("#mp-compare").click()
        tab.page.locator("#mp-line .mp-status[data-state=failed]", has_text="another base").wait_for()
        go(tab.page, "Leaderboard")
    page.close()
    broken.close()


def test_while_the_models_load_the_page_says_so_and_questions_wait(site: Site, visit: Any, pair: Any) -> None:
    import threading

    from medalpaca_demo.app import build_app
    from medalpaca_demo.engine import Engine
    from medalpaca_demo.models import check_pair, load_arms

    go_on = threading.Event()
    checked = check_pair(*pair)

    def load_late() -> Any:
        go_on.wait(30)
        return load_arms(checked)

    engine = Engine(load_late)
    page, settings = build_app(engine, checked, site.exam, "letter", max_new_tokens=9)
    _, url, _ = page.launch(prevent_thread_lock=True, **settings)
    with visit(url) as tab:
        tab.page.locator(".mp-banner[data-state=loading]", has_text="Loading the models").wait_for()
        tab.page.locator("#mp-compare").click()
        tab.page.locator("#mp-line .mp-status[data-state=waiting]").wait_for()
        go_on.set()
        tab.page.locator("#mp-line .mp-status[data-state=done]").wait_for()
        tab.page.locator(".mp-banner").wait_for(state="detached")
        go_to = tab.page.get_by_role("tab", name="Browse", exact=True)
        go_to.click()
        tab.page.locator("#mp-browse", has_text="No examination results were given").wait_for()
    page.close()
    engine.close()


def test_an_engine_killed_in_an_answer_is_said_and_answers_again(
    site: Site, tab: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(rows: Any) -> None:
        raise SystemExit

    with monkeypatch.context() as patch:
        patch.setattr(site.engine, "_publish", die)
        tab.page.locator("#mp-compare").click()
        line = tab.page.locator("#mp-line .mp-status[data-state=failed]")
        line.wait_for()
        assert "was started again" in line.inner_text()
    tab.page.locator("#mp-compare").click()
    tab.page.locator("#mp-line .mp-status[data-state=done]").wait_for()


def test_a_full_queue_is_said(site: Site, tab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(site.engine, "_max_waiting", 0)
    tab.page.locator("#mp-compare").click()
    tab.page.locator("#mp-line .mp-status[data-state=failed]", has_text="try again in a minute").wait_for()
