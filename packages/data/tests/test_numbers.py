"""Cleaning and readers keep each number with its sign and unit, or reject the text.

The generators write every text twice: as it must read, and with markup, entities or a wrong encoding.
"""

import json
import re

import ftfy  # noqa: F401 - imported before the clock of hypothesis starts
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medalpaca_data.clean_text import BROKEN, QUESTION_MARK, BrokenEncoding, clean_text
from medalpaca_data.core import joined_digits
from medalpaca_data.core.joined_digits import MARK, JoinedDigits
from medalpaca_data.core.numbers import CHANGED, ChangedNumbers, check_numbers, number_sequence, visible_text
from medalpaca_data.core.unclear_text import UnclearText
from medalpaca_data.formats.html import html_text
from medalpaca_data.formats.wikitext import wiki_text

REFUSED = (JoinedDigits, ChangedNumbers, UnclearText)
SPACES = re.compile(r"\s+")

# Doses as they must read, and the same in HTML. No parser makes this list.
DOSES = {
    "2.5 mg": ("2.5 mg", "2.5&nbsp;mg", "<b>2.5</b> mg", "2.5 <i>mg</i>", "2<b>.</b>5 mg"),
    "-5 mmol/L": ("-5 mmol/L", "<b>-5</b> mmol/L", "-<b>5</b> mmol/L", "&#45;5 mmol/L"),
    "\u22125 mmol/L": ("\u22125 mmol/L", "&minus;5 mmol/L", "\u2212<span>5</span> mmol/L"),
    "1,5 g": ("1,5 g", "1,<b>5</b> g", "1,5\u00a0g", "1,5&thinsp;g"),
    "50\u2013100 mg": ("50\u2013100 mg", "50&ndash;100 mg", "50<b>\u2013</b>100 mg", "<i>50</i>&#8211;100 mg"),
    "\u00bd tablet": ("\u00bd tablet", "&frac12; tablet", "<b>\u00bd</b> tablet"),
    "1\u00bd tablets": ("1\u00bd tablets", "1&frac12; tablets"),
    "5 1/2 tablets": ("5 1/2 tablets", "5<sup>1</sup>/<sub>2</sub> tablets"),
    "150 x 10^9/L": ("150 x 10^9/L", "150 x 10<sup>9</sup>/L", "150 x 10<SUP class='a'><b>9</b></SUP>/L"),
    "10^-3 mol": ("10<sup>-3</sup> mol", "<b>10</b><sup>-3</sup> mol", "10<sup>&#45;3</sup> mol"),
    "150 x 10\u2079/L": ("150 x 10\u2079/L", "150 x 10<b>\u2079</b>/L"),
    "25 kg/m\u00b2": ("25 kg/m\u00b2", "25 kg/m&sup2;", "<b>25</b> kg/m\u00b2"),
    "25 kg/m^2": ("25 kg/m<sup>2</sup>", "25 <b>kg</b>/m<sup>2</sup>"),
    "pCO2 40 mmHg": ("pCO2 40 mmHg", "pCO<sub>2</sub> 40 mmHg", "pCO<sub>2</sub>&nbsp;40 mmHg"),
    "\u00b12 mg": ("\u00b12 mg", "&plusmn;2 mg", "\u00b1<b>2</b> mg"),
    "<40 mg/dL": ("<40 mg/dL", "&lt;40 mg/dL", "&lt;<b>40</b> mg/dL"),
    "\u226565 years": ("\u226565 years", "&ge;65 years", "&#x2265;65 years"),
    "10 000 IU": ("10 000 IU", "10\u00a0000 IU", "10&thinsp;000 IU", "10\u202f000 IU"),
    "37\u00b0C": ("37\u00b0C", "37&deg;C", "37<i>\u00b0C</i>"),
    "5 \u00b5g": ("5 \u00b5g", "5 &micro;g", "5 <b>\u00b5</b>g"),
    "120[3] mmHg": ("120<sup>[3]</sup> mmHg", "120<sup><a>[3]</a></sup> mmHg"),
    "50 mg": ("50 mg", "<p>50 mg</p>", "50\u200b mg", "50 m\u00adg", "50 \u200emg", "<b>50</b><i> mg</i>"),
}  # fmt: skip
WORDS = (
    "give",
    "then",
    "daily",
    "na\u00efve",
    "caf\u00e9",
    "the patient",
    "dose",
    "\u03b1-blocker",
    "if needed",
)
written = st.sampled_from([(right, form) for right, forms in DOSES.items() for form in forms])
sentences = st.lists(st.tuples(st.sampled_from(WORDS), written), min_size=1, max_size=6)


