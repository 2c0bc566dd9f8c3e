"""What the labels of a study are like: how often, together with what, in whom, and how many images a patient has."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scanline.core.errors import InputError

AGE_STEP_YEARS = 5
OLDEST_YEARS = 120
UNKNOWN = "unknown"
Counts = NDArray[np.int64]


def describe_labels(images: pd.DataFrame, labels: pd.DataFrame) -> dict[str, Any]:
    """Count the labels of a study.

    An image counts as one with no, one or several findings where all of its labels are known; the others are
    counted in `images_with_unknown` alone. A label's own numbers are over the images on which it is known.

    Args:
        images: IMAGES table of n images; age_years, sex and view are used where they are there.
        labels: Labels table of the same images, k classes.

    Returns:
        Plain values for JSON:
        images, patients, outputs (k), images_with_unknown, without_finding, with_one_finding, with_several_findings,
        findings_per_image (mean), imbalance (most over least frequent), gini (see `gini`), most, least;
        labels: class to positive, known, prevalence, class_weight (see `class_weights`), age_quartiles_years
        (lower, median, upper), by_sex, by_view;
        co_occurrence: classes, counts (k x k, images that show both, on the diagonal the class itself) and lift (see
        `lift`); counts_of_findings and images_per_patient: number to images and to patients; age: from_years to images;
        sex and view: value to images, `unknown` among them.

    Raises:
        InputError: If the tables name other images, or there is no class.
    """
    classes = [name for name in labels.columns if name != "image_id"]
    table = images.merge(labels, on="image_id", how="inner", validate="one_to_one")
    if not classes or not len(table) == len(images) == len(labels):
        raise InputError(
            "labels table",
            found=f"{len(labels)} images with {len(classes)} classes, {len(table)} of {len(images)} images in common",
            expected="the images of the images table, and at least one class",
            next_step="Delete both tables and make them again.",
        )
    shown, known = as_arrays(table, classes)
    positive, n_known = shown.sum(axis=0), known.sum(axis=0)
    per_image = shown.sum(axis=1)[known.all(axis=1)]
    by_count = np.bincount(per_image, minlength=2)
    weights = class_weights(positive, n_known)
    present = [name for name, count in zip(classes, positive, strict=True) if count]
    counts = dict(zip(classes, positive.tolist(), strict=True))
    most = max(present, key=counts.__getitem__, default=None)
    least = min(present, key=counts.__getitem__, default=None)
    patients = table.groupby("patient_id").size()
    pairs = (shown.astype(np.float64).T @ shown.astype(np.float64)).astype(np.int64)
    return {
        "images": len(table),
        "patients": len(patients),
        "outputs": len(classes),
        "images_with_unknown": int(len(table) - len(per_image)),
        "without_finding": int(by_count[0]),
        "with_one_finding": int(by_count[1]),
        "with_several_findings": int(by_count[2:].sum()),
        "findings_per_image": float(per_image.mean()) if len(per_image) else None,
        "imbalance": counts[most] / counts[least] if most is not None and least is not None else None,
        "gini": gini(positive),
        "most": most,
        "least": least,
        "labels": {
            name: {
                "positive": int(positive[place]),
                "known": int(n_known[place]),
                "prevalence": float(positive[place] / n_known[place]) if n_known[place] else None,
                "class_weight": weights[place],
                **_describe_shown(table[shown[:, place]]),
            }
            for place, name in enumerate(classes)
        },
        "co_occurrence": {"classes": classes, "counts": pairs.tolist(), "lift": lift(shown, known)},
        "counts_of_findings": _by_number(np.bincount(per_image)),
        "images_per_patient": _by_number(np.bincount(patients.to_numpy())) if len(patients) else {},
        "age": _ages(table),
        "sex": _values(table, "sex"),
        "view": _values(table, "view"),
    }


def as_arrays(table: pd.DataFrame, classes: Sequence[str]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Whether each of n images is known to show each of k classes, and whether that is known: two arrays (n, k)."""
    shown = np.stack([table[name].fillna(False).to_numpy(dtype=bool) for name in classes], axis=1)
    known = np.stack([table[name].notna().to_numpy(dtype=bool) for name in classes], axis=1)
    return shown, known


def class_weights(positive: Counts, known: Counts) -> list[float | None]:
    """Weight of each of k classes, N / (k n): N images on which it is known, n that show it.

    It is scikit-learn's `balanced` with k outputs in place of k exclusive classes; None where no image shows it.
    """
    k = len(positive)
    return [float(total / (k * n)) if n else None for n, total in zip(positive, known, strict=True)]


def gini(counts: Counts) -> float | None:
    """Gini coefficient of k counts x by mean differences, divided by k: sum_ij |x_i - x_j| / (2 k^2 mean(x)).

    0 for equal counts, at most 1 - 1/k. None where all counts are 0.
    """
    if counts.sum() == 0:
        return None
    ordered = np.sort(counts).astype(np.float64)
    k = len(ordered)
    return float((2 * np.arange(1, k + 1) - k - 1) @ ordered / (k * ordered.sum()))


def lift(shown: NDArray[np.bool_], known: NDArray[np.bool_]) -> list[list[float | None]]:
    """How many times more often two classes stand together than by chance: N n_ab / (n_a n_b).

    Args:
        shown: (n, k), whether an image is known to show a class.
        known: (n, k), whether that is known.

    Returns:
        k x k, over the N images on which both classes are known; None on the diagonal and where a class is on none.
    """
    here, both = shown.astype(np.float64), known.astype(np.float64)
    together, total = here.T @ here, both.T @ both
    first = here.T @ both  # images that show the row's class and on which the column's is known
    expected = first * first.T
    ratios = np.divide(together * total, expected, out=np.full(expected.shape, np.nan), where=expected > 0)
    np.fill_diagonal(ratios, np.nan)
    return [[None if np.isnan(value) else float(value) for value in row] for row in ratios]


def _describe_shown(rows: pd.DataFrame) -> dict[str, Any]:
    ages = rows["age_years"].dropna() if "age_years" in rows else pd.Series(dtype=float)
    return {
        "age_quartiles_years": [float(age) for age in ages.quantile([0.25, 0.5, 0.75])] if len(ages) else None,
        "by_sex": _values(rows, "sex"),
        "by_view": _values(rows, "view"),
    }


def _values(rows: pd.DataFrame, column: str) -> dict[str, int]:
    """Images by value of a column; empty where the study has no such column."""
    if column not in rows:
        return {}
    counts = rows[column].astype(object).where(rows[column].notna(), UNKNOWN).value_counts().sort_index()
    return {str(value): int(count) for value, count in counts.items()}


def _ages(rows: pd.DataFrame) -> dict[str, int]:
    """Images by age, in steps of 5 years from 0, and `unknown`; empty where the study has no ages."""
    if "age_years" not in rows:
        return {}
    ages = rows["age_years"].dropna().to_numpy()
    edges = np.arange(0, max(OLDEST_YEARS, ages.max(initial=0)) + 2 * AGE_STEP_YEARS, AGE_STEP_YEARS)
    counts, _ = np.histogram(ages, bins=edges)
    last = int(np.flatnonzero(counts).max(initial=-1))
    found = {str(int(edges[place])): int(counts[place]) for place in range(last + 1)}
    return found | {UNKNOWN: int(rows["age_years"].isna().sum())}


def _by_number(counts: Counts) -> dict[str, int]:
    return {str(number): int(count) for number, count in enumerate(counts) if count}
