"""Surrogates: consistent within a record, never the original, and not found by a second check."""

import datetime
import random
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medalpaca_data.deid.dates import SHIFTS, DateShift
from medalpaca_data.deid.find import RULES, find_identifiers, prefilter
from medalpaca_data.deid.replace import mask, replace_identifiers
from medalpaca_data.deid.rules import Span, is_given_name, is_surname
from medalpaca_data.deid.surrogates import (
    NAME_COUNT,
    SYNTHETIC_NAME,
    Surrogates,
    is_surrogate,
    is_synthetic_name,
    synthetic_name,
)

SECRET, OTHER = bytes(32), bytes(31) + b"\x01"

NOTE = [
    "Patient Name: Adaeze Nwosu\nMRN: 4471902\nDOB: 03/14/1961",
    "Mrs. Nwosu was admitted on January 5, 2021 and discharged on January 12, 2021. Call "
    "617-867-5309 or (617) 867-5309.",
    "Adaeze's daughter Ifeoma lives at 14 Elm Street, Quincy, MA 02169. MRN 4471902 was merged. "
    "Email a.nwosu@mail.com.",
]

# Texts in which rules match, and texts around them; hypothesis joins them.
PIECES = st.sampled_from(
    [
        "Mr. Okafor", "Dr. Maria Gonzalez-Ruiz", "my name is li wei", "Sincerely,\nAnna Kovacs", "SMITH, JOHN",
        "on 3/14", "March 14, 2021", "2020-02-29", "31.12.1999", "14-Mar-2021", "May 2019", "aged 93", "95-year-old",
        "617-867-5309", "+44 20 7946 0958", "fax 6178675309", "MRN: 0012345", "SSN 123-45-6789", "a@b.org",
        "last four of her SSN is 6789", "https://a.example.com/x?y=1", "www.example.org", "10.20.130.4",
        "fe80::1ff:fe23:4567:890a", "VIN 1HGCM82633A004352", "plate ABC-1234", "IMG_1234.jpg", "PO Box 7",
        "14 Elm Street, Quincy, MA 02169", "NY 10001-1234", "Cook County", "Policy # A1", "card 4111 1111 1111 1111",
        "@anna_k", "[NAME]", "Wilson disease", " ", "\n", ", ", ". ", "'s ", "(", ")", "-", "and ", "Apt 4B",
        "is a 54-year-old", "120/80", "X", "0", "\u00e9", "\u0130", "\u00df", "\U0001f600", "St. Mary Hospital",
    ]
)  # fmt: skip
TEXTS = st.one_of(
    st.text(max_size=80),
    st.lists(PIECES, max_size=8).map("".join),
    st.lists(PIECES, max_size=8).map(" ".join),
)


def outside(text, spans):
    """Return the parts of the text between the spans."""
    edges = [0, *(at for span in spans for at in (span.start, span.end)), len(text)]
    return [text[start:end] for start, end in zip(edges[::2], edges[1::2], strict=True)]


def test_one_person_has_one_surrogate_in_all_texts_of_a_record():
    done = replace_identifiers(NOTE, "row-1", SECRET)
    first, last = re.search(r"Name: (\w+) (\w+)", done.texts[0]).groups()
    assert is_synthetic_name(first) and is_synthetic_name(last) and first != last
    assert f"Mrs. {last} was" in done.texts[1]
    assert f"{first}'s daughter" in done.texts[2]
    number = re.search(r"MRN: (\d+)", done.texts[0])[1]
    assert f"MRN {number} was" in done.texts[2] and len(number) == 7
    phones = re.findall(r"\(?\d{3}\)?[ -]\d{3}-\d{4}", done.texts[1])
    assert len(phones) == 2 and len({re.sub(r"\D", "", phone) for phone in phones}) == 1
    assert re.fullmatch(r"\d{3}-555-01\d\d", phones[0]) and re.fullmatch(r"\(\d{3}\) 555-01\d\d", phones[1])