def spaced(text):
    return SPACES.sub(" ", text).strip()


def in_order(text, doses):
    """Return whether the text contains the doses one after another."""
    position = 0
    for dose in doses:
        position = text.find(dose, position)
        if position < 0:
            return False
        position += len(dose)
    return True


@settings(deadline=None)
@given(sentences)
@pytest.mark.parametrize("read", [lambda text: clean_text(text)[0], html_text], ids=["clean", "html"])
def test_each_dose_of_a_text_with_markup_survives(read, parts):
    marked = " ".join(f"{word} {form}," for word, (_, form) in parts)
    text = read(marked)
    # The reader of HTML leaves invisible characters to cleaning.
    assert in_order(spaced(clean_text(text)[0]), [right for _, (right, _) in parts])


# The same in wikitext, with templates whose text is that of Wikipedia.
WIKI_DOSES = {
    "40 mmHg": ("{{convert|40|mmHg|kPa}}", "{{cvt|40|mmHg|kPa|1|abbr=on}}", "[[a|40]] mmHg", "'''40''' mmHg"),
    "5 to 10 kg": ("{{convert|5|to|10|kg|lb}}",),
    "5\u201310 mg": ("{{convert|5|-|10|mg}}", "5{{ndash}}10 mg", "5&ndash;10 [[milligram|mg]]"),
    "6 ft 2 in": ("{{convert|6|ft|2|in|cm|0}}",),
    "37 \u00b1 0.5 \u00b0C": ("{{convert|37|\u00b1|0.5|C|F}}", "{{convert|37|+/-|0.5|C}}"),
    "3 \u00d7 4 mm": ("{{convert|3|x|4|mm}}", "{{cvt|3|xx|4|mm|abbr=on}}"),
    "120 mmHg": ("{{convert|120|mm[Hg]|kPa|sigfig=2}}", "{{convert|1=120|2=mmHg}}"),
    "2 1/2 to 3 in": ("{{convert|2+1/2|to|3|in|cm}}",),
    "5 to 6 mg": ("{{convert|5 to 6|mg|oz}}",),
    "98.6 \u00b0F": ("{{convert|98.6|F|C}}",),
    "-5 \u00b0C": ("{{convert|-5|C|F}}",),
    "10^-3 mol": ("<math>10^{-3}</math> mol", "10<sup>-3</sup> mol", "10{{sup|-3}} mol",
        "<math>10^{-3}</math>&nbsp;mol"),
    "2.5 \u00d7 10^9/L": ("<math>2.5 \\times 10^{9}</math>/L", "2.5 \u00d7 10<sup>9</sup>/L"),
    "2 1/2 mg": ("{{frac|2|1|2}} mg", "<math>2\\frac{1}{2}</math> mg", "2<sup>1</sup>/<sub>2</sub> mg"),
    "\u00b15%": ("<math>\\pm5\\%</math>", "&plusmn;5%", "{{pm}}5%"),
    "5.1 \u00b1 0.2 mg": ("{{val|5.1|0.2|u=mg}}",),
    "7 mg": ("{{unknown|7|mg}}", "{{nowrap|7 mg}}", "{{nowrap|{{convert|7|mg}}}}", "7{{nbsp}}mg",
        "7 mg<ref>[[b|9]] mg</ref>"),
    "SO4^2- 5 mg": ("{{chem|SO|4|2-}} 5 mg", "SO<sub>4</sub><sup>2-</sup> 5 mg"),
}  # fmt: skip
wiki_written = st.sampled_from([(right, form) for right, forms in WIKI_DOSES.items() for form in forms])


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from(WORDS), wiki_written), min_size=1, max_size=6))
@pytest.mark.parametrize(
    "read", [lambda text: clean_text(text, wiki=True)[0], wiki_text], ids=["clean", "wikitext"]
)
def test_each_dose_of_a_wikitext_survives(read, parts):
    text = read(" ".join(f"{word} {form}," for word, (_, form) in parts))
    assert in_order(spaced(text), [right for _, (right, _) in parts])
    assert not re.search("[{}<>\ufdd0-\ufdd3\ue000-\ue005]", text)


