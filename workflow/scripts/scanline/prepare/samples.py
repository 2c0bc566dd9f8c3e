"""The images of a task, subset by subset: pixels and truth, null where the truth is unknown."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scanline.core.errors import InputError
from scanline.core.log import logger
from scanline.core.scratch import map_array
from scanline.core.tables import SPLIT, drawn_images, read_table


@dataclass(frozen=True)
class Samples:
    """The images of one subset.

    Attributes:
        image_ids: Shape (n,), str.
        rows: Shape (n,), int64: rows of `pixels`.
        truth: Shape (n, classes), float32: 1 where the class is there, 0 where it is not, NaN where nobody looked.
            At least one class of each image is known; a single class therefore always is.
        pixels: The whole pixel cache, shape (images, size, size), uint8, mapped into memory.
        left_out: Images of the subset of which no class is known.
    """

    image_ids: NDArray[np.object_]
    rows: NDArray[np.int64]
    truth: NDArray[np.float32]
    pixels: NDArray[np.uint8]
    left_out: int = 0

    def __len__(self) -> int:
        return len(self.rows)


def load_samples(
    pixels: Path, index: Path, labels: Path, split: Path, target: str | Sequence[str]
) -> dict[str, Samples]:
    """Join cache, labels and split to the samples of each subset, in the split's order.

    Images of which no wanted class is known and images that balancing dropped are left out; what it repeats is
    repeated.

    Args:
        pixels: The pixel cache, .npy.
        index: Its table of rows.
        labels: Labels table.
        split: Split table.
        target: The class to predict, or several in the order of the truth's columns.

    Raises:
        InputError: If a table is missing, a class is not in the labels table, or a split image is not in the cache or
            the labels.
    """
    classes = [target] if isinstance(target, str) else list(target)
    table = drawn_images(read_table(split, SPLIT))
    cache = read_table(index).set_index("image_id")["row"]
    truth = read_table(labels).set_index("image_id")
    for name in classes:
        if name not in truth:
            raise InputError(
                labels,
                found=f"the classes {', '.join(truth.columns)}",
                expected=f"a class {name}",
                next_step="Name one of these as target in the study file.",
            )
    for place, known in ((index, cache.index), (labels, truth.index)):
        missing = table.loc[~table["image_id"].isin(known), "image_id"]
        if len(missing):
            raise InputError(
                place,
                found=f"no row for image {missing.iloc[0]!r} ({len(missing)} such)",
                expected="every image of the split",
                next_step=f"Delete {split} and run again.",
            )
    wanted = truth.loc[table["image_id"], classes].astype("Float64")
    values = wanted.to_numpy(dtype=np.float32, na_value=np.nan).reshape(-1, len(classes))
    rows = cache.loc[table["image_id"]].to_numpy(dtype=np.int64)
    is_known = ~np.isnan(values).all(axis=1)
    mapped = map_array(pixels)
    samples = {}
    for subset in sorted(table["subset"].unique()):
        inside = (table["subset"] == subset).to_numpy()
        kept = inside & is_known
        left_out = int((inside & ~is_known).sum())
        if left_out:
            logger.info("%s: %d images left out, as nothing is known of %s", subset, left_out, ", ".join(classes))
        if kept.any():
            image_ids = table.loc[kept, "image_id"].to_numpy(dtype=object)
            samples[str(subset)] = Samples(image_ids, rows[kept], values[kept], mapped, left_out)
    return samples


def exclusive_samples(samples: dict[str, Samples], classes: Sequence[str], labels: Path) -> dict[str, Samples]:
    """The samples of classes that exclude another: images that show exactly one, with a truth of 0 and 1 alone.

    Images that show none of the classes, or of which that is unknown, are left out and counted. One class that is
    there settles the others, known or not.

    Args:
        samples: From `load_samples`, of these classes.
        classes: In the order of the truth's columns.
        labels: The labels table, for messages.

    Raises:
        InputError: If an image shows two of the classes.
    """
    found = {}
    for subset, one in samples.items():
        shown = one.truth == 1
        double = np.flatnonzero(shown.sum(axis=1) > 1)
        if len(double):
            image_id, both = one.image_ids[double[0]], shown[double[0]]
            raise InputError(
                f"{labels}: image {image_id}",
                found=f"{' and '.join(np.array(classes)[both])} ({len(double)} such images in {subset})",
                expected="exactly one of the task's classes on an image",
                next_step="Make the task's kind multilabel, or name classes that exclude another.",
            )
        kept = shown.any(axis=1)
        left_out = one.left_out + int((~kept).sum())
        if not kept.all():
            logger.info("%s: %d images left out, as they show none of %s", subset, (~kept).sum(), ", ".join(classes))
        if kept.any():
            truth = shown[kept].astype(np.float32)
            found[subset] = Samples(one.image_ids[kept], one.rows[kept], truth, one.pixels, left_out)
    return found


def count_known(samples: Samples, classes: Sequence[str]) -> dict[str, dict[str, int]]:
    """Positive, negative and unknown images of each class, in the order of the truth's columns."""
    truth = samples.truth
    return {
        name: {
            "positives": int((truth[:, column] == 1).sum()),
            "negatives": int((truth[:, column] == 0).sum()),
            "unknown": int(np.isnan(truth[:, column]).sum()),
        }
        for column, name in enumerate(classes)
    }


def require_both_classes(
    samples: dict[str, Samples], subsets: tuple[str, ...], target: str | Sequence[str], split: Path
) -> None:
    """Check that each subset has positives and negatives of each class.

    Args:
        samples: From `load_samples`.
        subsets: Those to check.
        target: The class, or several in the order of the truth's columns.
        split: The split table, for messages.

    Raises:
        InputError: Naming the subset, the class and what it lacks.
    """
    classes = [target] if isinstance(target, str) else list(target)
    for subset in subsets:
        truth = samples[subset].truth if subset in samples else np.empty((0, len(classes)), np.float32)
        for column, name in enumerate(classes):
            positives, negatives = int((truth[:, column] == 1).sum()), int((truth[:, column] == 0).sum())
            for kind, count in (("positives", positives), ("negatives", negatives)):
                if count == 0:
                    raise InputError(
                        f"{split}: subset {subset}",
                        found=f"{positives + negatives} images with a known label and no {kind} of {name!r}",
                        expected=f"{kind} and their opposite in {', '.join(subsets)}",
                        next_step="Choose another seed or other ratios for this split, or add patients.",
                    )
