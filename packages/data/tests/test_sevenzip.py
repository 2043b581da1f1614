import sys
from pathlib import Path

import py7zr
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from medalpaca_data.core import streams
from medalpaca_data.core.errors import UserError
from medalpaca_data.formats.sevenzip import unpack_7z


def pack(path: Path, members: dict[str, bytes], **options) -> Path:
    with py7zr.SevenZipFile(path, "w", **options) as archive:
        for name, data in members.items():
            archive.writestr(data, name)
    return path


def test_only_what_is_asked_for_is_unpacked(tmp_path):
    path = pack(tmp_path / "x.7z", {"a.txt": b"a" * 9000, "in/b.txt": b"b", "c.txt": b"", "d.txt": b"d"})
    folder = tmp_path / "out"
    folder.mkdir()
    found = unpack_7z(path, ("b.txt", "c.txt", "missing.txt"), folder)
    assert {name: file.read_bytes() for name, file in found.items()} == {"b.txt": b"b", "c.txt": b""}
    assert sorted(file.name for file in folder.iterdir()) == ["b.txt", "c.txt"]


def test_a_bomb_is_refused_even_before_the_wanted_member(tmp_path, monkeypatch):
    monkeypatch.setattr(streams, "BASE_SIZE", 1 << 16)
    path = pack(tmp_path / "bomb.7z", {"Votes.xml": bytes(2 << 20), "Posts.xml": b"<posts/>"})
    with pytest.raises(UserError, match="unpacks to more than 200 times"):
        unpack_7z(path, ("Posts.xml",), tmp_path)


def test_a_locked_archive_is_refused(tmp_path):
    path = pack(tmp_path / "x.7z", {"Posts.xml": b"<posts/>"}, password="p")
    with pytest.raises(UserError, match="is encrypted"):
        unpack_7z(path, ("Posts.xml",), tmp_path)


def test_without_py7zr_the_extra_is_named(tmp_path, monkeypatch):
    path = pack(tmp_path / "x.7z", {"Posts.xml": b"<posts/>"})
    monkeypatch.setitem(sys.modules, "py7zr", None)
    with pytest.raises(UserError, match=r"install medalpaca-data\[7z\]"):
        unpack_7z(path, ("Posts.xml",), tmp_path)


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    return pack(tmp_path_factory.mktemp("sound") / "x.7z", {"a.txt": b"some text " * 20}).read_bytes()


QUICK = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def unpack(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    try:
        unpack_7z(path, ("a.txt",), path.parent)
    except UserError as error:
        assert "\n" not in str(error)
        assert str(path) in str(error)


@QUICK
@given(st.binary(max_size=200))
@example(b"7z\xbc\xaf\x27\x1c\x00\x04" + bytes(24))
def test_any_bytes_are_unpacked_or_refused(tmp_path, data):
    unpack(tmp_path / "any.7z", data)


@QUICK
@given(
    st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=6), st.none() | st.integers(1, 400)
)
def test_a_damaged_archive_is_unpacked_or_refused(tmp_path, sound, changes, cut):
    data = bytearray(sound)
    for place, value in changes:
        data[place % len(data)] = value
    unpack(tmp_path / "any.7z", bytes(data[: cut and cut % len(data)]))