def test_templates_of_a_wiki_are_text_elsewhere():
    text = "The set {{1, 2}}, the macro {{drug}} and {{convert|40|mmHg|kPa}} with <math>x^{2}</math>"
    assert clean_text(text) == (text, [])
    assert clean_text("a {{drug}} b {{convert|40|mmHg|kPa}}", wiki=True)[0] == "a  b 40 mmHg"
    assert clean_text("{{Infobox|12}}\n{{fam|A01| |3}}\na {{x|3|mg}}", wiki=True)[0] == "a 3 mg"


@pytest.mark.parametrize(
    ("formula", "text"),
    [
        ("\\frac{140-age}{72}", "(140-age)/72"),
        ("x_{1}2 + 10^{9}5", "x_1 2 + 10^9 5"),
        ("1{,}000 \\le n", "1,000 \u2264 n"),
        ("37^{\\circ}\\mathrm{C}", "37\u00b0C"),
        ("\\begin{x}{{5}}\\end{x}", "\\begin{x}{ {5} }\\end{x}"),
    ],
)
def test_formulas(formula, text):
    assert wiki_text(f"a <math>{formula}</math>") == f"a {text}"


# Plain doses: no markup, so no parser. The numbers are drawn, the strings must come back as they are.
UNITS = (
    "mg",
    "\u00b5g",
    "\u03bcg",
    "mL/h",
    "mg/kg/d",
    "mmol/L",
    "%",
    "\u00b0C",
    "IU",
    "kg/m\u00b2",
    "\u00d7 10\u2079/L",
)
FORMS = (
    "{a} {u}", "{a}\u2013{b} {u}", "{a}-{b} {u}", "{a} \u00b1 {b} {u}", "\u00b1{a} {u}", "\u2212{a} {u}",
    "+{a} {u}", "-{a} {u}", "{a} \u00d7 10\u2079/L",
    "<{a} {u}", "\u2265{a} {u}", "{a},{b} {u}", "{a}.{b} {u}", "{a}/{b} {u}", "{a} \u00bd {u}", "{a}\u00d7{b} {u}",
    "{a}{u}",
    "\u2264 {a} {u} \u2026 {b}", "\u201c{a} {u}\u201d", "{a}\u2032 {b}\u2033", "{a} \u2192 {b} {u}",
)  # fmt: skip
numbers = st.integers(0, 20_000).map(str)
plain = st.lists(
    st.builds(
        lambda form, a, b, u: form.format(a=a, b=b, u=u),
        st.sampled_from(FORMS), numbers, numbers, st.sampled_from(UNITS),
    ),
    min_size=1, max_size=5,
)  # fmt: skip


@given(plain)
def test_plain_doses_are_not_touched(doses):
    text = "Give " + "; then ".join(doses) + ", as before."
    assert clean_text(text) == (text, [])


# Windows-1252 and Latin-1 read for UTF-8, the first also twice, as happens on the way through two programs.
def misread(text, *codecs):
    for codec in codecs:
        text = "".join(
            bytes([byte]).decode(codec, "replace")
            if codec == "cp1252" and byte not in UNDEFINED
            else chr(byte)
            for byte in text.encode()
        )
    return text


UNDEFINED = (0x81, 0x8D, 0x8F, 0x90, 0x9D)


