"""The page: tabs, links to tabs and questions, server settings.

`build_app` returns the page together with its launch settings, because both contain privacy settings. There is no
global state: two pages for two exams can run in one process.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware

from medalpaca_data.core.errors import UserError
from medalpaca_data.exams.exam import Exam

from .access import LOGIN_RULE, Lockout, LoginMiddleware
from .context import Context, Sessions
from .engine import Engine
from .html import EVENT_OPTIONS, banner, footer, header, html, key_help, read_static
from .job import Scoring
from .models import Pair
from .results import Results
from .routes import LOCAL_HOSTS, SecurityHeaders
from .tabs import about, browse, compare, exam, leaderboard, own, vote

MAX_NEW_TOKENS = 160
# Compresses the page to about a sixth; streams are not compressed.
GZIP = Middleware(GZipMiddleware, minimum_size=2000)
FASTAPI_OPTIONS = {"docs_url": None, "redoc_url": None, "openapi_url": None}
# Name of a tab's module, which is also its id in links, and its label.
TABS = {
    "compare": "Compare",
    "browse": "Browse",
    "exam": "Exam",
    "leaderboard": "Leaderboard",
    "vote": "Blind vote",
    "own": "Own question",
    "about": "About",
}


def build_app(
    engine: Engine,
    pair: Pair,
    exam_: Exam,
    scoring: Scoring,
    *,
    results: Results | None = None,
    max_new_tokens: int = MAX_NEW_TOKENS,
    audit_notice: str = "",
    log_out: bool = False,
) -> tuple[gr.Blocks, dict[str, Any]]:
    """Return the page and the arguments for its `launch`. Raises UserError if GRADIO_VIBE_MODE is set.

    Without `results`, Browse and Leaderboard show only a notice. `audit_notice` describes what an audit log keeps;
    empty without a log. `log_out` adds a button that ends the sessions of the user.
    """
    if os.environ.get("GRADIO_VIBE_MODE"):
        raise UserError("GRADIO_VIBE_MODE is set: it lets every visitor run code on this machine; unset it")
    context = Context(
        engine, pair, exam_, scoring, results or Results(), Sessions(engine), max_new_tokens, audit_notice
    )
    with gr.Blocks(title="Base vs fine-tuned", analytics_enabled=False, fill_width=True) as page:
        html(header(pair.name, exam_.name, len(context.items)))
        state = html(_banner(engine), "mp-banner")
        with gr.Tabs(selected="compare") as tabs:
            with _tab("compare"):
                compare_tab = compare.build(context)
            with _tab("browse"):
                browse_tab = browse.build(context, compare_tab, tabs)
            with _tab("exam"):
                exam.build(context, compare_tab, tabs)
            with _tab("leaderboard"):
                leaderboard.build(context, browse_tab, tabs)
            with _tab("vote"):
                vote.build(context)
            with _tab("own"):
                own.build(context)
            with _tab("about"):
                about.build(context)
        html(key_help() + footer(pair.outside_hosts, audit_notice, log_out=log_out))
        page.load(_open_link(context, compare_tab), None, [tabs, *compare_tab.outputs], **EVENT_OPTIONS)
        page.load(partial(_watch_banner, engine), None, state, concurrency_limit=None, **EVENT_OPTIONS)
    page.queue(max_size=32, api_open=False)
    return page, launch_settings()


def _tab(name: str) -> gr.Tab:
    return gr.Tab(TABS[name], id=name)


def _open_link(context: Context, compare_tab: compare.CompareTab) -> Callable[[gr.Request], tuple[Any, ...]]:
    """Return the handler of a link's parameters `tab` and `q` (question id). Unknown values are ignored."""
    indexes = {item.id: index for index, item in enumerate(context.items)}

    def open_link(visitor: gr.Request) -> tuple[Any, ...]:
        parameters = visitor.query_params
        tab = gr.Tabs(selected=parameters["tab"]) if parameters.get("tab") in TABS else gr.skip()
        index = indexes.get(parameters.get("q", ""))
        if index is None:
            return tab, *(gr.skip() for _ in compare_tab.outputs)
        return tab, *compare_tab.open(index, range(len(context.items)), "", visitor)

    return open_link


