"""`demo`: check the pair and the exam, load the models, open the page on this machine."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple, NoReturn

from medalpaca_data.exam import POCKET, find_exam
from medalpaca_data.ground.errors import Parser, UserError, run
from medalpaca_data.ground.places import quickstart

from .request import Scoring

DEFAULT_PORT = 7860
PROXIES = {"http_proxy", "https_proxy", "all_proxy"}
HERE = "127.0.0.1,localhost"


class Choice(NamedTuple):
    """What to open."""

    base: Path
    adapter: Path
    exam: str
    scoring: Scoring
    port: int


def entry() -> NoReturn:
    """The console script."""
    run(main)


def main(arguments: Sequence[str]) -> int:
    """Parse, then serve until interrupted."""
    choice = choose(arguments)
    if choice is not None:
        serve(choice)
    return 0


def choose(arguments: Sequence[str]) -> Choice | None:
    """What the command line asks for; None when it was a question that is already answered."""
    parser = Parser(
        prog="demo",
        description="Base and fine-tuned model side by side on exam questions, on this machine only.",
        epilog="Without arguments: the pair that `uv run quickstart` made, on its own exam.",
    )
    parser.add_argument("what", nargs="?", help="`audit` is reserved")
    parser.add_argument("--base", type=Path, metavar="DIR", help="the base model")
    parser.add_argument(
        "--adapter", type=Path, metavar="DIR", help="a run directory with a LoRA trained on that base"
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
    parser.add_argument("--port", type=int, default=DEFAULT_PORT, metavar="N", help="default: %(default)s")
    parser.add_argument("--version", action="version", version=f"demo {version('medalpaca-demo')}")
    options = parser.parse_args(list(arguments))
    if options.what is not None:
        known = "reserved for a later version" if options.what == "audit" else "not a command"
        raise UserError(f"demo: {options.what!r} is {known} (see `demo --help`)")
    if not 1 <= options.port <= 65535:
        raise UserError(f"demo: --port {options.port}: a number from 1 to 65535 was expected")
    if (options.base is None) != (options.adapter is None):
        missing = "--adapter" if options.adapter is None else "--base"
        raise UserError(f"demo: {missing} is missing; name both models, or neither for the quickstart's")
    if options.base is None:
        made = quickstart()
        if not (made.base.is_dir() and made.run.is_dir()):
            raise UserError(
                f"demo: no quickstart models in {made.base.parent}: run `uv run quickstart` first"
            )
        base, adapter, exam = made.base, made.run, options.exam or POCKET
    else:
        base, adapter, exam = options.base, options.adapter, find_exam(options.exam)
        if exam is None:
            raise UserError(f"demo: --exam is missing: an exam file or directory, or {POCKET}")
    scoring: Scoring = options.scoring or ("text" if exam == POCKET else "letter")
    return Choice(base, adapter, exam, scoring, options.port)


def serve(choice: Choice) -> None:
    """Check everything that can be wrong, cheapest first; load; open the page; wait."""
    from medalpaca_data.exam import load_exam
    from medalpaca_data.ground.sealed import seal

    from .load import check_pair, load_engine

    # Before gradio and transformers are imported: both read their switches once.
    without_proxies()
    seal()
    exam = load_exam(choice.exam)
    pair = check_pair(choice.base, choice.adapter)
    say(f"{pair.name} beside {pair.base.name}")
    say(f"{exam.name}: {len(exam.items)} questions, scored by {choice.scoring}")
    for warning in exam.warnings:
        say(f"note: {warning}")
    say("loading...")
    from .app import build_app

    engine = load_engine(pair)
    page, settings = build_app(engine, pair, exam, choice.scoring)
    try:
        _, url, _ = page.launch(server_port=choice.port, prevent_thread_lock=True, **settings)
    except OSError as error:
        engine.close()
        raise UserError(f"demo: port {choice.port} is taken; choose another with --port ({error})") from None
    say(f"open {url} in a browser; Ctrl-C ends it")
    try:
        wait_for_interrupt()
    finally:
        page.close()
        engine.close()


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