@pytest.mark.parametrize("codecs", [("cp1252",), ("latin-1",), ("cp1252", "cp1252"), ("latin-1", "latin-1")])
@given(plain)
def test_plain_doses_in_a_wrong_encoding_are_repaired_or_refused(codecs, doses):
    text = "Give " + "; then ".join(doses) + ", as before."
    try:
        cleaned, _ = clean_text(misread(text, *codecs))
    except BrokenEncoding:
        return
    assert cleaned == text


@pytest.mark.parametrize(
    "dose", [form.format(a="50", b="100", u=unit) for form in FORMS for unit in UNITS[:4]]
)
def test_common_doses_in_a_wrong_encoding_are_repaired(dose):
    for codecs in (("cp1252",), ("latin-1",)):
        assert clean_text(f"Give {misread(dose, *codecs)} daily.")[0] == f"Give {dose} daily."


@pytest.mark.parametrize(
    ("text", "repaired"),
    [
        ("Give 50\x96100 mg, 5 \xb5g or 20\x85", "Give 50\u2013100 mg, 5 \xb5g or 20\u2026"),
        ("90&acirc;&#128;&#147;120 min", "90\u2013120 min"),
        ("BMI \u201a\u00e2\u2022 28, \u201a\u00e0\u00ed5 mmol/L", "BMI \u2265 28, \u22125 mmol/L"),
        ("30 \u201a\u00c4\u00ec 40 mg", "30 \u2013 40 mg"),
        ("5\u00c2 mg of a, 5\u00c2 \u00b5g", "5 mg of a, 5 \u00b5g"),
        ("35\\u2009mm \\u00b1 2, \\xe2\\x89\\xa55 mg", "35 mm \u00b1 2, \u22655 mg"),
        ("5 \u00c5\u00b12 \u00c5", "5 \u00c5 \u00b12 \u00c5"),
    ],
)
def test_encodings(text, repaired):
    assert clean_text(text)[0] == repaired


@pytest.mark.parametrize(
    "text",
    [
        "50\ufffd100 mg", "5 \ufffdg", "90\u00e2\u20ac120 min", "a dose of 5 \x8dg",
    ],
)  # fmt: skip
def test_a_text_whose_encoding_cannot_be_repaired_is_refused(text):
    with pytest.raises(BrokenEncoding, match=BROKEN) as raised:
        clean_text(text)
    assert raised.value.evidence["characters"].isascii()


SIGNED = (
    "5 \u00b1 2 \u00b0C",
    "\u22125 mmol/L",
    "\u226565 years",
    "5 \u00b5g",
    "3\u20134 mg",
    "\u22482",
    "5 \u03bcg",
)


@pytest.mark.parametrize("dose", SIGNED)
@pytest.mark.parametrize("codec", ["cp1251", "mac_roman", "cp437", "cp850", "cp1253", "stripped"])
def test_a_dose_in_another_wrong_encoding_is_repaired_or_refused(codec, dose):
    if codec == "stripped":
        wrong = re.sub("[\x80-\x9f]", "", dose.encode().decode("latin-1"))
    else:
        try:
            wrong = dose.encode().decode(codec)
        except UnicodeDecodeError:
            pytest.skip("this encoding has no character for a byte")
    for text in (f"Give {wrong} daily.", wrong):
        try:
            cleaned, _ = clean_text(text)
        except BrokenEncoding:
            continue
        assert dose in cleaned


@pytest.mark.parametrize(
    "text", ["\u00e2\u20ac\u0153now\u00e2\u20ac ok", "see \u00e2\u20ac\u0153now\u00e2\u20ac"]
)
def test_a_half_repaired_quotation_is_refused(text):
    with pytest.raises(BrokenEncoding, match=BROKEN):
        clean_text(text)


def test_a_question_mark_between_digits_is_named():
    with pytest.raises(BrokenEncoding, match=f"^{QUESTION_MARK}$"):
        clean_text("82?000 cases")


