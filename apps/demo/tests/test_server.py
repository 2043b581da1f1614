"""The server without a browser: refused requests, headers, launch settings, and the command itself."""

from __future__ import annotations

import json
import os
import pkgutil
import shutil
import signal
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from medalpaca_data.core.errors import UserError
from medalpaca_data.core.offline import disable_proxies, go_offline
from medalpaca_demo import cli, server, tabs
from medalpaca_demo.access import load_auth_file, make_auth_line
from medalpaca_demo.app import TABS, access_settings, build_app, launch_settings
from medalpaca_demo.models import check_pair


@pytest.fixture(scope="module")
def url(pair: tuple[Path, Path], loaded_engine: Any, open_page: Any, one_question: Any) -> Iterator[str]:
    """URL of a page for this machine only."""
    with open_page(loaded_engine, check_pair(*pair), one_question, "text") as url:
        yield url


def get(url: str, data: object = None, **headers: str) -> tuple[int, dict[str, str], bytes]:
    body = None if data is None else json.dumps(data).encode()
    request = urllib.request.Request(url, body, {"Content-Type": "application/json", **headers})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, dict(answer.headers), answer.read()
    except urllib.error.HTTPError as error:
        return error.code, dict(error.headers), error.read()


def test_nothing_is_recorded_and_other_routes_are_blocked(url: str) -> None:
    config = json.loads(get(url + "config")[2])
    assert config["analytics_enabled"] is False
    assert config["run_history"] is False
    assert config["footer_links"] == []
    assert not config.get("space_id")
    assert url.startswith("http://127.0.0.1:")
    assert launch_settings()["share"] is False
    for path in ("gradio_api/runs", "monitoring/summary", "openapi.json", "docs"):
        assert get(url + path)[0] in (403, 404), path
    for path in ("upload", "file=/etc/hostname", "proxy=https://x.hf.space/", "monitoring", "deep_link"):
        assert get(url + "gradio_api/" + path)[0] == 404, path
        assert get(url + "gradio_api/" + path, {})[0] == 404, path
    # Direct calls would bypass the queue and its limits.
    for function in range(len(config["dependencies"])):
        status, _, _ = get(url + "gradio_api/run/predict", {"fn_index": function, "data": [0]})
        assert status == 404


def test_tabs_modules_and_labels_agree(url: str) -> None:
    """A new module in `tabs/` needs an entry in TABS, and the links in the browser use the same ids."""
    assert {module.name for module in pkgutil.iter_modules(tabs.__path__)} == set(TABS)
    components = json.loads(get(url + "config")[2])["components"]
    shown = {c["props"]["id"]: c["props"]["label"] for c in components if c["type"] == "tabitem"}
    assert shown == TABS
    assert json.dumps({label: name for name, label in TABS.items()}) in launch_settings()["head"]


def test_only_local_host_names_are_accepted(url: str) -> None:
    status, headers, _ = get(url)
    assert status == 200
    assert "default-src 'self'" in headers["content-security-policy"]
    assert headers["cache-control"] == "no-store"
    assert get(url, Host="evil.example")[0] == 421
    assert get(url, Host="evil.example:7860")[0] == 421
    assert get(url, Host="localhost:7860")[0] == 200


def test_calls_use_the_queue_only(url: str) -> None:
    """No route but that of the queue runs a function."""
    for path in ("runs", "runs/1", "run/compare", "run/predict", "api/predict", "call/compare"):
        assert get(url + "gradio_api/" + path, {"data": [0]})[0] in (404, 405), path
        assert get(url + "gradio_api/" + path)[0] in (404, 405), path
    config = json.loads(get(url + "config")[2])
    stop = next(one["id"] for one in config["dependencies"] if one["api_name"] == "stop")
    assert get(url + "gradio_api/call/stop", {"data": []})[0] == 404
    body = {"data": [], "fn_index": stop, "session_hash": "test"}
    status, _, body = get(url + "gradio_api/queue/join", body)
    assert status == 200
    assert set(json.loads(body)) == {"event_id"}


def test_access_needs_a_password(
    pair: tuple[Path, Path], loaded_engine: Any, open_page: Any, one_question: Any, tmp_path: Path
) -> None:
    users = tmp_path / "users"
    users.write_text(make_auth_line("ada", lambda prompt: "difference engine") + "\n")
    users.chmod(0o600)
    access = access_settings("127.0.0.1", load_auth_file(users))
    with open_page(loaded_engine, check_pair(*pair), one_question, "text", access) as url:
        check_log_in(url)


