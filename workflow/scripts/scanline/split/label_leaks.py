"""What a split leaks by label: how many test images that show a finding come from patients who are in train too."""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field

from scanline.core.options import Options

Codes = NDArray[np.intp]
Flags = NDArray[np.bool_]
ALL = "all images"


class LabelAnalysisOptions(Options):
    """What the rule analyse_labels is told."""

    labels: tuple[str, ...] = Field(min_length=1, description="The study's classes.")
    splits: tuple[str, ...] = Field(min_length=1, description="Names of the splits, in the files' order.")


def count_label_leaks(images: pd.DataFrame, labels: pd.DataFrame, split: pd.DataFrame) -> dict[str, Any]:
    """Count, for all test images and for those that show each class, the ones whose patient is in train.

    Args:
        images: IMAGES table; where the patient of an image is unknown its volume stands for it, and an image with
            neither shares none.
        labels: Labels table of the same images.
        split: SPLIT table of the same images; images that balancing dropped are left out.

    Returns:
        Class, and `all images`, to {"test_images", "shared", "share", "same_label", "same_label_share"}: test images
        that show the class; those whose patient has an image in train; those whose patient has one in train that
        shows this class as well (for all images: the same as shared). Shares are null where test holds no such image.
    """
    kept = split.loc[split["dropped_by"].isna(), ["image_id", "subset"]]
    of_whom = images[["image_id"]].assign(patient=_patients(images))
    rows = kept.merge(of_whom, on="image_id").merge(labels, on="image_id")
    patients, names = pd.factorize(rows["patient"])
    is_train, is_test = ((rows["subset"] == name).to_numpy(dtype=bool) for name in ("train", "test"))
    everyone = np.ones(len(rows), dtype=bool)
    found = {ALL: _count(patients, len(names), is_train, is_test, everyone)}
    for name in labels.columns.drop("image_id"):
        shows = rows[name].fillna(False).to_numpy(dtype=bool)
        found[name] = _count(patients, len(names), is_train, is_test, shows)
    return found


def _patients(images: pd.DataFrame) -> pd.Series:
    """Patients, or else volumes, spelled so that none of one kind equals one of the other."""
    volumes = images.get("volume_id", pd.Series(None, index=images.index, dtype="str"))
    return ("patient " + images["patient_id"].astype("str")).fillna("volume " + volumes.astype("str"))


def _count(patients: Codes, n_patients: int, is_train: Flags, is_test: Flags, shows: Flags) -> dict[str, Any]:
    """Counts of one class: `patients` are codes, -1 where unknown; the others are flags of the same n images."""
    in_train, same_in_train = np.zeros(n_patients + 1, dtype=bool), np.zeros(n_patients + 1, dtype=bool)
    in_train[patients[is_train]] = True
    same_in_train[patients[is_train & shows]] = True
    in_train[-1] = same_in_train[-1] = False  # images without a patient have the code -1
    of_test = patients[is_test & shows]
    n_test, shared, of_same = len(of_test), int(in_train[of_test].sum()), int(same_in_train[of_test].sum())
    return {
        "test_images": n_test,
        "shared": shared,
        "share": shared / n_test if n_test else None,
        "same_label": of_same,
        "same_label_share": of_same / n_test if n_test else None,
    }