@pytest.mark.parametrize(
    "text",
    [
        "\u00c2ge de 5 \u00e0 10 ans, L\u2019\u00c2GE \u00ab d\u00e9j\u00e0 \u00bb : \u00c0 5 mg",
        "NA\u00cfF, NO\u00cbL\u2026 5 mg",
        "\u00cen Rom\u00e2nia, P\u00c2INE \u0218I \u00cenc\u0103 5 \u00b1 2 mg",
        "Fu\u00df\u2013Hand, Spa\u00df\u2026 5 \u00b5g \u00d6dem \u201eja\u201c",
        "AMANH\u00c3 \u2013 N\u00c3O 5 \u00b0C, 1.\u00ba \u00ab2.\u00aa\u00bb \u00bfCu\u00e1nto? \u00a15 mg!",
        "\u039f \u03b1\u03c3\u03b8\u03b5\u03bd\u03ae\u03c2 \u00b15 mg, \u03b1 \u2265 \u03b2, 5 \u03bcg",
        "\u0411\u043e\u043b\u044c\u043d\u043e\u0439 \u2013 5 \u043c\u0433 \u00ab\u0434\u0430\u00bb \u2116 5 \u00b1 2",
        "Se\u00f1or, 5 \u00d7 10\u2079/L, \u00a35\u2013\u00a36, \u00a9 2020 \u00ae \u2122",
        "\u00c5 5 \u00c5ngstr\u00f6m, \u00d8 5 mm",
        "\u0412 5 \u0447., \u0412\u0406\u041b 5; \u0413\u2014\u0414, \u00ab\u0412\u00bb \u2013 5",
        "\u0393 5, \u039f 5 \u03bcg, \u039e-5, \u00ac5, \u221a5, \u0152uf 5, \u201a5\u2018, \u2502 5 \u2502",
        "p\u00e2te 5, \u00e2g\u00e9 de 5 ans, IRM\u00c3 5",
        "\u4e2d\u6587 5 mg\uff0c\uff15 mg \ufb01t \u201cq\u201d \u2018q\u2019",
    ],
)  # fmt: skip
def test_a_right_encoding_is_not_touched(text):
    assert clean_text(text) == (text, [])


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("Ca<sup>2+</sup>, Na<sup>+</sup>, HCO<sub>3</sub><sup>-</sup>", "Ca2+, Na+, HCO3-"),
        ("<sup>131</sup>I, [<sup>18</sup>F]FDG, U<sup>235</sup>", "131I, [18F]FDG, U^235"),
        ("10 <sup>9</sup>/L, 10<sup>10<sup>2</sup></sup>, 1<sub>2</sub>", "10 ^9/L, 10^10^2, 1_2"),
        ("on the 5<sup>th</sup> day, see there.<sup>3</sup>", "on the 5th day, see there.^3"),
        ("min<sup>-1</sup> and cm<sup>3</sup>, 2<sup>n</sup>", "min^-1 and cm^3, 2^n"),
        ("a<sub>small print of 5 mg</sub>", "asmall print of 5 mg"),
        (
            "10<sup>-pH</sup>, 2<sup>\u2212\u0394\u0394Ct</sup>, e<sup>-kt</sup>",
            "10^-pH, 2^\u2212\u0394\u0394Ct, e^-kt",
        ),
        ("x<sup>n</sup>, (1+r)<sup>t</sup>, y<sup>2n</sup>, N<sup>G</sup>", "x^n, (1+r)^t, y^2n, N^G"),
        ("e<sup>-(k + n) t</sup>, 10<sup>(pH - pKa)</sup>", "e^(-(k + n) t), 10^(pH - pKa)"),
        ("10 <sup>-pH</sup>, 10 <sup>-9</sup>M, 5 <sup>131</sup>I", "10 ^-pH, 10 ^-9M, 5 131I"),
        ("1<sup>st</sup>, D<sup>r</sup>, M<sup>me</sup>, XIX<sup>e</sup>", "1st, Dr, Mme, XIXe"),
        (
            "Fe<sup>III</sup>, H<sub>2</sub>O, CD4<sup>+</sup>, Apoe<sup>-/-</sup>",
            "FeIII, H2O, CD4+, Apoe-/-",
        ),
        ("75 mg<sup>2</sup> daily, 5%<sup>3</sup>", "75 mg [2] daily, 5% [3]"),
        ("5 ml<sup>1,2</sup>, 4 mmol/L<sup>2</sup>, 5 IU<sup>2</sup>", "5 ml [1,2], 4 mmol/L [2], 5 IU [2]"),
        ("55 mg<sup>2</sup>/dL<sup>2</sup>, 9.8 m/s<sup>2</sup>", "55 mg^2/dL^2, 9.8 m/s^2"),
        (
            "kg<sup>0.75</sup>, mg<sup>-1</sup>, 5 mg/m<sup>2</sup>, h<sup>2</sup>",
            "kg^0.75, mg^-1, 5 mg/m^2, h^2",
        ),
    ],
)
def test_all_readers_write_superscripts_alike(html, text):
    assert (clean_text(html)[0], html_text(html), wiki_text(html)) == (text, text, text)


