"""Test reports: content, confidential texts, escaping, and that a browser opens a page without any request."""

from __future__ import annotations

import json
import re

import pytest

from medalpaca_data.core.errors import CheckFailed, UserError
from medalpaca_evalharness.cli import main
from medalpaca_evalharness.report.older_formats import in_older_form
from medalpaca_evalharness.report.page import render_page
from medalpaca_evalharness.report.verify import Locations, verify


@pytest.fixture
def made(pair, tmp_path):
    """Create a report of two runs of the synthetic exam."""
    out = tmp_path / "out" / "report.html"
    base, tuned = pair()
    assert main(["report", str(base), str(tuned), "--out", str(out)]) == 0
    return out


def test_page_and_json(made, capsys):
    report = json.loads(made.with_suffix(".json").read_text())
    assert report["comparisons"][0]["all"]["fixed"] == 9
    assert report["comparisons"][0]["verdict"] == "better"
    assert report["exam"]["items"] == len(report["items"]) == 12
    assert report["contamination"] is None
    assert any("no --meadow" in line for line in report["not_tested"])
    html = made.read_text()
    assert "Tuned is better than base" in html
    assert "Not checked" in html
    assert "+75.0 points (95 % interval +32.6 to +91.1) on 12 items" in html


def test_texts_of_an_exam_that_is_not_bundled_are_not_in_the_report(made):
    for file in (made, made.with_suffix(".json")):
        content = file.read_text()
        assert "Case " not in content
        assert "remedy" not in content
        assert "{question}" in content


def test_the_prompt_of_a_bundled_exam_is_in_the_report(pair, tmp_path):
    base, tuned = pair(task="medalpaca_pocket")
    out = tmp_path / "report.html"
    main(["report", str(base), str(tuned), "--out", str(out)])
    report = json.loads(out.with_suffix(".json").read_text())
    assert report["prompt"]["verbatim"]
    assert report["prompt"]["text"].startswith("### Instruction:\n")
    assert report["comparisons"][0]["fixed"][0]["tuned"].partition(" ")[2]


def test_the_same_runs_give_the_same_report(pair, tmp_path):
    base, tuned = pair()
    for name in ("one", "two"):
        main(["report", str(base), str(tuned), "--out", str(tmp_path / f"{name}.html")])
    assert (tmp_path / "one.html").read_bytes() == (tmp_path / "two.html").read_bytes()


def test_foreign_text_is_escaped(pair, write_exam, tmp_path):
    base, tuned = pair(exam=write_exam("<script>alert(1)<"))
    out = tmp_path / "report.html"
    main(["report", str(base), str(tuned), "--out", str(out)])
    html = out.read_text()
    assert "&lt;script&gt;alert(1)&lt;" in html
    assert "<script>alert" not in html
    assert html.count("<script") == 1


def test_every_text_of_a_report_is_escaped(made):
    """Put markup into every text of the data: none of it may reach the page as markup."""
    report = json.loads(made.with_suffix(".json").read_text())
    report["contamination"] = None
    kept = {"letter", "better", "worse", "base", "tuned"}
    places = []

    def poison(value):
        if isinstance(value, dict):
            return {key: poison(one) for key, one in value.items()}
        if isinstance(value, list):
            return [poison(one) for one in value]
        if isinstance(value, str) and value not in kept:
            places.append(value)
            return f"{value}<img src=x onerror=alert(1)>"
        return value

    page = render_page(poison(report))
    assert len(places) > 100
    assert "<img" not in page
    assert "&lt;img src=x" in page


def test_the_page_forbids_requests_and_scripts(made):
    html = made.read_text()
    policy = "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
    assert policy in html
    assert re.findall(r"(?:src|href)=|url\(|@import", html.partition("<script")[0]) == []


def test_bad_input_is_refused(pair, tmp_path):
    base, tuned = pair()
    with pytest.raises(UserError, match=r"must end in \.html or \.htm"):
        main(["report", str(base), str(tuned), "--out", str(tmp_path / "report.pdf")])
    samples = next(tuned.rglob("samples_*step1*"))
    samples.write_text(samples.read_text().replace("Case 0:", "Case 0!"))
    with pytest.raises(CheckFailed, match=r"item step1-1: its document and its prompt changed since"):
        main(["report", str(base), str(tuned), "--out", str(tmp_path / "report.html")])


