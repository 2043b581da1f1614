"""What `demo` can be told: what to show, to whom, and two commands beside the page."""

from __future__ import annotations

from pathlib import Path

from medalpaca_data.command_line import Command, add_command
from medalpaca_data.exams.exam import BUNDLED
from medalpaca_data.exams.item import POCKET
from medalpaca_data.offered import Offered

from .endpoint.address import read_source

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
        type=Offered(read=read_source),
        metavar="DIR",
        help="the base model; or URL#MODEL of a server that has it",
    )
    group.add_argument(
        "--adapter",
        type=Offered(read=read_source),
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
        type=Offered(lambda: BUNDLED),
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
