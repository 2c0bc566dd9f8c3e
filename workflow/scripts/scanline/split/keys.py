"""The keys by which images belong together: patient, volume, augmentation siblings, identical files, near-duplicates.

A near perceptual hash is no key: see `scanline.split.near_duplicates` for what confirms it.
"""

import re
from collections.abc import Iterable

import pandas as pd

from scanline.split.near_duplicates import near_duplicate_clusters

NATURAL = ("patient_id", "volume_id", "sibling", "sha256")  # equal by what they are, not by what they look like
KINDS = (*NATURAL, "near_duplicate")

_ROBOFLOW = re.compile(r"(?:_(?:jpe?g|png|bmp|webp|tiff?))?\.rf\.[0-9a-z]+$", re.IGNORECASE)
_AUGMENTED = re.compile(r"_aug[0-9]$", re.IGNORECASE)
_SUBSET_FOLDERS = {"train", "training", "val", "valid", "validation", "test", "testing"}
_PLAIN_FOLDERS = {"images", "imgs", "aug", "augmented"}


def tie_keys(images: pd.DataFrame, thumbnails: pd.DataFrame | None = None) -> pd.DataFrame:
    """The keys that tie images, one column a kind, null where a kind says nothing about an image.

    A null phash marks a blank or low-content image: its sha256 is left out, since one blank image can stand
    in the files of many patients. Patient and volume ids are compared over the whole table, so curation must
    make them distinct where two sources number their patients alike.

    Args:
        images: IMAGES table of n rows.
        thumbnails: THUMBNAILS table of the images that have a phash; None where there is none to compare: then
            near_duplicate is null for every image.

    Returns:
        Table of n rows with the index of `images` and the columns of `KINDS`, text or null.
    """
    return pd.DataFrame(
        {
            "patient_id": images["patient_id"],
            "volume_id": images["volume_id"],
            "sibling": sibling_keys(images),
            "sha256": images["sha256"].where(images["phash"].notna()),
            "near_duplicate": None if thumbnails is None else near_duplicate_clusters(images, thumbnails),
        },
        index=images.index,
    ).astype("str")


def sibling_keys(images: pd.DataFrame) -> pd.Series:
    """Name of the original that each image and its offline augmentations share, null for images without any.

    Roboflow's `.rf.<hash>` (with the `_jpg` before it) and an `_aug0` to `_aug9` are stripped from the file's
    stem, in any order and number. What is left is compared within a source and a folder; folder names that
    name a subset (train, valid, ...) or only say images or augmented do not count, since exports deal
    siblings out over them. An image without such a suffix is a sibling only where an augmentation of the same
    name exists.

    Args:
        images: IMAGES table of n rows.

    Returns:
        n texts or nulls with the index of `images`.
    """
    parts = [
        _original(image_id.removeprefix(f"{source}/"))
        for image_id, source in zip(images["image_id"], images["source"], strict=True)
    ]
    keys = pd.Series(
        [f"{source}/{name}" for source, (name, _) in zip(images["source"], parts, strict=True)],
        index=images.index,
        dtype="str",
    )
    augmented = pd.Series([is_augmented for _, is_augmented in parts], index=images.index, dtype=bool)
    return keys.where(keys.isin(keys[augmented]))


def _original(name: str) -> tuple[str, bool]:
    """The original that a relative stem was made from, and whether it is an augmentation of it."""
    *folders, stem = name.split("/")
    stripped = stem
    while (shorter := _AUGMENTED.sub("", _ROBOFLOW.sub("", stripped))) not in (stripped, ""):
        stripped = shorter
    return "/".join([*_telling(folders), stripped]), stripped != stem


def _telling(folders: Iterable[str]) -> list[str]:
    """The folder names that tell images apart."""
    return [folder for folder in folders if folder.lower() not in _SUBSET_FOLDERS | _PLAIN_FOLDERS]
