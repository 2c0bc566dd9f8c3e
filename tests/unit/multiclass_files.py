"""Made data of classes that exclude another: a bright square whose place tells the class."""

from pathlib import Path

import numpy as np
import pandas as pd
from multilabel_files import SQUARE, make_files, place_of

from scanline.core.files import write_json
from scanline.core.tables import labels_schema, write_table
from scanline.split.label_weights import weigh_labels

CLASSES = ("normal", "epidural", "subdural")


def make_class_files(
    folder: Path, *, patients: int = 20, external: int = 0, shares: tuple[float, ...] = (0.5, 0.3, 0.2), seed: int = 0
) -> dict[str, Path]:
    """As `make_files`, four slices a patient, each of exactly one of CLASSES; every twelfth shows none of them.

    Where an image shows one class the next one is unknown on every seventh image.
    """
    paths = make_files(folder, CLASSES, patients=patients, external=external, unknown=0.0, seed=seed)
    split = pd.read_parquet(paths["split"])
    rng = np.random.default_rng(seed + 1)
    count = len(split)
    chosen = rng.choice(len(CLASSES), count, p=shares)
    chosen[::12] = -1
    pixels = rng.integers(0, 120, (count, 32, 32), dtype=np.uint8)
    for place in range(len(CLASSES)):
        x, y = place_of(place)
        pixels[chosen == place, y : y + SQUARE, x : x + SQUARE] += 100
    np.save(paths["pixels"], pixels)
    truth = chosen[:, None] == np.arange(len(CLASSES))
    unknown = np.zeros_like(truth)
    rows = np.flatnonzero((np.arange(count) % 7 == 0) & (chosen >= 0))
    unknown[rows, (chosen[rows] + 1) % len(CLASSES)] = True
    columns = {name: pd.arrays.BooleanArray(truth[:, place], unknown[:, place]) for place, name in enumerate(CLASSES)}
    labels = pd.DataFrame({"image_id": split["image_id"], **columns})
    write_table(labels, paths["labels"], labels_schema(CLASSES))
    boxed = split["image_id"][truth[:, 1]]
    box = {"x": float(2 * SQUARE), "y": 0.0, "width": 2.0 * SQUARE, "height": 2.0 * SQUARE}
    write_table(pd.DataFrame({"image_id": boxed, "label": "epidural", **box}), paths["boxes"])
    record, drawn = weigh_labels(labels, split)
    write_json(paths["class_weights"], record)
    write_table(drawn, paths["sampler_weights"])
    return paths


def make_class_scores(paths: dict[str, Path], *, strength: float = 2.0, seed: int = 2) -> pd.DataFrame:
    """Scores as prediction would make them, without a network, on val, test and external."""
    rng = np.random.default_rng(seed)
    table = pd.read_parquet(paths["split"])[["image_id", "subset"]].merge(pd.read_parquet(paths["labels"]))
    shown = table[list(CLASSES)].fillna(False).to_numpy(dtype=bool)
    kept = (table["subset"] != "train").to_numpy() & shown.any(axis=1)
    logits = strength * shown[kept] + rng.normal(0, 1, (int(kept.sum()), len(CLASSES)))
    probability = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    truth = np.array(CLASSES, dtype=object)[shown[kept].argmax(axis=1)]
    scores = table.loc[kept, ["image_id", "subset"]].reset_index(drop=True).assign(truth=truth)
    return scores.assign(**{f"probability_{name}": probability[:, place] for place, name in enumerate(CLASSES)})
