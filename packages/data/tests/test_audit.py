"""The audit log: every single change is found, and an end in the middle of an entry is not one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from medalpaca_data.core.audit_log import START, AuditLog, Head, verify
from medalpaca_data.core.errors import CheckFailed, UserError
from medalpaca_data.core.files import sha256_bytes

COUNT = 1000


def head_of(log: Path) -> Path:
    return log.with_name(log.name + ".head")


@pytest.fixture(scope="module")
def long_log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A thousand entries. Whether they reach the disk is another test's matter."""
    log = tmp_path_factory.mktemp("audit") / "log"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda handle: None)
        writer = AuditLog(log)
        for n in range(COUNT):
            writer.append("asked" if n % 2 else "answered", prompt=sha256_bytes(str(n).encode()))
    return log


@pytest.fixture
def log(tmp_path: Path) -> Path:
    log = tmp_path / "log"
    for n in range(5):
        AuditLog(log).append("asked", number=n)
    return log


def test_a_chain_with_its_head_private_and_readable(log: Path) -> None:
    lines = log.read_bytes().splitlines()
    entries = [json.loads(line) for line in lines]
    assert [entry["n"] for entry in entries] == [1, 2, 3, 4, 5]
    assert [entry["prev"] for entry in entries] == [START, *map(sha256_bytes, lines[:-1])]
    assert head_of(log).read_text() == f"5 {sha256_bytes(lines[-1])}\n"
    assert verify(log).head == Head(5, sha256_bytes(lines[-1]))
    assert verify(log).notes == ()
    assert log.stat().st_mode & 0o777 == head_of(log).stat().st_mode & 0o777 == 0o600
    assert sorted(file.name for file in log.parent.iterdir()) == ["log", "log.head"]


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_every_single_change_is_found(long_log: Path, tmp_path: Path, data: st.DataObject) -> None:
    whole = long_log.read_bytes()
    lines = whole.splitlines(keepends=True)
    at = st.integers(0, COUNT - 1)
    kind = data.draw(
        st.sampled_from(["edit", "delete", "swap", "cut", "cut lines", "insert", "again", "head"])
    )
    head = head_of(long_log).read_bytes()
    match kind:
        case "edit":
            place = data.draw(st.integers(0, len(whole) - 1))
            other = data.draw(st.integers(0, 255).filter(lambda byte: byte != whole[place]))
            changed = whole[:place] + bytes([other]) + whole[place + 1 :]
        case "delete":
            first = data.draw(at)
            last = data.draw(st.integers(first, min(first + 3, COUNT - 1)))
            changed = b"".join(lines[:first] + lines[last + 1 :])
        case "swap":
            one, two = data.draw(st.tuples(at, at).filter(lambda pair: pair[0] != pair[1]))
            lines[one], lines[two] = lines[two], lines[one]
            changed = b"".join(lines)
        case "cut":
            changed = whole[: data.draw(st.integers(0, len(whole) - 1))]
        case "cut lines":
            changed = b"".join(lines[: data.draw(at)])
        case "insert":
            place = data.draw(st.integers(0, len(whole)))
            changed = whole[:place] + data.draw(st.binary(min_size=1, max_size=20)) + whole[place:]
        case "again":
            changed = b"".join([*lines, lines[data.draw(at)]])
        case _:
            changed, place = whole, data.draw(st.integers(0, len(head) - 1))
            head = head[:place] + bytes([head[place] ^ data.draw(st.integers(1, 127))]) + head[place + 1 :]
    copy = tmp_path / "log"
    copy.write_bytes(changed)
    head_of(copy).write_bytes(head)
    with pytest.raises(CheckFailed):
        verify(copy)


@pytest.mark.slow
def test_each_of_a_thousand_entries_edited_deleted_swapped_and_cut_off(
    long_log: Path, tmp_path: Path
) -> None:
    lines = long_log.read_bytes().splitlines(keepends=True)
    copy = tmp_path / "log"
    head_of(copy).write_bytes(head_of(long_log).read_bytes())
    for n in range(COUNT):
        other = (n + 1) % COUNT
        edited = lines[n].replace(b'"prompt": "', b'"prompt": "0', 1)
        swapped = [*lines]
        swapped[n], swapped[other] = lines[other], lines[n]
        for changed in (
            [*lines[:n], edited, *lines[n + 1 :]],
            [*lines[:n], *lines[n + 1 :]],
            swapped,
            lines[:n],
            [*lines[:n], lines[n][: 1 + n % 100]],
        ):
            copy.write_bytes(b"".join(changed))
            with pytest.raises(CheckFailed):
                verify(copy)


def test_unchanged_it_is_found_unchanged(long_log: Path) -> None:
    assert verify(long_log).head.count == COUNT


