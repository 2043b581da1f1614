import jinja2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medalpaca_data.core.prompt import chat_template, render, user_message
from medalpaca_data.exams.item import Item, exam_prompt, exam_prompt_id

ITEM = Item(id="1", question=" Which? ", options={"A": "one", "B": "two", "C": "three"}, answer="B")


def chat(content: str, *, add_bos: bool = False) -> str:
    template = jinja2.Environment(autoescape=False).from_string(chat_template(add_bos=add_bos))  # noqa: S701
    return template.render(messages=[{"role": "user", "content": content}], bos_token="<s>", eos_token="</s>")


def test_the_rendering_is_this():
    assert render("Do it.", "To this.") == "### Instruction:\nDo it.\n\nTo this.\n\n### Response:\n"
    assert render("Do it.") == "### Instruction:\nDo it.\n\n### Response:\n"


@given(st.text(min_size=1), st.text())
def test_the_chat_template_renders_a_row_as_training_does(instruction, input):
    message = user_message(instruction, input)
    assert chat(message) == render(instruction, input)


@given(st.text(min_size=1), st.text())
def test_a_rendered_prompt_passes_through_the_template(instruction, input):
    prompt = render(instruction, input)
    assert chat(prompt) == prompt
    assert chat(prompt, add_bos=True) == "<s>" + prompt


def test_a_conversation_ends_each_answer():
    template = jinja2.Environment(autoescape=False).from_string(chat_template(add_bos=True))  # noqa: S701
    messages = [
        {"role": "system", "content": "Be short."},
        {"role": "user", "content": "A?"},
        {"role": "assistant", "content": "a"},
        {"role": "user", "content": "B?"},
    ]
    text = template.render(messages=messages, bos_token="<s>", eos_token="</s>")
    assert text == (
        "<s>Be short.\n\n### Instruction:\nA?\n\n### Response:\na</s>### Instruction:\nB?\n\n### Response:\n"
    )


def test_letters_show_the_options_and_texts_do_not():
    letter, text = exam_prompt(ITEM, "letter"), exam_prompt(ITEM, "text")
    assert letter.choices == ("A", "B", "C")
    assert "Which?\nA: one\nB: two\nC: three\n\n### Response:\n" in letter.prompt
    assert text.choices == ("one", "two", "three")
    assert text.prompt == "### Instruction:\nWhich?\n\n### Response:\n"


def test_each_way_of_asking_has_its_own_name():
    # Pinned: results logged under these ids stay comparable; a changed template must change them.
    assert exam_prompt_id("letter") == "letter-27bda3808980"
    assert exam_prompt_id("text") == "text-eff3b9d6b056"


def test_an_unknown_scoring_is_refused():
    with pytest.raises(Exception, match="letter, text"):
        exam_prompt(ITEM, "number")  # type: ignore[arg-type]
