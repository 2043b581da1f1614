"""Token sequences packed as trees, in which a common beginning occurs, and is encoded, once.

A row holds a tree of tokens in depth-first order. `ends` holds, for each token, the position after its subtree.
Token i attends to token j if j <= i < ends[j], that is, to its ancestors and itself. The module uses no model and no
tensors.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

Tokens = list[int]


@dataclass(slots=True)
class TreeRow:
    """One tree of sequences.

    `depths`: the position of each token in its own sequence. `ends`: the position after each token's subtree; final
    only after `close`. `positions[k]`: the positions in the row, one per token, of the sequence with index k.
    """

    tokens: list[int] = field(default_factory=list)
    depths: list[int] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)
    positions: dict[int, list[int]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def branches(self) -> bool:
        """Whether the row is more than one chain of tokens, so that plain causal attention is not enough."""
        return bool(self.tokens) and self.depths[-1] != len(self.tokens) - 1

    @property
    def trunk(self) -> int:
        """Number of tokens at the start that all sequences of the row share; valid after `close`."""
        return next((i for i, end in enumerate(self.ends) if end < len(self.tokens)), len(self.tokens))

    def add(self, index: int, sequence: Tokens, shared: int, path: list[int]) -> list[int]:
        """Add sequence `index`, which branches off `path` after `shared` tokens; return its positions in the row.

        `path` holds the positions of the sequence that was added before, or is empty.
        """
        start = len(self.tokens)
        for position in path[shared:]:
            self.ends[position] = min(self.ends[position], start)
        new = range(start, start + len(sequence) - shared)
        self.tokens.extend(sequence[shared:])
        self.depths.extend(range(shared, len(sequence)))
        self.ends.extend([OPEN_END] * len(new))
        self.positions[index] = [*path[:shared], *new]
        return self.positions[index]

    def close(self) -> TreeRow:
        """Set the end of every open token to the length of the row, and return the row."""
        self.ends = [min(end, len(self.tokens)) for end in self.ends]
        return self


OPEN_END = 1 << 60
# A prefix must save this share of a group's tokens. It requires attention with a mask, which costs about half of that.
MIN_SHARED = 0.15


@dataclass(frozen=True, slots=True)
class AttentionCost:
    """Cost of encoding, in units of the attention of one token to one other.

    `width` is the other cost per token. A transformer block of hidden size h needs 12 h^2 multiplications per token,
    and 2 h per attended position. So `width` is 6 h, plus 1 per token of a prefix that all tokens attend to. Plain
    causal attention skips half of the square; attention with a mask does not.
    """

    width: int

    def row(self, length: int, *, causal: bool = False) -> float:
        """Return the cost of one row of `length` tokens, in the unit of this class.

        `causal`: plain causal attention, which skips half of the square; otherwise attention with a mask.
        """
        return length * (self.width + (length / 2 if causal else length))


def pack_rows(sequences: Sequence[Tokens], cost: AttentionCost, longest: int) -> list[TreeRow]:
    """Return rows that hold every sequence; a beginning is shared where that costs no more than a separate row.

    A row has at most `longest` tokens, or twice the length of a sequence that is longer than half of that. Its
    `positions` have the indices of `sequences`. Raises ValueError for a sequence without tokens.
    """
    if not all(sequences):
        raise ValueError("a sequence without tokens cannot be scored")
    rows: list[TreeRow] = []
    path: list[int] = []
    before: Tokens = []
    # In sorted order, a sequence shares most with the one before it.
    for index in sorted(range(len(sequences)), key=lambda index: sequences[index]):
        sequence = sequences[index]
        shared = common_prefix(before, sequence)
        if not rows or not _fits_in_row(
            rows[-1], len(sequence), shared, cost, max(longest, 2 * len(sequence))
        ):
            rows.append(TreeRow())
            path, shared = [], 0
        path = rows[-1].add(index, sequence, shared, path)
        before = sequence
    return [row.close() for row in rows]


def _fits_in_row(row: TreeRow, length: int, shared: int, cost: AttentionCost, longest: int) -> bool:
    joined = len(row) + length - shared
    if shared == length:
        return True
    chain = not row.branches and shared == len(row)
    apart = cost.row(len(row), causal=not row.branches) + cost.row(length, causal=True)
    return joined <= longest and cost.row(joined, causal=chain) <= apart


@dataclass(frozen=True, slots=True)
class PrefixGroup:
    """Indices of sequences whose first `prefix` tokens are the same; 0 for sequences without a common prefix."""

    prefix: int
    members: tuple[int, ...]


def group_by_prefix(stems: Sequence[Tokens], tokens: int) -> list[PrefixGroup]:
    """Return groups of sequences, each with the prefix after which its members are encoded.

    `stems` holds the part of each sequence that a prefix may cover. A prefix is used if it saves at least `MIN_SHARED`
    of the group's tokens, and those that remain to encode exceed one batch of `tokens` tokens. All other sequences form
    the last group, with a prefix of 0.
    """
    groups: list[PrefixGroup] = []
    rest: list[int] = []

    def close(prefix: int, members: list[int], distinct: int, total: int) -> None:
        saved = prefix * (distinct - 1)
        if saved >= MIN_SHARED * total and total - saved > tokens:
            groups.append(PrefixGroup(prefix, tuple(members)))
        else:
            rest.extend(members)

    prefix, members, distinct, total = 0, list[int](), 0, 0
    before: Tokens = []
    for index in sorted(range(len(stems)), key=lambda index: stems[index]):
        stem = stems[index]
        if members and stem == before:
            members.append(index)
            continue
        common = min(prefix, common_prefix(before, stem))
        if members and common * distinct >= prefix * (distinct - 1) and common:
            prefix, distinct, total = common, distinct + 1, total + len(stem)
            members.append(index)
        else:
            if members:
                close(prefix, members, distinct, total)
            prefix, members, distinct, total = len(stem), [index], 1, len(stem)
        before = stem
    if members:
        close(prefix, members, distinct, total)
    return [*groups, *([PrefixGroup(0, tuple(rest))] if rest else [])]


def common_prefix(first: Tokens, second: Tokens) -> int:
    """Return the number of leading tokens that two sequences share."""
    pairs = zip(first, second, strict=False)
    return next((i for i, (one, other) in enumerate(pairs) if one != other), min(len(first), len(second)))


def make_batches(rows: Sequence[TreeRow], tokens: int) -> Iterator[list[TreeRow]]:
    """Yield batches, longest rows first: at most `tokens` tokens including padding, or a single longer row."""
    batch: list[TreeRow] = []
    for row in sorted(rows, key=len, reverse=True):
        if batch and (len(batch) + 1) * len(batch[0]) > tokens:
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch
