"""About: what is compared, named by hashes; the limits; and what is kept (nothing).

The About text: what is compared, named by hashes, and what is kept of it (nothing).
"""

from __future__ import annotations

from html import escape
from importlib.metadata import version

from medalpaca_data.exams.exam import Exam
from medalpaca_data.exams.prompts import exam_prompt_id

from ..context import Scene
from ..endpoint import Address, Source, addresses
from ..html import html
from ..job import Scoring
from ..models import Pair

HOW = {
    "letter": "the letter whose log-likelihood as the first thing said is highest (lm-eval's acc)",
    "text": "the option whose text has the highest log-likelihood per character (lm-eval's acc_norm)",
}
PACKAGES = ("medalpaca-demo", "gradio", "torch", "transformers", "peft")


def about(
    pair: Pair, exam: Exam, scoring: Scoring, prompt_id: str, max_new_tokens: int, recorded: str = ""
) -> str:
    """A definition list. `recorded` says what an audit log keeps; empty where there is none."""
    facts = {
        "Base": _identity(pair.base, pair.base.name, pair.base_sha256),
        "Fine-tuned": _identity(pair.adapter, pair.name, pair.adapter_sha256),
        "Exam": f"{exam.name}, {len(exam.items)} questions scored"
        + (f", {len(exam.excluded)} excluded" if exam.excluded else "")
        + f", SHA-256 {exam.sha256}",
        "Prompt": f"{prompt_id}: the same text for both models, the one used in training and examination",
        "Choice": f"{HOW[scoring]}. The tick judges this choice, never the written answer",
        "Written answer": f"greedy decoding, at most {max_new_tokens} tokens, {_how_written(pair)}",
        "Limits": "small differences on few questions mean little; the exam's questions may have been in what the base "
        "learned from; a model can be right for no reason it could give",
        "Licence": "of the code: Apache-2.0. Models and exam keep their own, which their directories name",
        "Versions": ", ".join(f"{name} {version(name)}" for name in PACKAGES),
        "Stored": recorded or "nothing: no history, no log of questions or answers, no cookies",
        "Sent": _sent(pair),
        "Not for": "clinical use. These are exam questions, and a model that passes an exam is no physician",
    }
    rows = "".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}.</dd>" for name, text in facts.items())
    return f'<dl class="mp-about">{rows}</dl>'


def _identity(source: Source, name: str, sha256: str) -> str:
    if isinstance(source, Address):
        return f"{name}, an endpoint ({source.url}): weights not known here, no hash"
    return f"{name}, SHA-256 {sha256 or 'not taken'}"


def _how_written(pair: Pair) -> str:
    if not addresses(pair.base, pair.adapter):
        return "both models in one batch"
    return (
        "one model after the other; what an endpoint adds to a prompt, or does to its probabilities by "
        "settings of its own, is not known here"
    )


def _sent(pair: Pair) -> str:
    asked = addresses(pair.base, pair.adapter)
    if pair.outside:
        return f"every question goes to {', '.join(pair.outside)}, as whoever started this page said; nothing else"
    if asked:
        places = ", ".join(dict.fromkeys(address.place for address in asked))
        return (
            f"nothing leaves this machine by this page. Questions go to another program on it ({places}), "
            "and what that does with them is its own affair"
        )
    return "nothing: the page comes from this machine and talks to it alone"


def build(scene: Scene) -> None:
    """The tab's contents."""
    prompt_id = exam_prompt_id(scene.scoring)
    said = about(scene.pair, scene.exam, scene.scoring, prompt_id, scene.max_new_tokens, scene.recorded)
    html(said, "mp-about")
