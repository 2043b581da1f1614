"""Token sequences as trees: what several of them begin with stands, and is encoded, once.

A row holds a tree of tokens in depth-first order. With the position behind the last token of a token's subtree
(`ends`), attention is decided by two comparisons: token i sees token j when j <= i < ends[j], which holds for
its ancestors and itself and nothing else. Knows no model and no tensor.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

Tokens = list[int]


@dataclass(slots=True)
class TreeRow:
    """One tree. `places[k]` are the positions in the row, one per token, of the sequence whose index is k."""

    tokens: list[int] = field(default_factory=list)
    depths: list[int] = field(default_factory=list)  # a token's position in its own sequence
    ends: list[int] = field(default_factory=list)
    places: dict[int, list[int]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def branches(self) -> bool:
        """Whether the row is more than one chain of tokens, which plain causal attention would serve."""
        return bool(self.tokens) and self.depths[-1] != len(self.tokens) - 1

    @property
    def trunk(self) -> int:
        """How many tokens at the start all of the row's sequences share."""
        return next((i for i, end in enumerate(self.ends) if end < len(self.tokens)), len(self.tokens))

    def add(self, index: int, sequence: Tokens, shared: int, path: list[int]) -> list[int]:
        """Branch off `path`, the places of the sequence added last, after its first `shared` tokens."""
        start = len(self.tokens)
        for place in path[shared:]:
            self.ends[place] = min(self.ends[place], start)
        new = range(start, start + len(sequence) - shared)
        self.tokens.extend(sequence[shared:])
        self.depths.extend(range(shared, len(sequence)))
        self.ends.extend([OPEN_END] * len(new))
        self.places[index] = [*path[:shared], *new]
        return self.places[index]

    def close(self) -> TreeRow:
        """Give every token that is still open the row's length as its end."""
        self.ends = [min(end, len(self.tokens)) for end in self.ends]
        return self


OPEN_END = 1 << 60
MIN_SHARED = 0.15  # of a family's tokens: attention by a mask, which a prefix needs, costs about half of that


@dataclass(frozen=True, slots=True)
class AttentionCost:
    """What encoding costs, in units of one token's pass over one other in attention.

    `width` is what everything else costs per token: for a transformer block 12 h^2 multiplications against the
    2 h of one attended position (scores and mixing), so 6 h; with every token encoded before that all see, one
    more. Plain causal attention skips half of the square, attention by a mask does not.
    """

    width: int

    def row(self, length: int, *, causal: bool = False) -> float:
        """One row of `length` tokens."""
        return length * (self.width + (length / 2 if causal else length))


def pack_rows(sequences: Sequence[Tokens], cost: AttentionCost, longest: int) -> list[TreeRow]:
    """Put every sequence into a row, sharing beginnings where that costs less than a row of its own.

    No row grows beyond `longest` tokens, or twice a sequence that is longer than half of that. Raises ValueError for
    a sequence without tokens.
    """
    if not all(sequences):
        raise ValueError("a sequence without tokens cannot be scored")
    rows: list[TreeRow] = []
    path: list[int] = []
    before: Tokens = []
    # Sorted, the one before is the one with which a sequence shares most.
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
    """Sequences, by index, whose first `prefix` tokens are the same."""

    prefix: int
    members: tuple[int, ...]


def group_by_prefix(stems: Sequence[Tokens], tokens: int) -> list[PrefixGroup]:
    """Which sequences to encode after a common prefix, given what of each may be in one.

    What fits into one batch of `tokens`, or shares less than `SHARED` of its tokens, needs no prefix; all such
    sequences are one family, the last, with a prefix of 0.
    """
    found: list[PrefixGroup] = []
    rest: list[int] = []

    def close(prefix: int, members: list[int], different: int, whole: int) -> None:
        saved = prefix * (different - 1)
        if saved >= MIN_SHARED * whole and whole - saved > tokens:
            found.append(PrefixGroup(prefix, tuple(members)))
        else:
            rest.extend(members)

    prefix, members, different, whole = 0, list[int](), 0, 0
    before: Tokens = []
    for index in sorted(range(len(stems)), key=lambda index: stems[index]):
        stem = stems[index]
        if members and stem == before:
            members.append(index)
            continue
        common = min(prefix, common_prefix(before, stem))
        if members and common * different >= prefix * (different - 1) and common:
            prefix, different, whole = common, different + 1, whole + len(stem)
            members.append(index)
        else:
            if members:
                close(prefix, members, different, whole)
            prefix, members, different, whole = len(stem), [index], 1, len(stem)
        before = stem
    if members:
        close(prefix, members, different, whole)
    return [*found, *([PrefixGroup(0, tuple(rest))] if rest else [])]


def common_prefix(first: Tokens, second: Tokens) -> int:
    """How many tokens two sequences begin with in common."""
    pairs = zip(first, second, strict=False)
    return next((i for i, (one, other) in enumerate(pairs) if one != other), min(len(first), len(second)))


def make_batches(rows: Sequence[TreeRow], tokens: int) -> Iterator[list[TreeRow]]:
    """Rows of like length together, longest first, each batch at most `tokens` with its padding (or one row)."""
    batch: list[TreeRow] = []
    for row in sorted(rows, key=len, reverse=True):
        if batch and (len(batch) + 1) * len(batch[0]) > tokens:
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch
