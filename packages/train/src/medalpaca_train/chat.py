"""`train chat RUN`: ask a finished run in the terminal. Each question stands alone, as the rows did."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console

from medalpaca_data.prompt import render

from .hardware import choose
from .model import load_tokenizer
from .screen import say
from .tuned import load_tuned, quantized_as, receipt_of

ANSWER = 512  # most tokens of an answer
NOTICE = "Not for clinical use. Ask; an empty line or Ctrl-D ends."


def chat(run: Path, console: Console) -> None:
    """Read questions from the terminal, or a pipe, and answer them greedily until the input ends.

    Raises UserError when `run` is no finished run, or its base is gone.
    """
    receipt = receipt_of(run)
    # Other arithmetic would quantise the base to other values than those it was trained with.
    hardware = choose(receipt["hardware"]["precision"] if quantized_as(receipt) else "auto")
    model, tokenizer = load_tuned(run, receipt, hardware).eval(), load_tokenizer(run)
    say(console, NOTICE)
    while question := _ask(console):
        answer(model, tokenizer, question, console)


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
