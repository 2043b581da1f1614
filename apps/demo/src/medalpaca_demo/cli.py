"""`demo`: check the pair and the exam, load the models, open the page on this machine."""

from __future__ import annotations

import os
import secrets
import threading
from collections.abc import Callable, Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, NoReturn

from medalpaca_data.exam import POCKET, find_exam
from medalpaca_data.ground.endpoint import api_key
from medalpaca_data.ground.errors import Parser, UserError, run
from medalpaca_data.ground.places import quickstart

from .address import Source, addresses, check_hosts, read_source
from .request import Scoring

if TYPE_CHECKING:
    from medalpaca_data.exam import Exam

    from .audit import Recorder
    from .engine import Engine
    from .load import Pair

DEFAULT_PORT = 7860
LOOPBACK = "127.0.0.1"
PROXIES = {"http_proxy", "https_proxy", "all_proxy"}
HERE = "127.0.0.1,localhost"


class Choice(NamedTuple):
    """What to open."""

    base: Source
    adapter: Source
    exam: str
    scoring: Scoring
    port: int = DEFAULT_PORT
    results: tuple[Path, Path] | None = None
    host: str = LOOPBACK
    auth_file: Path | None = None
    trusted: tuple[str, ...] = ()
    key_variable: str | None = None
    audit: Path | None = None


def entry() -> NoReturn:
    """The console script."""
    run(main)


def main(arguments: Sequence[str]) -> int:
    """Parse, then serve until interrupted."""
    match list(arguments):
        case ["password", str() as name]:
            from .auth import hash_line

            say(hash_line(name))
        case ["audit", *rest]:
            from .audit import command, head_line

            head, notes, log = command(rest)
            for note in notes:
                say(f"note: {note}")
            say(f"unchanged. {head_line(log, head)}")
        case _:
            choice = choose(arguments)
            make_pair(choice)
            serve(choice)
    return 0


def choose(arguments: Sequence[str]) -> Choice:
    """What the command line asks for."""
    parser = Parser(
        prog="demo",
        description="Base and fine-tuned model side by side on exam questions, on this machine only.",
        epilog="Without arguments: the quickstart's pair on its own exam, made first where there is none. "
        "`demo password NAME` asks for a password and prints a line for --auth-file; "
        "`demo audit verify LOG` tells whether an audit log was changed.",
    )
    parser.add_argument("what", nargs="?", help="`password NAME`, or `audit verify LOG`")
    parser.add_argument(
        "--base", type=read_source, metavar="DIR", help="the base model; or URL#MODEL of a server that has it"
    )
    parser.add_argument(
        "--adapter",
        type=read_source,
        metavar="DIR",
        help="a run directory with a LoRA trained on that base; or URL#MODEL, as in http://127.0.0.1:8000/v1#mine",
    )
    parser.add_argument(
        "--trusted-host",
        action="append",
        default=[],
        metavar="HOST",
        help="questions may be sent to this other machine, where a URL names it",
    )
    parser.add_argument(
        "--api-key-env", metavar="NAME", help="the environment variable that holds the servers' key"
    )
    parser.add_argument(
        "--exam",
        metavar="FILE",
        help="an exam file or directory, or a bundled name "
        f"(default: with --base MEDALPACA_EXAM, without it {POCKET})",
    )
    parser.add_argument(
        "--scoring",
        choices=("letter", "text"),
        help="rate the options' letters or their texts (default: letter; pocket exam: text)",
    )
    parser.add_argument(
        "--results",
        nargs=2,
        type=Path,
        metavar=("BASE", "TUNED"),
        help="lm_eval results of both on this exam, for Browse and Leaderboard",
    )
    parser.add_argument("--port", type=int, default=DEFAULT_PORT, metavar="N", help="default: %(default)s")
    parser.add_argument(
        "--host",
        default=LOOPBACK,
        metavar="ADDRESS",
        help="listen there instead of on this machine only; needs --auth-file",
    )
    parser.add_argument(
        "--auth-file", type=Path, metavar="FILE", help="ask for a name and a password that are in this file"
    )
    parser.add_argument(
        "--audit",
        type=Path,
        metavar="FILE",
        help="keep an audit log there: who asked when, and hashes of questions and answers",
    )
    parser.add_argument("--version", action="version", version=f"demo {version('medalpaca-demo')}")
    options = parser.parse_args(list(arguments))
    if options.what is not None:
        known = {
            "password": "wants one name after it, and nothing else",
        }.get(options.what, "not a command")
        raise UserError(f"demo: {options.what!r}: {known} (see `demo --help`)")
    if not 1 <= options.port <= 65535:
        raise UserError(f"demo: --port {options.port}: a number from 1 to 65535 was expected")
    if (options.base is None) != (options.adapter is None):
        missing = "--adapter" if options.adapter is None else "--base"
        raise UserError(f"demo: {missing} is missing; name both models, or neither for the quickstart's")
    if options.host not in (LOOPBACK, "localhost") and options.auth_file is None:
        raise UserError(f"demo: --host {options.host} lets other machines in; name who may with --auth-file")
    results: tuple[Path, Path] | None = tuple(options.results) if options.results else None
    if options.base is None:
        made = quickstart()
        base, adapter, exam = made.base, made.run, options.exam or POCKET
        if exam == POCKET:
            results = results or (made.results_base, made.results_tuned)
    else:
        base, adapter, exam = options.base, options.adapter, find_exam(options.exam)
        if exam is None:
            raise UserError(f"demo: --exam is missing: an exam file or directory, or {POCKET}")
    scoring: Scoring = options.scoring or ("text" if exam == POCKET else "letter")
    return Choice(
        base,
        adapter,
        exam,
        scoring,
        options.port,
        results,
        options.host,
        options.auth_file,
        tuple(options.trusted_host),
        options.api_key_env,
        options.audit,
    )


def make_pair(choice: Choice) -> None:
    """The quickstart's pair, where it was asked for and is not there: minutes, with progress, once."""
    made = quickstart()
    if choice.base != made.base or (made.base.is_dir() and made.run.is_dir()):
        return
    from rich.console import Console

    from .quickstart import Loop

    say(f"No models in {made.base.parent} yet: making the quickstart's first, which takes some minutes.")
    Loop(1, made, Console()).run()


def serve(choice: Choice) -> None:
    """Check everything that can be wrong, cheapest first; load; open the page; wait."""
    from medalpaca_data.exam import load_exam
    from medalpaca_data.ground.sealed import seal

    from .audit import KEPT, head_line
    from .auth import read_auth
    from .load import check_pair, no_engine, start_engine, unchecked_pair

    # Before gradio and transformers are imported: both read their switches once.
    without_proxies()
    outside = check_hosts(addresses(choice.base, choice.adapter), choice.trusted)
    key = api_key(choice.key_variable, "--api-key-env", "demo") if choice.key_variable else None
    seal(outside)
    exam = load_exam(choice.exam)
    check = read_auth(choice.auth_file) if choice.auth_file else None
    examined = choice.results is not None
    recorder = _recorder(choice.audit) if choice.audit else None
    try:
        pair = check_pair(choice.base, choice.adapter, choice.trusted)
        start: Callable[[], Engine] = partial(start_engine, pair, key, recorder)
    except UserError as error:
        # With results there is something to read without the models; without, there is nothing to open.
        if not examined:
            raise
        pair, start = unchecked_pair(choice.base, choice.adapter), partial(no_engine, error)
        say(f"note: no model can answer: {error}")
    say(f"{pair.name} beside {pair.base.name}")
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
    settings |= serving(choice.host, check)
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
    from medalpaca_data.exam_prompt import exam_prompt_id

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
