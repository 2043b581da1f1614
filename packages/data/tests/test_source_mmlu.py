import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medalpaca_data.core.errors import UserError
from medalpaca_data.core.row import Row
from medalpaca_data.recipe import load_recipe
from medalpaca_data.sources import MMLU
from medalpaca_data.sources.base import Reject
from medalpaca_data.sources.mmlu import SUBJECTS

LINES = 'Which bone is in the thigh?,Femur,Ulna,Tibia,"Radius, left",A\n"A ""long"" question?",1,2,3,4,D\n'


def mmlu(write, text=LINES, **settings):
    for part in ("dev", "val"):
        write(f"data/{part}/anatomy_{part}.csv", text)
    return MMLU(path="data", subjects=["anatomy"], **settings)


def test_rows_ask_as_the_exam_will(write, tmp_path):
    rows = list(mmlu(write).records(tmp_path))
    assert len(rows) == 4
    assert (
        rows[0].instruction == "Answer this multiple choice question with the letter of the correct option."
    )
    assert rows[0].input == "Which bone is in the thigh?\nA: Femur\nB: Ulna\nC: Tibia\nD: Radius, left"
    assert rows[0].output == "A: Femur"
    assert rows[0].source_id == "anatomy_dev.csv line 1"
    assert (rows[0].split, rows[3].output) == ("none", "D: 4")
    assert rows[0].group == rows[2].group != rows[1].group  # the same question in dev and val
    assert rows[0].group.startswith("mmlu:anatomy:")
    assert len(list(mmlu(write, split=["val"]).records(tmp_path))) == 2


def test_test_is_refused_by_setting_by_file_and_by_directory(write, tmp_path):
    recipe = write("r.yaml", "name: t\nsources:\n  - {kind: mmlu, path: data, split: [dev, test]}\n")
    with pytest.raises(UserError, match="test rows are never used for training"):
        load_recipe(str(recipe))
    write("data/test/dev/anatomy_dev.csv", LINES)
    with pytest.raises(UserError, match="the name says test"):
        list(MMLU(path="data/test", subjects=["anatomy"]).records(tmp_path))
    write("data/dev/anatomy_test_dev.csv", LINES)
    with pytest.raises(UserError, match="the file name says test"):
        list(MMLU(path="data", subjects=["anatomy_test"], split=["dev"]).records(tmp_path))


def test_a_missing_subject_is_named_and_broken_lines_are_rejected(write, tmp_path):
    mmlu(write)
    with pytest.raises(UserError, match=r"virology_dev.csv: no such file"):
        list(MMLU(path="data", subjects=["virology"]).records(tmp_path))
    source = mmlu(write, LINES + "Q?,1,2,3,4\nQ?,1,2,3,4,E\nQ?,1,,3,4,A\n", split=["dev"])
    rejects = [r for r in source.records(tmp_path) if isinstance(r, Reject)]
    assert [(r.location, r.reason) for r in rejects] == [
        ("line 3", "not six fields (question, four options, letter)"),
        ("line 4", "key not among the options"),
        ("line 5", "empty options"),
    ]
    with pytest.raises(UserError, match=r"anatomy_dev.csv line 3: not valid CSV"):
        list(mmlu(write, LINES + '"open').records(tmp_path))


def test_the_real_subjects(real):
    rows = list(MMLU(path="mmlu").records(real))
    assert len(rows) == 265  # ten subjects: 50 in dev, 215 in val
    assert not any("professional" in row.group for row in rows)
    everything = [*SUBJECTS, "professional_medicine", "professional_psychology", "high_school_psychology"]
    counts = [
        len(list(MMLU(path="mmlu", subjects=everything, split=[part]).records(real)))
        for part in ("dev", "val")
    ]
    assert counts == [65, 375]


@settings(deadline=None)
@given(st.data())
def test_no_file_breaks_the_reader(damaged, tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("d")
    (folder / "dev").mkdir()
    (folder / "dev" / "anatomy_dev.csv").write_bytes(data.draw(damaged(LINES.encode())))
    try:
        records = list(MMLU(path=".", subjects=["anatomy"], split=["dev"]).records(folder))
    except UserError:
        return
    assert all(isinstance(record, Row | Reject) for record in records)
