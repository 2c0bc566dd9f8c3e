"""Cohorts for the tests of the split stage: small tables built by hand or at random, and the real study's."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from scanline.split.options import GroupedSplit, NaiveImageSplit, Ratios

REAL = Path(os.environ.get("SCANLINE_DATA", Path(__file__).parents[3] / "shared" / "data")) / "phe_sich_ids"
RATIOS = Ratios(train=0.70, val=0.15, test=0.15)


def images_table(rows: list[dict]) -> pd.DataFrame:
    """IMAGES table: what a row leaves out is null, its bytes are its own and it is not blank."""
    filled = [
        {
            "source": "s",
            "path": f"{row['image_id']}.png",
            "patient_id": None,
            "volume_id": None,
            "slice_index": None,
            "width": 8,
            "height": 8,
            "modality": "CT",
            "sha256": f"bytes of {row['image_id']}",
            "phash": f"hash of {row['image_id']}",
            "mask_path": None,
            **row,
        }
        for row in rows
    ]
    columns = list(dict.fromkeys(["image_id", *(key for row in filled for key in row)]))
    table = pd.DataFrame(filled, columns=columns)
    return table.astype({name: "str" for name in columns if name not in {"slice_index", "width", "height"}})


def patients_table(sizes: list[int]) -> pd.DataFrame:
    """IMAGES table of patients p000, p001, ... with so many images each."""
    return images_table(
        [
            {"image_id": f"s/{patient:03d}_{index:02d}", "patient_id": f"p{patient:03d}"}
            for patient, size in enumerate(sizes)
            for index in range(size)
        ]
    )


def random_cohort(seed: int, n_patients: int = 60, unknown: float = 0.1) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Images and labels of patients of unlike size and unlike prevalence; some labels are unknown."""
    rng = np.random.default_rng(seed)
    images = patients_table([int(size) for size in rng.integers(5, 40, n_patients)])
    rate = dict(zip(sorted(images["patient_id"].unique()), rng.beta(0.6, 2, n_patients), strict=True))
    labels = pd.DataFrame({"image_id": images["image_id"]})
    for name, factor in (("bleed", 1.0), ("oedema", 0.6)):
        truth = pd.Series(rng.random(len(images)) < factor * images["patient_id"].map(rate)).astype("boolean")
        labels[name] = truth.mask(rng.random(len(images)) < unknown)
    return images, labels


def grouped(seed: int = 42, balance: tuple[str, ...] = ("bleed", "oedema"), ratios: Ratios = RATIOS) -> GroupedSplit:
    return GroupedSplit(protocol="grouped", ratios=ratios, balance=balance, seed=seed)


def naive(seed: int = 42, ratios: Ratios = RATIOS) -> NaiveImageSplit:
    return NaiveImageSplit(protocol="naive_image", ratios=ratios, seed=seed)


def shuffled(table: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    return table.sample(frac=1, random_state=seed).reset_index(drop=True)


def worst_deviation(labels: pd.DataFrame, split: pd.DataFrame, ratios: Ratios = RATIOS) -> float:
    """Largest distance of a subset's share or prevalence from its target."""
    rows = split.merge(labels, on="image_id")
    worst = 0.0
    for subset, share in ratios.model_dump().items():
        held = rows[rows["subset"] == subset]
        worst = max(worst, abs(len(held) / len(rows) - share))
        for name in labels.columns.drop("image_id"):
            worst = max(worst, abs(held[name].mean() - labels[name].mean()))
    return worst


def real_tables() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Images and labels of the real study, by its XML files: a box is a haemorrhage."""
    files = sorted((REAL / "SubdatasetC_PNG" / "annotation").rglob("*.xml"))
    if not files:
        pytest.skip(f"the real study is not at {REAL}; set SCANLINE_DATA to the folder that holds phe_sich_ids")
    rows, truth = [], []
    for file in files:
        patient = int(file.parent.name.removeprefix("annotation"))
        rows.append({"image_id": f"s/{patient:04d}_{file.stem.split('_')[1]}", "patient_id": str(patient)})
        truth.append("<object>" in file.read_text())
    images = images_table(rows)
    return images, pd.DataFrame({"image_id": images["image_id"], "haemorrhage": pd.array(truth, "boolean")})
