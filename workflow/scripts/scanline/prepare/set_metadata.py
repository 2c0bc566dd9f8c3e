"""dataset_metadata.json: how many images and volumes each subset of a detection set has, with proof that they add up.

Slices with a finding are counted in both ways that are in use: those with a box, and all slices of volumes with one.
"""

from typing import Any

import pandas as pd

from scanline.core.errors import InputError
from scanline.core.tables import SUBSETS
from scanline.prepare.detection_set import ImageSet

KEYS = ("volume_id", "patient_id", "path")  # none of which two subsets may share


def volumes_of(images: pd.DataFrame) -> pd.Series:
    """The volume of each image: its volume_id, else its patient, else the image itself."""
    return images["volume_id"].fillna("patient " + images["patient_id"]).fillna("image " + images["image_id"])


def describe_dataset(whole: ImageSet, curated: ImageSet, split: pd.DataFrame) -> dict[str, Any]:
    """Count images and volumes, and check the sums.

    Args:
        whole: The set, without what balancing dropped, and without copies.
        curated: The same with what balancing dropped.
        split: SPLIT table.

    Returns:
        * statistics: subset, and `total`, to images, with_box, without_box, of_volumes_with_box (all slices of volumes
          in which any slice has a box), boxes, and left_out by reason (see `ImageSet`);
        * volume_statistics: subset, and `total`, to volumes, with_box, without_box; a volume counts if any of its
          images is in `curated`;
        * images_in_split: all rows of the split, which images and left_out sum up to;
        * no_overlap_verified: true, as no volume, patient or file stands in two subsets.

    Raises:
        InputError: If one stands in two subsets, or the numbers do not add up.
    """
    refuse_overlap(curated.images)
    boxed = set(curated.boxes["image_id"])
    volumes = volumes_of(curated.images).set_axis(curated.images["image_id"])
    with_box = set(volumes[volumes.index.isin(boxed)])
    statistics = {subset: _images(whole, subset, volumes, with_box) for subset in SUBSETS if subset in whole.left_out}
    volume_statistics = {subset: _volumes(curated, subset, with_box) for subset in statistics}
    described = {
        "statistics": {**statistics, "total": _sum(list(statistics.values()))},
        "volume_statistics": {**volume_statistics, "total": _sum(list(volume_statistics.values()))},
        "images_in_split": len(split),
        "no_overlap_verified": True,
    }
    _check_sums(described, whole, volumes)
    return described


def overlapping_keys(images: pd.DataFrame) -> list[str]:
    """Volumes, patients and files that stand in two subsets, as `<column> <value>`; null is no key."""
    found = []
    for key in KEYS:
        known = images.loc[images[key].notna(), [key, "subset"]]
        subsets = known.groupby(key)["subset"].nunique()
        found += [f"{key} {value}" for value in subsets.index[subsets > 1]]
    return found


def refuse_overlap(images: pd.DataFrame) -> None:
    """Refuse a set of which two subsets share a volume, a patient or a file.

    Raises:
        InputError: With the first of them.
    """
    found = overlapping_keys(images)
    if found:
        more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        raise InputError(
            "dataset_metadata.json: no_overlap_verified",
            found=f"{found[0]} in two subsets{more}",
            expected="each volume, patient and file in one subset",
            next_step="Make this detection set of a split that keeps them together: grouped, stratified or official.",
        )


def _images(whole: ImageSet, subset: str, volumes: pd.Series, with_box: set[str]) -> dict[str, Any]:
    images, boxes = whole.of_subset(subset)
    boxed = int(images["image_id"].isin(boxes["image_id"]).sum())
    return {
        "images": len(images),
        "with_box": boxed,
        "without_box": len(images) - boxed,
        "of_volumes_with_box": int(volumes.reindex(images["image_id"]).isin(with_box).sum()),
        "boxes": len(boxes),
        "left_out": whole.left_out[subset],
    }


def _volumes(curated: ImageSet, subset: str, with_box: set[str]) -> dict[str, int]:
    own = set(volumes_of(curated.of_subset(subset)[0]))
    return {"volumes": len(own), "with_box": len(own & with_box), "without_box": len(own - with_box)}


def _sum(counts: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        name: _sum([one[name] for one in counts]) if isinstance(value, dict) else sum(one[name] for one in counts)
        for name, value in counts[0].items()
    }


def _check_sums(described: dict[str, Any], whole: ImageSet, volumes: pd.Series) -> None:
    total, of_volumes = described["statistics"]["total"], described["volume_statistics"]["total"]
    sums = {
        "images_in_split": (described["images_in_split"], total["images"] + sum(total["left_out"].values())),
        "images": (len(whole.images), total["with_box"] + total["without_box"]),
        "boxes": (len(whole.boxes), total["boxes"]),
        "volumes": (volumes.nunique(), of_volumes["volumes"]),
    }
    for name, (expected, found) in sums.items():
        if expected != found:
            raise InputError(
                f"dataset_metadata.json: {name}",
                found=f"parts that sum to {found}",
                expected=f"{expected}",
                next_step="A volume stands in two subsets, or the tables are of different runs: make the split again.",
            )
