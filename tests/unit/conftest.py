"""Small made data that several test files share."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def training_files(tmp_path):
    """A pixel cache of 60 images of 32 px in which positives have a bright square, with labels and a split."""
    rng = np.random.default_rng(0)
    count, size = 60, 32
    truth = rng.random(count) < 0.4
    pixels = rng.integers(0, 120, (count, size, size), dtype=np.uint8)
    pixels[truth, 8:16, 8:16] += 100
    image_ids = [f"s/{number:03d}" for number in range(count)]
    np.save(tmp_path / "pixels.npy", pixels)
    pd.DataFrame({"image_id": image_ids, "row": range(count)}).to_parquet(tmp_path / "pixels.parquet")
    labels = pd.DataFrame({"image_id": image_ids, "bleed": pd.array(truth, dtype="boolean")})
    labels.to_parquet(tmp_path / "labels.parquet")
    subset = ["train"] * 36 + ["val"] * 12 + ["test"] * 12
    split = pd.DataFrame({"image_id": image_ids, "group_id": image_ids, "subset": subset})
    split["dropped_by"] = pd.Series([None] * count, dtype="str")
    split["reason"] = pd.Series([None] * count, dtype="str")
    split.to_parquet(tmp_path / "split.parquet")
    return {
        "pixels": tmp_path / "pixels.npy",
        "index": tmp_path / "pixels.parquet",
        "labels": tmp_path / "labels.parquet",
        "split": tmp_path / "split.parquet",
    }
