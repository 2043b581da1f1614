"""HTML to text: the visible text, and no two numbers joined."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medalpaca_data.core.joined_digits import JOINED, JoinedDigits
from medalpaca_data.formats.html import html_text


@pytest.mark.parametrize(
    ("fragment", "digits"),
    [
        ("<p>150 x 10<sup>9</sup>5/L</p>", "9|5"),
        ("1<sub>2</sub>3", "2|3"),
        ("1<b>2</b>", "1|2"),
        ("<i>1</i>2", "1|2"),
        ("1</b><i>2", "1|2"),
        ("1<span></span>2", "1|2"),
        ("1<!-- a -->2", "1|2"),
        ("1<script>a<b</script>2", "1|2"),
        ("1<wbr>2", "1|2"),
        ("1<unknown>2", "1|2"),
        ("<td>1</td><td>2</td>", "1|2"),
        ("1<img alt='2'>", "1|2"),
        ("&#49;<b>&#50;</b>", "1|2"),
        ("1\x002", "1|2"),
        ("1\ufdd02", "1|2"),
        ("\u0661<b>\u0662</b>", "\u0661|\u0662"),
        ("m\u00b2<b>\u00b3</b>", "\u00b2|\u00b3"),
    ],
)
def test_markup_between_two_numbers_is_refused(fragment, digits):
    with pytest.raises(JoinedDigits, match=f"^{JOINED}$") as raised:
        html_text(fragment)
    assert raised.value.digits == digits


@pytest.mark.parametrize(
    ("fragment", "text"),
    [
        ("HbA<sub>1c</sub> &lt; 6 and CO<sub>2</sub>", "HbA1c < 6 and CO2"),
        ("<b>5</b> mg or <i>10</i>mg", "5 mg or 10mg"),
        ("1,<b>5</b> and 50&ndash;<b>100</b>", "1,5 and 50\u2013100"),
        ("10<b>\u2079</b>/L", "10\u2079/L"),
        ("<p>1</p><p>2</p>", "1\n\n2"),
        ("1<br>2", "1\n2"),
        ("1<b> </b>2", "1 2"),
        ("<table><tr><td>1</td><td>2</td></tr></table>", "1\t\t2"),
        ("<ul><li>1</li><li>2</li></ul>", "- 1\n  - 2"),
        ("1&#8203;2 3&shy;4", "1\u200b2 3\u00ad4"),
        ("&#49;&#50;", "12"),
        ('<a href="x?1=2" title="1<2>3">a</a> 1', "a 1"),
        ("1<2 and 3>2", "1<2 and 3>2"),
        ("a\x00b\ufdd0", "ab"),
    ],
)
def test_the_visible_text_is_returned(fragment, text):
    assert html_text(fragment) == text


MARKUP = (
    "<b>", "</b>", "<sup>", "</sup>", "<i class='a>b'>", "</i>", "<p>", "</p>", "<br>", "<li>", "<td>", "</td>",
    "<!-- a -->", "<script>a<b</script>", "<wbr>", "<a>", "</a>", "<dd>", "<a", "\x00", "\ufdd0", "\u200b", "&shy;",
    "<", ">", "&", "&lt;", " ", "\n", "a", ".",
)  # fmt: skip


@given(
    st.lists(
        st.tuples(st.from_regex(r"\A\d{1,3}\Z"), st.lists(st.sampled_from(MARKUP), max_size=3)), max_size=8
    )
)
def test_numbers_are_kept_or_the_text_is_refused(parts):
    fragment = "".join(number + "".join(between) for number, between in parts)
    try:
        text = html_text(fragment)
    except JoinedDigits:
        return
    # A tag that is not closed hides what follows, so numbers may be missing; none may be new.
    assert set(re.findall(r"\d+", text)) <= set(re.findall(r"\d+", fragment))
