"""The images and boxes of one detection task on one split: what it trains on and is measured by, and what is exported.

The same images as `scanline.train.detection` takes: those of which nobody looked for any target are left out, and those
that show a target without a box to say where. Images without a box are background and stay in.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from scanline.core.errors import InputError
from scanline.core.tables import BOXES, IMAGES, SPLIT, SUBSETS, read_table
from scanline.prepare.detection_set_options import SetClasses
from scanline.prepare.image_names import name_images
from scanline.prepare.windows import REPAIRED, frames_of, windows_of

SIDES = ["x", "y", "width", "height"]
REASONS = ("unknown", "without_box", "other_class", "dropped")


@dataclass(frozen=True)
class ImageSet:
    """A set of images with boxes.

    Attributes:
        images: A row an image: columns of IMAGES, subset, original_id, null but for the copies of an offline
            augmentation, and unknown_targets: those that nobody looked for, in words, null where there are none; by
            subset and image_id.
        boxes: BOXES table of the targets' boxes on these images, cut off at their edges; by subset and image_id.
        left_out: Subset to images that are not in it, by reason: `unknown`, `without_box`,
            `other_class` (it shows an excluded class and no target), `dropped` (by balancing).
        targets: The classes.
    """

    images: pd.DataFrame
    boxes: pd.DataFrame
    left_out: dict[str, dict[str, int]]
    targets: tuple[str, ...]

    @property
    def subsets(self) -> list[str]:
        """Those that have images, in their order."""
        return [name for name in SUBSETS if (self.images["subset"] == name).any()]

    def is_negative(self, images: pd.DataFrame) -> "pd.Series[bool]":
        """Of images of the set: whether they are known to show none of the targets; shape (images,)."""
        return ~images["image_id"].isin(self.boxes["image_id"]) & images["unknown_targets"].isna()

    def of_subset(self, subset: str) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Images and boxes of a subset."""
        images = self.images[self.images["subset"] == subset]
        return images, self.boxes[self.boxes["image_id"].isin(images["image_id"])]


def select_set(
    images: pd.DataFrame,
    boxes: pd.DataFrame,
    labels: pd.DataFrame,
    split: pd.DataFrame,
    targets: Sequence[str],
    *,
    excluded: Sequence[str] = (),
    with_dropped: bool = False,
) -> ImageSet:
    """The images and boxes of a task.

    Args:
        images: IMAGES table; with original_id where an augmentation is in it.
        boxes: BOXES table of all classes.
        labels: Labels table.
        split: SPLIT table.
        targets: The task's classes.
        excluded: Classes that an image must not show beside no target.
        with_dropped: Take what balancing dropped for not dropped.

    Raises:
        InputError: If an image of the split is not in the images or labels, or a box lies outside its image.
    """
    facts = images if "original_id" in images else images.assign(original_id=pd.Series(dtype="str"))
    table = split[["image_id", "subset", "dropped_by"]].merge(facts, on="image_id", how="left")
    known = labels.set_index("image_id").reindex(table["image_id"])
    truth = known[list(targets)].astype("boolean")
    shows = known[[*targets, *excluded]].astype("boolean").fillna(False)
    absent = table["source"].isna().to_numpy() | ~table["image_id"].isin(labels["image_id"]).to_numpy()
    if absent.any():
        raise InputError(
            "images and labels tables",
            found=f"no row for image {table.loc[absent, 'image_id'].iloc[0]!r} ({int(absent.sum())} such)",
            expected="every image of the split",
            next_step="Delete the split and run again.",
        )
    own = boxes[boxes["label"].isin(targets) & boxes["image_id"].isin(table["image_id"])]
    lacking = truth.isna().to_numpy()
    names = [",".join(name for name, lacks in zip(targets, row, strict=True) if lacks) for row in lacking]
    table["unknown_targets"] = pd.Series(names, index=table.index, dtype="str").replace("", None)
    table["unknown"] = truth.isna().all(axis=1).to_numpy(dtype=bool)
    table["without_box"] = ~table["unknown"] & _lacks_box(truth, own, targets)
    shows_other = shows[list(excluded)].any(axis=1) & ~shows[list(targets)].any(axis=1)
    table["other_class"] = shows_other.to_numpy(dtype=bool) & ~table["unknown"]
    table["dropped"] = table["dropped_by"].notna() & (not with_dropped)
    table.loc[table["dropped"], ["unknown", "without_box", "other_class"]] = False
    out = table[list(REASONS)].any(axis=1)
    order = table["subset"].map({name: place for place, name in enumerate(SUBSETS)})
    kept = table[~out].assign(_order=order).sort_values(["_order", "image_id"], ignore_index=True)
    left_out = {
        str(subset): {reason: int(rows[reason].sum()) for reason in REASONS}
        for subset, rows in table.groupby("subset", sort=True)
    }
    return ImageSet(
        images=kept.drop(columns=["_order", "dropped_by", *REASONS]),
        boxes=_cut_off(own, kept),
        left_out=left_out,
        targets=tuple(targets),
    )


