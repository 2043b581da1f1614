"""A completions server with a scripted language model, for tests. Honest, or dishonest in one of the ways `FAULTS`.

Tokens are characters. The log-probability of a token depends on all tokens before it, by a hash.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

FAULTS = (
    "no_logprobs",  # ignores `logprobs` and `echo`
    "no_echo",  # ignores `echo`, as llama.cpp does
    "rejects_echo",  # HTTP 400
    "zeros",  # every log-probability is 0.0
    "constant",  # every log-probability is -1.5
    "none",  # every log-probability is null
    "minus_inf",
    "positive",
    "random",  # others at each request
    "canned",  # those of the first text, for all texts
    "no_context",  # do not depend on the text before
    "shifted",  # belong to the token before
    "bos",  # a start token is in the list but not in the number of tokens
    "short",  # without the generated token
    "not_repeated",  # `text` lacks the input
)


def tokenize(text: str) -> list[str]:
    return list(text)


def logprob(before: list[str], token: str) -> float:
    digest = hashlib.sha256("\x00".join([*before, "", token]).encode()).digest()
    return -0.05 - int.from_bytes(digest[:4]) / 2**32 * 8


class ScriptedServer(ThreadingHTTPServer):
    """Server at `url` with the models of `faults` by name; "" is honest. `asked` has the bodies of all requests."""

    daemon_threads = True

    def __init__(self, faults: dict[str, str], *, limit: int = 10_000, delay: float = 0.0) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.faults, self.limit, self.delay = faults, limit, delay
        self.asked: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.busy = self.most = self.calls = 0
        self.lock = threading.Lock()
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.server_port}"

    @property
    def url(self) -> str:
        return f"http://{self.host}/v1"

    def __exit__(self, *error: Any) -> None:
        self.shutdown()
        super().__exit__(*error)


class Handler(BaseHTTPRequestHandler):
    server: ScriptedServer

    def log_message(self, *args: Any) -> None:
        """Log nothing."""

    def do_GET(self) -> None:
        if self.path == "/v1/models":
            return self.send_json(200, {"data": [{"id": name} for name in self.server.faults]})
        return self.send_json(404, {})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.lock:
            self.server.asked.append(body)
            self.server.keys.append(self.headers.get("Authorization"))
            self.server.busy += 1
            self.server.most = max(self.server.most, self.server.busy)
        time.sleep(self.server.delay)
        try:
            self.send_json(*self.chat(body) if "messages" in body else self.complete(body))
        finally:
            with self.server.lock:
                self.server.busy -= 1

    def send_json(self, status: int, body: Any) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def chat(self, body: dict[str, Any]) -> tuple[int, Any]:
        tokens = tokenize(body["messages"][-1]["content"])
        if len(tokens) > self.server.limit:
            return 400, {"error": {"message": "maximum context length"}}
        choice = {"index": 0, "message": {"content": "Answer: A"}, "finish_reason": "stop"}
        return 200, {"choices": [choice], "usage": {"prompt_tokens": len(tokens), "completion_tokens": 2}}

    def complete(self, body: dict[str, Any]) -> tuple[int, Any]:
        fault, prompt = self.server.faults[body["model"]], body["prompt"]
        tokens = tokenize(prompt)
        if len(tokens) > self.server.limit:
            return 400, {"error": {"message": "maximum context length"}}
        next_token = "C" if body["max_tokens"] == 1 else "Answer: B"
        usage = {"prompt_tokens": len(tokens), "completion_tokens": 1}
        finish = "length" if body["max_tokens"] == 1 else "stop"
        choice: dict[str, Any] = {"index": 0, "text": next_token, "finish_reason": finish, "logprobs": None}
        if body.get("echo") and fault == "rejects_echo":
            return 400, {"error": {"message": "unknown field echo"}}
        if body.get("logprobs") and fault != "no_logprobs":
            values: list[Any] = [logprob(tokens, next_token)]
            if body.get("echo") and fault != "no_echo":
                values = self.echo_values(fault, [*tokens, next_token])
                choice["text"] = next_token if fault == "not_repeated" else prompt + next_token
            choice["logprobs"] = {"token_logprobs": values, "top_logprobs": [{"x": -9.0}] * len(values)}
        return 200, {"choices": [choice], "usage": usage}

    def echo_values(self, fault: str, tokens: list[str]) -> list[Any]:
        values: list[Any] = [None, *(logprob(tokens[:n], tokens[n]) for n in range(1, len(tokens)))]
        with self.server.lock:
            self.server.calls += 1
            call = self.server.calls
        fixed = {"zeros": 0.0, "constant": -1.5, "none": None, "minus_inf": float("-inf"), "positive": 0.7}
        if fault in fixed:
            return [None, *[fixed[fault]] * (len(tokens) - 1)]
        if fault == "random":
            return [None, *(logprob([str(call)], token) for token in tokens[1:])]
        if fault == "canned":
            return [None, *(-0.1 * n for n in range(1, len(tokens)))][: len(tokens)]
        if fault == "no_context":
            return [None, *(logprob([], token) for token in tokens[1:])]
        if fault == "shifted":
            return [None, -1.0, *values[1:-2], values[-1]]
        if fault == "bos":
            return [None, -3.0, *values[1:]]
        return values[:-1] if fault == "short" else values
