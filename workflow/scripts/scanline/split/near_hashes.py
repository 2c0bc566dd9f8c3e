"""All pairs of 64-bit hashes that differ in few bits: exact, in bounded memory, on all cores.

Multi-index hashing (Norouzi, Punjani, Fleet, Fast Search in Hamming Space with Multi-Index Hashing, CVPR 2012): the 64
bits are cut into distance + 1 chunks, so two hashes within the distance agree in one chunk at least. For each chunk the
hashes are sorted into buckets of equal bits and compared within them; a pair is reported in the first chunk in which it
agrees. Where hashes crowd into few buckets that would be more comparisons than between all of them, and one bucket of
all hashes is taken instead: the same loop, without a mask.

Equal hashes are found by sorting and never compared.
"""

import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numba
import numpy as np
from numba.extending import intrinsic
from numpy.typing import NDArray

BITS = 64
DISTANCE = 4
SPAN = 1 << 20  # comparisons that one thread makes at a time, and pairs that a block holds at most, but for one row's
RUN = 256  # hashes that are compared in one vectorised run before any pair is written

Hashes = NDArray[np.uint64]
Pairs = NDArray[np.int64]


def near_pairs(hashes: Hashes, distance: int = DISTANCE, threads: int | None = None) -> Iterator[Pairs]:
    """Every pair of rows whose hashes are equal or differ in at most `distance` bits, each once, in blocks.

    n equal hashes are n (n - 1) / 2 pairs. They cost no search, and no memory beyond a block; a caller that wants
    one pair of each two hashes gives every hash once.

    Args:
        hashes: (n,) dtype uint64.
        distance: Number of bits, 0 to 63.
        threads: Number of threads; all cores of this process if None.

    Yields:
        (pairs, 2) int64 row numbers, the smaller first; blocks are not empty and follow no order.

    Raises:
        ValueError: If `hashes` is no such array or `distance` is out of range.
    """
    if hashes.ndim != 1 or hashes.dtype != np.uint64:
        raise ValueError(f"hashes of shape (n,), dtype uint64, not {hashes.shape}, {hashes.dtype}")
    if not 0 <= distance < BITS:
        raise ValueError(f"a distance of 0 to {BITS - 1}, not {distance}")
    distinct, place, sizes = np.unique(hashes, return_inverse=True, return_counts=True)
    rows = np.argsort(place, kind="stable")
    starts = np.cumsum(sizes) - sizes
    equal = np.flatnonzero(sizes > 1)
    yield from _spread(np.stack([equal, equal], axis=1), rows, starts, sizes)
    for pairs in _near_distinct(distinct, distance, threads or _cores()):
        yield from _spread(pairs, rows, starts, sizes)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _spread(pairs: Pairs, rows: Pairs, starts: Pairs, sizes: Pairs) -> Iterator[Pairs]:
    """Blocks of pairs of rows for pairs of distinct hashes; rows[starts[k] : starts[k] + sizes[k]] hold hash k."""
    one, other = pairs[:, 0], pairs[:, 1]
    ends = np.cumsum(sizes[one] * sizes[other])
    n_pairs = int(ends[-1]) if len(ends) else 0
    for first in range(0, n_pairs, SPAN):
        flat = np.arange(first, min(first + SPAN, n_pairs))
        which = np.searchsorted(ends, flat, side="right")
        a, b = one[which], other[which]
        row, column = np.divmod(flat - (ends - sizes[one] * sizes[other])[which], sizes[b])
        found = np.stack([rows[starts[a] + row], rows[starts[b] + column]], axis=1)
        found = np.sort(found[(a != b) | (row < column)], axis=1)
        if len(found):
            yield found


