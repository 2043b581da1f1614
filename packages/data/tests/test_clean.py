"""Cleaning of texts: removed residue, kept text, joined digits, and rows that are not usable."""

import re

import ftfy  # noqa: F401 - imported before the clock of hypothesis starts
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from medalpaca_data.clean_text import clean_text, find_row_fault
from medalpaca_data.core.joined_digits import JOINED, JoinedDigits
from medalpaca_data.core.numbers import ChangedNumbers
from medalpaca_data.core.unclear_text import HIDDEN_HYPHEN, STRUCK, UnclearText
from medalpaca_data.formats.html import html_text


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("Take it with food.<br/>Not at night.", "Take it with food.\nNot at night."),
        ("<p>First.</p><p>Second.</p>", "First.\n\nSecond."),
        ("HbA<sub>1c</sub> of 7&nbsp;%", "HbA1c of 7 %"),
        ("patients&rsquo; gait", "patients\u2019 gait"),
        ("see [[Angina pectoris|angina]] and [[asthma]]", "see angina and asthma"),
        ("[[File:heart.jpg|thumb|200px]]The heart", "The heart"),
        ("'''Gout''' is ''old''", "Gout is old"),
        ('a claim<ref name="x">Smith, 2001</ref>.', "a claim."),
        ("one\u200b two\u00a0three\ufeff", "one two three"),
        ("10<sup>9</sup>/L and 10<sup>-3</sup>", "10^9/L and 10^-3"),
        ("Ca<sup>2+</sup>", "Ca2+"),
        ("<tr><td>Na</td><td>140</td></tr><tr><td>K</td> <td class='x'>4.1</td></tr>", "Na | 140\n\nK | 4.1"),
        ("aspirin 100 mg<li>ramipril 5 mg", "aspirin 100 mg\nramipril 5 mg"),
        ("one<hr>two\fthree\u2028four", "one\ntwo\nthree\nfour"),
        (
            'Give it<ref name="a"/>. Never below 30. Stop<ref>B</ref>. End.',
            "Give it. Never below 30. Stop. End.",
        ),
        ("&lt;i 3 and y&gt;", "<i 3 and y>"),
        ("line one  \r\n\r\n\r\n\r\nline two ", "line one\n\nline two"),
        ("Cafe\u0301", "Caf\u00e9"),
    ],
)
def test_residue_is_removed(before, after):
    text, done = clean_text(before)
    assert text == after
    assert done


@pytest.mark.parametrize(
    "text",
    [
        "p<0.05 and CD4 < 200, BMI>30",
        "a 5''-flanking region and the test''s validity",
        "the 5'-cap and 3'-tail",
        "AT&T and R&D; Q&A",
        "\u03b1-synuclein, \u00b5g, 10\u207b\u2076",
        "def f(x):\n    return x",
        "[NAME] was seen by [PHYSICIAN]",
        "glucose <40 mg/dL or >400",
        "if A<b and c>d then",
        "dose <b 5 mg and HR >100",
        "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",  # Persian, with the joiner that belongs there
        "The set {{1, 2}}, the macro {{drug}} and the matrix [[1, 2]]",
        "see https://example.org/a1?2=3",
        "<math>10^{-3}</math>",
    ],
)
def test_text_is_not_changed(text):
    assert clean_text(text) == (text, [])