def check_log_in(url: str) -> None:
    assert get(url + "config")[0] == 401
    assert b"Which?" not in get(url)[2]
    assert get(url + "gradio_api/queue/join", {"data": [], "fn_index": 0})[0] == 401
    for password, status in (("difference", 400), ("difference engine", 200)):
        form = urllib.request.Request(
            url + "login", urllib.parse.urlencode({"username": "ada", "password": password}).encode()
        )
        try:
            with urllib.request.urlopen(form, timeout=10) as answer:
                assert answer.status == status
                cookies = answer.headers.get_all("set-cookie")
                assert all("HttpOnly" in cookie for cookie in cookies)
        except urllib.error.HTTPError as error:
            assert error.code == status


def test_gradio_vibe_mode_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADIO_VIBE_MODE", "1")
    with pytest.raises(UserError, match="GRADIO_VIBE_MODE"):
        build_app(None, None, None, "text")  # type: ignore[arg-type]


@pytest.fixture
def asked() -> Iterator[list[str]]:
    """Names resolved and addresses contacted outside this machine, by any code in this process."""
    found: list[str] = []
    watching = True

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        if watching and event in ("socket.connect", "socket.getaddrinfo"):
            address = arguments[1] if event == "socket.connect" else arguments
            host = address[0] if isinstance(address, tuple) else None  # a str is a Unix socket
            if host not in ("127.0.0.1", "localhost", "::1", None):
                found.append(f"{event} {host}")

    sys.addaudithook(watch)
    yield found
    watching = False  # an audit hook cannot be removed, only disabled


@pytest.fixture
def arguments(pair: tuple[Path, Path], tmp_path: Path) -> list[str]:
    exam = tmp_path / "exam.jsonl"
    item = {"id": "q", "question": "Which?", "options": {"A": "a", "B": "b"}, "answer": "A"}
    exam.write_text(json.dumps(item) + "\n", encoding="utf-8")
    return ["--base", str(pair[0]), "--adapter", str(pair[1]), "--exam", str(exam)]


