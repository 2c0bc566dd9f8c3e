"""What a detection set is like: images and boxes by stage, subset, source and class; sizes and places of boxes."""

import base64
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field

from scanline.core.errors import InputError
from scanline.core.slices import read_slices
from scanline.prepare.detection_set import SIDES, ImageSet
from scanline.prepare.detection_set_options import SetClasses
from scanline.prepare.windows import frame_of, repairs_of, window_of

SIZE_BINS = 25
PLACES = 32  # cells of the image's width and height
FEW_CLASSES = 3  # up to which two images of each are shown, else one
SHOWN_COPIES = 3
QUARTILES = (0.25, 0.5, 0.75)


class StatisticsOptions(SetClasses):
    """What the rule analyse_detection_set is told."""

    previous: tuple[str, ...] = Field(description="Names of earlier versions, in the order of their files.")


def describe_set(stages: Mapping[str, ImageSet], previous: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Count a detection set.

    Args:
        stages: `curated` (what the split holds), `balanced` (without what balancing dropped) and, where the task
            names an offline augmentation, `augmented`; the last is the set.
        previous: Earlier versions by name: `images` by subset, `boxes` by class.

    Returns:
        Plain values for JSON: targets; images (subset to number) and boxes (class to number) of the set; stages
        (stage to subset to `count_images`); left_out (subset to reason to images); sizes and places of the boxes of
        `balanced` (class to `describe_sizes` and `cover`); examples (see `choose_examples`); previous.

    Raises:
        InputError: For an earlier version that is not counted so.
    """
    final, natural = list(stages.values())[-1], stages["balanced"]
    for name, counts in previous.items():
        check_previous(name, counts)
    return {
        "targets": list(final.targets),
        "images": {subset: len(final.of_subset(subset)[0]) for subset in final.subsets},
        "boxes": _by_class(final, final.boxes),
        "stages": {
            stage: {subset: count_images(one, subset) for subset in one.subsets} for stage, one in stages.items()
        },
        "left_out": final.left_out,
        "sizes": {name: describe_sizes(_measured(natural, name)) for name in natural.targets},
        "places": {name: cover(_measured(natural, name)).tolist() for name in natural.targets},
        "examples": choose_examples(final),
        "previous": {
            name: {part: dict(counts[part]) for part in ("images", "boxes")} for name, counts in previous.items()
        },
    }


def check_previous(name: str, counts: Any) -> None:
    """Check the counts of an earlier version.

    Raises:
        InputError: If it has no whole numbers of images by subset and of boxes by class.
    """
    for part in ("images", "boxes"):
        values = counts.get(part) if isinstance(counts, Mapping) else None
        if not isinstance(values, Mapping) or not all(type(value) is int for value in values.values()):
            raise InputError(
                f"previous version {name}: {part}",
                found=repr(values)[:100],
                expected="whole numbers, images by subset and boxes by class",
                next_step="Mend the JSON file that detection_sets.previous_versions names.",
            )


def count_images(whole: ImageSet, subset: str) -> dict[str, Any]:
    """Count a subset.

    Returns:
        images, copies, positives (with a box), negatives (known to show no target), partly_known (a target is
        unknown), patients, boxes and images_with (by class), and sources: source to the same, but for copies and
        patients.
    """
    images, boxes = whole.of_subset(subset)
    sources = {}
    for source, rows in images.groupby("source", sort=True):
        sources[str(source)] = _count(whole, rows, boxes[boxes["image_id"].isin(rows["image_id"])])
    return {
        **_count(whole, images, boxes),
        "copies": int(images["original_id"].notna().sum()),
        "patients": int(images["patient_id"].nunique()),
        "sources": sources,
    }


def _count(whole: ImageSet, images: pd.DataFrame, boxes: pd.DataFrame) -> dict[str, Any]:
    with_class = boxes.drop_duplicates(["image_id", "label"])
    return {
        "images": len(images),
        "positives": int(images["image_id"].isin(boxes["image_id"]).sum()),
        "negatives": int(whole.is_negative(images).sum()),
        "partly_known": int(images["unknown_targets"].notna().sum()),
        "boxes": _by_class(whole, boxes),
        "images_with": _by_class(whole, with_class),
    }


def _by_class(whole: ImageSet, boxes: pd.DataFrame) -> dict[str, int]:
    counts = boxes["label"].value_counts()
    return {name: int(counts.get(name, 0)) for name in whole.targets}


def _measured(whole: ImageSet, target: str) -> NDArray[np.float64]:
    """Boxes of a class, shape (n, 6): x, y, width, height, and width and height of their images; in pixels."""
    sizes = whole.images[["image_id", "width", "height"]]
    own = whole.boxes[whole.boxes["label"] == target].merge(sizes, on="image_id", suffixes=("", "_of_image"))
    return own[[*SIDES, "width_of_image", "height_of_image"]].to_numpy(dtype=np.float64)


def describe_sizes(boxes: NDArray[np.float64]) -> dict[str, Any]:
    """Sizes of boxes, shape (n, 6) as above.

    Returns:
        width_px and height_px (quartiles; null without boxes), side_shares: numbers of boxes in 25 steps from 0 to 1 of
        the square root of their share of the image's area.
    """
    shares = np.sqrt(boxes[:, 2] * boxes[:, 3] / (boxes[:, 4] * boxes[:, 5]))
    return {
        "width_px": np.quantile(boxes[:, 2], QUARTILES).tolist() if len(boxes) else None,
        "height_px": np.quantile(boxes[:, 3], QUARTILES).tolist() if len(boxes) else None,
        "side_shares": np.histogram(shares, bins=SIZE_BINS, range=(0, 1))[0].tolist(),
    }


def cover(boxes: NDArray[np.float64]) -> NDArray[np.int64]:
    """How many boxes, shape (n, 6) as above, cover the centre of each of 32 x 32 cells of their images."""
    centres = (np.arange(PLACES) + 0.5) / PLACES
    scale = boxes[:, [4, 5, 4, 5]]
    corners = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:4]], axis=1) / scale
    across = (corners[:, :1] <= centres) & (centres < corners[:, 2:3])
    down = (corners[:, 1:2] <= centres) & (centres < corners[:, 3:])
    return np.asarray(down.astype(np.int64).T @ across.astype(np.int64))


def choose_examples(whole: ImageSet) -> list[dict[str, Any]]:
    """Training images to show: of each class those with the largest boxes, one a patient as far as there are several.

    Returns:
        For each {"label", "image_id", "source", "pictures": [{"path", "png", "width", "height", "boxes": [{label, x,
        y, width, height}]}]}: the original and its first copies.
    """
    images, boxes = whole.of_subset("train")
    facts = images.set_index("image_id")
    originals = boxes[boxes["image_id"].map(facts["original_id"]).isna()]
    copies = images[images["original_id"].notna()]
    chosen = []
    count = 2 if len(whole.targets) <= FEW_CLASSES else 1
    for target in whole.targets:
        own = originals[originals["label"] == target]
        own = own.assign(area=own["width"] * own["height"], patient=own["image_id"].map(facts["patient_id"]))
        ordered = own.sort_values(["area", "image_id"], ascending=[False, True]).drop_duplicates("image_id")
        again = ordered["patient"].notna() & ordered["patient"].duplicated()
        for image_id in pd.concat([ordered[~again], ordered[again]])["image_id"].head(count):
            shown = [image_id, *copies.loc[copies["original_id"] == image_id, "image_id"].head(SHOWN_COPIES)]
            pictures = [_picture(one, facts, boxes) for one in shown]
            source = str(facts.loc[image_id, "source"])
            chosen.append({"label": target, "image_id": image_id, "source": source, "pictures": pictures})
    return chosen


def _picture(image_id: str, facts: pd.DataFrame, boxes: pd.DataFrame) -> dict[str, Any]:
    row: Any = facts.loc[image_id]
    own = boxes.loc[boxes["image_id"] == image_id, ["label", *SIDES]]
    return {
        "path": row["path"],
        "png": _png_of(row),
        "width": int(row["width"]),
        "height": int(row["height"]),
        "boxes": own.to_dict("records"),
    }


def _png_of(row: Any) -> str | None:
    """An image of DICOM, of a volume or repaired, as PNG in Base64 for those who draw it; None of another picture."""
    frame, window, repairs = frame_of(row), window_of(row), repairs_of(row)
    if frame is None and window is None and not repairs:
        return None
    with io.BytesIO() as stream:
        Image.fromarray(next(read_slices(Path(row["path"]), [(frame, window)], repairs))).save(stream, "PNG")
        return base64.b64encode(stream.getvalue()).decode("ascii")
