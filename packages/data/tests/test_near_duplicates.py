import json
import random
from collections import Counter, defaultdict
from math import nextafter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medalpaca_data.core.words import ngrams, words
from medalpaca_data.stages import minhash
from medalpaca_data.stages.minhash import near_duplicates

THRESHOLDS = st.sampled_from([0.5, 0.55, 0.6, 0.7, 0.8, 0.9, 1.0])
TEXTS = st.lists(st.text("ab é.", max_size=25), max_size=12)


@st.composite
def corpora(draw):
    """Texts that come from few: pairs of every similarity, exact copies, and texts too short for a run."""
    rng = random.Random(draw(st.integers(0, 2**32)))
    vocabulary = ["a", "b", "Ç", "é1", "dd", "x²", "_", "the"][: rng.randint(2, 8)]
    moulds = [[rng.choice(vocabulary) for _ in range(rng.randint(0, 30))] for _ in range(rng.randint(1, 4))]
    texts = []
    for _ in range(draw(st.integers(0, 30))):
        tokens = list(rng.choice(moulds))
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


def brute_force(count, alike):
    """Keeper, similarity and cluster of every text from all pairs that are alike, by the definition."""
    keeper, value, cluster = list(range(count)), [1.0] * count, list(range(count))
    for i, j, similar in sorted(alike):
        if keeper[i] == i and keeper[j] == j:
            keeper[j], value[j] = i, similar
        first, second = sorted((cluster[i], cluster[j]))
        cluster = [first if label == second else label for label in cluster]
    return keeper, value, cluster


def as_lists(found):
    return found.keeper.tolist(), found.jaccard.tolist(), found.cluster.tolist()


@given(corpora(), THRESHOLDS)
@settings(max_examples=200, deadline=None)
def test_what_is_found_is_what_comparing_all_pairs_finds(texts, threshold):
    alike = [pair for pair in all_pairs(texts) if pair[2] >= threshold]
    assert as_lists(near_duplicates(texts, threshold)) == brute_force(len(texts), alike)


@given(TEXTS, st.data())
def test_an_exact_copy_is_always_found(texts, data):
    texts.append(data.draw(st.text(max_size=40)))
    place = data.draw(st.integers(0, len(texts) - 1))
    found = near_duplicates([*texts, texts[place]], 1.0)
    assert (found.keeper[-1], found.jaccard[-1], found.cluster[-1]) == (
        found.keeper[place],
        1.0,
        found.cluster[place],
    )


@given(corpora(), THRESHOLDS)
@settings(deadline=None)
def test_everything_twice_drops_the_second_half(texts, threshold):
    once, twice = near_duplicates(texts, threshold), near_duplicates(texts * 2, threshold)
    for name in ("keeper", "jaccard", "cluster"):
        values = getattr(once, name).tolist()
        assert getattr(twice, name).tolist() == values + values


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
    kept = np.flatnonzero(shuffled.keeper == np.arange(len(texts)))
    assert all(similarity(texts[order[i]], texts[order[j]]) < threshold for i in kept for j in kept if i < j)


@given(corpora(), st.randoms(use_true_random=False))
@settings(deadline=None)
def test_tasks_part_what_is_dropped_and_not_what_is_linked(texts, rng):
    tasks = np.array([rng.randint(0, 1) for _ in texts], np.uint64)
    found = near_duplicates(texts, 0.6, tasks)
    for task in (0, 1):
        members = np.flatnonzero(tasks == task)
        alone = near_duplicates([texts[n] for n in members], 0.6)
        assert members[alone.keeper].tolist() == found.keeper[members].tolist()
    linked, together = found.cluster, near_duplicates(texts, 0.6).cluster
    long = [n for n, text in enumerate(texts) if len(words(text)) >= 3]
    assert linked[long].tolist() == together[long].tolist()


def test_a_dropped_text_is_like_the_one_it_names_and_not_only_through_another():
    # Each is like the next, the first and the last are not: the last one is kept, in the same cluster.
    chain = [" ".join(f"w{n}" for n in range(start, start + 40)) for start in (0, 4, 8)]
    found = near_duplicates(chain, 0.7)
    assert found.keeper.tolist() == [0, 0, 2]
    assert found.cluster.tolist() == [0, 0, 0]
    assert found.dropped.tolist() == [1]
    assert found.jaccard.tolist() == [1.0, 34 / 42, 1.0]


