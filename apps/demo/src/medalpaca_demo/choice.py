"""What the command line of `demo` asks for; everything that can be wrong with it is said in one line."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from ipaddress import ip_address
from pathlib import Path
from typing import NamedTuple

from medalpaca_data.exams.exam import find_exam
from medalpaca_data.exams.item import POCKET
from medalpaca_data.ground.command import Parser
from medalpaca_data.ground.errors import UserError
from medalpaca_data.ground.places import quickstart

from .endpoint.address import Source, read_source
from .passes.request import Scoring

DEFAULT_PORT = 7860
LOOPBACK = "127.0.0.1"


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
        help="listen there instead of on this machine only; needs --auth-file, and TLS or a proxy that does it",
    )
    parser.add_argument(
        "--auth-file", type=Path, metavar="FILE", help="ask for a name and a password that are in this file"
    )
    parser.add_argument(
        "--ssl-certfile", type=Path, metavar="FILE", help="serve over TLS with this certificate"
    )
    parser.add_argument("--ssl-keyfile", type=Path, metavar="FILE", help="the certificate's key")
    parser.add_argument(
        "--behind-proxy",
        metavar="ADDRESS",
        help="a proxy ends TLS and connects from ADDRESS; it says X-Forwarded-For and X-Forwarded-Proto",
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