def without_partly_known(whole: ImageSet) -> ImageSet:
    """The set without the images on which a target is unknown: those that other tools would take for free of it."""
    is_partly_known = whole.images["unknown_targets"].notna()
    counts = whole.images["subset"][is_partly_known].value_counts()
    kept = whole.images[~is_partly_known].reset_index(drop=True)
    return ImageSet(
        images=kept,
        boxes=whole.boxes[whole.boxes["image_id"].isin(kept["image_id"])].reset_index(drop=True),
        left_out={
            subset: {**reasons, "partly_known": int(counts.get(subset, 0))}
            for subset, reasons in whole.left_out.items()
        },
        targets=whole.targets,
    )


def read_set(
    images: Path, boxes: Path, labels: Path, split: Path, classes: SetClasses, *, with_dropped: bool = False
) -> ImageSet:
    """Read the tables of a study, or of an augmented set, and select from them; see `select_set`."""
    tables = (read_table(images, IMAGES), read_table(boxes, BOXES), read_table(labels), read_table(split, SPLIT))
    return select_set(*tables, classes.targets, excluded=classes.excluded_classes, with_dropped=with_dropped)


def _lacks_box(truth: pd.DataFrame, boxes: pd.DataFrame, targets: Sequence[str]) -> pd.Series:
    """Whether each image (the rows of `truth`) shows a target that has no box on it."""
    lacks = pd.Series(False, index=range(len(truth)))
    for name in targets:
        boxed = truth.index.isin(boxes.loc[boxes["label"] == name, "image_id"])
        lacks |= pd.Series(truth[name].fillna(False).to_numpy(dtype=bool) & ~boxed)
    return lacks


def _cut_off(boxes: pd.DataFrame, images: pd.DataFrame) -> pd.DataFrame:
    """Boxes of these images, cut off at their edges, in the images' order."""
    place = pd.Series(range(len(images)), index=images["image_id"])
    own = boxes[boxes["image_id"].isin(place.index)]
    own = own.assign(_place=place.loc[own["image_id"]].to_numpy()).sort_values("_place", kind="stable")
    sizes = images.iloc[own["_place"]].reset_index(drop=True)
    own = own.drop(columns="_place").reset_index(drop=True)
    for start, side in (("x", "width"), ("y", "height")):
        limit = sizes[side].astype("float64")
        end = (own[start] + own[side]).clip(upper=limit)
        own[start] = own[start].clip(lower=0)
        own[side] = end - own[start]
    outside = own.loc[(own["width"] <= 0) | (own["height"] <= 0), "image_id"]
    if len(outside):
        raise InputError(
            f"boxes table: image {outside.iloc[0]!r}",
            found=f"a box outside the image ({len(outside)} such)",
            expected="boxes within their images",
            next_step="Mend the annotation and curate again.",
        )
    return own


def is_converted(images: pd.DataFrame) -> pd.Series:
    """Whether each image is one of DICOM, of a volume or repaired, which other tools do not read as it lies."""
    pairs = zip(windows_of(images), frames_of(images), strict=True)
    is_read_otherwise = [window is not None or frame is not None for window, frame in pairs]
    is_repaired = images[REPAIRED].notna() if REPAIRED in images else False
    return pd.Series(is_read_otherwise, index=images.index, dtype=bool) | is_repaired


def name_files(images: pd.DataFrame, salt: str | None) -> pd.Series:
    """File names of the images of a set, with suffix, by image_id; a copy's are its original's with `_aug<k>`.

    DICOM and slices of volumes are exported as PNG.

    Args:
        images: Of an `ImageSet`; originals of copies are among them.
        salt: For pseudonyms of patient and instance; None for the names of the source.
    """
    originals = images["original_id"].isna()
    names = name_images(images[originals], salt)
    stems = [
        names[image_id] if pd.isna(original) else names[original] + image_id.removeprefix(original)
        for image_id, original in zip(images["image_id"], images["original_id"], strict=True)
    ]
    suffixes = images["path"].astype("str").str.extract(r"(\.[^./]+)$")[0].fillna("").str.lower()
    suffixes[is_converted(images).to_numpy()] = ".png"
    return pd.Series(stems, index=images["image_id"], dtype="str") + suffixes.to_numpy()
