"""`data show`: samples, lengths, removals and changes of a small build, as text, JSON and HTML page."""

import json
import re
from html.parser import HTMLParser

import pytest
import yaml

from medalpaca_data.build import build
from medalpaca_data.cli import main
from medalpaca_data.core.errors import UserError
from medalpaca_data.dataset_page import PAGE, difference, excerpt, render_page
from medalpaca_data.dataset_view import view_dataset
from medalpaca_data.recipe import load_recipe

STEM = "Which vessel brings blood back from the lungs to the left side of the heart in a healthy adult?"
LONG = "word " * 60


@pytest.fixture(scope="module")
def meadow(tmp_path_factory):
    """Two sources: `first` with changed, rejected and contradicting rows, `second` with 30 rows."""
    folder = tmp_path_factory.mktemp("show")

    def row(question, answer):
        return {"instruction": question, "input": "", "output": answer}

    first = [
        row("What is <b>bold</b> here?", "A <script>alert(1)</script> tag."),
        row("Same question?", "One."),
        row("Same question?", "Two."),
        row("Same question?", "Two."),
        row("Long?", LONG.strip()),
        row(STEM, "The vein."),
        row("No answer?", "n/a"),
        {"instruction": "No output"},
    ]
    item = {"id": "q7", "question": STEM, "options": {"A": "vein", "B": "artery"}, "answer": "A"}
    (folder / "exam.jsonl").write_text(json.dumps(item))
    (folder / "first.json").write_text(json.dumps(first))
    second = [row(f"Question {n} of thirty?", f"Answer {n * n}.") for n in range(30)]
    (folder / "second.json").write_text(json.dumps(second))
    recipe = {
        "name": "small",
        "validation": 0.1,
        "max_reject_share": 1,
        "exams": ["exam.jsonl"],
        "sources": [
            {"kind": "alpaca", "name": "first", "path": "first.json"},
            {"kind": "alpaca", "name": "second", "path": "second.json"},
        ],
    }
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    return build(*load_recipe(str(folder / "recipe.yaml")), folder / "out").path


