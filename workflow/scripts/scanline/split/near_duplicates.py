"""Near-duplicates: one picture in two files, proposed by near perceptual hashes and confirmed on thumbnails.

A near hash alone proves nothing where images are alike by nature. Measured on the 3,474 informative slices of
PHE-SICH-CT-IDS: 1,937 pairs of slices of different patients lie within 4 bits, which would tie 108 of the 120 patients
to others, 102 of them into one group, and all are false. Their thumbnails correlate by 0.981 at most (median 0.81); of
all slices of different patients, whatever their hashes, no two correlate by more than 0.983. Hence CORRELATION, 0.99,
which ties none of them.

What it finds, measured on 200 of those slices (least correlation, most bits, share found):

    JPEG at quality 50                           1.000    2   100%
    half size and back                           1.000    2   100%
    contrast 0.8                                 0.999    4   100%
    JPEG 50 at half size with contrast 0.9       0.998    4   100%
    brightness + 20 of 255                       0.983    6    98%
    window narrowed to 80% of its width          0.995    4   100%
    window narrowed to 60%                       0.973   10    81%
    turned by 2 degrees                          0.919    8    70%
    2% cut from each edge                        0.585   12     2%

Copies that were cropped, shifted, turned or strongly re-windowed can so escape, and mirrored ones are not looked for.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scanline.core.errors import InputError
from scanline.core.tables import THUMBNAIL_PX, THUMBNAILS, validate
from scanline.split.near_hashes import DISTANCE, near_pairs

CORRELATION = 0.99
PIXELS = THUMBNAIL_PX**2
HASH_BYTES = 8


@dataclass(frozen=True)
class _Pictures:
    """The informative images of a study; images with equal hashes and thumbnails are one picture.

    Attributes:
        images: (n,) rows of the images in the images table.
        picture: (n,) the picture of each of them.
        hashes: (pictures,) uint64 perceptual hashes.
        pixels: (pictures, 1024) uint8 thumbnails.
        sums: (pictures,) int64 sums of the pixels.
        spreads: (pictures,) int64, 1024 times the sum of squares less the square of the sum.
    """

    images: NDArray[np.intp]
    picture: NDArray[np.intp]
    hashes: NDArray[np.uint64]
    pixels: NDArray[np.uint8]
    sums: NDArray[np.int64]
    spreads: NDArray[np.int64]


def near_duplicate_clusters(images: pd.DataFrame, thumbnails: pd.DataFrame) -> pd.Series:
    """Name of the cluster of near-duplicates that each image belongs to, null for images without any.

    Two images are near-duplicates if their perceptual hashes differ in at most 4 of 64 bits and the normalised
    (Pearson) correlation of their thumbnails is at least 0.99; clusters are the connected components. All such pairs
    are found. Blank and low-content images (null phash) have none.

    Args:
        images: IMAGES table of n rows.
        thumbnails: THUMBNAILS table of the images that have a phash.

    Returns:
        n texts or nulls with the index of `images`; a cluster is called after its smallest image_id.

    Raises:
        InputError: If thumbnails and perceptual hashes are not of the same images, or a hash is no 16 hexadecimal
            digits.
    """
    names = pd.Series(pd.NA, index=images.index, dtype="str")
    pictures = _pictures(images, thumbnails)
    parents = np.arange(len(pictures.hashes))
    for pairs in near_pairs(pictures.hashes, DISTANCE):
        _compiled_tie(pairs, pictures.pixels, pictures.sums, pictures.spreads, CORRELATION, parents)
    for place in range(len(parents)):
        parents[place] = parents[parents[place]]  # a parent has the smaller number, so its own root is known by now
    roots = parents[pictures.picture]
    ids = images["image_id"].iloc[pictures.images]
    size = ids.groupby(roots).transform("size")
    smallest = ids.groupby(roots).transform("min")
    names.iloc[pictures.images] = smallest.where(size > 1).to_numpy()
    return names


def nearest_across(
    images: pd.DataFrame, thumbnails: pd.DataFrame, split: pd.DataFrame, listed: int
) -> list[dict[str, Any]]:
    """The most alike pairs of images of different subsets, among those whose hashes differ in at most 4 bits.

    Of images of one subset with equal thumbnails the smallest image_id stands for all.

    Args:
        images: IMAGES table.
        thumbnails: THUMBNAILS table of the images that have a phash.
        split: SPLIT table of the same images.
        listed: The most pairs to return.

    Returns:
        [{"images": [one, other], "subsets": [of one, of other], "correlation"}], the highest correlation first, equal
        ones in order of image_id.

    Raises:
        InputError: As `near_duplicate_clusters`.
    """
    pictures = _pictures(images, thumbnails)
    rows = images[["image_id"]].iloc[pictures.images].assign(picture=pictures.picture)
    rows = rows.merge(split[["image_id", "subset"]], on="image_id").sort_values("image_id")
    rows = rows.drop_duplicates(["picture", "subset"], ignore_index=True)
    picture, subset = rows["picture"].to_numpy(), rows["subset"].to_numpy(dtype=str)
    best = np.empty((0, 2), dtype=np.int64)
    correlations = np.empty(0)
    for pairs in near_pairs(pictures.hashes[picture], DISTANCE):
        best = np.concatenate([best, pairs[subset[pairs[:, 0]] != subset[pairs[:, 1]]]])
        correlations = _compiled_correlate(picture[best], pictures.pixels, pictures.sums, pictures.spreads)
        order = np.lexsort((best[:, 1], best[:, 0], -correlations))[:listed]
        best, correlations = best[order], correlations[order]
    return [
        {
            "images": rows["image_id"].iloc[pair].tolist(),
            "subsets": rows["subset"].iloc[pair].tolist(),
            "correlation": float(correlation),
        }
        for pair, correlation in zip(best, correlations, strict=True)
    ]


def _pictures(images: pd.DataFrame, thumbnails: pd.DataFrame) -> _Pictures:
    contents = validate(thumbnails, THUMBNAILS, "thumbnails table").set_index("image_id")["thumbnail"]
    informative = np.flatnonzero(images["phash"].notna())
    ids, texts = images["image_id"].iloc[informative], images["phash"].iloc[informative]
    _check_same(ids, contents.index.to_series())
    _check_hashes(ids, texts)
    both = [bytes.fromhex(text) + content for text, content in zip(texts, contents.loc[ids], strict=True)]
    picture, distinct = pd.factorize(np.array(both, dtype=object))
    packed = np.frombuffer(b"".join(distinct), dtype=np.uint8).reshape(-1, HASH_BYTES + PIXELS)
    hashes = packed[:, :HASH_BYTES].copy().view(">u8").ravel().astype(np.uint64)
    pixels = packed[:, HASH_BYTES:].copy()
    sums = pixels.sum(axis=1, dtype=np.int64)
    squares = np.einsum("ij,ij->i", pixels, pixels, dtype=np.int64)
    return _Pictures(informative, picture, hashes, pixels, sums, PIXELS * squares - sums**2)


def _check_same(ids: pd.Series, held: pd.Series) -> None:
    for found, known, what in ((ids, held, "thumbnail"), (held, ids, "perceptual hash")):
        missing = found[~found.isin(known)]
        if not missing.empty:
            raise InputError(
                "thumbnails table",
                found=f"{len(missing)} images without a {what}, first {missing.min()!r}",
                expected="a thumbnail of every image with a perceptual hash, and of no other",
                next_step="The tables are of different runs: delete both and run again.",
            )


def _check_hashes(ids: pd.Series, hashes: pd.Series) -> None:
    wrong = ~hashes.str.fullmatch("[0-9a-f]{16}").astype(bool)
    if wrong.any():
        raise InputError(
            f"images table: phash of {ids[wrong].iloc[0]}",
            found=repr(hashes[wrong].iloc[0]),
            expected="16 hexadecimal digits",
            next_step="Delete this table and make it again.",
        )


def _correlation(one: int, other: int, pixels: Any, sums: Any, spreads: Any) -> float:
    """Pearson correlation of two thumbnails, from exact whole numbers; -1 where one of them is of one grey."""
    total = np.int64(0)
    for pixel in range(pixels.shape[1]):
        total += np.int64(pixels[one, pixel]) * np.int64(pixels[other, pixel])
    if spreads[one] == 0 or spreads[other] == 0:
        return -1.0
    shared = float(pixels.shape[1] * total - sums[one] * sums[other])
    return shared / (math.sqrt(spreads[one]) * math.sqrt(spreads[other]))


def _root(parents: Any, place: int) -> int:
    """The root of a place in the union-find forest; the path to it is halved."""
    while parents[place] != place:
        parents[place] = parents[parents[place]]
        place = parents[place]
    return place


_compiled_correlation: Callable[..., float] = numba.njit(nogil=True)(_correlation)
_compiled_root: Callable[..., int] = numba.njit(nogil=True)(_root)


def _tie(pairs: Any, pixels: Any, sums: Any, spreads: Any, threshold: float, parents: Any) -> None:
    """Join the pictures of each pair that correlates as much as the threshold, if they are not joined yet."""
    for pair in range(len(pairs)):
        one = _compiled_root(parents, pairs[pair, 0])
        other = _compiled_root(parents, pairs[pair, 1])
        if one == other:
            continue
        if _compiled_correlation(pairs[pair, 0], pairs[pair, 1], pixels, sums, spreads) >= threshold:
            parents[max(one, other)] = min(one, other)


def _correlate(pairs: Any, pixels: Any, sums: Any, spreads: Any) -> Any:
    """Correlations of pairs of pictures."""
    found = np.empty(len(pairs))
    for pair in range(len(pairs)):
        found[pair] = _compiled_correlation(pairs[pair, 0], pairs[pair, 1], pixels, sums, spreads)
    return found


_compiled_tie: Callable[..., None] = numba.njit(nogil=True)(_tie)
_compiled_correlate: Callable[..., NDArray[np.float64]] = numba.njit(nogil=True)(_correlate)
