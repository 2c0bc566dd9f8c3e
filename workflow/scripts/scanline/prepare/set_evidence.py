"""The gate of a detection set: a list of checks, each with what was expected, what was found and of how many."""

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import Field

from scanline.core.errors import InputError
from scanline.prepare.coco_export import coco_document, find_faults
from scanline.prepare.detection_set import ImageSet
from scanline.prepare.detection_set_options import ExpectedNegatives, SetClasses

REQUIRED = ("train", "val", "test")
NAMED = 3
ROUNDING_PX = 1e-6


class EvidenceOptions(SetClasses):
    """What the rule verify_detection_set is told."""

    factor: int = Field(ge=1, description="Training images to originals; 1 without an offline augmentation.")
    negatives: ExpectedNegatives | None = Field(description="Images known to show no target in each subset.")


@dataclass(frozen=True)
class Check:
    """One check.

    Attributes:
        name: What is checked.
        expected: What should be.
        found: What is.
        checked: How many things were looked at.
        examples: The first that fail; none where it passes.
    """

    name: str
    expected: str
    found: str
    checked: int
    examples: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Whether nothing fails."""
        return not self.examples


def verify_detection_set(whole: ImageSet, options: EvidenceOptions) -> dict[str, Any]:
    """Check a set.

    Returns:
        {"passed": True, "checks": [{name, passed, expected, found, checked, examples}]}.

    Raises:
        InputError: With the first check that fails, its examples and the names of the others that do.
    """
    checks = list(_checks(whole, options))
    failed = [check for check in checks if not check.passed]
    if failed:
        first, others = failed[0], ", ".join(check.name for check in failed[1:])
        also = f" Also: {others}." if others else ""
        raise InputError(
            f"detection set: {first.name}",
            found=f"{first.found} ({'; '.join(first.examples)})",
            expected=first.expected,
            next_step=f"Change the split, its policies or the task in the study file.{also}",
        )
    return {"passed": True, "checks": [{**asdict(check), "passed": True} for check in checks]}


def _checks(whole: ImageSet, options: EvidenceOptions) -> Iterator[Check]:
    yield _patients(whole)
    yield _boxes_in_bounds(whole)
    yield from (_balance(whole, options.negatives, subset) for subset in REQUIRED)
    yield _factor(whole, options.factor)
    yield _coco(whole)
    yield _files(whole)
    yield _classes(whole)


def _check(name: str, expected: str, found: str, checked: int, failing: Iterable[Any]) -> Check:
    return Check(name, expected, found, checked, tuple(str(one) for one in list(failing)[:NAMED]))


def _patients(whole: ImageSet) -> Check:
    known = whole.images.dropna(subset=["patient_id"])
    parted = known.groupby("patient_id")["subset"].nunique()
    shared = parted.index[parted > 1]
    words = f"{len(shared)} of {len(parted)} patients in two subsets"
    return _check("no patient in two subsets", "none", words, len(parted), shared)


def _boxes_in_bounds(whole: ImageSet) -> Check:
    table = whole.boxes.merge(whole.images[["image_id", "width", "height"]], on="image_id", suffixes=("", "_of_image"))
    outside = (table[["x", "y"]] < -ROUNDING_PX).any(axis=1) | (table[["width", "height"]] <= 0).any(axis=1)
    for start, side in (("x", "width"), ("y", "height")):
        outside |= table[start] + table[side] > table[f"{side}_of_image"].astype("float64") + ROUNDING_PX
    words = f"{int(outside.sum())} of {len(table)} boxes outside their image"
    return _check("boxes inside their images", "all", words, len(table), table.loc[outside, "image_id"])


def _balance(whole: ImageSet, wanted: ExpectedNegatives | None, subset: str) -> Check:
    images, boxes = whole.of_subset(subset)
    negatives, boxed = int(whole.is_negative(images).sum()), boxes["image_id"].nunique()
    share = negatives / (negatives + boxed) if negatives + boxed else float("nan")
    words = f"{share:.1%}: {negatives} images known to show none of the classes, {boxed} with a box"
    if wanted is None:
        failing = [] if len(images) else [subset]
        return _check(f"negative images in {subset}", "any share of at least one image", words, len(images), failing)
    expected = f"{wanted.share:.1%}, give or take {wanted.tolerance:.1%}"
    fits = abs(share - wanted.share) <= wanted.tolerance + 1e-12
    return _check(f"negative images in {subset}", expected, words, len(images), [] if fits else [words])


def _factor(whole: ImageSet, factor: int) -> Check:
    """Of the images taken: a copy may be left out where it lost a box, its original then stays."""
    table = whole.images
    copies = table[table["original_id"].notna()]
    outside = copies.loc[copies["subset"] != "train", "image_id"]
    without = copies.loc[~copies["original_id"].isin(table["image_id"]), "image_id"]
    numbers = copies.groupby("original_id").size()
    failing = [*outside, *without, *numbers.index[numbers > factor - 1]]
    if factor > 1 and copies.empty:
        failing.append("no copies")
    train = int((table["subset"] == "train").sum())
    words = f"{len(copies)} copies among {train} training images, {len(outside)} in other subsets"
    expected = f"at most {factor - 1} copies of a training image, none elsewhere" if factor > 1 else "no copies"
    return _check("augmentation of train alone", expected, words, len(table), failing)


def _coco(whole: ImageSet) -> Check:
    names = pd.Series(whole.images["image_id"].to_numpy(), index=whole.images["image_id"])
    faults: list[str] = []
    annotations = 0
    for subset in whole.subsets:
        document = coco_document(whole, subset, names)
        annotations += len(document["annotations"])
        faults += [f"{subset}: {fault}" for fault in find_faults(document)]
    words = f"{len(faults)} faults in {annotations} annotations"
    return _check("valid COCO documents", "no fault", words, annotations, faults)


def _files(whole: ImageSet) -> Check:
    paths = whole.images["path"]
    missing = [
        image_id if pd.isna(path) else path
        for image_id, path in zip(whole.images["image_id"], paths, strict=True)
        if pd.isna(path) or not Path(path).is_file()
    ]
    words = f"{len(missing)} of {len(paths)} files missing"
    return _check("files exist", "all", words, len(paths), missing)


def _classes(whole: ImageSet) -> Check:
    missing = [
        f"{name} in {subset}"
        for subset in REQUIRED
        for name in whole.targets
        if not (whole.of_subset(subset)[1]["label"] == name).any()
    ]
    words = f"{len(missing)} of {len(REQUIRED) * len(whole.targets)} without a box"
    expected = f"a box of each class in each of {', '.join(REQUIRED)}"
    return _check("no class missing", expected, words, len(whole.boxes), missing)
