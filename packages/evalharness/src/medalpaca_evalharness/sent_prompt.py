"""The prompt of an item in its document, and the text that lm-eval sent for it.

lm-eval may put text around the prompt: a system instruction, examples, a chat template. The sent text with `PLACE` in
place of the item's prompt is the frame. All items of a run have the same frame, except with templates that contain the
date.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from medalpaca_data.core.errors import CheckFailed
from medalpaca_data.core.files import sha256_bytes, sha256_json
from medalpaca_data.exams.item import Item, PromptStyle, exam_prompt, exam_prompt_id

# Stands for the prompt of the item in a frame.
PLACE = "{prompt}"
# Scored samples have one request per option, with the same text.
FIRST_REQUEST = "gen_args_0"
# Number of item ids that an error lists.
MAX_LISTED = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class SentPrompt:
    """What lm-eval sent around the prompts of a run.

    `frames`: the different frames, one as a rule. `chat_template`: SHA-256 of the chat template that lm-eval applied,
    or None. `system_instruction`: its text, or None. `num_fewshot`: number of examples. `fewshot`, `fewshot_sha256`:
    name and hash of the file with the examples, or None.
    """

    frames: tuple[str, ...] = (PLACE,)
    chat_template: str | None = None
    system_instruction: str | None = None
    num_fewshot: int = 0
    fewshot: str | None = None
    fewshot_sha256: str | None = None

    def prompt_id(self, prompt_id: str) -> str:
        """Return the id of what was sent: `prompt_id` of the bare prompt, with digits of the frames' hash behind it."""
        others = [text for text in self.frames if text != PLACE]
        if not others:
            return prompt_id
        digest = sha256_bytes(others[0].encode()) if len(others) == 1 else sha256_json(sorted(others))
        return f"{prompt_id}+{digest[:12]}"

    def differences(self, other: SentPrompt) -> list[str]:
        """Return the names of the options that differ, such as "--num_fewshot 0 / 5"."""
        pairs = {
            "--apply_chat_template": (self.chat_template, other.chat_template),
            "--system_instruction": (self.system_instruction, other.system_instruction),
            "--num_fewshot": (self.num_fewshot, other.num_fewshot),
            "the examples": (self.fewshot_sha256, other.fewshot_sha256),
        }
        return [
            f"{name} {one} / {two}" if isinstance(one, int) else name
            for name, (one, two) in pairs.items()
            if one != two
        ]


def read_sent_prompt(
    results: Mapping[str, Any], task: str, doc: Mapping[str, Any], frames: Iterable[str]
) -> SentPrompt:
    """Return what surrounded the prompts of `task`, by a results file of lm-eval, a document and the frames."""
    shots = results.get("n-shot")
    number = shots.get(task) if isinstance(shots, Mapping) else None
    template, instruction = results.get("chat_template"), results.get("system_instruction")
    different = tuple(dict.fromkeys(frames))
    # A chat template may have dropped the instruction.
    if not isinstance(instruction, str) or not all(was_sent(instruction, text) for text in different):
        instruction = None
    return SentPrompt(
        frames=different,
        chat_template=sha256_bytes(template.encode()) if isinstance(template, str) and template else None,
        system_instruction=instruction or None,
        num_fewshot=number if isinstance(number, int) else 0,
        fewshot=doc.get("fewshot"),
        fewshot_sha256=doc.get("fewshot_sha256"),
    )


def item_document(item: Item, scoring: PromptStyle) -> dict[str, Any]:
    """Return the part of a document that depends on the item: its prompt, and the parts to render it again."""
    rendered = exam_prompt(item, scoring)
    letters = list(item.options)
    return {
        "item_id": item.id,
        "step": item.step,
        "subject": item.subject,
        "question": item.question,
        # A generated answer may name its option by the text.
        "options": list(item.options.values()),
        "prompt": rendered.prompt,
        "choices": list(rendered.choices),
        "letters": letters,
        "gold": letters.index(item.answer),
        "scoring": scoring,
    }


def sent_text(record: Mapping[str, Any], request: str = FIRST_REQUEST) -> str:
    """Return the text of one request of a logged sample. Raises KeyError or TypeError if there is none."""
    text = record["arguments"][request]["arg_0"]
    # lm-eval logs the messages for a chat server as a list with one text, which is JSON.
    if isinstance(text, list) and len(text) == 1:
        (text,) = text
    if not isinstance(text, str):
        raise TypeError(f"the request is {type(text).__name__}, not text")
    return text


