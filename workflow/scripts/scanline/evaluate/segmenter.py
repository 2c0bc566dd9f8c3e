"""Evaluate a segmentation network: threshold of its maps frozen on val, masks measured, table of single images.

All is measured at the size of the mask cache, which metrics.json states. What the image and volume say as a whole
(lesion or not) is read off the predicted masks, never off the true ones.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scanline.core.files import read_json, sha256_of_text
from scanline.core.privacy import pseudonym
from scanline.core.tables import read_table
from scanline.evaluate.inputs import Bools, refuse
from scanline.evaluate.scores import SUBSETS, clustered_by
from scanline.evaluate.segmentation import evaluate_segmentation
from scanline.evaluate.segmentation_cases import (
    LESION_POSITIVE,
    UNKNOWN,
    MaskPair,
    SegmentationCases,
    measure_cases,
)
from scanline.evaluate.segmenter_options import EvaluateSegmenterOptions
from scanline.evaluate.segmenter_subgroups import measure_segmenter_gap, measure_segmenter_subgroups

LEVELS = 255  # a map's value is round(LEVELS * probability)
FIXED_LEVEL = 128  # the first level of a probability of 0.5 or more
UNKNOWN_MASK = 255  # fills the cached mask of an image of unknown truth
MAKE_AGAIN = "Delete it and make it again."

Image = NDArray[np.uint8]


class Maps(Protocol):
    """Probability maps by image_id, shape (size, size), uint8: round(255 p)."""

    def __getitem__(self, image_id: str) -> Image:
        """The map of an image."""


@dataclass(frozen=True)
class MaskThreshold:
    """A frozen threshold: a pixel is predicted where its map's value >= level.

    Attributes:
        rule: dice or fixed.
        level: From 1 to 255.
        threshold: level / 255, as a probability.
        criterion: The Dice of all val pixels that it reaches; None for the fixed rule.
        subset: The subset it was fitted on; None where nothing was fitted.
        images: Images of that subset; None where nothing was fitted.
        positives: Those with lesion; None where nothing was fitted.
        maps_sha256: Digest of what it was fitted on (see `digest_of_maps`); None where nothing was fitted.
    """

    rule: str
    level: int
    threshold: float
    criterion: float | None
    subset: str | None
    images: int | None
    positives: int | None
    maps_sha256: str | None

    def predict(self, map_: Image) -> Bools:
        """The mask of a map, same shape."""
        return map_ >= self.level

    def as_json(self) -> dict[str, object]:
        """The content of operating_point.json."""
        return asdict(self)

    def sha256(self) -> str:
        """Digest of the record, as metrics.json holds it."""
        return sha256_of_text(json.dumps(self.as_json(), sort_keys=True))


def read_mask_threshold(path: Path) -> MaskThreshold:
    """Read an operating_point.json of a segmentation network.

    Raises:
        InputError: If the file is missing, no JSON, or not such a record.
    """
    values: Any = read_json(path)
    fields = set(MaskThreshold.__dataclass_fields__)
    if not isinstance(values, dict) or set(values) != fields:
        found = ", ".join(sorted(values)) if isinstance(values, dict) else type(values).__name__
        refuse(path, found, f"a threshold with the keys {', '.join(sorted(fields))}", MAKE_AGAIN)
    return MaskThreshold(**values)


@dataclass(frozen=True)
class MaskTruths:
    """The true masks at the size of the cache.

    Attributes:
        masks: Shape (images, size, size), uint8: 1 lesion, 0 none, 255 throughout where unknown.
        rows: image_id to its row.
    """

    masks: Image
    rows: Mapping[str, int]

    def __getitem__(self, image_id: str) -> Image | None:
        """The mask of an image, shape (size, size); None where unknown."""
        mask: Image = np.asarray(self.masks[self.rows[image_id]])
        return None if mask.flat[0] == UNKNOWN_MASK else mask

    @property
    def size_px(self) -> int:
        """Width and height of the masks."""
        return int(self.masks.shape[-1])


def read_truths(masks: Path, index: Path) -> MaskTruths:
    """Read the true masks from the mask cache, mapped and not loaded, and its table of rows."""
    rows = read_table(index)
    return MaskTruths(np.load(masks, mmap_mode="r"), dict(zip(rows["image_id"], rows["row"].tolist(), strict=True)))


def check_table(table: pd.DataFrame, images: pd.DataFrame, truths: MaskTruths, where: str | Path) -> pd.DataFrame:
    """Check a table of predictions; put its rows in the order in which volumes stack, with what places them.

    Args:
        table: Columns image_id and subset (val, test, external).
        images: The images table.
        truths: The true masks.
        where: The table's file, for messages.

    Returns:
        image_id, subset, patient_id, volume_id, slice_index, by subset, volume, slice and image; those of no volume
        first.

    Raises:
        InputError: For a missing column, an image that comes twice or is not in the study, an unknown subset, or a
            val or test subset without images.
    """
    missing = [name for name in ("image_id", "subset") if name not in table]
    if missing:
        refuse(f"{where}: columns", ", ".join(map(str, table.columns)), f"{', '.join(missing)} as well", MAKE_AGAIN)
    for wrong, expected in (
        (table["image_id"].duplicated(), "each image once"),
        (~table["image_id"].isin(images["image_id"]), "an image of the images table"),
        (~table["image_id"].isin(list(truths.rows)), "an image of the mask cache"),
        (~table["subset"].isin(SUBSETS), f"a subset of {', '.join(SUBSETS)}"),
    ):
        if wrong.any():
            row = table.loc[wrong].iloc[0]
            refuse(f"{where}: image {row['image_id']}", f"subset {row['subset']}", expected, MAKE_AGAIN)
    for subset in ("val", "test"):
        if not (table["subset"] == subset).any():
            next_step = f"Give the split a larger {subset} share."
            refuse(f"{where}: subset {subset}", "no images", "at least one image of known mask", next_step)
    places = images.set_index("image_id")[["patient_id", "volume_id", "slice_index"]]
    table = table[["image_id", "subset"]].join(places, on="image_id")
    rank = table["subset"].map({name: place for place, name in enumerate(SUBSETS)})
    volumes = table["volume_id"].astype("object").where(table["volume_id"].notna(), "")
    table = table.assign(_rank=rank, _volume=volumes)
    keys = ["_rank", "_volume", "slice_index", "image_id"]
    return table.sort_values(keys, ignore_index=True).drop(columns=["_rank", "_volume"])


def fit_on_val(
    table: pd.DataFrame, maps: Maps, truths: MaskTruths, options: EvaluateSegmenterOptions, where: str | Path
) -> MaskThreshold:
    """Choose the level with the best Dice of all pixels of val, the only images that are looked at.

    All 255 levels are tried on exact counts; of equally good ones the lowest is taken, which finds most pixels.

    Args:
        table: image_id and subset; images of unknown mask are passed over.
        maps: Probability maps.
        truths: True masks.
        options: The rule.
        where: The table's file, for messages.

    Raises:
        InputError: If val has no lesion pixel, or a map does not fit its mask.
    """
    if options.masks.threshold == "fixed":
        return MaskThreshold("fixed", FIXED_LEVEL, FIXED_LEVEL / LEVELS, None, None, None, None, None)
    image_ids = _known_val(table, truths)
    lesion, everything = np.zeros(LEVELS + 1, dtype=np.int64), np.zeros(LEVELS + 1, dtype=np.int64)
    positives = 0
    for image_id in image_ids:
        truth, map_ = _pair(image_id, maps, truths, where)
        lesion += np.bincount(map_[truth > 0], minlength=LEVELS + 1)
        everything += np.bincount(map_.ravel(), minlength=LEVELS + 1)
        positives += bool(truth.any())
    if positives == 0:
        refuse(
            f"{where}: subset val",
            f"{len(image_ids)} images of known mask and no lesion pixel",
            "lesions to choose the threshold by",
            "Give the split a larger val share or another seed, or set evaluate.masks.threshold: fixed.",
        )
    true_positive = lesion[::-1].cumsum()[::-1][1:]  # pixels at or above levels 1 ... 255
    predicted = everything[::-1].cumsum()[::-1][1:]
    dice = 2 * true_positive / (predicted + lesion.sum())
    best = int(dice.argmax())
    digest = digest_of_maps(image_ids, maps, truths, where)
    level = best + 1
    return MaskThreshold("dice", level, level / LEVELS, float(dice[best]), "val", len(image_ids), positives, digest)


def _known_val(table: pd.DataFrame, truths: MaskTruths) -> list[str]:
    return [name for name in table.loc[table["subset"] == "val", "image_id"] if truths[name] is not None]


def _pair(image_id: str, maps: Maps, truths: MaskTruths, where: str | Path) -> tuple[Image, Image]:
    """Known mask and map of an image, checked to be of one shape."""
    truth, map_ = truths[image_id], maps[image_id]
    if truth is None or map_.shape != truth.shape or map_.dtype != np.uint8:
        expected = f"uint8 of shape {(truths.size_px,) * 2}"
        refuse(f"{where}: map of image {image_id}", f"{map_.dtype} of shape {map_.shape}", expected, MAKE_AGAIN)
    return truth, map_


def digest_of_maps(image_ids: list[str], maps: Maps, truths: MaskTruths, where: str | Path) -> str:
    """SHA-256 of the JSON list of [image id, SHA-256 of its true mask, SHA-256 of its map], sorted."""
    rows = []
    for image_id in sorted(image_ids):
        pair = _pair(image_id, maps, truths, where)
        rows.append([image_id, *(hashlib.sha256(one.tobytes()).hexdigest() for one in pair)])
    return sha256_of_text(json.dumps(rows))


@dataclass(frozen=True)
class SegmenterEvaluation:
    """What evaluation makes of probability maps.

    Attributes:
        metrics: The content of metrics.json.
        per_image: image_id, patient and volume (pseudonyms, null where unknown), slice_index, subset, kind
            (lesion_positive, empty_true, unknown), truth and predicted (lesion or not, from the masks; truth null
            where unknown), probability (the map's largest), outcome (TP, FP, FN, TN; null where unknown), and the
            measurements of `measure_case`.
    """

    metrics: dict[str, Any]
    per_image: pd.DataFrame


def evaluate_segmenter(
    table: pd.DataFrame,
    maps: Maps,
    truths: MaskTruths,
    images: pd.DataFrame,
    labels: pd.DataFrame,
    options: EvaluateSegmenterOptions,
    threshold: MaskThreshold,
    where: str | Path = "table of maps",
) -> SegmenterEvaluation:
    """Apply a frozen threshold and measure every subset with it.

    Args:
        table: image_id and subset (val, test, external) of the predicted images, unknown masks among them.
        maps: Probability maps.
        truths: True masks.
        images: The images table.
        labels: The labels table: images labelled positive whose lesion is lost at this size are counted.
        options: Target, intervals, fewest predicted pixels, tolerance, salt.
        threshold: Fitted on val of these maps: its digest is compared with theirs.
        where: The table's file, for messages.

    Raises:
        InputError: For what `check_table` and `evaluate_segmentation` refuse, or a threshold fitted on other maps.
    """
    table = check_table(table, images, truths, where)
    check_fitted_on(threshold, table, maps, truths, where)
    labelled = labels.set_index("image_id")[options.target]
    subsets, rows, measured_cases = {}, [], {}
    for subset in (name for name in SUBSETS if (table["subset"] == name).any()):
        part = table[table["subset"] == subset]
        pairs = pairs_of(part, maps, truths, threshold)
        cases = measure_cases(pairs, tolerance=options.masks.surface_tolerance_px, where=f"{where}: {subset}")
        measured_cases[subset] = cases
        measured = evaluate_segmentation(
            cases.images,
            cases.volumes,
            options.evaluate,
            min_predicted_pixels=options.masks.min_predicted_pixels,
            stream=subset,
            where=f"{where}: {subset}",
        )
        empty = cases.images.loc[~cases.images["kind"].isin([LESION_POSITIVE, UNKNOWN]), "image_id"]
        subsets[subset] = {
            **measured,
            "clustered_by": clustered_by(part["patient_id"]),
            "lesions_lost_by_resizing": int((labelled.reindex(empty) == True).sum()),  # noqa: E712 - null is neither
        }
        rows.append(per_image_table(part, cases, maps, options))
    fewest = options.masks.min_predicted_pixels
    metrics = {
        "threshold": threshold.threshold,
        "threshold_rule": threshold.rule,
        "threshold_from": threshold.subset or "configuration",
        "threshold_dice": threshold.criterion,
        "operating_point_sha256": threshold.sha256(),
        "measured_at_px": truths.size_px,
        "min_predicted_pixels": options.masks.min_predicted_pixels,
        "surface_tolerance_px": options.masks.surface_tolerance_px,
        "interval": {
            "level": options.evaluate.confidence_level,
            "resamples": options.evaluate.bootstrap_resamples,
            "clustered_by": subsets["test"]["clustered_by"],
            "method": options.evaluate.interval_method,
            "stratified": options.evaluate.stratified,
        },
        "subsets": subsets,
        "subgroups": {
            subset: measure_segmenter_subgroups(cases, images, options.evaluate, subset, min_predicted_pixels=fewest)
            for subset, cases in measured_cases.items()
            if subset != "val"
        },
        "gap": measure_segmenter_gap(measured_cases, options.evaluate, min_predicted_pixels=fewest),
    }
    return SegmenterEvaluation(metrics, pd.concat(rows, ignore_index=True))


def check_fitted_on(
    threshold: MaskThreshold, table: pd.DataFrame, maps: Maps, truths: MaskTruths, where: str | Path
) -> None:
    """Check that a threshold was fitted on exactly these val maps, before it is applied to others.

    Raises:
        InputError: If it was fitted on others.
    """
    if threshold.maps_sha256 is None:
        return
    digest = digest_of_maps(_known_val(table, truths), maps, truths, where)
    if digest != threshold.maps_sha256:
        refuse(
            "operating point: maps_sha256",
            f"{threshold.maps_sha256[:12]}..., fitted on {threshold.images} images of {threshold.subset}",
            f"{digest[:12]}..., the digest of the val maps given",
            "Fit it again on val of these maps.",
        )


def pairs_of(table: pd.DataFrame, maps: Maps, truths: MaskTruths, threshold: MaskThreshold) -> Iterator[MaskPair]:
    """Predicted and true mask of each image of a checked table, one at a time."""
    places = (table[name] for name in ("image_id", "patient_id", "volume_id", "slice_index"))
    for image_id, patient_id, volume_id, slice_index in zip(*places, strict=True):
        yield MaskPair(
            image_id, threshold.predict(maps[image_id]), truths[image_id], patient_id, volume_id, slice_index
        )


def per_image_table(
    table: pd.DataFrame, cases: SegmentationCases, maps: Maps, options: EvaluateSegmenterOptions
) -> pd.DataFrame:
    """The table of single images of one subset: pseudonyms instead of patients and volumes, outcomes, measurements."""
    measured = cases.images.drop(columns=["patient_id", "volume_id"])
    merged = table.merge(measured, on="image_id", how="left", validate="1:1")
    for name, shown in (("patient_id", "patient"), ("volume_id", "volume")):
        pseudonyms = {key: pseudonym(key, options.patient_salt) for key in merged[name].dropna().unique()}
        merged[shown] = merged[name].map(pseudonyms).astype("str")
    merged["cluster"] = merged["patient"].where(merged["patient"].notna(), merged["volume"])
    is_known = merged["kind"] != UNKNOWN
    truth = (merged["kind"] == LESION_POSITIVE).astype("boolean").mask(~is_known)
    predicted = (merged["predicted_pixels"] >= options.masks.min_predicted_pixels).astype(bool)
    outcome = np.where(truth.fillna(False) == predicted, "T", "F") + np.where(predicted, "P", "N")
    merged = merged.assign(
        truth=truth,
        predicted=predicted,
        probability=[float(maps[name].max()) / LEVELS for name in merged["image_id"]],
        outcome=pd.Series(outcome, index=merged.index, dtype="str").mask(~is_known),
    )
    first = ["image_id", "patient", "volume", "cluster", "slice_index", "subset", "kind", "truth", "predicted"]
    return merged[[*first, "probability", "outcome", *(name for name in measured if name not in {"image_id", "kind"})]]
