"""Chat with a finished run in the terminal (`train chat RUN`); each question is answered without the earlier ones."""

from __future__ import annotations

import getpass
import secrets
from pathlib import Path
from typing import Any

from rich.console import Console

from medalpaca_data.core.audit_log import AuditLog
from medalpaca_data.core.files import sha256_bytes
from medalpaca_data.core.prompt import PROMPT_ID, render
from medalpaca_data.core.weights import weights_sha256

from .finished_run import load_run
from .progress import echo

MAX_NEW_TOKENS = 512
NOTICE = "Not for clinical use. Type a question; an empty line or Ctrl-D ends the chat."


def chat(run: Path, console: Console, audit: Path | None = None) -> None:
    """Answer questions from the terminal or a pipe with greedy decoding, until an empty line or the end of the input.

    With `audit`, user name, time and the SHA-256 of each prompt and answer are appended to that audit log. Raises
    UserError if `run` is not finished, its base is missing or has changed, or the log cannot be continued.
    """
    model, tokenizer = load_run(run)
    log = AuditLog(audit, lambda message: echo(console, f"note: {message}")) if audit else None
    session = {"session": secrets.token_hex(8)}
    if log:
        log.append("started", **session, run=weights_sha256(run), prompt=PROMPT_ID)
    echo(console, NOTICE)
    while question := _read_question(console):
        if log:
            prompt_sha256 = sha256_bytes(render(question).encode("utf-8", "surrogatepass"))
            log.append("asked", **session, user=getpass.getuser(), prompt_sha256=prompt_sha256)
        text = generate_answer(model, tokenizer, question, console)
        if log:
            answer_sha256 = sha256_bytes(text.encode("utf-8", "surrogatepass"))
            log.append("answered", **session, answers={"tuned": {"sha256": answer_sha256}})
    if log:
        head = log.append("ended", **session)
        echo(
            console,
            f"audit log: {head.count:,} entries, last hash {head.sha256}; keep a copy of this hash elsewhere",
        )


def generate_answer(model: Any, tokenizer: Any, question: str, console: Console) -> str:
    """Return the answer to `question`, of at most `MAX_NEW_TOKENS` tokens, and print it while it is generated."""
    import torch
    from transformers import TextStreamer

    class ConsoleStreamer(TextStreamer):
        """Streamer that prints generated text word by word on the console, and collects it in `parts`."""

        def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
            parts.append(text)
            console.out(text, end="\n" if stream_end else "", highlight=False)

    parts: list[str] = []
    ids = tokenizer(render(question), return_tensors="pt")["input_ids"]
    # Some tokenizers add EOS to every text.
    if ids[0, -1] == tokenizer.eos_token_id:
        ids = ids[:, :-1]
    ids = ids.to(model.device)
    with torch.inference_mode():
        model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=MAX_NEW_TOKENS,
            do_sample=False,
            pad_token_id=tokenizer.eos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            streamer=ConsoleStreamer(tokenizer, skip_prompt=True, skip_special_tokens=True),
        )
    return "".join(parts).strip()


def _read_question(console: Console) -> str:
    try:
        return console.input("\n> " if console.is_terminal else "").strip()
    except EOFError:
        return ""
