from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medalpaca_data import cli
from medalpaca_data.audit import audit
from medalpaca_data.core.errors import CheckFailed, UserError
from medalpaca_data.core.records import FileNote
from medalpaca_data.core.row import Row
from medalpaca_data.sources import PubMedHealthAdvice
from medalpaca_data.sources.base import Reject

HEAD = "label,pmid,sentence,rel_loc\n"
GOOD = (
    '0,11,"The score rose in one group, not in the other. ",0.1\n'
    "1,11,It may help to measure it twice.,0.9\n2,12,All patients must be asked.,1.0\n"
)


def write_corpus(write, text=GOOD, name="up/annotations_discussion.csv"):
    return write(name, HEAD + text)


def test_a_directory_stands_for_its_files_and_labels_become_words(write, tmp_path):
    write_corpus(write)
    write_corpus(write, "1,x,Walking twice daily seems wise.,0\n", "up/annotations_unstructured_abstract.csv")
    rows = list(PubMedHealthAdvice(paths=["up"]).records(tmp_path))
    assert [row.output for row in rows] == ["No advice", "Weak advice", "Strong advice", "Weak advice"]
    first, *_, last = rows
    assert first.input == "The score rose in one group, not in the other."
    assert (first.group, first.url) == ("pubmed_health_advice:11", "https://pubmed.ncbi.nlm.nih.gov/11/")
    assert first.source_id == "annotations_discussion.csv line 2"
    assert first.split == "none"
    assert last.group is None


def test_what_is_no_sentence_is_rejected_with_its_reason(write, tmp_path):
    write_corpus(
        write,
        GOOD + "0,13,No discussion section,0\n0,13,Results.,0\n7,13,A label of no class here.,0\n0,13,,0\n",
    )
    rejects = [r for r in PubMedHealthAdvice(paths=["up"]).records(tmp_path) if isinstance(r, Reject)]
    assert [(r.location, r.reason, r.by_rule) for r in rejects] == [
        ("line 5", "a placeholder instead of a sentence", False),
        ("line 6", "fewer than 4 words", True),
        ("line 7", "label is not one of 0, 1, 2", False),
        ("line 8", "no sentence", False),
    ]


def test_a_sentence_with_two_labels_is_rejected_wherever_it_stands(write, tmp_path):
    write_corpus(write, GOOD + "2,14,It may help to measure it twice.,0\n")
    write_corpus(write, "2,14,All patients must be asked.,0\n", "up/annotations_structured_abstract.csv")
    records = list(PubMedHealthAdvice(paths=["up"]).records(tmp_path))
    rejects = [record for record in records if isinstance(record, Reject)]
    assert [(r.location, r.reason) for r in rejects] == [
        ("line 3", "contradictory label"),
        ("line 5", "contradictory label"),
    ]
    assert [r.output for r in records if isinstance(r, Row)].count(
        "Strong advice"
    ) == 2  # twice the same is no quarrel


def test_an_empty_directory_and_a_missing_file_are_explained(tmp_path):
    for path, message in ((".", "no annotations_"), ("gone.csv", "no such file or directory")):
        with pytest.raises(UserError, match=message):
            list(PubMedHealthAdvice(paths=[path]).records(tmp_path))


def test_the_real_corpus(real):
    records = list(PubMedHealthAdvice(paths=["pubmed_health_advice"]).records(real))
    rows = [record for record in records if isinstance(record, Row)]
    assert (len(records), len(rows)) == (10_848, 10_822)
    assert Counter(record.reason for record in records if isinstance(record, Reject)) == {
        "fewer than 4 words": 20,
        "contradictory label": 4,
        "a placeholder instead of a sentence": 2,
    }
    assert Counter(row.output for row in rows) == {
        "No advice": 8100 - 26 + 2,  # two of the contradictory rows are of another class
        "Weak advice": 1672 - 2,
        "Strong advice": 1076,
    }


