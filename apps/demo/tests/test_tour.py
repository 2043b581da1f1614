"""The whole tour, from command line to browser: nothing is left anywhere, and nothing leaves; and both can be seen."""

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
    """Short enough for the name of a socket, which pytest's own directories are not."""
    with tempfile.TemporaryDirectory(prefix="tour-") as folder:
        yield Path(folder)


@pytest.fixture
def take_tour(chromium: tuple[str, list[str]]) -> Callable[..., dict[str, Any]]:
    """`take_tour(where, arguments)`."""
    return partial(_take_tour, chromium)


def _take_tour(
    chromium: tuple[str, list[str]],
    where: Path,
    arguments: list[object],
    *,
    before: tuple[str, ...] = (),
    **switches: str,
) -> dict[str, Any]:
    """What the tour found; `before` are words before the command."""
    settings = {
        "where": str(where),
        "arguments": [str(argument) for argument in arguments],
        "environment": switches,
        "chromium": chromium[0],
        "flags": chromium[1],
    }
    (where / "settings.json").write_text(json.dumps(settings))
    # The command must set its own switches: those of this test process would hide that it forgot one.
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


def places_with(word: str, where: Path) -> list[str]:
    """Files below `where` that hold the word, as text in any usual way to write it."""
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


def test_the_question_is_nowhere_afterwards(
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
    assert places_with(CANARY, where) == []
    assert CANARY not in (tmp_path / "log").read_text()
    assert (tmp_path / "log").read_text().count('"asked"') > 8
    said = (where / "stderr").read_text()
    assert "ValueError: (its text is withheld)" in said  # the page did crash
    assert "Traceback" in said


def test_a_question_that_was_left_is_found(
    take_tour: Callable[..., dict[str, Any]], pair: tuple[Path, Path], exam_file: Path, where: Path
) -> None:
    """The test above can fail: with errors' texts let through, the forced ones stand in the log."""
    arguments = ["--base", pair[0], "--adapter", pair[1], "--exam", exam_file]
    found = take_tour(where, arguments, TOUR_LOUD="1")
    assert found["code"] == 130
    assert places_with(CANARY, where) == ["stderr"]
    (where / "disk" / "tmp" / "kept").write_bytes(b"\0" + CANARY.encode("utf-16-le"))
    assert places_with(CANARY, where / "disk") == ["tmp/kept"]


@pytest.fixture
def namespace() -> tuple[str, ...]:
    """Words that run a command in a network of its own, where there is only loopback."""
    words = ("unshare", "--map-root-user", "--net", sys.executable, str(SCRIPT), "alone")
    try:
        done = subprocess.run([*words, "true"], capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip("no unshare on this machine")
    if done.returncode:
        pytest.skip(f"no user namespaces here: {done.stderr.strip()}")
    return words


def test_the_tour_needs_no_network(
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


def test_a_planted_look_up_is_seen(
    take_tour: Callable[..., dict[str, Any]],
    pair: tuple[Path, Path],
    exam_file: Path,
    namespace: tuple[str, ...],
    where: Path,
) -> None:
    """The test above can fail: with the guard off, a look-up that says nothing of itself is seen in two ways."""
    arguments = ["--base", pair[0], "--adapter", pair[1], "--exam", exam_file]
    found = take_tour(where, arguments, before=namespace, TOUR_PLANTED="1")
    assert found["lookups"] == [
        "socket.getaddrinfo telemetry.example.org",
        "socket.getaddrinfo 192.0.2.1",
        "socket.connect 192.0.2.1",
    ]
    assert found["no_routes"] > 0