def test_full_and_clean_score_side_by_side(pair, write_exam, tmp_path, capsys):
    exam = write_exam()
    file = exam / "step3.json"
    items = json.loads(file.read_text())
    stems = [" ".join(f"{word}{i}" for word in ("history", "fever", *"abcdefghijklmn")) for i in range(5)]
    for item, stem in zip(items, stems, strict=True):
        item["question"] = stem
    file.write_text(json.dumps(items))
    seen = tmp_path / "rows.jsonl"
    seen.write_text(
        "".join(json.dumps({"instruction": stems[i], "input": "", "output": "x"}) + "\n" for i in (1, 4))
    )
    base, tuned = pair(exam=exam)
    out = tmp_path / "report.html"
    main(["report", str(base), str(tuned), "--out", str(out), "--meadow", str(seen)])
    report = json.loads(out.with_suffix(".json").read_text())
    found = report["contamination"]
    assert [entry["item"] for entry in found["covered"]] == ["step3-2", "step3-5"]
    (compared,) = found["comparisons"]
    assert [compared[name]["n"] for name in ("full", "clean", "covered")] == [12, 10, 2]
    # B is the key of 3 of 12; of the two that are covered, of none.
    keys = json.loads((exam / "step3_solutions.json").read_text())
    right = 3 - sum(keys[number] == "B" for number in ("2", "5"))
    assert compared["clean"]["base_accuracy"] == right / 10
    assert found["sides"]["base"]["clean"]["correct"] == right
    assert not any("--meadow" in line for line in report["not_tested"])
    assert "2 of 12 items are covered</strong>" in out.read_text()
    # The verdict names the result on the other items.
    verdict = out.read_text().split('<div class="verdict">')[1].split("</div>")[0]
    assert "2 of 12 items are covered by the training data." in verdict
    assert re.search(
        r"On the other 10: \+\d+\.0 points .* exact McNemar p 0\.\d{4}: (better|not shown to differ)\.",
        verdict,
    )
    assert verify(out, Locations()).problems == []
    # "Case 0: which one?" has four words.
    assert found["too_short"] == 7
    assert "7 of 12 items are too short to judge" in out.read_text()
    main(["compare", str(base), str(tuned), "--meadow", str(seen)])
    shown = " ".join(capsys.readouterr().out.split())
    assert "Too short to judge: 7 of 12 items" in shown
    assert (
        "Note: 2 of 12 items are covered by the training data; on the other 10, the difference is +" in shown
    )
    # Formats 2 and 3 had no number of items that are too short to judge.
    earlier = in_older_form(report) | {"format": "medalpaca exam report 3"}
    assert "too_short" not in earlier["contamination"]
    older = out.with_name("older.json")
    older.write_text(json.dumps(earlier))
    checked = verify(older, Locations())
    assert checked.problems == []
    assert checked.unchecked == [
        "page and sentences not compared: written by format 3",
        "whether the models were trained on these rows (no manifest beside the weights)",
    ]
    seen.write_text(seen.read_text().splitlines()[0] + "\n")
    assert "contamination.rows: 2 in the file, 1 recomputed" in verify(out, Locations()).problems
    seen.unlink()
    assert f"no training data at {seen}" in verify(out, Locations()).problems[0]


def test_contamination_needs_the_exam_that_was_asked(pair, write_exam, tmp_path, capsys):
    base, tuned = pair()
    rows = tmp_path / "rows.jsonl"
    rows.write_text(json.dumps({"instruction": "Case 0: which one?", "input": "", "output": "x"}))
    sides = ["compare", str(base), str(tuned), "--meadow", str(rows)]
    assert main(sides) == 0
    # A stem of fewer than eight words is covered by a line that is the question.
    assert "1 of 12 items are covered" in capsys.readouterr().out
    assert main([*sides, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["contamination"]["clean"]["n"] == 11
    with pytest.raises(CheckFailed, match=r"other: exam .*, but .* was evaluated on exam"):
        main([*sides, "--exam", str(write_exam("other", texts=" (another)"))])


@pytest.mark.browser
@pytest.mark.parametrize(("width", "scheme"), [(1100, "light"), (390, "dark"), (390, "light")])
def test_in_a_browser(made, browse, width, scheme):
    seen = browse(made, width, scheme)
    assert seen.plots == 3
    assert "Tuned is better than base" in seen.text
    assert (seen.background != "rgb(255, 255, 255)") == (scheme == "dark")
