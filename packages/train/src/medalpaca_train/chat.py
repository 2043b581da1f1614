"""`train chat RUN`: ask a finished run in the terminal. Each question stands alone, as the rows did."""

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

from .load_run import load_run
from .progress import say

ANSWER = 512  # most tokens of an answer
NOTICE = "Not for clinical use. Ask; an empty line or Ctrl-D ends."


def chat(run: Path, console: Console, audit: Path | None = None) -> None:
    """Read questions from the terminal, or a pipe, and answer them greedily until the input ends.

    With `audit`, a log of who asked when and of the hashes of what was asked and answered is kept there. Raises
    UserError when `run` is no finished run, or its base is gone, or the log cannot be continued.
    """
    model, tokenizer = load_run(run)
    log = AuditLog(audit, lambda said: say(console, f"note: {said}")) if audit else None
    session = {"session": secrets.token_hex(8)}
    if log:
        log.append("started", **session, run=weights_sha256(run), prompt=PROMPT_ID)
    say(console, NOTICE)
    while question := _ask(console):
        if log:
            asked = sha256_bytes(render(question).encode("utf-8", "surrogatepass"))
            log.append("asked", **session, user=getpass.getuser(), prompt_sha256=asked)
        text = answer(model, tokenizer, question, console)
        if log:
            given = sha256_bytes(text.encode("utf-8", "surrogatepass"))
            log.append("answered", **session, answers={"tuned": {"sha256": given}})
    if log:
        head = log.append("ended", **session)
        say(console, f"audit log: {head.count:,} entries, head {head.sha256}; note the head elsewhere")


def answer(model: Any, tokenizer: Any, question: str, console: Console) -> str:
    """Generate the answer to `question`, showing it as it comes; returns its text."""
    import torch
    from transformers import TextStreamer

    class Shown(TextStreamer):
        """Words on our console as they are complete."""

        def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
            parts.append(text)
            console.out(text, end="\n" if stream_end else "", highlight=False)

    parts: list[str] = []
    ids = tokenizer(render(question), return_tensors="pt")["input_ids"]
    if ids[0, -1] == tokenizer.eos_token_id:
        ids = ids[:, :-1]
    ids = ids.to(model.device)
    with torch.inference_mode():
        model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=ANSWER,
            do_sample=False,
            pad_token_id=tokenizer.eos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            streamer=Shown(tokenizer, skip_prompt=True, skip_special_tokens=True),
        )
    return "".join(parts).strip()


def _ask(console: Console) -> str:
    try:
        return console.input("\n> " if console.is_terminal else "").strip()
    except EOFError:
        return ""