@pytest.mark.parametrize(
    ("text", "digits"),
    [
        ("Take 2\u200b3 tablets.", "2|3"),
        ("5\u00ad0", "5|0"),
        ("5\ufeff0", "5|0"),
        ("5\x000", "5|0"),
        ("5\ufdd00", "5|0"),
        ("\u0662\u200b\u0663", "\u0662|\u0663"),
        ("m\u00b2\u200b\u00b3", "\u00b2|\u00b3"),
        ("1</b><i>2", "1|2"),
        ("5<ref>Smith</ref>0", "5|0"),
        ('5<ref name="a"/>0', "5|0"),
        ("5<ref name='a' />&#48;", "5|0"),
        ("&#53;<b>0</b>", "5|0"),
        ("5&#1;0", "5|0"),
        ("5[[File:a.jpg]]0", "5|0"),
        ("[[a|5]]0", "5|0"),
        ("5[[0|0]]", "5|0"),
        ("1[[File:a]]<b>\u200b</b>2", "1|2"),
        ("10<sup>9", "10|9"),
        ("2\u200d3", "2|3"),
        ("2\u20623", "2|3"),
        ("10<sup>9</sup>5", "9|5"),
        ("<td>5<td>6", "5|6"),
        ("<dt>5</dt><dd>6</dd>", "5|6"),
        (f"{'1' * 30}<b>{'2' * 30}</b>", f"{'1' * 20}|{'2' * 20}"),
    ],
)
def test_a_deletion_that_joins_two_numbers_is_refused(text, digits):
    with pytest.raises(JoinedDigits, match=f"^{JOINED}$") as raised:
        clean_text(text)
    assert raised.value.digits == digits


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("150 x 10<sup>9</sup>/L; pCO<sub>2</sub> 40 mmHg", "150 x 10^9/L; pCO2 40 mmHg"),
        ("10<b>\u2079</b>/L", "10\u2079/L"),
        ("<td>5</td><td>6</td>", "5 | 6"),
        ("5<br>6", "5\n6"),
        ("5\x856", "5\u20266"),
        ("5&nbsp;<i>6</i>", "5 6"),
        ("5\u20096", "5 6"),
        ("5 <ref>9</ref>6", "5 6"),
        ("1,<b>5</b> and 50&ndash;<b>100</b>", "1,5 and 50\u2013100"),
        ("<b>5</b> mg, <b>5</b>mg", "5 mg, 5mg"),
        ("excess \u22125<b>, not</b> 5", "excess \u22125, not 5"),
        ("hydro\u00adxy\u00adchloroquine 200 mg", "hydroxychloroquine 200 mg"),
        ("1&#50;&#51;<b>.</b>", "123."),
        ("a<ref>p. 1[[b|2]]</ref> 5", "a 5"),
        ("a[[File:b.jpg|1{{x}}2px]] 5", "a 5"),
        ("<b>a\ufdd0", "a"),
    ],
)
def test_numbers_are_not_changed(before, after):
    assert clean_text(before)[0] == after


@pytest.mark.parametrize(
    "text",
    [
        "Base excess \u00ad5 mmol/L",
        "Store at \x1e20 \u00b0C",
        "\x1f.5 mg",
        "between &shy;5 and 5",
        "a change of \u00ad<b>5</b> mmHg",
        "a change of (\u00ad\u200b \u00bd) mm",
        "COVID\u00ad19",
        "10<sup>\x1eab</sup> and \x1e\x1e3",
    ],
)
def test_an_invisible_hyphen_before_a_number_is_refused(text):
    with pytest.raises(UnclearText, match=f"^{HIDDEN_HYPHEN}$") as raised:
        clean_text(text)
    assert raised.value.evidence["characters"].isascii()


def test_other_invisible_hyphens_are_removed():
    text = "hydro\u00adxy\x1fchloro\u00adquine, 2019\u00adnCoV (COE \u00ad a), x\u2011ray at \u20115 \u00b0C"
    assert clean_text(text)[0] == "hydroxychloroquine, 2019nCoV (COE  a), x\u2011ray at \u20115 \u00b0C"


@pytest.mark.parametrize(
    "text",
    [
        "<s>10 mg</s> 5 mg",
        "Give <S class='x'>10 mg</S> 5 mg",
        "Give <strike>not</strike>",
        "<del datetime=a><b>10</b></del>5 mg",
        '<span style="color:red; text-decoration: line-through">10 mg</span> 5 mg',
        "<p class=a style='text-decoration-line:line-through'>10 mg",
    ],
)
def test_struck_text_is_refused(text):
    for read in (clean_text, html_text):
        with pytest.raises(UnclearText, match=f"^{STRUCK}$"):
            read(text)


@pytest.mark.parametrize(
    "text", ["<s> [INST] a [/INST] b</s>", "<s>Give 5 mg.</s>", "Give 5 mg.</s>", "a <DEL> of 5 kb"]
)
def test_tokens_of_templates_and_alleles_are_not_struck(text):
    assert clean_text(text) == (text, [])


@pytest.mark.parametrize(
    "text",
    [
        "a difference (<p value=0.05>) was seen",
        "(<p value='0.05'>) and <i n=12>, <b cut-off=.5>, <a t1=-3>",
    ],
)
def test_a_statement_in_angle_brackets_is_text(text):
    assert clean_text(text) == (text, [])


