"""What the command line of `demo` asks for; everything that can be wrong with it is said in one line."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import NamedTuple

from medalpaca_data.exams.exam import find_exam
from medalpaca_data.exams.item import POCKET
from medalpaca_data.ground.errors import UserError
from medalpaca_data.ground.places import quickstart

from .commands import DEFAULT_PORT, LOOPBACK, parser
from .endpoint.address import Source
from .passes.request import Scoring


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