def find_faults(record: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with document and requests of a logged sample, such as "its prompt is not ..."; else [].

    The prompt is rendered again from question and options of the document, if the document has them and its `prompt_id`
    is one of this version. Each request must contain the document's prompt. Raises KeyError, TypeError, IndexError or
    ValueError if `record` is not a sample.
    """
    doc = record["doc"]
    faults = []
    # Documents of earlier versions have no question.
    known = doc.get("scoring") in get_args(PromptStyle)
    if "question" in doc and known and doc["prompt_id"] == exam_prompt_id(doc["scoring"]):
        rendered = item_document(_item(doc), doc["scoring"])
        if any(rendered[key] != doc[key] for key in ("prompt", "choices")):
            faults.append(f"its prompt is not the one that {doc['prompt_id']} renders from its question")
    texts = {sent_text(record, request) for request in record["arguments"]}
    if any(_find_prompt(text, doc["prompt"]) is None for text in texts):
        faults.append("the request does not contain the prompt of the document")
    elif len(texts) > 1:
        faults.append("its options were scored after different texts")
    return faults


def frame(record: Mapping[str, Any]) -> str:
    """Return the sent text of a logged sample with `PLACE` in place of the prompt. See `find_faults` for errors."""
    text = sent_text(record)
    found = _find_prompt(text, record["doc"]["prompt"])
    return text if found is None else text[: found[0]] + PLACE + text[found[1] :]


def describe_sent_prompt(sent: SentPrompt) -> list[str]:
    """Return one line for each thing that was sent with the prompts: chat template, system instruction, examples."""
    lines = []
    if sent.chat_template:
        lines.append(f"with the chat template {sent.chat_template[:12]}")
    if sent.system_instruction:
        lines.append(f"with the system instruction {json.dumps(sent.system_instruction, ensure_ascii=False)}")
    if sent.num_fewshot:
        file = f" of {sent.fewshot} {sent.fewshot_sha256[:12]}" if sent.fewshot_sha256 else ""
        lines.append(f"with {sent.num_fewshot} example{'' if sent.num_fewshot == 1 else 's'}{file}")
    if not lines and sent.frames != (PLACE,):
        lines.append("with other text around the prompt, which the results file does not name")
    return lines


def check_requests(records: Sequence[Mapping[str, Any]], where: str) -> list[str]:
    """Return the frames of logged samples. `where` names their file in errors.

    Raises CheckFailed if `find_faults` finds anything; its message has the number of items, and the first ids.
    """
    faults: dict[str, list[str]] = {}
    for record in records:
        for fault in find_faults(record):
            faults.setdefault(fault, []).append(str(record["doc"]["item_id"]))
    for fault, ids in faults.items():
        more = ", ..." if len(ids) > MAX_LISTED else ""
        raise CheckFailed(
            f"{where}: {len(ids)} of {len(records)} items ({', '.join(ids[:MAX_LISTED])}{more}): {fault}; "
            "evaluate again, without a cache of requests"
        )
    return [frame(record) for record in records]


def was_sent(instruction: str, text: str) -> bool:
    """Return whether `text` contains the system instruction, as it is, stripped, or escaped for a server."""
    return any(form in text for form in (instruction.strip(), *_escaped(instruction)))


def without_examples(text: str, start: str, number: int) -> str:
    """Return the frame `text` with a note in place of its examples, whose prompts begin with `start`."""
    before, _, after = text.rpartition(PLACE)
    # Messages for a server are escaped, so that `start` is not found; then all before the prompt is left out.
    head = before.partition(start)[0] if start in before else ""
    return f"{head}[{number} example{'' if number == 1 else 's'}: not printed]\n\n{PLACE}{after}"


def _find_prompt(text: str, prompt: str) -> tuple[int, int] | None:
    """Return start and end of the last occurrence of `prompt` in `text`; None if it does not occur.

    A chat template may strip the white space around the prompt, and messages for a server are escaped.
    """
    for form in (prompt, prompt.strip(), *_escaped(prompt)):
        if (start := text.rfind(form)) >= 0:
            return start, start + len(form)
    return None


def _escaped(prompt: str) -> list[str]:
    forms = (prompt, prompt.strip())
    return [json.dumps(form, ensure_ascii=only)[1:-1] for form in forms for only in (True, False)]


def _item(doc: Mapping[str, Any]) -> Item:
    letters = [str(letter) for letter in doc["letters"]]
    return Item(
        id=str(doc["item_id"]),
        question=str(doc["question"]),
        options=dict(zip(letters, map(str, doc["options"]), strict=True)),
        answer=letters[int(doc["gold"])],
    )
