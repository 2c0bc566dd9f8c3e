"""The tables of all sources to the study's, and the flow: how many files came in and where each of them went."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from scanline.core.errors import InputError
from scanline.core.tables import BOXES, HEADERS, IMAGES, REJECTS, THUMBNAILS, file_keys, labels_schema, validate
from scanline.curate.accounting import OTHER_REASONS
from scanline.curate.scan import Curated


def merge_sources(sources: Sequence[Curated], labels: Sequence[str]) -> Curated:
    """Put the tables of all sources below each other; metadata that a source has not is null.

    Raises:
        InputError: If two sources share an image_id or a file.
    """
    images = pd.concat([source.images for source in sources], ignore_index=True)
    for column, keys in (("image_id", images["image_id"]), ("path", file_keys(images))):
        twice = images.loc[keys.notna() & keys.duplicated(keep=False)]
        if not twice.empty:
            first = twice[column].iloc[0]
            names = ", ".join(sorted(set(twice.loc[twice[column] == first, "source"])))
            raise InputError(
                f"images table: {column}",
                found=f"{first!r} more than once, in {names}",
                expected="each image in one source",
                next_step="Give the sources of the study file other folders, or remove one.",
            )
    return Curated(
        images=validate(images, IMAGES, "merged images"),
        boxes=validate(_below(source.boxes for source in sources), BOXES, "merged boxes"),
        labels=validate(_below(source.labels for source in sources), labels_schema(labels), "merged labels"),
        rejects=validate(_below(source.rejects for source in sources), REJECTS, "merged rejects"),
        thumbnails=validate(_below(source.thumbnails for source in sources), THUMBNAILS, "merged thumbnails"),
        headers=validate(_below(source.headers for source in sources), HEADERS, "merged headers"),
    )


def _below(tables: Iterable[pd.DataFrame]) -> pd.DataFrame:
    return pd.concat(list(tables), ignore_index=True)


def count_flow(files: pd.DataFrame, source: Curated, manifest: Path) -> dict[str, Any]:
    """Count where the files of one source went.

    Args:
        files: The source's manifest.
        source: Its tables.
        manifest: Where the manifest stands, for the error.

    Returns:
        Numbers of files, with files = images + annotations + masks + other + refused; `refused_by_reason` sums to
        refused. A file of several images counts once; `images_in_volumes` is how many stand in such files. Beside them
        the images that only tables tell of, `images_without_file`, and numbers of rows:
        `refused_rows` inside kept files (boxes, rows of the patient table), `repaired`, `noted`, each
        by reason too, boxes, patients, and each class's positive, negative and unknown images.

    Raises:
        InputError: If the numbers do not add up.
    """
    rejects = source.rejects
    is_refused = rejects["action"] == "refused"
    is_file = rejects["row"].isna()
    refused = rejects[is_refused & is_file]
    other = rejects[(rejects["action"] == "noted") & rejects["reason"].isin(OTHER_REASONS)]
    flow: dict[str, Any] = {
        "files": len(files),
        "images": int(source.images["path"].nunique()),
        "images_in_volumes": _in_volumes(source.images),
        "images_without_file": int(source.images["path"].isna().sum()),
        "annotations": int(source.images["annotation_path"].nunique()),
        "masks": int(source.images["mask_path"].nunique()),
        "other": len(other),
        "refused": len(refused),
        "refused_by_reason": _by_reason(refused),
        "refused_rows": int((is_refused & ~is_file).sum()),
        "refused_rows_by_reason": _by_reason(rejects[is_refused & ~is_file]),
        "boxes": len(source.boxes),
        "patients": int(source.images["patient_id"].nunique()),
        "labels": {name: _balance(source.labels[name]) for name in source.labels.columns.drop("image_id")},
    }
    for action in ("repaired", "noted"):
        rows = rejects[rejects["action"] == action]
        flow |= {action: len(rows), f"{action}_by_reason": _by_reason(rows)}
    total = sum(flow[kind] for kind in ("images", "annotations", "masks", "other", "refused"))
    if total != flow["files"]:
        raise InputError(
            manifest,
            found=f"{flow['files']} files, of which the tables account for {total}",
            expected="tables that were made from this manifest",
            next_step=f"Make them again: delete {manifest.parent} and run the same command again.",
        )
    return flow


def _in_volumes(images: pd.DataFrame) -> int:
    return int(images["frame_index"].notna().sum()) if "frame_index" in images else 0


def _by_reason(rows: pd.DataFrame) -> dict[str, int]:
    return {str(reason): int(count) for reason, count in rows["reason"].value_counts().sort_index().items()}


def _balance(label: pd.Series) -> dict[str, int]:
    positive, unknown = int(label.fillna(False).sum()), int(label.isna().sum())
    return {"positive": positive, "negative": len(label) - positive - unknown, "unknown": unknown}
