"""`demo`: check the pair and the exam, load the models, open the page on this machine."""

from __future__ import annotations

import os
import secrets
import threading
from argparse import Namespace
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from medalpaca_data.command_line import print_json, screen
from medalpaca_data.ground.command import run
from medalpaca_data.ground.endpoint import api_key
from medalpaca_data.ground.errors import CheckFailed, UserError, one_line
from medalpaca_data.ground.places import quickstart

from .choice import Choice, choose
from .commands import parser
from .endpoint.address import addresses, check_hosts
from .passes.request import Scoring
from .served.quiet import texts_withheld

if TYPE_CHECKING:
    from medalpaca_data.exams.exam import Exam

    from .audit import Recorder
    from .engine import Engine
    from .load import Pair

PROXIES = {"http_proxy", "https_proxy", "all_proxy"}
HERE = "127.0.0.1,localhost"


def entry() -> NoReturn:
    """The console script."""
    run(main)


def main(arguments: Sequence[str]) -> int:
    """Parse, then serve until interrupted."""
    match list(arguments):
        case ["password" | "audit", *_]:
            _command(parser().parse_args(arguments))
        case _:
            choice = choose(arguments)
            make_pair(choice)
            with texts_withheld():
                serve(choice)
    return 0


def _command(options: Namespace) -> None:
    if options.command == "password":
        from .served.auth import hash_line

        say(hash_line(options.name))
        return
    from .audit import check, head_line

    try:
        found = check(options.log, options.head)
    except CheckFailed as error:
        if options.json:
            print_json({"log": str(options.log), "unchanged": False, "problem": one_line(error)})
        raise
    if options.json:
        print_json({"log": str(options.log), "unchanged": True, **asdict(found)})
        return
    for note in found.notes:
        say(f"note: {note}")
    say(f"unchanged. {head_line(options.log, found.head)}")


def make_pair(choice: Choice) -> None:
    """The quickstart's pair, where it was asked for and is not there: minutes, with progress, once."""
    made = quickstart()
    if choice.base != made.base or (made.base.is_dir() and made.run.is_dir()):
        return
    from .quickstart import Loop

    say(f"No models in {made.base.parent} yet: making the quickstart's first, which takes some minutes.")
    Loop(1, made, screen()).run()


def serve(choice: Choice) -> None:
    """Check everything that can be wrong, cheapest first; load; open the page; wait."""
    from medalpaca_data.exams.exam import load_exam
    from medalpaca_data.ground.sealed import seal
    from medalpaca_data.ground.unsafe import Refused

    from .audit import KEPT, head_line
    from .load import changed_rules, check_pair, no_engine, start_engine, unchecked_pair
    from .served.auth import check_tls, read_auth

    # Before gradio and transformers are imported: both read their switches once.
    without_proxies()
    # Whose word on a visitor's address and on TLS is taken: the named proxy's, else nobody's.
    os.environ["FORWARDED_ALLOW_IPS"] = choice.proxy or ""
    outside = check_hosts(addresses(choice.base, choice.adapter), choice.trusted)
    key = api_key(choice.key_variable, "--api-key-env", "demo") if choice.key_variable else None
    seal(outside)
    exam = load_exam(choice.exam)
    check = read_auth(choice.auth_file) if choice.auth_file else None
    tls = check_tls(*choice.tls) if choice.tls else None
    examined = choice.results is not None
    recorder = _recorder(choice.audit) if choice.audit else None
    try:
        pair = check_pair(choice.base, choice.adapter, choice.trusted)
        changed = changed_rules(pair.adapter)
        start: Callable[[], Engine] = partial(start_engine, pair, key, recorder)
    except UserError as error:
        # With results there is something to read without the models; without, there is nothing to open. A file that
        # could run code, or was changed, is nothing to go on beside.
        if not examined or isinstance(error, Refused):
            raise
        pair, start = unchecked_pair(choice.base, choice.adapter), partial(no_engine, error)
        changed = ()
        say(f"note: no model can answer: {error}")
    say(f"{pair.name} beside {pair.base.name}")
    for line in changed:
        say(f"note: {line}")
    if outside:
        say(f"note: every question is sent to {', '.join(outside)}")
    say(f"{exam.name}: {len(exam.items)} questions, scored by {choice.scoring}")
    for warning in exam.warnings:
        say(f"note: {warning}")
    say("loading...")
    from .app import build_app, serving
    from .results import load_results

    if recorder:
        recorder.write("started", **_facts(pair, exam, choice.scoring))
        say(f"audit log: {choice.audit}")
    engine = start()
    results = load_results(*choice.results, exam, choice.scoring, pair) if choice.results else None
    if results and results.trouble:
        say(f"note: without results: {results.trouble}")
    page, settings = build_app(
        engine, pair, exam, choice.scoring, results=results, recorded=KEPT if recorder else ""
    )
    settings |= serving(choice.host, check, tls=tls, proxy=choice.proxy is not None)
    try:
        _, url, _ = page.launch(server_port=choice.port, prevent_thread_lock=True, **settings)
    except OSError as error:
        engine.close()
        raise UserError(f"demo: port {choice.port} is taken; choose another with --port ({error})") from None
    say(f"open {url} in a browser; Ctrl-C ends it")
    try:
        if not examined:
            engine.ready()
        wait_for_interrupt()
    finally:
        page.close()
        engine.close()
        if recorder and choice.audit:
            head = recorder.write("ended")
            say(f"audit log {head_line(choice.audit, head)}; note the head elsewhere")


def _recorder(log: Path) -> Recorder:
    from medalpaca_data.ground.audit import AuditLog

    from .audit import Recorder

    return Recorder(AuditLog(log, lambda said: say(f"note: {said}")), secrets.token_hex(8))


def _facts(pair: Pair, exam: Exam, scoring: Scoring) -> dict[str, object]:
    """What every answer of this start hangs on."""
    from medalpaca_data.exams.asked import exam_prompt_id

    return {
        "base": str(pair.base) if pair.base_sha256 == "" else pair.base_sha256,
        "tuned": str(pair.adapter) if pair.adapter_sha256 == "" else pair.adapter_sha256,
        "exam_sha256": exam.sha256,
        "prompt": exam_prompt_id(scoring),
        "demo": version("medalpaca-demo"),
    }


def without_proxies() -> None:
    """Let this process ask itself directly: gradio's probe of its own page would go to the user's proxy."""
    for name in [name for name in os.environ if name.lower() in PROXIES]:
        del os.environ[name]
    # Where the environment names no proxy, some systems name one elsewhere.
    os.environ.update(NO_PROXY=HERE, no_proxy=HERE)


def wait_for_interrupt() -> None:
    """Until Ctrl-C. Gradio's own wait would swallow it, and with it the exit code."""
    threading.Event().wait()


def say(text: str) -> None:
    """To the terminal, at once."""
    print(text, flush=True)  # noqa: T201
