"""A tour of the page from the command line to the last tab, with a unique word (canary) in every question.

    python tour.py all SETTINGS.json      start server and browser, take the tour, write the outcome
    python tour.py alone COMMAND...       bring loopback up in a new network namespace, then run the command
    python tour.py serve ARGUMENTS...     run `demo` with recorded look-ups and errors on request

The outcome is written to files in the directory `where` of the settings; test_tour.py checks it.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

CANARY = "xylophonists-7f3a"
QUESTION = f"Which vitamin is lacking in scurvy of {CANARY}?"
DIES, CRASHES = "the engine dies now", "the page crashes now"
HERE = Path(__file__).parent


# ---- the server


def serve(arguments: list[str]) -> None:
    """Run `demo` in this process and record all look-ups and connections, also those that sealing refuses."""
    noted = Path(os.environ["TOUR_LOOKUPS"])

    def note(event: str, args: tuple[Any, ...]) -> None:
        if event in ("socket.connect", "socket.sendto", "socket.getaddrinfo", "socket.gethostbyname"):
            address = args[1] if event in ("socket.connect", "socket.sendto") else args
            host = address[0] if isinstance(address, tuple) else None
            if host not in ("127.0.0.1", "localhost", "::1", "", None):
                with noted.open("a") as file:
                    file.write(f"{event} {host}\n")

    sys.addaudithook(note)
    from medalpaca_data.core import offline

    if os.environ.get("TOUR_PLANTED"):
        offline.seal = lambda but=(): offline.go_offline()  # sealing without effect
        threading.Thread(target=plant).start()
    import medalpaca_demo.audit

    if os.environ.get("TOUR_LOUD"):
        medalpaca_demo.audit.hide_error_texts = contextlib.nullcontext
    from medalpaca_data.core.cli import run
    from medalpaca_demo.engine import Engine
    from medalpaca_demo.tabs import own

    publish, read_pasted = Engine._publish, own.parse_pasted

    def dying(self: Any, rows: Any) -> None:
        for row in rows:
            if DIES in row.job.request.prompt and len(row.tokens) > 3:
                raise RuntimeError(f"cannot go on with {row.job.request.prompt}")
        publish(self, rows)

    def crashing(text: str) -> Any:
        if CRASHES in text:
            raise ValueError(f"cannot read {text}")
        return read_pasted(text)

    Engine._publish = dying  # type: ignore[method-assign]
    own.parse_pasted = crashing
    from medalpaca_demo.cli import main

    sys.argv = ["demo", *arguments]
    run(main)


def plant() -> None:
    """Do what a library that reports home does: look up a name, connect, and hide the failure."""
    with contextlib.suppress(OSError):
        socket.getaddrinfo("telemetry.example.org", 443)
    with contextlib.suppress(OSError):
        socket.create_connection(("192.0.2.1", 443), timeout=1)


# ---- the visitor


def drive(url: str, profile: Path, chromium: str, flags: list[str]) -> dict[str, Any]:
    """Use every tab, and cause every error that a visitor can cause."""
    from playwright.sync_api import sync_playwright

    outside: list[str] = []
    home = "/".join(url.split("/")[:3])
    with sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            profile, executable_path=chromium, args=flags, chromium_sandbox=False
        )
        context.on(
            "request",
            lambda request: (
                None if request.url.startswith((home, "data:", "blob:")) else outside.append(request.url)
            ),
        )
        page = context.new_page()
        page.set_default_timeout(150_000)
        page.goto(url)
        page.locator("#mp-compare:enabled").wait_for(state="attached")

        def go(name: str) -> None:
            page.get_by_role("tab", name=name, exact=True).first.click()

        def ask(text: str, ends: str) -> None:
            # Mark old messages, so that they are not taken for new ones.
            page.evaluate(
                "for (const old of document.querySelectorAll('#mp-own-line .mp-status, #mp-own .mp-notice'))"
                " old.dataset.state = 'old'"
            )
            page.locator("#mp-own-text textarea").fill(text)
            page.locator("#mp-own-ask").click()
            page.locator(ends).first.wait_for()

        page.locator("#mp-compare").click()
        page.locator("#mp-line .mp-status:is([data-state=done], [data-state=failed])").wait_for()
        for name, seen in (("Browse", "#mp-browse"), ("Leaderboard", "#mp-leaderboard")):
            go(name)
            page.locator(f"{seen} :is(table, .mp-notice)").first.wait_for()
        go("Exam")
        page.locator("#mp-exam [type=submit]").click()
        page.locator("#mp-exam [data-value=A]").click()
        page.locator("#mp-exam [aria-pressed=true]").wait_for()
        page.locator("#mp-exam [data-act=hand-in]").click()
        page.locator("#mp-exam table").first.wait_for()
        go("Blind vote")
        page.locator("#mp-vote-start").click()
        page.locator("#mp-vote .mp-ballot").wait_for()
        page.locator("#mp-vote [data-value=same]").click()
        page.locator("#mp-vote .mp-card").wait_for()
        go("Own question")
        line = "#mp-own-line .mp-status"
        ask(QUESTION, f"{line}[data-state=done]")
        ask(f"{QUESTION}\nA. Vitamin A\nB. {CANARY}\nAnswer: B", f"{line}[data-state=done]")
        ask(f"{CANARY} " * 600, f"{line}[data-state=failed]")
        ask(f"{CANARY} " * 1500, "#mp-own .mp-notice[data-state=failed]")
        ask(f"Mr. Meier of {CANARY}, born 3.4.1956", "#mp-own .mp-notice[data-state=failed]")
        for fault in ("fault 500", "fault drops"):  # faults of the endpoint; other models ignore these words
            ask(f"{QUESTION} {fault}", f"{line}:is([data-state=done], [data-state=failed])")
        ask(f"{QUESTION} {DIES}", f"{line}[data-state=failed]")
        page.locator("#mp-own-text textarea").fill(f"{QUESTION} {CRASHES}")
        page.locator("#mp-own-ask").click()
        page.locator("[data-testid=toast-body]").first.wait_for()
        ask(f"{QUESTION} again", f"{line}[data-state=done]")
        go("About")
        page.locator("#mp-about dl").wait_for()
        left = page.evaluate(
            "async () => [localStorage.length, sessionStorage.length, (await indexedDB.databases()).length,"
            "(await caches.keys()).length, document.cookie]"
        )
        context.close()
    return {"outside": outside, "left": left}


def send_invalid_requests(url: str) -> None:
    """Send what no page sends: the canary as an option, a number, a path, and a link's id."""
    for index in range(12):
        body = {"fn_index": index, "data": [CANARY] * 3, "session_hash": "tour"}
        with contextlib.suppress(urllib.error.HTTPError, TimeoutError):
            call(f"{url}gradio_api/queue/join", body)
    for path in (f"?q={CANARY}", f"gradio_api/file={CANARY}", f"gradio_api/call/{CANARY}", f"{CANARY}"):
        with contextlib.suppress(urllib.error.HTTPError, TimeoutError):
            call(url + path)
    with contextlib.suppress(urllib.error.HTTPError, TimeoutError):
        call(f"{url}gradio_api/queue/data?session_hash=tour", seconds=3)


