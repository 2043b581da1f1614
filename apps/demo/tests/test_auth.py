"""Who may log in: hashes only, and one line for whatever is wrong with the file."""

from __future__ import annotations

from pathlib import Path

import pytest

from medalpaca_data.core.errors import UserError
from medalpaca_demo.access import hash_line, read_auth


def write(where: Path, text: str) -> Path:
    file = where / "users"
    file.write_text(text)
    file.chmod(0o600)
    return file


def test_a_name_and_its_password_are_let_in(tmp_path: Path) -> None:
    line = hash_line("ada", lambda prompt: "difference engine")
    assert line.startswith("ada:$argon2id$")
    assert "difference" not in line
    check = read_auth(write(tmp_path, f"# raters\n\n{line}\n"))
    assert check("ada", "difference engine")
    assert not check("ada", "difference engines")
    assert not check("bob", "difference engine")
    assert not check("nobody", "nobody")
    assert not check("", "")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("ada:secret\n", "line 1: not `name:hash`"),
        ("", "nobody in it"),
        ("# only a comment\n", "nobody in it"),
    ],
)
def test_a_wrong_file_is_refused(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(UserError, match=says) as caught:
        read_auth(write(tmp_path, text))
    assert "secret" not in str(caught.value)


def test_a_file_that_everybody_reads_is_refused(tmp_path: Path) -> None:
    file = write(tmp_path, hash_line("ada", lambda prompt: "difference engine"))
    file.chmod(0o644)
    with pytest.raises(UserError, match="chmod 600"):
        read_auth(file)
    with pytest.raises(UserError, match="no such file"):
        read_auth(tmp_path / "other")


def test_a_bad_name_or_password_is_refused() -> None:
    typed = iter(["long enough", "long enuff"])
    with pytest.raises(UserError, match="differ"):
        hash_line("ada", lambda prompt: next(typed))
    with pytest.raises(UserError, match="at least 8"):
        hash_line("ada", lambda prompt: "short")
    with pytest.raises(UserError, match="no user name"):
        hash_line("a:b", lambda prompt: "long enough")