def test_who_makes_log_and_head_anew_is_found_by_a_noted_head_only(log: Path, tmp_path: Path) -> None:
    noted = verify(log).head.sha256
    AuditLog(log).append("asked", number=5)
    assert "entries 1 to 5 match the given head; 1 were added later" in verify(log, noted).notes[0]
    forged = tmp_path / "forged"
    for n in (0, 1, 7, 3, 4):
        AuditLog(forged).append("asked", number=n)
    assert verify(forged).head.count == 5
    with pytest.raises(CheckFailed, match="no entry has the given head"):
        verify(forged, noted)
    head_of(log).unlink()
    with pytest.raises(CheckFailed, match="is missing"):
        verify(log)
    assert "cannot be detected" in verify(log, noted).notes[1]
    with pytest.raises(UserError, match="64 hexadecimal"):
        verify(log, "abc")


def test_a_log_that_is_gone_emptied_or_shortened_is_not_continued(log: Path) -> None:
    whole = log.read_bytes()
    for kept in (b"", whole[: whole.index(b"\n") + 1]):
        log.write_bytes(kept)
        with pytest.raises(UserError, match=r"its head file names 5"):
            AuditLog(log).append("asked")
        assert log.read_bytes() == kept
    log.unlink()
    with pytest.raises(CheckFailed, match="the log is missing"):
        verify(log)
    head_of(log).unlink()
    with pytest.raises(UserError, match="no such file"):
        verify(log)


def test_a_log_that_others_can_read_is_not_written(log: Path) -> None:
    log.chmod(0o640)
    with pytest.raises(UserError, match="chmod 600"):
        AuditLog(log).append("asked")
    link = log.with_name("link")
    link.symlink_to(log)
    with pytest.raises(UserError, match="cannot be opened"):
        AuditLog(link).append("asked")


@pytest.mark.parametrize("cut", range(1, 60, 7))
def test_half_an_entry_is_said_named_and_kept(log: Path, cut: int) -> None:
    """What a process that is killed in the middle of writing leaves: part of the line, and the head of before."""
    whole, head = log.read_bytes(), head_of(log).read_bytes()
    AuditLog(log).append("asked", number=5)
    log.write_bytes(log.read_bytes()[: len(whole) + cut])
    head_of(log).write_bytes(head)
    with pytest.raises(CheckFailed, match=f"{cut} bytes at the end are not an entry"):
        verify(log)
    said: list[str] = []
    AuditLog(log, said.append).append("asked", number=6)
    AuditLog(log, said.append).append("asked", number=7)
    assert len(said) == 1
    assert f"{cut} bytes of an incomplete entry" in said[0]
    assert log.read_bytes().startswith(whole)
    assert verify(log).head.count == 7
    assert verify(log).notes == ("line 6: an incomplete entry, recorded by the next entry",)
    changed = log.read_bytes()
    log.write_bytes(changed[: len(whole)] + b"X" + changed[len(whole) + 1 :])
    with pytest.raises(CheckFailed, match="line 7"):
        verify(log)


def test_an_end_between_entry_and_head_or_before_the_line_feed(log: Path) -> None:
    for end in ("\n", ""):
        head = head_of(log).read_bytes()
        AuditLog(log).append("asked")
        head_of(log).write_bytes(head)
        log.write_bytes(log.read_bytes().removesuffix(b"\n") + end.encode())
        said: list[str] = []
        AuditLog(log, said.append).append("asked")
        assert len(said) == 1
        assert "was written, but not its head" in said[0]
    assert verify(log).head.count == 9


def test_threads_and_processes_share_a_log(tmp_path: Path) -> None:
    log = tmp_path / "log"
    code = (
        "import sys; from pathlib import Path; from medalpaca_data.core.audit_log import AuditLog\n"
        "for n in range(20): AuditLog(Path(sys.argv[1])).append('asked', who=sys.argv[2], number=n)"
    )
    others = [subprocess.Popen([sys.executable, "-c", code, str(log), str(n)]) for n in range(3)]
    threads = [
        threading.Thread(target=lambda: [AuditLog(log).append("asked", who="t") for _ in range(20)])
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [other.wait(60) for other in others] == [0, 0, 0]
    assert verify(log).head.count == 120


@pytest.mark.slow
def test_twenty_kills_lose_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    log = tmp_path / "log"
    code = (
        "import sys; from pathlib import Path; from medalpaca_data.core.audit_log import AuditLog\n"
        "log = AuditLog(Path(sys.argv[1]))\n"
        "while True: print(log.append('asked', filler='x' * 20000).count, flush=True)"
    )
    seen = 0
    for n in range(20):
        with subprocess.Popen([sys.executable, "-c", code, str(log)], stdout=subprocess.PIPE) as writer:
            assert writer.stdout is not None
            for _ in range(2 + n):
                seen = int(writer.stdout.readline())
            os.kill(writer.pid, signal.SIGKILL)
            seen = max([seen, *map(int, writer.stdout.read().splitlines(keepends=False)[:-1])])
    AuditLog(log).append("ended")
    assert verify(log).head.count > seen


def test_another_file_is_not_called_a_changed_log(tmp_path):
    file = tmp_path / "rows.csv"
    file.write_text("instruction,output\nQ,A\n")
    with pytest.raises(UserError, match="not an audit log"):
        verify(file)
