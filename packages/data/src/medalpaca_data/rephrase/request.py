"""A request in its canonical form: the same bytes are hashed and sent, so that its key says exactly what was asked."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from ..ground.files import sha256_bytes
from .prompt import Prompt, Texts
from .settings import Rephrase

WARMER = 0.3  # added to the temperature at each further try: at 0, another seed alone changes nothing
WARMEST = 1.0


@dataclass(frozen=True, slots=True)
class Request:
    """What is sent (UTF-8 JSON), and its name in the store."""

    key: str  # SHA-256 of the body
    body: bytes

    def plain(self) -> bytes:
        """The same without a schema, for a server that knows none. Its answer counts as the request's own."""
        value = json.loads(self.body)
        value.pop("response_format", None)
        return _canonical(value)


def parameters(settings: Rephrase, n: int, seed: int) -> dict[str, Any]:
    """Of try `n` (from 0), besides model and messages: its own seed, and warmer than the one before."""
    warm = max(settings.temperature, min(WARMEST, settings.temperature + WARMER * n))
    given = {
        "temperature": round(warm, 3),
        "max_tokens": settings.max_tokens,
        "seed": seed + n,
        **settings.parameters,
    }
    return {key: value for key, value in given.items() if value is not None}


def make_request(settings: Rephrase, prompt: Prompt, texts: Texts, n: int, seed: int) -> Request:
    """Try `n` of a row."""
    asked = {"model": settings.model, "messages": prompt.messages(texts), **parameters(settings, n, seed)}
    if "response_format" not in settings.parameters:
        asked["response_format"] = prompt.response_format()
    body = _canonical(asked)
    return Request(sha256_bytes(body), body)


def _canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()