def test_the_command_contacts_no_other_machine(
    arguments: list[str],
    asked: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:

    # Sealing would refuse a look-up before it is counted, and cannot be undone in this process.
    monkeypatch.setattr("medalpaca_data.core.offline.seal", lambda hosts: go_offline())
    monkeypatch.setattr(server, "wait_for_interrupt", lambda: print(get("http://127.0.0.1:7871/config")[0]))  # noqa: T201
    assert cli.main([*arguments, "--port", "7871"]) == 0
    said = capsys.readouterr().out
    assert "open http://127.0.0.1:7871" in said
    assert "\n200\n" in said
    assert asked == []


def test_the_page_opens_with_a_proxy_in_the_environment(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # The audit hook of `seal` cannot be removed from the process of the tests.
    for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # no proxy listens there
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "")
    monkeypatch.setattr("medalpaca_data.core.offline.seal", lambda hosts: disable_proxies())
    monkeypatch.setattr(server, "wait_for_interrupt", lambda: None)
    assert cli.main([*arguments, "--port", "7873"]) == 0
    assert "open http://127.0.0.1:7873" in capsys.readouterr().out


def test_a_port_in_use_is_one_line(arguments: list[str], url: str, monkeypatch: pytest.MonkeyPatch) -> None:

    monkeypatch.setattr("medalpaca_data.core.offline.seal", lambda hosts: go_offline())
    port = url.rstrip("/").rpartition(":")[2]
    with pytest.raises(UserError, match=f"port {port} is in use"):
        cli.main([*arguments, "--port", port])


def test_with_results_a_wrong_adapter_opens_the_page(
    pair: tuple[Path, Path],
    exam_file: Path,
    examined: tuple[Path, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:

    other = tmp_path / "run"
    shutil.copytree(pair[1], other)
    manifest = {"format": 1, "kind": "lora", "base": {"path": "elsewhere", "sha256": "f" * 64}}
    (other / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    monkeypatch.setattr("medalpaca_data.core.offline.seal", lambda hosts: go_offline())
    shown: list[bytes] = []
    monkeypatch.setattr(server, "wait_for_interrupt", lambda: shown.append(get("http://127.0.0.1:7874/")[2]))
    arguments = ["--base", str(pair[0]), "--adapter", str(other), "--exam", str(exam_file), "--port", "7874"]
    with pytest.raises(UserError, match="another base"):
        cli.main(arguments)
    assert cli.main([*arguments, "--results", *map(str, examined)]) == 0
    assert "note: the models cannot answer" in capsys.readouterr().out
    assert b"adapter of another base" in shown[0]
    assert b"trained on elsewhere (SHA-256 ffffffffffff)" in shown[0]


@pytest.mark.parametrize(
    ("patient_text", "noted"),
    [
        ({"basis": "ledger", "records": [{"source": "letters", "passed": True}]}, True),
        ({"basis": "ledger", "ledger_format": 2, "records": []}, True),
        ({"basis": "ledger", "ledger_format": 5, "records": []}, False),
        ({"basis": "checked"}, False),
        (None, False),
    ],
)
def test_a_run_trained_from_an_older_ledger_is_served_with_a_note(
    pair: tuple[Path, Path],
    exam_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    patient_text: dict[str, Any] | None,
    noted: bool,
) -> None:
    from medalpaca_data.core.weights import tokenizer_sha256, weights_sha256

    run = Path(shutil.copytree(pair[1], tmp_path / "run"))
    manifest: dict[str, Any] = {
        "format": 1,
        "kind": "lora",
        "base": {"path": str(pair[0]), "sha256": weights_sha256(pair[0])},
        "adapter": {"sha256": weights_sha256(run)},
        "tokenizer": {"sha256": tokenizer_sha256(run)},
    }
    if patient_text is not None:
        manifest["patient_text"] = patient_text
    (run / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    monkeypatch.setattr("medalpaca_data.core.offline.seal", lambda hosts: go_offline())
    monkeypatch.setattr(server, "wait_for_interrupt", lambda: None)
    arguments = ["--base", str(pair[0]), "--adapter", str(run), "--exam", str(exam_file), "--port", "7875"]
    assert cli.main(arguments) == 0
    said = capsys.readouterr().out
    assert "open http://127.0.0.1:7875" in said
    note = (
        f"note: {run}: ledger of format 2, now 5; changed since: a de-identification record no longer counts as "
        "passed; its counts are the detector's own, and they are not independently checked; group and source_id of "
        "patient text are keyed hashes, surrogates depend on a key that is not in the ledger, and deidentify.limit "
        "applies to the upper 95 % bound of an independent check, without a default with deidentify.mode=replace; a "
        "number is kept as it is or its row is rejected, columns with the case are joined to the question and unread "
        "columns are listed, near-duplicates that differ in a content word are kept, and short exam questions are "
        "also found inside lines\n"
    )
    assert (note in said) is noted
    assert ("ledger of format" in said) is noted


def test_temporary_files_are_private_and_removed(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from gradio.utils import get_upload_folder

    monkeypatch.setattr("medalpaca_data.core.offline.seal", lambda hosts: go_offline())
    monkeypatch.setenv("GRADIO_TEMP_DIR", "before")
    seen: list[Path] = []

    def leave_a_file() -> None:
        folder = Path(get_upload_folder())
        assert folder.stat().st_mode & 0o777 == 0o700
        (folder / "recording.mp4").write_bytes(b"text of a patient")
        seen.append(folder)

    monkeypatch.setattr(server, "wait_for_interrupt", leave_a_file)
    assert cli.main([*arguments, "--port", "7876"]) == 0
    assert seen[0].name.startswith("medalpaca-demo-")
    assert not seen[0].exists()
    assert os.environ["GRADIO_TEMP_DIR"] == "before"


@pytest.mark.slow
def test_an_interrupt_ends_with_130(arguments: list[str]) -> None:
    demo = Path(sys.executable).with_name("demo")
    with subprocess.Popen(
        [demo, *arguments, "--port", "7872"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "HTTP_PROXY": "http://proxy.invalid:3128"},
    ) as process:
        assert process.stdout is not None
        while "Ctrl-C" not in (line := process.stdout.readline()):
            assert line, process.stderr.read() if process.stderr else ""
        assert get("http://127.0.0.1:7872/")[0] == 200
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
        assert process.stderr is not None
        assert process.stderr.read() == "interrupted\n"
