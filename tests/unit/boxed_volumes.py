"""A made cohort of volumes with boxes, and what a detector finds on them. No real data."""

import numpy as np
import pandas as pd

from scanline.evaluate.detector import DetectorTables

SIDES = {"x": 10.0, "y": 10.0, "width": 20.0, "height": 20.0}
BOX = ["image_id", "label", "x", "y", "width", "height"]


def cohort(seed=3, patients=40, skill=0.15):
    """Volumes of three to six slices in val and test; each second patient has two; every third is positive.

    Args:
        seed: Of what is found; the cohort is always the same.
        patients: Number of patients.
        skill: By how much the scores of tears are higher, on average.
    """
    rng, sizes = np.random.default_rng(seed), np.random.default_rng(0)
    images, boxes, labels, found, predicted = [], [], [], [], []
    for patient in range(patients):
        subset = "val" if patient % 2 else "test"
        for knee in range(1 + patient % 2):
            volume = f"v{patient}-{knee}"
            is_torn = (patient + knee) % 3 == 0
            for position in range(int(sizes.integers(3, 7))):
                image = f"{volume}/{position}"
                torn = is_torn and position < 2
                images.append([image, volume, f"p{patient}"])
                labels.append([image, torn])
                predicted.append([image, subset])
                if torn:
                    boxes.append([image, "tear", *SIDES.values()])
                for _ in range(int(rng.integers(0, 3))):
                    score = float(np.clip(rng.normal(0.4 + skill * torn, 0.15), 0.01, 0.99))
                    x = SIDES["x"] + (0 if torn and rng.random() < 0.7 else 100)
                    found.append([image, "tear", x, *list(SIDES.values())[1:], score, subset])
    return DetectorTables(
        detections=pd.DataFrame(found, columns=[*BOX, "score", "subset"]),
        predicted=pd.DataFrame(predicted, columns=["image_id", "subset"]),
        images=pd.DataFrame(images, columns=["image_id", "volume_id", "patient_id"]).assign(
            source="made", width=512, height=512
        ),
        boxes=pd.DataFrame(boxes, columns=BOX),
        labels=pd.DataFrame(labels, columns=["image_id", "tear"]).astype({"tear": "boolean"}),
    )
