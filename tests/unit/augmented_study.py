"""A small made study with image files and boxes, for offline augmentation and detection sets."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from scanline.prepare.augmented_set import SetTables

CLASSES = ("bleed", "clot")
SIZE = (96, 64)  # width, height


@dataclass(frozen=True)
class MadeStudy:
    """Tables of a study whose files lie in `folder`."""

    folder: Path
    tables: SetTables

    def write(self, folder):
        """Write the tables, and give their files by name."""
        files = {}
        for name in ("images", "boxes", "labels", "split"):
            files[name] = folder / f"{name}.parquet"
            getattr(self.tables, name).to_parquet(files[name])
        return files


def make_study(folder, *, patients=12, slices=4, seed=0):
    """Write images of two sources, half of them with boxes; the last four patients are two of val and two of test.

    Odd slices have a `bleed`, every fourth a `clot` beside it. The last slice of each subset's last patient is unknown.
    """
    rng = np.random.default_rng(seed)
    (folder / "raw").mkdir(parents=True, exist_ok=True)
    width, height = SIZE
    images, boxes, labels, split = [], [], [], []
    for patient in range(patients):
        subset = "train" if patient < patients - 4 else "val" if patient < patients - 2 else "test"
        source = "north" if patient % 2 else "south"
        for number in range(slices):
            image_id = f"{source}/P{patient:02d}/P{patient:02d}_{number:03d}"
            pixels = rng.integers(0, 60, (height, width), dtype=np.uint8)
            shown = {"bleed": number % 2 == 1, "clot": number == 3}
            for name in CLASSES:
                if shown[name]:
                    w, h = rng.integers(8, 24, 2)
                    x, y = rng.integers(0, width - w), rng.integers(0, height - h)
                    pixels[y : y + h, x : x + w] += 120
                    boxes.append([image_id, name, float(x), float(y), float(w), float(h)])
            path = folder / "raw" / f"{image_id.replace('/', '-')}.{'png' if patient % 3 else 'jpg'}"
            Image.fromarray(pixels).save(path)
            images.append([image_id, source, str(path), f"{source}:P{patient:02d}", f"{source}:V{patient:02d}", number])
            unknown = number == slices - 2 and patient in {patients - 5, patients - 3, patients - 1}
            labels.append([image_id, None if unknown else shown["bleed"], shown["clot"]])
            split.append([image_id, f"{source}/P{patient:02d}", subset])
    ids = [row[0] for row in images]
    table = pd.DataFrame(images, columns=["image_id", "source", "path", "patient_id", "volume_id", "slice_index"])
    nothing = pd.Series([None] * len(ids), dtype="str")
    table["slice_index"] = table["slice_index"].astype("Int64")
    table = table.assign(
        width=pd.array([width] * len(ids), dtype="Int64"),
        height=pd.array([height] * len(ids), dtype="Int64"),
        modality="CT",
        sha256=ids,
        phash=nothing,
        mask_path=nothing,
        grey_mean=1.0,
    )
    truth = pd.DataFrame(labels, columns=["image_id", *CLASSES]).astype(dict.fromkeys(CLASSES, "boolean"))
    dealt = pd.DataFrame(split, columns=["image_id", "group_id", "subset"]).assign(dropped_by=nothing, reason=nothing)
    found = pd.DataFrame(boxes, columns=["image_id", "label", "x", "y", "width", "height"])
    return MadeStudy(folder, SetTables(table, found, truth, dealt))
