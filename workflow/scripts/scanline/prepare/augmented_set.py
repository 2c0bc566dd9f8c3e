"""The tables of a study with the offline augmentation of its training images in them, and the gate that they pass.

The copies stand beside their originals: same source, patient, volume, group and subset. An image's own rows are as
they were, so that val and test are those of the split.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import Field

from scanline.core.errors import InputError
from scanline.core.files import Placing, place_file
from scanline.core.log import logger
from scanline.core.options import Options
from scanline.core.tables import BOXES, IMAGES, SPLIT, SUBSETS, labels_schema, validate
from scanline.prepare.image_names import name_images
from scanline.split.keys import sibling_keys

SHARED = ("source", "patient_id", "volume_id")


class MergeAugmentedOptions(Options):
    """What the rule merge_augmented is told."""

    labels: tuple[str, ...] = Field(description="The study's classes.")
    factor: int = Field(ge=2, le=10, description="Training images afterwards to one before.")
    files: Placing = Field(description="How the originals get their place beside the copies.")


@dataclass(frozen=True)
class SetTables:
    """The tables of a set of images: IMAGES, BOXES, labels, SPLIT.

    With an augmentation in it, `images` has the column original_id: null but for copies.
    """

    images: pd.DataFrame
    boxes: pd.DataFrame
    labels: pd.DataFrame
    split: pd.DataFrame

    @property
    def copies(self) -> pd.DataFrame:
        """The rows of `images` that are copies."""
        return self.images[self.images["original_id"].notna()]


def augment_set(
    before: SetTables, copied_images: Sequence[pd.DataFrame], copied_boxes: Sequence[pd.DataFrame]
) -> SetTables:
    """Add copies to the tables of a split.

    A copy has its original's labels, but for a class of which the original has boxes and the copy none: that is
    unknown, as part of it may still be seen. It is drawn as often as its original (`copies` of SPLIT).

    Args:
        before: The curated tables and the split.
        copied_images: IMAGES tables of the shards, with original_id.
        copied_boxes: BOXES tables of the shards.

    Returns:
        The tables of all images, copies by their ids at the end.
    """
    images = pd.concat(copied_images).sort_values("image_id", ignore_index=True)
    boxes = pd.concat(copied_boxes).sort_values("image_id", kind="stable", ignore_index=True)
    originals = images["original_id"].to_numpy()

    def of_originals(table: pd.DataFrame) -> pd.DataFrame:
        rows = table.set_index("image_id").loc[originals].reset_index(drop=True)
        rows.insert(0, "image_id", images["image_id"])
        return rows

    labels = of_originals(before.labels)
    boxed = set(zip(before.boxes["image_id"], before.boxes["label"], strict=True))
    left = set(zip(boxes["image_id"], boxes["label"], strict=True))
    for name in labels.columns.drop("image_id"):
        lost = [
            (original, name) in boxed and (image_id, name) not in left
            for image_id, original in zip(images["image_id"], originals, strict=True)
        ]
        labels.loc[lost, name] = pd.NA
    own = before.images.assign(original_id=pd.Series(None, index=before.images.index, dtype="str"))
    classes = [*labels.columns.drop("image_id")]
    return SetTables(
        images=validate(pd.concat([own, images], ignore_index=True), IMAGES, "images table"),
        boxes=validate(pd.concat([before.boxes, boxes], ignore_index=True), BOXES, "boxes table"),
        labels=validate(pd.concat([before.labels, labels], ignore_index=True), labels_schema(classes), "labels table"),
        split=validate(pd.concat([before.split, of_originals(before.split)], ignore_index=True), SPLIT, "split table"),
    )


def link_set(tables: SetTables, folder: Path, way: Placing) -> SetTables:
    """Give originals and copies of train their places in one folder.

    Copies are hard links to the shards' files, whatever the `way` of the originals: both are files of this workflow.

    Returns:
        The tables with the copies' paths in that folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    images, copies = tables.images, tables.copies
    own = images[images["image_id"].isin(copies["original_id"])]
    if "frame_index" in own:
        own = own[own["frame_index"].isna()]  # a file of several images is none of them
    names = name_images(images[images["original_id"].isna()])
    for image_id, path in zip(own["image_id"], own["path"], strict=True):
        place_file(Path(path), folder / f"{names[image_id]}{Path(path).suffix.lower()}", way)
    places = [folder / Path(path).name for path in copies["path"]]
    for path, place in zip(copies["path"], places, strict=True):
        place_file(Path(path), place, "hard_link")
    images = images.copy()
    images.loc[copies.index, "path"] = [str(place) for place in places]
    return replace(tables, images=images)