def _banner(engine: Engine) -> str:
    state = engine.state
    return banner(state.name, state.error, state.seconds)


def _watch_banner(engine: Engine) -> Iterator[str]:
    """Update the banner every second until the models are loaded or have failed."""
    while engine.state.name == "loading":
        yield _banner(engine)
        time.sleep(1)
    yield _banner(engine)


def launch_settings() -> dict[str, Any]:
    """Return Gradio's settings for a page for this machine only, without records and sharing.

    Each setting that concerns privacy is set, even where Gradio's default is the same.
    """
    return {
        "server_name": "127.0.0.1",
        "share": False,
        "run_history": False,
        "enable_monitoring": False,
        "mcp_server": False,
        "pwa": False,
        "ssr_mode": False,
        "footer_links": [],
        "show_error": True,
        "strict_cors": True,
        "max_threads": 100,
        "max_file_size": "1mb",
        "quiet": True,
        "theme": _theme(),
        "css": read_static("style.css"),
        "head": f"<script>{_key_script()}</script>",
        "app_kwargs": {**FASTAPI_OPTIONS, "middleware": [Middleware(SecurityHeaders), GZIP]},
    }


def _key_script() -> str:
    """Return `keys.js` with the ids of the tabs by label."""
    ids = {label: name for name, label in TABS.items()}
    return read_static("keys.js").replace("{/* TABS */}", json.dumps(ids))


def access_settings(
    host: str,
    check: Callable[[str, str], bool] | None,
    *,
    tls: tuple[Path, Path] | None = None,
    proxy: bool = False,
    root_path: str = "",
    clock: Callable[[], float] = time.monotonic,
) -> dict[str, Any]:
    """Return the settings for access from other machines: address, accepted host names, log-in and TLS.

    `check` verifies a name and a password; None means no log-in. `tls` is a certificate and its key. `proxy` is true if
    a reverse proxy ends TLS; it has a host name of its own, so every host name is accepted. `root_path` is the path of
    the page at that proxy, empty for "/". `clock` returns seconds for the waiting times and the ends of sessions.
    """
    any_host = proxy or host in ("0.0.0.0", "::")  # noqa: S104
    hosts = None if any_host else frozenset({host, *LOCAL_HOSTS})
    middleware = [
        Middleware(SecurityHeaders, hosts=hosts, root_path=root_path),
        Middleware(LoginMiddleware, encrypted=bool(tls) or proxy, clock=clock),
        GZIP,
    ]
    settings: dict[str, Any] = {
        "server_name": host,
        "app_kwargs": {**FASTAPI_OPTIONS, "middleware": middleware},
    }
    if root_path:
        settings["root_path"] = root_path
    if check is not None:
        settings |= {"auth": Lockout(clock).guard(check), "auth_message": LOGIN_RULE}
    if tls is not None:
        # Gradio calls its own server once at the start, by an address that the certificate does not name.
        settings |= {"ssl_certfile": str(tls[0]), "ssl_keyfile": str(tls[1]), "ssl_verify": False}
    return settings


def _theme() -> gr.themes.Base:
    return gr.themes.Base(
        primary_hue="teal",
        neutral_hue="slate",
        font=["system-ui", "sans-serif"],
        font_mono=["ui-monospace", "monospace"],
    ).set(
        # A darker teal than the theme's, for enough contrast with the white label.
        button_primary_background_fill="*primary_700",
        button_primary_background_fill_dark="*primary_700",
        button_primary_background_fill_hover="*primary_800",
        button_primary_background_fill_hover_dark="*primary_800",
        button_primary_text_color="white",
        button_primary_text_color_dark="white",
    )
