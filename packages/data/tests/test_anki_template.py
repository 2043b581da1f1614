import pytest
from hypothesis import given
from hypothesis import strategies as st

from medalpaca_data.sources.anki import render_side


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{{Front}}/{{ Back }}", "f/<i>b</i>"),
        ("{{{Front}}}", "f"),
        ("{{#Front}}yes{{/Front}}{{^Front}}no{{/Front}}", "yes"),
        ("{{#Empty}}yes{{/Empty}}{{^Empty}}no{{/Empty}}", "no"),
        ("{{#Front}}a{{^Back}}b{{Front}}{{/Back}}c{{/Front}}", "ac"),
        ("{{text:Back}}", "b"),
        ("{{hint:Back}}{{type:Back}}{{tts en_US voices=X:Back}}-", "-"),
        ("{{furigana:Front}}{{edit:cloze:Front}}", "ff"),
        ("{{Tags}}{{Deck}}{{FrontSide}}{{! note }}.", "."),
        ("no tag }} {{", "no tag }} {{"),
    ],
)
def test_templates(template, expected):
    fields = {"Front": "f", "Back": "<i>b</i>", "Empty": "<br>&nbsp; <div></div>"}
    assert render_side(template, fields, back=False).html == expected


@pytest.mark.parametrize(
    "template", ["{{Frnot}}", "{{#Front}}x", "{{/Front}}", "{{#Front}}{{^Back}}{{/Front}}{{/Back}}"]
)
def test_a_broken_template_is_a_reason(template):
    with pytest.raises(ValueError, match="the card template"):
        render_side(template, {"Front": "f", "Back": "b"}, back=False)


def test_what_is_typed_is_the_answer_on_the_back():
    assert render_side("{{type:Back}}", {"Back": "b"}, back=True).html == "b"


@given(st.text(alphabet="{}#^/!:AB \n", max_size=60))
def test_any_template_is_rendered_or_a_reason(template):
    try:
        side = render_side(template, {"A": "1", "B": ""}, back=False)
    except ValueError as error:
        assert str(error).startswith("the card template")
        return
    assert set(side.fields) <= {"1", ""}
