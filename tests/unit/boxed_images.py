"""A small made study for detectors: bright rectangles on noise, in cached squares of originals that are not square."""

import numpy as np
import pandas as pd

SIZE = 32
ORIGINAL = (96, 64)  # width, height


def write_boxed_study(folder, *, counts=None, seed=0, label="bleed"):
    """Write pixels.npy and the tables of a study in which half of the images have a box.

    The last image of each subset is unknown (its label is null), and the one before is positive without a box.

    Returns:
        The files by the names that the detectors' scripts give them.
    """
    counts = counts or {"train": 8, "val": 6, "test": 8}
    rng = np.random.default_rng(seed)
    subsets = [subset for subset, count in counts.items() for _ in range(count)]
    total = len(subsets)
    pixels = rng.integers(0, 60, (total, SIZE, SIZE), dtype=np.uint8)
    image_ids = [f"made/{number:03d}" for number in range(total)]
    boxes, truth = [], []
    scale = np.array([ORIGINAL[0] / SIZE, ORIGINAL[1] / SIZE])
    for number in range(total):
        left = sum(subset == subsets[number] for subset in subsets[number:]) - 1
        if left == 0:
            truth.append(None)
            continue
        if left == 1:
            truth.append(True)
            continue
        truth.append(number % 2 == 0)
        if number % 2 == 0:
            width, height = rng.integers(10, 16, 2)
            x, y = rng.integers(1, SIZE - 1 - np.array([width, height]))
            pixels[number, y : y + height, x : x + width] += 150
            corner, sides = np.array([x, y]) * scale, np.array([width, height]) * scale
            boxes.append([image_ids[number], label, *corner, *sides])
    np.save(folder / "pixels.npy", pixels)
    nothing = pd.Series([None] * total, dtype="str")
    tables = {
        "index": pd.DataFrame({"image_id": image_ids, "row": range(total)}),
        "images": pd.DataFrame(
            {
                "image_id": image_ids,
                "source": "made",
                "path": [f"{image_id}.png" for image_id in image_ids],
                "patient_id": [f"patient {number // 2}" for number in range(total)],
                "volume_id": [f"volume {number // 2}" for number in range(total)],
                "slice_index": pd.array([number % 2 for number in range(total)], dtype="Int64"),
                "width": ORIGINAL[0],
                "height": ORIGINAL[1],
                "modality": "CT",
                "sha256": image_ids,
                "phash": nothing,
                "mask_path": nothing,
            }
        ),
        "boxes": pd.DataFrame(boxes, columns=["image_id", "label", "x", "y", "width", "height"]),
        "labels": pd.DataFrame({"image_id": image_ids, label: pd.array(truth, dtype="boolean")}),
        "split": pd.DataFrame(
            {"image_id": image_ids, "group_id": image_ids, "subset": subsets, "dropped_by": nothing, "reason": nothing}
        ),
    }
    files = {"pixels": folder / "pixels.npy"}
    for name, table in tables.items():
        files[name] = folder / f"{name}.parquet"
        table.to_parquet(files[name])
    return files
