"""Made data of several labels: a pixel cache in which each label is a bright square at its own place."""

import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd

from scanline.core.files import write_json
from scanline.core.tables import BOXES, IMAGES, labels_schema, write_table
from scanline.split.label_weights import weigh_labels

SIZE = 32
ORIGINAL = 64  # width and height of the images before they were cached, pixels
SQUARE = 8


def place_of(label: int) -> tuple[int, int]:
    """Left and top edge of a label's square in the cached image, pixels."""
    return (label % 4) * SQUARE, (label // 4) * SQUARE


def make_files(
    folder: Path,
    labels: tuple[str, ...] = ("bleed", "oedema"),
    *,
    patients: int = 20,
    slices: int = 4,
    external: int = 0,
    unknown: float = 0.2,
    seed: int = 0,
) -> dict[str, Path]:
    """Write pixels, index, images, boxes, labels and split; entries are unknown with probability `unknown`.

    The first label has boxes. `external` patients come on top of the others.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    count = (patients + external) * slices
    patient = np.repeat(np.arange(patients + external), slices)
    truth = rng.random((count, len(labels))) < 0.4
    pixels = rng.integers(0, 120, (count, SIZE, SIZE), dtype=np.uint8)
    for label in range(len(labels)):
        x, y = place_of(label)
        pixels[truth[:, label], y : y + SQUARE, x : x + SQUARE] += 100
    is_unknown = rng.random(truth.shape) < unknown
    image_ids = [f"s/{number:04d}" for number in range(count)]
    paths = {name: folder / f"{name}.parquet" for name in ("index", "labels", "split", "images", "boxes")}
    paths["pixels"] = folder / "pixels.npy"
    np.save(paths["pixels"], pixels)
    write_table(pd.DataFrame({"image_id": image_ids, "row": range(count)}), paths["index"])
    columns = {name: pd.arrays.BooleanArray(truth[:, label], is_unknown[:, label]) for label, name in enumerate(labels)}
    write_table(pd.DataFrame({"image_id": image_ids, **columns}), paths["labels"], labels_schema(labels))
    share = patient / patients
    subset = np.select([share < 0.6, share < 0.8, share < 1], ["train", "val", "test"], "external")
    nothing = pd.Series([None] * count, dtype="str")
    split = {"image_id": image_ids, "group_id": image_ids, "subset": subset, "dropped_by": nothing, "reason": nothing}
    write_table(pd.DataFrame(split), paths["split"])
    record, drawn = weigh_labels(pd.read_parquet(paths["labels"]), pd.DataFrame(split))
    paths["class_weights"], paths["sampler_weights"] = folder / "class_weights.json", folder / "sampler_weights.parquet"
    write_json(paths["class_weights"], record)
    write_table(drawn, paths["sampler_weights"])
    images = {
        "image_id": image_ids,
        "source": "s",
        "path": [f"{image_id}.png" for image_id in image_ids],
        "patient_id": [f"patient {number}" for number in patient],
        "volume_id": nothing,
        "slice_index": np.arange(count) % slices,
        "width": ORIGINAL,
        "height": ORIGINAL,
        "modality": "CT",
        "sha256": image_ids,
        "phash": nothing,
        "mask_path": nothing,
    }
    write_table(pd.DataFrame(images), paths["images"], IMAGES)
    boxed = [image_id for image_id, there in zip(image_ids, truth[:, 0], strict=True) if there]
    scale = ORIGINAL / SIZE
    box = {"x": 0.0, "y": 0.0, "width": SQUARE * scale, "height": SQUARE * scale}
    write_table(pd.DataFrame({"image_id": boxed, "label": labels[0], **box}), paths["boxes"], BOXES)
    return paths


def make_scores(
    paths: dict[str, Path], labels: tuple[str, ...], *, strength: float = 3.0, seed: int = 1
) -> tuple[pd.DataFrame, np.ndarray]:
    """Scores and maps as prediction would make them, without a network, on val, test and external."""
    rng = np.random.default_rng(seed)
    split, truth = pd.read_parquet(paths["split"]), pd.read_parquet(paths["labels"])
    table = split[split["subset"] != "train"][["image_id", "subset"]].merge(truth, on="image_id")
    table = table[table[list(labels)].notna().any(axis=1)].reset_index(drop=True)
    scores = table[["image_id", "subset"]].copy()
    hard = rng.normal(0, 1, len(table))
    for label in labels:
        known = table[label].astype("Float64").to_numpy(dtype=float, na_value=0.5)
        logit = strength * (known - 0.5) + 0.7 * hard + rng.normal(0, 1, len(table))
        scores[f"probability_{label}"] = 1 / (1 + np.exp(-logit))
        scores[f"truth_{label}"] = table[label]
    maps = np.zeros((len(table), len(labels), 4, 4), np.float16)
    for label in range(len(labels)):
        x, y = place_of(label)
        maps[:, label, y * 4 // SIZE, x * 4 // SIZE] = 1
    return scores, maps


def call_script(monkeypatch: Any, module: ModuleType, options: dict[str, Any], **arguments: object) -> None:
    """Run a rule's script in this process."""
    words = [word for name, value in arguments.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    monkeypatch.setattr(sys, "argv", [module.__name__, "--options", json.dumps(options), *words])
    module.main()