@settings(deadline=None)
@given(st.data())
def test_no_file_breaks_the_reader(damaged, tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("d")
    (folder / "a.csv").write_bytes(data.draw(damaged((HEAD + GOOD).encode())))
    try:
        records = list(PubMedHealthAdvice(paths=["a.csv"]).records(folder))
    except UserError:
        return
    assert all(isinstance(record, Row | Reject | FileNote) for record in records)


# The audit --------------------------------------------------------------------------------------------------------


def published(write, *pairs):
    rows = [{"instruction": "Which?", "input": text, "output": label} for text, label in pairs]
    return write("published.json", rows)


def test_the_audit_tells_right_wrong_unknown_and_contradictory(write, tmp_path):
    upstream = write_corpus(write, GOOD + "2,14,It may help to measure it twice.,0\n")
    rows = published(
        write,
        ("The score rose in one group, not in the other.", "This is no advice"),
        ("All patients must be asked.", "This is a weak advice"),
        ("It may help to measure it twice.", "This is a weak advice"),
        ("It may help to measure it twice.", "This is no advice"),  # wrong by either label
        ("Nobody wrote this.", "This is a strong advice"),
    )
    result = audit(rows, upstream)
    assert (result.rows, result.agree, result.disagree, result.contradictory, result.unmatched) == (
        5,
        1,
        2,
        1,
        1,
    )
    with pytest.raises(CheckFailed, match="2 labels differ"):
        cli.main(["audit", str(rows), str(upstream)])


def test_the_audit_joins_a_sentence_that_one_side_has_repaired(write):
    """The corpus keeps characters that were read with a wrong encoding; a build has repaired them, or the reverse."""
    damaged = "The dose was 5\u00e2\u0080\u009310 mg in each group."
    repaired = "The dose was 5\u201310 mg in each group."
    tagged, plain = "It fell by 3 mg<b>*</b> &lt; 5 in all.", "It fell by 3 mg* < 5 in all."
    for raw, built in ((damaged, repaired), (repaired, damaged), (tagged, plain)):
        upstream = write_corpus(write, f"0,13,{raw},1.0\n")
        result = audit(published(write, (built, "This is no advice")), upstream)
        assert (result.agree, result.unmatched) == (1, 0)


def test_the_audit_refuses_labels_of_no_corpus_and_a_numbering_that_does_not_apply(write):
    upstream = write_corpus(write)
    with pytest.raises(
        UserError, match="row 1: 'output' is not a label of causal language or of health advice"
    ):
        audit(published(write, ("a", "perhaps")), upstream)
    rows = published(write, ("All patients must be asked.", "This is a strong advice"))
    with pytest.raises(UserError, match="remove --encoding"):
        audit(rows, upstream, encoding="causal-language-use")
    with pytest.raises(UserError, match="row 2: 'output' is not a label of the health advice corpus"):
        audit(published(write, ("a", "no advice"), ("b", "causal")), upstream)


def test_the_published_advice_file_is_right(real, capsys):
    rows = real / "medical_meadow_original" / "medical_meadow_health_advice.json"
    upstream = sorted((real / "pubmed_health_advice").glob("annotations_*.csv"))
    result = audit(rows, *upstream)
    assert (result.rows, result.agree, result.disagree) == (8676, 8672, 0)
    assert (result.contradictory, result.unmatched) == (4, 0)
    cli.main(["audit", str(rows), *map(str, upstream), "--json"])  # and exit code 0
    assert '"agree": 8672' in capsys.readouterr().out


def test_the_published_causal_file_is_wrong_in_every_label(real):
    rows = real / "medical_meadow_original" / "medical_meadow_pubmed_causal.json"
    upstream = real / "pubmed_causal" / "pubmed_causal_language_use.csv"
    result = audit(rows, upstream)
    assert (result.rows, result.agree, result.disagree, result.contradictory) == (2446, 0, 2446, 0)
    with pytest.raises(CheckFailed, match="2446 labels differ"):
        cli.main(["audit", str(rows), str(upstream)])