def test_a_formula_of_a_saved_page_is_kept(tmp_path):
    from medalpaca_data.formats.mediawiki import read_pages

    math = '<span class="mwe-math-element"><span style="display: none;"><math alttext="{\\displaystyle 10^{-3}}">'
    math += "<mn>10</mn></math></span>"
    math += "<img class='mwe-math-fallback-image-inline' alt='{\\displaystyle 10^{-3}}'></span>"
    page = f"<p>It is {math} mol, m<sup>2</sup> or <img class='tex' alt='5^{{2}}'>.</p>"
    page = f"<body><div id='mw-content-text'>{page}</div>"
    (tmp_path / "a.html").write_text(page, encoding="utf-8")
    [page] = read_pages(tmp_path / "a.html")
    assert page.sections()[0].text == "It is 10^-3 mol, m^2 or 5^2."


# The guard: each planted fault of cleaning must be seen.
@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("<b>5</b>0 mg", "50 mg"),
        ("2\u200b3 tablets", "23 tablets"),
        ("10<sup>9</sup>/L", "109/L"),
        ("&minus;5 mmol/L", "5 mmol/L"),
        ("50&ndash;100 mg", "50100 mg"),
        ("50\u2013100 mg", "50 100 mg"),
        ("5 &micro;g", "5 g"),
        ("5 <i>m</i>g", "5 g"),
        ("&lt;40", "40"),
        ("&frac12; tablet", "tablet"),
        ("<a href='5'>x</a> 6 mg", "5 x 6 mg"),
        ("1,5 g", "15 g"),
        ("5 mg, 6 mg", "6 mg, 5 mg"),
        ("excess \u00ad5", "excess 5"),
        ("at \x1e20 \u00b0C", "at 20 \u00b0C"),
        ("(<p value=0.05>) 5", "() 5"),
        ("[[Category: weeks 5-10]] 5", "5"),
        ("55 mg<sup>2</sup>/kg", "55 mg [2]/kg"),
    ],
)
def test_the_guard_sees_a_changed_number(before, after):
    with pytest.raises(ChangedNumbers, match=CHANGED) as raised:
        check_numbers(visible_text(before), after)
    assert raised.value.evidence["numbers_before"] != raised.value.evidence["numbers_after"]


def test_number_sequences():
    text = "Give 2.5 mg, \u22125 mmol/L, 50\u2013100 mg/d, \u00bd tab, 10^9/L, \u2265 65 years, m\u00b2 3"
    assert number_sequence(text) == [
        "2.5 mg", "\u22125 mmol/L", "50", "\u2013100 mg/d", "\u00bd tab", "10", "9/L", "\u2265 65 years", "\u00b2", "3",
    ]  # fmt: skip
    hidden = "a <ref>5</ref><a href='7'>8</a> [[File:x|9px]][[5|mg]]<!-- 1 --> {{1}} &lt;2"
    assert number_sequence(visible_text(hidden)) == ["8 mg", "1", "<2"]