def test_attributes_of_html_are_removed():
    html = "<font size=3 color=red>5</font> mg <td width=50>x<img width=20 src=a><p data-n=5 id=7>7</p><li value=3>8"
    assert clean_text(html)[0].split() == ["5", "mg", "x", "7", "8"]


def test_categories_are_markup_of_wikis_only():
    text = "[[Category: D in weeks 5-10]] a"
    assert clean_text(text)[0] == "Category: D in weeks 5-10 a"
    assert clean_text(text, wiki=True)[0] == "a"


def test_quotes_after_a_strand_end_are_kept_between_digits():
    assert clean_text("5''10") == ("5''10", [])


DELETED = (
    "<b>", "</b>", "<sup>", "</sup>", "<sub class='a'>", "<td>", "</td>", "<br>", "<ref>a</ref>", "<ref name='a'/>",
    "{{a}}", "[[File:a.jpg]]", "[[a|", "]]", "''", "\u200b", "\u00ad", "\x96", "\x07", "\ufeff", "&shy;", "&#1;",
    "&#x1;", "\ufdd0", " ", "a", ".",
)  # fmt: skip


@given(
    st.lists(
        st.tuples(st.from_regex(r"\A\d{1,3}\Z"), st.lists(st.sampled_from(DELETED), max_size=3)), max_size=8
    )
)
@example([("1", ["</b>", "{{a}}", "\u200b"]), ("2", [])])
def test_numbers_are_kept_or_the_text_is_refused(parts):
    text = "".join(number + "".join(between) for number, between in parts)
    try:
        cleaned, _ = clean_text(text)
    except (JoinedDigits, UnclearText, ChangedNumbers):
        return
    assert re.findall(r"\d+", cleaned) == re.findall(r"\d+", re.sub("&#x?1;", " ", text))


@pytest.mark.parametrize(
    ("output", "reason"),
    [
        ("", "no answer"),
        ("NaN", "no answer"),
        ("### Response: yes", "prompt template in the text"),
        ("<|im_start|>assistant", "prompt template in the text"),
        ("As an AI language model, I cannot say.", "the answer speaks as an AI model"),
        ("It is usually treated with diuretics, salt restriction and", "answer is cut off"),
        ("Beta blockers slow the heart and lower blood pressure,", "answer is cut off"),
        ("B", None),
        ("Na", None),
        ("None", None),
        ("It is seen in strict vegans, and vitamin B12 is what they are most often deprived of", None),
        ("None of the above", None),
        # Short, so it may be a term.
        ("Vitamin A and D and the", None),
        (
            "The model for end-stage liver disease is used as a score of how ill an AI-assisted patient is.",
            None,
        ),
    ],
)
def test_faults_of_a_row(output, reason):
    assert find_row_fault("Question?", "", output, english=True) == reason


def test_cut_off_words_are_checked_only_in_english():
    answer = "Bei Luftnot rufen Sie den Notarzt oder Ihre Klinik an, das gilt auch f\u00fcr die Nacht und"
    assert find_row_fault("Frage?", "", answer) is None
    assert find_row_fault("Frage?", "", answer + ",") == "answer is cut off"


@given(st.text())
def test_cleaning_of_any_text_ends_or_names_the_fault(text):
    try:
        cleaned, done = clean_text(text)
    except (JoinedDigits, UnclearText) as error:
        assert error.evidence
        return
    assert cleaned == cleaned.strip()
    assert done or cleaned == text


@given(st.text(alphabet=st.characters(codec="ascii", exclude_characters="<&[{'#\r\t\x7f", min_codepoint=32)))
def test_plain_text_is_only_stripped(text):
    # A question mark between two digits is a lost sign.
    assume(not re.search(r"[0-9]\?[0-9]", text))
    assert clean_text(text)[0] == text.strip()


@given(
    st.text(
        alphabet="\u00e2\u00c3\u00c2\u0432\u0412\u00b1\u201a\u00c4\u00ec\u2534\u03b2\u03c0 5a-\n", max_size=12
    )
)
def test_a_misread_sign_is_the_first_that_the_whole_pattern_finds(text):
    from medalpaca_data.core.misread import MISREAD, find_misread

    found, whole = find_misread(text), MISREAD.search(text)
    assert (found and found.span()) == (whole and whole.span())
