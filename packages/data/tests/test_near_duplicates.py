"""Near-duplicates: the result equals that of comparing all pairs, on random, planted and real texts."""

import json
import random
from collections import Counter, defaultdict
from itertools import pairwise
from math import nextafter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medalpaca_data.core.words import ngrams, words
from medalpaca_data.stages import jaccard, minhash
from medalpaca_data.stages import near_duplicates as search

THRESHOLDS = st.sampled_from([0.5, 0.55, 0.6, 0.7, 0.8, 0.9, 1.0])
TEXTS = st.lists(st.text("ab é.", max_size=25), max_size=12)


@st.composite
def corpora(draw):
    """Draw variants of few texts: pairs of every similarity, exact copies, and texts too short for a shingle."""
    rng = random.Random(draw(st.integers(0, 2**32)))
    vocabulary = ["a", "b", "Ç", "é1", "dd", "x²", "_", "the"][: rng.randint(2, 8)]
    forms = [[rng.choice(vocabulary) for _ in range(rng.randint(0, 30))] for _ in range(rng.randint(1, 4))]
    texts = []
    for _ in range(draw(st.integers(0, 30))):
        tokens = list(rng.choice(forms))
        for _ in range(rng.randint(0, 3) if tokens else 0):
            tokens[rng.randrange(len(tokens))] = rng.choice(vocabulary)
        texts.append(rng.choice([" ", "\n", ", "]).join(tokens))
    return texts


def similarity(first, second):
    tokens, others = words(first), words(second)
    a, b = set(ngrams(tokens, 3)), set(ngrams(others, 3))
    return len(a & b) / len(a | b) if a and b else float(tokens == others)


def all_pairs(texts):
    return ((i, j, similarity(texts[i], texts[j])) for j in range(len(texts)) for i in range(j))


def near_duplicates(texts, threshold=0.8, forms=None):
    """Search in texts that restate each other, unless `forms` differ."""
    return search.near_duplicates(InParts(texts, [0] * len(texts) if forms is None else forms), threshold)


