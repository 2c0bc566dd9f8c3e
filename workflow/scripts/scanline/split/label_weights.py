"""Weights that make rare classes heard in training: one a class for the loss, one an image for the sampler.

Both come from the training images of one split alone, so that nothing of val and test flows into training.
"""

from typing import Any

import numpy as np
import pandas as pd

from scanline.core.errors import InputError
from scanline.core.tables import drawn_images
from scanline.curate.label_statistics import as_arrays, class_weights

CLASS_RULE = "N / (k n): N training images on which the class is known, n that show it, k classes"
SAMPLER_RULE = (
    "the largest class weight of the findings that the image shows, so that its rarest finding decides; for an image"
    " known to show none, N / (k n) with n such images among N of which that is known; 1 for an image of which it is"
    " not known whether it shows one; then divided by the mean"
)


def weigh_labels(labels: pd.DataFrame, split: pd.DataFrame) -> tuple[dict[str, Any], pd.DataFrame]:
    """Class weights and sampler weights of the training images of a split.

    Args:
        labels: Labels table, k classes: all of a study, or those that a task predicts.
        split: SPLIT table; images that balancing dropped are left out, those that it repeats count as often.

    Returns:
        The record {"rule", "sampler_rule", "images", "classes": {class: {"positive", "known", "weight",
        "positive_weight"}}}, weights null where no image shows the class; `positive_weight` is negatives / positives,
        for a loss that weights positives. And a table of the training images, by image_id: image_id, weight (float64,
        mean 1 over all that is drawn), rarest (the class that decides, null for an image not known to show one).

    Raises:
        InputError: If the split has no training images in the labels table, or none of them shows a class.
    """
    classes = [name for name in labels.columns if name != "image_id"]
    chosen = drawn_images(split[split["subset"] == "train"])[["image_id"]]
    train = chosen.merge(labels, on="image_id").sort_values("image_id", ignore_index=True)
    shown, known = as_arrays(train, classes) if classes else (np.zeros((0, 0), bool), np.zeros((0, 0), bool))
    if not shown.any():
        raise InputError(
            "split table",
            found=f"{len(train)} training images, none that shows a class",
            expected="training images that do",
            next_step="Choose other ratios or another seed for this split.",
        )
    positive, n_known = shown.sum(axis=0), known.sum(axis=0)
    weights = class_weights(positive, n_known)
    has_one = np.asarray(shown.any(axis=1))
    has_none = np.asarray((known & ~shown).all(axis=1))
    of_none = int((has_one | has_none).sum()) / (len(classes) * max(1, int(has_none.sum())))
    of_shown = np.where(shown, np.array([weight or 0.0 for weight in weights]), 0.0)
    of_images = np.select([has_one, has_none], [of_shown.max(axis=1), of_none], 1.0)
    rarest = np.array(classes, dtype=object)[of_shown.argmax(axis=1)]
    table = pd.DataFrame(
        {
            "image_id": train["image_id"],
            "weight": of_images / of_images.mean(),
            "rarest": pd.Series(rarest, dtype="str").mask(~has_one),
        }
    )
    record = {
        "rule": CLASS_RULE,
        "sampler_rule": SAMPLER_RULE,
        "images": len(train),
        "classes": {
            name: {
                "positive": int(n),
                "known": int(total),
                "weight": weight,
                "positive_weight": float((total - n) / n) if n else None,
            }
            for name, n, total, weight in zip(classes, positive, n_known, weights, strict=True)
        },
    }
    return record, table.drop_duplicates("image_id", ignore_index=True)
