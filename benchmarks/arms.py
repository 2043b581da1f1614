"""What is measured: one function per way of doing the job. Each imports what it needs and nothing else."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

Clusters = Callable[[Sequence[str], float], list[int]]  # texts, threshold -> a label for every text
Flags = Callable[[Sequence[str], Sequence[str]], set[int]]  # texts, questions -> texts that hold part of one

SHINGLE, RUN, PERMUTATIONS = 3, 13, 128


def ours(texts: Sequence[str], threshold: float) -> list[int]:
    """Bands chosen for the threshold, every candidate verified."""
    from medalpaca_data.stages.near_duplicates import near_duplicates

    labels: list[int] = near_duplicates(_InMemory(texts), threshold).cluster.tolist()
    return labels


class _InMemory:
    """Texts in one part, none of which restates another."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._texts, self.sizes = texts, [len(texts)]

    def read(self, part: int) -> Sequence[str]:
        return self._texts

    def select(self, part: int, positions: Any) -> tuple[Sequence[str], None]:
        return [self._texts[n] for n in positions.tolist()], None


def datasketch(texts: Sequence[str], threshold: float) -> list[int]:
    """MinHashLSH with its own choice of bands; what shares a band counts as a copy, as its examples do."""
    from datasketch import MinHash, MinHashLSH

    index = MinHashLSH(threshold=threshold, num_perm=PERMUTATIONS)
    labels = list(range(len(texts)))
    shingles = (_shingles(text) for text in texts)
    for n, signature in enumerate(MinHash.generator(shingles, num_perm=PERMUTATIONS)):
        for other in index.query(signature):
            _union(labels, n, other)
        index.insert(n, signature, check_duplication=False)
    return [_root(labels, n) for n in range(len(labels))]


def datasketch_checked(texts: Sequence[str], threshold: float) -> list[int]:
    """The same with 31 bands of 4, as ours has at 0.8, and every candidate verified."""
    from datasketch import MinHash, MinHashLSH

    index = MinHashLSH(num_perm=PERMUTATIONS, params=(31, 4))
    labels = list(range(len(texts)))
    shingles = (_shingles(text) for text in texts)
    for n, signature in enumerate(MinHash.generator(shingles, num_perm=PERMUTATIONS)):
        for other in index.query(signature):
            if jaccard(texts[n], texts[other]) >= threshold:
                _union(labels, n, other)
        index.insert(n, signature, check_duplication=False)
    return [_root(labels, n) for n in range(len(labels))]


def rensa_checked(texts: Sequence[str], threshold: float) -> list[int]:
    """Signatures and index of rensa, in Rust, with 32 bands of 4; every candidate verified."""
    from rensa import RMinHash, RMinHashLSH

    index = RMinHashLSH(threshold=threshold, num_perm=PERMUTATIONS, num_bands=32)
    signatures = RMinHash.from_token_sets((_shingles(text) for text in texts), num_perm=PERMUTATIONS, seed=1)
    index.insert_many(signatures)
    labels = list(range(len(texts)))
    for n, found in enumerate(index.query_all(signatures)):
        for other in found:
            if other < n and jaccard(texts[n], texts[other]) >= threshold:
                _union(labels, n, other)
    return [_root(labels, n) for n in range(len(labels))]


def datatrove(texts: Sequence[str], threshold: float) -> list[int]:
    """The three steps that find clusters, in one process, with its English tokeniser; 16 bands of 8."""
    from datatrove.data import Document
    from datatrove.pipeline.dedup import MinhashDedupBuckets, MinhashDedupCluster, MinhashDedupSignature
    from datatrove.pipeline.dedup.minhash import MinhashConfig
    from datatrove.utils.binaryio import read_tuples_from_file

    config = MinhashConfig(n_grams=SHINGLE, num_buckets=16, hashes_per_bucket=8)
    labels = list(range(len(texts)))
    with tempfile.TemporaryDirectory() as folder:
        signatures, pairs, found = (f"{folder}/{name}" for name in ("signatures", "pairs", "found"))
        documents = (Document(text=text, id=str(n)) for n, text in enumerate(texts))
        MinhashDedupSignature(signatures, config=config).run(documents)
        for bucket in range(config.num_buckets):
            MinhashDedupBuckets(signatures, pairs, config=config).run(None, bucket, config.num_buckets)
        MinhashDedupCluster(pairs, found, config=config, save_cluster_id=True).run(None, 0, 1)
        first: dict[int, int] = {}
        for file in Path(found).glob("*.clusters"):
            with file.open("rb") as handle:
                for text, cluster in read_tuples_from_file(handle, "2I", lines_to_buffer=-1):
                    labels[text] = first.setdefault(cluster, text)
    return labels


