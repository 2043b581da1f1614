import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from medalpaca_data.core.words import batches, hash_runs, hash_windows, hash_words, words

# Letters, marks and digits on which readings of Unicode differ, and ends of lines of every kind.
TEXTS = st.text("aZ_9 .\n\r\x0b\x1c\x85\u2028éßİΣς²Ⅷ一́‍\u0600\ud800", max_size=30) | st.text(max_size=30)


def hashed_words(texts):
    hashed = hash_words(texts)
    return [hashed.hashes[a:b].tolist() for a, b in zip(hashed.offsets, hashed.offsets[1:], strict=False)]


@given(st.lists(TEXTS, max_size=6))
@example(["Ab", "", " ", "AB ab_1", "ΌΣΟΣ", "ß"])
def test_hashes_are_of_the_words_that_python_finds(texts):
    found = [words(text) for text in texts]
    hashes = hashed_words(texts)
    assert [len(part) for part in hashes] == [len(part) for part in found]
    pairs = {
        (word, value)
        for part, values in zip(found, hashes, strict=True)
        for word, value in zip(part, values, strict=True)
    }
    assert len(pairs) == len({word for word, _ in pairs}) == len({value for _, value in pairs})


def test_every_character_is_cut_up_as_python_does():
    texts = [f"a{chr(code)}b" for code in range(0x30000) if not 0xD800 <= code < 0xE000]
    assert [len(part) for part in hashed_words(texts)] == [len(words(text)) for text in texts]


def test_a_hash_is_the_same_on_every_machine():
    # Stored signatures rest on it: the definition in whole numbers, with the finaliser of SplitMix64
    # (Steele, Lea and Flood 2014).
    def defined(word):
        value = sum(ord(c) * 0x9E3779B97F4A7C15**n for n, c in enumerate(word)) % 2**64
        value = (value ^ value >> 30) * 0xBF58476D1CE4E5B9 % 2**64
        value = (value ^ value >> 27) * 0x94D049BB133111EB % 2**64
        return value ^ value >> 31

    assert hashed_words(["Fever, and chills"]) == [[defined(word) for word in ("fever", "and", "chills")]]


@given(st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=40), st.integers(1, 5))
def test_a_run_has_one_hash_wherever_it_stands(values, n):
    here = np.array(values, np.uint64)
    there = np.concatenate([np.arange(7, dtype=np.uint64), here])
    starts = np.arange(len(values) + 1 - n) if n <= len(values) else np.empty(0, np.int64)
    assert hash_windows(here, n).tolist() == hash_runs(there, starts + 7, starts + 7 + n).tolist()


@pytest.mark.parametrize("size", [1, 10, 1000])
def test_batches_are_the_texts_in_order(size):
    texts = ["x" * n for n in (0, 3, 50, 1, 0)]
    parts = list(batches(iter(texts), size))
    assert [text for part in parts for text in part] == texts
    assert all(sum(map(len, part[:-1])) < size for part in parts)
