"""Find near duplicates among many small pictures without comparing all with all."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

FREQUENCIES = 9
MAX_DISTANCE = 6
"""Bits of 64 that may differ. Two of the eight bytes are then untouched, which is what the index looks for."""
SAME_SHAPE = 0.95
SAME_DETAIL = 0.85
_BLUR_PX = 5
_PAIRS_AT_ONCE = 20_000


@dataclass(frozen=True, slots=True)
class Twin:
    """Two pictures that show the same: their indices, whether one is mirrored, correlation of their fine detail."""

    first: int
    second: int
    mirrored: bool
    detail: float


def find_twins(thumbs: NDArray[np.uint8]) -> list[Twin]:
    """Pairs that link every set of near duplicates among thumbs uint8 (n, side, side); at most n - 1 pairs.

    Candidates share two bytes of a 64-bit hash of low DCT frequencies and differ in at most ``MAX_DISTANCE`` bits;
    a candidate counts when the small pictures correlate, and so do they without their blur, since all radiographs
    of a chest are alike in the coarse. Mirrored pictures are found by the hash of the mirror image. Memory grows
    with the number of pictures, not with its square.
    """
    parent = list(range(len(thumbs)))
    twins = []
    plain, mirror = hash_pictures(thumbs), hash_pictures(thumbs[:, :, ::-1])
    for mirrored, others in ((False, plain), (True, mirror)):
        for pairs in _candidates(plain, others, same=not mirrored):
            open_pairs = np.array([pair for pair in pairs if _root(parent, pair[0]) != _root(parent, pair[1])])
            for first, second, detail in _verified(thumbs, open_pairs, mirrored):
                one, other = _root(parent, first), _root(parent, second)
                if one != other:
                    parent[one] = other
                    twins.append(Twin(first, second, mirrored, detail))
    return twins


def hash_pictures(thumbs: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """A 64-bit hash of each picture: which of the lowest DCT coefficients (without the mean) lie above their median."""
    side = thumbs.shape[1]
    waves = np.cos(np.pi / side * (np.arange(side) + 0.5) * np.arange(FREQUENCIES)[:, None]).astype(np.float32)
    order = sorted(
        ((row, column) for row in range(FREQUENCIES) for column in range(FREQUENCIES) if row + column > 0),
        key=lambda place: (sum(place), place),
    )[:64]
    rows, columns = zip(*order, strict=True)
    hashes = np.empty(len(thumbs), dtype=np.uint64)
    for start in range(0, len(thumbs), 2000):
        part = thumbs[start : start + 2000].astype(np.float32)
        lowest = (waves @ part @ waves.T)[:, rows, columns]
        bits = lowest > np.median(lowest, axis=1, keepdims=True)
        hashes[start : start + 2000] = np.ascontiguousarray(np.packbits(bits, axis=1)).view(np.uint64).ravel()
    return hashes


def _candidates(plain: NDArray[np.uint64], others: NDArray[np.uint64], *, same: bool) -> Iterator[NDArray[np.int64]]:
    """Blocks of pairs (i, j), i < j when ``same`` else i != j, whose hashes differ in few bits."""
    plain_bytes, other_bytes = (hashes.view(np.uint8).reshape(-1, 8).astype(np.uint16) for hashes in (plain, others))
    for one, two in combinations(range(8), 2):
        keys = plain_bytes[:, one] * 256 + plain_bytes[:, two]
        buckets = defaultdict(list)
        for index, key in enumerate((other_bytes[:, one] * 256 + other_bytes[:, two]).tolist()):
            buckets[key].append(index)
        lists = {key: np.array(members) for key, members in buckets.items()}
        block: list[NDArray[np.int64]] = []
        waiting = 0
        for index, key in enumerate(keys.tolist()):
            members = lists.get(key)
            if members is None:
                continue
            members = members[members > index] if same else members[members != index]
            near = members[np.bitwise_count(plain[index] ^ others[members]) <= MAX_DISTANCE]
            if len(near):
                block.append(np.stack([np.full(len(near), index), near], axis=1))
                waiting += len(near)
            if waiting >= _PAIRS_AT_ONCE:
                yield np.concatenate(block)
                block, waiting = [], 0
        if block:
            yield np.concatenate(block)


def _verified(thumbs: NDArray[np.uint8], pairs: NDArray[np.int64], mirrored: bool) -> Iterator[tuple[int, int, float]]:
    for start in range(0, len(pairs), 1000):
        part = pairs[start : start + 1000]
        first, second = thumbs[part[:, 0]], thumbs[part[:, 1]]
        if mirrored:
            second = second[:, :, ::-1]
        shape = _correlate(first.astype(np.float32), second.astype(np.float32))
        detail = _correlate(_detail(first), _detail(second))
        for index in np.flatnonzero((shape >= SAME_SHAPE) & (detail >= SAME_DETAIL)):
            yield int(part[index, 0]), int(part[index, 1]), float(detail[index])


def _detail(thumbs: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The pictures less their running mean over 5 x 5."""
    values: NDArray[np.floating] = thumbs.astype(np.float32)
    for axis in (1, 2):
        reach = _BLUR_PX // 2
        width = [(0, 0), (0, 0), (0, 0)]
        width[axis] = (reach + 1, reach)
        sums = np.cumsum(np.pad(values, width, mode="edge"), axis=axis)
        last = sums.shape[axis]
        values = (
            np.take(sums, range(_BLUR_PX, last), axis=axis) - np.take(sums, range(last - _BLUR_PX), axis=axis)
        ) / _BLUR_PX
    difference: NDArray[np.float32] = thumbs.astype(np.float32) - values
    return difference


def _correlate(first: NDArray[np.float32], second: NDArray[np.float32]) -> NDArray[np.float32]:
    one, other = (part.reshape(len(part), -1) for part in (first, second))
    one, other = one - one.mean(axis=1, keepdims=True), other - other.mean(axis=1, keepdims=True)
    norms = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    # A flat picture has no norm and correlates with nothing.
    product: NDArray[np.float32] = (one * other).sum(axis=1) / np.maximum(norms, 1e-6)
    return product


def _root(parent: list[int], index: int) -> int:
    while parent[index] != index:
        parent[index] = parent[parent[index]]
        index = parent[index]
    return index