class InParts:
    """Texts in three parts, two of them small; without `forms`, no text restates another."""

    def __init__(self, texts, forms):
        ends = [0, len(texts) // 7, len(texts) // 3, len(texts)]
        self.parts = [texts[a:b] for a, b in pairwise(ends)]
        self.forms = forms and [forms[a:b] for a, b in pairwise(ends)]
        self.sizes = [len(part) for part in self.parts]

    def read(self, part):
        return self.parts[part]

    def select(self, part, positions):
        chosen = positions.tolist()
        return [self.parts[part][n] for n in chosen], self.forms and [self.forms[part][n] for n in chosen]


def brute_force(count, similar_pairs, forms=None):
    """Return keeper, cluster, first similar text and similarity of the dropped, by the definition."""
    forms = forms or [0] * count
    keeper, cluster, first, dropped = list(range(count)), list(range(count)), list(range(count)), {}
    for i, j, value in sorted(similar_pairs):
        if keeper[i] == i and keeper[j] == j and forms[i] == forms[j]:
            keeper[j], dropped[j] = i, value
        one, other = sorted((cluster[i], cluster[j]))
        cluster = [one if label == other else label for label in cluster]
        first[j] = min(first[j], i)
    return keeper, cluster, first, dropped


def keepers(found):
    keeper = list(range(len(found.cluster)))
    for n, kept in zip(found.dropped.tolist(), found.keeper.tolist(), strict=True):
        keeper[n] = kept
    return keeper


def as_lists(found):
    dropped = dict(zip(found.dropped.tolist(), found.jaccard.tolist(), strict=True))
    return keepers(found), found.cluster.tolist(), found.first.tolist(), dropped


@given(corpora(), THRESHOLDS, st.integers(1, 3), st.randoms(use_true_random=False))
@settings(max_examples=100, deadline=None)
def test_the_result_equals_that_of_comparing_all_pairs(texts, threshold, number, rng):
    forms = [rng.randrange(number) for _ in texts]
    similar_pairs = [pair for pair in all_pairs(texts) if pair[2] >= threshold]
    assert as_lists(near_duplicates(texts, threshold, forms)) == brute_force(len(texts), similar_pairs, forms)


@given(TEXTS, st.data())
def test_an_exact_copy_is_always_found(texts, data):
    texts.append(data.draw(st.text(max_size=40)))
    place = data.draw(st.integers(0, len(texts) - 1))
    found = near_duplicates([*texts, texts[place]], 1.0)
    assert found.cluster[-1] == found.cluster[place]
    assert keepers(found)[-1] == keepers(found)[place]
    assert found.jaccard[-1] == 1.0


@given(corpora(), THRESHOLDS)
@settings(deadline=None)
def test_everything_twice_drops_the_second_half(texts, threshold):
    once, twice = near_duplicates(texts, threshold), near_duplicates(texts * 2, threshold)
    assert keepers(twice) == keepers(once) * 2
    assert twice.cluster.tolist() == once.cluster.tolist() * 2


@given(corpora(), THRESHOLDS, st.randoms(use_true_random=False))
@settings(deadline=None)
def test_order_changes_only_which_text_of_a_cluster_is_kept(texts, threshold, rng):
    order = list(range(len(texts)))
    rng.shuffle(order)
    found = near_duplicates(texts, threshold)
    shuffled = near_duplicates([texts[n] for n in order], threshold)

    def partition(labels, names):
        groups = defaultdict(set)
        for name, label in zip(names, labels.tolist(), strict=True):
            groups[label].add(name)
        return {frozenset(group) for group in groups.values()}

    assert partition(found.cluster, range(len(texts))) == partition(shuffled.cluster, order)
    kept = [n for n, keeper in enumerate(keepers(shuffled)) if n == keeper]
    assert all(similarity(texts[order[i]], texts[order[j]]) < threshold for i in kept for j in kept if i < j)


@pytest.mark.slow
@given(corpora(), st.randoms(use_true_random=False))
@settings(deadline=None)
def test_forms_restrict_dropping_but_not_linking(texts, rng):
    forms = [rng.randint(0, 1) for _ in texts]
    found = near_duplicates(texts, 0.6, forms)
    for form in (0, 1):
        members = [n for n, other in enumerate(forms) if other == form]
        separate = keepers(near_duplicates([texts[n] for n in members], 0.6))
        assert [members[keeper] for keeper in separate] == [keepers(found)[n] for n in members]
    assert found.cluster.tolist() == near_duplicates(texts, 0.6).cluster.tolist()
    without = search.near_duplicates(InParts(texts, None), 0.6)
    assert (without.dropped.tolist(), without.cluster.tolist()) == ([], found.cluster.tolist())


def test_a_text_is_dropped_only_for_a_direct_similarity():
    # Each text is similar to the next, the first and the last are not: the last is kept, in the same cluster.
    chain = [" ".join(f"w{n}" for n in range(start, start + 40)) for start in (0, 4, 8)]
    found = near_duplicates(chain, 0.7)
    assert keepers(found) == [0, 0, 2]
    assert found.cluster.tolist() == [0, 0, 0]
    assert found.dropped.tolist() == [1]
    assert found.jaccard.tolist() == [34 / 42]
    assert found.first.tolist() == [0, 0, 1]


@pytest.mark.parametrize(("common", "union"), [(4, 5), (11, 20), (7, 10), (1, 2), (9, 10)])
def test_a_similarity_equal_to_the_threshold_is_enough(common, union):
    words_in_common = common + 2
    first = " ".join(f"w{n}" for n in range(words_in_common))
    texts = [first, " ".join([first, *(f"x{n}" for n in range(union - common))])]
    threshold = common / union
    assert near_duplicates(texts, threshold).dropped.tolist() == [1]
    assert near_duplicates(texts, nextafter(threshold, 2)).dropped.tolist() == []


@pytest.mark.parametrize("threshold", [0.0, 0.49, 1.01, float("nan")])
def test_other_thresholds_are_refused(threshold):
    with pytest.raises(ValueError, match="threshold="):
        search.near_duplicates(InParts(["a b c"], None), threshold)


@given(corpora(), st.integers(0, 30))
@settings(deadline=None)
def test_signatures_of_shards_are_those_of_the_whole(texts, cut):
    whole, parts = (
        minhash.compute_signatures(texts, 0.8),
        [minhash.compute_signatures(part, 0.8) for part in (texts[:cut], texts[cut:])],
    )
    assert np.concatenate([part.keys[:, part.has_shingle] for part in parts], axis=1).tolist() == (
        whole.keys[:, whole.has_shingle].tolist()
    )
    assert np.concatenate([part.words for part in parts]).tolist() == whole.words.tolist()


def test_the_number_of_bands_limits_the_miss_rate():
    for threshold in (0.5, 0.7, 0.8, 0.9, 1.0):
        assert (1 - threshold**minhash.ROWS_PER_BAND) ** minhash.band_count(
            threshold
        ) <= minhash.MAX_MISS_RATE
    assert minhash.band_count(0.8) == 31


@pytest.fixture(scope="module")
def planted():
    """Return 5,000 texts: 50 exact copies, 1,000 copies with 1 to 9 % of the words changed, and random ones."""
    rng = random.Random(5)
    vocabulary = [f"word{n}" for n in range(3000)]
    texts = [[rng.choice(vocabulary) for _ in range(rng.randint(5, 120))] for _ in range(3950)]
    for original in rng.sample(range(3950), 1050):
        tokens = list(texts[original])
        for _ in range(0 if len(texts) < 4000 else round(len(tokens) * rng.uniform(0.01, 0.09))):
            tokens[rng.randrange(len(tokens))] = rng.choice(vocabulary)
        texts.append(tokens)
    rng.shuffle(texts)
    return [" ".join(tokens) for tokens in texts]


def pairs_with_common_ngrams(texts):
    """Return all pairs with a similarity above 0, by an index of n-grams; feasible because few are common."""
    sets = [set(ngrams(words(text), 3)) for text in texts]
    holders = defaultdict(list)
    for n, runs in enumerate(sets):
        for run in runs:
            holders[run].append(n)
    common = Counter((i, j) for held in holders.values() for n, j in enumerate(held) for i in held[:n])
    return [(i, j, n / (len(sets[i]) + len(sets[j]) - n)) for (i, j), n in common.items()]


@pytest.mark.parametrize("threshold", [0.6, 0.8])
def test_all_planted_copies_are_found_and_nothing_else(planted, threshold):
    similar_pairs = [pair for pair in pairs_with_common_ngrams(planted) if pair[2] >= threshold]
    assert len(similar_pairs) > 400
    assert as_lists(near_duplicates(planted, threshold)) == brute_force(len(planted), similar_pairs)


def test_batch_sizes_change_nothing(planted, monkeypatch):
    texts = planted[:1000] + planted[:100]
    expected = as_lists(near_duplicates(texts, 0.6))
    for module, name, value in (
        (search, "PAIR_BATCH", 7),
        (search, "REJECTED_SLOTS", 3),
        (jaccard, "MAX_READ", 1000),
        (jaccard, "MAX_SHINGLES", 100),
        (jaccard, "BITMAP_BITS", 128),
        (jaccard, "BITMAP_BATCH", 5),
        (minhash, "PART_SIZE", 9),
    ):
        monkeypatch.setattr(module, name, value)
    assert as_lists(near_duplicates(texts, 0.6)) == expected


@pytest.mark.parametrize("forms", ["one form", "many forms"])
def test_thousands_of_texts_of_one_form_are_not_millions_of_pairs(monkeypatch, forms):
    form = [f"w{n}" for n in range(60)]
    texts = [" ".join([*form[:30], f"x{n}", *form[30:]]) for n in range(3000)]
    verified = []
    exact = jaccard.jaccard_similarity
    monkeypatch.setattr(
        jaccard, "jaccard_similarity", lambda s, a, b, t: verified.append(len(a)) or exact(s, a, b, t)
    )
    found = near_duplicates(texts, forms=range(3000) if forms == "many forms" else None)
    assert found.first.tolist() == found.cluster.tolist() == [0] * 3000
    assert keepers(found) == ([0] * 3000 if forms == "one form" else list(range(3000)))
    assert sum(verified) < 10 * 3000


def test_real_patient_information(real):
    rows = json.loads((real / "wikidoc_patient_info" / "medical_meadow_small.json").read_text())
    texts = [f"{row['input']}\n{row['output']}" for row in rows]
    # Counted once over all 17.6 million pairs as a product of sparse matrices, with the same keepers and clusters.
    for threshold, dropped, same, clustered in ((0.7, 368, 100, 675), (0.8, 305, 101, 563)):
        found = near_duplicates(texts, threshold)
        assert len(found.dropped) == dropped
        pairs = zip(found.dropped, found.keeper, found.jaccard, strict=True)
        assert all(value == similarity(texts[n], texts[kept]) for n, kept, value in pairs)
        assert (found.jaccard == 1).sum() == same
        assert sum(size for size in Counter(found.cluster.tolist()).values() if size > 1) == clustered


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("A few of the patients improved.", "Few of the patients improved."),
        ("There is a little risk of bleeding.", "There is little risk of bleeding."),
        ("Not a few patients died.", "Not few patients died."),
        ("A number of deaths was reported.", "The number of deaths was reported."),
        ("The dose was 5 of 10 mg.", "The dose was 5 10 mg."),
        ("Only 2 of the 10 patients improved.", "Only 2 the 10 patients improved."),
    ],
)
def test_small_words_that_count_are_part_of_the_form(one, other):
    from medalpaca_data.stages.restatement import canonical_form

    assert canonical_form(one) != canonical_form(other)
