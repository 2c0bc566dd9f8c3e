"""The predictions of a classifier as evaluation takes them: checked, in one order, with their patients."""

from pathlib import Path

import numpy as np
import pandas as pd
from pandas.api.types import is_bool_dtype, is_numeric_dtype

from scanline.core.errors import InputError
from scanline.core.privacy import pseudonym

SUBSETS = ("val", "test", "external")
COLUMNS = ("image_id", "subset", "truth", "probability")


def check_scores(scores: pd.DataFrame, where: str | Path) -> pd.DataFrame:
    """Check a scores table and put its rows in one order: by subset (val, test, external), then image.

    Args:
        scores: Columns image_id, subset, truth (boolean without nulls), probability (of the positive class).
        where: Its file, for messages.

    Returns:
        The four columns; truth is bool and probability float64.

    Raises:
        InputError: For a missing column, a repeated image, an unknown subset, a null truth, or a probability
            that is not a finite number in [0, 1]; and for a test subset without images.
    """
    missing = [name for name in COLUMNS if name not in scores]
    if missing:
        _refuse(f"{where}: columns", ", ".join(map(str, scores.columns)), f"{', '.join(missing)} as well")
    table = scores[list(COLUMNS)]
    unnamed = table["image_id"].isna()
    if unnamed.any():
        _refuse(f"{where}: image_id", f"{int(unnamed.sum())} rows without one", "an image in every row")
    table = table.assign(image_id=table["image_id"].astype("str"))
    _refuse_rows(table, table["image_id"].duplicated(), where, "image_id", "each image once")
    _refuse_rows(table, ~table["subset"].isin(SUBSETS), where, "subset", f"one of {', '.join(SUBSETS)}")
    if len(table) and not is_bool_dtype(table["truth"].dtype):
        _refuse(f"{where}: truth", f"values of type {table['truth'].dtype}", "booleans")
    unknown = table["truth"].isna()
    _refuse_rows(table, unknown, where, "truth", "true or false: images of unknown truth are not scored")
    if len(table) and not is_numeric_dtype(table["probability"].dtype):
        _refuse(f"{where}: probability", f"values of type {table['probability'].dtype}", "numbers")
    table = table.assign(truth=table["truth"].astype("bool"), probability=table["probability"].astype("float64"))
    _refuse_rows(table, ~table["probability"].between(0, 1), where, "probability", "a finite number from 0 to 1")
    if not (table["subset"] == "test").any():
        raise InputError(
            f"{where}: subset test",
            found="no images",
            expected="at least one image of known truth",
            next_step="Give the split a larger test share, or a target that is annotated on more images.",
        )
    rank = table["subset"].map({name: index for index, name in enumerate(SUBSETS)})
    order = np.lexsort((table["image_id"].to_numpy(dtype=object), rank.to_numpy()))
    return table.iloc[order].reset_index(drop=True)


def _refuse(where: str, found: str, expected: str) -> None:
    raise InputError(where, found=found, expected=expected, next_step="Delete this table and make it again.")


def _refuse_rows(table: pd.DataFrame, wrong: "pd.Series[bool]", where: object, column: str, expected: str) -> None:
    """Refuse the table if any row is wrong, naming the first such image and how many there are."""
    if not wrong.any():
        return
    first = table.loc[wrong].iloc[0]
    entry = first[column]
    value = "null" if pd.isna(entry) else repr(entry) if isinstance(entry, str) else str(entry)
    more = f" (and {int(wrong.sum()) - 1} more)" if wrong.sum() > 1 else ""
    _refuse(f"{where}: image {first['image_id']}: {column}", f"{value}{more}", expected)


def join_groups(images: pd.DataFrame, split: pd.DataFrame) -> pd.DataFrame:
    """Add the column group_id to the images table: the split's group of each image, null where the split has none."""
    return images.assign(group_id=images["image_id"].map(split.set_index("image_id")["group_id"]))


def join_patients(scores: pd.DataFrame, images: pd.DataFrame, where: str | Path) -> pd.DataFrame:
    """Add the columns patient_id (null where unknown) and cluster (see `clusters_of`) from the images table.

    Args:
        scores: A checked scores table.
        images: Columns image_id and patient_id at least, and group_id from `join_groups`.
        where: The scores' file, for messages.

    Raises:
        InputError: If a scored image is not in the images table, or an image stands in it twice; if one has no group
            where not every image of its subset names its patient.
    """
    for name in ("image_id", "patient_id"):
        if name not in images:
            _refuse("images table: columns", ", ".join(map(str, images.columns)), f"{name} as well")
    _refuse_rows(images, images["image_id"].duplicated(), "images table", "image_id", "each image once")
    known = images.set_index("image_id")["patient_id"]
    strange = ~scores["image_id"].isin(known.index)
    _refuse_rows(scores, strange, where, "image_id", "an image of the images table")
    patients = scores["image_id"].map(known)
    table = scores.assign(patient_id=patients.astype("str").where(patients.notna(), None))
    if "group_id" in images:
        table["group_id"] = table["image_id"].map(images.set_index("image_id")["group_id"])
    clusters = [clusters_of(part, where) for _, part in table.groupby("subset", sort=False)]
    return table.assign(cluster=pd.concat(clusters).reindex(table.index)).drop(columns="group_id", errors="ignore")


def clusters_of(images: pd.DataFrame, where: str | Path) -> "pd.Series[str]":
    """What is drawn together: the patient if every image has one, else the split's group, which holds whole patients.

    Args:
        images: image_id and patient_id (null where unknown) of one subset, and group_id where a split is given.
        where: The images' file, for messages.

    Returns:
        By the images' index; without a split the patient alone, null where unknown: such an image is by itself.

    Raises:
        InputError: If an image that needs a group has none.
    """
    patients = images["patient_id"]
    if patients.notna().all() or "group_id" not in images:
        return patients
    _refuse_rows(images, images["group_id"].isna(), where, "group_id", "the group of an image of the split")
    return images["group_id"].astype("str")


def clustered_by(patients: "pd.Series[str]", clusters: "pd.Series[str] | None" = None) -> str:
    """What the intervals are clustered by: patient_id, group, or image_id where nothing ties any images.

    Args:
        patients: Patient of each image, null where unknown.
        clusters: Of the same images, from `clusters_of`; None: the patient alone.
    """
    if clusters is not None and not (clusters.isna() | (clusters == patients)).all():
        return "group"
    return "image_id" if patients.isna().all() else "patient_id"


def name_clusters(clusters: "pd.Series[str]", salt: str) -> "pd.Series[str]":
    """Pseudonyms of clusters, null where an image is by itself; a patient's is that of `pseudonym`."""
    names = {cluster: pseudonym(cluster, salt) for cluster in clusters.dropna().unique()}
    return clusters.map(names).astype("str")
