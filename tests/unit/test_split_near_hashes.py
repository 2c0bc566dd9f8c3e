"""Near pairs of hashes: the same as plain brute force finds, for hashes of every kind, in bounded blocks."""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scanline.split import near_hashes
from scanline.split.near_hashes import BITS, near_pairs

CHUNK_STARTS = (0, 13, 26, 38, 51)
hashes_of_all_kinds = st.integers(0, 2**64 - 1)


def brute_force(hashes, distance):
    """Pairs by comparing every hash with every other."""
    one, other = np.triu_indices(len(hashes), 1)
    near = np.bitwise_count(hashes[one] ^ hashes[other]) <= distance
    return sorted(zip(one[near].tolist(), other[near].tolist(), strict=True))


def found(hashes, distance=4, **options):
    """Pairs as a sorted list, in which a pair reported twice stands twice."""
    return sorted(tuple(pair) for block in near_pairs(hashes, distance, **options) for pair in block.tolist())


def spread(rng, n):
    return rng.integers(0, 2**64, n, dtype=np.uint64)


def flipped(rng, hashes, bits):
    """Each hash with up to so many of its bits turned."""
    for _ in range(bits):
        hashes = hashes ^ (np.uint64(1) << rng.integers(0, BITS, len(hashes)).astype(np.uint64))
    return hashes


def clustered(rng, n, centres, bits):
    return flipped(rng, spread(rng, centres)[rng.integers(0, centres, n)], bits)


@settings(max_examples=80)
@given(st.lists(hashes_of_all_kinds, max_size=12), st.lists(st.integers(0, 2**20), max_size=30), st.integers(0, 9))
def test_small_sets_with_copies_and_neighbours(seeds, turns, distance):
    hashes = list(seeds)
    for turn in turns:
        if hashes:
            hashes.append(hashes[turn % len(hashes)] ^ (turn * 0x9E3779B97F4A7C15 & (1 << turn % BITS)))
    array = np.array(hashes, dtype=np.uint64)
    assert found(array, distance) == brute_force(array, distance)


@settings(max_examples=25)
@given(st.integers(0, 2**32), st.integers(0, 400), st.integers(1, 40), st.integers(0, 8), st.integers(0, 6))
def test_clusters(seed, n, centres, bits, distance):
    hashes = clustered(np.random.default_rng(seed), n, centres, bits)
    assert found(hashes, distance) == brute_force(hashes, distance)


ADVERSARIES = {
    "all_equal": lambda rng: np.repeat(spread(rng, 1), 150),
    "all_within_two": lambda rng: flipped(rng, np.repeat(spread(rng, 1), 150), 1),
    "extremes": lambda rng: np.array([0, 2**64 - 1, 1, 2**63, 2**63 + 1, 0, 2**64 - 2], np.uint64),
    "spread": lambda rng: spread(rng, 1500),
    "clusters": lambda rng: clustered(rng, 1500, 60, 3),
    "one_chunk_alike": lambda rng: flipped(rng, spread(rng, 700) & np.uint64((1 << 51) - 1), 1),
    "half_equal": lambda rng: np.concatenate([np.zeros(150, np.uint64), spread(rng, 600)]),
}


@pytest.mark.parametrize("name", ADVERSARIES)
@pytest.mark.parametrize("threads", [1, 3])
def test_adversaries(name, threads, monkeypatch):
    monkeypatch.setattr(near_hashes, "SPAN", 5_000)
    hashes = ADVERSARIES[name](np.random.default_rng(1))
    blocks = list(near_pairs(hashes, threads=threads))
    assert all(0 < len(block) <= 5_000 for block in blocks)
    assert found(hashes, threads=threads) == brute_force(hashes, 4)


@pytest.mark.parametrize("brute", [False, True])
def test_pairs_that_differ_in_chosen_chunks_are_reported_once(brute):
    """Every way to put four differing bits into the five chunks, beside far hashes (spread or crowded)."""
    rng = np.random.default_rng(2)
    anchors = spread(rng, 70)
    chosen = [(a, b, c, d) for a in range(5) for b in range(a, 5) for c in range(b, 5) for d in range(c, 5)]
    assert len(chosen) == 70
    partners = [
        anchor ^ np.uint64(sum(1 << (CHUNK_STARTS[k] + place) for place, k in enumerate(ks)))
        for anchor, ks in zip(anchors, chosen, strict=True)
    ]
    far = spread(rng, 500) if not brute else np.arange(500, dtype=np.uint64) * np.uint64(0x1F)
    hashes = np.concatenate([anchors, np.array(partners, np.uint64), far])
    pairs = found(hashes)
    assert pairs == brute_force(hashes, 4)
    assert {(k, 70 + k) for k in range(70)} <= set(pairs)


def test_five_bits_are_too_many():
    base = spread(np.random.default_rng(3), 1)[0]
    near, far = base ^ np.uint64(0b1111), base ^ np.uint64(0b11111)
    assert found(np.array([base, near, far], np.uint64)) == [(0, 1), (1, 2)]


def test_both_ways_of_search_are_taken(monkeypatch):
    taken = []
    plain = near_hashes._sort_by

    def recorded(distinct, chunk, earlier):
        taken.append(chunk)
        return plain(distinct, chunk, earlier)

    monkeypatch.setattr(near_hashes, "_sort_by", recorded)
    rng = np.random.default_rng(4)
    list(near_pairs(spread(rng, 2_000)))
    assert (0, 0) not in taken
    list(near_pairs(flipped(rng, np.repeat(spread(rng, 1), 2_000), 2)))
    assert (0, 0) in taken


def test_many_copies_cost_nothing_until_their_pairs_are_read():
    hashes = np.repeat(spread(np.random.default_rng(5), 2), 200_000)
    start = time.perf_counter()
    first = next(near_pairs(hashes))  # of 2 x 2e10 pairs
    assert len(first) <= near_hashes.SPAN
    assert (hashes[first[:, 0]] == hashes[first[:, 1]]).all()
    assert time.perf_counter() - start < 10


def test_wrong_arguments():
    with pytest.raises(ValueError, match="uint64"):
        next(near_pairs(np.zeros(3, np.int64)))
    with pytest.raises(ValueError, match="distance"):
        next(near_pairs(np.zeros(3, np.uint64), 64))