def verify_augmented(tables: SetTables, factor: int, labels: Sequence[str]) -> dict[str, Any]:
    """The gate of an augmented set: only train has copies, as many as asked for, and each beside its original.

    Args:
        tables: From `augment_set`.
        factor: Training images afterwards to one before.
        labels: The study's classes.

    Returns:
        {"factor", "siblings_shared" (originals whose copies stand in another subset: 0), "subsets": {subset: {"images",
        "copies", "factor", "boxes", "boxes_of_copies"}}, "unknown": {class: copies that lost all their boxes of it}}.

    Raises:
        InputError: For copies outside train, of other patients than their originals, or of another number.
    """
    images, split = tables.images, tables.split[tables.split["dropped_by"].isna()]
    table = images.merge(split[["image_id", "subset", "group_id"]], on="image_id", how="inner")
    copies = table[table["original_id"].notna()]
    own = table.set_index("image_id").loc[copies["original_id"]]
    for column in ("subset", "group_id", *SHARED):
        mine, its = copies[column].to_numpy(dtype=object), own[column].to_numpy(dtype=object)
        differs = ~((mine == its) | (pd.isna(mine) & pd.isna(its)))
        if differs.any():
            _refuse(copies["image_id"].to_numpy()[differs], f"{column} that is not its original's")
    outside = copies.loc[copies["subset"] != "train", "image_id"]
    if len(outside):
        _refuse(outside, "a subset that is not train")
    counts = copies.groupby("original_id").size().reindex(table.loc[_of_train(table), "image_id"], fill_value=0)
    if (counts != factor - 1).any():
        _refuse(counts.index[counts != factor - 1], f"copies of another number than {factor - 1}")
    siblings = sibling_keys(table)
    parted = table.loc[siblings.notna()].groupby(siblings.dropna())["subset"].nunique()
    return {
        "factor": factor,
        "siblings_shared": int((parted > 1).sum()),
        "subsets": _count(table, tables.boxes),
        "unknown": _count_unknown(tables, copies, labels),
    }


def _of_train(table: pd.DataFrame) -> pd.Series:
    return (table["subset"] == "train") & table["original_id"].isna()


def _count(table: pd.DataFrame, boxes: pd.DataFrame) -> dict[str, dict[str, Any]]:
    counts = {}
    n_boxes = table["image_id"].map(boxes["image_id"].value_counts()).fillna(0)
    for subset in SUBSETS:
        inside, is_copy = table["subset"] == subset, table["original_id"].notna()
        images, copies = int(inside.sum()), int((inside & is_copy).sum())
        if images:
            counts[subset] = {
                "images": images,
                "copies": copies,
                "factor": images / (images - copies),
                "boxes": int(n_boxes[inside].sum()),
                "boxes_of_copies": int(n_boxes[inside & is_copy].sum()),
            }
    return counts


def _count_unknown(tables: SetTables, copies: pd.DataFrame, labels: Sequence[str]) -> dict[str, int]:
    """Copies of which a class is unknown that their originals are known to show."""
    truth = tables.labels.set_index("image_id")
    before, after = truth.loc[copies["original_id"]], truth.loc[copies["image_id"]]
    lost = {name: int((before[name].notna().to_numpy() & after[name].isna().to_numpy()).sum()) for name in labels}
    for name, count in lost.items():
        if count:
            logger.info("%s: %d copies lost all boxes of it, and leave it unknown", name, count)
    return lost


def _refuse(image_ids: Iterable[str], found: str) -> None:
    listed = list(image_ids)
    raise InputError(
        f"augmented image {listed[0]!r}",
        found=f"{found} ({len(listed)} such)",
        expected="copies of training images alone, beside their originals",
        next_step="Delete the folder of the augmented set and run again.",
    )
