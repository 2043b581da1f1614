"""The About text: what is compared, named by hashes, and what is kept of it (nothing)."""

from __future__ import annotations

from html import escape
from importlib.metadata import version

from medalpaca_data.exam import Exam

from .load import Pair
from .request import Scoring

HOW = {
    "letter": "the letter whose log-likelihood as the first thing said is highest (lm-eval's acc)",
    "text": "the option whose text has the highest log-likelihood per character (lm-eval's acc_norm)",
}
PACKAGES = ("medalpaca-demo", "gradio", "torch", "transformers", "peft")


def about(pair: Pair, exam: Exam, scoring: Scoring, prompt_id: str, max_new_tokens: int) -> str:
    """A definition list."""
    facts = {
        "Base": f"{pair.base.name}, SHA-256 {pair.base_sha256 or 'not taken'}",
        "Fine-tuned": f"{pair.name}, SHA-256 {pair.adapter_sha256 or 'not taken'}",
        "Exam": f"{exam.name}, {len(exam.items)} questions scored"
        + (f", {len(exam.excluded)} excluded" if exam.excluded else "")
        + f", SHA-256 {exam.sha256}",
        "Prompt": f"{prompt_id}: the same text for both models, the one used in training and examination",
        "Choice": f"{HOW[scoring]}. The tick judges this choice, never the written answer",
        "Written answer": f"greedy decoding, at most {max_new_tokens} tokens, both models in one batch",
        "Limits": "small differences on few questions mean little; the exam's questions may have been in what the base "
        "learned from; a model can be right for no reason it could give",
        "Licence": "of the code: Apache-2.0. Models and exam keep their own, which their directories name",
        "Versions": ", ".join(f"{name} {version(name)}" for name in PACKAGES),
        "Stored": "nothing: no history, no log of questions or answers, no cookies",
        "Sent": "nothing: the page comes from this machine and talks to it alone",
        "Not for": "clinical use. These are exam questions, and a model that passes an exam is no physician",
    }
    rows = "".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}.</dd>" for name, text in facts.items())
    return f'<dl class="mp-about">{rows}</dl>'
