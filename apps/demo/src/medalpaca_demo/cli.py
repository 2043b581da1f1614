"""`demo`: check the pair and the exam, load the models, open the page on this machine.

What the command line of `demo` asks for; everything that can be wrong with it is said in one line.

What `demo` can be told: what to show, to whom, and two commands beside the page.
"""

from __future__ import annotations

import os
import secrets
import threading
from argparse import Namespace
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from importlib.metadata import version
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, NoReturn

from medalpaca_data.core.cli import Command, CompletedArgument, add_command, print_json, run, screen
from medalpaca_data.core.errors import CheckFailed, UserError, one_line
from medalpaca_data.core.offline import api_key
from medalpaca_data.core.paths import quickstart
from medalpaca_data.exams.exam import BUNDLED, find_exam
from medalpaca_data.exams.item import POCKET

from .audit import texts_withheld
from .endpoint import Source, addresses, check_hosts, read_source
from .job import Scoring

if TYPE_CHECKING:
    from medalpaca_data.exams.exam import Exam

    from .audit import Recorder
    from .engine import Engine
    from .models import Pair


DEFAULT_PORT = 7860
LOOPBACK = "127.0.0.1"
EXAMPLES = """\
Without arguments: the quickstart's pair on its own exam, made first where there is none.

examples:
  demo
  demo --base models/base --adapter runs/mine --exam exam.jsonl
  demo --base models/base --adapter runs/mine --exam exam.jsonl \\
      --results results/base results/tuned
  demo --base http://127.0.0.1:8000/v1#base \\
      --adapter http://127.0.0.1:8000/v1#mine --exam exam.jsonl
  demo password ada >> users && chmod 600 users
  demo --host 192.0.2.7 --auth-file users \\
      --ssl-certfile cert.pem --ssl-keyfile key.pem
  demo --audit log
  demo audit verify log"""


def parser() -> Command:
    """All of `demo`."""
    main = Command(
        "demo",
        "Base and fine-tuned model side by side on exam questions, on this machine only.",
        epilog=EXAMPLES,
        usage="demo [options] | demo password NAME | demo audit verify LOG",
    )
    main.add_common("medalpaca-demo")
    _add_models(main)
    _add_exam(main)
    _add_access(main)
    _add_commands(main)
    return main


def _add_models(main: Command) -> None:
    group = main.add_argument_group("models")
    group.add_argument(
        "--base",
        type=CompletedArgument(read=read_source),
        metavar="DIR",
        help="the base model; or URL#MODEL of a server that has it",
    )
    group.add_argument(
        "--adapter",
        type=CompletedArgument(read=read_source),
        metavar="DIR",
        help="a run directory with a LoRA trained on that base; or URL#MODEL",
    )
    group.add_argument(
        "--trusted-host",
        action="append",
        default=[],
        metavar="HOST",
        help="questions may be sent to this other machine, where a URL names it",
    )
    group.add_argument(
        "--api-key-env", metavar="NAME", help="the environment variable that holds the servers' key"
    )


def _add_exam(main: Command) -> None:
    group = main.add_argument_group("exam")
    group.add_argument(
        "--exam",
        type=CompletedArgument(lambda: BUNDLED),
        metavar="EXAM",
        help="an exam file or directory, or a bundled name "
        f"(default: with --base MEDALPACA_EXAM, without it {POCKET})",
    )
    group.add_argument(
        "--scoring",
        choices=("letter", "text"),
        help="rate the options' letters or their texts (default: letter; pocket exam: text)",
    )
    group.add_argument(
        "--results",
        nargs=2,
        type=Path,
        metavar=("BASE", "TUNED"),
        help="lm_eval results of both on this exam, for Browse and Leaderboard",
    )