def test_nothing_of_the_original_is_left():
    after = "\n".join(replace_identifiers(NOTE, "row-1", SECRET).texts)
    secrets = "Adaeze,Nwosu,4471902,03/14,January 5,867-5309,Ifeoma,Elm,Quincy,02169,mail.com"
    assert not [secret for secret in secrets.split(",") if secret in after]


def test_a_record_is_replaced_the_same_way_every_time_and_another_differently():
    assert replace_identifiers(NOTE, "row-1", SECRET) == replace_identifiers(NOTE, "row-1", SECRET)
    assert (
        replace_identifiers(NOTE, "row-1", SECRET).texts != replace_identifiers(NOTE, "row-2", SECRET).texts
    )
    assert replace_identifiers(NOTE, "row-1", SECRET).texts != replace_identifiers(NOTE, "row-1", OTHER).texts


@pytest.mark.parametrize("record", [str(n) for n in range(25)])
def test_dates_move_together_into_another_century(record):
    after = replace_identifiers(NOTE, record, SECRET).texts
    one, two = (
        datetime.datetime.strptime(text, "%B %d, %Y").date()
        for text in re.findall(r"[A-Z][a-z]+ \d+, \d{4}", after[1])
    )
    birth = datetime.datetime.strptime(re.search(r"DOB: (\S+)", after[0])[1], "%m/%d/%Y").date()
    assert (two - one).days == 7
    assert all(2100 <= day.year <= 2199 for day in (one, two, birth))
    assert one != datetime.date(2021, 1, 5) and birth != datetime.date(1961, 3, 14)
    # Leap years apart, both moved by the same number of days.
    assert (one - datetime.date(2021, 1, 5)).days == (birth - datetime.date(1961, 3, 14)).days


GROUP_NOTES = (
    "Admitted 03/14/2020. Mr. Okafor was seen by Dr. Lindqvist, MRN: 4471902.",
    "Dr. Lindqvist saw Mrs. Okafor on December 28, 2020. MRN: 4471902, phone 617-867-5309.",
    "OKAFOR called from 617-867-5309 on 01/02/2021.",
)


def test_rows_of_a_group_share_surrogates_and_the_shift_of_dates():
    one, two, three = (
        replace_identifiers([text], f"row {n}", SECRET, group="case 4711").texts[0]
        for n, text in enumerate(GROUP_NOTES)
    )
    patient, doctor, number = re.search(r"Mr\. (\w+) .* Dr\. (\w+), MRN: (\d+)", one).groups()
    assert patient != doctor and f"Dr. {doctor} saw Mrs. {patient} on" in two and f"MRN: {number}," in two
    phone = re.search(r"phone ([\d-]+)", two)[1]
    assert f"called from {phone} on" in three
    first, second, third = (
        datetime.datetime.strptime(text, shape).date()
        for text, shape in (
            (re.search(r"Admitted (\S+)\.", one)[1], "%m/%d/%Y"),
            (re.search(r"on (\w+ \d+, \d+)", two)[1], "%B %d, %Y"),
            (re.search(r"on (\S+)\.", three)[1], "%m/%d/%Y"),
        )
    )
    assert ((second - first).days, (third - second).days) == (289, 5)


def test_another_group_has_other_surrogates():
    texts = {replace_identifiers([GROUP_NOTES[0]], "r", SECRET, group=str(n)).texts for n in range(20)}
    assert len(texts) == 20


@pytest.mark.parametrize("text", ["Mr. Van came.", "at General Hospital", "Apt 0", "SSN: 000-12-3456"])
def test_no_kind_of_surrogate_repeats_an_original_of_kept_words(text):
    original = text.rstrip(".").split(" ", 1)[1].removesuffix(" came")
    for kind in ("name", "place", "date", "mrn", "ssn", "age"):
        span = Span(text.index(original), text.index(original) + len(original), kind, "test")
        assert Surrogates(SECRET, "row r").replacement(span, text).lower() != original.lower()