def ours_flags(texts: Sequence[str], questions: Sequence[str]) -> set[int]:
    """Every item and text that share a run of 13 words, with their coverage."""
    from medalpaca_data.exams.contamination import hits
    from medalpaca_data.exams.exam import exclude_unscorable
    from medalpaca_data.exams.item import Item, RawExam

    options = {"A": "yes", "B": "no"}
    items = (Item(id=str(n), question=q, options=options, answer="A") for n, q in enumerate(questions))
    return {hit.row for hit in hits([exclude_unscorable(RawExam("planted", tuple(items), ""))], texts, 0.0)}


def set_flags(texts: Sequence[str], questions: Sequence[str]) -> set[int]:
    """The same in ten lines of Python, without saying which item or how much of it."""
    known = {run for question in questions for run in _runs(question, RUN)}
    return {n for n, text in enumerate(texts) if not known.isdisjoint(_runs(text, RUN))}


def datatrove_flags(texts: Sequence[str], questions: Sequence[str]) -> set[int]:
    """NGramsDecontFilter; the index is written with the filter's own tokeniser, as its indexer wants `lighteval`."""
    import numpy as np
    from datatrove.data import Document
    from datatrove.pipeline.decont.n_grams import NGramsDecontConfig, NGramsDecontFilter
    from datatrove.utils.text import ngrams, simplify_text

    config = NGramsDecontConfig(n_grams=RUN)
    with tempfile.TemporaryDirectory() as folder:
        step = NGramsDecontFilter(folder, config=config)
        tokens = (step.tokenizer.word_tokenize(simplify_text(q, config.norm_config)) for q in questions)
        hashes = {step.hash_func(" ".join(run)) for part in tokens for run in ngrams(part, RUN)}
        np.array(list(hashes), dtype=config.hash_config.np_descr).tofile(f"{folder}/planted.index.hashes")
        kept = (step.filter(Document(text=text, id=str(n))) for n, text in enumerate(texts))
        return {n for n, verdict in enumerate(kept) if verdict is not True}


DEDUP: dict[str, Clusters] = {
    "ours": ours,
    "datasketch": datasketch,
    "datasketch, verified": datasketch_checked,
    "rensa, verified": rensa_checked,
    "datatrove": datatrove,
}
DECONTAMINATE: dict[str, Flags] = {"ours": ours_flags, "python set": set_flags, "datatrove": datatrove_flags}


def jaccard(first: str, second: str) -> float:
    """The true similarity, from the words themselves."""
    a, b = set(_runs(first, SHINGLE)), set(_runs(second, SHINGLE))
    return len(a & b) / len(a | b) if a | b else float(first == second)


def _runs(text: str, n: int) -> list[tuple[str, ...]]:
    words = re.findall(r"\w+", text.lower())
    return list(zip(*(words[i:] for i in range(n)), strict=False))


def _shingles(text: str) -> list[bytes]:
    return [" ".join(run).encode() for run in _runs(text, SHINGLE)]


def _root(labels: list[int], n: int) -> int:
    while labels[n] != n:
        labels[n] = labels[labels[n]]
        n = labels[n]
    return n


def _union(labels: list[int], a: int, b: int) -> None:
    a, b = _root(labels, a), _root(labels, b)
    labels[max(a, b)] = min(a, b)
