"""About: identity of models, exam and prompt by hash, limits of the comparison, and what is stored."""

from __future__ import annotations

from html import escape
from importlib.metadata import version

from medalpaca_data.exams.exam import Exam
from medalpaca_data.exams.item import exam_prompt_id
from medalpaca_evalharness.endpoint import Endpoint, Source, endpoints

from ..context import Context
from ..html import html
from ..job import Scoring
from ..models import Pair

CHOICE_RULES = {
    "letter": "the letter with the highest log-likelihood as the first token of the answer (lm-eval's acc)",
    "text": "the option whose text has the highest log-likelihood per character (lm-eval's acc_norm)",
}
PACKAGES = ("medalpaca-demo", "gradio", "torch", "transformers", "peft")


def about(
    pair: Pair, exam: Exam, scoring: Scoring, prompt_id: str, max_new_tokens: int, audit_notice: str = ""
) -> str:
    """Return the tab's text as a definition list. `audit_notice` describes an audit log; empty without one."""
    facts = {
        "Base": _identity(pair.base, pair.base.name, pair.base_sha256),
        "Fine-tuned": _identity(pair.adapter, pair.name, pair.adapter_sha256),
        "Exam": f"{exam.name}, {len(exam.items)} scored questions"
        + (f", {len(exam.excluded)} excluded" if exam.excluded else "")
        + f", SHA-256 {exam.sha256}",
        "Prompt": f"{prompt_id}: the same text for both models, and the same as in training and evaluation",
        "Choice": f"{CHOICE_RULES[scoring]}. Right or wrong refers to this choice, not to the written answer",
        "Written answer": f"greedy decoding, at most {max_new_tokens} tokens, {_batching(pair)}",
        "Limits": "a small difference on few questions proves little; the base may have seen the exam's questions "
        "in its training; a model can choose the right option for a wrong reason",
        "Licence": "code: Apache-2.0. Models and exam have their own licences; see their directories",
        "Versions": ", ".join(f"{name} {version(name)}" for name in PACKAGES),
        "Stored": audit_notice or "nothing: no history, no log of questions or answers, no cookies",
        "Sent": _sent(pair),
        "Not for": "clinical use. These are exam questions; a model that passes an exam is not a physician",
    }
    rows = "".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}.</dd>" for name, text in facts.items())
    return f'<dl class="mp-about">{rows}</dl>'


def _identity(source: Source, name: str, sha256: str) -> str:
    if isinstance(source, Endpoint):
        return f"{name}, an endpoint ({source.url}): its weights cannot be checked, so there is no hash"
    return f"{name}, SHA-256 {sha256 or 'not computed'}"


def _batching(pair: Pair) -> str:
    if not endpoints(pair.base, pair.adapter):
        return "both models in one batch if the adapter allows it"
    return (
        "one model after the other. An endpoint's own settings may change the prompt or the probabilities; this page "
        "cannot detect that"
    )


def _sent(pair: Pair) -> str:
    targets = endpoints(pair.base, pair.adapter)
    if pair.outside_hosts:
        hosts = ", ".join(pair.outside_hosts)
        return f"every question is sent to {hosts}, as chosen with --trusted-host; nothing else is sent"
    if targets:
        servers = ", ".join(dict.fromkeys(target.host_port for target in targets))
        return (
            f"nothing is sent to other machines. Questions go to another program on this machine ({servers}); this "
            "page does not control what that program does with them"
        )
    return "nothing: the page is loaded from this machine and connects to no other"


def build(context: Context) -> None:
    """Lay out the tab."""
    prompt_id = exam_prompt_id(context.scoring)
    text = about(
        context.pair,
        context.exam,
        context.scoring,
        prompt_id,
        context.max_new_tokens,
        context.audit_notice,
    )
    html(text, "mp-about")
