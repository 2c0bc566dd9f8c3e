"""What several trained runs say together: probabilities and maps averaged, boxes fused. Nothing here needs PyTorch.

Probabilities are averaged, not logits: the mean is the prediction of a mixture of the members (Lakshminarayanan,
Pritzel & Blundell, NeurIPS 2017, arXiv:1612.01474, section 2.4), lies between theirs, and cannot be dominated by one
over-confident member, whose logit has no bound. Threshold and temperature are fitted on val afterwards, as for one
network.
"""

from collections.abc import Iterator, Sequence

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scanline.core.errors import InputError
from scanline.predict.activation_maps import divide_by_maximum
from scanline.predict.ensemble_options import BoxFusion, FuseDetectionsOptions, FusedRun
from scanline.predict.probability_maps import ProbabilityMaps
from scanline.predict.weighted_boxes import ScoredBoxes, fuse_boxes
from scanline.train.boxes import corners_from_xywh, xywh_from_corners
from scanline.train.detection import MAX_DETECTIONS, MIN_SCORE

PROBABILITY = "probability"
XYWH = ["x", "y", "width", "height"]


def require_same(tables: Sequence[pd.DataFrame], members: Sequence[FusedRun], columns: Sequence[str]) -> None:
    """Check that tables of all members hold the same rows, in the same order, in these columns.

    Raises:
        InputError: Naming the first member whose table is another one.
    """
    if len(tables) != len(members):
        raise InputError(
            "--options: members",
            found=f"{len(tables)} files for {len(members)} members",
            expected="one file of each kind for each member",
            next_step="Give them in the members' order.",
        )
    first = tables[0][list(columns)].reset_index(drop=True)
    for member, table in zip(members, tables, strict=True):
        if not set(columns) <= set(table.columns) or not table[list(columns)].reset_index(drop=True).equals(first):
            raise InputError(
                f"predictions of {member.name}",
                found=f"other images or other truth than those of {members[0].name}",
                expected="the same split, task and images for all members of an ensemble",
                next_step="Delete the predictions of both and make them again.",
            )


def average_tables(tables: Sequence[pd.DataFrame], members: Sequence[FusedRun]) -> pd.DataFrame:
    """The scores table of an ensemble: the weighted mean of each column of probabilities.

    Args:
        tables: Of each member, as `predict.classifier.predict_samples` gives them.
        members: The runs.

    Raises:
        InputError: If the members scored other images, or know another truth.
    """
    scored = [name for name in tables[0].columns if name.split("_")[0] == PROBABILITY]
    require_same(tables, members, [name for name in tables[0].columns if name not in scored])
    weights = [member.weight for member in members]
    means = {name: np.average([table[name].to_numpy() for table in tables], axis=0, weights=weights) for name in scored}
    return tables[0].assign(**means)


def average_activation_maps(cams: Sequence[NDArray[np.float16]], weights: Sequence[float]) -> NDArray[np.float16]:
    """The weighted mean of the members' class activation maps, each again divided by its maximum.

    Maps of different networks have different sizes: smaller ones are resized to the largest, bilinearly. Members
    without maps (vision transformers) are left out; there is none where no member has one.

    Args:
        cams: Of each member, shape (n, h, w) or (n, labels, h, w), n the same for all that have maps.
        weights: Of each member.
    """
    having = [(one, weight) for one, weight in zip(cams, weights, strict=True) if len(one)]
    if not having:
        return cams[0]
    height, width = (max(one.shape[axis] for one, _ in having) for axis in (-2, -1))
    resized = [_resize(one, height, width) for one, _ in having]
    mean = np.average(resized, axis=0, weights=[weight for _, weight in having])
    return divide_by_maximum(mean).astype(np.float16)


def _resize(cams: NDArray[np.float16], height: int, width: int) -> NDArray[np.float64]:
    if cams.shape[-2:] == (height, width):
        return cams.astype(np.float64)
    flat = cams.reshape(-1, *cams.shape[-2:]).astype(np.float64)
    resized = np.stack([cv2.resize(one, (width, height), interpolation=cv2.INTER_LINEAR) for one in flat])
    return resized.reshape(*cams.shape[:-2], height, width)


def average_probability_maps(maps: Sequence[ProbabilityMaps], weights: Sequence[float]) -> Iterator[NDArray[np.uint8]]:
    """The weighted mean of the members' probability maps, one image at a time, shape (size, size), round(255 p).

    The members' maps have 8 bits each, so that the mean is within 1 / 255 of that of their probabilities.

    Raises:
        InputError: If the members' maps of an image differ in size.
    """
    for image_id in maps[0].table["image_id"]:
        found = [one[image_id] for one in maps]
        sizes = {one.shape for one in found}
        if len(sizes) > 1:
            raise InputError(
                f"probability maps of image {image_id!r}",
                found=f"sizes {', '.join(str(size) for size in sorted(sizes))}",
                expected="one size for all members",
                next_step="Make the predictions of all members again.",
            )
        yield np.average(found, axis=0, weights=weights).round().astype(np.uint8)


def fuse_tables(
    tables: Sequence[pd.DataFrame], looked_at: Sequence[pd.DataFrame], options: FuseDetectionsOptions
) -> pd.DataFrame:
    """The detections of an ensemble, image by image.

    Args:
        tables: Detections of each member, as `predict.detector.detect_samples` gives them.
        looked_at: image_id, subset of the images that each member looked at.
        options: Members and fusion.

    Returns:
        The same columns; of an image the best MAX_DETECTIONS of at least MIN_SCORE, by falling score.

    Raises:
        InputError: If the members looked at other images.
    """
    require_same(looked_at, options.members, ["image_id", "subset"])
    require_same([table.iloc[:0] for table in tables], options.members, list(tables[0].columns))
    labels = sorted({label for table in tables for label in table["label"].unique()})
    weights = [member.weight for member in options.members]
    by_image = [dict(list(table.groupby("image_id", sort=False))) for table in tables]
    nothing = tables[0].iloc[:0]
    parts = [nothing]
    for image_id, subset in looked_at[0][["image_id", "subset"]].itertuples(index=False):
        found = [_boxes(images.get(image_id, nothing), labels) for images in by_image]
        if any(map(len, found)):
            rows = _fused_rows(found, weights, options.weighted_boxes_fusion, labels)
            parts.append(rows.assign(image_id=image_id, subset=subset))
    return pd.concat(parts, ignore_index=True)[list(nothing.columns)].astype(nothing.dtypes.to_dict())


def _boxes(rows: pd.DataFrame, labels: Sequence[str]) -> ScoredBoxes:
    numbers = pd.Index(labels).get_indexer(pd.Index(rows["label"]))
    return ScoredBoxes(corners_from_xywh(rows[XYWH].to_numpy()), numbers.astype(np.int64), rows["score"].to_numpy())


def _fused_rows(
    found: Sequence[ScoredBoxes], weights: Sequence[float], fusion: BoxFusion, labels: Sequence[str]
) -> pd.DataFrame:
    fused = fuse_boxes(found, weights, fusion)
    kept = np.flatnonzero(fused.scores >= MIN_SCORE)[:MAX_DETECTIONS]
    table = pd.DataFrame(xywh_from_corners(fused.corners[kept]), columns=XYWH)
    names = np.array(labels, dtype=object)[fused.classes[kept]]
    return table.assign(label=names, score=fused.scores[kept].clip(max=1.0))
