"""A small OpenAI-compatible completions server with real models, for tests. The model's name selects a fault.

    python endpoint_server.py BASE TUNED

Prints its port. `base` and `tuned` answer as vLLM does; `tuned+FAULT` answers with one of FAULTS.
`GET /counts` returns the number of written tokens and of streams closed by the client.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

FAULTS = (
    "plain",  # reports no probabilities
    "llama.cpp",  # reports the top tokens in another layout, and has no echo
    "few",  # reports only the most likely next token
    "strict",  # rejects unknown fields: stream_options, echo
    "500",
    "half",  # fails only if probabilities are requested
    "drops",  # closes the connection after five tokens
    "garbage",  # sends something else after five tokens
    "hangs",  # sends nothing after five tokens
    "endless",  # ignores max_tokens
    "slow",
    "long",  # rejects the question as too long
    "redirect",
)


class Endpoint(ThreadingHTTPServer):
    """Server of `models` (by name) with a common tokenizer."""

    daemon_threads = True

    def __init__(self, models: dict[str, Any], tokenizer: Any) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.models, self.tokenizer = models, tokenizer
        self.written = self.left = 0
        self.key = ""
        self.asked: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.lock = threading.Lock()  # one model, many threads

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"

    def logs(self, model: str, ids: list[int]) -> Any:
        import torch

        with self.lock, torch.inference_mode():
            return torch.log_softmax(self.models[model](torch.tensor([ids])).logits[0].float(), dim=-1)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore errors: the tests close connections on purpose."""


class Handler(BaseHTTPRequestHandler):
    server: Endpoint

    def log_message(self, *args: Any) -> None:
        """Log nothing."""

    def do_GET(self) -> None:
        if self.path == "/counts":
            self.answer(200, {"written": self.server.written, "left": self.server.left})
        elif self.refused():
            return
        else:
            names = [*self.server.models, *(f"tuned+{fault}" for fault in FAULTS)]
            self.answer(200, {"object": "list", "data": [{"id": name, "object": "model"} for name in names]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append(body)
        if self.refused():
            return
        name, _, fault = body["model"].partition("+")
        fault = fault or next((f for f in ("500", "drops") if f"fault {f}" in body["prompt"]), "")
        if name not in self.server.models or self.path != "/v1/completions":
            return self.answer(404, {"error": {"message": f"no {name}"}})
        if fault == "500" or (fault == "half" and body.get("logprobs")):
            return self.answer(500, {"error": {"message": f"cannot answer {body['prompt']}"}})
        if fault == "long":
            return self.answer(
                400, {"error": {"message": "This model's maximum context length is 8 tokens."}}
            )
        if fault == "strict" and {"stream_options", "echo", "cache_prompt"} & body.keys():
            return self.answer(400, {"error": {"message": "unknown field"}})
        if fault == "redirect":
            self.send_response(307)
            self.send_header("Location", "http://192.0.2.1/v1/completions")
            self.end_headers()
            return None
        ids = self.server.tokenizer.encode(body["prompt"])
        if body.get("stream"):
            return self.stream(name, fault, ids, body)
        return self.whole(name, fault, ids, body)

    def refused(self) -> bool:
        self.server.keys.append(self.headers.get("Authorization"))
        if self.server.key and self.headers.get("Authorization") != f"Bearer {self.server.key}":
            self.answer(401, {"error": {"message": "Unauthorized"}})
            return True
        return False

    def answer(self, status: int, body: Any) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def whole(self, name: str, fault: str, ids: list[int], body: dict[str, Any]) -> None:
        """Answer with one token and its log-probabilities, with echo also those of the prompt."""
        logs = self.server.logs(name, ids)
        chosen = int(logs[-1].argmax())
        decode, top, echo = self.server.tokenizer.decode, body.get("logprobs"), body.get("echo")
        likeliest = logs[-1].topk(1 if fault == "few" else top or 1)
        pairs = [
            (decode([token]), value)
            for token, value in zip(likeliest.indices.tolist(), likeliest.values.tolist(), strict=True)
        ]
        choice: dict[str, Any] = {"index": 0, "text": decode([chosen]), "finish_reason": "length"}
        choice["logprobs"] = None
        if top and fault == "llama.cpp":
            rows = [{"token": text, "logprob": value} for text, value in pairs]
            choice["logprobs"] = {"content": [{**rows[0], "top_logprobs": rows}]}
        elif top and fault == "few":
            choice["logprobs"] = {"top_logprobs": [dict(pairs)]}
        elif top and echo:
            values = [None, *(float(logs[n - 1, ids[n]]) for n in range(1, len(ids))), pairs[0][1]]
            choice["text"] = body["prompt"] + choice["text"]
            choice["logprobs"] = {"token_logprobs": values, "tokens": [decode([t]) for t in [*ids, chosen]]}
        elif top and fault != "plain":
            choice["logprobs"] = {"token_logprobs": [pairs[0][1]], "top_logprobs": [dict(pairs)]}
        if fault == "plain":
            choice["logprobs"] = None
        self.answer(200, {"choices": [choice], "usage": {"prompt_tokens": len(ids), "completion_tokens": 1}})

    def stream(self, name: str, fault: str, ids: list[int], body: dict[str, Any]) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        tokenizer, written, shown, finish = self.server.tokenizer, [], "", "length"
        limit = 2000 if fault == "endless" else body["max_tokens"]
        try:
            self.send(": a comment\n\n")
            for _ in range(limit):
                if len(written) == 5:
                    if fault == "drops":
                        return
                    if fault == "garbage":
                        self.send("data: <html>no</html>\n\n")
                    if fault == "hangs":
                        time.sleep(60)
                if fault == "slow":
                    time.sleep(0.05)
                token = int(self.server.logs(name, [*ids, *written][-400:])[-1].argmax())
                self.server.written += 1
                if token == tokenizer.eos_token_id and fault != "endless":
                    finish = "stop"
                    break
                written.append(token)
                text = tokenizer.decode(written, skip_special_tokens=True).rstrip("\N{REPLACEMENT CHARACTER}")
                if not text.startswith(shown):
                    continue
                self.event({"choices": [{"index": 0, "text": text[len(shown) :], "finish_reason": None}]})
                shown = text
            whole = tokenizer.decode(written, skip_special_tokens=True)
            self.event({"choices": [{"index": 0, "text": whole[len(shown) :], "finish_reason": finish}]})
            if body.get("stream_options"):
                usage = {"prompt_tokens": len(ids), "completion_tokens": len(written)}
                self.event({"choices": [], "usage": usage})
            self.send("data: [DONE]\n\n")
        except OSError:
            self.server.left += 1

    def event(self, body: Any) -> None:
        self.send(f"data: {json.dumps(body)}\n\n")

    def send(self, text: str) -> None:
        self.wfile.write(text.encode())
        self.wfile.flush()


def main() -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.set_num_threads(1)
    base, tuned = sys.argv[1:]
    models = {
        "base": AutoModelForCausalLM.from_pretrained(base).eval(),
        "tuned": PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), tuned).eval(),
    }
    server = Endpoint(models, AutoTokenizer.from_pretrained(base))
    print(server.server_port, flush=True)  # noqa: T201
    server.serve_forever()


if __name__ == "__main__":
    main()