def test_a_row_is_rejected_if_a_step_of_cleaning_loses_a_sign(monkeypatch, tmp_path):
    import polars as pl

    from medalpaca_data import clean_text as module
    from medalpaca_data.core.row import FIELDS, Row
    from medalpaca_data.shard import Shard
    from medalpaca_data.stages.clean import Clean

    monkeypatch.setattr(module, "SPACES", re.compile("[\u00a0\u2212]"))
    rows = [
        Row(instruction="q", input="", output="Base\u00a0excess \u22125 mmol/L"),
        Row(instruction="q", input="", output="5\u00a0mg"),
    ]
    table = pl.DataFrame(
        [[getattr(row, name) for name in FIELDS] for row in rows], schema=list(FIELDS), orient="row"
    )
    result = Clean().apply(table, Shard(tmp_path, "a", 0), tmp_path)
    assert {n: (drop.reason, drop.evidence) for n, drop in result.drops.items()} == {
        0: (CHANGED, {"field": "output", "numbers_before": ["\u22125 mmol/L"], "numbers_after": ["5 mmol/L"]})
    }
    assert result.frame["output"].to_list()[1] == "5 mg"


@settings(deadline=None)
@given(
    st.text(
        alphabet=st.sampled_from(
            [*"<>/supb9^- 1a[]{}&;", joined_digits.SUP, joined_digits.SUB, joined_digits.END, MARK]
        )
    )
)
def test_no_reserved_character_is_left(text):
    for read in (lambda part: clean_text(part)[0], html_text, wiki_text):
        try:
            shown = read(text)
        except (*REFUSED, ValueError):
            continue
        assert not re.search("[\ufdd0-\ufdd4]", shown)


def test_counts_and_evidence_of_the_stage(write, tmp_path, row):
    from medalpaca_data.build import build
    from medalpaca_data.recipe import load_recipe

    outputs = ["Give 50\x96100 mg.", "82?000 cases", "{{drug}} of 5\u00a0mg", "10<sup>9</sup>/L"]
    write("raw.json", [row(n, output=text) for n, text in enumerate(outputs)])
    write(
        "wiki.json",
        [row(9, instruction="What is gout?", input="", output="Above {{convert|40|mmHg|kPa}} of x")],
    )
    sources = [
        {"kind": "alpaca", "path": "raw.json", "licence": "CC0"},
        {"kind": "wikidoc_patient_info", "path": "wiki.json"},
    ]
    write("recipe.json", {"name": "t", "sources": sources, "validation": 0, "max_reject_share": 1})
    recipe, root = load_recipe(str(tmp_path / "recipe.json"))
    built = build(recipe, root, tmp_path / "out")
    plain, wiki = (
        next(stage for stage in source["stages"] if stage["stage"] == "clean")
        for source in built.ledger["sources"]
    )
    assert plain["reasons"] == {QUESTION_MARK: 1}
    assert plain["changed"] == {"encoding": 1, "invisible characters": 1, "HTML tags": 1}
    assert wiki["changed"] == {"wiki markup": 1}
    [line] = [
        line for file in (tmp_path / "out" / "rejected").iterdir() for line in file.read_text().splitlines()
    ]
    assert (json.loads(line)["field"], json.loads(line)["characters"]) == ("output", "82?000 cases")


def test_the_shared_cases(real):
    lines = (real.parent / "cases" / "data" / "numbers.jsonl").read_text(encoding="utf-8").splitlines()
    outputs = [json.loads(line)["output"] for line in lines]
    cleaned = []
    for text in outputs:
        try:
            cleaned.append(clean_text(text)[0])
        except REFUSED:
            cleaned.append(None)
    assert cleaned == [
        "Give 50\u2013100 mg twice daily.",
        None,
        "Infuse over 90\u2013120 minutes.",
        "1 out of 3\u20134 patients; error \u00b12 mg.",
        "Platelets 150 x 10^9/L; pCO2 40 mmHg.",
        outputs[5],
        outputs[6],
        "hydroxychloroquine 200 mg",
    ]