@pytest.mark.parametrize(("common", "union"), [(4, 5), (11, 20), (7, 10), (1, 2), (9, 10)])
def test_the_threshold_itself_is_enough_and_a_hair_more_is_not(common, union):
    words_in_common = common + 2
    first = " ".join(f"w{n}" for n in range(words_in_common))
    texts = [first, " ".join([first, *(f"x{n}" for n in range(union - common))])]
    threshold = common / union
    assert near_duplicates(texts, threshold).dropped.tolist() == [1]
    assert near_duplicates(texts, nextafter(threshold, 2)).dropped.tolist() == []


@pytest.mark.parametrize("threshold", [0.0, 0.49, 1.01, float("nan")])
def test_other_thresholds_are_refused(threshold):
    with pytest.raises(ValueError, match="threshold="):
        near_duplicates(["a b c"], threshold)


@given(corpora(), st.integers(0, 30))
@settings(deadline=None)
def test_signatures_of_shards_are_those_of_the_whole(texts, cut):
    whole, parts = (
        minhash.compute_signatures(texts, 0.8),
        [minhash.compute_signatures(part, 0.8) for part in (texts[:cut], texts[cut:])],
    )
    assert np.concatenate([part.keys[:, part.long] for part in parts], axis=1).tolist() == (
        whole.keys[:, whole.long].tolist()
    )
    assert np.concatenate([part.words for part in parts]).tolist() == whole.words.tolist()


def test_bands_are_as_many_as_the_threshold_asks_for():
    for threshold in (0.5, 0.7, 0.8, 0.9, 1.0):
        assert (1 - threshold**minhash.ROWS_PER_BAND) ** minhash.band_count(
            threshold
        ) <= minhash.MAX_MISS_RATE
    assert minhash.band_count(0.8) == 31


@pytest.fixture(scope="module")
def planted():
    """5,000 rows: 50 exact copies, 1,000 copies with 1 to 9 % of their words changed, the rest by chance."""
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


def shared_runs(texts):
    """All pairs with a similarity above 0, by looking up every run: feasible where few runs are common."""
    sets = [set(ngrams(words(text), 3)) for text in texts]
    holders = defaultdict(list)
    for n, runs in enumerate(sets):
        for run in runs:
            holders[run].append(n)
    common = Counter((i, j) for held in holders.values() for n, j in enumerate(held) for i in held[:n])
    return [(i, j, n / (len(sets[i]) + len(sets[j]) - n)) for (i, j), n in common.items()]


@pytest.mark.parametrize("threshold", [0.6, 0.8])
def test_all_planted_copies_are_found_and_nothing_else(planted, threshold):
    alike = [pair for pair in shared_runs(planted) if pair[2] >= threshold]
    assert len(alike) > 400
    assert as_lists(near_duplicates(planted, threshold)) == brute_force(len(planted), alike)


def test_limits_on_memory_change_nothing(planted, monkeypatch):
    texts = planted[:1000] + planted[:100]
    expected = as_lists(near_duplicates(texts, 0.6))
    for module, name, value in (
        (minhash, "CANDIDATES", 7),
        (minhash, "VALUES", 100),
        (minhash, "OUTLINE", 128),
        (minhash, "OUTLINES", 5),
        (minhash, "PART", 9),
    ):
        monkeypatch.setattr(module, name, value)
    assert as_lists(near_duplicates(texts, 0.6)) == expected


def test_thousands_from_one_mould_are_not_millions_of_pairs(monkeypatch):
    mould = [f"w{n}" for n in range(60)]
    texts = [" ".join([*mould[:30], f"x{n}", *mould[30:]]) for n in range(3000)]
    verified = []
    exact = minhash.jaccard_similarity
    monkeypatch.setattr(
        minhash, "jaccard_similarity", lambda s, a, b: verified.append(len(a)) or exact(s, a, b)
    )
    found = near_duplicates(texts)
    assert found.keeper.tolist() == found.cluster.tolist() == [0] * 3000
    assert sum(verified) < 3000 * 2999 / 2 / 10


def test_real_patient_information(real):
    rows = json.loads((real / "wikidoc_patient_info" / "medical_meadow_small.json").read_text())
    texts = [f"{row['input']}\n{row['output']}" for row in rows]
    # Counted once over all 17.6 million pairs, as a product of sparse matrices; keepers and clusters were the same.
    for threshold, dropped, same, clustered in ((0.7, 368, 100, 675), (0.8, 305, 101, 563)):
        found = near_duplicates(texts, threshold)
        assert len(found.dropped) == dropped
        assert all(found.jaccard[n] == similarity(texts[n], texts[found.keeper[n]]) for n in found.dropped)
        assert (found.jaccard[found.dropped] == 1).sum() == same
        assert sum(size for size in Counter(found.cluster.tolist()).values() if size > 1) == clustered
