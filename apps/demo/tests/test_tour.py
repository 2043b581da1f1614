"""A tour of the whole page: no file contains the question, and nothing is sent; each check also has a counter-test."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.browser]

SCRIPT = Path(__file__).with_name("tour.py")
SWITCHES = {"HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "MEDALPACA_SEALED", "GRADIO_ANALYTICS_ENABLED"}


def script() -> Any:
    spec = importlib.util.spec_from_file_location("tour", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


CANARY = script().CANARY


@pytest.fixture
def where() -> Iterator[Path]:
    """A directory whose path is short enough for a Unix socket, unlike pytest's own."""
    with tempfile.TemporaryDirectory(prefix="tour-") as folder:
        yield Path(folder)


@pytest.fixture
def take_tour(chromium: tuple[str, list[str]]) -> Callable[..., dict[str, Any]]:
    """Return `take_tour(where, arguments)`."""
    return partial(_take_tour, chromium)


def _take_tour(
    chromium: tuple[str, list[str]],
    where: Path,
    arguments: list[object],
    *,
    before: tuple[str, ...] = (),
    **switches: str,
) -> dict[str, Any]:
    """Run tour.py and return its outcome; `before` are words before the command."""
    settings = {
        "where": str(where),
        "arguments": [str(argument) for argument in arguments],
        "environment": switches,
        "chromium": chromium[0],
        "flags": chromium[1],
    }
    (where / "settings.json").write_text(json.dumps(settings))
    # Without the switches of this test process, to check that the command sets its own.
    environment = {name: value for name, value in os.environ.items() if name not in SWITCHES}
    done = subprocess.run(
        [*before, sys.executable, str(SCRIPT), "all", str(where / "settings.json")],
        capture_output=True,
        text=True,
        timeout=500,
        env=environment,
    )
    assert done.returncode == 0, done.stderr[-3000:] + (where / "stderr").read_text()[-3000:]
    found: dict[str, Any] = json.loads((where / "outcome.json").read_text())
    return found


def files_with(word: str, where: Path) -> list[str]:
    """Return the files below `where` that contain the word in UTF-8 or UTF-16."""
    forms = [word.encode(), word.encode("utf-16-le"), word.encode("utf-16-be")]
    found = []
    for file in (file for file in where.rglob("*") if file.is_file() and not file.is_symlink()):
        data = file.read_bytes()
        if any(form in data or form.upper() in data for form in forms) or word in file.name:
            found.append(str(file.relative_to(where)))
    return found


@pytest.fixture(scope="module")
def endpoint_url(pair: tuple[Path, Path]) -> Iterator[str]:
    server = subprocess.Popen(
        [sys.executable, SCRIPT.with_name("endpoint_server.py"), *pair], stdout=subprocess.PIPE
    )
    assert server.stdout is not None
    yield f"http://127.0.0.1:{int(server.stdout.readline())}/v1"
    server.kill()
    server.wait()


def test_no_file_or_log_contains_the_question(
    take_tour: Callable[..., dict[str, Any]],
    pair: tuple[Path, Path],
    exam_file: Path,
    endpoint_url: str,
    where: Path,
    tmp_path: Path,
) -> None:
    arguments = ["--base", pair[0], "--adapter", f"{endpoint_url}#tuned", "--exam", exam_file]
    found = take_tour(where, [*arguments, "--audit", tmp_path / "log"])
    assert found["left"] == [0, 0, 0, 0, ""]
    assert found["outside"] == []
    assert found["lookups"] == []
    assert found["code"] == 130
    assert files_with(CANARY, where) == []
    assert CANARY not in (tmp_path / "log").read_text()
    assert (tmp_path / "log").read_text().count('"asked"') > 8
    said = (where / "stderr").read_text()
    assert "ValueError: (its text is withheld)" in said  # the forced errors have occurred
    assert "Traceback" in said


def test_a_leaked_question_is_detected(
    take_tour: Callable[..., dict[str, Any]], pair: tuple[Path, Path], exam_file: Path, where: Path
) -> None:
    """Counter-test: with error texts, the forced errors write the question to stderr."""
    arguments = ["--base", pair[0], "--adapter", pair[1], "--exam", exam_file]
    found = take_tour(where, arguments, TOUR_LOUD="1")
    assert found["code"] == 130
    assert files_with(CANARY, where) == ["stderr"]
    (where / "disk" / "tmp" / "kept").write_bytes(b"\0" + CANARY.encode("utf-16-le"))
    assert files_with(CANARY, where / "disk") == ["tmp/kept"]


@pytest.fixture
def namespace() -> tuple[str, ...]:
    """Words that run a command in a network namespace with loopback only."""
    words = ("unshare", "--map-root-user", "--net", sys.executable, str(SCRIPT), "alone")
    try:
        done = subprocess.run([*words, "true"], capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip("no unshare on this machine")
    if done.returncode:
        pytest.skip(f"no user namespaces here: {done.stderr.strip()}")
    return words


def test_the_tour_runs_without_network(
    take_tour: Callable[..., dict[str, Any]],
    pair: tuple[Path, Path],
    exam_file: Path,
    examined: tuple[Path, Path],
    namespace: tuple[str, ...],
    where: Path,
) -> None:
    arguments = ["--base", pair[0], "--adapter", pair[1], "--exam", exam_file, "--results", *examined]
    found = take_tour(where, arguments, before=namespace)
    assert found["lookups"] == []
    assert found["outside"] == []
    assert found["no_routes"] == 0
    assert found["code"] == 130


def test_a_planted_look_up_is_detected(
    take_tour: Callable[..., dict[str, Any]],
    pair: tuple[Path, Path],
    exam_file: Path,
    namespace: tuple[str, ...],
    where: Path,
) -> None:
    """Counter-test: without sealing, Python and the kernel both report a planted look-up."""
    arguments = ["--base", pair[0], "--adapter", pair[1], "--exam", exam_file]
    found = take_tour(where, arguments, before=namespace, TOUR_PLANTED="1")
    assert found["lookups"] == [
        "socket.getaddrinfo telemetry.example.org",
        "socket.getaddrinfo 192.0.2.1",
        "socket.connect 192.0.2.1",
    ]
    assert found["no_routes"] > 0