def test_the_shift_does_not_depend_on_the_dates_of_the_record():
    one = DateShift(["03/14/1961"], random.Random(5))
    assert one.days == DateShift((), random.Random(5)).days in SHIFTS


def test_dates_out_of_range_are_not_written():
    assert DateShift((), random.Random(1)).apply("03/14/1899") == "[DATE]"
    assert DateShift((), random.Random(1)).apply("03/14/2090") == "[DATE]"
    assert DateShift((), random.Random(1)).apply("Michaelmas") == "[DATE]"


@given(st.dates(datetime.date(1935, 1, 1), datetime.date(2027, 12, 31)), st.integers(0, 99))
def test_shifted_dates_are_in_the_years_2100_to_2199(day, draw):
    shift = DateShift((), random.Random(draw))
    for text in (
        f"{day:%m/%d/%Y}",
        f"{day:%Y%m%d}",
        f"{day:%B} {day.day}, {day.year}",
        f"{day:%d-%b-%y}",
        f"{day:%m/%d}",
    ):
        shifted = shift.apply(text)
        assert is_surrogate("date", shifted) and not is_surrogate("date", text)
        assert shifted == "[DATE]" or re.search(r"21[0-9]{2}", shifted)
    assert shift.apply(f"{day:%Y-%m-%d}") == f"{day + datetime.timedelta(days=shift.days):%Y-%m-%d}"


@pytest.mark.parametrize(
    ("before", "shape"),
    [
        ("seen March 3rd, 2019", r"seen [A-Z][a-z]+ \d{1,2}(st|nd|rd|th), 21\d\d"),
        ("seen 03-Mar-2019", r"seen \d\d-[A-Z][a-z]{2}-21\d\d"),
        ("seen 2019-03-03", r"seen 21\d\d-\d\d-\d\d"),
        ("seen 23.03.2019", r"seen \d\d\.\d\d\.21\d\d"),
        ("seen Sunday, March 3, 2019", r"seen [A-Z][a-z]+day, [A-Z][a-z]+ \d{1,2}, 21\d\d"),
        ("DOB: 19610314", r"DOB: 21\d{6}"),
        ("seen on 3/5 again", r"seen on \d{1,2}/\d{1,2}/21\d\d again"),
        ("seen March 3 again", r"seen [A-Z][a-z]+ \d{1,2}, 21\d\d again"),
        ("seen 3 March again", r"seen \d{1,2} [A-Z][a-z]+ 21\d\d again"),
        ("in MARCH 2019", r"in [A-Z]{3,9} 21\d\d"),
        ("aged 93", "aged 90 or older"),
        # The birth year reveals an age over 89: 45 CFR 164.514(b)(2)(i)(C).
        ("DOB: 03/14/1921", "DOB: 90 or older"),
        ("born on March 14, 1921", "born on 90 or older"),
        ("born in 1921", "born in 90 or older"),
        ("DOB: 03/14/1961", r"DOB: \d\d/\d\d/21\d\d"),
        ("a 93-year-old man", "a 90-or-older man"),
        ("ZIP code: 60614", "ZIP code: 606XX"),
        # Alstead, NH: fewer than 20,000 people live in area 036.
        ("ZIP code: 03601", "ZIP code: 000XX"),
        ("ZIP code: 89301", "ZIP code: 000XX"),
        ("VIN 1HGCM82633A004352", r"VIN 0XXXX00000X0000\d\d"),
        ("SSN: 123-45-6789", r"SSN: 000-\d\d-\d{4}"),
        ("write to a.nwosu@mail.com", r"write to [a-z]+@example\.org"),
        ("from 81.20.130.4", r"from 192\.0\.2\.\d+"),
        ("see https://anna.net/x", r"see https://example\.org/\d\d"),
        ("photo IMG_2231.jpg", r"photo XXX_00\d\d\.jpg"),
    ],
)
def test_a_surrogate_keeps_its_layout(before, shape):
    assert re.fullmatch(shape, replace_identifiers([before], "r", SECRET).texts[0])


