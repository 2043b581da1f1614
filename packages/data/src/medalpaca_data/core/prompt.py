"""The prompt: the one renderer that training, examination and the demo share.

A row becomes one user message; the message is wrapped in two headings; the answer follows at once, with no space
before it, so that the tokens of prompt and answer never merge at the seam.
"""

from __future__ import annotations

from .files import sha256_bytes

INSTRUCTION_HEADING = "### Instruction:\n"
RESPONSE_HEADING = "\n\n### Response:\n"


def user_message(instruction: str, input: str = "") -> str:
    """What a person would type: the instruction, and after a blank line what it is about."""
    return "\n\n".join(part for part in (instruction.strip(), input.strip()) if part)


def wrap(message: str) -> str:
    """A user message between its headings; the answer starts where this ends."""
    return f"{INSTRUCTION_HEADING}{message}{RESPONSE_HEADING}"


def render(instruction: str, input: str = "") -> str:
    """The whole prompt of a row."""
    return wrap(user_message(instruction, input))


def chat_template(*, add_bos: bool) -> str:
    """The same rendering as a Jinja chat template, for the run's tokenizer.

    A user message that is already wrapped passes through unchanged, so that a harness which applies the chat
    template to a rendered prompt gets the same tokens. `add_bos`: whether the tokenizer starts texts with BOS,
    which templates must write themselves.
    """
    start, end = repr(INSTRUCTION_HEADING), repr(RESPONSE_HEADING)
    return (
        ("{{ bos_token }}" if add_bos else "")
        + "{% for message in messages %}"
        + "{% if message['role'] == 'assistant' %}"
        + "{{ message['content'] | trim }}{{ eos_token }}"
        + "{% elif message['role'] == 'system' %}"
        + "{{ message['content'] | trim }}{{ '\\n\\n' }}"
        + f"{{% elif message['content'].startswith({start}) and message['content'].endswith({end}) %}}"
        + "{{ message['content'] }}"
        + "{% else %}"
        + f"{{{{ {start} }}}}{{{{ message['content'] | trim }}}}{{{{ {end} }}}}"
        + "{% endif %}"
        + "{% endfor %}"
    )


PROMPT_ID = "meadow-" + sha256_bytes(f"{render('{a}', '{b}')}|{render('{a}')}".encode())[:12]
