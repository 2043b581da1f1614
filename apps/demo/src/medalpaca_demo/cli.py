"""The command `demo`: the page, `demo password`, and `demo audit verify`.

Options are checked before torch, transformers or gradio is imported.
"""

from __future__ import annotations

import re
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import asdict
from ipaddress import ip_address
from pathlib import Path
from typing import NoReturn

from medalpaca_data.core.cli import (
    Command,
    Commands,
    CompletedArgument,
    add_command,
    print_json,
    print_text,
    run,
    screen,
)
from medalpaca_data.core.errors import CheckFailed, UserError, one_line
from medalpaca_data.core.paths import quickstart
from medalpaca_data.exams.exam import BUNDLED, find_exam
from medalpaca_data.exams.item import POCKET
from medalpaca_evalharness.endpoint import parse_source

from .audit import hide_error_texts
from .server import DEFAULT_PORT, LOOPBACK, PageOptions, check_port, serve

# Path of the page at a reverse proxy. A name cannot begin with a point, so that `..` is none.
ROOT_PATH = re.compile(r"(?:/[A-Za-z0-9_-][A-Za-z0-9._-]*)+")
EXAMPLES = """\
Without arguments: the models and the exam of the quickstart. If they do not exist, quickstart runs first.

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


def entry() -> NoReturn:
    """Run the console script."""
    run(main)


def main(arguments: Sequence[str]) -> int:
    """Parse the arguments, run the command, and return 0. Raises UserError for bad input."""
    options = _parse(arguments)
    options.run(options)
    return 0


def _parse(arguments: Sequence[str]) -> Namespace:
    options = parser().parse_args(list(arguments))
    if options.command and arguments[0] != options.command:
        # The page's options would have no effect on this command.
        raise UserError(
            f"demo: {options.command} must be the first argument, but {arguments[0]} comes before it "
            f"(see `demo {options.command} --help`)"
        )
    return options


def parser() -> Command:
    """Return the argument parser of `demo`."""
    main = Command(
        "demo",
        "Open a page in the browser that compares a base model with its fine-tuned model on exam questions. It shows "
        "which option each model chooses and what it writes. Only this machine can open the page unless --host is set.",
        epilog=EXAMPLES,
        usage="demo [options] | demo password NAME | demo audit verify LOG",
    )
    main.add_common("medalpaca-demo")
    _add_page(main)
    commands = main.add_subparsers(prog="demo", title="commands", dest="command", metavar="COMMAND")
    _add_password(commands)
    _add_audit(commands)
    return main


# The page.


def _add_page(main: Command) -> None:
    add = main.add_argument_group("models").add_argument
    source = CompletedArgument(read=parse_source)
    add(
        "--base",
        type=source,
        metavar="DIR",
        help="directory of the base model, or URL#MODEL of an OpenAI-compatible server",
    )
    add(
        "--adapter",
        type=source,
        metavar="DIR",
        help="directory of a LoRA adapter trained on the model of --base, or of a fine-tuned model, or URL#MODEL as "
        "for --base",
    )
    add(
        "--trusted-host",
        action="append",
        default=[],
        metavar="HOST",
        help="allow a URL on this other machine, to which every question is sent; may be repeated",
    )
    add("--api-key-env", metavar="NAME", help="environment variable that contains the API key of the URLs")

    add = main.add_argument_group("exam").add_argument
    add(
        "--exam",
        type=CompletedArgument(lambda: BUNDLED),
        metavar="EXAM",
        help="exam file or directory, or the name of a bundled exam "
        f"(default: with --base the environment variable MEDALPACA_EXAM, without it {POCKET})",
    )
    add(
        "--scoring",
        choices=("letter", "text"),
        help="compare the probabilities of the options' letters or of their texts; use the same as in the "
        f"evaluation (default: letter; for the exam {POCKET}: text)",
    )
    add(
        "--results",
        nargs=2,
        type=Path,
        metavar=("BASE", "TUNED"),
        help="directories of the lm_eval results of both models on this exam, made with --log_samples; Browse and "
        "Leaderboard need them (default: with the models and exam of the quickstart, its results)",
    )

    add = main.add_argument_group("access", "Default: only this machine can open the page.").add_argument
    add("--port", type=int, default=DEFAULT_PORT, metavar="N", help="port of the page (default: %(default)s)")
    add(
        "--host",
        default=LOOPBACK,
        metavar="ADDRESS",
        help="network address of this machine for access from other machines; needs --auth-file, and a certificate "
        "or --behind-proxy (default: %(default)s)",
    )
    add(
        "--auth-file",
        type=Path,
        metavar="FILE",
        help="require a log-in; the file has the lines that `demo password` prints",
    )
    add("--ssl-certfile", type=Path, metavar="FILE", help="serve the page over TLS with this PEM certificate")
    add("--ssl-keyfile", type=Path, metavar="FILE", help="private key of the certificate")
    add(
        "--behind-proxy",
        metavar="ADDRESS",
        help="IP address from which a reverse proxy connects; the proxy serves TLS and sets X-Forwarded-For and "
        "X-Forwarded-Proto",
    )
    add(
        "--root-path",
        default="",
        metavar="PATH",
        help="path of the page at the reverse proxy, such as /medalpaca; needs --behind-proxy (default: /)",
    )
    add = main.add_argument_group("log").add_argument
    add(
        "--audit",
        type=Path,
        metavar="FILE",
        help="append to this audit log: time, user, the option that each model chose, and hashes of prompts and "
        "answers; no text is stored",
    )
    main.set_defaults(run=lambda options: open_page(check_options(options)))


def check_options(options: Namespace) -> PageOptions:
    """Return the options of the page, with defaults filled in.

    Port, addresses and combinations of options are checked, but not whether files exist. Raises UserError for the first
    invalid option.
    """
    if not 1 <= options.port <= 65535:
        raise UserError(f"demo: --port {options.port} is not allowed; use a number from 1 to 65535")
    if (options.base is None) != (options.adapter is None):
        missing = "--adapter" if options.adapter is None else "--base"
        raise UserError(
            f"demo: {missing} is missing; pass --base and --adapter, or neither for the quickstart"
        )
    public = options.host not in (LOOPBACK, "localhost")
    tls = _tls(options.ssl_certfile, options.ssl_keyfile)
    if (public or options.behind_proxy) and options.auth_file is None:
        option = f"--host {options.host}" if public else f"--behind-proxy {options.behind_proxy}"
        raise UserError(
            f"demo: {option} lets other machines open the page; require a log-in with --auth-file"
        )
    if public and not (tls or options.behind_proxy):
        raise UserError(
            f"demo: --host {options.host} would send passwords unencrypted; pass --ssl-certfile and --ssl-keyfile, "
            "or --behind-proxy ADDRESS if a reverse proxy serves TLS"
        )
    if options.behind_proxy and not _is_address(options.behind_proxy):
        raise UserError(
            f"demo: --behind-proxy {options.behind_proxy} is no IP address; "
            "pass the address from which the proxy connects"
        )
    root_path = options.root_path.rstrip("/")
    if root_path and not ROOT_PATH.fullmatch(root_path):
        raise UserError(
            f"demo: --root-path {options.root_path} is no path; pass names of letters, digits, '.', '_' and '-' after "
            "slashes, such as /medalpaca"
        )
    if root_path and not options.behind_proxy:
        raise UserError(
            f"demo: --root-path {options.root_path} is the path at a reverse proxy; "
            "pass --behind-proxy ADDRESS as well"
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
            raise UserError(
                f"demo: --exam is missing; pass an exam file or directory, or {POCKET}, or set MEDALPACA_EXAM"
            )
    return PageOptions(
        base=base,
        adapter=adapter,
        exam=exam,
        scoring=options.scoring or ("text" if exam == POCKET else "letter"),
        port=options.port,
        results=results,
        host=options.host,
        auth_file=options.auth_file,
        trusted=tuple(options.trusted_host),
        key_variable=options.api_key_env,
        audit=options.audit,
        tls=tls,
        proxy=options.behind_proxy,
        root_path=root_path,
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


def open_page(options: PageOptions) -> None:
    """Run the quickstart if its models are needed and missing, then serve the page until Ctrl-C."""
    if options.auth_file:
        from .access import load_auth_file

        # Checked before minutes of work; the server reads it again.
        load_auth_file(options.auth_file)
    ensure_quickstart(options)
    with hide_error_texts():
        serve(options)


def ensure_quickstart(options: PageOptions) -> None:
    """Run the quickstart with seed 1 if the page shows its models and they do not exist yet."""
    made = quickstart()
    if options.base != made.base or (made.base.is_dir() and made.run.is_dir()):
        return
    from .quickstart import QuickstartRun

    check_port(options.host, options.port)
    print_text(f"No models in {made.base.parent} yet: quickstart runs first and takes some minutes.")
    QuickstartRun(1, made, screen()).run()


# `demo password`.


def _add_password(commands: Commands[Command]) -> None:
    password = add_command(
        commands,
        "password",
        "ask for a password and print a line for --auth-file, with a hash in place of the password",
        ("demo password ada >> users",),
    )
    password.add_argument(
        "name", metavar="NAME", help="user name for the log-in, without colon, white space and # at its start"
    )
    password.set_defaults(run=_run_password)


def _run_password(options: Namespace) -> None:
    from .access import make_auth_line

    print_text(make_auth_line(options.name))


# `demo audit verify`.


def _add_audit(commands: Commands[Command]) -> None:
    audit = add_command(commands, "audit", "check an audit log", ("demo audit verify log",))
    steps = audit.add_subparsers(dest="step", metavar="STEP", required=True)
    verify = add_command(
        steps,
        "verify",
        "check whether an audit log was changed after it was written",
        (
            "demo audit verify log",
            "demo audit verify log --head 5f0c...    compare with a head noted earlier",
            "demo audit verify log --json",
        ),
        "Exit code 1 if it was changed.",
    )
    verify.add_argument(
        "log", type=Path, metavar="LOG", help="audit log written by `demo --audit` or `train chat --audit`"
    )
    verify.add_argument(
        "--head",
        metavar="HASH",
        help="head (SHA-256 of the last entry) that was noted earlier and kept elsewhere; detects a change or removal "
        "of this entry or of any before it. `demo --audit`, `train chat --audit` and this command print the head at "
        "their end",
    )
    verify.add_json()
    verify.set_defaults(run=_run_audit_verify)


def _run_audit_verify(options: Namespace) -> None:
    from .audit import check_log, format_head

    try:
        verified = check_log(options.log, options.head)
    except CheckFailed as error:
        if options.json:
            print_json({"log": str(options.log), "unchanged": False, "problem": one_line(error)})
        raise
    if options.json:
        print_json({"log": str(options.log), "unchanged": True, **asdict(verified)})
        return
    for note in verified.notes:
        print_text(f"note: {note}")
    print_text(f"unchanged. {format_head(options.log, verified.head)}")
