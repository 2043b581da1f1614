"""Trees of tokens: every sequence is in them, once, and sees its own beginning and nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medalpaca_evalharness.model.prefix_tree import (
    AttentionCost,
    TreeRow,
    common_prefix,
    group_by_prefix,
    make_batches,
    pack_rows,
)

FREE = AttentionCost(
    width=1 << 40
)  # attention costs nothing beside the rest: whatever shares a token shares a row

sequences = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=12), min_size=1, max_size=20)


def seen_by(row: TreeRow, position: int) -> list[int]:
    """The tokens that the one at `position` attends to, by the rule that the mask is made from."""
    return [row.tokens[j] for j in range(len(row)) if j <= position < row.ends[j]]


@given(sequences, st.sampled_from([1, 30, 1 << 40]), st.integers(1, 60))
def test_attention_covers_exactly_the_own_sequence(given, width, longest):
    found = {}
    for row in pack_rows(given, AttentionCost(width), longest):
        assert len(row) == len(row.depths) == len(row.ends)
        for index, positions in row.positions.items():
            assert index not in found
            found[index] = [seen_by(row, position) for position in positions]
            assert [row.depths[position] for position in positions] == list(range(len(positions)))
        assert row.branches == (max(len(positions) for positions in row.positions.values()) < len(row))
        shared = [len(set(column)) == 1 for column in zip(*row.positions.values(), strict=False)]
        assert all(shared[: row.trunk])
    assert found == {i: [one[: n + 1] for n in range(len(one))] for i, one in enumerate(given)}


@given(sequences)
def test_no_duplicates_if_attention_costs_nothing(given):
    rows = pack_rows(given, FREE, 10_000)
    beginnings = {tuple(one[: n + 1]) for one in given for n in range(len(one))}
    assert sum(len(row) for row in rows) == len(beginnings)


def test_options_share_a_row_and_questions_do_not():
    """At the width of a small model: 6 h with h = 512."""
    questions = [[q] * 300 for q in range(4)]
    texts = [question + [9, option] * 5 for question in questions for option in range(5)]
    rows = pack_rows(texts, AttentionCost(3072), 4096)
    assert sorted(len(row) for row in rows) == [300 + 1 + 5 * 9] * 4
    assert all(row.branches and row.trunk == 301 for row in rows)


def test_letters_are_one_plain_row():
    """The last token of an option is never an input, so that one-token options all ask the same position."""
    (row,) = pack_rows([[1, 2, 3]] * 26, AttentionCost(3072), 4096)
    assert (row.tokens, row.branches, len(row.positions)) == ([1, 2, 3], False, 26)


def test_an_option_that_extends_another_is_one_chain():
    (row,) = pack_rows([[1, 2, 3, 4], [1, 2], [1, 2, 3]], AttentionCost(3072), 4096)
    assert (row.tokens, row.branches) == ([1, 2, 3, 4], False)
    assert row.positions == {0: [0, 1, 2, 3], 1: [0, 1], 2: [0, 1, 2]}


def test_a_row_stays_below_the_longest():
    rows = pack_rows([[1] * 20 + [i] * 10 for i in range(2, 12)], FREE, 100)
    assert [len(row) for row in rows] == [100, 40]


def test_options_of_a_very_long_question_share_a_row():
    (row,) = pack_rows([[1] * 300 + [i] * 10 for i in range(2, 12)], FREE, 100)
    assert len(row) == 400


FEW_SHOT = list(range(1000, 1400))


def test_examples_before_every_question_are_a_prefix():
    """Two subjects with examples of their own, and requests that have nothing before them."""
    stems = [
        [1, subject, *FEW_SHOT, question] + [question] * 50 for subject in (7, 8) for question in range(30)
    ]
    *prefixed, rest = group_by_prefix([*stems, [], []], tokens=1024)
    assert [(family.prefix, family.members) for family in prefixed] == [
        (402, tuple(range(30))),
        (402, tuple(range(30, 60))),
    ]
    assert (rest.prefix, sorted(rest.members)) == (0, [60, 61])


def test_a_short_instruction_before_every_question_is_not_worth_a_prefix():
    stems = [[1] * 20 + [question] * 280 for question in range(2, 100)]
    assert [family.prefix for family in group_by_prefix(stems, tokens=1024)] == [0]


def test_what_fits_into_a_batch_needs_no_prefix():
    stems = [[*FEW_SHOT, question] for question in range(30)]
    assert [family.prefix for family in group_by_prefix(stems, tokens=1024)] == [0]


def test_options_do_not_count_as_sharing():
    stems = [question * 100 for question in ([1, 2], [3, 4]) for _ in range(26)]
    assert [family.prefix for family in group_by_prefix(stems, tokens=100)] == [0]


@given(st.lists(st.lists(st.integers(0, 2), max_size=12), max_size=20), st.integers(0, 30))
def test_every_sequence_is_in_one_group_with_its_prefix(stems, tokens):
    found = group_by_prefix(stems, tokens)
    assert sorted(index for family in found for index in family.members) == list(range(len(stems)))
    for family in found:
        assert len({tuple(stems[index][: family.prefix]) for index in family.members}) == 1
        assert all(len(stems[index]) >= family.prefix for index in family.members)


@given(st.lists(st.integers(1, 50), min_size=1, max_size=30), st.integers(1, 120))
def test_batches_respect_the_token_limit(lengths, tokens):
    rows = pack_rows([[i] * n for i, n in enumerate(lengths)], AttentionCost(1), 1)
    found = list(make_batches(rows, tokens))
    assert sorted(len(row) for batch in found for row in batch) == sorted(lengths)
    for batch in found:
        assert len(batch) == 1 or len(batch) * max(map(len, batch)) <= tokens


def test_a_sequence_without_tokens_is_refused():
    with pytest.raises(ValueError, match="without tokens"):
        pack_rows([[1], []], FREE, 10)


def test_common_prefix():
    assert common_prefix([1, 2, 3], [1, 2, 4]) == 2
    assert common_prefix([1, 2], [1, 2, 4]) == 2
    assert common_prefix([], [1]) == 0