def call(url: str, body: Any = None, seconds: float = 10) -> bytes:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=seconds) as answer:
        return answer.read()


# ---- server and visitor, with directories of their own


def everything(settings: dict[str, Any]) -> dict[str, Any]:
    """Start `demo`, take the tour, and end it with Ctrl-C."""
    where = Path(settings["where"])
    places = {
        "HOME": "home",
        "TMPDIR": "tmp",
        "MEDALPACA_HOME": "medalpaca",
        "XDG_CACHE_HOME": "cache",
        "XDG_CONFIG_HOME": "config",
        "XDG_DATA_HOME": "data",
    }
    environment = {**os.environ, **settings.get("environment", {}), "TOUR_LOOKUPS": str(where / "lookups")}
    for variable, name in places.items():
        (where / "disk" / name).mkdir(parents=True, exist_ok=True)
        environment[variable] = str(where / "disk" / name)
    (where / "disk" / "cwd").mkdir(exist_ok=True)
    os.environ |= {name: environment[name] for name in places}
    (where / "lookups").touch()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    counted = -no_routes()
    arguments = [*settings["arguments"], "--port", str(port)]
    with (where / "stdout").open("wb") as out, (where / "stderr").open("wb") as err:
        server = subprocess.Popen(
            [sys.executable, str(HERE / "tour.py"), "serve", *arguments],
            stdout=out,
            stderr=err,
            env=environment,
            cwd=where / "disk" / "cwd",
        )
        try:
            wait_for(where, server)
            # The browser itself probes the network; packets during its run are not counted.
            counted += no_routes()
            profile = where / "profile"
            found = drive(f"http://127.0.0.1:{port}/", profile, settings["chromium"], settings["flags"])
            counted -= no_routes()
            send_invalid_requests(f"http://127.0.0.1:{port}/")
        finally:
            server.send_signal(signal.SIGINT)
            code = server.wait(60)
    lookups = (where / "lookups").read_text().splitlines()
    return {**found, "code": code, "lookups": lookups, "no_routes": counted + no_routes()}


def wait_for(where: Path, server: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + 180
    while b"Ctrl-C" not in (where / "stdout").read_bytes():
        if server.poll() is not None or time.monotonic() > until:
            raise RuntimeError((where / "stderr").read_text()[-2000:])
        time.sleep(0.1)


def no_routes() -> int:
    """Return the kernel's count of packets without a route, for IPv4 and IPv6, from all processes."""
    names, values = [
        line.split() for line in Path("/proc/net/snmp").read_text().splitlines() if line.startswith("Ip:")
    ]
    four = int(values[names.index("OutNoRoutes")])
    six = Path("/proc/net/snmp6")
    lines = six.read_text().splitlines() if six.exists() else []
    return four + sum(int(line.split()[1]) for line in lines if line.startswith("Ip6OutNoRoutes"))


def alone(command: list[str]) -> None:
    """Bring `lo` up, as `ip link set lo up` does, and replace this process by the command."""
    request = struct.pack("16sH14x", b"lo", 0)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        flags = struct.unpack("16sH14x", fcntl.ioctl(any_socket, 0x8913, request))[1]  # SIOCGIFFLAGS
        fcntl.ioctl(any_socket, 0x8914, struct.pack("16sH14x", b"lo", flags | 1))  # SIOCSIFFLAGS, IFF_UP
    os.execvp(command[0], command)  # noqa: S606


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["serve", *rest]:
            serve(rest)
        case ["alone", *rest]:
            alone(rest)
        case ["all", file]:
            wanted = json.loads(Path(file).read_text())
            Path(wanted["where"], "outcome.json").write_text(json.dumps(everything(wanted)))
