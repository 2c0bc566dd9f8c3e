"""The naive split: images shuffled one by one, patients ignored; it shows what leakage is worth."""

import numpy as np
import pandas as pd

from scanline.core.errors import InputError
from scanline.split.assign import ASSIGNED, ratios_array, split_table
from scanline.split.groups import check_image_ids
from scanline.split.options import NaiveImageSplit


def assign_naive_image(groups: pd.DataFrame, options: NaiveImageSplit) -> pd.DataFrame:
    """Assign images one by one, at random, to train, val and test.

    Sizes are the ratios' shares of the n images, rounded by largest remainder, and at least 1.

    Args:
        groups: GROUPS table of n images.
        options: Ratios and seed.

    Returns:
        SPLIT table of n rows, sorted by image_id; it does not depend on the order of the rows of `groups`.

    Raises:
        InputError: If there are fewer than 3 images or one stands there twice.
    """
    check_image_ids(groups, "groups table")
    n_images = len(groups)
    if n_images < len(ASSIGNED):
        raise InputError(
            "groups table",
            found=f"{n_images} images",
            expected="at least 3, one each for train, val and test",
            next_step="Add images.",
        )
    exact = ratios_array(options.ratios) * n_images
    sizes = np.maximum(np.floor(exact).astype(int), 1)
    while sizes.sum() < n_images:
        sizes[np.argmax(exact - sizes)] += 1
    while sizes.sum() > n_images:
        sizes[np.argmax(sizes)] -= 1
    subsets = np.empty(n_images, dtype="<U8")
    subsets[np.random.default_rng(options.seed).permutation(n_images)] = np.repeat(ASSIGNED, sizes)
    return split_table(groups.sort_values("image_id", ignore_index=True), subsets)
