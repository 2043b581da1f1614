"""Start of the server: check files and models, load them, open the page.

This module imports gradio and transformers late, because they read the environment at their import.
"""

from __future__ import annotations

import errno
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NamedTuple

from medalpaca_data.core.cli import print_text
from medalpaca_data.core.errors import UserError
from medalpaca_data.core.offline import api_key
from medalpaca_evalharness.endpoint import Source, check_hosts, endpoints

from .job import Scoring

if TYPE_CHECKING:
    from gradio import Blocks

    from medalpaca_data.exams.exam import Exam

    from .engine import Engine
    from .models import Pair

DEFAULT_PORT = 7860
LOOPBACK = "127.0.0.1"


class PageOptions(NamedTuple):
    """Options of the page after the checks of `cli.check_options`; files are not checked yet.

    `trusted` are the hosts of --trusted-host, `key_variable` the name in --api-key-env, and `proxy` the address of
    --behind-proxy. Optional files, names and addresses that were not given are None. `root_path` is the path of the
    page at the proxy, such as "/medalpaca"; empty for "/".
    """

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
    root_path: str = ""


def serve(options: PageOptions) -> None:
    """Check the options' files and models, load them, and serve the page until Ctrl-C.

    The process is sealed: it can connect only to this machine and to trusted hosts. Proxies are removed from its
    environment. With results, the page opens even if the models do not fit. Raises UserError if a check fails.
    """
    from medalpaca_data.core.offline import seal
    from medalpaca_data.core.weights import Refused
    from medalpaca_data.exams.exam import load_exam

    from .access import check_tls, load_auth_file
    from .audit import AUDIT_NOTICE, format_head, make_recorder
    from .models import changed_rules, check_pair, failed_engine, start_engine, unchecked_pair

    # The web server trusts X-Forwarded-For and X-Forwarded-Proto from this address only.
    os.environ["FORWARDED_ALLOW_IPS"] = options.proxy or ""
    outside = check_hosts(endpoints(options.base, options.adapter), options.trusted)
    key = api_key(options.key_variable, "--api-key-env", "demo") if options.key_variable else None
    seal(outside)
    exam = load_exam(options.exam)
    check = load_auth_file(options.auth_file) if options.auth_file else None
    tls = check_tls(*options.tls) if options.tls else None
    recorder = (
        make_recorder(options.audit, lambda note: print_text(f"note: {note}")) if options.audit else None
    )
    try:
        pair = check_pair(options.base, options.adapter, options.trusted)
        changed = changed_rules(pair.adapter)
        start: Callable[[], Engine] = partial(start_engine, pair, key, recorder)
    except UserError as error:
        # With results, the page is useful without models. Unsafe files are refused in any case.
        if options.results is None or isinstance(error, Refused):
            raise
        pair, start = unchecked_pair(options.base, options.adapter), partial(failed_engine, error)
        changed = ()
        print_text(f"note: the models cannot answer: {error}")
    print_text(f"fine-tuned {pair.name}, base {pair.base.name}")
    for line in changed:
        print_text(f"note: {line}")
    if outside:
        print_text(f"note: every question is sent to {', '.join(outside)}")
    print_text(f"{exam.name}: {len(exam.items)} questions, scored by {options.scoring}")
    for warning in exam.warnings:
        print_text(f"note: {warning}")
    check_port(options.host, options.port)
    print_text("loading...")
    from .app import access_settings, build_app
    from .results import load_results

    if recorder:
        recorder.write("started", **_session_facts(pair, exam, options.scoring))
        print_text(f"audit log: {options.audit}")
    engine = start()
    results = load_results(*options.results, exam, options.scoring, pair) if options.results else None
    if results and results.error:
        print_text(f"note: results are not shown: {results.error}")
    try:
        with _private_temporary_files():
            page, settings = build_app(
                engine,
                pair,
                exam,
                options.scoring,
                results=results,
                audit_notice=AUDIT_NOTICE if recorder else "",
                log_out=check is not None,
            )
            settings |= access_settings(
                options.host, check, tls=tls, proxy=options.proxy is not None, root_path=options.root_path
            )
            _run_page(page, settings, engine, options.port, need_models=options.results is None)
    finally:
        if recorder and options.audit:
            head = recorder.write("ended")
            print_text(f"audit log {format_head(options.audit, head)}; keep a copy of this head elsewhere")


@contextmanager
def _private_temporary_files() -> Iterator[None]:
    """Give Gradio a temporary directory that only this user can read, and remove it at the end with its files."""
    before = os.environ.get("GRADIO_TEMP_DIR")
    with TemporaryDirectory(prefix="medalpaca-demo-") as folder:
        os.environ["GRADIO_TEMP_DIR"] = folder
        try:
            yield
        finally:
            if before is None:
                del os.environ["GRADIO_TEMP_DIR"]
            else:
                os.environ["GRADIO_TEMP_DIR"] = before


def _session_facts(pair: Pair, exam: Exam, scoring: Scoring) -> dict[str, object]:
    """Return the identity of models, exam, prompt and program, for the first entry of a session."""
    from medalpaca_data.exams.item import exam_prompt_id

    return {
        "base": str(pair.base) if pair.base_sha256 == "" else pair.base_sha256,
        "tuned": str(pair.adapter) if pair.adapter_sha256 == "" else pair.adapter_sha256,
        "exam_sha256": exam.sha256,
        "prompt": exam_prompt_id(scoring),
        "demo": version("medalpaca-demo"),
    }


def _run_page(
    page: Blocks, settings: dict[str, Any], engine: Engine, port: int, *, need_models: bool
) -> None:
    """Serve the page until Ctrl-C. With `need_models`, it also ends if the models cannot be loaded.

    Raises UserError if the port is in use, and the error of loading.
    """
    try:
        _, url, _ = page.launch(server_port=port, prevent_thread_lock=True, **settings)
    except OSError as error:
        engine.close()
        raise UserError(f"demo: port {port} is in use; choose another with --port ({error})") from None
    print_text(f"open {url} in a browser; Ctrl-C ends it")
    try:
        if need_models:
            engine.wait_until_loaded()
        wait_for_interrupt()
    finally:
        page.close()
        engine.close()


def check_port(host: str, port: int) -> None:
    """Raise UserError if the page could not be served at this address: the port is in use, or the address is wrong.

    Checked before models are trained or loaded, which takes minutes.
    """
    try:
        addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, kind, protocol, _, address in addresses:
            with socket.socket(family, kind, protocol) as tried:
                tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                tried.bind(address)
    except OSError as error:
        if error.errno in (errno.EADDRINUSE, errno.EACCES):
            reason = "is in use" if error.errno == errno.EADDRINUSE else "is not allowed for this user"
            raise UserError(f"demo: port {port} {reason}; choose another with --port") from None
        raise UserError(
            f"demo: --host {host} is no address of this machine ({error.strerror}); "
            f"pass one of its addresses, or leave it out for {LOOPBACK}"
        ) from None


def wait_for_interrupt() -> None:
    """Wait until Ctrl-C. Gradio's own wait would catch it, and the exit code would be lost."""
    threading.Event().wait()
