"""The page: its tabs, its links, and how it is served.

`build_app` returns the page and its launch settings together, because half of the privacy settings belong to
one and half to the other. Nothing is global: two apps on two exams can run in one process.
"""

from __future__ import annotations

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

from .access import LOCAL_NAMES, RULE, Door, Lockout, Shield
from .context import Scene, Visits
from .engine import Engine
from .html import QUIET, banner, header, html, key_help, purpose, static
from .job import Scoring
from .models import Pair
from .results import Results
from .tabs import about, browse, compare, exam, leaderboard, own, vote

MAX_NEW_TOKENS = 160
# The page itself is most of what a first visit transfers, and packs to a sixth. Streams are left as they are.
PACKED = Middleware(GZipMiddleware, minimum_size=2000)
APP = {"docs_url": None, "redoc_url": None, "openapi_url": None}
TABS = ("compare", "browse", "exam", "leaderboard", "vote", "own", "about")


def build_app(
    engine: Engine,
    pair: Pair,
    exam_: Exam,
    scoring: Scoring,
    *,
    results: Results | None = None,
    max_new_tokens: int = MAX_NEW_TOKENS,
    recorded: str = "",
) -> tuple[gr.Blocks, dict[str, Any]]:
    """The page, and what to pass to its `launch`."""
    # Any value turns on a mode in which whoever reaches the page may edit files and run code.
    if os.environ.get("GRADIO_VIBE_MODE"):
        raise UserError("GRADIO_VIBE_MODE is set: it lets any visitor run code here; unset it")
    scene = Scene(
        engine, pair, exam_, scoring, results or Results(), Visits(engine), max_new_tokens, recorded
    )
    with gr.Blocks(title="Base vs fine-tuned", analytics_enabled=False, fill_width=True) as page:
        html(header(pair.name, exam_.name, len(scene.items)))
        state = html(_banner(engine), "mp-banner")
        with gr.Tabs(selected="compare") as tabs:
            with gr.Tab("Compare", id="compare"):
                comparing = compare.build(scene)
            with gr.Tab("Browse", id="browse"):
                browsing = browse.build(scene, comparing, tabs)
            with gr.Tab("Exam", id="exam"):
                exam.build(scene, comparing, tabs)
            with gr.Tab("Leaderboard", id="leaderboard"):
                leaderboard.build(scene, browsing, tabs)
            with gr.Tab("Blind vote", id="vote"):
                vote.build(scene)
            with gr.Tab("Own question", id="own"):
                own.build(scene)
            with gr.Tab("About", id="about"):
                about.build(scene)
        html(key_help() + purpose(pair.outside, recorded))
        page.load(_follow(scene, comparing), None, [tabs, *comparing.outputs], **QUIET)
        page.load(partial(_watch, engine), None, state, concurrency_limit=None, **QUIET)
    page.queue(max_size=32, api_open=False)
    return page, launch_settings()


def _follow(scene: Scene, comparing: compare.Compare) -> Callable[[gr.Request], tuple[Any, ...]]:
    """What a link opens: a tab and a question, both by id. What it names and is not there is ignored."""
    at = {item.id: index for index, item in enumerate(scene.items)}

    def follow(visitor: gr.Request) -> tuple[Any, ...]:
        named = visitor.query_params
        tab = gr.Tabs(selected=named["tab"]) if named.get("tab") in TABS else gr.skip()
        index = at.get(named.get("q", ""))
        if index is None:
            return tab, *(gr.skip() for _ in comparing.outputs)
        return tab, *comparing.open(index, range(len(scene.items)), "", visitor)

    return follow


def _banner(engine: Engine) -> str:
    state = engine.state
    return banner(state.name, state.error, state.seconds)


def _watch(engine: Engine) -> Iterator[str]:
    """The banner of a page that was opened while the models load, until they are loaded or cannot be."""
    while engine.state.name == "loading":
        yield _banner(engine)
        time.sleep(1)
    yield _banner(engine)


def launch_settings() -> dict[str, Any]:
    """Loopback only, nothing recorded, nothing shared; each said, so that no default can change it."""
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
        "css": static("style.css"),
        "head": f"<script>{static('keys.js')}</script>",
        "app_kwargs": {**APP, "middleware": [Middleware(Shield), PACKED]},
    }


def serving(
    host: str,
    check: Callable[[str, str], bool] | None,
    *,
    tls: tuple[Path, Path] | None = None,
    proxy: bool = False,
    lockout: Lockout | None = None,
) -> dict[str, Any]:
    """The settings that differ when others are let in: the address, the names it answers to, and the log-in.

    `tls` are a certificate and its key; `proxy` says that one stands in front, under a name of its own, and ends TLS.
    """
    anything = proxy or host in ("0.0.0.0", "::")  # noqa: S104
    named = None if anything else frozenset({host, *LOCAL_NAMES})
    doors = [Middleware(Shield, names=named), Middleware(Door, encrypted=bool(tls) or proxy), PACKED]
    settings: dict[str, Any] = {"server_name": host, "app_kwargs": {**APP, "middleware": doors}}
    if check is not None:
        settings |= {"auth": (lockout or Lockout()).guard(check), "auth_message": RULE}
    if tls is not None:
        # The server asks itself once whether it is up, by an address that no certificate names.
        settings |= {"ssl_certfile": str(tls[0]), "ssl_keyfile": str(tls[1]), "ssl_verify": False}
    return settings


def _theme() -> gr.themes.Base:
    return gr.themes.Base(
        primary_hue="teal",
        neutral_hue="slate",
        font=["system-ui", "sans-serif"],
        font_mono=["ui-monospace", "monospace"],
    ).set(
        # The theme's own teal fails the contrast of its white label.
        button_primary_background_fill="*primary_700",
        button_primary_background_fill_dark="*primary_700",
        button_primary_background_fill_hover="*primary_800",
        button_primary_background_fill_hover_dark="*primary_800",
        button_primary_text_color="white",
        button_primary_text_color_dark="white",
    )
