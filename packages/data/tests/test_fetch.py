"""`data fetch` against a real HTTP server on loopback that cuts connections and forgets ranges."""

import hashlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from medalpaca_data.core.errors import UserError
from medalpaca_data.core.files import sha256_file
from medalpaca_data.fetch import Download, downloads, fetch

BODY = b"".join(b"line %d of a raw file\n" % n for n in range(40_000))


@dataclass
class Server:
    """What it does, and what it was asked."""

    url: str = ""
    cut_after: list[int] = field(default_factory=list)  # bytes, for the next requests in turn
    ranges: bool = True
    body: bytes = BODY
    status: int = 200
    asked: list[str | None] = field(default_factory=list)


@pytest.fixture
def server() -> Iterator[Server]:
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = self.headers.get("Range")
            state.asked.append(asked)
            if state.status != 200:
                self.send_error(state.status)
                return
            start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and state.ranges else 0
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(state.body) - start))
            self.end_headers()
            end = start + state.cut_after.pop(0) if state.cut_after else None
            self.wfile.write(state.body[start:end])
            self.close_connection = True

        def log_message(self, *_: object) -> None:
            pass

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    state.url = f"http://127.0.0.1:{httpd.server_port}/raw.csv"
    yield state
    httpd.shutdown()


def pinned(server: Server) -> list[Download]:
    return [Download("x", "a/raw.csv", server.url, len(BODY), hashlib.sha256(BODY).hexdigest())]


def test_a_file_comes_whole_and_is_not_fetched_twice(server, tmp_path):
    [path] = fetch("x", tmp_path, pinned(server))
    assert path.read_bytes() == BODY
    fetch("x", tmp_path, pinned(server))
    assert server.asked == [None]
    assert [p.name for p in path.parent.iterdir()] == ["raw.csv"]


def test_a_cut_connection_is_resumed(server, tmp_path):
    server.cut_after = [100_000, 200_000]
    [path] = fetch("x", tmp_path, pinned(server))
    assert path.read_bytes() == BODY
    assert server.asked == [None, "bytes=100000-", "bytes=300000-"]


def test_a_server_without_ranges_starts_anew(server, tmp_path):
    server.cut_after, server.ranges = [100_000], False
    assert fetch("x", tmp_path, pinned(server))[0].read_bytes() == BODY


def test_another_command_goes_on(server, tmp_path):
    server.cut_after = [50_000, 0, 0, 0, 0]
    with pytest.raises(UserError, match="run the command again to continue"):
        fetch("x", tmp_path, pinned(server))
    assert fetch("x", tmp_path, pinned(server))[0].read_bytes() == BODY
    assert server.asked[-1] == "bytes=50000-"


def test_another_file_is_not_kept(server, tmp_path):
    server.body = BODY[:-1] + b"!"
    with pytest.raises(UserError, match="another SHA-256 than expected"):
        fetch("x", tmp_path, pinned(server))
    server.body = BODY + b"more"
    with pytest.raises(UserError, match="another SHA-256 than expected"):
        fetch("x", tmp_path, pinned(server))
    assert not [p for p in tmp_path.rglob("*") if p.is_file()]


def test_what_is_there_is_never_overwritten(server, tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a/raw.csv").write_text("mine")
    with pytest.raises(UserError, match="exists with another SHA-256"):
        fetch("x", tmp_path, pinned(server))
    assert (tmp_path / "a/raw.csv").read_text() == "mine"


def test_a_missing_file_and_an_unknown_kind_are_said(server, tmp_path):
    server.status = 404
    with pytest.raises(UserError, match="404"):
        fetch("x", tmp_path, pinned(server))
    assert len(server.asked) == 1
    with pytest.raises(UserError, match="no download for this kind"):
        fetch("pubmed_qa", tmp_path)
    with pytest.raises(UserError, match="no download for this kind"):
        fetch("anki", tmp_path)


def test_sealed_refuses(server, tmp_path, monkeypatch):
    monkeypatch.setenv("MEDALPACA_SEALED", "1")
    with pytest.raises(UserError, match="MEDALPACA_SEALED=1 forbids it"):
        fetch("x", tmp_path, pinned(server))
    assert server.asked == []


def test_the_pins_are_those_of_the_real_files(real):
    held = {
        sha256_file(path) for path in real.rglob("*") if path.is_file() and path.stat().st_size < 10_000_000
    }
    for entry in downloads():
        assert entry.url.startswith("https://raw.githubusercontent.com/")
        assert not Path(entry.file).is_absolute()
        # Some of the real files are kept packed, and then only their listing has the hash.
        assert entry.sha256 in held or entry.sha256 in (real / "MANIFEST.tsv").read_text()


def test_a_network_that_is_not_there_is_told_in_words(server, tmp_path):
    [entry] = pinned(server)
    gone = Download("x", "b.csv", "http://127.0.0.1:1/b.csv", entry.bytes, entry.sha256)
    with pytest.raises(UserError, match=r"1/b\.csv: Connection refused; run the command"):
        fetch("x", tmp_path, [gone])
    server.status = 503
    with pytest.raises(UserError, match=r"raw\.csv: 503 Service Unavailable; run the command"):
        fetch("x", tmp_path, [entry])
