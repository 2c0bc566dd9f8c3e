"""The images of a segmentation task, subset by subset; those of unknown mask apart from all others."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scanline.core.errors import InputError
from scanline.core.scratch import map_array
from scanline.core.tables import SPLIT, drawn_images, read_table
from scanline.prepare.mask_values import LESION, UNKNOWN
from scanline.prepare.samples import Samples


@dataclass(frozen=True)
class MaskSamples(Samples):
    """The images of one subset with their masks; `truth`, shape (n, 1), is 1 where a lesion pixel is cached.

    Attributes:
        masks: The whole mask cache, in the rows of `pixels`, shape (images, size, size), uint8, mapped into memory.
    """

    masks: NDArray[np.uint8] = field(kw_only=True)


@dataclass(frozen=True)
class SplitMasks:
    """The images of a split.

    Attributes:
        known: By subset, the images whose mask is known: all that training, val and test are made of.
        unknown: By subset, the others; `truth` is NaN. They are counted, and never trained on nor measured.
    """

    known: dict[str, MaskSamples]
    unknown: dict[str, MaskSamples]

    def count_unknown(self) -> dict[str, int]:
        """Images of unknown mask by subset, 0 included."""
        return {name: len(self.unknown.get(name, ())) for name in sorted({*self.known, *self.unknown})}


def load_mask_samples(pixels: Path, index: Path, masks: Path, split: Path) -> SplitMasks:
    """Join caches and split to the samples of each subset, in the split's order; what balancing dropped is left out.

    Raises:
        InputError: If a table is missing, the caches do not fit each other, or an image is not in them.
    """
    table = drawn_images(read_table(split, SPLIT))
    rows = read_table(index).set_index("image_id")["row"]
    missing = table.loc[~table["image_id"].isin(rows.index), "image_id"]
    if len(missing):
        raise InputError(
            index,
            found=f"no row for image {missing.iloc[0]!r} ({len(missing)} such)",
            expected="every image of the split",
            next_step=f"Delete {split} and run again.",
        )
    pixel_cache, mask_cache = map_array(pixels), map_array(masks)
    if pixel_cache.shape != mask_cache.shape:
        raise InputError(
            masks,
            found=f"masks of shape {mask_cache.shape}",
            expected=f"{pixel_cache.shape}, as the pixel cache {pixels}",
            next_step=f"Delete {masks} and run again.",
        )
    table = table.assign(row=rows.loc[table["image_id"]].to_numpy())
    table["truth"] = [_truth_of(mask_cache[row]) for row in table["row"]]

    def samples(part: pd.DataFrame) -> MaskSamples:
        return MaskSamples(
            image_ids=part["image_id"].to_numpy(dtype=object),
            rows=part["row"].to_numpy(dtype=np.int64),
            truth=part["truth"].to_numpy(dtype=np.float32).reshape(-1, 1),
            pixels=pixel_cache,
            masks=mask_cache,
        )

    is_known = table["truth"].notna()
    known, unknown = table[is_known], table[~is_known]
    return SplitMasks(
        {str(subset): samples(part) for subset, part in known.groupby("subset", sort=True)},
        {str(subset): samples(part) for subset, part in unknown.groupby("subset", sort=True)},
    )


def _truth_of(mask: NDArray[np.uint8]) -> float:
    """1 with lesion, 0 without, NaN where unknown."""
    return float("nan") if mask.flat[0] == UNKNOWN else float((mask == LESION).any())


def require_lesions(samples: dict[str, MaskSamples], subsets: Sequence[str], split: Path) -> None:
    """Check that subsets have images with lesion.

    Args:
        samples: By subset, images of known mask.
        subsets: Those that need at least one image with lesion.
        split: The split's file, for messages.

    Raises:
        InputError: Naming the first subset without any.
    """
    for subset in subsets:
        found = samples[subset].truth if subset in samples else np.empty((0, 1), np.float32)
        if not (found == 1).any():
            raise InputError(
                f"{split}: subset {subset}",
                found=f"{len(found)} images of known mask, none with lesion",
                expected="at least one image with lesion",
                next_step="Choose another seed or other ratios for this split, or add patients.",
            )
