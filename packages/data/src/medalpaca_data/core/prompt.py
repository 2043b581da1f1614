"""The Alpaca prompt template, used by training, evaluation tasks and the demo.

A row is rendered as one user message between two headings. The answer follows the last newline without a space. So
the tokens of prompt and answer do not merge.
"""

from __future__ import annotations

from .files import sha256_bytes

INSTRUCTION_HEADING = "### Instruction:\n"
RESPONSE_HEADING = "\n\n### Response:\n"


def user_message(instruction: str, input: str = "") -> str:
    """Return instruction and input without outer white space, with a blank line between; an empty one is omitted."""
    return "\n\n".join(part for part in (instruction.strip(), input.strip()) if part)


def wrap(message: str) -> str:
    """Return the prompt of a user message: the message between the instruction and response headings."""
    return f"{INSTRUCTION_HEADING}{message}{RESPONSE_HEADING}"


def render(instruction: str, input: str = "") -> str:
    """Return the complete prompt of a row, up to the beginning of the answer."""
    return wrap(user_message(instruction, input))


def chat_template(*, add_bos: bool) -> str:
    """Return the prompt template as a Jinja chat template, for the tokenizer of a training run.

    A user message that already has the headings is not wrapped again. So `lm_eval` gives the same tokens with and
    without `--apply_chat_template`. `add_bos` is true if the tokenizer adds BOS to texts, because a chat template must
    write it itself.
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


# Identifies the template: another text of the template gives another id.
PROMPT_ID = "meadow-" + sha256_bytes(f"{render('{a}', '{b}')}|{render('{a}')}".encode())[:12]
