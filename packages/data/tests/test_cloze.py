import pytest
from hypothesis import given
from hypothesis import strategies as st

from medalpaca_data.core.joined_digits import JoinedDigits
from medalpaca_data.sources.anki import split_cloze


@pytest.mark.parametrize(
    ("text", "number", "shown", "hidden"),
    [
        ("a {{c1::b}} c", 1, "a ____ c", ["b"]),
        ("a {{c1::b::hint}} c", 1, "a ____ (hint) c", ["b"]),
        ("a {{c1::b}} c", 2, "a b c", []),
        ("{{c1::x}} and {{c1::y}}, {{c2::z}}", 1, "____ and ____, z", ["x", "y"]),
        ("{{c1::outer {{c2::inner}} end}}", 1, "____", ["outer inner end"]),
        ("{{c1::outer {{c2::inner::i}} end::o}}", 2, "outer ____ (i) end", ["inner"]),
        ("{{c1::outer {{c2::inner}} end::o}}", 1, "____ (o)", ["outer inner end"]),
        ("{{c1::one {{c1::two}}}}", 1, "____", ["one two"]),
        ("{{c1,3::both}} {{c2::x}}", 3, "____ x", ["both"]),
        ("{{C1::caps}}", 1, "____", ["caps"]),
        ("open {{c1::for ever::and", 1, "open {{c1::for ever::and", []),
        ("{{c1::a {{c2::b}}", 2, "{{c1::a ____", ["b"]),
        ("no gap }} {{Field}} c1::", 1, "no gap }} {{Field}} c1::", []),
        ("{{c1::}}", 1, "____", [""]),
    ],
)
def test_gaps(text, number, shown, hidden):
    assert split_cloze(text, number) == (shown, hidden)


@pytest.mark.parametrize(
    ("text", "number", "digits"),
    [
        ("10{{c1::9}} {{c2::b}}", 2, "10|9"),
        ("{{c1::10}}{{c2::9}} {{c3::b}}", 3, "10|9"),
        ("{{c1::10{{c2::9}}}}", 1, "10|9"),
    ],
)
def test_digits_at_both_sides_of_a_filled_gap_are_refused(text, number, digits):
    with pytest.raises(JoinedDigits) as raised:
        split_cloze(text, number)
    assert raised.value.digits == digits


def test_digits_beside_a_gap_are_kept():
    assert split_cloze("10{{c1::9}} {{c2::b}}", 1) == ("10____ b", ["9"])


@given(
    st.recursive(st.sampled_from(["x", " ", "<b>y</b>", ":", "}"]), lambda inner: st.lists(inner, max_size=4))
)
def test_every_gap_hides_what_the_whole_text_shows(tree):
    numbers = iter(range(1, 1000))

    def write(node, *, marked):
        if isinstance(node, str):
            return node
        inner = "".join(write(one, marked=marked) for one in node) + "."
        return f"{{{{c{next(numbers)}::{inner}}}}}" if marked else inner

    plain, marked = write(tree, marked=False), write(tree, marked=True)
    if "}}" in plain or "::" in plain:
        return
    for number in range(1, next(numbers)):
        shown, [hidden] = split_cloze(marked, number)
        assert shown.replace("____", hidden) == plain


def test_nesting_has_an_end():
    with pytest.raises(ValueError, match="nested more than 20 deep"):
        split_cloze("{{c1::" * 30 + "x" + "}}" * 30, 1)


@given(st.text(alphabet="{}c1:,ab\n", max_size=80), st.integers(-1, 12))
def test_any_text_is_read(text, number):
    shown, hidden = split_cloze(text, number)
    assert shown.count("____") >= bool(hidden)
