"""Rows from a hub: from the cache, from a real HTTP server on this machine, and never when sealed."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from medalpaca_data.core.errors import UserError
from medalpaca_data.core.row import Row
from medalpaca_data.sources import Alpaca, Chat, Published

COMMIT = "a1" * 20
ROWS = [{"instruction": f"Question {n}?", "output": f"Answer {n}"} for n in range(3)]
FILES = {"data/rows.json": json.dumps(ROWS).encode(), "loader.py": b"raise SystemExit('code was run')"}


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A hub with one dataset, and an empty cache. Yields the paths that were asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.answer(body=False)

        def do_GET(self) -> None:
            self.answer(body=True)

        def answer(self, *, body: bool) -> None:
            asked.append(self.path)
            data = FILES.get(self.path.removeprefix(f"/datasets/owner/set/resolve/{COMMIT}/"))
            self.send_response(200 if data is not None else 404)
            if data is None:
                self.send_header("X-Error-Code", "EntryNotFound")
            self.send_header("Content-Length", str(len(data or b"")))
            self.send_header("ETag", f'"{hashlib.sha256(data or b"").hexdigest()}"')
            self.send_header("X-Repo-Commit", COMMIT)
            self.end_headers()
            if body:
                self.wfile.write(data or b"")

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    endpoint = f"http://127.0.0.1:{server.server_port}"
    for name in ("HF_HUB_OFFLINE", "HF_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    constants = "huggingface_hub.constants"
    monkeypatch.setattr(f"{constants}.ENDPOINT", endpoint)
    monkeypatch.setattr(
        f"{constants}.HUGGINGFACE_CO_URL_TEMPLATE", endpoint + "/{repo_id}/resolve/{revision}/{filename}"
    )
    monkeypatch.setattr(f"{constants}.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(f"{constants}.HF_HUB_OFFLINE", False)
    monkeypatch.setattr(f"{constants}.HF_HUB_DISABLE_TELEMETRY", True)
    monkeypatch.setenv("HUB_OF_THE_TEST", endpoint)
    yield asked
    server.shutdown()
    server.server_close()


def source(**changes: str) -> Alpaca:
    return Alpaca(**{"hub": "owner/set", "revision": COMMIT, "file": "data/rows.json", **changes})


def test_rows_come_from_the_hub_once_and_then_from_the_cache(hub, monkeypatch):
    rows = list(source().records(Path()))
    assert [(row.instruction, row.source_id) for row in rows] == [
        (f"Question {n}?", f"rows.json row {n + 1}") for n in range(3)
    ]
    assert {path.removeprefix(f"/datasets/owner/set/resolve/{COMMIT}/") for path in hub} == {"data/rows.json"}
    hub.clear()
    assert list(source().records(Path())) == rows
    monkeypatch.setenv("MEDALPACA_SEALED", "1")
    assert list(source().records(Path())) == rows
    assert hub == []


def test_nothing_but_the_file_is_asked_for(hub, tmp_path):
    """In a process of its own: what is set before the library is imported decides what it tells the hub."""
    code = (
        "from pathlib import Path; from medalpaca_data.sources import Alpaca; "
        "print(len(list(Alpaca(**{}).records(Path()))))"
    )
    settings = {"hub": "owner/set", "revision": COMMIT, "file": "data/rows.json"}
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("HF_", "TRANSFORMERS_", "DISABLE_", "DO_NOT"))
    }
    environment |= {"HF_ENDPOINT": os.environ["HUB_OF_THE_TEST"], "HF_HOME": str(tmp_path / "fresh")}
    command = [sys.executable, "-c", code.replace("{}", repr(settings))]
    said = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    assert said.stdout == "3\n"
    assert {path.removeprefix(f"/datasets/owner/set/resolve/{COMMIT}/") for path in hub} == {"data/rows.json"}


def test_sealed_the_hub_is_never_asked(hub, monkeypatch):
    monkeypatch.setenv("MEDALPACA_SEALED", "1")
    with pytest.raises(UserError, match=r"owner/set: data/rows.json.*MEDALPACA_SEALED=1; download the file"):
        source().files(Path())
    assert hub == []


def test_a_file_that_is_not_there_and_a_hub_that_is_not(hub, monkeypatch):
    with pytest.raises(UserError, match=r"owner/set: data/none.json .*could not be downloaded"):
        source(file="data/none.json").files(Path())
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setattr(
        "huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE",
        "http://127.0.0.1:1/{repo_id}/resolve/{revision}/{filename}",
    )
    with pytest.raises(UserError, match="could not be downloaded"):
        source(file="other.json").files(Path())


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"file": "loader.py"}, "unknown suffix; allowed are"),
        ({"file": "weights.bin"}, "unknown suffix; allowed are"),
        ({"file": "../rows.json"}, "not a path inside a dataset"),
        ({"file": "/etc/rows.json"}, "not a path inside a dataset"),
        ({"revision": "main"}, "revision"),
        ({"hub": "owner"}, "hub"),
        ({"hub": "owner/../set"}, "hub"),
        ({"path": "rows.json"}, "either path:, or all of hub:"),
        ({"revision": None}, "needs revision:"),
    ],
)
def test_only_plain_data_of_a_commit_is_named(changes, said):
    with pytest.raises(ValueError, match=said):
        source(**changes)


def test_a_file_named_test_is_refused(write):
    path = write("pubs_test.jsonl", ROWS)
    for cls in (Alpaca, Chat):
        with pytest.raises(UserError, match="the file name says test"):
            cls(path=str(path)).files(Path())
    with pytest.raises(ValueError, match="either path:"):
        Published(set="cord19")


def test_rows_are_rows(hub):
    assert all(isinstance(row, Row) and row.source == "alpaca" for row in source().records(Path()))
