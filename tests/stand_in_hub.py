"""What `data fetch` downloads in documentation: small files under the true names, from a server on this machine."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

CLASSES = {"yes": "It is.", "no": "It is not.", "maybe": "Nobody knows."}
ABSTRACTS = {
    str(100 + n): {
        "QUESTION": f"Is remedy {n} better than rest?",
        "CONTEXTS": [f"Remedy {n} and rest were compared in {40 + n} adults."],
        "LONG_ANSWER": text,
        "final_decision": decision,
    }
    for n, (decision, text) in enumerate(list(CLASSES.items()) * 4)
}


def contents(file: str) -> bytes:
    """Of a file by its name; in its true layout where a page builds from it."""
    template = Path(json.loads(os.environ["DOCUMENTS"])["template"])
    match Path(file).name:
        case "ori_pqal.json":
            return json.dumps(ABSTRACTS).encode()
        case "medical_meadow_small.json":
            row = {"instruction": "Answer this question truthfully"}
            rows = [
                row | {"input": f"What is illness {n}?", "output": f"It makes people tired for {n} weeks."}
                for n in range(9)
            ]
            return json.dumps(rows).encode()
        case "test_ground_truth.json":
            return json.dumps({"100": "yes"}).encode()
        case name if (template / name).is_file():
            return (template / name).read_bytes()
        case name:
            return f"{name}\n".encode()


def serve_downloads() -> None:
    """From now on `data fetch` in this process knows this server's files, by their hashes, and no others."""
    from medalpaca_data import fetch

    held = {f"/{n}": (known, contents(known.file)) for n, known in enumerate(fetch.downloads())}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            data = held[self.path][1]
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    wanted = [
        fetch.Download(
            known.kind,
            known.file,
            f"http://127.0.0.1:{server.server_port}{path}",
            len(data),
            hashlib.sha256(data).hexdigest(),
        )
        for path, (known, data) in held.items()
    ]
    fetch.downloads = lambda: wanted