def _add_access(main: Command) -> None:
    group = main.add_argument_group("access", "From this machine only, unless told otherwise.")
    group.add_argument("--port", type=int, default=DEFAULT_PORT, metavar="N", help="default: %(default)s")
    group.add_argument(
        "--host",
        default=LOOPBACK,
        metavar="ADDRESS",
        help="listen there instead of on this machine only; needs --auth-file, and TLS or a proxy that does it",
    )
    group.add_argument(
        "--auth-file", type=Path, metavar="FILE", help="ask for a name and a password that are in this file"
    )
    group.add_argument(
        "--ssl-certfile", type=Path, metavar="FILE", help="serve over TLS with this certificate"
    )
    group.add_argument("--ssl-keyfile", type=Path, metavar="FILE", help="the certificate's key")
    group.add_argument(
        "--behind-proxy",
        metavar="ADDRESS",
        help="a proxy ends TLS and connects from ADDRESS; it says X-Forwarded-For and X-Forwarded-Proto",
    )
    log = main.add_argument_group("log")
    log.add_argument(
        "--audit",
        type=Path,
        metavar="FILE",
        help="keep an audit log there: who asked when, and hashes of questions and answers",
    )


def _add_commands(main: Command) -> None:
    commands = main.add_subparsers(prog="demo", title="commands", dest="command", metavar="COMMAND")
    password = add_command(
        commands,
        "password",
        "ask for a password and print a line for --auth-file",
        ("demo password ada >> users",),
    )
    password.add_argument("name", metavar="NAME", help="who logs in with it")
    audit = add_command(
        commands, "audit", "tell whether an audit log was changed", ("demo audit verify log",)
    )
    steps = audit.add_subparsers(dest="step", metavar="STEP", required=True)
    verify = add_command(
        steps,
        "verify",
        "tell whether an audit log is as it was written",
        (
            "demo audit verify log",
            "demo audit verify log --head 5f0c...    a head that was noted",
            "demo audit verify log --json",
        ),
        "Exit code 1 if it was changed.",
    )
    verify.add_argument("log", type=Path, metavar="LOG", help="what --audit named")
    verify.add_argument("--head", metavar="HASH", help="a head that was noted elsewhere")
    verify.add_json()


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
    tls: tuple[Path, Path] | None = None
    proxy: str | None = None


def choose(arguments: Sequence[str]) -> Choice:
    """What the command line asks for."""
    options = parser().parse_args(list(arguments))
    if options.command:
        raise UserError(f"demo: {options.command} comes first (see `demo {options.command} --help`)")
    if not 1 <= options.port <= 65535:
        raise UserError(f"demo: --port {options.port}: a number from 1 to 65535 was expected")
    if (options.base is None) != (options.adapter is None):
        missing = "--adapter" if options.adapter is None else "--base"
        raise UserError(f"demo: {missing} is missing; name both models, or neither for the quickstart's")
    public = options.host not in (LOOPBACK, "localhost")
    tls = _tls(options.ssl_certfile, options.ssl_keyfile)
    if (public or options.behind_proxy) and options.auth_file is None:
        way = f"--host {options.host}" if public else f"--behind-proxy {options.behind_proxy}"
        raise UserError(f"demo: {way} lets other machines in; name who may with --auth-file")
    if public and not (tls or options.behind_proxy):
        raise UserError(
            f"demo: --host {options.host} would send passwords in clear text; name --ssl-certfile and --ssl-keyfile, "
            "or --behind-proxy ADDRESS where a proxy ends TLS"
        )
    if options.behind_proxy and not _is_address(options.behind_proxy):
        raise UserError(
            f"demo: --behind-proxy {options.behind_proxy}: the address it connects from was expected"
        )
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
        tls,
        options.behind_proxy,
    )


def _tls(certificate: Path | None, key: Path | None) -> tuple[Path, Path] | None:
    if certificate is None and key is None:
        return None
    if certificate is None or key is None:
        missing = "--ssl-keyfile" if key is None else "--ssl-certfile"
        raise UserError(f"demo: {missing} is missing; TLS needs a certificate and its key")
    return certificate, key


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


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
        from .access import hash_line

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
    from medalpaca_data.core.offline import seal
    from medalpaca_data.core.weights import Refused
    from medalpaca_data.exams.exam import load_exam

    from .access import check_tls, read_auth
    from .audit import KEPT, head_line
    from .models import changed_rules, check_pair, no_engine, start_engine, unchecked_pair

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
    from medalpaca_data.core.audit_log import AuditLog

    from .audit import Recorder

    return Recorder(AuditLog(log, lambda said: say(f"note: {said}")), secrets.token_hex(8))


def _facts(pair: Pair, exam: Exam, scoring: Scoring) -> dict[str, object]:
    """What every answer of this start hangs on."""
    from medalpaca_data.exams.prompts import exam_prompt_id

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