@pytest.mark.parametrize(
    "day",
    [datetime.date(2020, 2, 29), datetime.date(2021, 12, 31), datetime.date(1940, 1, 1)],
)
def test_the_weekday_matches_the_shifted_date(day):
    after = replace_identifiers([f"seen {day:%A}, {day:%B} {day.day}, {day.year}"], "r", SECRET).texts[0]
    moved = datetime.datetime.strptime(after, "seen %A, %B %d, %Y")
    assert f"{moved:%A}" in after


def test_synthetic_names_are_distinct_and_not_real_names():
    names = [synthetic_name(n) for n in range(NAME_COUNT)]
    assert len(set(names)) == NAME_COUNT == 25_200 and all(SYNTHETIC_NAME.fullmatch(name) for name in names)
    assert not any(is_given_name(name) or is_surname(name) for name in names)


def test_many_people_in_one_record_get_distinct_surrogates():
    # No synthetic name ends with q. Of 420 random names of 25,200, three or four are expected twice.
    names = [synthetic_name(n) + "q" for n in range(420)]
    after = replace_identifiers([" ".join(f"Mr. {name} came." for name in names)], "r", SECRET).texts[0]
    assert len(set(re.findall(r"Mr\. (\w+) came", after))) >= 412


def test_masks_of_public_sources_stay():
    text = "Patient [NAME] of [LOCATION], [**Name**], call [CONTACT]."
    assert replace_identifiers([text], "r", SECRET).texts == (text,)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(TEXTS, min_size=1, max_size=3),
    st.binary(min_size=32, max_size=32),
    st.none() | st.text(max_size=8),
)
def test_any_record(texts, secret, group):
    """No text raises an error; text outside the spans is unchanged; each surrogate is new; no identifier remains."""
    done = replace_identifiers(texts, "r", secret, group=group)
    for before, after, found, inserted in zip(
        texts, done.texts, done.identifiers, done.surrogates, strict=True
    ):
        assert outside(before, found) == outside(after, inserted)
        for old, new in zip(found, inserted, strict=True):
            original, surrogate = before[old.start : old.end], after[new.start : new.end]
            assert surrogate.lower() != original.lower()
    assert not any(done.remaining)
    assert replace_identifiers(texts, "r", secret, group=group) == done


@settings(max_examples=100, deadline=None)
@given(st.lists(TEXTS, min_size=2, max_size=3), st.binary(min_size=32, max_size=32))
def test_rows_of_any_group_agree(texts, secret):
    """The same identifier has the same surrogate in all rows of a group, whatever else is in the rows."""
    known = {}
    for n, text in enumerate(texts):
        done = replace_identifiers([text], f"row {n}", secret, group="g")
        for old, new in zip(done.identifiers[0], done.surrogates[0], strict=True):
            surrogate = done.texts[0][new.start : new.end]
            # Whether a birth date is replaced by an age depends on the words before it.
            if surrogate != "90 or older":
                key = (old.kind, text[old.start : old.end])
                assert known.setdefault(key, surrogate) == surrogate


@settings(max_examples=300, deadline=None)
@given(TEXTS)
def test_the_prefilter_keeps_every_text_with_a_hit(text):
    if any(rule.spans(text) for rule in RULES):
        assert prefilter([text]) == [0]


@settings(max_examples=200, deadline=None)
@given(TEXTS)
def test_masking_changes_only_the_spans(text):
    [found] = find_identifiers([text])
    [after] = mask([text], [found])
    assert (
        "".join(outside(text, found))
        == re.sub("|".join(re.escape(f"[{s.kind.upper()}]") for s in found) or "(?!)", "", after)
        or "[" in text
    )
