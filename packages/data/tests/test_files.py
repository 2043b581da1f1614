import os

import pytest

from medalpaca_data.core import files
from medalpaca_data.core.errors import UserError


def test_a_write_is_all_or_nothing(tmp_path, monkeypatch):
    path = tmp_path / "result.json"
    files.write_json(path, {"a": 1})

    def full_disk(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match="No space"):
        files.write_json(path, {"a": 2})
    assert files.read_json(path) == {"a": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_a_new_directory_appears_whole_or_not_at_all(tmp_path):
    out = tmp_path / "out"
    with pytest.raises(RuntimeError), files.new_directory(out) as folder:
        (folder / "half").write_text("x")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []
    with files.new_directory(out) as folder:
        (folder / "whole").write_text("x")
        assert not out.exists()
    assert [path.name for path in out.iterdir()] == ["whole"]


def test_a_directory_that_holds_something_is_not_overwritten(tmp_path):
    (tmp_path / "mine").write_text("x")
    with pytest.raises(UserError, match="the directory is not empty"), files.new_directory(tmp_path):
        pass
    assert (tmp_path / "mine").exists()
    with files.new_directory(tmp_path, replace=True) as folder:
        (folder / "new").write_text("y")
    assert [path.name for path in tmp_path.iterdir()] == ["new"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"a": 1,\n oops}', "line 2: not valid JSON"),
        (b"[" * 100_000, "nested too deeply"),
        (b"good\n\xff\xfe", "line 2: not UTF-8"),
    ],
)
def test_a_broken_file_is_named_with_its_line(write, content, message):
    path = write("broken.json", content)
    with pytest.raises(UserError, match=message) as caught:
        files.read_json(path)
    assert str(path) in str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"nowhere\.json: no such file"):
        files.read_json(tmp_path / "nowhere.json")
