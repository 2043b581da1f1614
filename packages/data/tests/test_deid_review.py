"""`data deid check`, `sample` and `bound`: counts, samples for people to read, and the bound from their marks."""

import csv
import io
import json
import stat

import pytest
from rich.console import Console
from scipy.stats import beta

from medalpaca_data.core.errors import UserError
from medalpaca_data.deid import review

ROWS = [
    {"instruction": "Answer.", "input": f"What is dose {n}?", "output": f"Take {n} mg."} for n in range(90)
]
ROWS += [
    {"instruction": "Answer.", "input": f"I am Mr. Okafor, call 617-867-{5300 + n}.", "output": "Yes."}
    for n in range(8)
]
ROWS += [
    {"instruction": "Answer.", "input": f"MRN: 44719{n}2, seen 3/14/2020.", "output": "Yes."}
    for n in range(2)
]


def printed(show, result):
    console = Console(file=io.StringIO(), width=200)
    show(result, console)
    return console.file.getvalue()


def test_check_counts_by_class(write):
    result = review.check(write("rows.jsonl", ROWS))
    assert (result.rows, result.rows_with_hits) == (100, 10)
    assert dict(result.hits) == {"name": 8, "phone": 8, "mrn": 2, "date": 2}
    data = review.check_as_json(result)
    assert data["classes"]["phone"] == {
        "class": "D", "title": "telephone numbers", "hits": 8, "rows": 8, "hits_per_1000_rows": 80.0,
    }  # fmt: skip
    assert json.loads(json.dumps(data)) == data
    assert data["independent_check"] is None
    assert printed(review.show_check, result).endswith("its result is not independently checked.\n")


def test_check_shows_shapes_and_never_an_identifier(write):
    result = review.check(write("rows.jsonl", ROWS), show=3)
    text = printed(review.show_check, result) + json.dumps(review.check_as_json(result))
    assert "999-999-9999" in text and "Xxxxxx" in text
    assert not [secret for secret in ("Okafor", "867-53", "44719", "3/14") if secret in text]
    assert sum(example.kind == "phone" for example in result.examples) == 3
    assert "HIPAA" not in text and "anonym" not in text and "complian" not in text


def test_sample_is_proportional_and_repeatable(write, tmp_path):
    path = write("rows.jsonl", ROWS)
    one = review.draw_sample(path, tmp_path / "a.csv", n=50, seed=1)
    review.draw_sample(path, tmp_path / "b.csv", n=50, seed=1)
    review.draw_sample(path, tmp_path / "c.csv", n=50, seed=2)
    assert (
        (tmp_path / "a.csv").read_bytes()
        == (tmp_path / "b.csv").read_bytes()
        != (tmp_path / "c.csv").read_bytes()
    )
    assert {name: part[:2] for name, part in one.strata.items()} == {
        "none": (90, 45),
        "date": (2, 1),
        "name": (8, 4),
    }
    rows = list(csv.DictReader((tmp_path / "a.csv").open(encoding="utf-8")))
    assert sum(row["drawn"] == "bound" for row in rows) == 50
    assert sum(row["drawn"] == "extra" for row in rows) == sum(part[2] for part in one.strata.values()) == 2
    assert {row["leaks"] for row in rows} == {""}
    assert len({row["id"] for row in rows}) == len(rows)
    assert stat.S_IMODE((tmp_path / "a.csv").stat().st_mode) == 0o600
    assert "Okafor" not in printed(review.show_sample, one)


def test_sample_counts_rows_with_surrogates_as_found(write, tmp_path):
    from medalpaca_data.deid.replace import replace_identifiers

    rows = [
        dict(row, input=replace_identifiers([row["input"]], str(n), bytes(32)).texts[0])
        for n, row in enumerate(ROWS)
    ]
    path = write("replaced.jsonl", rows)
    assert set(review.check(path).hits) == set()
    # A shifted date (year 21xx) is in no stratum; the number beside it is.
    assert set(review.draw_sample(path, tmp_path / "a.jsonl", n=10).strata) == {"none", "mrn", "name"}


def test_sample_takes_all_where_there_are_few_and_overwrites_nothing(write, tmp_path):
    path = write("rows.jsonl", ROWS)
    review.draw_sample(path, tmp_path / "a.csv", n=1000)
    assert len(list(csv.DictReader((tmp_path / "a.csv").open(encoding="utf-8")))) == 100
    with pytest.raises(UserError, match=r"a\.csv: exists"):
        review.draw_sample(path, tmp_path / "a.csv")
    with pytest.raises(UserError, match=r"\.csv or \.jsonl"):
        review.draw_sample(path, tmp_path / "a.txt")
    with pytest.raises(UserError, match="n=0"):
        review.draw_sample(path, tmp_path / "d.csv", n=0)


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_bound_of_a_marked_sample(write, tmp_path, suffix):
    file = tmp_path / f"a.{suffix}"
    review.draw_sample(write("rows.jsonl", ROWS), file, n=60)
    with pytest.raises(UserError, match="leaks is ''; write the number of leaks"):
        review.leak_bound(file)
    if suffix == "csv":
        rows = list(csv.DictReader(file.open(encoding="utf-8")))
        for n, row in enumerate([row for row in rows if row["drawn"] == "bound"]):
            row["leaks"] = "3" if n == 0 else "0"
        for row in rows:
            row["leaks"] = row["leaks"] or "0"
        with file.open("w", encoding="utf-8", newline="") as out:
            writer = csv.DictWriter(out, rows[0])
            writer.writeheader()
            writer.writerows(rows)
    else:
        rows = [json.loads(line) for line in file.read_text().splitlines()]
        first = next(row for row in rows if row["drawn"] == "bound")
        file.write_text("".join(json.dumps(dict(row, leaks=3 if row is first else 0)) + "\n" for row in rows))
    found = review.leak_bound(file)
    assert (found.rows, found.rows_with_leaks, found.leaks, found.extra_rows_with_leaks) == (60, 1, 3, 0)
    assert found.upper == pytest.approx(beta.ppf(0.95, 2, 59))
    assert f"{found.upper * 1000:.1f} of 1,000" in printed(review.show_leak_bound, found)


@pytest.mark.parametrize("n", [1, 2, 20, 59, 300, 2995, 100_000])
def test_the_bound_is_that_of_clopper_and_pearson(n):
    for hits in {0, 1, 2, 7, n // 10, n // 2, n - 1, n} & set(range(n + 1)):
        expected = 1.0 if hits == n else beta.ppf(0.95, hits + 1, n - hits)
        assert review.upper_bound(hits, n) == pytest.approx(expected, rel=1e-9)


def test_no_leak_in_299_rows_bounds_them_at_one_in_a_hundred():
    """Check by hand: 0.99 ** 299 = 0.0495."""
    assert review.upper_bound(0, 299) < 0.01 < review.upper_bound(0, 297)


@pytest.mark.parametrize(
    "text",
    [
        "leaks,x\n0,1\n",
        "id,drawn,leaks\na,bound,none\n",
        "id,drawn,leaks\na,bound,-1\n",
        "id,drawn,leaks\na,extra,0\n",
    ],
)
def test_bound_refuses_other_files_and_missing_marks(write, text):
    with pytest.raises(UserError):
        review.leak_bound(write("a.csv", text))