class Page(HTMLParser):
    """The elements, addresses and text of a page."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.addresses, self.text = [], [], []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.addresses += [value for name, value in attrs if name in ("href", "src")]

    def handle_data(self, data):
        self.text.append(data)


def test_counts_and_examples_equal_the_ledger_and_the_reject_files(meadow):
    view = view_dataset(meadow, n=5)
    ledger = json.loads((meadow / "ledger.json").read_text())
    first, second = view.sources
    assert (first.read, second.read, second.kept) == (8, 30, 30)
    removed = {(entry.stage, entry.reason): entry for entry in first.removed}
    assert sum(entry.count for entry in first.removed) == ledger["sources"][0]["rejected"]
    assert removed["clean", "no answer"].count == 1
    assert removed["clean", "no answer"].examples[0]["record"]["output"] == "n/a"
    assert removed["duplicates", "exact duplicate of an earlier row"].count == 1
    assert removed["read", "no key 'output'"].examples[0]["place"] == "row 8"
    assert second.removed == ()


def test_contradictions_and_exam_hits_are_in_the_text(meadow, capsys):
    main(["show", str(meadow), "--n", "0"])
    shown = " ".join(capsys.readouterr().out.split())
    assert (
        "same question, first.json row 2; first.json row 3: Same question? → One. Same question? → Two."
        in shown
    )
    assert re.search(r"exam item q7, coverage 100%, row [0-9a-f]{16}, removed", shown)


def test_lengths_are_of_the_kept_rows_in_words(meadow):
    first, second = view_dataset(meadow, n=0).sources
    question, answer = first.lengths
    assert (question.part, answer.part) == ("question", "answer")
    # "What is bold here?", "Same question?" twice, "Long?": at most 5 words each.
    assert question.counts == (4, 0, 0, 0, 0, 0, 0, 0, 0)
    # 60 words are in the bin 51 to 100.
    assert answer.counts == (3, 0, 0, 0, 1, 0, 0, 0, 0)
    assert second.lengths[0].counts[0] == 30


def test_samples_are_rows_of_their_source_and_follow_the_seed(meadow):
    def ids(seed):
        return [
            row["id"] for row in view_dataset(meadow, n=20, source="second", seed=seed).sources[0].samples
        ]

    view = view_dataset(meadow, n=20, source="second")
    (second,) = view.sources
    assert {row["source"] for row in second.samples} == {"second"}
    assert len({row["id"] for row in second.samples}) == 20
    assert {row["split"] for row in view_dataset(meadow, n=30).sources[1].samples} == {"train", "validation"}
    assert ids(0) == ids(0)
    assert ids(0) != ids(1)
    assert len(view_dataset(meadow, n=99).sources[1].samples) == 30


def test_a_change_is_shown_with_the_text_before_and_after(meadow):
    (changed,) = view_dataset(meadow, n=0, source="first").sources[0].changed
    shown = {(change["field"], change["before"], change["after"]) for change in changed.examples}
    assert ("instruction", "What is <b>bold</b> here?", "What is bold here?") in shown


def test_the_page_of_a_build_has_no_script_no_address_and_escaped_text(meadow):
    html = (meadow / PAGE).read_text(encoding="utf-8")
    page = Page(html)
    assert not {"script", "img", "link", "iframe"} & set(page.tags)
    assert all(address.startswith("#") for address in page.addresses)
    assert "default-src 'none'" in html
    text = " ".join("".join(page.text).split())
    for part in ("small", "first", "second", "exact duplicate of an earlier row", "What is bold here?"):
        assert part in text
    # Both answers of a contradiction, and the exam question with its row.
    assert (
        "same question: first.json row 2; first.json row 3 Same question? → One. Same question? → Two."
        in text
    )
    assert re.search(r"exam ?q7 ?100 % ?[0-9a-f]{16} \(removed\)", text)
    assert html == render_page(view_dataset(meadow, n=20))


def test_the_command_writes_text_json_and_a_page(meadow, tmp_path, capsys):
    def show(*options):
        main(["show", str(meadow), *options])
        return capsys.readouterr().out

    text = show("--source", "second", "--n", "2")
    assert len(re.findall(r"^row [0-9a-f]{16} ", text, re.MULTILINE)) == 2
    assert "source first" not in text
    assert len(json.loads(show("--json", "--n", "1"))["sources"][1]["samples"]) == 1
    assert show("--html", str(tmp_path / "page.html"), "--n", "4") == f"{tmp_path / 'page.html'}: written\n"
    assert (tmp_path / "page.html").read_text(encoding="utf-8") == render_page(view_dataset(meadow, n=4))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--n", "-1"], "--n -1: give a whole number of 0 or more"),
        (["--html", "page.pdf"], "--html page.pdf: the file name must end in .html"),
    ],
)
def test_wrong_options_are_refused(meadow, options, message):
    with pytest.raises(UserError, match=re.escape(message)):
        main(["show", str(meadow), *options])


def test_an_unknown_source_is_refused_with_the_known_ones(meadow):
    with pytest.raises(UserError, match=r"no source 'thrid'; its sources: first, second$"):
        view_dataset(meadow, n=1, source="thrid")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("2\u200b3 tablets", r"2\u200b3 tablets"),
        ("a\u00a0b", r"a\xa0b"),
        ("x" * 601, "x" * 600 + " … (1 more characters)"),
        ("line\nline", "line\nline"),
    ],
)
def test_an_excerpt_shows_hidden_characters_and_what_is_left_out(text, shown):
    assert excerpt(text) == shown


@pytest.mark.parametrize(
    ("before", "after", "shown"),
    [
        ("ab", "ab", ("ab", "ab")),
        ("1<b>2", "12", ("1<b>2", "12")),
        ("x" * 70 + "<br>" + "y" * 70, "x" * 70 + "\n" + "y" * 70,
         ("… " + "x" * 60 + "<br>" + "y" * 60 + " …", "… " + "x" * 60 + "\n" + "y" * 60 + " …")),
        ("aaa", "aa", ("aaa", "aa")),
    ],
)  # fmt: skip
def test_the_part_that_differs_is_shown(before, after, shown):
    assert difference(before, after) == shown
