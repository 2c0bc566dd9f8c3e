"""The images of a task, subset by subset: pixels, truth, and nothing where the truth is unknown."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scanline.core.errors import InputError
from scanline.core.tables import SPLIT, read_table


@dataclass(frozen=True)
class Samples:
    """The images of one subset.

    Attributes:
        image_ids: Shape (n,), str.
        rows: Shape (n,), int64: rows of `pixels`.
        truth: Shape (n,), float32: 1 where the class is there, 0 where it is not.
        pixels: The whole pixel cache, shape (images, size, size), uint8, mapped into memory.
    """

    image_ids: NDArray[np.object_]
    rows: NDArray[np.int64]
    truth: NDArray[np.float32]
    pixels: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.rows)


def load_samples(pixels: Path, index: Path, labels: Path, split: Path, target: str) -> dict[str, Samples]:
    """Join cache, labels and split to the samples of each subset, in the split's order.

    Images whose label is unknown and images that balancing dropped are left out.

    Raises:
        InputError: If a table is missing or a split image is not in the cache or the labels.
    """
    table = read_table(split, SPLIT)
    table = table[table["dropped_by"].isna()]
    cache = read_table(index).set_index("image_id")["row"]
    truth = read_table(labels).set_index("image_id")[target]
    for name, known in ((index, cache.index), (labels, truth.index)):
        missing = table.loc[~table["image_id"].isin(known), "image_id"]
        if len(missing):
            raise InputError(
                name,
                found=f"no row for image {missing.iloc[0]!r} ({len(missing)} such)",
                expected="every image of the split",
                next_step=f"Delete {split} and run again.",
            )
    table = table.assign(truth=truth.loc[table["image_id"]].to_numpy(), row=cache.loc[table["image_id"]].to_numpy())
    table = table[table["truth"].notna()]
    mapped = np.load(pixels, mmap_mode="r")
    return {
        str(subset): Samples(
            image_ids=rows["image_id"].to_numpy(dtype=object),
            rows=rows["row"].to_numpy(dtype=np.int64),
            truth=rows["truth"].to_numpy(dtype=np.float32),
            pixels=mapped,
        )
        for subset, rows in table.groupby("subset", sort=True)
    }


def require_both_classes(samples: dict[str, Samples], subsets: tuple[str, ...], target: str, split: Path) -> None:
    """Check that each subset has positives and negatives.

    Raises:
        InputError: Naming the subset and what it lacks.
    """
    for subset in subsets:
        truth = samples[subset].truth if subset in samples else np.empty(0, np.float32)
        positives = int(truth.sum())
        for kind, count in (("positives", positives), ("negatives", len(truth) - positives)):
            if count == 0:
                raise InputError(
                    f"{split}: subset {subset}",
                    found=f"{len(truth)} images with a known label and no {kind} of {target!r}",
                    expected=f"{kind} and their opposite in {', '.join(subsets)}",
                    next_step="Choose another seed or other ratios for this split, or add patients.",
                )