@dataclass(frozen=True)
class _Buckets:
    """Distinct hashes sorted into buckets.

    Attributes:
        hashes: (n,) uint64, bucket by bucket.
        order: (n,) place of each among the distinct hashes.
        ends: (n,) where the bucket of each ends.
        earlier: Bits of the chunks that were searched before, uint64.
    """

    hashes: Hashes
    order: Pairs
    ends: Pairs
    earlier: Hashes

    @cached_property
    def comparisons(self) -> Pairs:
        """(n,) numbers of hashes that stand behind each in its bucket."""
        return self.ends - np.arange(1, len(self.ends) + 1)

    def spans(self) -> list[tuple[int, int]]:
        """Ranges of rows with about SPAN comparisons each."""
        total = np.cumsum(self.comparisons)
        cuts = np.searchsorted(total, np.arange(SPAN, total[-1], SPAN))
        edges = np.unique([0, *(cuts + 1), len(total)])
        return list(pairwise(edges.tolist()))

    def search(self, span: tuple[int, int], distance: int) -> Pairs:
        """Near pairs of one span of rows, as places among the distinct hashes."""
        first, last = span
        found = np.empty((int(self.comparisons[first:last].sum()) + 1, 2), dtype=np.int64)
        n_found = _compiled_search(self.hashes, self.ends, first, last, distance, self.earlier, found)
        return np.asarray(self.order[found[:n_found]])


def _near_distinct(distinct: Hashes, distance: int, threads: int) -> Iterator[Pairs]:
    """Pairs of places of distinct, sorted hashes."""
    if len(distinct) < 2 or distance == 0:
        return
    edges = np.linspace(0, BITS, distance + 2).round().astype(int).tolist()
    chunks = list(pairwise(edges))
    every = len(distinct) * (len(distinct) - 1) // 2
    if sum(int(_sort_by(distinct, chunk, []).comparisons.sum()) for chunk in chunks) >= every:
        chunks = [(0, 0)]
    with ThreadPoolExecutor(max_workers=threads) as pool:
        waiting: deque[Future[Pairs]] = deque()
        for index, chunk in enumerate(chunks):
            buckets = _sort_by(distinct, chunk, chunks[:index])
            for span in buckets.spans():
                waiting.append(pool.submit(buckets.search, span, distance))
                if len(waiting) > 2 * threads:
                    yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _sort_by(distinct: Hashes, chunk: tuple[int, int], earlier: list[tuple[int, int]]) -> _Buckets:
    """Buckets of hashes that agree in the bits from chunk[0] to before chunk[1]."""
    low, high = chunk
    masks = np.array([(1 << end) - (1 << start) for start, end in earlier], dtype=np.uint64)
    if low == high:
        everywhere = np.full(len(distinct), len(distinct))
        return _Buckets(distinct, np.arange(len(distinct)), everywhere, masks)
    keys = (distinct >> np.uint64(low)) & np.uint64((1 << (high - low)) - 1)
    if high - low <= 16:
        keys = keys.astype(np.uint16)  # numpy sorts these by radix
    order = np.argsort(keys, kind="stable")
    keys = keys[order]
    cuts = np.append(np.flatnonzero(keys[1:] != keys[:-1]) + 1, len(keys))
    ends = np.repeat(cuts, np.diff(cuts, prepend=0))
    return _Buckets(distinct[order], order, ends, masks)


def _type_popcount(typing_context: Any, bits: Any) -> Any:
    """The processor's count of set bits, for compiled code."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.ctpop(arguments[0])

    return numba.types.uint64(numba.types.uint64), generate


_popcount: Any = intrinsic(_type_popcount)


def _search(hashes: Any, ends: Any, first: int, last: int, distance: int, earlier: Any, found: Any) -> int:
    """Write the near pairs of rows first to before last with rows behind them in their buckets; return their number.

    `found` has one row more than there are comparisons, so that a pair can be written before it is known to hold.
    """
    limit = np.uint64(distance)
    n_found = 0
    for row in range(first, last):
        one = hashes[row]
        start = row + 1
        while start < ends[row]:
            stop = min(start + RUN, ends[row])
            near = 0
            for other in range(start, stop):
                near += _popcount(one ^ hashes[other]) <= limit
            if near > 0:
                for other in range(start, stop):
                    bits = one ^ hashes[other]
                    holds = _popcount(bits) <= limit
                    for mask in earlier:
                        holds &= (bits & mask) != 0
                    found[n_found, 0] = row
                    found[n_found, 1] = other
                    n_found += holds
            start = stop
    return n_found


_compiled_search: Callable[..., int] = numba.njit(nogil=True)(_search)
