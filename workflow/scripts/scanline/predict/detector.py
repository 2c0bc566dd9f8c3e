"""What a trained detector of any family finds on val, test and external."""

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from pickle import UnpicklingError

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from scanline.core.errors import InputError
from scanline.core.log import progress
from scanline.predict.options import SCORED_SUBSETS
from scanline.train.boxes import scale_boxes, xywh_from_corners
from scanline.train.detection import MAX_DETECTIONS, MIN_SCORE, Detections, DetectionSamples, Detector, DetectorSpec

COLUMNS = ("image_id", "subset", "label", "x", "y", "width", "height", "score")


def load_detector(path: Path, device: torch.device) -> tuple[DetectorSpec, Detector]:
    """Read a model.pt; the module of its family is imported now and not before.

    Raises:
        InputError: If it is missing or no detector of this workflow.
    """
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True)
        spec = DetectorSpec.from_json(saved["spec"])
    except (OSError, KeyError, TypeError, RuntimeError, ValueError, EOFError, UnpicklingError) as error:
        raise InputError(
            path,
            found=str(error)[:200],
            expected="the model.pt of a detector",
            next_step=f"snakemake {path}",
        ) from error
    module = import_module(f"scanline.train.{spec.family}_detector")
    loaded: tuple[DetectorSpec, Detector] = getattr(module, f"load_{spec.family}")(path, device)
    return loaded


def require_fit(spec: DetectorSpec, samples: Mapping[str, DetectionSamples], targets: tuple[str, ...]) -> None:
    """Check that a detector finds these targets, on images of this size.

    Raises:
        InputError: If it does not.
    """
    sizes = {subset.image_size_px for subset in samples.values()} | {spec.image_size_px}
    if spec.classes != targets or len(sizes) > 1:
        raise InputError(
            "model.pt",
            found=f"classes {', '.join(spec.classes)}, images of {spec.image_size_px} px",
            expected=f"classes {', '.join(targets)}, images of {', '.join(map(str, sorted(sizes)))} px",
            next_step="Train it anew with these options.",
        )


def detect_samples(
    detector: Detector, targets: tuple[str, ...], samples: Mapping[str, DetectionSamples], batch_size: int = 16
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Detect on val, test and external.

    Args:
        detector: Called with batches of cached images.
        targets: Names of the classes, in the order of their numbers.
        samples: By subset.
        batch_size: Images at once.

    Returns:
        Detections: COLUMNS, continuous pixels of the original image, by falling score within each image. And all
        images that were looked at: image_id, subset.
    """
    rows: list[pd.DataFrame] = []
    looked_at: list[pd.DataFrame] = []
    for subset in SCORED_SUBSETS:
        if subset not in samples:
            continue
        images = samples[subset]
        looked_at.append(pd.DataFrame({"image_id": images.image_ids, "subset": subset}, dtype="str"))
        for start in progress(range(0, len(images), batch_size), unit="batch"):
            members = range(start, min(start + batch_size, len(images)))
            batch = np.ascontiguousarray(images.pixels[images.rows[list(members)]])
            for position, found in zip(members, detector(batch), strict=True):
                original = (int(images.sizes[position][0]), int(images.sizes[position][1]))
                table = boxes_in_original(found, images.image_size_px, original, targets)
                table.insert(0, "image_id", images.image_ids[position])
                table.insert(1, "subset", subset)
                rows.append(table)
    kinds = dict.fromkeys(COLUMNS[:3], "str") | dict.fromkeys(COLUMNS[3:], "float64")
    detections = pd.concat(rows, ignore_index=True) if rows else pd.DataFrame(columns=list(COLUMNS))
    return detections.astype(kinds), pd.concat(looked_at, ignore_index=True)


def boxes_in_original(
    found: Detections, size: int, original: tuple[int, int], targets: tuple[str, ...]
) -> pd.DataFrame:
    """Detections of one image: the best MAX_DETECTIONS of at least MIN_SCORE, by falling score.

    Args:
        found: By the detector, in an image of `size`.
        size: Width and height that the detector was shown, in pixels.
        original: Width and height of the original image, in pixels.
        targets: Names of the classes, in the order of their numbers.

    Returns:
        COLUMNS but for image_id and subset; pixels of the original.
    """
    kept = np.flatnonzero(found.scores >= MIN_SCORE)
    kept = kept[np.argsort(-found.scores[kept], kind="stable")][:MAX_DETECTIONS]
    x, y, width, height = xywh_from_corners(original_corners(found.boxes[kept], size, original)).T
    names = np.array(targets, dtype=object)
    table = pd.DataFrame(
        {
            "label": names[found.classes[kept] - 1],
            "x": x,
            "y": y,
            "width": width,
            "height": height,
            "score": found.scores[kept].astype(np.float64),
        }
    )
    return table[(table["width"] > 0) & (table["height"] > 0)].reset_index(drop=True)


def original_corners(boxes: NDArray[np.float32], size: int, original: tuple[int, int]) -> NDArray[np.float64]:
    """Corners in a cached image of `size` to corners in the original of (width, height), cut at its edges."""
    width, height = map(float, original)
    corners = scale_boxes(boxes, (size, size), (width, height))
    return np.asarray(corners.clip(0.0, [width, height, width, height]))
